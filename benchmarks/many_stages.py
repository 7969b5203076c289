"""Measure what many stages of one epoch leave on disk, and what their replay costs a relaunch.

Each of two processes runs the same loop of `fit(epochs=1)`: the first trains, the second finds all
stages finished. Counted is the time beyond the import.

    python benchmarks/many_stages.py [--stages 300]
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from rekindle.state.paths import Run

KINDS = {"epochs": "one model, fitted again for each epoch", "folds": "a new model for each fold"}


def training(kind, stages):
    """Train as a script would, after its imports."""
    import keras
    import numpy as np

    rng = np.random.default_rng(1)
    x, y = rng.random((64, 8)).astype("float32"), rng.random(64)

    def made():
        model = keras.Sequential(
            [keras.Input((8,)), keras.layers.Dense(16, "relu"), keras.layers.Dense(1)]
        )
        model.compile("adam", "mse")
        return model

    model = made()
    for number in range(stages):
        if kind == "folds":
            keras.backend.clear_session()
            model = made()
        kept = slice(None) if kind == "epochs" else np.arange(64) % 16 != number % 16
        model.fit(x[kept], y[kept], epochs=1, batch_size=32, verbose=0)


def opened(folder, number):
    """Open a session in this process; the way to each stage has no number of the attempt."""
    from rekindle.jobs.attempt.session import Session
    from rekindle.jobs.job import Job
    from rekindle.jobs.resume import fit

    run = Run(Path(folder))
    run.checkpoints.mkdir(exist_ok=True)
    session = Session.open(run, Job(name="bench", workdir=folder), number)
    fit.install(session)
    return session


def measured(kind, stages, folder, number):
    mine = [sys.executable, __file__, "--attempt", str(number), "--kind", kind, "--run", folder]
    text = subprocess.run(
        [*mine, "--stages", str(stages)], check=True, capture_output=True, text=True
    ).stdout
    return json.loads(text.splitlines()[-1])


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--stages", type=int, default=300)
    parser.add_argument("--kind", choices=KINDS, help=argparse.SUPPRESS)
    parser.add_argument("--run", help=argparse.SUPPRESS)
    parser.add_argument("--attempt", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.attempt:
        session = opened(args.run, args.attempt)
        began, used = time.perf_counter(), time.process_time()
        training(args.kind, args.stages)
        seconds = [time.perf_counter() - began, time.process_time() - used]
        print(json.dumps([session.progress.step, *seconds]))
        return
    for kind, words in KINDS.items():
        with tempfile.TemporaryDirectory(prefix="rekindle-bench-") as folder:
            trained, *_ = measured(kind, args.stages, folder, 1)
            files = [file for file in Path(folder).rglob("*") if file.is_file()]
            size = sum(file.stat().st_blocks * 512 for file in files) / 1e6
            steps, wall, used = measured(kind, args.stages, folder, 2)
            assert steps == trained, "the relaunch has not found all stages"
            print(
                f"{words:40} {args.stages} stages: {len(files)} files, {size:.1f} MB; "
                f"relaunch {wall:.1f} s, {used:.1f} s of processor time"
            )


if __name__ == "__main__":
    main()
