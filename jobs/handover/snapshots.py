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
            answer, _ = self._channel.receive()
        except (Closed, ValueError) as error:
            raise OSError(str(error)) from error
        if "refused" in answer:
            raise OSError(answer["refused"])
        return Outcome(**answer)

    def verified(self, name: str) -> Files | None:
        """Ask for the files of a checkpoint that it has found good; None if that is not known."""
        try:
            self._channel.send({"verified": name})
            message, _ = self._channel.receive(_MOST_VERIFY_S)
        except (Closed, ValueError) as error:
            # an answer that comes later would be taken for that to a snapshot
            log_line(f"the keeper does not answer ({error}); this process writes checkpoints.")
            self._channel.close()
            return None
        return message.get("files")

    def hand_over(self, image: Image) -> None:
        """Give it what it needs to write a checkpoint, even if this process ends."""
        sizes = {"data": image.data, "header": image.header, "order": image.order}
        self._channel.send(sizes, (image.fd,))


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


def answer(end: Channel, message: Message) -> None:
    """Answer the trainer, if it is still there."""
    with contextlib.suppress(Closed):
        end.send(message)


def refuse(end: Channel, why: str) -> None:
    """Tell the trainer that its message was not understood, so that it writes by itself."""
    with contextlib.suppress(Closed):
        end.send({"refused": why})
