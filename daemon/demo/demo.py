"""Run the demo: a real daemon, a real training, two kills, and a bit-for-bit comparison.

Two jobs of the same spec run in a scratch home, one after the other. The first is killed
twice, the second is not disturbed; at the end their models are compared bit by bit.
"""

import argparse
import importlib.util
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from rich.console import Console

from rekindle.daemon import extras
from rekindle.daemon.client import terminal
from rekindle.daemon.demo import demo_script, report
from rekindle.daemon.demo.report import DemoFailed
from rekindle.jobs import process
from rekindle.state import durable
from rekindle.state.errors import UsageError
from rekindle.state.paths import Home, Run
from rekindle.state.run import entries, journal

KILLED: Final = "digits"
TWIN: Final = "digits-undisturbed"
# epochs ended when the trainer gets SIGKILL, and when it gets SIGTERM
KILL_AFTER: Final = 6
TERM_AFTER: Final = 13
DEADLINE_S: Final = 900.0
_POLL_S: Final = 0.05


def main(args: argparse.Namespace) -> int:
    """Run the demo for a person.

    Args:
        args: ``home`` is a folder for the demo alone, None for a temporary one.

    Returns:
        0 if both models are bit-identical, else 1.
    """
    missing = [
        package
        for name, package in (("tensorflow", "tensorflow"), ("sklearn", "scikit-learn"))
        if not importlib.util.find_spec(name)
    ]
    if missing:
        raise UsageError(
            "The demo trains in rekindle's own environment, and needs TensorFlow and scikit-learn "
            f"there; not installed: {', '.join(missing)}.",
            hint=f"`{extras.install(*missing)}` installs them.",
        )
    named: str | None = getattr(args, "home", None)
    home = Home(Path(named or tempfile.mkdtemp(prefix="rekindle-demo-")).absolute())
    if home.ledger.exists():
        raise UsageError(
            "The demo needs an empty home; this one has a ledger.",
            where=home.root,
            hint="Name an empty folder with --home, or leave --home out.",
        )
    home.create()
    return _Demo(home, terminal.console()).run()


class _Demo:
    def __init__(self, home: Home, console: Console) -> None:
        self.home = home
        self.console = console
        self.began = time.monotonic()
        self.folder = home.root / "demo"
        self.daemon: subprocess.Popen[bytes] | None = None

    def run(self) -> int:
        self.console.print(f"[bold]rekindle demo[/] in {self.home.root}\n")
        try:
            self._start_daemon()
            self._drop_spec(KILLED)
            self._disturb(self.home.run(f"{KILLED}-1"))
            killed = self._wait_done(f"{KILLED}-1")
            self._say("training the same job undisturbed, to compare with")
            self._drop_spec(TWIN)
            for _ in self._follow(self.home.run(f"{TWIN}-1")):
                pass
            twin = self._wait_done(f"{TWIN}-1")
            self._stop_daemon()
        finally:
            self._end_everything()
        seconds = time.monotonic() - self.began
        same = report.report(self.console, self.home, self.folder, killed, twin, seconds)
        return 0 if same else 1

    def _start_daemon(self) -> None:
        self.folder.mkdir(exist_ok=True)
        with (self.folder / "daemon.log").open("wb") as log:
            self.daemon = subprocess.Popen(
                [*_command(self.home), "run"], stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        self._say(f"the daemon is running, pid {self.daemon.pid}")

    def _drop_spec(self, name: str) -> None:
        script = demo_script.write(self.folder)
        workdir = self.folder / name
        workdir.mkdir(exist_ok=True)
        text = demo_script.spec(name, script, workdir)
        # written under a dot name, then renamed: the daemon must not read half a spec
        durable.write_bytes(self.home.inbox / f"{name}.toml", text.encode(), 0o640)
        self._say(f"dropped {name}.toml into the inbox")

    def _disturb(self, run: Run) -> None:
        """Send SIGKILL, then SIGTERM, each while the trainer is in the middle of an epoch."""
        trainer: process.Identity | None = None
        plan = [(KILL_AFTER, signal.SIGKILL), (TERM_AFTER, signal.SIGTERM)]
        for entry in self._follow(run):
            if entry["kind"] == entries.attempt_started.name:
                trainer = process.Identity(
                    entry["trainer_pid"], entry["trainer_start"], entry["boot_id"]
                )
            line = report.line(entry)
            if line is not None:
                self._say(line)
            if entry["kind"] != entries.epoch_ended.name or not plan or trainer is None:
                continue
            after, signum = plan[0]
            if entry["epoch"] + 1 >= after:
                # somewhere in the next epoch: neither at its start nor at its end
                time.sleep(min(float(entry["seconds"]) * 0.6, 2.0))
                name = signal.Signals(signum).name
                if not trainer.send(signum):
                    raise DemoFailed(
                        f"The trainer ended before {name} was sent.",
                        where=run.root,
                        hint=f"Look into {run.logs}.",
                    )
                self._say(f"[bold red]{name}[/] to the trainer, pid {trainer.pid}")
                plan.pop(0)
        if plan:
            raise DemoFailed(
                "The training ended before both signals were sent.",
                where=run.root,
                hint=f"Look into {run.logs}.",
            )

    def _follow(self, run: Run) -> Iterator[dict[str, Any]]:
        """Yield journal entries as they are written, until the job is done."""
        offset = 0
        while True:
            replay = journal.replay(run.journal, offset) if run.journal.exists() else None
            for entry in replay.entries if replay else ():
                yield entry
                if entry["kind"] != entries.attempt_ended.name:
                    continue
                if entry["cause"] == "done":
                    return
                if entry["cause"] == "permanent":
                    raise DemoFailed("The job failed.", where=run.logs, hint="Read its log there.")
            offset = replay.offset if replay else 0
            self._check_time(run)
            time.sleep(_POLL_S)

    def _wait_done(self, job: str) -> dict[str, Any]:
        """Wait until the job is done; return it as ``show --json`` prints it."""
        while True:
            shown = self._show(job)
            if shown["state"] == "done":
                self._say(f"{job} is done")
                return shown
            if shown["state"] in ("failed", "held", "cancelled"):
                raise DemoFailed(
                    f"{job} is {shown['state']}: {shown['reason']}",
                    where=shown["run_dir"],
                    hint="Read the logs there.",
                )
            self._check_time(self.home.run(job))
            time.sleep(0.3)

    def _show(self, job: str) -> dict[str, Any]:
        asked = subprocess.run(
            [*_command(self.home), "show", job, "--json"],
            capture_output=True,
            text=True,
            check=False,
        )
        if asked.returncode not in (0, 1):
            raise DemoFailed(
                f"`rekindle show {job}` failed: {asked.stderr.strip()}",
                where=self.home.root,
                hint=f"Read {self.folder / 'daemon.log'}.",
            )
        value: dict[str, Any] = json.loads(asked.stdout)
        return value

    def _check_time(self, run: Run) -> None:
        assert self.daemon is not None
        if self.daemon.poll() is not None:
            raise DemoFailed(
                f"The daemon ended with exit code {self.daemon.returncode}.",
                where=self.folder / "daemon.log",
                hint=f"Read the last lines of {self.folder / 'daemon.log'}.",
            )
        if time.monotonic() - self.began > DEADLINE_S:
            raise DemoFailed(
                f"The demo is not done after {DEADLINE_S:.0f} s.",
                where=run.root,
                hint=f"Run it on an idle host; the daemon's log: {self.folder / 'daemon.log'}.",
            )

    def _stop_daemon(self) -> None:
        assert self.daemon is not None
        self.daemon.terminate()
        code = self.daemon.wait(30)
        self._say(f"SIGTERM to the daemon: it ended with exit code {code}")

    def _end_everything(self) -> None:
        """End daemon and keepers, also after an error: nothing of the demo may stay running."""
        if self.daemon is None or self.daemon.poll() is not None:
            return
        self.daemon.terminate()
        try:
            self.daemon.wait(30)
        except subprocess.TimeoutExpired:
            self.daemon.kill()
            self.daemon.wait()
        for name in (KILLED, TWIN):
            path = self.home.run(f"{name}-1").journal
            for entry in journal.replay(path).entries if path.exists() else ():
                if (
                    entry["kind"] == entries.attempt_started.name
                    and entry["keeper_start"] is not None
                ):
                    keeper = process.Identity(
                        entry["keeper_pid"], entry["keeper_start"], entry["boot_id"]
                    )
                    keeper.send(signal.SIGTERM)

    def _say(self, text: str) -> None:
        self.console.print(f"[dim]{time.monotonic() - self.began:5.1f} s[/]  {text}")


def _command(home: Home) -> list[str]:
    return [sys.executable, "-m", "rekindle.daemon", "--home", os.fspath(home.root)]
