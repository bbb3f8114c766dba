from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict

import pytest

from tagwarden.simulator.model import Switches

from .driver import Corp, Receiver, Simulator, serve


@pytest.fixture(scope="module")
def server() -> Iterator[Simulator]:
    with serve() as simulator:
        yield simulator


@pytest.fixture
def simulator(server: Simulator) -> Iterator[Simulator]:
    """The module's simulator, with switches and bans as they are at the start."""
    yield server
    server.switch(**asdict(Switches()))
    server.control("DELETE", "bans")


@pytest.fixture
def corp(simulator: Simulator) -> Corp:
    return simulator.load()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver().listen() as listening:
        yield listening
