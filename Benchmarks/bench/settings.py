"""What a run is told by its environment, and where it writes; each variable is described in scripts/bench."""

import os
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
FOLDER = ROOT / ".build-bench"
PROJECTS = 4

# Many short looks in turns: a machine that others share changes its speed within seconds. pgbench takes whole seconds.
SECONDS = float(os.environ.get("BENCH_SECONDS", "1"))
ROUNDS = int(os.environ.get("BENCH_ROUNDS", "6"))
TOKENS = int(os.environ.get("BENCH_TOKENS", "100000")) // (2 * PROJECTS) * (2 * PROJECTS)


def is_on(name, otherwise):
    return os.environ.get(name, otherwise) in ("1", "yes")


POSTGRESQL = is_on("BENCH_POSTGRESQL", "yes")
STRICT = is_on("BENCH_STRICT", "no")
LONG = is_on("BENCH_LONG", "no")
KEEP = is_on("BENCH_KEEP", "no")
PARTS = os.environ.get("BENCH_PARTS", "guard faults peers growth age client audit").split()


def fail(sentence):
    sys.exit(f"bench: {sentence}")


def note(text):
    print(f"bench: {text}", file=sys.stderr, flush=True)


def run(*command, **options):
    done = subprocess.run([str(part) for part in command], text=True, capture_output=True, **options)
    if done.returncode:
        said = (done.stderr or done.stdout).strip()
        fail(f"{' '.join(map(str, command))} ended with status {done.returncode}: {said}")
    return done.stdout
