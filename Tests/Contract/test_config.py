"""The configuration: where it is read from, what is wrong with it, how it is read again, and a user's own daemon."""

import os
import pathlib
import re
import stat
import subprocess

import pytest

import people
import shapes
from daemon import ROOT, Daemon, eventually, public_binary, public_folder, run_tool
from wire import Connection

EX_CONFIG = 78

# Text, the line that is wrong, the key that the message names.
WRONG = {
    "unknown table": ("[server]\nevent_loops = 1\n\n[serve]\nx = 1\n", 4, "serve"),
    "unknown key": ("[tokens]\nttl_seconds_default = 100\nttl_default = 100\n", 3, "ttl_default"),
    "unknown key at the top": ("colour = 1\n", 1, "colour"),
    "unknown key of a credential": (
        '[[credential]]\nunit = "a.service"\ncredential = "t"\napplication = "a"\nproject_code = "p"\nx = 1\n', 6, "x",
    ),
    "wrong type": ('[tokens]\n\nper_owner = "10"\n', 3, "per_owner"),
    "a fraction": ("[tokens]\nper_owner = 10.0\n", 2, "per_owner"),
    "a truth": ("[limits]\nconnections = true\n", 2, "connections"),
    "a table for a number": ("[limits]\nwriter_queue = { x = 1 }\n", 2, "writer_queue"),
    "below its bound": ("[limits]\nwriter_queue = 63\n", 2, "writer_queue"),
    "above its bound": ("[server]\ndrain_seconds = 61\n", 2, "drain_seconds"),
    "negative": ("[tokens]\ngrace_seconds_default = -1\n", 2, "grace_seconds_default"),
    "too big for any number": ("[tokens]\nper_owner = 99999999999999999999\n", 2, ""),
    "no TOML": ("[tokens]\nper_owner = \n", 2, ""),
    "twice": ("[tokens]\nper_owner = 1\nper_owner = 2\n", 3, "per_owner"),
    "minimum over maximum": ("[tokens]\nttl_seconds_min = 1000\nttl_seconds_max = 999\n", (2, 3), "ttl_seconds_m"),
    "default outside": ("[tokens]\nttl_seconds_max = 1000\nttl_seconds_default = 2000\n", (2, 3), "ttl_seconds_"),
    "a unit's name": (
        '[[credential]]\nunit = "a b"\ncredential = "t"\napplication = "a"\nproject_code = "p"\n', 2, "unit",
    ),
    "a unit's application": (
        '[[credential]]\nunit = "a.service"\ncredential = "t"\napplication = "-a"\nproject_code = "p"\n', 4,
        "application",
    ),
    "a credential without its project": (
        '\n[[credential]]\nunit = "a.service"\ncredential = "t"\napplication = "a"\n', 2, "project_code",
    ),
    "no UTF-8": (b"[tokens]\n# \xff\n", 2, ""),
}  # fmt: skip


def write(folder, text):
    path = folder / "config.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    path.chmod(0o644)
    return path


def assert_says_where(text, path, lines, key):
    wanted = lines if isinstance(lines, tuple) else (lines,)
    assert any(f"{path}:{line}:" in text for line in wanted), f"line {lines} is to be named:\n{text}"
    assert key in text, f"{key} is to be named:\n{text}"
    assert not re.search(r"Fatal|Crash|Optional\(|Swift", text), text


@pytest.mark.parametrize("case", sorted(WRONG))
def test_a_wrong_configuration_is_refused_with_line_and_key(tmp_path, case):
    text, line, key = WRONG[case]
    path = write(tmp_path, text)
    done = run_tool("scaem-tokend", "check-config", path)
    assert done.returncode == EX_CONFIG, done
    assert_says_where(done.stderr, path, line, key)
    socket, state = tmp_path / "s", tmp_path / "d"
    done = run_tool("scaem-tokend", "serve", "--socket", socket, "--state-directory", state, "--config", path)
    assert done.returncode == EX_CONFIG, done
    assert_says_where(done.stderr, path, line, key)
    assert not socket.exists(), "it made its socket before it knew what to do"


def test_everything_wrong_is_named_at_once(tmp_path):
    path = write(tmp_path, "[tokens]\nper_owner = 0\nx = 1\n[limits]\nconnections = 1\n")
    done = run_tool("scaem-tokend", "check-config", path)
    for line in (2, 3, 5):
        assert f"{path}:{line}:" in done.stderr, done.stderr


def test_a_good_configuration_passes(tmp_path):
    path = write(tmp_path, '[tokens]\nper_owner = 5\n[[credential]]\nunit = "web.service"\ncredential = "token"\n'
                           'application = "web"\nproject_code = "P"\ngrace_seconds = 300\n')  # fmt: skip
    done = run_tool("scaem-tokend", "check-config", path)
    assert done.returncode == 0 and done.stderr == "", done
    for text in ("", "# nothing\n", "[tokens]\n"):
        assert run_tool("scaem-tokend", "check-config", write(tmp_path, text)).returncode == 0


def test_the_shipped_example_is_good(tmp_path):
    """As it is, and with every key in force."""
    text = (ROOT / "etc/scaem-tokend.toml").read_text()
    assert run_tool("scaem-tokend", "check-config", write(tmp_path, text)).returncode == 0
    live = re.sub(r"(?m)^#(?=[a-z_]+ = |\[)", "", text)
    assert live != text
    done = run_tool("scaem-tokend", "check-config", write(tmp_path, live))
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("command", [["serve"], ["check-config"], ["reload"], ["check"]])
def test_a_named_file_may_not_be_missing(tmp_path, command):
    done = run_tool("scaem-tokend", *command, "--config", tmp_path / "none.toml", "--socket", tmp_path / "s",
                    "--state-directory", tmp_path / "d")  # fmt: skip
    assert done.returncode == EX_CONFIG, done
    assert str(tmp_path / "none.toml") in done.stderr
    assert not (tmp_path / "s").exists()


def test_the_standard_file_may_be_missing(daemon):
    assert not os.path.exists("/etc/scaem-tokend/config.toml"), "this machine has one: the test needs it absent"
    with daemon.connect() as root:
        assert root.call("ping") == {}


def test_options_go_before_the_configuration(make_daemon, tmp_path):
    daemon = make_daemon(config=f'[server]\nsocket = "{tmp_path}/other.sock"\nstate_directory = "{tmp_path}/other"\n')
    daemon.start()
    assert daemon.socket.exists() and daemon.state.exists()
    assert not (tmp_path / "other.sock").exists() and not (tmp_path / "other").exists()


def test_the_configuration_goes_before_the_environment(make_daemon, monkeypatch):
    folder = public_folder()
    daemon = make_daemon(socket=folder / "a.sock", state=folder / "state")
    daemon.configure(f'[server]\nsocket = "{folder}/a.sock"\nstate_directory = "{folder}/state"\n')
    other = folder / "other"
    daemon.environment = {"RUNTIME_DIRECTORY": str(other), "STATE_DIRECTORY": str(other)}
    monkeypatch.setattr(daemon, "arguments", lambda: [*Daemon.arguments(daemon)[:1], "--config", str(daemon.config)])
    daemon.start()
    assert daemon.state.exists() and not other.exists()


def test_systemd_s_directories(make_daemon, monkeypatch):
    """Without options and keys the daemon goes where the service manager says; `serve` is what it does by default."""
    folder = public_folder()
    (folder / "run").mkdir(mode=0o755)
    (folder / "state").mkdir(mode=0o700)
    daemon = make_daemon(socket=folder / "run" / "tokend.sock", state=folder / "state")
    daemon.environment = {"RUNTIME_DIRECTORY": str(folder / "run"), "STATE_DIRECTORY": str(folder / "state")}
    monkeypatch.setattr(daemon, "arguments", lambda: Daemon.arguments(daemon)[:1])
    daemon.start()
    assert os.listdir(folder / "state")


# Bounds and defaults come from the configuration.


def test_configured_bounds_and_defaults(make_daemon):
    daemon = make_daemon(config="[tokens]\nttl_seconds_min = 1\nttl_seconds_default = 100\nttl_seconds_max = 200\n"
                                "grace_seconds_default = 30\ngrace_seconds_max = 40\n").start()  # fmt: skip
    with daemon.connect() as root:
        before = shapes.now_milliseconds()
        made = root.call("register", application="a", project_code="p")
        assert 0 <= shapes.milliseconds(made["token_expiration"]) - before - 100_000 < 10_000
        for ttl in (0, 201):
            assert (
                root.refusal("rotate", application="a", project_code="p", ttl_seconds=ttl)["data"]["param"]
                == "ttl_seconds"
            )
        error = root.refusal("rotate", application="a", project_code="p", grace_seconds=41)
        assert error["code"] == -32602 and error["data"]["param"] == "grace_seconds"
        kept = root.call("rotate", application="a", project_code="p", ttl_seconds=200)
        assert "previous_token_expiration" in kept and root.active(made["registration_token"])
        assert "previous_token_expiration" not in root.call(
            "rotate", application="a", project_code="p", grace_seconds=0
        )
        root.call("rotate", application="a", project_code="p", ttl_seconds=1)


# Reading it again.


def test_reload_puts_a_change_in_force(make_daemon):
    daemon = make_daemon(config="[tokens]\nttl_seconds_max = 1000\nttl_seconds_default = 100\n").start()
    with daemon.connect() as root:
        assert root.refusal("register", application="a", project_code="p", ttl_seconds=2000)["code"] == -32602
        daemon.configure("[tokens]\nttl_seconds_max = 3000\nttl_seconds_default = 100\n")
        assert root.refusal("register", application="a", project_code="p", ttl_seconds=2000)["code"] == -32602
        assert root.call("reload") == {}
        root.call("register", application="a", project_code="p", ttl_seconds=2000)


def test_reload_puts_every_key_in_force_that_does_not_need_a_start(make_daemon):
    daemon = make_daemon(config="[tokens]\nper_owner = 1\n[limits]\nconnections_per_user = 1\n").start()
    alice, name = people.person(people.ALICE), people.ALICE
    with people.connected_as(daemon.socket, alice) as first:
        first.call("register", project_code="p")
        assert first.refusal("generate", project_code="q")["code"] == -32011
        with daemon.connect(alice) as turned_away:
            assert turned_away.read_line() is not None
        daemon.configure("[tokens]\nper_owner = 3\nttl_seconds_default = 100\nttl_seconds_min = 90\n"
                         "grace_seconds_max = 5\ngrace_seconds_default = 3\n"
                         "[limits]\nconnections_per_user = 2\nmutations_per_second_per_user = 4\n")  # fmt: skip
        with daemon.connect() as root:
            assert root.call("reload") == {}
        with daemon.connect(alice) as second:
            assert second.call("ping") == {}
        made = first.call("generate", project_code="q")
        assert shapes.milliseconds(made["token_expiration"]) - shapes.now_milliseconds() < 101_000
        assert first.refusal("generate", project_code="r", ttl_seconds=89)["data"]["param"] == "ttl_seconds"
        assert first.refusal("rotate", project_code="q", grace_seconds=6)["data"]["param"] == "grace_seconds"
        assert "previous_token_expiration" in first.call("rotate", project_code="q")
        codes = {
            first.ask("rotate", {"project_code": "q", "application": name}).get("error", {}).get("code")
            for _ in range(30)
        }
        assert codes == {None, -32009}


@pytest.mark.parametrize("way", ["method", "command", "signal"])
def test_a_wrong_configuration_is_not_taken(make_daemon, way):
    daemon = make_daemon(config="[tokens]\nttl_seconds_max = 1000\nttl_seconds_default = 100\n").start()
    daemon.allow_logged_errors()
    with daemon.connect() as root:
        daemon.configure("[tokens]\nttl_seconds_max = 2000\nttl_seconds_default = 150\nper_owner = 0\nx = 1\n")
        if way == "method":
            error = root.refusal("reload")
            assert error["code"] == -32012
            errors = error["data"]["errors"]
            assert isinstance(errors, list) and len(errors) == 2 and all(isinstance(entry, str) for entry in errors)
            assert any("4" in entry and "per_owner" in entry for entry in errors), errors
        elif way == "command":
            done = daemon.tool("reload")
            assert done.returncode != 0 and "per_owner" in done.stderr, done
        else:
            os.kill(daemon.pid, 1)
            eventually(lambda: "per_owner" in daemon.output(), what="the reason in the log")
        assert root.refusal("register", application="a", project_code="p", ttl_seconds=2000)["code"] == -32602
        root.call("register", application="a", project_code="p", ttl_seconds=1000)
        daemon.configure("[tokens]\nttl_seconds_max = 2000\nttl_seconds_default = 150\n")
        assert root.call("reload") == {}
        root.call("register", application="b", project_code="p", ttl_seconds=2000)


@pytest.fixture
def standard_folder(tmp_path):
    """Where a daemon finds what it takes for /etc/scaem-tokend, and the command that starts it so."""
    place = pathlib.Path("/etc/scaem-tokend")
    is_new = not place.exists()
    place.mkdir(exist_ok=True)
    folder = tmp_path / "etc"
    folder.mkdir()
    yield folder, ["unshare", "-m", "sh", "-c", f'mount --bind "{folder}" {place} && exec "$@"', "sh"]
    if is_new:
        place.rmdir()


def test_a_configuration_that_has_gone_is_not_taken_for_none(make_daemon, standard_folder):
    """The standard file need not be there. But whoever moves it away for a moment does not want every limit and credential
    gone."""
    folder, wrapper = standard_folder
    file, away = folder / "config.toml", folder / "away"
    file.write_text("[tokens]\nttl_seconds_max = 1000\nttl_seconds_default = 100\n")
    daemon = make_daemon(wrapper=wrapper).start()
    daemon.allow_logged_errors()
    too_long = {"application": "a", "project_code": "p", "ttl_seconds": 1_001}
    with daemon.connect() as root:
        file.rename(away)
        error = root.refusal("reload")
        assert error["code"] == -32012 and "is gone" in error["data"]["errors"][0], error
        assert root.refusal("register", too_long)["code"] == -32602
        away.rename(file)
        assert root.call("reload") == {}
    daemon.stop()
    file.unlink()
    daemon.start()
    with daemon.connect() as root:
        root.call("register", too_long)
        assert root.call("reload") == {}


def test_the_reload_command(make_daemon):
    daemon = make_daemon(config="").start()
    daemon.configure("[tokens]\nttl_seconds_max = 6000000\n")
    done = daemon.tool("reload")
    assert done.returncode == 0, done
    with daemon.connect() as root:
        assert root.refusal("register", application="a", project_code="p", ttl_seconds=6_000_001)["code"] == -32602
    daemon.stop()
    assert daemon.tool("reload").returncode != 0


def test_who_may_not_read_the_file_may_still_have_it_read(make_daemon, standard_folder):
    """An administrator's reload: the daemon reads its own file and puts it in force, though the caller cannot open it."""
    folder, wrapper = standard_folder
    (folder / "config.toml").write_text("")
    (folder / "config.toml").chmod(0o600)
    daemon = make_daemon(wrapper=wrapper).start()
    admin = people.person(people.ADMIN)
    became = ["setpriv", f"--reuid={admin.uid}", f"--regid={admin.gid}", "--init-groups"]
    reload = [public_binary("scaem-tokend"), "reload", "--socket", daemon.socket]
    done = subprocess.run([*wrapper, *became, *reload], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, ""), done
    # One that is named is to be read all the same.
    named = ["--config", "/etc/scaem-tokend/config.toml"]
    done = subprocess.run([*wrapper, *became, *reload, *named], capture_output=True, text=True, timeout=60)
    assert done.returncode == EX_CONFIG and "Permission denied" in done.stderr, done


def test_a_file_is_checked_by_a_user_who_could_run_no_daemon():
    """As in a build, without a session: the file is good or not, whatever place a socket would have."""
    alice, folder = people.person(people.ALICE), public_folder()
    path = write(folder, "[tokens]\nper_owner = 5\n")
    command = ["setpriv", f"--reuid={alice.uid}", f"--regid={alice.gid}", "--clear-groups", "env"]
    command += [f"--unset={name}" for name in ("HOME", "XDG_RUNTIME_DIR", "XDG_STATE_HOME", "RUNTIME_DIRECTORY")]
    command += [public_binary("scaem-tokend"), "check-config", path]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, ""), done


# An ordinary user's own daemon.


@pytest.fixture
def own_daemon(make_daemon, monkeypatch):
    """alice runs the daemon without an option: the XDG directories are hers."""
    alice = people.person(people.ALICE)
    folder = public_folder()
    for name in ("run", "state"):
        (folder / name).mkdir(mode=0o700)
        os.chown(folder / name, alice.uid, alice.gid)
    daemon = make_daemon(
        folder=folder, socket=folder / "run/scaem-tokend/tokend.sock", state=folder / "state/scaem-tokend"
    )
    daemon.environment = {"XDG_RUNTIME_DIR": str(folder / "run"), "XDG_STATE_HOME": str(folder / "state"), "HOME": "/"}
    daemon.wrapper = ["setpriv", f"--reuid={alice.uid}", f"--regid={alice.gid}", "--clear-groups"]
    monkeypatch.setattr(daemon, "arguments", lambda: [str(public_binary("scaem-tokend"))])
    return daemon.start(), alice


def test_a_user_whose_home_is_empty(make_daemon, monkeypatch):
    """A new user has no ~/.local/state: it is made, for the user alone."""
    alice = people.person(people.ALICE)
    folder = public_folder()
    for name in ("run", "home"):
        (folder / name).mkdir(mode=0o700)
        os.chown(folder / name, alice.uid, alice.gid)
    state = folder / "home/.local/state/scaem-tokend"
    daemon = make_daemon(folder=folder, socket=folder / "run/scaem-tokend/tokend.sock", state=state)
    daemon.environment = {"XDG_RUNTIME_DIR": str(folder / "run"), "HOME": str(folder / "home")}
    daemon.wrapper = ["setpriv", f"--reuid={alice.uid}", f"--regid={alice.gid}", "--clear-groups"]
    monkeypatch.setattr(daemon, "arguments", lambda: [str(public_binary("scaem-tokend"))])
    daemon.start()
    for path in (state, state.parent, state.parent.parent):
        assert os.stat(path).st_uid == alice.uid and stat.S_IMODE(os.stat(path).st_mode) == 0o700, path


def test_a_user_s_own_daemon(own_daemon):
    daemon, alice = own_daemon
    entry = os.stat(daemon.socket)
    assert stat.S_IMODE(entry.st_mode) == 0o600 and entry.st_uid == alice.uid
    for path in (daemon.state, *daemon.state.rglob("*")):
        assert os.stat(path).st_uid == alice.uid and stat.S_IMODE(os.stat(path).st_mode) & 0o077 == 0, path
    with people.connected_as(daemon.socket, people.Person(alice.name, alice.uid, alice.gid, ())) as own:
        facts = own.call("whoami")
        assert facts["administrator"] is True and facts["principal"] == people.ALICE
        made = own.call("register", application="anything", project_code="p")
        assert own.active(made["registration_token"])
        assert own.call("reload") == {}
    # Root reaches the socket, and is an administrator everywhere.
    with daemon.connect() as root:
        assert root.call("whoami")["administrator"] is True
    daemon.restart()


def test_a_user_s_own_daemon_is_nobody_else_s(own_daemon):
    daemon, _ = own_daemon
    for folder in (daemon.socket.parent, daemon.socket.parent.parent):
        folder.chmod(0o755)

    def attempt():
        try:
            Connection(daemon.socket).close()
        except PermissionError:
            return "refused"
        return "connected"

    assert people.run_as(people.person(people.BOB), attempt) == "refused"
    assert people.run_as(people.person(people.ADMIN), attempt) == "refused"


def test_a_user_s_own_client_finds_it(own_daemon):
    daemon, alice = own_daemon
    done = subprocess.run(
        [*daemon.wrapper, str(public_binary("scaem-token")), "--socket", str(daemon.socket), "ping"],
        capture_output=True, text=True, timeout=30, env={**os.environ, **daemon.environment},
    )  # fmt: skip
    assert done.returncode == 0, done
