"""Parsing and validating a job spec: TOML or YAML in, a :class:`Job` or clear errors out.

All problems of a spec are found at once; the first is the headline of the error.
"""

import difflib
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from rekindle.daemon.spec import toml_text, yaml_text
from rekindle.jobs import quantities
from rekindle.jobs.job import NAME, CheckpointPolicy, Job, Limits, Resources, RetryPolicy
from rekindle.state.errors import SpecError

SUFFIXES: Final = (".toml", ".yaml", ".yml")
MAX_BYTES: Final = 1024 * 1024
_EVERY: Final = re.compile(r"\s*(\d+)\s*(epochs?|steps?)\s*", re.ASCII)
_NAME_HINT: Final = "Use small letters, digits, '.', '_' and '-', at most 64, e.g. \"fashion\"."
_ARTICLE_KEYS: Final = {
    "save_freq": 'Write every = "epoch" or every = "500 steps".',
    "period": 'Write every = "5 epochs".',
    "filepath": "Checkpoints lie in the run directory; `rekindle show` names them.",
    "save_weights_only": "The whole training state is kept, so that training can go on.",
    "verbose": "Every checkpoint is in the journal and in `rekindle show`.",
}


class _Problem(Exception):
    """One thing that is wrong with the value of a key."""

    def __init__(self, what: str, hint: str) -> None:
        super().__init__(what)
        self.what = what
        self.hint = hint


def parse(text: bytes, filename: str, base: Path) -> Job:
    """Reads a spec.

    Args:
        text: the file's content.
        filename: its name; the suffix decides between TOML and YAML, the stem is the
            default name of the job.
        base: absolute folder against which a relative ``script`` is resolved where the spec
            gives no ``workdir``.

    Raises:
        SpecError: it cannot be accepted; with the key and the line where they are known.
    """
    reader = _Reader(text, filename)
    table = reader.table()
    built = _Builder(reader, base).build(table, Path(filename).stem)
    reader.raise_problems()
    assert built is not None
    return built


class _Reader:
    """The text of one spec, and what was found wrong with it."""

    def __init__(self, text: bytes, filename: str) -> None:
        self.filename = filename
        self.is_toml = filename.endswith(".toml")
        self.problems: list[tuple[str, str, str | None]] = []
        self.yaml_lines: dict[str, int] = {}
        if len(text) > MAX_BYTES:
            raise SpecError(
                f"The spec has {len(text)} bytes.",
                where=filename,
                hint="A spec has at most 1 MiB; data belongs into files of its own.",
            )
        try:
            self.text = text.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise SpecError(
                "The spec is not UTF-8 text.",
                where=filename,
                hint="Save it as UTF-8.",
                line=text.count(b"\n", 0, error.start) + 1,
            ) from error

    def table(self) -> dict[str, Any]:
        if self.is_toml:
            try:
                return toml_text.load(self.text)
            except toml_text.TomlProblem as error:
                raise self._syntax("TOML", str(error), error.line) from error
        try:
            value, self.yaml_lines = yaml_text.load(self.text)
        except yaml_text.YamlProblem as error:
            raise self._syntax("YAML", str(error), error.line) from error
        if not isinstance(value, dict):
            raise self._syntax("YAML", "a spec is a mapping of keys to values", 1)
        return value

    def problem(self, what: str, hint: str, key: str | None) -> None:
        self.problems.append((what, hint, key))

    def raise_problems(self) -> None:
        if not self.problems:
            return
        what, hint, key = self.problems[0]
        rest = "".join(f"\n  also: {w} ({h})" for w, h, _ in self.problems[1:])
        line = self._line(key) if key else None
        where = f"{self.filename}:{line}" if line else self.filename
        raise SpecError(what, where=where, hint=hint + rest, key=key, line=line)

    def _syntax(self, kind: str, detail: str, line: int | None) -> SpecError:
        return SpecError(
            f"The spec is not valid {kind}: {detail}.",
            where=f"{self.filename}:{line}" if line else self.filename,
            hint="docs/spec.md shows each key with an example.",
            line=line,
        )

    def _line(self, key: str) -> int | None:
        if not self.is_toml:
            return self.yaml_lines.get(key)
        table, _, name = key.rpartition(".")
        inside = ""
        for number, line in enumerate(self.text.splitlines(), 1):
            header = re.match(r"\s*\[\s*([\w.\"'-]+)\s*\]", line)
            if header:
                inside = header[1].strip("\"'")
                if inside == key:
                    return number
            wanted = name if inside == table else (key if inside == "" else None)
            if wanted and re.match(rf"\s*[\"']?{re.escape(wanted)}[\"']?\s*[=.]", line):
                return number
            if inside == "" and table and re.match(rf"\s*{re.escape(table)}\s*[=.]", line):
                return number
        return None


class _Builder:
    """Turns a table into a job, collecting problems instead of stopping at the first."""

    def __init__(self, reader: _Reader, base: Path) -> None:
        self._reader = reader
        self._base = base

    def build(self, table: dict[str, Any], stem: str) -> Job | None:
        top = self._section(
            table,
            "",
            {
                "name": _name,
                "script": _text,
                "module": _module,
                "command": _texts,
                "args": _texts,
                "workdir": _workdir,
                "python": _python,
                "env": _env,
                "seed": _whole(0, 2**32 - 1),
                "priority": _whole(-(10**9), 10**9),
                "after": _after,
                "warm_start": _warm_start,
                "live": _flag,
                "allow_change": _flag,
                "resources": _table,
                "checkpoint": _table,
                "retry": _table,
                "limits": _table,
            },
        )
        resources = self._section(
            top.pop("resources", {}), "resources", {"gpus": _whole(0, 1024), "memory": _size}
        )
        checkpoint = self._section(
            top.pop("checkpoint", {}),
            "checkpoint",
            {
                "every": _every,
                "keep": _whole(1, 10**6),
                "monitor": _text,
                "mode": _one_of("auto", "min", "max"),
                "save_best_only": _flag,
                "non_finite": _one_of("hold", "continue"),
            },
        )
        retry = self._section(
            top.pop("retry", {}), "retry", {"max_failures": _whole(0, 10**6), "backoff": _backoff}
        )
        limits = self._section(
            top.pop("limits", {}),
            "limits",
            {
                "stop_grace": _seconds,
                "hang_timeout": _auto_or_seconds,
                "max_runtime": _seconds,
                "window": _window,
            },
        )
        if "name" not in table:
            self._default_name(top, stem)
        if checkpoint.get("save_best_only") and not checkpoint.get("monitor"):
            checkpoint["monitor"] = "val_loss"
        self._what_runs(top)
        if self._reader.problems:
            return None
        checkpoint.update(checkpoint.pop("every", {}))
        low, high = retry.pop("backoff", (None, None))
        if low is not None:
            retry.update(backoff_min=low, backoff_max=high)
        job = Job(
            **top,
            resources=Resources(**resources),
            checkpoint=CheckpointPolicy(**checkpoint),
            retry=RetryPolicy(**retry),
            limits=Limits(**limits),
        )
        try:
            job.check()
        except ValueError as error:
            self._reader.problem(f"{error}.", "Choose another value.", None)
            return None
        return job

    def _section(
        self, table: Any, name: str, keys: dict[str, Callable[[Any], Any]]
    ) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, value in table.items():
            full = f"{name}.{key}" if name else str(key)
            if key not in keys:
                self._unknown(str(key), full, name, list(keys))
                continue
            try:
                found[key] = keys[key](value)
            except _Problem as problem:
                self._reader.problem(f"`{full}` {problem.what}.", problem.hint, full)
        return found

    def _unknown(self, key: str, full: str, section: str, known: list[str]) -> None:
        place = f" in [{section}]" if section else ""
        near = difflib.get_close_matches(key, known, 1)
        if section == "checkpoint" and key in _ARTICLE_KEYS:
            hint = _ARTICLE_KEYS[key]
        elif near:
            hint = f"Did you mean `{near[0]}`?"
        else:
            hint = f"Known keys{place}: {', '.join(known)}."
        self._reader.problem(f"There is no key `{key}`{place}.", hint, full)

    def _default_name(self, top: dict[str, Any], stem: str) -> None:
        try:
            top["name"] = _name(stem)
        except _Problem:
            self._reader.problem(
                f"The file's name {stem!r} cannot be the job's name.",
                f"Write a name into the spec. {_NAME_HINT}",
                None,
            )

    def _what_runs(self, top: dict[str, Any]) -> None:
        given = [key for key in ("script", "module", "command") if key in top]
        if len(given) != 1:
            what = (
                "The spec does not say what to run."
                if not given
                else f"The spec has {' and '.join(given)}; only one can run."
            )
            if any(
                key in (None, "script", "module", "command") for _, _, key in self._reader.problems
            ):
                return  # the value that is wrong has been told already
            self._reader.problem(
                what,
                'Give one of: script = "train.py", module = "pkg.train", '
                'command = ["./train", "--fast"].',
                given[1] if given else None,
            )
            return
        if "script" in top:
            try:
                script = _expanded(top["script"])
            except _Problem as problem:
                self._reader.problem(f"`script` {problem.what}.", problem.hint, "script")
                return
            folder = Path(top.get("workdir", self._base))
            if not script.is_absolute():
                script = folder / script
            if not os.path.isfile(script):  # Path.is_file raises where it may not look
                self._reader.problem(
                    f"The script {script} is not there{_out_of_reach(script)}.",
                    "Give its absolute path, or a `workdir` that it is relative to; "
                    "`rekindle submit` resolves paths against the spec's own folder.",
                    "script",
                )
            top["script"] = str(script)
            top.setdefault("workdir", str(script.parent))
        else:
            top.setdefault("workdir", str(self._base))
        if "command" in top and not top["command"]:
            self._reader.problem(
                "`command` is empty.", "Give the program and its arguments.", "command"
            )


def _out_of_reach(path: Path) -> str:
    """Says where it cannot be known whether something is there: who looks has not the right to."""
    try:
        os.stat(path)
    except PermissionError:
        return f", or user {os.geteuid()} has not the right to look"
    except (OSError, ValueError):
        pass
    return ""


def _expanded(text: str) -> Path:
    """Replace ``~`` and ``~user`` at the beginning of a path."""
    try:
        return Path(text).expanduser()
    except RuntimeError:
        raise _Problem(
            f"names a home folder that does not exist: {text.partition('/')[0]}",
            "Write the absolute path.",
        ) from None


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value.strip() or "\0" in value:
        raise _Problem(f"must be a text, not {_kind(value)}", "Write it in quotes.")
    return value


def _name(value: Any) -> str:
    if not isinstance(value, str) or not NAME.fullmatch(value) or ".." in value:
        shown = repr(value)[:80] if isinstance(value, str) else _kind(value)
        raise _Problem(f"cannot be {shown}", _NAME_HINT)
    return value


def _module(value: Any) -> str:
    if not isinstance(value, str) or not all(p.isidentifier() for p in value.split(".")):
        raise _Problem("must be the dotted name of a module", 'For example "pkg.train".')
    return value


def _texts(value: Any) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(v, str) for v in value):
        raise _Problem(
            "must be a list of texts", 'Write numbers in quotes too: args = ["--epochs", "5"].'
        )
    if any("\0" in item for item in value):
        raise _Problem("has a NUL character", "Remove it.")
    return list(value)


def _after(value: Any) -> list[str]:
    return [_name(item) for item in ([value] if isinstance(value, str) else _texts(value))]


def _warm_start(value: Any) -> str:
    text = value if isinstance(value, str) else ""
    job, mark, which = text.partition(":")
    if (
        not NAME.fullmatch(job)
        or ".." in job
        or (mark and which not in ("best", "last") and not which.isdecimal())
    ):
        raise _Problem(
            f"cannot be {repr(value)[:80]}",
            'Write the id of a job, "pretrain-3", or "pretrain-3:best", '
            '"pretrain-3:last", "pretrain-3:7" (after 7 epochs).',
        )
    return text


def _workdir(value: Any) -> str:
    folder = _expanded(_text(value))
    if not folder.is_absolute():
        raise _Problem(
            "must be an absolute path",
            "A spec in the inbox has no folder of its own; `rekindle submit` fills it in.",
        )
    if not os.path.isdir(folder):
        raise _Problem(
            f"is not a folder{_out_of_reach(folder)}: {folder}", "Make the folder first."
        )
    return str(folder)


def _python(value: Any) -> str:
    path = _expanded(_text(value))
    if not path.is_absolute() or not os.path.isfile(path) or not os.access(path, os.X_OK):
        raise _Problem(
            f"is not an interpreter{_out_of_reach(path)}: {path}",
            'Give its absolute path, e.g. "/home/ana/venv/bin/python".',
        )
    return str(path)


def _env(value: Any) -> dict[str, str]:
    # the values may be secrets: no message shows them
    if not isinstance(value, dict):
        raise _Problem("must be a table", 'For example env = { TF_DETERMINISTIC_OPS = "1" }.')
    for key, item in value.items():
        if not isinstance(key, str) or not key or "=" in key or "\0" in key:
            raise _Problem("has a name that no variable can have", "Use letters, digits and '_'.")
        if key.startswith("REKINDLE_"):
            raise _Problem(f"sets {key}, which the keeper sets", "Choose another name.")
        if not isinstance(item, str) or "\0" in item:
            raise _Problem(f"has a value for {key} that is not a text", "Write it in quotes.")
    return dict(value)


def _table(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _Problem(f"must be a table, not {_kind(value)}", "docs/spec.md shows its keys.")
    return value


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise _Problem(
            f"must be true or false, not {_shown(value)}", "Write true or false, without quotes."
        )
    return value


def _whole(low: int, high: int) -> Callable[[Any], int]:
    def check(value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int):
            raise _Problem(
                f"must be a whole number, not {_shown(value)}",
                "Write its digits, without quotes and leading zeros, e.g. 1234.",
            )
        if not low <= value <= high:
            raise _Problem(f"must be from {low} to {high}", "Choose another number.")
        return value

    return check


def _one_of(*words: str) -> Callable[[Any], str]:
    def check(value: Any) -> str:
        if value not in words:
            raise _Problem(f"must be one of {', '.join(words)}", f'For example "{words[0]}".')
        return str(value)

    return check


def _quantity(read: Callable[[str], Any]) -> Callable[[Any], Any]:
    def check(value: Any) -> Any:
        try:
            return read(value if isinstance(value, str) else "")
        except ValueError as error:
            raise _Problem("is not understood", f"{str(error).capitalize()}.") from None

    return check


_seconds = _quantity(quantities.seconds)
_size = _quantity(quantities.size)
_backoff = _quantity(quantities.duration_range)
_window = _quantity(quantities.window)


def _auto_or_seconds(value: Any) -> float | None:
    return None if value == "auto" else float(_seconds(value))


def _every(value: Any) -> dict[str, Any]:
    if value == "auto":
        return {}
    if value == "epoch":
        return {"every_epochs": 1}
    if isinstance(value, str):
        match = _EVERY.fullmatch(value)
        if match and int(match[1]) > 0:
            unit = "every_epochs" if match[2].startswith("epoch") else "every_steps"
            return {unit: int(match[1])}
        try:
            return {"every_seconds": quantities.seconds(value)}
        except ValueError:
            pass
    raise _Problem(
        "is not understood", 'Write "auto", "epoch", "5 epochs", "500 steps" or "10 min".'
    )


def _shown(value: Any) -> str:
    """Describe a value by its kind, with the value where it is short enough to be read."""
    if isinstance(value, str):
        return f"the text {value!r}" if len(value) <= 40 else "a text"
    return repr(value) if isinstance(value, float) else _kind(value)


def _kind(value: Any) -> str:
    names = {
        str: "a text",
        bool: "true or false",
        int: "a number",
        float: "a number",
        list: "a list",
        dict: "a table",
        type(None): "nothing",
    }
    return names.get(type(value), f"a {type(value).__name__}")
