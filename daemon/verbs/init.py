"""``rekindle init``: write a first spec for a script, with every key explained."""

import argparse
import os
from pathlib import Path

from rekindle.daemon.checks import script_text
from rekindle.daemon.client import json_text
from rekindle.daemon.submission import active_python, compose, starter
from rekindle.state.counted import few
from rekindle.state.errors import NotFound, UsageError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "script",
        nargs="?",
        type=Path,
        help="the script (default: the one in this folder that names Keras or TensorFlow)",
    )
    parser.add_argument("--force", action="store_true", help="replace an existing spec")
    json_text.add_argument(parser)


def main(args: argparse.Namespace) -> int:
    script = args.script or _only_one(Path())
    if script.suffix != ".py":
        raise UsageError(
            "A spec is written for a script (*.py).",
            where=script,
            hint=f"`rekindle submit {script}` submits a notebook or a spec as it is.",
        )
    if not script.is_file():
        raise NotFound("The script does not exist.", where=script, hint="Write the script first.")
    chosen = active_python.find(os.environ, script.absolute().parent)
    spec = script.with_suffix(".toml")
    content = starter.text(name=compose.name_for(script), script=script, python=chosen.path)
    if not starter.write(spec, content, force=args.force):
        raise UsageError(
            "The spec exists already.",
            where=spec,
            hint=f"`rekindle submit {spec}` submits it; --force replaces it.",
        )
    if args.json:
        json_text.write({"file": str(spec), "script": str(script), "python": chosen.path})
    else:
        print(f"{spec} is written. {chosen.why}")
        print(f"`rekindle submit {spec} --dry-run` checks it, `rekindle submit {spec}` submits it.")
    return 0


def _only_one(folder: Path) -> Path:
    """Find the script that trains.

    Raises:
        UsageError: there is none, or there are several.
    """
    scripts = sorted(path for path in folder.glob("*.py") if path.is_file())
    train = [path for path in scripts if script_text.read(path.read_text(errors="replace")).learns]
    if len(train) == 1:
        return train[0]
    found = f": {few([path.name for path in train], 5)}" if train else ""
    count = "Several scripts" if train else "No script"
    raise UsageError(
        f"{count} in this folder name Keras or TensorFlow{found}."
        if train
        else "No script in this folder names Keras or TensorFlow.",
        hint=f"Name it: `rekindle init {(train or scripts or [Path('train.py')])[0].name}`.",
    )
