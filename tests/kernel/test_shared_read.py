"""One read for many callers: never older than the question, and one bad question fails nobody else's."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from tagwarden.kernel.errors import Invalid, Unavailable
from tagwarden.kernel.shared_read import SharedRead


class Source:
    """A value that moves, read slowly; `bad` is refused, and `gone` fails everybody."""

    def __init__(self) -> None:
        self.value = 0
        self.reads = 0
        self.gone = False

    async def read(self, keys: Sequence[str]) -> dict[str, int]:
        self.reads += 1
        value = self.value
        await asyncio.sleep(0.01)
        if self.gone:
            raise Unavailable()
        if "bad" in keys:
            raise Invalid()
        return {key: value for key in keys if key != "nobody"}


async def test_nobody_is_given_what_was_read_before_he_asked() -> None:
    source = Source()
    shared: SharedRead[str, int] = SharedRead(source.read)
    first = asyncio.create_task(shared("a"))
    await asyncio.sleep(0.005)
    source.value = 1
    assert await asyncio.gather(*(shared("a") for _ in range(50))) == [1] * 50
    assert await first == 0
    assert source.reads == 2


async def test_a_bad_question_fails_alone() -> None:
    source = Source()
    shared: SharedRead[str, int] = SharedRead(source.read)
    answers = await asyncio.gather(*(shared(key) for key in ("a", "bad", "nobody", "b", "bad")), return_exceptions=True)
    assert [type(one) if isinstance(one, Exception) else one for one in answers] == [0, Invalid, None, 0, Invalid]


async def test_who_gives_up_takes_nobody_along() -> None:
    source = Source()
    shared: SharedRead[str, int] = SharedRead(source.read)
    impatient, patient = asyncio.create_task(shared("a")), asyncio.create_task(shared("a"))
    await asyncio.sleep(0)
    impatient.cancel()
    assert await patient == 0


async def test_with_the_source_gone_everybody_is_told_and_it_goes_on_afterwards() -> None:
    source = Source()
    shared: SharedRead[str, int] = SharedRead(source.read)
    source.gone = True
    answers = await asyncio.gather(shared("a"), shared("b"), return_exceptions=True)
    assert [type(one) for one in answers] == [Unavailable, Unavailable]
    assert source.reads == 1
    source.gone = False
    with pytest.raises(Invalid):
        await shared("bad")
    assert await shared("a") == 0
