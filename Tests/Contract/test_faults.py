"""At each call by which a short history reaches the disk the daemon is killed, or the call fails, once or for good:
nothing that was acknowledged is lost, the rest is there whole or not at all, and it serves again."""

import errno

import pytest

from script import KILLED, Run, numbered_calls, points, report, through, until_killed


@pytest.fixture(scope="module")
def steps():
    return numbered_calls()


def came(hits, tried):
    """Whether the steps came, but for a few: the last calls of a stop may be some more or less, as the threads' time has it."""
    print(f"{hits} of {len(tried)} steps came")
    return len(tried) - hits <= max(1, len(tried) // 10)


def test_a_death_at_each_call(steps, seeded):
    total, tried, hits = len(steps), points(steps, seeded), 0
    for step in tried:
        run = Run(step)
        try:
            until_killed(run)
            hits += run.daemon.process.poll() == KILLED
            run.lift()
            run.verify()
        except AssertionError as failure:
            raise AssertionError(f"killed at step {step} of {total}: {failure}") from failure
        finally:
            run.discard()
    assert came(hits, tried)
    report(f"killed before each of {hits} of {total} calls to the disk")


@pytest.mark.parametrize("then", ["once", "for good", "and it is killed"])
@pytest.mark.parametrize("error", [errno.EIO, errno.ENOSPC], ids=["EIO", "ENOSPC"])
def test_each_call_fails(error, then, steps, seeded):
    total, tried, hits = len(steps), points(steps, seeded), 0
    answers = {}
    for step in tried:
        run = Run(step, error, lasts=then == "for good")
        try:
            through(run, killing=then == "and it is killed")
            hits += run.panel.get("faults_hit") > 0
            run.lift()
            run.verify()
        except AssertionError as failure:
            raise AssertionError(f"step {step} of {total} failed: {failure}\n{run.daemon.output()}") from failure
        finally:
            run.discard()
        for outcome, count in run.answers.items():
            answers[outcome] = answers.get(outcome, 0) + count
    assert came(hits, tried)
    report(f"{errno.errorcode[error]} {then} at each of {hits} of {total} calls to the disk: "
           f"{answers}")  # fmt: skip
