"""Write, in the keeper, the checkpoints that its trainer hands over, and verify earlier ones.

A snapshot that was handed over becomes a checkpoint even if the trainer is killed meanwhile.
"""

import dataclasses
import os
import threading
from typing import Final

from rekindle.jobs.handover import snapshots
from rekindle.jobs.handover.channel import Channel, Closed, Message
from rekindle.jobs.handover.image import Image
from rekindle.jobs.handover.order import Order, Outcome, carry_out
from rekindle.jobs.handover.verifier import Verifier
from rekindle.jobs.journal_writer import Record, print_line
from rekindle.state import crash_points
from rekindle.state.paths import Run
from rekindle.state.run import checkpoints

_AT_END_S: Final = 600.0
"""Longest wait for the last checkpoint of a trainer that has ended."""


class Receiver:
    """Thread of the keeper that writes checkpoints, one after another.

    Args:
        record: the journal.
        ends: of a warm spare, which has one of them; None for new ones.
    """

    def __init__(
        self, run: Run, record: Record, ends: tuple[Channel, Channel] | None = None
    ) -> None:
        self._run = run
        self._record = record
        self._end, self._trainers = ends or Channel.pair()
        self._thread = threading.Thread(target=self._work, name="checkpoints", daemon=True)
        self._verifier = Verifier(run)

    @property
    def trainers_end(self) -> int:
        """Descriptor that the trainer inherits."""
        return self._trainers.fileno()

    def start(self) -> None:
        """Begin; call it once the trainer is spawned, before which there must be no thread."""
        self._trainers.close()
        self._thread.start()
        self._verifier.start()

    def wait(self) -> None:
        """Write until every process has ended that has the trainer's end."""
        self._thread.join()

    def finish(self) -> None:
        """Write what was handed over, once the trainer and its processes have ended."""
        self._verifier.end()
        self._end.last()
        self._thread.join(_AT_END_S)
        if self._thread.is_alive():
            print_line(f"the last checkpoint was not on disk after {_AT_END_S:.0f} s.")

    def _work(self) -> None:
        while True:
            number: int | None = None
            try:
                message, fds = self._end.receive()
                number = message.get("n")
                found = self._carried_out(message, fds)
            except Closed:
                self._end.close()  # a trainer that waits all the same writes by itself
                return
            except Exception as error:  # the trainer must not wait for ever
                print_line(f"a snapshot was not understood: {error!r}")
                found = {"refused": repr(error)[:1000]}
            snapshots.answer(self._end, found, number)

    def _carried_out(self, message: Message, fds: list[int]) -> Message:
        """Do what a message asks for; return the answer."""
        if "verified" in message:
            return self._verifier.answer(message["verified"])
        found = snapshots.received(message, fds)
        crash_points.reached("snapshot_received")
        return dataclasses.asdict(self._write(*found))

    def _write(self, image: Image, order: bytes) -> Outcome:
        try:
            return carry_out(
                Order.from_json(order),
                self._run,
                lambda entry: self._record.add(**entry),
                lambda folder: {checkpoints.STATE: image.save(folder / checkpoints.STATE)},
            )
        finally:
            os.close(image.fd)
