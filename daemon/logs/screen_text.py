r"""Turn what was written for a terminal into the lines that a person saw on it.

Progress bars overwrite their line with ``\r`` and backspaces, and colour it with escape
sequences. In a pipe only the last state of each line is of use.
"""

import re
from typing import Final

_SPECIAL: Final = re.compile(rb"[\r\b\x1b]")
# CSI, OSC (up to BEL or ST), character sets, and two-character escapes
_ESCAPE: Final = re.compile(
    r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[ -/]+[0-~]|[@-Z\\-_=>])"
)
_ERASE: Final = re.compile(r"\x1b\[[0-?]*K")
_LONGEST: Final = 1 << 16
"""Bytes of a line that is not complete, above which its overwritten part is dropped."""


class ScreenText:
    """Clean a stream of bytes line by line; everything else passes as it is.

    Args:
        clean: False only divides it into lines.
    """

    def __init__(self, *, clean: bool = True) -> None:
        self._rest = b""
        self._clean = clean

    def feed(self, data: bytes) -> list[bytes]:
        """Take more bytes; return the lines that they complete, each with its line break."""
        *lines, rest = (self._rest + data).split(b"\n")
        if not self._clean:
            self._rest = rest
            return [line + b"\n" for line in lines]
        if len(rest) > _LONGEST and _SPECIAL.search(rest):
            # hours of one bar, whose line never ends
            before, _, last = rest.rpartition(b"\r")
            rest = clean(before) + b"\r" + last if before else rest
        self._rest = rest
        return [clean(line) + b"\n" for line in lines]

    def close(self) -> bytes:
        """Return the line that has no line break."""
        rest, self._rest = self._rest, b""
        return clean(rest) if self._clean else rest


def clean(line: bytes) -> bytes:
    """Return a line as it stands on a terminal in the end."""
    if not _SPECIAL.search(line):
        return line
    text = line.decode("utf-8", "surrogateescape").removesuffix("\r")
    if _ERASE.search(text) is None:
        # a bar goes back to the beginning of its line: only what is written there counts
        pieces = [piece.rstrip("\b") for piece in _ESCAPE.sub("", text).split("\r")]
        if not any("\b" in piece or "\x1b" in piece for piece in pieces):
            seen = ""
            for piece in pieces:
                seen = piece + seen[len(piece) :]
            return seen.rstrip(" ").encode("utf-8", "surrogateescape")
    return _carried_out(text).rstrip(" ").encode("utf-8", "surrogateescape")


def _carried_out(text: str) -> str:
    """Carry out each character on a line of cells."""
    cells: list[str] = []
    at = 0
    position = 0
    while position < len(text):
        char = text[position]
        if char == "\r":
            at = 0
        elif char == "\b":
            at = max(at - 1, 0)
        elif char == "\x1b":
            found = _ESCAPE.match(text, position)
            if found is None:
                position += 1
                continue
            if _ERASE.fullmatch(found[0]):
                del cells[at:]
            position = found.end()
            continue
        else:
            # a jump behind the end does not occur: `at` is never larger than the length
            cells[at : at + 1] = [char]
            at += 1
        position += 1
    return "".join(cells)
