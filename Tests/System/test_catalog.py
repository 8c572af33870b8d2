"""The message catalog and the code, held against each other. Needs no boot."""

import re

from installed import ROOT

CATALOG = ROOT / "systemd" / "scaem-tokend.catalog"
SOURCES = {path: path.read_text() for path in (ROOT / "Sources").rglob("*.swift")}
ID = re.compile(r'"([0-9a-f]{32})"')


def entries():
    """The catalog's entries by their ids."""
    texts = re.split(r"^-- ", CATALOG.read_text(), flags=re.M)[1:]
    found = {text.split()[0]: text.split("\n", 1)[1] for text in texts}
    assert len(found) == len(texts), "an id stands twice in the catalog"
    return found


def cases():
    """The messages that have an id, by their names in the code."""
    text = (ROOT / "Sources" / "Systemd" / "MessageID.swift").read_text()
    found = dict(re.findall(r'case (\w+) = "([0-9a-f]{32})"', text))
    assert len(found) > 20
    return found


def test_every_id_in_the_code_is_explained_and_nothing_else():
    in_code = {identity for text in SOURCES.values() for identity in ID.findall(text)}
    assert in_code == entries().keys()
    assert len(set(cases().values())) == len(cases())


def test_every_message_is_logged_somewhere():
    everywhere = "\n".join(text for path, text in SOURCES.items() if path.name != "MessageID.swift")
    unused = [name for name in cases() if not re.search(rf"\.{name}\b", everywhere)]
    assert not unused


def test_every_line_of_the_log_has_an_id():
    plain = re.compile(r"\b\w*[lL]ogger\.(?:trace|debug|info|notice|warning|error|critical|log)\(")
    found = [path.name for path, text in SOURCES.items() for _ in plain.findall(text)]
    # A record that the journal does not take, in words: its id went with its fields.
    assert found == ["OtherRecords.swift"]


def test_every_entry_says_what_happened_and_what_to_do():
    for identity, text in entries().items():
        head, _, body = text.partition("\n\n")
        assert re.match(r"Subject: \S.*\nDefined-By: scaem-tokend\n", head), identity
        assert len(body.strip().split("\n\n")) >= 2, f"{identity}: what happened, and what to do"
        assert all(len(line) <= 90 for line in body.splitlines()), identity


def test_every_field_that_an_entry_shows_is_logged():
    everywhere = "\n".join(SOURCES.values())
    for identity, text in entries().items():
        for field in re.findall(r"@([^@]+)@", text):
            assert field.startswith("SCAEM_"), f"{identity}: {field}"
            assert f'"{field.removeprefix("SCAEM_").lower()}":' in everywhere, f"{identity}: nobody logs {field}"
