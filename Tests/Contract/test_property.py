"""Random histories of many callers, with restarts and kills between: every answer is the model's."""

import contextlib
import os
import time

import people
import shapes
from faults import CLOCK_SHIM, Clock, Panel
from model import Caller, Model, Refusal, comparable
from script import report
from wire import parse, request

SECONDS = float(os.environ.get("SCAEM_PROPERTY_SECONDS", "60"))
PROJECTS = ["p", "q", "p/1"]
GRACES = [0, 1, 60, 600, 86_400]
TTLS = [60, 61, 3_600, 86_400, 31_536_000]


class History:
    """One run: a daemon, its model, the callers, and the last steps for the report of a failure."""

    def __init__(self, daemon, clock, random):
        self.daemon, self.clock, self.random = daemon, clock, random
        self.model = Model()
        self.model.now = clock.wall
        alice, bob, admin = (people.person(n) for n in (people.ALICE, people.BOB, people.ADMIN))
        nameless, recycled = people.nameless(4_242), people.nameless(70_123)
        self.callers = [
            (people.person("root"), Caller("root", administrator=True)),
            (admin, Caller(admin.name, administrator=True)),
            (alice, Caller(alice.name)),
            (bob, Caller(bob.name)),
            (nameless, Caller("uid-4242")),
            (recycled, Caller("uid-70123", may_own=False)),
        ]
        self.names = [alice.name, f"{alice.name}/x", f"{alice.name}/x/y", f"{alice.name}-x", f"{bob.name}/x", bob.name,
                      "uid-4242", "free"]  # fmt: skip
        self.connections = {}
        self.secrets = []
        self.steps = []
        self.counts = {}

    def connection(self, person):
        if person not in self.connections:
            self.connections[person] = self.daemon.connect(person)
        return self.connections[person]

    def hang_up(self):
        for connection in self.connections.values():
            connection.close()
        self.connections.clear()

    def note(self, *step):
        self.steps.append(step)
        self.counts[step[0]] = self.counts.get(step[0], 0) + 1

    # What may happen.

    def step(self):
        kinds = [(self.mutation, 60), (self.introspection, 20), (self.listing, 12), (self.counting, 4),
                 (self.passing, 12), (self.batch, 4), (self.rotations, 4), (self.restart, 0.3), (self.crash, 0.3),
                 (self.crash_midway, 0.8)]  # fmt: skip
        self.random.choices([kind for kind, _ in kinds], [weight for _, weight in kinds])[0]()

    def rotations(self):
        """Several in a row of what is held, so that there are many previous tokens; rare by chance alone."""
        held = [(name, project) for name, one in self.model.applications.items() for project in one.held]
        if not held:
            return
        name, project = self.random.choice(held)
        person, caller = self.random.choice([pair for pair in self.callers if pair[1].may(name)])
        for _ in range(self.random.randrange(2, 6)):
            params = {
                "application": name,
                "project_code": project,
                "grace_seconds": self.random.choice([60, 600, 86_400]),
            }
            answer = self.connection(person).ask("rotate", params)
            self.note("rotate", caller.principal, params, answer)
            self.compare_mutation(self.model, caller, "rotate", params, answer)

    def any_mutation(self):
        method = self.random.choices(["register", "generate", "rotate", "revoke", "unregister"], [6, 5, 12, 4, 4])[0]
        params = {}
        if self.random.random() < 0.85:
            params["application"] = self.random.choice(self.names)
        if method == "unregister":
            return method, params
        if method == "revoke":
            if self.random.random() < 0.4 and self.secrets:
                return method, {"token": self.token_to_revoke()}
            if self.random.random() < 0.1:
                params["application"] = "*"
        params["project_code"] = self.random.choice(PROJECTS)
        if method != "revoke" and self.random.random() < 0.8:
            params["ttl_seconds"] = self.random.choice(TTLS)
        if method == "rotate" and self.random.random() < 0.7:
            params["grace_seconds"] = self.random.choice(GRACES)
        return method, params

    def token_to_revoke(self):
        """Any token but an expired current one: of that the contract does not say what it takes with it."""
        expired = {h.current.secret for _, _, h, _ in self.model.tokens() if not self.model.alive(h.current)}
        found = [secret for secret in self.secrets[-30:] if secret not in expired]
        return self.random.choice(found) if found else shapes.well_formed("x" * 58)

    def mutation(self):
        (person, caller), (method, params) = self.random.choice(self.callers), self.any_mutation()
        answer = self.connection(person).ask(method, params)
        self.note(method, caller.principal, params, answer)
        self.compare_mutation(self.model, caller, method, params, answer)

    def compare_mutation(self, model, caller, method, params, answer):
        try:
            expected = model.mutate(caller, method, params)
        except Refusal as refusal:
            self.compare_refusal(refusal, answer)
            return
        assert "result" in answer, f"expected success, got {answer}"
        if isinstance(expected, dict):
            assert answer["result"] == expected, (answer, expected)
            return
        model.adopt(expected, answer["result"])
        self.secrets.append(answer["result"]["registration_token"])

    def compare_refusal(self, refusal, answer):
        assert "error" in answer, f"expected {refusal}, got {answer}"
        assert (answer["error"]["code"], answer["error"]["data"].get("next")) == (refusal.code, refusal.step), answer

    def batch(self):
        """Several requests of one caller, in one line."""
        person, caller = self.random.choice(self.callers)
        asked = [self.any_mutation() for _ in range(self.random.randrange(1, 12))]
        lines = [request(method, params, number) for number, (method, params) in enumerate(asked)]
        answers = self.connection(person).answer(b"[" + b",".join(lines) + b"]")
        self.note("batch", caller.principal, asked, answers)
        for (method, params), answer in zip(asked, answers, strict=True):
            self.compare_mutation(self.model, caller, method, params, answer)

    def introspection(self):
        person, _ = self.random.choice(self.callers)
        secret = self.random.choice(self.secrets[-60:] or [""])
        result = self.connection(person).call("introspect", token=secret)
        self.note("introspect", secret, result)
        assert result == self.model.introspect(secret), (result, self.model.introspect(secret))

    def listing(self):
        person, caller = self.random.choice(self.callers)
        params = {}
        if self.random.random() < 0.4:
            params["application"] = self.random.choice(self.names)
        if self.random.random() < 0.3:
            params["project_code"] = self.random.choice(PROJECTS)
        if self.random.random() < 0.3:
            params["expires_before"] = shapes.time_text(
                self.clock.wall + self.random.choice([-1, 0, 60_000, 3_600_000])
            )
        if self.random.random() < 0.5:
            params["limit"] = self.random.randrange(1, 6)
        self.note("list", caller.principal, params)
        self.compare_listing(self.connection(person), caller, params)

    def compare_listing(self, connection, caller, params):
        try:
            expected = self.model.rows(caller, params)
        except Refusal as refusal:
            self.compare_refusal(refusal, connection.ask("list", params))
            return
        found, cursor = [], {}
        while True:
            page = connection.call("list", {**params, **cursor})
            assert len(page["tokens"]) <= params.get("limit", 100)
            found += page["tokens"]
            if "next_cursor" not in page:
                break
            cursor = {"cursor": page["next_cursor"]}
        assert comparable(found) == expected, (comparable(found), expected)

    def counting(self):
        person, _ = self.random.choice(self.callers)
        status = self.connection(person).call("status")
        assert (status["applications"], status["tokens"]) == self.model.counts(), status
        self.note("status")

    def passing(self):
        """Time passes, often exactly to somebody's end or one millisecond short of it."""
        ends = sorted({token.end for *_, token in self.model.tokens() if token.end > self.clock.wall})
        if ends and self.random.random() < 0.6:
            by = self.random.choice(ends[:4]) - self.clock.wall - self.random.randrange(2)
        else:
            by = self.random.choice([1, 999, 1_000, 59_999, 60_000])
        # A year ahead would end the run's tokens all at once; those ends are left to the other tests.
        if 0 < by < 100_000_000:
            self.clock.advance(by)
            self.model.now = self.clock.wall
            self.note("time", by)

    def restart(self):
        self.hang_up()
        self.daemon.restart()
        self.note("restart")
        self.compare_all()

    def crash(self):
        self.hang_up()
        self.daemon.crash()
        self.note("crash")
        self.compare_all()

    def compare_all(self):
        root, caller = self.callers[0]
        self.compare_listing(self.connection(root), caller, {})
        for secret in self.secrets[-20:]:
            assert self.connection(root).call("introspect", token=secret) == self.model.introspect(secret)

    def crash_midway(self):
        """kill -9 with a request under way: it took place whole, or not at all; if it was answered, it took place."""
        (person, caller), (method, params) = self.random.choice(self.callers), self.any_mutation()
        connection = self.connection(person)
        connection.send(request(method, params, 1) + b"\n")
        answer = None
        if self.random.random() < 0.3:
            answer = connection.read_line()
        self.daemon.kill9()
        if answer is None:
            with contextlib.suppress(AssertionError):
                answer = connection.read_line()
        self.hang_up()
        self.daemon.start()
        self.note("killed", caller.principal, method, params, answer)
        if answer is not None:
            self.compare_mutation(self.model, caller, method, params, parse(answer))
        else:
            self.settle(caller, method, params)
        self.compare_all()

    def settle(self, caller, method, params):
        """Finds out which of the two it was."""
        after = self.model.copy()
        try:
            made = after.mutate(caller, method, params)
        except Refusal:
            return
        root, everyone = self.callers[0]
        rows = self.connection(root).call("list", limit=1000)["tokens"]
        if comparable(rows) == self.model.rows(everyone, {}):
            if self.connection(root).call("status")["applications"] == len(self.model.applications):
                return
        if not isinstance(made, dict):
            name, token, _ = made
            row = next(r for r in rows if (r["application"], r["project_code"]) == (name, params["project_code"]))
            token.fingerprint = row["fingerprint"]
            if after.applications[name].identity is None:
                after.applications[name].identity = row["registration_id"]
        self.model = after
        self.note("it took place")


def test_random_histories(make_daemon, seeded):
    panel = Panel(CLOCK_SHIM)
    clock = Clock(panel)
    daemon = make_daemon(environment=panel.environment).start()
    history = History(daemon, clock, seeded)
    end = time.monotonic() + SECONDS
    try:
        while time.monotonic() < end:
            history.step()
    except AssertionError as failure:
        steps = "\n".join(repr(step) for step in history.steps[-25:])
        raise AssertionError(f"{failure}\nafter {len(history.steps)} steps, of which the last:\n{steps}") from failure
    finally:
        history.hang_up()
    report(f"random histories of many callers: {len(history.steps)} steps, {history.counts}")
    assert history.counts["rotate"] > 50 and history.counts.get("introspect", 0) > 20, history.counts
    assert daemon.tool("check").returncode == 0


def test_the_model_is_not_the_daemon_s_echo(make_daemon, seeded):
    """The gate is seen to fail: a model that allows four previous tokens disagrees before long."""
    import model

    panel = Panel(CLOCK_SHIM)
    daemon = make_daemon(environment=panel.environment).start()
    history = History(daemon, Clock(panel), seeded)
    kept, model.MAX_PREVIOUS = model.MAX_PREVIOUS, 4
    try:
        disagreed = False
        for _ in range(8):
            here = {"application": "free", "project_code": "p"}
            method = "rotate" if "free" in history.model.applications else "register"
            params = here | ({"grace_seconds": 600} if method == "rotate" else {})
            person, caller = history.callers[0]
            answer = history.connection(person).ask(method, params)
            history.compare_mutation(history.model, caller, method, params, answer)
            try:
                history.compare_all()
            except AssertionError:
                disagreed = True
        assert disagreed
    finally:
        model.MAX_PREVIOUS = kept
        history.hang_up()
