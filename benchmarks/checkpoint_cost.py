"""Measure what a save costs the training: the stall, and the slower steps after it.

The same model is trained with each saver, one after the other in each round, and each saves every
so many steps. The *stall* is the step with the save, less an ordinary step; the *spread* is what
the steps up to the next save take longer than ordinary ones, summed up, since a save in the
background is not free either. Peers do not wait for the disk: `+ fsync` does so for them, by
flushing every file that they wrote.

The *restore* is that of model and optimizer, of what was just written, in a new process.

    python benchmarks/checkpoint_cost.py [--sizes 1 10 100] [--layers 2] [--saves 5] [--json FILE]
"""

import argparse
import itertools
import json
import math
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

from scripts.savers import SAVERS, Saver, absent, restore, title

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
WARM_UP = 6


def every_of(millions):
    """Return the steps between two saves: enough for any saver to finish."""
    return 60 if millions < 5 else 40 if millions < 50 else 14


def saves_of(millions, saves):
    """Return how many saves to measure: those of a large model take seconds each."""
    return min(saves, 3) if millions >= 5 else saves


def model_of(millions, count):
    """Make about so many million parameters in layers; with Adam three times that is saved."""
    import keras

    width = int((millions * 1e6 / count) ** 0.5)
    layers = [keras.layers.Dense(width, activation="relu") for _ in range(count)]
    if count > 2:
        # half of them, so that as many layers have four variables and two
        layers = [one for layer in layers for one in (layer, keras.layers.BatchNormalization())]
        layers = layers[:count]
    last = keras.layers.Dense(2, activation="softmax")
    model = keras.Sequential([keras.layers.Input((width,)), *layers, last])
    model.compile("adam", "sparse_categorical_crossentropy")
    return model, width


def clock_of(begins):
    """Return a callback that notes when each batch begins, after all that the last led to."""
    import keras

    class Clock(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            begins.append(time.perf_counter())

    return Clock()


def keeper_of(folder):
    """Start the part of a keeper that writes checkpoints, in a process of its own."""
    from rekindle.jobs.handover.receiver import Receiver
    from rekindle.jobs.handover.snapshots import Keeper
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


def one(saver, millions, layers, saves, folder):
    """Train with one saver; return stalls and spreads in ms, step, bytes and peak memory."""
    where = folder / "saved"
    where.mkdir()
    keeper = keeper_of(where) if saver == "rekindle" else None
    import keras
    import numpy as np

    model, width = model_of(millions, layers)
    every = every_of(millions)
    steps = every * (saves + 1)
    x = np.random.default_rng(0).normal(size=(steps, width)).astype("float32")
    y = np.zeros(steps, "int32")
    clock = clock_of(begins := [])
    if saver == "rekindle":
        from rekindle.jobs.attempt.session import Session
        from rekindle.jobs.job import CheckpointPolicy, Job
        from rekindle.jobs.resume import fit_hook
        from rekindle.state.paths import Run

        run = Run(where)
        policy = CheckpointPolicy(every_steps=every, keep=2)
        job = Job(name="bench", workdir=str(folder), checkpoint=policy)
        fit_hook.install(Session.open(run, job, 1, keeper=keeper), keras)
    made = Saver(saver, model, str(where), every)
    callbacks = [*([made.callback] if made.callback else []), clock]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    model.fit(x, y, batch_size=1, epochs=1, shuffle=False, verbose=0, callbacks=callbacks)
    made.close()
    times = [1000 * (b - a) for a, b in itertools.pairwise(begins)]
    # steps with a save are the every-th; ordinary ones are those far behind a save
    ordinary = [
        t for i, t in enumerate(times) if i >= WARM_UP and every * 2 // 3 < i % every < every - 1
    ]
    usual = statistics.median(ordinary)
    at = range(every - 1, len(times) - every + 1, every)
    return {
        "stalls": [times[i] - usual for i in at],
        "spreads": [sum(times[i + 1 : i + every]) - (every - 1) * usual for i in at],
        "step": usual,
        "bytes": size_of(where, saver),
        "flushes": [1000 * one for one in made.flushes],
        "before": before * 1024,
        "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }


def size_of(where, saver):
    """Return the bytes of one checkpoint."""
    if saver == "rekindle":
        kept = sorted((where / "checkpoints").glob("e*"))[-1:]
    elif saver.startswith("orbax-keras"):
        kept = [one for one in where.iterdir() if one.name.isdigit()][-1:]
    elif saver.partition("+")[0] in ("manager", "tf-async"):
        # the newest of two: a file of data and an index
        newest = max(where.glob("ckpt-*.index"), key=lambda one: one.stat().st_mtime)
        return sum(one.stat().st_size for one in where.glob(f"{newest.stem}.*"))
    else:
        kept = [where]
    return sum(p.stat().st_size for folder in kept for p in folder.rglob("*") if p.is_file())


def restored(saver, millions, layers, saves, folder):
    """Restore what a saver left, in a new process; return the seconds that it takes."""
    import keras
    import numpy as np

    model, width = model_of(millions, layers)
    where = folder / "saved"
    if saver != "rekindle":
        model.optimizer.build(model.trainable_variables)
        began = time.perf_counter()
        restore(saver, model, str(where))
        return {"restore": time.perf_counter() - began}
    from rekindle.jobs import heartbeat
    from rekindle.jobs.attempt.session import Session
    from rekindle.jobs.job import CheckpointPolicy, Job
    from rekindle.jobs.resume import fit_hook
    from rekindle.state.paths import Run

    run, every = Run(where), every_of(millions)
    # it is finished: the state at its end is restored, and nothing is trained
    policy = CheckpointPolicy(every_steps=every, keep=2)
    session = Session.open(run, Job(name="bench", workdir=str(folder), checkpoint=policy), 2)
    fit_hook.install(session, keras)
    steps = every * (saves + 1)
    x = np.random.default_rng(0).normal(size=(steps, width)).astype("float32")
    clock = clock_of([])
    model.fit(
        x, np.zeros(steps, "int32"), batch_size=1, shuffle=False, verbose=0, callbacks=[clock]
    )
    session.beat("ended")
    return {"restore": heartbeat.read(run.heartbeat).times.restore}


def apart(saver, millions, layers, saves):
    """Measure one saver in a process and a folder of its own, and its restore in another."""
    folder = Path(tempfile.mkdtemp(prefix="rekindle-bench-"))
    try:
        arguments = ["--sizes", str(millions), "--saves", str(saves), "--folder", str(folder)]
        arguments += ["--layers", str(layers)]
        found = called("--one", saver, *arguments)
        if saver != "none" and "+" not in saver and "failed" not in found:
            found |= called("--restore", saver, *arguments)
        return found
    finally:
        shutil.rmtree(folder)


def called(*words):
    """Run this script with some arguments; return its result, or why there is none."""
    ran = subprocess.run([sys.executable, __file__, *words], capture_output=True, text=True)
    if ran.returncode:
        errors = [line for line in ran.stderr.splitlines() if line.strip()]
        return {"failed": errors[-1][:200] if errors else f"exit code {ran.returncode}"}
    return json.loads(ran.stdout.splitlines()[-1])


def show(millions, found):
    """Print the medians of one size."""
    median = statistics.median
    rows = {}
    lacking = {}
    for saver, rounds in found.items():
        failed = [r["failed"] for r in rounds if "failed" in r]
        if "stalls" not in rounds[0]:
            lacking[saver] = failed[0]
            print(f"{title(saver)} is left out: {failed[0]}")
            continue
        if failed:
            print(f"{title(saver)} does not restore: {failed[0]}")
        stalls = [s for r in rounds for s in r["stalls"]]
        both = [s + p for r in rounds for s, p in zip(r["stalls"], r["spreads"], strict=True)]
        rows[saver] = {
            "stall_ms": median(stalls),
            "with_spread_ms": median(both),
            "step_ms": median(r["step"] for r in rounds),
            "bytes": rounds[0]["bytes"],
            "flush_ms": median(all_of(rounds, "flushes")) if rounds[0]["flushes"] else None,
            "restore_ms": median(1000 * r["restore"] for r in rounds) if restores(rounds) else None,
            "before_bytes": max(r["before"] for r in rounds),
            "peak_bytes": max(r["peak"] for r in rounds),
        }
    ours = rows.get("rekindle", {"stall_ms": math.nan, "with_spread_ms": math.nan})
    print(
        f"\n{'saver':<34} {'stall':>9} {'to ours':>8} {'+ spread':>9} {'to ours':>8} "
        f"{'step':>7} {'MB':>7} {'restore':>8} {'flush':>8} {'peak MB':>8}"
    )
    for saver, row in rows.items():
        print(
            f"{title(saver):<34} {row['stall_ms']:9.1f} "
            f"{row['stall_ms'] / max(ours['stall_ms'], 0.01):7.1f}x {row['with_spread_ms']:9.1f} "
            f"{row['with_spread_ms'] / max(ours['with_spread_ms'], 0.01):7.1f}x "
            f"{row['step_ms']:7.1f} {row['bytes'] / 1e6:7.1f} {number(row['restore_ms']):>8} "
            f"{number(row['flush_ms']):>8} {row['peak_bytes'] / 1e6:8.0f}",
            flush=True,
        )
    return {"millions": millions, "savers": rows, "absent": lacking}


def all_of(rounds, name):
    return [one for r in rounds for one in r[name]]


def restores(rounds):
    return all("restore" in r for r in rounds)


def number(value):
    return "-" if value is None else f"{value:.1f}"


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--sizes", type=float, nargs="+", default=[1, 10], metavar="MILLIONS")
    parser.add_argument("--layers", type=int, default=2, help="400 make 2,800 variables")
    parser.add_argument("--saves", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--savers", nargs="+", default=SAVERS, choices=SAVERS)
    parser.add_argument("--json", type=Path, help="write the medians into this file")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--restore", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        print(json.dumps(one(args.one, args.sizes[0], args.layers, args.saves, args.folder)))
        return
    if args.restore:
        print(
            json.dumps(restored(args.restore, args.sizes[0], args.layers, args.saves, args.folder))
        )
        return
    lacking = {saver: reason for saver in args.savers if (reason := absent(saver))}
    savers = [saver for saver in args.savers if saver not in lacking]
    for saver, reason in lacking.items():
        print(f"{title(saver)} is left out: {reason}")
    results = []
    for millions in args.sizes:
        load = os.getloadavg()[0]
        saves = saves_of(millions, args.saves)
        print(
            f"\n{millions:g}M parameters, Adam; medians of {args.rounds} x {saves} saves, "
            f"ms; load {load:.1f} on {len(os.sched_getaffinity(0))} cores"
        )
        found = {saver: [] for saver in savers}
        for _ in range(args.rounds):
            for saver in savers:
                if not (found[saver] and "stalls" not in found[saver][0]):
                    found[saver].append(apart(saver, millions, args.layers, saves))
        shown = show(millions, found)
        about = {"load": load, "rounds": args.rounds, "saves": saves}
        results.append(shown | about | {"absent": lacking | shown["absent"]})
    results.sort(key=lambda one: one["millions"])
    if args.json:
        args.json.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    main()
