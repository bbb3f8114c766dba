"""One running service for the tests of this folder."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from support.company import Companies
from support.service import Service, service_on
from tagwarden.kernel.embedded import EmbeddedUrls

from .people import Library, a_library


@pytest.fixture(scope="session")
async def service(database: EmbeddedUrls) -> AsyncIterator[Service]:
    """`tagwarden serve` on the tests' database."""
    async with service_on(database.application) as running:
        yield running


@pytest.fixture
async def library(companies: Companies, service: Service) -> Library:
    """A live company and its people."""
    return await a_library(companies, service)
