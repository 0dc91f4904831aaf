"""Bytes on disk: one form of JSON, whole files or none, seals that notice everything."""

from __future__ import annotations

import errno
import gzip
import json
import math
import os
import random
import resource
import subprocess
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save_file

from idembench import files
from idembench.errors import DataError, EnvironmentProblem, StoreError, UnknownNameError

if TYPE_CHECKING:
    from collections.abc import Iterator

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
NUMBERS = st.integers() | st.floats(allow_nan=False, allow_infinity=False)
JSON = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)


@contextmanager
def little_room(limit_bytes: int) -> Iterator[None]:
    """Let this process write no file beyond `limit_bytes`, as a full disk would, without special rights."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def names(folder: Path) -> list[str]:
    """Everything below a folder, by relative path."""
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


# -- JSON -----------------------------------------------------------------------------------------


@given(JSON)
def test_canonical_json_reads_back(value: Any) -> None:
    """Parsing the canonical form of a JSON value gives the value back."""
    assert value == files.parse_json(files.canonical_json(value), where="here")


@given(JSON)
def test_canonical_json_is_a_fixed_point(value: Any) -> None:
    """Writing, reading and writing again gives the same bytes."""
    once = files.canonical_json(value)

    assert once == files.canonical_json(json.loads(once))


@given(st.dictionaries(TEXT, NUMBERS, min_size=2), st.randoms(use_true_random=False))
def test_canonical_json_does_not_know_the_order_of_keys(value: dict[str, float], rng: random.Random) -> None:
    """Two dictionaries that are equal have the same canonical form, whatever order their keys came in."""
    keys = list(value)
    rng.shuffle(keys)

    assert files.canonical_json(value) == files.canonical_json({key: value[key] for key in keys})


def test_canonical_json_is_the_documented_form() -> None:
    """UTF-8, sorted keys, no spaces, one newline at the end."""
    assert '{"a":[1,2.5,null],"é":"\u2028"}\n'.encode() == files.canonical_json({"é": "\u2028", "a": [1, 2.5, None]})


@pytest.mark.parametrize(
    "value",
    [
        math.nan,
        {"a": [math.inf]},
        -math.inf,
        {1, 2},
        b"bytes",
        Path("somewhere"),
        {1: "a", "1": "b"},
        {("a",): 1},
        "\ud800",
    ],
    ids=repr,
)
def test_canonical_json_refuses_what_json_cannot_say(value: object) -> None:
    """NaN, infinities, bytes, sets, odd keys and lone surrogates are errors, never approximations."""
    with pytest.raises(DataError, match="canonical JSON"):
        files.canonical_json(value)


def test_canonical_json_refuses_what_never_ends() -> None:
    """A list that holds itself, and one that is nested too deeply, are data errors and no crash."""
    ring: list[Any] = []
    ring.append(ring)
    deep: list[Any] = []
    for _ in range(200_000):
        deep = [deep]

    for value in (ring, deep):
        with pytest.raises(DataError):
            files.canonical_json(value)
    while deep:
        deep = deep.pop()


@pytest.mark.parametrize(
    "text",
    [
        '{"a":1,"a":1}',
        '{"b":{"a":1,"c":0,"a":2}}',
        "NaN",
        "[Infinity]",
        "-Infinity",
        "1e999",
        '{"a":-1e400}',
        "",
        "{",
        '{"a":1} {"b":2}',
        "'a'",
        "[" * 100_000,
        "9" * 10_000,
    ],
    ids=lambda text: text[:16] or "nothing",
)
def test_parse_json_refuses_more_than_json_does(text: str) -> None:
    """Duplicate keys, numbers that are not finite and anything malformed are refused, with the place named."""
    with pytest.raises(DataError) as caught:
        files.parse_json(text, where="line 7")

    assert caught.value.where == "line 7"


def test_parse_json_refuses_bytes_that_are_no_text() -> None:
    """Bytes that are not UTF-8 are a data error, not a traceback."""
    with pytest.raises(DataError):
        files.parse_json(b'{"a":"\xff"}', where="here")


@given(st.lists(st.dictionaries(TEXT, JSON, max_size=3), max_size=5))
def test_jsonl_reads_back(tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, Any]]) -> None:
    """Rows survive JSON Lines whatever characters they hold, line separators of Unicode included."""
    path = tmp_path_factory.mktemp("jsonl") / "rows.jsonl"
    files.write_jsonl(path, rows)

    assert rows == files.read_jsonl(path)


@pytest.mark.parametrize("bad", [b"", b"[1]", b"nonsense", b'{"a":1,"a":2}', b'{"a":"\xff"}'])
def test_jsonl_names_the_bad_line(tmp_path: Path, bad: bytes) -> None:
    """A blank line, a line that is no object and one that is no JSON are refused, by file and line number."""
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'{"a":1}\n' + bad + b'\n{"a":3}\n')

    with pytest.raises(DataError) as caught:
        files.read_jsonl(path)

    assert caught.value.where == f"{path}, line 2"


def test_a_missing_file_is_a_data_error(tmp_path: Path) -> None:
    """Reading what is not there says so and names the path."""
    with pytest.raises(DataError, match="cannot be read") as caught:
        files.read_json(tmp_path / "nothing.json")

    assert caught.value.where == str(tmp_path / "nothing.json")


# -- hashes and seeds -----------------------------------------------------------------------------


def test_derived_seeds_never_change() -> None:
    """Seeds that published records depend on are the same for ever."""
    expected = [1401980091, 2141308229, 464043823]

    assert expected == [
        files.derive_seed("train", "toyland", "sycophancy", 0, "c0"),
        files.derive_seed("prompts", "toyland", 3),
        files.derive_seed(),
    ]


@given(st.lists(st.integers(0, 9) | TEXT, max_size=4), st.lists(st.integers(0, 9) | TEXT, max_size=4))
def test_derived_seeds_depend_on_every_part(one: list[Any], other: list[Any]) -> None:
    """Different parts give different seeds, and a seed fits 31 bits."""
    assert (one == other) == (files.derive_seed(*one) == files.derive_seed(*other))
    assert 0 <= files.derive_seed(*one) < 1 << 31


def test_parts_of_a_seed_do_not_run_together() -> None:
    """Moving a character from one part to the next gives another seed."""
    assert files.derive_seed("ab", "c") != files.derive_seed("a", "bc")


def test_hashes_agree(tmp_path: Path) -> None:
    """A file larger than one chunk hashes as its bytes do."""
    data = random.Random(0).randbytes(3 * (1 << 20) + 17)
    (tmp_path / "big").write_bytes(data)

    assert files.sha256_bytes(data) == files.sha256_file(tmp_path / "big")


# -- atomic writes --------------------------------------------------------------------------------


def test_a_write_replaces_the_whole_file(tmp_path: Path) -> None:
    """A shorter file leaves nothing of a longer one behind, and no temporary file either."""
    path = tmp_path / "deep" / "file.txt"
    files.write_text(path, "long " * 100)
    files.write_text(path, "short")

    assert path.read_text() == "short"
    assert ["deep", "deep/file.txt"] == names(tmp_path)


def test_a_write_that_does_not_fit_keeps_the_old_bytes(tmp_path: Path) -> None:
    """When the disk has no room, the old file stays, nothing is left beside it, and the error says what to do."""
    path = tmp_path / "file.bin"
    files.write_bytes(path, b"old")

    with little_room(1024), pytest.raises(EnvironmentProblem, match="cannot be written") as caught:
        files.write_bytes(path, b"new" * 1024)

    assert path.read_bytes() == b"old"
    assert ["file.bin"] == names(tmp_path)
    assert caught.value.where == str(path)
    assert "finished steps are kept" in str(caught.value.do)


def test_a_place_that_cannot_be_written_is_the_machines_fault(tmp_path: Path) -> None:
    """Writing below a file (or anywhere impossible) is an environment problem that names the place."""
    (tmp_path / "file").write_text("in the way")

    with pytest.raises(EnvironmentProblem):
        files.write_text(tmp_path / "file" / "below", "text")


def test_libraries_that_run_out_of_room_are_understood(tmp_path: Path) -> None:
    """What safetensors says of a full disk is the same clear error as what the system says."""
    weights = {"a": np.zeros(100_000)}

    with little_room(4096), pytest.raises(EnvironmentProblem, match="cannot be"), files.writing_under(tmp_path):
        save_file(weights, tmp_path / "weights.safetensors")


def test_other_errors_are_not_taken_for_a_full_disk(tmp_path: Path) -> None:
    """A mistake in the code that writes stays what it is."""
    with pytest.raises(ZeroDivisionError), files.writing_under(tmp_path):
        raise ZeroDivisionError


# -- gzip -----------------------------------------------------------------------------------------


@given(st.binary(max_size=2000))
def test_gzip_reads_back(data: bytes) -> None:
    """What was compressed comes back, and Python's own gzip agrees."""
    packed = files.gzip_bytes(data)

    assert data == files.gunzip_bytes(packed, where="here")
    assert data == gzip.decompress(packed)


def test_gzip_is_deterministic() -> None:
    """Compressed bytes name no time and no file, so equal data gives equal bytes."""
    packed = files.gzip_bytes(b"the same\n" * 50)

    assert packed == files.gzip_bytes(b"the same\n" * 50)
    assert packed[4:8] == b"\0\0\0\0"
    assert packed[3] == 0


@given(st.data())
def test_gzip_notices_missing_and_extra_bytes(data: st.DataObject) -> None:
    """A stream that is cut anywhere, or carries anything behind its end, is refused."""
    packed = files.gzip_bytes(b"some text that compresses, some text that compresses")
    cut = data.draw(st.integers(0, len(packed) - 1))
    extra = data.draw(st.binary(min_size=1, max_size=20))

    for broken in (packed[:cut], packed + extra, packed + packed):
        with pytest.raises(DataError):
            files.gunzip_bytes(broken, where="here")


def test_a_flipped_bit_never_gives_other_text() -> None:
    """A changed bit behind the header is refused, unless it is one that the format ignores."""
    text = b"some text that compresses, some text that compresses"
    packed, ignored = files.gzip_bytes(text), 0
    for bit in range(80, 8 * len(packed)):
        broken = bytearray(packed)
        broken[bit // 8] ^= 1 << bit % 8
        try:
            found = files.gunzip_bytes(bytes(broken), where="here")
        except DataError:
            continue
        ignored += 1

        assert text == found
    assert ignored < 8


def test_a_bomb_stops_at_the_limit() -> None:
    """A small file that would grow beyond the limit is refused without being unpacked whole."""
    bomb = files.gzip_bytes(b"\0" * 20_000_000)

    with pytest.raises(DataError, match="too large"):
        files.gunzip_bytes(bomb, where="here", limit_bytes=1_000_000)


def test_a_file_just_under_the_limit_is_read() -> None:
    """The limit is the first size that is refused."""
    packed = files.gzip_bytes(b"a" * 999)

    assert b"a" * 999 == files.gunzip_bytes(packed, where="here", limit_bytes=1000)
    with pytest.raises(DataError):
        files.gunzip_bytes(packed, where="here", limit_bytes=999)


# -- sealed folders -------------------------------------------------------------------------------


def make_sealed(target: Path, content: dict[str, bytes] | None = None, **manifest: object) -> Path:
    """A sealed folder with these files."""
    wanted = {"a.txt": b"first", "nested/b.bin": bytes(range(256))} if content is None else content
    with files.sealing(target, {"kind": "test", **manifest}) as folder:
        for name, data in wanted.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(data)
    return target


def test_a_sealed_folder_is_whole(tmp_path: Path) -> None:
    """Sealing renames the filled folder into place with its manifest, and nothing is wrong with it."""
    folder = make_sealed(tmp_path / "step")

    assert [] == files.check_seal(folder)
    assert ["a.txt", "manifest.json", "nested", "nested/b.bin"] == names(folder)
    assert ["step"] == [path.name for path in tmp_path.iterdir()]


def test_a_seal_depends_on_content_alone(tmp_path: Path) -> None:
    """The same files give the same manifest bytes at another place and time."""
    one, other = make_sealed(tmp_path / "one"), make_sealed(tmp_path / "other")

    assert (one / files.MANIFEST).read_bytes() == (other / files.MANIFEST).read_bytes()


def test_the_digest_depends_on_names_sizes_and_bytes(tmp_path: Path) -> None:
    """Renaming, emptying or changing a file gives another digest; the order of listing does not."""
    line = files.FileEntry(name="a", bytes=1, sha256="0")
    other = files.FileEntry(name="b", bytes=2, sha256="1")
    digest = files.digest_of([line, other])

    assert digest == files.digest_of([other, line])
    changed = [
        [files.FileEntry(name="c", bytes=1, sha256="0"), other],
        [files.FileEntry(name="a", bytes=2, sha256="0"), other],
        [files.FileEntry(name="a", bytes=1, sha256="2"), other],
        [line],
        [],
    ]
    assert len({digest, *map(files.digest_of, changed)}) == 1 + len(changed)


def test_every_flipped_byte_breaks_a_seal(tmp_path: Path) -> None:
    """Whatever byte of whatever file is changed, the manifest's own included, the seal is broken."""
    folder = make_sealed(tmp_path / "step", {"a.txt": b"first", "nested/b.bin": b"\0\1"}, inputs={"n": 1, "x": None})
    kept = []
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        whole = path.read_bytes()
        for place in range(len(whole)):
            flipped = bytes([whole[place] ^ 1 << place % 8])
            path.write_bytes(whole[:place] + flipped + whole[place + 1 :])
            if not files.check_seal(folder):
                kept.append((path.name, place))
        path.write_bytes(whole)

    assert kept == []
    assert [] == files.check_seal(folder)


@pytest.mark.parametrize(
    ("damage", "named"),
    [
        (lambda folder: (folder / "a.txt").unlink(), "a.txt: missing"),
        (lambda folder: (folder / "c.txt").write_text("more"), "c.txt: not in the manifest"),
        (lambda folder: (folder / "nested" / ".hidden").write_text(""), "nested/.hidden: not in the manifest"),
        (lambda folder: (folder / "a.txt").write_bytes(b""), "a.txt: expected sha256"),
        (lambda folder: (folder / "a.txt").write_bytes(b"first "), "a.txt: expected sha256"),
        (lambda folder: (folder / "a.txt").rename(folder / "z.txt"), "a.txt: missing"),
        (lambda folder: (folder / files.MANIFEST).unlink(), "manifest.json: unreadable"),
        (lambda folder: (folder / files.MANIFEST).write_bytes(b""), "manifest.json: unreadable"),
        (lambda folder: (folder / files.MANIFEST).write_bytes(b"[]\n"), "manifest.json: unreadable"),
        (lambda folder: (folder / files.MANIFEST).write_bytes(b"\xff"), "manifest.json: unreadable"),
    ],
)
def test_damage_is_named(tmp_path: Path, damage: Any, named: str) -> None:
    """A file that is missing, extra, renamed, cut or lengthened is reported by name."""
    folder = make_sealed(tmp_path / "step")
    damage(folder)

    assert any(line.startswith(named) for line in files.check_seal(folder))


@pytest.mark.parametrize("key", ["kind", "files", "digest", "seal"])
def test_an_edited_manifest_is_noticed(tmp_path: Path, key: str) -> None:
    """Taking a key out of the manifest, or rewriting it, breaks the seal even in perfect canonical JSON."""
    folder = make_sealed(tmp_path / "step")
    manifest = files.read_json(folder / files.MANIFEST)
    for edited in ({k: v for k, v in manifest.items() if k != key}, {**manifest, key: []}, {**manifest, "more": 1}):
        (folder / files.MANIFEST).write_bytes(files.canonical_json(edited))

        assert files.check_seal(folder)


def test_all_that_is_wrong_is_listed(tmp_path: Path) -> None:
    """Damage to several files is reported in one go."""
    folder = make_sealed(tmp_path / "step", {"a": b"1", "b": b"2", "c": b"3"})
    (folder / "a").unlink()
    (folder / "b").write_bytes(b"x")
    (folder / "d").write_bytes(b"y")

    assert ["a", "b", "d"] == sorted(line.partition(":")[0] for line in files.check_seal(folder))


@pytest.mark.parametrize("failure", [ZeroDivisionError, KeyboardInterrupt, OSError])
def test_nothing_is_sealed_when_filling_fails(tmp_path: Path, failure: type[BaseException]) -> None:
    """An error or Ctrl-C while a folder is filled leaves neither the folder nor a temporary one."""

    def fill(folder: Path) -> None:
        (folder / "half.txt").write_text("half")
        raise failure

    with pytest.raises(failure), files.sealing(tmp_path / "step", {}) as folder:
        fill(folder)

    assert [] == names(tmp_path)


def test_nothing_is_sealed_when_the_manifest_cannot_be_written(tmp_path: Path) -> None:
    """A manifest that JSON cannot say is an error, and nothing is left behind."""
    with pytest.raises(DataError), files.sealing(tmp_path / "step", {"x": math.nan}) as folder:
        (folder / "whole.txt").write_text("whole")

    assert [] == names(tmp_path)


def test_a_disk_without_room_seals_nothing(tmp_path: Path) -> None:
    """When the manifest does not fit, the error is an environment problem and no folder is left."""
    with little_room(64), pytest.raises(EnvironmentProblem), files.sealing(tmp_path / "step", {"x": "y" * 99}) as at:
        (at / "small.txt").write_text("fits")

    assert [] == names(tmp_path)


def test_a_disk_that_fills_while_a_folder_is_filled_is_understood(tmp_path: Path) -> None:
    """Whoever writes into the folder, a full disk is the same clear error, and other errors stay what they are."""
    for number, expected in ((errno.ENOSPC, EnvironmentProblem), (errno.ENOENT, FileNotFoundError)):
        with pytest.raises(expected), files.sealing(tmp_path / "step", {}):
            raise OSError(number, os.strerror(number))

    assert [] == names(tmp_path)


def test_a_folder_that_is_there_is_never_overwritten(tmp_path: Path) -> None:
    """Sealing onto a finished folder fails and leaves that one as it was."""
    folder = make_sealed(tmp_path / "step")
    before = {name: (folder / name).read_bytes() for name in ("a.txt", "manifest.json")}

    with pytest.raises(EnvironmentProblem):
        make_sealed(tmp_path / "step", {"other.txt": b"other"})

    assert before == {name: (folder / name).read_bytes() for name in ("a.txt", "manifest.json")}
    assert ["step"] == [path.name for path in tmp_path.iterdir()]


def test_a_really_full_disk_loses_nothing(tmp_path: Path) -> None:
    """On a file system with no space left, writing and sealing fail clearly and what was there stays whole."""
    place = tmp_path / "tiny"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(place)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("mounting a tiny file system needs rights that this user has not")
    try:
        folder = make_sealed(place / "step")
        files.write_bytes(place / "file.bin", b"old")
        (place / "filler").write_bytes(b"x" * 100_000)

        with pytest.raises(EnvironmentProblem, match="cannot be written") as written:
            files.write_bytes(place / "file.bin", b"new" * 100_000)
        with pytest.raises(EnvironmentProblem) as sealed, files.sealing(place / "other", {}) as at:
            files.write_bytes(at / "big.bin", b"x" * 300_000)

        assert {"No space left on device"} == {written.value.found, sealed.value.found}
        assert (place / "file.bin").read_bytes() == b"old"
        assert [] == files.check_seal(folder)
        assert ["file.bin", "filler", "step"] == sorted(path.name for path in place.iterdir())
    finally:
        subprocess.run(["umount", str(place)], check=True)


def test_sweeping_takes_temporary_things_alone(tmp_path: Path) -> None:
    """What killed writes leave behind is removed; everything else stays."""
    (tmp_path / ".tmp-abc-1").mkdir()
    (tmp_path / ".tmp-abc-1" / "file").write_text("half")
    (tmp_path / ".record.json.xyz.part").write_text("half")
    (tmp_path / ".keep").write_text("whole")
    make_sealed(tmp_path / "step")

    assert 2 == files.sweep_temporary(tmp_path)
    assert [".keep", "step"] == sorted(path.name for path in tmp_path.iterdir())


def test_removing_and_emptying(tmp_path: Path) -> None:
    """A file, a folder and the inside of a folder can be removed; what is not there is no error."""
    make_sealed(tmp_path / "step")
    files.empty(tmp_path / "step")

    assert [] == names(tmp_path / "step")
    files.remove(tmp_path / "step")
    files.remove(tmp_path / "never was")
    assert [] == names(tmp_path)


def test_what_cannot_be_removed_is_a_store_error(tmp_path: Path) -> None:
    """Removing something impossible says where it lies."""
    (tmp_path / "file").write_text("in the way")

    with pytest.raises(StoreError, match="cannot be removed"):
        files.remove(tmp_path / "file" / "below")


# -- assets ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["tasks", "baselines"])
def test_assets_are_found(name: str) -> None:
    """The folders that travel with the package are found from any working directory."""
    found = files.asset(name)
    here = Path.cwd()
    try:
        os.chdir("/")

        assert found == files.asset(name)
        assert found.is_dir()
    finally:
        os.chdir(here)


def test_an_unknown_asset_is_named() -> None:
    """Only the listed folders are assets, and a near miss is offered."""
    with pytest.raises(UnknownNameError) as caught:
        files.asset("task")

    assert caught.value.do == "Did you mean tasks?"


def test_records_are_found_in_path_order(tmp_path: Path) -> None:
    """Every folder with a record is found below a results folder, and a record is its own."""
    for name in ("b/2", "a/1", "b/1"):
        files.write_text(tmp_path / name / files.RECORD, "{}")
    (tmp_path / "c").mkdir()

    assert [tmp_path / name for name in ("a/1", "b/1", "b/2")] == files.find_records(tmp_path)
    assert [tmp_path / "a/1"] == files.find_records(tmp_path / "a/1")


def test_cores_are_those_this_process_may_use() -> None:
    """At least one core, and no more than the machine has."""
    assert 1 <= files.available_cores() <= (os.cpu_count() or 1)
