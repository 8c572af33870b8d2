"""What a service manager relies on: readiness, a passed socket, and a stop that leaves the socket alone."""

import os
import pathlib
import signal
import socket
import stat
import sys

import pytest

import credentials
from credentials import ServiceManager
from daemon import eventually, public_folder
from faults import DISK_SHIM, Panel
from wire import Connection, request

# Stands in for the service manager: hands a descriptor over as number 3 and becomes the daemon.
HAND_OVER = """
import os, sys
number, *command = sys.argv[1:]
os.dup2(int(number), 3)
os.set_inheritable(3, True)
os.environ.update(LISTEN_FDS="1", LISTEN_PID=str(os.getpid()), LISTEN_FDNAMES="scaem-tokend.socket")
os.execv(command[0], command)
"""


@pytest.fixture
def manager(tmp_path):
    """The service manager's end of NOTIFY_SOCKET."""
    path = tmp_path / "notify"
    receiver = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    receiver.bind(str(path))
    receiver.settimeout(30)
    yield receiver, {"NOTIFY_SOCKET": str(path)}
    receiver.close()


def next_state(receiver, wanted):
    """Reads notifications until one holds the wanted line."""
    while True:
        lines = receiver.recv(4096).decode().splitlines()
        if wanted in lines:
            return


def test_ready_means_that_it_serves(make_daemon, manager):
    receiver, environment = manager
    daemon = make_daemon(environment=environment)
    daemon.launch()
    next_state(receiver, "READY=1")
    # At that very moment, without a second try.
    with Connection(daemon.socket) as connection:
        assert connection.call("ping") == {}
    daemon.terminate()
    next_state(receiver, "STOPPING=1")
    assert daemon.wait() == 0


def test_a_start_that_fails_is_never_ready(make_daemon, manager):
    receiver, environment = manager
    daemon = make_daemon(environment=environment, config="[tokens]\nx = 1\n")
    daemon.launch()
    assert daemon.process.wait(30) == 78
    receiver.setblocking(False)
    states = b""
    try:
        while True:
            states += receiver.recv(4096)
    except BlockingIOError:
        pass
    assert b"READY=1" not in states


def test_a_stop_during_a_start_ends_it(make_daemon, tmp_path):
    """Nothing was answered, so nothing is waited for: above all not the disk that makes the start long."""
    folder = public_folder()
    panel, manager = Panel(DISK_SHIM, watched=folder / "state"), ServiceManager(tmp_path)
    environment = {**panel.environment, **manager.environment, "WATCHDOG_USEC": "400000"}
    daemon = make_daemon(state=folder / "state", environment=environment)
    with panel.held("sync"):
        daemon.launch()
        panel.await_waiting("sync")
        daemon.terminate()
        manager.wait_for("STOPPING=1")
        assert daemon.wait() == 0
    assert "READY=1" not in manager.states
    daemon.start()
    daemon.stop()
    manager.close()


@pytest.fixture
def passed(make_daemon):
    """A daemon, not yet started, that will get its listening socket from outside."""
    daemon = make_daemon()
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(str(daemon.socket))
    daemon.socket.chmod(0o640)
    listener.listen(16)
    daemon.inherited = (listener.fileno(),)
    daemon.wrapper = [sys.executable, "-c", HAND_OVER, str(listener.fileno())]
    yield daemon
    listener.close()


def test_a_passed_socket_is_served_and_left_alone(passed):
    inode = os.stat(passed.socket).st_ino
    for method in ("register", "rotate"):
        passed.start()
        with passed.connect() as connection:
            connection.call(method, application="a", project_code="p")
        passed.stop()
        entry = os.stat(passed.socket)
        assert entry.st_ino == inode and stat.S_IMODE(entry.st_mode) == 0o640, "the socket is the service manager's"


def test_who_connected_before_the_start_or_during_a_restart_is_answered(passed):
    """Socket activation loses nobody, even when the daemon is killed."""
    for end in (passed.stop, passed.kill9):
        waiting = [Connection(passed.socket) for _ in range(5)]
        for number, connection in enumerate(waiting):
            connection.send(request("ping", None, number) + b"\n")
        passed.start()
        for number, connection in enumerate(waiting):
            assert connection.read_line() == b'{"jsonrpc":"2.0","id":%d,"result":{}}' % number
            connection.close()
        end()
    passed.start()


@pytest.mark.parametrize("kind", ["device", "datagram socket", "socket that does not listen"])
def test_what_is_no_listening_socket_is_not_served(make_daemon, kind):
    """Handed something else, the daemon says so and ends, rather than being ready for nobody."""
    daemon = make_daemon()
    with {
        "device": lambda: open(os.devnull),
        "datagram socket": lambda: socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM),
        "socket that does not listen": lambda: socket.socket(socket.AF_UNIX, socket.SOCK_STREAM),
    }[kind]() as wrong:
        daemon.inherited = (wrong.fileno(),)
        daemon.wrapper = [sys.executable, "-c", HAND_OVER, str(wrong.fileno())]
        daemon.launch()
        assert daemon.wait(10) == os.EX_CONFIG
    assert "socket" in daemon.output()


def test_units_without_a_credential_socket_are_warned_of(passed):
    passed.start()
    passed.stop()
    assert "FileDescriptorName=credential" not in passed.output(), "nobody needs it"
    passed.configure(credentials.entry())
    passed.start()
    assert "no socket with FileDescriptorName=credential was passed" in passed.output()


def test_a_socket_that_is_elsewhere_than_is_said_is_told(passed, tmp_path):
    passed.start()
    passed.stop()
    assert "elsewhere" not in passed.output()
    passed.configure(f'[server]\nsocket = "{tmp_path}/other.sock"\n')
    passed.start()
    (line,) = [line for line in passed.output().splitlines() if "elsewhere" in line]
    assert f"{tmp_path}/other.sock" in line and str(passed.socket) in line and "warning" in line, line


def status_of(pid):
    lines = pathlib.Path(f"/proc/{pid}/status").read_text().splitlines()
    return dict(line.split(":\t", 1) for line in lines)


def test_no_signal_ends_the_credentials_keeper_before_the_daemon(make_daemon):
    """It refuses who waits when the daemon has been killed; systemd's SIGTERM and its watchdog's SIGABRT are for both."""
    daemon = make_daemon(config=credentials.entry())
    path = daemon.folder / "credential.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(path))
        listener.listen(16)
        daemon.inherited = (listener.fileno(),)
        command = HAND_OVER.replace("scaem-tokend.socket", "credential")
        daemon.wrapper = [sys.executable, "-c", command, str(listener.fileno())]
        daemon.launch()
        children = pathlib.Path(f"/proc/{daemon.pid}/task/{daemon.pid}/children")
        eventually(lambda: children.read_text().split(), what="the keeper")
        (keeper,) = map(int, children.read_text().split())
        # By its name: before, it is on its way.
        eventually(lambda: status_of(keeper)["Name"] == "credentials", what="the keeper's name")
        blocked = int(status_of(keeper)["SigBlk"], 16)
        for number in set(signal.valid_signals()) - {signal.SIGKILL, signal.SIGSTOP}:
            assert blocked & 1 << number - 1, signal.Signals(number)
        os.kill(daemon.pid, signal.SIGKILL)
        daemon.wait()


def test_the_limit_of_descriptors_is_raised_for_what_a_reload_may_ask(make_daemon):
    """systemd starts a service with 1,024, and lets it raise that itself."""
    daemon = make_daemon(config="[limits]\nconnections = 256\n", wrapper=["prlimit", "--nofile=512:"]).start()
    with daemon.connect() as root:
        daemon.configure("[limits]\nconnections = 1024\n")
        assert root.call("reload") == {}
    assert "file descriptors" not in daemon.output()
    soft = next(line.split()[3] for line in open(f"/proc/{daemon.pid}/limits") if line.startswith("Max open files"))
    assert int(soft) > 1_024
