"""How an attempt ended, read from a run's journal: plain facts for the verdict."""

import re
import signal
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

COUNTED: Final = ("hang", "host_oom", "gpu_oom", "disk_full")
"""Causes that are not the script's fault alone, each with a count of its own."""

_NATIVE: Final = {signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGILL}
_NO_MEMORY: Final = re.compile(r"OOM when allocating|out of memory|CUDA_ERROR_OUT_OF_MEMORY",
                               re.IGNORECASE)
_OF_THE_GPU: Final = re.compile(r"GPU|CUDA", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Failure:
    """What ended the script: an exception as its trainer reported it, or a fault's signal with
    the place of the last heartbeat.

    Attributes:
        kind: the exception's type, or the signal's name.
    """

    kind: str
    message: str
    hint: str
    epoch: int
    step: int
    trained: bool


@dataclass(frozen=True, slots=True)
class Ending:
    """One ended attempt.

    Attributes:
        cause: done, preempted, permanent, crash, hang, host_oom as the keeper saw it, gpu_oom
            and disk_full as the exception tells; ``lost`` where the keeper could not tell any
            more.
        same_before: earlier attempts that ended by the same one of :data:`COUNTED` causes since
            the last progress or the last request of a person.
        where: section of the training that hung, with the seconds it was silent.
        progressed: a checkpoint beyond the point of departure was committed.
        failure: the exception that ended the script, where it was reported.
        previous: the failure of the attempt before, if that one failed too.
        boot_id: the boot in which the attempt was started, None where it was not.
    """

    attempt: int
    cause: str
    exit_code: int | None
    signal: int | None
    started: bool
    stop_requested: bool
    killed_after_grace: bool
    progressed: bool
    failure: Failure | None
    previous: Failure | None
    boot_id: str | None
    same_before: int = 0
    where: str = ""
    memory_limit: int | None = None


def read(entries: Iterable[dict[str, Any]], attempt: int) -> Ending:
    """Collects the facts about ``attempt`` from all journal entries of its run."""
    end: dict[str, Any] = {}
    hung: dict[str, Any] = {}
    boot: str | None = None
    started = False
    departed = -1
    progressed = False
    failures: dict[int, Failure] = {}
    counts = dict.fromkeys(COUNTED, 0)
    for entry in entries:
        kind, number = entry["kind"], entry.get("attempt")
        if kind == "failed" and isinstance(number, int):
            failures[number] = _reported(entry)
        elif kind == "attempt_started":
            departed = -1
        elif kind == "resumed" and departed < 0:
            departed = _whole(entry.get("step"))
        elif kind == "checkpoint_committed" and _whole(entry.get("step")) > max(departed, 0):
            progressed = progressed or number == attempt
            # what went on by itself until here needs no patience used up
            counts = dict.fromkeys(COUNTED, 0)
        elif kind == "state_changed" and entry.get("was") in _ASKED_FOR:
            counts = dict.fromkeys(COUNTED, 0)
        elif kind == "attempt_ended" and isinstance(number, int):
            native = _native(entry, departed)
            if native is not None:
                failures.setdefault(number, native)
            cause = _cause(str(entry.get("cause")), failures.get(number))
            if number != attempt and cause in counts:
                counts[cause] += 1
        if number != attempt:
            continue
        if kind == "attempt_started":
            started, boot = True, entry.get("boot_id")
        elif kind == "attempt_ended":
            end = entry
        elif kind == "hung":
            hung = entry
    cause = _cause(str(end.get("cause", "lost")), failures.get(attempt))
    return Ending(
        attempt=attempt,
        cause=cause,
        exit_code=end.get("exit_code"),
        signal=end.get("signal"),
        started=started,
        stop_requested=bool(end.get("stop_requested")),
        killed_after_grace=bool(end.get("killed_after_grace")),
        progressed=progressed,
        failure=failures.get(attempt),
        previous=failures.get(attempt - 1),
        boot_id=boot,
        same_before=counts.get(cause, 0),
        where=f"{hung.get('section')} ({hung.get('silent')} s)" if hung else "",
        memory_limit=end.get("memory_limit"),
    )


_ASKED_FOR: Final = {"held", "failed", "cancelled", "done"}
"""States that only a person leaves: patience begins anew."""


def _reported(entry: dict[str, Any]) -> Failure:
    return Failure(
        str(entry.get("error_type")),
        str(entry.get("message")),
        str(entry.get("hint") or ""),
        _whole(entry.get("epoch")),
        _whole(entry.get("step")),
        bool(entry.get("trained")),
    )


def _native(entry: dict[str, Any], departed: int) -> Failure | None:
    """A fault in native code reports nothing, but its last heartbeat tells the batch."""
    number, step = entry.get("signal"), entry.get("at_step")
    if not isinstance(number, int) or number not in _NATIVE or not isinstance(step, int):
        return None
    return Failure(signal.Signals(number).name, "", "", _whole(entry.get("at_epoch")), step,
                   trained=step > max(departed, 0))


def _cause(cause: str, failure: Failure | None) -> str:
    """Memory and disk are told from a mistake by the exception that they raise."""
    if cause != "crash" or failure is None:
        return cause
    if failure.kind == "ResourceExhaustedError" or _NO_MEMORY.search(failure.message):
        return "gpu_oom" if _OF_THE_GPU.search(failure.message) else "host_oom"
    if failure.kind == "MemoryError":
        return "host_oom"
    if "[Errno 28]" in failure.message or "No space left on device" in failure.message:
        return "disk_full"
    return cause


def _whole(value: object) -> int:
    # the journal lies where the user's script can write
    return value if isinstance(value, int) else 0
