"""Measure what it costs to begin at batch k of n, for each kind of input.

Timed is what a relaunch does: making the iterator, seeking, and the first batch. Arrays and
`PyDataset` should not depend on k; `tf.data` is read again, which costs what its pipeline costs.

    python benchmarks/seek.py [--repeats 5]
"""

import argparse
import os
import statistics
import time
import warnings

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf

from rekindle.jobs.data.keras3.fit_iterator import FitIterator
from rekindle.jobs.data.sources import DataEvents

BATCH = 32
N = 30_000


class Rows(keras.utils.PyDataset):
    """Each batch as costly as a small file."""

    def __len__(self):
        return N

    def __getitem__(self, index):
        return np.full((BATCH, 4), index, "float32"), np.zeros(BATCH, "int32")


x = np.zeros((N * BATCH, 4), "float32")
y = np.zeros(N * BATCH, "int32")


def slices():
    return tf.data.Dataset.from_tensor_slices((x, y))


def resized(a, b):
    image = tf.random.stateless_uniform((96, 96, 3), seed=(1, 2)) + a[0]
    return tf.image.resize(image, (64, 64)), b


def kinds():
    """Name, arguments of the iterator, and batches there are."""
    return [
        ("arrays, shuffled", lambda: {"x": x, "y": y, "batch_size": BATCH, "shuffle": True}, N),
        ("PyDataset, shuffled", lambda: {"x": Rows(), "shuffle": True}, N),
        ("tf.data, slices", lambda: {"x": slices().batch(BATCH)}, N),
        ("tf.data, shuffle(1000)", lambda: {"x": slices().shuffle(1000).batch(BATCH)}, N),
        (
            "tf.data, parallel map: resize",
            lambda: {"x": slices().map(resized, num_parallel_calls=2).batch(BATCH).prefetch(2)},
            300,
        ),
    ]


def seconds(make, k):
    """From nothing to the first batch at ``k``."""
    begun = time.perf_counter()
    iterator = FitIterator(
        (0, 0),
        DataEvents(*([lambda: None] * 4)),
        distribute_strategy=tf.distribute.get_strategy(),
        steps_per_execution=1,
        **make(),
    )
    position = {
        **iterator.position(),
        "created": 1,
        "taken": k,
        "epoch_step": k,
        "steps_seen": k,
        "live": True,
        "epochs_begun": 1,
    }
    iterator.seek(position, lambda: None, None, {}, replay=True)
    for _, _, batches in iterator._enumerate_iterator():
        next(batches)
        break
    return time.perf_counter() - begun


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    print(
        f"{'input':<30} {'n':>6} "
        + " ".join(f"{f'k={s}':>12}" for s in ("0", "n/100", "n/2", "n-1"))
        + f" {'a batch again':>16}   medians of {args.repeats}, ms"
    )
    for name, make, n in kinds():
        seconds(make, 0)
        places = (0, n // 100, n // 2, n - 1)
        found = {k: [] for k in places}
        for _ in range(args.repeats):
            for k in places:
                found[k].append(seconds(make, k))
        medians = [statistics.median(found[k]) for k in places]
        each = 1e6 * (medians[-1] - medians[0]) / (n - 1)
        print(
            f"{name:<30} {n:>6} "
            + " ".join(f"{1000 * m:12.1f}" for m in medians)
            + f" {each:13.1f} us",
            flush=True,
        )


if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    main()
