"""Limits of one user: further jobs wait with the reason, or are refused; none is lost.

Kinds of source: shared queues in which one user's array of jobs takes every slot of the host.
"""

import os
from pathlib import Path

import pytest
from rig import Rig, wait_for

from rekindle.daemon.config import PerUser
from rekindle.daemon.queueing import user_limits
from rekindle.daemon.queueing.scheduler import Lane
from rekindle.daemon.queueing.user_limits import Usage

ANA = Lane(0, None, "ana")


def test_usage_counts_jobs_and_gpus_of_known_users() -> None:
    active = [("ana", 2), ("ben", 0), ("ana", 1), (None, 8)]
    assert user_limits.usage(active) == {"ana": Usage(2, 3), "ben": Usage(1, 0)}


@pytest.mark.parametrize(
    ("limits", "lane", "used", "expected"),
    [
        (PerUser(), ANA, Usage(9, 9), ""),
        (PerUser(max_running=2), ANA, Usage(1), ""),
        (PerUser(max_running=2), ANA, Usage(2), "ana has 2 of 2 running jobs."),
        (PerUser(max_running=2), Lane(0, None), Usage(2), ""),
        (PerUser(max_gpus=4), Lane(2, None, "ana"), Usage(1, 2), ""),
        (
            PerUser(max_gpus=4),
            Lane(2, None, "ana"),
            Usage(1, 3),
            "With 2 more, ana would have more than 4 GPUs.",
        ),
        (
            PerUser(max_gpus=1),
            Lane(1, None, "ana"),
            Usage(1, 1),
            "With 1 more, ana would have more than 1 GPU.",
        ),
        (PerUser(max_gpus=4), ANA, Usage(1, 4), ""),
    ],
)
def test_a_lane_waits_for_jobs_of_its_own_user(
    limits: PerUser, lane: Lane, used: Usage, expected: str
) -> None:
    assert user_limits.wait_reason(limits, lane, {"ana": used}) == expected
    assert user_limits.wait_reason(limits, lane._replace(user="ben"), {"ana": used}) == ""


def test_a_job_that_can_never_start_is_held() -> None:
    limits = PerUser(max_gpus=4)
    assert user_limits.hold_reason(limits, Lane(4, None, "ana")) == ""
    assert "asks for 5 GPUs" in user_limits.hold_reason(limits, Lane(5, None, "ana"))
    assert user_limits.hold_reason(PerUser(), Lane(5, None, "ana")) == ""


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="giving files to users needs root")
def test_one_user_does_not_take_every_slot(rig: Rig, tmp_path: Path) -> None:
    """Of three jobs of one user the first runs; another user's job does not wait behind them."""
    (rig.home.root / "rekindle.toml").write_text(
        "slots = 2\n[per_user]\nmax_running = 1\nmax_waiting = 2\n"
    )

    def drop(name: str, owner: int) -> None:
        new = rig.home.inbox / f".{name}"
        new.write_text(
            f'name = "{name}"\nworkdir = "{tmp_path}"\n'
            f'command = ["sh", "-c", "until [ -e {name} ]; do sleep 0.02; done"]\n'
        )
        os.chown(new, owner, -1)
        new.rename(rig.home.inbox / f"{name}.toml")

    rig.start()
    drop("first", 54321)
    rig.wait_state("first-1", "running")
    for name in ("second", "third"):
        drop(name, 54321)
        rig.wait_state(f"{name}-1", "waiting")
    drop("fourth", 54321)
    reason = rig.home.rejected / "fourth.toml.error.txt"
    wait_for(reason.exists, "the fourth is refused")
    assert "54321 has 2 of 2 jobs that may wait" in reason.read_text()
    drop("other", 54322)
    rig.wait_state("other-1", "running")
    reasons = {job["id"]: job["reason"] for job in rig.ls() if job["state"] == "waiting"}
    assert set(reasons) == {"second-1", "third-1"}
    assert set(reasons.values()) == {"54321 has 1 of 1 running jobs."}
    (tmp_path / "first").touch()
    rig.wait_state("second-1", "running")
    assert (rig.home.rejected / "fourth.toml").exists()
