"""Any order of submit, stop, release, cancel, retry, kill and restart keeps the promises."""

import contextlib
import signal
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from nights import Night, result, steps
from rig import wait_for

from rekindle.daemon import daemon_status
from rekindle.jobs.process import Identity

OVER = {"done", "failed", "cancelled", "held"}
JOB = st.integers(0, 2)


class Schedules(RuleBasedStateMachine):
    """A real daemon with real trainings; at most three jobs, two at a time."""

    @initialize()
    def begin(self) -> None:
        self._folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        root = Path(self._folder.name)
        self.night = Night(root / "home", root / "work")
        self.jobs: list[str] = []
        self._start()

    def _start(self) -> None:
        daemon = self.night.start("--slots", "2")

        def up() -> bool:
            found = daemon_status.find(self.night.home)
            assert daemon.poll() is None, self.night.said()
            return found is not None and found.pid == daemon.pid

        wait_for(up, "the daemon is up")

    def _job(self, number: int) -> str | None:
        return self.jobs[number % len(self.jobs)] if self.jobs else None

    @precondition(lambda self: len(self.jobs) < 3)
    @rule()
    def submit(self) -> None:
        name = f"j{len(self.jobs)}"
        self.night.submit(
            name,
            args="--steps 40 --every 5 --pause 0.01",
            spec='[retry]\nmax_failures = 50\nbackoff = "50ms..100ms"\n',
        )
        self.jobs.append(f"{name}-1")

    @precondition(lambda self: self.jobs)
    @rule(job=JOB, verb=st.sampled_from(["stop", "release", "cancel", "retry", "stop", "release"]))
    def ask(self, job: int, verb: str) -> None:
        self.night.request(verb, self._job(job) or "")

    @precondition(lambda self: self.jobs)
    @rule(
        job=JOB,
        who=st.sampled_from(["trainer", "keeper"]),
        signum=st.sampled_from([signal.SIGKILL, signal.SIGTERM]),
    )
    def kill(self, job: int, who: str, signum: int) -> None:
        for entry in self.night.entries(self._job(job) or "", "attempt_started")[-1:]:
            Identity(entry[f"{who}_pid"], entry[f"{who}_start"] or 0, entry["boot_id"]).send(signum)

    @rule(signum=st.sampled_from([signal.SIGKILL, signal.SIGKILL, signal.SIGHUP, signal.SIGTERM]))
    def restart(self, signum: int) -> None:
        self.night.end(signum)
        self._start()

    @rule(count=st.integers(1, 12))
    def train(self, count: int) -> None:
        """Time passes: some job trains so many steps, if one does."""
        before = self._trained()
        with contextlib.suppress(AssertionError):
            wait_for(lambda: self._trained() >= before + count, "steps", 1.0)

    def _trained(self) -> int:
        return sum(len(steps(self.night.work / job.rpartition("-")[0])) for job in self.jobs)

    @invariant()
    def the_daemon_lives(self) -> None:
        if hasattr(self, "night") and self.night.daemon is not None:
            assert self.night.daemon.poll() is None, self.night.said()

    def teardown(self) -> None:
        if not hasattr(self, "night"):
            return
        night = self.night
        try:
            wait_for(
                lambda: (
                    not list(night.home.inbox.glob("*.toml"))
                    and not list(night.home.inbox.glob("*.json"))
                ),
                "all is answered",
            )
            wait_for(
                lambda: (
                    set(night.states()) == set(self.jobs) and set(night.states().values()) <= OVER
                ),
                "all comes to rest",
            )
            for job, state in night.states().items():
                if state in ("held", "cancelled"):
                    night.request("retry", job)
            wait_for(lambda: set(night.states().values()) <= {"done"}, "all is done in the end")
            for job in self.jobs:
                name = job.rpartition("-")[0]
                assert (night.work / name / f"{name}.result.txt").read_text() == result(40)
            assert night.end() == 0
            night.invariants()
        finally:
            night.close()
            self._folder.cleanup()


Schedules.TestCase.settings = settings(
    max_examples=6,
    stateful_step_count=10,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)


@pytest.mark.faults
class TestSchedules(Schedules.TestCase):  # type: ignore[misc]
    """Each example is a night of up to ten surprises."""
