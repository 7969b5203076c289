"""Compare the write of a checkpoint, digests included, with what the disk can do.

The limit is the shortest way to have as many bytes on the same disk, fsync included: through the
page cache, and past it. They are taken in turns; medians.

    python benchmarks/disk_limit.py [--megabytes 12 120 1200] [--rounds 5] [--json FILE]
"""

import argparse
import json
import mmap
import os
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np

from rekindle.jobs.handover.image import PAGE
from rekindle.jobs.handover.slot import Slot

BLOCK = 16 << 20


def plain(path, memory, *, direct):
    """Write memory to a new file, durably."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | (os.O_DIRECT if direct else 0)
    fd = os.open(path, flags)
    at, view = 0, memoryview(memory)
    while at < len(view):
        at += os.pwrite(fd, view[at : at + BLOCK], at)
    os.fsync(fd)
    os.close(fd)


def measure(megabytes, rounds, folder):
    """Return the medians in seconds of each way."""
    size = int(megabytes * 1e6) // PAGE * PAGE
    memory = mmap.mmap(-1, size)
    memory.write(np.random.default_rng(0).bytes(size))
    slot = Slot()
    slot.take({"state": np.frombuffer(memory, np.uint8)})
    image = slot.image(bytes(PAGE), b"{}")
    ways = {
        "rekindle, with digests": image.save,
        "write and fsync": lambda path: plain(path, memory, direct=False),
        "past the page cache": lambda path: plain(path, memory, direct=True),
    }
    found = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            path = Path(folder) / "file"
            began = time.perf_counter()
            way(path)
            found[name].append(time.perf_counter() - began)
            path.unlink()
    return {name: statistics.median(took) for name, took in found.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--megabytes", type=float, nargs="+", default=[12, 120, 1200])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", type=Path, default=Path(), help="on the disk to be measured")
    parser.add_argument("--json", type=Path, help="write the medians into this file")
    args = parser.parse_args()
    results = {}
    for megabytes in args.megabytes:
        print(f"\n{megabytes:g} MB, load {os.getloadavg()[0]:.1f}")
        with tempfile.TemporaryDirectory(dir=args.folder, prefix="rekindle-bench-") as folder:
            found = measure(megabytes, args.rounds, folder)
        best = min(took for name, took in found.items() if not name.startswith("rekindle"))
        for name, took in found.items():
            print(
                f"{name:<24} {took:7.3f} s {megabytes / 1000 / took:6.2f} GB/s "
                f"{took / best:5.2f}x of the limit"
            )
        results[f"{megabytes:g} MB"] = found
    if args.json:
        args.json.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
