"""Wait for the trainer's end, and check it once a second."""

import os
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from rekindle.jobs import heartbeat, stack_dump
from rekindle.jobs.journal_writer import Record, print_line
from rekindle.jobs.keeper.follow_watch import FollowWatch
from rekindle.jobs.keeper.hang_detector import LOOK_S, HangDetector
from rekindle.jobs.keeper.memory_limit import MemoryLimit
from rekindle.jobs.keeper.spawn import SIGNALS
from rekindle.jobs.keeper.termination import Termination, reap
from rekindle.state.paths import Run
from rekindle.state.run import entries

_DUMP_S: Final = 0.5
"""Wait for a dump of all stacks, which is written in C within milliseconds."""


@dataclass(frozen=True, slots=True)
class Look:
    """State of the trainer at one look, from which parts of the watch decide.

    Attributes:
        now: monotonic seconds.
        mark: a value that differs after each heartbeat.
        section: of the last heartbeat of this attempt, None without one.
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
        # a command may only touch the file
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
    """Build the part that journals training that is not saved."""

    def look(seen: Look) -> None:
        found = watch.look(trainer, seen.section)
        if found:
            message, hint = found
            print_line(f"{message} {hint}")
            record.add(**entries.warned(message=message, hint=hint, unfollowed=True))

    return look


def hold_memory(limit: MemoryLimit, termination: Termination) -> Part:
    """Build the part that kills a trainer above its limit if the kernel does not."""

    def look(seen: Look) -> None:
        limit.look()
        used = None if termination.over_memory else limit.exceeded(termination.pid)
        if used is not None:
            print_line(
                f"the trainer uses {used} bytes of memory; the limit is {limit.bytes}. Killing it."
            )
            termination.kill_for_memory()

    return look


def end_hung(run: Run, record: Record, detector: HangDetector, termination: Termination) -> Part:
    """Build the part that ends a trainer that hangs."""

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
        print_line(
            f"no heartbeat for {detector.silent:.0f} s in the section {detector.section}; "
            "dumping the stacks of all threads, then ending the trainer."
        )
        _show_stacks(termination.pid)
        termination.end_hung()

    return look


def _show_stacks(trainer: int) -> None:
    """Write the stacks of all threads into the log."""
    for line in stack_dump.kernel_view(trainer):
        print_line(line)
    if stack_dump.request(trainer):
        # a stopped process writes its stacks only after it continues; it may then save
        os.kill(trainer, signal.SIGCONT)
        time.sleep(_DUMP_S)
    else:
        print_line("the trainer has no handler for a dump of its stacks.")
