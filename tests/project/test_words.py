"""Hold code, messages and documents to plain technical English.

`WORDS` says what goes and what to write instead.
"""

import re

import pytest
from rig import ROOT

WORDS = {
    r"mend(s|ed|ing)?": "fix, repair, restore",
    r"anew": "again, from scratch",
    r"by turns": "alternating",
    r"in work": "in progress, running",
    r"cannot be meant": "is invalid",
    r"(is|are|was|were) not there": "does not exist, not found",
    r"ha(s|ve) not the right": "lacks permission",
    r"the \d+\. time": "attempt 3, failure 3 in a row",
    r"\d+\. time in a row": "failure 3 in a row",
    r"(goes|went|go|going) on (from|where|with the)": "a job is resumed; a step is repeated",
    r"goes on": "continues, is resumed",
    r"trained again": "a step is repeated",
    r"(steps?|epochs?)[^.\n]{0,20} (is|are|was|were) lost": "a step is repeated",
    r"told": "reported, said, logged",
    r"tells that": "says that, marks",
    r"(this|the|a|each|another) box|boxes": "host, machine",
}
SUMMARY = re.compile(r'^\s*"""(What|How|Whether|Where|Tells|Says|Gives) ', re.MULTILINE)
"""Docstrings that name no action: the first word is an imperative verb or the thing itself."""

FILES = sorted(
    {
        path.relative_to(ROOT).as_posix()
        for pattern in ("*.md", "docs/**/*.md", "{}/**/*.py", "Makefile", "systemd/*")
        for part in ("daemon", "jobs", "state", "tests", "benchmarks", "examples", "docs")
        for path in ROOT.glob(pattern.format(part))
        if path.is_file()
    }
    - {"tests/project/test_words.py"}
)


@pytest.mark.parametrize("file", FILES)
def test_no_word_that_has_a_plain_one(file: str) -> None:
    text = (ROOT / file).read_text()
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        for word, instead in WORDS.items():
            match = re.search(rf"\b({word})\b", line, re.IGNORECASE)
            if match:
                found.append(f"{file}:{number}: {match[0]!r}: {instead}")
        if file.endswith(".py") and SUMMARY.match(line):
            found.append(f"{file}:{number}: {line.strip()}: an imperative verb first")
    assert [] == found
