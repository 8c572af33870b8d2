#!/usr/bin/python3
"""The daemon as a service with its socket: started by a connect, asked, stopped."""

import os
import pathlib
import re
import stat

from checks import eventually, journal, main, prop, run
from tokend import call, drop_in, records, switched
from wire import Connection

SOCKET = "/run/scaem-tokend/tokend.sock"
SERVICE = "scaem-tokend.service"
# Every unit that is installed; systemd-analyze(1) gives a template an instance by itself.
UNITS = sorted(path for kind in ("service", "socket", "timer", "target")
               for path in pathlib.Path("/usr/lib/systemd/system").glob(f"scaem-token*.{kind}"))  # fmt: skip
# What systemd-analyze security may say at most (0 is best, 10 worst).
LARGEST_EXPOSURE = 0.7


def of_process(name):
    text = pathlib.Path(f"/proc/{prop(SERVICE, 'MainPID')}/status").read_text()
    return re.search(rf"^{name}:\s*(.*)$", text, re.M)[1]


def check_the_units_are_verified_silently():
    assert len(UNITS) >= 5, UNITS
    # Without the manual pages, which are another build's product.
    done = run("systemd-analyze", "verify", "--man=no", *UNITS, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", ""), done


def check_the_exposure_is_small():
    for unit in UNITS:
        if unit.suffix == ".service":
            said = run("systemd-analyze", "security", "--offline=yes", unit, "--no-pager")
            exposure = float(re.search(r"Overall exposure level for \S+: ([0-9.]+)", said)[1])
            assert exposure <= LARGEST_EXPOSURE, said


def check_each_path_has_a_socket_unit_of_its_own():
    """Two paths in one unit share its name, mode and fate; one path in two is refused to whoever comes second."""
    listens = [re.findall(r"^Listen\w+=(.*)$", unit.read_text(), flags=re.M) for unit in UNITS if unit.suffix == ".socket"]
    assert all(len(paths) == 1 for paths in listens) and len(listens) >= 2, listens
    assert len({paths[0] for paths in listens}) == len(listens), listens
    for name in ("Requires", "After", "TriggeredBy"):
        assert {unit.name for unit in UNITS if unit.suffix == ".socket"} <= set(prop(SERVICE, name).split()), name


def check_nothing_but_what_it_needs_holds_it_back():
    after = set(prop(SERVICE, "After").split())
    # The second line is what PrivateTmp=, StateDirectory= and the slice bring along: file systems all.
    assert after <= {"scaem-tokend.socket", "scaem-tokend-credential.socket", "sysinit.target", "systemd-journald.socket",
                     "system.slice", "-.mount", "tmp.mount", "systemd-tmpfiles-setup.service", "var.mount",
                     "systemd-remount-fs.service"}, after  # fmt: skip
    wants = set((prop(SERVICE, "Wants") + " " + prop(SERVICE, "Requires")).split())
    assert not any("network" in unit or "nss" in unit or "remote" in unit for unit in after | wants), after | wants


def check_the_socket_alone_starts_no_daemon():
    run("systemctl", "start", "scaem-tokend.socket")
    assert prop("scaem-tokend.service", "ActiveState") == "inactive"
    entry = os.stat(SOCKET)
    assert stat.S_IMODE(entry.st_mode) == 0o660
    run("getent", "group", str(entry.st_gid))
    assert run("getent", "group", str(entry.st_gid)).startswith("scaem:")


def check_a_connect_starts_it():
    with Connection(SOCKET) as connection:
        assert connection.call("ping") == {}
    # It answers before systemd has read that it is ready.
    eventually(lambda: prop(SERVICE, "ActiveState") == "active", what="READY=1")


def check_it_is_not_root():
    pid = prop("scaem-tokend.service", "MainPID")
    assert run("ps", "-o", "user=", "-p", pid).strip() in ("scaem-tokend", "scaem-t+")


def check_its_memory_is_locked():
    drop_in("[Service]\nAmbientCapabilities=CAP_IPC_LOCK\nCapabilityBoundingSet=CAP_IPC_LOCK\n"
            "Environment=LD_PRELOAD=/test/freeze.so\n")  # fmt: skip
    with switched("unlimited-memlock"):
        run("systemctl", "restart", SERVICE)
    locked, resident = (int(of_process(name).split()[0]) for name in ("VmLck", "VmRSS"))
    assert locked >= resident - 64, (locked, resident)
    assert not records("memoryNotLocked", f"_PID={prop(SERVICE, 'MainPID')}")
    call("register", application="locked", project_code="P")
    drop_in("")
    run("systemctl", "restart", SERVICE)


def check_its_memory_is_never_dumped():
    assert pathlib.Path(f"/proc/{prop(SERVICE, 'MainPID')}/limits").read_text().count("Max core file size        0") == 1
    # The files of a process that may not be dumped belong to root (proc(5)).
    assert os.stat(f"/proc/{prop(SERVICE, 'MainPID')}/environ").st_uid == 0


def check_it_has_no_capability():
    assert {of_process(name) for name in ("CapPrm", "CapEff", "CapBnd", "CapAmb")} == {"0" * 16}
    assert of_process("NoNewPrivs") == "1" and of_process("Seccomp") == "2"


def check_peers_are_known_through_the_sandbox():
    """Who connects, and from which unit, as another user's service."""
    run("useradd", "--system", "--groups", "scaem", "web")
    said = run("systemd-run", "--wait", "--pipe", "-q", "-u", "web-1.service", "-p", "User=web",
               "scaem-token", "--format", "json", "whoami")  # fmt: skip
    assert '"principal":"web"' in said and '"unit":"web-1.service"' in said, said
    assert '"administrator":false' in said, said
    refused = run("systemd-run", "--wait", "--pipe", "-q", "-p", "User=nobody", "scaem-token", "ping", check=False)
    assert refused.returncode == 77, refused


def check_the_client_works():
    assert "api_key|" in run("scaem-token", "--format", "json", "register", "P1")
    assert '"unit":"scaem-test.service"' in run("scaem-token", "--format", "json", "whoami")


def check_the_journal_has_its_messages():
    messages = [entry["MESSAGE"] for entry in journal("-u", "scaem-tokend.service")]
    assert "ready" in messages, messages
    # Nothing of it comes by another way than its log: no library complains.
    strays = [entry["MESSAGE"] for entry in journal("_SYSTEMD_UNIT=" + SERVICE) if entry["_TRANSPORT"] != "journal"]
    assert not strays, strays


def check_the_state_is_its_own():
    entry = os.stat("/var/lib/scaem-tokend")
    assert stat.S_IMODE(entry.st_mode) == 0o700


def check_a_restart_leaves_the_socket_alone():
    inode = os.stat(SOCKET).st_ino
    run("systemctl", "restart", "scaem-tokend.service")
    assert os.stat(SOCKET).st_ino == inode
    entry = os.stat(SOCKET)
    assert run("getent", "group", str(entry.st_gid)).startswith("scaem:")


def check_stopped_means_socket_and_service():
    run("systemctl", "stop", "scaem-tokend.socket", "scaem-tokend.service")
    eventually(lambda: prop("scaem-tokend.service", "ActiveState") == "inactive")
    assert not os.path.exists(SOCKET)
    strays = [entry["MESSAGE"] for entry in journal("_SYSTEMD_UNIT=" + SERVICE) if entry["_TRANSPORT"] != "journal"]
    assert not strays, strays


main(globals())
