"""The README's first screen is what `make demo` prints; what it and docs/credentials.md tell people to do is done."""

import os
import re
import subprocess

from credentials import ask, assert_refused, given
from daemon import ROOT, binaries

README = (ROOT / "README.md").read_text()

# What differs from run to run.
VARYING = [
    (re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"), "UUID"),
    (re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+Z"), "TIME"),
]


def same(text):
    for pattern, word in VARYING:
        text = pattern.sub(word, text)
    return text.strip()


def test_the_transcript_is_what_the_demo_prints():
    printed = subprocess.run(
        [ROOT / "scripts" / "demo", binaries()], capture_output=True, text=True, timeout=120,
        env={**os.environ, "TERM": "dumb"},
    )
    assert printed.returncode == 0, printed.stdout + printed.stderr
    transcript = re.search(r"<!-- transcript -->\n```console\n(.*?)```", README, re.S).group(1)
    # Commands of the shell that set the stage are not the demo's to print.
    steps = [step for step in re.split(r"^\$ ", transcript, flags=re.M) if step and not step.startswith("cp ")]
    assert len(steps) >= 6
    shown = same(printed.stdout)
    place = 0
    for step in steps:
        step = "$ " + same(step)
        found = shown.find(step, place)
        assert found >= 0, f"the demo does not print this, in this order:\n{step}\n--- it prints:\n{shown}"
        place = found + len(step)


def test_every_use_it_shows_succeeds(daemon, tmp_path):
    """One after the other, as root, who owns the application `root`."""
    uses = re.search(r"^## Use\n\n```sh\n(.*?)^```", README, re.S | re.M)[1]
    environment = {**os.environ, "SCAEM_TOKEND_SOCKET": str(daemon.socket), "PATH": f"{binaries()}:{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", "-euxc", uses], cwd=tmp_path, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True,
        timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("+ scaem-token ") == len(uses.splitlines()) >= 6, done.stderr
    with daemon.connect() as root:
        assert root.call("list") == {"tokens": []}, "the last of them ends the token"


def test_a_unit_gets_its_credential_as_the_page_says(make_daemon):
    page = (ROOT / "docs" / "credentials.md").read_text()
    blocks = dict(re.findall(r"^```(ini|toml|console)\n(.*?)^```", page, re.S | re.M))
    credential = re.search(r"^LoadCredential=(\w+):/run/scaem-tokend/credential.sock$", blocks["ini"], re.M)[1]
    daemon = make_daemon(config="").start()
    assert_refused(ask(daemon, "web.service", credential).read())
    _, *sentence = blocks["console"].splitlines()
    assert " ".join(sentence) in daemon.output()
    daemon.configure(blocks["toml"])
    done = daemon.tool("reload")
    assert done.returncode == 0, done.stderr
    token = given(ask(daemon, "web.service", credential).read())
    assert len(token) == 72
    with daemon.connect() as root:
        answer = root.call("introspect", token=token)
    assert (answer["sub"], answer["project_code"]) == ("web", "P")
