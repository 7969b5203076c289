"""Shuffle order of the samples of arrays and of the batches of a ``PyDataset``."""

from typing import Any

import numpy as np

Order = np.ndarray[Any, np.dtype[np.int64]]


def order(
    seed: tuple[int, int], number: int, samples: int, batch: int, shuffle: bool | str
) -> Order:
    """Compute the order of samples in pass ``number``, shape ``(samples,)``.

    Args:
        seed: of the job, and the stage; with ``number`` the key of a Philox generator.
        shuffle: as in `fit`: False keeps the order, ``"batch"`` shuffles within batches.
    """
    rows = np.arange(samples, dtype=np.int64)
    if not shuffle:
        return rows
    generator = np.random.Generator(
        np.random.Philox(np.random.SeedSequence([seed[0] % 2**64, seed[1], number]))
    )
    if shuffle == "batch":
        for start in range(0, samples, batch):
            generator.shuffle(rows[start : start + batch])
    else:
        generator.shuffle(rows)
    return rows
