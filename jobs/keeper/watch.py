"""Wait for the trainer's end, and look once a second at what it does."""

import os
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from rekindle.jobs import heartbeat, stack_dump
from rekindle.jobs.journal_writer import Record, say
from rekindle.jobs.keeper.follow_watch import FollowWatch
from rekindle.jobs.keeper.hang_detector import LOOK_S, HangDetector
from rekindle.jobs.keeper.memory_limit import MemoryLimit
from rekindle.jobs.keeper.spawn import SIGNALS
from rekindle.jobs.keeper.termination import Termination, reap
from rekindle.state.paths import Run
from rekindle.state.run import entries

_DUMP_S: Final = 0.5
"""A dump of all stacks is written in C and takes milliseconds."""


@dataclass(frozen=True, slots=True)
class Look:
    """What a part of the watch decides by.

    Attributes:
        now: monotonic seconds.
        mark: another value after each heartbeat.
        section: of the last heartbeat of this attempt, None where there is none.
    """

    now: float
    mark: object
    section: str | None


Part = Callable[[Look], object]
"""Called once a second; it may begin a termination."""


def take_look(run: Run, attempt: int) -> Look:
    """Read the heartbeat file."""
    now = time.monotonic()
    try:
        # a command may just touch the file
        touched = run.heartbeat.stat().st_mtime_ns
    except OSError:
        return Look(now, None, None)
    beat = heartbeat.read(run.heartbeat)
    ours = beat is not None and beat.attempt == attempt
    return Look(now, (touched, beat), beat.section if beat is not None and ours else None)


def wait(termination: Termination, look: Callable[[], Look], parts: Sequence[Part]) -> int:
    """Wait until the trainer has ended; return its status as Popen gives it."""
    look_at = time.monotonic() + LOOK_S
    while True:
        status = reap(termination.pid)
        if status is not None:
            return status
        now = time.monotonic()
        if termination.enforce(now):
            continue
        if now >= look_at:
            look_at = now + LOOK_S
            seen = look()
            for part in parts:
                part(seen)
        until = termination.before(look_at)
        received = signal.sigtimedwait(SIGNALS, max(until - time.monotonic(), 0.0))
        if received is not None and received.si_signo != signal.SIGCHLD:
            termination.stop()


def report_unfollowed(record: Record, watch: FollowWatch, trainer: int) -> Part:
    """Make the part that journals training of which nothing is saved."""

    def look(seen: Look) -> None:
        found = watch.look(trainer, seen.section)
        if found:
            message, hint = found
            say(f"{message} {hint}")
            record.add(**entries.warned(message=message, hint=hint, unfollowed=True))

    return look


def hold_memory(limit: MemoryLimit, termination: Termination) -> Part:
    """Make the part that kills a trainer above its limit where the kernel does not."""

    def look(seen: Look) -> None:
        limit.look()
        used = None if termination.over_memory else limit.exceeded(termination.pid)
        if used is not None:
            say(f"it uses {used} bytes of memory of the {limit.bytes} it may; it is killed.")
            termination.kill_for_memory()

    return look


def end_hung(run: Run, record: Record, detector: HangDetector, termination: Termination) -> Part:
    """Make the part that ends a trainer that does not move."""

    def look(seen: Look) -> None:
        if termination.has_begun or not detector.look(seen.mark, seen.section, seen.now):
            return
        beat = heartbeat.read(run.heartbeat)
        record.add(
            **entries.hung(
                section=detector.section,
                silent=round(detector.silent, 1),
                limit=round(detector.limit(), 1),
                epoch=beat.epoch if beat else 0,
                step=beat.step if beat else 0,
            )
        )
        say(
            f"no heartbeat for {detector.silent:.0f} s in the section "
            f"{detector.section}; all its threads follow, then it is ended."
        )
        _show_stacks(termination.pid)
        termination.end_hung()

    return look


def _show_stacks(trainer: int) -> None:
    """Write into the log where every thread stands."""
    for line in stack_dump.seen_by_the_kernel(trainer):
        say(line)
    if stack_dump.ask(trainer):
        # a process that was stopped by a signal answers once it goes on; it may then save
        os.kill(trainer, signal.SIGCONT)
        time.sleep(_DUMP_S)
    else:
        say("it has no handler for a dump of its stacks.")
