"""The documents lead somewhere, and speak of every verb."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import reference_pages

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)|<img[^>]+src=\"([^\"]+)\"")
# the tree's own names, where a document quotes one in backticks
QUOTED = re.compile(r"`((?:daemon|jobs|state|tests|docs|benchmarks|examples|systemd)/[\w./-]+)`")


def anchors(text: str) -> set[str]:
    """The anchors that a Markdown file's headings get on a forge."""
    found: set[str] = set()
    for heading in re.findall(r"^#+ (.+)$", without_code(text), flags=re.MULTILINE):
        plain = re.sub(r"[^\w\- ]", "", heading.lower())
        found.add(plain.strip().replace(" ", "-"))
    return found


def without_code(text: str) -> str:
    return re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_link_leads_to_a_file_or_heading_that_is_there(document: Path) -> None:
    """Links to the web are left alone: tests need no network."""
    text = document.read_text()
    broken = []
    for match in LINK.finditer(without_code(text)):
        target = match.group(1) or match.group(2)
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        file = (document.parent / name).resolve() if name else document
        if not file.exists() or (anchor and anchor not in anchors(file.read_text())):
            broken.append(target)
    assert [] == broken


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_each_row_of_a_table_has_the_cells_of_its_head(document: Path) -> None:
    """A `|` in a command ends a cell, also in code: it is written `\\|`."""
    wrong = []
    head: int | None = None
    for line in without_code(document.read_text()).splitlines():
        cells = len(re.split(r"(?<!\\)\|", line)) if line.startswith("|") else None
        if None not in (head, cells) and head != cells:
            wrong.append(line)
        head = cells if head is None or cells is None else head
    assert [] == wrong


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_file_of_the_tree_that_is_named_exists(document: Path) -> None:
    """A renamed module must be renamed in the prose, too."""
    assert [] == [
        name for name in QUOTED.findall(document.read_text()) if not (ROOT / name).exists()
    ]


def test_every_verb_of_the_command_line_is_documented() -> None:
    """Each verb of `rekindle --help` stands in the README or in docs, with its command."""
    asked = subprocess.run(
        [sys.executable, "-m", "rekindle.daemon", "--help"],
        cwd=ROOT / ".importroot",
        capture_output=True,
        text=True,
        check=False,
    )
    assert asked.returncode == 0, asked.stderr
    listed = re.findall(r"^  ([a-z][a-z-]+)(?:  |$)", asked.stdout, re.MULTILINE)
    assert "verify-resume" in listed, asked.stdout
    prose = "\n".join(path.read_text() for path in DOCUMENTS)
    missing = [v for v in listed if not re.search(rf"rekindle {v}\b", prose)]
    assert [] == missing


@pytest.mark.skipif(sys.version_info[:2] != (3, 11), reason="argparse words usage differently")
def test_the_reference_is_that_of_the_code() -> None:
    """A key, verb, option, variable or file that was added since is missing."""
    made = reference_pages.texts()
    found = {page.name: page.read_text() for page in (ROOT / "docs" / "reference").glob("*.md")}
    assert [] == [name for name in {*made, *found} if made.get(name) != found.get(name)], (
        "make reference"
    )


def test_each_variable_of_the_code_is_in_the_reference() -> None:
    """But for those of the tests."""
    page = (ROOT / "docs" / "reference" / "environment.md").read_text()
    named = {
        name
        for part in ("daemon", "jobs", "state", "systemd")
        for file in (ROOT / part).rglob("*")
        if file.suffix in (".py", ".service", ".example")
        for name in re.findall(r"\bREKINDLE_[A-Z_]*[A-Z]\b", file.read_text())
    }
    assert "REKINDLE_RUN_DIR" in named
    assert [] == sorted(name for name in named - reference_pages.OF_TESTS if name not in page)
