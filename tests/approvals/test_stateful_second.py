"""The other half of the random walks, in a file of its own so that two workers share them."""

from __future__ import annotations

import pytest

from tagwarden.kernel.embedded import EmbeddedUrls

from .walks import walk_a_half


@pytest.mark.timeout(900)
async def test_walks(database: EmbeddedUrls) -> None:
    await walk_a_half(database, 1)
