"""Print tables and lines for people, without a library that takes longer to import than to use.

On a terminal no column is cut or folded: an id, a path and a hint can always be copied. A long line
is left to the terminal, which knows that it is one.
"""

import os
import shutil
import sys
import textwrap
from collections.abc import Callable, Iterable, Sequence
from typing import Final, NamedTuple

_CODES: Final = {"dim": "2", "bold": "1", "green": "32", "yellow": "33", "red": "31", "cyan": "36"}
_GAP: Final = "  "
_NAME: Final = 24
"""Width of the first column on a terminal; a longer id gets a line of its own."""


class Row(NamedTuple):
    """Hold one line of a table.

    Attributes:
        cells: of the columns.
        styles: of the cells, words of `_CODES`; shorter where the last have none.
        text: what follows the columns.
        hint: what a person can do; on a terminal a line of its own.
    """

    cells: Sequence[str]
    styles: Sequence[str] = ()
    text: str = ""
    hint: str = ""


def plain(text: str) -> str:
    """Put a text on one line, without characters that a terminal would carry out."""
    one = " ".join(text.split())
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in one)


class Page:
    """Print to standard output: in colours to a terminal, one line for each row to a pipe."""

    def __init__(self, out: Callable[[str], None] = print) -> None:
        self._out = out
        self._terminal = sys.stdout.isatty()
        self._colours = (
            self._terminal and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
        )
        self._width = shutil.get_terminal_size().columns

    @property
    def is_terminal(self) -> bool:
        """True where a person reads it on a terminal."""
        return self._terminal

    @property
    def draws(self) -> bool:
        """True where the output has block characters."""
        return "utf" in (sys.stdout.encoding or "").lower()

    def style(self, text: str, style: str) -> str:
        """Colour a text where the output has colours."""
        if not (self._colours and style):
            return text
        codes = ";".join(_CODES[word] for word in style.split())
        return f"\x1b[{codes}m{text}\x1b[0m"

    def line(self, text: str = "", style: str = "") -> None:
        """Print a line of text."""
        self._out(self.style(text, style))

    def sentence(self, text: str, style: str = "") -> None:
        """Print a text that nobody copies; on a terminal it is broken between words."""
        for line in textwrap.wrap(text, max(self._width, 20)) if self._terminal else [text]:
            self.line(line, style)

    def table(self, header: Sequence[str], rows: Iterable[Row]) -> None:
        """Print rows below a header; what follows the columns has no width."""
        rows = list(rows)
        columns = zip(header[:-1], *(row.cells for row in rows), strict=True)
        widths = [max(map(len, column)) for column in columns]
        if self._terminal:
            names = (len(row.cells[0]) for row in rows)
            widths[0] = max((len(header[0]), *(size for size in names if size <= _NAME)))
        self.line(_GAP.join([*self._pad(header, widths), header[-1]]), "dim")
        last = ""
        for row in rows:
            # on a terminal the jobs that a pause holds up need its hint once
            self._row(row._replace(hint="") if row.hint == last else row, widths)
            last = row.hint if self._terminal else ""

    def _pad(self, cells: Sequence[str], widths: Sequence[int]) -> list[str]:
        return [cell.ljust(width) for cell, width in zip(cells, widths, strict=False)]

    def _row(self, row: Row, widths: Sequence[int]) -> None:
        styles = [*row.styles, *[""] * (len(widths) - len(row.styles))]
        padded = self._pad(row.cells, widths)
        if len(row.cells[0]) > widths[0]:
            # one long id must not push every other line over the edge of the terminal
            self.line(row.cells[0], styles[0])
            padded[0] = " " * widths[0]
        left = _GAP.join(self.style(cell, one) for cell, one in zip(padded, styles, strict=True))
        hint = f"hint: {row.hint}" if row.hint else ""
        if not self._terminal:
            self._out(_GAP.join(part for part in (left, row.text, hint) if part).rstrip())
            return
        taken = sum(widths) + len(_GAP) * len(widths)
        if row.text and taken + len(row.text) > self._width:
            self._out(left.rstrip())
            self._out(f"    {row.text}")
        else:
            self._out(f"{left}{_GAP}{row.text}".rstrip())
        if hint:
            self._out(f"    {self.style(hint, 'yellow')}")
