"""Where the time goes on the two hot paths, by sampling the daemon while it is busy (perf, 4,000 times a second)."""

import collections
import re
import subprocess

from .servers import Load
from .settings import FOLDER, SECONDS, note, run

TOP = 12


def profiled(peers, work, connections, in_flight):
    """The samples, as lists of (thread, object, symbol)."""
    options = {"write": peers.tokens} if work == "rotate" else {}
    load = peers.ours.start(work, connections, in_flight, tokens=peers.tokens, seconds=SECONDS + 1, **options)
    data = FOLDER / "perf.data"
    recorded = subprocess.run(
        ["perf", "record", "-q", "-e", "cpu-clock", "-F", "4000", "-p", str(peers.daemon.server.process.pid), "-o",
         str(data), "sleep", str(SECONDS)], capture_output=True, text=True, timeout=60)
    Load.result(load)
    if recorded.returncode:
        note(f"perf cannot record here: {recorded.stderr.strip()}")
        return []
    script = run("perf", "script", "-i", data, "-F", "comm,ip,sym,dso")
    samples = []
    for line in script.splitlines():
        found = re.match(r"\s*(.+?)\s+[0-9a-f]+\s+(.*?)\s+\((.*?)\)\s*$", line)
        if found:
            thread, symbol, object_ = found.groups()
            samples.append((thread, object_.rsplit("/", 1)[-1], symbol))
    return samples


def area(object_):
    if object_.startswith("[kernel") or object_ == "[unknown]":
        return "kernel"
    return object_ if object_ in ("[vdso]", "scaem-tokend") else object_.split(".so")[0]


def demangled(symbols):
    done = subprocess.run(["swift", "demangle", "--compact", "--simplified"], input="\n".join(symbols), text=True,
                          capture_output=True)
    names = done.stdout.splitlines() if done.returncode == 0 else symbols
    # Types of arguments say nothing here, and a table has no room for them.
    return [re.sub(r"\(.*", "", name.replace("|", "")) or name for name in names]


def summary(samples):
    """Shares of the samples: by thread and area, and the functions that are ours or a library's."""
    areas, functions = collections.Counter(), collections.Counter()
    for thread, object_, symbol in samples:
        areas[thread, area(object_)] += 1
        if area(object_) != "kernel":
            functions[area(object_), symbol] += 1
    top = functions.most_common(TOP)
    names = demangled([symbol for (_, symbol), _ in top])
    return {
        "samples": len(samples),
        "areas": [(*key, count / len(samples)) for key, count in areas.most_common() if count >= len(samples) / 200],
        "functions": [(area_, name, count / len(samples)) for ((area_, _), count), name in zip(top, names)],
    }


def measure(peers):
    note("profiles of the hot paths")
    profiles = {}
    for work, connections, in_flight in (("introspect", 16, 1), ("introspect", 16, 16), ("rotate", 64, 1)):
        samples = profiled(peers, work, connections, in_flight)
        if samples:
            profiles[f"{work}, {connections} × {in_flight}"] = summary(samples)
    return profiles
