"""docs/limits.md is the one table of limits: its figures are the code's, and each bound has its row."""

import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "limits.md").read_text()
EXAMPLE = (ROOT / "etc" / "scaem-tokend.toml").read_text()

# Each row by its beginning: where its figure stands in the sources, and by what it is multiplied to be the page's.
ROWS = {
    "connections of a user": ("TokenServer/ServerSettings.swift", "connectionsPerUser", 1),
    "connections in all": ("TokenServer/ServerSettings.swift", "connections", 1),
    "tokens of an owner": ("TokenModel/Limits.swift", "tokensPerOwner", 1),
    "changes in all that wait for the disk": ("TokenStore/StoreConfiguration.swift", "queueCapacity", 1),
    "changes in one transaction": ("TokenStore/StoreConfiguration.swift", "batchLimit", 1),
    "changes of a user in one transaction": ("TokenStore/StoreConfiguration.swift", "batchShareOfUser", 1),
    "the same while others wait": ("TokenStore/StoreConfiguration.swift", "batchShareBesideOthers", 1),
    "lines of a user's in a turn": ("TokenServer/ServerSettings.swift", "turnLines", 1),
    "long answers that a user has not read": ("TokenServer/ServerSettings.swift", "answerBytesPerUser", 1),
    "the same in all": ("TokenServer/ServerSettings.swift", "answerBytes", 1),
    "bytes of a line": ("TokenRPC/Wire.swift", "maxLineBytes", 1),
    "seconds for a line": ("TokenServer/ServerSettings.swift", "lineTimeoutMilliseconds", 1 / 1000),
    "levels of nesting": ("TokenRPC/Wire.swift", "maxDepth", 1),
    "entries of a batch": ("TokenRPC/Wire.swift", "maxBatch", 1),
    "changes in flight of a connection": ("TokenServer/ServerSettings.swift", "mutationsInFlight", 1),
    "bytes that a connection has not read": ("TokenServer/ServerSettings.swift", "outputHighWaterBytes", 1),
    "bytes of an answer": ("TokenRPC/Wire.swift", "maxAnswerBytes", 1),
    "tokens that a page": ("TokenStore/StoreConfiguration.swift", "listWalkRows", 1),
    "bytes of events": ("TokenServer/ServerSettings.swift", "watcherBacklogBytes", 1),
    "audit rows": ("TokenStore/StoreConfiguration.swift", "auditRowsMax", 1),
    "units that wait": ("TokenServer/ServerSettings.swift", "pendingCredentials", 1),
    "callers of a user who wait": ("TokenServer/ServerSettings.swift", "waitingForName", 1),
    "tokens that ended": ("TokenStore/EndedTokens.swift", "tokensMax", 1),
    "tokens alive of an application and project": ("TokenModel/Limits.swift", "maxPrevious", None),
}


def rows():
    """The page's first table: what, bound, key, consequence."""
    table = PAGE.split("|---|---|---|---|\n")[1].split("\n\n")[0]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]


def constant(file, name):
    found = re.search(rf"(?:let|var) {name}(?:: \w+)? = ([\d_]+)\b", (ROOT / "Sources" / file).read_text())
    assert found, f"{name} is not in {file}"
    return int(found.group(1).replace("_", ""))


@pytest.mark.parametrize("begin", ROWS)
def test_a_figure_is_the_code_s(begin):
    found = [row for row in rows() if row[0].startswith(begin)]
    assert len(found) == 1, found
    figure = int(re.match(r"[\d,]+", found[0][1]).group().replace(",", ""))
    file, name, factor = ROWS[begin]
    value = constant(file, name)
    assert figure == (value + 1 if factor is None else value * factor), (found[0], value)


def test_every_key_of_limits_has_its_row():
    keys = re.findall(r"^#?([a-z_]+) = ", EXAMPLE.split("#[limits]")[1].split("#[audit]")[0], re.M)
    named = {key for row in rows() for key in re.findall(r"`limits\.(\w+)`", row[2])}
    assert named == set(keys)
    for row in rows():
        for key in re.findall(r"`\w+\.(\w+)`", row[2]):
            standard = re.search(rf"^#{key} = ([\d_]+)", EXAMPLE, re.M).group(1).replace("_", "")
            assert row[1] == "no bound" or int(row[1].replace(",", "")) == int(standard), row


def test_every_error_is_one_of_the_protocol_s():
    protocol = (ROOT / "docs" / "protocol.md").read_text()
    for row in rows():
        assert len(row) == 4 and row[3], row
        for code, reason in re.findall(r"(-32\d{3}) `(\w+)`", row[3]):
            assert f"| {code} | `{reason}` |" in protocol, row


def test_a_sum_of_memory_can_be_read():
    assert memory_bound(connections=0, users=0, tokens=0) == 128 * 2**20


def memory_bound(connections, users, tokens):
    """What the page allows the daemon in bytes."""
    units = {"bytes": 1, "KiB": 2**10, "MiB": 2**20}
    part = {
        what: int(number) * units[unit] for what, number, unit in re.findall(r"^\| (.*) \| (\d+) (\w+) \|$", PAGE, re.M)
    }
    unread = min(
        users * part["long answers that one user has not read"], part["long answers that all users have not read"]
    )
    return (
        part["program, libraries, caches, tokens that ended"] + connections * part["each connection"] + unread
        + tokens * part["each token"]
    )  # fmt: skip
