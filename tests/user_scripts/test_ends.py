"""Verdicts on how a script ends, with a real daemon, real signals and real training."""

import json
import os
from pathlib import Path

import pytest
from lives import Lives
from rig import ROOT, Rig, wait_for

from rekindle.daemon.verdict import outcome
from rekindle.state.run import journal

HERE = ROOT / "tests/scripts/ends"
OWN = ("exit0", "os_exit", "interrupt", "swallow", "flag", "chain")


def own_sigterm(rig: Rig, work: Path, how: str, grace: str = "60s") -> Path:
    """Drop a training that handles SIGTERM itself; return the file that it writes at its end."""
    folder = work / how
    folder.mkdir(parents=True)
    rig.drop(
        f'name = "{how}"\nscript = "{HERE / "own_sigterm.py"}"\nworkdir = "{folder}"\n'
        f'args = ["{how}", "{folder / "result"}"]\n[checkpoint]\nevery = "7 steps"\n'
        f'[limits]\nstop_grace = "{grace}"\n[retry]\nbackoff = "200ms..1s"\n',
        f"{how}.toml",
    )
    return folder / "result"


def trains(rig: Rig, job: str) -> bool:
    return any(e["step"] > 0 for e in rig.entries(job, "checkpoint_committed"))


@pytest.mark.slow(60)  # seven trainings, each stopped once
def test_a_script_with_a_handler_of_its_own_is_preempted_and_resumes(
    rig: Rig, tmp_path: Path
) -> None:
    """However the handler ends it: not done before its end, no step repeated, the same model."""
    result = own_sigterm(rig, tmp_path, "none")
    assert rig.start("--until-idle").wait(120) == 0
    calm = result.read_text()
    results = {f"{how}-1": own_sigterm(rig, tmp_path, how) for how in OWN}
    rig.start("--slots", str(len(OWN)))
    wait_for(lambda: all(trains(rig, job) for job in results), "all train", 180)
    assert rig.end(seconds=120) == 0
    for job in results:
        shown = rig.show(job)
        assert (shown["state"], shown["attempts"][-1]["cause"]) == ("queued", "preempted"), shown
        assert shown["failures"] == 0
        assert "my own handler" in rig.home.run(job).log(1).read_text()
    assert rig.start("--until-idle", "--slots", "2").wait(300) == 0
    for job, result in results.items():
        shown = rig.show(job)
        assert shown["state"] == "done", shown["reason"]
        assert result.read_text() == calm, job
        # saved at the end of the step in which the signal arrived, before the handler is called;
        # a flag ends the training a step later
        assert shown["attempts"][1]["lost_steps"] <= (job == "flag-1"), job
        assert shown["attempts"][1]["from_step"] > 0, job
        # the end of the epoch that a flag cut short is none to compare
        proved = shown["attempts"][1]["receipt"]["proved"]
        assert not [one for one in proved if one["result"] == "different"], job


@pytest.mark.slow(20)
@pytest.mark.parametrize("how", ["exit0", "ignore", "default"])
def test_stop_holds_a_script_that_ends_well_by_its_own_handler(
    rig: Rig, tmp_path: Path, how: str
) -> None:
    """`rekindle stop`, then `release`: held, then done; at most one save interval is repeated."""
    result = own_sigterm(rig, tmp_path, how, grace="5s")
    rig.start()
    wait_for(lambda: trains(rig, f"{how}-1"), "it trains", 120)
    rig.cli("stop", f"{how}-1")
    held = rig.wait_state(f"{how}-1", "held", "done")
    assert held["state"] == "held", held
    assert not result.exists()
    rig.cli("release", f"{how}-1")
    rig.wait_state(f"{how}-1", "done")
    shown = rig.show(f"{how}-1")
    assert result.exists()
    assert shown["attempts"][1]["from_step"] > 0
    assert shown["attempts"][1]["lost_steps"] <= 7


def short(rig: Rig, work: Path, how: str, stages: int = 1) -> Path:
    folder = work / how
    folder.mkdir(parents=True)
    rig.drop(
        f'name = "{how}"\nscript = "{HERE / "after_training.py"}"\nworkdir = "{folder}"\n'
        f'args = ["{how}", "{stages}"]\n[checkpoint]\nevery = "epoch"\n'
        '[retry]\nbackoff = "100ms..200ms"\n',
        f"{how}.toml",
    )
    return folder


@pytest.mark.slow(30)  # an export and five attempts with Keras
def test_a_failure_after_the_training_is_held_and_its_hints_work(rig: Rig, tmp_path: Path) -> None:
    """Held at once, with the line; the model can be exported, and `release` runs the rest."""
    folder = short(rig, tmp_path, "type")
    network = short(rig, tmp_path, "network", stages=2)
    assert rig.start("--until-idle").wait(120) == 0
    shown = rig.show("type-1")
    assert (shown["state"], [a["cause"] for a in shown["attempts"]]) == ("held", ["after_training"])
    line = next(
        n
        for n, text in enumerate((HERE / "after_training.py").read_text().splitlines(), 1)
        if "model.save(3)" in text
    )
    assert "training is finished; the script failed after it" in shown["reason"]
    assert f"after_training.py:{line}: " in shown["reason"]

    export = shown["hint"].split("`")[1].split()
    assert export[:3] == ["rekindle", "export", "type-1"]
    rig.cli(*export[1:4], str(tmp_path / export[4]))
    assert (tmp_path / export[4]).exists()

    # a transient failure is retried automatically, without training
    again = rig.show("network-1")
    assert (again["state"], [a["cause"] for a in again["attempts"]]) == ("done", ["crash", "done"])
    assert again["attempts"][1]["receipt"] is None
    assert (network / "model.keras").exists()

    (folder / "corrected").touch()
    rig.start()
    release = shown["hint"].split("`")[3].split()
    rig.cli(*release[1:])
    rig.wait_state("type-1", "done")
    shown = rig.show("type-1")
    assert shown["attempts"][1]["receipt"] is None
    assert (folder / "model.keras").exists()
    assert [e["epoch"] for e in shown["epochs"]] == [0, 1, 2]


@pytest.mark.slow(40)  # seven attempts with Keras
def test_an_end_inside_a_training_without_a_request_is_done_and_named(
    rig: Rig, tmp_path: Path
) -> None:
    """The script decided so; `retry` continues. A relaunch that fails on leftovers is held."""
    for how in ("exit0", "caught", "stopped"):
        short(rig, tmp_path, how)
    mkdir = short(rig, tmp_path, "mkdir")
    assert rig.start("--until-idle", "--slots", "2").wait(180) == 0
    for how in ("exit0", "caught", "stopped"):
        assert rig.show(f"{how}-1")["state"] == "done"
    assert "inside an unfinished training (epoch 2 of 3" in rig.show("exit0-1")["reason"]
    assert "rekindle retry exit0-1" in rig.show("exit0-1")["hint"]
    assert "inside an unfinished training (epoch 2 of 3" in rig.show("caught-1")["reason"]
    assert rig.show("stopped-1")["reason"] == "The script ended with exit code 0."

    shown = rig.show("mkdir-1")
    assert (shown["state"], [a["cause"] for a in shown["attempts"]]) == (
        "held",
        ["crash", "permanent"],
    )
    assert "File exists: 'out'" in shown["reason"]
    assert os.system(shown["hint"].split("`")[1]) == 0
    assert (mkdir / "out.attempt-1").exists()
    rig.start()
    rig.cli("release", "mkdir-1")
    rig.wait_state("mkdir-1", "done")
    assert rig.show("mkdir-1")["attempts"][2]["from_epoch"] == 1
    rig.cli("retry", "exit0-1")
    wait_for(lambda: len(rig.show("exit0-1")["attempts"]) == 2, "it is retried")
    rig.wait_state("exit0-1", "done")


OWN_HANDLER = (
    "import os, signal, sys, time\nsignal.signal(signal.SIGTERM, lambda s, f: {})\n"
    "os.kill(os.getpid(), signal.SIGTERM)\ntime.sleep(5)\n"
)
SPINS = {
    "exit75": "import sys\nprint('x')\nsys.exit(75)\n",
    "osexit75": "import os\nos._exit(75)\n",
    # sent to itself: with our handler, and with its own that succeeds
    "selfterm": "import os, signal, time\nos.kill(os.getpid(), 15)\ntime.sleep(5)\n",
    "selfown": OWN_HANDLER.format("sys.exit(0)"),
    "selfos": OWN_HANDLER.format("os._exit(0)"),
}


@pytest.mark.slow(15)  # twelve starts
def test_saved_without_a_request_or_a_checkpoint_ends_in_a_hold(rig: Rig, tmp_path: Path) -> None:
    """Counted as failures, with backoff; the job behind them runs."""
    runs = {}
    for name, text in SPINS.items():
        (tmp_path / f"{name}.py").write_text(text)
        runs[name] = f'script = "{tmp_path / name}.py"'
    runs["command"] = f'command = ["sh", "-c", "exit 75"]\nworkdir = "{tmp_path}"'
    for name, what in runs.items():
        rig.drop(
            f'name = "{name}"\n{what}\n[retry]\nmax_failures = 2\nbackoff = "100ms..200ms"\n',
            f"{name}.toml",
        )
    (tmp_path / "behind.py").write_text("print('my turn')\n")
    rig.drop(f'name = "behind"\nscript = "{tmp_path / "behind.py"}"\n', "zzz.toml")
    assert rig.start("--until-idle").wait(120) == 0, rig.log.read_text()[-3000:]
    assert rig.show("behind-1")["state"] == "done"
    for name in runs:
        shown = rig.show(f"{name}-1")
        assert (shown["state"], [a["cause"] for a in shown["attempts"]]) == (
            "held",
            ["crash"] * 2,
        ), (name, shown["reason"])
        assert "without a new checkpoint" in shown["reason"]


@pytest.mark.slow  # five attempts
def test_a_command_may_save_and_ask_to_be_resumed(rig: Rig, tmp_path: Path) -> None:
    """Exit 75 after a new checkpoint, e.g. at its own time limit, is no failure."""
    code = (
        'cd "$REKINDLE_RUN_DIR/checkpoints"; n=$((REKINDLE_INITIAL_EPOCH + 1)); '
        "[ $n -gt 4 ] && exit 0; "
        'mkdir .tmp-x; mv .tmp-x $(printf "e%04d-s%08d" $n $n); exit 75'
    )
    rig.drop(
        f'name = "self"\ncommand = {json.dumps(["sh", "-c", code])}\n'
        f'workdir = "{tmp_path}"\n[retry]\nmax_failures = 0\n',
        "self.toml",
    )
    assert rig.start("--until-idle").wait(60) == 0
    shown = rig.show("self-1")
    assert (shown["state"], [a["cause"] for a in shown["attempts"]]) == (
        "done",
        ["preempted"] * 4 + ["done"],
    )


@pytest.mark.slow  # two attempts
def test_what_a_killed_command_repeats_is_unknown_and_never_nothing(
    rig: Rig, tmp_path: Path
) -> None:
    """Its steps are not counted: null; "all of it" without a checkpoint; 0 for the first."""
    code = (
        '[ $REKINDLE_ATTEMPT = 1 ] && kill -9 $$; cd "$REKINDLE_RUN_DIR/checkpoints"; '
        "if [ $REKINDLE_ATTEMPT = 2 ]; then mkdir .tmp-x; mv .tmp-x e0001-s00000010; "
        "kill -9 $$; fi"
    )
    rig.drop(
        f'name = "c"\ncommand = {json.dumps(["sh", "-c", code])}\nworkdir = "{tmp_path}"\n'
        '[retry]\nbackoff = "100ms..200ms"\n',
        "c.toml",
    )
    assert rig.start("--until-idle").wait(60) == 0
    attempts = rig.show("c-1")["attempts"]
    assert [a["lost_steps"] for a in attempts] == [0, None, None]
    assert [a["receipt"]["lost_steps"] for a in attempts] == [0, None, None]
    assert [a["receipt"]["checkpoint"] for a in attempts] == [None, None, "e0001-s00000010"]
    page = rig.cli("show", "c-1")
    assert "all steps" in page
    assert "unknown" in page
    # a rebuilt ledger says the same
    rig.home.ledger.unlink()
    rig.cli("verify", "--rebuild", code=None)
    assert [a["lost_steps"] for a in rig.show("c-1")["attempts"]] == [0, None, None]


def test_a_command_that_exits_0_after_sigterm_is_done_and_this_is_reported(
    rig: Rig, tmp_path: Path
) -> None:
    """Its exit code decides; the hint names the code for the other case."""
    code = "trap 'exit 0' TERM; touch started; while :; do sleep 0.1; done"
    rig.drop(
        f'name = "c"\ncommand = {json.dumps(["sh", "-c", code])}\nworkdir = "{tmp_path}"\n',
        "c.toml",
    )
    rig.start()
    wait_for((tmp_path / "started").exists, "it runs")
    rig.cli("stop", "c-1")
    row = rig.wait_state("c-1", "done")
    assert "after SIGTERM" in row["reason"]
    assert "75" in row["hint"]
    again = row["hint"].split("`")[1].split()
    rig.cli(*again[1:])
    wait_for(lambda: len(rig.entries("c-1", "attempt_started")) == 2, "it is started once more")


def test_a_crash_after_progress_is_relaunched_after_a_second(rig: Rig, tmp_path: Path) -> None:
    """With the default backoff of ten seconds, which applies from the second failure on."""
    plain = ROOT / "tests/faults/plain.py"
    rig.drop(
        f'name = "job"\nscript = "{plain}"\nworkdir = "{tmp_path}"\nlive = true\n'
        'args = ["--steps", "40", "--fault", "abort@12"]\n',
        "job.toml",
    )
    rig.start()

    def waits() -> list[float]:
        return (
            [
                e["next_at"] - e["at"]
                for e in rig.entries("job-1", "state_changed")
                if e["state"] == "waiting"
            ]
            if rig.home.run("job-1").journal.exists()
            else []
        )

    wait_for(lambda: len(waits()) == 1, "it crashes")
    assert waits() == [pytest.approx(1.0, abs=0.01)]
    wait_for(lambda: len(rig.entries("job-1", "attempt_started")) == 2, "it is relaunched")
    # a second failure at the same batch: held, not retried
    row = rig.wait_state("job-1", "held")
    assert "step 12" in row["reason"]
    began, ended = (rig.entries("job-1", kind) for kind in ("attempt_started", "attempt_ended"))
    assert began[1]["t"] - ended[0]["t"] < 9


@pytest.mark.slow  # sixteen attempts, most of them forked
@pytest.mark.parametrize("shape", ["steps", "epochs"])
@pytest.mark.parametrize("how", ["exit0", "interrupt", "break", "stop", "os_exit"])
def test_a_loop_that_the_script_s_handler_ends_is_not_over(
    tmp_path: Path, how: str, shape: str
) -> None:
    """By an exception, by `break`, by `loop.stop()`: it is resumed, with the same result."""
    calm = Lives(tmp_path / "calm", HERE / "own_loop.py", args=["calm", shape])
    calm.attempt = 1  # the signal is for the first attempt
    lives = Lives(tmp_path / "stopped", HERE / "own_loop.py", args=[how, shape])
    try:
        calm.start()
        assert calm.wait()["exit_code"] == 0, calm.log()
        lives.start()
        end = lives.wait()
        assert (end["exit_code"], end["stop_requested"]) == (0, True), lives.log()
        facts = outcome.read(journal.replay(lives.run.journal).entries, 1)
        assert facts.cause == "preempted"
        assert facts.unfinished is not None
        assert lives.entries("stage_ended") == []
        lives.start()
        assert lives.wait()["exit_code"] == 0, lives.log()
        assert outcome.read(journal.replay(lives.run.journal).entries, 2).cause == "done"
    finally:
        calm.close()
        lives.close()
    assert (lives.work / "result").read_text() == (calm.work / "result").read_text()
    receipt = lives.entries("resumed")[1]
    assert receipt["step"] >= 23
    assert receipt["lost_steps"] <= 8
