"""Run a job in a Python older than the daemon's: 3.10, as Ubuntu 22.04 has it.

tests/project/test_imports.py imports everything that such a job loads.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import pythons
from rig import ROOT, Rig

from rekindle.jobs import bootstrap, environment

PYTHON = pythons.find(3, 10)
needs_310 = pytest.mark.skipif(PYTHON is None, reason="needs a Python 3.10")


@needs_310
def test_a_script_runs_under_python_310(rig: Rig, tmp_path: Path) -> None:
    """Keeper in the daemon's Python, trainer in the older one; with digests of checkpoints."""
    script = tmp_path / "train.py"
    script.write_text("import sys\nprint(sys.version_info[:2])\n")
    rig.drop(f'name = "old"\nscript = "{script}"\npython = "{PYTHON}"\n')
    rig.start()
    assert "done" == rig.wait_state("old-1", "done", "failed", "held")["state"]
    assert "(3, 10)" in rig.cli("logs", "old-1")
    file = tmp_path / "state"
    file.write_bytes(os.urandom(3 << 20))
    code = (
        "import sys, pathlib\nfrom rekindle.state.run import digests\n"
        "print(digests.digest(pathlib.Path(sys.argv[1])))"
    )
    there = [
        subprocess.run(
            [python, "-c", code, str(file)],
            capture_output=True,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT / ".importroot")},
        ).stdout
        for python in (str(PYTHON), sys.executable)
    ]
    assert there[0] == there[1] != ""


@pytest.mark.parametrize("version", [(3, 9), (3, 6), (2, 7)])
def test_an_older_python_says_which_one_is_needed(version: tuple[int, int]) -> None:
    """Instead of a traceback from the middle of our modules."""
    python = pythons.find(*version)
    if python is None:
        pytest.skip("needs a Python {}.{}".format(*version))
    done = subprocess.run(
        bootstrap.command(python, "rekindle.jobs.trainer.main", "/run", "1"),
        capture_output=True,
        text=True,
    )
    assert done.returncode == environment.EXIT_PERMANENT
    assert "needs Python 3.10 or newer" in done.stderr
    assert "is Python {}.{}".format(*version) in done.stderr
    assert "Traceback" not in done.stderr
