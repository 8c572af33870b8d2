"""What a request costs, counted and held against Benchmarks/guard/figures.json; no figure depends on how fast or how
busy the machine is. Where one has grown for a good reason: `make guard-update`, and the reason in the commit.
"""

import os
import pathlib
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "Benchmarks" / "guard"))

import guard  # noqa: E402

PROGRAMS = os.environ.get("SCAEM_BIN_DIR", ROOT / ".build" / "debug")
try:
    FIGURES = guard.committed(PROGRAMS)
except guard.NoFigures as problem:
    pytest.fail(str(problem), pytrace=False)


@pytest.fixture(scope="module")
def measured():
    return guard.measure(PROGRAMS)


@pytest.mark.parametrize("name, what", [(name, what) for name, row in FIGURES.items() for what in row])
def test_nothing_costs_more_than_it_did(measured, name, what):
    now, figure = measured[name][what], FIGURES[name][what]
    assert not guard.has_grown(now, figure), f"{name}: {what}: {now:,} and no longer {figure:,}"
    assert not guard.counts_nothing(now, figure), f"{name}: {what}: {now:,} only, of {figure:,}: the count is broken"


def test_all_that_is_counted_has_a_figure(measured):
    assert {name: row.keys() for name, row in measured.items()} == {name: row.keys() for name, row in FIGURES.items()}


def test_another_toolchain_has_no_figures(tmp_path):
    others = tmp_path / "figures.json"
    others.write_text('{"debug, Swift 5.0, vax": {}}')
    with pytest.raises(guard.NoFigures, match="make guard-update"):
        guard.committed(PROGRAMS, others)


def test_the_guard_sees_more_than_a_tenth():
    figures = {"work": {"system calls a request": 3.0, "allocations a request": 0.0}}
    lines, grown = guard.compare({"work": {"system calls a request": 3.3, "allocations a request": 0.03}}, figures)
    assert len(lines) == 2 and not grown
    _, grown = guard.compare({"work": {"system calls a request": 3.4, "allocations a request": 0.1}}, figures)
    assert len(grown) == 2
    _, grown = guard.compare({"work": {"instructions a request": 1.0}}, figures)
    assert grown, "a figure that nobody committed"
    _, grown = guard.compare({"work": {"system calls a request": 1.4}}, figures)
    assert grown, "a count that counts hardly anything"
