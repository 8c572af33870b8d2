#!/usr/bin/python3
"""Counts what a request costs the daemon, and holds it against the committed figures.

    guard.py check FOLDER      status 1 where a figure is more than a tenth above the committed one
    guard.py update FOLDER     writes what FOLDER's daemon costs to figures.json; make guard-update does for both builds

FOLDER holds scaem-tokend and is called like its build, debug or release: each has figures of its own, and so has each
compiler and architecture. What is counted
does not depend on how busy the machine is: system calls (strace), allocations (a preloaded library), instructions
(callgrind) a request, and syncs of a hundred rotations at once. Needs root, gcc, strace, valgrind and strip.
"""

import contextlib
import fcntl
import json
import mmap
import os
import pathlib
import platform
import re
import select
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
FIGURES = HERE / "figures.json"
JOURNAL = pathlib.Path("/run/systemd/journal")
SIOCOUTQ = 0x5411
TOKENS = 400

# What may come on top of a tenth: the daemon's other threads wake now and then.
SLACK = 0.05

# Work, requests in flight, requests that are counted; fewer of them under callgrind, which is exact and slow.
WORK = {
    "introspect": ("introspect", 1, 1600, 400),
    "introspect, 16 in flight": ("introspect", 16, 1600, 400),
    "introspect of an unknown token": ("unknown", 1, 1600, 400),
    "rotate": ("rotate", 1, 800, 200),
}
CROWD = 100


def run(*command, **options):
    done = subprocess.run([str(part) for part in command], text=True, capture_output=True, timeout=120, **options)
    if done.returncode:
        raise RuntimeError(f"{' '.join(map(str, command))} ended with {done.returncode}: {done.stderr.strip()}")
    return done.stdout


class Counters:
    """What count_shim.c shares with us."""

    FIELDS = ("allocations", "syncs", "gate_is_shut", "at_the_gate")

    def __init__(self, path):
        self.path = path
        path.write_bytes(bytes(8 * len(self.FIELDS)))
        with path.open("r+b") as file:
            self.memory = mmap.mmap(file.fileno(), 8 * len(self.FIELDS))

    def __getitem__(self, name):
        return struct.unpack_from("=q", self.memory, 8 * self.FIELDS.index(name))[0]

    def __setitem__(self, name, value):
        struct.pack_into("=q", self.memory, 8 * self.FIELDS.index(name), value)


def wait_until(what, is_so, process):
    """Comes back when it is so; these waits only end in time where something is broken."""
    end = time.monotonic() + 120
    while not is_so():
        if process.poll() is not None:
            raise RuntimeError(f"the process ended with {process.returncode} before {what}")
        if time.monotonic() > end:
            raise RuntimeError(f"no {what} within two minutes")
        select.select([], [], [], 0.005)


class Bench:
    """The load generator, the shim, and a daemon without the debug information that valgrind cannot read."""

    def __init__(self, stack, programs):
        self.folder = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="guard-")))
        self.socket = self.folder / "tokend.sock"
        loadgen = HERE.parent / "loadgen"
        strict = ["gcc", "-std=c11", "-O2", "-Wall", "-Wextra", "-Werror"]
        run(*strict, "-o", self.folder / "loadgen", loadgen / "loadgen.c", loadgen / "work.c")
        run(*strict, "-shared", "-fPIC", "-o", self.folder / "count_shim.so", HERE / "count_shim.c", "-ldl")
        self.tokend = self.folder / "scaem-tokend"
        run("strip", "--strip-debug", "-o", self.tokend, programs / "scaem-tokend")
        self.counters = Counters(self.folder / "counters")
        self.preload = {"LD_PRELOAD": str(self.folder / "count_shim.so"),
                        "SCAEM_GUARD_COUNTERS": str(self.counters.path)}
        # One loop: so that what is asked later is also read later.
        (self.folder / "config.toml").write_text("[server]\nevent_loops = 1\n")
        (self.folder / "config.toml").chmod(0o644)

    def ask(self, method):
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(60)
            client.connect(str(self.socket))
            client.sendall(b'{"jsonrpc":"2.0","id":1,"method":"%s"}\n' % method.encode())
            return json.loads(client.makefile("rb").readline())["result"]

    def answers(self):
        try:
            return self.ask("ping") == {}
        except (OSError, ValueError):
            return False

    def load(self, work, in_flight, count):
        tokens = ["--tokens", self.folder / "tokens"] if work != "unknown" else ["--items", TOKENS]
        written = ["--write", self.folder / "tokens"] if work == "rotate" else []
        run(self.folder / "loadgen", "--socket", self.socket, "--work", work, "--in-flight", in_flight,
            "--count", count, "--seconds", 100, *tokens, *written)

    @contextlib.contextmanager
    def daemon(self, *wrapper):
        """A fresh daemon with TOKENS tokens, warm; without a journal, whose feed would be counted too."""
        with tempfile.TemporaryDirectory(dir=self.folder) as state:
            command = [*wrapper, self.tokend, "serve", "--config", self.folder / "config.toml", "--socket", self.socket,
                       "--state-directory", state]
            if JOURNAL.is_dir():
                hide = 'mount -t tmpfs tmpfs "$0" && exec "$@"'
                command = ["unshare", "--mount", "sh", "-c", hide, JOURNAL, *command]
            log = (self.folder / "log").open("wb")
            process = subprocess.Popen([str(part) for part in command], stdin=subprocess.DEVNULL, stdout=log,
                                       stderr=log, env={**os.environ, **self.preload})
            try:
                wait_until("an answer", self.answers, process)
                run(self.folder / "loadgen", "--socket", self.socket, "--work", "register", "--items", TOKENS,
                    "--in-flight", 16, "--seconds", 100, "--write", self.folder / "tokens")
                for work, in_flight, *_ in WORK.values():
                    self.load(work, in_flight, 32)
                yield process
                process.terminate()
                process.wait(60)
            finally:
                process.kill()
                process.wait()


def allocations_and_syncs(bench, figures):
    counters = bench.counters
    with bench.daemon() as process:
        for name, (work, in_flight, count, _) in WORK.items():
            before = counters["allocations"]
            bench.load(work, in_flight, count)
            figures[name]["allocations a request"] = (counters["allocations"] - before) / count
        before = counters["syncs"]
        bench.load("rotate", 1, 200)
        figures["rotate"]["syncs a request"] = (counters["syncs"] - before) / 200
        # The least of three, for a checkpoint may come between, which the writer makes when it finds itself idle.
        syncs = min(syncs_of_a_crowd(bench, counters, process) for _ in range(3))
        figures[f"{CROWD} rotations at once"] = {"syncs": syncs}


def syncs_of_a_crowd(bench, counters, process):
    """While one rotation's sync is held, the others come in: they must share what follows."""
    with contextlib.ExitStack() as stack:
        crowd = []
        for _ in range(CROWD):
            crowd.append(stack.enter_context(socket.socket(socket.AF_UNIX)))
            crowd[-1].settimeout(60)
            crowd[-1].connect(str(bench.socket))

        def rotate(number):
            params = {"application": f"bench/{number % (TOKENS // 4)}", "project_code": f"P{number % 4}"}
            request = {"jsonrpc": "2.0", "id": 1, "method": "rotate", "params": params}
            crowd[number].sendall(json.dumps(request).encode() + b"\n")

        def was_read(client):
            return struct.unpack("i", fcntl.ioctl(client.fileno(), SIOCOUTQ, bytes(4)))[0] == 0

        before = counters["syncs"]
        counters["gate_is_shut"] = 1
        try:
            rotate(0)
            wait_until("sync", lambda: counters["at_the_gate"] > 0, process)
            for number in range(1, CROWD):
                rotate(number)
            wait_until("reading", lambda: all(map(was_read, crowd)), process)
            # The loop has read them all; when it answers this, it has handed them on.
            bench.ask("ping")
        finally:
            counters["gate_is_shut"] = 0
        for client in crowd:
            assert "result" in json.loads(client.makefile("rb").readline())
        return counters["syncs"] - before


def system_calls(bench, figures):
    with bench.daemon() as process:
        for name, (work, in_flight, count, _) in WORK.items():
            counts = bench.folder / "strace"
            strace = subprocess.Popen(["strace", "-f", "-c", "-o", counts, "-p", str(process.pid)], text=True,
                                      stdin=subprocess.DEVNULL, stderr=subprocess.PIPE)
            # It names each thread that it has attached to, and the process first.
            tracer = re.compile(r"^TracerPid:\s*(\d+)", re.M)
            wait_until("strace", lambda: all(
                tracer.search(status.read_text())[1] == str(strace.pid)
                for status in pathlib.Path(f"/proc/{process.pid}/task").glob("*/status")), strace)
            bench.load(work, in_flight, count)
            strace.send_signal(signal.SIGINT)
            strace.communicate(timeout=60)
            total = re.search(r"^\s*100[.,]00\s+\S+\s+\S+\s+(\d+)\s.*total$", counts.read_text(), re.M)
            figures[name]["system calls a request"] = int(total[1]) / count


def instructions(bench, figures):
    callgrind = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={bench.folder}/callgrind.out"]
    with bench.daemon(*callgrind) as process:
        for name, (work, in_flight, _, count) in WORK.items():
            run("callgrind_control", "--zero", process.pid)
            bench.load(work, in_flight, count)
            totals = run("callgrind_control", "-e", process.pid)
            each = [int(number.replace(",", "")) for number in re.findall(r"^\s*Th\s*\d+\s+([\d,]+)", totals, re.M)]
            figures[name]["instructions a request"] = sum(each) / count


def measure(programs):
    figures = {name: {} for name in WORK}
    with contextlib.ExitStack() as stack:
        bench = Bench(stack, pathlib.Path(programs))
        for part in (allocations_and_syncs, system_calls, instructions):
            part(bench, figures)
    return {name: {what: round(value, 2) for what, value in sorted(row.items())} for name, row in figures.items()}


def build(programs):
    """What the figures are of: another compiler or processor has others."""
    version = re.search(r"Swift version (\d+\.\d+)", run("swift", "--version"))[1]
    return f"{pathlib.Path(programs).resolve().name}, Swift {version}, {platform.machine()}"


class NoFigures(Exception):
    pass


def committed(programs, path=FIGURES):
    figures, name = json.loads(path.read_text()), build(programs)
    if name not in figures:
        raise NoFigures(f"{path.name} has no figures of {name}: run make guard-update for this toolchain")
    return figures[name]


def has_grown(now, figure):
    return now > figure * 1.1 + SLACK


def counts_nothing(now, figure):
    """So much less comes of a count that is broken, or of a change whose gain is to be kept: see for yourself, and
    update."""
    return now < figure / 2 - SLACK


def compare(measured, figures):
    """One line a figure, and those of them that have grown, or are too small to be true."""
    lines, grown = [], []
    for name, row in measured.items():
        for what, now in row.items():
            figure = figures.get(name, {}).get(what)
            line = f"{name}: {what}: {now:,.10g}, committed {figure:,.10g}" if figure is not None else (
                f"{name}: {what}: {now:,.10g}, and no figure is committed")
            lines.append(line)
            if figure is None or has_grown(now, figure) or counts_nothing(now, figure):
                grown.append(line)
    return lines, grown


def main(word, programs):
    if word == "update":
        figures = json.loads(FIGURES.read_text())
        figures[build(programs)] = measure(programs)
        FIGURES.write_text(json.dumps(figures, indent=1, sort_keys=True) + "\n")
        return 0
    try:
        figures = committed(programs)
    except NoFigures as problem:
        sys.exit(f"guard: {problem}")
    lines, grown = compare(measure(programs), figures)
    print("\n".join(lines))
    for line in grown:
        print(f"guard: more than a tenth above, or less than half: {line}", file=sys.stderr)
    return 1 if grown else 0


if __name__ == "__main__":
    if len(sys.argv) != 3 or sys.argv[1] not in ("check", "update"):
        sys.exit(__doc__)
    sys.exit(main(*sys.argv[1:]))
