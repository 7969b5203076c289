"""Define the parts of the service, each of which has its turn at every tick."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol


class Part(Protocol):
    """Handle one concern of the daemon at every tick, in any state of the home.

    Attributes:
        name: its name in the log and in `systemctl status`.
        serves: it has no turn once the trainings are left to the next daemon.
        fatal: errors that end the service, since no later tick can succeed.
    """

    name: str
    serves: bool = True
    fatal: tuple[type[Exception], ...] = ()

    def is_due(self, now: float) -> bool:
        """Return whether it has work; ``now`` is monotonic, in seconds."""
        return True

    def tick(self, now: float) -> object:
        """Do the work that is due; work that fails is retried at the next tick."""


def always() -> bool:
    return True


@dataclass(frozen=True)
class Call(Part):
    """Wrap a function as a part.

    Attributes:
        when: returns whether it is due.
    """

    name: str
    work: Callable[[], object]
    when: Callable[[], bool] = always
    serves: bool = True

    def is_due(self, now: float) -> bool:
        return self.when()

    def tick(self, now: float) -> object:
        return self.work()
