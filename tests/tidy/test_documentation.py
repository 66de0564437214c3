"""What the documentation names exists: links and their anchors, commands and their options, and each page is on the site."""

import re
from pathlib import Path
from posixpath import normpath

import pytest
from typer import BadParameter

from tests.support.pages import command_lines, commands_in_prose, prose, refuse_unknown
from tests.tidy import tree

PAGES = {tree.name(path): path.read_text() for path in tree.files() if path.suffix == ".md"}
NAVIGATION = set(re.findall(r"(?m)^ +- .*: (\S+\.md)$", (tree.CHECKOUT / "mkdocs.yml").read_text()))
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


def _anchors(page: str) -> set[str]:
    """The anchors of its headings, as GitHub and the site make them."""
    headings = re.findall(r"(?m)^#+ +(.+?) *$", re.sub(r"(?ms)^ *```.*?^ *```$", "", page))
    shown = (re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).replace("`", "") for heading in headings)
    return {re.sub(r"[^\w\- ]", "", heading).strip().lower().replace(" ", "-") for heading in shown}


def _broken(name: str, page: str) -> list[str]:
    broken = []
    for link in _LINK.findall(prose(page)):
        if re.match(r"[a-z]+:", link):
            continue
        file, _, anchor = link.partition("#")
        target = (tree.CHECKOUT / name).parent / file if file else tree.CHECKOUT / name
        known = target.is_file() and (not anchor or anchor in _anchors(page if not file else target.read_text()))
        if not known or not target.resolve().is_relative_to(tree.CHECKOUT):
            broken.append(f"{name}: {link}")
    return broken


def _wrong(line: str, *, whole: bool = True) -> str | None:
    """Why this command line would not be understood; what is not `whole` may leave out what is required."""
    try:
        refuse_unknown(line)
    except BadParameter as error:
        return None if not whole and type(error).__name__ == "MissingParameter" else f"{line}: {error}"
    except Exception as error:  # noqa: BLE001 - whatever it is, the line is told with it
        return f"{line}: {error}"
    return None


def test_every_link_and_its_anchor_leads_somewhere() -> None:
    assert sum(len(_LINK.findall(prose(page))) for page in PAGES.values()) > 100
    assert [broken for name, page in PAGES.items() for broken in _broken(name, page)] == []


@pytest.mark.parametrize("link", ["no-such.md", "cli.md#no-such", "#no-such", "../schemas", "../../elsewhere.md"])
def test_a_link_that_leads_nowhere_is_seen(link: str) -> None:
    assert _broken("docs/cli.md", f"# Here\n\n[there]({link})") == [f"docs/cli.md: {link}"]


def test_every_command_line_in_a_fence_is_understood() -> None:
    lines = [(name, line) for name, page in PAGES.items() for line in command_lines(page)]
    assert len(lines) > 150
    assert [f"{name}: {wrong}" for name, line in lines if (wrong := _wrong(line))] == []


def test_every_command_that_the_text_names_exists() -> None:
    lines = [(name, line) for name, page in PAGES.items() for line in commands_in_prose(page)]
    assert len(lines) > 20
    assert [f"{name}: {wrong}" for name, line in lines if (wrong := _wrong(line, whole=False))] == []


@pytest.mark.parametrize(
    "line",
    [
        "ledger-worker no-such",
        "ledger-worker in-doubt no-such",
        "ledger-worker demo --no-such",
        "ledger-worker reconcile --no-such",
        "ledger-worker tail --count many",
        "ledger-worker accounts hold H1",
        "make no-such",
        "make chaos MINUTES=1",
        "python -m tests.no_such",
        "python -m tests.support",
        "python -m sandbox serve --no-such",
        "python examples/no_such.py",
    ],
)
def test_a_command_line_that_would_not_be_understood_is_seen(line: str) -> None:
    assert list(command_lines(f"```sh\n$ {line}\n```")) == [line]
    assert _wrong(line) is not None


def test_every_page_is_on_the_site_or_in_the_list_of_its_folder() -> None:
    for name, page in PAGES.items():
        path = Path(name).relative_to("docs") if name.startswith("docs/") else None
        if path is None or path.as_posix() in NAVIGATION:
            continue
        listing = path.parent / "README.md"
        assert listing.as_posix() in NAVIGATION, f"{path} is not in mkdocs.yml"
        assert f"({path.name})" in PAGES[f"docs/{listing}"], f"{listing} does not link {path.name}"
        assert page.startswith("# "), f"{path} has no title"
    assert {f"docs/{name}" for name in NAVIGATION} <= set(PAGES)


def test_no_page_of_the_site_links_a_page_outside_of_it() -> None:
    """`make docs` would copy it, and its own links would lead nowhere there."""
    pages = {name: page for name, page in PAGES.items() if name.startswith("docs/")}
    outside = {name: found for name, page in pages.items() if (found := _pages_outside(name, page))}
    assert outside == {}
    assert _pages_outside("docs/a.md", "[changes](../CHANGELOG.md#now)") == ["CHANGELOG.md"]


def _pages_outside(name: str, page: str) -> list[str]:
    targets = [normpath(f"{Path(name).parent}/{link}") for link in re.findall(r"\]\((?!\w+:)([^)#]+\.md)", page)]
    return [target for target in targets if not target.startswith("docs/")]
