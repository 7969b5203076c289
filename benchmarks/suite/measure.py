"""Run the benchmarks, and write results.json, the plots and docs/performance.md from it.

    python benchmarks/suite/measure.py             # everything that the page shows
    python benchmarks/suite/measure.py --only ettr stall --short
    python benchmarks/suite/measure.py --from benchmarks/results.json    # only draw again
    python benchmarks/suite/measure.py --large     # also 10M and 100M parameters: an hour more
    python benchmarks/suite/measure.py --others    # then the benchmarks that only print

Each part is replaced in results.json by what was measured, with the machine, the load, versions
and the commit; the other parts stay.
"""

import argparse
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from draw import draw

BENCHMARKS = Path(__file__).resolve().parents[1]
ROOT = BENCHMARKS.parent
RESULTS = BENCHMARKS / "results.json"
PARTS = {
    "stall": (
        "checkpoint_cost.py",
        ["--sizes", "0.001", "0.01", "0.1", "1", "--saves", "5", "--rounds", "2"],
        [
            "--sizes",
            "0.001",
            "1",
            "--saves",
            "2",
            "--rounds",
            "1",
            "--savers",
            "none",
            "rekindle",
            "h5",
            "h5+fsync",
        ],
    ),
    "cadence": ("cadence.py", ["--hours", "200", "--runs", "40"], ["--hours", "50"]),
    "ettr": ("ettr.py", [], ["--kills", "3", "--between", "5"]),
    "steady": ("steady.py", [], ["--rounds", "4", "--idle", "10"]),
    "relaunch": ("relaunch.py", [], ["--kills", "1"]),
    "scale": ("scale.py", [], ["--most", "10000", "--epochs", "1000"]),
    "disk": ("disk_limit.py", [], ["--megabytes", "12", "--rounds", "2"]),
    "whole": (
        "whole_cost.py",
        ["--millions", "10", "--step", "0.1"],
        ["--millions", "1", "--step", "0.05", "--rounds", "1"],
    ),
}
"""Script, arguments, and those of a short run, of each part."""
LARGE = {
    "stall": ["--sizes", "100", "10", "1", "0.1", "0.001", "--saves", "5", "--rounds", "2"],
    "whole": ["--millions", "100", "--step", "0.4"],
}
PACKAGES = ("keras", "tensorflow", "tensorflow-cpu", "numpy", "orbax-checkpoint", "safetensors")


def machine():
    """Describe where it was measured."""
    fields = dict(
        line.split(":", 1) for line in Path("/proc/cpuinfo").read_text().splitlines() if ":" in line
    )
    model = next((v.strip() for k, v in fields.items() if k.strip() == "model name"), "unknown")
    folder = tempfile.gettempdir()
    kind = subprocess.run(["stat", "-f", "-c", "%T", folder], capture_output=True, text=True)
    return {
        "processor": model,
        "cores": len(os.sched_getaffinity(0)),
        "memory": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "kernel": platform.release(),
        "file_system": kind.stdout.strip(),
    }


def versions():
    """List the versions of what takes part."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def commit():
    """Name the commit, with a plus where files differ from it."""
    git = ["git", "-C", str(ROOT)]
    name = subprocess.run([*git, "rev-parse", "--short", "HEAD"], capture_output=True, text=True)
    changed = subprocess.run([*git, "status", "--porcelain"], capture_output=True, text=True)
    return name.stdout.strip() + ("+" if changed.stdout.strip() else "")


def measured(part, *, short, large):
    """Run one part; return its result with what it depends on."""
    script, usual, brief = PARTS[part]
    words = brief if short else LARGE.get(part, usual) if large else usual
    print(f"\n== {script} {' '.join(words)}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "result.json"
        load, began = os.getloadavg()[0], time.time()
        subprocess.run(
            [sys.executable, str(BENCHMARKS / script), *words, "--json", str(file)], check=True
        )
        return {
            "at": began,
            "seconds": round(time.time() - began, 1),
            "arguments": words,
            "short": short,
            "load": load,
            "commit": commit(),
            "machine": machine(),
            "versions": versions(),
            "result": json.loads(file.read_text()),
        }


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", nargs="+", choices=PARTS, default=[*PARTS])
    parser.add_argument("--short", action="store_true", help="check that it runs; no figures")
    parser.add_argument("--large", action="store_true", help="10M and 100M parameters as well")
    parser.add_argument("--others", action="store_true", help="run what only prints as well")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--from", dest="source", type=Path, help="measure nothing: draw this file")
    args = parser.parse_args()
    if args.source is None:
        for part in args.only:
            found = measured(part, short=args.short, large=args.large)
            results = json.loads(args.out.read_text()) if args.out.exists() else {"format": 1}
            results.setdefault("parts", {})[part] = found
            args.out.write_text(json.dumps(results, indent=1) + "\n")
    draw(json.loads((args.source or args.out).read_text()), ROOT)
    if args.others:
        for script in sorted(BENCHMARKS.glob("*.py")):
            if script.name not in {name for name, _, _ in PARTS.values()}:
                print(f"\n== {script.name}", flush=True)
                subprocess.run([sys.executable, str(script)], check=True)


if __name__ == "__main__":
    main()
