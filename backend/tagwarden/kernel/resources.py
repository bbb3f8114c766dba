"""Where `policies/` and `migrations/` lie: inside an installed wheel, or beside `backend/` in a checkout."""

from __future__ import annotations

from pathlib import Path

PACKAGE = Path(__file__).resolve().parent.parent


def folder(name: str) -> Path:
    """The shipped folder `policies` or `migrations`; raises FileNotFoundError when the installation is broken."""
    for candidate in (PACKAGE / "_bundled" / name, PACKAGE.parent.parent / name):
        if candidate.is_dir():
            return candidate
    raise FileNotFoundError(name)
