"""The wheel holds the tree, under names that collide with nobody's."""

import os
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

PARTS = ("daemon", "jobs", "state")


@pytest.fixture(scope="module")
def wheel(wheel_file: Path) -> Iterator[zipfile.ZipFile]:
    with zipfile.ZipFile(wheel_file) as archive:
        yield archive


def test_the_wheel_holds_every_module_of_the_tree_and_nothing_else(
    wheel: zipfile.ZipFile, packed: set[str]
) -> None:
    """A nested package that pyproject.toml does not list is left out silently."""
    assert packed == {
        name for name in wheel.namelist() if ".dist-info/" not in name and ".data/" not in name
    }


def test_the_wheel_has_the_manual_page_where_man_finds_it(wheel: zipfile.ZipFile) -> None:
    """Below the prefix of the environment; pipx and uv link it from there."""
    extra = [name.partition(".data/")[2] for name in wheel.namelist() if ".data/" in name]
    assert extra == ["data/share/man/man1/rekindle.1"]


def test_the_wheel_takes_no_common_name_at_top_level(wheel: zipfile.ZipFile) -> None:
    """Plain `daemon`, `jobs` or `state` would overwrite other people's modules."""
    tops = {name.split("/")[0] for name in wheel.namelist()}
    assert {"rekindle"} == {top for top in tops if not top.endswith((".dist-info", ".data"))}


def test_rekindle_itself_is_a_namespace(wheel: zipfile.ZipFile) -> None:
    """An `__init__` there would tie the three parts together at import."""
    assert "rekindle/__init__.py" not in wheel.namelist()


def test_the_wheel_has_the_command_the_licence_and_its_type_marks(wheel: zipfile.ZipFile) -> None:
    """`rekindle` on the PATH, MIT licence, one `py.typed` for each package."""
    info = next(n.split("/")[0] for n in wheel.namelist() if ".dist-info/" in n)
    assert (
        "rekindle = rekindle.daemon.client.cli:main"
        in wheel.read(f"{info}/entry_points.txt").decode()
    )
    assert any(name.startswith(info) and name.endswith("LICENSE") for name in wheel.namelist())
    for part in PARTS:
        assert f"rekindle/{part}/py.typed" in wheel.namelist()


@pytest.mark.slow  # it imports TensorFlow
def test_every_module_imports_from_the_unpacked_wheel(
    wheel: zipfile.ZipFile, tmp_path: Path
) -> None:
    """In an interpreter that sees neither the tree nor the editable installation's finder."""
    wheel.extractall(tmp_path / "site")
    modules = sorted(
        name.removesuffix(".py").replace("/", ".").removesuffix(".__init__")
        for name in wheel.namelist()
        if name.endswith(".py") and not name.endswith("__main__.py")
    )
    code = f"""
import importlib, sys
sys.meta_path = [f for f in sys.meta_path if "editable" not in repr(f)]
sys.path.insert(0, {str(tmp_path / "site")!r})
for name in {modules!r}:
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        # of a backend of Keras that is not installed here
        assert "backends.of_" in name and error.name in ("jax", "torch"), name
        continue
    assert module.__file__.startswith({str(tmp_path)!r}), module.__file__
"""
    ran = subprocess.run(
        [sys.executable, "-I", "-c", code],
        cwd=tmp_path,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
