"""A job's Python may be older than the daemon's: 3.10, as Ubuntu 22.04 has it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from rig import ROOT, Rig

# what only the daemon loads
DAEMON_ONLY = {
    "jobs.spec",
    "jobs.toml_text",
    "jobs.yaml_text",
    "state.ingest",
    "state.ledger",
    "state.lifecycle",
    "state.rows",
    "state.schema",
}
LIBRARIES = ("numpy", "keras", "tensorflow")


def python310() -> str | None:
    """An interpreter that runs, from pyenv or from PATH."""
    pyenv = sorted(Path.home().glob(".pyenv/versions/3.10.*/bin/python3.10"))
    for found in [*map(str, pyenv), shutil.which("python3.10")]:
        if found and subprocess.run([found, "-c", "pass"], capture_output=True).returncode == 0:
            return found
    return None


PYTHON = python310()
needs_310 = pytest.mark.skipif(PYTHON is None, reason="needs a Python 3.10")


@needs_310
def test_what_keeper_and_trainer_load_imports_under_python_310() -> None:
    """Up to the import of a library that is not there; syntax and annotations are read before."""
    assert PYTHON is not None
    modules = {
        f"{folder}.{path.stem}"
        for folder in ("jobs", "state")
        for path in (ROOT / folder).glob("*.py")
    } - DAEMON_ONLY
    assert len(modules) > 50
    code = (
        "import importlib, sys, traceback, types\n"
        "r = types.ModuleType('rekindle'); r.__path__ = [sys.argv[1]]\n"
        "sys.modules['rekindle'] = r\n"
        "for name in sys.argv[2:]:\n"
        "    try:\n        importlib.import_module('rekindle.' + name)\n"
        "    except ModuleNotFoundError as error:\n"
        f"        if error.name.partition('.')[0] not in {LIBRARIES!r}: traceback.print_exc()\n"
        "    except Exception:\n        traceback.print_exc()\n"
    )
    ran = subprocess.run(
        [PYTHON, "-c", code, str(ROOT), *sorted(modules)], capture_output=True, text=True
    )
    assert (0, "") == (ran.returncode, ran.stderr)


@needs_310
def test_a_script_runs_under_python_310(rig: Rig, tmp_path: Path) -> None:
    """Keeper in the daemon's Python, trainer in the older one; checkpoints' digests included."""
    script = tmp_path / "train.py"
    script.write_text("import sys\nprint(sys.version_info[:2])\n")
    rig.drop(f'name = "old"\nscript = "{script}"\npython = "{PYTHON}"\n')
    rig.start()
    assert "done" == rig.wait_state("old-1", "done", "failed", "held")["state"]
    assert "(3, 10)" in rig.cli("logs", "old-1")
    file = tmp_path / "state"
    file.write_bytes(os.urandom(3 << 20))
    code = (
        "import sys, pathlib\nfrom rekindle.state import checkpoints\n"
        "print(checkpoints.digest(pathlib.Path(sys.argv[1])))"
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
