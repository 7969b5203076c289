"""Check the types of journal entries where they are read, so that each reader can trust them.

The journal lies where the user's script can write. An entry whose fields have other types than its
writer gives them becomes one of the kind :data:`NOT_UNDERSTOOD`, which says what was wrong.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any, Final

NOT_UNDERSTOOD: Final = "entry_not_understood"
MOST_ATTEMPTS: Final = 10**6
MOST_STEPS: Final = 2**53
"""Beyond it JSON readers elsewhere round."""
_INT64: Final = 2**63

Check = Callable[[Any], bool]


def checked(entry: dict[str, Any]) -> dict[str, Any]:
    """The entry itself, or one that says why it is not believed."""
    wrong = _wrong(entry)
    if wrong is None:
        return entry
    attempt, at = entry.get("attempt"), entry.get("t")
    return {
        "v": 1,
        "t": at if _number(at) else 0.0,
        "kind": NOT_UNDERSTOOD,
        "attempt": attempt if _attempt(attempt) else None,
        "was": entry["kind"][:64],
        "error": wrong,
    }


def _wrong(entry: dict[str, Any]) -> str | None:
    """What is wrong with an entry, in words; None for nothing."""
    required, known = _KINDS.get(entry["kind"], ((), {}))
    for name in ("t", *required):
        if entry.get(name) is None:
            return f"it has no `{name}`"
    for name, value in entry.items():
        check = known.get(name) or _EVERYWHERE.get(name)
        if check is not None and value is not None and not check(value):
            return f"`{name}` is {value!r}"[:200]
    return None


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
_int64: Final = _integer(-_INT64, _INT64 - 1)

_EVERYWHERE: Final[Mapping[str, Check]] = {
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
_PROCESSES: Final[Mapping[str, Check]] = {
    "keeper_pid": _int64,
    "keeper_start": _int64,
    "trainer_pid": _int64,
    "trainer_start": _int64,
    "boot_id": _text,
    "gpus": _texts,
}
_KINDS: Final[Mapping[str, tuple[tuple[str, ...], Mapping[str, Check]]]] = {
    "attempt_started": (("attempt",), {"attempt": _attempt, **_PROCESSES}),
    "attempt_ended": (
        ("attempt",),
        {
            "attempt": _attempt,
            "exit_code": _int64,
            "signal": _integer(0, 1024),
            "cause": _text,
            "stop_requested": _flag,
            "killed_after_grace": _flag,
            "memory_limit": _whole,
            "at_epoch": _whole,
            "at_step": _whole,
            "at_section": _text,
            "longest": _numbers,
        },
    ),
    "resumed": (
        ("attempt",),
        {
            "attempt": _attempt,
            "checkpoint": _text,
            "lost_steps": _whole,
            "lost_seconds": _number,
            "restored": _texts,
            "epochs": _whole,
        },
    ),
    "stage_ended": (("attempt",), {"attempt": _attempt}),
    "stop_received": (("attempt",), {"attempt": _attempt}),
    "epoch_ended": (("attempt", "epoch"), {"attempt": _attempt, "logs": _table}),
    "checkpoint_committed": (
        ("attempt", "name", "epoch", "step"),
        {"attempt": _attempt, "name": _text, "bytes": _whole, "best": _flag, "end": _flag},
    ),
    "checkpoint_refused": (("name",), {"name": _text, "reason": _text, "quarantined_to": _text}),
    "checkpoint_pruned": (("name",), {"name": _text}),
    "quarantine_pruned": (("name",), {"name": _text}),
    "provenance": (("attempt",), {"attempt": _attempt}),
    "failed": (
        ("attempt",),
        {
            "attempt": _attempt,
            "error_type": _text,
            "traceback": _text,
            "trained": _flag,
            "within": _flag,
            "at": _text,
            "passing": _flag,
        },
    ),
    "hung": (
        ("attempt",),
        {"attempt": _attempt, "section": _text, "silent": _number, "limit": _number},
    ),
    "state_changed": (
        ("at", "state", "was"),
        {
            "at": _number,
            "state": _text,
            "was": _text,
            "reason": _text,
            "next_at": _number,
            "failures": _whole,
            "wish": _text,
        },
    ),
    NOT_UNDERSTOOD: ((), {"was": _text}),
    "job_changed": ((), {"wish": _text, "priority": _int64}),
    "attempt_changed": (
        ("attempt",),
        {
            "attempt": _attempt,
            "outcome": _text,
            "cause": _text,
            "started_at": _number,
            "ended_at": _number,
            "exit_code": _int64,
            "signal": _int64,
            "from_epoch": _whole,
            "from_step": _whole,
            "to_epoch": _whole,
            "to_step": _whole,
            "lost_steps": _whole,
            "receipt": _table,
            "failure": _table,
            "provenance": _table,
            **_PROCESSES,
        },
    ),
}
