"""Hand snapshots from trainer to keeper: each message is a snapshot, each answer its outcome."""

import contextlib
import os
from typing import Final

from rekindle.jobs.handover.channel import Channel, Closed, Message
from rekindle.jobs.handover.image import Image
from rekindle.jobs.handover.order import Outcome
from rekindle.jobs.handover.verifier import Files
from rekindle.jobs.journal_writer import log_line
from rekindle.jobs.process import OwnDescriptor

_MOST_ORDER: Final = 256 << 20
_MOST_VERIFY_S: Final = 600.0
"""Longest wait for the keeper to read a checkpoint."""


class Keeper:
    """The keeper, as its trainer sees it.

    Args:
        fd: the trainer's end, which it inherited.

    Attributes:
        socket: that descriptor.
    """

    def __init__(self, fd: int) -> None:
        self._channel = Channel.on(fd)
        self.socket: Final = OwnDescriptor.of(fd)
        self._owner = os.getpid()
        self._sent = 0

    def is_there(self) -> bool:
        """Return whether this process can ask it: scripts fork, and close all descriptors."""
        return os.getpid() == self._owner and self.socket.is_open()

    def write(self, image: Image) -> Outcome:
        """Let it write a checkpoint, and wait for that.

        Raises:
            OSError: it does not answer, or did not understand.
        """
        try:
            self.hand_over(image)
            answer = self._answer()
        except (Closed, ValueError) as error:
            raise OSError(str(error)) from error
        if "refused" in answer:
            raise OSError(answer["refused"])
        return Outcome(**answer)

    def _answer(self, seconds: float | None = None) -> Message:
        """Receive the answer to the last message, and drop those to messages before it.

        Who asked before may have been interrupted while it waited.

        Raises:
            Closed, ValueError: as :meth:`Channel.receive`.
        """
        while True:
            message, _ = self._channel.receive(seconds)
            if message.pop("to", self._sent) == self._sent:
                return message

    def _send(self, message: Message, fds: tuple[int, ...] = ()) -> None:
        self._sent += 1
        self._channel.send({**message, "n": self._sent}, fds)

    def verified(self, name: str) -> Files | None:
        """Ask for the files of a checkpoint that it has found good; None if that is not known."""
        try:
            self._send({"verified": name})
            return self._answer(_MOST_VERIFY_S).get("files")
        except (Closed, ValueError) as error:
            log_line(f"the keeper did not verify {name} ({error}); this process does.")
            return None

    def hand_over(self, image: Image) -> None:
        """Give it what it needs to write a checkpoint, even if this process ends."""
        sizes = {"data": image.data, "header": image.header, "order": image.order}
        self._send(sizes, (image.fd,))


def received(message: Message, fds: list[int]) -> tuple[Image, bytes]:
    """Understand a message with a snapshot; return its image, whose descriptor is to be closed.

    Raises:
        ValueError: the message is malformed; its descriptors are closed.
    """
    try:
        (fd,) = fds
        sizes = {name: int(message[name]) for name in ("data", "header", "order")}
        image = Image(fd, **sizes)
        if not (0 < image.order <= _MOST_ORDER and image.data >= 0 and image.header > 0):
            raise ValueError(f"a snapshot of {sizes}")
        if os.fstat(fd).st_size < image.end + image.order:
            raise ValueError("a snapshot that is larger than its memory")
        return image, os.pread(fd, image.order, image.end)
    except BaseException as error:
        for one in fds:
            os.close(one)
        if isinstance(error, KeyError | TypeError | OverflowError):
            raise ValueError(f"no snapshot: {error!r}") from error
        raise


def answer(end: Channel, message: Message, number: int | None) -> None:
    """Answer a message of the trainer, if it is still there.

    Args:
        number: of that message; None if it could not be read.
    """
    with contextlib.suppress(Closed):
        end.send(message if number is None else {**message, "to": number})
