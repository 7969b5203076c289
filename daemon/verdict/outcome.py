"""Read from a run's journal how an attempt ended: the facts for its verdict."""

import re
import signal
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from rekindle.jobs.environment import EXIT_SAVED
from rekindle.jobs.heartbeat import ENDED
from rekindle.state.run import proof
from rekindle.state.run.entries import LEFT_ON_REQUEST

COUNTED: Final = ("hang", "host_oom", "gpu_oom", "disk_full", "interrupted")
"""Causes that are not only the script's fault; each has its own count."""

_NATIVE: Final = {signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGILL}
_NO_MEMORY: Final = re.compile(
    r"OOM when allocating|out of memory|CUDA_ERROR_OUT_OF_MEMORY", re.IGNORECASE
)
_OF_THE_GPU: Final = re.compile(r"GPU|CUDA", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Failure:
    """Describe what ended the script.

    It is an exception that the trainer reported, or the signal of a fault in native code with
    the position of the last heartbeat.

    Attributes:
        kind: the exception's type, or the signal's name.
        in_stage: it was raised in a stage; False for code of the script outside its stages.
        at: ``FILE:LINE`` of the script's own code; empty if it is not known.
        transient: the error may disappear by itself (a network, a server), so it is retried.
    """

    kind: str
    message: str
    hint: str
    epoch: int
    step: int
    trained: bool
    in_stage: bool = True
    at: str = ""
    transient: bool = False


@dataclass(frozen=True, slots=True)
class Place:
    """State where an attempt left an unfinished stage; ``epoch`` is 1-based."""

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
        cause: done, preempted, permanent, crash, hang or host_oom as the keeper recorded it;
            gpu_oom or disk_full by the exception; ``lost`` if the keeper recorded no end,
            ``interrupted`` if it was killed together with the daemon.
        same_before: earlier attempts that ended by the same one of :data:`COUNTED` causes since
            the last progress or the last request of a person.
        where: section of the training that hung, with the seconds without a heartbeat.
        progressed: a checkpoint beyond the restored one was committed.
        unfinished: where the script left a stage that this attempt had begun, else None.
        finished: count of the trained stages if the latest begun stage has ended; else 0.
        model: name of the checkpoint that holds the model of the latest ended stage, or empty.
        restarted: an earlier attempt had begun a stage, so the script has passed its start before.
        command: it is a command, whose training is not followed.
        failure: the exception that ended the script, if it was reported.
        previous: the failure of the previous attempt, if that one failed too.
        boot_id: the boot in which the attempt was started, None if it was not started.
        unfollowed: the report of training that is not saved; empty for none.
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
        interrupted: daemon, keeper and trainer were apparently killed together.
    """
    end: dict[str, Any] = {}
    hung: dict[str, Any] = {}
    boot: str | None = None
    unfollowed = ""
    started = False
    restored = known = -1
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
            restored = known = -1
        elif kind == "resumed" and restored < 0:
            restored = _whole(entry.get("step"))
            # up to a checkpoint that was passed over, all was saved before
            passed = proof.newer(entry)
            known = restored if passed is None else max(restored, passed[1])
        elif kind == "checkpoint_committed" and _whole(entry.get("step")) > max(known, 0):
            progressed = progressed or number == attempt
            # progress resets the counts
            counts = dict.fromkeys(COUNTED, 0)
        elif kind == "state_changed" and entry.get("was") in LEFT_ON_REQUEST:
            counts = dict.fromkeys(COUNTED, 0)
        elif kind == "attempt_ended" and isinstance(number, int):
            native = _native(entry, restored)
            if native is not None:
                failures.setdefault(number, native)
            cause = _cause(entry, failures.get(number))
            if number != attempt and cause in counts:
                counts[cause] += 1
        elif (
            kind == "attempt_changed" and entry.get("cause") == "interrupted" and number != attempt
        ):
            # the keeper was killed too and recorded no end
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
    """Track which stages of a run were begun and ended, entry by entry."""

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
        """Process the next entry of the journal."""
        kind, stage = entry["kind"], _whole(entry.get("stage"))
        ours = entry.get("attempt") == self._attempt
        if kind == "scratch_requested":
            self._begun, self._ended, self.restarted = set(), set(), False
        elif kind == "resumed" and "restored" not in entry:
            # the keeper's receipt for a command, whose stages are not known
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
        """Number of stages if the latest has ended; an exception may have left an earlier one."""
        return len(self._begun) if max(self._begun, default=-1) in self._ended else 0

    def unfinished(self, end: dict[str, Any]) -> Place | None:
        """Find where the attempt left its latest unfinished stage."""
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


def _reported(entry: dict[str, Any]) -> Failure:
    return Failure(
        str(entry.get("error_type")),
        str(entry.get("message")),
        str(entry.get("hint") or ""),
        _whole(entry.get("epoch")),
        _whole(entry.get("step")),
        bool(entry.get("trained")),
        in_stage=entry.get("within") is not False,  # older trainers do not write it
        at=str(entry.get("at") or ""),
        transient=bool(entry.get("passing")),
    )


def _native(entry: dict[str, Any], restored: int) -> Failure | None:
    """Describe a fault in native code, which reports nothing, by the last heartbeat's batch."""
    number, step = entry.get("signal"), entry.get("at_step")
    if not isinstance(number, int) or number not in _NATIVE or not isinstance(step, int):
        return None
    return Failure(
        signal.Signals(number).name,
        "",
        "",
        _whole(entry.get("at_epoch")),
        step,
        trained=step > max(restored, 0),
    )


def _cause(
    end: dict[str, Any],
    failure: Failure | None,
    *,
    progressed: bool = True,
    received: bool = False,
    cut_off: bool = False,
) -> str:
    """Refine the keeper's cause by the journal.

    Args:
        progressed: the attempt has committed a checkpoint.
        received: a handler of the script received SIGTERM, whoever sent it.
        cut_off: the script ended inside a stage, or did not reach its end.
    """
    cause, code = str(end.get("cause", "lost")), end.get("exit_code")
    asked = bool(end.get("stop_requested"))
    # an end without our request and without progress must be counted: it would repeat for ever
    excused = asked or (received and progressed)
    if cause == "done" and cut_off and (asked or received):
        # a handler of the script exits with code 0 on SIGTERM
        return "preempted" if excused else "crash"
    if cause == "preempted" and code == EXIT_SAVED and not (asked or progressed):
        return "crash"
    if cause != "crash":
        return cause
    if failure is not None:
        # the exception distinguishes memory and disk from a mistake of the script
        if failure.kind == "ResourceExhaustedError" or _NO_MEMORY.search(failure.message):
            return "gpu_oom" if _OF_THE_GPU.search(failure.message) else "host_oom"
        if failure.kind == "MemoryError":
            return "host_oom"
        if "[Errno 28]" in failure.message or "No space left on device" in failure.message:
            return "disk_full"
    # after a request any exit code is accepted: the checkpoints count
    return "preempted" if excused else cause


def _whole(value: object) -> int:
    # the user's script can write to the journal: any value is possible
    return value if isinstance(value, int) else 0
