"""Open the SQLite file of a ledger, for writing by its daemon or for reading beside it."""

import os
import shutil
import sqlite3
import tempfile
import time
from pathlib import Path
from typing import Any, Final

from rekindle.state import access
from rekindle.state.errors import HomeUnusable, LedgerCorrupt, LedgerTooNew, NotFound
from rekindle.state.ledger import schema
from rekindle.state.paths import Home

_NO_ROOM: Final = frozenset({sqlite3.SQLITE_IOERR, sqlite3.SQLITE_FULL, sqlite3.SQLITE_CANTOPEN})
_NOTICED_S: Final = 0.01
"""A statement that took at most this long did not wait for another client."""
_REBUILD: Final = (
    "`rekindle verify --rebuild` rebuilds it from the run directories; a damaged file is kept."
)


class Connection(sqlite3.Connection):
    """Share one wait limit for other clients among all statements; return rows with names."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.row_factory = sqlite3.Row
        self._left: float | None = None

    def allow_wait(self, seconds: float) -> None:
        """Limit the total wait for other clients of all statements until the next call.

        A statement that would wait longer raises `sqlite3.OperationalError`: a client that holds
        the ledger must not block a tick of the daemon.
        """
        self._left = seconds
        super().execute(f"PRAGMA busy_timeout = {int(seconds * 1000)}")

    def execute(self, sql: str, /, *parameters: Any) -> sqlite3.Cursor:
        """Execute a statement and subtract its wait from the limit."""
        if self._left is None or self.in_transaction:
            return super().execute(sql, *parameters)  # its lock is held already
        began = time.monotonic()
        try:
            return super().execute(sql, *parameters)
        finally:
            took = time.monotonic() - began
            if took > _NOTICED_S:
                self.allow_wait(max(self._left - took, 0.0))


def connect(path: Path, *, readonly: bool) -> Connection:
    """Connect to a ledger; create a missing one unless ``readonly``.

    Raises:
        LedgerCorrupt: it is damaged or not a ledger.
        LedgerTooNew: a newer version of rekindle wrote it.
        NotFound: ``readonly`` and it does not exist.
        HomeUnusable: it cannot be opened; HomeClosed: the current user lacks permission.
    """
    if not access.exists(path, path.parent):
        if readonly:
            raise _no_ledger(path)
        _refuse_empty(path)
    try:
        connection = _open(path, readonly=readonly)
        version = _check(connection, path, thorough=not readonly)
        if version == 0:
            _refuse_empty(path)
            if readonly:
                # the first daemon of this home is creating the tables at this moment
                raise _no_ledger(path)
        if not readonly:
            schema.migrate(connection)
    except sqlite3.DatabaseError as error:
        raise explain(error, path) from error
    return connection


def _open(path: Path, *, readonly: bool) -> Connection:
    if readonly:
        uri = f"{path.absolute().as_uri()}?mode=ro"
        connection = sqlite3.connect(
            uri, uri=True, isolation_level=None, timeout=10, factory=Connection
        )
        try:
            connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone()
        except sqlite3.OperationalError as error:
            # the -shm file cannot be created in a folder that this user cannot write; without a
            # daemon that has the ledger open, the -wal file holds nothing to miss
            connection.close()
            if error.sqlite_errorcode & 0xFF in _NO_ROOM and _has_wal(path):
                return _open_copy(path)
            if (
                "unable to open" not in str(error)
                and "readonly" not in str(error)
                and error.sqlite_errorcode & 0xFF not in _NO_ROOM
            ):
                raise
            connection = sqlite3.connect(
                f"{uri}&immutable=1", uri=True, isolation_level=None, factory=Connection
            )
    else:
        connection = sqlite3.connect(path, isolation_level=None, timeout=10, factory=Connection)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")
    return connection


def _has_wal(path: Path) -> bool:
    try:
        return path.with_name(f"{path.name}-wal").stat().st_size > 0
    except OSError:
        return False


def _open_copy(path: Path) -> Connection:
    """Open a copy of a ledger on a full disk whose daemon was killed.

    Commits may exist only in the -wal file, and reading that needs space beside it.
    """
    memory = "/dev/shm"  # noqa: S108 - rarely full
    with tempfile.TemporaryDirectory(dir=memory if os.path.isdir(memory) else None) as folder:
        for suffix in ("", "-wal"):
            shutil.copyfile(f"{path}{suffix}", os.path.join(folder, f"ledger.db{suffix}"))
        connection = sqlite3.connect(
            os.path.join(folder, "ledger.db"), isolation_level=None, factory=Connection
        )
        # the copy stays open after its folder is removed
        connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone()
    return connection


def _refuse_empty(path: Path) -> None:
    """Refuse an empty ledger beside run directories: every job would be started again."""
    if path == Home(path.parent).ledger and (runs := _run_names(path)):
        raise LedgerCorrupt(
            f"The ledger is missing, but run directories exist ({', '.join(runs[:3])}"
            f"{', ...' if len(runs) > 3 else ''}).",
            where=path,
            hint=_REBUILD,
        )


def _no_ledger(path: Path) -> NotFound:
    return NotFound(
        f"No job was ever run here (home: {path.parent}).",
        where=path,
        hint="Start the daemon: `rekindle run`; or choose another home with --home.",
    )


def _check(connection: sqlite3.Connection, path: Path, *, thorough: bool) -> int:
    """Check that the ledger is usable, and return the version of its schema."""
    version = int(connection.execute("PRAGMA user_version").fetchone()[0])
    if version > schema.VERSION:
        raise LedgerTooNew(
            f"The ledger has version {version}; this rekindle reads up to {schema.VERSION}.",
            where=path,
            hint="Install the newer rekindle that wrote the ledger.",
        )
    if thorough:
        result = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
        if result != "ok":
            raise LedgerCorrupt(f"The ledger is damaged: {result}.", where=path, hint=_REBUILD)
    return version


def explain(error: sqlite3.DatabaseError, path: Path) -> HomeUnusable:
    """Convert an error of SQLite into one with a hint."""
    if isinstance(error, sqlite3.OperationalError):
        return HomeUnusable(
            f"The ledger cannot be opened: {error}.",
            where=path,
            hint="Check its permissions, the free space on the disk, and which processes use it.",
        )
    return LedgerCorrupt(f"The ledger is damaged: {error}.", where=path, hint=_REBUILD)


def _run_names(path: Path) -> list[str]:
    try:
        return sorted(
            run.name for run in Home(path.parent).runs.iterdir() if not run.name.startswith(".")
        )
    except FileNotFoundError:
        return []
