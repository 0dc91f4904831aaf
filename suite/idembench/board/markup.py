"""From the index to one HTML file that needs nothing beside it.

So that it works when it is opened by its path, the style sheet and the index are put in, and the modules of
`leaderboard/` are linked into one script, each keeping its own scope. No string of a record is trusted: the
index is data in the page, escaped so that it cannot end its element, the modules only ever make text nodes of
it, and the page's security policy names the one script and the one style sheet by their hashes and allows
nothing else, requests included.
"""

from __future__ import annotations

import base64
import hashlib
import re
from typing import TYPE_CHECKING

from idembench.errors import EnvironmentProblem
from idembench.files import asset, canonical_json

if TYPE_CHECKING:
    from pathlib import Path

    from idembench.board.shape import Index

PAGE = "index.html"
_STYLE = '<link rel="stylesheet" href="./style.css">'
_SCRIPT = '<script type="module" src="./main.js"></script>'
_DATA = '<script type="application/json" id="index"></script>'
_POLICY = "<!-- idembench: security policy -->"
_IMPORT = re.compile(r'^import \{ (?P<names>\w+(?:, \w+)*) \} from "\./(?P<module>[\w-]+)\.js";$', re.MULTILINE)
_EXPORT = re.compile(r"^export (?=(?:async )?(?:function|const|class) (?P<name>\w+))", re.MULTILINE)
_LEFT = re.compile(r"^\s*(?:import|export)\b.*|</script|<!--", re.MULTILINE | re.IGNORECASE)


def page(index: Index) -> str:
    """The page over `index`, complete in itself.

    Raises:
        EnvironmentProblem: If the files of `leaderboard/` do not fit together.
    """
    folder = asset("leaderboard")
    template = _source(folder / PAGE)
    style = _source(folder / "style.css")
    script = link(folder)
    if "</" in style:
        raise _unfit(folder / "style.css", "the end of an element")
    policy = "; ".join(
        [
            "default-src 'none'",
            f"script-src '{_hash(script)}'",
            f"style-src '{_hash(style)}'",
            "img-src data:",
            "base-uri 'none'",
            "form-action 'none'",
            "require-trusted-types-for 'script'",
            "trusted-types 'none'",
        ]
    )
    parts = {
        _POLICY: f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
        _STYLE: f"<style>{style}</style>",
        _SCRIPT: f'<script type="module">{script}</script>',
        _DATA: f'<script type="application/json" id="index">{escape_json(index)}</script>',
    }
    for place in parts:
        if template.count(place) != 1:
            raise _unfit(folder / PAGE, f"{template.count(place)} times {place}")
    # In one pass, so that nothing that was put in is looked through for a place to put more in.
    return re.sub("|".join(map(re.escape, parts)), lambda match: parts[match.group()], template)


def escape_json(value: object) -> str:
    """Canonical JSON that can stand in any element: no character of it means anything to HTML.

    `json.loads(escape_json(v)) == v`
    """
    text = canonical_json(value).decode()
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def link(folder: Path, entry: str = "main") -> str:
    r"""Link ES modules into one script: each becomes a function called once, so that its scope stays its own.

    `import { a } from "./b.js";` becomes `const { a } = $b;`, and what a module exports is what its function
    returns. Modules keep to that form: named imports on one line without renaming, and `export` in front
    of `function`, `const` or `class`.

    Raises:
        EnvironmentProblem: If a module is missing, keeps to another form, or imports itself in a circle.
    """
    linked: dict[str, str] = {}

    def visit(name: str, above: tuple[str, ...]) -> None:
        if name in above:
            raise _unfit(folder / f"{name}.js", f"a circle of imports: {' -> '.join((*above, name))}")
        if name in linked:
            return
        text = _source(folder / f"{name}.js")
        for match in _IMPORT.finditer(text):
            visit(match["module"], (*above, name))
        exported = ", ".join(match["name"] for match in _EXPORT.finditer(text))
        body = _EXPORT.sub("", _IMPORT.sub(r"const { \g<names> } = $\g<module>;", text))
        if left := _LEFT.search(body):
            raise _unfit(folder / f"{name}.js", left.group().strip())
        linked[name] = f"const ${name} = (() => {{\n{body}return {{ {exported} }};\n}})();\n"

    visit(entry, ())
    return "\n" + "\n".join(linked.values())


def _source(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise _unfit(path, str(error.strerror)) from error


def _unfit(path: Path, found: str) -> EnvironmentProblem:
    return EnvironmentProblem(
        "The page cannot be put together.", found=found, where=str(path), do="See leaderboard/README.md."
    )


def _hash(text: str) -> str:
    """What a security policy calls an inline script or style sheet by."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
