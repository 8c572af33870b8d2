#!/usr/bin/python3
"""`systemctl reload`: what is read again, what is refused, and what waits for a restart."""

import subprocess

from checks import eventually, journal, main, prop, run
from tokend import CONFIGURATION, SERVICE, call, configure, drop_in, main_pid, records, state, status_text, switched

run("systemctl", "start", "scaem-tokend.socket")
configure("[tokens]\nttl_seconds_default = 3600\n")
drop_in("[Service]\nEnvironment=LD_PRELOAD=/test/freeze.so\n")
run("systemctl", "start", SERVICE)
pid = main_pid()
names = iter(f"app-{number}" for number in range(100))


def lifetime():
    import datetime

    issued = datetime.datetime.now(datetime.timezone.utc)
    text = call("register", application=next(names), project_code="P")["token_expiration"]
    return round((datetime.datetime.fromisoformat(text.replace("Z", "+00:00")) - issued).total_seconds(), -1)


def reloaded():
    return run("systemctl", "reload", SERVICE, check=False)


def check_a_new_value_is_in_force_when_systemctl_returns():
    assert lifetime() == 3600, lifetime()
    configure("[tokens]\nttl_seconds_default = 7200\n")
    assert reloaded().returncode == 0
    assert lifetime() == 7200
    assert records("configurationReloaded")


def check_a_wrong_file_makes_systemctl_fail():
    configure("[tokens]\nttl_seconds_default = 600\nttl_secnds_max = 1\n")
    done = reloaded()
    assert done.returncode != 0, done
    assert "systemctl status" in done.stderr, done.stderr


def check_the_reason_is_in_the_journal_and_the_status():
    entry = records("configurationKept")[-1]
    assert entry["SCAEM_REASON"].startswith("/etc/scaem-tokend/config.toml:3: ") and "ttl_secnds_max" in entry["SCAEM_REASON"]
    assert entry["SCAEM_REASON"] in entry["MESSAGE"] and entry["PRIORITY"] == "3"
    status = run("systemctl", "status", "--no-pager", "--full", SERVICE, check=False).stdout
    assert "config.toml:3: " in status and "ttl_secnds_max" in status
    assert "config.toml:3: " in status_text(), status_text()
    # systemctl's own line says that the reload failed; what ExecReload= printed stands in the unit's journal too.
    texts = [entry["MESSAGE"] for entry in journal("-u", SERVICE) if entry.get("_PID") != str(pid)]
    assert any(text.startswith("scaem-tokend: /etc/scaem-tokend/config.toml:3: ") for text in texts), texts


def check_the_command_prints_the_reason():
    done = run("scaem-tokend", "reload", check=False)
    assert done.returncode == 78 and "config.toml:3: " in done.stderr, done


def check_the_old_configuration_is_in_force():
    assert lifetime() == 7200, lifetime()
    assert state() == "active" and main_pid() == pid


def check_what_needs_a_restart_says_so():
    configure("[tokens]\nttl_seconds_default = 600\n[server]\nevent_loops = 2\n")
    assert reloaded().returncode == 0
    entry = records("waitsForNextStart")[-1]
    assert entry["SCAEM_KEY"] == "server.event_loops" and entry["PRIORITY"] == "4"
    assert lifetime() == 600, "the rest of the file is in force"
    assert "config.toml" not in status_text(), status_text()
    eventually(lambda: status_text().startswith("Serving "), 20, "the counts again")


def check_systemctl_waits_until_it_is_in_force():
    configure("[tokens]\nttl_seconds_default = 1200\n")
    with switched("slow-reload"):
        reload = subprocess.Popen(["systemctl", "reload", SERVICE])
        eventually(lambda: state() == "reloading", what="the reload")
        assert call("ping") == {}, "callers are served meanwhile"
        assert reload.poll() is None
    assert reload.wait(30) == 0
    assert lifetime() == 1200
    assert state() == "active"


def check_the_daemon_itself_announces_a_reload():
    """No command of systemd's is at work here: only RELOADING=1 makes the unit "reloading", only READY=1 ends that."""
    configure("[tokens]\nttl_seconds_default = 1800\n")
    with switched("slow-reload"):
        run("systemctl", "kill", "--kill-whom=main", "-s", "HUP", SERVICE)
        eventually(lambda: state() == "reloading", what="RELOADING=1")
        assert prop(SERVICE, "ControlPID") == "0"
    eventually(lambda: state() == "active", what="READY=1")
    assert lifetime() == 1800
    # Neither was a start in disguise.
    assert main_pid() == pid and prop(SERVICE, "NRestarts") == "0"


def check_what_the_service_may_not_read_is_not_called_good():
    """Made by root under a strict umask: root could read it, and the next start would end with 78."""
    CONFIGURATION.chmod(0o600)
    done = run("scaem-tokend", "check-config", check=False)
    assert done.returncode == 78 and "Permission denied" in done.stderr, done
    CONFIGURATION.chmod(0o644)
    assert "OK" in run("scaem-tokend", "check-config")


main(globals())
