"""Pass messages and descriptors between two processes.

A connected pair of sockets that keeps messages apart; each end sees when the other has ended.
Standard library only.
"""

import array
import contextlib
import json
import os
import select
import socket
from typing import Any, Final

Message = dict[str, Any]

_MOST_BYTES: Final = 256 * 1024
_MOST_FDS: Final = 32


class Closed(Exception):
    """The other end has ended, or does not answer in time."""


class Channel:
    """One end of a connection."""

    def __init__(self, end: socket.socket) -> None:
        self._end = end

    @classmethod
    def pair(cls) -> tuple["Channel", "Channel"]:
        """Connect two ends."""
        one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        return cls(one), cls(other)

    @classmethod
    def on(cls, fd: int) -> "Channel":
        """Use an inherited descriptor, which this takes over."""
        return cls(socket.socket(fileno=fd))

    def fileno(self) -> int:
        """Return the descriptor of this end, for ``select`` and for a child."""
        return self._end.fileno()

    def send(self, message: Message, fds: tuple[int, ...] = ()) -> None:
        """Send a message and copies of descriptors.

        Raises:
            Closed: the other end has ended.
        """
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        try:
            # never wait for a process that was stopped
            flags = socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL
            self._end.sendmsg([json.dumps(message).encode()], rights, flags)
        except OSError as error:
            raise Closed(str(error)) from error

    def receive(self, seconds: float | None = None) -> tuple[Message, list[int]]:
        """Wait for a message; return it with the descriptors, which are closed on exec.

        Raises:
            Closed: the other end has ended, or the time is over.
            ValueError: it is no message.
        """
        if not self.waits(seconds):
            raise Closed("it did not answer in time")
        fds = array.array("i")
        try:
            data, ancillary, _, _ = self._end.recvmsg(
                _MOST_BYTES, socket.CMSG_SPACE(_MOST_FDS * fds.itemsize), socket.MSG_CMSG_CLOEXEC
            )
        except OSError as error:
            raise Closed(str(error)) from error
        for level, kind, content in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                fds.frombytes(content[: len(content) - len(content) % fds.itemsize])
        if not data:
            raise Closed("it has ended")
        try:
            return {**json.loads(data)}, fds.tolist()
        except (ValueError, TypeError) as error:
            for fd in fds:
                os.close(fd)
            raise ValueError(f"no message: {error}") from error

    def waits(self, seconds: float | None = 0) -> bool:
        """Wait until a message, or the other end's end, can be read; return whether it can."""
        poll = select.poll()
        poll.register(self._end, select.POLLIN)
        return bool(poll.poll(None if seconds is None else seconds * 1000))

    def last(self) -> None:
        """Let :meth:`receive` end once what was sent until now is received."""
        with contextlib.suppress(OSError):
            self._end.shutdown(socket.SHUT_RD)

    def close(self) -> None:
        """Close this end."""
        self._end.close()
