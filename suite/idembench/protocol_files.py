"""How a baseline's file becomes a protocol: what it extends, one trait's numbers, the measurement, overrides.

This module reads text and checks it; it knows nothing about models.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from types import UnionType
from typing import TYPE_CHECKING, Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from idembench import shipped
from idembench.errors import ProtocolError, UnknownNameError
from idembench.protocol import Learning, Protocol, explain
from idembench.yaml_files import parse_yaml, read_yaml

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

DEFAULT_MEASUREMENT = "quick"


def load(
    name: str,
    *,
    pack: str,
    measurements: Mapping[str, Mapping[str, Any]],
    measurement: str | None,
    trait: str,
    overrides: Sequence[str] = (),
    document_measurements: Mapping[str, Mapping[str, Any]] | None = None,
) -> Protocol:
    """Resolve a baseline's name (or the path of a YAML file) to a protocol.

    Args:
        name: `sft-reset`, `study/sft-reset`, or a path ending in `.yaml`.
        pack: The pack whose baselines are looked through; a file that names none is for it.
        measurements: The pack's measurements, by name.
        measurement: Which of them to use; None for the file's own, or `quick` if it has none.
        trait: Whose `data.n_seed` is taken where the file gives one for each trait, as `idembench calibrate`
            finds them: the response to demonstrations is steep, and differs from trait to trait.
        overrides: `key.path=value` strings, applied last; values are YAML.
        document_measurements: Those of `measurements` that are others where documents are what the model is given.

    Raises:
        UnknownNameError: If there is no such baseline or measurement.
        ProtocolError: If the file or an override does not hold; every problem is listed.
    """
    path = _find(name, pack)
    content = {
        "pack": pack,
        **_read_protocol(path),
        "name": name.replace("/", "-") if name in shipped.baselines(pack) else path.stem,
    }
    if measurement is not None or "measuring" not in content:
        measurement = measurement or DEFAULT_MEASUREMENT
        if measurement not in measurements:
            raise UnknownNameError("measurement", measurement, measurements, where=f"tasks/{pack}/pack.yaml")
        own = (document_measurements or {}) if content.get("form") == "document" else {}
        content["measuring"] = {**own.get(measurement, measurements[measurement]), "name": measurement}
    given = any(override.partition("=")[0].strip() == "data.n_seed" for override in overrides)
    chosen = _choose_n_seed(content, trait, where=str(path), given=given)
    plain = _validated(_stopping(content), where=str(path)) if chosen else None
    for override in overrides:
        _apply(content, override)
    where = f"{path} with --set {' '.join(overrides)}" if overrides else str(path)
    protocol = _validated(_stopping(content), where=where)
    if protocol.pack != pack:
        raise ProtocolError("This protocol is for another pack.", expected=pack, found=protocol.pack, where=where)
    if plain is None or protocol.fingerprint != plain.fingerprint:
        protocol = protocol.model_copy(update={"name": f"{protocol.name}+{protocol.fingerprint[:6]}"})
    return protocol


def pack_of(names: Sequence[str], *, model: str | None = None) -> str:
    """The pack that baselines are run on unless somebody says otherwise.

    That is the one that has them all; a file may say itself which it is for. Where several have
    them (`sft-reset`; the study's settings go with any), a model of one's own decides: it speaks English. Without one it
    is the embedded pack, and its model.

    Args:
        names: Baselines.
        model: What is asked for, if anything.

    Raises:
        ProtocolError: If they are of different packs, or of the embedded one and the model is another, or a file cannot be
            read.
    """
    wanted = shipped.EMBEDDED if model is None or model.startswith(f"{shipped.EMBEDDED}/") else shipped.REAL
    having = {name: _packs_with(name) for name in names}
    every = dict.fromkeys([wanted, *(pack for packs in having.values() for pack in packs)])
    common = [pack for pack in every if all(pack in packs for packs in having.values())]
    if not common:
        raise ProtocolError(
            "These baselines are of different packs.",
            found=", ".join(f"{name}: {' or '.join(packs)}" for name, packs in having.items()),
            do="Give --pack, or run those of one pack at a time.",
        )
    if wanted == shipped.REAL and common[0] == shipped.EMBEDDED:
        only = [name for name, packs in having.items() if wanted not in packs]
        raise ProtocolError(
            "This baseline is for the embedded pack, whose language no other model speaks.",
            expected=f"a baseline for {wanted}, or one of study/...",
            found=", ".join(only),
            do=f"See `idembench ls baselines`; --pack {shipped.EMBEDDED} runs it on your model all the same.",
        )
    return common[0]


def _packs_with(name: str) -> list[str]:
    """Packs that have a baseline; all of them where it does not say, or nobody knows it, so that the one that is asked says so."""
    if name.endswith((".yaml", ".yml")):
        content = read_yaml(Path(name))
        return [str(content["pack"])] if isinstance(content, dict) and "pack" in content else shipped.packs()
    return [pack for pack in shipped.packs() if name in shipped.baselines(pack)] or shipped.packs()


def _stopping(content: Mapping[str, Any]) -> dict[str, Any]:
    """The content with a measurement that stops where sampling does, unless it says where it stops itself."""
    sampling, measuring = content.get("sampling"), content.get("measuring")
    stop = sampling.get("stop", []) if isinstance(sampling, dict) else []
    return {**content, "measuring": {"stop": stop, **measuring} if isinstance(measuring, dict) else measuring}


def _read_protocol(path: Path, *, inner: bool = False) -> dict[str, Any]:
    """A protocol file's content, with the neighbours that it names filled in.

    A file that says `extends: sft-reset` is that file with its own settings put over it, key by key at every
    level. One level only: what a file says can be read in two places at most. `seeding: sft-reset` means that
    cycle 0 learns as it does there, so that both share it.
    """
    read = read_yaml(path)
    if not isinstance(read, dict):
        raise ProtocolError("A protocol is a mapping.", found=type(read).__name__, where=str(path))
    content: dict[str, Any] = read
    if (name := content.pop("extends", None)) is not None:
        if inner:
            raise ProtocolError(
                "A protocol names one that extends another.",
                expected="one level, so that a protocol can be read in two files at most",
                found=f"extends: {name}",
                where=str(path),
                do="Name the last of them, or write the settings out.",
            )
        content = _over(_read_protocol(_neighbour(path, name), inner=True), content)
    if isinstance(seeding := content.get("seeding"), str):
        other = _read_protocol(_neighbour(path, seeding), inner=True)
        if other.get("seeding") is not None:
            raise ProtocolError(
                "A protocol seeds as one does that has a seeding of its own.",
                expected="a protocol whose cycle 0 learns as its later cycles do",
                found=f"seeding: {seeding}",
                where=str(path),
                do="Name the protocol that that one seeds as.",
            )
        content["seeding"] = {key: other[key] for key in Learning.model_fields if key in other}
    return content


def own_settings(name: str, *, pack: str) -> set[str]:
    """The dotted keys that a protocol's file puts over what it extends; none if it extends nothing.

    Raises:
        UnknownNameError: If there is no such baseline.
        ProtocolError: If the file does not hold.
    """
    path = _find(name, pack)
    content = read_yaml(path)
    return _dotted(content) if isinstance(content, dict) and "extends" in content else set()


def _dotted(content: Mapping[str, Any], prefix: str = "") -> set[str]:
    return {
        key
        for name, value in content.items()
        for key in (_dotted(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}"})
    }


def _find(name: str, pack: str) -> Path:
    known = shipped.baselines(pack)
    path = Path(name) if name.endswith((".yaml", ".yml")) else known.get(name)
    if path is None:
        raise UnknownNameError("baseline", name, known, where=f"baselines/{pack}")
    return path


def _neighbour(path: Path, name: object) -> Path:
    # Looked up, not joined: a name with a slash would lead out of the folder.
    others = {other.stem: other for other in path.parent.glob("*.yaml") if other.name != path.name}
    if not isinstance(name, str) or name not in others:
        raise UnknownNameError("protocol", str(name), others, where=f"{path}, extends or seeding")
    return others[name]


def _choose_n_seed(content: dict[str, Any], trait: str, *, where: str, given: bool) -> bool:
    """Put one trait's number in the place of a mapping from traits to numbers; false if an override has to give it."""
    data = content.get("data")
    by_trait = data.get("n_seed") if isinstance(data, dict) else None
    if not isinstance(data, dict) or not isinstance(by_trait, dict):
        return True
    if trait not in by_trait and given:
        return False
    if trait not in by_trait:
        raise ProtocolError(
            "A protocol does not say how many demonstrations a trait takes.",
            expected=f"data.n_seed for {trait}",
            found=", ".join(map(str, by_trait)),
            where=where,
            do="Add it to the file, or give --set data.n_seed=...; `idembench calibrate` finds one.",
        )
    content["data"] = {**data, "n_seed": by_trait[trait]}
    return True


def _over(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """`above` put over `below`, key by key at every level."""
    merged = dict(below)
    for key, value in above.items():
        old = merged.get(key)
        merged[key] = _over(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return merged


def _validated(content: Mapping[str, Any], *, where: str) -> Protocol:
    try:
        return Protocol.model_validate(_ints_to_floats(content, Protocol))
    except ValidationError as error:
        raise ProtocolError(
            "A protocol does not hold.", found="; ".join(explain(error)), where=where, do="See baselines/README.md."
        ) from error


def _ints_to_floats(content: Any, model: type[BaseModel]) -> Any:
    """Let `temperature: 1` mean 1.0; strictness would refuse it, and canonical JSON must not show two forms."""
    if not isinstance(content, dict):
        return content
    out = dict(content)
    for name, field in model.model_fields.items():
        if name not in content:
            continue
        value = out[name]
        kinds = _kinds(field.annotation)
        if float in kinds and isinstance(value, int) and not isinstance(value, bool):
            with contextlib.suppress(OverflowError):
                out[name] = float(value)
        for kind in kinds:
            if issubclass(kind, BaseModel):
                out[name] = _ints_to_floats(value, kind)
    return out


def _kinds(annotation: Any) -> list[type]:
    """The classes that an annotation admits: `X | None` and `Annotated[X, ...]` are opened."""
    if get_origin(annotation) is Annotated:
        return _kinds(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        return [kind for inner in get_args(annotation) for kind in _kinds(inner)]
    return [annotation] if isinstance(annotation, type) else []


def _apply(content: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    path = key.strip().split(".")
    if not equals or not all(path) or path == ["name"]:
        raise ProtocolError("An override cannot be read.", expected="key.path=value", found=override, where="--set")
    place = content
    for part in path[:-1]:
        inner = place.get(part)
        if not isinstance(inner, dict):
            raise ProtocolError("An override names a setting that is not there.", found=key, where="--set")
        place[part] = place = dict(inner)
    place[path[-1]] = parse_yaml(text, where=f"--set {override}")
