"""Fast-forward a pipeline to the batch of a checkpoint, in pieces with heartbeats between.

That takes as long as the pipeline does: minutes for a long one, hours for an endless one. In
one piece it would look like a hang, and nothing could interrupt it.
"""

import time
from collections.abc import Callable, Iterator
from typing import Any, Final

from rekindle.jobs.keras_compat.tensorflow_parts import tf

PIECE_S: Final = 0.5
"""Target duration of a piece: the keeper checks the heartbeat every second."""
_LARGEST: Final = 1 << 16


def forward(iterator: Any, count: int, beat: Callable[[], None]) -> None:
    """Take ``count`` batches from a TensorFlow iterator and drop them.

    A loop in a graph costs a third of ``next``, and one to three times as much as
    ``Dataset.skip``, which nothing can interrupt (numbers: docs/reliability.md).

    Args:
        beat: called between the pieces; it may end the process.
    """

    def drop(batches: Any) -> None:
        for _ in tf.range(batches):
            next(iterator)

    # one signature: rekindle.jobs.capture.trace_order records functions that retrace
    traced = tf.function(drop, input_signature=[tf.TensorSpec((), tf.int64)])
    piece = 1
    while count > 0:
        beat()
        began = time.monotonic()
        piece = min(piece, count)
        try:
            traced(tf.constant(piece, tf.int64))
        except (tf.errors.OutOfRangeError, StopIteration):
            return  # less data than before: fit reports it when it needs the next batch
        count -= piece
        piece = _next_piece(piece, time.monotonic() - began)
    beat()


def draw(
    iterator: Iterator[Any],
    count: int,
    beat: Callable[[], None],
    drawn: Callable[[int], None] = lambda count: None,
) -> None:
    """Take ``count`` batches from a Python iterator and drop them.

    Args:
        drawn: called with the number of batches taken so far.
    """
    for number in range(count):
        beat()
        try:
            next(iterator)
        except StopIteration:
            return
        drawn(number + 1)
    beat()


def _next_piece(piece: int, seconds: float) -> int:
    """Compute the size of the next piece from the duration of the last one."""
    if seconds > PIECE_S:
        return max(1, int(piece * PIECE_S / seconds))
    return min(_LARGEST, piece * 2)
