"""The manual pages and completions name what there is, all of it, and nothing else; the programs and tables say what."""

import json
import re
import subprocess

import pytest

from daemon import ROOT, binaries, run_tool

MAN = ROOT / "man"
COMPLETIONS = ROOT / "completions"
PAGES = ["scaem-token.1", "scaem-tokend.8", "scaem-tokend.toml.5", "scaem-tokend-protocol.7"]
SCHEMA = json.loads((ROOT / "docs/protocol.schema.json").read_text())["$defs"]
METHODS = sorted(key.removesuffix(".params") for key in SCHEMA if key.endswith(".params"))
OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]*")


def output(*command):
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env={"PATH": "/usr/bin:/bin", "LC_ALL": "C"})
    assert done.returncode == 0, (command, done.stderr)
    return done.stdout


def words(text):
    return " ".join(text.split())


def rendered(page):
    """A page as a reader sees it, without emphasis and nearly without line breaks."""
    return re.sub(".\b", "", output("mandoc", "-Tascii", "-Owidth=990", str(MAN / page))).expandtabs(8)


def sections(page):
    """Each section's text by its heading."""
    parts = re.split(r"^(\S[A-Z ]*)$", rendered(page), flags=re.M)
    return dict(zip(parts[1::2], parts[2::2]))


def items(text, pattern):
    """The tags of a list, as `pattern` finds them at the beginning of a line, with what follows each."""
    found = list(re.finditer(rf"^ +({pattern})", text, flags=re.M))
    ends = [match.start() for match in found[1:]] + [len(text)]
    return [(match[1], words(text[match.end() : end])) for match, end in zip(found, ends)]


def test_no_page_is_forgotten():
    assert sorted(path.name for path in MAN.iterdir()) == sorted(PAGES)


@pytest.mark.parametrize("page", PAGES)
def test_a_page_is_well_formed(page):
    lint = subprocess.run(["mandoc", "-Tlint", "-Wstyle", MAN / page], capture_output=True, text=True, timeout=60)
    # Pages of other packages, and ours before they are installed, are not in mandoc's own index.
    found = [line for line in (lint.stdout + lint.stderr).splitlines()
             if "referenced manual not found" not in line and "outdated mandoc.db" not in line]  # fmt: skip
    assert not found, "\n".join(found)
    shown = subprocess.run(["man", "--warnings", "-l", MAN / page], capture_output=True, text=True, timeout=60)
    assert shown.returncode == 0 and shown.stdout and not shown.stderr, shown.stderr


def test_the_pages_name_pages_that_are_ours_or_debian_s():
    known = {page.rsplit(".", 1)[0] for page in PAGES} | {"systemctl", "journalctl", "systemd.exec", "systemd.socket"}
    named = {name for page in PAGES for name in re.findall(r"^\.Xr (\S+) \d", (MAN / page).read_text(), flags=re.M)}
    assert named <= known, named - known


# The client.


def client_help(*command):
    return run_tool("scaem-token", *command, "--help").stdout


def client_commands():
    listed = re.search(r"^Commands:\n(.*?)\n\n", client_help(), flags=re.M | re.S)[1]
    names = re.findall(r"^  (\w+)", listed, flags=re.M)
    assert len(names) >= 14
    return names


def client_usages():
    return [line.strip().removeprefix("Usage: ").removeprefix("scaem-token ")
            for name in client_commands()
            for line in re.search(r"^Usage:.*?\n\n", client_help(name), flags=re.M | re.S)[0].splitlines() if line]  # fmt: skip


def client_options(command):
    return set(re.findall(r"^  (--[\w-]+)", client_help(command), flags=re.M))


def test_the_client_s_page_has_each_command_as_its_help_has_it():
    usages = client_usages()
    listed = [tag + rest for tag, rest in re.findall(
        rf"^     ({'|'.join(client_commands())})\b(.*?)(?:  +.*)?$", sections("scaem-token.1")["COMMANDS"], flags=re.M)]  # fmt: skip
    assert sorted(listed) == sorted(usages)


def test_the_client_s_page_has_each_option():
    options = {option for name in client_commands() for option in client_options(name)}
    page = sections("scaem-token.1")
    assert {tag for tag, _ in items(page["OPTIONS"], r"--[\w-]+")} == options
    # Of systemctl.
    others = {"--now"}
    assert set(OPTION.findall(rendered("scaem-token.1"))) - others == options


def test_the_client_s_page_has_each_exit_code_with_its_meaning():
    said = re.search(r"^Exit codes:\n(.*?)\n\n", client_help(), flags=re.M | re.S)[1]
    codes = {number: words(text) for number, text in re.findall(r"^  (\d+) +(.*)$", said, flags=re.M)}
    assert len(codes) >= 11
    page = {number: text.rstrip(".").lower() for number, text in items(sections("scaem-token.1")["EXIT STATUS"], r"\d+(?= )")}
    assert page == {number: text.lower() for number, text in codes.items()}


# The daemon.


def daemon_tree():
    """Each command's path with its arguments, as ArgumentParser tells them."""
    tree = {}

    def walk(command, path):
        tree[path] = [argument for argument in command["arguments"] if argument.get("shouldDisplay", True)]
        for child in command.get("subcommands", []):
            walk(child, (*path, child["commandName"]))

    walk(json.loads(run_tool("scaem-tokend", "--experimental-dump-help").stdout)["command"], ())
    assert ("serve",) in tree and ("reload",) in tree
    return tree


def long_names(arguments):
    return {"--" + name["name"] for argument in arguments for name in argument.get("names") or []
            if name["kind"] == "long"}  # fmt: skip


# Every command takes them.
EVERYWHERE = {"--config", "--socket", "--state-directory", "--version", "--help"}


def usage(path, arguments):
    """A command as its page lists it: `backup file [--replace]`."""
    parts = list(path)
    for argument in arguments:
        name, dots = argument["valueName"], " ..." if argument["isRepeating"] else ""
        if argument["kind"] == "positional":
            text = name + dots
        else:
            (option,) = long_names([argument])
            if option in EVERYWHERE:
                continue
            text = option + dots if argument["kind"] == "flag" else f"{option} {name}{dots}"
        # ArgumentParser calls an option that may be repeated required for none.
        optional = argument["isOptional"] or argument["isRepeating"] or argument["kind"] != "positional"
        parts.append(f"[{text}]" if optional else text)
    return " ".join(parts)


def test_the_daemon_s_page_has_each_command_with_its_options():
    tree = daemon_tree()
    leaves = {path: arguments for path, arguments in tree.items()
              if not any(other[: len(path)] == path and other != path for other in tree)}  # fmt: skip
    listed = [re.split("  +", line)[0]
              for line in re.findall(r"^     (\S.*)$", sections("scaem-tokend.8")["COMMANDS"], flags=re.M)]  # fmt: skip
    assert sorted(listed) == sorted(usage(path, arguments) for path, arguments in leaves.items())


def test_the_daemon_s_page_has_each_option_and_no_other():
    there = {name for arguments in daemon_tree().values() for name in long_names(arguments)}
    # Of systemctl; and ArgumentParser's own, which no help shows.
    others = {"--failed", "--generate-completion-script"}
    assert set(OPTION.findall(rendered("scaem-tokend.8"))) - others == there
    common = {tag for tag, _ in items(sections("scaem-tokend.8")["OPTIONS"], r"(?:-h, )?--[\w-]+(?=$| [a-z-]+$)")}
    assert EVERYWHERE <= {tag.removeprefix("-h, ") for tag in common} | {"--version", "--help"}


def test_the_daemon_s_page_has_each_exit_status():
    page = {int(number) for number, _ in items(sections("scaem-tokend.8")["EXIT STATUS"], r"\d+(?= )")}
    sources = "\n".join(path.read_text() for path in (ROOT / "Sources/scaem-tokend").rglob("*.swift"))
    named = dict(re.findall(r"static let (\w+) = ExitCode\((\d+)\)", sources))
    used = {int(number) for name, number in named.items()
            if re.search(rf"(?:ExitCode|as:|\?|:) ?\.{name}\b", sources)}  # fmt: skip
    # ArgumentParser's own: done, failed, EX_USAGE.
    assert page == {0, 1, 64} | used


def test_the_daemon_s_page_has_each_unit():
    units = {path.name for path in (ROOT / "systemd").iterdir() if path.suffix in (".service", ".socket", ".timer")}
    named = set(re.findall(r"\bscaem-token[\w@-]*\.(?:service|socket|timer)", sections("scaem-tokend.8")["UNITS"]))
    assert named == units


# The configuration.


def example_keys():
    """(table, key, value, sentences) of etc/scaem-tokend.toml."""
    table, comment, keys = None, [], []
    for line in (ROOT / "etc/scaem-tokend.toml").read_text().splitlines():
        if match := re.fullmatch(r"#\[+(\w+)\]+", line):
            table, comment = match[1], []
        elif match := re.fullmatch(r"#(\w+) = (.*)", line):
            keys.append((table, match[1], match[2], words(" ".join(comment))))
            comment = []
        elif line.startswith("# "):
            comment.append(line[2:])
        else:
            comment = []
    assert len(keys) >= 21
    return keys


def test_the_configuration_s_page_has_each_key_in_the_example_s_words():
    parts = re.split(r"^   (\w+)$", sections("scaem-tokend.toml.5")["KEYS"], flags=re.M)
    page = []
    for table, text in zip(parts[1::2], parts[2::2]):
        for tag, description in items(text, r"\w+ = \S+"):
            key, _, value = tag.partition(" = ")
            page.append((table, key, value, description))
    assert page == example_keys()


# The protocol.


def test_the_protocol_s_page_has_each_method_with_its_params():
    page = {}
    for method, rest in re.findall(rf"^     ({'|'.join(METHODS)}|[a-z]+)\b(.*?)(?:  +.*)?$",
                                   sections("scaem-tokend-protocol.7")["METHODS"], flags=re.M):  # fmt: skip
        if method == "params":
            continue
        required, optional = page.setdefault(method, (set(), set()))
        optional |= set(re.findall(r"\[(\w+)\]", rest))
        required |= set(re.sub(r"\[\w+\]", "", rest).split())
    assert sorted(page) == METHODS
    for method, (required, optional) in page.items():
        schema = SCHEMA[f"{method}.params"]
        forms = [form for form in schema.get("oneOf", schema.get("anyOf", [schema]))]
        properties = {name for form in [schema, *forms] for name in form.get("properties", {})}
        must = {name for form in [schema, *forms] for name in form.get("required", [])}
        assert required | optional == properties, method
        assert required == must, method


def test_the_protocol_s_page_has_each_error():
    documented = set(re.findall(r"^\| (-\d+) \| `(\w+)` \|", (ROOT / "docs/protocol.md").read_text(), flags=re.M))
    assert len(documented) >= 20
    page = re.findall(r"^     (-\d+) (\w+)", sections("scaem-tokend-protocol.7")["ERROR CODES"], flags=re.M)
    assert len(page) == len(set(page)) and set(page) == documented


def test_the_protocol_s_page_has_the_members_of_each_result():
    text = sections("scaem-tokend-protocol.7")
    for method in ("whoami", "status"):
        said = re.search(rf"^     {method} +(.*)$|^     {method}\n +(.*)$", text["METHODS"], flags=re.M)
        assert set(re.findall(r"\w+", said[1] or said[2])) == set(SCHEMA[f"{method}.result"]["properties"])
    row = words(re.search(r"A row has (.*?)\.\s", text["METHODS"], flags=re.S)[1])
    assert set(re.findall(r"\w+", row)) == set(SCHEMA["row"]["properties"])


# The completions.


BASH = r"""
source "$1"
COMP_WORDS=("${@:2}") COMP_CWORD=$(($# - 2))
_scaem_token
printf '%s\n' "${COMPREPLY[@]}"
"""

ZSH = r"""
_arguments() { print -rl -- "$@"; state=$wanted; line=($command); return 1 }
_describe() { print -rl -- ${(P)@[-1]}; }
file=$1 command=$2 wanted=${2:+argument}
wanted=${wanted:-command}
eval "$(grep -v '^_scaem-token "\$@"' $file)"
# The stubs complete nothing, which it says by its status.
_scaem-token || true
"""


def completed_by_bash(*typed):
    lines = output("bash", "-c", BASH, "bash", str(COMPLETIONS / "scaem-token.bash"), "scaem-token", *typed)
    return sorted(filter(None, lines.splitlines()))


def completed_by_fish(typed):
    script = f"source {COMPLETIONS}/scaem-token.fish; complete -C '{typed}'"
    return sorted(line.split("\t")[0] for line in output("fish", "--no-config", "-c", script).splitlines())


def completed_by_zsh(command=""):
    return output("zsh", "-f", "-c", ZSH, "zsh", str(COMPLETIONS / "_scaem-token"), command).splitlines()


def zsh_options(lines):
    return {option for line in lines for option in re.findall(r"^(?:\([^)]*\))?(--[a-z-]+)", line)}


@pytest.mark.parametrize("shell, file", [("bash", "scaem-token.bash"), ("zsh", "_scaem-token"), ("fish", "scaem-token.fish")])
def test_the_shell_can_read_them(shell, file):
    output(shell, "-n", str(COMPLETIONS / file))


def test_each_command_is_completed():
    commands = sorted(client_commands())
    assert completed_by_bash("") == commands
    assert completed_by_fish("scaem-token ") == commands
    described = [line for line in completed_by_zsh() if re.match(r"[a-z]+:", line)]
    assert sorted(line.split(":")[0] for line in described) == commands
    summaries = dict(re.findall(r"^  (\w+) +(.*)$", client_help().split("Commands:")[1].split("\n\n")[0], flags=re.M))
    assert {line.split(":")[0]: line.split(":", 1)[1] for line in described} == summaries


@pytest.mark.parametrize("command", client_commands())
def test_each_option_of_a_command_is_completed(command):
    options = client_options(command)
    assert set(completed_by_bash(command, "--")) == options
    assert set(completed_by_bash("--format", "json", command, "--")) == options
    assert set(completed_by_fish(f"scaem-token {command} --")) == options
    assert zsh_options(completed_by_zsh(command)) == options


def test_values_are_completed(tmp_path):
    (tmp_path / "token").touch()
    assert completed_by_bash("introspect", f"{tmp_path}/t") == [f"{tmp_path}/token"]
    assert completed_by_bash("rotate", "P", "--output", f"{tmp_path}/t") == [f"{tmp_path}/token"]
    assert completed_by_bash("status", "--format", "") == ["json", "text"]
    assert completed_by_bash("status", "--format", "=", "j") == ["json"]
    assert completed_by_bash("rotate", "P", "--grace", "15") == ["15d", "15h", "15m", "15s"]
    assert completed_by_bash("call", "") == METHODS
    assert completed_by_fish("scaem-token call ") == METHODS
    zsh = "\n".join(completed_by_zsh("call"))
    assert sorted(re.search(r"method:\((.*?)\)", zsh)[1].split()) == METHODS


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_daemon_completes_its_own(shell, tmp_path):
    """What `make install` asks the program for."""
    script = run_tool("scaem-tokend", "--generate-completion-script", shell)
    assert script.returncode == 0 and script.stdout
    path = tmp_path / "script"
    path.write_text(script.stdout)
    output(shell, "-n", str(path))
    option = "-l '?{}" if shell == "fish" else "--{}"
    for path, arguments in daemon_tree().items():
        for name in path:
            assert re.search(rf"\b{name}\b", script.stdout), path
        for name in long_names(arguments):
            assert re.search(rf"{option.format(name.removeprefix('--'))}(?![\w-])", script.stdout), (path, name)


# Installing.


def test_everything_is_installed_at_its_place(tmp_path):
    done = subprocess.run(
        ["make", "-s", "install", f"DESTDIR={tmp_path}", "prefix=/opt/x", f"binaries={binaries()}"],
        cwd=ROOT, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    base = tmp_path / "opt/x"
    files = {str(path.relative_to(base)) for path in base.rglob("*") if path.is_file()}
    places = {"sysusers": "lib/sysusers.d/scaem-tokend.conf", "catalog": "lib/systemd/catalog/scaem-tokend.catalog",
              "tmpfiles": "lib/tmpfiles.d/scaem-tokend.conf"}  # fmt: skip
    wanted = {"bin/scaem-tokend", "bin/scaem-token"}
    wanted |= {places.get(path.suffix[1:], f"lib/systemd/system/{path.name}") for path in (ROOT / "systemd").iterdir()}
    wanted |= {f"share/man/man{page[-1]}/{page}" for page in PAGES}
    for name in ("scaem-token", "scaem-tokend"):
        wanted |= {f"share/bash-completion/completions/{name}", f"share/zsh/site-functions/_{name}",
                   f"share/fish/vendor_completions.d/{name}.fish"}  # fmt: skip
    documents = [path.name for path in (ROOT / "docs").iterdir() if path.is_file()] + ["README.md", "CHANGELOG.md"]
    wanted |= {f"share/doc/scaem-tokend/{name}" for name in [*documents, "examples/config.toml"]}
    assert files == wanted
    assert all(path.stat().st_mode & 0o777 == (0o755 if path.parent.name == "bin" else 0o644)
               for path in base.rglob("*") if path.is_file())  # fmt: skip
    for unit in (base / "lib/systemd/system").iterdir():
        assert "/usr/bin/scaem-token" not in unit.read_text(), f"{unit.name} starts another program than the installed one"
    service = (base / "lib/systemd/system/scaem-tokend.service").read_text()
    assert "ExecStart=/opt/x/bin/scaem-tokend" in service
