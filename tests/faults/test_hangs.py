"""A hung training is found, its stacks are logged, and it is retried."""

import signal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nights import Night, result
from rig import wait_for

from rekindle.jobs.keeper import hang_detector
from rekindle.jobs.keeper.hang_detector import HangDetector

QUICK = '[limits]\nhang_timeout = "1s"\nstop_grace = "1s"\n'


@pytest.mark.faults
@pytest.mark.parametrize("kind", [pytest.param("deadlock", marks=pytest.mark.promise), "gil"])
def test_a_hang_shows_its_stacks_and_is_ended_without_a_daemon(night: Night, kind: str) -> None:
    """A deadlock and a locked interpreter: the keeper finds it alone; TERM is deaf, so KILL."""
    folder = night.submit("job", args=f"--steps 20 --fault {kind}@12 --once", spec=QUICK)
    night.start()
    night.trainer("job-1", 1)
    night.end(signal.SIGKILL)
    wait_for(lambda: night.entries("job-1", "attempt_ended"), "the keeper ends it")
    log = night.home.run("job-1").log(1).read_text()
    dump = log.index("most recent call first")
    assert "no heartbeat for" in log[:dump]
    assert "in fail" in log[dump:]
    assert dump < log.index("the grace period is over")

    night.until_idle()
    shown = night.show("job-1")
    assert [a["cause"] for a in shown["attempts"]] == ["hang", "done"]
    assert shown["failures"] == 0
    assert (folder / "job.result.txt").read_text() == result(20)


@pytest.mark.faults
def test_a_stopped_process_is_woken_saves_and_loses_nothing(night: Night) -> None:
    """SIGSTOP: once woken it writes its stacks, saves, and ends by itself."""
    folder = night.submit(
        "job",
        args="--steps 60 --every 1000",
        spec='[limits]\nhang_timeout = "1s"\nstop_grace = "30s"\n',
    )
    night.start()
    night.step("job-1", 5)
    assert night.trainer("job-1", 1).send(signal.SIGSTOP)
    night.wait_state("job-1", "done")
    assert "stopped by a signal" in night.home.run("job-1").log(1).read_text()
    shown = night.show("job-1")
    assert [(a["cause"], a["exit_code"]) for a in shown["attempts"]] == [("hang", 75), ("done", 0)]
    assert shown["attempts"][1]["lost_steps"] in range(5)
    assert (folder / "job.result.txt").read_text() == result(60)
    assert [e["section"] for e in night.entries("job-1", "hung")] == ["step"]


@pytest.mark.faults
def test_hangs_have_a_count_of_their_own_that_ends_in_a_hold(night: Night) -> None:
    """The reason names the section; the count of failures is not touched."""
    night.submit(
        "job",
        args="--steps 20 --fault deadlock@3",
        spec='[retry]\nmax_failures = 2\nbackoff = "100ms..200ms"\n' + QUICK,
    )
    night.until_idle()
    shown = night.show("job-1")
    assert (shown["state"], shown["failures"]) == ("held", 0)
    assert [a["cause"] for a in shown["attempts"]] == ["hang", "hang"]
    assert "section step" in shown["reason"]


@pytest.mark.faults
def test_a_command_that_never_beats_is_not_taken_for_hung(night: Night) -> None:
    """Nobody asked it to; with a `hang_timeout` it is asked to."""
    night.submit_command("quiet", "-c", "import time; time.sleep(3)")
    night.submit_command(
        "asked", "-c", "import time; time.sleep(60)", spec="max_failures = 0\n" + QUICK
    )
    night.until_idle("--slots", "2")
    assert night.states() == {"quiet-1": "done", "asked-1": "held"}


def test_a_limit_is_learned_for_each_section() -> None:
    """Hours before anything was seen; then a multiple of the longest silence that ended well."""
    watch = HangDetector(None)
    assert not watch.look(0, None, 0.0)
    assert watch.limit() == hang_detector.UNSEEN_S["start"]
    now = 0.0
    for second in range(1, 100):
        now = float(second)
        assert not watch.look(second // 50, "step", now)
    assert watch.longest["start"] >= 49
    assert watch.limit() == hang_detector.UNSEEN_S["step"]
    watch.look("beat", "step", now)
    assert watch.limit() == max(
        hang_detector.SEEN_S["step"], hang_detector.TIMES_LONGEST * watch.longest["step"]
    )
    assert hang_detector.limit("step", {"step": 60.0}, timeout=None) == 20 * 60.0
    assert hang_detector.limit("step", {"step": 0.1, "compile": 900.0}, timeout=None) == 3 * 900.0
    assert hang_detector.limit("seek", {}, timeout=None) == 2 * 3600.0
    assert hang_detector.limit("seek", {"seek": 0.5, "compile": 900.0}, timeout=None) == 3 * 900.0
    assert hang_detector.limit("step", {"step": 60.0}, timeout=5.0) == 5.0


def test_what_earlier_attempts_saw_is_remembered() -> None:
    """A slow first step of yesterday is no hang today."""
    entries = [
        {"kind": "attempt_ended", "longest": {"step": 40.0, "start": 9}},
        {"kind": "attempt_ended", "longest": {"step": 2.0}},
        {"kind": "attempt_ended", "longest": "damaged"},
        {"kind": "attempt_ended"},
    ]
    assert hang_detector.seen_before(entries) == {"step": 40.0, "start": 9.0}


@given(st.lists(st.tuples(st.floats(0, 10_000), st.booleans()), max_size=60))
def test_a_keeper_that_slept_takes_no_sleep_for_a_hang(looks: list[tuple[float, bool]]) -> None:
    """However long the machine was suspended, silence grows by at most two looks at a time."""
    watch, now, mark = HangDetector(50.0), 0.0, 0
    watch.look(mark, "step", now)
    quiet = 0
    for pause, beats in looks:
        now += pause
        mark += beats
        quiet = 0 if beats else quiet + 1
        hung = watch.look(mark, "step", now)
        assert not hung or quiet * 2 * hang_detector.LOOK_S > 50.0
