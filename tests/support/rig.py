"""Real daemon over a temporary home, for tests: processes, polling, and the CLI's JSON."""

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from watchdog_stand_in import LIMIT_S, Watchdog

from rekindle.daemon.attempts import orphans
from rekindle.daemon.client import cli
from rekindle.daemon.intake import submit
from rekindle.jobs.process import Identity
from rekindle.state.paths import Home, Run
from rekindle.state.run import journal

ROOT = Path(__file__).resolve().parents[2]
LEAN = ROOT / "tests" / "support" / "lean"
DATA = ROOT.parent / "shared" / "data" / "fashion_mnist_900.npz"
T = TypeVar("T")


def wait_for(probe: Callable[[], T | None], what: str, seconds: float = 60.0) -> T:
    """Poll until ``probe`` returns something true; fail with ``what`` at the deadline."""
    end = time.monotonic() + seconds
    while True:
        value = probe()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"timed out after {seconds:.0f} s: {what}")
        time.sleep(0.02)


def environment(**extra: str) -> dict[str, str]:
    """Return the environment of a child that finds rekindle and silences TensorFlow."""
    env = {key: value for key, value in os.environ.items() if not key.startswith("REKINDLE_")}
    return {
        **env,
        "PYTHONPATH": f"{ROOT / '.importroot'}:{LEAN}",
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "CUDA_VISIBLE_DEVICES": "-1",
        "OMP_NUM_THREADS": "1",
        "TF_NUM_INTRAOP_THREADS": "1",
        "TF_NUM_INTEROP_THREADS": "1",
        **extra,
    }


class Rig:
    """Run at most one daemon over one home; end what it started, by id.

    Each daemon has a watchdog: a test fails if its loop was silent for longer than
    `watchdog_stand_in.LIMIT_S`, whatever the test did.
    """

    def __init__(self, root: Path) -> None:
        self.home = Home(root)
        self.home.create()
        self.daemon: subprocess.Popen[bytes] | None = None
        self.log = root / "daemon.log"
        self.watchdog: Watchdog | None = None

    # the daemon

    def start(self, *options: str, **env: str) -> "subprocess.Popen[bytes]":
        return self.start_in(options=options, **env)

    def start_in(
        self, *prefix: str, options: tuple[str, ...] = (), **env: str
    ) -> "subprocess.Popen[bytes]":
        """Start a daemon through another command that finally executes it."""
        self._end_watch()
        watched: dict[str, str] = {}
        if "NOTIFY_SOCKET" not in {**os.environ, **env}:
            self.watchdog = Watchdog()
            watched = self.watchdog.environment()
        with self.log.open("ab") as log:
            self.daemon = subprocess.Popen(
                [
                    *prefix,
                    sys.executable,
                    "-m",
                    "rekindle.daemon",
                    "--home",
                    str(self.home.root),
                    "run",
                    *options,
                ],
                stdout=log,
                stderr=log,
                env=environment(**{**watched, **env}),
            )
        if self.watchdog is not None:
            self.watchdog.follow(self.daemon.pid)
        return self.daemon

    def end(self, signum: int = signal.SIGTERM, seconds: float = 60) -> int:
        assert self.daemon is not None
        self.daemon.send_signal(signum)
        code = self.daemon.wait(seconds)
        self.daemon = None
        self._end_watch()
        return code

    def _end_watch(self) -> None:
        watchdog, self.watchdog = self.watchdog, None
        if watchdog is not None:
            watchdog.close()
            silent = watchdog.heard.longest
            assert silent <= LIMIT_S, f"the daemon's loop was silent for {silent:.1f} s"

    def close(self) -> None:
        try:
            self._end_watch()
        finally:
            self._kill_all()

    def _kill_all(self) -> None:
        if self.daemon is not None and self.daemon.poll() is None:
            self.daemon.kill()
            self.daemon.wait()
        for run in self.runs():
            # not by the journal: a test may have replaced it
            orphans.kill(orphans.of(run))

    # the home

    def drop(self, text: str, name: str = "job.toml") -> None:
        submit.drop(self.home, name, text.encode())

    def call(self, *args: str) -> subprocess.CompletedProcess[str]:
        """Run a verb in a process of its own."""
        return subprocess.run(
            [sys.executable, "-m", "rekindle.daemon", "--home", str(self.home.root), *args],
            capture_output=True,
            text=True,
            env=environment(),
            timeout=120,
        )

    def cli(self, *args: str, code: int | None = 0) -> str:
        done = self.call(*args)
        assert code is None or done.returncode == code, (args, done.stdout, done.stderr)
        return done.stdout

    def show(self, job: str) -> dict[str, Any]:
        shown: dict[str, Any] = self._read("show", job)
        return shown

    def ls(self) -> list[dict[str, Any]]:
        listed: list[dict[str, Any]] = self._read("ls")["jobs"]
        return listed

    def _read(self, *args: str) -> Any:
        """Run a reading verb in this process: new processes would take CPU from the daemon."""
        said = io.StringIO()
        with contextlib.redirect_stdout(said):
            code = cli.main(["--home", str(self.home.root), *args, "--json"])
        assert code == 0, (args, said.getvalue())
        return json.loads(said.getvalue())

    def runs(self) -> Iterator[Run]:
        return (
            self.home.run(p.name) for p in self.home.runs.iterdir() if not p.name.startswith(".")
        )

    def entries(self, run: Run | str, kind: str) -> list[dict[str, Any]]:
        run = self.home.run(run) if isinstance(run, str) else run
        return [e for e in journal.replay(run.journal).entries if e["kind"] == kind]

    def trainer(self, job: str, attempt: int) -> Identity:
        """Wait for the trainer of an attempt to start, and return it."""

        def find() -> Identity | None:
            for entry in self.entries(job, "attempt_started"):
                if entry["attempt"] == attempt:
                    return Identity(entry["trainer_pid"], entry["trainer_start"], entry["boot_id"])
            return None

        return wait_for(find, f"attempt {attempt} of {job} starts")

    def wait_epochs(self, job: str, count: int, seconds: float = 120) -> None:
        """Wait until ``count`` epochs have ended and a checkpoint after them is committed."""
        wait_for(
            lambda: any(e["epoch"] >= count for e in self.entries(job, "checkpoint_committed")),
            f"a checkpoint after {count} epochs of {job}",
            seconds,
        )

    def wait_state(self, job: str, *states: str, seconds: float = 120) -> dict[str, Any]:
        def find() -> dict[str, Any] | None:
            row = next((row for row in self.ls() if row["id"] == job), None)
            return row if row and row["state"] in states else None

        return wait_for(find, f"{job} is {' or '.join(states)}", seconds)
