"""One running service for the tests of this folder that speak HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from support.service import Service, service_on
from tagwarden.kernel.embedded import EmbeddedUrls


@pytest.fixture(scope="session")
async def service(database: EmbeddedUrls) -> AsyncIterator[Service]:
    """`tagwarden serve` on the tests' database."""
    async with service_on(database.application) as running:
        yield running
