"""The library's own guards, met by single statements typed as the application's role: ends, trees and counts."""

from __future__ import annotations

import asyncpg
import pytest

from .conftest import Fortress

DENIED = "42501"
UNCOVERED = "TW050"
ATTEMPTS = {
    "end a value tag": ("update tag set ends_on = '2020-01-01' where id = '{value_high}'", UNCOVERED),
    "a tag below itself": ("update tag set parent_id = id where id = '{advice_keen}'", "TW072"),
    "a tag below another group's": ("update tag set parent_id = '{activity_hot}' where id = '{advice_keen}'", "TW072"),
    "two tags below each other": (
        "update tag set parent_id = case id when '{advice_keen}' then '{advice_cheap}'::uuid else '{advice_keen}'::uuid end"
        " where id in ('{advice_keen}', '{advice_cheap}')",
        "TW072",
    ),
    "a fourth level": (
        "with recursive made as (select 1 as n, gen_random_uuid() as id, '{advice_keen}'::uuid as up"
        " union all select n + 1, gen_random_uuid(), id from made where n < 3)"
        " insert into tag (corp_id, id, group_id, name, parent_id)"
        " select '{corp}', id, '{group_advice}', 'level' || n, up from made order by n",
        "TW072",
    ),
    "count for oneself": ("update tag_count set carried = 0 where corp_id = '{corp}'", DENIED),
    "forget a count": ("delete from tag_count_delta where corp_id = '{corp}'", DENIED),
    "count more": (
        "insert into tag_count_delta (corp_id, tag_id, userid, carried, unbacked) values ('{corp}', '{value_high}', 'ann', 9, 0)",
        DENIED,
    ),
}


@pytest.mark.parametrize(("text", "state"), ATTEMPTS.values(), ids=ATTEMPTS.keys())
async def test_the_database_refuses(attacker: asyncpg.Connection, fortress: Fortress, text: str, state: str) -> None:
    with pytest.raises(asyncpg.PostgresError) as refused:
        await attacker.execute(text.format_map(fortress.ids))
    assert refused.value.sqlstate == state


async def test_three_levels_are_a_tree_and_its_top_does_not_sink(attacker: asyncpg.Connection, fortress: Fortress) -> None:
    ids = fortress.ids
    put = "update tag set parent_id = $2 where id = $1"
    await attacker.execute(put, ids["advice_keen"], ids["advice_cheap"])
    await attacker.execute(put, ids["advice_cheap"], ids["advice_asked"])
    for tag, parent in (("asked", "keen"), ("asked", "cheap"), ("cheap", "keen")):
        attempt = attacker.transaction()
        await attempt.start()
        with pytest.raises(asyncpg.PostgresError) as refused:
            await attacker.execute(put, ids[f"advice_{tag}"], ids[f"advice_{parent}"])
        assert refused.value.sqlstate == "TW072"
        await attempt.rollback()
    await attacker.execute(put, ids["advice_cheap"], None)
