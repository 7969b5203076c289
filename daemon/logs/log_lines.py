"""Print a log line by line: cleaned, and with the time of each line."""

import datetime as dt

from rekindle.daemon.logs.screen_text import ScreenText
from rekindle.daemon.logs.times import Times

_UNKNOWN = b" " * 21


class LogLines:
    """Turn pieces of a log into the lines to print.

    Args:
        clean: drop what a progress bar has overwritten, and escape sequences.
        times: begin each line with its time.
    """

    def __init__(self, *, clean: bool, times: bool) -> None:
        self._screen = ScreenText(clean=clean)
        self._shown = times
        self._times = Times([], [])
        self._offset = 0

    def resume(self, times: Times, offset: int) -> None:
        """Go to where the log is read next, with its present times; an open line stays."""
        self._times = times
        self._offset = offset

    def feed(self, data: bytes) -> list[bytes]:
        """Take the next bytes of the log; return the lines that they complete."""
        lines = self._screen.feed(data)
        if self._shown:
            at = -1
            for number, line in enumerate(lines):
                at = data.index(b"\n", at + 1)
                lines[number] = self._prefix(self._offset + at + 1) + line
        self._offset += len(data)
        return lines

    def end(self) -> bytes:
        """Return the last line, if it has no line break."""
        line = self._screen.close()
        return self._prefix(self._offset) + line if self._shown and line else line

    def _prefix(self, offset: int) -> bytes:
        moment = self._times.at(offset)
        if moment is None:
            return _UNKNOWN
        return f"{dt.datetime.fromtimestamp(moment):%Y-%m-%d %H:%M:%S}  ".encode()
