"""A reader that waits for its own reader holds up nobody.

Kind of source: WAL files of SQLite that grow to gigabytes under one forgotten query (a pager, a
dashboard), since no checkpoint can pass its snapshot.
"""

from pathlib import Path

import pytest

from rekindle.state.ledger import listing
from rekindle.state.ledger.ledger import Ledger
from rekindle.state.ledger.listing import Listing
from rekindle.state.paths import Home
from rekindle.state.run import entries


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path)
    home.create()
    ledger = Ledger.open(home.ledger)
    for number in range(1, 8):
        ledger.insert_job(
            f"a-{number}",
            name="a",
            number=number,
            run_dir="",
            priority=0,
            spec="{}",
            claim=None,
            submitted_at=float(number // 2),
        )
    for n in range(1, 8):
        ledger.begin_attempt("a-1", n, 1.0)
    found = [
        {**entries.epoch_ended(stage=n // 4, epoch=n, step=n, logs={}), "attempt": 1, "t": 1.0}
        for n in range(7)
    ]
    ledger.ingest("a-1", found, 1)
    ledger.close()
    return home


@pytest.mark.parametrize("page", [1, 2, 3, 1000])
def test_pages_hold_each_row_once(home: Home, page: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing, "PAGE", page)
    book = Listing.open(home.ledger, readonly=True)
    assert [job.number for job in book.each_job()] == [*range(1, 8)]
    assert [row.n for row in book.each_attempt("a-1")] == [*range(1, 8)]
    assert [row.epoch for row in book.each_epoch("a-1")] == [*range(7)]
    assert [row[1] for row in book.each_epoch_text("a-1")] == [*range(7)]
    book.close()


@pytest.mark.parametrize("what", ["each_epoch", "each_epoch_text", "each_attempt", "each_job"])
def test_a_list_that_is_read_slowly_does_not_keep_the_log_from_being_emptied(
    home: Home, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listing, "PAGE", 2)
    book = Listing.open(home.ledger, readonly=True)
    rows = getattr(book, what)(*([] if what == "each_job" else ["a-1"]))
    next(rows)
    ledger = Ledger.open(home.ledger)
    ledger.add_event("written_meanwhile")
    busy, *_ = ledger._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    assert not busy
    assert home.ledger.with_name("ledger.db-wal").stat().st_size == 0
    assert len(list(rows)) == 6
    book.close()
    ledger.close()
