"""The tables and what stands below its floor, in Markdown."""

from . import client as client_row
from . import growth
from .peers import (
    ALONE, EXISTS, EXISTS_WHILE_SET, FLOORS, MIXED_P99_CEILING, OURS, WHILE_REDIS_SETS, WHILE_ROTATING, WHILE_SYNCING)


class Report:
    """The lines of the report, and what it found below its floor."""

    def __init__(self):
        self.lines, self.below = [], []

    def heading(self, text):
        self.lines += ["", f"## {text}", ""]

    def say(self, *lines):
        self.lines += lines

    def table(self, head, rows):
        """The first column is text, all others are numbers."""
        self.lines.append(f"| {' | '.join(head)} |")
        self.lines.append(f"|---|{'--:|' * (len(head) - 1)}")
        self.lines += [f"| {' | '.join(row)} |" for row in rows]

    def floor(self, what, value, floor, is_ceiling=False, unit=" ×"):
        """The floor as it is shown; noted where the value does not reach it."""
        if value > floor if is_ceiling else value < floor:
            self.below.append(f"{what}: {value:,.2f}{unit}, {'at most' if is_ceiling else 'floor'} {floor:,.2f}")
        return f"{floor:,.2f}"

    def text(self, title, facts):
        head = [title, "", *(f"- {name}: {value}" for name, value in facts.items())]
        below = ["", "## Below its floor", "", *(f"- {line}" for line in self.below or ["nothing"])]
        return "\n".join(head + self.lines + below) + "\n"


def number(value):
    return "" if value is None else f"{value:,.0f}"


def beside_peers(report, results):
    report.heading("Beside its peers")
    report.say(
        "Each figure is the median of the rounds, the slowest is the slowest of all. *ours ÷ theirs* is the median of",
        "the rounds' ratios of requests a second, whose sides were measured right after each other.", "")
    rows = []
    for row, sides in results.rows.items():
        work, (connections, in_flight) = row
        for side in sorted(sides, key=lambda side: side != OURS):
            is_ours = side == OURS
            cells = [work if is_ours else "", f"{connections} × {in_flight}" if is_ours else "", side]
            cells += [number(results.median(row, side, key)) for key in
                      ("requests_per_second", "p50_us", "p99_us", "p999_us")]
            cells.append(number(results.worst(row, side, "max_us")))
            ratio = None if is_ours else results.ratio(row, side)
            floor = FLOORS.get((*row, side))
            cells.append(f"{ratio:.2f}" if ratio else "")
            cells.append(report.floor(f"{work}, {connections} × {in_flight}, {side}", ratio, floor) if floor else "")
            rows.append(cells)
    report.lines.append("| work | conn. × in flight | who | a second | p50 µs | p99 µs | p99.9 µs | slowest µs "
                        "| ours ÷ theirs | floor |")
    report.lines.append("|---|---|---|--:|--:|--:|--:|--:|--:|--:|")
    report.lines += [f"| {' | '.join(cells)} |" for cells in rows]

    def of_alone(row, side, alone):
        return results.median(row, side, "p99_us") / results.median(ALONE, alone, "p99_us")

    mixed = of_alone(WHILE_ROTATING, OURS, OURS)
    report.floor("introspect's p99 while 16 rotate", mixed, MIXED_P99_CEILING, is_ceiling=True)
    report.say("", f"introspect's p99 while 16 connections rotate is {mixed:.1f} × its p99 alone (at most "
                   f"{MIXED_P99_CEILING:.0f}). While 16 SET in Redis, which shares nothing with it but the processors, it is "
                   f"{of_alone(WHILE_REDIS_SETS, OURS, OURS):.1f} ×; while a program does nothing but fdatasync of 4 KiB, one "
                   f"after the other, {of_alone(WHILE_SYNCING, OURS, OURS):.1f} ×; that of EXISTS while 16 SET on the same Redis is "
                   f"{of_alone(WHILE_ROTATING, EXISTS_WHILE_SET, EXISTS):.1f} ×.")


def by_tokens(report, rows):
    report.heading("With more tokens")
    report.table(
        ["tokens", "registered a second, 32 × 32", "ready in ms", "MB resident", "after the load",
         "introspect a second, 16 × 1", "rotate a second, 16 × 1", "database and log MB"],
        [[*(number(row[key]) for key in ("tokens", "register_rate", "ready_ms", "resident_megabytes",
                                          "resident_megabytes_after_load", "introspect_rate", "rotate_rate")),
          f"{row['database_megabytes']:,.1f}"] for row in rows])
    last, speed = rows[-1], growth.of_its_speed(rows)
    size = f"{last['tokens']:,} tokens"
    report.floor(f"ready with {size}", last["ready_ms"], growth.READY_MS, is_ceiling=True, unit=" ms")
    report.floor(f"resident with {size}", last["resident_megabytes"], growth.RESIDENT_MEGABYTES, is_ceiling=True,
                 unit=" MB")
    report.floor(f"introspect with {size}, of its speed with {rows[0]['tokens']:,}", speed, growth.OF_ITS_SPEED)
    report.say("", f"introspect with {size} is {speed:.2f} × as fast as with {rows[0]['tokens']:,} (floor "
                   f"{growth.OF_ITS_SPEED}); the others are {growth.READY_MS:,} ms and {growth.RESIDENT_MEGABYTES} MB.")


def by_rotations(report, ages):
    report.heading("With more rotations behind it")
    first, last = ages["rows"][0], ages["rows"][-1]
    report.table(
        ["", "rotate a second, 64 × 1", "p99.9 µs", "longest without an answer, ms", "introspect a second, 16 × 1",
         "MB resident", "database and log MB"],
        [[f"after {row['rotations']:,} rotations", number(row["rotate_rate"]), number(row["p999_us"]),
          f"{row['longest_gap_us'] / 1e3:.1f}", number(row["introspect_rate"]), number(row["resident_megabytes"]),
          f"{row['database_megabytes']:,.1f}"] for row in (first, ages["rows"][len(ages["rows"]) // 2], last)])
    report.say("", f"The audit was held to {ages['audit_rows_max']:,} rows (`audit.rows_max`), so all but the last "
                   f"were pruned on the way. A start took {ages['ready_ms_new']:,.0f} ms when the database was new, "
                   f"{ages['ready_ms_old']:,.0f} ms at the end.")
    rotate_64, rotate_16, introspect_16 = ages["of_a_young_one"]
    report.say("", "The rows are minutes apart, and the machine's speed changes. In turns with a daemon that had "
                   f"{growth.YOUNG:,} rotations behind it, the old one did {rotate_64:.2f} × its rotations on 64 "
                   f"connections, {rotate_16:.2f} × on 16, and {introspect_16:.2f} × its introspects on 16.")


def the_client(report, measured):
    report.heading("The client, from its start to its exit")
    report.table(["command", "median ms", "× /bin/true"], [
        [name, f"{measured['milliseconds'][name]:.2f}", f"{measured['times_true'][name]:.2f}"]
        for name in measured["milliseconds"]])
    within = client_row.WITHIN_TRUE
    report.floor("scaem-token rotate beside /bin/true", measured["times_true"]["scaem-token rotate"], within,
                 is_ceiling=True)
    report.floor("scaem-token's size", measured["stripped_megabytes"], client_row.STRIPPED_MEGABYTES, is_ceiling=True,
                 unit=" MB")
    if measured["libraries"]:
        report.below.append(f"scaem-token needs {', '.join(measured['libraries'])}; it is to be static")
    report.say("", f"{measured['stripped_megabytes']:.1f} MB stripped (at most {client_row.STRIPPED_MEGABYTES:.0f}); "
                   f"{'a static file, no library' if not measured['libraries'] else 'it links libraries'}; "
                   f"rotate within {within:.0f} × /bin/true is the floor.")


def the_journal(report, measured):
    report.heading("What the journal costs")
    report.table(["rotate, 64 × 1", "a second", "p99.9 µs"], [
        ["with journald to feed", number(measured["with"]), number(measured["with_p999_us"])],
        ["without a journal", number(measured["without"]), number(measured["without_p999_us"])]])
    report.say("", f"With it is {measured['ratio']:.2f} × without. Records stand back while mutations come in, so "
                   f"{measured['behind']:,} had still to be sent when the rotations were over; then "
                   f"{measured['sent_per_second']:,.0f} a second were.")


def the_profiles(report, profiles):
    report.heading("Where the time goes")
    report.say("Samples of the busy daemon on the processor (perf, cpu-clock); what waits is not in it.")
    for name, profile in profiles.items():
        report.say("", f"### {name}", "")
        report.table(["thread: where", "share"], [
            [f"{thread}: {area}", f"{share:.1%}"] for thread, area, share in profile["areas"]])
        report.say("", "Its functions outside the kernel:", "")
        report.table(["function", "share"], [
            [f"`{function}` ({area})", f"{share:.1%}"] for area, function, share in profile["functions"]])
