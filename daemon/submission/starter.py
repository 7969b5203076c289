"""Write a first spec: what runs, and every other key with its default as a comment."""

import os
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from rekindle.daemon.spec.fields import Field, Table
from rekindle.daemon.spec.job_fields import SPEC
from rekindle.daemon.submission import toml_writer

_WIDTH: Final = 96
_ELSEWHERE: Final = frozenset({"name", "script", "module", "command"})


def text(*, name: str, script: Path, python: str | None) -> str:
    """Compose the spec of a script that lies beside it; it is valid as it is.

    Args:
        python: that of the active environment; None where the daemon's runs the job.
    """
    folder = str(script.absolute().parent)
    known = {"workdir": folder, "python": python or sys.executable}
    lines = [
        f"# A job for rekindle. `rekindle submit {script.stem}.toml --dry-run` checks it, without",
        "# `--dry-run` it is submitted. Each key that is not needed stands behind a `#`, with its",
        "# default or an example.",
        "",
        f"name = {toml_writer.text(name)}",
        f"script = {toml_writer.text(script.name)}",
        *_fields(SPEC, known, {"python"} if python else set()),
    ]
    for section in SPEC.sections:
        doc = [f"# {line}" for line in textwrap.wrap(section.doc, _WIDTH - 2)]
        lines += ["", *doc, f"[{section.name}]", *_fields(section, {}, set())]
        if section.free is not None:
            lines += ["", f"# {toml_writer.dumps(section.free.example).strip()}"]
    return "\n".join(lines) + "\n"


def _fields(table: Table, known: dict[str, str], active: set[str]) -> Iterator[str]:
    for field in table.fields:
        if not table.name and field.name in _ELSEWHERE:
            continue
        value = _value(field, known)
        if value is None:
            continue
        yield ""
        for line in textwrap.wrap(field.doc, _WIDTH - 2):
            yield f"# {line}"
        mark = "" if field.name in active else "# "
        line = toml_writer.dumps({field.name: value}).strip()
        yield f"{mark}{line}"


def _value(field: Field, known: dict[str, str]) -> Any:
    if field.name in known:
        return known[field.name]
    return field.example if field.default is None else field.default


def write(path: Path, content: str, *, force: bool) -> bool:
    """Write the file; return False where another one is there.

    Args:
        force: replace it.
    """
    if force:
        temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        temporary.write_text(content)
        os.replace(temporary, path)
        return True
    try:
        with path.open("x") as file:
            file.write(content)
    except FileExistsError:
        return False
    return True
