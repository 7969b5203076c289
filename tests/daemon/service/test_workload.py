"""A backlog is worked off at once, but not retried a hundred times a second while that fails."""

import time
from pathlib import Path

import pytest

from rekindle.daemon.intake import submit
from rekindle.daemon.service.service import Options, Service
from rekindle.state.paths import Home


@pytest.fixture
def service(tmp_path: Path) -> Service:
    """Build a service with a job that the queue has not sorted yet."""
    home = Home(tmp_path)
    home.create()
    made = Service(home, Options(slots=0))
    made._startup.tick(time.monotonic())
    submit.drop(home, "a.toml", b'command = ["true"]\nworkdir = "/"\n')
    next(part for part in made._parts if part.name == "inbox").tick(time.monotonic())
    made._workload._queue._lineup._dirty |= made._workload._queue._ledger.take_changed()
    return made


def test_a_backlog_shortens_the_pause(service: Service) -> None:
    assert service._pause() == pytest.approx(0.01)


@pytest.mark.parametrize("part", ["queue", "GPUs", "attempts"])
def test_a_part_that_fails_is_tried_again_after_the_usual_pause(
    service: Service, part: str
) -> None:
    service._isolation.report(part, OSError(28, "No space left on device"))
    assert service._pause() == pytest.approx(0.25)
    service._isolation.clear(part)
    assert service._pause() == pytest.approx(0.01)


def test_a_queue_that_has_no_turn_shortens_no_pause(service: Service) -> None:
    service._shutdown.request(15)
    assert service._pause() == pytest.approx(0.25)
