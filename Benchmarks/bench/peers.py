"""The daemon beside its peers: each row is measured on all sides right after each other, in several rounds."""

import os
import shutil
import statistics
import time
from functools import partial

from .postgresql import PostgreSQL
from .servers import Daemon, Load, Server, accepts, redis, redis_version
from .settings import FOLDER, LONG, POSTGRESQL, ROUNDS, SECONDS, TOKENS, fail, note

OURS, EXISTS, SET, ECHO, DISK, PG = (
    "scaem-tokend", "Redis EXISTS", "Redis SET, appendfsync always", "echo in C", "fdatasync of 4 KiB, one by one",
    "PostgreSQL, same transaction")
MIXED_P99_CEILING = 3.0

SHAPES = [(connections, in_flight) for in_flight in (1, 16) for connections in (1, 16, 64, 256)]
# What a ratio must reach: work, connections, in flight, and whose.
FLOORS = {
    ("introspect", (16, 1), EXISTS): 1.0,
    ("introspect", (16, 16), EXISTS): 1.25,
    ("rotate", (16, 1), SET): 1.0,
    ("rotate", (64, 1), SET): 0.85,
    ("rotate", (1, 1), PG): 1.5,
    ("rotate", (16, 1), PG): 4.0,
    ("rotate", (64, 1), PG): 5.0,
}
# PostgreSQL takes 100 connections as installed, and one request at a time on each.
POSTGRESQL_SHAPES = [(1, 1), (16, 1), (64, 1)]
# Of 1 to 2 KiB each: more than the log takes before it starts over.
LOG_FILLING_ROTATIONS = 150_000
# Requests a second that fall due in the open loop, on 64 connections.
OPEN_INTROSPECT, OPEN_ROTATE = 50_000, 10_000
# The same beside something else, on 4 connections.
OPEN_BESIDE = 2_000
# How long it sleeps: short beside the stalls that are looked for, and half a percent of a processor.
HICCUP_SECONDS = 0.005
ALONE = ("introspect", (16, 1))
WHILE_ROTATING = ("introspect, while 16 rotate", (16, 1))
EXISTS_WHILE_SET = f"{EXISTS}, while 16 SET"
# The same processors busy, and nothing of ours that could wait for another.
WHILE_REDIS_SETS = ("introspect, while 16 SET in Redis", (16, 1))
# The same disk busy, and hardly a processor.
WHILE_SYNCING = ("introspect, while one program syncs 4 KiB after 4 KiB", (16, 1))


class Results:
    """What was measured, by row and side, one entry a round."""

    def __init__(self):
        self.rows = {}

    def add(self, row, side, measured):
        self.rows.setdefault(row, {}).setdefault(side, []).append(measured)

    def median(self, row, side, key="requests_per_second"):
        values = [measured[key] for measured in self.rows[row][side] if measured.get(key) is not None]
        return statistics.median(values) if values else None

    def worst(self, row, side, key):
        values = [measured[key] for measured in self.rows[row][side] if measured.get(key) is not None]
        return max(values) if values else None

    def ratio(self, row, other, key="requests_per_second"):
        """The median of the rounds' ratios, whose two sides were measured right after each other."""
        pairs = zip(self.rows[row][OURS], self.rows[row][other])
        return statistics.median(mine[key] / theirs[key] for mine, theirs in pairs)


def fdatasync_rate(folder, seconds=1.0):
    """How often a second the disk makes 4 KiB durable, one after the other."""
    block, taken = b"x" * 4096, []
    fd = os.open(folder / "fdatasync", os.O_WRONLY | os.O_CREAT, 0o600)
    try:
        began = time.perf_counter()
        while (now := time.perf_counter()) < began + seconds:
            os.pwrite(fd, block, 4096 * (len(taken) % 1024))
            os.fdatasync(fd)
            taken.append((time.perf_counter() - now) * 1e6)
    finally:
        os.close(fd)
    rate = len(taken) / (now - began)
    taken.sort()
    at = lambda share: taken[int(len(taken) * share)]  # noqa: E731
    return {"requests_per_second": rate, "p50_us": at(0.5), "p99_us": at(0.99), "p999_us": at(0.999),
            "max_us": taken[-1]}


class Peers:
    """All that stands side by side, with the same tokens in each."""

    def __init__(self, stack, programs, sockets, data, facts):
        self.data = data
        self.daemon = Daemon(stack, programs, "scaem-tokend", sockets, data)
        self.daemon.start()
        note(f"issuing {TOKENS:,} tokens")
        filled = self.daemon.fill(TOKENS)
        facts["issued while filling"] = f"{filled['requests_per_second']:,.0f}/s (32 × 32, durable, with audit)"
        self.daemon.stop()
        ready = self.daemon.start()
        facts["started again"] = (
            f"ready in {ready * 1000:.0f} ms, {self.daemon.server.resident_megabytes():.0f} MB resident")
        status = self.daemon.status()
        storage = status["storage"]
        facts["storage, as its status says"] = ", ".join(
            f"{name} {storage.get(name)}" for name in ("journal_mode", "synchronous"))
        if status["tokens"] != TOKENS:
            fail(f"status counts {status['tokens']} tokens, not {TOKENS}")
        self.ours, self.tokens = self.daemon.load, self.daemon.tokens
        self.let_the_log_grow(facts)

        self.reads = redis(stack, "redis", sockets, data, "--appendonly", "no")
        self.writes = redis(stack, "redis-durable", sockets, data, "--appendonly", "yes", "--appendfsync", "always",
                            "--auto-aof-rewrite-percentage", "0")
        self.keys = data / "keys"
        shutil.copyfile(self.tokens, self.keys)
        for side in (self.reads, self.writes):
            side("set", 16, 16, tokens=self.keys, count=TOKENS)
        facts["Redis"] = redis_version(self.reads)
        limit = int(3600 + ROUNDS * SECONDS * 200)
        Server(stack, "echo", [FOLDER / "echo", sockets / "echo.sock", limit]).wait_for(
            "socket", accepts(sockets / "echo.sock"))
        self.echo = Load(sockets / "echo.sock")
        self.postgresql = PostgreSQL(stack, sockets, data) if POSTGRESQL else None
        if self.postgresql:
            facts["PostgreSQL"] = self.postgresql.ask("SHOW server_version").strip()

    def let_the_log_grow(self, facts):
        """A log's file grows once after a start, and each sync has new blocks to account for; then it is written over. What is
        compared is the daemon that has been up for a while; what the first minutes cost is said beside it."""
        rotate = partial(self.ours, "rotate", tokens=self.tokens, write=self.tokens)
        facts["rotate, 16 × 1, while the log's file grows after a start"] = (
            f"{rotate(16, 1, seconds=1)['requests_per_second']:,.0f} a second")
        rotate(64, 1, count=LOG_FILLING_ROTATIONS)

    # Each row: what is done, with how many connections and in flight, and who does it how.

    def introspect(self, shape, **options):
        return {
            OURS: partial(self.ours, "introspect", *shape, tokens=self.tokens, seconds=SECONDS, **options),
            EXISTS: partial(self.reads, "exists", *shape, tokens=self.keys, seconds=SECONDS, **options),
            ECHO: partial(self.echo, "echo", *shape, items=TOKENS, seconds=SECONDS, **options),
        }

    def rotate(self, shape, **options):
        sides = {
            OURS: partial(self.ours, "rotate", *shape, tokens=self.tokens, write=self.tokens, seconds=SECONDS,
                          **options),
            SET: partial(self.writes, "set", *shape, tokens=self.keys, seconds=SECONDS, **options),
        }
        if self.postgresql and shape in POSTGRESQL_SHAPES and not options:
            sides[PG] = partial(self.postgresql, shape[0])
        if shape == (1, 1):
            sides[DISK] = partial(fdatasync_rate, self.data, SECONDS)
        return sides

    def rows(self):
        for shape in SHAPES:
            yield ("introspect", shape), self.introspect(shape)
        for work in ("unknown", "checksum"):
            name = f"introspect, {'unknown token' if work == 'unknown' else 'wrong checksum'}"
            for shape in ((16, 1), (16, 16)):
                yield (name, shape), {OURS: partial(self.ours, work, *shape, items=TOKENS, seconds=SECONDS)}
        yield (f"introspect, open loop at {OPEN_INTROSPECT:,}/s", (64, 16)), self.introspect(
            (64, 16), rate=OPEN_INTROSPECT)
        for shape in SHAPES:
            yield ("rotate", shape), self.rotate(shape)
        yield (f"rotate, open loop at {OPEN_ROTATE:,}/s", (64, 16)), self.rotate((64, 16), rate=OPEN_ROTATE)
        for shape in ((16, 1), (64, 1)):
            yield ("99 introspects to a rotate", shape), {
                OURS: partial(self.ours, "mix", *shape, tokens=self.tokens, write=self.tokens, seconds=SECONDS)}

    def lives(self, results, connections):
        """New applications from their registration to their end, so that the next round finds what this one did."""
        fresh, count = self.data / "fresh", max(connections, int(10_000 * SECONDS))
        options = {"items": count, "projects": 1, "prefix": "fresh"}
        shape = (connections, 1)
        for work, files in (("register", {"write": fresh}), ("revoke", {"tokens": fresh}), ("unregister", {})):
            name = "register a new application" if work == "register" else work
            results.add((name, shape), OURS, self.ours(work, *shape, **options, **files))

    def read_while_writing(self, results):
        """Ours, Redis with both on one server, and ours beside what it shares only the machine with: that Redis's writers, and a
        program that does nothing but fdatasync(2)."""
        half = TOKENS // 2
        introspect = partial(self.ours.start, "introspect", 16, tokens=self.tokens, items=half, seconds=SECONDS)
        exists = partial(self.writes.start, "exists", 16, tokens=self.keys, items=half, seconds=SECONDS)
        # Both begin and end together as nearly as two processes can; each counts after its own warm-up.
        writing = {"first": half, "items": half, "seconds": SECONDS + 0.5}
        rotate = partial(self.ours.start, "rotate", 16, tokens=self.tokens, write=self.tokens, **writing)
        store = partial(self.writes.start, "set", 16, tokens=self.keys, **writing)
        rotating = ("rotate, while 16 introspect", (16, 1))
        for write, read, row, side, row_of_writers in (
                (rotate, introspect, WHILE_ROTATING, OURS, (rotating, OURS)),
                (store, exists, WHILE_ROTATING, EXISTS_WHILE_SET, (rotating, f"{SET}, while 16 EXISTS")),
                (store, introspect, WHILE_REDIS_SETS, OURS, None)):
            writers, readers = write(), read()
            results.add(row, side, Load.result(readers))
            written = Load.result(writers)
            if row_of_writers:
                results.add(*row_of_writers, written)
        readers = introspect()
        fdatasync_rate(self.data, SECONDS + 0.5)
        results.add(WHILE_SYNCING, OURS, Load.result(readers))

    def end_writers(self):
        """Ends the peers that write, and makes durable what anybody has left: the kernel writes that within half a minute, tens of
        megabytes at once, and a sync waits behind it. What follows measures the daemon."""
        self.writes.server.end()
        if self.postgresql:
            self.postgresql.server.end()
        os.sync()

    def measure(self):
        results = Results()
        os.sync()
        for number in range(ROUNDS):
            note(f"round {number + 1} of {ROUNDS}")
            for row, sides in self.rows():
                # Who goes first takes turns, so that a machine that grows slower favours nobody.
                for side, work in sorted(sides.items(), key=lambda item: item[0] != OURS, reverse=number % 2 == 1):
                    results.add(row, side, work())
            for connections in (16, 64):
                self.lives(results, connections)
            self.read_while_writing(results)
        return results


def latest_wake_up(process):
    """How late at most, in ms, a program that only sleeps was woken until the process ended: what stood still for it stood
    still for everybody (jHiccup measures so)."""
    latest = 0.0
    while process.poll() is None:
        began = time.perf_counter()
        time.sleep(HICCUP_SECONDS)
        latest = max(latest, time.perf_counter() - began - HICCUP_SECONDS)
    return latest * 1e3


def longest_stall(peers, facts):
    """How long at most nobody got an answer while 64 connections rotate."""
    seconds = 300 if LONG else 10
    note(f"{seconds} s of rotations")
    rotating = peers.ours.start("rotate", 64, tokens=peers.tokens, write=peers.tokens, seconds=seconds)
    latest = latest_wake_up(rotating)
    done = Load.result(rotating)
    facts[f"longest stall in {seconds} s of rotations on 64 connections"] = (
        f"{done['longest_gap_us'] / 1e3:.1f} ms without any answer; p99.9 {done['p999_us'] / 1e3:.1f} ms, the slowest "
        f"{done['max_us'] / 1e3:.1f} ms; {done['requests']:,} rotations. A program that only sleeps meanwhile was woken "
        f"{latest:.1f} ms late at the latest")
    return done


def a_million_registered(peers, facts):
    """New applications, each with its first token; they stay, so this comes last. Others ask meanwhile."""
    count = 1_000_000
    note(f"registering {count:,} applications")
    os.sync()
    beside = peers.ours.start("introspect", 4, tokens=peers.tokens, rate=OPEN_BESIDE, seconds=10)
    done = peers.ours("register", 64, items=count, projects=1, prefix="million", seconds=3600)
    asked = Load.result(beside)
    facts[f"{count:,} new applications registered on 64 connections"] = (
        f"{done['requests_per_second']:,.0f} a second, p99.9 {done['p999_us'] / 1e3:.1f} ms, the slowest "
        f"{done['max_us'] / 1e3:.1f} ms; {peers.daemon.server.resident_megabytes():.0f} MB resident after it; of "
        f"{OPEN_BESIDE:,} introspects a second that fell due in its first 10 s p99.9 was {asked['p999_us'] / 1e3:.1f} ms, the slowest "
        f"{asked['max_us'] / 1e3:.1f} ms")
    return done
