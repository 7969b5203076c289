"""Compose the spec to submit: what the file says, then its `# rekindle:` lines, then options."""

import dataclasses
import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from rekindle.daemon.intake import submit
from rekindle.daemon.spec import parse, toml_text, yaml_text
from rekindle.daemon.submission import active_python, notebook, options, script_lines, toml_writer
from rekindle.jobs.job import Job
from rekindle.state.errors import NotFound, SpecError

_LONGEST: Final = 64
"""Characters of a job's name."""


@dataclass(frozen=True, slots=True)
class Composed:
    """Hold a spec that intake accepts.

    Attributes:
        filename: its name in the inbox.
        jobs: what it says: one job, or those of its grid.
        notes: sentences on what was chosen for the person.
    """

    filename: str
    data: bytes
    jobs: tuple[Job, ...]
    notes: tuple[str, ...] = ()

    @property
    def job(self) -> Job:
        """The first of its jobs."""
        return self.jobs[0]


def for_script(
    script: Path,
    *,
    args: list[str],
    given: Mapping[str, Any],
    env: Mapping[str, str] = os.environ,
    shown: Path | None = None,
) -> Composed:
    """Compose the spec of a script.

    Args:
        args: arguments of the script; none means those of its `# rekindle:` lines.
        given: values of options, by bare key.
        env: the variables of the shell, for the active environment.
        shown: the file that the person named, where the script was made from it.

    Raises:
        NotFound, SpecError: the script or a value cannot be used.
    """
    file = shown or script
    try:
        own, lines = script_lines.read(script)
    except OSError as error:
        raise NotFound(
            f"The script cannot be read: {error.strerror}.",
            where=file,
            hint="Name a script (*.py), a notebook (*.ipynb) or a spec (*.toml, *.yaml).",
        ) from error
    notes = [f"`# rekindle:` lines of {file}: {', '.join(own)}."] if own else []
    chosen = {**own, **given}
    if "python" not in chosen:
        python = active_python.find(env, script.absolute().parent)
        notes.append(python.why)
        if python.path is not None:
            chosen["python"] = python.path
    if args:
        chosen["args"] = args
    values: dict[str, Any] = {
        "name": name_for(file),
        "script": str(script.absolute()),
        "workdir": os.getcwd(),
    }
    options.place(values, chosen)
    origins = {name: f"{file}:{number}" for name, number in lines.items()}
    return _checked(values, origins | _options(given), tuple(notes), Path.cwd())


def for_file(
    file: Path, *, args: list[str], given: Mapping[str, Any], env: Mapping[str, str] = os.environ
) -> Composed:
    """Compose the spec of whatever a person named: a script, a notebook or a spec.

    Raises:
        ExtraMissing: a notebook needs a package that is not installed.
        NotFound, SpecError: the file or a value cannot be used.
    """
    if file.suffix == ".ipynb":
        script, notes = notebook.to_script(file)
        made = for_script(script, args=args, given=given, env=env, shown=file)
        return dataclasses.replace(made, notes=(*notes, *made.notes))
    if file.suffix == ".py":
        return for_script(file, args=args, given=given, env=env)
    return for_spec(file, args=args, given=given, env=env)


def for_spec(
    path: Path, *, args: list[str], given: Mapping[str, Any], env: Mapping[str, str] = os.environ
) -> Composed:
    """Compose a person's spec, with values of options in place of its own.

    Raises:
        NotFound, SpecError: the file or a value cannot be used.
    """
    filename, data = submit.spec_from_file(path)
    folder = path.absolute().parent
    jobs = tuple(parse.parse_all(data, path.name, folder))
    job = jobs[0]
    notes = _other_python(job, given, env, folder)
    changed = {**given, **({"args": args} if args else {})}
    if not changed:
        return Composed(filename, data, jobs, notes)
    text = data.decode("utf-8-sig")
    is_toml = path.name.endswith(".toml")
    table = toml_text.load(text) if is_toml else yaml_text.load(text)[0]
    # the job has the name of the file where the spec gives none
    table.setdefault("name", job.name)
    options.place(table, changed)
    notes = (*notes, f"Set in place of the spec's: {', '.join(changed)}.")
    return _checked(table, _options(given), notes, folder)


def _other_python(
    job: Job, given: Mapping[str, Any], env: Mapping[str, str], folder: Path
) -> tuple[str, ...]:
    """Say that an environment is active and is not the one that the spec's job runs in."""
    if job.python is not None or job.command is not None or "python" in given:
        return ()
    active = active_python.find(env, folder).path
    if active is None or os.path.dirname(active) == os.path.dirname(sys.executable):
        return ()
    return (f"The spec names no `python`: the daemon's runs the job, not the active {active}.",)


def name_for(file: Path) -> str:
    """Make the name of a job from that of a file: `Train v2 (copy).py` is `train-v2-copy`."""
    plain = re.sub(r"[^a-z0-9._-]+", "-", file.stem.lower())
    return re.sub(r"\.{2,}", ".", plain).strip("-._")[:_LONGEST] or file.stem


def _options(given: Mapping[str, Any]) -> dict[str, str]:
    axes = given["grid"] if isinstance(given.get("grid"), dict) else {}
    return {name: options.option_of(name) for name in given} | {
        f"grid.{name}": options.GRID for name in axes
    }


def _checked(
    values: dict[str, Any], origins: Mapping[str, str], notes: tuple[str, ...], base: Path
) -> Composed:
    """Check the values as intake will.

    Raises:
        SpecError: they would be refused; it names the option or line that gave the value.
    """
    data = toml_writer.dumps(values).encode()
    filename = f"{values['name']}.toml"
    try:
        return Composed(filename, data, tuple(parse.parse_all(data, filename, base)), notes)
    except SpecError as error:
        key = error.key or ""
        where = origins.get(key if key.startswith("grid") else key.rpartition(".")[2])
        if where is None and error.key is None:
            raise
        raise SpecError(
            error.what, where=where or error.key, hint=error.hint, key=error.key
        ) from error
