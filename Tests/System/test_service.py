"""The daemon as a service of a booted system: one boot a script, one test a check of it."""

import functools

import pytest

from boot import INSIDE
from installed import ROOT, boot_installed, checks_of, shim

SCRIPTS = ["service", "reload", "failure", "logs", "watchdog", "restarts", "rotate"]
LIMIT_SECONDS = 300


@functools.cache
def booted(script):
    """What came of a script, which runs once."""
    files = {
        "/test/freeze.so": shim("freeze"),
        "/test/MessageID.swift": ROOT / "Sources" / "Systemd" / "MessageID.swift",
    }
    return boot_installed(INSIDE / f"{script}.py", files=files, limit=LIMIT_SECONDS)


@pytest.mark.parametrize(
    "script, name", [(script, name) for script in SCRIPTS for name in checks_of(INSIDE / f"{script}.py")]
)
def test_check(script, name):
    booted(script).assert_check(name)


@pytest.mark.parametrize("script", SCRIPTS)
def test_no_check_is_missing_or_unknown(script):
    done = booted(script)
    assert list(done.checks) == checks_of(INSIDE / f"{script}.py"), done.report()
    assert done.status == 0, done.report()
