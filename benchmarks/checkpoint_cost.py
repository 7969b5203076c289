"""Measure what a save costs the training: the stall, and the slower steps after it.

The same model is trained with each saver, which saves every so many steps. The *stall* is
the step with the save, less an ordinary step; the *spread* is what the next steps take
longer than ordinary ones, summed up, since a save in the background is not free either.

    python benchmarks/checkpoint_cost.py [--sizes 1 10] [--saves 5]
"""

import argparse
import os
import shutil
import statistics
import tempfile
import time
import warnings
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
from keras.src.backend.tensorflow.trainer import TensorFlowTrainer

from rekindle.jobs.attempt.session import Session
from rekindle.jobs.job import CheckpointPolicy, Job
from rekindle.jobs.resume import fit_hook
from rekindle.state.paths import Run

EVERY = 12
FOLLOWING = 8
WARM_UP = 6


class Clock(keras.callbacks.Callback):
    """When each batch begins: behind everything that the one before has led to."""

    def __init__(self):
        super().__init__()
        self.begins = []

    def on_train_batch_begin(self, batch, logs=None):
        self.begins.append(time.perf_counter())

    def state_dict(self):
        return {}

    def load_state_dict(self, state):
        pass

    @property
    def steps(self):
        """Milliseconds of each step, with what was done after it."""
        return [1000 * (b - a) for a, b in zip(self.begins, self.begins[1:], strict=False)]


def model_of(millions):
    """About so many million parameters in two layers; with Adam three times that is saved."""
    width = int((millions * 1e6 / 2) ** 0.5)
    model = keras.Sequential(
        [
            keras.layers.Input((width,)),
            keras.layers.Dense(width, activation="relu"),
            keras.layers.Dense(width, activation="relu"),
            keras.layers.Dense(2, activation="softmax"),
        ]
    )
    model.compile("adam", "sparse_categorical_crossentropy")
    return model, width


def one(saver, millions, saves, folder):
    """Stalls and spreads in ms, and bytes of one save."""
    keras.utils.clear_session()
    model, width = model_of(millions)
    steps = EVERY * (saves + 1)
    x = np.random.default_rng(0).normal(size=(steps, width)).astype("float32")
    y = np.zeros(steps, "int32")
    clock, callbacks, function, undo = Clock(), [], plain, lambda: None
    where = str(folder / "saved")
    if saver == "ModelCheckpoint .keras":
        callbacks = [keras.callbacks.ModelCheckpoint(f"{where}.keras", save_freq=EVERY)]
    elif saver == "ModelCheckpoint .weights.h5":
        callbacks = [
            keras.callbacks.ModelCheckpoint(
                f"{where}.weights.h5", save_freq=EVERY, save_weights_only=True
            )
        ]
    elif saver == "BackupAndRestore":
        callbacks = [
            keras.callbacks.BackupAndRestore(where, save_freq=EVERY, delete_checkpoint=False)
        ]
    elif saver == "rekindle":
        run = Run(folder / "run")
        run.checkpoints.mkdir(parents=True)
        session = Session.open(
            run,
            Job(
                name="bench",
                workdir=str(folder),
                checkpoint=(CheckpointPolicy(every_steps=EVERY, keep=2)),
            ),
            1,
        )
        undo = fit_hook.install(session, keras)
        function = keras.Model.fit
    function(
        model, x, y, batch_size=1, epochs=1, shuffle=False, verbose=0, callbacks=[*callbacks, clock]
    )
    undo()
    times = clock.steps
    # steps with a save are the EVERY-th; ordinary ones are those far behind a save
    ordinary = [
        t for i, t in enumerate(times) if i >= WARM_UP and FOLLOWING < i % EVERY < EVERY - 1
    ]
    usual = statistics.median(ordinary)
    at = list(range(EVERY - 1, len(times) - FOLLOWING, EVERY))
    stalls = [times[i] - usual for i in at]
    spreads = [sum(times[i + 1 : i + 1 + FOLLOWING]) - FOLLOWING * usual for i in at]
    files = [p for p in folder.rglob("*") if p.is_file()]
    return stalls, spreads, usual, max(p.stat().st_size for p in files) if files else 0


plain = TensorFlowTrainer.fit
SAVERS = (
    "none",
    "rekindle",
    "ModelCheckpoint .keras",
    "ModelCheckpoint .weights.h5",
    "BackupAndRestore",
)


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--sizes", type=float, nargs="+", default=[1, 10], metavar="MILLIONS")
    parser.add_argument("--saves", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=2)
    args = parser.parse_args()
    for millions in args.sizes:
        print(f"{millions:g}M parameters, Adam; medians of {args.rounds} x {args.saves} saves, ms")
        print(
            f"{'saver':<28} {'stall':>9} {'spread':>9} {'both':>9} {'to rekindle':>12} "
            f"{'step':>7} {'file MB':>8}"
        )
        found = {saver: ([], [], [], [0]) for saver in SAVERS}
        for _ in range(args.rounds):
            for saver in SAVERS:
                folder = Path(tempfile.mkdtemp(prefix="rekindle-bench-"))
                try:
                    stalls, spreads, usual, size = one(saver, millions, args.saves, folder)
                finally:
                    shutil.rmtree(folder)
                found[saver][0].extend(stalls)
                found[saver][1].extend(spreads)
                found[saver][2].append(usual)
                found[saver][3][0] = size
        both = {
            s: statistics.median(a + b for a, b in zip(f[0], f[1], strict=True))
            for s, f in found.items()
        }
        for saver, (stalls, spreads, usual, size) in found.items():
            print(
                f"{saver:<28} {statistics.median(stalls):9.1f} "
                f"{statistics.median(spreads):9.1f} {both[saver]:9.1f} "
                f"{both[saver] / max(both['rekindle'], 1e-9):11.2f}x "
                f"{statistics.median(usual):7.1f} {size[0] / 1e6:8.1f}",
                flush=True,
            )


if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    main()
