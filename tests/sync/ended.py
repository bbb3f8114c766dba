"""What must be so when a game has ended: see simulated.py."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from support.town import Town
from tagwarden.kernel import db
from tagwarden.sync import outbox

CALLS, WINDOW, TIMEOUT = 60, 60.0, 10.0


async def tags_there(town: Town) -> dict[str, str]:
    """WeCom's ids of the tags it has, as "group/tag"."""
    groups = (await town.control.corp("GET", "/tags"))["tag_group"]
    return {f"{group['group_name']}/{tag['name']}": tag["id"] for group in groups for tag in group["tag"]}


@dataclass(frozen=True)
class Ending:
    """A company after its game: errors nobody should see, and when (ns) the database's clock jumped."""

    town: Town
    crashes: list[BaseException]
    jumps: list[int]

    async def check(self) -> None:
        """WeCom is what was decided, nothing was decided inside WeCom about value tags, and the budget was kept."""
        if self.crashes:
            raise self.crashes[0]
        corp_id = self.town.corp_id
        assert not (different := await self.different()), different
        assert [row["given_up"] for row in await outbox.library_waiting(corp_id)] == []
        await self._check_values()
        await self._check_names()
        left = await db.fetch("select kind, state, reason from drift_case where corp_id = $1 and done_at is null", corp_id)
        assert left == []
        given_up = await db.fetch("select kind, key, given_up from wecom_refresh where corp_id = $1", corp_id)
        assert given_up == []
        await self._check_calls()

    async def different(self) -> dict[tuple[str, str], tuple[set[str], set[str]]]:
        """Follows whose tags in WeCom are not those decided here: (ours, WeCom's). What WeCom deleted cannot be sent."""
        library = await tags_there(self.town)
        rows = await db.fetch(
            "select f.userid, f.external_userid, t.wecom_id from assignment a"
            " join tag t on t.corp_id = a.corp_id and t.id = a.tag_id"
            " join follow f on f.corp_id = a.corp_id and f.id = a.follow_id and f.ended_at is null"
            " where a.corp_id = $1 and a.ended_at is null and t.deleted_at is null and t.wecom_missing_at is null",
            self.town.corp_id,
        )
        ours: dict[tuple[str, str], set[str]] = {}
        for row in rows:
            ours.setdefault((row["userid"], row["external_userid"]), set()).add(row["wecom_id"])
        follows = (await self.town.control.corp("GET", "/follows"))["follows"]
        theirs = {(one["userid"], one["external_userid"]): {library[path] for path in one["tags"]} for one in follows}
        here = {pair: (ours.get(pair, set()), theirs[pair]) for pair in theirs}
        return {pair: both for pair, both in here.items() if both[0] != both[1]}

    async def _check_values(self) -> None:
        values = await db.fetch(
            "select a.source, a.actor from assignment a join tag t on t.corp_id = a.corp_id and t.id = a.tag_id"
            " join tag_group g on g.corp_id = t.corp_id and g.id = t.group_id join follow f on f.corp_id = a.corp_id"
            " and f.id = a.follow_id where a.corp_id = $1 and g.kind = 'value'"
            " and (a.source <> 'import' or a.ended_at is not null and f.ended_at is null)",
            self.town.corp_id,
        )
        assert values == [], "a value tag was changed by something done inside WeCom"

    async def _check_names(self) -> None:
        theirs = {wecom_id: path.partition("/")[2] for path, wecom_id in (await tags_there(self.town)).items()}
        rows = await db.fetch("select wecom_id, name, wecom_missing_at from tag where corp_id = $1", self.town.corp_id)
        ours = {row["wecom_id"]: row["name"] for row in rows if row["wecom_missing_at"] is None}
        assert theirs == ours, "the same tags, by the same names"

    async def _check_calls(self) -> None:
        seen = await self.town.control.corp("GET", f"/window?seconds={WINDOW}")
        assert seen["worst"] <= CALLS, f"{seen['worst']} calls arrived within {WINDOW:.0f} s"
        by_follow: dict[tuple[str, str], list[dict[str, Any]]] = {}
        for call in await self.town.control.calls("mark_tag"):
            by_follow.setdefault((call["body"]["userid"], call["body"]["external_userid"]), []).append(call)
        for pair, calls in by_follow.items():
            for earlier, later in pairwise(calls):
                if any(earlier["at"] <= jump <= later["at"] for jump in self.jumps):
                    continue  # a lease that the clock has ended; WeCom refuses the second (45035)
                heard = min(earlier["answered"] or earlier["at"], earlier["at"] + int(TIMEOUT * 1e9))  # then nobody listens
                assert later["at"] >= heard, f"two calls at once for {pair}"
