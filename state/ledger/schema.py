"""Define the ledger's tables, as ordered migrations counted by ``PRAGMA user_version``."""

import sqlite3
from typing import Final

INTERRUPTED: Final = "cause NOT IN ('done', 'stopped', 'window', 'paused', 'max_runtime')"
"""The condition for an attempt that was interrupted; of its job a later one may have resumed it."""

MIGRATIONS: Final[tuple[str, ...]] = (
    """
    CREATE TABLE jobs (
        id TEXT PRIMARY KEY,
        name TEXT NOT NULL,
        number INTEGER NOT NULL,
        state TEXT NOT NULL,
        reason TEXT NOT NULL DEFAULT '',
        hint TEXT NOT NULL DEFAULT '',
        wish TEXT,                    -- hold, release, cancel, ..., while an attempt is stopping
        priority INTEGER NOT NULL DEFAULT 0,
        claim TEXT UNIQUE,            -- the inbox file that it came from
        run_dir TEXT NOT NULL,
        spec TEXT NOT NULL,           -- JSON, without the values of env
        submitted_at REAL NOT NULL,   -- unix seconds, as all times
        updated_at REAL NOT NULL,
        next_at REAL,                 -- earliest next start while waiting
        failures INTEGER NOT NULL DEFAULT 0,
        attempts INTEGER NOT NULL DEFAULT 0,
        journal_offset INTEGER NOT NULL DEFAULT 0,
        UNIQUE (name, number)
    ) STRICT;
    CREATE INDEX jobs_by_state ON jobs (state);

    CREATE TABLE attempts (
        job TEXT NOT NULL REFERENCES jobs (id),
        n INTEGER NOT NULL,
        outcome TEXT,                 -- NULL while it runs
        cause TEXT,
        started_at REAL NOT NULL,
        ended_at REAL,
        exit_code INTEGER,
        signal INTEGER,
        keeper_pid INTEGER,
        keeper_start INTEGER,         -- clock ticks since boot
        trainer_pid INTEGER,
        trainer_start INTEGER,
        boot_id TEXT,
        from_epoch INTEGER,
        from_step INTEGER,
        to_epoch INTEGER,
        to_step INTEGER,
        lost_steps INTEGER,
        receipt TEXT,                 -- JSON
        failure TEXT,                 -- JSON
        PRIMARY KEY (job, n)
    ) STRICT, WITHOUT ROWID;

    CREATE TABLE epochs (
        job TEXT NOT NULL REFERENCES jobs (id),
        stage INTEGER NOT NULL,
        epoch INTEGER NOT NULL,
        step INTEGER NOT NULL,
        seconds REAL,
        logs TEXT NOT NULL,           -- JSON
        attempt INTEGER NOT NULL,
        at REAL NOT NULL,
        PRIMARY KEY (job, stage, epoch)
    ) STRICT, WITHOUT ROWID;

    CREATE TABLE checkpoints (
        job TEXT NOT NULL REFERENCES jobs (id),
        name TEXT NOT NULL,
        stage INTEGER NOT NULL,
        epoch INTEGER NOT NULL,
        step INTEGER NOT NULL,
        bytes INTEGER NOT NULL,
        good INTEGER NOT NULL,
        best INTEGER NOT NULL,
        reason TEXT NOT NULL DEFAULT '',
        path TEXT NOT NULL,
        at REAL NOT NULL,
        PRIMARY KEY (job, name)
    ) STRICT, WITHOUT ROWID;

    CREATE TABLE events (
        id INTEGER PRIMARY KEY,
        at REAL NOT NULL,
        job TEXT,
        attempt INTEGER,
        kind TEXT NOT NULL,
        data TEXT NOT NULL            -- JSON
    ) STRICT;
    CREATE INDEX events_by_job ON events (job, id);
    """,
    # what an attempt ran on, JSON
    "ALTER TABLE attempts ADD COLUMN provenance TEXT",
    """
    ALTER TABLE attempts ADD COLUMN gpus TEXT;     -- JSON list of UUIDs that it holds
    ALTER TABLE attempts ADD COLUMN seconds REAL;  -- by the keeper's own clock
    """,
    # what it reported of training that is not saved
    "ALTER TABLE attempts ADD COLUMN unfollowed TEXT",
    """
    ALTER TABLE events ADD COLUMN count INTEGER NOT NULL DEFAULT 1;  -- how often in a row
    ALTER TABLE events ADD COLUMN last_at REAL;                      -- of more than one: the last
    CREATE INDEX events_by_kind ON events (kind, id);
    CREATE INDEX events_by_time ON events (job, kind, at);
    -- what `ls` shows: jobs in the order of the queue, and those that changed last
    DROP INDEX jobs_by_state;
    CREATE INDEX jobs_in_line ON jobs (state, priority DESC, submitted_at);
    CREATE INDEX jobs_by_change ON jobs (state, updated_at);
    CREATE INDEX jobs_by_submission ON jobs (submitted_at);
    CREATE INDEX attempts_by_end ON attempts (ended_at);
    """,
    """
    ALTER TABLE jobs ADD COLUMN uid INTEGER;    -- owner of the submitted file, as the kernel says
    ALTER TABLE jobs ADD COLUMN user TEXT;      -- name of that user at the acceptance
    ALTER TABLE jobs ADD COLUMN asked_by TEXT;  -- who asked for `wish`
    """,
    # only interruptions: of ten thousand attempts in a night `ls` looks for a few
    f"""
    DROP INDEX attempts_by_end;
    CREATE INDEX attempts_interrupted ON attempts (ended_at) WHERE {INTERRUPTED};
    """,
    """
    ALTER TABLE jobs ADD COLUMN grid TEXT;   -- what all jobs of one parameter grid have in common
    ALTER TABLE jobs ADD COLUMN point TEXT;  -- JSON: the parameters of this job
    CREATE INDEX jobs_by_grid ON jobs (grid) WHERE grid IS NOT NULL;
    """,
    # JSON: seconds of the attempt by class, as the trainer counted them
    "ALTER TABLE attempts ADD COLUMN times TEXT",
    # why the warm spare that waited was not used; '' if it was, NULL if none waited
    "ALTER TABLE attempts ADD COLUMN spare TEXT",
)

VERSION: Final = len(MIGRATIONS)


def migrate(connection: sqlite3.Connection) -> None:
    """Migrate a ledger of an older version, or an empty file; each step is atomic."""
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    for number in range(version, VERSION):
        connection.executescript(
            f"BEGIN IMMEDIATE;\n{MIGRATIONS[number]};\nPRAGMA user_version = {number + 1};\nCOMMIT;"
        )
