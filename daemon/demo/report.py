"""Print the events of the demo and its result."""

import hashlib
import math
import os
import shutil
import signal
import sys
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from rekindle.daemon import extras
from rekindle.daemon.client import curve, terminal
from rekindle.state.counted import counted
from rekindle.state.errors import RekindleError
from rekindle.state.paths import Home, Run
from rekindle.state.run import checkpoints, entries
from rekindle.state.run.entries import Entry

Shown = dict[str, Any]
"""A job as ``show --json`` gives it."""
_TROUBLE: Final = {
    entries.warned.name,
    entries.failed.name,
    entries.save_failed.name,
    entries.checkpoint_refused.name,
}


class DemoFailed(RekindleError):
    """Report that the demo did not finish in time, or that a process of it failed."""

    exit_code = 1


def line(entry: Entry) -> str | None:
    """Describe a journal entry in one line; None if it is not worth one."""
    kind, attempt = entry["kind"], entry.get("attempt", 0)
    style = curve.colour(attempt)
    if kind == entries.attempt_started.name:
        return f"[{style}]attempt {attempt}[/] started, trainer pid {entry['trainer_pid']}"
    if kind == entries.resumed.name and entry["checkpoint"]:
        return (
            f"[{style}]attempt {attempt}[/] resumed from {entry['checkpoint']} (epoch "
            f"{entry['epoch']}, step {entry['step']}); repeating {_steps(entry['lost_steps'])}"
        )
    if kind == entries.epoch_ended.name:
        return f"[{style}]  epoch {entry['epoch']:2d}[/]  [dim]{_logs(entry['logs'])}[/]"
    if kind == entries.attempt_ended.name:
        return f"[{style}]attempt {attempt}[/] ended: {_how(entry)}"
    if kind in _TROUBLE:
        said = entry.get("message") or entry.get("error") or entry.get("reason")
        return f"[yellow]{kind.replace('_', ' ')}[/]: {said}"
    return None


def report(
    console: Console, home: Home, folder: Path, killed: Shown, twin: Shown, seconds: float
) -> bool:
    """Print attempts, curve and comparison of both jobs; return whether they are identical."""
    points, reference = _points(killed), _points(twin)
    console.print("\n[bold]Attempts of the killed job[/]")
    console.print(_attempts_table(killed["attempts"]))
    console.print("[bold]Loss over all attempts[/]")
    console.print(curve.in_terminal(points))
    picture = folder / "loss.png"
    ends = [
        (a["n"], a["signal"] or a["cause"] or "")
        for a in killed["attempts"]
        if a["cause"] != "done"
    ]
    if curve.as_png(picture, points, reference, [(n, _signal_name(how)) for n, how in ends]):
        console.print(f"The curve as a picture  {picture}")
    else:
        console.print(f"(no PNG: matplotlib is not installed; {extras.install('matplotlib')})")
    console.print(f"The trained model       {folder / killed['name'] / 'digits.keras'}")
    console.print(f"The run directory       {killed['run_dir']}\n")
    return _compare(console, home, killed, twin, seconds)


def _compare(console: Console, home: Home, killed: Shown, twin: Shown, seconds: float) -> bool:
    """Compare digests of all arrays in the last checkpoints, and every number of the history."""
    (ours, count), (theirs, _) = (_digest(home.run(j["id"])) for j in (killed, twin))
    histories = [[(e["epoch"], e["step"], e["logs"]) for e in j["epochs"]] for j in (killed, twin)]
    resumed = [a for a in killed["attempts"] if a["from_step"]]
    console.print(f"[bold]SHA-256 over the {counted(count, 'array')} of the final state[/]")
    console.print(f"{ours}  killed {counted(len(resumed), 'time')}", soft_wrap=True)
    console.print(f"{theirs}  undisturbed\n", soft_wrap=True)
    if len(resumed) != 2:
        console.print("[bold red]NOT PROVEN[/]: the job did not resume twice.")
        return False
    if ours != theirs:
        console.print("[bold red]DIFFERENT[/]: the models differ.")
        return False
    if histories[0] != histories[1]:
        console.print("[bold red]DIFFERENT[/]: the models are equal, their histories differ.")
        return False
    console.print(
        f"[bold green]IDENTICAL[/]: model, optimizer and the history of "
        f"{counted(len(histories[0]), 'epoch')}, to the last bit, in "
        f"{seconds:.0f} s.\n"
    )
    where = home.root
    console.print(f"[dim]Look around: {_program()} --home {where} show {killed['id']}")
    console.print(f"[dim]Delete it:   rm -r {where}")
    return True


def _program() -> str:
    """Return the command that runs rekindle from the current folder."""
    beside = Path(sys.executable).with_name("rekindle")
    if shutil.which("rekindle") or not beside.exists():
        return "rekindle"
    return os.path.relpath(beside) if beside.is_relative_to(Path.cwd()) else str(beside)


def _points(job: dict[str, Any]) -> list[curve.Point]:
    """List the epochs, each with the last attempt that began before its end."""
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
    """Compute SHA-256 over names, types, shapes and bytes of the last good checkpoint's arrays."""
    from rekindle.state.run import tensors

    found = checkpoints.latest_good(run.checkpoints)
    if found.checkpoint is None:
        raise DemoFailed(
            "No good checkpoint found.", where=run.checkpoints, hint=f"Look into {run.logs}."
        )
    arrays, _ = tensors.load(found.checkpoint.state)
    total = hashlib.sha256()
    for name in sorted(arrays):
        array = arrays[name]
        total.update(f"{name} {array.dtype} {array.shape}\n".encode())
        total.update(array.tobytes())
    return total.hexdigest(), len(arrays)


def _attempts_table(attempts: list[dict[str, Any]]) -> Table:
    table = terminal.table("attempt", "from epoch / step", "to", "ended", "repeated")
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
    """Describe the end of an attempt, from a journal entry or from ``show --json``."""
    if end["signal"]:
        return f"{end['cause']} ({_signal_name(end['signal'])})"
    return f"{end['cause']} (exit code {end['exit_code']})"


def _signal_name(value: object) -> str:
    if isinstance(value, int):
        return signal.Signals(value).name
    # exit code 75: SIGTERM came, the trainer saved and ended
    return "SIGTERM" if value == "preempted" else str(value)


def _steps(count: int) -> str:
    return "nothing" if count == 0 else counted(count, "step")
