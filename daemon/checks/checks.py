"""Carry out in the daemon what `rekindle doctor` asks for.

Only the daemon's own process sees the folders, variables and devices that its trainings will see:
systemd hides folders and makes others read-only for a service.
"""

import os
from typing import Any, Final

from rekindle.daemon.background import Background
from rekindle.daemon.checks import folders, tries
from rekindle.daemon.checks.finding import ERROR, Finding
from rekindle.daemon.checks.interpreters import Limits
from rekindle.state.errors import NotDone
from rekindle.state.ledger.ledger import Ledger
from rekindle.state.lifecycle import TERMINAL, JobState
from rekindle.state.paths import Home

EVENT: Final = "checked"
"""The event that holds the findings."""
_MOST_PENDING: Final = 4
_MOST_S: Final = 3600.0


class Checks:
    """Try interpreters and folders in a thread; the tick loop owns it.

    Args:
        background: runs one check at a time.
    """

    def __init__(self, home: Home, ledger: Ledger, background: Background) -> None:
        self._home = home
        self._ledger = ledger
        self._background = background
        self._pending: dict[str, Any] = {}

    def begin(self, check_id: str, *, imports: bool, timeout: float) -> str:
        """Start a check; its findings are added to the ledger as an event that names ``check_id``.

        Args:
            timeout: seconds for all interpreters together.

        Raises:
            NotDone: others have not ended yet.
        """
        if len(self._pending) >= _MOST_PENDING:
            raise NotDone(
                "Too many checks are running already.", hint="Wait until one of them has ended."
            )
        rows = self._ledger.jobs(states=set(JobState) - TERMINAL - {JobState.HELD})
        states = [(row.id, row.state) for row in rows]
        limits = Limits.within(min(max(timeout, 1.0), _MOST_S))

        def work() -> list[Finding]:
            waiting = tries.of_jobs(self._home, states) + tries.of_inbox(self._home)[0]
            return tries.bounded(tries.run(self._home, waiting, imports=imports, limits=limits))

        self._pending[check_id] = work
        self._background.ask(check_id, work)
        return "The check has begun."

    def tick(self) -> None:
        """Record the findings of the checks that have ended."""
        for check_id, work in [*self._pending.items()]:
            outcome = self._background.ask(check_id, work)
            if outcome is None:
                continue
            del self._pending[check_id]
            found = outcome.value if outcome.error is None else [_failed(outcome.error)]
            self._ledger.add_event(
                EVENT,
                data={
                    "id": check_id,
                    "user": folders.user(),
                    "pid": os.getpid(),
                    "findings": [finding.to_json() for finding in found],
                },
            )


def _failed(error: Exception) -> Finding:
    return Finding(
        ERROR,
        "folder",
        f"The daemon could not check the jobs: {type(error).__name__}: {error}.",
        "Report this with the log of the daemon.",
    )
