"""Define what the service is made of: parts that have their turn at every tick."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol


class Part(Protocol):
    """Look after one concern at every tick, in any state of the home.

    Attributes:
        name: what the log and `systemctl status` call it.
        serves: it has no turn once the trainings are left to the next daemon.
        fatal: errors that end the service, since no later tick can succeed.
    """

    name: str
    serves: bool = True
    fatal: tuple[type[Exception], ...] = ()

    def is_due(self, now: float) -> bool:
        """Tell whether it has anything to do; ``now`` is monotonic, in seconds."""
        return True

    def tick(self, now: float) -> object:
        """Do what is to be done now; what fails is done again at the next tick."""


def always() -> bool:
    return True


@dataclass(frozen=True)
class Call(Part):
    """Make a part of a call to what is no part of the service's own.

    Attributes:
        when: tells whether it is due.
    """

    name: str
    work: Callable[[], object]
    when: Callable[[], bool] = always
    serves: bool = True

    def is_due(self, now: float) -> bool:
        return self.when()

    def tick(self, now: float) -> object:
        return self.work()
