"""What every contract test shares: the people, and a daemon of its own or one a module."""

import itertools
import os
import random

import pytest

import people
from daemon import Daemon


@pytest.fixture(scope="session", autouse=True)
def _people():
    people.create_people()


@pytest.fixture
def make_daemon():
    """Makes daemons, not yet started; each is stopped at the end, must exit 0 and must have kept every token secret."""
    made = []

    def make(**options):
        made.append(Daemon(**options))
        return made[-1]

    yield make
    failures = []
    for daemon in made:
        try:
            daemon.discard()
        except AssertionError as failure:
            failures.append(str(failure))
    assert not failures, "\n".join(failures)


@pytest.fixture
def daemon(make_daemon):
    """A daemon of this test's own."""
    return make_daemon().start()


@pytest.fixture(scope="module")
def shared():
    """One daemon for the cheap tests of a module: each of them uses names of its own."""
    daemon = Daemon().start()
    yield daemon
    daemon.discard()


@pytest.fixture
def root(shared):
    """An administrator's connection to the shared daemon."""
    with shared.connect() as connection:
        yield connection


_counter = itertools.count(1)


@pytest.fixture
def name():
    """Makes names of applications and projects that no other test uses."""
    return lambda prefix="app": f"{prefix}-{next(_counter)}"


@pytest.fixture
def seeded():
    """A random generator; its seed is printed with a failure. SCAEM_SEED repeats a run."""
    seed = int(os.environ.get("SCAEM_SEED") or random.SystemRandom().randrange(2**32))
    print(f"SCAEM_SEED={seed}")
    return random.Random(seed)
