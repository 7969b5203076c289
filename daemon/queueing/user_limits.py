"""Decide which jobs have to wait since their user has as much as one user may have."""

from collections.abc import Iterable
from dataclasses import dataclass

from rekindle.daemon.config import PerUser
from rekindle.daemon.queueing.scheduler import Lane
from rekindle.state.counted import counted


@dataclass(frozen=True, slots=True)
class Usage:
    """State what one user's running jobs use."""

    running: int = 0
    gpus: int = 0


def usage(active: Iterable[tuple[str | None, int]]) -> dict[str, Usage]:
    """Sum up by user what the active jobs use, each given as its user and number of GPUs."""
    found: dict[str, Usage] = {}
    for user, gpus in active:
        if user is not None:
            before = found.get(user, Usage())
            found[user] = Usage(before.running + 1, before.gpus + gpus)
    return found


def wait_reason(limits: PerUser, lane: Lane, used: dict[str, Usage]) -> str:
    """Say why the jobs of a lane have to wait for jobs of their own user; empty if not."""
    if lane.user is None:
        return ""
    now = used.get(lane.user, Usage())
    if limits.max_running is not None and now.running >= limits.max_running:
        return f"{lane.user} has {now.running} of {limits.max_running} running jobs."
    if lane.gpus and limits.max_gpus is not None and now.gpus + lane.gpus > limits.max_gpus:
        # without the present number: each change would be written to every waiting job
        most = counted(limits.max_gpus, "GPU")
        return f"With {lane.gpus} more, {lane.user} would have more than {most}."
    return ""


def hold_reason(limits: PerUser, lane: Lane) -> str:
    """Say why the jobs of a lane can never start under the limits; empty if they can."""
    if lane.user is None or limits.max_gpus is None or lane.gpus <= limits.max_gpus:
        return ""
    return f"It asks for {lane.gpus} GPUs, and one user may have {limits.max_gpus} at once."
