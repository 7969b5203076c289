"""Scripts of the kill matrix (``tests/crash/scripts/matrix.py``), and the kills of one storm."""

import ast
import random
import zlib
from pathlib import Path
from typing import Final

import lives as driver
from lives import Blow, Lives
from rig import ROOT

from rekindle.jobs.job import CheckpointPolicy

SCRIPT: Final = ROOT / "tests" / "crash" / "scripts" / "matrix.py"
_FUNCTIONS: Final = {
    node.name: ast.unparse(node)
    for node in ast.parse(SCRIPT.read_text()).body
    if isinstance(node, ast.FunctionDef) and not node.args.args and not node.args.vararg
}
NAMES: Final = list(_FUNCTIONS)
EVERY: Final = 5
"""Steps between checkpoints; no first epoch of the matrix ends at a multiple of it below 20."""
STORM: Final = 6
"""Kills in one run of a long series."""


def lives(root: Path, name: str) -> Lives:
    return Lives(root, SCRIPT, args=[name], policy=CheckpointPolicy(every_steps=EVERY, keep=3))


def blows(name: str, seed: str, count: int) -> list[Blow]:
    """Choose the kills of one storm: the first within an epoch, the others anywhere."""
    dice = random.Random(zlib.crc32(seed.encode()))
    validation = "validation_" in _FUNCTIONS[name]
    return [
        driver.within(dice),
        *(driver.anywhere(dice, validation=validation) for _ in range(count - 1)),
    ]
