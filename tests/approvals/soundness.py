"""What must be true of a corp after any race, looked at in its rows and its audit lines, by formulas written here anew."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import rfc8785

from tagwarden.audit.model import Walker
from tagwarden.kernel import db

CLOSED = ("applied", "rejected", "withdrawn", "expired", "stale")
Line = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Mark:
    """Where the chain, the refusals and the dirty rows stood when something began."""

    corp_id: str
    seq: int
    hash: bytes
    refusals: int
    dirty: dict[UUID, int] = field(default_factory=dict)


async def mark(corp_id: str) -> Mark:
    """The corp as it stands."""
    head = await db.fetch_one("select seq, hash from audit_head where corp_id = $1", corp_id)
    assert head is not None
    dirty = await db.fetch("select follow_id, version from follow_sync where corp_id = $1", corp_id)
    versions = {row["follow_id"]: row["version"] for row in dirty}
    return Mark(corp_id, head["seq"], head["hash"], await refusals(corp_id), versions)


async def refusals(corp_id: str) -> int:
    """How many refusals are on record."""
    return int(await db.fetch_value("select coalesce(sum(repeated + 1), 0) from refusal_tally where corp_id = $1", corp_id))


async def lines_since(before: Mark) -> list[Line]:
    """The lines written since, each link of the chain recomputed, the last one the head."""
    walker = Walker()
    walker.seq, walker.hash = before.seq, before.hash
    rows = await db.fetch(
        "select l.seq, l.body, l.hash, h.seq as head, h.hash as head_hash from audit_head h"
        " left join audit_line l on l.corp_id = h.corp_id and l.seq > $2 where h.corp_id = $1 order by l.seq",
        before.corp_id,
        before.seq,
    )
    found = [row for row in rows if row["seq"] is not None]
    assert all(walker.feed(row["seq"], row["body"], row["hash"]) for row in found), "the chain holds"
    assert walker.verdict(rows[0]["head"], rows[0]["head_hash"]).sound, "the chain ends at its head"
    return [{"seq": row["seq"], **json.loads(row["body"])} for row in found]


async def require_sound(since: Mark, follow_ids: Sequence[UUID]) -> dict[UUID, str]:
    """Checks every request asked since, and these follows (fresh then); the state of each request."""
    lines = await lines_since(since)
    asked = [UUID(line["object"].split(":")[1]) for line in _of(lines, "approval.asked")]
    rows = await db.fetch("select * from approval where corp_id = $1 and id = any($2::uuid[])", since.corp_id, asked)
    assert len(rows) == len(asked), "a line for each request, a request for each line"
    for row in rows:
        await _one_request(row, [line for line in lines if line.get("object") == f"approval:{row['id']}"])
    _authority(lines)
    again = Counter(row["resubmitted_from"] for row in rows if row["resubmitted_from"] and row["state"].startswith("pending"))
    assert all(many == 1 for many in again.values()), "submitted again once"
    for follow_id in follow_ids:
        await _one_follow(since, follow_id, lines)
    return {row["id"]: row["state"] for row in rows}


def _of(lines: Sequence[Line], *actions: str) -> Iterator[Line]:
    return (line for line in lines if line.get("action") in actions)


async def _one_request(row: db.Row, lines: Sequence[Line]) -> None:
    ended = [line["action"] for line in _of(lines, *(f"approval.{state}" for state in CLOSED))]
    assert ended == ([f"approval.{row['state']}"] if row["state"] in CLOSED else []), "one outcome, and the line says which"
    signatures = await db.fetch(
        "select * from approval_signature where corp_id = $1 and approval_id = $2 order by round, level",
        row["corp_id"],
        row["id"],
    )
    given = [one for one in signatures if one["verdict"] == "approve" and not one["by_asking"]]
    assert len(given) == len(list(_of(lines, "approval.signed"))), "a line for each signature"
    assert (row["state"] == "rejected") == any(one["verdict"] == "reject" for one in signatures)
    assert row["round"] == 1 + len(list(_of(lines, "approval.edited"))), "a line for each round"
    told = await db.fetch(
        "select event from notification where corp_id = $1 and approval_id = $2 and userid = $3 and event = any($4)",
        *(row["corp_id"], row["id"], row["requester"], list(CLOSED)),
    )
    assert [one["event"] for one in told] == ([row["state"]] if row["state"] in CLOSED else []), "told once how it ended"
    await _effects(row)
    if row["state"] == "applied":
        await _two_signatures(row, [one for one in signatures if one["round"] == row["round"]])


async def _two_signatures(row: db.Row, signatures: Sequence[db.Row]) -> None:
    assert [(one["level"], one["verdict"]) for one in signatures] == [(1, "approve"), (2, "approve")]
    effects = await db.fetch(
        "select key from approval_effect where corp_id = $1 and approval_id = $2 and round = $3",
        *(row["corp_id"], row["id"], row["round"]),
    )
    content = {
        "kind": row["kind"],
        "payload": json.loads(row["payload"]),
        "fingerprint": row["fingerprint"],
        "effects": sorted(one["key"] for one in effects),
        "about": [row["about_userid"], row["about_customer"]],
        "reason": row["reason"],
    }
    assert row["content_hash"] == hashlib.sha256(rfc8785.dumps(content)).hexdigest(), "the hash is of what stands there"
    for one in signatures:
        assert (one["content_hash"], one["fingerprint"]) == (row["content_hash"], row["fingerprint"]), (
            "signed on the final content"
        )
        assert one["signer"] not in (row["requester"], row["about_userid"], *row["barred"]), "by somebody who may"
    persons = {one["signer_person"] for one in signatures} | {one["on_behalf_of"] for one in signatures if one["on_behalf_of"]}
    assert len(persons) == 2 + sum(one["on_behalf_of"] is not None for one in signatures), "by two different people"


async def _effects(row: db.Row) -> None:
    """What the request wrote: all of it where it was applied, nothing where it was not."""
    applied = row["state"] == "applied"
    consumed = await db.fetch(
        "select round, consumed_at is not null as gone from approval_effect where corp_id = $1 and approval_id = $2",
        *(row["corp_id"], row["id"]),
    )
    assert all(one["gone"] == (applied and one["round"] == row["round"]) for one in consumed), "each effect once, of one round"
    written = await db.fetch(
        "select tag_id from assignment where corp_id = $1 and (approval_id = $2 or ended_approval_id = $2)",
        *(row["corp_id"], row["id"]),
    )
    if row["kind"] != "tag_change":
        assert applied or not written
        return
    payload = json.loads(row["payload"])
    named = {str(one["tag_id"]) for one in written}
    assert named == ({*payload["add"], *payload["remove"]} if applied else set()), "what was written is what was signed"


def _authority(lines: Sequence[Line]) -> None:
    """Nobody signs, or lets his signature count, after the line by which he lost the right to."""
    lost: set[str] = set()
    signed: dict[str, set[str]] = {}
    for line in lines:
        action, detail = line.get("action"), line.get("detail", {})
        if action == "org.mirrored":
            lost |= set(detail["left"])
        elif action == "roles.changed" and detail["taken"]:
            lost.add(line["object"].split(":")[1])
        elif action == "delegation.ended":
            lost.add(f"{detail['delegate']} for {detail['userid']}")
        elif action == "approval.edited":
            signed.pop(line["object"], None)
        elif action == "approval.signed":
            signer = line["actor"]["userid"]
            names = {signer, f"{signer} for {detail['on_behalf_of']}"} if "on_behalf_of" in detail else {signer}
            assert lost.isdisjoint(names), f"{names} signed without the right to"
            signed.setdefault(line["object"], set()).update(names)
        elif action == "approval.applied":
            assert lost.isdisjoint(signed[line["object"]]), f"applied by {signed[line['object']] & lost}, who had lost it"


async def _one_follow(since: Mark, follow_id: UUID, lines: Sequence[Line]) -> None:
    """The rows of a follow are what its lines say when told again from nothing; it is dirty where there was one."""
    rows = await db.fetch(
        "select a.tag_id, t.group_id, g.choice, g.kind, a.ended_at, a.since, p.state from assignment a"
        " join tag t on t.id = a.tag_id join tag_group g on g.id = t.group_id left join approval p on p.id = a.approval_id"
        " where a.corp_id = $1 and a.follow_id = $2",
        *(since.corp_id, follow_id),
    )
    expected, ended, touched = _told(follow_id, lines)
    carried = [row for row in rows if row["ended_at"] is None]
    assert Counter(str(row["tag_id"]) for row in carried) == Counter(expected), "rows and lines agree"
    assert len(rows) - len(carried) == ended, "a row ended for each removal told"
    assert all(row["ended_at"] is None or row["ended_at"] >= row["since"] for row in rows)
    singles = Counter(row["group_id"] for row in carried if row["choice"] == "single")
    assert all(many == 1 for many in singles.values()), "one tag in a single-choice group"
    assert all(row["state"] in ("applied", None) for row in rows), "no mark of a request that was not applied"
    state = await db.fetch_one(
        "select dirty, version from follow_sync where corp_id = $1 and follow_id = $2", since.corp_id, follow_id
    )
    moved = state is not None and state["version"] > since.dirty.get(follow_id, 0)
    assert moved == touched, "dirty where something changed, and there alone"
    assert not touched or (state is not None and state["dirty"])


def _told(follow_id: UUID, lines: Sequence[Line]) -> tuple[set[str], int, bool]:
    carried: set[str] = set()
    ended, touched = 0, False
    for line in lines:
        detail = line.get("detail", {})
        if line.get("action") == "tags.changed" and line["object"] == f"follow:{follow_id}":
            gone = set(detail["remove"]) & carried
            assert gone == set(detail["remove"]), "a line removes what was carried"
            assert carried.isdisjoint(detail["add"]), "a line adds what was not carried"
            carried, ended, touched = (carried - gone) | set(detail["add"]), ended + len(gone), True
        elif line.get("action") == "marks.moved" and str(follow_id) in detail["follows"]:
            source = line["object"].split(":")[1]
            assert source in carried, "a mark that moves was carried"
            carried, ended, touched = (carried - {source}) | {detail["target"]}, ended + 1, True
    return carried, ended, touched
