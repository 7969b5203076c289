"""Fixtures that several tests share."""

import signal
from collections.abc import Iterator
from pathlib import Path

import lean.sitecustomize  # noqa: F401  for the TensorFlow of this process
import pytest
from rig import Rig

# a shell starts what runs in its background with SIGINT ignored, and every process that a test
# starts would inherit that: Ctrl-C would not end it
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the longest: no worker is left with one of them in the end."""
    items.sort(key=_seconds, reverse=True)


def _seconds(item: pytest.Item) -> float:
    """Return how long a test is known to take: ``slow(seconds)``."""
    slow = item.get_closest_marker("slow")
    if slow is None:
        return 0.0
    return slow.args[0] if slow.args else 5.0


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    """A scratch home; what was started over it is ended with the test."""
    made = Rig(tmp_path / "home")
    yield made
    made.close()
