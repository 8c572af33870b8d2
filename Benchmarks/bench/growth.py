"""How the daemon is with more tokens, and with more rotations behind it."""

import statistics

from .servers import Daemon
from .settings import LONG, ROUNDS, SECONDS, fail, note

SIZES = (1_000, 100_000, 1_000_000)
# Floors of the largest size: it is ready within these milliseconds, in these megabytes, at this part of the
# smallest's speed.
READY_MS, RESIDENT_MEGABYTES, OF_ITS_SPEED = 1_000, 200, 0.9

# More than the daemon remembers of ended tokens (a million), so that the end of that growth shows.
ROTATIONS = 10_000_000 if LONG else 2_000_000
STEPS = 20
AGEING_TOKENS = 1_000
# So that the audit is pruned in every run; in a long one as late as after the first tenth.
AUDIT_ROWS = ROTATIONS // 10


def by_tokens(stack, programs, sockets, data):
    """One daemon a size, all there at once, so that the rounds can take turns."""
    rows, daemons = [], []
    for size in SIZES:
        note(f"issuing {size:,} tokens")
        daemon = Daemon(stack, programs, f"growth-{size}", sockets, data)
        daemon.start()
        filled = daemon.fill(size)
        daemon.stop()
        ready = statistics.median(restarted(daemon) for _ in range(3)) * 1e3
        daemon.start()
        daemons.append(daemon)
        rows.append({"tokens": size, "ready_ms": ready, "register_rate": filled["requests_per_second"],
                     "resident_megabytes": daemon.server.resident_megabytes(), "introspect": [], "rotate": []})
    for number in range(ROUNDS):
        turns = list(zip(daemons, rows))
        for daemon, row in turns if number % 2 == 0 else reversed(turns):
            row["introspect"].append(daemon.load("introspect", 16, tokens=daemon.tokens, seconds=SECONDS))
            row["rotate"].append(
                daemon.load("rotate", 16, tokens=daemon.tokens, write=daemon.tokens, seconds=SECONDS))
    for daemon, row in zip(daemons, rows):
        row["database_megabytes"] = daemon.database_megabytes()
        row["resident_megabytes_after_load"] = daemon.server.resident_megabytes()
        for work in ("introspect", "rotate"):
            row[f"{work}_rates"] = [measured["requests_per_second"] for measured in row[work]]
            row[f"{work}_rate"] = statistics.median(row[f"{work}_rates"])
        daemon.stop()
    return rows


def restarted(daemon):
    seconds = daemon.start()
    daemon.stop()
    return seconds


def of_its_speed(rows):
    """The largest's part of the smallest's introspects, as the median of the rounds."""
    pairs = zip(rows[-1]["introspect_rates"], rows[0]["introspect_rates"])
    return statistics.median(large / small for large, small in pairs)


def by_rotations(stack, programs, sockets, data):
    """One daemon through many rotations, looked at after each part of them."""
    note(f"{ROTATIONS:,} rotations of {AGEING_TOKENS:,} tokens")
    config = f"[audit]\nrows_max = {AUDIT_ROWS}\n"
    daemon = Daemon(stack, programs, "ageing", sockets, data, config=config)
    first = daemon.start()
    daemon.fill(AGEING_TOKENS)
    rows = []
    for step in range(STEPS + 1):
        # Some rotations first, so that the look at the beginning sees a daemon that is warm, too.
        rotated = daemon.load("rotate", 64, tokens=daemon.tokens, write=daemon.tokens,
                              count=ROTATIONS // STEPS if step else ROTATIONS // STEPS // 5, seconds=3600)
        introspected = daemon.load("introspect", 16, tokens=daemon.tokens, seconds=min(SECONDS, 1))
        rows.append({"rotations": ROTATIONS // STEPS * step, "rotate_rate": rotated["requests_per_second"],
                     "p999_us": rotated["p999_us"], "longest_gap_us": rotated["longest_gap_us"],
                     "introspect_rate": introspected["requests_per_second"],
                     "resident_megabytes": daemon.server.resident_megabytes(),
                     "database_megabytes": daemon.database_megabytes()})
    daemon.stop()
    ready = statistics.median(restarted(daemon) for _ in range(3)) * 1e3
    # All tokens still work: the load generator checks each.
    daemon.start()
    daemon.load("introspect", 1, tokens=daemon.tokens, count=AGEING_TOKENS, seconds=60)
    if daemon.status()["tokens"] != AGEING_TOKENS:
        fail("tokens were lost on the way")
    daemon.stop()
    return {"rows": rows, "ready_ms_new": first * 1e3, "ready_ms_old": ready, "audit_rows_max": AUDIT_ROWS}
