"""Fixtures that several tests share."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from rig import Rig


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    """A scratch home; what was started over it is ended with the test."""
    made = Rig(tmp_path / "home")
    yield made
    made.close()
