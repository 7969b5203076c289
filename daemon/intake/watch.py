"""Watch the inbox: an event only wakes the loop, which then scans.

A lost event delays a job but never loses it: the loop also scans at an interval.
"""

import threading
from pathlib import Path

import structlog
from watchdog.events import FileSystemEvent, FileSystemEventHandler
from watchdog.observers import Observer
from watchdog.observers.api import BaseObserver

_QUIET = {"opened", "closed_no_write"}


class Watcher(FileSystemEventHandler):
    """Set ``wake`` when ``folder`` changes."""

    def __init__(self, folder: Path, wake: threading.Event) -> None:
        self._folder = folder
        self._wake = wake
        self._observer: BaseObserver | None = None
        self._inode: tuple[int, int] | None = None
        self._log = structlog.get_logger()
        self._reported = False

    def start(self) -> None:
        """Start to watch; if that fails, log it once and leave the inbox to the periodic scan."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            info = self._folder.stat()
            observer = Observer()
            observer.schedule(self, str(self._folder))
            observer.start()
        except OSError as error:
            if not self._reported:
                self._log.warning(
                    "inbox_not_watched",
                    error=str(error),
                    hint="The inbox is scanned every few seconds instead; raise "
                    "fs.inotify.max_user_watches and fs.inotify.max_user_instances (sysctl).",
                )
            self._reported = True
            return
        self._reported = False
        self._observer, self._inode = observer, (info.st_dev, info.st_ino)

    def ensure(self) -> None:
        """Watch again if the folder was replaced or the observer has ended."""
        try:
            info = self._folder.stat()
            same = self._inode == (info.st_dev, info.st_ino)
        except OSError:
            same = False
        alive = (
            self._observer is not None
            and self._observer.is_alive()
            and all(emitter.is_alive() for emitter in self._observer.emitters)
        )
        if same and alive:
            return
        if self._observer is not None:
            self._log.warning("inbox_watched_again", folder=str(self._folder))
        self.stop()
        self.start()

    def stop(self) -> None:
        if self._observer is not None:
            self._observer.stop()
            self._observer.join(1)
            self._observer = None

    def on_any_event(self, event: FileSystemEvent) -> None:
        if event.event_type not in _QUIET:
            self._wake.set()
