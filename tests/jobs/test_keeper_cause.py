"""The cause of an end, for each thing that a keeper can have seen."""

import signal
from typing import Any

import pytest

from rekindle.jobs import environment
from rekindle.jobs.keeper.cause import End, cause

KILLED = -signal.SIGKILL


@pytest.mark.parametrize(
    ("status", "seen", "named"),
    [
        (0, {}, "done"),
        # it came to its end before the signal did
        (0, {"stop_requested": True, "killer": "host"}, "done"),
        (1, {}, "crash"),
        (KILLED, {}, "crash"),
        (environment.EXIT_SAVED, {"stop_requested": True}, "preempted"),
        (environment.EXIT_SAVED, {}, "preempted"),
        (-signal.SIGTERM, {"stop_requested": True}, "preempted"),
        (KILLED, {"stop_requested": True, "killed_after_grace": True}, "preempted"),
        (1, {"stop_requested": True}, "crash"),
        (environment.EXIT_PERMANENT, {}, "permanent"),
        (KILLED, {"over_memory": True}, "host_oom"),
        # a data worker was killed, and its trainer ended by an exception
        (1, {"killer": "job"}, "host_oom"),
        (KILLED, {"killer": "host"}, "host_oom"),
        # the kill was ours, or the kernel killed somebody else
        (KILLED, {"killer": "host", "killed_after_grace": True}, "crash"),
        (1, {"killer": "host"}, "crash"),
        (KILLED, {"hung": True, "killed_after_grace": True}, "hang"),
        (environment.EXIT_SAVED, {"hung": True}, "hang"),
    ],
)
def test_what_the_keeper_saw_names_the_cause(status: int, seen: dict[str, Any], named: str) -> None:
    assert cause(End(status, **seen)) == named


def test_an_end_is_told_by_exit_code_or_by_signal() -> None:
    code, by_signal = End(3), End(KILLED)
    assert (code.exit_code, code.signal) == (3, None)
    assert (by_signal.exit_code, by_signal.signal) == (None, signal.SIGKILL)
