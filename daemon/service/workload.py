"""Determine when the next tick is due, and whether any work is left."""

from collections.abc import Callable
from typing import Final

from rekindle.daemon.attempts.attempts import Attempts
from rekindle.daemon.isolation import Isolation
from rekindle.daemon.queueing.queue import Queue
from rekindle.daemon.retention.pruning import Pruning
from rekindle.daemon.service.inbox_scan import InboxScan
from rekindle.daemon.service.startup import Startup

_LEAST_S: Final = 0.01
_CATCH_UP: Final = frozenset({"GPUs", "attempts", "queue"})
"""Parts of a tick that work through a backlog."""


class Workload:
    """Look at all work that is in progress or waiting.

    Args:
        may_start: returns whether the queue has a turn in a tick.
        busy_pause: seconds to the next tick while a job runs or waits.
        idle_pause: longest time to the next tick in seconds while none does.
    """

    def __init__(
        self,
        queue: Queue,
        attempts: Attempts,
        scan: InboxScan,
        pruning: Pruning,
        startup: Startup,
        isolation: Isolation,
        *,
        may_start: Callable[[], bool],
        busy_pause: float,
        idle_pause: float,
    ) -> None:
        self._queue = queue
        self._attempts = attempts
        self._scan = scan
        self._pruning = pruning
        self._startup = startup
        self._isolation = isolation
        self._may_start = may_start
        self._busy_pause = busy_pause
        self._idle_pause = idle_pause

    def pause(self, now: float, *, stopping: bool) -> float:
        """Return the seconds to the next tick; long if no job runs or waits."""
        if self._is_behind():
            return _LEAST_S
        longest = self._busy_pause if stopping or self._queue.busy() else self._idle_pause
        return max(min(self._scan.next_at - now, longest), _LEAST_S)

    def _is_behind(self) -> bool:
        """Return whether the next tick can work on what this one had no time for."""
        if not _CATCH_UP.isdisjoint(self._isolation.troubled):
            # a full disk: the backlog stays, and would be tried a hundred times a second
            return False
        return self._attempts.is_behind or (self._queue.is_behind and self._may_start())

    def is_done(self) -> bool:
        """Return whether no job is left that could continue by itself."""
        if not (self._scan.has_begun and self._startup.done):
            return False
        return self._queue.idle() and not (self._scan.pending() or self._pruning.busy)
