"""What an operator does by hand: a PostgreSQL of one's own, and the public command line to its end."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from support.service import environment
from tagwarden.kernel.embedded import EmbeddedPostgres, EmbeddedUrls


@contextlib.contextmanager
def own_postgres() -> Iterator[EmbeddedUrls]:
    """An empty database on a server that nobody else uses; a short path holds its socket."""
    with tempfile.TemporaryDirectory(prefix="tw-own-", dir="/tmp") as made:
        server = EmbeddedPostgres(Path(made))
        try:
            yield server.start()
        finally:
            server.stop()


def as_operator(urls: EmbeddedUrls, **more: str) -> dict[str, str]:
    """The environment of an operator, who knows the owner's role."""
    return environment(urls.application, MIGRATION_DATABASE_URL=urls.owner, **more)


async def tried(env: Mapping[str, str], *words: str, stdin: str = "") -> tuple[int, str]:
    """One command to its end; its exit code and all it said."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tagwarden", *words),
        env=dict(env),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    said, _ = await process.communicate(stdin.encode())
    return process.returncode or 0, said.decode()


async def command(env: Mapping[str, str], *words: str, stdin: str = "") -> str:
    """One command that must succeed; what it said."""
    code, said = await tried(env, *words, stdin=stdin)
    assert code == 0, said
    return said
