"""Grid files: which cells a sweep runs, as a frozen model read from YAML.

A grid is protocols x models x traits x seeds x settings. `set` crosses values of settings; `cells` lists settings
that belong together; with both, every entry of `cells` meets every combination of `set`. What a grid says is put
over the protocols exactly as `--set` does it, so a grid says nothing that a row of `run` commands could not.

    # Why this grid exists, in one line.
    pack: toyland
    baselines: [sft-reset]
    traits: [sycophancy]                  # all of the pack's if left out
    models: [toyland/instruct]            # the pack's default if left out
    seeds: 0..2
    measurement: quick
    set: {data.n_seed: [40, 80], sampling.temperature: [0.8, 1.0]}
    plot: {x: data.n_seed, y: drift, lines: sampling.temperature}

Knows nothing about what the settings mean: resolving names and checking settings is `runs.cells`' business.
"""

from __future__ import annotations

import itertools
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field, JsonValue, ValidationError, field_validator, model_validator

from idembench import shipped
from idembench.errors import InputError, ProtocolError, UnknownNameError
from idembench.protocol import Execution, Frozen, explain
from idembench.yaml_files import read_yaml

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

MOST_SEEDS = 1000
MOST_VARIANTS = 10_000
Name = Annotated[str, Field(min_length=1)]
Setting = Annotated[str, Field(pattern=r"^[a-z_][a-z0-9_]*(\.[a-z_][a-z0-9_]*)*$")]
Values = Annotated[list[JsonValue], Field(min_length=1)]
AXES = ("baseline", "model", "trait")
"""What a plot can use beside the settings that the grid varies."""
QUANTITY = (
    r"^(seeding|transmission|remaining|retention|drift|proven_bound|coherence_cost|(base|c\d+)\.(trait|coherence))$"
)


class Plot(Frozen):
    """How a grid is drawn; kept as data.

    Attributes:
        x: A setting that the grid varies, or `baseline`, `model`, `trait`.
        y: An effect (`drift`, ...) or a checkpoint's mean (`c0.trait`, `c6.coherence`, ...).
        lines: A line for each value of this setting; None for one line.
    """

    x: str
    y: Annotated[str, Field(pattern=QUANTITY)]
    lines: str | None = None


class Grid(Frozen):
    """A whole sweep.

    Attributes:
        name: The file's name without its ending.
        why: Its first comment line.
        pack: The family of traits.
        baselines: Protocols by name, or YAML files, relative to where the command is run.
        traits: Traits of the pack; all if None.
        models: Models; the pack's default if None.
        seeds: Chains per cell.
        measurement: `quick` or `ranked`; each baseline's own, or `quick`, if None.
        rule: Decision rule by name.
        set: Values of each setting, crossed.
        cells: Settings that belong together.
        execution: What only changes the bits.
        plot: How it is drawn, or None.
    """

    name: str
    why: str
    pack: Name = "toyland"
    baselines: Annotated[list[Name], Field(min_length=1)]
    traits: Annotated[list[Name], Field(min_length=1)] | None = None
    models: Annotated[list[Name], Field(min_length=1)] | None = None
    seeds: list[int]
    measurement: Name | None = None
    rule: Name = "default"
    set: dict[Setting, Values] = Field(default_factory=dict)
    cells: Annotated[list[Annotated[dict[Setting, JsonValue], Field(min_length=1)]], Field(min_length=1)] | None = None
    execution: Execution = Execution()
    plot: Plot | None = None

    @field_validator("seeds", mode="before")
    @classmethod
    def _ranges(cls, seeds: object) -> object:
        return parse_seeds(seeds, where="seeds") if isinstance(seeds, str) else seeds

    @model_validator(mode="after")
    def _consistent(self) -> Grid:
        lists: list[Sequence[JsonValue]] = [self.baselines, self.traits or [], self.models or [], *self.set.values()]
        for listed in lists:
            if twice := [one for one in listed if listed.count(one) > 1]:
                raise ValueError(f"{json.dumps(twice[0])} is listed twice")
        if both := sorted(self.set.keys() & {key for cell in self.cells or [] for key in cell}):
            raise ValueError(f"{', '.join(both)}: in both set and cells, and only one of them could count")
        for axis in (self.plot.x, self.plot.lines) if self.plot else ():
            if axis is not None and axis not in self.varied and axis not in AXES:
                raise ValueError(f"plot: {axis} is not varied here; these are: {', '.join([*self.varied, *AXES])}")
        return self

    @property
    def varied(self) -> list[str]:
        """The settings that are not the same in all cells, in the order of the file."""
        together = self.cells or []
        keys = dict.fromkeys(key for cell in together for key in cell)
        return [
            *(key for key in keys if any(key not in cell or cell[key] != together[0].get(key) for cell in together)),
            *(key for key, values in self.set.items() if len(values) > 1),
        ]

    @property
    def variants(self) -> list[Variant]:
        """Every baseline with every model and all settings, in the order of the file.

        Raises:
            InputError: If they are absurdly many.
        """
        models: Sequence[str | None] = self.models or (None,)
        together: list[dict[str, JsonValue]] = self.cells or [{}]
        count = len(self.baselines) * len(models) * len(together) * math.prod(map(len, self.set.values()))
        if count > MOST_VARIANTS:
            raise InputError(
                "This grid is too large.",
                expected=f"at most {MOST_VARIANTS} variants",
                found=str(count),
                where=f"grid {self.name}",
            )
        return [
            Variant(baseline=baseline, model=model, settings={**cell, **dict(zip(self.set, values, strict=True))})
            for baseline in self.baselines
            for model in models
            for cell in together
            for values in itertools.product(*self.set.values())
        ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """One combination of a grid, for all its traits and seeds.

    Attributes:
        baseline: A protocol by name, or a YAML file.
        model: A model, or None for the pack's default.
        settings: What the grid sets, by key.
    """

    baseline: str
    model: str | None
    settings: Mapping[str, Any]

    @property
    def overrides(self) -> list[str]:
        """The settings as `--set` takes them."""
        return [f"{key}={json.dumps(value)}" for key, value in self.settings.items()]

    def describe(self, only: Collection[str] | None = None) -> str:
        """For people: baseline, model and what is set, or of that the settings in `only`."""
        set_here = [f"{key}={json.dumps(value)}" for key, value in self.settings.items() if only is None or key in only]
        return " ".join([self.baseline, *([self.model] if self.model else []), *set_here])


def load(name: str) -> Grid:
    """Read a shipped grid by name, or a YAML file by path.

    Raises:
        UnknownNameError: If there is no such grid.
        ProtocolError: If the file does not hold; every problem is listed.
        InputError: If its seeds cannot be read.
    """
    known = shipped.files("grids")
    path = Path(name) if name.endswith((".yaml", ".yml")) else known.get(name)
    if path is None:
        raise UnknownNameError("grid", name, known, where="baselines/grids")
    content = read_yaml(path)
    if not isinstance(content, dict):
        raise ProtocolError("A grid is a mapping.", found=type(content).__name__, where=str(path))
    if fixed := sorted({"name", "why"} & content.keys()):
        raise ProtocolError(
            "A grid's name is its file's, and why it exists is its first comment.",
            found=", ".join(fixed),
            where=str(path),
        )
    try:
        return Grid.model_validate({**content, "name": path.stem, "why": shipped.purpose(path)})
    except ValidationError as error:
        raise ProtocolError(
            "A grid does not hold.", found="; ".join(explain(error)), where=str(path), do="See baselines/README.md."
        ) from error
    except InputError as error:
        error.where = f"{path}, {error.where}"
        raise


def parse_seeds(text: str, *, where: str) -> list[int]:
    """`0..4`, `0,2,5` or `3` as numbers.

    Raises:
        InputError: If it is none of these.
    """
    seeds: list[int] = []
    for part in text.split(","):
        first, dots, last = part.partition("..")
        try:
            asked = range(int(first), int(last if dots else first) + 1)
        except ValueError:
            raise InputError("Seeds cannot be read.", expected="0..4 or 0,2,5", found=text, where=where) from None
        if asked.stop - asked.start + len(seeds) > MOST_SEEDS:
            raise InputError("Too many seeds.", expected=f"at most {MOST_SEEDS}", found=text, where=where)
        seeds += asked
    return seeds
