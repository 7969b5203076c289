"""Decide what becomes of running trainings when the daemon must end, and when it may.

- SIGTERM and SIGINT: all are asked to save, and the daemon ends after them.
- SIGHUP: they go on; the next daemon adopts them.
- SIGTERM from systemd in a restart of the daemon's own unit, which is how an upgrade arrives:
  they go on as well. systemd sends the same signal for stop, restart and shutdown; which of
  them it is can be asked.
"""

import enum
import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import structlog

from rekindle.daemon.attempts import escalation
from rekindle.daemon.attempts.attempts import Attempts
from rekindle.daemon.background import Background
from rekindle.daemon.isolation import Isolation
from rekindle.daemon.service import sd_notify
from rekindle.daemon.service.part import Part
from rekindle.jobs.job import Limits

_ASK_S: Final = 5.0
_MARGIN_S: Final = 5.0
"""Beyond the bound of the slowest attempt, for a tick that takes long."""
Ask = Callable[[Sequence[str]], str | None]


class Stop(enum.Enum):
    """Name what becomes of the trainings."""

    SAVE_ALL = "save all"
    LEAVE_RUNNING = "leave running"


class Shutdown(Part):
    """Bring the daemon to its end once a signal asks for it."""

    name = "stop"

    def __init__(self, attempts: Attempts, background: Background, isolation: Isolation) -> None:
        self._attempts = attempts
        self._background = background
        self._isolation = isolation
        self._signum: int | None = None
        self._announced = False
        self._stop: Stop | None = None
        self._deadline: float | None = None
        self._log = structlog.get_logger()

    def request(self, signum: int) -> None:
        """Note the signal that asks for the end; the first one counts. Safe in its handler."""
        if self._signum is None:
            self._signum = signum

    @property
    def requested(self) -> bool:
        """Tell whether a signal came: nothing is started from then on."""
        return self._signum is not None

    @property
    def decided(self) -> bool:
        """Tell whether it is known what becomes of the trainings."""
        return self._stop is not None

    @property
    def leaves_running(self) -> bool:
        """Tell whether the trainings are left to the next daemon."""
        return self._stop is Stop.LEAVE_RUNNING

    def is_due(self, now: float) -> bool:
        return self.requested and not self.decided

    def tick(self, now: float) -> None:
        """Decide what the signal means; systemd may answer late, and nothing starts meanwhile."""
        signum = self._signum
        assert signum is not None
        if not self._announced:
            sd_notify.notify("STOPPING=1", sd_notify.MORE_TIME)
            self._announced = True
        outcome = self._background.ask("stop", lambda: decide(signum, own_unit(), systemctl))
        if outcome is None:
            return
        # where nobody can say what was meant, what runs is saved
        self._stop = Stop.SAVE_ALL if outcome.error else outcome.get()
        self._log.info(
            "daemon_told_to_end", signal=signal.Signals(signum).name, trainings=self._stop.value
        )
        if self._stop is Stop.SAVE_ALL:
            self._attempts.daemon_stops()
            longest = self._isolation.run("bound", self._attempts.longest_end)
            if longest is None:
                longest = Limits().stop_grace + escalation.LONGEST_S
            self._deadline = time.monotonic() + _MARGIN_S + longest

    def waits(self, now: float) -> bool:
        """Tell whether trainers save, each within a bound."""
        return self._deadline is not None and now < self._deadline

    def is_overdue(self, now: float) -> bool:
        """Tell whether the time in which every attempt ends, or is given up, is over."""
        if self._deadline is None or now < self._deadline:
            return False
        left = self._isolation.run("attempts", self._attempts.left)
        self._log.error("daemon_ends_before_trainings", jobs=left)
        return True

    def is_complete(self) -> bool:
        """Tell whether nothing of the trainings is left to wait for."""
        if self.leaves_running:
            return True
        if not self._attempts.all_ended():
            return False
        # what cannot be settled even now is left to the next daemon
        self._attempts.watch()
        return True


def decide(signum: int, unit: tuple[str, bool] | None, ask: Ask) -> Stop:
    """Decide what ``signum`` means for the trainings.

    Args:
        unit: name of the daemon's own unit and whether a user's manager runs it; None where
            systemd did not start it.
        ask: runs ``systemctl`` with arguments; its output, or None where it does not answer.
    """
    if signum == signal.SIGHUP:
        return Stop.LEAVE_RUNNING
    if signum != signal.SIGTERM or unit is None:
        return Stop.SAVE_ALL
    name, of_user = unit
    manager = ["--user"] if of_user else []
    # a machine that goes down ends the trainings too: what is not saved now is lost
    for which in ([], manager) if manager else ([],):
        if (ask([*which, "is-system-running"]) or "").strip() == "stopping":
            return Stop.SAVE_ALL
    listed = ask([*manager, "list-jobs", "--plain", "--no-legend", name]) or ""
    kinds = {
        words[2]
        for line in listed.splitlines()
        if len(words := line.split()) >= 3 and words[1] == name
    }
    return Stop.LEAVE_RUNNING if "restart" in kinds else Stop.SAVE_ALL


def own_unit(membership: str | None = None) -> tuple[str, bool] | None:
    """Find the unit of this process in its cgroup; None where systemd did not start it.

    Args:
        membership: the text of ``/proc/self/cgroup``, read where it is None.
    """
    if "INVOCATION_ID" not in os.environ:
        return None
    if membership is None:
        try:
            membership = Path("/proc/self/cgroup").read_text()
        except OSError:
            return None
    for line in membership.splitlines():
        number, controllers, path = ([*line.split(":", 2), "", ""])[:3]
        if number == "0" or controllers == "name=systemd":
            parts = path.split("/")
            services = [part for part in parts if part.endswith(".service")]
            if services and not services[-1].startswith("user@"):
                return services[-1], any(part.startswith("user@") for part in parts)
    return None


def systemctl(words: Sequence[str]) -> str | None:
    """Give the output of ``systemctl``; its exit status says nothing: "stopping" comes with 1."""
    try:
        done = subprocess.run(
            ["systemctl", *words],
            capture_output=True,
            text=True,
            timeout=_ASK_S,
            stdin=subprocess.DEVNULL,
            check=False,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout
