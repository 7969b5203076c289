"""Find the Python of the virtual environment or conda environment that is active in the shell."""

import glob
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_LIBRARIES: Final = ("keras", "tensorflow", "jax", "torch")
_BESIDE: Final = (".venv", "venv")


@dataclass(frozen=True, slots=True)
class Chosen:
    """Hold the interpreter of a job that names none.

    Attributes:
        path: None for the daemon's.
        why: a sentence for the person who submits.
    """

    path: str | None
    why: str


def find(env: Mapping[str, str], folder: Path) -> Chosen:
    """Choose the Python of the active environment.

    Args:
        env: the variables of the shell.
        folder: that of the script, where an environment may lie that is not active.
    """
    stale = ""
    for variable, kind in _ordered(env):
        prefix = env[variable]
        python = os.path.join(prefix, "bin", "python")
        if not os.access(python, os.X_OK) or not os.path.isabs(python):
            stale = f" ${variable} names {prefix}, which has no Python."
            continue
        if kind == "conda" and env.get("CONDA_DEFAULT_ENV") == "base" and not _trains(prefix):
            stale = f" The base environment of conda, {prefix}, has no Keras and is not used."
            continue
        return Chosen(python, f"python: {python}, of the active {kind} environment.")
    near = [folder / name / "bin" / "python" for name in _BESIDE]
    beside = next((python for python in near if os.access(python, os.X_OK)), None)
    more = f" {beside} is not active: --python {beside} uses it." if beside else ""
    return Chosen(None, f"python: the daemon's, since no environment is active.{stale}{more}")


def _ordered(env: Mapping[str, str]) -> list[tuple[str, str]]:
    """List the environments that are active; first the one that the shell finds first."""
    path = env.get("PATH", "").split(os.pathsep)
    found = [
        (variable, kind)
        for variable, kind in (("VIRTUAL_ENV", "virtual"), ("CONDA_PREFIX", "conda"))
        if env.get(variable)
    ]

    def position(one: tuple[str, str]) -> int:
        folder = os.path.join(env[one[0]], "bin")
        return path.index(folder) if folder in path else len(path)

    return sorted(found, key=position)


def _trains(prefix: str) -> bool:
    site = os.path.join(glob.escape(prefix), "lib", "python3*", "site-packages")
    return any(glob.glob(os.path.join(site, name)) for name in _LIBRARIES)
