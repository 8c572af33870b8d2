"""The audit, in a booted system with its journal."""

import functools

import pytest

from boot import INSIDE
from installed import ROOT, boot_installed, checks_of, shim

SCRIPTS = ["audit", "journald"]


@functools.cache
def booted(script):
    """What came of a script, which runs once."""
    files = {
        "/test/audit.md": ROOT / "docs" / "audit.md",
        "/test/MessageID.swift": ROOT / "Sources" / "Systemd" / "MessageID.swift",
        "/usr/lib/scaem-old-kernel.so": shim("old_kernel"),
    }
    return boot_installed(INSIDE / f"{script}.py", limit=580, files=files)


@pytest.mark.parametrize(
    "script, name", [(script, name) for script in SCRIPTS for name in checks_of(INSIDE / f"{script}.py")]
)
def test_audit(script, name):
    booted(script).assert_check(name)


@pytest.mark.parametrize("script", SCRIPTS)
def test_no_check_is_missing_or_unknown(script):
    assert list(booted(script).checks) == checks_of(INSIDE / f"{script}.py")
