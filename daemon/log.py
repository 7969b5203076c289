"""Configure the daemon's log: structlog, pretty on a terminal, else one JSON object per line.

Under systemd events are sent to the journal with separate fields, so that
``journalctl REKINDLE_JOB=fashion-1`` finds the events of one job.
Protocol: https://systemd.io/JOURNAL_NATIVE_PROTOCOL
"""

import errno
import io
import logging
import os
import re
import select
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TextIO, cast

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from rekindle.state.errors import RekindleError

FORMATS: Final = ("auto", "console", "json")
_JOURNAL: Final = "/run/systemd/journal/socket"
_PIPE_BUF: Final = 4096
"""Bytes that a ready pipe accepts without blocking. Source: pipe(7)."""
_WAIT_S: Final = 0.2
_SEND_S: Final = 0.2
_PRIORITY: Final = {"debug": 7, "info": 6, "warning": 4, "error": 3, "critical": 2}


@dataclass(frozen=True, slots=True)
class Dropped:
    """Describe why a log cannot be written, and how many of its lines are missing so far."""

    lines: int
    reason: str


def no_loss() -> Dropped | None:
    """Report that no line is missing, of a log that is not written by :class:`Output`."""
    return None


def configure(style: str = "auto", stream: TextIO | None = None) -> Callable[[], Dropped | None]:
    """Configure structlog for this process.

    Args:
        style: one of :data:`FORMATS`; ``auto`` is pretty on a terminal, fields in the journal of
            systemd if standard error is connected to it, else JSON.

    Returns:
        A function that returns what of the log is missing now, None if it can be written.
    """
    # Python's is None in a process that was started without one
    out = stream or sys.stderr or open(os.devnull, "w")  # noqa: SIM115  open to the end
    output = Output.of(out)
    pretty = style == "console" or (style == "auto" and out.isatty())
    processors: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
    ]
    if style == "auto" and stream is None and under_journal():
        processors += [structlog.processors.format_exc_info, _to_journal]
    processors.append(structlog.processors.TimeStamper(fmt="iso", utc=not pretty))
    if pretty:
        processors.append(structlog.dev.ConsoleRenderer(colors=_has_colours(out)))
    else:
        processors += [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    structlog.configure(
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(cast(TextIO, output)),
        cache_logger_on_first_use=True,
    )
    return output.dropped if isinstance(output, Output) else no_loss


def ensure_streams() -> None:
    """Open standard streams that are closed: a file that is opened later would be one of them."""
    while (fd := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(fd)


class Output:
    """Write a log without ever ending or blocking its writer; count the lines that were dropped.

    The disk may be full, the reader may have ended, or it may not read. Nothing is buffered,
    since Python's buffers would fail again at the end of the process.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._dropped = 0
        self._reason = ""
        self._torn = False
        self._patient = True
        self._poll = select.poll()
        self._poll.register(fd, select.POLLOUT)

    @classmethod
    def of(cls, stream: TextIO) -> "Output | TextIO":
        """Wrap a stream that has a file descriptor; return any other one as it is."""
        try:
            return cls(stream.fileno())
        except (OSError, ValueError, AttributeError, io.UnsupportedOperation):
            return stream

    def write(self, text: str) -> int:
        data = text.encode(errors="backslashreplace")
        if self._dropped and text.strip():
            note = f"rekindle: {self._dropped} lines of this log could not be written\n".encode()
            data = (b"\n" if self._torn else b"") + note + data
        try:
            while data:
                if not self._ready():
                    raise TimeoutError(errno.ETIMEDOUT, "its reader does not read")
                data = data[os.write(self._fd, data[:_PIPE_BUF]) :]
        except OSError as error:
            self._dropped += text.count("\n")
            self._reason = error.strerror or type(error).__name__
            self._torn = len(data) < len(text)
        else:
            self._dropped, self._torn = 0, False
        return len(text)

    def dropped(self) -> Dropped | None:
        """Return what is missing since the log could be written last; None if nothing is."""
        return Dropped(self._dropped, self._reason) if self._dropped else None

    def flush(self) -> None:
        """Do nothing: no data is buffered."""

    def _ready(self) -> bool:
        """Return whether a write would not block; wait a little the first time that it would."""
        events = self._poll.poll(_WAIT_S * 1000 if self._patient else 0)
        self._patient = bool(events)
        return self._patient


def under_journal() -> bool:
    """Return whether standard error is connected to the journal of systemd.

    Source: systemd.exec(5), ``$JOURNAL_STREAM``: device and inode of that connection.
    """
    try:
        info = os.fstat(2)
    except OSError:
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{info.st_dev}:{info.st_ino}"


def refuse(error: RekindleError) -> bool:
    """Send to the journal in one line why the daemon does not start; False if that failed."""
    where = "" if error.where is None else f" ({error.where})"
    return to_journal(
        {
            "event": "daemon_refused",
            "level": "error",
            "kind": type(error).__name__,
            "where": error.where or "",
            "hint": error.hint,
        },
        f"{error.what}{where} {error.hint}".replace("\n", " "),
    )


def to_journal(event: EventDict, message: str) -> bool:
    """Send one entry; each value becomes a field ``REKINDLE_<KEY>``. False if that failed."""
    fields = {
        "MESSAGE": message,
        "SYSLOG_IDENTIFIER": "rekindle",
        "PRIORITY": _PRIORITY.get(str(event.get("level")), 6),
    }
    # the journal drops fields with other characters in their names
    fields |= {
        "REKINDLE_" + re.sub(r"[^A-Z0-9_]", "_", key.upper()): value
        for key, value in event.items()
        if key != "level"
    }
    data = bytearray()
    for name, value in fields.items():
        text = str(value).encode(errors="replace")
        # name, newline, length, value: valid for any value, including several lines
        data += name.encode() + b"\n" + len(text).to_bytes(8, "little") + text + b"\n"
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
            sock.settimeout(_SEND_S)
            sock.sendto(data, _JOURNAL)
    except OSError:
        # too long for a datagram, or no journal: the line on standard error is the fallback
        return False
    return True


def _to_journal(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    fields = " ".join(
        f"{key}={value}"
        for key, value in event.items()
        if key not in ("event", "level") and value is not None
    )
    if to_journal(
        {k: v for k, v in event.items() if v is not None}, f"{event.get('event')} {fields}".rstrip()
    ):
        raise structlog.DropEvent
    return event


def _has_colours(out: TextIO) -> bool:
    """Return whether the output is a terminal whose user wants colours."""
    unwanted = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    return out.isatty() and not unwanted
