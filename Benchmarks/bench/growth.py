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

WARM = ROTATIONS // STEPS // 5
# What a daemon has behind it that is warm and not old, and prunes its audit as the old one does.
YOUNG = AUDIT_ROWS + WARM

# Nobody but us is looked at here, and we take half seconds.
LOOKS = 2 * ROUNDS
LOOK_SECONDS = SECONDS / 2


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
                     "resident_megabytes": daemon.server.resident_megabytes()})
    for work in ("introspect", "rotate"):
        for row, rates in zip(rows, in_turns(work, 16, daemons)):
            row[f"{work}_rates"] = rates
            row[f"{work}_rate"] = statistics.median(rates)
    for daemon, row in zip(daemons, rows):
        row["database_megabytes"] = daemon.database_megabytes()
        row["resident_megabytes_after_load"] = daemon.server.resident_megabytes()
        daemon.stop()
    return rows


def in_turns(work, connections, daemons):
    """The requests a second of each daemon's looks, in the daemons' order."""
    rates = [[] for _ in daemons]
    for number in range(LOOKS):
        turns = list(zip(daemons, rates))
        for daemon, measured in turns if number % 2 == 0 else reversed(turns):
            options = {"write": daemon.tokens} if work == "rotate" else {}
            looked = daemon.load(work, connections, tokens=daemon.tokens, seconds=LOOK_SECONDS, **options)
            measured.append(looked["requests_per_second"])
    return rates


def restarted(daemon):
    seconds = daemon.start()
    daemon.stop()
    return seconds


def of_its_speed(rows):
    """The largest's part of the smallest's introspects, as the median of the looks."""
    return ratio(rows[-1]["introspect_rates"], rows[0]["introspect_rates"])


def ratio(rates, others):
    return statistics.median(rate / other for rate, other in zip(rates, others))


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
                              count=ROTATIONS // STEPS if step else WARM, seconds=3600)
        introspected = daemon.load("introspect", 16, tokens=daemon.tokens, seconds=min(SECONDS, 1))
        rows.append({"rotations": ROTATIONS // STEPS * step, "rotate_rate": rotated["requests_per_second"],
                     "p999_us": rotated["p999_us"], "longest_gap_us": rotated["longest_gap_us"],
                     "introspect_rate": introspected["requests_per_second"],
                     "resident_megabytes": daemon.server.resident_megabytes(),
                     "database_megabytes": daemon.database_megabytes()})
    # Beside one that has few rotations behind it, for between the first row and the last there are minutes.
    young = Daemon(stack, programs, "young", sockets, data, config=config)
    young.start()
    young.fill(AGEING_TOKENS)
    young.load("rotate", 64, tokens=young.tokens, write=young.tokens, count=YOUNG, seconds=3600)
    of_a_young_one = [ratio(*in_turns(work, connections, (daemon, young)))
                      for work, connections in (("rotate", 64), ("rotate", 16), ("introspect", 16))]
    young.stop()
    daemon.stop()
    ready = statistics.median(restarted(daemon) for _ in range(3)) * 1e3
    # All tokens still work: the load generator checks each.
    daemon.start()
    daemon.load("introspect", 1, tokens=daemon.tokens, count=AGEING_TOKENS, seconds=60)
    if daemon.status()["tokens"] != AGEING_TOKENS:
        fail("tokens were lost on the way")
    daemon.stop()
    return {"rows": rows, "of_a_young_one": of_a_young_one, "ready_ms_new": first * 1e3, "ready_ms_old": ready,
            "audit_rows_max": AUDIT_ROWS}
