"""docs/reliability.md names tests that are there."""

import re

from daemon import ROOT

PAGE = (ROOT / "docs" / "reliability.md").read_text()
ROWS = [line for line in PAGE.split("## The last figures")[0].splitlines() if line.startswith("| ") and not line.startswith("| promise")]
SWIFT = "\n".join(path.read_text() for path in (ROOT / "Tests").rglob("*.swift"))


def is_there(name):
    """`file.py::test`, or the name of a Swift test."""
    file, _, test = name.rpartition("::")
    if not file:
        return re.search(rf"@Test[^{{]*?\bfunc {name}\(", SWIFT) is not None
    path = ROOT / "Tests" / "Contract" / file
    return path.is_file() and f"\ndef {test}(" in path.read_text()


def test_each_promise_names_tests_that_are_there():
    assert len(ROWS) >= 15
    for row in ROWS:
        promise, held_by, how_often, _ = (cell.strip() for cell in row.strip("|").split("|"))
        names = re.findall(r"`([^`]+)`", held_by)
        assert promise and how_often and names, row
        assert not [name for name in names if not is_there(name)], row


def test_a_test_that_is_not_there_is_found():
    assert not is_there("test_power.py::test_nothing") and not is_there("nothingHolds")
