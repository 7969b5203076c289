"""Measure what a save costs the training: the stall, and the slower steps after it.

The same model is trained with each saver, one after the other in each round, and each saves every
so many steps. The *stall* is the step with the save, less an ordinary step; the *spread* is what
the steps up to the next save take longer than ordinary ones, summed up, since a save in the
background is not free either. Peers do not wait for the disk: `+ fsync` does so for them, by
flushing every file that they wrote.

    python benchmarks/checkpoint_cost.py [--sizes 1 10 100] [--saves 5] [--rounds 2] [--json FILE]
"""

import argparse
import itertools
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
WARM_UP = 6
NAMES = {
    "none": "no saves",
    "rekindle": "rekindle",
    "keras": "ModelCheckpoint .keras",
    "h5": "ModelCheckpoint .weights.h5",
    "backup": "BackupAndRestore",
    "manager": "tf.train.CheckpointManager",
    "safetensors": "safetensors save_file",
}
DURABLE = ("keras", "h5", "backup", "manager", "safetensors")
SAVERS = (*NAMES, *(f"{name}+fsync" for name in DURABLE))


def every_of(millions):
    """Return the steps between two saves: enough for any saver to finish."""
    return 60 if millions < 5 else 40 if millions < 50 else 14


def model_of(millions):
    """Make about so many million parameters in two layers; with Adam three times that is saved."""
    import keras

    width = int((millions * 1e6 / 2) ** 0.5)
    layers = [keras.layers.Dense(width, activation="relu") for _ in range(2)]
    last = keras.layers.Dense(2, activation="softmax")
    model = keras.Sequential([keras.layers.Input((width,)), *layers, last])
    model.compile("adam", "sparse_categorical_crossentropy")
    return model, width


def saving(saver, model, where, every):
    """Return a callback that saves, or None where another one does."""
    import keras
    import tensorflow as tf

    name, _, durable = saver.partition("+")
    callbacks = keras.callbacks
    if name == "keras":
        made = callbacks.ModelCheckpoint(f"{where}/m.keras", save_freq=every)
    elif name == "h5":
        made = callbacks.ModelCheckpoint(
            f"{where}/m.weights.h5", save_freq=every, save_weights_only=True
        )
    elif name == "backup":
        made = callbacks.BackupAndRestore(where, save_freq=every, delete_checkpoint=False)
    else:
        if name == "manager":
            # its asynchronous option fails on optimizers of Keras 3
            checkpoint = tf.train.Checkpoint(model=model, optimizer=model.optimizer)
            save = tf.train.CheckpointManager(checkpoint, where, max_to_keep=2).save
        elif name == "safetensors":
            import numpy as np
            from safetensors.numpy import save_file

            def save():
                variables = {
                    v.path: np.asarray(v.numpy())
                    for v in [*model.variables, *model.optimizer.variables]
                }
                save_file(variables, f"{where}/m.safetensors")

        else:
            return None
        made = callbacks.LambdaCallback(
            on_train_batch_end=lambda batch, logs: save() if (batch + 1) % every == 0 else None
        )
    if not durable:
        return made
    end = made.on_train_batch_end

    def end_and_flush(batch, logs=None):
        end(batch, logs)
        if (batch + 1) % every == 0:
            flush(Path(where))

    made.on_train_batch_end = end_and_flush
    return made


def flush(folder):
    """Make every file below a folder durable."""
    for path in [folder, *folder.rglob("*")]:
        fd = os.open(path, os.O_RDONLY)
        os.fsync(fd)
        os.close(fd)


def keeper_of(folder):
    """Start the part of a keeper that writes checkpoints, in a process of its own."""
    from rekindle.jobs.handover.channel import Keeper
    from rekindle.jobs.handover.receiver import Receiver
    from rekindle.jobs.journal_writer import Record
    from rekindle.state.paths import Run

    run = Run(folder)
    run.checkpoints.mkdir()
    receiver = Receiver(run, Record(run.journal, 1))
    ours = os.dup(receiver.trainers_end)
    if os.fork() == 0:
        os.close(ours)
        receiver.start()
        receiver.wait()
        os._exit(0)
    return Keeper(ours)


def one(saver, millions, saves, folder):
    """Train with one saver; return stalls and spreads in ms, step, bytes and peak memory."""
    where = folder / "saved"
    where.mkdir()
    keeper = keeper_of(where) if saver == "rekindle" else None
    import keras
    import numpy as np

    model, width = model_of(millions)
    every = every_of(millions)
    steps = every * (saves + 1)
    x = np.random.default_rng(0).normal(size=(steps, width)).astype("float32")
    y = np.zeros(steps, "int32")
    begins = []

    class Clock(keras.callbacks.Callback):
        """When each batch begins: behind everything that the one before has led to."""

        def on_train_batch_begin(self, batch, logs=None):
            begins.append(time.perf_counter())

    if saver == "rekindle":
        from rekindle.jobs.attempt.session import Session
        from rekindle.jobs.job import CheckpointPolicy, Job
        from rekindle.jobs.resume import fit_hook
        from rekindle.state.paths import Run

        run = Run(where)
        policy = CheckpointPolicy(every_steps=every, keep=2)
        job = Job(name="bench", workdir=str(folder), checkpoint=policy)
        fit_hook.install(Session.open(run, job, 1, keeper=keeper), keras)
    made = saving(saver, model, str(where), every)
    callbacks = [*([made] if made else []), Clock()]
    model.fit(x, y, batch_size=1, epochs=1, shuffle=False, verbose=0, callbacks=callbacks)
    times = [1000 * (b - a) for a, b in itertools.pairwise(begins)]
    # steps with a save are the every-th; ordinary ones are those far behind a save
    ordinary = [
        t for i, t in enumerate(times) if i >= WARM_UP and every * 2 // 3 < i % every < every - 1
    ]
    usual = statistics.median(ordinary)
    at = range(every - 1, len(times) - every + 1, every)
    files = [p.stat().st_size for p in where.rglob("*") if p.is_file()]
    return {
        "stalls": [times[i] - usual for i in at],
        "spreads": [sum(times[i + 1 : i + every]) - (every - 1) * usual for i in at],
        "step": usual,
        "bytes": max(files, default=0),
        "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }


def apart(saver, millions, saves):
    """Measure one saver in a process and a folder of its own."""
    folder = Path(tempfile.mkdtemp(prefix="rekindle-bench-"))
    try:
        arguments = ["--one", saver, "--sizes", str(millions), "--saves", str(saves)]
        ran = subprocess.run(
            [sys.executable, __file__, *arguments, "--folder", str(folder)],
            stdout=subprocess.PIPE,
            check=True,
            text=True,
        )
        return json.loads(ran.stdout.splitlines()[-1])
    finally:
        shutil.rmtree(folder)


def show(millions, found):
    """Print the medians of one size."""
    median = statistics.median
    rows = {}
    for saver, rounds in found.items():
        stalls = [s for r in rounds for s in r["stalls"]]
        both = [s + p for r in rounds for s, p in zip(r["stalls"], r["spreads"], strict=True)]
        rows[saver] = {
            "stall_ms": median(stalls),
            "with_spread_ms": median(both),
            "step_ms": median(r["step"] for r in rounds),
            "bytes": rounds[0]["bytes"],
            "peak_bytes": max(r["peak"] for r in rounds),
        }
    ours = rows["rekindle"]
    print(
        f"\n{'saver':<34} {'stall':>9} {'to ours':>8} {'+ spread':>9} {'to ours':>8} "
        f"{'step':>7} {'MB':>7} {'peak MB':>8}"
    )
    for saver, row in rows.items():
        name, _, durable = saver.partition("+")
        print(
            f"{NAMES[name] + (' + fsync' if durable else ''):<34} {row['stall_ms']:9.1f} "
            f"{row['stall_ms'] / max(ours['stall_ms'], 0.01):7.1f}x {row['with_spread_ms']:9.1f} "
            f"{row['with_spread_ms'] / max(ours['with_spread_ms'], 0.01):7.1f}x "
            f"{row['step_ms']:7.1f} {row['bytes'] / 1e6:7.1f} {row['peak_bytes'] / 1e6:8.0f}",
            flush=True,
        )
    return {"millions": millions, "savers": rows}


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--sizes", type=float, nargs="+", default=[1, 10], metavar="MILLIONS")
    parser.add_argument("--saves", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--savers", nargs="+", default=SAVERS, choices=SAVERS)
    parser.add_argument("--json", type=Path, help="write the medians into this file")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        print(json.dumps(one(args.one, args.sizes[0], args.saves, args.folder)))
        return
    results = []
    for millions in args.sizes:
        load = os.getloadavg()[0]
        print(
            f"\n{millions:g}M parameters, Adam; medians of {args.rounds} x {args.saves} saves, "
            f"ms; load {load:.1f} on {len(os.sched_getaffinity(0))} cores"
        )
        found = {saver: [] for saver in args.savers}
        for _ in range(args.rounds):
            for saver in args.savers:
                found[saver].append(apart(saver, millions, args.saves))
        results.append(show(millions, found) | {"load": load})
    if args.json:
        args.json.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    main()
