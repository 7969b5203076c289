"""The daemon's own death costs no step of training."""

import signal

import pytest
from nights import Night, result, steps
from rig import wait_for

from rekindle.daemon.service import shutdown
from rekindle.daemon.service.shutdown import Stop

pytestmark = pytest.mark.faults


@pytest.mark.promise
def test_a_killed_daemon_loses_and_repeats_no_step(night: Night) -> None:
    """Two trainings go on without it; the next one adopts the one and learns the other's end."""
    long = night.submit("long", args=f"--steps 60 --wait-for {night.work}/go")
    short = night.submit(
        "short", args="--steps 50 --fault exit@49", spec="[retry]\nmax_failures = 0\n"
    )
    night.start("--slots", "2")
    night.step("long-1", 5)
    night.step("short-1", 5)
    trainer = night.trainer("long-1", 1)
    night.end(signal.SIGKILL)
    wait_for(lambda: night.entries("short-1", "attempt_ended"), "the short one ends alone")
    assert trainer.alive()

    night.start("--until-idle", "--slots", "2")
    held = night.wait_state("short-1", "held")
    assert "SystemExit: 3" in held["reason"]
    assert trainer.alive()
    (night.work / "go").touch()
    assert night.daemon is not None
    assert night.daemon.wait(60) == 0

    shown = night.show("long-1")
    assert [(a["cause"], a["exit_code"]) for a in shown["attempts"]] == [("done", 0)]
    assert "attempt_adopted" in [e["kind"] for e in shown["events"]]
    assert steps(long) == [(1, step) for step in range(60)]
    assert steps(short) == [(1, step) for step in range(49)]
    assert (long / "long.result.txt").read_text() == result(60)
    assert [a["exit_code"] for a in night.show("short-1")["attempts"]] == [3]
    night.invariants()


def test_a_hangup_leaves_trainings_running(night: Night) -> None:
    """SIGHUP is how an upgrade without systemd arrives: no step is repeated."""
    folder = night.submit("job", args=f"--steps 40 --wait-for {night.work}/go")
    night.start()
    night.step("job-1", 5)
    trainer = night.trainer("job-1", 1)
    assert night.end(signal.SIGHUP) == 0
    assert trainer.alive()
    assert night.ls()[0]["state"] == "running"
    (night.work / "go").touch()
    night.until_idle()
    assert steps(folder) == [(1, step) for step in range(40)]
    assert len(night.show("job-1")["attempts"]) == 1


@pytest.mark.promise
def test_stop_saves_every_training_first(night: Night) -> None:
    """SIGTERM ends the daemon after its trainings have saved; the next one resumes them."""
    folder = night.submit("job", args=f"--steps 40 --every 1000 --wait-for {night.work}/go")
    night.start()
    night.step("job-1", 7)
    trainer = night.trainer("job-1", 1)
    assert night.end(signal.SIGTERM) == 0
    assert not trainer.alive()
    assert night.ls()[0]["state"] == "queued"
    (night.work / "go").touch()
    night.until_idle()
    assert [step for _, step in steps(folder)] == list(range(40))
    assert [a["outcome"] for a in night.show("job-1")["attempts"]] == ["preempted", "done"]


@pytest.mark.parametrize(
    ("signum", "answers", "expected"),
    [
        (
            signal.SIGTERM,
            {"is-system-running": "running", "list-jobs": "77 rekindle.service restart running"},
            Stop.LEAVE_RUNNING,
        ),
        (
            signal.SIGTERM,
            {"is-system-running": "running", "list-jobs": "78 rekindle.service stop running"},
            Stop.SAVE_ALL,
        ),
        (
            signal.SIGTERM,
            {"is-system-running": "stopping", "list-jobs": "79 rekindle.service restart running"},
            Stop.SAVE_ALL,
        ),
        (
            signal.SIGTERM,
            {"is-system-running": "degraded", "list-jobs": "80 other.service restart running"},
            Stop.SAVE_ALL,
        ),
        (signal.SIGTERM, {}, Stop.SAVE_ALL),
        (signal.SIGINT, {"list-jobs": "81 rekindle.service restart running"}, Stop.SAVE_ALL),
        (signal.SIGHUP, {"is-system-running": "stopping"}, Stop.LEAVE_RUNNING),
    ],
)
def test_only_a_restart_of_its_own_unit_leaves_trainings_running(
    signum: int, answers: dict[str, str], expected: Stop
) -> None:
    """Whatever systemd does not clearly call a restart is an end: all is saved."""

    def ask(words: object) -> str | None:
        return next((text for verb, text in answers.items() if verb in str(words)), None)

    assert shutdown.decide(signum, ("rekindle.service", False), ask) is expected
    if signum == signal.SIGTERM:
        assert shutdown.decide(signum, None, ask) is Stop.SAVE_ALL


def test_the_own_unit_is_read_from_the_cgroup(monkeypatch: pytest.MonkeyPatch) -> None:
    """System and user services, hybrid and unified hierarchies; no service outside of systemd."""
    monkeypatch.setenv("INVOCATION_ID", "x")
    own = shutdown.own_unit
    assert own("0::/system.slice/rekindle.service\n") == ("rekindle.service", False)
    assert own("4:memory:/x\n1:name=systemd:/system.slice/rk.service\n0::/\n") == (
        "rk.service",
        False,
    )
    user = "0::/user.slice/user-1000.slice/user@1000.service/app.slice/rekindle.service\n"
    assert own(user) == ("rekindle.service", True)
    assert own("0::/user.slice/user-1000.slice/user@1000.service/tmux.scope\n") is None
    monkeypatch.delenv("INVOCATION_ID")
    assert own("0::/system.slice/rekindle.service\n") is None
