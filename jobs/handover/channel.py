"""Socket between trainer and keeper: each message is a snapshot, each answer its outcome."""

import contextlib
import json
import os
import socket
from typing import Any, Final

from rekindle.jobs.handover.image import Image, identity
from rekindle.jobs.handover.order import Outcome

_MOST: Final = 1 << 16
_MOST_ORDER: Final = 256 << 20


def pair() -> tuple[socket.socket, socket.socket]:
    """Make both ends: of the keeper, and of the trainer."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


class Keeper:
    """The keeper, as its trainer sees it.

    Args:
        fd: the trainer's end, which it inherited.
    """

    def __init__(self, fd: int) -> None:
        self._socket = socket.socket(fileno=fd)
        self._owner = os.getpid()
        self._identity = identity(fd)

    def is_there(self) -> bool:
        """Return whether this process can ask it: scripts fork, and close all descriptors."""
        if os.getpid() != self._owner:
            return False
        try:
            return identity(self._socket.fileno()) == self._identity
        except OSError:
            return False

    def write(self, image: Image, order: int) -> Outcome:
        """Let it write a checkpoint, and wait for that.

        Args:
            order: bytes of the order behind the image.

        Raises:
            OSError: it does not answer.
        """
        self.hand_over(image, order)
        return self._outcome()

    def hand_over(self, image: Image, order: int) -> None:
        """Give it what it needs to write a checkpoint, even if this process ends."""
        text = json.dumps({"data": image.data, "header": image.header, "order": order})
        socket.send_fds(self._socket, [text.encode()], [image.fd])

    def _outcome(self) -> Outcome:
        answer = self._socket.recv(_MOST)
        if not answer:
            raise ConnectionResetError("the keeper has ended")
        found = json.loads(answer)
        if "refused" in found:
            raise OSError(found["refused"])
        return Outcome(**found)


def receive(end: socket.socket) -> tuple[Image, bytes] | None:
    """Wait for a snapshot in the keeper; None once none can come any more.

    Close the descriptor of the image.

    Raises:
        ValueError: the message is malformed.
        OSError: it cannot be read.
    """
    data, fds, _, _ = socket.recv_fds(end, _MOST, 4)
    if not data:
        return None
    try:
        (fd,) = fds
        fields = {key: int(value) for key, value in json.loads(data).items()}
        image = Image(fd, fields["data"], fields["header"])
        size = fields["order"]
        if not (0 < size <= _MOST_ORDER and image.data >= 0 and image.header > 0):
            raise ValueError(f"a snapshot of {fields}")
        if os.fstat(fd).st_size < image.end + size:
            raise ValueError("a snapshot that is larger than its memory")
        return image, os.pread(fd, size, image.end)
    except BaseException:
        for one in fds:
            os.close(one)
        raise


def answer(end: socket.socket, outcome: Outcome) -> None:
    """Tell the trainer the outcome, if it is still there."""
    _send(end, {"seconds": outcome.seconds, "error": outcome.error})


def refuse(end: socket.socket, why: str) -> None:
    """Tell the trainer that its message was not understood, so that it writes by itself."""
    _send(end, {"refused": why})


def _send(end: socket.socket, found: dict[str, Any]) -> None:
    with contextlib.suppress(OSError):
        end.send(json.dumps(found).encode(), socket.MSG_NOSIGNAL)
