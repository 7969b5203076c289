"""Imports point one way, and each process carries only what it needs."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PARTS = ("daemon", "jobs", "state")
MODULES = sorted(path for part in PARTS for path in (ROOT / part).rglob("*.py"))
# what stands at the left may import what stands in the set, and itself
DIRECTION = {"state": set[str](), "jobs": {"state"}, "daemon": {"jobs", "state"}}

# modules of the trainer that work on arrays and models; all others of `state` and `jobs`
# are loaded by the keeper (`python -I -S`) or in the user's own interpreter
NUMERIC = {"numpy", "keras", "tensorflow", "ml_dtypes"}
# loaded by the daemon only, when a YAML file has come
DAEMON_SIDE = {"daemon/spec/parse.py": {"yaml"}, "daemon/spec/yaml_text.py": {"yaml"}}


def imported(path: Path) -> Iterator[tuple[str, int]]:
    """Every absolute module name that a file imports anywhere, with its line."""
    for node in ast.walk(ast.parse(path.read_text(), path.name)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node.lineno
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import"
            module = node.module or ""
            # `from rekindle import state` names the part in the list
            if module == "rekindle":
                for alias in node.names:
                    yield f"rekindle.{alias.name}", node.lineno
            else:
                yield module, node.lineno


def part_of(path: Path) -> str:
    """daemon, jobs or state."""
    return path.relative_to(ROOT).parts[0]


def shown(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("path", MODULES, ids=shown)
def test_state_knows_no_job_and_jobs_know_no_daemon(path: Path) -> None:
    """state ← jobs ← daemon."""
    part = part_of(path)
    wrong = [
        f"{shown(path)}:{line} imports {name}"
        for name, line in imported(path)
        if name.startswith("rekindle.") and name.split(".")[1] not in DIRECTION[part] | {part}
    ]
    assert [] == wrong


@pytest.mark.parametrize("path", [path for path in MODULES if part_of(path) != "daemon"], ids=shown)
def test_the_trainer_side_needs_the_standard_library_and_keras_alone(path: Path) -> None:
    """So that a user's own interpreter works with nothing of ours installed in it."""
    allowed = sys.stdlib_module_names | NUMERIC | {"rekindle"} | DAEMON_SIDE.get(shown(path), set())
    wrong = [
        f"{shown(path)}:{line} imports {name}"
        for name, line in imported(path)
        if name.split(".")[0] not in allowed
    ]
    assert [] == wrong


@pytest.mark.parametrize("path", [path for path in MODULES if part_of(path) == "daemon"], ids=shown)
def test_the_daemon_never_imports_tensorflow(path: Path) -> None:
    """It would cost half a gigabyte, and a GPU."""
    wrong = [
        f"{shown(path)}:{line} imports {name}"
        for name, line in imported(path)
        if name.split(".")[0] in {"tensorflow", "keras", "tf_keras", "jax", "torch"}
    ]
    assert [] == wrong


def test_starting_the_daemon_loads_no_numeric_library() -> None:
    """Neither directly nor by way of `state` and `jobs`."""
    code = (
        "import sys, rekindle.daemon.service.service, rekindle.daemon.client.cli\n"
        "print([m for m in ('numpy', 'tensorflow', 'keras', 'matplotlib') if m in sys.modules])"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT / ".importroot",
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ran.stdout.strip(), ran.returncode) == ("[]", 0), ran.stderr


def test_the_keeper_loads_in_an_interpreter_without_site_packages() -> None:
    """`python -I -S`: it must live where nothing is installed, and stay small."""
    code = (
        f"import sys; sys.path.insert(0, {str(ROOT / '.importroot')!r})\n"
        "import rekindle.jobs.keeper.main"
    )
    ran = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
