"""Isolate errors of one part or job from the others; log each once, not at every try."""

import contextlib
from collections.abc import Callable, Iterator
from typing import TypeVar

import structlog

T = TypeVar("T")


class Repeats:
    """Remember the last text of each subject, so that a repeated one is not logged."""

    def __init__(self) -> None:
        self._texts: dict[str, str] = {}

    def is_new(self, subject: str, text: str) -> bool:
        """Record a text; return whether it differs from the last one."""
        if self._texts.get(subject) == text:
            return False
        self._texts[subject] = text
        return True

    def clear(self, subject: str) -> bool:
        """Forget a subject; return whether it was known."""
        return self._texts.pop(subject, None) is not None

    @property
    def subjects(self) -> tuple[str, ...]:
        return tuple(self._texts)


class LogOnce:
    """Log the error of each subject once, until it changes or is over.

    Args:
        event: the log event.
    """

    def __init__(self, event: str) -> None:
        self._event = event
        self._repeats = Repeats()
        self._log = structlog.get_logger()

    def error(self, subject: str, message: str) -> bool:
        """Log a message, unless it repeats the last one of this subject; return whether it did."""
        new = self._repeats.is_new(subject, message)
        if new:
            self._log.error(self._event, message=message)
        return new

    def clear(self, subject: str) -> None:
        """Record that a subject's error is over."""
        self._repeats.clear(subject)


class Isolation:
    """Run work whose failure must not affect other work.

    Args:
        key: name of the subject's field in the log, ``part`` or ``job``.
        failed: the log event of a new error.
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
        """The subjects whose last try failed."""
        return self._troubles.subjects

    def run(
        self, subject: str, work: Callable[[], T], fatal: tuple[type[Exception], ...] = ()
    ) -> T | None:
        """Do some work; None if it fails.

        Raises:
            Exception: one of ``fatal``.
        """
        with self.of(subject, fatal):
            return work()
        return None

    @contextlib.contextmanager
    def of(self, subject: str, fatal: tuple[type[Exception], ...] = ()) -> Iterator[None]:
        """Isolate a block: an error in it is reported and not raised."""
        try:
            yield
        except fatal:
            raise
        except Exception as error:
            self.report(subject, error)
        else:
            self.clear(subject)

    def report(self, subject: str, error: Exception) -> None:
        """Log a failure, unless it repeats that of the last try."""
        text = f"{type(error).__name__}: {error}"
        if self._troubles.is_new(subject, text):
            about = {self._key: subject, "error": text}
            self._log.error(self._failed, **about, exc_info=error)

    def clear(self, subject: str) -> None:
        """Record that a subject works again."""
        if self._troubles.clear(subject) and self._recovered is not None:
            self._log.info(self._recovered, **{self._key: subject})
