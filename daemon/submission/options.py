"""Offer each key of a spec as an option of the command line."""

import argparse
import math
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

from rekindle.daemon.spec.fields import Field, Table
from rekindle.daemon.spec.job_fields import SPEC, WHAT_RUNS
from rekindle.daemon.spec.kinds import kind_of
from rekindle.state.errors import UsageError

_COMMON: Final = (
    "name",
    "python",
    "gpus",
    "memory",
    "every",
    "monitor",
    "max_runtime",
    "window",
    "priority",
    "after",
    "env",
    "live",
)
"""Keys that stand first in the help."""
_METAVARS: Final = {
    "name": "NAME",
    "python": "PATH",
    "gpus": "N",
    "memory": "SIZE",
    "every": "TIME",
    "monitor": "METRIC",
    "max_runtime": "TIME",
    "window": "FROM-TO",
    "after": "JOB",
    "env": "NAME=VALUE",
    "warm_start": "JOB",
    "workdir": "DIR",
}
_PREFIX: Final = "key_"
GRID: Final = "--grid"


class Key(NamedTuple):
    """Name a key of a spec: its section, empty for the file itself, and its field."""

    section: str
    field: Field

    @property
    def dotted(self) -> str:
        """Return the name as messages about specs have it."""
        return f"{self.section}.{self.field.name}" if self.section else self.field.name

    @property
    def option(self) -> str:
        """Return the option that sets it."""
        return f"--{self.field.name.replace('_', '-')}"


def _all(table: Table, section: str = "") -> Iterator[Key]:
    for field in table.fields:
        if section or field.name not in (*WHAT_RUNS, "args"):
            yield Key(section, field)
    for inner in table.sections:
        yield from _all(inner, inner.name)


KEYS: Final = {key.field.name: key for key in _all(SPEC)}
"""The keys by their bare names, of which no two are equal; without those that say what runs."""


def add(parser: argparse.ArgumentParser) -> None:
    """Add an option for each key to the arguments of a verb."""
    common = parser.add_argument_group("common keys of a spec")
    others = parser.add_argument_group("other keys of a spec")
    for name in (*_COMMON, *(name for name in KEYS if name not in _COMMON)):
        _add(common if name in _COMMON else others, KEYS[name])
    common.add_argument(
        GRID,
        dest=f"{_PREFIX}grid",
        action="append",
        default=None,
        metavar="NAME=VALUE,...",
        help="train once for each value, with `--NAME VALUE` for the script; of several "
        "--grid each combination",
    )


def _add(group: Any, key: Key) -> None:
    field = key.field
    how: dict[str, Any] = {"action": argparse.BooleanOptionalAction}
    if field.kind.schema.get("type") != "boolean":
        words = field.kind.schema.get("enum")
        other = "|".join(words) if words else "N" if _is_whole(field) else "VALUE"
        how = {"metavar": _METAVARS.get(field.name, other)}
        if field.name in ("after", "env"):
            how["action"] = "append"
    default = "" if field.default in (None, [], {}, False) else f" (default: {field.default})"
    text = f"{field.doc}{default}".replace("%", "%%")
    group.add_argument(key.option, dest=f"{_PREFIX}{field.name}", default=None, help=text, **how)


def _is_whole(field: Field) -> bool:
    return field.kind.schema.get("type") == "integer"


def given(args: argparse.Namespace) -> dict[str, Any]:
    """Return the values of the options that were given, by bare key.

    Raises:
        UsageError: an option cannot have its value.
    """
    found = {}
    for name, key in KEYS.items():
        value = getattr(args, f"{_PREFIX}{name}", None)
        if value is None:
            continue
        if name == "env":
            value = _environment(value)
        elif name in ("python", "workdir"):
            value = absolute(value)
        elif _is_whole(key.field) and value.lstrip("+-").isdecimal() and value.isascii():
            value = int(value[:40])
        found[name] = value
    axes = getattr(args, f"{_PREFIX}grid", None)
    return found if axes is None else {**found, "grid": _axes(axes)}


def _axes(given: list[str]) -> dict[str, list[Any]]:
    """Read `lr=0.1,0.01` as a spec's `lr = [0.1, 0.01]`: numbers and flags as TOML knows them."""
    found: dict[str, list[Any]] = {}
    for one in given:
        name, mark, values = one.partition("=")
        if not mark or not name:
            raise UsageError(
                f"{GRID} takes a name and values.", hint=f"Write for example {GRID} lr=0.1,0.01"
            )
        if name in found:
            raise UsageError(
                f"{GRID} has {name} twice.", hint=f"Write all its values into one {GRID}."
            )
        if "" in values.split(","):
            raise UsageError(
                f"{GRID} {one} has an empty value.",
                hint=f"Write for example {GRID} {name}=0.1,0.01; a spec file takes an empty one.",
            )
        found[name] = [_typed(value) for value in values.split(",")]
    return found


def _typed(value: str) -> Any:
    if value in ("true", "false"):
        return value == "true"
    if re.fullmatch(r"[+-]?(0|[1-9]\d{0,17})", value, re.ASCII):
        return int(value)
    if re.fullmatch(r"[+-]?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?", value, re.ASCII):
        number = float(value)
        return number if math.isfinite(number) else value
    return value


def _environment(pairs: list[str]) -> dict[str, str]:
    found = {}
    for pair in pairs:
        name, mark, value = pair.partition("=")
        if not mark or not name:
            raise UsageError(
                "--env takes a name and a value.",
                hint="Write for example --env TF_DETERMINISTIC_OPS=1",
            )
        found[name] = value
    return found


def absolute(value: str) -> str:
    """Make a path absolute, without following links: a venv is known by the link to its Python."""
    if os.sep not in value and not value.startswith("~"):
        value = shutil.which(value) or value
    return os.path.abspath(os.path.expanduser(value))


def place(values: dict[str, Any], given: Mapping[str, Any]) -> None:
    """Put values by bare key where a spec has them, in place of those that are there."""
    for name, value in given.items():
        section = KEYS[name].section if name in KEYS else "grid" if name == "grid" else ""
        inside = values.setdefault(section, {}) if section else values
        if not isinstance(inside, dict):
            raise UsageError(
                f"`{section}` is {kind_of(inside)}, and {option_of(name)} is given.",
                hint=f"Write [{section}] as a table into the spec.",
            )
        inside.update(value if name == "grid" and isinstance(value, dict) else {name: value})


def option_of(name: str) -> str:
    """Return the option that sets a key, by its bare name."""
    return KEYS[name].option if name in KEYS else f"--{name}"
