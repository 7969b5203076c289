"""Write values for people: one console, times, sizes, colours of states."""

import contextlib
import datetime as dt
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Final

from rekindle.state.lifecycle import JobState

if TYPE_CHECKING:  # `ls` does without: the import takes as long as its work
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from rekindle.daemon.checks.finding import Finding

STYLES: Final = {
    JobState.RUNNING: "green",
    JobState.STARTING: "green",
    JobState.STOPPING: "yellow",
    JobState.DONE: "bold green",
    JobState.HELD: "bold yellow",
    JobState.FAILED: "bold red",
    JobState.CANCELLED: "dim",
    JobState.WAITING: "yellow",
    JobState.QUEUED: "cyan",
}
_FOUND: Final = {"ok": "green", "warning": "yellow", "error": "bold red"}
_PIPE_WIDTH: Final = 10_000


def console() -> "Console":
    """Make a console on standard output; a pipe wraps nothing: `grep` gets whole lines."""
    from rich.console import Console

    return Console(highlight=False, width=None if sys.stdout.isatty() else _PIPE_WIDTH)


@contextlib.contextmanager
def doing(what: str, on: "Console | None" = None) -> Iterator[Callable[[str], None]]:
    """Show on a terminal what a verb does now, until it prints its result; elsewhere nothing.

    Args:
        on: the console; by default that of errors, which leaves the output as it is.

    Yields:
        A function that replaces the text.
    """
    if not (sys.stderr if on is None else on.file).isatty():
        yield lambda _: None
        return
    from rich.console import Console
    from rich.markup import escape

    made = Console(highlight=False, stderr=True) if on is None else on
    with made.status(escape(what)) as status:
        yield lambda now: status.update(escape(now))


def table(*columns: str) -> "Table":
    """Make a table without frames."""
    from rich.table import Table

    made = Table(box=None, header_style="dim", padding=(0, 2, 0, 0))
    for name in columns:
        made.add_column(name, overflow="fold")
    return made


def state(value: JobState) -> "Text":
    from rich.text import Text

    return Text(str(value), STYLES[value])


def when(seconds: float | None) -> str:
    """Format unix seconds as local time, with the date unless it is today's."""
    if seconds is None:
        return "-"
    moment = dt.datetime.fromtimestamp(seconds)
    today = moment.date() == dt.datetime.now().date()
    return moment.strftime("%H:%M:%S" if today else "%Y-%m-%d %H:%M:%S")


def duration(seconds: float | None) -> str:
    """Format seconds: ``93.4`` → ``1 min 33 s``."""
    if seconds is None:
        return "-"
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min"


def size(count: float) -> str:
    """Format bytes as ``1.2 MB``."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def printable(name: str) -> str:
    """Return a file's name; one with control characters, or that is not text, is quoted."""
    return name if name.isprintable() else ascii(name)


def number(value: Any) -> str:
    return f"{value:.4f}" if isinstance(value, float) else str(value)


def print_finding(console: "Console", finding: "Finding") -> None:
    """Print what a check has found, and its hint."""
    from rich.markup import escape

    style = _FOUND.get(finding.severity, "")
    text = f"[{style}]{finding.severity:7}[/] {finding.check}: {escape(finding.what)}"
    console.print(text, soft_wrap=True)
    if finding.hint:
        console.print(f"        hint: {escape(finding.hint)}", soft_wrap=True)
