"""Measure the processor time of following Python objects at a save, by what a callback holds.

A save walks from callbacks, model and data over all objects, digests each, and compares; what has
changed is copied. The first row is a callback without anything.

    python benchmarks/python_state.py [--repeats 7]
"""

import argparse
import os
import statistics
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np

from rekindle.jobs.python_state.component import PythonState

MIB = 2**20


class Holder(keras.callbacks.Callback):
    """Hold what is measured, and a number that changes."""

    def __init__(self, held):
        super().__init__()
        self.held = held
        self.number = 0


class Item:
    """Be an object of the script."""

    def __init__(self, number):
        self.number, self.name, self.pair = number, f"item {number}", [number, -number]


def kinds():
    """Name of what is held, and what makes it."""
    return [
        ("nothing", lambda: None),
        ("1,000 objects of the script", lambda: [Item(n) for n in range(400)]),
        ("10,000 objects of the script", lambda: [Item(n) for n in range(3_900)]),
        ("a list of 100,000 floats", lambda: [float(n) for n in range(100_000)]),
        ("an array of 1 MiB", lambda: np.zeros(MIB // 4, "float32")),
        ("an array of 16 MiB", lambda: np.zeros(4 * MIB, "float32")),
        ("an array of 64 MiB", lambda: np.zeros(16 * MIB, "float32")),
        ("an array of 256 MiB (by a sample)", lambda: np.zeros(64 * MIB, "float32")),
        (
            "a second model of 1M parameters",
            lambda: keras.Sequential([keras.Input((1000,)), keras.layers.Dense(1000)]),
        ),
    ]


def measured(make, repeats):
    """Return the median milliseconds of processor time of a save in which one number changed."""
    callback = Holder(make())
    state = PythonState({"Holder": callback}, list)
    times = []
    for _ in range(repeats):
        callback.number += 1
        began = time.process_time()
        state.capture({})
        times.append((time.process_time() - began) * 1e3)
    assert not state.caveats() or "10,000" in str(state.caveats())
    return statistics.median(times)


def main():
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=7)
    repeats = parser.parse_args().repeats
    print("| a callback holds | processor time of a save, ms |")
    print("|---|---|")
    for name, make in kinds():
        print(f"| {name} | {measured(make, repeats):.1f} |", flush=True)


if __name__ == "__main__":
    main()
