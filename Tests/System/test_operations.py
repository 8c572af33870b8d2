"""docs/operations.md: every command of it in a booted system, and every message of the catalog in it."""

import re
import sys

import pytest

from boot import INSIDE
from installed import ROOT, boot_installed, checks_of
from test_catalog import SOURCES, cases, entries

sys.path.insert(0, str(INSIDE))
import page  # noqa: E402

SCRIPT = INSIDE / "operations.py"
page.PAGE = ROOT / "docs" / "operations.md"


@pytest.fixture(scope="module")
def booted():
    files = {
        "/test/operations.md": page.PAGE,
        "/usr/share/doc/scaem-tokend/examples/config.toml": ROOT / "etc" / "scaem-tokend.toml",
    }
    return boot_installed(SCRIPT, files=files, limit=580)


@pytest.mark.parametrize("name", checks_of(SCRIPT))
def test_operations(booted, name):
    booted.assert_check(name)


def test_no_check_is_missing_or_unknown(booted):
    assert list(booted.checks) == checks_of(SCRIPT), booted.report()


def explained():
    """The page's sections that begin with a message's id: heading, id, level."""
    found = re.findall(r"^#### (.*)\n\n`([0-9a-f]{32})`, (\w+)\.", page.text(), flags=re.M)
    assert len(found) == len(re.findall(r"^#### ", page.text(), flags=re.M)), "a section has no id and level"
    return found


def test_every_message_has_its_section():
    subjects = {identity: re.match(r"Subject: (.*)", text)[1] for identity, text in entries().items()}
    assert {identity: heading for heading, identity, _ in explained()} == subjects
    in_code = {identity for text in SOURCES.values() for identity in re.findall(r'"([0-9a-f]{32})"', text)}
    assert {identity for _, identity, _ in explained()} == in_code
    assert len(explained()) == len(in_code)


def test_the_levels_are_the_code_s():
    levels = {}
    for text in SOURCES.values():
        for level, name in re.findall(r"\.report\(\s*\.(\w+), \.(\w+)", text):
            levels.setdefault(cases()[name], set()).add(level)
    # The start's failures and the log's own gap are written by a rule, not by a line of theirs.
    assert len(levels) >= len(cases()) - 4, cases().items()
    for heading, identity, level in explained():
        assert level in levels.get(identity, {level}), heading


def test_each_command_is_found():
    """A fence of another kind, or a program that nobody expects, would be a command that no test runs."""
    fences = re.findall(r"^```(\w*)$", page.text(), flags=re.M)
    assert fences.count("sh") * 2 == len(fences) and len(page.blocks()) == fences.count("sh")
    spans = {" ".join(span.split()).replace("\\|", "|") for span in re.findall(r"(?<!`)`([^`]+)`(?!`)", page.text())}
    # The README's, which test_install.py runs, needs a toolchain.
    commands = {span for span in spans if re.match(r"[a-z][\w-]* ", span)}
    assert commands == {"make install", *page.sentences()} - {"systemd-sysusers"}
    assert len(page.sentences()) >= 20, page.sentences()
