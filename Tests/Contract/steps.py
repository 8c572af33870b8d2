"""Steps that several tests take."""


def rows_of(connection, **params):
    return connection.call("list", **params)["tokens"]


def with_previous(root, name, count):
    """An application whose tokens are all alive, the oldest first."""
    application = name()
    tokens = [root.call("register", application=application, project_code="p")["registration_token"]]
    for _ in range(count):
        made = root.call("rotate", application=application, project_code="p", grace_seconds=600)
        tokens.append(made["registration_token"])
    assert all(root.active(token) for token in tokens)
    return application, tokens
