"""Fixtures of the faults."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from nights import Night


@pytest.fixture
def night(tmp_path: Path) -> Iterator[Night]:
    made = Night(tmp_path / "home", tmp_path / "work")
    yield made
    made.close()


@pytest.fixture
def nights(tmp_path: Path) -> Iterator[Callable[[str], Night]]:
    """Several homes in one test."""
    made: list[Night] = []

    def make(name: str) -> Night:
        made.append(Night(tmp_path / name / "home", tmp_path / name / "work"))
        return made[-1]

    yield make
    for one in made:
        one.close()
