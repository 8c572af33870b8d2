#!/usr/bin/python3
"""The life of the Debian package: installed, used, upgraded under load, removed, installed again, purged."""

import os
import pathlib
import pwd

from checks import journal, main, prop, run
from load import Load
from tokend import CONFIGURATION, DATABASE, SERVICE, SOCKET, call, configure, main_pid, message_ids, records

EARLIER, LATER = "/test/earlier.deb", "/test/later.deb"
SOCKETS = ["scaem-tokend.socket", "scaem-tokend-credential.socket"]
ROTATION = "scaem-token-rotate@web.timer"
GROUPS = ["scaem", "scaem-admin", "scaem-verifier"]
TOKEN = pathlib.Path("/var/lib/web/token")

load = Load()
# Its trigger would build the index of every manual page of the machine, five times over: man-db's own switch.
pathlib.Path("/var/lib/man-db/auto-update").unlink(missing_ok=True)


def dpkg(*arguments):
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    return run("dpkg", "--force-unsafe-io", *arguments, timeout=200, env=environment)


def version_of(package):
    return run("dpkg-deb", "-f", package, "Version").strip().removesuffix("-1")


def as_web(*command, **options):
    return run("setpriv", "--reuid=web", "--regid=web", "--init-groups", *command, **options)


def unchanged_by_an_upgrade():
    """Of each socket unit what a stop, a start or a new file of its socket would change."""
    return {unit: (prop(unit, "ActiveEnterTimestampMonotonic"), os.stat(prop(unit, "Listen").split()[0]).st_ino)
            for unit in SOCKETS}  # fmt: skip


def assert_users_and_groups():
    assert pwd.getpwnam("scaem-tokend").pw_shell == "/usr/sbin/nologin"
    run("getent", "group", *GROUPS)


def assert_nothing_has_failed():
    assert "scaem" not in run("systemctl", "--failed", "--no-legend", "--plain")


def assert_nothing_runs():
    assert run("pgrep", "-c", "scaem-tokend", check=False).stdout.strip() == "0"
    assert not os.path.exists(SOCKET)
    for unit in [*SOCKETS, SERVICE, ROTATION, "scaem-tokend-audit-verify.timer"]:
        assert prop(unit, "ActiveState") == "inactive", unit
    assert_nothing_has_failed()


def check_an_installation_gives_a_running_service():
    dpkg("-i", EARLIER)
    for unit in [*SOCKETS, SERVICE, "scaem-tokend-audit-verify.timer"]:
        assert (prop(unit, "ActiveState"), prop(unit, "UnitFileState")) == ("active", "enabled"), unit
    assert run("scaem-token", "--format", "json", "status").find(f'"version":"{version_of(EARLIER)}"') > 0
    assert "scaem-token " + version_of(EARLIER) == run("scaem-token", "--version").strip()
    assert version_of(EARLIER) == run("scaem-tokend", "--version").strip()
    assert_users_and_groups()
    assert list(CONFIGURATION.parent.iterdir()) == [], "there is none to begin with, and a place for it"


def check_what_is_installed_is_found():
    assert dpkg("--verify", "scaem-tokend") == ""
    for page in ("1/scaem-token.1", "5/scaem-tokend.toml.5", "7/scaem-tokend-protocol.7", "8/scaem-tokend.8"):
        assert os.path.exists(f"/usr/share/man/man{page}.gz")
    # Its entries are compiled by a trigger of systemd's package.
    assert "Subject: scaem-tokend serves" in run("journalctl", "-x", "-u", SERVICE, "MESSAGE_ID=" + message_ids()["ready"])


def check_a_member_of_the_group_has_a_token():
    run("useradd", "--system", "--groups", "scaem", "web")
    TOKEN.parent.mkdir()
    os.chown(TOKEN.parent, pwd.getpwnam("web").pw_uid, -1)
    as_web("scaem-token", "obtain", "P", "--output", TOKEN)
    assert '"sub":"web"' in as_web("scaem-token", "introspect", TOKEN)
    configure("[tokens]\ngrace_seconds_default = 77\n")
    run("systemctl", "reload", SERVICE)
    instances = CONFIGURATION.parent / "rotate"
    instances.mkdir()
    (instances / "web.env").write_text(f"PROJECT=P\nFILE={TOKEN}\n")
    run("systemctl", "enable", "--now", ROTATION)


def check_an_upgrade_under_load_restarts_the_service_alone():
    load.start()
    before, sockets, starts = main_pid(), unchanged_by_an_upgrade(), len(records("ready"))
    dpkg("-i", LATER)
    load.wait_until_all_went_on()
    assert main_pid() not in (0, before)
    assert unchanged_by_an_upgrade() == sockets
    load.stop()
    assert len(records("ready")) == starts + 1


def check_the_new_version_runs():
    assert version_of(LATER) != version_of(EARLIER)
    assert call("status")["version"] == version_of(LATER)
    assert "scaem-token " + version_of(LATER) == run("scaem-token", "--version").strip()
    assert prop(SERVICE, "NeedDaemonReload") == "no"


def check_no_caller_was_refused():
    assert not load.problems, load.problems
    assert min(load.broken) >= 1, "a caller that never saw a break: was anything restarted?"
    assert min(load.connects) > 0


def check_no_acknowledged_change_was_lost():
    load.assert_nothing_is_lost()
    assert '"sub":"web"' in as_web("scaem-token", "introspect", TOKEN)


def check_an_upgrade_leaves_the_timers_running():
    for unit in (ROTATION, "scaem-tokend-audit-verify.timer"):
        assert prop(unit, "ActiveState") == "active", unit
    assert_nothing_has_failed()


def check_a_removal_ends_all_and_keeps_state_and_configuration():
    dpkg("--remove", "scaem-tokend")
    assert_nothing_runs()
    assert DATABASE.exists() and CONFIGURATION.exists()
    assert_users_and_groups()


def check_installed_again_all_is_there():
    dpkg("-i", LATER)
    assert '"sub":"web"' in as_web("scaem-token", "introspect", TOKEN)
    assert as_web("scaem-token", "rotate", "P", "--output", TOKEN).find("previous_token_expiration") > 0
    assert prop(ROTATION, "ActiveState") == "active"


def check_a_purge_leaves_users_groups_and_journal():
    files = [pathlib.Path(line) for line in run("dpkg", "-L", "scaem-tokend").splitlines()]
    files = [path for path in files if not path.is_dir()]
    assert pathlib.Path("/usr/bin/scaem-tokend") in files
    dpkg("--purge", "scaem-tokend")
    assert_nothing_runs()
    assert not [path for path in files if os.path.lexists(path)]
    for folder in ("/var/lib/scaem-tokend", "/etc/scaem-tokend", "/run/scaem-tokend"):
        assert not os.path.lexists(folder), folder
    left = run("find", "/etc", "/usr/lib/systemd", "/usr/share/doc", "/var/lib/systemd", "/var/lib/dpkg", "-name", "*scaem-token*")
    assert left == "", left
    assert run("dpkg-query", "-W", "scaem-tokend", check=False).returncode == 1
    assert_users_and_groups()
    assert journal("_SYSTEMD_UNIT=" + SERVICE)
    assert not [entry for entry in journal("_SYSTEMD_UNIT=" + SERVICE) if "api_key|" in str(entry.get("MESSAGE"))]


main(globals())
