"""A newer rekindle reads and migrates the ledger of an older one."""

import sqlite3
from pathlib import Path

from rekindle.state.ledger import schema
from rekindle.state.ledger.ledger import Ledger


def old_ledger(path: Path, version: int) -> None:
    """Create the ledger of a rekindle with ``version`` migrations, with one attempt."""
    connection = sqlite3.connect(path, isolation_level=None)
    for number in range(version):
        connection.executescript(schema.MIGRATIONS[number])
    connection.execute(f"PRAGMA user_version = {version}")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute(
        "INSERT INTO jobs (id, name, number, state, run_dir, spec, submitted_at,"
        " updated_at) VALUES ('a-1', 'a', 1, 'queued', '/r', '{}', 1, 1)"
    )
    connection.execute("INSERT INTO attempts (job, n, started_at) VALUES ('a-1', 1, 2.0)")
    connection.close()


def test_every_older_ledger_can_be_read_as_it_is(tmp_path: Path) -> None:
    """`rekindle show` after an upgrade, before the restart of the daemon."""
    for version in range(1, schema.VERSION + 1):
        path = tmp_path / f"{version}.db"
        old_ledger(path, version)
        book = Ledger.open(path, readonly=True)
        assert [row.id for row in book.jobs()] == ["a-1"]
        assert [(row.n, row.started_at) for row in book.attempts("a-1")] == [(1, 2.0)]
        assert (book.epochs("a-1"), book.checkpoints("a-1"), book.events()) == ([], [], [])
        book.close()


def test_every_older_ledger_is_migrated_and_keeps_its_rows(tmp_path: Path) -> None:
    """Each migration, from each earlier version."""
    for version in range(schema.VERSION + 1):
        path = tmp_path / f"{version}.db"
        if version:
            old_ledger(path, version)
        for _ in range(2):
            book = Ledger.open(path)
            assert len(book.attempts("a-1")) == (1 if version else 0)
            assert book.check() == []
            book.close()
        connection = sqlite3.connect(path)
        assert connection.execute("PRAGMA user_version").fetchone()[0] == schema.VERSION
        connection.close()
