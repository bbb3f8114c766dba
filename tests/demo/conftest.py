"""Folders for demos: short enough for a socket, passable for the user PostgreSQL runs as."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that any user may pass into."""
    made = Path(tempfile.mkdtemp(prefix="tw-demo-"))
    made.chmod(0o711)
    yield made
    shutil.rmtree(made)
