"""The simulator's memory: one SQLite file (or none), its tables, its clock and its switches.

The state must survive kill -9, so every answer is given after its commit. One event loop, one connection: no statement
waits for another, which is why plain blocking calls are right here. No rule of WeCom's stands in this file.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import msgspec

from tagwarden.simulator.model import Switches

_SCHEMA = """
CREATE TABLE IF NOT EXISTS settings (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS corps (corp_id TEXT PRIMARY KEY, name TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS apps (
    corp_id TEXT, name TEXT, secret TEXT NOT NULL, agent_id INTEGER NOT NULL, kind TEXT NOT NULL,
    customer_contact INTEGER NOT NULL, callback_url TEXT, callback_token TEXT, callback_aes_key TEXT,
    PRIMARY KEY (corp_id, name));
CREATE TABLE IF NOT EXISTS departments (
    corp_id TEXT, id INTEGER, parentid INTEGER NOT NULL, doc TEXT NOT NULL, PRIMARY KEY (corp_id, id));
CREATE TABLE IF NOT EXISTS employees (
    corp_id TEXT, userid TEXT COLLATE NOCASE, doc TEXT NOT NULL, PRIMARY KEY (corp_id, userid));
CREATE TABLE IF NOT EXISTS members (
    corp_id TEXT, department INTEGER, userid TEXT COLLATE NOCASE, PRIMARY KEY (corp_id, department, userid));
CREATE TABLE IF NOT EXISTS tag_groups (
    id TEXT PRIMARY KEY, corp_id TEXT NOT NULL, name TEXT NOT NULL, sort INTEGER NOT NULL,
    created INTEGER NOT NULL, maker TEXT, deleted INTEGER NOT NULL DEFAULT 0);
CREATE INDEX IF NOT EXISTS tag_groups_by_corp ON tag_groups (corp_id);
CREATE TABLE IF NOT EXISTS tags (
    id TEXT PRIMARY KEY, corp_id TEXT NOT NULL, group_id TEXT NOT NULL, name TEXT NOT NULL, sort INTEGER NOT NULL,
    created INTEGER NOT NULL, maker TEXT, deleted INTEGER NOT NULL DEFAULT 0);
CREATE INDEX IF NOT EXISTS tags_by_corp ON tags (corp_id);
CREATE INDEX IF NOT EXISTS tags_by_group ON tags (group_id);
CREATE TABLE IF NOT EXISTS customers (
    corp_id TEXT, external_userid TEXT, name TEXT NOT NULL, PRIMARY KEY (corp_id, external_userid));
CREATE TABLE IF NOT EXISTS follows (
    id INTEGER PRIMARY KEY AUTOINCREMENT, corp_id TEXT NOT NULL, userid TEXT NOT NULL COLLATE NOCASE,
    external_userid TEXT NOT NULL, createtime INTEGER NOT NULL, doc TEXT NOT NULL,
    UNIQUE (corp_id, userid, external_userid));
CREATE INDEX IF NOT EXISTS follows_by_employee ON follows (corp_id, userid, id);
CREATE INDEX IF NOT EXISTS follows_by_customer ON follows (corp_id, external_userid);
CREATE TABLE IF NOT EXISTS marks (
    follow_id INTEGER NOT NULL, tag_id TEXT NOT NULL, PRIMARY KEY (follow_id, tag_id)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS marks_by_tag ON marks (tag_id);
CREATE TABLE IF NOT EXISTS tokens (
    token TEXT PRIMARY KEY, corp_id TEXT NOT NULL, app TEXT NOT NULL, expires REAL NOT NULL,
    ended INTEGER NOT NULL DEFAULT 0);
CREATE TABLE IF NOT EXISTS wrong_secrets (ip TEXT NOT NULL, at REAL NOT NULL);
CREATE TABLE IF NOT EXISTS bans (ip TEXT PRIMARY KEY, until REAL NOT NULL);
CREATE TABLE IF NOT EXISTS calls (
    id INTEGER PRIMARY KEY, corp_id TEXT NOT NULL, at INTEGER NOT NULL, answered INTEGER, api TEXT NOT NULL,
    app TEXT, code INTEGER, fault TEXT, body TEXT);
CREATE INDEX IF NOT EXISTS calls_by_corp ON calls (corp_id, at);
CREATE TABLE IF NOT EXISTS faults (
    id INTEGER PRIMARY KEY AUTOINCREMENT, corp_id TEXT NOT NULL, api TEXT NOT NULL, times INTEGER NOT NULL,
    doc TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS cards (
    msgid TEXT PRIMARY KEY, corp_id TEXT NOT NULL, app TEXT NOT NULL, task_id TEXT, sent REAL NOT NULL,
    body TEXT NOT NULL, updates TEXT NOT NULL DEFAULT '[]', receivers TEXT NOT NULL DEFAULT '[]');
CREATE TABLE IF NOT EXISTS response_codes (
    code TEXT PRIMARY KEY, msgid TEXT NOT NULL, expires REAL NOT NULL, used INTEGER NOT NULL DEFAULT 0);
CREATE TABLE IF NOT EXISTS deliveries (
    id INTEGER PRIMARY KEY AUTOINCREMENT, corp_id TEXT NOT NULL, app TEXT NOT NULL, event TEXT NOT NULL,
    state TEXT NOT NULL DEFAULT 'pending', attempts INTEGER NOT NULL DEFAULT 0, outcome TEXT);
"""

_ADDED = (("cards", "receivers", "TEXT NOT NULL DEFAULT '[]'"),)

_FORGET_CORP = (
    "DELETE FROM marks WHERE follow_id IN (SELECT id FROM follows WHERE corp_id = ?)",
    "DELETE FROM response_codes WHERE msgid IN (SELECT msgid FROM cards WHERE corp_id = ?)",
    "DELETE FROM tag_groups WHERE corp_id = ?",
    "DELETE FROM tags WHERE corp_id = ?",
    "DELETE FROM customers WHERE corp_id = ?",
    "DELETE FROM follows WHERE corp_id = ?",
    "DELETE FROM tokens WHERE corp_id = ?",
    "DELETE FROM calls WHERE corp_id = ?",
    "DELETE FROM faults WHERE corp_id = ?",
    "DELETE FROM cards WHERE corp_id = ?",
    "DELETE FROM deliveries WHERE corp_id = ?",
    "DELETE FROM members WHERE corp_id = ?",
    "DELETE FROM employees WHERE corp_id = ?",
    "DELETE FROM departments WHERE corp_id = ?",
    "DELETE FROM apps WHERE corp_id = ?",
    "DELETE FROM corps WHERE corp_id = ?",
)


class Store:
    """The open state. All times are seconds since 1970 on the simulator's own clock, unless said otherwise."""

    def __init__(self, path: Path | None) -> None:
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
        self._db = sqlite3.connect(path or ":memory:", isolation_level=None, check_same_thread=False)
        self._db.row_factory = sqlite3.Row
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=NORMAL")  # enough for kill -9; only a power cut could lose commits
        self._db.executescript(_SCHEMA)
        self._add_columns()
        self.switches = msgspec.convert(self._setting("switches", {}), Switches)
        self._shift = float(self._setting("clock_shift", 0.0))

    def _add_columns(self) -> None:
        """What a state file of an earlier version lacks."""
        for table, column, kind in _ADDED:
            there = {row["name"] for row in self.rows(f"PRAGMA table_info({table})")}
            if column not in there:
                self.run(f"ALTER TABLE {table} ADD COLUMN {column} {kind}")

    def close(self) -> None:
        self._db.close()

    # -- statements --

    def run(self, sql: str, *values: object) -> int:
        """Execute one statement; the id of the row it inserted, if it inserted one."""
        return self._db.execute(sql, values).lastrowid or 0

    def run_many(self, sql: str, rows: Iterable[tuple[Any, ...]]) -> None:
        self._db.executemany(sql, rows)

    def rows(self, sql: str, *values: object) -> list[sqlite3.Row]:
        return self._db.execute(sql, values).fetchall()

    def row(self, sql: str, *values: object) -> sqlite3.Row | None:
        found: sqlite3.Row | None = self._db.execute(sql, values).fetchone()
        return found

    def count(self, sql: str, *values: object) -> int:
        return int(self._db.execute(sql, values).fetchone()[0])

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All statements inside or none; a nested one joins. Never await inside: every call shares the connection."""
        if self._db.in_transaction:
            yield
            return
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    # -- clock and switches --

    def now(self) -> float:
        """The simulator's clock: this machine's, shifted by the control API."""
        return time.time() + self._shift

    def shift_clock(self, seconds: float) -> float:
        """Move the clock and return the whole shift. Token life, bans and limits follow; the call log does not."""
        self._shift += seconds
        self._save_setting("clock_shift", self._shift)
        return self._shift

    def set_switches(self, switches: Switches) -> None:
        self.switches = switches
        self._save_setting("switches", asdict(switches))

    def forget_corp(self, corp_id: str) -> None:
        """Delete everything a corp has; call inside a transaction."""
        for statement in _FORGET_CORP:
            self.run(statement, corp_id)

    def _setting(self, name: str, default: Any) -> Any:
        found = self.row("SELECT value FROM settings WHERE name = ?", name)
        return json.loads(found["value"]) if found else default

    def _save_setting(self, name: str, value: object) -> None:
        self.run("INSERT OR REPLACE INTO settings VALUES (?, ?)", name, json.dumps(value))
