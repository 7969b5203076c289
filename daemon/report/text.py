"""Print a summary for a person."""

from collections.abc import Sequence
from typing import Final, TypeVar

from rekindle.daemon.client import held, terminal
from rekindle.daemon.client.lines import Page, Row, plain
from rekindle.daemon.report.host import Host
from rekindle.daemon.report.summary import Done, Grid, Summary
from rekindle.daemon.report.timeline import BAD, GOOD, Moment
from rekindle.state.counted import counted
from rekindle.state.hints import name_home

_MOMENTS: Final = 30
_DONE: Final = 30
_POINTS: Final = 20
_LEVELS: Final = {BAD: "red", GOOD: "green"}

_Row = TypeVar("_Row")


def print_summary(summary: Summary, page: Page, home: object | None, *, whole: bool) -> None:
    """Print the morning in its order; empty sections are left out.

    Args:
        home: what was given as --home, for the commands.
        whole: all results and the whole timeline, not only the newest.
    """

    def command(text: str) -> None:
        if text:
            page.line(f"    {plain(name_home(f'`{text}`', home)[1:-1])}", "cyan")

    page.sentence(f"Since {terminal.when(summary.since)}: {summary.headline.text}", "bold")
    if summary.needs:
        _title(page, "Needs you")
        for need in summary.needs:
            page.line(f"{need.about}: {need.text}", "yellow")
            if need.hint and need.hint.strip("`.") != need.command:
                page.line(f"    {name_home(need.hint, home)}")
            command(need.command)
    if summary.done:
        _title(page, "Done")
        for one in _latest(page, summary.done, None if whole else _DONE, home):
            page.line(f"{one.id}: {result(one)}", "green")
            if one.held is not None:
                page.line(f"    time: {held.text(one.held)}")
            if one.model:
                page.line(f"    model: {plain(one.model)}")
            command(one.export)
    if summary.grids:
        _title(page, "Grids")
        for grid in summary.grids:
            _grid(page, grid, home, whole=whole)
    if summary.running or summary.waiting:
        _title(page, "Running")
        for job in summary.running:
            far = job.far
            parts = (far.text, far.within, far.speed) if far is not None else ()
            words = ", ".join(part for part in parts if part) or "-"
            left = far.estimate if far is not None else ""
            page.line(f"{job.row.id}: {words}. {left}".rstrip())
        if summary.waiting:
            page.line(f"{counted(summary.waiting, 'job')} queued or waiting: `rekindle ls`", "dim")
    if summary.refused:
        _title(page, "Refused")
        for file in summary.refused:
            name = terminal.printable(file.file)
            page.line(f"{name} ({terminal.when(file.at)}): {file.error}", "red")
            if file.hint:
                page.line(f"    {name_home(file.hint, home)}")
            command(file.command)
    if summary.timeline:
        _title(page, "Timeline")
        for moment in _latest(page, summary.timeline, None if whole else _MOMENTS, home):
            page.line(line(moment), _LEVELS.get(moment.level, ""))
    if summary.host is not None:
        _title(page, "Host")
        page.line(describe(summary.host), "yellow" if summary.host.synchronised is False else "")


def _grid(page: Page, grid: Grid, home: object | None, *, whole: bool) -> None:
    """Compare the points of a grid in a table, the best first."""
    page.line(f"{grid.name}, {grid.text}", "green" if grid.best is not None else "")
    shown = grid.points if whole else grid.points[:_POINTS]
    header = ("job", *map(plain, grid.parameters), "state", plain(grid.metric or "-"), "epoch")
    page.table(
        header,
        (
            Row(
                (
                    one.id,
                    *(plain(one.shown(name)) for name in grid.parameters),
                    one.state,
                    "-" if one.best is None else terminal.number(one.best.value),
                ),
                text="-" if one.best is None else str(one.best.epoch + 1),
            )
            for one in shown
        ),
    )
    if hidden := len(grid.points) - len(shown):
        way = name_home(f"`rekindle ls --grid {grid.points[0].id}`", home)
        page.line(f"{counted(hidden, 'more point')}: {way}", "dim")


def result(one: Done) -> str:
    """Describe what a job has reached, against the last one of that name."""
    if one.best is None:
        text = "no metric was logged"
    else:
        text = f"best {plain(one.best.metric)} {terminal.number(one.best.value)}"
        text += f" in epoch {one.best.epoch + 1}"
        if one.before is not None and one.before_best is not None:
            text += f"; {one.before} had {terminal.number(one.before_best.value)}"
            if one.better is not None:
                equal = one.best.value == one.before_best.value
                text += " (equal)" if equal else " (better)" if one.better else " (worse)"
    if one.survived:
        text += f"; {counted(one.survived, 'interruption')} survived"
    return text + ("" if one.model else "; no checkpoint was kept") + "."


def line(moment: Moment) -> str:
    """Describe a moment in one line."""
    about = f"{moment.job} " if moment.job else ""
    return f"{terminal.when(moment.at)}  {about}{moment.what}" + (
        f": {moment.cause}" if moment.cause else ""
    )


def describe(host: Host) -> str:
    """Describe a host in one line."""
    parts = [host.name]
    if host.free is not None and host.size is not None:
        parts.append(f"{terminal.size(host.free)} of {terminal.size(host.size)} free")
    models = dict.fromkeys(host.gpus)
    parts.append(
        ", ".join(f"{host.gpus.count(model)} x {plain(model)}" for model in models) or "no GPU"
    )
    parts.append(f"load {host.load:.1f} on {counted(host.cores, 'core')}")
    clock = {True: "synchronised", False: "not synchronised", None: "of unknown accuracy"}
    parts.append(f"clock {clock[host.synchronised]} ({host.zone})")
    return "; ".join(parts) + "."


def _title(page: Page, text: str) -> None:
    page.line()
    page.line(text, "bold")


def _latest(page: Page, rows: Sequence[_Row], most: int | None, home: object | None) -> list[_Row]:
    """Return the latest rows, and say how many earlier ones are left out; all without a limit."""
    shown = list(rows if most is None else rows[-most:])
    if hidden := len(rows) - len(shown):
        page.line(f"{hidden} earlier: {name_home('`rekindle report --all`', home)}", "dim")
    return shown
