"""The public page: reads records, keeps what a page needs of them in an index, writes one static file.

    results/**/record.json --index--> Index --page--> out/index.html  (and out/index.json)

The page shows what records say; whether that is true is `verify`'s business. A record that cannot be read
or shown is left out and named, and never breaks the page. The run report is the same page over one record.
Needs no torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from idembench.board.index import build_index
from idembench.board.markup import PAGE, page
from idembench.board.shape import Index, LeftOut, Superseded
from idembench.files import canonical_json, write_bytes, write_text

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Built", "Index", "LeftOut", "Superseded", "build", "build_index", "page"]

INDEX = "index.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """A page that was written.

    Attributes:
        page: Path of its `index.html`.
        records: Records on it.
        superseded: Records that others on it take further, named on it with the one that does.
        left_out: Records that are named on it as left out, with the reason.
    """

    page: Path
    records: int
    superseded: tuple[Superseded, ...]
    left_out: tuple[LeftOut, ...]


def build(results: Path, out: Path) -> Built:
    """Write the page over all records below `results` into `out`.

    Args:
        results: A results folder, or the folder of one record. The page shows paths as they are typed from
            the working directory; of a folder elsewhere it shows the last part only.
        out: Where `index.html` and `index.json` go.

    Raises:
        DataError: If `results` is no folder.
        EnvironmentProblem: If `out` cannot be written, or the installation is incomplete.
    """
    index = build_index(results)
    write_bytes(out / INDEX, canonical_json(index))
    write_text(out / PAGE, page(index))
    return Built(
        page=out / PAGE,
        records=len(index["records"]),
        superseded=tuple(index["superseded"]),
        left_out=tuple(index["left_out"]),
    )
