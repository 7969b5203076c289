"""Order of a checkpoint: what it has beside the values, and how it is carried out."""

import dataclasses
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rekindle.jobs.journal_writer import log_line
from rekindle.state.paths import Run
from rekindle.state.run import checkpoints, entries
from rekindle.state.run.checkpoints import Position
from rekindle.state.run.entries import Entry


@dataclass(frozen=True, slots=True)
class Order:
    """Describe a checkpoint to be written.

    Attributes:
        manifest: what its manifest has beside files, position and digests.
        why: start, epoch, best, steps, time, signal or end.
        best: it holds the best value of the monitored metric so far.
        logs: of its step or epoch.
        began: when the save began, in seconds of the machine's monotonic clock.
        delay: seconds by which a save delays the training; None if not measured.
    """

    position: Position
    manifest: dict[str, Any]
    why: str
    best: bool
    logs: dict[str, Any]
    began: float
    delay: float | None = None

    def to_json(self) -> bytes:
        """Encode for another process."""
        return json.dumps(dataclasses.asdict(self)).encode()

    @classmethod
    def from_json(cls, data: bytes) -> "Order":
        """Decode what :meth:`to_json` returned.

        Raises:
            ValueError, TypeError: it is something else.
        """
        fields = json.loads(data)
        return cls(**{**fields, "position": Position(**fields["position"])})


@dataclass(frozen=True, slots=True)
class Outcome:
    """Result of an order.

    Attributes:
        seconds: since the save began.
        error: why it failed; None for a checkpoint that is on disk.
    """

    seconds: float
    error: str | None = None


def carry_out(
    order: Order,
    run: Run,
    note: Callable[[Entry], object],
    write: Callable[[Path], Mapping[str, Mapping[str, Any]] | None],
) -> Outcome:
    """Write a checkpoint, and journal that it is on disk or why it is not.

    Args:
        note: appends a journal entry.
        write: writes the files, as for :func:`checkpoints.commit`.
    """
    at = order.position
    try:
        made = checkpoints.commit(run.checkpoints, at, write, order.manifest)
        size = made.bytes
    except OSError as error:
        # the training continues in memory, and the next save may succeed
        log_line(f"checkpoint not saved: {error}")
        note(entries.save_failed(error=str(error), epoch=at.epoch, step=at.step))
        return Outcome(time.monotonic() - order.began, str(error)[:1000])
    seconds = time.monotonic() - order.began
    note(
        entries.checkpoint_committed(
            name=made.name,
            stage=at.stage,
            epoch=at.epoch,
            step=at.step,
            end=at.end,
            bytes=size,
            why=order.why,
            seconds=round(seconds, 6),
            best=order.best,
            logs=order.logs,
            delay=None if order.delay is None else round(order.delay, 6),
        )
    )
    return Outcome(seconds)
