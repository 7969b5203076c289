"""Represent a job: the accepted spec in resolved form, and its JSON in a run directory.

Standard library only: keeper and trainer read it in interpreters without rekindle's packages.
"""

import dataclasses
import json
import math
import re
import types
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, get_args, get_origin

from rekindle.jobs import quantities
from rekindle.state.errors import SpecError
from rekindle.state.run import reading

FORMAT: Final = 1
NAME: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
"""Valid names of jobs: run directories are named after them."""
NAME_OR_ID: Final = re.compile(rf"{NAME.pattern}(-[0-9]{{1,9}})?")
"""Valid values of `after` and `warm_start`: the name of a job, or its id with the number."""
DEFAULT_SEED: Final = 0
DEFAULT_KEEP_FILES: Final = 2 * 10**9
DEFAULT_KEEP_ENDS: Final = 2 * 10**9


@dataclass(frozen=True, slots=True)
class Resources:
    """Resources that a job needs.

    Attributes:
        gpus: number of GPUs; 0 for a CPU slot, None for one GPU if the host has any.
        memory: bytes, None for no limit.
        require_gpu: hold the job where its training would run without a GPU; None if that
            follows from ``gpus``.
    """

    gpus: int | None = None
    memory: int | None = None
    require_gpu: bool | None = None

    @property
    def needs_gpu(self) -> bool:
        """True if a training without a GPU is a mistake: the spec itself asks for GPUs."""
        return bool(self.gpus) if self.require_gpu is None else self.require_gpu


@dataclass(frozen=True, slots=True)
class CheckpointPolicy:
    """Intervals of checkpoints, and which ones are kept.

    Attributes:
        every_epochs, every_steps, every_seconds: at most one is set; none means ``"auto"``,
            which is each epoch.
        keep: number of newest checkpoints to keep; the best one is kept beside them.
        monitor: metric that defines the best checkpoint, None for none.
        mode: ``auto``, ``min`` or ``max``, as in Keras.
        non_finite: ``hold`` or ``continue`` if the loss or a variable is NaN or infinity.
        keep_files: bytes of the copies of files that the stages of the script write.
        keep_ends: bytes of the checkpoints at the ends of stages, above which the weights of those
            are dropped that the next stage continued with.
        prove_steps: repeated steps after which a relaunch reports its proof; 0 for no proof.
        on_difference: ``warn`` or ``hold`` if a repeated step differs.
    """

    every_epochs: int | None = None
    every_steps: int | None = None
    every_seconds: float | None = None
    keep: int = 3
    monitor: str | None = None
    mode: str = "auto"
    save_best_only: bool = False
    non_finite: str = "hold"
    keep_files: int = DEFAULT_KEEP_FILES
    keep_ends: int = DEFAULT_KEEP_ENDS
    prove_steps: int = 8
    on_difference: str = "warn"


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Limits of retries; waits in seconds."""

    max_failures: int = 5
    backoff_min: float = 10.0
    backoff_max: float = 600.0


@dataclass(frozen=True, slots=True)
class Limits:
    """Time limits in seconds; ``window`` as ``"22:00-07:00"``; None is automatic or no limit."""

    stop_grace: float = 120.0
    hang_timeout: float | None = None
    max_runtime: float | None = None
    window: str | None = None


@dataclass(frozen=True, slots=True)
class Source:
    """The snapshot of a job's code, taken at acceptance.

    Attributes:
        root: original folder, absolute, without links.
        digest: SHA-256 over names, modes and contents.
        script: the script's path below ``root``, None if a module is run; ``script_sha256`` is
            the digest of its content.
        commit: HEAD of git at that time; ``dirty`` if a tracked file differed from it, None
            without git; ``untracked`` counts files that git does not track.
        taken_at: unix time, seconds.
        left_out: names, each with its reason; at most 50 of ``left_out_count``.
        notes: why the files were chosen in another way than usual, in sentences.
    """

    root: str
    digest: str
    script: str | None = None
    script_sha256: str | None = None
    commit: str | None = None
    dirty: bool | None = None
    untracked: int = 0
    taken_at: float = 0.0
    files: int = 0
    bytes: int = 0
    left_out: list[str] = field(default_factory=list)
    left_out_count: int = 0
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class NewCode:
    """The latest replacement of a job's snapshot on request.

    Attributes:
        at: unix time, seconds.
        attempt: the first attempt that runs the new code.
        before, after: digests of the snapshots.
        changed, added, removed: names of files, at most 50 of each count.
    """

    at: float
    attempt: int
    before: str
    after: str
    changed: list[str] = field(default_factory=list)
    added: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    changed_count: int = 0
    added_count: int = 0
    removed_count: int = 0

    def receipt(self) -> dict[str, Any]:
        """Return the field `new_code` of a receipt."""
        said = (
            f"The code was replaced on request before attempt {self.attempt}: repeated steps are "
            "not comparable with the earlier ones."
        )
        return {**dataclasses.asdict(self), "text": said}


@dataclass(frozen=True, slots=True)
class Extension:
    """The latest request to train a finished run for more epochs.

    Attributes:
        at: unix time, seconds.
        attempt: the first attempt that trains on.
        stage: the ``fit`` that trains on, the last of the script.
        epochs: epochs in all, in place of those that the script gives.
        finished: epochs that it had trained at its end.
    """

    at: float
    attempt: int
    stage: int
    epochs: int
    finished: int

    def reopens(self, stage: int, epoch: int) -> bool:
        """Return whether a stage that ended after so many epochs trains on."""
        return stage == self.stage and epoch <= self.finished


@dataclass(frozen=True, slots=True)
class GridPoint:
    """The point of a parameter grid that a job trains.

    Attributes:
        grid: what all jobs of the grid have in common, and no other job; empty before acceptance.
        number: of this point, from 1 to ``of``.
        values: of the parameters, in the order of the spec; ``args`` has them already.
    """

    grid: str
    number: int
    of: int
    values: dict[str, str | int | float | bool]


@dataclass(frozen=True, slots=True)
class Fork:
    """The checkpoint of another job that a job begins from.

    Attributes:
        token: of this fork; its own checkpoints have it, those that it began with have not.
        job: the other job's id.
        checkpoint: name of the checkpoint.
        stage, epoch, step: its position.
        end: it is the end of a finished ``fit``, which trains on from there.
        args: arguments of the other job's script.
        at: unix time.
    """

    token: str
    job: str
    checkpoint: str
    stage: int
    epoch: int
    step: int
    end: bool
    args: list[str] = field(default_factory=list)
    at: float = 0.0

    @property
    def text(self) -> str:
        """Say where the job begins."""
        return f"Forked from {self.job}, {self.checkpoint}, with arguments of its own."

    def began_with(self, token: object) -> bool:
        """Return whether a checkpoint with this token is one of the other job."""
        return token != self.token

    def reopens(self, token: object, stage: int, epoch: int) -> bool:
        """Return whether a stage that ended after so many epochs trains on."""
        return self.end and self.began_with(token) and (stage, epoch) == (self.stage, self.epoch)


@dataclass(frozen=True, slots=True)
class Job:
    """One accepted job.

    ``claim`` is the token of its inbox file, ``submitted_at`` the unix time of its acceptance.
    ``uid`` is the owner of that file, ``user`` the name that the host then had for it; None if an
    older version accepted it.
    Exactly one of ``script``, ``module`` and ``command`` is set. ``python`` is None for the
    interpreter of the daemon. ``env`` may hold secrets and is left out of ``repr``.
    """

    name: str
    workdir: str
    id: str = ""
    claim: str = ""
    submitted_at: float = 0.0
    uid: int | None = None
    user: str | None = None
    script: str | None = None
    module: str | None = None
    command: list[str] | None = None
    args: list[str] = field(default_factory=list)
    python: str | None = None
    env: dict[str, str] = field(default_factory=dict, repr=False)
    seed: int = DEFAULT_SEED
    umask: int | None = None
    priority: int = 0
    after: list[str] = field(default_factory=list)
    warm_start: str | None = None
    live: bool = False
    allow_change: bool = False
    freeze_clock: bool = False
    resources: Resources = field(default_factory=Resources)
    checkpoint: CheckpointPolicy = field(default_factory=CheckpointPolicy)
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    limits: Limits = field(default_factory=Limits)
    source: Source | None = None
    new_code: NewCode | None = None
    extension: Extension | None = None
    grid: GridPoint | None = None
    fork: Fork | None = None

    def replace(self, **changes: Any) -> "Job":
        """Return the same job with some fields changed."""
        return dataclasses.replace(self, **changes)

    def check(self) -> None:
        """Check types and values of all fields.

        Raises:
            ValueError: a field has a type or value that no spec can give it.
        """
        _check_types(self, "")
        _check_values(self)

    def to_json(self, *, secrets: bool = True) -> str:
        """Serialize the job for ``job.json``; without ``secrets`` for the ledger and for people.

        Values of ``env`` are left out without ``secrets``.
        """
        value: dict[str, Any] = {"format": FORMAT}
        for name in _FIELDS:
            item = getattr(self, name)
            if name in _NESTED and item is not None:
                item = {part: getattr(item, part) for part in type(item).__dataclass_fields__}
            value[name] = item
        if not secrets:
            value["env"] = dict.fromkeys(self.env, "(set)")
        # one line for each value; `asdict` and `indent` took half of the time to accept a job
        return json.dumps(value, separators=(",\n ", ": ")) + "\n"

    @classmethod
    def from_json(cls, text: str) -> "Job":
        """Parse ``job.json`` of this or an older version; unknown keys are ignored.

        Raises:
            SpecError: it is not a valid job, or has a newer format.
        """
        try:
            value = reading.parse_json(text)
            if value["format"] > FORMAT:
                raise SpecError(
                    f"The job was accepted by a newer rekindle (format {value['format']}).",
                    where="job.json",
                    hint="Install that newer version again.",
                )
            fields = _known(cls, value)
            for name, kind in _NESTED.items():
                if fields.get(name) is not None:
                    fields[name] = kind(**_known(kind, fields[name]))
            job = cls(**fields)
            job.check()
            return job
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            what = f"it has no {error}" if isinstance(error, KeyError) else str(error)
            raise SpecError(
                f"The accepted job cannot be read: {what}.",
                where="job.json",
                hint="Restore the file from a backup, or submit the spec again.",
            ) from error

    @classmethod
    def read(cls, path: Path) -> "Job":
        """Read a ``job.json``.

        Raises:
            SpecError: as :meth:`from_json`, or the file is not text.
            OSError: it cannot be read, or is not a regular file.
        """
        try:
            text = reading.read_text(path)
        except UnicodeDecodeError as error:
            raise SpecError(
                f"The accepted job cannot be read: {error}.",
                where=path,
                hint="Restore the file from a backup, or submit the spec again.",
            ) from error
        return cls.from_json(text)


_NESTED: Final[dict[str, Any]] = {
    "resources": Resources,
    "checkpoint": CheckpointPolicy,
    "retry": RetryPolicy,
    "limits": Limits,
    "source": Source,
    "new_code": NewCode,
    "extension": Extension,
    "grid": GridPoint,
    "fork": Fork,
}
_FIELDS: Final = tuple(Job.__dataclass_fields__)


def _known(kind: Any, value: dict[str, Any]) -> dict[str, Any]:
    names = {f.name for f in dataclasses.fields(kind)}
    return {key: item for key, item in value.items() if key in names}


def _check_types(value: Any, prefix: str) -> None:
    """Check the types of all fields.

    Raises:
        ValueError: a field has another type than its class declares.
    """
    for f in dataclasses.fields(value):
        item = getattr(value, f.name)
        if dataclasses.is_dataclass(item):
            _check_types(item, f"{prefix}{f.name}.")
        elif not _fits(item, f.type):
            # the values of `env` may be secrets
            shown = type(item).__name__ if f.name == "env" else repr(item)[:80]
            raise ValueError(f"`{prefix}{f.name}` cannot be {shown}")


def _fits(value: Any, kind: Any) -> bool:
    if isinstance(kind, types.UnionType):
        return any(_fits(value, one) for one in get_args(kind))
    if get_origin(kind) is list:
        return isinstance(value, list) and all(_fits(item, get_args(kind)[0]) for item in value)
    if get_origin(kind) is dict:
        return isinstance(value, dict) and all(
            _fits(part, one)
            for item in value.items()
            for part, one in zip(item, get_args(kind), strict=True)
        )
    if kind is types.NoneType:
        return value is None
    if kind is float:
        return (
            isinstance(value, int | float)
            and not isinstance(value, bool)
            and abs(value) < 2**63
            and math.isfinite(value)
        )
    if kind is int:
        return isinstance(value, int) and not isinstance(value, bool) and -(2**63) <= value < 2**63
    if kind is str:
        return isinstance(value, str) and "\0" not in value
    return isinstance(value, kind)


_RANGES: Final[Mapping[str, tuple[float, float]]] = {
    "seed": (0, 2**32 - 1),
    "priority": (-(10**9), 10**9),
    "submitted_at": (0, 2**40),
    "uid": (0, 2**32),
    "umask": (0, 0o777),
    "resources.gpus": (0, 1024),
    "resources.memory": (1, 2**63),
    "checkpoint.keep": (1, 10**6),
    "checkpoint.keep_files": (0, 2**63),
    "checkpoint.keep_ends": (0, 2**63),
    "checkpoint.every_epochs": (1, 2**53),
    "checkpoint.every_steps": (1, 2**53),
    "checkpoint.every_seconds": (0, 2**53),
    "checkpoint.prove_steps": (0, 10**6),
    "extension.attempt": (1, 2**31),
    "extension.stage": (0, 10**6),
    "extension.epochs": (1, 2**31),
    "extension.finished": (0, 2**31),
    "fork.stage": (0, 10**6),
    "fork.epoch": (0, 2**53),
    "fork.step": (0, 2**53),
    "grid.number": (1, 2**31),
    "grid.of": (1, 2**31),
    "retry.max_failures": (0, 10**6),
    "retry.backoff_min": (0, 2**53),
    "retry.backoff_max": (0, 2**53),
    "limits.stop_grace": (0, 2**53),
    "limits.hang_timeout": (0, 2**53),
    "limits.max_runtime": (0, 2**53),
}
_WORDS: Final[Mapping[str, tuple[str, ...]]] = {
    "checkpoint.mode": ("auto", "min", "max"),
    "checkpoint.non_finite": ("hold", "continue"),
    "checkpoint.on_difference": ("warn", "hold"),
}
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")


def _check_values(job: Job) -> None:
    """Check the values of all fields: an archive may hold a job that no spec could give.

    Raises:
        ValueError: a value is invalid.
    """
    for pattern, named in ((NAME, job.name), *((NAME_OR_ID, other) for other in job.after)):
        if not pattern.fullmatch(named) or ".." in named:
            raise ValueError(f"{named!r} is not a valid job name")
    for key, (low, high) in _RANGES.items():
        value = _at(job, key)
        if value is not None and not low <= value <= high:
            raise ValueError(f"`{key}` is {value}, and must be from {low:g} to {high:g}")
    for key, words in _WORDS.items():
        if _at(job, key) not in words:
            raise ValueError(f"`{key}` must be one of {', '.join(words)}")
    if job.limits.window is not None:
        quantities.window(job.limits.window)
    # it becomes a part of a path
    if job.source is not None and not _DIGEST.fullmatch(job.source.digest):
        raise ValueError(f"`source.digest` cannot be {job.source.digest!r}")
    for digest in (job.new_code.before, job.new_code.after) if job.new_code is not None else ():
        if not _DIGEST.fullmatch(digest):
            raise ValueError(f"`new_code` cannot name the digest {digest!r}")


def _at(job: Job, key: str) -> Any:
    value: Any = job
    for name in key.split("."):
        value = getattr(value, name) if value is not None else None
    return value
