"""One simulator for the tests of this folder, and a live company in it for each test."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from support.company import Companies
from support.mailbox import Mailbox, a_mailbox
from support.service import Service, service_on, simulating
from support.town import Town, a_town
from tagwarden.kernel.embedded import EmbeddedUrls


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


@pytest.fixture
async def mail(town: Town) -> AsyncIterator[Mailbox]:
    """Where the town's callbacks arrive."""
    async with a_mailbox(town) as mailbox:
        yield mailbox


@pytest.fixture(scope="module")
async def service(database: EmbeddedUrls) -> AsyncIterator[Service]:
    """A service over HTTP, with whoever calls it in any company."""
    async with service_on(database.application) as running:
        yield running
