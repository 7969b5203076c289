"""Fixtures of the tests of the project itself."""

import subprocess
import sys
from pathlib import Path

import pytest
from rig import ROOT

PARTS = ("daemon", "jobs", "state")


@pytest.fixture(scope="session")
def packed() -> set[str]:
    """List every file of the three folders and the units, under the name it has in a wheel."""
    units = {f"rekindle/units/{path.name}" for path in (ROOT / "systemd").iterdir()}
    return units | {
        f"rekindle/{path.relative_to(ROOT).as_posix()}"
        for part in PARTS
        for path in (ROOT / part).rglob("*")
        if path.is_file() and (path.suffix in (".py", ".1") or path.name == "py.typed")
    }


@pytest.fixture(scope="session")
def wheel_file(packed: set[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build a wheel from a copy of what a release has, so that the tree stays clean."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        source.mkdir(exist_ok=True)
        (source / name).write_bytes((ROOT / name).read_bytes())
    for name in packed:
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
    return file
