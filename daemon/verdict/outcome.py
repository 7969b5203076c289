"""Read from a run's journal how an attempt ended: plain facts for the verdict."""

import re
import signal
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from rekindle.jobs.environment import EXIT_SAVED
from rekindle.jobs.heartbeat import ENDED

COUNTED: Final = ("hang", "host_oom", "gpu_oom", "disk_full", "interrupted")
"""Causes that are not the script's fault alone, each with a count of its own."""

_NATIVE: Final = {signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGILL}
_NO_MEMORY: Final = re.compile(
    r"OOM when allocating|out of memory|CUDA_ERROR_OUT_OF_MEMORY", re.IGNORECASE
)
_OF_THE_GPU: Final = re.compile(r"GPU|CUDA", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Failure:
    """Describe what ended the script.

    It is an exception as the trainer reported it, or the signal of a fault in native code, with
    the place of the last heartbeat.

    Attributes:
        kind: the exception's type, or the signal's name.
        within: it came out of a stage; False for code of the script around its stages.
        at: ``FILE:LINE`` of the script's own code; empty where it is not known.
        passing: its kind may go away by itself (a network, a server), so another try is worth it.
    """

    kind: str
    message: str
    hint: str
    epoch: int
    step: int
    trained: bool
    within: bool = True
    at: str = ""
    passing: bool = False


@dataclass(frozen=True, slots=True)
class Place:
    """Say where an attempt left a stage that it had not ended; ``epoch`` is 1-based."""

    epoch: int
    epochs: int | None
    step: int

    def __str__(self) -> str:
        of = "" if self.epochs is None else f" of {self.epochs}"
        return f"epoch {self.epoch}{of}, step {self.step}"


@dataclass(frozen=True, slots=True)
class Ending:
    """Describe an ended attempt.

    Attributes:
        cause: done, preempted, permanent, crash, hang, host_oom as the keeper saw it, gpu_oom
            and disk_full as the exception tells; ``lost`` where the keeper could not tell any
            more, ``interrupted`` where it was killed together with the daemon.
        same_before: earlier attempts that ended by the same one of :data:`COUNTED` causes since
            the last progress or the last request of a person.
        where: section of the training that hung, with the seconds it was silent.
        progressed: a checkpoint beyond the point of departure was committed.
        unfinished: where the script left a stage that this attempt had begun, None for nowhere.
        finished: stages that were trained, where the latest that was ever begun has ended; else 0.
        model: name of the checkpoint that holds the model of the latest ended stage, or empty.
        restarted: an earlier attempt had begun a stage, so the script has passed its start before.
        command: it is a command, whose training is not followed.
        failure: the exception that ended the script, where it was reported.
        previous: the failure of the attempt before, if that one failed too.
        boot_id: the boot in which the attempt was started, None where it was not.
        unfollowed: what the attempt reported of training that is not saved; empty for nothing.
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
    unfinished: Place | None = None
    finished: int = 0
    model: str = ""
    restarted: bool = False
    command: bool = False
    unfollowed: str = ""


def read(entries: Iterable[dict[str, Any]], attempt: int, *, interrupted: bool = False) -> Ending:
    """Collect the facts about ``attempt`` from all journal entries of its run.

    Args:
        interrupted: daemon, keeper and trainer were killed together, as far as can be seen.
    """
    end: dict[str, Any] = {}
    hung: dict[str, Any] = {}
    boot: str | None = None
    unfollowed = ""
    started = False
    departed = -1
    progressed = False
    stages = _Stages(attempt)
    failures: dict[int, Failure] = {}
    counts = dict.fromkeys(COUNTED, 0)
    for entry in entries:
        kind, number = entry["kind"], entry.get("attempt")
        stages.take(entry)
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
            cause = _cause(entry, failures.get(number))
            if number != attempt and cause in counts:
                counts[cause] += 1
        elif (
            kind == "attempt_changed" and entry.get("cause") == "interrupted" and number != attempt
        ):
            # no keeper was left to write that end
            counts["interrupted"] += 1
        if number != attempt:
            continue
        if kind == "attempt_started":
            started, boot = True, entry.get("boot_id")
        elif kind == "attempt_ended":
            end = entry
        elif kind == "hung":
            hung = entry
        elif kind == "warned" and entry.get("unfollowed") is True:
            unfollowed = str(entry.get("message"))
    unfinished = stages.unfinished(end)
    cause = _cause(
        end,
        failures.get(attempt),
        progressed=progressed,
        received=stages.received,
        cut_off=not stages.command
        and (unfinished is not None or end.get("at_section", ENDED) != ENDED),
    )
    if interrupted and started and not end:
        cause = "interrupted"
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
        unfinished=unfinished,
        finished=stages.finished,
        model=stages.model,
        restarted=stages.restarted,
        command=stages.command,
        unfollowed=unfollowed,
    )


class _Stages:
    """Follow which stages of a run were begun and ended, entry by entry."""

    def __init__(self, attempt: int) -> None:
        self._attempt = attempt
        self._begun: set[int] = set()
        self._ended: set[int] = set()
        self._open: dict[int, dict[str, Any]] = {}
        self.model = ""
        self.restarted = False
        self.received = False
        self.command = False

    def take(self, entry: dict[str, Any]) -> None:
        """Take the next entry of the journal."""
        kind, stage = entry["kind"], _whole(entry.get("stage"))
        ours = entry.get("attempt") == self._attempt
        if kind == "scratch_requested":
            self._begun, self._ended, self.restarted = set(), set(), False
        elif kind == "resumed" and "restored" not in entry:
            # the keeper's receipt for a command: nobody knows its stages
            self.command = self.command or ours
        elif kind == "resumed":
            self._begun.add(stage)
            self._ended.discard(stage)
            self.restarted = self.restarted or not ours
            if ours:
                self._open[stage] = entry
        elif kind == "stage_ended":
            self._ended.add(stage)
            if ours:
                self._open.pop(stage, None)
        elif kind == "stop_received":
            self.received = self.received or ours
        elif kind == "checkpoint_committed" and entry.get("end"):
            self.model = str(entry.get("name"))

    @property
    def finished(self) -> int:
        """Count the stages where the latest has ended; exceptions may have left earlier ones."""
        return len(self._begun) if max(self._begun, default=-1) in self._ended else 0

    def unfinished(self, end: dict[str, Any]) -> Place | None:
        """Find where the attempt left its latest stage that it did not end."""
        if not self._open:
            return None
        receipt = self._open[max(self._open)]
        epochs = receipt.get("epochs")
        epoch = _whole(end.get("at_epoch", receipt.get("epoch"))) + 1
        if isinstance(epochs, int):
            epoch = min(epoch, epochs)
        return Place(
            epoch,
            epochs if isinstance(epochs, int) else None,
            _whole(end.get("at_step", receipt.get("step"))),
        )


_ASKED_FOR: Final = {"held", "failed", "cancelled", "done"}
"""States that only a person leaves: what was counted before counts no more."""


def _reported(entry: dict[str, Any]) -> Failure:
    return Failure(
        str(entry.get("error_type")),
        str(entry.get("message")),
        str(entry.get("hint") or ""),
        _whole(entry.get("epoch")),
        _whole(entry.get("step")),
        bool(entry.get("trained")),
        within=entry.get("within") is not False,  # older trainers do not say
        at=str(entry.get("at") or ""),
        passing=bool(entry.get("passing")),
    )


def _native(entry: dict[str, Any], departed: int) -> Failure | None:
    """Describe a fault in native code: it reports nothing, but a heartbeat tells the batch."""
    number, step = entry.get("signal"), entry.get("at_step")
    if not isinstance(number, int) or number not in _NATIVE or not isinstance(step, int):
        return None
    return Failure(
        signal.Signals(number).name,
        "",
        "",
        _whole(entry.get("at_epoch")),
        step,
        trained=step > max(departed, 0),
    )


def _cause(
    end: dict[str, Any],
    failure: Failure | None,
    *,
    progressed: bool = True,
    received: bool = False,
    cut_off: bool = False,
) -> str:
    """Refine the keeper's cause by what the journal tells.

    Args:
        progressed: the attempt has committed a checkpoint.
        received: SIGTERM came to a handler of the script's own, whoever sent it.
        cut_off: the script was left within a stage, or did not come to its end.
    """
    cause, code = str(end.get("cause", "lost")), end.get("exit_code")
    asked = bool(end.get("stop_requested"))
    # what nobody of ours asked for, and what saved nothing, would spin for ever without a count
    excused = asked or (received and progressed)
    if cause == "done" and cut_off and (asked or received):
        # a handler of the script's own took SIGTERM for a good end
        return "preempted" if excused else "crash"
    if cause == "preempted" and code == EXIT_SAVED and not (asked or progressed):
        return "crash"
    if cause != "crash":
        return cause
    if failure is not None:
        # the exception tells memory and disk from a mistake of the script
        if failure.kind == "ResourceExhaustedError" or _NO_MEMORY.search(failure.message):
            return "gpu_oom" if _OF_THE_GPU.search(failure.message) else "host_oom"
        if failure.kind == "MemoryError":
            return "host_oom"
        if "[Errno 28]" in failure.message or "No space left on device" in failure.message:
            return "disk_full"
    # however it took the request: the checkpoints count, and it is no failure of its own
    return "preempted" if excused else cause


def _whole(value: object) -> int:
    # the journal lies where the user's script can write
    return value if isinstance(value, int) else 0
