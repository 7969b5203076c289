"""Hold the objects that the handlers work with."""

from dataclasses import dataclass

from rekindle.daemon.attempts.attempts import Attempts
from rekindle.daemon.queueing.queue import Queue
from rekindle.daemon.retention.pruning import Pruning
from rekindle.state.ledger.ledger import Ledger
from rekindle.state.paths import Home


@dataclass(frozen=True, slots=True)
class Tools:
    """Return the handlers access to a home and to the parts of its daemon."""

    home: Home
    ledger: Ledger
    attempts: Attempts
    pruning: Pruning
    queue: Queue
