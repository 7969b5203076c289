"""SIGTERM in the middle of a step: exit at once, or save a copy before the grace period ends.

A signal handler of Python runs when the main thread is back from TensorFlow, which for many
steps in one execution, or a compilation, can be minutes. This thread is woken by the signal
itself. Where the state on disk is the current one it ends the process at once; else it waits
for most of the grace period and then saves the copy of the state that was taken before the
execution, if there is one.
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
"""A part of the grace period: an execution that takes longer is worth a copy of the state."""


class GracePeriod:
    """Save a fallback copy when a step outlasts the grace period; one for a process.

    Args:
        seconds: from SIGTERM until the keeper kills.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._saving = threading.RLock()
        self._fallback: Callable[[], object] | None = None
        self._save_seconds = 0.0
        self._watching = False

    def watch(self) -> None:
        """Start the thread, once; in the main thread."""
        if self._watching or not shutdown.listens():
            return
        self._watching = True
        reader, writer = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(writer, False)
        before = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        if before != -1:
            # the script waits for signals itself, e.g. in an event loop
            signal.set_wakeup_fd(before)
            return
        threading.Thread(
            target=self._run, args=(reader,), name="rekindle-deadline", daemon=True
        ).start()

    def is_long(self, seconds: float) -> bool:
        """Tell whether an execution of this length may outlast the grace period."""
        return seconds > self._seconds * LONG

    def keep(self, save: Callable[[], object]) -> None:
        """Keep what saves the copy of the last boundary between two steps."""
        self._fallback = save

    def drop(self) -> None:
        """Drop the copy: it is outdated."""
        self._fallback = None

    @contextlib.contextmanager
    def saving(self) -> Iterator[None]:
        """Hold off the thread while a checkpoint is written, which outdates the copy."""
        with self._saving:
            self._fallback = None
            yield

    def note_save(self, seconds: float) -> None:
        """Note how long the last save took."""
        self._save_seconds = seconds

    def _run(self, reader: int) -> None:
        while signal.SIGTERM not in os.read(reader, 64):
            pass
        end = time.monotonic() + self._seconds - self._reserve()
        with self._saving:
            if shutdown.may_exit_at_once() and not shutdown.has_other_handler():
                os._exit(EXIT_SAVED)
        while (left := end - time.monotonic()) > 0:
            time.sleep(left)
        # the main thread may be saving just now: then it ends the process
        with self._saving:
            save = self._fallback
            if save is not None:
                # in pieces of its own, whatever state the main thread's streams are in
                with contextlib.suppress(OSError):
                    os.write(
                        1,
                        b"rekindle: the step takes longer than the grace period; the "
                        b"state before it is saved.\n",
                    )
                save()
                os._exit(EXIT_SAVED)

    def _reserve(self) -> float:
        """Seconds before the end of the grace period that a save may need."""
        return min(max(1.0, 3 * self._save_seconds, self._seconds / 10), self._seconds / 2)
