"""Every query of the room: revisions and the grants that belong to them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import msgspec
import rfc8785

from tagwarden.kernel import db
from tagwarden.policy.model import Action, Capability, Effect, Grant, Kind, Reach, Relation, Role
from tagwarden.policy.tables import PolicyGrant, PolicyRevision


async def current(corp_id: str) -> db.Row | None:
    """The published revision: number, content, note, who, when."""
    return await (
        PolicyRevision.select()
        .where(PolicyRevision.corp_id == corp_id)
        .order_by(PolicyRevision.revision, ascending=False)
        .first()
    )


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


async def grants(corp_id: str, revision: int) -> list[Grant]:
    """The matrix of one revision, sorted."""
    rows = await (
        PolicyGrant.select().where((PolicyGrant.corp_id == corp_id) & (PolicyGrant.revision == revision)).order_by(PolicyGrant.id)
    )
    return [
        Grant(
            row["id"],
            row["department_id"],
            str(row["group_id"]),
            Action(row["action"]),
            Effect(row["effect"]),
            row["inherit"],
            Reach(row["reach"]) if row["reach"] else None,
        )
        for row in rows
    ]


async def insert_revision(
    corp_id: str, revision: int, content: dict[str, Any], rows: Sequence[Grant], note: str, published_by: str
) -> str:
    """Writes a revision whole; returns the hash of its content and grants."""
    digest = hashlib.sha256(
        rfc8785.dumps({"content": content, "grants": sorted([row.id, *_cells(row)] for row in rows)})
    ).hexdigest()
    await db.execute(
        "insert into policy_revision (corp_id, revision, content, content_hash, note, published_by)"
        " values ($1, $2, $3, $4, $5, $6)",
        corp_id,
        revision,
        msgspec.json.encode(content).decode(),
        digest,
        note,
        published_by,
    )
    table = [(row.id, row.department, row.group, row.action.value, row.effect.value, row.inherit, _reach(row)) for row in rows]
    await db.execute(
        "insert into policy_grant (corp_id, revision, id, department_id, group_id, action, effect, inherit, reach)"
        " select $1, $2, * from unnest($3::text[], $4::bigint[], $5::text[]::uuid[], $6::text[], $7::text[],"
        " $8::boolean[], $9::text[])",
        corp_id,
        revision,
        *db.columns(table, 7),
    )
    return digest


def _cells(row: Grant) -> list[Any]:
    return [row.department, row.group, row.action.value, row.effect.value, row.inherit, _reach(row) or ""]


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
