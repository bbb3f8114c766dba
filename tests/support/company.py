"""Builds companies through the real use cases: org, catalog and contacts as WeCom would show them, then a policy bundle.

Each test takes its own corp with an id of its own, so tests share one database and never meet.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from support.engine import engine_on
from tagwarden.approvals import repository as approvals
from tagwarden.approvals import service as approval_service
from tagwarden.approvals.model import Approval, Verdict
from tagwarden.assignments.model import ChangeAnswer
from tagwarden.assignments.service import TagChange, change_tags
from tagwarden.catalog.model import Choice
from tagwarden.corps.credentials import AppCredential
from tagwarden.corps.model import Caller
from tagwarden.customers.model import ContactSeen
from tagwarden.governance import operator, publishing
from tagwarden.governance import service as governance
from tagwarden.governance.bundle import Bundle, GrantLine, GroupLine, PersonLine, read_bundle
from tagwarden.identity.model import Module, RoleName
from tagwarden.kernel import db
from tagwarden.kernel.ids import new_id
from tagwarden.kernel.sealing import Sealer
from tagwarden.policy.model import Action, Effect, Kind, Reach
from tagwarden.sync import service as sync
from tagwarden.sync.model import RunKind
from tagwarden.sync.service import OrgSeen

ISSUER = "tagwarden"
SEALER = Sealer("a secret key that only tests use, long enough")

DEPARTMENTS = (
    (1, "HQ", 0, 9),
    (10, "East", 1, 8),
    (11, "Shanghai", 10, 7),
    (12, "Hangzhou", 10, 6),
    (20, "South", 1, 5),
    (21, "Shenzhen", 20, 4),
)
# userid: (department, leads it, roles)
PEOPLE: dict[str, tuple[int, bool, tuple[str, ...]]] = {
    "boss": (1, True, ("supervisor",)),
    "hq": (1, False, ("supervisor",)),
    "admin": (1, False, ("admin",)),
    "auditor": (1, False, ("auditor",)),
    "east": (10, True, ("manager",)),
    "ann": (11, False, ("staff",)),
    "bob": (11, False, ("staff",)),
    "cat": (12, False, ("staff",)),
    "south": (20, True, ("manager",)),
    "dan": (21, False, ("staff",)),
}
GROUPS: dict[str, tuple[Kind, Choice, tuple[str, ...]]] = {
    "value": (Kind.VALUE, Choice.SINGLE, ("high", "mid", "low")),
    "activity": (Kind.TEMPORARY, Choice.SINGLE, ("hot", "warm", "cold")),
    "advice": (Kind.STANDARD, Choice.MULTIPLE, ("asked", "cheap", "keen")),
}
GRANTS = tuple(GrantLine(department, group, Action.USE) for department in (10, 20) for group in GROUPS)


NOBODY_SIGNS = (
    "with taken as (update issuer_right set may_sign = false where corp_id = $1)"
    " update corp_epoch set epoch = epoch + 1 where corp_id = $1"
)


async def arrange(corp_id: str, sql: str, *args: Any) -> None:
    """Rows as a test needs them, with a line of their own: the database asks it of everybody."""
    async with db.transaction():
        await db.execute(sql, *args)
        await db.fetch("select close_command($1, array['{}'::bytea], true)", corp_id)


@dataclass
class Company:
    """A corp with handles: people by userid, tags as "group/tag", customers as (owner, name)."""

    corp_id: str
    tags: dict[str, UUID] = field(default_factory=dict)
    groups: dict[str, UUID] = field(default_factory=dict)
    wecom_tags: dict[str, str] = field(default_factory=dict)

    def as_(self, userid: str, **more: Any) -> Caller:
        """A caller whose issuer may sign."""
        return replace(Caller(self.corp_id, userid, ISSUER, may_sign=True, request_id=str(new_id())), **more)

    async def add_customers(self, *owned: tuple[str, str, Sequence[str]]) -> None:
        """Mirrors follows (owner, customer, tags WeCom holds as "group/tag")."""
        run_id = new_id()
        from tagwarden.sync import repository

        while not await repository.insert_run(self.corp_id, run_id, RunKind.CUSTOMERS.value, "admin"):
            await asyncio.sleep(0.01)  # one reading of a company at a time
        seen = [
            ContactSeen(
                owner,
                customer,
                f"name of {customer}",
                1,
                None,
                datetime(2026, 1, 1, tzinfo=UTC),
                tuple(self.wecom_tags[tag] for tag in tags),
            )
            for owner, customer, tags in owned
        ]
        try:
            await sync.mirror_contacts(self.as_("admin"), run_id, seen, {}, len(seen))
        finally:
            await repository.finish_run(self.corp_id, run_id, {}, None)

    async def change(
        self, userid: str, customer: str, add: Sequence[str] = (), remove: Sequence[str] = (), **more: Any
    ) -> ChangeAnswer:
        """A tag change through the one write path."""
        change = TagChange(customer, tuple(self.tags[tag] for tag in add), tuple(self.tags[tag] for tag in remove), **more)
        return await change_tags(self.as_(userid), change)

    async def sign(
        self, userid: str, approval_id: UUID | None, verdict: Verdict = Verdict.APPROVE, comment: str = ""
    ) -> Approval:
        """A decision; returns the approval as it stands then."""
        assert approval_id is not None
        await approval_service.decide(self.as_(userid), approval_id, verdict, comment, "*")
        return await self.approval(approval_id)

    async def approval(self, approval_id: UUID | None) -> Approval:
        """The approval as it stands."""
        assert approval_id is not None
        found = await approvals.get(self.corp_id, approval_id)
        assert found is not None
        return found

    async def carried(self, owner: str, customer: str) -> set[str]:
        """Tags open on a follow, as "group/tag"."""
        rows = await db.fetch(
            "select g.name || '/' || t.name as path from assignment a join follow f on f.id = a.follow_id"
            " join tag t on t.id = a.tag_id"
            " join tag_group g on g.id = t.group_id where f.corp_id = $1 and f.userid = $2 and f.external_userid = $3"
            " and f.ended_at is null and a.ended_at is null",
            self.corp_id,
            owner,
            customer,
        )
        return {row["path"] for row in rows}

    async def follow_id(self, owner: str, customer: str) -> UUID:
        """The open follow of (owner, customer)."""
        found = await db.fetch_value(
            "select id from follow where corp_id = $1 and userid = $2 and external_userid = $3 and ended_at is null",
            self.corp_id,
            owner,
            customer,
        )
        assert isinstance(found, UUID)
        return found

    async def own_library(self) -> None:
        """Makes the library ours, as if it had been made from here: names of others' tags are WeCom's to change."""
        for table in ("tag_group", "tag"):
            await arrange(self.corp_id, f"update {table} set made_by_us = true where corp_id = $1", self.corp_id)

    async def move_people(self, people: dict[str, tuple[int, bool, tuple[str, ...]]]) -> None:
        """Mirrors another organisation: who is missing has left; roles stay as given."""
        await sync.mirror_org(self.as_("admin"), org_of(people))


def org_of(people: dict[str, tuple[int, bool, tuple[str, ...]]]) -> OrgSeen:
    """The organisation as WeCom would show it."""
    return OrgSeen(
        DEPARTMENTS,
        tuple((userid, f"name of {userid}", "active", place[0]) for userid, place in people.items()),
        tuple((userid, place[0], place[1]) for userid, place in people.items()),
    )


def library_of(groups: dict[str, tuple[Kind, Choice, tuple[str, ...]]]) -> list[dict[str, Any]]:
    """The tag library as WeCom would show it."""
    return [
        {
            "group_id": f"g-{name}",
            "group_name": name,
            "order": 1,
            "tag": [{"id": f"t-{name}-{tag}", "name": tag, "order": 1} for tag in tags],
        }
        for name, (_, _, tags) in groups.items()
    ]


def bundle_of(
    people: dict[str, tuple[int, bool, tuple[str, ...]]],
    groups: dict[str, tuple[Kind, Choice, tuple[str, ...]]],
    grants: Sequence[GrantLine],
) -> Bundle:
    """A bundle with the shipped capabilities and chain."""
    plain = read_bundle({}, operator.default_texts())
    return replace(
        plain,
        groups=tuple(GroupLine(name, kind, choice) for name, (kind, choice, _) in groups.items()),
        people=tuple(PersonLine(userid, tuple(RoleName(role) for role in place[2])) for userid, place in people.items()),
        grants=tuple(grants),
    )


class Companies:
    """Makes companies on the open database; knows the owner's URL for what only the operator may do."""

    def __init__(self, owner_url: str) -> None:
        self._owner_url = owner_url
        self._made = 0

    @contextlib.asynccontextmanager
    async def as_owner(self) -> AsyncIterator[None]:
        """The engine as the owner role for the length of the block."""
        async with engine_on(self._owner_url, 2):
            yield

    async def make(
        self,
        *,
        people: dict[str, tuple[int, bool, tuple[str, ...]]] = PEOPLE,
        groups: dict[str, tuple[Kind, Choice, tuple[str, ...]]] = GROUPS,
        grants: Sequence[GrantLine] = GRANTS,
        customers: Sequence[tuple[str, str, Sequence[str]]] = (
            ("ann", "c1", ()),
            ("bob", "c2", ()),
            ("cat", "c3", ()),
            ("dan", "c4", ()),
        ),
        live: bool = True,
        may_sign: bool = True,
    ) -> Company:
        """A company in its own corp, live unless said otherwise."""
        company = Company(f"corp-{new_id().hex}")
        new = operator.NewCorp(company.corp_id, "a company", "admin", ISSUER, may_sign=True)
        async with self.as_owner():
            await operator.add_corp(SEALER, new, [AppCredential(company.corp_id, "crm", 1, "secret-of-the-app")])
        admin = company.as_("admin")
        await sync.mirror_org(admin, org_of(people))
        await sync.mirror_catalog(admin, library_of(groups))
        await publishing.apply_bundle(admin, bundle_of(people, groups, grants), "test")
        for row in await db.fetch(
            "select g.id as group_id, g.name as group_name, t.id, t.name, t.wecom_id from tag t"
            " join tag_group g on g.id = t.group_id where t.corp_id = $1",
            company.corp_id,
        ):
            path = f"{row['group_name']}/{row['name']}"
            company.tags[path], company.groups[row["group_name"]] = row["id"], row["group_id"]
            company.wecom_tags[path] = row["wecom_id"]
        if customers:
            await company.add_customers(*customers)
        if live:
            await governance.activate(admin)
        if not may_sign:
            await arrange(company.corp_id, NOBODY_SIGNS, company.corp_id)
        return company


__all__ = [
    "DEPARTMENTS",
    "GRANTS",
    "GROUPS",
    "PEOPLE",
    "Action",
    "Companies",
    "Company",
    "Effect",
    "GrantLine",
    "Kind",
    "Module",
    "Reach",
]
