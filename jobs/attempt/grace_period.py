"""What happens when SIGTERM has come and the step that is on its way takes too long.

A signal handler of Python runs when the main thread is back from TensorFlow, which for
many steps in one execution, or a compilation, can be minutes. This thread is woken by the
signal itself. Where the state on disk is the current one it ends the process at once; else
it waits for most of the grace period and then saves the copy of the state that was taken
before the execution, if there is one.
"""

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable

from rekindle.jobs.attempt import shutdown
from rekindle.jobs.environment import EXIT_SAVED

LONG = 0.25
"""A part of the grace period: an execution that takes longer is worth a copy of the state."""


class Deadline:
    """One for a process; :meth:`watch` begins it.

    Args:
        grace: seconds from SIGTERM until the keeper kills.

    Attributes:
        saving: held by whoever writes a checkpoint.
        spare: saves the copy of the last boundary; None where there is none.
        save_seconds: how long the last save took.
    """

    def __init__(self, grace: float) -> None:
        self.grace = grace
        self.saving = threading.RLock()
        self.spare: Callable[[], object] | None = None
        self.save_seconds = 0.0
        self._watching = False

    def watch(self) -> None:
        """Starts the thread, once; in the main thread."""
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
        """Whether an execution of this length may outlast the grace period."""
        return seconds > self.grace * LONG

    def _run(self, reader: int) -> None:
        while signal.SIGTERM not in os.read(reader, 64):
            pass
        end = time.monotonic() + self.grace - self._reserve()
        with self.saving:
            if shutdown.may_leave_at_once() and not shutdown.has_other_handler():
                os._exit(EXIT_SAVED)
        while (left := end - time.monotonic()) > 0:
            time.sleep(left)
        # the main thread may be saving just now: then it ends the process
        with self.saving:
            spare = self.spare
            if spare is not None:
                # in pieces of its own, whatever state the main thread's streams are in
                with contextlib.suppress(OSError):
                    os.write(
                        1,
                        b"rekindle: the step takes longer than the grace period; the "
                        b"state before it is saved.\n",
                    )
                spare()
                os._exit(EXIT_SAVED)

    def _reserve(self) -> float:
        """Seconds before the end of the grace period that a save may need."""
        return min(max(1.0, 3 * self.save_seconds, self.grace / 10), self.grace / 2)
