"""What a stranger gets does not tell by its time, either, whether another's application exists."""

import random
import time

import people
from wire import Connection

ROUNDS = 3_000


def times(path, requests, seed):
    """For each request the times of its answers in nanoseconds, asked in a random order so that no drift favours one."""
    order = [which for which in range(len(requests)) for _ in range(ROUNDS)]
    random.Random(seed).shuffle(order)
    taken = [[] for _ in requests]
    with Connection(path) as connection:
        for which in order:
            began = time.perf_counter_ns()
            connection.ask(*requests[which])
            taken[which].append(time.perf_counter_ns() - began)
    return taken


def share_of_longer(left, right):
    """How often a time of `left` is longer than one of `right`: 0.5 where nobody can tell them apart (Mann-Whitney)."""
    ranked = sorted([(value, 0) for value in left] + [(value, 1) for value in right])
    ranks = sum(rank for rank, (_, side) in enumerate(ranked, 1) if side == 0)
    return (ranks - len(left) * (len(left) + 1) / 2) / (len(left) * len(right))


def test_a_refusal_takes_as_long_whether_the_application_exists_or_not(shared, seeded):
    people.create_people()
    alice, bob = people.person(people.ALICE), people.person(people.BOB)
    there = {"application": f"{people.ALICE}/timed", "project_code": "p"}
    missing = {"application": f"{people.ALICE}/tamed", "project_code": "p"}

    def register():
        with Connection(shared.socket) as connection:
            return connection.ask("register", there)

    assert "result" in people.run_as(alice, register)
    seed = seeded.random()

    def measure():
        return times(
            shared.socket,
            # The third is bob's own, which does not exist: it goes to the writer, and shows that times can tell.
            [("rotate", there), ("rotate", missing), ("rotate", {"project_code": "no-such"})],
            seed,
        )

    exists, does_not, own = people.run_as(bob, measure)
    told_apart = share_of_longer(own, exists)
    # 0.99 on an idle machine, 0.75 on one whose noise is ten times the difference: still far outside what is allowed below.
    assert told_apart > 0.6, f"the measure tells nothing apart ({told_apart:.2f}): this test proves nothing"
    # Its standard deviation by chance alone is sqrt(1 / (6 * ROUNDS)), less than 0.01.
    assert 0.45 < share_of_longer(exists, does_not) < 0.55
