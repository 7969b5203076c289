"""Declare the keys of a file as a table of fields, and read values by it.

Specs and `rekindle.toml` are both declared so; the JSON schemas for editors come from the same
tables (:mod:`rekindle.daemon.schemas`).
"""

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from rekindle.daemon.spec.kinds import Kind, Wrong, kind_of


@dataclass(frozen=True, slots=True)
class Field:
    """One key.

    Attributes:
        default: as a person would write it; None where there is none to write.
        example: a value that is accepted on every host; None where there is none.
    """

    name: str
    kind: Kind
    doc: str
    default: Any = None
    example: Any = None


@dataclass(frozen=True, slots=True)
class Free:
    """Keys that a person chooses, and the kind of their values.

    Attributes:
        example: one key with its value.
    """

    names: Kind
    values: Kind
    example: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Table:
    """The keys of a file, or of one section of it.

    Attributes:
        makes: called with the section's values by name; None for the file itself.
        foreign: keys that other programs have for this, each with what to write instead.
        free: what may stand beside the known keys; None for nothing.
    """

    name: str
    doc: str
    fields: tuple[Field, ...]
    sections: tuple["Table", ...] = ()
    makes: Callable[..., Any] | None = None
    foreign: Mapping[str, str] = field(default_factory=dict)
    free: Free | None = None

    def names(self) -> list[str]:
        """List the keys that may stand in it, sections last."""
        return [f.name for f in self.fields] + [s.name for s in self.sections]


class Problem(NamedTuple):
    """One thing that is wrong; `key` is dotted, None where it concerns no single key."""

    what: str
    hint: str
    key: str | None


def read(given: Mapping[Any, Any], table: Table) -> tuple[dict[str, Any], list[Problem]]:
    """Read a file's values: those that are right, by name, and all problems of the others.

    A section's values are a dict under its name; one that is not given is an empty dict.
    """
    problems: list[Problem] = []
    sections = {section.name: section for section in table.sections}
    top = _read_section(given, table, problems, "")
    for name, section in sections.items():
        top[name] = _read_section(top.get(name, {}), section, problems, name)
    return top, problems


def _read_section(
    given: Mapping[Any, Any], table: Table, problems: list[Problem], section: str
) -> dict[str, Any]:
    kinds = {f.name: f.kind.read for f in table.fields}
    kinds.update((inner.name, _section_reader(inner.name)) for inner in table.sections)
    found: dict[str, Any] = {}
    for key, value in given.items():
        full = f"{section}.{key}" if section else str(key)
        reader = kinds.get(key)
        if reader is None and table.free is None:
            problems.append(_unknown(str(key), full, table, section))
            continue
        try:
            if reader is None and table.free is not None:
                table.free.names.read(key)
                reader = table.free.values.read
            assert reader is not None
            found[key] = reader(value)
        except Wrong as wrong:
            problems.append(Problem(f"`{full}` {wrong.what}.", wrong.hint, full))
    return found


def _section_reader(name: str) -> Callable[[Any], dict[str, Any]]:
    def check(value: Any) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise Wrong(
                f"must be a table, not {kind_of(value)}",
                f"In TOML it begins with [{name}] on a line of its own.",
            )
        return value

    return check


def _unknown(key: str, full: str, table: Table, section: str) -> Problem:
    place = f" in [{section}]" if section else ""
    near = difflib.get_close_matches(key, table.names(), 1)
    if key in table.foreign:
        hint = table.foreign[key]
    elif near:
        hint = f"Did you mean `{near[0]}`?"
    else:
        hint = f"Known keys{place}: {', '.join(table.names())}."
    return Problem(f"There is no key `{key}`{place}.", hint, full)
