"""The units, in a booted system."""

import pytest

from boot import INSIDE
from installed import boot_installed, checks_of

SERVICE = INSIDE / "service.py"


@pytest.fixture(scope="module")
def service():
    return boot_installed(SERVICE)


@pytest.mark.parametrize("name", checks_of(SERVICE))
def test_service(service, name):
    service.assert_check(name)


def test_no_check_is_missing_or_unknown(service):
    assert list(service.checks) == checks_of(SERVICE)
