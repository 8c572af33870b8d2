"""The audit, in a booted system with its journal."""

import pytest

from boot import INSIDE
from installed import ROOT, boot_installed, checks_of

AUDIT = INSIDE / "audit.py"


@pytest.fixture(scope="module")
def audit():
    return boot_installed(AUDIT, limit=580, files={"/test/audit.md": ROOT / "docs" / "audit.md"})


@pytest.mark.parametrize("name", checks_of(AUDIT))
def test_audit(audit, name):
    audit.assert_check(name)


def test_no_check_is_missing_or_unknown(audit):
    assert list(audit.checks) == checks_of(AUDIT)
