"""What the journal costs: rotations with a real journald to feed, and with none."""

import os
import signal
import statistics
import time
from contextlib import contextmanager

from .servers import Daemon
from .settings import ROUNDS, SECONDS, note

TOKENS = 10_000

# Where journald and the daemon are alone: a /run of their own, and a journal on the bench's disk. The limit on
# records is lifted as the daemon's unit does it.
WITH_JOURNAL = """
mount -t tmpfs tmpfs /run
mkdir -p /run/systemd/journal /run/systemd/journald.conf.d "$0"
touch /run/systemd/journal/flushed
printf '[Journal]\\nStorage=persistent\\nRateLimitIntervalSec=1s\\nRateLimitBurst=1000000\\nSystemMaxUse=500M\\n' \
    >/run/systemd/journald.conf.d/bench.conf
mount -t tmpfs tmpfs /var/log
mkdir /var/log/journal
mount --bind "$0" /var/log/journal
/lib/systemd/systemd-journald </dev/null &
until [ -S /run/systemd/journal/socket ]; do sleep 0.05; done
echo $! >"$0.pid"
exec "$@"
"""


def lag(daemon):
    return daemon.status()["audit"]["journal_lag"]


@contextmanager
def stopped(*pids):
    """What runs behind does not run while somebody else is measured."""
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


def measure(stack, programs, sockets, data):
    """Needs root and journald; None where these are not there."""
    if os.geteuid() != 0 or not os.access("/lib/systemd/systemd-journald", os.X_OK):
        return None
    note("rotations with and without a journal")
    journal = data / "journal"
    fed = Daemon(stack, programs, "with-journal", sockets, data, wrapper=[
        "unshare", "--mount", "sh", "-ec", WITH_JOURNAL, journal])
    unfed = Daemon(stack, programs, "without-journal", sockets, data)
    for daemon in (fed, unfed):
        daemon.start()
        daemon.fill(TOKENS)
    journald = int((data / "journal.pid").read_text())
    stack.callback(end, journald)

    def rotate(daemon):
        return daemon.load("rotate", 64, tokens=daemon.tokens, write=daemon.tokens, seconds=SECONDS)

    rounds = []
    for number in range(ROUNDS):
        def with_it():
            return rotate(fed)

        def without_it():
            with stopped(fed.server.process.pid, journald):
                return rotate(unfed)

        if number % 2 == 0:
            rounds.append((with_it(), without_it()))
        else:
            without = without_it()
            rounds.append((with_it(), without))
    # What stood back for the rotations is sent once they are over.
    behind, began = lag(fed), time.monotonic()
    while time.monotonic() < began + 5 and lag(fed) > 0:
        time.sleep(0.02)
    sent, taken = behind - lag(fed), time.monotonic() - began
    fed.stop()
    unfed.stop()
    return {
        "with": statistics.median(each["requests_per_second"] for each, _ in rounds),
        "without": statistics.median(each["requests_per_second"] for _, each in rounds),
        "ratio": statistics.median(a["requests_per_second"] / b["requests_per_second"] for a, b in rounds),
        "with_p999_us": statistics.median(each["p999_us"] for each, _ in rounds),
        "without_p999_us": statistics.median(each["p999_us"] for _, each in rounds),
        "behind": behind,
        "sent_per_second": sent / taken,
    }


def end(pid):
    try:
        os.kill(pid, signal.SIGTERM)
    except ProcessLookupError:
        pass
