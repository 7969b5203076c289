"""Write the JSON of the verbs: one object, strict, and streamed where it may be long.

docs/json.md has the shapes. NaN and infinity, which JSON does not have, are strings; a character
that no encoding has (a byte of a file name that is not UTF-8) is written as its escape.
"""

import argparse
import json
import math
import sys
from collections.abc import Iterable
from typing import Any, Final, TextIO

from rekindle.state.errors import RekindleError

FORMAT: Final = 2
_WORDS: Final = {math.inf: "Infinity", -math.inf: "-Infinity"}


class Encoded(str):
    """Strict JSON already: printed as it is."""

    __slots__ = ()


def add_argument(parser: argparse._ActionsContainer, help: str = "print it as JSON") -> None:  # noqa: A002
    """Add ``--json`` to the arguments of a verb."""
    parser.add_argument("--json", action="store_true", help=help)


def dumps(value: Any) -> str:
    """Encode a value as strict JSON in ASCII, without line breaks."""
    try:
        text = json.dumps(value, allow_nan=False)
    except ValueError:
        text = json.dumps(_strict(value), allow_nan=False)
    # half of a pair, or a byte that is not UTF-8: strict readers refuse it
    return json.dumps(_strict(value), allow_nan=False) if "\\ud" in text else text


def write(value: dict[str, Any], *, out: TextIO | None = None) -> None:
    """Print an object with its format; the items of an iterator are printed one by one."""
    out = sys.stdout if out is None else out
    out.write("{")
    # the answer of `export` has a `format` of its own
    for number, (key, item) in enumerate({"format": FORMAT, **value}.items()):
        out.write(f"{', ' if number else ''}{dumps(key)}: ")
        if isinstance(item, Iterable) and not isinstance(item, str | list | tuple | dict):
            _write_list(item, out)
        else:
            out.write(dumps(item))
    out.write("}\n")


def write_error(error: RekindleError) -> None:
    """Print an error in the shape that all verbs share."""
    write(
        {
            "error": {
                "what": error.what,
                "where": error.where,
                "hint": error.hint,
                "code": error.exit_code,
            }
        }
    )


def _write_list(items: Iterable[Any], out: TextIO) -> None:
    # one line for each: a terminal and `grep` can cope with them
    between = "[\n"
    for item in items:
        out.write(between + (item if isinstance(item, Encoded) else dumps(item)))
        between = ",\n"
    out.write("[]" if between == "[\n" else "\n]")


def _strict(value: Any) -> Any:
    """Replace what strict JSON does not have."""
    if isinstance(value, float) and not math.isfinite(value):
        return _WORDS.get(value, "NaN")
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, dict):
        return {_strict(str(key)): _strict(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_strict(item) for item in value]
    return value
