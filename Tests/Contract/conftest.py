"""What every contract test shares: the people, and a daemon of its own or one a module."""

import ctypes
import itertools
import os
import random
import resource
import signal
import subprocess

import pytest

import people
from daemon import Daemon


CLONE_NEWNS = 0x20000
# journald's sockets, and what it has kept.
JOURNAL = ["/run/systemd/journal", "/run/log/journal", "/var/log/journal"]


@pytest.fixture(scope="session", autouse=True)
def _people():
    people.create_people()


@pytest.fixture(scope="session", autouse=True)
def _no_journal_of_the_host():
    """The daemons feed no journal but one of a test's own, and read none: in mounts that only this process sees."""
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.unshare(CLONE_NEWNS) == 0, os.strerror(ctypes.get_errno())
    subprocess.run(["mount", "--make-rprivate", "/"], check=True)
    for folder in filter(os.path.isdir, JOURNAL):
        subprocess.run(["mount", "-t", "tmpfs", "tmpfs", folder], check=True)


@pytest.fixture(scope="session", autouse=True)
def _all_descriptors():
    """Some tests hold thousands of connections; a shell's usual bound is 1,024."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


@pytest.fixture(scope="session", autouse=True)
def _usual_signals():
    """The programs inherit what is ignored; nohup and a shell's background would leave some deaf to what they are sent."""
    for number in (signal.SIGHUP, signal.SIGINT):
        if signal.getsignal(number) == signal.SIG_IGN:
            # A handler of Python's, which no program inherits; it does as little as before.
            signal.signal(number, lambda *_: None)


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
