"""SIGTERM within a step: exit at once, or save a fallback copy before the grace period ends.

A Python signal handler runs only when the main thread returns from TensorFlow, which can take
minutes for a compilation or for many steps in one execution. This thread is woken by the signal
itself. If the state on disk is current it ends the process at once; otherwise it waits for most
of the grace period and then saves the copy that was taken before the execution, if there is one.
"""

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator

from rekindle.jobs.attempt import shutdown
from rekindle.jobs.environment import EXIT_SAVED

LONG = 0.25
"""Fraction of the grace period beyond which an execution gets a fallback copy of the state."""


class GracePeriod:
    """Save a fallback copy when a step outlasts the grace period; one per process.

    Args:
        seconds: from SIGTERM until the keeper sends SIGKILL.
        settle: waits until everything that was saved is on disk.
    """

    def __init__(self, seconds: float, settle: Callable[[], object] = lambda: None) -> None:
        self.seconds = seconds
        self._settle = settle
        self._asked_at: float | None = None
        self._saving = threading.RLock()
        self._fallback: Callable[[], object] | None = None
        self._save_seconds = 0.0
        self._watching = False

    def watch(self) -> None:
        """Start the thread, once; call in the main thread."""
        if self._watching or not shutdown.listens():
            return
        self._watching = True
        reader, writer = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(writer, False)
        before = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        if before != -1:
            # the script's own wakeup descriptor, e.g. of an event loop, must keep working
            signal.set_wakeup_fd(before)
            return
        threading.Thread(
            target=self._run, args=(reader,), name="rekindle-deadline", daemon=True
        ).start()

    def is_long(self, seconds: float) -> bool:
        """Return whether an execution of this length may outlast the grace period."""
        return seconds > self.seconds * LONG

    def left(self) -> float | None:
        """Return the seconds until the keeper sends SIGKILL; None where that is not known."""
        asked_at = self._asked_at
        return None if asked_at is None else asked_at + self.seconds - time.monotonic()

    def keep(self, save: Callable[[], object]) -> None:
        """Set the function that saves the copy of the last boundary between two steps."""
        self._fallback = save

    def drop(self) -> None:
        """Drop the outdated copy."""
        self._fallback = None

    @contextlib.contextmanager
    def saving(self) -> Iterator[None]:
        """Block the thread while a checkpoint is written, and drop the copy, which it outdates."""
        with self._saving:
            self._fallback = None
            yield

    def note_save(self, seconds: float) -> None:
        """Record how long the last save took."""
        self._save_seconds = seconds

    def _run(self, reader: int) -> None:
        while signal.SIGTERM not in os.read(reader, 64):
            pass
        self._asked_at = time.monotonic()
        end = self._asked_at + self.seconds - self._reserve()
        with self._saving:
            if shutdown.may_exit_at_once() and not shutdown.has_other_handler():
                self._settle()
                os._exit(EXIT_SAVED)
        while (left := end - time.monotonic()) > 0:
            time.sleep(left)
        # if the main thread is saving now, it ends the process itself
        with self._saving:
            save = self._fallback
            if save is not None:
                # not print: the main thread may be inside the stream and hold its lock
                with contextlib.suppress(OSError):
                    os.write(
                        1,
                        b"rekindle: the step takes longer than the grace period; saving "
                        b"the state before it.\n",
                    )
                save()
                os._exit(EXIT_SAVED)

    def _reserve(self) -> float:
        """Return the seconds to reserve for a save before the grace period ends."""
        return min(max(1.0, 3 * self._save_seconds, self.seconds / 10), self.seconds / 2)
