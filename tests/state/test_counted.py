"""Counts in messages agree with their nouns, everywhere."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from rig import ROOT

from rekindle.state.counted import counted

NOUNS = "jobs|steps|batches|attempts|epochs|checkpoints|errors|warnings|kills|arrays|times|findings"
COUNT = re.compile(rf"^ ({NOUNS})\b")
FILES = sorted(
    file.relative_to(ROOT)
    for part in ("daemon", "jobs", "state")
    for file in (ROOT / part).rglob("*.py")
)
ALWAYS_MANY = {
    "daemon/intake/accept.py": 1,  # "1 of 2 jobs"
    "daemon/client/progress.py": 1,  # "3 of 40 epochs"
    "daemon/queueing/queue.py": 1,  # its own words for one
}


def counts(file: Path) -> Iterator[int]:
    """Yield the lines of f-strings that write a value directly before a plural."""
    for node in ast.walk(ast.parse((ROOT / file).read_text())):
        if isinstance(node, ast.JoinedStr):
            for value, text in zip(node.values, node.values[1:], strict=False):
                if (
                    isinstance(value, ast.FormattedValue)
                    and isinstance(text, ast.Constant)
                    and COUNT.match(str(text.value))
                ):
                    yield node.lineno


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 jobs"), (1, "1 job"), (2, "2 jobs"), (1000, "1000 jobs")]
)
def test_one_is_singular(count: int, text: str) -> None:
    assert counted(count, "job") == text
    assert counted(1, "batch", "batches") == "1 batch"
    assert counted(2, "batch", "batches") == "2 batches"


def test_no_message_writes_a_count_with_a_fixed_plural() -> None:
    """`counted` does, so that no one reads "1 jobs"."""
    found = {str(file): [*counts(file)] for file in FILES}
    wrong = {file: lines for file, lines in found.items() if len(lines) != ALWAYS_MANY.get(file, 0)}
    assert wrong == {}
