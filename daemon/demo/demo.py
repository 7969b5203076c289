"""The demo: a real daemon, a real training, two kills, and the proof that nothing was lost.

Two jobs of the same spec run in a scratch home, one after the other. The first is killed
twice, its twin is left in peace; at the end their models are compared bit by bit.
"""

import argparse
import hashlib
import importlib.util
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from rekindle.daemon.client import curve, terminal
from rekindle.daemon.demo import demo_script
from rekindle.jobs import process
from rekindle.state import durable
from rekindle.state.errors import RekindleError, UsageError
from rekindle.state.paths import Home, Run
from rekindle.state.run import checkpoints, journal

KILLED: Final = "digits"
TWIN: Final = "digits-undisturbed"
# epochs finished when the trainer is killed, and when it is asked to go
KILL_AFTER: Final = 6
TERM_AFTER: Final = 13
DEADLINE_S: Final = 900.0
_POLL_S: Final = 0.05


class DemoFailed(RekindleError):
    """Something of the demo did not come in time, or not as promised."""

    exit_code = 1


def main(args: argparse.Namespace) -> int:
    """Runs the demo for a person.

    Args:
        args: ``home`` is a folder for the demo alone, or None for a temporary one.

    Returns:
        0 where both models are bit-identical, else 1.
    """
    missing = [name for name in ("tensorflow", "sklearn") if not importlib.util.find_spec(name)]
    if missing:
        raise UsageError(
            f"The demo trains with TensorFlow on data of scikit-learn; {' and '.join(missing)} "
            "is not installed here.",
            hint="pip install 'rekindle[tensorflow,demo]'",
        )
    named: str | None = getattr(args, "home", None)
    home = Home(Path(named or tempfile.mkdtemp(prefix="rekindle-demo-")).absolute())
    if home.ledger.exists():
        raise UsageError(
            "The demo wants a home of its own.", where=home.root, hint="Name an empty folder."
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
            self._say("the same once more, undisturbed, to compare with")
            self._drop_spec(TWIN)
            for _ in self._follow(self.home.run(f"{TWIN}-1")):
                pass
            twin = self._wait_done(f"{TWIN}-1")
            self._stop_daemon()
        finally:
            self._end_everything()
        return self._report(killed, twin)

    # -- what happens --------------------------------------------------------------------

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
        # under a dot name first, then renamed: the daemon never sees half of it
        durable.write_bytes(self.home.inbox / f"{name}.toml", text.encode(), 0o640)
        self._say(f"dropped {name}.toml into the inbox")

    def _disturb(self, run: Run) -> None:
        """SIGKILL, then SIGTERM, each while the trainer is in the middle of an epoch."""
        trainer: process.Identity | None = None
        plan = [(KILL_AFTER, signal.SIGKILL), (TERM_AFTER, signal.SIGTERM)]
        for entry in self._follow(run):
            if entry["kind"] == "attempt_started":
                trainer = process.Identity(
                    entry["trainer_pid"], entry["trainer_start"], entry["boot_id"]
                )
            self._tell(entry)
            if entry["kind"] != "epoch_ended" or not plan or trainer is None:
                continue
            after, signum = plan[0]
            if entry["epoch"] + 1 >= after:
                # somewhere in the next epoch: neither at its start nor at its end
                time.sleep(min(float(entry["seconds"]) * 0.6, 2.0))
                name = signal.Signals(signum).name
                if not trainer.send(signum):
                    raise DemoFailed(
                        f"The trainer was gone before it could get {name}.",
                        where=run.root,
                        hint=f"Look into {run.logs}.",
                    )
                self._say(f"[bold red]{name}[/] to the trainer, pid {trainer.pid}")
                plan.pop(0)
        if plan:
            raise DemoFailed(
                "The training was over before it was disturbed twice.",
                where=run.root,
                hint=f"Look into {run.logs}.",
            )

    def _follow(self, run: Run) -> Iterator[dict[str, Any]]:
        """Journal entries as they come, until the job is done."""
        offset = 0
        while True:
            replay = journal.replay(run.journal, offset) if run.journal.exists() else None
            for entry in replay.entries if replay else ():
                yield entry
                if entry["kind"] == "attempt_ended" and entry["cause"] == "done":
                    return
                if entry["kind"] == "attempt_ended" and entry["cause"] == "permanent":
                    raise DemoFailed("The job failed.", where=run.logs, hint="Read its log there.")
            offset = replay.offset if replay else 0
            self._check_time(run)
            time.sleep(_POLL_S)

    def _wait_done(self, job: str) -> dict[str, Any]:
        """The job as ``show --json`` gives it, once it is done."""
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
                hint="Its last lines say why.",
            )
        if time.monotonic() - self.began > DEADLINE_S:
            raise DemoFailed(
                f"The demo is not done after {DEADLINE_S:.0f} s.",
                where=run.root,
                hint="A very slow or busy machine? The daemon's log is in "
                f"{self.folder / 'daemon.log'}.",
            )

    def _stop_daemon(self) -> None:
        assert self.daemon is not None
        self.daemon.terminate()
        code = self.daemon.wait(30)
        self._say(f"SIGTERM to the daemon: it ended with exit code {code}")

    def _end_everything(self) -> None:
        """Leaves no process behind, whatever happened."""
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
                if entry["kind"] == "attempt_started" and entry["keeper_start"] is not None:
                    keeper = process.Identity(
                        entry["keeper_pid"], entry["keeper_start"], entry["boot_id"]
                    )
                    keeper.send(signal.SIGTERM)

    # -- what is printed -----------------------------------------------------------------

    def _say(self, text: str) -> None:
        self.console.print(f"[dim]{time.monotonic() - self.began:5.1f} s[/]  {text}")

    def _tell(self, entry: dict[str, Any]) -> None:
        """One line for what a person wants to know of a journal entry."""
        kind, attempt = entry["kind"], entry.get("attempt", 0)
        style = curve.colour(attempt)
        if kind == "attempt_started":
            self._say(f"[{style}]attempt {attempt}[/] started, trainer pid {entry['trainer_pid']}")
        elif kind == "resumed" and entry["checkpoint"]:
            self._say(
                f"[{style}]attempt {attempt}[/] goes on from {entry['checkpoint']}: epoch "
                f"{entry['epoch']}, step {entry['step']}; {_steps(entry['lost_steps'])} lost"
            )
        elif kind == "epoch_ended":
            self._say(f"[{style}]  epoch {entry['epoch']:2d}[/]  [dim]{_logs(entry['logs'])}[/]")
        elif kind == "attempt_ended":
            self._say(f"[{style}]attempt {attempt}[/] ended: {_how(entry)}")
        elif kind in ("warned", "failed", "save_failed", "checkpoint_refused"):
            said = entry.get("message") or entry.get("error") or entry.get("reason")
            self._say(f"[yellow]{kind.replace('_', ' ')}[/]: {said}")

    def _report(self, killed: dict[str, Any], twin: dict[str, Any]) -> int:
        points, reference = _points(killed), _points(twin)
        self.console.print("\n[bold]Attempts of the killed job[/]")
        self.console.print(_attempts_table(killed["attempts"]))
        self.console.print("[bold]Loss over all attempts[/]")
        self.console.print(curve.in_terminal(points))
        picture = self.folder / "loss.png"
        ends = [
            (a["n"], a["signal"] or a["cause"] or "")
            for a in killed["attempts"]
            if a["cause"] != "done"
        ]
        if curve.as_png(picture, points, reference, [(n, _signal_name(how)) for n, how in ends]):
            self.console.print(f"The curve as a picture  {picture}")
        else:
            self.console.print("(no PNG: matplotlib is not installed; pip install matplotlib)")
        self.console.print(f"The trained model       {self.folder / KILLED / 'digits.keras'}")
        self.console.print(f"Everything of the job   {killed['run_dir']}\n")
        return self._compare(killed, twin)

    def _compare(self, killed: dict[str, Any], twin: dict[str, Any]) -> int:
        """Digests of every variable in the last checkpoints, and every number of the history."""
        (ours, count), (theirs, _) = (_digest(self.home.run(j["id"])) for j in (killed, twin))
        histories = [
            [(e["epoch"], e["step"], e["logs"]) for e in j["epochs"]] for j in (killed, twin)
        ]
        resumed = [a for a in killed["attempts"] if a["from_step"]]
        self.console.print(f"[bold]SHA-256 over the {count} arrays of the final state[/]")
        self.console.print(f"{ours}  killed {len(resumed)} times", soft_wrap=True)
        self.console.print(f"{theirs}  undisturbed\n", soft_wrap=True)
        if len(resumed) != 2:
            self.console.print("[bold red]NOT PROVEN[/]: the job did not resume twice.")
            return 1
        if ours != theirs:
            self.console.print("[bold red]DIFFERENT[/]: the models differ.")
            return 1
        if histories[0] != histories[1]:
            self.console.print("[bold red]DIFFERENT[/]: the models are equal, the histories not.")
            return 1
        self.console.print(
            f"[bold green]IDENTICAL[/]: model, optimizer and the history of "
            f"{len(histories[0])} epochs, to the last bit, in "
            f"{time.monotonic() - self.began:.0f} s.\n"
        )
        where = self.home.root
        self.console.print(f"[dim]Look around: {_program()} --home {where} show {KILLED}-1")
        self.console.print(f"[dim]Delete it:   rm -r {where}")
        return 0


def _program() -> str:
    """How a person calls rekindle from where they are."""
    beside = Path(sys.executable).with_name("rekindle")
    if shutil.which("rekindle") or not beside.exists():
        return "rekindle"
    return os.path.relpath(beside) if beside.is_relative_to(Path.cwd()) else str(beside)


def _command(home: Home) -> list[str]:
    return [sys.executable, "-m", "rekindle.daemon", "--home", os.fspath(home.root)]


def _points(job: dict[str, Any]) -> list[curve.Point]:
    """Epochs with the attempt that finished them: the last one that started at or before."""
    attempts = job["attempts"]
    return [
        curve.Point(
            epoch=e["epoch"],
            attempt=max((a["n"] for a in attempts if (a["from_step"] or 0) < e["step"]), default=1),
            value=float(e["logs"].get("loss", math.nan)),
            validation=e["logs"].get("val_loss"),
        )
        for e in job["epochs"]
    ]


def _digest(run: Run) -> tuple[str, int]:
    """SHA-256 over names, types, shapes and bytes of all arrays in the last good checkpoint."""
    from rekindle.state.run import tensors

    found = checkpoints.latest_good(run.checkpoints)
    if found.checkpoint is None:
        raise DemoFailed(
            "There is no good checkpoint.", where=run.checkpoints, hint=f"Look into {run.logs}."
        )
    arrays, _ = tensors.load(found.checkpoint.state)
    total = hashlib.sha256()
    for name in sorted(arrays):
        array = arrays[name]
        total.update(f"{name} {array.dtype} {array.shape}\n".encode())
        total.update(array.tobytes())
    return total.hexdigest(), len(arrays)


def _attempts_table(attempts: list[dict[str, Any]]) -> Table:
    table = terminal.table("attempt", "from epoch / step", "to", "ended", "trained again")
    for a in attempts:
        table.add_row(
            f"[{curve.colour(a['n'])}]{a['n']}[/]",
            f"{a['from_epoch'] or 0} / {a['from_step'] or 0}",
            f"{a['to_epoch']} / {a['to_step']}",
            _how(a),
            _steps(a["lost_steps"] or 0),
        )
    return table


def _logs(logs: dict[str, float]) -> str:
    """``loss 0.182 (0.230)  accuracy 0.942 (0.919)``: in brackets on the validation data."""
    return "  ".join(
        f"{name} {value:.4f}" + (f" ({logs[f'val_{name}']:.4f})" if f"val_{name}" in logs else "")
        for name, value in logs.items()
        if not name.startswith("val_")
    )


def _how(end: dict[str, Any]) -> str:
    """How an attempt ended, of a journal entry or of ``show --json``."""
    if end["signal"]:
        return f"{end['cause']} ({_signal_name(end['signal'])})"
    return f"{end['cause']} (exit code {end['exit_code']})"


def _signal_name(value: object) -> str:
    if isinstance(value, int):
        return signal.Signals(value).name
    # exit code 75: asked by SIGTERM, saved, went
    return "SIGTERM" if value == "preempted" else str(value)


def _steps(count: int) -> str:
    return "nothing" if count == 0 else f"{count} step{'s' * (count != 1)}"
