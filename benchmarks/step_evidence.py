"""Measure what the evidence of the steps costs: the record of each, and the digests of variables.

The record is called without a training around it, as the first attempt writes it and as a
relaunch compares it; counted is processor time. Digests are counted within a `fit` of some
seconds: how many there were, how long one took, and their share of the whole time.

    python benchmarks/step_evidence.py [--steps 4000] [--seconds 20]
"""

import argparse
import os
import statistics
import tempfile
import time
import warnings
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np

from rekindle.jobs.attempt.attempt_log import AttemptLog
from rekindle.jobs.attempt.session import Session
from rekindle.jobs.evidence.earlier import EarlierProofs
from rekindle.jobs.evidence.proof import make_proof
from rekindle.jobs.evidence.state_digest import StateDigests
from rekindle.jobs.job import CheckpointPolicy, Job
from rekindle.jobs.resume import fit as resumable
from rekindle.state.paths import Run

TARGET_US, TARGET_PERCENT = 5.0, 0.2
LOGS = {"loss": 0.5, "accuracy": 0.25, "auc": 0.75}
SAVES = CheckpointPolicy(every_seconds=2, keep=1)  # none is digested before the first


def record_cost(folder, steps):
    """Microseconds of processor time of a step: as recorded, and as compared."""
    run = Run(folder)
    job = Job(name="bench", id="bench-1", workdir=str(folder))
    costs = []
    for attempt in (1, 2):
        proof = make_proof(run, job, attempt, 0, EarlierProofs(), AttemptLog(run, attempt, []), [])
        if attempt == 1:
            proof.begin(0)
        else:
            proof.resume(0, 0, 0, "c", steps, changed=None, caveats=tuple)
        begun = time.process_time()
        for step in range(1, steps + 1):
            proof.note_logs(LOGS)
            proof.step(step, 0)
        costs.append(1e6 * (time.process_time() - begun) / steps)
    return costs


class Watched:
    """Seconds that each digest took."""

    def __init__(self):
        self.taken = []
        plain = StateDigests.take

        def take(digests):
            begun = time.perf_counter()
            found = plain(digests)
            self.taken.append(time.perf_counter() - begun)
            return found

        StateDigests.take = take


class Until(keras.callbacks.Callback):
    """End the training after some seconds, and count its steps."""

    def __init__(self, seconds):
        super().__init__()
        self.seconds, self.steps, self.begun = seconds, 0, 0.0

    def on_train_batch_end(self, batch, logs=None):
        self.begun = self.begun or time.perf_counter()
        self.steps += 1
        if time.perf_counter() - self.begun > self.seconds:
            self.model.stop_training = True


def model_of(width, depth):
    layers = [keras.layers.Dense(width, activation="relu") for _ in range(depth)]
    model = keras.Sequential([keras.layers.Input((width,)), *layers, keras.layers.Dense(2)])
    model.compile("adam", "mse")
    return model


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--steps", type=int, default=4000, help="steps of the record, at most 4096")
    parser.add_argument("--seconds", type=float, default=20, help="length of each training")
    args = parser.parse_args()

    print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors")
    both = []
    for _ in range(7):
        with tempfile.TemporaryDirectory(prefix="rekindle-bench-") as folder:
            both.append(record_cost(Path(folder), min(args.steps, 4096)))
    recorded, compared = (statistics.median(costs) for costs in zip(*both, strict=True))
    print(
        f"record of a step: {recorded:.1f} us of processor time, {compared:.1f} us where it is "
        f"compared (target: under {TARGET_US:.0f} us)"
    )

    watched = Watched()
    print("parameters variables  step ms  digests  ms each    share")
    for width, depth in ((32, 2), (128, 60), (1000, 1), (3200, 1)):
        with tempfile.TemporaryDirectory(prefix="rekindle-bench-") as folder:
            run = Run(Path(folder))
            run.checkpoints.mkdir()
            job = Job(name="bench", workdir=folder, checkpoint=SAVES)
            session = Session.open(run, job, 1)
            resumable.install(session)
            model = model_of(width, depth)
            x = np.random.default_rng(0).normal(size=(200_000 // width, width)).astype("float32")
            until = Until(args.seconds)
            watched.taken.clear()
            model.fit(x, x[:, :2], batch_size=32, epochs=10**6, verbose=0, callbacks=[until])
            took = time.perf_counter() - until.begun
            Session.drop()
        taken = watched.taken
        variables = len(model.variables) + len(model.optimizer.variables)
        print(
            f"{model.count_params():>10,} {variables:>9} {1000 * took / until.steps:>8.2f} "
            f"{len(taken):>8} {1000 * statistics.median(taken or [0]):>8.2f} "
            f"{100 * sum(taken) / took:>7.3f} % (target: under {TARGET_PERCENT} %)",
            flush=True,
        )


if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    main()
