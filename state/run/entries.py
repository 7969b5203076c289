"""Declare the kinds of journal entries once, for writers and readers.

Each kind is a function whose keywords are the entry's fields: calling it makes an entry with the
given fields. Readers check the annotations, since the user's script can write the journal. An
entry whose fields have other types becomes one of the kind ``entry_not_understood``, which says
what was wrong.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from typing import Annotated, Any, Final, Generic, ParamSpec, get_args

Entry = dict[str, Any]
Check = Callable[[Any], bool]
Fields = ParamSpec("Fields")

MOST_ATTEMPTS: Final = 10**6
MOST_STEPS: Final = 2**53
"""Other JSON readers round larger numbers."""
_INT64: Final = 2**63


def _integer(low: int, high: int) -> Check:
    def check(value: Any) -> bool:
        return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high

    return check


def _number(value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return abs(value) < _INT64 if isinstance(value, int) else math.isfinite(value)


def _text(value: Any) -> bool:
    return isinstance(value, str)


def _flag(value: Any) -> bool:
    return isinstance(value, bool)


def _table(value: Any) -> bool:
    return isinstance(value, dict)


def _texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _numbers(value: Any) -> bool:
    return isinstance(value, dict) and all(_number(item) for item in value.values())


_attempt: Final = _integer(1, MOST_ATTEMPTS)
_whole: Final = _integer(0, MOST_STEPS)

Whole = Annotated[int, _whole]
Int64 = Annotated[int, _integer(-_INT64, _INT64 - 1)]
Signal = Annotated[int, _integer(0, 1024)]
Table = dict[str, Any]
Texts = list[str]
Numbers = dict[str, float]

_BY_TYPE: Final[dict[Any, Check]] = {
    str: _text,
    bool: _flag,
    float: _number,
    Table: _table,
    Texts: _texts,
    Numbers: _numbers,
}
LEFT_ON_REQUEST: Final = frozenset({"held", "failed", "cancelled", "done"})
"""States that a job leaves only on a person's request, which resets the counts of failures."""
EVERYWHERE: Final[dict[str, Check]] = {
    "t": _number,
    "attempt": _integer(0, MOST_ATTEMPTS),
    "stage": _whole,
    "epoch": _whole,
    "step": _whole,
    "message": _text,
    "hint": _text,
    "error": _text,
    "seconds": _number,
}
"""Checks for entries of all kinds, also those of a newer version."""


class Kind(Generic[Fields]):
    """A kind of journal entry; call it with its fields to make one.

    Attributes:
        name: the entry's ``kind``.
        fields: the names of all its fields.
        required: fields without which a reader rejects it, beside ``t``.
        checks: checks of a reader, by field.
    """

    def __init__(
        self,
        declared: Callable[Fields, None],
        required: tuple[str, ...],
        unchecked: tuple[str, ...],
    ) -> None:
        types = {k: v for k, v in declared.__annotations__.items() if k != "return"}
        self.name = declared.__name__
        self.fields = frozenset({*types, "attempt"})
        self.required = required
        self.checks = {
            field: check
            for field, annotation in types.items()
            if field not in unchecked and (check := _check_of(annotation)) is not None
        }
        if "attempt" in required:
            self.checks["attempt"] = _attempt

    def __call__(self, *none: Fields.args, **fields: Fields.kwargs) -> Entry:
        return {"kind": self.name, **fields}

    def among(self, entries: Iterable[Entry]) -> Iterator[Entry]:
        """Select the entries of this kind."""
        return (entry for entry in entries if entry["kind"] == self.name)


def _check_of(annotation: Any) -> Check | None:
    """Find the check of a field's type; None for an unchecked type."""
    if type(None) in get_args(annotation):
        # null is valid everywhere
        annotation = get_args(annotation)[0]
    metadata = getattr(annotation, "__metadata__", None)
    return metadata[0] if metadata else _BY_TYPE.get(annotation)


KINDS: Final[dict[str, Kind[...]]] = {}


def _kind(
    *required: str, unchecked: tuple[str, ...] = ()
) -> Callable[[Callable[Fields, None]], Kind[Fields]]:
    """Declare a kind of entry.

    Args:
        required: fields without which a reader rejects it.
        unchecked: fields that readers do not rely on.
    """

    def declare(function: Callable[Fields, None]) -> Kind[Fields]:
        kind = Kind(function, required, unchecked)
        KINDS[kind.name] = kind
        return kind

    return declare


def checked(entry: Entry) -> Entry:
    """Return the entry itself, or one that says why it is invalid."""
    wrong = _wrong(entry)
    if wrong is None:
        return entry
    attempt, at = entry.get("attempt"), entry.get("t")
    return {
        "v": 1,
        "t": at if _number(at) else 0.0,
        "kind": entry_not_understood.name,
        "attempt": attempt if _attempt(attempt) else None,
        "was": entry["kind"][:64],
        "error": wrong,
    }


def _wrong(entry: Entry) -> str | None:
    """Explain what is wrong with an entry; None if it is valid."""
    kind = KINDS.get(entry["kind"])
    required, checks = (kind.required, kind.checks) if kind else ((), {})
    for name in ("t", *required):
        if entry.get(name) is None:
            return f"it has no `{name}`"
    for name, value in entry.items():
        check = checks.get(name) or EVERYWHERE.get(name)
        if check is not None and value is not None and not check(value):
            return f"`{name}` is {value!r}"[:200]
    return None


# an attempt, by the keeper


@_kind("attempt", unchecked=("python", "argv"))
def attempt_started(
    *,
    keeper_pid: Int64 = ...,
    keeper_start: Int64 | None = ...,
    trainer_pid: Int64,
    trainer_start: Int64 | None = ...,
    boot_id: str = ...,
    gpus: Texts | None = ...,
    python: str,
    argv: Texts,
    spare: str | None = ...,
) -> None:
    """Record that the trainer was spawned, or that a script run by hand has opened its folder.

    Args:
        spare: why the warm spare that waited was not used; empty if it was, None if none waited.
    """


@_kind("attempt")
def attempt_ended(
    *,
    exit_code: Int64 | None,
    signal: Signal | None,
    cause: str,
    stop_requested: bool,
    killed_after_grace: bool = ...,
    memory_limit: Whole | None = ...,
    at_epoch: Whole | None = ...,
    at_step: Whole | None = ...,
    at_section: str | None = ...,
    longest: Numbers = ...,
    seconds: float,
    times: Numbers | None = ...,
) -> None:
    """Record that the trainer and all its descendants have ended."""


@_kind("attempt")
def hung(*, section: str, silent: float, limit: float, epoch: Whole, step: Whole) -> None:
    """Record that there was no heartbeat for too long."""


# an attempt, by the trainer; of a job that runs a command, by the keeper


@_kind("attempt", unchecked=("changed", "python", "packages", "machine", "code"))
def provenance(
    *, changed: Texts, python: str = ..., packages: Table = ..., machine: Table, code: Table
) -> None:
    """Record what the attempt runs on, and what changed since the last attempt."""


@_kind("attempt", "modules")
def imported(*, modules: Texts, ended: str) -> None:
    """Record the libraries that the script imports before anything else, and what ended the list.

    A warm spare imports them before its attempt begins.
    """


@_kind("attempt", unchecked=("inexact", "changed", "allowed", "unfollowed", "new_code", "forked"))
def resumed(
    *,
    stage: Whole,
    epoch: Whole,
    step: Whole,
    checkpoint: str | None,
    refused: list[dict[str, str]],
    lost_steps: Whole | None,
    lost_seconds: float = ...,
    restored: Texts = ...,
    inexact: Texts = ...,
    changed: Texts = ...,
    allowed: str | None = ...,
    new_code: Table | None = ...,
    unfollowed: Texts | None = ...,
    epochs: Whole | None = ...,
    steps_per_epoch: Whole | None = ...,
    differed_in: Whole | None = ...,
    forked: Table | None = ...,
    instead_of: Table | None = ...,
) -> None:
    """Record that a stage began or was resumed: the receipt.

    Args:
        instead_of: the newer checkpoint that was passed over, so that enough steps are repeated
            to be compared: `checkpoint`, `step`, and `compare`, the least number of these.
    """


@_kind("attempt", "stage", unchecked=("key", "entry", "way"))
def stage_begun(*, stage: Whole, key: Table, entry: Table, way: Table) -> None:
    """Record by which content a stage is found again, when it is entered for the first time."""


@_kind("attempt", "stage", "result")
def proved(
    *,
    stage: Whole,
    checkpoint: str | None,
    result: str,
    steps: Whole,
    of: Whole,
    epoch_start: bool,
    epoch_end: bool,
    digests: Whole,
    differs: Table | None = ...,
    cause: str | None = ...,
    why: str | None = ...,
    differed_in: Whole | None = ...,
    state: Texts = ...,
) -> None:
    """Record what the repeated steps of a stage have proved; a later entry replaces an earlier one.

    Fields: see :mod:`rekindle.state.run.proof`.
    """


@_kind("attempt", "epoch")
def epoch_ended(*, stage: Whole, epoch: Whole, step: Whole, seconds: float, logs: Table) -> None:
    """Record the end of an epoch."""


@_kind("attempt")
def stage_ended(*, stage: Whole, epoch: Whole, step: Whole) -> None:
    """Record the end of a call of ``fit`` or of a loop."""


@_kind("attempt", "name", "epoch", "step", unchecked=("why", "logs"))
def checkpoint_committed(
    *,
    name: str,
    stage: Whole,
    epoch: Whole,
    step: Whole,
    end: bool = ...,
    bytes: Whole,  # noqa: A002 - the field's name
    why: str = ...,
    seconds: float = ...,
    best: bool,
    logs: Table = ...,
    delay: float | None = ...,
) -> None:
    """Record that a checkpoint is complete on disk.

    Args:
        seconds: from the beginning of the save until then.
        delay: seconds by which a save delayed the training, as measured until then: later
            attempts space their first saves by it.
    """


@_kind("attempt", "names")
def files_put_back(*, stage: Whole, names: Texts) -> None:
    """Record files of the script that were another and were put back as of a checkpoint."""


@_kind()
def save_failed(*, error: str, epoch: Whole, step: Whole) -> None:
    """Record that a checkpoint could not be written; training continues."""


@_kind(unchecked=("unfollowed",))
def warned(*, message: str, hint: str, unfollowed: bool = ...) -> None:
    """Record a warning; ``unfollowed`` where training is not saved."""


@_kind("attempt")
def appended(*, file: str) -> None:
    """Record that the script has appended to a file outside of its trainings."""


@_kind("attempt", "stage")
def wrote(*, stage: Whole, file: str) -> None:
    """Record a file that the script wrote after a stage that only its order tells from others."""


@_kind("attempt")
def failed(
    *,
    error_type: str,
    message: str,
    hint: str = ...,
    traceback: str,
    epoch: Whole,
    step: Whole,
    trained: bool = ...,
    within: bool = ...,
    at: str = ...,
    passing: bool = ...,
) -> None:
    """Record the exception, or the error of rekindle, that ended the attempt."""


@_kind("attempt")
def stop_received() -> None:
    """Record that the script's own handler received SIGTERM."""


# checkpoints, by whoever finds or removes them


@_kind("name")
def checkpoint_refused(*, name: str, reason: str, quarantined_to: str) -> None:
    """Record that a checkpoint was quarantined."""


@_kind("name")
def checkpoint_pruned(*, name: str) -> None:
    """Record that a checkpoint was pruned."""


@_kind("name")
def weights_dropped(*, name: str, left: Whole, freed: Whole) -> None:
    """Record that the weights in the end of a stage were dropped: the next stage began with them.

    Args:
        left, freed: bytes of what is left, and of what was removed.
    """


@_kind("name")
def quarantine_pruned(*, name: str) -> None:
    """Record that a quarantined checkpoint was removed."""


# decisions, by the daemon


@_kind()
def scratch_requested() -> None:
    """Record that the next attempt starts from scratch: earlier checkpoints are moved away."""


@_kind("at", "state", "was")
def state_changed(
    *,
    at: float,
    state: str,
    was: str,
    reason: str,
    hint: str,
    next_at: float | None,
    failures: Whole,
    wish: str | None,
) -> None:
    """Record a state transition of the job."""


@_kind()
def job_changed(
    *, wish: str | None = ..., priority: Int64 = ..., reason: str = ..., asked_by: str | None = ...
) -> None:
    """Record a change of the job by a person."""


@_kind("attempt", unchecked=("unfollowed",))
def attempt_changed(
    *,
    outcome: str | None = ...,
    cause: str | None = ...,
    started_at: float = ...,
    ended_at: float | None = ...,
    exit_code: Int64 | None = ...,
    signal: Int64 | None = ...,
    keeper_pid: Int64 | None = ...,
    keeper_start: Int64 | None = ...,
    trainer_pid: Int64 | None = ...,
    trainer_start: Int64 | None = ...,
    boot_id: str | None = ...,
    from_epoch: Whole | None = ...,
    from_step: Whole | None = ...,
    to_epoch: Whole | None = ...,
    to_step: Whole | None = ...,
    lost_steps: Whole | None = ...,
    receipt: Table | None = ...,
    failure: Table | None = ...,
    provenance: Table | None = ...,
    gpus: Texts | None = ...,
    seconds: float | None = ...,
    unfollowed: Texts | None = ...,
    times: Numbers | None = ...,
) -> None:
    """Record the daemon's verdict on an attempt: columns of its row in the ledger."""


@_kind("before", "after", "runs_from")
def code_replaced(
    *,
    message: str,
    runs_from: Whole,
    before: str,
    after: str,
    changed: Texts,
    added: Texts,
    removed: Texts,
    changed_count: Whole,
    added_count: Whole,
    removed_count: Whole,
) -> None:
    """Record that a person let a job run newer code, from the attempt ``runs_from`` on."""


@_kind()
def entry_not_understood(*, was: str, error: str) -> None:
    """Record an entry whose fields have other types than its kind declares."""


INHERITED: Final = (provenance, stage_begun, epoch_ended, stage_ended, checkpoint_committed)
"""Kinds that a forked job has of the job that it began from, as of attempt 0."""
for _one in INHERITED:
    _one.checks["attempt"] = _integer(0, MOST_ATTEMPTS)
