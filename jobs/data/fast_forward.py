"""Reading a pipeline again up to the batch of a checkpoint, in pieces, with a sign of life between.

That takes as long as the pipeline does: minutes for a long one, hours for an endless one. In
one piece it could be told from a hang by nobody, and nothing could interrupt it.
"""

import time
from collections.abc import Callable, Iterator
from typing import Any, Final

import tensorflow as tf

PIECE_S: Final = 0.5
"""A piece takes about so long: the keeper looks every second."""
_LARGEST: Final = 1 << 16


def forward(iterator: Any, count: int, beat: Callable[[], None]) -> None:
    """Takes ``count`` batches from an iterator of TensorFlow and drops them.

    In a loop in a graph: a third of what ``next`` costs, and from the same to three times what
    ``Dataset.skip`` does, which nothing can interrupt (docs/reliability.md has the numbers).

    Args:
        beat: called between the pieces; it may end the process.
    """

    def drop(batches: Any) -> None:
        for _ in tf.range(batches):
            next(iterator)

    # one signature: those that retrace are kept by rekindle.jobs.capture.trace_order
    traced = tf.function(drop, input_signature=[tf.TensorSpec((), tf.int64)])
    piece = 1
    while count > 0:
        beat()
        began = time.monotonic()
        piece = min(piece, count)
        try:
            traced(tf.constant(piece, tf.int64))
        except (tf.errors.OutOfRangeError, StopIteration):
            return  # less data than there was: fit says so when it asks for the next batch
        count -= piece
        piece = _next_piece(piece, time.monotonic() - began)
    beat()


def draw(
    iterator: Iterator[Any],
    count: int,
    beat: Callable[[], None],
    drawn: Callable[[int], None] = lambda count: None,
) -> None:
    """The same for an iterator of Python.

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
    """How many batches make a piece, after one of ``piece`` took so long."""
    if seconds > PIECE_S:
        return max(1, int(piece * PIECE_S / seconds))
    return min(_LARGEST, piece * 2)
