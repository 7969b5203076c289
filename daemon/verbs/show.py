"""``rekindle show``: show everything about one job, for a person or as JSON."""

import argparse
import contextlib
import itertools
import json
import math
import os
import signal
import time
from typing import Any, Final

from rich.console import Console
from rich.markup import escape

from rekindle.daemon.client import curve, held, json_text, lookup, progress, terminal
from rekindle.daemon.client.curve import Point
from rekindle.daemon.client.lines import plain
from rekindle.state.counted import counted
from rekindle.state.errors import UsageError
from rekindle.state.hints import name_home
from rekindle.state.ledger.listing import Listing
from rekindle.state.ledger.rows import AttemptRow, CheckpointRow, EpochRow, JobRow
from rekindle.state.paths import Home
from rekindle.state.run import entries, proof

_EPOCHS: Final = 12
_ATTEMPTS: Final = 20
_CHECKPOINTS: Final = 50
_EVENTS: Final = 8
_CHUNK: Final = 500
_EVENT_KINDS: Final = frozenset(
    {
        entries.checkpoint_refused.name,
        entries.save_failed.name,
        entries.warned.name,
        "request_answered",
        "spec_changed",
        entries.scratch_requested.name,
        entries.code_replaced.name,
        "attempt_adopted",
        "attempt_does_not_end",
        "gpu_failed",
        "leftover_killed",
        "leftover_does_not_end",
    }
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    lookup.add_job(parser)
    parser.add_argument(
        "--all",
        action="store_true",
        help="all epochs, attempts and checkpoints, not only the newest",
    )
    parser.add_argument(
        "--epochs",
        type=int,
        metavar="N",
        help=f"only the newest N epochs (default: {_EPOCHS}; with --json all)",
    )
    json_text.add_argument(parser)


def main(args: argparse.Namespace) -> int:
    if args.epochs is not None and args.epochs < 1:
        raise UsageError("--epochs must be 1 or more.", hint="Write for example --epochs 100.")
    home = lookup.home(args)
    with contextlib.closing(lookup.listing(home)) as book:
        job = lookup.job(book, args.job)
        if args.json:
            json_text.write(as_json(home, book, job, args.epochs))
        else:
            _Page(home, book, job, args).print(terminal.console())
    return 0


def as_json(home: Home, book: Listing, job: JobRow, epochs: int | None = None) -> dict[str, Any]:
    """Return the job in the shape that docs/json.md describes; long lists as iterators.

    Args:
        epochs: only so many, the newest.
    """
    times = held.of(home, book, job)
    return {
        "id": job.id,
        "name": job.name,
        "state": str(job.state),
        "reason": job.reason,
        "hint": job.hint,
        "priority": job.priority,
        "failures": job.failures,
        "submitted_at": job.submitted_at,
        "updated_at": job.updated_at,
        "next_at": job.next_at,
        "run_dir": job.run_dir,
        "user": job.user,
        "uid": job.uid,
        "grid": job.grid,
        "point": job.point,
        "progress": progress.as_json(progress.of(home, book, job, book.latest(job), time.time())),
        "time": None if times is None else times.as_json(),
        "spec": book.spec(job.id),
        "attempts": (_attempt(row) for row in book.each_attempt(job.id)),
        "epochs": itertools.starmap(_epoch_text, book.each_epoch_text(job.id))
        if epochs is None
        else map(_epoch, book.newest_epochs(job.id, epochs)),
        "checkpoints": (
            {
                "name": row.name,
                "stage": row.stage,
                "epoch": row.epoch,
                "step": row.step,
                "path": os.path.join(job.run_dir, row.path),
                "bytes": row.bytes,
                "good": row.good,
                "best": row.best,
                "reason": row.reason,
                "at": row.at,
            }
            for row in book.checkpoints(job.id)
        ),
        "events": [
            {
                "at": row.at,
                "attempt": row.attempt,
                "kind": row.kind,
                "data": row.data,
                "count": row.count,
                "last_at": row.last_at,
            }
            for row in book.events(job.id)
        ],
    }


def _epoch_text(
    stage: int, epoch: int, step: int, seconds: float | None, attempt: int, logs: str
) -> str | dict[str, Any]:
    """Encode an epoch; there may be a million, whose logs are JSON already."""
    # what may not be strict is parsed: NaN, Infinity, half a pair of surrogates
    if "N" in logs or "I" in logs or "\\u" in logs:
        return _epoch(EpochRow(stage, epoch, step, seconds, json.loads(logs), attempt, 0.0))
    took = "null" if seconds is None or not math.isfinite(seconds) else repr(seconds)
    return json_text.Encoded(
        f'{{"stage": {stage}, "epoch": {epoch}, "step": {step}, "seconds": {took}, '
        f'"attempt": {attempt}, "logs": {logs}}}'
    )


def _epoch(row: EpochRow) -> dict[str, Any]:
    return {
        "stage": row.stage,
        "epoch": row.epoch,
        "step": row.step,
        "seconds": row.seconds,
        "attempt": row.attempt,
        "logs": row.logs,
    }


def _attempt(row: AttemptRow) -> dict[str, Any]:
    return {
        "n": row.n,
        "started_at": row.started_at,
        "ended_at": row.ended_at,
        "outcome": row.outcome,
        "cause": row.cause,
        "exit_code": row.exit_code,
        "signal": row.signal,
        "from_epoch": row.from_epoch,
        "from_step": row.from_step,
        "to_epoch": row.to_epoch,
        "to_step": row.to_step,
        "lost_steps": row.lost_steps,
        "seconds": row.seconds,
        "times": row.times,
        "spare": row.spare,
        "gpus": row.gpus,
        "keeper_pid": row.keeper_pid,
        "trainer_pid": row.trainer_pid,
        "receipt": row.receipt,
        "unfollowed": row.unfollowed,
        "failure": row.failure,
        "provenance": row.provenance,
    }


class _Page:
    """Print everything about a job for a person; without ``--all`` the newest of each list."""

    def __init__(self, home: Home, book: Listing, job: JobRow, args: argparse.Namespace) -> None:
        self._home = home
        self._book = book
        self._job = job
        self._args = args
        self._attempts = book.newest_attempts(job.id, -1 if args.all else _ATTEMPTS)
        self._checkpoints = book.checkpoints(job.id)
        self._events = book.events_of_kinds(job.id, _EVENT_KINDS, -1 if args.all else _EVENTS)
        self._spec = book.spec(job.id)

    def print(self, console: Console) -> None:
        job = self._job
        console.print(
            f"[bold]{job.id}[/]", terminal.state(job.state), escape(job.reason), soft_wrap=True
        )
        if job.hint:
            hint = escape(name_home(job.hint, self._args.home))
            console.print(f"  [yellow]hint:[/] {hint}", soft_wrap=True)
        far = progress.of(self._home, self._book, job, self._book.latest(job), time.time())
        if far.text != "-":
            console.print(f"  [dim]at[/]    {escape(_far(far, console))}", soft_wrap=True)
        times = held.of(self._home, self._book, job)
        if times is not None:
            console.print(f"  [dim]time[/]  {held.text(times)}", soft_wrap=True)
        runs = (
            self._spec.get("script")
            or self._spec.get("module")
            or " ".join(self._spec.get("command") or [])
        )
        words = " ".join([str(runs), *self._spec.get("args", [])])
        # no line break of ours: what stands here is copied
        console.print(f"  [dim]runs[/]  {escape(words)}", soft_wrap=True)
        if job.point is not None:
            grid = self._spec.get("grid") or {}
            number = f"point {grid.get('number')} of {grid.get('of')}"
            text = f"{plain(job.point_text)}, {number}; `rekindle ls --grid {job.id}`"
            console.print(f"  [dim]grid[/]  {escape(name_home(text, self._args.home))}")
        if self._spec.get("fork"):
            origin = self._spec["fork"]
            text = f"forked from {origin['job']}, {origin['checkpoint']}"
            console.print(f"  [dim]from[/]  {escape(text)}", soft_wrap=True)
        console.print(f"  [dim]in[/]    {escape(job.run_dir)}", soft_wrap=True)
        console.print(f"  [dim]code[/]  {escape(_code(self._spec))}", soft_wrap=True)
        by = f", submitted by {escape(job.user)} (uid {job.uid})" if job.user else ""
        console.print(f"  [dim]since[/] {terminal.when(job.submitted_at)}{by}\n")
        self._print_attempts(console)
        self._print_receipts(console)
        self._print_epochs(console)
        self._print_checkpoints(console)
        self._print_events(console)
        self._print_failure(console)

    def _newest(self, rows: list[Any], count: int) -> list[Any]:
        return rows if self._args.all else rows[-count:]

    def _print_attempts(self, console: Console) -> None:
        if not self._attempts:
            console.print("No attempt has started yet.")
            return
        table = terminal.table("attempt", "started", "took", "from", "to", "ended", "repeated")
        for row in self._attempts:
            took = row.seconds
            if took is None and row.ended_at is not None:
                took = row.ended_at - row.started_at  # of an older version
            table.add_row(
                f"[{curve.colour(row.n)}]{row.n}[/]",
                terminal.when(row.started_at),
                terminal.duration(took),
                _place(row.from_epoch, row.from_step),
                _place(row.to_epoch, row.to_step),
                how(row),
                _repeated(row),
            )
        console.print(table)
        _print_hidden(console, self._job.attempts - table.row_count)

    def _print_receipts(self, console: Console) -> None:
        for row in self._newest(self._attempts, 3):
            receipt = row.receipt or {}
            if row.spare:
                console.print(
                    f"[dim]attempt {row.n} did not begin in the warm spare: {escape(row.spare)}[/]"
                )
            if row.unfollowed:
                console.print(
                    f"[bold red]not followed[/] in attempt {row.n}: {escape(row.unfollowed)}"
                )
            if (row.provenance or {}).get("changed"):
                console.print(
                    f"[yellow]changed[/] at attempt {row.n}: "
                    f"{escape(', '.join((row.provenance or {})['changed']))}"
                )
            if receipt.get("new_code"):
                console.print(
                    f"[yellow]new code[/] at attempt {row.n}: {escape(_new_code(receipt))}"
                )
            if receipt.get("forked"):
                origin = receipt["forked"]
                lines = [f"attempt {row.n} began from {origin['checkpoint']} of {origin['job']}"]
                lines += [
                    f"  [yellow]other than in {origin['job']}:[/] {escape(plain(str(text)))}"
                    for text in receipt.get("changed") or []
                ]
            elif receipt.get("checkpoint"):
                at = receipt["checkpoint"]
                warm = " in a warm spare" if row.spare == "" else ""
                repeated = f"repeated steps: {_repeated(row)}"
                lines = [f"attempt {row.n} resumed from {at}{warm}; {repeated}"]
                if (why := proof.instead_of(receipt)) is not None:
                    lines.append(f"  {escape(plain(why))}")
            elif receipt.get("restored") or receipt.get("inexact"):
                lines = [f"attempt {row.n} began at step 0"]
            else:
                continue
            if not receipt.get("forked"):
                lines += [f"  {_proof(one)}" for one in receipt.get("proved") or []]
            if receipt.get("allowed"):
                lines.append(
                    f"  [yellow]changed, allowed by --allow-change:[/] {escape(receipt['allowed'])}"
                )
            if receipt.get("restored"):
                lines.append(f"  restored: {', '.join(receipt['restored'])}")
            lines += [
                f"  [yellow]refused[/] {r['name']}: {escape(r['reason'])}"
                for r in receipt.get("refused", [])
            ]
            lines += [
                f"  [red]not followed:[/] {escape(str(text))}"
                for text in receipt.get("unfollowed") or []
            ]
            lines += [
                f"  [yellow]not exact:[/] {escape(str(text))}"
                for text in receipt.get("inexact", [])
            ]
            console.print("\n".join(lines), style="dim")

    def _print_epochs(self, console: Console) -> None:
        book, job = self._book, self._job.id
        newest = book.newest_epochs(job, self._args.epochs or _EPOCHS)
        if not newest:
            return
        points = _points(book.sample_epochs(job, newest[-1].stage, curve.WIDEST))
        rows = book.each_epoch(job) if self._args.all else iter(newest)
        names = list(dict.fromkeys(name for row in newest for name in row.logs))
        stages = newest[-1].stage > 0
        console.print()
        # not one table of a million rows
        while chunk := list(itertools.islice(rows, _CHUNK)):
            table = terminal.table(*(["stage"] if stages else []), "epoch", "step", "took", *names)
            for row in chunk:
                table.add_row(
                    *([str(row.stage)] if stages else []),
                    # as Keras prints it: the first is 1
                    f"[{curve.colour(row.attempt)}]{row.epoch + 1}[/]",
                    str(row.step),
                    terminal.duration(row.seconds),
                    *[terminal.number(row.logs.get(name, "-")) for name in names],
                )
            console.print(table)
        if not self._args.all:
            _print_hidden(console, book.count_epochs(job) - len(newest))
        if len(points) > 1:
            console.print()
            console.print(curve.in_terminal(points))

    def _print_checkpoints(self, console: Console) -> None:
        if not self._checkpoints:
            return
        table = terminal.table("checkpoint", "epochs", "step", "size", "written", "")
        for row in self._newest(self._checkpoints, _CHECKPOINTS):
            table.add_row(
                row.name,
                str(row.epoch),
                str(row.step),
                terminal.size(row.bytes),
                terminal.when(row.at),
                _mark(row),
            )
        console.print()
        console.print(table)
        _print_hidden(console, len(self._checkpoints) - table.row_count)

    def _print_events(self, console: Console) -> None:
        for event in self._events:
            words = " ".join(
                str(event.data[key])
                for key in ("user", "verb", "answer", "name", "reason", "message", "error", "hint")
                if event.data.get(key)
            )
            words = escape(name_home(words, self._args.home))
            times = f" ({counted(event.count, 'time')})" if event.count > 1 else ""
            console.print(
                f"[dim]{terminal.when(event.at)}[/] {event.kind.replace('_', ' ')}{times}: {words}",
                soft_wrap=True,
            )

    def _print_failure(self, console: Console) -> None:
        last = self._attempts[-1] if self._attempts else None
        if last is None or not last.failure:
            return
        failure = last.failure
        console.print(f"\n[bold red]Error of attempt {last.n}[/]")
        text = failure.get("traceback") or f"{failure.get('error_type')}: {failure.get('message')}"
        console.print(escape(text))


def _print_hidden(console: Console, count: int) -> None:
    if count > 0:
        console.print(f"[dim]and {count} earlier: --all[/]")


def how(row: AttemptRow) -> str:
    """Describe the end of an attempt in a few words."""
    if row.outcome is None:
        return "[green]running[/]"
    if row.signal:
        try:
            return f"{row.cause} ({signal.Signals(row.signal).name})"
        except ValueError:
            return f"{row.cause} (signal {row.signal})"
    if row.exit_code is None:
        return f"{row.cause}"
    return f"{row.cause} (exit code {row.exit_code})"


def _code(spec: dict[str, Any]) -> str:
    """Describe the code that the job runs."""
    source = spec.get("source")
    if not source:
        return "live: the current files at each attempt"
    text = (
        f"snapshot {source['digest'][:12]}, {counted(source['files'], 'file')} of {source['root']}"
    )
    if source.get("commit"):
        text += f", git {source['commit'][:12]}"
        text += " with changes" if source.get("dirty") else ""
        text += f" and {source['untracked']} untracked" if source.get("untracked") else ""
    if source.get("left_out_count"):
        text += f"; left out: {'; '.join(source['left_out'][:3])}"
        more = source["left_out_count"] - 3
        text += f" and {more} more" if more > 0 else ""
    return " ".join([text, *(source.get("notes") or [])])


def _new_code(receipt: dict[str, Any]) -> str:
    """Describe the replacement of the code that a receipt records."""
    new = receipt["new_code"]
    files = ", ".join(
        f"{new.get(f'{kind}_count', 0)} {kind} ({', '.join(names[:3])})"
        for kind in ("changed", "added", "removed")
        if (names := new.get(kind) or [])
    )
    return f"{new.get('text', '')} Files: {files or 'unknown'}."


def _far(far: progress.Progress, console: Console) -> str:
    """Describe how far a job is, with a bar while it trains."""
    fraction = far.fraction if far.running else None
    text = "utf" in console.encoding
    drawn = "" if fraction is None else progress.bar(fraction, 30, plain=not text)
    share = "" if fraction is None else f"{100 * fraction:.0f} %,"
    place = ", ".join(part for part in (far.text, far.within, far.speed) if part) + "."
    return " ".join(part for part in (drawn, share, place, far.estimate) if part)


def _place(epoch: int | None, step: int | None) -> str:
    # finished epochs: the epoch of this number has not begun
    return "-" if step is None else f"{counted(epoch or 0, 'epoch')}, step {step}"


def _repeated(row: AttemptRow) -> str:
    if row.lost_steps is None:
        if row.receipt is None:
            return "-"
        return "unknown" if row.receipt.get("checkpoint") else "all steps"
    if not row.lost_steps:
        return "nothing"
    seconds = (row.receipt or {}).get("lost_seconds")
    took = f" ({seconds:.1f} s)" if seconds else ""
    return f"{counted(row.lost_steps, 'step')}{took}"


def _proof(proved: dict[str, Any]) -> str:
    """Describe what the repeated steps of a stage have proved."""
    stage = f" of stage {proved['stage']}" if proved.get("stage") else ""
    text = escape(proof.words(proved))
    if proved.get("result") != proof.DIFFERENT:
        return f"proof{stage}: {text}"
    cause = f"; known cause: {escape(proved['cause'])}" if proved.get("cause") else ""
    return f"[bold red]not identical[/]{stage}: {text}{cause}"


def _mark(row: CheckpointRow) -> str:
    if not row.good:
        return f"[yellow]refused:[/] {escape(row.reason)}"
    return "[green]best[/]" if row.best else ""


def _points(epochs: list[EpochRow]) -> list[Point]:
    return [
        Point(row.epoch + 1, row.attempt, float(row.logs["loss"]), row.logs.get("val_loss"))
        for row in epochs
        if isinstance(row.logs.get("loss"), int | float)
    ]
