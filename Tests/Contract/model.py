"""The contract's rules for tokens, written a second time, from its text alone: what each request must answer."""

import copy
from dataclasses import dataclass, field

import shapes

MAX_PREVIOUS = 3


@dataclass
class Token:
    """A token as the outside knows it; `secret` is None where its answer was lost."""

    secret: str | None
    fingerprint: str | None
    issued: int
    end: int


@dataclass
class Held:
    """What an application holds for a project."""

    current: Token
    previous: list = field(default_factory=list)


@dataclass
class Application:
    """A registered application."""

    identity: str | None
    held: dict = field(default_factory=dict)


class Refusal(Exception):
    """An error answer: its code, and data.next where there is one."""

    def __init__(self, code, step=None):
        super().__init__(code, step)
        self.code, self.step = code, step


@dataclass(frozen=True)
class Caller:
    """What the rules need of a caller."""

    principal: str
    administrator: bool = False
    may_own: bool = True

    def may(self, application):
        if self.administrator:
            return True
        own = application == self.principal or (
            application.startswith(self.principal + "/") and len(application) > len(self.principal) + 1
        )
        return own and self.may_own


class Model:
    """Every application and token; `now` is the daemon's stopped clock in milliseconds."""

    def __init__(self):
        self.applications = {}
        self.now = 0

    def copy(self):
        return copy.deepcopy(self)

    def alive(self, token):
        return self.now < token.end

    def living_previous(self, held):
        return [token for token in held.previous if self.alive(token)]

    # The mutations. Those that make a token return (application, token, kept); `adopt` fills in what the answer says.

    def mutate(self, caller, method, params):
        if method == "revoke" and "token" in params:
            return self.revoke_token(params["token"])
        application = params.get("application", caller.principal)
        if not (application == "*" and caller.administrator) and not caller.may(application):
            raise Refusal(-32005)
        if method == "unregister":
            return self.unregister(application)
        project = params["project_code"]
        if method == "revoke":
            return self.revoke(application, project)
        life = params.get("ttl_seconds", shapes.TTL_DEFAULT_SECONDS) * 1000
        return getattr(self, method)(application, project, life, params.get("grace_seconds", 0) * 1000)

    def _make(self, name, project, life):
        token = Token(None, None, self.now, self.now + life)
        self.applications[name].held[project] = Held(token)
        return token

    def register(self, name, project, life, _):
        if name in self.applications:
            raise Refusal(-32002, "rotate" if project in self.applications[name].held else "generate")
        self.applications[name] = Application(None)
        return name, self._make(name, project, life), None

    def generate(self, name, project, life, _):
        if name not in self.applications:
            raise Refusal(-32001, "register")
        if project in self.applications[name].held:
            raise Refusal(-32004, "rotate")
        return name, self._make(name, project, life), None

    def rotate(self, name, project, life, grace):
        if name not in self.applications:
            raise Refusal(-32001, "register")
        held = self.applications[name].held.get(project)
        if held is None:
            raise Refusal(-32003, "generate")
        previous, kept = [], None
        if grace:
            previous = self.living_previous(held)
            if self.alive(held.current):
                kept = min(held.current.end, self.now + grace)
                held.current.end = kept
                previous.append(held.current)
        token = self._make(name, project, life)
        self.applications[name].held[project].previous = previous[-MAX_PREVIOUS:]
        return name, token, kept

    def adopt(self, made, result):
        """Compares an answer's credentials with what was to be made, and learns the secret and the identity."""
        name, token, kept = made
        shapes.check_credentials(result, kept=kept is not None)
        assert result["token_expiration"] == shapes.time_text(token.end), (result, token)
        if kept is not None:
            assert result["previous_token_expiration"] == shapes.time_text(kept)
        token.secret = result["registration_token"]
        token.fingerprint = shapes.fingerprint(token.secret)
        application = self.applications[name]
        if application.identity is None:
            application.identity = result["registration_id"]
        assert result["registration_id"] == application.identity

    def _living(self, held):
        return self.alive(held.current) + len(self.living_previous(held))

    def revoke(self, name, project):
        names = list(self.applications) if name == "*" else [name]
        count = 0
        for one in names:
            held = self.applications[one].held.pop(project, None) if one in self.applications else None
            count += self._living(held) if held else 0
        return {"revoked": count}

    def revoke_token(self, secret):
        for application, project, held, token in self.tokens():
            if token.secret == secret and self.alive(token):
                if token is held.current:
                    del application.held[project]
                    return {"revoked": self._living(held)}
                held.previous.remove(token)
                return {"revoked": 1}
        return {"revoked": 0}

    def unregister(self, name):
        if name not in self.applications:
            raise Refusal(-32001, "register")
        return {"revoked": sum(self._living(held) for held in self.applications.pop(name).held.values())}

    # The reads.

    def tokens(self):
        for application in self.applications.values():
            for project, held in list(application.held.items()):
                for token in [held.current, *held.previous]:
                    yield application, project, held, token

    def introspect(self, secret):
        for name, application in self.applications.items():
            for project, held in application.held.items():
                for token in [held.current, *held.previous]:
                    if token.secret == secret and self.alive(token):
                        return {
                            "active": True, "token_type": "Bearer", "client_id": application.identity, "sub": name,
                            "project_code": project, "iat": token.issued // 1000, "exp": token.end // 1000,
                        }  # fmt: skip
        return {"active": False}

    def rows(self, caller, params):
        named = params.get("application")
        if (named is not None and not caller.may(named)) or not (caller.may_own or caller.administrator):
            raise Refusal(-32005)
        rows = []
        for name, application in self.applications.items():
            if not (caller.may(name) if named is None else name == named):
                continue
            for project, held in application.held.items():
                if params.get("project_code", project) != project:
                    continue
                if "expires_before" in params and held.current.end >= shapes.milliseconds(params["expires_before"]):
                    continue
                rows.append(self._row(name, application, project, held))
        return sorted(rows, key=lambda row: (row["application"].encode(), row["project_code"].encode()))

    def _row(self, name, application, project, held):
        previous = [(token.fingerprint, shapes.time_text(token.end)) for token in self.living_previous(held)]
        return {
            "registration_id": application.identity, "application": name, "project_code": project,
            "issued_at": shapes.time_text(held.current.issued), "token_expiration": shapes.time_text(held.current.end),
            "state": "active" if self.alive(held.current) else "expired", "fingerprint": held.current.fingerprint,
            "previous": sorted(previous),
        }  # fmt: skip

    def counts(self):
        return len(self.applications), sum(self._living(h) for a in self.applications.values() for h in a.held.values())


def comparable(rows):
    """Rows of an answer in the model's form: the order of `previous` and the time of use are not the model's."""
    changed = []
    for row in rows:
        row = {key: value for key, value in row.items() if key != "last_used_at"}
        row["previous"] = sorted((entry["fingerprint"], entry["token_expiration"]) for entry in row["previous"])
        changed.append(row)
    return changed
