"""A service manager's end of the credential socket: binds the address that systemd binds, connects, reads to the end."""

import fcntl
import os
import re
import secrets
import select
import socket
import struct
import sys
import threading

import wire

TOKEN = re.compile(rb"api_key\|([0-9A-Za-z]{64})")
# systemd takes no more for a credential and makes the unit fail.
MIB = 1 << 20


def entry(unit="web.service", credential="token", application="web", project="P", grace=None):
    """A [[credential]] of the configuration."""
    lines = ["[[credential]]", f"unit = '{unit}'", f"credential = '{credential}'", f"application = '{application}'",
             f"project_code = '{project}'"]  # fmt: skip
    return "\n".join(lines + ([] if grace is None else [f"grace_seconds = {grace}"])) + "\n"


def address(unit="web.service", credential="token", random=None):
    """What systemd binds; abstract, so it has a NUL before it and none behind it."""
    return f"\0{random or f'{secrets.randbits(64):x}'}/unit/{unit}/{credential}".encode()


class Asking:
    """A credential that was asked for and has not come."""

    def __init__(self, path, name=b""):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.settimeout(30)
        if name:
            self.socket.bind(name)
        self.socket.connect(str(path))
        # As systemd does.
        self.socket.shutdown(socket.SHUT_WR)

    def read(self):
        """All until the end of the stream, or as much as systemd reads."""
        data = bytearray()
        while len(data) <= MIB:
            chunk = self.socket.recv(1 << 16)
            if not chunk:
                break
            data += chunk
        self.socket.close()
        for body in TOKEN.findall(data):
            wire.seen_token_bodies.add(body)
        return bytes(data)

    def close(self):
        self.socket.close()


def path_of(daemon):
    return daemon.folder / "credential.sock"


def ask(daemon, unit="web.service", credential="token", name=None):
    return Asking(path_of(daemon), address(unit, credential) if name is None else name)


def given(data):
    """The token, where it is exactly one."""
    assert TOKEN.fullmatch(data), f"{len(data)} bytes that are not one token: {data[:100]!r}"
    return data.decode()


def is_refused(data):
    """More than a credential may be. Never nothing, never a part."""
    return len(data) > MIB and not data.strip(b"\0")


def assert_refused(data):
    assert is_refused(data), f"{len(data)} bytes, {data[:100]!r}, are no refusal"


def assert_token_or_refused(data):
    """What the consumer may see whatever happened: exactly a token, or more than it may read."""
    assert TOKEN.fullmatch(data) or len(data) > MIB, f"{len(data)} bytes: {data[:100]!r}"


class ServiceManager:
    """systemd's ends of NOTIFY_SOCKET and of the store of descriptors, read all the time by a thread."""

    def __init__(self, folder):
        self.path = folder / "notify"
        self.receiver = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.receiver.bind(str(self.path))
        self.environment = {"NOTIFY_SOCKET": str(self.path)}
        self.stored = {}
        self.states = []
        self.messages = 0
        self.heard = threading.Condition()
        self.thread = threading.Thread(target=self._listen, daemon=True)
        self.thread.start()

    def _listen(self):
        while True:
            data, ancillary, _, _ = self.receiver.recvmsg(65_536, socket.CMSG_SPACE(4 * 8))
            if data == b"END":
                return
            with self.heard:
                self._take(data.decode().splitlines(), ancillary)
                self.messages += 1
                self.heard.notify_all()

    def _take(self, lines, ancillary):
        names = [line.removeprefix("FDNAME=") for line in lines if line.startswith("FDNAME=")]
        descriptors = [
            descriptor
            for level, kind, content in ancillary
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS
            for (descriptor,) in struct.iter_unpack("i", content)
        ]
        if "FDSTORE=1" in lines:
            (self.stored[names[0]],) = descriptors
        elif "FDSTOREREMOVE=1" in lines and names[0] in self.stored:
            os.close(self.stored.pop(names[0]))
        self.states += lines

    def wait(self, condition, what):
        with self.heard:
            assert self.heard.wait_for(condition, 30), f"the service manager did not hear {what}: {self.states[-20:]}"

    def wait_for(self, line, count=1):
        self.wait(lambda: self.states.count(line) >= count, f"{line} {count} times")

    def close(self):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.sendto(b"END", str(self.path))
        self.thread.join(30)
        for descriptor in self.stored.values():
            os.close(descriptor)
        self.receiver.close()


# Stands in for systemd's start of a service: hands descriptors over, as number 3 and so on, and becomes the daemon.
HAND_OVER = """
import os, sys
handed, command = [part.split("=") for part in sys.argv[1].split(",")], sys.argv[2:]
for at, (_, number) in enumerate(handed):
    os.dup2(int(number), 3 + at)
    os.close(int(number))
os.environ.update(
    LISTEN_FDS=str(len(handed)), LISTEN_PID=str(os.getpid()), LISTEN_FDNAMES=":".join(name for name, _ in handed)
)
os.execv(command[0], command)
"""


class Service:
    """A daemon as systemd runs it: sockets of the manager's, a store of descriptors, and an end that is known only when
    the last process has gone."""

    def __init__(self, daemon, manager):
        self.daemon = daemon
        self.manager = manager
        self.marks = 0
        self.listeners = {}
        for name, path in (("tokend", daemon.socket), ("credential", path_of(daemon))):
            listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            listener.bind(str(path))
            listener.listen(512)
            self.listeners[name] = listener
        daemon.environment |= manager.environment

    def launch(self):
        handed = {name: listener.fileno() for name, listener in self.listeners.items()} | self.manager.stored
        # Open in every process of the service: its end is the service's end.
        self.life, life = os.pipe()
        # Numbers that the first descriptors handed over cannot fall on.
        copies = {name: fcntl.fcntl(number, fcntl.F_DUPFD_CLOEXEC, 200) for name, number in handed.items()}
        self.daemon.inherited = (*copies.values(), life)
        pairs = ",".join(f"{name}={number}" for name, number in copies.items())
        self.daemon.wrapper = [sys.executable, "-c", HAND_OVER, pairs]
        self.daemon.launch()
        for number in (*copies.values(), life):
            os.close(number)

    def start(self):
        count = self.manager.states.count("READY=1")
        self.launch()
        self.manager.wait_for("READY=1", count + 1)

    def await_end(self):
        """Until every process has gone, as systemd waits before it starts the next instance."""
        self.daemon.process.wait(30)
        assert select.select([self.life], [], [], 30)[0], "a process of the service lives on"
        os.close(self.life)
        # What it sent is in the queue; a word of our own behind it has been heard when all that has.
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            self.marks += 1
            sender.sendto(f"MARK={self.marks}".encode(), str(self.manager.path))
        self.manager.wait_for(f"MARK={self.marks}")

    def kill(self):
        self.daemon.process.kill()
        self.await_end()

    def stop(self):
        self.daemon.terminate()
        assert self.daemon.wait() == 0, self.daemon.output()
        self.await_end()

    def close(self):
        for listener in self.listeners.values():
            listener.close()
        self.manager.close()
