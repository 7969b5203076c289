"""Define every file name of a home and of a run directory."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from rekindle.state import access
from rekindle.state.errors import HomeUnusable

NEW_RUN: Final = ".new-"
"""Begins the temporary name of a run directory that is being accepted."""
NEW_FORK: Final = ".fork-"
"""Begins the temporary name of the run directory of a fork."""


@dataclass(frozen=True, slots=True)
class Run:
    """A run directory: the one folder that holds everything of a job."""

    root: Path

    @property
    def id(self) -> str:
        """Id of the job."""
        return self.root.name

    @property
    def job_file(self) -> Path:
        """The accepted spec in resolved form, JSON, mode 0600 (``env`` may hold secrets)."""
        return self.root / "job.json"

    @property
    def lock(self) -> Path:
        """Lock file, held with ``flock`` while a process of an attempt is alive."""
        return self.root / "lock"

    @property
    def heartbeat(self) -> Path:
        """Last position of the trainer, written at each step."""
        return self.root / "heartbeat"

    @property
    def step_record(self) -> Path:
        """Evidence of the latest steps, with which a relaunch compares those that it repeats."""
        return self.root / "step_record"

    @property
    def running_time(self) -> Path:
        """Seconds that the latest attempt has run, published by its keeper every second."""
        return self.root / "running_time"

    @property
    def keeper_log(self) -> Path:
        """Output of the latest attempt's keeper; empty unless something failed."""
        return self.root / "keeper.log"

    @property
    def journal(self) -> Path:
        """Everything that happened to the job, one checksummed line per entry."""
        return self.root / "journal.jsonl"

    @property
    def journal_summary(self) -> Path:
        """Summary of the journal's first part for readers; made again whenever it is missing."""
        return self.root / "journal.summary"

    @property
    def reserve(self) -> Path:
        """Space reserved at the start of the latest attempt, to record its end on a full disk."""
        return self.root / "reserve"

    @property
    def logs(self) -> Path:
        """Folder of the attempts' logs."""
        return self.root / "logs"

    @property
    def checkpoints(self) -> Path:
        """Folder of the job's checkpoints."""
        return self.root / "checkpoints"

    @property
    def kept_files(self) -> Path:
        """Copies of files that the script wrote, which checkpoints need; named by digest."""
        return self.root / "kept_files"

    @property
    def frozen_clock(self) -> Path:
        """Time that a job with ``freeze_clock`` reads in all attempts, JSON."""
        return self.root / "frozen_clock.json"

    @property
    def quarantine(self) -> Path:
        """Folder of refused checkpoints; the journal holds the reason for each."""
        return self.checkpoints / "quarantine"

    @property
    def source(self) -> Path:
        """Link to the snapshot of the job's code."""
        return self.root / "source"

    @property
    def earlier_code(self) -> Path:
        """Folder of links to the snapshots that `--new-code` has replaced."""
        return self.root / "earlier_code"

    @property
    def tensorboard(self) -> Path:
        """Folder for the event files of TensorBoard."""
        return self.root / "tensorboard"

    @property
    def exports(self) -> Path:
        """Folder for exported models."""
        return self.root / "exports"

    @property
    def warm_start(self) -> Path:
        """Checkpoint of another job, whose weights this job begins with."""
        return self.root / "warm_start"

    @property
    def warm_start_source(self) -> Path:
        """Job and checkpoint of the warm start."""
        return self.warm_start / "source.json"

    @property
    def architecture(self) -> Path:
        """Architectures of the models that each stage trains, JSON, for `export`."""
        return self.root / "architecture.json"

    def log(self, attempt: int) -> Path:
        """Return the path of one attempt's output (1-based): standard output and error."""
        return self.logs / f"attempt-{attempt:04d}.log"

    def log_times(self, attempt: int) -> Path:
        """Return the path of the times at which an attempt's log grew."""
        return self.logs / f"attempt-{attempt:04d}.times"

    def spec_copy(self, suffix: str) -> Path:
        """Return the path of the submitted spec, byte for byte; ``suffix`` includes the dot."""
        return self.root / f"spec{suffix}"


@dataclass(frozen=True, slots=True)
class Home:
    """The folder that holds the inbox, the ledger and all run directories."""

    root: Path

    @classmethod
    def default(cls, explicit: str | None = None) -> "Home":
        """Choose ``explicit`` (``--home``), else ``$REKINDLE_HOME``, else the user's default.

        The default is ``$STATE_DIRECTORY`` where systemd sets it (``/var/lib/rekindle``), else
        ``$XDG_STATE_HOME/rekindle``.
        """
        named = explicit or os.environ.get("REKINDLE_HOME") or os.environ.get("STATE_DIRECTORY")
        state = os.environ.get("XDG_STATE_HOME") or "~/.local/state"
        try:
            if named:
                return cls(Path(named).expanduser().absolute())
            return cls(Path(state).expanduser().absolute() / "rekindle")
        except RuntimeError:
            raise HomeUnusable(
                "The path begins with a home folder that does not exist.",
                where=named or state,
                hint="Name an absolute path with --home.",
            ) from None

    @property
    def inbox(self) -> Path:
        """Folder for specs and requests to the daemon."""
        return self.root / "inbox"

    @property
    def rejected(self) -> Path:
        """Folder of rejected specs and requests, each with the reason beside it."""
        return self.inbox / "rejected"

    @property
    def claimed(self) -> Path:
        """Folder of specs moved out of the inbox and not yet accepted or rejected."""
        return self.root / "claimed"

    @property
    def ledger(self) -> Path:
        """SQLite database of all jobs, attempts and events."""
        return self.root / "ledger.db"

    @property
    def config(self) -> Path:
        """Settings of the host; optional."""
        return self.root / "rekindle.toml"

    @property
    def queue(self) -> Path:
        """Decisions of a person about the whole queue (paused, GPUs taken back), JSON."""
        return self.root / "queue.json"

    @property
    def runs(self) -> Path:
        """Folder of all run directories."""
        return self.root / "runs"

    @property
    def sources(self) -> Path:
        """Folder of code snapshots, each named by the digest of its content; runs link to them."""
        return self.root / "sources"

    @property
    def imports(self) -> Path:
        """Folder of verified runs from another host that are not jobs of this home yet."""
        return self.root / "imports"

    @property
    def notify(self) -> Path:
        """Notifications that wait, mode 0600; missing where none are configured."""
        return self.root / "notify.json"

    @property
    def daemon_lock(self) -> Path:
        """Lock file of the home's daemon."""
        return self.root / "daemon.lock"

    @property
    def daemon_status(self) -> Path:
        """Pid, version and start time of the home's daemon, JSON; removed when it ends."""
        return self.root / "daemon.json"

    def run(self, job_id: str) -> Run:
        """Return the run directory of a job."""
        return Run(self.runs / job_id)

    def free_number(self, name: str, taken: int) -> int:
        """Return the first number after ``taken`` of which no run directory of a name exists."""
        number = taken + 1
        while any(os.path.lexists(self.runs / f"{new}{name}-{number}") for new in ("", NEW_RUN)):
            number += 1
        return number

    def create(self) -> None:
        """Create the missing folders of the home.

        Raises:
            HomeUnusable: a folder cannot be created or is not a folder.
        """
        for folder, mode in (
            (self.root, 0o755),
            (self.inbox, 0o2770),
            (self.rejected, 0o2770),
            (self.claimed, 0o700),
            (self.sources, 0o750),
            (self.imports, 0o700),
            (self.runs, 0o755),
        ):
            try:
                # only a new folder gets this mode: a mode that an administrator chose stays
                folder.parent.mkdir(parents=True, exist_ok=True)
                try:
                    folder.mkdir(mode=mode & 0o700)
                except FileExistsError:
                    if not folder.is_dir():
                        raise
                else:
                    # chmod: the umask would change the mode, and mkdir drops setgid
                    folder.chmod(mode)
            except OSError as error:
                of_another = isinstance(error, PermissionError) and os.path.exists(self.root)
                raise HomeUnusable(
                    f"The folder cannot be created: {error.strerror}.",
                    where=folder,
                    hint=access.hint(self.root)
                    if of_another
                    else "Choose another home with "
                    "--home or $REKINDLE_HOME, or give this user write permission there.",
                ) from error
        if not os.access(self.root, os.W_OK | os.X_OK):
            raise HomeUnusable(
                f"The home is not writable for user {os.geteuid()}.",
                where=self.root,
                hint="Run rekindle as the user that owns it, or choose another home with --home.",
            )
