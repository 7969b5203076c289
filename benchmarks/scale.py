"""Measure what grows with the number of things: epochs, events, jobs, objects; 1,000 to 1,000,000.

Each row is one kind of thing and the milliseconds that it takes with so many of them. Of a save
after N epochs it is the copy of the state, for which the training waits, median of the last ten
saves; its bytes are printed too, which hold the History of all epochs.

    python benchmarks/scale.py [--most 1000000] [--epochs 10000] [--json FILE]
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
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import listing
import steady

from rekindle.state.paths import Home, Run

EVERY = 50
"""Epochs between two saves."""


def events(number):
    """Milliseconds in which so many ends of epochs are read from a journal into the ledger."""
    return 1000 * number / steady.ingested(number)


def listed(number, *words, epochs=1):
    """Milliseconds of processor time of a verb, median of three."""
    home = Home(Path(tempfile.mkdtemp(prefix="rekindle-bench-")))
    home.create()
    try:
        listing.fill(home, number, epochs)
        return 1000 * statistics.median(listing.measure(home, words)[0] for _ in range(3))
    finally:
        shutil.rmtree(home.root)


def held(number):
    """Milliseconds of processor time of a save while a callback holds a list of so many numbers."""
    import python_state

    return python_state.measured(lambda: [float(n) for n in range(number)], 5)


def epochs(number, folder):
    """Train so many epochs of one step; print the time and size of the saves at some of them."""
    import keras
    import numpy as np

    from rekindle.jobs.attempt.session import Session
    from rekindle.jobs.job import CheckpointPolicy, Job
    from rekindle.jobs.resume import fit_hook, stage
    from rekindle.state.run import checkpoints

    run = Run(folder)
    run.checkpoints.mkdir(parents=True)
    policy = CheckpointPolicy(every_epochs=EVERY, keep=1)
    job = Job(name="bench", workdir=str(folder), checkpoint=policy)
    session = Session.open(run, job, 1)
    fit_hook.install(session, keras)
    took = []
    capture = stage.RestorableStage.capture

    def captured(self, *arguments, **more):
        began = time.perf_counter()
        found = capture(self, *arguments, **more)
        took.append(1000 * (time.perf_counter() - began))
        return found

    stage.RestorableStage.capture = captured
    found = {}
    marks = [n for n in (1_000, 3_000, 10_000, 30_000, 100_000) if n <= number]

    class Look(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch in marks or epoch == number - 1:
                session.saves.settle()
                newest = checkpoints.scan(run.checkpoints)[0]
                found[epoch + (epoch == number - 1)] = {
                    "ms": statistics.median(took[-10:]),
                    "bytes": newest.state.stat().st_size,
                }

    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(4)])
    model.compile("adam", "mse")
    x = np.zeros((4, 4), "float32")
    model.fit(x, x, batch_size=4, epochs=number, verbose=0, callbacks=[Look()])
    print(json.dumps(found))


def saves(number):
    """Return the points of a save after N epochs, of a training in another process."""
    with tempfile.TemporaryDirectory(prefix="rekindle-bench-") as folder:
        command = [sys.executable, __file__, "--train", folder, "--epochs", str(number)]
        ran = subprocess.run(command, check=True, capture_output=True, text=True)
    return {int(n): one for n, one in json.loads(ran.stdout.splitlines()[-1]).items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--most", type=int, default=1_000_000)
    parser.add_argument("--epochs", type=int, default=10_000)
    parser.add_argument("--json", type=Path, help="write the result into this file")
    parser.add_argument("--train", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.train is not None:
        epochs(args.epochs, args.train)
        return
    sizes = [n for n in (1_000, 10_000, 100_000, 1_000_000) if n <= args.most]
    print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores", flush=True)
    rows = []

    def row(what, points, **more):
        rows.append({"what": what, "points": points, **more})
        print(f"{what:<44}", *(f"{n:,}: {ms:,.1f} ms  " for n, ms in points), flush=True)

    row("epochs of a journal read into the ledger", [[n, events(n)] for n in sizes])
    row("`ls` with waiting jobs", [[n, listed(n, "ls")] for n in sizes])
    row("`show` of a job with epochs", [[n, listed(10, "show", "long", epochs=n)] for n in sizes])
    row("a save, numbers that a callback holds", [[n, held(n)] for n in sizes])
    found = saves(args.epochs)
    row(
        "a save after epochs",
        [[n, one["ms"]] for n, one in found.items()],
        bytes=[[n, one["bytes"]] for n, one in found.items()],
    )
    print("bytes of such a save:", {n: one["bytes"] for n, one in found.items()})
    if args.json:
        args.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
