"""Do one piece of work at a time in a thread, while the training continues."""

import atexit
import os
import queue
import signal
import threading
from collections.abc import Callable

Work = Callable[[], Callable[[], object]]
"""Work for the thread; what it returns is called when the work is settled."""


class Background:
    """Work in one thread, which begins with the first work and does not end.

    The training does not wait for it to start, as it would for a new thread. A normal end of the
    process waits for the work.
    """

    def __init__(self) -> None:
        # reentrant: a signal handler may settle while the main thread does
        self._lock = threading.RLock()
        self._waiting: queue.SimpleQueue[_Task] | None = None
        self._task: _Task | None = None
        self._owner = os.getpid()

    def start(self, work: Work) -> None:
        """Begin some work, after the work before has been settled."""
        self.settle()
        if self._waiting is None:
            self._waiting = queue.SimpleQueue()
            threading.Thread(
                target=_run, args=(self._waiting,), name="rekindle-save", daemon=True
            ).start()
            atexit.register(self.settle)
        self._task = _Task(work)
        self._waiting.put(self._task)

    @property
    def is_running(self) -> bool:
        """True while the work has not ended."""
        return self._task is not None and not self._task.ended

    def poll(self) -> None:
        """Settle the work if it has ended."""
        if self._task is not None and self._task.ended:
            self.settle()

    def settle(self) -> None:
        """Wait until the work has ended, and finish it in this thread; do nothing without work.

        Raises:
            BaseException: what the work raised.
        """
        if self._task is None or os.getpid() != self._owner:
            return  # a forked child has no such thread
        with self._lock:
            task = self._task
            if task is None:
                return
            task.wait()
            if self._task is task:  # a signal handler has not finished it meanwhile
                self._task = None
                task.finish()


class _Task:
    def __init__(self, work: Work) -> None:
        self._work = work
        self._then: Callable[[], object] | None = None
        self._error: BaseException | None = None
        self._running = threading.Lock()
        self._running.acquire()
        self.ended = False

    def run(self) -> None:
        try:
            self._then = self._work()
        except BaseException as error:
            self._error = error
        self.ended = True
        self._running.release()

    def wait(self) -> None:
        # only who sees that it has not ended takes the lock: no signal handler finds it taken
        while not self.ended:
            if self._running.acquire(timeout=1.0):
                self._running.release()

    def finish(self) -> None:
        if self._error is not None:
            raise self._error
        if self._then is not None:
            self._then()


def _run(waiting: "queue.SimpleQueue[_Task]") -> None:
    # the signals of the process are for its main thread, which they must interrupt
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    while True:
        waiting.get().run()
