"""Find other versions of Python on this machine."""

import shutil
import subprocess
from pathlib import Path


def find(major: int, minor: int) -> str | None:
    """Find a working interpreter of a version: from pyenv, else from PATH."""
    name = f"python{major}.{minor}"
    pyenv = Path.home().glob(f".pyenv/versions/{major}.{minor}.*/bin/{name}")
    for found in [*map(str, sorted(pyenv)), shutil.which(name)]:
        if found and subprocess.run([found, "-c", "pass"], capture_output=True).returncode == 0:
            return found
    return None
