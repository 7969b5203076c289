"""Fixtures of the tests of GPUs."""

from pathlib import Path

import pytest
from fake_gpus import Box


@pytest.fixture
def box(tmp_path: Path) -> Box:
    """Two GPUs."""
    return Box(tmp_path, 2)
