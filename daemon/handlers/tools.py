"""Hold the objects that the handlers work with."""

from dataclasses import dataclass, field

from rekindle.daemon.attempts.attempts import Attempts
from rekindle.daemon.background import Background
from rekindle.daemon.checks.checks import Checks
from rekindle.daemon.queueing.queue import Queue
from rekindle.daemon.retention.pruning import Pruning
from rekindle.daemon.source.present_code import PresentCode
from rekindle.daemon.verdict.decision import on_request
from rekindle.state.ledger.ledger import Ledger
from rekindle.state.paths import Home


@dataclass(frozen=True, slots=True)
class Tools:
    """Give the handlers access to a home and to the parts of its daemon.

    Attributes:
        asked_by: the name of the user whose request is carried out; empty if unknown.
        asked_uid: the user's number, as the kernel says; None if unknown.
        request: the name of the request's file; ``asked_at`` is its unix time.
        background: runs what may take long.
        max_waiting: jobs of one user that may wait; None for no limit.
    """

    home: Home
    ledger: Ledger
    attempts: Attempts
    pruning: Pruning
    queue: Queue
    checks: Checks
    code: PresentCode
    background: Background = field(default_factory=Background)
    max_waiting: int | None = None
    asked_by: str = ""
    asked_uid: int | None = None
    request: str = ""
    asked_at: float = 0.0

    @property
    def on_request(self) -> str:
        """The words for a reason: on whose request something is done."""
        return on_request(self.asked_by)
