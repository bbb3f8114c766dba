"""One simulator for the tests of this folder, and a live company in it for each test."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from support.company import Companies
from support.service import simulating
from support.town import Town, a_town


@pytest.fixture(scope="session")
def simulator_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The simulator as a process of its own."""
    with simulating(tmp_path_factory.mktemp("simulator") / "state.sqlite") as process:
        yield process.url


@pytest.fixture
async def town(companies: Companies, simulator_url: str) -> AsyncIterator[Town]:
    """ann (wmC1, wmC2), bob (wmC3), cat (wmC4) and dan (wmC5); some marks were there at the import."""
    async with a_town(companies, simulator_url) as made:
        yield made
