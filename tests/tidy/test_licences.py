"""Each dependency has a licence, the list of them is current, and what the image holds may be given to others."""

import re

import pytest

from tests.tidy.licences import PAGE, SECTIONS, licences, page, pinned
from tests.tidy.tree import CHECKOUT

NOT_IN_THE_IMAGE = re.compile(r"(?<!L)GPL|Affero|AGPL|UNKNOWN|Proprietary", re.IGNORECASE)


def test_the_page_of_licences_is_current() -> None:
    assert PAGE.read_text() == page(), "make pages"


def test_every_dependency_in_the_image_has_a_licence_that_lets_it_be_given_to_others() -> None:
    known = licences()
    shipped = {one.name for one in pinned("run.txt")} & set(known)
    assert len(shipped) > 30
    assert {name: known[name] for name in shipped if NOT_IN_THE_IMAGE.search(known[name])} == {}


def test_no_dependency_is_without_a_licence() -> None:
    known = licences()
    assert [
        one.name for lock in SECTIONS.values() for one in pinned(lock) if known.get(one.name) in {"", "UNKNOWN"}
    ] == []


@pytest.mark.parametrize(
    "licence", ["GPL-3.0-only", "GNU General Public License v2 (GPLv2)", "AGPL-3.0-or-later", "UNKNOWN"]
)
def test_a_licence_that_binds_what_is_given_with_it_is_seen(licence: str) -> None:
    assert NOT_IN_THE_IMAGE.search(licence)
    assert not NOT_IN_THE_IMAGE.search("LGPL-3.0-only")


def test_every_package_of_every_lock_has_a_hash() -> None:
    locks = sorted((CHECKOUT / "requirements").glob("*.txt"))
    assert len(locks) > 5
    for lock in locks:
        packages = re.split(r"(?m)^(?=[\w.-]+==)", lock.read_text())[1:]
        assert packages, lock.name
        assert [one.partition(" ")[0] for one in packages if "--hash=sha256:" not in one] == [], lock.name
