"""LoadCredential= in a booted system, with the daemon killed at every point of an answer."""

import subprocess

import pytest

from boot import INSIDE
from installed import ROOT, boot_installed, checks_of, shim

SCRIPT = INSIDE / "credentials.py"
SOCKET = "/run/scaem-tokend/credential.sock"
# As in the script.
LONG = "n" * (78 - len(".service")) + ".service"
TOO_LONG = "n" * 100 + ".service"


def unit(*commands, credentials=("token",), kind="oneshot", more="RemainAfterExit=yes", section=""):
    lines = [f"LoadCredential={name}:{SOCKET}" for name in credentials] + list(commands)
    return f"[Unit]\n{section}\n[Service]\nType={kind}\n{more}\n" + "\n".join(lines) + "\n"


def keep(name, target=None):
    """Copies a credential to where the script looks for it; `%p` and `%i` have lost nothing of the unit's name."""
    return f"/bin/sh -c 'cp \"$CREDENTIALS_DIRECTORY/{name}\" \"/run/got/%N.{name if target is None else target}\"'"


def entry(name, credential="token", application=None):
    return (
        f"[[credential]]\nunit = '{name}'\ncredential = '{credential}'\n"
        f"application = '{application or name.removesuffix('.service')}'\nproject_code = 'P'\n\n"
    )


def configuration():
    named = ["web.service", "commands.service", "loop.service", LONG, TOO_LONG]
    many = [entry(f"many@{n}.service", name, f"many/{n}-{name}") for n in range(60) for name in "abc"]
    return "".join([*map(entry, named), *many])


@pytest.fixture(scope="module")
def booted(tmp_path_factory):
    kill_shim = tmp_path_factory.mktemp("shim") / "kill_shim.so"
    source = ROOT / "Tests" / "Contract" / "kill_shim.c"
    subprocess.run(
        ["cc", "-O1", "-Wall", "-Werror", "-shared", "-fPIC", "-o", kill_shim, source, "-ldl"], check=True, timeout=60
    )
    units = "/etc/systemd/system"
    simple = unit(f"ExecStart={keep('token')}")
    files = {
        "/etc/scaem-tokend/config.toml": configuration(),
        "/test/kill_shim.so": kill_shim,
        "/test/freeze.so": shim("freeze"),
        "/test/MessageID.swift": ROOT / "Sources" / "Systemd" / "MessageID.swift",
        f"{units}/scaem-tokend.service.d/kill.conf": "[Service]\n"
        "Environment=LD_PRELOAD=/test/kill_shim.so:/test/freeze.so\n"
        "Environment=SCAEM_TEST_KILL_AT=/var/lib/scaem-tokend/kill-at\n",
        f"{units}/web.service": simple,
        f"{units}/stranger.service": simple,
        f"{units}/{LONG}": simple,
        f"{units}/{TOO_LONG}": simple,
        f"{units}/wrong.service": simple.replace("LoadCredential=token", "LoadCredential=other").replace(
            "/token", "/other"
        ),
        f"{units}/commands.service": unit(
            *[f"ExecStartPre={keep('token', n)}" for n in (0, 1)], *[f"ExecStart={keep('token', n)}" for n in (2, 3)]
        ),
        f"{units}/many@.service": unit(*[f"ExecStart={keep(name)}" for name in "a"], credentials="abc").replace(
            keep("a"), "/bin/sh -c 'for name in a b c; do cp \"$CREDENTIALS_DIRECTORY/$name\" \"/run/got/%N.$name\"; done'"
        ),
        f"{units}/loop.service": unit(
            "ExecStart=/bin/false", kind="simple", more="Restart=always\nRestartSec=0",
            section="StartLimitIntervalSec=0",
        ),  # fmt: skip
    }
    return boot_installed(SCRIPT, files=files, limit=580)


@pytest.mark.parametrize("name", checks_of(SCRIPT))
def test_credentials(booted, name):
    booted.assert_check(name)


def test_no_check_is_missing_or_unknown(booted):
    assert list(booted.checks) == checks_of(SCRIPT)


def test_no_token_is_in_the_journal(booted):
    assert not [message for message in booted.journal if "api_key|" in str(message.get("MESSAGE"))]
