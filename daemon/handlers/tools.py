"""Hold the objects that the handlers work with."""

from dataclasses import dataclass

from rekindle.daemon.attempts.attempts import Attempts
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
        request: the name of the request's file; ``asked_at`` is its unix time.
    """

    home: Home
    ledger: Ledger
    attempts: Attempts
    pruning: Pruning
    queue: Queue
    checks: Checks
    code: PresentCode
    asked_by: str = ""
    request: str = ""
    asked_at: float = 0.0

    @property
    def on_request(self) -> str:
        """The words for a reason: on whose request something is done."""
        return on_request(self.asked_by)
