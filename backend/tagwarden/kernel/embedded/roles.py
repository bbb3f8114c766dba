"""The two roles and the database, made as the superuser at every start.

Every statement can be repeated, so a crash between any two of them heals at the next start. Passwords never reach the
server: it gets SCRAM verifiers only, so they can stand neither in its log nor in its statistics. Tables and grants on
them are the migrations' business.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import os
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import asyncpg  # type: ignore[import-untyped,unused-ignore]

from tagwarden.kernel.embedded.folder import (
    APPLICATION_ROLE,
    DATABASE,
    OWNER_ROLE,
    PORT,
    SUPERUSER_ROLE,
    Passwords,
    url_for,
)

EXTENSIONS = ("pg_trgm", "btree_gin")

_ITERATIONS = 4096  # PostgreSQL's own default (scram_iterations)
_CONNECT_SECONDS = 30.0
_RIGHTS = "LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS"
_PRIVILEGES = f"""
    REVOKE ALL ON DATABASE {DATABASE} FROM PUBLIC;
    REVOKE CONNECT ON DATABASE postgres, template1 FROM PUBLIC;
    GRANT CONNECT ON DATABASE {DATABASE} TO {APPLICATION_ROLE};
    REVOKE CREATE ON SCHEMA public FROM PUBLIC;
    GRANT ALL ON SCHEMA public TO {OWNER_ROLE};
    GRANT USAGE ON SCHEMA public TO {APPLICATION_ROLE};
"""


def ensure_roles_and_database(passwords: Passwords, socket_folder: Path) -> None:
    """Blocking; may be called where an event loop runs already, hence the thread.

    Raises `asyncpg.PostgresError` or `OSError`.
    """
    with ThreadPoolExecutor(max_workers=1) as thread:
        thread.submit(lambda: asyncio.run(_ensure(passwords, socket_folder))).result()


def scram_verifier(password: str, salt: bytes, iterations: int = _ITERATIONS) -> str:
    """What PostgreSQL stores instead of a password (RFC 5802 section 3, RFC 5803)."""
    salted = hashlib.pbkdf2_hmac("sha256", password.encode("ascii"), salt, iterations)
    stored = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    server = hmac.digest(salted, b"Server Key", "sha256")
    return f"SCRAM-SHA-256${iterations}:{_base64(salt)}${_base64(stored)}:{_base64(server)}"


async def _ensure(passwords: Passwords, socket_folder: Path) -> None:
    maintenance = await _connect(passwords, socket_folder, "postgres")
    try:
        await _ensure_role(maintenance, OWNER_ROLE, passwords.owner)
        await _ensure_role(maintenance, APPLICATION_ROLE, passwords.application)
        if not await maintenance.fetchval("SELECT true FROM pg_database WHERE datname = $1", DATABASE):
            await maintenance.execute(f"CREATE DATABASE {DATABASE} OWNER {OWNER_ROLE}")
    finally:
        await maintenance.close()
    database = await _connect(passwords, socket_folder, DATABASE)
    try:
        await database.execute(_PRIVILEGES)
        await _ensure_extensions(database)
    finally:
        await database.close()


async def _connect(passwords: Passwords, socket_folder: Path, database: str) -> asyncpg.Connection:
    dsn = url_for(SUPERUSER_ROLE, passwords.superuser, socket_folder, PORT, database)
    return await asyncpg.connect(dsn, timeout=_CONNECT_SECONDS)


async def _ensure_role(connection: asyncpg.Connection, role: str, password: str) -> None:
    stored = await connection.fetchrow("SELECT rolpassword FROM pg_authid WHERE rolname = $1", role)
    if stored is not None and _verifies(stored["rolpassword"], password):
        return
    verb = "CREATE" if stored is None else "ALTER"
    verifier = scram_verifier(password, os.urandom(16))
    await connection.execute(f"{verb} ROLE {role} {_RIGHTS} PASSWORD '{verifier}'")


async def _ensure_extensions(connection: asyncpg.Connection) -> None:
    absent = await connection.fetch(
        "SELECT name FROM pg_available_extensions WHERE name = ANY($1::text[]) AND installed_version IS NULL",
        list(EXTENSIONS),
    )
    for row in absent:
        await connection.execute(f"CREATE EXTENSION IF NOT EXISTS {row['name']}")


def _verifies(verifier: str | None, password: str) -> bool:
    parts = re.match(r"SCRAM-SHA-256\$(\d+):([^$]+)\$", verifier or "")
    if verifier is None or parts is None:
        return False
    return hmac.compare_digest(verifier, scram_verifier(password, base64.b64decode(parts[2]), int(parts[1])))


def _base64(value: bytes) -> str:
    return base64.b64encode(value).decode("ascii")
