"""Tell the code of a job from that of libraries, by the file that holds it."""

import functools
import os
import sys
import sysconfig
from pathlib import Path
from typing import Final

_OURS: Final = tuple(
    str(here.parents[1] / name) + os.sep
    for here in (Path(__file__).absolute(), Path(__file__).resolve())  # a tree may be linked
    for name in ("jobs", "state", "daemon")
)
_STANDARD: Final = tuple(
    {sysconfig.get_paths()[name] + os.sep for name in ("stdlib", "platstdlib")}
)
_INSTALLED: Final = ("/site-packages/", "/dist-packages/")


@functools.lru_cache(maxsize=8192)
def is_library(file: str) -> bool:
    """Return whether a source file belongs to Python or to an installed package.

    A package is installed where its metadata lies beside it on ``sys.path``: packages reached
    through ``PYTHONPATH``, a ``.pth`` file or ``pip install --target`` are libraries, too.
    """
    if file.startswith(_STANDARD) or any(part in file for part in _INSTALLED):
        return True
    for entry in sys.path:
        folder = os.path.join(os.path.abspath(entry), "")
        if file.startswith(folder):
            top = file[len(folder) :].partition(os.sep)[0]
            if top.partition(".")[0] in _installed_in(folder):
                return True
    return False


@functools.lru_cache(maxsize=4096)
def is_own(file: str) -> bool:
    """Return whether a source file belongs to the job: to no library, and not to rekindle."""
    if file.startswith(("<", *_OURS)) or "__autograph_generated_file" in file:
        return False
    return not is_library(file)


@functools.lru_cache(maxsize=256)
def _installed_in(folder: str) -> frozenset[str]:
    """List the top-level modules of the packages whose metadata lies in a folder."""
    found: set[str] = set()
    try:
        names = [name for name in os.listdir(folder) if name.endswith(".dist-info")]
    except OSError:
        return frozenset()
    for name in names:
        try:
            lines = Path(folder, name, "RECORD").read_text(encoding="utf-8").splitlines()
        except (OSError, ValueError):
            continue
        for line in lines:
            top = line.partition(",")[0].strip('"').partition("/")[0]
            if not top.endswith((".dist-info", ".data")):
                found.add(top.partition(".")[0])
    return frozenset(found - {"", "__pycache__"})
