"""Run in threads what may block on a disk or another program: the tick loop never blocks.

The loop asks for the outcome at each tick. The threads touch files only: the loop owns the
ledger. They are daemon threads, since a call that blocks in the kernel must not keep the process
from ending; their results become visible by one rename.
"""

import threading
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
        self._waiting: deque[tuple[Hashable, Callable[[], Any]]] = deque()
        self._outcomes: dict[Hashable, Outcome | None] = {}
        self._threads = 0

    def ask(self, key: Hashable, work: Callable[[], Any]) -> Outcome | None:
        """Return the outcome of ``work`` once; None while it runs. The first call starts it."""
        with self._lock:
            if key in self._outcomes:
                outcome = self._outcomes[key]
                if outcome is not None:
                    del self._outcomes[key]
                return outcome
            self._outcomes[key] = None
            self._waiting.append((key, work))
            if self._threads >= self._most:
                return None
            self._threads += 1
        threading.Thread(target=self._work, name="background", daemon=True).start()
        return None

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
                if not self._waiting:
                    self._threads -= 1
                    return
                key, work = self._waiting.popleft()
            outcome = at_once(work)
            with self._lock:
                self._outcomes[key] = outcome
            self._ended()
