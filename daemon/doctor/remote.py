"""Ask the living daemon to try interpreters and folders: it sees what its trainings will see."""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from rekindle.daemon.checks import checks
from rekindle.daemon.checks.finding import Finding
from rekindle.daemon.client import ask
from rekindle.state.errors import UsageError
from rekindle.state.ledger.ledger import Ledger
from rekindle.state.paths import Home

_MORE_S: Final = 60.0
_POLL_S: Final = 0.1


@dataclass(frozen=True, slots=True)
class Answer:
    """Hold what the daemon found.

    Attributes:
        problem: why it did not check; empty if it did.
    """

    findings: tuple[Finding, ...] = ()
    user: str = ""
    pid: int = 0
    problem: str = ""


def check(
    home: Home, book: Ledger, *, imports: bool, timeout: float, report: Callable[[str], None]
) -> Answer:
    """Ask the daemon and wait for its findings, within a bound.

    Args:
        timeout: seconds that it may take for all interpreters.
        report: called with a sentence while it works.
    """
    check_id = f"{time.time_ns()}-{os.getpid()}"
    since = book.last_event()
    try:
        said = ask.ask(home, book, "check", None, id=check_id, imports=imports, timeout=timeout)
    except UsageError as error:
        return Answer(problem=error.what)
    if not said.done:
        return Answer(problem=said.text)
    began = time.monotonic()
    while time.monotonic() - began < timeout + _MORE_S:
        for event in book.events(kind=checks.EVENT, after=since):
            if event.data.get("id") == check_id:
                return Answer(
                    tuple(Finding.from_json(one) for one in event.data.get("findings", [])),
                    str(event.data.get("user", "")),
                    int(event.data.get("pid", 0)),
                )
        report(f"interpreters and folders, by the daemon, {time.monotonic() - began:.0f} s")
        time.sleep(_POLL_S)
    return Answer(problem="The daemon did not complete the check in time.")
