"""Measure what a step of a resumable `fit` costs beside one of plain `fit`, in one process.

Both train the same model on the same data in turns (A B B A ...), so that a busy machine
slows both. Counted is the time from the end of one batch to the end of the next, without
the first steps of each round; no checkpoint is due in between. A step that *waits* stands
for an accelerator: the host sleeps until it is done, and what is added to it shows clearly.
A step that *computes* on the CPU varies by more than what is looked for.

    python benchmarks/step_cost.py [--rounds 30] [--steps 60]
"""

import argparse
import inspect
import json
import os
import statistics
import tempfile
import time
import warnings
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf
from keras.src.backend.tensorflow.trainer import TensorFlowTrainer

from rekindle.jobs.attempt.session import Session
from rekindle.jobs.job import CheckpointPolicy, Job
from rekindle.jobs.keras_compat.internals import PLAIN_FIT
from rekindle.jobs.proof import stage_proof
from rekindle.jobs.resume import fit_hook
from rekindle.jobs.resume.fit_stage import FitStage
from rekindle.jobs.resume.hook import Hook
from rekindle.state.paths import Run

WARM_UP = 10
TARGET_MS = 5.0
TARGET_PERCENT = 0.5


class Clock(keras.callbacks.Callback):
    """Seconds between the ends of batches."""

    def __init__(self):
        super().__init__()
        self.ends = []

    def on_train_batch_end(self, batch, logs=None):
        self.ends.append(time.perf_counter())

    def state_dict(self):
        return {}

    def load_state_dict(self, state):
        pass

    @property
    def steps(self):
        return [1000 * (b - a) for a, b in zip(self.ends, self.ends[1:], strict=False)][WARM_UP:]


def pause():
    time.sleep(TARGET_MS / 1000)
    return np.int64(0)


class Waiting(keras.Model):
    """Its step takes as long as an accelerator would, and no processor."""

    def train_step(self, data):
        logs = super().train_step(data)
        tf.numpy_function(pause, [], tf.int64)
        return logs


def model_of(width, *, waits=False):
    source = keras.layers.Input((width,))
    hidden = keras.layers.Dense(width, activation="relu")(source)
    hidden = keras.layers.Dropout(0.2)(hidden)
    last = keras.layers.Dense(10, activation="softmax")(hidden)
    model = (Waiting if waits else keras.Model)(source, last)
    model.compile("sgd", "sparse_categorical_crossentropy")
    return model


def data_of(kind, width, steps, batch):
    x = np.random.default_rng(0).normal(size=(steps * batch, width)).astype("float32")
    y = np.zeros(len(x), "int32")
    if kind == "arrays":
        return (x, y), {"batch_size": batch}
    return (tf.data.Dataset.from_tensor_slices((x, y)).batch(batch).prefetch(2),), {}


def one(function, model, data, more):
    clock = Clock()
    function(model, *data, epochs=1, verbose=0, callbacks=[clock], **more)
    return clock.steps


def sized(plain, steps):
    """Find a model and a batch size whose step takes about TARGET_MS here."""
    width, batch = 512, 64
    while True:
        model = model_of(width)
        data, more = data_of("arrays", width, 40, batch)
        found = statistics.median(one(plain, model, data, more))
        if found > 0.7 * TARGET_MS or batch >= 4096:
            return width, batch
        batch = max(batch + 32, int(batch * min(TARGET_MS / found, 4.0)))


def own_cost(session, steps=20_000):
    """Microseconds a step spends in our own code, called without any training around it."""
    model = model_of(8)
    bound = inspect.signature(PLAIN_FIT).bind(model)
    bound.apply_defaults()
    stage = FitStage(session, 0, model, dict(bound.arguments))

    class Train:
        epoch_step = 0
        exact = True

        def trained(self, step):
            self.epoch_step = step

    stage._data.train = Train()
    stage._engine.proof = stage_proof.begin(session, stage._engine.progress, stage._models)
    stage._traced = True
    hook = Hook(stage)
    logs = {"loss": 0.5, "accuracy": 0.5}
    begun = time.perf_counter()
    for step in range(steps):
        hook.on_train_batch_end(step, logs)
        stage._boundary()
    return 1e6 * (time.perf_counter() - begun) / steps


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=30, help="pairs of runs per kind of data")
    parser.add_argument("--steps", type=int, default=60, help="steps in each run")
    parser.add_argument("--json", type=Path, help="write the result into this file")
    args = parser.parse_args()

    with tempfile.TemporaryDirectory(prefix="rekindle-bench-") as folder:
        run = Run(Path(folder))
        run.checkpoints.mkdir()
        never = CheckpointPolicy(every_steps=10**12, keep=1)
        session = Session.open(run, Job(name="bench", workdir=folder, checkpoint=never), 1)
        plain = TensorFlowTrainer.fit
        fit_hook.install(session, keras)
        ours = TensorFlowTrainer.fit
        width, batch = sized(plain, args.steps)
        print(
            f"{'step':<9} {'data':<8} {'plain ms':>9} {'ours ms':>9} {'ratio':>7}  "
            f"medians of {args.rounds} rounds x {args.steps - WARM_UP - 1} steps"
        )
        added = {}
        for waits, kind in ((True, "arrays"), (True, "tf.data"), (False, "arrays")):
            size = (32, 8) if waits else (width, batch)
            model = model_of(size[0], waits=waits)
            data, more = data_of(kind, size[0], args.steps, size[1])
            one(plain, model, data, more)
            one(ours, model, data, more)
            both, ratios = {plain: [], ours: []}, []
            for number in range(args.rounds):
                pair = (plain, ours) if number % 2 else (ours, plain)
                medians = {}
                for function in pair:
                    found = one(function, model, data, more)
                    medians[function] = statistics.median(found)
                    both[function] += found
                ratios.append(medians[ours] / medians[plain])
            if waits:
                added[kind] = statistics.median(ratios) - 1
            low, middle, high = statistics.quantiles(ratios, n=4)
            print(
                f"{'waits' if waits else 'computes':<9} {kind:<8} "
                f"{statistics.median(both[plain]):9.3f} "
                f"{statistics.median(both[ours]):9.3f} {middle:7.4f}  "
                f"(quartiles of the rounds' ratios {low:.4f} to {high:.4f})",
                flush=True,
            )
        cost = statistics.median(own_cost(session) for _ in range(5))
        if args.json:
            about = {"own_percent": cost / (TARGET_MS * 10), "waits": added}
            args.json.write_text(json.dumps(about) + "\n")
        print(
            f"our own code alone: {cost:.1f} us a step, {cost / (TARGET_MS * 10):.2f} % of "
            f"{TARGET_MS:.0f} ms (target: under {TARGET_PERCENT:g} %)"
        )


if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    main()
