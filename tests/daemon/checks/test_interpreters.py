"""Interpreters are tried as an attempt would start them, and never longer than a bound.

Kinds of source: reports of a program that works in a shell and not in a service (another
PYTHONPATH, a broken sitecustomize, a virtual environment whose base Python is gone), scripts that
choose a Keras backend in their first line, and `doctor` commands that pass while the run fails.
"""

import json
import os
import stat
import sys
from pathlib import Path
from typing import Any

import pytest
import pythons

from rekindle.daemon.checks import interpreters
from rekindle.daemon.checks.finding import Finding, Waiting
from rekindle.daemon.checks.interpreters import Limits
from rekindle.jobs.job import Job, Resources
from rekindle.state.paths import Home

TEXT = "import keras\n"
FAKE_KERAS = """
import os, sys
__version__ = "{version}"
class config:
    @staticmethod
    def backend():
        return os.environ.get("KERAS_BACKEND", "tensorflow")
"""


@pytest.fixture
def keras(tmp_path: Path) -> Path:
    """A folder with a Keras 3 without a training loop."""
    (tmp_path / "lib" / "keras").mkdir(parents=True)
    (tmp_path / "lib" / "keras" / "__init__.py").write_text(FAKE_KERAS.format(version="3.15.1"))
    return tmp_path / "lib"


def waiting(
    folder: Path, name: str = "night-1", text: str = "import keras\n", **spec: Any
) -> Waiting:
    script = folder / f"{name}.py"
    script.write_text(text)
    return Waiting(name, Job(name="night", workdir=str(folder), script=str(script), **spec))


def check(
    folder: Path, *jobs: Waiting, seconds: float = 60.0, said: list[str] | None = None
) -> list[Finding]:
    report = said.append if said is not None else lambda _: None
    return list(interpreters.check(Home(folder / "home"), jobs, Limits.within(seconds), report))


def test_jobs_that_start_alike_share_one_try(tmp_path: Path) -> None:
    """Seed, arguments and name make no difference; variables, folder and interpreter do."""
    other = tmp_path / "other"
    other.mkdir()
    jobs = [
        waiting(tmp_path, "a"),
        waiting(tmp_path, "b", seed=5, args=["--fast"]),
        waiting(tmp_path, "c", env={"PYTHONPATH": "/x"}),
        waiting(other, "d"),
        waiting(tmp_path, "e", python="/usr/bin/python3"),
        waiting(tmp_path, "f", resources=Resources(gpus=1)),
        waiting(
            tmp_path, "g", text='import os\nos.environ["KERAS_BACKEND"] = "jax"\nimport keras\n'
        ),
        Waiting("h", Job(name="h", workdir=str(tmp_path), command=["true"])),
    ]
    groups = interpreters.grouped(Home(tmp_path / "home"), jobs)
    assert [[one.name for one in group] for group in groups.values()] == [
        ["a", "b"],
        ["c"],
        ["d"],
        ["e"],
        ["f"],
        ["g"],
    ]
    marks = {key for trial in groups for key, _ in trial.variables if key.startswith("REKINDLE_")}
    assert not marks, "a try must not look like a process of the job"


def test_each_spec_is_tried_with_its_own_variables(tmp_path: Path, keras: Path) -> None:
    """With a PYTHONPATH an interpreter has a Keras, without it none."""
    bare = pythons.find(3, 11) or sys.executable
    path = {"PYTHONPATH": str(keras)}
    jobs = [
        waiting(tmp_path, "without", python=bare),
        waiting(tmp_path, "openvino", python=bare, env={**path, "KERAS_BACKEND": "openvino"}),
        waiting(
            tmp_path,
            "mlx",
            python=bare,
            env=path,
            text='import os; os.environ.setdefault("KERAS_BACKEND", "mlx")\nimport keras\n',
        ),
        waiting(tmp_path, "broken", python=bare, env=path),
    ]
    found = {name: f for f in check(tmp_path, *jobs) for name in names(jobs) if name in f.what}
    assert "cannot import Keras: ModuleNotFoundError" in found["without"].what
    assert "The Keras backend is openvino" in found["openvino"].what
    assert 'KERAS_BACKEND = "tensorflow"' in found["openvino"].hint
    assert "The Keras backend is mlx" in found["mlx"].what
    assert "cannot be hooked" in found["broken"].what
    assert {f.severity for f in found.values()} == {"error"}


def test_a_missing_backend_is_the_one_to_install(tmp_path: Path, keras: Path) -> None:
    """KERAS_BACKEND names one that the environment lacks."""
    (keras / "keras" / "__init__.py").write_text("import jax\n")
    env = {"PYTHONPATH": str(keras), "KERAS_BACKEND": "jax"}
    python = pythons.find(3, 11) or sys.executable
    (found,) = check(tmp_path, waiting(tmp_path, env=env, python=python))
    assert "cannot import Keras: ModuleNotFoundError: No module named 'jax'" in found.what
    assert found.hint == f"{python} -m pip install keras jax"


def names(jobs: list[Waiting]) -> list[str]:
    return [one.name for one in jobs]


def test_an_interpreter_may_print_and_its_sitecustomize_may_fail(
    tmp_path: Path, keras: Path
) -> None:
    """Neither is taken for the answer, and the error is named."""
    (keras / "sitecustomize.py").write_text('print(\'{"python": "9"}\', flush=True)\n1 / 0\n')
    env = {"PYTHONPATH": str(keras), "KERAS_BACKEND": "openvino"}
    python = pythons.find(3, 11) or sys.executable
    found = check(tmp_path, waiting(tmp_path, env=env, python=python))
    assert "The Keras backend is openvino" in found[0].what
    assert "Python 3.11" in found[0].what
    assert [f.severity for f in found] == ["error", "warning"]
    assert "an error in sitecustomize" in found[1].what


def program(path: Path, text: str) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return str(path)


def test_what_cannot_start_is_named_with_its_cause(tmp_path: Path) -> None:
    venv = tmp_path / "venv" / "bin"
    venv.mkdir(parents=True)
    (venv.parent / "pyvenv.cfg").write_text("home = /gone/bin\n")
    (venv / "python").symlink_to("/gone/bin/python3")
    copied = program(tmp_path / "copied" / "bin" / "python", "#!/bin/sh\nexit 1\n")
    (tmp_path / "copied" / "pyvenv.cfg").write_text("home = /gone/bin\n")
    plain = tmp_path / "plain"
    plain.write_text("")
    killed = program(tmp_path / "killed", "#!/bin/sh\nkill -ILL $$\n")
    cases = {
        "/nowhere/python": "it does not exist",
        str(venv / "python"): "a link to /gone/bin/python3, which does not exist",
        copied: "its base interpreter in /gone/bin is gone",
        str(plain): "Exec format error" if os.geteuid() == 0 else "not executable",
        str(tmp_path): "it is a folder",
        killed: "it was ended by SIGILL",
    }
    if os.geteuid() == 0:
        plain.chmod(stat.S_IRUSR | stat.S_IXUSR)
    for python, says in cases.items():
        (finding,) = check(tmp_path, waiting(tmp_path, python=python))
        assert finding.severity == "error"
        assert says in finding.what, finding
        assert "night-1" in finding.what
        assert finding.hint


@pytest.mark.parametrize("version", [(3, 9), (3, 10)])
def test_an_old_python_is_an_error_and_310_is_none(
    tmp_path: Path, keras: Path, version: tuple[int, int]
) -> None:
    python = pythons.find(*version)
    if python is None:
        pytest.skip("needs a Python {}.{}".format(*version))
    env = {"PYTHONPATH": str(keras), "KERAS_BACKEND": "openvino"}
    (finding,) = check(tmp_path, waiting(tmp_path, python=python, env=env))
    if version == (3, 9):
        assert "needs Python 3.10 or newer" in finding.what
        assert "is Python 3.9" in finding.what
        assert "Python 3.10 or newer as `python`" in finding.hint
    else:
        assert "Python 3.10" in finding.what
        assert "The Keras backend is openvino" in finding.what


def test_interpreters_that_hang_are_ended_and_the_rest_is_named_as_not_tried(
    tmp_path: Path,
) -> None:
    """Five of them, two at once: nothing of them is left."""
    pids = tmp_path / "pids"
    hangs = [
        program(tmp_path / f"hang{n}", f"#!/bin/sh\necho $$ >> {pids}\nsleep 600 & wait\n")
        for n in range(5)
    ]
    jobs = [waiting(tmp_path, f"j{n}", python=python) for n, python in enumerate(hangs)]
    said: list[str] = []
    found = check(tmp_path, *jobs, seconds=1.0, said=said)
    assert len(found) == 5
    tried = [f for f in found if "did not import Keras within" in f.what]
    assert len(tried) == interpreters.AT_ONCE
    assert all("was not tried within 1 s" in f.what for f in found if f not in tried)
    assert said[0] == "interpreter 1 of 5"
    for pid in pids.read_text().split():
        assert not Path(f"/proc/{pid}").exists()


def test_a_module_beside_the_script_hides_keras_as_it_will_at_night(tmp_path: Path) -> None:
    (tmp_path / "keras.py").write_text("import nothing_of_this_name\n")
    (finding,) = check(tmp_path, waiting(tmp_path))
    assert f"{tmp_path}/keras.py hides the package" in finding.what
    assert finding.hint == f"Rename {tmp_path}/keras.py."


def test_no_secret_of_env_is_in_a_finding(tmp_path: Path) -> None:
    """An interpreter that fails may print its environment."""
    python = program(tmp_path / "python", "#!/bin/sh\necho token $TOKEN >&2; exit 1\n")
    (finding,) = check(tmp_path, waiting(tmp_path, python=python, env={"TOKEN": "s3cr3t-s3cr3t"}))
    assert "token (set)" in finding.what
    assert "s3cr3t" not in json.dumps(finding.to_json())


def test_a_conda_environment_that_is_not_activated_is_named(tmp_path: Path, keras: Path) -> None:
    prefix = tmp_path / "conda"
    (prefix / "conda-meta").mkdir(parents=True)
    program(prefix / "etc" / "conda" / "activate.d" / "cuda.sh", "export LD_LIBRARY_PATH=/x\n")
    real = pythons.find(3, 11) or sys.executable
    python = program(prefix / "bin" / "python", f'#!/bin/sh\nexec {real} "$@"\n')
    env = {"PYTHONPATH": str(keras), "KERAS_BACKEND": "openvino"}
    found = check(tmp_path, waiting(tmp_path, python=python, env=env))
    assert "not activated for night-1: cuda.sh is not run" in found[1].what
    activated = {**env, "CONDA_PREFIX": str(prefix)}
    assert len(check(tmp_path, waiting(tmp_path, python=python, env=activated))) == 1


@pytest.mark.slow(15)  # three starts of TensorFlow
def test_doctor_and_trainer_know_the_same_keras(tmp_path: Path) -> None:
    """The real packages: legacy Keras through TensorFlow, a GPU that is missing, and neither."""
    legacy = {"TF_USE_LEGACY_KERAS": "1"}
    uses = "import tensorflow as tf\ntf.keras.Sequential()\n"
    jobs = [
        waiting(tmp_path, "plain"),
        waiting(tmp_path, "older-keras", env=legacy, text=uses),
        waiting(tmp_path, "gpu", resources=Resources(gpus=1)),
    ]
    found = check(tmp_path, *jobs, seconds=300)
    of = {name: [f for f in found if name in f.what] for name in names(jobs)}
    assert [f.severity for f in of["plain"]] == ["ok"]
    assert "resumed to the batch" in of["plain"][0].what
    assert [f.severity for f in of["older-keras"]] == ["ok"]
    assert "`gpus = 1`, and TensorFlow sees no GPU" in of["gpu"][-1].what
    assert of["gpu"][-1].severity == "error"
