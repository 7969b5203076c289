"""Each cause is distinguished from the others, by the real fault in a real process."""

import os
import signal
from pathlib import Path

import pytest
from nights import Night, result, steps
from rig import wait_for

from rekindle.jobs.keeper.memory_limit import MemoryLimit
from rekindle.state import durable

pytestmark = pytest.mark.faults


def causes(night: Night, job: str) -> list[str]:
    return [a["cause"] for a in night.show(job)["attempts"]]


@pytest.mark.parametrize(("kind", "signum"), [("fault", signal.SIGSEGV), ("abort", signal.SIGABRT)])
def test_a_fault_in_native_code_is_a_crash_with_its_stack_in_the_log(
    night: Night, kind: str, signum: int
) -> None:
    """SIGSEGV and SIGABRT: the log shows where, and the next attempt resumes."""
    folder = night.submit("job", args=f"--steps 20 --fault {kind}@12 --once")
    night.until_idle()
    first = night.show("job-1")["attempts"][0]
    assert (first["cause"], first["signal"]) == ("crash", signum)
    assert "in fail" in night.home.run("job-1").log(1).read_text()
    assert night.states() == {"job-1": "done"}
    assert steps(folder)[-8 - 2 :] == [(2, step) for step in range(10, 20)]
    assert (folder / "job.result.txt").read_text() == result(20)


def test_an_exit_code_is_a_crash_and_the_count_ends_in_a_hold(night: Night) -> None:
    """A loop without progress is tried max_failures times and then held, with its reason."""
    night.submit_command("job", "-c", "import sys; sys.exit(9)", spec="max_failures = 2\n")
    night.until_idle()
    shown = night.show("job-1")
    assert shown["state"] == "held"
    assert "exit code 9" in shown["reason"]
    assert [(a["cause"], a["exit_code"]) for a in shown["attempts"]] == [("crash", 9)] * 2


def test_progress_takes_the_count_back(night: Night) -> None:
    """Three kills, each after a new checkpoint, are no loop where two in a row would be."""
    night.submit(
        "job",
        args="--steps 60 --every 2 --pause 0.03",
        spec='[retry]\nmax_failures = 2\nbackoff = "100ms..200ms"\n',
    )
    night.start()
    for attempt in (1, 2, 3):
        trainer = night.trainer("job-1", attempt)

        def saved(n: int = attempt) -> bool:
            return (
                len(
                    [e for e in night.entries("job-1", "checkpoint_committed") if e["attempt"] == n]
                )
                > 1
            )

        wait_for(saved, "it saves")
        assert trainer.send(signal.SIGKILL)
    night.wait_state("job-1", "done")
    assert causes(night, "job-1") == ["crash"] * 3 + ["done"]


def test_a_mistake_fails_after_two_tries_with_its_traceback(night: Night) -> None:
    """The same exception twice before any step: no night is spent on it."""
    night.submit("job", args="--fault raise@start")
    night.until_idle()
    shown = night.show("job-1")
    assert (shown["state"], causes(night, "job-1")) == ("failed", ["crash", "mistake"])
    assert "bad record" in shown["reason"]
    assert "in fail" in night.cli("show", "job-1")


@pytest.mark.parametrize("kind", ["raise", pytest.param("fault", marks=pytest.mark.promise)])
def test_a_poison_batch_is_named_and_held(night: Night, kind: str) -> None:
    """An exception, or a fault in native code, at the same batch twice."""
    night.submit("job", args=f"--steps 20 --fault {kind}@12")
    night.until_idle()
    shown = night.show("job-1")
    assert (shown["state"], causes(night, "job-1")) == ("held", ["crash", "poison"])
    assert "step 12" in shown["reason"]


def test_the_memory_of_a_gpu_has_a_count_of_its_own(night: Night) -> None:
    """Not a crash: `failures` stays 0, and its own patience ends in a hold."""
    night.submit(
        "job",
        args="--steps 20 --fault gpu@12",
        spec='[retry]\nmax_failures = 2\nbackoff = "100ms..200ms"\n',
    )
    night.until_idle()
    shown = night.show("job-1")
    assert (shown["state"], shown["failures"]) == ("held", 0)
    assert causes(night, "job-1") == ["gpu_oom", "gpu_oom"]
    assert "GPU" in shown["reason"]


def test_the_kernel_ends_only_the_job_that_is_over_its_memory(night: Night) -> None:
    """`resources.memory` in a cgroup: the kernel's count tells it from any other SIGKILL."""
    limit = MemoryLimit.build(2**30, f"rekindle-test-{os.getpid()}")
    limit.remove()
    if not limit.enforced:
        pytest.skip("no memory controller that this user may use")
    folder = night.submit(
        "job", args="--steps 20 --fault memory@12 --once", spec='[resources]\nmemory = "96MiB"\n'
    )
    night.submit("other", args="--steps 20")
    night.until_idle("--slots", "2")
    first = night.show("job-1")["attempts"][0]
    assert (first["cause"], first["signal"]) == ("host_oom", signal.SIGKILL)
    assert night.show("job-1")["failures"] == 0
    assert night.states() == {"job-1": "done", "other-1": "done"}
    assert (folder / "job.result.txt").read_text() == result(20)
    assert causes(night, "other-1") == ["done"]


def test_the_keeper_ends_it_where_the_kernel_does_not(night: Night) -> None:
    """Without a cgroup the keeper looks every second, and says that it does."""
    hoard = (
        "import sys, time\nh = []\n"
        "for _ in range(400):\n h.append(b'x' * 2**20); time.sleep(.002)\n"
        "time.sleep(60)\n"
    )
    night.submit_command(
        "job", "-c", hoard, spec='max_failures = 0\n[resources]\nmemory = "200MiB"\n'
    )
    # a cgroup namespace without the controller mounted: what an unprivileged daemon sees
    night.start_in(
        "unshare", "-m", "sh", "-c", 'umount -l /sys/fs/cgroup/memory 2>/dev/null; exec "$@"', "sh"
    )
    held = night.wait_state("job-1", "held")
    assert "200" in held["reason"] or "0.195" in held["reason"]
    assert causes(night, "job-1") == ["host_oom"]
    assert [e["kind"] for e in night.show("job-1")["events"]].count("warned") == 1


def test_a_sigkill_of_somebody_is_a_crash_and_no_memory(night: Night) -> None:
    """Without the kernel's count a SIGKILL is what it is."""
    night.submit("job", args="--steps 30")
    night.start()
    night.step("job-1", 5)
    assert night.trainer("job-1", 1).send(signal.SIGKILL)
    night.wait_state("job-1", "done")
    assert causes(night, "job-1") == ["crash", "done"]


def test_a_scratch_disk_that_is_full_is_waited_for(night: Night) -> None:
    """The script's own ENOSPC changes no count of failures."""
    night.submit("job", args="--steps 20 --fault space@12 --once")
    night.until_idle()
    assert causes(night, "job-1") == ["disk_full", "done"]
    assert night.show("job-1")["failures"] == 0


def test_a_damaged_job_is_held_and_the_others_go_on(night: Night) -> None:
    """`job.json` destroyed while it trains: the daemon lives, and says what to do."""
    night.submit("job", args="--steps 400")
    night.submit("other", args="--steps 40")
    night.start("--slots", "2")
    night.step("job-1", 5)
    durable.write_bytes(night.home.run("job-1").job_file, b"{", 0o600)
    assert night.trainer("job-1", 1).send(signal.SIGKILL)
    held = night.wait_state("job-1", "held")
    assert "job.json" in held["reason"]
    assert held["hint"]
    night.wait_state("other-1", "done")
    assert night.end() == 0


def test_a_journal_that_cannot_be_read_changes_no_count(night: Night) -> None:
    """Unknown: nothing is decided until it can be read again; the others go on."""
    night.submit("job", args="--steps 400")
    night.submit("other", args=f"--steps 40 --wait-for {night.work}/go")
    night.start("--slots", "2")
    night.step("job-1", 5)
    run = night.home.run("job-1")
    trainer = night.trainer("job-1", 1)
    wait_for(lambda: night.states().get("job-1") == "running", "it runs")
    assert trainer.send(signal.SIGSTOP)
    aside = run.root / "aside"
    os.rename(run.journal, aside)
    run.journal.mkdir()
    (night.work / "go").touch()
    night.wait_state("other-1", "done")
    assert night.states()["job-1"] == "running"
    assert night.show("job-1")["failures"] == 0
    run.journal.rmdir()
    os.rename(aside, run.journal)
    assert trainer.send(signal.SIGKILL)
    wait_for(lambda: len(night.entries("job-1", "attempt_started")) == 2, "it is tried again")
    assert night.end() == 0


@pytest.mark.slow
@pytest.mark.parametrize(("says", "state"), [("hold", "held"), ("continue", "done")])
def test_a_loss_that_is_not_finite_is_held_at_the_last_finite_checkpoint(
    night: Night, tmp_path: Path, says: str, state: str
) -> None:
    """Real Keras whose labels turn to NaN in the second epoch."""
    script = tmp_path / "work" / "nan.py"
    script.parent.mkdir()
    script.write_text(
        "import numpy as np, keras\n"
        "model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])\n"
        "model.compile('sgd', 'mse')\n"
        "x = np.ones((8, 2), 'float32'); y = np.ones((8, 1), 'float32')\n"
        "class Spoil(keras.callbacks.Callback):\n"
        "    def on_epoch_begin(self, epoch, logs=None):\n"
        "        if epoch == 1: self.model.trainable_variables[0].assign([[np.nan], [1.0]])\n"
        "model.fit(x, y, batch_size=4, epochs=3, verbose=0, callbacks=[Spoil()])\n"
    )
    night.drop(
        f'name = "nan"\nscript = "{script}"\nlive = true\n[checkpoint]\nevery = "epoch"\n'
        f'non_finite = "{says}"\n',
        "nan.toml",
    )
    night.until_idle(seconds=120)
    shown = night.show("nan-1")
    assert shown["state"] == state, night.cli("logs", "nan-1")
    good = [c["name"] for c in shown["checkpoints"]]
    if says == "hold":
        assert causes(night, "nan-1") == ["non_finite"]
        assert good[-1] == "e0001-s00000002"
        assert good[-1] in shown["reason"]
        assert shown["hint"]
        night.invariants()
    else:
        assert "not finite" in night.cli("logs", "nan-1")
