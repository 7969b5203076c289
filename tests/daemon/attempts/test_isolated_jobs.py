"""An error of one job affects no other: those behind it run, and the daemon ends on request."""

import shutil
import signal
from pathlib import Path

import pytest
from rig import Rig

LONG = "trap 'exit 75' TERM; while :; do sleep 0.05; done"


def spec(name: str, shell: str, *lines: str) -> str:
    return "\n".join([f'name = "{name}"', f'command = ["/bin/sh", "-c", "{shell}"]', *lines, ""])


@pytest.mark.parametrize("damage", ["no run directory", "no lock", "no spec"])
def test_a_job_that_cannot_be_started_is_held_and_the_next_one_runs(rig: Rig, damage: str) -> None:
    """Any fault of its run directory: the job is held with the fault and a hint."""
    rig.start("--slots", "1")
    rig.cli("pause")
    rig.drop(spec("broken", "true"), "broken.toml")
    rig.wait_state("broken-1", "waiting")
    rig.drop(spec("sound", "true"), "sound.toml")
    rig.wait_state("sound-1", "waiting")
    run = rig.home.run("broken-1")
    if damage == "no run directory":
        shutil.rmtree(run.root)
    elif damage == "no lock":
        run.lock.unlink(missing_ok=True)
        run.lock.mkdir()
    else:
        run.job_file.unlink()
    rig.cli("resume")
    rig.wait_state("sound-1", "done")
    held = rig.wait_state("broken-1", "held")
    assert held["reason"].startswith("Its run directory cannot be used: ")
    assert str(run.root) in held["reason"]
    assert held["attempts"] == 0


def test_a_job_whose_run_directory_vanishes_gives_its_place_back(rig: Rig, tmp_path: Path) -> None:
    """It can be cancelled, the next one has its slot, and a daemon with such a job ends."""
    rig.start("--slots", "1")
    rig.drop(spec("gone", LONG), "gone.toml")
    rig.wait_state("gone-1", "running")
    rig.drop(spec("next", LONG), "next.toml")
    rig.home.run("gone-1").root.rename(tmp_path / "gone")
    rig.cli("cancel", "gone-1", code=None)
    rig.wait_state("gone-1", "cancelled")
    rig.wait_state("next-1", "running")
    rig.home.run("next-1").root.rename(tmp_path / "next")
    assert rig.end(signal.SIGTERM, seconds=30) == 0
    rig.start()
    held = rig.wait_state("next-1", "held")
    assert held["reason"] == "Its run directory is gone."


@pytest.mark.slow(25)  # seventeen jobs, one after the other
def test_jobs_that_cannot_begin_yet_let_others_pass(rig: Rig) -> None:
    """However many wait for the weights of a job that runs, a free slot is used."""
    rig.start("--slots", "2")
    rig.drop(spec("base", LONG), "base.toml")
    rig.wait_state("base-1", "running")
    rig.cli("pause")
    for number in range(14):
        rig.drop('warm_start = "base-1:last"\n' + spec(f"t{number}", "true"), f"t{number}.toml")
        rig.wait_state(f"t{number}-1", "waiting")
    rig.drop(spec("plain", "true"), "plain.toml")
    rig.wait_state("plain-1", "waiting")
    rig.cli("resume")
    rig.wait_state("plain-1", "done", seconds=30)
    assert {rig.show(f"t{number}-1")["reason"] for number in range(14)} == {
        "It waits for base-1, whose weights it starts with."
    }


def test_a_keeper_that_cannot_work_is_counted_and_says_why(rig: Rig) -> None:
    """It is not restarted every second for ever: backoff, a count, and the keeper's last line."""
    rig.start("--slots", "1")
    rig.cli("pause")
    rig.drop(spec("k", "true", "[retry]", "max_failures = 2", 'backoff = "1s..2s"'), "k.toml")
    rig.wait_state("k-1", "waiting")
    run = rig.home.run("k-1")
    shutil.rmtree(run.logs, ignore_errors=True)
    run.logs.write_text("in the way")
    rig.cli("resume")
    rig.wait_state("k-1", "held")
    held = rig.show("k-1")
    assert "Its keeper ended before the training was started" in held["reason"]
    assert "logs" in held["reason"]
    assert len(held["attempts"]) == 2
    assert {attempt["cause"] for attempt in held["attempts"]} == {"lost"}
