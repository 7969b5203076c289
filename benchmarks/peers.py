"""The same kills for everybody: rekindle beside what Keras brings to go on after a kill.

One training (tf.data with shuffle, Dropout, EarlyStopping, ReduceLROnPlateau, CSVLogger) is
killed by SIGKILL at the same batches, whoever restores, and compared with the undisturbed
run of the same setting. Then, once each, its newest file is cut in half or gets one bit
flipped between two lives.

    python benchmarks/peers.py [--kills 6] [--seed 0] [--orbax DIR | --install-orbax]

Orbax is no dependency of the project; it is looked for in DIR (`pip install --target DIR
orbax-checkpoint`) and left out where it is missing.
"""

import argparse
import fcntl
import io
import json
import os
import random
import shutil
import struct
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import h5py
import numpy as np

from rekindle.daemon.verify_resume.tensor_layout import Layout
from rekindle.jobs import bootstrap
from rekindle.jobs.job import CheckpointPolicy, Job
from rekindle.state import durable
from rekindle.state.paths import Run
from rekindle.state.run import checkpoints, journal

SCRIPT = Path(__file__).resolve().parent / "scripts" / "peer.py"
NAMES = {
    "backup": "BackupAndRestore, each epoch",
    "backup-batches": "BackupAndRestore, save_freq=5",
    "modelcheckpoint": "ModelCheckpoint(.keras) + initial_epoch",
    "orbax": "OrbaxCheckpoint + initial_epoch",
    "rekindle": 'rekindle, every = "5 steps"',
}
ENV = {
    **os.environ,
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "CUDA_VISIBLE_DEVICES": "-1",
    "TF_NUM_INTRAOP_THREADS": "1",
    "TF_NUM_INTEROP_THREADS": "1",
    "JAX_PLATFORMS": "cpu",
}


class Peer:
    """One setting in one folder, life after life."""

    def __init__(self, root, saver, plan, orbax):
        self.saver, self.orbax = saver, orbax
        self.work = root / "work"
        self.work.mkdir(parents=True)
        (self.work / "plan.json").write_text(json.dumps(plan))
        self.lives = 0
        self.run = Run(root / "run")
        if saver == "rekindle":
            for folder in (self.run.root, self.run.logs, self.run.checkpoints):
                folder.mkdir()
            job = Job(
                name="peer",
                id="run",
                workdir=str(self.work),
                script=str(SCRIPT),
                args=["none"],
                seed=7,
                checkpoint=CheckpointPolicy(every_steps=5),
            )
            durable.write_bytes(self.run.job_file, job.to_json().encode(), 0o600)

    def live(self):
        """One life; its end as ``done``, ``killed`` or the last line of an error."""
        self.lives += 1
        if self.saver == "rekindle":
            return self._attempt()
        ran = subprocess.run(
            [sys.executable, str(SCRIPT), self.saver, *([self.orbax] if self.orbax else [])],
            cwd=self.work,
            env=ENV,
            capture_output=True,
            text=True,
        )
        if ran.returncode == 0:
            return "done"
        lines = ran.stderr.strip().splitlines()
        return "killed" if ran.returncode == -9 else (lines[-1] if lines else "an error")[:110]

    def _attempt(self):
        lock = os.open(self.run.lock, os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.flock(lock, fcntl.LOCK_EX)
        subprocess.run(
            bootstrap.command(
                sys.executable,
                "rekindle.jobs.keeper.main",
                str(self.run.root),
                str(self.lives),
                str(lock),
                options=("-I", "-S"),
            ),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=ENV,
            pass_fds=(lock,),
        )
        os.close(lock)
        entries = journal.replay(self.run.journal).entries
        end = next(e for e in reversed(entries) if e["kind"] == "attempt_ended")
        failed = [e for e in entries if e["kind"] == "failed" and e["attempt"] == self.lives]
        if end["cause"] == "done":
            return "done"
        return (
            "killed"
            if end["signal"] == 9
            else (failed[-1]["message"] if failed else end["cause"])[:110]
        )

    def to_the_end(self):
        """Lives until it is done; how the last one ended."""
        end = "killed"
        while end == "killed" and self.lives < 60:
            end = self.live()
        return end

    @property
    def steps(self):
        return len((self.work / "steps.log").read_text().splitlines())

    @property
    def rows(self):
        file = self.work / "log.csv"
        return len(file.read_text().splitlines()) - 1 if file.exists() else 0

    @property
    def result(self):
        return json.loads((self.work / "result.json").read_text())

    @property
    def weights(self):
        with np.load(self.work / "weights.npz") as file:
            return [file[name] for name in file.files]

    def damage(self, how):
        """Break the newest file that the next life would read; give its name."""
        if self.saver == "rekindle":
            file = checkpoints.scan(self.run.checkpoints)[0].state
        else:
            place = self.work / "saved"
            if self.saver == "modelcheckpoint":
                place = max(place.iterdir())
            elif self.saver == "orbax":
                place = max(
                    (p for p in place.iterdir() if p.name.isdigit()), key=lambda p: int(p.name)
                )
            files = [place] if place.is_file() else [p for p in place.rglob("*") if p.is_file()]
            # the largest: there the weights are
            file = max(files, key=lambda p: p.stat().st_size)
        size = file.stat().st_size
        if how == "truncated":
            os.truncate(file, size // 2)
        else:
            at = within_weights(file)
            with file.open("r+b") as stream:
                stream.seek(at)
                byte = stream.read(1)[0]
                stream.seek(at)
                stream.write(bytes([byte ^ 0x01]))
        return file.name


def within_weights(file):
    """Find a byte of a weight where the format has one; else the middle of the file."""
    if file.suffix == ".keras":
        with zipfile.ZipFile(file) as archive:
            inner = archive.getinfo("model.weights.h5")
            data = archive.read(inner)
        with file.open("rb") as stream:
            stream.seek(inner.header_offset + 26)
            name, extra = struct.unpack("<HH", stream.read(4))
        return inner.header_offset + 30 + name + extra + in_hdf5(io.BytesIO(data))
    if file.suffix == ".h5":
        return in_hdf5(file)
    if file.suffix == ".safetensors":
        layout = Layout.read(file)
        entry = layout.entries["model/00000"]
        return (entry.start + entry.end) // 8 * 4 + 3
    return file.stat().st_size // 2


def in_hdf5(source):
    """Find the exponent of a float in the middle of the largest weight of a layer."""
    found = []
    with h5py.File(source) as file:
        file.visititems(
            lambda name, item: (
                found.append((item.size, item.id.get_offset()))
                if isinstance(item, h5py.Dataset) and name.startswith("layers")
                else None
            )
        )
    size, start = max(found)
    return start + size // 2 * 4 + 3


def gap(one, other):
    return max(float(np.abs(a - b).max()) for a, b in zip(one, other, strict=True))


def install(folder):
    done = subprocess.run(
        [sys.executable, "-m", "pip", "install", "--quiet", "--target", folder, "orbax-checkpoint"]
    )
    return folder if done.returncode == 0 else None


def verdict(peer, end, same):
    """Compare a run whose newest file was broken with one that was only killed."""
    if end != "done":
        return f"ends: {end}"
    apart = gap(peer.weights, same.weights)
    said = (
        "no word"
        if peer.saver != "rekindle"
        else "; ".join(
            f"refused {e['name']}: {e['reason']}"
            for e in journal.replay(peer.run.journal).entries
            if e["kind"] == "checkpoint_refused"
        )
    )
    return (
        f"continues, {peer.steps - same.steps:+d} steps, max abs dw {apart:.2g} from the same "
        f"kill without damage; {said}"
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--kills", type=int, default=6)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="*", choices=NAMES, default=list(NAMES))
    parser.add_argument("--orbax", help="a folder in which Orbax was installed")
    parser.add_argument("--install-orbax", action="store_true")
    args = parser.parse_args()
    root = Path(tempfile.mkdtemp(prefix="rekindle-peers-"))
    try:
        compare(args, root)
    finally:
        shutil.rmtree(root)


def compare(args, root):
    orbax = args.orbax or (install(str(root / "orbax")) if args.install_orbax else None)
    rows, damages = [], []
    for saver in args.only:
        if saver == "orbax" and orbax is None:
            print("OrbaxCheckpoint is left out: --orbax DIR or --install-orbax")
            continue
        more = orbax if saver == "orbax" else None
        clean = Peer(root / f"{saver}-clean", saver, [], more)
        assert clean.to_the_end() == "done", clean.live()
        # undamaged, to compare the damaged ones with
        same = Peer(root / f"{saver}-same", saver, [67], more)
        assert same.to_the_end() == "done"
        # the same plan for all: it ends before the earliest undisturbed end
        dice = random.Random(args.seed)
        plan = sorted(dice.randint(3, 118) for _ in range(args.kills))
        killed = Peer(root / f"{saver}-killed", saver, plan, more)
        end = killed.to_the_end()
        if end == "done":
            result, right = killed.result, clean.result
            rows.append(
                (
                    NAMES[saver],
                    f"{killed.steps}/{clean.steps}",
                    f"{result['iterations']}/{right['iterations']}",
                    f"{gap(killed.weights, clean.weights):.3g}",
                    f"{result['epochs']}/{right['epochs']}",
                    f"{result['rate']:.3g}/{right['rate']:.3g}",
                    f"{result['history']}/{right['history']}",
                    f"{killed.rows}/{clean.rows}",
                    f"{killed.lives - 1}",
                )
            )
        else:
            rows.append(
                (
                    NAMES[saver],
                    f"{killed.steps}/{clean.steps}",
                    *"------",
                    f"{killed.lives}, then {end}",
                )
            )
        print("|", " | ".join(rows[-1]), "|", flush=True)
        for how in ("truncated", "bit flipped"):
            peer = Peer(root / f"{saver}-{how}".replace(" ", "-"), saver, [67], more)
            assert peer.live() == "killed"
            file = peer.damage(how)
            damages.append((NAMES[saver], how, file, verdict(peer, peer.to_the_end(), same)))
            print("|", " | ".join(damages[-1]), "|", flush=True)
    print(f"\n{args.kills} kills by SIGKILL, plan of seed {args.seed}; found/right\n")
    table(
        (
            "",
            "steps run",
            "steps in the model",
            "max abs dw",
            "last epoch",
            "learning rate",
            "History",
            "CSV rows",
            "kills",
        ),
        rows,
    )
    print("\nThe newest file is damaged once between two lives\n")
    table(("", "damage", "file", "what came of it"), damages)


def table(head, rows):
    for line in (head, tuple("-" * 3 for _ in head), *rows):
        print("|", " | ".join(line), "|")


if __name__ == "__main__":
    main()
