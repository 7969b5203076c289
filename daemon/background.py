"""Run in threads what may block on a disk or another program: the tick loop never blocks.

The loop asks for the outcome at each tick. The threads touch files only: the loop owns the
ledger. They are daemon threads, since a call that blocks in the kernel must not keep the process
from ending; their results become visible by one rename.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any, Final

_MOST: Final = 2


@dataclass(frozen=True, slots=True)
class Outcome:
    """Hold the result of some work: a value, or the exception that ended it."""

    value: Any = None
    error: Exception | None = None

    def get(self) -> Any:
        """Return the value.

        Raises:
            Exception: the one that ended the work.
        """
        if self.error is not None:
            raise self.error
        return self.value


def at_once(work: Callable[[], Any]) -> Outcome:
    """Do some work in the calling thread."""
    try:
        return Outcome(value=work())
    except Exception as error:
        return Outcome(error=error)


class Repeated:
    """Repeat some work in a thread that no error ends: it is kept, and the work repeated later.

    Args:
        name: name of the thread in reports, e.g. ``preemption``.
        work: does one turn; returns the seconds to the next.
        pause: seconds to the next turn after an error.

    Attributes:
        name: as given.
        error: what ended the last turn; None if it succeeded.
    """

    def __init__(self, name: str, work: Callable[[], float], *, pause: float = 5.0) -> None:
        self.name = name
        self.error: BaseException | None = None
        self._work = work
        self._pause = pause
        self._ending = threading.Event()
        self._thread: threading.Thread | None = None
        self._next_start = 0.0

    def start(self) -> None:
        """Start the thread.

        Raises:
            RuntimeError: the process may start no more threads.
        """
        self._thread = threading.Thread(target=self._run, name=self.name, daemon=True)
        self._thread.start()

    def ensure(self) -> None:
        """Start the thread again if it has ended although nobody stopped it."""
        thread = self._thread
        # a thread that could not be started has no ident, and must not be waited for
        if thread is None or thread.is_alive() or self._ending.is_set():
            return
        now = time.monotonic()
        if now >= self._next_start:
            self._next_start = now + self._pause
            self.start()

    def stop(self, wait: float = 1.0) -> None:
        """Ask the thread to end, and wait some seconds: it may be blocked, and ends with us."""
        self._ending.set()
        thread = self._thread
        if thread is not None and thread.ident is not None:
            thread.join(wait)

    def _run(self) -> None:
        while not self._ending.is_set():
            try:
                pause = self._work()
                self.error = None
            except BaseException as error:
                # SystemExit, too: a thread that ends silently is a source that is never read again
                self.error, pause = error, self._pause
            self._ending.wait(pause)


class Background:
    """Run work in threads, by key.

    Args:
        ended: called in the thread when some work has ended.
        most: how many threads run at once; further work waits.
    """

    def __init__(self, ended: Callable[[], None] = lambda: None, most: int = _MOST) -> None:
        self._ended = ended
        self._most = most
        self._lock = threading.Lock()
        self._lanes: dict[Hashable, deque[tuple[Hashable, Callable[[], Any]]]] = {}
        self._ready: deque[Hashable] = deque()
        self._outcomes: dict[Hashable, Outcome | None] = {}
        self._threads = 0

    def ask(
        self, key: Hashable, work: Callable[[], Any], lane: Hashable | None = None
    ) -> Outcome | None:
        """Return the outcome of ``work`` once; None while it runs. The first call starts it.

        Args:
            lane: work of one lane is done one after the other, and the lanes have their turns, so
                that much or slow work of one occupies one thread only; None for a lane of its own.
        """
        with self._lock:
            if key in self._outcomes:
                outcome = self._outcomes[key]
                if outcome is not None:
                    del self._outcomes[key]
                return outcome
            self._outcomes[key] = None
            lane = ("lane of", key) if lane is None else lane
            queued = self._lanes.get(lane)
            if queued is not None:
                queued.append((key, work))
                return None
            self._lanes[lane] = deque([(key, work)])
            self._ready.append(lane)
            if self._threads >= self._most:
                return None
            self._threads += 1
        try:
            threading.Thread(target=self._work, name="background", daemon=True).start()
        except RuntimeError:
            # no more threads: the caller asks again, and the work must not count as begun
            with self._lock:
                self._threads -= 1
                if lane in self._ready:
                    self._ready.remove(lane)
                    del self._lanes[lane], self._outcomes[key]
            raise
        return None

    def knows(self, key: Hashable) -> bool:
        """Return whether work with this key waits, runs, or has an outcome."""
        with self._lock:
            return key in self._outcomes

    def has_ended(self, key: Hashable) -> bool:
        """Return whether an outcome is available."""
        with self._lock:
            return self._outcomes.get(key) is not None

    def forget(self, key: Hashable) -> None:
        """Drop an outcome that is no longer needed; running work is not interrupted."""
        with self._lock:
            if self._outcomes.get(key) is not None:
                del self._outcomes[key]

    def _work(self) -> None:
        while True:
            with self._lock:
                if not self._ready:
                    self._threads -= 1
                    return
                lane = self._ready.popleft()
                key, work = self._lanes[lane].popleft()
            try:
                outcome = at_once(work)
            except BaseException as error:
                # e.g. SystemExit: without an outcome the caller would wait for ever
                outcome = Outcome(error=RuntimeError(f"{type(error).__name__}: {error}"))
            with self._lock:
                self._outcomes[key] = outcome
                if self._lanes[lane]:
                    self._ready.append(lane)
                else:
                    del self._lanes[lane]
            self._ended()
