"""Print a page again and again, in place on a terminal, until Ctrl-C."""

import argparse
import re
import shutil
import sys
import time
from collections.abc import Callable
from typing import Final

from rekindle.daemon.client.lines import Page
from rekindle.state.counted import counted

EVERY_S: Final = 2.0
_LEAST_S: Final = 0.2
_CODE: Final = re.compile("\x1b\\[[0-9;]*m")
_IN: Final = "\x1b[?1049h\x1b[?25l"
_OUT: Final = "\x1b[?25h\x1b[?1049l"
"""Switch to the terminal's second screen without a cursor, and back: what stood there stays."""


def add_argument(parser: argparse.ArgumentParser) -> None:
    """Add ``--watch`` to the arguments of a verb."""
    parser.add_argument(
        "--watch",
        nargs="?",
        const=EVERY_S,
        type=_seconds,
        metavar="SECONDS",
        help=f"print it again every SECONDS (default: {EVERY_S:g}), until Ctrl-C",
    )


def _seconds(text: str) -> float:
    seconds = float(text)
    if not _LEAST_S <= seconds <= 86400:
        raise argparse.ArgumentTypeError(f"not from {_LEAST_S:g} to 86400 seconds: {text}")
    return seconds


def repeat(every: float, draw: Callable[[Page], None]) -> None:
    """Draw a page every so many seconds; a pipe gets one after the other, with the time."""
    place = sys.stdout.isatty()
    if place:
        sys.stdout.write(_IN)
    try:
        while True:
            lines: list[str] = [time.strftime("%H:%M:%S")]
            draw(Page(lines.append))
            if place:
                sys.stdout.write(on_screen(lines, *shutil.get_terminal_size()))
            else:
                print(*lines, "", sep="\n")
            sys.stdout.flush()
            time.sleep(every)
    except KeyboardInterrupt:
        return  # that is how a person ends it
    finally:
        if place:
            sys.stdout.write(_OUT)
            sys.stdout.flush()


def on_screen(lines: list[str], columns: int, rows: int) -> str:
    """Return what draws lines over the previous ones; the last row says what does not fit."""
    drawn: list[str] = []
    free = rows
    for number, line in enumerate(lines):
        # a line longer than the terminal takes several rows of it
        takes = max(-(-len(_CODE.sub("", line)) // columns), 1)
        left = len(lines) - number
        if takes > free or (takes == free and left > 1):
            drawn.append(f"... {counted(left, 'more line')}")
            break
        drawn.append(line)
        free -= takes
    # erased line by line: to clear the whole screen first would flicker
    return "\x1b[H" + "\r\n".join(f"{line}\x1b[K" for line in drawn) + "\x1b[J"
