"""Fixtures that several tests share."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from rig import Rig


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the slow ones: no worker is left with one of them in the end."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    """A scratch home; what was started over it is ended with the test."""
    made = Rig(tmp_path / "home")
    yield made
    made.close()
