"""The repository as a test: who imports whom, banned calls, sizes, links, and versions that agree.

Needs no build and no daemon: `make check` runs it alone.
"""

import pathlib
import re
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
SOURCES = ROOT / "Sources"

# What each module may import, transitive imports included: the compiler refuses what Package.swift does not list for a
# target, but not what comes along with another package. No Foundation in the first six: the client is to be small, and
# Foundation's JSON is far too slow for the way of an introspect.
ALLOWED_IMPORTS = {
    "TokenModel": {"COpenSSL", "Glibc", "Synchronization"},
    "TokenRPC": {"TokenModel", "Glibc"},
    "Systemd": {"CSystemd", "CLinux", "Glibc", "Synchronization"},
    "TokenServer": {"TokenModel", "TokenRPC", "Systemd", "CLinux", "Glibc", "Logging", "Synchronization"},
    "ScaemTokenClient": {"TokenModel", "TokenRPC", "CLinux", "Glibc", "Synchronization"},
    "scaem-token": {"ScaemTokenClient", "TokenModel", "TokenRPC", "CLinux", "Glibc"},
    "TokenStore": {
        "TokenModel", "CLinux", "CSQLite", "Glibc", "Dispatch", "Foundation", "GRDB", "GRDBSQLite", "Synchronization",
    },
    "scaem-tokend": {
        "TokenModel", "TokenRPC", "TokenStore", "TokenServer", "ScaemTokenClient", "Systemd", "CLinux", "Glibc",
        "Foundation", "ArgumentParser", "Logging", "Synchronization", "TOMLKit",
    },
}
WITHOUT_FOUNDATION = ("TokenModel", "TokenRPC", "Systemd", "TokenServer", "ScaemTokenClient", "scaem-token")

# Module maps and headers, nothing to import.
C_MODULES = {"CLinux", "COpenSSL", "CSQLite", "CSystemd"}

MAX_LINES = 400

IMPORT = re.compile(
    r"^\s*(?:@[\w.]+(?:\([^)]*\))?\s+)*(?:(?:public|package|internal|fileprivate|private)\s+)?import\s+"
    r"(?:(?:struct|class|enum|protocol|func|var|let|typealias)\s+)?(\w+)"
)
# Of a Swift line: a comment, or a string (whose text is no code; what it interpolates is not looked at).
COMMENT_OR_STRING = re.compile(r'//.*|"(?:\\.|[^"\\])*"')
BANNED = {"try!": re.compile(r"\btry!"), "as!": re.compile(r"\bas!"), "fatalError": re.compile(r"\bfatalError\s*\(")}
REASON = "// Bug trap:"


def swift_files(*folders):
    files = [file for folder in folders for file in sorted(folder.rglob("*.swift"))]
    assert files, f"no Swift file in {folders}"
    return files


def relative(file):
    return file.relative_to(ROOT)


def test_every_module_has_its_row():
    modules = {folder.name for folder in SOURCES.iterdir() if folder.is_dir()}
    assert modules == ALLOWED_IMPORTS.keys() | C_MODULES


def test_no_foundation_where_the_table_forbids_it():
    assert not [name for name in WITHOUT_FOUNDATION if "Foundation" in "".join(ALLOWED_IMPORTS[name])]


@pytest.mark.parametrize("module", ALLOWED_IMPORTS)
def test_imports(module):
    wrong = []
    for file in swift_files(SOURCES / module):
        for number, line in enumerate(file.read_text().splitlines(), 1):
            found = IMPORT.match(line)
            if found and found[1] not in ALLOWED_IMPORTS[module]:
                wrong.append(f"{relative(file)}:{number} imports {found[1]}")
    assert not wrong, "\n".join(wrong)


def banned_calls(text):
    lines = text.splitlines()
    inside = False
    for number, line in enumerate(lines, 1):
        # The lines of a multi-line string are text.
        if line.count('"""') % 2:
            inside = not inside
            continue
        if inside:
            continue
        code = COMMENT_OR_STRING.sub("", line)
        for name, pattern in BANNED.items():
            explained = name == "fatalError" and number > 1 and lines[number - 2].lstrip().startswith(REASON)
            if pattern.search(code) and not explained:
                yield number, name


def test_banned_calls():
    wrong = [
        f"{relative(file)}:{number}: {name}"
        for file in swift_files(SOURCES)
        for number, name in banned_calls(file.read_text())
    ]
    assert not wrong, f"a trap needs its reason ({REASON} ...) in the line above:\n" + "\n".join(wrong)


def test_no_file_is_too_long():
    wrong = [
        f"{relative(file)} has {count} lines"
        for file in swift_files(SOURCES) + sorted(SOURCES.rglob("*.h"))
        if (count := len(file.read_text().splitlines())) > MAX_LINES
    ]
    assert not wrong, f"at most {MAX_LINES}:\n" + "\n".join(wrong)


def test_every_merge_was_ended():
    """A test that cannot be read fails as a whole file, and only where somebody runs it."""
    done = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
    # A copy that is no repository has the same files, and more.
    files = [ROOT / name for name in done.stdout.split("\0") if name] or swift_files(SOURCES, ROOT / "Tests")
    files += sorted((ROOT / "Tests").rglob("*.py"))
    marker = re.compile(rb"^(<{7}|>{7}) ", re.MULTILINE)
    wrong = {str(relative(file)) for file in files if file.is_file() and marker.search(file.read_bytes())}
    assert not wrong, "\n".join(sorted(wrong))


def documents():
    return [file for file in (ROOT / "README.md", ROOT / "CHANGELOG.md") if file.exists()] + sorted(
        (ROOT / "docs").rglob("*.md")
    )


def without_code(text):
    return re.sub(r"`[^`\n]*`", "", re.sub(r"^```.*?^```", "", text, flags=re.S | re.M))


def anchors(text):
    """The anchors of a page's headings, as the usual viewers make them."""
    text = re.sub(r"^```.*?^```", "", text, flags=re.S | re.M)
    headings = re.findall(r"^#{1,6}\s+(.*?)\s*#*$", text, flags=re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_no_dead_links():
    dead = []
    for file in documents():
        text = without_code(file.read_text())
        targets = re.findall(r"\]\(\s*<?([^)\s>]+)>?[^)]*\)", text)
        targets += re.findall(r"^\[[^\]]+\]:\s*(\S+)", text, flags=re.M)
        for target in targets:
            if re.match(r"[a-z][a-z0-9+.-]*:", target):
                continue
            path, _, anchor = target.partition("#")
            there = (file.parent / path).resolve() if path else file
            if not there.exists():
                dead.append(f"{relative(file)}: {target}")
            elif anchor and there.suffix == ".md" and anchor not in anchors(there.read_text()):
                dead.append(f"{relative(file)}: {target} (no such heading)")
    assert not dead, "\n".join(dead)


def test_the_readme_says_how_to_begin():
    assert (ROOT / "README.md").exists(), "there is no README.md"
    text = (ROOT / "README.md").read_text()
    for command in ("make demo", "make test"):
        assert command in text, f"README.md does not name `{command}`"


def test_versions_agree():
    source = (SOURCES / "TokenRPC" / "Version.swift").read_text()
    version = re.search(r'programVersion: String = "(\d+\.\d+\.\d+)"', source)[1]

    changelog = ROOT / "CHANGELOG.md"
    if changelog.exists():
        newest = re.search(r"^## .*?(\d+\.\d+\.\d+)", changelog.read_text(), flags=re.M)
        assert newest, "CHANGELOG.md has no heading with a version"
        assert newest[1] == version, "CHANGELOG.md's newest version and Version.swift"

    readme = ROOT / "README.md"
    if readme.exists():
        said = re.findall(r"(?:scaem-tokend?[ _v]*|from:\s*\"|exact:\s*\")(\d+\.\d+\.\d+)", readme.read_text())
        assert set(said) <= {version}, "README.md's versions and Version.swift"

    package = re.match(r"scaem-tokend \((.*)-\d+\) ", (ROOT / "debian" / "changelog").read_text())
    assert package[1] == version, "debian/changelog's newest version and Version.swift"


def test_every_task_is_in_the_help():
    text = (ROOT / "Makefile").read_text()
    tasks = re.findall(r"^\.PHONY: (.*)$", text, flags=re.M)[0].split()
    undocumented = [task for task in tasks if not re.search(rf"^{task}:.*## \w", text, flags=re.M)]
    assert not undocumented
