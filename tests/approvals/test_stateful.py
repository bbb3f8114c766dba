"""Whatever is done in whatever order, nothing is applied that two people did not sign: random walks against a model.

Half of the walks of CI, and the long run; the other half stands in `test_stateful_second.py`, for the other core.
"""

from __future__ import annotations

import pytest

from support import soak
from tagwarden.kernel.embedded import EmbeddedUrls

from .walks import LENGTH, walk_a_half, walk_many


@pytest.mark.timeout(900)
async def test_walks(database: EmbeddedUrls) -> None:
    await walk_a_half(database, 0)


@pytest.mark.soak
@pytest.mark.timeout(0)
async def test_walks_for_long(database: EmbeddedUrls) -> None:
    """A round is a step."""
    tally = await walk_many(database, range(soak.rounds(1_000_000) // LENGTH + 1), soak.seed())
    tally.require_everything()
