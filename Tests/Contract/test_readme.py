"""The README's first screen is what `make demo` prints."""

import os
import pathlib
import re
import subprocess

import daemon

ROOT = pathlib.Path(__file__).resolve().parents[2]

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
        [ROOT / "scripts" / "demo", daemon.binaries()], capture_output=True, text=True, timeout=120,
        env={**os.environ, "TERM": "dumb"},
    )
    assert printed.returncode == 0, printed.stdout + printed.stderr
    readme = (ROOT / "README.md").read_text()
    transcript = re.search(r"<!-- transcript -->\n```console\n(.*?)```", readme, re.S).group(1)
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
