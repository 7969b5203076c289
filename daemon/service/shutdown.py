"""Decide what happens to running trainings when the daemon is asked to end, and when it may end.

- SIGTERM and SIGINT: all trainings are asked to save, and the daemon ends after them.
- SIGHUP: trainings continue; the next daemon adopts them.
- SIGTERM from systemd in a restart of the daemon's own unit, as during an upgrade: trainings
  continue as well. systemd sends the same signal for stop, restart and shutdown; `systemctl`
  says which of them it is.
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
"""Time beyond the bound of the slowest attempt, for a slow tick."""
Ask = Callable[[Sequence[str]], str | None]


class Stop(enum.Enum):
    """Name what happens to the trainings."""

    SAVE_ALL = "save all"
    LEAVE_RUNNING = "leave running"


class Shutdown(Part):
    """End the daemon once a signal asks for it."""

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
        """Record the signal that asks for the end; the first one counts. Safe in its handler."""
        if self._signum is None:
            self._signum = signum

    @property
    def requested(self) -> bool:
        """Return whether a signal was received: nothing is started from then on."""
        return self._signum is not None

    @property
    def decided(self) -> bool:
        """Return whether it is decided what happens to the trainings."""
        return self._stop is not None

    @property
    def leaves_running(self) -> bool:
        """Return whether the trainings are left to the next daemon."""
        return self._stop is Stop.LEAVE_RUNNING

    def is_due(self, now: float) -> bool:
        return self.requested and not self.decided

    def tick(self, now: float) -> None:
        """Decide what the signal means; systemctl may be slow, and nothing starts meanwhile."""
        signum = self._signum
        assert signum is not None
        if not self._announced:
            sd_notify.notify("STOPPING=1", sd_notify.MORE_TIME)
            self._announced = True
        outcome = self._background.ask("stop", lambda: decide(signum, own_unit(), systemctl))
        if outcome is None:
            return
        # if systemd cannot be asked, the trainings are saved
        self._stop = Stop.SAVE_ALL if outcome.error else outcome.get()
        self._log.info(
            "daemon_asked_to_end", signal=signal.Signals(signum).name, trainings=self._stop.value
        )
        if self._stop is Stop.SAVE_ALL:
            self._attempts.stop_all()
            longest = self._isolation.run("bound", self._attempts.longest_end)
            if longest is None:
                longest = Limits().stop_grace + escalation.LONGEST_S
            self._deadline = time.monotonic() + _MARGIN_S + longest

    def waits(self, now: float) -> bool:
        """Return whether trainers are saving within their bound."""
        return self._deadline is not None and now < self._deadline

    def is_overdue(self, now: float) -> bool:
        """Return whether the time is over after which every attempt has ended or is given up."""
        if self._deadline is None or now < self._deadline:
            return False
        jobs = self._isolation.run("attempts", self._attempts.live_jobs)
        self._log.error("daemon_ends_before_trainings", jobs=jobs)
        return True

    def is_complete(self) -> bool:
        """Return whether no training is left to wait for."""
        if self.leaves_running:
            return True
        if not self._attempts.all_ended():
            return False
        # attempts that cannot be settled now are left to the next daemon
        self._attempts.watch()
        return True


def decide(signum: int, unit: tuple[str, bool] | None, ask: Ask) -> Stop:
    """Decide what ``signum`` means for the trainings.

    Args:
        unit: name of the daemon's own unit and whether a user's manager runs it; None if
            systemd did not start it.
        ask: runs ``systemctl`` with arguments; its output, or None if it does not respond.
    """
    if signum == signal.SIGHUP:
        return Stop.LEAVE_RUNNING
    if signum != signal.SIGTERM or unit is None:
        return Stop.SAVE_ALL
    name, of_user = unit
    manager = ["--user"] if of_user else []
    # a host that shuts down kills the trainings: steps that are not saved now are repeated later
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
    """Find the unit of this process in its cgroup; None if systemd did not start it.

    Args:
        membership: the text of ``/proc/self/cgroup``, which is read if it is None.
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
    """Return the output of ``systemctl``, whatever its exit status: "stopping" exits with 1."""
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
