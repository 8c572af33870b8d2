"""The Debian package: what it says of itself, and its life in a booted system."""

import re
import subprocess

import pytest

from boot import INSIDE, boot
from installed import ROOT, checks_of
from packages import EARLIER_VERSION, field, packages

SCRIPT = INSIDE / "package.py"
# The C libraries of the daemon; who makes the users; nothing of Swift, for that is linked in.
DEPENDS = {"libc6", "libgcc-s1", "libsqlite3-0", "libssl3", "libstdc++6", "libsystemd0",
           "systemd | systemd-standalone-sysusers | systemd-sysusers"}  # fmt: skip


def test_it_depends_on_what_it_needs_and_nothing_else():
    named = re.sub(r" \([^)]*\)", "", field(packages().later, "Depends")).split(", ")
    assert sorted(named) == sorted(DEPENDS)
    assert field(packages().later, "Recommends") == "libnss-systemd, jq"


def test_lintian_has_looked_at_it_and_what_it_may_find_has_its_reason():
    # scripts/deb fails where lintian finds more than that.
    assert "\nlintian: nothing but what debian/ explains\n" in packages().log
    for file in (ROOT / "debian").glob("**/*lintian-overrides"):
        before = ""
        for line in file.read_text().splitlines():
            assert not line or line.startswith("#") or before.startswith("#"), f"{file.name}: no reason for {line}"
            before = line


def test_its_versions_are_two():
    version = re.search(r'"([\d.]+)"', (ROOT / "Sources" / "TokenRPC" / "Version.swift").read_text())[1]
    assert field(packages().later, "Version") == f"{version}-1"
    assert field(packages().earlier, "Version") == f"{EARLIER_VERSION}-1"
    subprocess.run(["dpkg", "--compare-versions", f"{EARLIER_VERSION}-1", "lt", f"{version}-1"], check=True)


@pytest.fixture(scope="module")
def booted():
    built = packages()
    return boot(
        SCRIPT,
        files={
            "/test/wire.py": ROOT / "Tests" / "Contract" / "wire.py",
            "/test/MessageID.swift": ROOT / "Sources" / "Systemd" / "MessageID.swift",
        },
        programs={"/test/earlier.deb": built.earlier, "/test/later.deb": built.later},
        limit=400,
    )


@pytest.mark.parametrize("name", checks_of(SCRIPT))
def test_package(booted, name):
    booted.assert_check(name)


def test_no_check_is_missing_or_unknown(booted):
    assert list(booted.checks) == checks_of(SCRIPT), booted.report()
    assert booted.status == 0, booted.report()
