"""Signed heads and the places they leave to; a place that fails keeps no other from its head. A long chain streams."""

from __future__ import annotations

import asyncio
import json
import time
import tracemalloc
from collections.abc import Awaitable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from support.company import Companies, Company
from support.service import SECRET_KEY, settings_of
from tagwarden.app.witness import Witness, heads_file
from tagwarden.audit import service as audit
from tagwarden.audit.heads import HeadSigner
from tagwarden.audit.service import PAGE
from tagwarden.kernel.logging import _MASKED

from .chains import SIGNER, lengthen, witnesses_of
from .conftest import LONG
from .hooks import HOOK_SECRET, a_hook, said_by


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/gone", "http://127.0.0.1:1/\u0000", "https://127.0.0.1:1/gone"])
async def test_a_hook_that_is_not_there_keeps_the_file(company: Company, tmp_path: Path, url: str) -> None:
    file = tmp_path / "heads.jsonl"
    await Witness(SIGNER, file, url).witness()
    assert len(witnesses_of(company.corp_id, file.read_text(encoding="utf-8").splitlines()).heads) == 1


async def test_a_folder_in_place_of_the_file_keeps_the_hook(company: Company, tmp_path: Path) -> None:
    async with a_hook() as hook:
        await Witness(SIGNER, tmp_path, hook.url).witness()
    assert len(said_by(hook.heads, company.corp_id)) == 1


async def test_a_hook_sends_them_nowhere_else(company: Company, tmp_path: Path) -> None:
    async with a_hook(status=307, location="/elsewhere") as hook:
        await Witness(SIGNER, None, hook.url).witness()
    assert (hook.calls, hook.heads) == (1, [])


async def test_a_line_that_a_full_disk_cut_spoils_no_other(company: Company, tmp_path: Path) -> None:
    file = tmp_path / "heads.jsonl"
    file.write_text('{"corp_id":"cut short', encoding="utf-8")
    await Witness(SIGNER, file, None).witness()
    half, *lines = file.read_text(encoding="utf-8").splitlines()
    assert half == '{"corp_id":"cut short'
    assert {json.loads(line)["corp_id"] for line in lines} >= {company.corp_id}
    assert witnesses_of(company.corp_id, lines).forged == 0


def test_no_head_looks_like_what_the_log_blacks_out() -> None:
    at = datetime(2026, 1, 1, tzinfo=UTC)
    spelled = [json.dumps(line) for line in _heads(at, 10_000)]
    assert [line for line in spelled if _MASKED.search(line) or "eyJ" in line] == []


def _heads(at: datetime, how_many: int) -> list[dict[str, Any]]:
    signed = (SIGNER.sign("ww1234567890abcdef", seq, bytes(32), at + timedelta(seconds=seq)) for seq in range(1, how_many + 1))
    return [
        {"corp_id": one.corp_id, "seq": one.seq, "hash": one.hash, "at": one.at, "signature": one.signature} for one in signed
    ]


def test_the_key_pair_is_the_installations() -> None:
    assert HeadSigner(SECRET_KEY).public_key == SIGNER.public_key
    assert HeadSigner(SECRET_KEY + "!").public_key != SIGNER.public_key
    assert SECRET_KEY not in repr(HeadSigner(SECRET_KEY)) + str(vars(HeadSigner(SECRET_KEY)))


# -- an embedded installation -------------------------------------------------------------------------------------------


def test_the_default_file_is_an_embedded_installations(tmp_path: Path) -> None:
    settings = settings_of("", data_dir=tmp_path)
    assert heads_file(settings) is None
    (tmp_path / "keys.json").write_text("{}", encoding="utf-8")
    assert heads_file(settings) == tmp_path / "audit-heads.jsonl"
    assert heads_file(settings.model_copy(update={"audit_heads_file": tmp_path / "mine"})) == tmp_path / "mine"
    assert Witness.of(settings_of("").model_copy(update={"secret_key": None})) is None
    assert HOOK_SECRET not in repr(settings_of("", audit_heads_url=SecretStr(f"https://127.0.0.1/{HOOK_SECRET}")))


# -- a long chain -------------------------------------------------------------------------------------------------------


async def peak(work: Awaitable[Any]) -> int:
    """The most that a piece of work held at once, in bytes."""
    tracemalloc.start()
    try:
        await work
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


async def test_verification_streams(long_company: Company, companies: Companies) -> None:
    short = await companies.make(customers=())
    await lengthen(short.corp_id, 3 * PAGE)
    few = await peak(audit.verify(short.corp_id))
    many = await peak(audit.verify(long_company.corp_id))
    assert many < 2 * few, f"{few} bytes for {3 * PAGE} lines, {many} for {LONG}"


async def test_a_long_chain_holds(long_company: Company) -> None:
    began = time.perf_counter()
    found = await audit.verify(long_company.corp_id)
    took = time.perf_counter() - began
    assert (found.sound, found.lines) == (True, LONG)
    print(f"audit verify: {LONG / took:,.0f} lines/s")


async def test_a_chain_is_read_while_it_is_written(long_company: Company) -> None:
    async def write() -> None:
        for number in range(20):
            await long_company.change("ann", "c1", [f"activity/{('warm', 'hot')[number % 2]}"])

    verified, _ = await asyncio.gather(audit.verify(long_company.corp_id), write())
    assert verified.sound
    assert verified.lines >= LONG
