"""A private PostgreSQL for a machine that has nothing but Python.

Why it exists: the demo and a small installation run the same SQL as production, so they need a real server that starts
with us, stops with us and keeps its rows in one folder. It must not know what the database holds: tables and their
privileges belong to the migrations.

Whoever can read the data folder owns everything in it; the passwords protect against other users of the machine only.
"""

from __future__ import annotations

from tagwarden.kernel.embedded.errors import EmbeddedUnavailable
from tagwarden.kernel.embedded.folder import EmbeddedUrls
from tagwarden.kernel.embedded.launcher import EmbeddedPostgres, running_urls

__all__ = ["EmbeddedPostgres", "EmbeddedUnavailable", "EmbeddedUrls", "running_urls"]
