"""A real daemon in a folder of its own: started, waited for, stopped, killed and searched for tokens."""

import atexit
import contextlib
import functools
import os
import pathlib
import re
import select
import shutil
import signal
import stat
import subprocess
import tempfile
import time

import people
import wire
from wire import Connection

ROOT = pathlib.Path(__file__).resolve().parents[2]
READY_SECONDS = 30
STOP_SECONDS = 30

# What no run may print: a crash, a broken promise of a library, an error nobody expected.
SURPRISES = re.compile(
    rb"Fatal error|Precondition failed|Assertion failed|Crash|Backtrace|Segmentation|API call with|misuse"
    rb"|leaked|Sanitizer|runtime error|Simultaneous accesses|internal_error|^scaem-tokend: (error|critical):|^<[0-3]>"
)


@functools.cache
def binaries():
    """The folder of the executables under test."""
    named = os.environ.get("SCAEM_BIN_DIR")
    if not named:
        done = subprocess.run(["swift", "build", "--show-bin-path"], cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0, f"set SCAEM_BIN_DIR, or build first: {done.stderr.strip()}"
        named = done.stdout.strip()
    folder = pathlib.Path(named)
    for name in ("scaem-tokend", "scaem-token"):
        assert os.access(folder / name, os.X_OK), f"{folder / name} is not there: build first, or set SCAEM_BIN_DIR"
    return folder


def public_folder(prefix="scaemtest-"):
    """A fresh temporary folder that every user may pass through, gone when the tests end."""
    folder = pathlib.Path(tempfile.mkdtemp(prefix=prefix))
    folder.chmod(0o755)
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


@functools.cache
def public_binary(name):
    """An executable at a path that an unprivileged user can reach."""
    source = binaries() / name
    if all(parent.stat().st_mode & stat.S_IXOTH for parent in source.resolve().parents):
        return source
    copy = public_folder("scaemtest-bin-") / name
    shutil.copy2(source, copy)
    copy.chmod(0o755)
    return copy


def run_tool(name, *arguments, timeout=60, environment=None, stdin=""):
    """Runs one of the executables to its end."""
    return subprocess.run(
        [str(binaries() / name), *map(str, arguments)], input=stdin, capture_output=True, text=True, timeout=timeout,
        env={**os.environ, **(environment or {})},
    )  # fmt: skip


class Daemon:
    """One state directory and the daemon that serves it, through any number of starts."""

    def __init__(self, folder=None, config=None, state=None, socket=None, environment=None, wrapper=()):
        self.owns_folder = folder is None
        self.folder = folder or public_folder()
        self.state = state or self.folder / "state"
        self.socket = socket or self.folder / "tokend.sock"
        self.log = self.folder / "daemon.log"
        self.config = None
        self.environment = environment or {}
        self.wrapper = list(wrapper)
        self.process = None
        self.allowed = []
        # Descriptors that the process is started with.
        self.inherited = ()
        if config is not None:
            self.configure(config)

    def configure(self, text):
        """Writes the configuration file; a daemon that runs reads it at `reload` or its next start."""
        self.config = self.folder / "config.toml"
        self.config.write_text(text)
        self.config.chmod(0o644)

    def arguments(self):
        arguments = [str(binaries() / "scaem-tokend"), "serve"]
        arguments += ["--socket", str(self.socket), "--state-directory", str(self.state)]
        return arguments + (["--config", str(self.config)] if self.config else [])

    @property
    def pid(self):
        return self.process.pid

    # Life.

    def launch(self):
        """Starts the process without waiting for it."""
        assert self.process is None or self.process.poll() is not None, "it runs already"
        environment = {key: value for key, value in os.environ.items() if key not in IGNORED_ENVIRONMENT}
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                self.wrapper + self.arguments(), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                env={**environment, **self.environment}, start_new_session=True, pass_fds=self.inherited,
            )  # fmt: skip

    def start(self):
        """Starts the process and returns when it answers a ping."""
        self.launch()
        end = time.monotonic() + READY_SECONDS
        while True:
            code = self.process.poll()
            assert code is None, f"the daemon ended with {code} at its start:\n{self.output()}"
            assert time.monotonic() < end, f"the daemon does not answer:\n{self.output()}"
            # Connecting is the event; the pause only spaces the attempts.
            with contextlib.suppress(ConnectionError, FileNotFoundError, AssertionError):
                with Connection(self.socket, timeout=READY_SECONDS) as connection:
                    if connection.call("ping") == {}:
                        return self
            select.select([], [], [], 0.01)

    def terminate(self):
        os.kill(self.process.pid, signal.SIGTERM)

    def wait(self, timeout=STOP_SECONDS):
        try:
            return self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError(
                f"the daemon did not end within {timeout} s of being told to:\n{self.output()}"
            ) from None

    def stop(self):
        """SIGTERM, exit 0, and nothing left behind that should not be there."""
        if self.process.poll() is None:
            self.terminate()
        code = self.wait()
        assert code == 0, f"the daemon ended with {code} after SIGTERM:\n{self.output()}"
        self.examine()

    def kill9(self):
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def restart(self):
        self.stop()
        return self.start()

    def crash(self):
        """kill -9 and a new start."""
        self.kill9()
        return self.start()

    def discard(self):
        """The end of a test, however it went."""
        try:
            if self.process and self.process.poll() is None:
                self.stop()
        finally:
            if self.process and self.process.poll() is None:
                self.kill9()
            if self.owns_folder:
                shutil.rmtree(self.folder, ignore_errors=True)

    # What it leaves.

    def output(self):
        return self.log.read_text(errors="replace")[-6000:] if self.log.exists() else ""

    def allow_logged_errors(self):
        """This test provokes what the daemon logs as an error."""
        self.allowed.append(re.compile(rb"^scaem-tokend: (error|critical):"))
        return self

    def examine(self):
        """No surprise in the output, and no token in any file."""
        for line in self.log.read_bytes().splitlines():
            if SURPRISES.search(line) and not any(pattern.search(line) for pattern in self.allowed):
                raise AssertionError(f"the daemon printed: {line.decode(errors='replace')}")
        self.assert_no_token_on_disk()

    def assert_no_token_on_disk(self):
        """Searches every byte of every file for every token that this process was ever handed."""
        heads = {body[:24] for body in wire.seen_token_bodies}
        if not heads:
            return
        files = [self.log, *(path for path in pathlib.Path(self.state).rglob("*") if path.is_file())]
        for path in files:
            data = path.read_bytes()
            for run in ALPHANUMERIC_RUN.finditer(data):
                text = run.group()
                for start in range(len(text) - 23):
                    assert text[start : start + 24] not in heads, f"{path} holds a token"

    # Looking in from outside.

    def connect(self, who=None, timeout=20.0):
        if who is None or who.uid == os.geteuid():
            return Connection(self.socket, timeout)
        return people.connect_as(who, self.socket, timeout)

    def open_files(self):
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def resident_bytes(self):
        with open(f"/proc/{self.pid}/status") as status:
            for line in status:
                if line.startswith("VmRSS:"):
                    return int(line.split()[1]) * 1024
        raise AssertionError("no VmRSS")

    def tool(self, *arguments, **options):
        """One of scaem-tokend's other commands, for this socket and state."""
        places = ["--socket", self.socket, "--state-directory", self.state]
        places += ["--config", self.config] if self.config else []
        return run_tool("scaem-tokend", *arguments, *places, **options)


ALPHANUMERIC_RUN = re.compile(rb"[0-9A-Za-z]{24,}")
# A daemon under test is not told things by the shell that runs the tests.
IGNORED_ENVIRONMENT = {
    "NOTIFY_SOCKET", "LISTEN_FDS", "LISTEN_PID", "WATCHDOG_USEC", "STATE_DIRECTORY", "RUNTIME_DIRECTORY",
    "CONFIGURATION_DIRECTORY", "XDG_RUNTIME_DIR", "XDG_STATE_HOME", "JOURNAL_STREAM", "SCAEM_TOKEND_SOCKET",
}  # fmt: skip


def eventually(condition, timeout=10.0, what="it"):
    """Waits, within bounds, for something that has no event of its own (a count in /proc)."""
    end = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < end, f"{what} did not come within {timeout} s"
        select.select([], [], [], 0.02)
