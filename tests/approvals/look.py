"""What the database holds after a step of a walk, and what happened between two looks, by the words of the issue.

Read from the rows, never from what a step meant to do: a walk in which nothing of a kind happens proves nothing about it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

LOOK = """
select json_build_object(
 'approvals', (select coalesce(json_agg(json_build_array(id, state, round, escalations, resubmitted_from is not null)
                               order by id), '[]') from approval where corp_id = $1),
 'marks', (select coalesce(json_agg(json_build_array(a.id, a.follow_id, a.tag_id, a.approval_id) order by a.id), '[]')
           from assignment a join follow f on f.id = a.follow_id and f.ended_at is null
           where a.corp_id = $1 and a.ended_at is null),
 'follows', (select json_agg(json_build_array(id, userid, external_userid) order by id)
             from follow where corp_id = $1 and ended_at is null),
 'groups', (select json_agg(json_build_array(id, name, kind, choice, deleted_at is not null) order by id)
            from tag_group where corp_id = $1),
 'tags', (select json_agg(json_build_array(id, group_id, name, retired_at is not null, deleted_at is not null) order by id)
          from tag where corp_id = $1),
 'people', (select json_agg(json_build_array(userid, person, status = 'active') order by userid)
            from employee where corp_id = $1),
 'roles', (select json_agg(json_build_array(userid, role) order by userid, role) from employee_role where corp_id = $1),
 'issuers', (select json_agg(json_build_array(issuer, may_sign) order by issuer) from issuer_right where corp_id = $1),
 'revision', (select max(revision) from policy_revision where corp_id = $1),
 'rules', (select content -> 'approvals' from policy_revision where corp_id = $1 order by revision desc limit 1),
 'delegations', (select coalesce(json_agg(json_build_array(id, userid, delegate, ended_at is not null) order by id), '[]')
                 from delegation where corp_id = $1)
)::text as seen"""

BECAME = {
    "pending_level2": "sign",
    "applied": "apply",
    "rejected": "refuse",
    "withdrawn": "withdraw",
    "expired": "expire",
    "stale": "go stale",
}
EVERYTHING = (
    *("ask", "ask anew", "sign by asking", "edit", "escalate", *BECAME.values()),
    *("delegate", "end a delegation", "sign for somebody"),
    *("move tag", "retire tag", "rename tag", "delete tag", "change kind", "change choice", "delete group"),
    *("change chain", "change grants", "give role", "take role", "give a signing role", "take a signing role"),
    *("let an issuer sign", "stop an issuer", "disable", "come back", "transfer"),
)
"""What has to happen in every run, or the walks were too dull."""


class Seen(msgspec.Struct):
    """Rows, each as short as it can be."""

    approvals: list[tuple[str, str, int, int, bool]]
    marks: list[tuple[str, str, str, str | None]]
    follows: list[tuple[str, str, str]]
    groups: list[tuple[str, str, str, str, bool]]
    tags: list[tuple[str, str, str, bool, bool]]
    people: list[tuple[str, str, bool]]
    roles: list[tuple[str, str]]
    issuers: list[tuple[str, bool]]
    revision: int
    rules: dict[str, Any]
    delegations: list[tuple[str, str, str, bool]]


def happened(before: Seen, after: Seen) -> Iterator[str]:
    """Names of `EVERYTHING`, each as often as it happened."""
    yield from _to_requests(before, after)
    yield from _to_the_library(before, after)
    yield from _to_people(before, after)
    if before.rules != after.rules:
        yield "change chain"
    elif before.revision != after.revision:
        yield "change grants"
    gone = {customer for id_, _, customer in before.follows if id_ not in {row[0] for row in after.follows}}
    if any(customer in gone for id_, _, customer in after.follows if id_ not in {row[0] for row in before.follows}):
        yield "transfer"


def _to_requests(before: Seen, after: Seen) -> Iterator[str]:
    known = {row[0]: row for row in before.approvals}
    for id_, state, round_, escalations, again in after.approvals:
        was = known.get(id_)
        if was is None:
            yield "ask anew" if again else "ask"
            if state == "pending_level2":
                yield "sign by asking"
            continue
        if round_ != was[2]:
            yield "edit"
        elif state != was[1]:
            yield BECAME[state]
        if escalations != was[3]:
            yield "escalate"
    running = {row[0]: row[3] for row in before.delegations}
    for id_, _, _, ended in after.delegations:
        if id_ not in running:
            yield "delegate"
        elif ended and not running[id_]:
            yield "end a delegation"


def _to_the_library(before: Seen, after: Seen) -> Iterator[str]:
    tags, groups = {row[0]: row for row in before.tags}, {row[0]: row for row in before.groups}
    retired = {row[2] for row in after.tags if row[0] in tags and row[3] and not tags[row[0]][3]}
    for id_, _, name, is_retired, gone in after.tags:
        was = tags.get(id_)
        if was is None:
            if name in retired:
                yield "move tag"
            continue
        for word, moved in (("rename", name != was[2]), ("retire", is_retired > was[3]), ("delete", gone > was[4])):
            if moved:
                yield f"{word} tag"
    for id_, _, kind, choice, gone in after.groups:
        if id_ in groups:
            _, _, kind_was, choice_was, gone_was = groups[id_]
            for word, moved in (("change kind", kind != kind_was), ("change choice", choice != choice_was)):
                if moved:
                    yield word
            if gone > gone_was:
                yield "delete group"


def _to_people(before: Seen, after: Seen) -> Iterator[str]:
    for verb, rows in (("give", {*after.roles} - {*before.roles}), ("take", {*before.roles} - {*after.roles})):
        for _, role in rows:
            yield f"{verb} a signing role" if role in ("manager", "supervisor") else f"{verb} role"
    active = {userid: is_active for userid, _, is_active in before.people}
    for userid, _, is_active in after.people:
        if is_active != active[userid]:
            yield "come back" if is_active else "disable"
    sign, signed = ({name for name, may_sign in rows if may_sign} for rows in (after.issuers, before.issuers))
    yield from ["let an issuer sign"] * len(sign - signed) + ["stop an issuer"] * len(signed - sign)
