"""The load generator sees a wrong answer, and its open loop charges a server for the time in which it stands still."""

import json
import os
import pathlib
import select
import signal
import subprocess

import pytest

LOADGEN = pathlib.Path(__file__).resolve().parents[2] / "Benchmarks" / "loadgen"


@pytest.fixture(scope="module")
def programs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("loadgen")
    for name, sources in (("loadgen", ("loadgen.c", "work.c")), ("echo", ("echo.c",))):
        subprocess.run(["gcc", "-std=c11", "-O2", "-o", folder / name, *(LOADGEN / source for source in sources)],
                       check=True, timeout=60)  # fmt: skip
    return folder


@pytest.fixture
def echo(programs):
    """A server that sends back what it gets: right for `echo`, wrong for all else."""
    path = programs / "echo.sock"
    path.unlink(missing_ok=True)
    process = subprocess.Popen([programs / "echo", path, "60"])
    while not path.exists():
        assert process.poll() is None
        select.select([], [], [], 0.01)
    yield process, path
    process.kill()
    process.wait()


def start(programs, path, *arguments):
    return subprocess.Popen([programs / "loadgen", "--socket", path, *map(str, arguments)], text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE)  # fmt: skip


@pytest.mark.parametrize("work", ["unknown", "exists", "unregister"])
def test_a_wrong_answer_ends_the_run(programs, echo, work):
    run = start(programs, echo[1], "--work", work, "--items", 8, "--seconds", 30)
    assert "wrong answer" in run.communicate(timeout=60)[1]
    assert run.returncode == 1


def test_the_open_loop_charges_a_standstill_to_the_server(programs, echo):
    process, path = echo
    run = start(programs, path, "--work", "echo", "--connections", 4, "--in-flight", 16, "--rate", 1000, "--seconds", 3)
    # Time that passes is what is measured here: of three seconds, one without a server.
    select.select([], [], [], 1)
    os.kill(process.pid, signal.SIGSTOP)
    select.select([], [], [], 1)
    os.kill(process.pid, signal.SIGCONT)
    said, error = run.communicate(timeout=60)
    assert run.returncode == 0, error
    measured = json.loads(said)
    # All that fell due was sent and counted, however late; a closed loop would have counted 64 delays.
    assert abs(measured["requests"] - 3000) <= 1
    assert measured["max_us"] > 900_000 and measured["p99_us"] > 500_000
    assert measured["longest_gap_us"] > 900_000
