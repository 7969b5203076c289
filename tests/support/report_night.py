"""Run a real night, with kills, and write its page and screenshots: `make report-images`.

python tests/support/report_night.py FOLDER [--images docs/images]
"""

import argparse
import json
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from browser import chromium
from nights import PLAIN
from PIL import Image
from rig import ROOT, Rig, environment, wait_for

from rekindle.jobs import heartbeat

SIZES = {"report": 1100, "report-dark": 1100, "report-phone": 390}
"""Name of each picture, with the width of its window."""


def night(rig: Rig, work: Path) -> None:
    """Train digits twice, the second run killed twice; one job is held, one fails, one runs."""

    def spec(name: str, script: Path, args: str, more: str = "") -> None:
        (work / name).mkdir(parents=True, exist_ok=True)
        rig.drop(
            f'name = "{name}"\nscript = "{script}"\nworkdir = "{work / name}"\nlive = true\n'
            f'args = {json.dumps(args.split())}\n[retry]\nbackoff = "1s..2s"\n{more}',
            f"{name}-{time.monotonic_ns()}.toml",
        )

    digits = ROOT / "examples" / "digits" / "train.py"
    best = '[checkpoint]\nevery = "epoch"\nmonitor = "val_accuracy"\n'
    rig.start()
    spec("digits", digits, "--epochs 8", best)
    rig.wait_state("digits-1", "done", seconds=240)
    spec("digits", digits, "--epochs 20", best)
    for number, (epoch, signum) in enumerate([(5, signal.SIGKILL), (12, signal.SIGTERM)], 1):
        wait_for(lambda n=number, e=epoch: reached(rig, n, e), f"epoch {epoch} of digits-2", 120)
        rig.trainer("digits-2", number).send(signum)
    rig.wait_state("digits-2", "done", seconds=240)
    spec("shards", PLAIN, "--steps 40 --fault raise@13")
    rig.wait_state("shards-1", "held", seconds=60)
    spec("typo", PLAIN, "--steps 40 --fault raise@start")
    rig.wait_state("typo-1", "failed", seconds=60)
    rig.drop('name = "fashion"\nscrpt = "/home/ana/fashion/train.py"\n', "fashion.toml")
    spec("long", digits, "--epochs 400", best)
    rig.wait_epochs("long-1", 30)


def reached(rig: Rig, attempt: int, epoch: int) -> bool:
    """Return whether an attempt is within an epoch, some steps after its last checkpoint."""
    beat = heartbeat.read(rig.home.run("digits-2").heartbeat)
    return (
        beat is not None
        and (beat.attempt, beat.section) == (attempt, "step")
        and beat.epoch >= epoch
        and beat.epoch_step >= 12
    )


def shoot(page: Path, folder: Path) -> None:
    """Take pictures of the job that was interrupted, in Chromium."""
    with tempfile.TemporaryDirectory() as profile, chromium(Path(profile)) as browser:
        for name, width in SIZES.items():
            browser.open(page, width=width, height=1000, dark=name.endswith("dark"))
            browser.value(
                "for (const one of document.querySelectorAll('article'))"
                " if (!/digits-2|shards/.test(one.textContent)) one.remove();"
                " document.querySelector('#timeline').scrollIntoView()"
            )
            browser.picture(folder / f"{name}.png")
            with Image.open(folder / f"{name}.png") as picture:
                small = picture.convert("RGB").quantize(64)  # a fifth of the size
            small.save(folder / f"{name}.png", optimize=True)
            print(folder / f"{name}.png")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--images", type=Path)
    args = parser.parse_args()
    home = args.folder / "home"
    rig = Rig(home)
    try:
        if not home.joinpath("ledger.db").exists():
            night(rig, args.folder / "work")
        page = args.folder / "report.html"
        subprocess.run(
            [sys.executable, "-m", "rekindle.daemon", "report", "--html", page],
            # not --home: the commands in the picture are those of a user's own home
            env=environment(REKINDLE_HOME=str(home)),
            check=True,
        )
        shoot(page, args.images or args.folder)
    finally:
        rig.close()


if __name__ == "__main__":
    main()
