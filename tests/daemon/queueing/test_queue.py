"""The queue with a real daemon: order, dependencies, pause, windows and time limits."""

import json
import signal
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from rig import ROOT, Rig, wait_for

from rekindle.jobs.process import Identity
from rekindle.state.run import checkpoints, tensors

# saves at once when it is asked to end, like a trainer
LONG = "trap 'exit 75' TERM; echo up; while :; do sleep 0.05; done"


def command(shell: str, *lines: str, name: str = "job") -> str:
    """A spec whose job is a shell's one-liner; ``lines`` are further lines of TOML."""
    top = [line for line in lines if not line.startswith("[")]
    tables = [line for line in lines if line.startswith("[")]
    return "\n".join(
        [
            f'name = "{name}"',
            f"command = {json.dumps(['/bin/sh', '-c', shell])}",
            *top,
            *[table.replace("]", "]\n", 1) for table in tables],
            "",
        ]
    )


def starts(rig: Rig) -> list[str]:
    """The jobs in the order of their starts."""
    found = [
        (entry["t"], run.id) for run in rig.runs() for entry in rig.entries(run, "attempt_started")
    ]
    return [job for _, job in sorted(found)]


def tz_at(wall: str) -> str:
    """A TZ in which it is ``wall`` (HH:MM:SS) now: real clocks, and no waiting for the night."""
    now = datetime.now(tz=UTC)
    hours, minutes, seconds = (int(part) for part in wall.split(":"))
    wanted = now.replace(hour=hours, minute=minutes, second=seconds, microsecond=0)
    ahead = wanted - now.replace(microsecond=0)
    if ahead > timedelta(hours=12):
        ahead -= timedelta(days=1)
    elif ahead < timedelta(hours=-12):
        ahead += timedelta(days=1)
    total = int(ahead.total_seconds())
    # POSIX counts westwards
    sign, left = ("-", total) if total >= 0 else ("+", -total)
    return f"TST{sign}{left // 3600:02d}:{left // 60 % 60:02d}:{left % 60:02d}"


@pytest.mark.slow(10)  # five jobs, one after the other
def test_priority_then_arrival_and_nothing_before_what_it_waits_for(rig: Rig) -> None:
    """One slot; the journals show the order of starts."""
    for name, lines in (
        ("a", []),
        ("b", ["priority = -1"]),
        ("c", ['after = ["d"]']),
        ("d", []),
        ("e", ["priority = 5"]),
        ("f", ["priority = 9", 'after = ["b-1"]']),
    ):
        rig.drop(command("true", *lines, name=name), f"{name}.toml")
    assert rig.start("--until-idle").wait(60) == 0

    assert starts(rig) == ["e-1", "a-1", "d-1", "c-1", "b-1", "f-1"]
    reasons = [
        event["data"]["reason"]
        for event in rig.show("c-1")["events"]
        if event["kind"] == "job_waiting"
    ]
    assert reasons[-1] == "It waits for d-1."


def test_what_every_job_waits_for_is_told_in_words_and_written_once(rig: Rig) -> None:
    """No line in the ledger at every tick."""
    rig.drop(command(LONG, name="long"), "1.toml")
    rig.start()
    rig.wait_state("long-1", "running")
    rig.drop(command("true", name="next"), "2.toml")
    rig.drop(command("true", 'after = ["long"]', name="after"), "3.toml")
    rig.drop(command("true", 'after = ["nobody-7"]', name="lost"), "4.toml")
    rig.drop(command("true", "[resources]gpus = 2", name="wide"), "5.toml")
    states = {
        "next-1": ("waiting", "It waits for a CPU slot."),
        "after-1": ("waiting", "It waits for long-1."),
        "lost-1": ("waiting", "It waits for nobody-7, and there is no such job."),
        "wide-1": ("held", "It asks for 2 GPUs, and this host has none."),
    }

    def has_reasons() -> bool:
        return {
            row["id"]: (row["state"], row["reason"]) for row in rig.ls() if row["id"] != "long-1"
        } == states

    wait_for(has_reasons, "each job has its reason")
    before = {job: len(rig.show(job)["events"]) for job in states}
    rig.drop(command("true", name="later"), "6.toml")
    rig.wait_state("later-1", "waiting")  # some ticks have passed
    assert {job: len(rig.show(job)["events"]) for job in states} == before
    assert rig.show("wide-1")["hint"]
    assert rig.show("lost-1")["hint"]


def test_a_job_whose_predecessor_failed_is_held_until_that_is_mended(
    rig: Rig, tmp_path: Path
) -> None:
    """The hint works: `retry`, then `release`, and both jobs are done."""
    flag = tmp_path / "fixed"
    rig.drop(command(f"test -e {flag}", name="first"), "1.toml")
    rig.drop(command("true", 'after = ["first"]', name="second"), "2.toml")
    rig.start()
    rig.wait_state("second-1", "waiting")
    rig.cli("cancel", "first-1")
    held = rig.wait_state("second-1", "held")
    assert held["reason"] == "first-1, which it waits for, was cancelled."
    assert "rekindle retry first-1" in held["hint"]
    flag.touch()
    rig.cli("retry", "first-1")
    rig.cli("release", "second-1")
    assert rig.wait_state("second-1", "done")
    assert starts(rig)[-2:] == ["first-1", "second-1"]


def test_jobs_that_wait_for_each_other_are_held_and_not_left_waiting(rig: Rig) -> None:
    """The circle is named."""
    rig.drop(command("true", 'after = ["b"]', name="a"), "1.toml")
    rig.drop(command("true", 'after = ["a"]', name="b"), "2.toml")
    assert rig.start("--until-idle").wait(60) == 0
    rows = {row["id"]: row for row in rig.ls()}
    held = [row for row in rows.values() if row["state"] == "held"]
    assert held
    assert "waits for itself" in held[0]["reason"]
    assert {row["state"] for row in rows.values()} <= {"held", "waiting"}


def test_a_series_waits_for_the_one_before_of_its_own_name(rig: Rig) -> None:
    """The first of the series has nothing to wait for."""
    for n in range(3):
        rig.drop(command("true", 'after = ["nightly"]', name="nightly"), f"{n}.toml")
    assert rig.start("--until-idle", "--slots", "3").wait(60) == 0
    assert starts(rig) == ["nightly-1", "nightly-2", "nightly-3"]
    assert {row["state"] for row in rig.ls()} == {"done"}


def test_slots_bound_what_runs_at_once(rig: Rig) -> None:
    """Two of three run; the third says that it waits for a slot."""
    for n in range(3):
        rig.drop(command(LONG, name="long"), f"{n}.toml")
    rig.start("--slots", "2")
    rig.wait_state("long-2", "running")
    assert "CPU slot" in rig.wait_state("long-3", "waiting")["reason"]
    assert [row["state"] for row in rig.ls()] == ["running", "running", "waiting"]
    rig.cli("stop", "long-1")
    rig.wait_state("long-3", "running")


def test_a_changed_priority_changes_who_is_next(rig: Rig) -> None:
    """The running job is not interrupted."""
    rig.drop(command(LONG, name="long"), "1.toml")
    rig.start()
    rig.wait_state("long-1", "running")
    for n, name in enumerate(("a", "b")):
        rig.drop(command("true", name=name), f"{n}.toml")
        rig.wait_state(f"{name}-1", "waiting")
    assert "priority is 7" in rig.cli("priority", "b-1", "7")
    assert rig.show("b-1")["priority"] == 7
    assert rig.show("long-1")["state"] == "running"
    rig.cli("stop", "long-1")
    rig.wait_state("a-1", "done")
    assert starts(rig) == ["long-1", "b-1", "a-1"]


def test_a_paused_queue_starts_nothing_until_it_is_resumed_restarts_included(rig: Rig) -> None:
    """Running jobs continue; the pause survives a killed daemon and a rebuilt ledger."""
    rig.drop(command(LONG, name="long"), "1.toml")
    rig.start("--slots", "2")
    rig.wait_state("long-1", "running")
    assert "nothing new is started" in rig.cli("pause")
    rig.drop(command("true", name="next"), "2.toml")
    assert rig.wait_state("next-1", "waiting")["reason"] == "The queue is paused."
    assert rig.show("long-1")["state"] == "running"
    rig.end(signal.SIGKILL)
    rig.home.ledger.unlink()
    rig.cli("verify", "--rebuild", code=None)
    rig.start("--slots", "2")
    assert rig.wait_state("next-1", "waiting")["reason"] == "The queue is paused."
    assert "The queue is resumed." in rig.cli("resume")
    rig.wait_state("next-1", "done")
    assert rig.show("long-1")["state"] == "running"
    assert len(rig.show("long-1")["attempts"]) == 1


def test_pause_now_saves_what_runs_and_it_goes_on_after_resume(rig: Rig) -> None:
    """It is no failure, and the job is first again."""
    rig.drop(command(LONG, name="long"), "1.toml")
    rig.start()
    rig.wait_state("long-1", "running")
    assert "save" in rig.cli("pause", "--now")
    assert rig.wait_state("long-1", "waiting")["reason"] == "The queue is paused."
    shown = rig.show("long-1")
    assert (shown["attempts"][0]["cause"], shown["failures"]) == ("paused", 0)
    rig.cli("resume")
    rig.wait_state("long-1", "running")


def test_a_request_to_pause_works_while_the_daemon_is_down(rig: Rig) -> None:
    """Not one job starts before it is read."""
    rig.cli("pause")
    rig.drop(command("true"), "1.toml")
    rig.start()
    assert rig.wait_state("job-1", "waiting")["reason"] == "The queue is paused."
    assert starts(rig) == []


@pytest.mark.slow(15)  # waits for a runtime to pass
def test_a_job_over_its_max_runtime_is_saved_and_held_and_can_be_given_more(rig: Rig) -> None:
    """The time of all attempts counts; the hint resumes the job."""
    rig.drop(command(LONG, '[limits]max_runtime = "8s"'), "1.toml")
    rig.start()
    rig.wait_state("job-1", "running")
    started = rig.entries("job-1", "attempt_started")[0]
    wait_for(lambda: time.time() > started["t"] + 2.5, "half of its time is over")
    # a preemption, of which the keeper knows: what ran counts
    assert Identity(started["keeper_pid"], started["keeper_start"], started["boot_id"]).send(
        signal.SIGTERM
    )
    held = rig.wait_state("job-1", "held")
    assert "max_runtime" in held["reason"]
    assert "--max-runtime" in held["hint"]
    attempts = rig.show("job-1")["attempts"]
    assert [a["cause"] for a in attempts] == ["preempted", "max_runtime"]
    assert attempts[0]["seconds"] > 2
    assert attempts[1]["seconds"] < 7
    assert "--max-runtime" in rig.call("release", "job-1").stderr
    assert "max_runtime" in rig.wait_state("job-1", "held")["reason"]
    assert len(rig.show("job-1")["attempts"]) == 2
    rig.cli("release", "job-1", "--max-runtime", "1h")
    rig.wait_state("job-1", "running")
    assert rig.show("job-1")["spec"]["limits"]["max_runtime"] == 3600


@pytest.mark.slow(20)  # waits for a window to close
def test_a_window_that_closes_frees_the_slot_and_the_job_comes_back_at_night(rig: Rig) -> None:
    """By the wall clock of the daemon's time zone; others run in the meantime."""
    rig.drop(command(LONG, '[limits]window = "22:00-07:00"', name="night"), "1.toml")
    rig.start(TZ=tz_at("06:59:45"))
    rig.wait_state("night-1", "running")
    rig.drop(command("true", name="day"), "2.toml")
    waiting = rig.wait_state("night-1", "waiting")
    assert waiting["reason"] == "It waits until 22:00, when its window 22:00-07:00 opens."
    rig.wait_state("day-1", "done")
    assert rig.show("night-1")["attempts"][0]["cause"] == "window"
    assert rig.end() == 0
    rig.start(TZ=tz_at("21:59:56"))
    rig.wait_state("night-1", "running")
    assert datetime.fromtimestamp(rig.show("night-1")["attempts"][1]["started_at"], tz=UTC)
    assert rig.show("night-1")["failures"] == 0


@pytest.mark.slow(25)  # three starts of TensorFlow
def test_a_training_whose_window_closes_goes_on_at_the_same_batch_the_next_night(
    rig: Rig, tmp_path: Path
) -> None:
    """Real Keras, adopted by the daemon that closes its window: no step lost, the same bits."""
    script = ROOT / "examples" / "digits" / "train.py"

    def spec(name: str) -> str:
        return (
            f'name = "{name}"\nscript = "{script}"\nworkdir = "{tmp_path}"\n'
            'args = ["--epochs", "12"]\n[limits]\nwindow = "22:00-07:00"\n'
        )

    rig.drop(spec("night"), "1.toml")
    rig.start(TZ=tz_at("23:00:00"))
    rig.wait_epochs("night-1", 1)
    rig.end(signal.SIGKILL)
    rig.start(TZ=tz_at("12:00:00"))
    assert "until 22:00" in rig.wait_state("night-1", "waiting")["reason"]
    assert rig.end() == 0
    rig.drop(spec("calm"), "2.toml")
    assert rig.start("--until-idle", TZ=tz_at("23:00:00")).wait(240) == 0

    night, calm = rig.show("night-1"), rig.show("calm-1")
    first, second = night["attempts"]
    assert (first["cause"], second["cause"], len(calm["attempts"])) == ("window", "done", 1)
    # up to 4 steps are trained after the save, to be repeated
    assert second["lost_steps"] in range(5)
    assert first["to_step"] == second["from_step"] + second["lost_steps"]
    assert 0 < second["from_step"] < calm["attempts"][0]["to_step"]
    assert [e["logs"] for e in night["epochs"]] == [e["logs"] for e in calm["epochs"]]
    states = [
        checkpoints.latest_good(rig.home.run(job).checkpoints).checkpoint
        for job in ("night-1", "calm-1")
    ]
    assert all(states)
    one, other = (
        {name: array.tobytes() for name, array in tensors.load(found.state)[0].items()}
        for found in states
        if found is not None
    )
    assert one == other
