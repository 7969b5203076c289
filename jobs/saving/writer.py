"""Write checkpoints from shared memory: through the keeper, or in this process without one."""

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rekindle.jobs.handover import verifier
from rekindle.jobs.handover.image import PAGE, Image
from rekindle.jobs.handover.order import Order, Outcome, carry_out
from rekindle.jobs.handover.snapshots import Keeper
from rekindle.jobs.journal_writer import log_line
from rekindle.jobs.process import OwnDescriptor
from rekindle.state.paths import Run
from rekindle.state.run import checkpoints
from rekindle.state.run.checkpoints import Checkpoint

if TYPE_CHECKING:
    from rekindle.jobs.attempt.attempt_log import AttemptLog
    from rekindle.jobs.capture.codec import Tensors
    from rekindle.jobs.handover.slot import Slot


class Writer:
    """Write one checkpoint at a time.

    Args:
        keeper: of this trainer; None for a script that was started by hand.
    """

    def __init__(self, run: Run, log: "AttemptLog", keeper: Keeper | None) -> None:
        self._run = run
        self._log = log
        self._keeper = keeper
        self._slot: Slot | None = None
        self._taken = False

    @property
    def socket(self) -> OwnDescriptor | None:
        """The socket to the keeper; None without one."""
        return None if self._keeper is None else self._keeper.socket

    def verify(self, checkpoint: Checkpoint) -> str | None:
        """Explain why a checkpoint cannot be used; None if it is good.

        Of a large one the keeper has read the files while this process imported.
        """
        with contextlib.suppress(OSError):
            files = verifier.files_of(checkpoint)
            if (
                verifier.is_large(files)
                and self._keeper is not None
                and self._keeper.is_there()
                and self._keeper.verified(checkpoint.name) == files
            ):
                return None
        return checkpoints.verify(checkpoint)

    def growth(self, size: int) -> int:
        """Return the bytes of shared memory that a state takes beyond what it has already."""
        return size if self._slot is None else self._slot.growth(size)

    def take(self, tensors: "Tensors") -> None:
        """Move the arrays into shared memory, so that training may change the variables.

        Where that fails they stay where they are.
        """
        from rekindle.jobs.handover.slot import Slot

        self._taken = False
        try:
            self._slot = self._slot or Slot()
            self._slot.take(tensors)
        except (OSError, AttributeError) as error:  # a system without memory files
            log_line(f"no shared memory for checkpoints: {error}")
            return
        self._taken = True

    def write(self, order: Order, tensors: "Tensors", metadata: dict[str, str]) -> Outcome:
        """Write a checkpoint of these arrays, which may be those that were taken last."""
        image = self._image(order, tensors, metadata) if self._taken else None
        self._taken = False
        if image is not None and self._keeper is not None and self._keeper.is_there():
            try:
                return self._keeper.write(image)
            except OSError as error:
                log_line(f"the keeper did not write a checkpoint ({error}); this process does.")

        def save(folder: Path) -> Mapping[str, Mapping[str, Any]] | None:
            from rekindle.state.run import tensors as tensor_files

            if image is not None:
                return {checkpoints.STATE: image.save(folder / checkpoints.STATE)}
            tensor_files.save(folder / checkpoints.STATE, tensors, metadata)
            return None

        return carry_out(order, self._run, self._log.note, save)

    def _image(self, order: Order, tensors: "Tensors", metadata: dict[str, str]) -> Image | None:
        """Complete what was taken; None without memory for it."""
        from rekindle.state.run import tensors as tensor_files

        assert self._slot is not None
        try:
            header = tensor_files.header(tensors, metadata, PAGE)
            return self._slot.image(header, order.to_json())
        except OSError as error:
            log_line(f"no shared memory for the header of a checkpoint: {error}")
            return None
