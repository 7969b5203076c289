"""What is installed is the tree, under names that collide with nobody's."""

import os
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PARTS = ("daemon", "jobs", "state")


def in_the_tree() -> set[str]:
    """Every file of the three folders and the units, under the name it has in a wheel."""
    units = {f"rekindle/units/{path.name}" for path in (ROOT / "systemd").iterdir()}
    return units | {
        f"rekindle/{path.relative_to(ROOT).as_posix()}"
        for part in PARTS
        for path in (ROOT / part).rglob("*")
        if path.is_file() and (path.suffix == ".py" or path.name == "py.typed")
    }


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[zipfile.ZipFile]:
    """A wheel built from a copy of what a release has, so that the tree stays clean."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        source.mkdir(exist_ok=True)
        (source / name).write_bytes((ROOT / name).read_bytes())
    for name in in_the_tree():
        here = name.removeprefix("rekindle/").replace("units/", "systemd/")
        target = source / here
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes((ROOT / here).read_bytes())
    built = subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, source],
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stdout + built.stderr
    (file,) = folder.glob("*.whl")
    with zipfile.ZipFile(file) as archive:
        yield archive


def test_the_wheel_holds_every_module_of_the_tree_and_nothing_else(wheel: zipfile.ZipFile) -> None:
    """A nested package, say, would be left out without a word."""
    packed = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert in_the_tree() == packed


def test_the_wheel_takes_no_common_name_at_top_level(wheel: zipfile.ZipFile) -> None:
    """Plain `daemon`, `jobs` or `state` would overwrite other people's modules."""
    tops = {name.split("/")[0] for name in wheel.namelist()}
    assert {"rekindle"} == {top for top in tops if not top.endswith(".dist-info")}


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
    module = importlib.import_module(name)
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
