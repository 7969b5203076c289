"""Keep what fails in one part, or for one job, from the others; log it once, not at every try."""

import contextlib
from collections.abc import Callable, Iterator
from typing import TypeVar

import structlog

T = TypeVar("T")


class Repeats:
    """Remember the last text of each subject, so that the same one is not logged again."""

    def __init__(self) -> None:
        self._texts: dict[str, str] = {}

    def is_new(self, subject: str, text: str) -> bool:
        """Note a text; tell whether it is another one than before."""
        if self._texts.get(subject) == text:
            return False
        self._texts[subject] = text
        return True

    def clear(self, subject: str) -> bool:
        """Forget a subject; tell whether it was known."""
        return self._texts.pop(subject, None) is not None

    @property
    def subjects(self) -> tuple[str, ...]:
        return tuple(self._texts)


class LogOnce:
    """Log the trouble of each subject once, until it is another one or over.

    Args:
        event: the log event.
    """

    def __init__(self, event: str) -> None:
        self._event = event
        self._repeats = Repeats()
        self._log = structlog.get_logger()

    def error(self, subject: str, message: str) -> None:
        """Log a message, unless it is the last one of this subject."""
        if self._repeats.is_new(subject, message):
            self._log.error(self._event, message=message)

    def clear(self, subject: str) -> None:
        """Note that a subject's trouble is over."""
        self._repeats.clear(subject)


class Isolation:
    """Run work whose failure must not end that of others.

    Args:
        key: what a subject is called in the log, ``part`` or ``job``.
        failed: the log event of a new trouble.
        recovered: the log event of its end; None logs nothing.
    """

    def __init__(self, key: str, failed: str, recovered: str | None = None) -> None:
        self._key = key
        self._failed = failed
        self._recovered = recovered
        self._troubles = Repeats()
        self._log = structlog.get_logger()

    @property
    def troubled(self) -> tuple[str, ...]:
        """Name the subjects whose last try failed."""
        return self._troubles.subjects

    def run(
        self, subject: str, work: Callable[[], T], fatal: tuple[type[Exception], ...] = ()
    ) -> T | None:
        """Carry out some work; None where it fails.

        Raises:
            Exception: one of ``fatal``.
        """
        with self.of(subject, fatal):
            return work()
        return None

    @contextlib.contextmanager
    def of(self, subject: str, fatal: tuple[type[Exception], ...] = ()) -> Iterator[None]:
        """Isolate a block; what fails in it is reported, and what follows continues."""
        try:
            yield
        except fatal:
            raise
        except Exception as error:
            self.report(subject, error)
        else:
            self.clear(subject)

    def report(self, subject: str, error: Exception) -> None:
        """Log a failure, unless it is the one of the last try."""
        text = f"{type(error).__name__}: {error}"
        if self._troubles.is_new(subject, text):
            about = {self._key: subject, "error": text}
            self._log.error(self._failed, **about, exc_info=error)

    def clear(self, subject: str) -> None:
        """Note that a subject works again."""
        if self._troubles.clear(subject) and self._recovered is not None:
            self._log.info(self._recovered, **{self._key: subject})
