"""The processes of a run, each ended with it, and the load generator against their sockets."""

import json
import os
import pathlib
import re
import shutil
import socket
import subprocess
import time

from .settings import FOLDER, PROJECTS, fail, run

JOURNAL = pathlib.Path("/run/systemd/journal")


class Server:
    """A process of this run, ended with it."""

    def __init__(self, stack, name, command, **options):
        self.name = name
        self.log = FOLDER / f"{name}.log"
        self.process = subprocess.Popen(
            [str(part) for part in command], stdin=subprocess.DEVNULL, stdout=self.log.open("wb"),
            stderr=subprocess.STDOUT, **options,
        )
        stack.callback(self.end)

    def wait_for(self, what, is_there):
        deadline = time.monotonic() + 120
        while not is_there():
            if self.process.poll() is not None:
                fail(f"{self.name} ended with status {self.process.returncode}: {self.tail()}")
            if time.monotonic() > deadline:
                fail(f"{self.name}: no {what} within 120 s: {self.tail()}")
            time.sleep(0.002)
        return self

    def tail(self):
        return " / ".join(self.log.read_text(errors="replace").splitlines()[-5:])

    def end(self):
        """Its exit status; killed where it does not end by itself."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(60)
            except subprocess.TimeoutExpired:
                self.process.kill()
        return self.process.wait()

    def resident_megabytes(self):
        text = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+) kB", text)[1]) / 1024


def accepts(path):
    def attempt():
        with socket.socket(socket.AF_UNIX) as client:
            try:
                client.connect(str(path))
            except OSError:
                return False
            return True

    return attempt


def call(path, method):
    """One request to our daemon; its result."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(60)
        client.connect(str(path))
        client.sendall(json.dumps({"jsonrpc": "2.0", "id": 1, "method": method}).encode() + b"\n")
        answer = json.loads(client.makefile("rb").readline())
    if "result" not in answer:
        fail(f"{method}: {answer.get('error')}")
    return answer["result"]


def answers_ping(path):
    def attempt():
        try:
            return call(path, "ping") == {}
        except (OSError, ValueError):
            return False

    return attempt


class Load:
    """The load generator against one socket."""

    def __init__(self, path, server=None):
        self.path, self.server = path, server

    def start(self, work, connections=1, in_flight=1, **options):
        command = [FOLDER / "loadgen", "--socket", self.path, "--work", work, "--connections", connections,
                   "--in-flight", in_flight]
        for name, value in options.items():
            command += [f"--{name}", value]
        return subprocess.Popen([str(part) for part in command], text=True, stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE)

    @staticmethod
    def result(process):
        out, error = process.communicate()
        if process.returncode:
            fail(f"the load generator ended with status {process.returncode}: {error.strip()}")
        return json.loads(out)

    def __call__(self, work, connections=1, in_flight=1, **options):
        return self.result(self.start(work, connections, in_flight, **options))


class Daemon:
    """Our daemon on a state folder of its own, through any number of starts.

    Unless it is to have a journal, it gets none of this machine's: what a run rotates is not the business of anybody's
    journal, and a feed that runs behind would be measured with what comes next.
    """

    def __init__(self, stack, programs, name, sockets, data, config="", wrapper=None):
        self.stack, self.program, self.name = stack, programs / "scaem-tokend", name
        self.folder = data / name
        self.folder.mkdir()
        (self.folder / "state").mkdir(mode=0o700)
        (self.folder / "config.toml").write_text(config)
        self.tokens = self.folder / "tokens"
        self.load = Load(sockets / f"{name}.sock")
        self.wrapper = without_journal() if wrapper is None else wrapper

    def start(self):
        """Starts it; how long it took until it answered, in seconds."""
        began = time.monotonic()
        self.server = Server(self.stack, self.name, [
            *self.wrapper, self.program, "serve", "--config", self.folder / "config.toml", "--socket", self.load.path,
            "--state-directory", self.folder / "state",
        ])
        self.server.wait_for("answer to a ping", answers_ping(self.load.path))
        return time.monotonic() - began

    def stop(self):
        if self.server.end() != 0:
            fail(f"{self.name} ended with status {self.server.process.returncode}: {self.server.tail()}")

    def fill(self, tokens):
        """Registers applications until there are so many tokens; what the load generator says of it.

        So many ask at once that each commit is as full as it may be.
        """
        return self.load("register", 32, 32, items=tokens, projects=PROJECTS, write=self.tokens)

    def status(self):
        return call(self.load.path, "status")

    def database_megabytes(self):
        return sum(file.stat().st_size for file in (self.folder / "state").glob("tokens.db*")) / 1e6


def without_journal():
    """What runs a program where this machine's journal is not to be seen; only root can have that."""
    if os.geteuid() != 0 or not JOURNAL.is_dir():
        return []
    return ["unshare", "--mount", "sh", "-c", 'mount -t tmpfs tmpfs "$0" && exec "$@"', JOURNAL]


def redis(stack, name, sockets, data, *settings):
    path = sockets / f"{name}.sock"
    (data / name).mkdir()
    # Debian's redis-tools, which starts no service, holds the server's program under this other name.
    program = shutil.which("redis-server") or "/usr/bin/redis-check-rdb"
    command = ["redis-server", "--port", "0", "--unixsocket", path, "--dir", data / name, "--save", "", *settings]
    server = Server(stack, name, command, executable=program).wait_for("socket", accepts(path))
    return Load(path, server)


def redis_version(load):
    return run("redis-cli", "-s", load.path, "info", "server").split("redis_version:")[1].split()[0]
