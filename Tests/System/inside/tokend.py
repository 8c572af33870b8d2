"""In the container: the daemon as the tests of its service handle it."""

import contextlib
import pathlib

from checks import journal, prop, run
from wire import Connection

SERVICE = "scaem-tokend.service"
SOCKET_UNIT = "scaem-tokend.socket"
SOCKET = "/run/scaem-tokend/tokend.sock"
CONFIGURATION = pathlib.Path("/etc/scaem-tokend/config.toml")
DATABASE = pathlib.Path("/var/lib/scaem-tokend/tokens.db")
SWITCHES = pathlib.Path("/run/scaemtest")


def call(method, timeout=30.0, **params):
    """One request on a connection of its own."""
    with Connection(SOCKET, timeout) as connection:
        return connection.call(method, **params)


def state():
    return prop(SERVICE, "ActiveState")


def status_text():
    return prop(SERVICE, "StatusText")


def main_pid():
    return int(prop(SERVICE, "MainPID"))


def drop_in(text, unit=SERVICE, name="test"):
    """Adds to a unit, and tells systemd."""
    folder = pathlib.Path(f"/etc/systemd/system/{unit}.d")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.conf").write_text(text)
    run("systemctl", "daemon-reload")


def configure(text):
    CONFIGURATION.parent.mkdir(exist_ok=True)
    CONFIGURATION.write_text(text)
    CONFIGURATION.chmod(0o644)


@contextlib.contextmanager
def switched(name):
    """A switch of freeze_shim.c, on for as long as the block runs."""
    SWITCHES.mkdir(exist_ok=True)
    switch = SWITCHES / name
    switch.touch()
    try:
        yield
    finally:
        switch.unlink(missing_ok=True)


def message_ids():
    """The ids of the messages, by their names in the code."""
    import re

    text = pathlib.Path("/test/MessageID.swift").read_text()
    return dict(re.findall(r'case (\w+) = "([0-9a-f]{32})"', text))


def records(name, *matches):
    """The journal's entries of one message."""
    return journal(f"MESSAGE_ID={message_ids()[name]}", "_SYSTEMD_UNIT=" + SERVICE, *matches)


def starts():
    """How often systemd has started the service since the boot."""
    return len([entry for entry in journal("_PID=1", "UNIT=" + SERVICE) if entry["MESSAGE"].startswith("Starting ")])
