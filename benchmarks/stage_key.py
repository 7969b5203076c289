"""Measure the processor time of a stage's key, by its data; each `fit` pays it once.

The large arrays are of the system's zero pages, so that 10 GB fit into any memory: what is read is
the same.

    python benchmarks/stage_key.py [--repeats 5]
"""

import argparse
import os
import statistics
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf

from rekindle.jobs.stages import model_digest, pipeline_digest

GIB = 2**30


class Files(keras.utils.PyDataset):
    """A list of 100,000 names of files, and their labels."""

    def __init__(self):
        super().__init__()
        self.paths = [f"images/{number:06d}.jpg" for number in range(100_000)]
        self.labels = np.zeros(100_000, "int64")

    def __len__(self):
        return 3125


def augmented(image, label):
    image = tf.image.random_flip_left_right(tf.cast(image, tf.float32) / 255.0)
    return tf.image.resize_with_crop_or_pad(image, 30, 30), label


def kinds():
    """Name of the data, and arguments of `fit`."""
    large = np.zeros((10 * GIB // 4 // 1024, 1024), "float32")
    rows = np.zeros((50_000, 32, 32, 3), "uint8")
    slices = tf.data.Dataset.from_tensor_slices((rows, np.zeros(50_000, "int64")))
    return [
        ("an array of 10 GiB", {"x": large, "y": np.zeros(len(large))}),
        ("every second row of it", {"x": large[::2]}),
        ("the same, transposed", {"x": large.T}),
        ("2,000 arrays of 5 MiB", {"x": [np.zeros(5 * 2**18, "float32") for _ in range(2000)]}),
        ("a PyDataset of 100,000 files", {"x": Files()}),
        (
            "tf.data: 150 MB, shuffle, map, batch",
            {"x": slices.shuffle(1000).map(augmented).batch(32).prefetch(2)},
        ),
    ]


def timed(call, repeats):
    times = []
    for _ in range(repeats):
        # processor time: another load of the machine changes it less
        began = time.process_time()
        call()
        times.append(1e3 * (time.process_time() - began))
    return f"first {times[0]:7.1f} ms, median {statistics.median(times):7.1f} ms"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--repeats", type=int, default=5)
    repeats = parser.parse_args().repeats
    for name, arguments in kinds():
        print(f"{name:40} {timed(lambda a=arguments: pipeline_digest.of(a), repeats)}")
    model = keras.applications.ResNet50(weights=None)
    model.compile("adam", "sparse_categorical_crossentropy")
    print(
        f"{'ResNet50: architecture':40} "
        f"{timed(lambda: model_digest.architecture([model]), repeats)}"
    )
    print(
        f"{'ResNet50: weights it begins with':40} "
        f"{timed(lambda: model_digest.entry({'model': model.variables}, [model]), repeats)}"
    )


if __name__ == "__main__":
    main()
