"""Parse and validate a job spec: TOML or YAML in, a :class:`Job` or clear errors out.

All problems of a spec are found at once; the first is the headline of the error.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from rekindle.daemon.spec import grid
from rekindle.daemon.spec.document import Document, Unreadable
from rekindle.daemon.spec.fields import Problem, read
from rekindle.daemon.spec.job_fields import (
    NAME_HINT,
    SPEC,
    WHAT_RUNS,
    expanded,
    out_of_reach,
    read_name,
)
from rekindle.daemon.spec.kinds import Wrong
from rekindle.jobs.job import Job
from rekindle.state.errors import SpecError

SUFFIXES: Final = (".toml", ".yaml", ".yml")
MAX_BYTES: Final = 1024 * 1024


def parse(text: bytes, filename: str, base: Path) -> Job:
    """Read a spec; of one with a grid, return the job of its first point.

    Raises:
        SpecError: as :func:`parse_all`.
    """
    return parse_all(text, filename, base)[0]


def parse_all(text: bytes, filename: str, base: Path) -> list[Job]:
    """Read a spec as one job, or as the jobs of its grid.

    Args:
        text: the file's content.
        filename: its name; the suffix decides between TOML and YAML, the stem is the
            default name of the job.
        base: absolute folder against which a relative ``script`` is resolved where the spec
            gives no ``workdir``.

    Raises:
        SpecError: it cannot be accepted; with the key and the line where they are known.
    """
    if len(text) > MAX_BYTES:
        raise SpecError(
            f"The spec has {len(text)} bytes.",
            where=filename,
            hint="A spec has at most 1 MiB; data belongs into files of its own.",
        )
    try:
        document = Document(text, toml=filename.endswith(".toml"), noun="spec", page="docs/spec.md")
    except Unreadable as error:
        raise SpecError(
            error.what,
            where=f"{filename}:{error.line}" if error.line else filename,
            hint=error.hint,
            line=error.line,
        ) from error
    values, problems = read(document.table, SPEC)
    if "name" not in document.table:
        problems += _default_name(values, Path(filename).stem)
    problems += _what_runs(values, base, {problem.key for problem in problems})
    axes = values.pop("grid")
    problems += _too_many(axes)
    job = None if problems else _job(values, problems)
    if job is None:
        raise _error(problems, filename, document)
    return list(grid.points(job, axes))


def _default_name(values: dict[str, Any], stem: str) -> list[Problem]:
    """Name the job after its file."""
    try:
        values["name"] = read_name(stem)
    except Wrong:
        what = f"The file's name {stem!r} cannot be the job's name."
        return [Problem(what, f"Write a name into the spec. {NAME_HINT}", None)]
    return []


def _what_runs(values: dict[str, Any], base: Path, wrong: set[str | None]) -> list[Problem]:
    """Resolve the one thing that runs, and the folder that it runs in."""
    given = [key for key in WHAT_RUNS if key in values]
    if len(given) != 1:
        if wrong & {None, *WHAT_RUNS}:
            return []  # the value that is wrong is reported already
        what = (
            f"The spec has {' and '.join(given)}; only one can run."
            if given
            else "The spec does not say what to run."
        )
        hint = (
            'Give one of: script = "train.py", module = "pkg.train", '
            'command = ["./train", "--fast"].'
        )
        return [Problem(what, hint, given[1] if given else None)]
    if given == ["script"]:
        return _resolve_script(values, base)
    values.setdefault("workdir", str(base))
    if given == ["command"] and not values["command"]:
        hint = "Give the program and its arguments."
        return [Problem("`command` is empty.", hint, "command")]
    return []


def _resolve_script(values: dict[str, Any], base: Path) -> list[Problem]:
    try:
        script = expanded(values["script"])
    except Wrong as wrong:
        return [Problem(f"`script` {wrong.what}.", wrong.hint, "script")]
    if not script.is_absolute():
        script = Path(values.get("workdir", base)) / script
    values["script"] = str(script)
    values.setdefault("workdir", str(script.parent))
    if os.path.isfile(script):  # Path.is_file raises where it may not look
        return []
    hint = (
        "Give its absolute path, or a `workdir` that it is relative to; `rekindle submit` "
        "resolves paths against the spec's own folder."
    )
    return [Problem(f"Script not found: {script}{out_of_reach(script)}.", hint, "script")]


def _too_many(axes: Mapping[str, Sequence[grid.Value]]) -> list[Problem]:
    count = grid.count(axes)
    if count <= grid.MOST_POINTS:
        return []
    by = " x ".join(str(len(values)) for values in axes.values())
    return [
        Problem(
            f"The grid has {count} points ({by}); the limit is {grid.MOST_POINTS}.",
            "Give fewer values, or write several specs, each with a part of them.",
            "grid",
        )
    ]


def _job(values: dict[str, Any], problems: list[Problem]) -> Job | None:
    """Build the job; None, and one problem more, where its values do not go together."""
    sections = {
        section.name: section.makes(**values.pop(section.name))
        for section in SPEC.sections
        if section.makes is not None
    }
    job = Job(**values, **sections)
    try:
        job.check()
    except ValueError as error:
        problems.append(Problem(f"{error}.", "Choose another value.", None))
        return None
    return job


def _error(problems: list[Problem], filename: str, document: Document) -> SpecError:
    first = problems[0]
    rest = "".join(f"\n  also: {other.what} ({other.hint})" for other in problems[1:])
    line = document.line(first.key) if first.key else None
    return SpecError(
        first.what,
        where=f"{filename}:{line}" if line else filename,
        hint=first.hint + rest,
        key=first.key,
        line=line,
    )
