"""The ledger: the state of every file, in one SQLite table that survives kills and power cuts."""

import contextlib
import os
import sqlite3
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from colorize_run.errors import OutputError

VERSION = 1
FILE_NAME = "ledger.db"
_PURGE_EVERY = 3600.0  # seconds; it looks at every row
_TABLE = """CREATE TABLE file(
    name BLOB PRIMARY KEY CHECK(length(name) > 0 AND instr(name, x'00') = 0), gen TEXT NOT NULL,
    state TEXT NOT NULL CHECK(state IN ('ready', 'claimed', 'done', 'quarantined')),
    strikes INT NOT NULL CHECK(strikes >= 0), interrupted INT NOT NULL CHECK(interrupted >= 0),
    first_seen REAL NOT NULL, sha TEXT, out BLOB CHECK(length(out) > 0 AND instr(out, x'00') = 0), out_sha TEXT,
    err_class TEXT, err TEXT, done_at REAL,
    model_sha TEXT, opts_sha TEXT, gone INT NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID"""  # quick_check reports a row that breaks a rule as damage
_INDEX = "CREATE INDEX IF NOT EXISTS present ON file(gone) WHERE gone=0"  # most rows may be of files that are gone
_COLUMNS = "name, gen, state, strikes, interrupted, first_seen, sha, out, out_sha, err_class, err, done_at, model_sha, opts_sha"


@dataclass(frozen=True)
class Row:
    """The record of one file; ``state`` is ready, claimed, done or quarantined. Times in Unix seconds."""

    name: bytes
    gen: str
    state: str
    strikes: int
    interrupted: int
    first_seen: float
    sha: str | None
    out: bytes | None
    out_sha: str | None
    err_class: str | None
    err: str | None
    done_at: float | None
    model_sha: str | None
    opts_sha: str | None


@dataclass(frozen=True)
class Work:
    """An output's relative name, and digests (SHA-256, hex) of input, output and model, and of the options."""

    out: bytes
    sha: str
    out_sha: str
    model_sha: str
    opts_sha: str


class Ledger:
    """The table in ``folder``/ledger.db. Every change is durable when its method returns.

    Errors: sqlite3.Error when the disk is full, read-only or broken; OutputError for a newer version's ledger.
    ``rebuilt``: the new name of a damaged ledger, if there was one.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / FILE_NAME
        self.rebuilt: Path | None = None
        try:
            self._database = self._open()
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.OperationalError):
                raise  # full, locked or not writable: nothing is damaged
            self._put_aside()
            self._database = self._open()
        self._identity = self._stat()
        self._purge_due = 0.0

    def _open(self) -> sqlite3.Connection:
        database = sqlite3.connect(self.path, isolation_level=None, timeout=5, check_same_thread=False)
        try:
            database.execute("PRAGMA journal_mode=WAL")
            database.execute("PRAGMA synchronous=FULL")
            database.execute("PRAGMA cache_size=-512")  # KiB; the default, four times as much, is not faster here
            if database.execute("PRAGMA quick_check").fetchone()[0] != "ok":
                raise sqlite3.DatabaseError("quick_check failed")
            version = database.execute("PRAGMA user_version").fetchone()[0]
            if version == 0:
                database.execute("BEGIN IMMEDIATE")
                database.execute(_TABLE)
                database.execute(f"PRAGMA user_version={VERSION}")
                database.execute("COMMIT")
            elif version != VERSION:
                raise OutputError(f"{self.path} was written by a newer version of this program: update it, or use --state.")
            database.execute(_INDEX)
            database.execute(f"SELECT {_COLUMNS}, gone FROM file LIMIT 1").fetchall()  # noqa: S608 - constant
        except BaseException:
            database.close()
            raise
        return database

    def _put_aside(self) -> None:
        """Rename a damaged ledger and its companion files, so that a person can examine them."""
        stamp = time.strftime("%Y%m%d-%H%M%S") + f"-{os.urandom(2).hex()}"
        self.rebuilt = self.path.with_name(f"ledger.db.damaged-{stamp}")
        os.replace(self.path, self.rebuilt)
        for tail in ("-wal", "-shm"):
            with contextlib.suppress(FileNotFoundError):
                os.replace(f"{self.path}{tail}", f"{self.rebuilt}{tail}")

    def _stat(self) -> tuple[int, int]:
        status = os.stat(self.path)
        return status.st_dev, status.st_ino

    def is_lost(self) -> bool:
        """Whether the file was removed or replaced since it was opened: writes would be lost."""
        try:
            return self._stat() != self._identity
        except OSError:
            return True

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def get(self, name: bytes) -> Row | None:
        """The row of one file."""
        values = self._database.execute(f"SELECT {_COLUMNS} FROM file WHERE name=?", (name,)).fetchone()  # noqa: S608 - constant
        return Row(*values) if values else None

    def rows(self, *states: str) -> Iterator[Row]:
        """All rows in one of these states, by name."""
        marks = ",".join("?" * len(states))
        query = f"SELECT {_COLUMNS} FROM file WHERE state IN ({marks}) ORDER BY name"  # noqa: S608 - question marks
        for values in self._database.execute(query, states):
            yield Row(*values)

    def settled(self) -> Iterator[tuple[bytes, str, str]]:
        """Name, generation and state of every input that is done or quarantined, and was there at the last scan."""
        yield from self._database.execute("SELECT name, gen, state FROM file WHERE gone=0 AND state IN ('done', 'quarantined')")

    def name_of(self, gen: str) -> bytes | None:
        """Name of a file whose generation begins with ``gen``, see `without_change_time`; None if there is none."""
        query = "SELECT name FROM file WHERE substr(gen, 1, ?)=? LIMIT 1"
        row = self._database.execute(query, (len(gen), gen)).fetchone()
        return row[0] if row else None

    def counts(self) -> dict[str, int]:
        """Number of rows by state."""
        return dict(self._database.execute("SELECT state, count(*) FROM file GROUP BY state").fetchall())

    def claim(self, claims: list[tuple[bytes, str, int, int, float]]) -> None:
        """Step 1: record claims: name, generation, strikes, interruptions, first seen. Clears records of earlier outputs."""
        self._all(
            "INSERT INTO file(name, gen, state, strikes, interrupted, first_seen) VALUES(?,?,'claimed',?,?,?)"
            " ON CONFLICT(name) DO UPDATE SET gen=excluded.gen, state='claimed', strikes=excluded.strikes,"
            " interrupted=excluded.interrupted, first_seen=excluded.first_seen, sha=NULL, out=NULL, out_sha=NULL,"
            " err_class=NULL, err=NULL, done_at=NULL, gone=0",
            claims,
        )

    def written(self, works: list[tuple[bytes, Work]]) -> None:
        """Step 4: record the outputs that are about to be renamed."""
        self._all(
            "UPDATE file SET sha=?, out=?, out_sha=?, model_sha=?, opts_sha=? WHERE name=?",
            [(work.sha, work.out, work.out_sha, work.model_sha, work.opts_sha, name) for name, work in works],
        )

    def done(self, names: list[bytes]) -> None:
        """Step 7: record that these outputs have their names, durably."""
        now = time.time()
        self._all("UPDATE file SET state='done', interrupted=0, done_at=? WHERE name=?", [(now, name) for name in names])

    def strike(self, name: bytes, strikes: int, interrupted: int, err_class: str, err: str) -> None:
        """Record a failed or interrupted attempt; the file is ready for another one."""
        self._database.execute(
            "UPDATE file SET state='ready', strikes=?, interrupted=?, err_class=?, err=? WHERE name=?",
            (strikes, interrupted, err_class, err, name),
        )

    def quarantine(self, row: Row) -> None:
        """Record that a file's generation is quarantined, and the reason."""
        self._database.execute(
            f"INSERT OR REPLACE INTO file({_COLUMNS}) VALUES({','.join('?' * 14)})",
            (row.name, row.gen, "quarantined", row.strikes, row.interrupted, row.first_seen, row.sha, None, None,
             row.err_class, row.err, time.time(), row.model_sha, row.opts_sha),
        )  # fmt: skip

    def forget(self, name: bytes) -> bool:
        """Delete the row of a file; returns whether there was one."""
        return self._database.execute("DELETE FROM file WHERE name=?", (name,)).rowcount > 0

    def gone(self, names: list[bytes]) -> None:
        """Record that inputs are no longer there; their rows are kept for a month, for `watch verify`."""
        self._all("UPDATE file SET gone=1 WHERE name=?", [(name,) for name in names])
        if time.monotonic() >= self._purge_due:
            self._purge_due = time.monotonic() + _PURGE_EVERY
            self._database.execute("DELETE FROM file WHERE gone=1 AND done_at < ?", (time.time() - 30 * 86_400,))

    def _all(self, statement: str, rows: list[Any]) -> None:
        """Execute a statement for each of these rows, in one commit."""
        if len(rows) <= 1:  # a single statement is a commit of its own
            self._database.executemany(statement, rows)
            return
        self._database.execute("BEGIN IMMEDIATE")
        try:
            self._database.executemany(statement, rows)
            self._database.execute("COMMIT")
        except BaseException:
            with contextlib.suppress(sqlite3.Error):
                self._database.execute("ROLLBACK")
            raise
