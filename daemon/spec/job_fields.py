"""Declare the keys of a spec, and read the kinds of values that only a spec has."""

import os
import re
from pathlib import Path
from typing import Any, Final

from rekindle.daemon.spec import grid
from rekindle.daemon.spec.fields import Field, Free, Table
from rekindle.daemon.spec.kinds import (
    FLAG,
    RANGE,
    SECONDS,
    SIZE,
    TEXT,
    TEXTS,
    UMASK,
    WINDOW,
    Kind,
    Wrong,
    either,
    one_of,
    read_text,
    read_texts,
    shown,
    whole,
)
from rekindle.jobs import quantities
from rekindle.jobs.job import NAME, NAME_OR_ID, CheckpointPolicy, Limits, Resources, RetryPolicy

NAME_HINT: Final = "Use small letters, digits, '.', '_' and '-', at most 64, e.g. \"fashion\"."
_NAME_SCHEMA: Final = {"type": "string", "pattern": f"^{NAME.pattern}$"}
_EVERY: Final = re.compile(r"\s*(\d+)\s*(epochs?|steps?)\s*", re.ASCII)


def out_of_reach(path: Path) -> str:
    """Say that a path could not be looked at, where this user lacks the permission to."""
    try:
        os.stat(path)
    except PermissionError:
        return f" (user {os.geteuid()} has no permission to look)"
    except (OSError, ValueError):
        pass
    return ""


def expanded(text: str) -> Path:
    """Replace ``~`` and ``~user`` at the beginning of a path."""
    try:
        return Path(text).expanduser()
    except RuntimeError:
        raise Wrong(
            f"names a home folder that does not exist: {text.partition('/')[0]}",
            "Write the absolute path.",
        ) from None


def read_name(value: Any) -> str:
    if not isinstance(value, str) or not NAME.fullmatch(value) or ".." in value:
        raise Wrong(
            f"cannot be {repr(value)[:80] if isinstance(value, str) else shown(value)}", NAME_HINT
        )
    return value


def _read_module(value: Any) -> str:
    if not isinstance(value, str) or not all(p.isidentifier() for p in value.split(".")):
        raise Wrong("must be the dotted name of a module", 'For example "pkg.train".')
    return value


def _read_after(value: Any) -> list[str]:
    return [
        _read_name_or_id(item)
        for item in ([value] if isinstance(value, str) else read_texts(value))
    ]


def _read_name_or_id(value: Any) -> str:
    # the id of a job with a name of full length is longer than a name
    if isinstance(value, str) and NAME_OR_ID.fullmatch(value) and ".." not in value:
        return value
    return read_name(value)


def _read_warm_start(value: Any) -> str:
    text = value if isinstance(value, str) else ""
    job, mark, which = text.partition(":")
    if (
        not NAME_OR_ID.fullmatch(job)
        or ".." in job
        or (mark and which not in ("best", "last") and not which.isdecimal())
    ):
        raise Wrong(
            f"cannot be {repr(value)[:80]}",
            'Write the id of a job, "pretrain-3", or "pretrain-3:best", '
            '"pretrain-3:last", "pretrain-3:7" (after 7 epochs).',
        )
    return text


def _read_workdir(value: Any) -> str:
    folder = expanded(read_text(value))
    if not folder.is_absolute():
        raise Wrong(
            "must be an absolute path",
            "A spec in the inbox has no folder of its own; `rekindle submit` fills it in.",
        )
    if not os.path.isdir(folder):
        raise Wrong(f"is not a folder: {folder}{out_of_reach(folder)}", "Make the folder first.")
    return str(folder)


def _read_python(value: Any) -> str:
    path = expanded(read_text(value))
    if not path.is_absolute() or not os.path.isfile(path) or not os.access(path, os.X_OK):
        raise Wrong(
            f"is not an interpreter: {path}{out_of_reach(path)}",
            'Give its absolute path, e.g. "/home/ana/venv/bin/python".',
        )
    return str(path)


def _read_env(value: Any) -> dict[str, str]:
    # the values may be secrets: no message shows them
    if not isinstance(value, dict):
        raise Wrong("must be a table", 'For example env = { TF_DETERMINISTIC_OPS = "1" }.')
    for key, item in value.items():
        if not isinstance(key, str) or not key or "=" in key or "\0" in key:
            raise Wrong("has a name that no variable can have", "Use letters, digits and '_'.")
        if key.startswith("REKINDLE_"):
            raise Wrong(f"sets {key}, which the keeper sets", "Choose another name.")
        if not isinstance(item, str) or "\0" in item:
            raise Wrong(f"has a value for {key} that is not a text", "Write it in quotes.")
    return dict(value)


def _read_every(value: Any) -> dict[str, Any]:
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
    raise Wrong(
        f"cannot be {shown(value)}", 'Write "auto", "epoch", "5 epochs", "500 steps" or "10 min".'
    )


def _make_checkpoint(**values: Any) -> CheckpointPolicy:
    values.update(values.pop("every", {}))
    if values.get("save_best_only") and not values.get("monitor"):
        values["monitor"] = "val_loss"
    return CheckpointPolicy(**values)


def _make_retry(**values: Any) -> RetryPolicy:
    if "backoff" in values:
        values["backoff_min"], values["backoff_max"] = values.pop("backoff")
    return RetryPolicy(**values)


_PATH: Final = {"type": "string", "minLength": 1}
_ID_SCHEMA: Final = {"type": "string", "pattern": f"^{NAME_OR_ID.pattern}$"}
_IDS: Final = {"type": "array", "items": _ID_SCHEMA}
_ENV: Final = {
    "type": "object",
    "propertyNames": {"pattern": "^(?!REKINDLE_)[^=]+$"},
    "additionalProperties": {"type": "string"},
}
_EVERY_SCHEMA: Final = {"type": "string", "examples": ["auto", "epoch", "5 epochs", "500 steps"]}
_WARM: Final = {"type": "string", "pattern": rf"^{NAME_OR_ID.pattern}(:(best|last|\d+))?$"}

RESOURCES: Final = Table(
    "resources",
    "What the job needs.",
    (
        Field(
            "gpus",
            whole(0, 1024),
            "How many GPUs the job gets for itself; 0 for a CPU slot. Not given: one GPU where "
            "the host has any, else a CPU slot.",
            example=1,
        ),
        Field("memory", SIZE, "Memory that the job needs. Not given: no limit.", example="16GiB"),
        Field(
            "require_gpu",
            FLAG,
            "Hold the job before its first step where its library sees no GPU; false: train on the "
            "CPU then. Not given: true where `gpus` is given and is not 0.",
            example=True,
        ),
    ),
    makes=Resources,
)
CHECKPOINT: Final = Table(
    "checkpoint",
    "When checkpoints are saved and which are kept.",
    (
        Field(
            "every",
            Kind(_read_every, _EVERY_SCHEMA, "a text"),
            '"auto" (each epoch, and within one at most 10 minutes apart), "epoch", "5 epochs", '
            '"500 steps" or "10 min". On SIGTERM it saves always.',
            default="auto",
            example="500 steps",
        ),
        Field("keep", whole(1, 10**6), "How many of the newest good ones are kept.", default=3),
        Field(
            "monitor",
            TEXT,
            "The metric that says which is the best, which is kept beside the newest. Not given: "
            "none; with `save_best_only` val_loss.",
            example="val_accuracy",
        ),
        Field(
            "mode",
            one_of("auto", "min", "max"),
            "Whether the best is the smallest or the largest value of the metric; auto: the "
            "largest of accuracies and scores, the smallest of all else.",
            default="auto",
        ),
        Field(
            "save_best_only",
            FLAG,
            "As in Keras; the newest is kept all the same, so that the job can be resumed.",
            default=False,
        ),
        Field(
            "non_finite",
            one_of("hold", "continue"),
            "What to do where the loss or a variable is NaN or infinity: hold the job at its last "
            "finite checkpoint, or continue.",
            default="hold",
        ),
        Field(
            "keep_files",
            either("none", 0, SIZE),
            "Limit of the copies of files that each `fit` or loop writes (ModelCheckpoint, "
            "CSVLogger, own callbacks), which a relaunch puts back; none: no copies.",
            default="2 GB",
        ),
        Field(
            "keep_ends",
            either("none", 0, SIZE),
            "Limit of the checkpoints at the ends of finished stages; above it the weights of the "
            "oldest are dropped where the next stage continued with them at once; none: of all of "
            "these.",
            default="2 GB",
        ),
        Field(
            "prove_steps",
            whole(0, 10**6),
            "How many steps that a relaunch repeats are compared with the earlier ones before the "
            'first result is reported; with `every = "auto"` an older checkpoint is resumed from '
            "where the newest is nearer than that. 0 turns the comparison off.",
            default=8,
        ),
        Field(
            "on_difference",
            one_of("warn", "hold"),
            "What to do where a repeated step or the restored state differs from the earlier one: "
            "warn, or hold the job before another checkpoint is saved.",
            default="warn",
        ),
    ),
    makes=_make_checkpoint,
    foreign={
        "save_freq": 'Write every = "epoch" or every = "500 steps".',
        "period": 'Write every = "5 epochs".',
        "filepath": "Checkpoints are in the run directory; `rekindle show` names them.",
        "save_weights_only": "The whole training state is kept, so that the job can be resumed.",
        "verbose": "Every checkpoint is in the journal and in `rekindle show`.",
    },
)
RETRY: Final = Table(
    "retry",
    "How failures are retried.",
    (
        Field(
            "max_failures",
            whole(0, 10**6),
            "Failures in a row without a new checkpoint after which the job is held: with 3, the "
            "third holds it; with 1 or 0 nothing is retried. Being preempted, stopped or rebooted "
            "is no failure.",
            default=5,
        ),
        Field(
            "backoff",
            RANGE,
            "Shortest and longest wait before the next attempt; it doubles, with jitter. The first "
            "failure since a new checkpoint is followed after 1 s, or the shortest wait if that is "
            "less.",
            default="10s..10min",
        ),
    ),
    makes=_make_retry,
)
LIMITS: Final = Table(
    "limits",
    "Times.",
    (
        Field("stop_grace", SECONDS, "Time to save after SIGTERM, before SIGKILL.", default="120s"),
        Field(
            "hang_timeout",
            either("auto", None, SECONDS),
            'Longest time without a sign of life; "auto" learns it from what was seen.',
            default="auto",
        ),
        Field(
            "max_runtime",
            SECONDS,
            "Training time over all attempts. Not given: no limit.",
            example="8h",
        ),
        Field(
            "window",
            WINDOW,
            "Times of day in which the job may train; it may pass midnight. Outside of it the job "
            "is saved.",
            example="22:00-07:00",
        ),
    ),
    makes=Limits,
)
GRID: Final = Table(
    "grid",
    "Parameters with several values each: one job for each combination, which gets them as options "
    "behind its `args`, e.g. `--lr 0.1 --units 32`.",
    (),
    free=Free(grid.NAMES, grid.VALUES, {"lr": [0.1, 0.01]}),
)
SPEC: Final = Table(
    "",
    "A job for rekindle.",
    (
        Field(
            "name",
            Kind(read_name, _NAME_SCHEMA, "small letters, digits, '.', '_' and '-', at most 64"),
            "The job's name, of which its id is made (fashion-1). Not given: the file's name "
            "without its ending.",
            example="fashion",
        ),
        Field("script", TEXT, "The Python file to run as `__main__`; relative to `workdir`."),
        Field(
            "module",
            Kind(_read_module, {"type": "string"}, "the dotted name of a module"),
            "The module to run, as `python -m` does.",
            example="pkg.train",
        ),
        Field("command", TEXTS, "Program and arguments, for anything that is not Keras."),
        Field("args", TEXTS, "Arguments of the script, its `sys.argv`.", default=[]),
        Field(
            "workdir",
            Kind(_read_workdir, _PATH, "an absolute path"),
            "The folder to run in. Not given: that of the spec with `rekindle submit`, of the "
            "script in the inbox.",
        ),
        Field(
            "python",
            Kind(_read_python, _PATH, "an absolute path"),
            "Absolute path of the interpreter that has TensorFlow. Not given: the daemon's; for a "
            "script without a spec that of the active environment.",
        ),
        Field(
            "env",
            Kind(_read_env, _ENV, "a table of texts"),
            "Environment variables; those that begin with REKINDLE_ are refused.",
            default={},
        ),
        Field(
            "seed",
            whole(0, 2**32 - 1),
            "Set before the script runs: Python, numpy, Keras.",
            default=0,
        ),
        Field(
            "umask",
            UMASK,
            'Mode bits that new files of the job do not get: "002" lets the group change them. Not '
            "given: that of `rekindle.toml`, else the daemon's (0027 of the service).",
            example="002",
        ),
        Field(
            "priority",
            whole(-(10**9), 10**9),
            "The higher one runs first; `rekindle priority JOB N` changes it.",
            default=0,
        ),
        Field(
            "after",
            Kind(
                _read_after, {"anyOf": [_ID_SCHEMA, _IDS]}, "ids or names of jobs, or one of them"
            ),
            "Jobs that must be done before.",
            default=[],
        ),
        Field(
            "warm_start",
            Kind(_read_warm_start, _WARM, "id or name of a job"),
            "Begin with the weights of another job: its best where it has a `monitor`, else its "
            'last; ":best", ":last" or ":7" (after 7 epochs) behind it says which.',
            example="pretrain-3:best",
        ),
        Field(
            "live",
            FLAG,
            "Run the code as it is at each attempt, without a snapshot.",
            default=False,
        ),
        Field(
            "allow_change",
            FLAG,
            "Resume from a checkpoint although the script has changed since.",
            default=False,
        ),
        Field(
            "freeze_clock",
            FLAG,
            "Let the script's own code read the date of the first attempt in all attempts, so "
            "that a folder named by the clock keeps its name.",
            default=False,
        ),
    ),
    (RESOURCES, CHECKPOINT, RETRY, LIMITS, GRID),
)
WHAT_RUNS: Final = ("script", "module", "command")
"""Exactly one of these is given."""
