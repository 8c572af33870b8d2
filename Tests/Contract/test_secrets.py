"""Where a token must never be, and what the daemon refuses to start on."""

import os
import re

import people
from daemon import public_folder
from wire import request, seen_token_bodies


def use(daemon):
    """Every way that a token passes through the daemon; returns the bodies of those it gave."""
    with daemon.connect() as root:
        for number in range(20):
            token = root.call("register", application=f"s{number}", project_code="p")["registration_token"]
            root.active(token)
            root.send(b'{"jsonrpc":"2.0","id":1,"method":"' + token.encode() + b'"}\n' + token.encode() + b"\n")
            root.read_lines(2)
            root.call("rotate", application=f"s{number}", project_code="p", grace_seconds=60)
            # As a notification it is not done, for its token would be lost; the log says so.
            root.send(request("rotate", {"application": f"s{number}", "project_code": "p"}) + b"\n")
        root.call("ping")
    return {body[:24] for body in seen_token_bodies}


def test_no_token_is_in_the_process_s_own_description(make_daemon):
    """Not in its arguments, its environment or what it calls itself."""
    daemon = make_daemon().start()
    heads = use(daemon)
    assert heads
    for name in ("environ", "cmdline", "comm", "maps"):
        with open(f"/proc/{daemon.pid}/{name}", "rb") as file:
            text = file.read()
        assert text and not any(head in text for head in heads), name
    daemon.assert_no_token_on_disk()


def test_no_error_repeats_a_token(make_daemon):
    """A token where another thing was expected is not echoed, neither in the answer nor in the log."""
    daemon = make_daemon().start()
    with daemon.connect() as root:
        token = root.call("register", application="a", project_code="p")["registration_token"]
        for method, params in [
            ("register", {"application": token, "project_code": "p"}), ("rotate", {"project_code": token}),
            ("list", {"cursor": token}), ("list", {"expires_before": token}), ("watch", {"since": token}),
            ("introspect", {"token": {"a": token}}), ("revoke", {"token": token, "project_code": token}),
            ("unregister", {"application": [token]}), (token, None), ("ping", [token]),
        ]:  # fmt: skip
            line = root.exchange(request(method, params, 1))
            assert b'"error"' in line and token.encode()[8:] not in line, line
    assert token[8:32] not in daemon.log.read_text()


# What it does not start on.


def assert_refused(daemon, sentence):
    daemon.allow_logged_errors().launch()
    code = daemon.process.wait(30)
    text = daemon.output()
    assert code > 0 and re.search(sentence, text), (code, text)
    assert not re.search(r"Fatal|Optional|SQLite error", text), text
    daemon.log.unlink()


def test_files_that_are_open_to_others_are_refused(make_daemon):
    daemon = make_daemon().start()
    daemon.stop()
    database = daemon.state / "tokens.db"
    for mode in (0o640, 0o604, 0o660):
        database.chmod(mode)
        assert_refused(daemon, "tokens.db is open to others")
    database.chmod(0o600)
    alice = people.person(people.ALICE)
    os.chown(database, alice.uid, alice.gid)
    assert_refused(daemon, "tokens.db is open to others")
    os.chown(database, 0, 0)
    daemon.state.chmod(0o750)
    assert_refused(daemon, "Others may enter the state directory")
    daemon.state.chmod(0o700)
    os.chown(daemon.state, alice.uid, alice.gid)
    assert_refused(daemon, "belongs to uid")
    os.chown(daemon.state, 0, 0)
    daemon.start()


def test_a_state_directory_that_is_a_link_is_refused(make_daemon):
    daemon = make_daemon().start()
    daemon.stop()
    link = daemon.folder / "elsewhere"
    link.symlink_to(daemon.state)
    other = make_daemon(state=link)
    assert_refused(other, "is not a directory itself")
    other.state = daemon.state
    database = daemon.state / "tokens.db"
    database.rename(daemon.folder / "moved.db")
    database.symlink_to(daemon.folder / "moved.db")
    assert_refused(other, "tokens.db")
    database.unlink()
    (daemon.folder / "moved.db").rename(database)
    other.start()


def test_a_socket_directory_of_another_is_refused(make_daemon):
    alice = people.person(people.ALICE)
    folder = public_folder()
    daemon = make_daemon(socket=folder / "tokend.sock")
    os.chown(folder, alice.uid, alice.gid)
    assert_refused(daemon, "may be changed by other users")
    os.chown(folder, 0, 0)
    folder.chmod(0o777)
    assert_refused(daemon, "may be changed by other users")
    folder.chmod(0o755)
    daemon.start()


def test_a_configuration_that_others_may_write_is_refused(make_daemon):
    daemon = make_daemon(config="")
    daemon.config.chmod(0o666)
    assert_refused(daemon, "config.toml")
    alice = people.person(people.ALICE)
    daemon.config.chmod(0o644)
    os.chown(daemon.config, alice.uid, alice.gid)
    assert_refused(daemon, "config.toml")
    os.chown(daemon.config, 0, 0)
    daemon.start()
