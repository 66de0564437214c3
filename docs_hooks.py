"""What the site needs beyond mkdocs: pages are written for a checkout, so that they read well there too.

- A link out of `docs/` (a schema, an example) leads to a copy of that file, at the same path below the site.
- Lists are indented, and a `|` in a table's code is escaped, as GitHub takes it; the Markdown of mkdocs wants it otherwise.
- `README.md` of a folder is a section of all its pages, so a new runbook needs no line in mkdocs.yml.
- The build fails where a page would load anything from another machine.
"""

import re
from pathlib import Path
from posixpath import normpath, relpath
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

CHECKOUT = Path(__file__).parent
_OUT_OF_DOCS = re.compile(r"\]\(((?:\.\./)+[^)#]+)")
_INDENT = re.compile(r" {2,3}(?=\S)")
_CELL = re.compile(r"<t[dh]\b.*?</t[dh]>", re.DOTALL)
_ITEM = re.compile(r"(?:\d+\.|-) ")
_FENCE = re.compile(r"\s*```")
_LOADS = re.compile(
    r"""<(?:script|img|iframe|source|link(?! rel="?canonical))\b[^>]*?\b(?:src|href)=["']?(?:https?:)?//[^\s"'>]+"""
)
_CSS_LOADS = re.compile(r"""(?:@import|url\()\s*["']?(?:https?:)?//[^\s"')]+""")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Give each folder with a README.md in the navigation all its pages."""
    config.nav = [_with_pages(entry) for entry in config.nav or []]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add what pages link to outside `docs/`; a link to what is not there is left to the check of links."""
    pages = [file for file in files if file.is_documentation_page()]
    names = {_target(file, link) for file in pages for link in _OUT_OF_DOCS.findall(file.content_string)}
    for name in sorted(names):
        path = CHECKOUT / name
        if not name.startswith(("docs/", "../")) and path.is_file():
            files.append(File.generated(config, name, abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:  # noqa: ARG001
    """Lead links to the copies, and indent lists."""
    folder = Path(page.file.src_uri).parent.as_posix()

    def led(match: re.Match[str]) -> str:
        target = _target(page.file, match[1])
        return match[0] if target.startswith("docs/") else f"]({relpath(target, folder)}"

    return "\n".join(_indented(_OUT_OF_DOCS.sub(led, markdown).splitlines()))


def on_page_content(html: str, page: Page, config: MkDocsConfig, files: Files) -> str:  # noqa: ARG001
    """Take the escape of `|` out of tables."""
    return _CELL.sub(lambda cell: cell[0].replace(r"\|", "|"), html)


def on_post_build(config: MkDocsConfig) -> None:
    """Raise PluginError where a page or a style sheet would load something from another machine."""
    for path in sorted(Path(config.site_dir).rglob("*")):
        pattern = {".html": _LOADS, ".css": _CSS_LOADS}.get(path.suffix)
        if pattern and (found := pattern.search(path.read_text())):
            raise PluginError(f"{path} loads from another machine: {found[0]}")


def _target(file: File, link: str) -> str:
    """Return what a page links to, from the checkout's root."""
    return normpath(f"docs/{Path(file.src_uri).parent.as_posix()}/{link}")


def _with_pages(entry: Any) -> Any:  # noqa: ANN401
    if isinstance(entry, dict):
        return {title: _with_pages(below) for title, below in entry.items()}
    if isinstance(entry, list):
        return [_with_pages(below) for below in entry]
    if not entry.endswith("/README.md"):
        return entry
    folder = (CHECKOUT / "docs" / entry).parent
    others = sorted(path.relative_to(CHECKOUT / "docs").as_posix() for path in folder.glob("*.md"))
    return [entry, *(name for name in others if name != entry)]


def _indented(lines: list[str]) -> list[str]:
    """Move what stands two or three blanks in to four; within a fence, by as much as the fence moved.

    An item after one that has paragraphs of its own gets a blank line before it.
    """
    moved, shift, fenced, paragraphs = [], 0, False, False
    for line in lines:
        if not fenced:
            shift = 4 - found.end() if (found := _INDENT.match(line)) else 0
            if _ITEM.match(line):
                moved += [""] if paragraphs else []
                paragraphs = False
            paragraphs = paragraphs or not line.strip()
        if _FENCE.match(line):
            fenced = not fenced
        moved.append(" " * shift + line if line.strip() else line)
    return moved
