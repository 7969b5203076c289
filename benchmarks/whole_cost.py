"""Measure what durable saves cost a training whose steps wait, as those of a GPU do.

Each step waits, then changes every variable on one core; the other core is free. The state has
1.2 GB (100 million parameters, and as many twice in slots). Its duration without saves, with one
every 10 steps and with one every 100 steps are compared, in turns; each save goes through the
keeper, is digested, and is on the disk before the next one begins.

    python benchmarks/whole_cost.py [--millions 100] [--step 0.4] [--rounds 2] [--json FILE]
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
EVERY = {"no saves": 0, "every 10 steps": 10, "every 100 steps": 100}
STEPS = {0: 60, 10: 60, 100: 200}
WARM_UP = 5


def one(every, millions, wait, folder):
    """Train once; return the mean duration of a step in seconds."""
    from checkpoint_cost import keeper_of

    where = folder / "saved"
    where.mkdir()
    keeper = keeper_of(where) if every else None
    import keras
    import numpy as np
    import tensorflow as tf

    class Waits(keras.Model):
        """Train by waiting, and by a small change of each variable."""

        def __init__(self):
            super().__init__()
            shape = (int(millions * 1e6) // 1000, 1000)
            self.parts = [self.add_weight(shape=shape, initializer="zeros") for _ in range(3)]

        def call(self, inputs):
            return inputs

        def train_step(self, data):
            waited = tf.py_function(lambda: time.sleep(wait) or 0.0, [], tf.float32)
            for part in self.parts:
                part.assign_add(tf.fill(tf.shape(part), waited + 1e-6))
            return {"loss": waited}

    model = Waits()
    model.compile("sgd", "mse")
    steps = STEPS[every] + WARM_UP
    begins = []

    class Clock(keras.callbacks.Callback):
        """When each batch begins."""

        def on_train_batch_begin(self, batch, logs=None):
            begins.append(time.perf_counter())

    if every:
        from rekindle.jobs.attempt.session import Session
        from rekindle.jobs.job import CheckpointPolicy, Job
        from rekindle.jobs.resume import fit_hook
        from rekindle.state.paths import Run

        policy = CheckpointPolicy(every_steps=every, keep=2)
        job = Job(name="bench", workdir=str(folder), checkpoint=policy)
        session = Session.open(Run(where), job, 1, keeper=keeper)
        fit_hook.install(session, keras)
    x = np.zeros((steps + 1, 1), np.float32)
    model.fit(x, x, batch_size=1, shuffle=False, verbose=0, callbacks=[Clock()])
    return {"step": (begins[-1] - begins[WARM_UP]) / (len(begins) - 1 - WARM_UP)}


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--millions", type=float, default=100)
    parser.add_argument("--step", type=float, default=0.4, help="seconds that a step waits")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--json", type=Path, help="write the medians into this file")
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one is not None:
        print(json.dumps(one(args.one, args.millions, args.step, args.folder)))
        return
    load = os.getloadavg()[0]
    print(
        f"{args.millions:g}M parameters and slots, steps that wait {args.step} s; load {load:.1f}"
    )
    found = {name: [] for name in EVERY}
    for _ in range(args.rounds):
        for name, every in EVERY.items():
            folder = Path(tempfile.mkdtemp(prefix="rekindle-bench-"))
            try:
                options = ["--one", every, "--millions", args.millions, "--step", args.step]
                ran = subprocess.run(
                    [sys.executable, __file__, *map(str, options), "--folder", str(folder)],
                    stdout=subprocess.PIPE,
                    stderr=subprocess.DEVNULL,
                    check=True,
                    text=True,
                )
            finally:
                shutil.rmtree(folder)
            found[name].append(json.loads(ran.stdout.splitlines()[-1])["step"])
    base = statistics.median(found["no saves"])
    results = {}
    for name, steps in found.items():
        step = statistics.median(steps)
        results[name] = {"step_ms": 1000 * step, "ratio": step / base}
        each = ", ".join(f"{1000 * one_:.1f}" for one_ in steps)
        print(f"{name:<16} {1000 * step:8.1f} ms a step  {step / base:6.3f}x   ({each})")
    if args.json:
        args.json.write_text(json.dumps({"load": load, **results}, indent=1) + "\n")


if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    main()
