"""Kinds of journal entries: made, checked, and spelt the same wherever they are named."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from rekindle.state.run import entries
from rekindle.state.run.entries import KINDS

ROOT = Path(__file__).resolve().parents[2]
USES = re.compile(r"^ *from .*\b(journal|entries)\b", re.MULTILINE)
FIELDS = {"v", "t", "kind", "crc", *(field for kind in KINDS.values() for field in kind.fields)}
RECORDS = {"entry", "e"}
"""Names of journal entries in the code."""


def test_a_kind_makes_an_entry_of_just_the_fields_that_are_given() -> None:
    """In the given order, so that a line in the journal keeps its bytes."""
    made = entries.attempt_ended(
        exit_code=None, signal=9, cause="crash", stop_requested=False, seconds=1.5
    )
    assert list(made.items()) == [
        ("kind", "attempt_ended"),
        ("exit_code", None),
        ("signal", 9),
        ("cause", "crash"),
        ("stop_requested", False),
        ("seconds", 1.5),
    ]


@pytest.mark.parametrize(
    ("entry", "error"),
    [
        ({"kind": "hung", "t": 1.0, "attempt": 1, "silent": 2}, None),
        ({"kind": "hung", "t": 1.0, "attempt": 1, "silent": None}, None),
        ({"kind": "hung", "t": 1.0}, "it has no `attempt`"),
        ({"kind": "hung", "t": 1.0, "attempt": 0}, "`attempt` is 0"),
        ({"kind": "hung", "t": 1.0, "attempt": 1, "silent": "2"}, "`silent` is '2'"),
        ({"kind": "hung", "attempt": 1}, "it has no `t`"),
        ({"kind": "of_tomorrow", "t": 1.0, "silent": "2"}, None),
        ({"kind": "of_tomorrow", "t": 1.0, "epoch": -1}, "`epoch` is -1"),
        ({"kind": "warned", "t": 1.0, "unfollowed": "2"}, None),
    ],
)
def test_a_reader_accepts_only_what_the_kind_declares(
    entry: entries.Entry, error: str | None
) -> None:
    found = entries.checked(entry)
    if error is None:
        assert found is entry
    else:
        assert (found["kind"], found["was"]) == ("entry_not_understood", entry["kind"])
        assert found["error"] == error


def test_kinds_and_fields_are_spelt_as_declared() -> None:
    """mypy checks writers; this test checks strings, mostly those of readers."""
    found = []
    for path in (p for part in ("state", "jobs", "daemon") for p in (ROOT / part).rglob("*.py")):
        text = path.read_text()
        if USES.search(text):
            found += [f"{path}:{line}: {word!r}" for line, word in misspelt(ast.parse(text))]
    assert [] == found


def misspelt(tree: ast.AST) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare) and is_field(node.left, "kind"):
            for text in strings(node.comparators):
                if text not in KINDS:
                    yield node.lineno, text
        elif isinstance(node, ast.Subscript) and is_record(node.value):
            for text in strings([node.slice]):
                if text not in FIELDS:
                    yield node.lineno, text
        elif (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr == "get"
            and is_record(node.func.value)
        ):
            for text in strings(node.args[:1]):
                if text not in FIELDS:
                    yield node.lineno, text


def is_record(node: ast.AST) -> bool:
    return isinstance(node, ast.Name) and node.id in RECORDS


def is_field(node: ast.AST, name: str) -> bool:
    return (
        isinstance(node, ast.Subscript) and is_record(node.value) and name in strings([node.slice])
    )


def strings(nodes: list[ast.expr]) -> list[str]:
    return [
        one.value
        for node in nodes
        for one in ast.walk(node)
        if isinstance(one, ast.Constant) and isinstance(one.value, str)
    ]
