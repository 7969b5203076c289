"""Judge what an interpreter answered. Pure, but for a look at its configuration files."""

import os
import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from rekindle.daemon.checks import script_text
from rekindle.daemon.checks.finding import ERROR, OK, WARNING, Finding, Waiting, named
from rekindle.jobs.keras_compat import keras_support

CHECK: Final = "interpreter"
_SECRET_LENGTH: Final = 8
_SEVERITY: Final = {
    keras_support.EXACT: OK,
    keras_support.SIMILAR: OK,
    keras_support.PARTLY: WARNING,
    keras_support.EPOCHS: WARNING,
    keras_support.UNFOLLOWED: ERROR,
}


@dataclass(frozen=True, slots=True)
class Result:
    """Describe how a try ended.

    Attributes:
        found: the answer of the probe; None without one.
        code: exit code, negative for a signal; None if it did not end.
        log: the end of what it printed.
        problem: why it could not be started; empty if it was.
        timeout: the seconds after which it was ended; None if it ended by itself.
    """

    found: dict[str, Any] | None = None
    code: int | None = None
    log: str = ""
    problem: str = ""
    timeout: float | None = None


def judge(python: str, folder: str, result: Result, jobs: Sequence[Waiting]) -> Iterator[Finding]:
    """Yield what a try shows about an interpreter and the jobs that need it."""
    for finding in _judge(python, folder, result, jobs):
        what = _without_secrets(finding.what, jobs)
        yield Finding(finding.severity, CHECK, what, finding.hint)


def _judge(python: str, folder: str, result: Result, jobs: Sequence[Waiting]) -> Iterator[Finding]:
    found, who = result.found, named(jobs)
    if result.problem:
        what = f"{python} cannot be run: {result.problem} ({who} needs it)."
        yield Finding(ERROR, CHECK, what, _again(python))
    elif result.timeout is not None:
        yield Finding(
            ERROR,
            CHECK,
            f"{python} did not import Keras within {result.timeout:.0f} s ({who} needs it).",
            f'{python} -X importtime -c "import keras" shows where it waits; '
            "`rekindle doctor --timeout 10min` waits longer.",
        )
    elif found is None:
        yield _no_answer(python, result, who)
    elif "support" not in found:
        yield _no_keras(python, folder, str(found.get("error", "")), jobs)
    else:
        yield _support(python, found, who)
        yield from _more(found, jobs)
    if found is not None:
        yield from _surroundings(python, result, jobs)


def _no_answer(python: str, result: Result, who: str) -> Finding:
    ours = [line for line in result.log.splitlines() if line.startswith("rekindle: ")]
    if ours:
        what = f"{ours[-1].removeprefix('rekindle: ').rstrip('.')} ({who} needs it)."
        return Finding(ERROR, CHECK, what, "Name a Python 3.10 or newer as `python` in the spec.")
    last = (result.log.strip().splitlines() or ["no output"])[-1]
    if result.code is not None and result.code < 0:
        last = f"it was ended by {signal.Signals(-result.code).name}"
    base = _missing_base(python)
    if base is not None:
        what = f"{python} cannot run a trainer: its base interpreter in {base} is gone"
        return Finding(ERROR, CHECK, f"{what} ({who} needs it).", _again(python))
    return Finding(
        ERROR,
        CHECK,
        f"{python} cannot run a trainer: {last} ({who} needs it).",
        "Name a Python 3.10 or newer as `python` in the spec.",
    )


def _no_keras(python: str, folder: str, error: str, jobs: Sequence[Waiting]) -> Finding:
    hidden = [
        name
        for name in ("keras", "tensorflow", "numpy")
        if os.path.exists(os.path.join(folder, f"{name}.py"))
    ]
    if hidden:
        return Finding(
            ERROR,
            CHECK,
            f"{python} cannot import Keras: {error}; {folder}/{hidden[0]}.py hides the "
            f"package ({named(jobs)} needs it).",
            f"Rename {folder}/{hidden[0]}.py.",
        )
    backend = next(
        (name for name in ("jax", "torch") if f"No module named '{name}'" in error), None
    )
    learns = any(script_text.of(one.job).learns for one in jobs)
    return Finding(
        ERROR if learns else WARNING,
        CHECK,
        f"{python} cannot import Keras: {error} ({named(jobs)} needs it).",
        f"{python} -m pip install keras {backend or 'tensorflow'}",
    )


def _support(python: str, found: dict[str, Any], who: str) -> Finding:
    about = ", ".join(f"{key} {value}" for key, value in found["packages"].items())
    text = f"{python}: Python {found['python']}, {about}"
    support = found["support"]
    severity = _SEVERITY.get(support["level"], ERROR)
    if severity == OK:
        more = f" {support['what']}" if support["what"] else ""
        return Finding(OK, CHECK, f"{text}; resumed to the batch ({who}).{more}")
    failed = f" It cannot be imported here: {found['error']}." if "error" in found else ""
    return Finding(severity, CHECK, f"{text} ({who}). {support['what']}{failed}", support["hint"])


def _more(found: dict[str, Any], jobs: Sequence[Waiting]) -> Iterator[Finding]:
    legacy, gpu = found.get("legacy"), found.get("gpu")
    if legacy:
        uses = [one for one in jobs if script_text.of(one.job).tf_keras]
        yield Finding(
            ERROR if uses else WARNING,
            CHECK,
            f"{named(uses or jobs)}: {legacy['what']}",
            legacy["hint"],
        )
    if gpu:
        yield Finding(ERROR, CHECK, f"{named(jobs)}: {gpu['what']}", gpu["hint"])


def _surroundings(python: str, result: Result, jobs: Sequence[Waiting]) -> Iterator[Finding]:
    """Report what the trainer would run without: a broken sitecustomize, a conda activation."""
    for module in ("sitecustomize", "usercustomize"):
        if f"Error in {module}" in result.log:
            yield Finding(
                WARNING,
                CHECK,
                f"{python} starts with an error in {module}; what it sets up is missing.",
                f'{python} -v -c "" shows the error.',
            )
    prefix = Path(python).parent.parent
    scripts = sorted((prefix / "etc" / "conda" / "activate.d").glob("*.sh"))
    if (prefix / "conda-meta").is_dir() and scripts:
        without = [one for one in jobs if "CONDA_PREFIX" not in one.job.env]
        if without and os.environ.get("CONDA_PREFIX") != str(prefix):
            yield Finding(
                WARNING,
                CHECK,
                f"{prefix} is a conda environment that is not activated for {named(without)}: "
                f"{scripts[0].name} is not run.",
                "Write the variables that it sets, and CONDA_PREFIX, into `env` of the spec.",
            )


def _missing_base(python: str) -> str | None:
    """Find the base interpreter's folder of a virtual environment; None if it exists."""
    try:
        lines = (Path(python).parent.parent / "pyvenv.cfg").read_text().splitlines()
    except OSError:
        return None
    for line in lines:
        key, _, value = line.partition("=")
        if key.strip() == "home":
            return None if os.path.isdir(value.strip()) else value.strip()
    return None


def _again(python: str) -> str:
    prefix = Path(python).parent.parent
    if (prefix / "pyvenv.cfg").exists():
        return f"Create the environment again: python3 -m venv --clear {prefix}"
    return "Create the environment again, or name another `python` in the spec."


def _without_secrets(text: str, jobs: Sequence[Waiting]) -> str:
    """Leave out values of `env`, which may be secrets, from what an interpreter printed."""
    for one in jobs:
        for value in one.job.env.values():
            if len(value) >= _SECRET_LENGTH and value not in (keras_support.BACKEND, "openvino"):
                text = text.replace(value, "(set)")
    return text
