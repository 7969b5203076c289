"""What an attempt reports: entries in the journal, and lines for people in the log."""

from rekindle.jobs.journal_writer import Record, tell
from rekindle.state.paths import Run
from rekindle.state.run import entries
from rekindle.state.run.entries import Entry


class AttemptLog:
    """Write journal entries and warnings of one attempt; a full disk never costs the training.

    Args:
        unfollowed: what earlier attempts reported of training that is not saved.
    """

    def __init__(self, run: Run, attempt: int, unfollowed: list[str]) -> None:
        self._record = Record(run.journal, attempt)
        self._warned: set[str] = set()
        self._unfollowed = list(unfollowed)

    @property
    def unfollowed(self) -> list[str]:
        """List the messages about training that is not saved, of all attempts."""
        return list(self._unfollowed)

    def note(self, entry: Entry) -> None:
        """Append an entry to the journal; on a full disk it is appended later."""
        self._record.add(**entry)

    def warn(self, message: str, hint: str, *, unfollowed: bool = False) -> None:
        """Report once, in journal and log, what a person should know.

        Args:
            unfollowed: training is not saved, which the daemon has to know as well.
        """
        if message in self._warned:
            return
        self._warned.add(message)
        tell(f"{message} {hint}")
        if unfollowed:
            self._unfollowed.append(message)
            self.note(entries.warned(message=message, hint=hint, unfollowed=True))
        else:
            self.note(entries.warned(message=message, hint=hint))
