"""Every query of the room: revisions and the grants that belong to them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import rfc8785

from tagwarden.kernel import db
from tagwarden.policy.matrix import Matrix
from tagwarden.policy.model import Action, Capability, Effect, Grant, Group, Kind, Reach, Relation, Role
from tagwarden.policy.tables import PolicyRevision


async def current(corp_id: str) -> db.Row | None:
    """The published revision: number, content, note, who, when."""
    return await (
        PolicyRevision.select()
        .where(PolicyRevision.corp_id == corp_id)
        .order_by(PolicyRevision.revision, ascending=False)
        .first()
    )


async def revision(corp_id: str, number: int) -> db.Row | None:
    """One revision, whether in force or not."""
    return await PolicyRevision.select().where((PolicyRevision.corp_id == corp_id) & (PolicyRevision.revision == number)).first()


def content_of(row: db.Row) -> dict[str, Any]:
    """Capabilities, chain and drift rule of a revision."""
    found: dict[str, Any] = msgspec.json.decode(row["content"])
    return found


async def revisions(corp_id: str, before: int | None, limit: int) -> list[db.Row]:
    """Revisions without their content, newest first."""
    return await db.fetch(
        "select revision, content_hash, note, published_by, published_at,"
        " (select count(*) from policy_grant g where g.corp_id = r.corp_id and g.revision = r.revision) as grants"
        " from policy_revision r where corp_id = $1 and ($2::int is null or revision < $2) order by revision desc limit $3",
        corp_id,
        before,
        limit,
    )


async def matrix(corp_id: str, revision: int) -> Matrix:
    """The matrix of one revision, sorted by id; inside a transaction."""
    found = Matrix()
    sql = (
        "select id, department_id, group_id::text, action, effect, inherit, reach from policy_grant"
        " where corp_id = $1 and revision = $2 order by id"
    )
    async for page in db.pages(sql, corp_id, revision):
        found.add(
            Grant(name, department, group, Action(action), Effect(effect), inherit, Reach(reach) if reach else None)
            for name, department, group, action, effect, inherit, reach in page
        )
    return found


async def groups(corp_id: str) -> dict[str, Group]:
    """Every tag group that was not deleted, by id."""
    rows = await db.fetch("select id::text, name, kind from tag_group where corp_id = $1 and deleted_at is null", corp_id)
    return {row["id"]: Group(row["id"], row["name"], Kind(row["kind"])) for row in rows}


@dataclass(frozen=True, slots=True)
class Rows:
    """The rows of a revision, said by what they differ in from those of `base`: ids that go, and rows that come."""

    base: int = 0
    gone: Sequence[str] = ()
    come: Sequence[Grant] = ()


_ROWS = (
    "select id, department_id, group_id, action, effect, inherit, reach from policy_grant g where corp_id = $1 and revision = $2"
    " and not exists (select 1 from unnest($3::text[]) as gone (id) where gone.id = g.id) union all"
    " select * from unnest($4::text[], $5::bigint[], $6::text[]::uuid[], $7::text[], $8::text[], $9::boolean[], $10::text[])"
    " as come (id, department_id, group_id, action, effect, inherit, reach)"
)


async def insert_revision(
    corp_id: str, revision: int, content: dict[str, Any], rows: Rows, note: str, published_by: str
) -> tuple[str, int]:
    """Writes a revision whole; returns the hash of its content and grants, and how many grants it has.

    Rows are copied and hashed where they are: a matrix of 110,000 would take seconds on its way here and back.
    """
    table = [(row.id, *_cells(row)) for row in rows.come]
    gone = list({*rows.gone, *(row.id for row in rows.come)})
    named = (corp_id, rows.base, gone, *db.columns(table, 7))
    found = await db.fetch_one(
        "select count(*) as grants, encode(sha256(convert_to(coalesce(string_agg(jsonb_build_array(id, department_id, group_id,"
        " action, effect, inherit, reach)::text, E'\\n' order by id collate \"C\"), ''), 'UTF8')), 'hex') as digest"
        f" from ({_ROWS}) as r",
        *named,
    )
    assert found is not None
    content_hash = hashlib.sha256(rfc8785.dumps({"content": content, "grants": found["digest"]})).hexdigest()
    await db.execute(
        "insert into policy_revision (corp_id, revision, content, content_hash, note, published_by)"
        " values ($1, $2, $3, $4, $5, $6)",
        corp_id,
        revision,
        msgspec.json.encode(content).decode(),
        content_hash,
        note,
        published_by,
    )
    await db.execute(
        "insert into policy_grant (corp_id, revision, id, department_id, group_id, action, effect, inherit, reach)"
        f" select $1, $11::int, r.* from ({_ROWS}) as r",
        *named,
        revision,
    )
    return content_hash, found["grants"]


def _cells(row: Grant) -> list[Any]:
    return [row.department, row.group, row.action.value, row.effect.value, row.inherit, _reach(row)]


def _reach(row: Grant) -> str | None:
    return row.reach.value if row.reach else None


def capabilities_out(rows: Sequence[Capability]) -> list[dict[str, Any]]:
    """Capabilities as they stand in a revision's content."""
    return [
        {
            "role": row.role.value,
            "kind": row.kind.value,
            "action": row.action.value,
            "relations": sorted(relation.value for relation in row.relations),
            "needs_grant": row.needs_grant,
        }
        for row in rows
    ]


def capabilities_in(rows: Sequence[dict[str, Any]]) -> list[Capability]:
    """The reverse of `capabilities_out`."""
    return [
        Capability(
            Role(row["role"]),
            Kind(row["kind"]),
            Action(row["action"]),
            frozenset(Relation(name) for name in row["relations"]),
            row["needs_grant"],
        )
        for row in rows
    ]
