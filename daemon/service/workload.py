"""Tell what is left to do: when the next tick is due, and whether there is nothing more."""

from typing import Final

from rekindle.daemon.queueing.queue import Queue
from rekindle.daemon.retention.pruning import Pruning
from rekindle.daemon.service.inbox_scan import InboxScan
from rekindle.daemon.service.startup import Startup

_LEAST_S: Final = 0.01


class Workload:
    """Look at all that can be under way or waiting.

    Args:
        busy_pause: seconds to the next tick while something runs or waits.
        idle_pause: seconds to the next tick, at most, while nothing does.
    """

    def __init__(
        self,
        queue: Queue,
        scan: InboxScan,
        pruning: Pruning,
        startup: Startup,
        *,
        busy_pause: float,
        idle_pause: float,
    ) -> None:
        self._queue = queue
        self._scan = scan
        self._pruning = pruning
        self._startup = startup
        self._busy_pause = busy_pause
        self._idle_pause = idle_pause

    def pause(self, now: float, *, stopping: bool) -> float:
        """Give the seconds to the next tick; long when nothing runs and nothing waits."""
        longest = self._busy_pause if stopping or self._queue.busy() else self._idle_pause
        return max(min(self._scan.next_at - now, longest), _LEAST_S)

    def is_done(self) -> bool:
        """Tell whether no job is left that could go on by itself."""
        if not (self._scan.has_begun and self._startup.done):
            return False
        return self._queue.idle() and not (self._scan.pending() or self._pruning.busy)
