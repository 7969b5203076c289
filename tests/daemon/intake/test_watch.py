"""An event wakes the loop; a folder that was replaced is watched again."""

import shutil
import threading
from pathlib import Path

import pytest
import structlog
from rig import Rig, wait_for
from watchdog.events import FileCreatedEvent

from rekindle.daemon.intake.watch import Watcher


def test_a_file_wakes_also_in_a_folder_that_was_deleted_and_made_again(tmp_path: Path) -> None:
    """The old watch is dead then without a word; `ensure` notices."""
    folder = tmp_path / "inbox"
    folder.mkdir()
    wake = threading.Event()
    watcher = Watcher(folder, wake)
    watcher.start()
    try:
        (folder / "a").touch()
        wait_for(wake.is_set, "the first file wakes")
        shutil.rmtree(folder)
        folder.mkdir()
        watcher.ensure()
        wake.clear()
        (folder / "b").touch()
        wait_for(wake.is_set, "a file in the new folder wakes")
    finally:
        watcher.stop()


def test_an_observer_that_died_is_replaced(tmp_path: Path) -> None:
    """An exception in a handler ends watchdog's thread; the next look starts another."""
    wake = threading.Event()
    watcher = Watcher(tmp_path, wake)
    watcher.start()
    observer = watcher._observer
    assert observer is not None
    observer.stop()
    observer.join(10)
    watcher.ensure()
    try:
        assert watcher._observer is not observer
        (tmp_path / "a").touch()
        wait_for(wake.is_set, "a file wakes")
    finally:
        watcher.stop()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_an_exception_in_the_handler_costs_one_event(tmp_path: Path) -> None:
    """It really ends watchdog's thread; `ensure` says so and watches again."""

    class Broken(threading.Event):
        broken = True

        def set(self) -> None:
            if self.broken:
                raise RuntimeError("a defect in the handler")
            super().set()

    wake = Broken()
    watcher = Watcher(tmp_path, wake)
    watcher.start()
    observer = watcher._observer
    assert observer is not None
    try:
        (tmp_path / "a").touch()
        wait_for(lambda: not observer.is_alive(), "the exception ends the thread")
        wake.broken = False
        with structlog.testing.capture_logs() as logged:
            watcher._log = structlog.get_logger()
            watcher.ensure()
        assert [line["event"] for line in logged] == ["inbox_watched_again"]
        (tmp_path / "b").touch()
        wait_for(wake.is_set, "the next file wakes")
    finally:
        watcher.stop()


def test_opening_a_file_wakes_nobody(tmp_path: Path) -> None:
    """The scan itself opens files: it must not wake itself for ever."""
    wake = threading.Event()
    watcher = Watcher(tmp_path, wake)
    event = FileCreatedEvent(str(tmp_path / "a"))
    event.event_type = "opened"
    watcher.on_any_event(event)
    assert not wake.is_set()


def test_a_daemon_whose_inbox_was_replaced_goes_on_taking_specs(rig: Rig) -> None:
    """Deleted and made again under a living daemon; what was dropped meanwhile is taken."""
    rig.start()
    wait_for(rig.home.daemon_status.exists, "the daemon is up")
    shutil.rmtree(rig.home.inbox)
    wait_for(rig.home.inbox.exists, "the daemon creates the inbox again")
    rig.drop('command = ["true"]\nworkdir = "/"\n', "a.toml")
    rig.drop("x = ", "b.toml")
    rig.wait_state("a-1", "done")
    wait_for((rig.home.rejected / "b.toml.error.txt").exists, "the bad one is refused")
    assert rig.end() == 0
