"""``rekindle top``: watch jobs, GPUs and host live, on a terminal, over SSH and in tmux."""

import argparse
import contextlib
import os
import select
import sys
import termios
import time
import tty
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from rekindle.daemon import daemon_status
from rekindle.daemon.client import lookup, progress, terminal
from rekindle.daemon.client.lines import plain
from rekindle.daemon.client.morning import Morning
from rekindle.daemon.client.progress import Progress
from rekindle.daemon.gpus.usage import Reading, Watch
from rekindle.daemon.report import facts, headline, since
from rekindle.daemon.report.needs import Need, needs
from rekindle.jobs import memory, process
from rekindle.state.errors import NotFound, UsageError
from rekindle.state.hints import name_home
from rekindle.state.ledger.period import Period
from rekindle.state.ledger.rows import AttemptRow, JobRow
from rekindle.state.lifecycle import ACTIVE, WAITS
from rekindle.state.paths import Home

_EVERY_S: Final = 1.0
_FEW: Final = 5
_NARROW: Final = 100
"""Columns below which what is not needed at a glance is left out."""


@dataclass(frozen=True, slots=True)
class Running:
    """Describe a job that runs.

    Attributes:
        attempt: None before it is in the ledger.
        memory: bytes of memory that its processes hold; None where they cannot be read.
    """

    job: JobRow
    far: Progress
    attempt: AttemptRow | None
    memory: int | None


@dataclass(frozen=True, slots=True)
class View:
    """Hold what one picture shows."""

    text: str
    running: tuple[Running, ...]
    needs: tuple[Need, ...]
    waiting: tuple[JobRow, ...]
    count: int


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--every",
        type=float,
        default=_EVERY_S,
        metavar="SECONDS",
        help=f"draw it so often (default: {_EVERY_S:g})",
    )


def main(args: argparse.Namespace) -> int:
    if not 0.1 <= args.every <= 3600:
        raise UsageError("--every is not from 0.1 to 3600 seconds.", hint="Write --every 2.")
    home = lookup.home(args)
    console = Console(highlight=False)
    if not sys.stdout.isatty():
        raise UsageError(
            "top draws on a terminal, and the output is none.",
            hint="`rekindle ls --watch` prints into a pipe; over SSH `ssh -t HOST rekindle top` "
            "makes a terminal.",
        )
    gpus = Watch()
    with _keys() as keys, Live(console=console, screen=True, auto_refresh=False) as live:
        try:
            while True:
                live.update(_picture(home, args, gpus.latest(), console.width), refresh=True)
                if _quits(keys, args.every):
                    return 0
        except KeyboardInterrupt:
            return 0


@contextlib.contextmanager
def _keys() -> Iterator[int | None]:
    """Read single keys, unseen; None where the input is no terminal."""
    if not sys.stdin.isatty():
        yield None
        return
    fd = sys.stdin.fileno()
    before = termios.tcgetattr(fd)
    try:
        tty.setcbreak(fd)
        yield fd
    finally:
        termios.tcsetattr(fd, termios.TCSADRAIN, before)


def _quits(keys: int | None, seconds: float) -> bool:
    """Wait for the next picture; return whether ``q`` was pressed."""
    if keys is None:
        time.sleep(seconds)
        return False
    ready, _, _ = select.select([keys], [], [], seconds)
    # the end of the input, of a terminal that has gone, is readable for ever
    return bool(ready) and os.read(keys, 1) in (b"q", b"Q", b"")


def look(home: Home, now: float) -> View:
    """Look at a home once."""
    try:
        book = Period.open(home.ledger, readonly=True)
    except NotFound:
        morning = Morning.of(home, None, now)
        found = facts.Facts(now, now, (), {}, (), morning, None)
        return View("No job was ever run here.", (), needs(found), (), 0)
    with contextlib.closing(book):
        began = since.parse(since.EVENING, now)
        found = facts.brief(book, Morning.of(home, book, now), began, now)
        running = [
            _running(home, book, one.row, now) for one in found.jobs if one.row.state in ACTIVE
        ]
        line = [job for state in WAITS for job in book.in_line(state, _FEW)][:_FEW]
        count = sum(found.counts.get(state, 0) for state in WAITS)
        text = f"Since {terminal.when(began)}: {headline.of(found).text}"
        return View(text, tuple(running), needs(found), tuple(line), count)


def _running(home: Home, book: Period, job: JobRow, now: float) -> Running:
    attempt = book.attempt(job.id, job.attempts)
    far = progress.of(home, book, job, book.latest(job), now)
    pid = attempt.trainer_pid if attempt is not None else None
    return Running(job, far, attempt, None if pid is None else memory_of(pid))


def memory_of(pid: int) -> int | None:
    """Sum the memory of a process and its descendants; pages that they share count for each."""
    total, found = 0, False
    for one in (pid, *process.descendants(pid)):
        try:
            pages = int(Path(f"/proc/{one}/statm").read_text().split()[1])
        except (OSError, ValueError, IndexError):
            continue
        total, found = total + pages * os.sysconf("SC_PAGE_SIZE"), True
    return total if found else None


def _picture(home: Home, args: argparse.Namespace, gpus: Reading, width: int) -> RenderableType:
    view = look(home, time.time())
    parts: list[RenderableType] = [_head(home), Text(view.text, "bold"), Text(_host(home), "dim")]
    parts += [_gpus(gpus, view, width), Text("")]
    parts.append(_jobs(view, width) if view.running else Text("No job runs.", "dim"))
    if view.needs:
        parts += [Text(""), Text("Needs you", "bold")]
        for need in view.needs[:_FEW]:
            parts.append(
                Text(f"{need.about}: {need.text}", "yellow", overflow="ellipsis", no_wrap=True)
            )
            parts.append(
                Text(f"    {plain(name_home(f'`{need.command}`', args.home)[1:-1])}", "cyan")
            )
        if len(view.needs) > _FEW:
            parts.append(Text(f"{len(view.needs) - _FEW} more: rekindle report", "dim"))
    if view.waiting:
        parts += [Text(""), Text(f"Next of {view.count}", "bold")]
        parts += [
            Text(f"{job.id}  {plain(job.reason)}", overflow="ellipsis", no_wrap=True)
            for job in view.waiting
        ]
    return Group(*parts)


def _head(home: Home) -> Text:
    daemon = daemon_status.find(home)
    served = "no daemon" if daemon is None else f"daemon {daemon.pid}"
    return Text(f"rekindle  {time.strftime('%H:%M:%S')}  {home.root}  {served}  (q quits)", "dim")


def _host(home: Home) -> str:
    parts = [f"load {os.getloadavg()[0]:.1f} on {len(os.sched_getaffinity(0))} cores"]
    free, total = memory.available(), memory.total()
    if free is not None and total:
        parts.append(f"memory {terminal.size(total - free)} of {terminal.size(total)}")
    with contextlib.suppress(OSError):
        info = os.statvfs(home.root)
        parts.append(f"disk {terminal.size(info.f_bavail * info.f_frsize)} free")
    return ", ".join(parts)


def _gpus(reading: Reading, view: View, width: int) -> RenderableType:
    if not reading.usages:
        return Text(f"GPUs: {reading.trouble or 'none'}", "dim")
    users = {
        uuid: one.job.id
        for one in view.running
        for uuid in (one.attempt.gpus or [] if one.attempt is not None else [])
    }
    wide = width >= _NARROW
    table = terminal.table("GPU", *(("model", "") if wide else ()), "busy", "", "memory", "job")
    for one in reading.usages:
        gpu, used = one.gpu, one.gpu.total - one.gpu.free
        busy = "?" if one.percent is None else f"{one.percent} %"
        heat = "" if one.celsius is None else f" {one.celsius} C"
        full = used / gpu.total if gpu.total else None
        share = "?" if full is None else f"{100 * full:.0f} %"
        bars = [_bar(None if one.percent is None else one.percent / 100)] if wide else []
        table.add_row(
            gpu.label,
            *([plain(gpu.name), *bars] if wide else []),
            busy + heat,
            _bar(full) if wide else "",
            f"{terminal.size(used)} of {terminal.size(gpu.total)}" if wide else share,
            users.get(gpu.uuid, "-"),
        )
    return table


def _jobs(view: View, width: int) -> Table:
    wide = width >= _NARROW
    table = terminal.table(
        "job", "", "progress", "left", *(("step", "memory", "attempt") if wide else ())
    )
    for one in view.running:
        far = one.far
        place = ", ".join(part for part in (far.text, far.within if wide else "") if part)
        left = "?" if far.left is None else progress.rounded(far.left)
        more = (
            far.speed.removesuffix(" a step") or "-",
            "-" if one.memory is None else terminal.size(one.memory),
            str(one.job.attempts),
        )
        share = "" if far.fraction is None else f" {100 * far.fraction:.0f} %"
        table.add_row(
            Text(one.job.id, terminal.STYLES[one.job.state]),
            _bar(far.fraction),
            (place if place != "-" else str(one.job.state)) + share,
            left,
            *(more if wide else ()),
        )
    return table


def _bar(fraction: float | None) -> RenderableType:
    if fraction is None:
        return Text("")
    return ProgressBar(total=1.0, completed=fraction, width=16)
