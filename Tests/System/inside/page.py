"""docs/operations.md as its tests read it, out here and in the container."""

import pathlib
import re

PAGE = pathlib.Path(__file__).with_name("operations.md")
# What begins a command that stands within a sentence or a table. A name alone is no command.
PROGRAMS = "systemctl|journalctl|scaem-tokend|scaem-token|systemd-sysusers|df|getent"


def text():
    return PAGE.read_text()


def sections():
    """Each heading with what follows it, up to the next heading of any level."""
    parts = re.split(r"^#+ (.*)$", text(), flags=re.M)
    found = dict(zip(parts[1::2], parts[2::2]))
    assert len(found) == len(parts) // 2, "two headings are the same"
    return found


def blocks(heading=None):
    """The fenced commands of a section, or of the page."""
    return re.findall(r"^```sh\n(.*?)^```$", text() if heading is None else sections()[heading], flags=re.M | re.S)


def sentences():
    """The commands within sentences and tables, each once."""
    prose = re.sub(r"^```.*?^```$", "", text(), flags=re.M | re.S)
    spans = [" ".join(span.split()).replace("\\|", "|") for span in re.findall(r"(?<!`)`([^`]+)`(?!`)", prose)]
    return list(dict.fromkeys(span for span in spans if re.match(rf"(?:{PROGRAMS}) \S|systemd-sysusers$", span)))
