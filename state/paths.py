"""Every file name of a home and of a run directory, in one place."""

import os
from dataclasses import dataclass
from pathlib import Path

from rekindle.state import access
from rekindle.state.errors import HomeUnusable


@dataclass(frozen=True, slots=True)
class Run:
    """The one folder that holds everything of a job."""

    root: Path

    @property
    def id(self) -> str:
        return self.root.name

    @property
    def job_file(self) -> Path:
        """The accepted spec in resolved form, JSON, mode 0600 (``env`` may hold secrets)."""
        return self.root / "job.json"

    @property
    def lock(self) -> Path:
        """Held with ``flock`` as long as a process of an attempt is alive."""
        return self.root / "lock"

    @property
    def heartbeat(self) -> Path:
        return self.root / "heartbeat"

    @property
    def keeper_log(self) -> Path:
        """What the keeper of the latest attempt printed: nothing, while all is well."""
        return self.root / "keeper.log"

    @property
    def journal(self) -> Path:
        return self.root / "journal.jsonl"

    @property
    def reserve(self) -> Path:
        """Space for the end of the latest attempt, taken at its start: a full disk loses no end."""
        return self.root / "reserve"

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    @property
    def checkpoints(self) -> Path:
        return self.root / "checkpoints"

    @property
    def quarantine(self) -> Path:
        """Where refused checkpoints are kept, each with its reason in the name's journal line."""
        return self.checkpoints / "quarantine"

    @property
    def source(self) -> Path:
        return self.root / "source"

    @property
    def tensorboard(self) -> Path:
        return self.root / "tensorboard"

    @property
    def exports(self) -> Path:
        return self.root / "exports"

    @property
    def warm_start(self) -> Path:
        """A checkpoint of another job, from whose weights this one begins."""
        return self.root / "warm_start"

    @property
    def warm_start_source(self) -> Path:
        """Which job and checkpoint those are."""
        return self.warm_start / "source.json"

    @property
    def architecture(self) -> Path:
        return self.root / "architecture.json"

    def log(self, attempt: int) -> Path:
        """Standard output and standard error of one attempt (1-based)."""
        return self.logs / f"attempt-{attempt:04d}.log"

    def spec_copy(self, suffix: str) -> Path:
        """The spec as it was submitted, byte for byte; ``suffix`` includes the dot."""
        return self.root / f"spec{suffix}"


@dataclass(frozen=True, slots=True)
class Home:
    """The folder that holds the inbox, the ledger and all run directories."""

    root: Path

    @classmethod
    def default(cls, explicit: str | None = None) -> "Home":
        """``explicit`` (``--home``), else ``$REKINDLE_HOME``, else the place for this user.

        That is ``/var/lib/rekindle`` where systemd gave the service its state directory
        (``$STATE_DIRECTORY``), else ``$XDG_STATE_HOME/rekindle``.
        """
        named = explicit or os.environ.get("REKINDLE_HOME") or os.environ.get("STATE_DIRECTORY")
        state = os.environ.get("XDG_STATE_HOME") or "~/.local/state"
        try:
            if named:
                return cls(Path(named).expanduser().absolute())
            return cls(Path(state).expanduser().absolute() / "rekindle")
        except RuntimeError:
            raise HomeUnusable(
                "It begins with a home folder that does not exist.",
                where=named or state,
                hint="Name an absolute path with --home.",
            ) from None

    @property
    def inbox(self) -> Path:
        return self.root / "inbox"

    @property
    def rejected(self) -> Path:
        return self.inbox / "rejected"

    @property
    def claimed(self) -> Path:
        """Specs taken out of the inbox by a rename, not yet accepted or rejected."""
        return self.root / "claimed"

    @property
    def ledger(self) -> Path:
        return self.root / "ledger.db"

    @property
    def config(self) -> Path:
        """What holds for the whole box; need not be there."""
        return self.root / "rekindle.toml"

    @property
    def queue(self) -> Path:
        """What a person decided about the whole queue: paused, GPUs taken back; JSON."""
        return self.root / "queue.json"

    @property
    def runs(self) -> Path:
        return self.root / "runs"

    @property
    def sources(self) -> Path:
        """Snapshots of code, each under the digest of its content; runs link to them."""
        return self.root / "sources"

    @property
    def imports(self) -> Path:
        """Runs from another box, verified, that are not jobs of this home yet."""
        return self.root / "imports"

    @property
    def daemon_lock(self) -> Path:
        return self.root / "daemon.lock"

    @property
    def daemon_status(self) -> Path:
        """Pid, version and start time of the daemon that holds ``daemon_lock``, JSON."""
        return self.root / "daemon.json"

    def run(self, job_id: str) -> Run:
        return Run(self.runs / job_id)

    def create(self) -> None:
        """Makes the home's folders where they are missing.

        Raises:
            HomeUnusable: a folder cannot be made or is not a folder.
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
                # mode is only for a folder made here: an administrator's choice stays
                folder.parent.mkdir(parents=True, exist_ok=True)
                try:
                    folder.mkdir(mode=mode & 0o700)
                except FileExistsError:
                    if not folder.is_dir():
                        raise
                else:
                    # neither the umask nor mkdir itself, which drops setgid, has a say
                    folder.chmod(mode)
            except OSError as error:
                of_another = isinstance(error, PermissionError) and os.path.exists(self.root)
                raise HomeUnusable(
                    f"The folder cannot be made: {error.strerror}.",
                    where=folder,
                    hint=access.hint(self.root)
                    if of_another
                    else "Choose another home with "
                    "--home or $REKINDLE_HOME, or give this user the right to write there.",
                ) from error
        if not os.access(self.root, os.W_OK | os.X_OK):
            raise HomeUnusable(
                "The home cannot be written by this user.",
                where=self.root,
                hint="Run as the user that owns it, or choose another home with --home.",
            )
