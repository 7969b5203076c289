"""The table of failures names tests that exist, and every fault's test stands in it."""

import ast
import re

from rig import ROOT

NAMED = re.compile(r"`(test_\w+|Test\w+)`")


def defined(pattern: str) -> set[str]:
    found = set()
    for file in ROOT.glob(pattern):
        for node in ast.parse(file.read_text()).body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and (
                node.name.lower().startswith("test")
            ):
                found.add(node.name)
    return found


def test_every_test_that_the_table_names_exists() -> None:
    """A renamed test must be renamed in the table, too."""
    named = set(NAMED.findall((ROOT / "docs" / "failures.md").read_text()))
    assert named
    assert named - defined("tests/**/test_*.py") == set()


def test_each_row_names_a_test() -> None:
    """A promise without a test is none."""
    text = (ROOT / "docs" / "failures.md").read_text()
    rows = [
        line
        for line in text.splitlines()
        if line.startswith("| ") and not line.startswith(("| fault |", "|---"))
    ]
    assert len(rows) > 20
    assert [row for row in rows if not NAMED.search(row)] == []
