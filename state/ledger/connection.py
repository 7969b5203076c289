"""Open the SQLite file of a ledger: for its daemon, or beside it for reading."""

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
"""A statement that took no longer has waited for nobody."""
_REBUILD: Final = (
    "`rekindle verify --rebuild` builds it anew from the run directories; a damaged file is kept."
)


class Connection(sqlite3.Connection):
    """Let all statements share one limit for waiting for other clients; rows have names."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.row_factory = sqlite3.Row
        self._left: float | None = None

    def allow_wait(self, seconds: float) -> None:
        """Let all statements until the next call wait this long, together, for other clients.

        What would wait longer raises `sqlite3.OperationalError`: a tick of the daemon does not
        stand still because somebody holds the ledger.
        """
        self._left = seconds
        super().execute(f"PRAGMA busy_timeout = {int(seconds * 1000)}")

    def execute(self, sql: str, /, *parameters: Any) -> sqlite3.Cursor:
        if self._left is None or self.in_transaction:
            return super().execute(sql, *parameters)  # who is in a transaction waits for nobody
        began = time.monotonic()
        try:
            return super().execute(sql, *parameters)
        finally:
            took = time.monotonic() - began
            if took > _NOTICED_S:
                self.allow_wait(max(self._left - took, 0.0))


def connect(path: Path, *, readonly: bool) -> Connection:
    """Connect to a ledger, making a new one where there is none (unless ``readonly``).

    Raises:
        LedgerCorrupt: it is damaged or not a ledger.
        LedgerTooNew: a newer version of rekindle wrote it.
        NotFound: ``readonly`` and there is none.
        HomeUnusable: it cannot be opened; HomeClosed: not by this user.
    """
    if not access.there(path, path.parent):
        if readonly:
            raise _none_yet(path)
        _refuse_to_begin_anew(path)
    try:
        connection = _open(path, readonly=readonly)
        version = _check(connection, path, thorough=not readonly)
        if version == 0:
            _refuse_to_begin_anew(path)
            if readonly:
                # the first daemon of this home is making its tables at this moment
                raise _none_yet(path)
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
            # a folder that this user cannot write has no room for the -shm file; while no
            # daemon has the ledger open there is nothing in a -wal file to be missed
            connection.close()
            if error.sqlite_errorcode & 0xFF in _NO_ROOM and _has_wal(path):
                return _copied(path)
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


def _copied(path: Path) -> Connection:
    """Open a copy of a ledger on a full disk whose daemon was killed.

    What is committed may stand in the -wal file alone, and reading that needs space beside it.
    """
    memory = "/dev/shm"  # noqa: S108 - a disk that is hardly ever full
    with tempfile.TemporaryDirectory(dir=memory if os.path.isdir(memory) else None) as folder:
        for suffix in ("", "-wal"):
            shutil.copyfile(f"{path}{suffix}", os.path.join(folder, f"ledger.db{suffix}"))
        connection = sqlite3.connect(
            os.path.join(folder, "ledger.db"), isolation_level=None, factory=Connection
        )
        # the copy stays open without its name
        connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone()
    return connection


def _refuse_to_begin_anew(path: Path) -> None:
    """Refuse an empty ledger over run directories, which would start all of them again."""
    if path == Home(path.parent).ledger and (runs := _run_names(path)):
        raise LedgerCorrupt(
            f"The ledger is gone, but there are run directories ({', '.join(runs[:3])}"
            f"{', ...' if len(runs) > 3 else ''}).",
            where=path,
            hint=_REBUILD,
        )


def _none_yet(path: Path) -> NotFound:
    return NotFound(
        "There is no ledger in this home yet.",
        where=path,
        hint="Name the home with --home, or start the daemon: `rekindle run`.",
    )


def _check(connection: sqlite3.Connection, path: Path, *, thorough: bool) -> int:
    """Give the schema's version, of a ledger that can be used."""
    version = int(connection.execute("PRAGMA user_version").fetchone()[0])
    if version > schema.VERSION:
        raise LedgerTooNew(
            f"The ledger is of version {version}; this rekindle knows up to {schema.VERSION}.",
            where=path,
            hint="Install the newer rekindle that wrote it.",
        )
    if thorough:
        result = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
        if result != "ok":
            raise LedgerCorrupt(f"The ledger is damaged: {result}.", where=path, hint=_REBUILD)
    return version


def explain(error: sqlite3.DatabaseError, path: Path) -> HomeUnusable:
    """Make SQLite's error one of ours, with what to do."""
    if isinstance(error, sqlite3.OperationalError):
        return HomeUnusable(
            f"The ledger cannot be opened: {error}.",
            where=path,
            hint="Check the rights, the space on the disk, and who else uses it.",
        )
    return LedgerCorrupt(f"The ledger is damaged: {error}.", where=path, hint=_REBUILD)


def _run_names(path: Path) -> list[str]:
    try:
        return sorted(
            run.name for run in Home(path.parent).runs.iterdir() if not run.name.startswith(".")
        )
    except FileNotFoundError:
        return []
