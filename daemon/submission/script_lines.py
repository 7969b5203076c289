"""Read the lines `# rekindle: key = value` of a script."""

import difflib
import io
import os
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from rekindle.daemon.spec import toml_text
from rekindle.daemon.submission.options import KEYS
from rekindle.state.errors import SpecError

_LINE: Final = re.compile(r"#\s*rekindle:\s*(.*)")
_MOST_BYTES: Final = 16 * 1024 * 1024
_AXIS: Final = "grid."


def read(script: Path) -> tuple[dict[str, Any], dict[str, int]]:
    """Read the values by bare key, and the line of each.

    Raises:
        SpecError: a line is wrong.
        OSError: the script cannot be read.
    """
    with script.open("rb") as file:
        source = file.read(_MOST_BYTES)
    values: dict[str, Any] = {}
    lines: dict[str, int] = {}
    for number, text in _comments(source):
        for name, value in _pairs(text, script, number):
            if name in values:
                raise SpecError(
                    f"`{name}` is set twice.",
                    where=f"{script}:{number}",
                    hint=f"Remove it here or in line {lines[name]}.",
                )
            values[name], lines[name] = value, number
    for name in ("python", "workdir"):
        if isinstance(values.get(name), str):
            # relative to the script, which is the one place that both know
            beside = os.path.join(script.absolute().parent, os.path.expanduser(values[name]))
            values[name] = os.path.abspath(beside)
    axes = {name: values.pop(name) for name in [*values] if name.startswith(_AXIS)}
    if axes:
        values["grid"] = {name.removeprefix(_AXIS): one for name, one in axes.items()}
    return values, lines


def _comments(source: bytes) -> Iterator[tuple[int, str]]:
    """Yield line and text of each such comment that begins its line."""
    if b"rekindle:" not in source:
        return
    try:
        for token in tokenize.tokenize(io.BytesIO(source).readline):
            found = _LINE.fullmatch(token.string) if token.type == tokenize.COMMENT else None
            if found is not None and token.start[1] == 0:
                yield token.start[0], found[1]
    except (tokenize.TokenError, SyntaxError, UnicodeDecodeError):
        return  # a script that Python cannot read fails with Python's own message


def _pairs(text: str, script: Path, number: int) -> Iterator[tuple[str, Any]]:
    where = f"{script}:{number}"
    try:
        table = toml_text.load(text)
    except toml_text.TomlProblem as error:
        raise SpecError(
            f"The line cannot be read: {error}.",
            where=where,
            hint='Write for example `# rekindle: every = "10 min"`; the keys are those of a spec.',
        ) from error
    if not table:
        raise SpecError(
            "The line sets no key.", where=where, hint="Write for example `# rekindle: gpus = 1`."
        )
    for name, value in table.items():
        if isinstance(value, dict) and name == "grid":
            # grid.lr = [0.1, 0.01]
            yield from ((f"{_AXIS}{inner}", one) for inner, one in value.items())
        elif isinstance(value, dict) and name != "env" and name not in KEYS:
            # checkpoint.every = "10 min"
            for inner, one in value.items():
                if inner in KEYS and KEYS[inner].section == name:
                    yield inner, one
                else:
                    raise _unknown(f"{name}.{inner}", inner, where)
        elif name in KEYS or name == "args":
            yield name, value
        else:
            raise _unknown(name, name, where)


def _unknown(shown: str, name: str, where: str) -> SpecError:
    near = difflib.get_close_matches(name, [*KEYS, "args"], 1)
    return SpecError(
        f"There is no key `{shown}`.",
        where=where,
        hint=f"Did you mean `{near[0]}`?" if near else f"Known keys: {', '.join(KEYS)}.",
    )
