"""What becomes of running trainings when the daemon is told to end.

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
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

_ASK_S: Final = 5.0
Ask = Callable[[Sequence[str]], str | None]


class Stop(enum.Enum):
    SAVE_ALL = "save all"
    LEAVE_RUNNING = "leave running"


def decide(signum: int, unit: tuple[str, bool] | None, ask: Ask) -> Stop:
    """What ``signum`` means for the trainings.

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
    """The unit of this process, from its cgroup; None where systemd did not start it.

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
    """Output of ``systemctl``; its exit status is not asked for, it says "stopping" with 1."""
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
