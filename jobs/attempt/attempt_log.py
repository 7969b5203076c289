"""Report of an attempt: journal entries for the daemon, log lines for people."""

from rekindle.jobs.journal_writer import Record, log_line
from rekindle.state.paths import Run
from rekindle.state.run import entries
from rekindle.state.run.entries import Entry


class AttemptLog:
    """Write journal entries and warnings of one attempt; a full disk never ends the training.

    Args:
        unfollowed: messages of earlier attempts about training that is not saved.
    """

    def __init__(self, run: Run, attempt: int, unfollowed: list[str]) -> None:
        self._record = Record(run.journal, attempt)
        self._warned: set[str] = set()
        self._unfollowed = list(unfollowed)

    @property
    def unfollowed(self) -> list[str]:
        """Messages of all attempts about training that is not saved."""
        return list(self._unfollowed)

    def note(self, entry: Entry) -> None:
        """Append a journal entry; on a full disk it is appended later."""
        self._record.add(**entry)

    def warn(self, message: str, hint: str, *, unfollowed: bool = False) -> None:
        """Report a warning once, in journal and log.

        Args:
            unfollowed: the warning is about training that is not saved; the daemon shows it, too.
        """
        if message in self._warned:
            return
        self._warned.add(message)
        log_line(f"{message} {hint}")
        if unfollowed:
            self._unfollowed.append(message)
            self.note(entries.warned(message=message, hint=hint, unfollowed=True))
        else:
            self.note(entries.warned(message=message, hint=hint))
