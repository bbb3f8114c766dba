"""The whole service against the plain model: random organisations, grants, agreements, moves and revokes, asked over HTTP.

After each change, whatever it was, every person is asked about every group, action and customer, and the model, which
walks the tree itself, is asked the same. TAGWARDEN_TEST_SEED plays one again; TAGWARDEN_SOAK_ROUNDS counts decisions.
"""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any

import pytest

from support import soak
from support.company import Companies, Company
from support.service import Service, Web, service_on
from tagwarden.governance import roles
from tagwarden.identity.model import RoleName
from tagwarden.kernel.embedded import EmbeddedUrls
from tagwarden.policy.agreements import Agreement
from tagwarden.policy.model import Action, Effect, Grant, Kind, Question, Reach, Relation, Role, Step, Subject
from tagwarden.policy.model import read_capabilities as read
from tagwarden.sync import service as sync
from tagwarden.sync.service import OrgSeen

from .brute_force import Person, expected, related
from .test_brute_force import BUNDLE, SEED

CELLS = 100_000
GIVEN = [RoleName.STAFF, RoleName.STAFF, RoleName.MANAGER, RoleName.SUPERVISOR, RoleName.AUDITOR, RoleName.SUBADMIN]
KINDS = {"value": Kind.VALUE, "activity": Kind.TEMPORARY, "advice": Kind.STANDARD}
ORDER = list(Relation)


@pytest.fixture(scope="session")
async def service(database: EmbeddedUrls) -> AsyncIterator[Service]:
    """`tagwarden serve` on the tests' database."""
    async with service_on(database.application) as running:
        yield running


class World:
    """A company in setup, where all is arranged at once, and beside it what the model has to know of it."""

    def __init__(self, company: Company, web: Web, chance: Random) -> None:
        self.company, self.web, self.chance = company, web, chance
        self.parents: dict[int, int | None] = {}
        self.people: dict[str, Person] = {}
        self.roles: dict[str, frozenset[Role]] = {}
        self.grants: dict[tuple[int, str, Action, Effect], Grant] = {}
        self.agreements: dict[str, Agreement] = {}
        self.owners: dict[str, list[str]] = {}

    async def begin(self) -> None:
        """Thirty people somewhere, twelve customers, and a first matrix."""
        names = [f"p{number}" for number in range(30)]
        await self.arrange(names)
        for name in names:
            await self.change_roles(name)
        self.owners = {f"c{number}": self.chance.sample(names, self.chance.choice([1, 1, 2])) for number in range(12)}
        await self.company.add_customers(*((owner, customer, ()) for customer, all_ in self.owners.items() for owner in all_))
        await self.change_grants(40)

    async def arrange(self, names: list[str]) -> None:
        """Another organisation: departments hang elsewhere, people move; the admin stays at the root."""
        count = self.chance.choice([4, 12, 25])
        self.parents = {1: None}
        for number in range(2, count + 1):
            self.parents[number] = number - 1 if self.chance.random() < 0.5 else self.chance.randrange(1, number)
        self.people = {name: self.somewhere(name) for name in names}
        self.people["admin"] = Person("admin", frozenset({1}), frozenset())
        departments = tuple((number, f"d{number}", parent or 0, number) for number, parent in self.parents.items())
        employees = tuple((one.userid, one.userid, "active", min(one.home, default=None)) for one in self.people.values())
        places = tuple((one.userid, home, home in one.leads) for one in self.people.values() for home in one.home | one.leads)
        await sync.mirror_org(self.company.as_("admin"), OrgSeen(departments, employees, places))
        # In WeCom who leads a department belongs to it.
        self.people = {name: Person(name, one.home | one.leads, one.leads) for name, one in self.people.items()}

    def somewhere(self, name: str) -> Person:
        known = list(self.parents)
        home = frozenset(self.chance.sample(known, min(self.chance.choice([0, 1, 1, 1, 2, 3]), len(known))))
        leads = frozenset(self.chance.sample(known, 1)) if self.chance.random() < 0.3 else frozenset()
        return Person(name, home, leads)

    async def change_roles(self, name: str) -> None:
        held = sorted(set(self.chance.sample(GIVEN, self.chance.choice([0, 1, 1, 2]))))
        await roles.put_roles(self.company.as_("admin"), name, held, [], "a test")
        self.roles[name] = frozenset(held)

    async def change_grants(self, count: int) -> None:
        """So many cells set or unset, by a draft that is published."""
        cells = [self.some_cell() for _ in range(count)]
        made = await self.web.call("admin", "POST", "/v1/policy/drafts", {"cells": cells, "note": "a test"})
        assert made.status_code == 201, made.text
        path = f"/v1/policy/drafts/{made.json()['id']}/publish"
        done = await self.web.call("admin", "POST", path, {}, If_Match=made.headers["etag"])
        assert done.status_code == 200 or done.json()["code"] == "nothing_differs", done.text
        for cell in cells:
            self._keep(cell)

    def some_cell(self) -> dict[str, Any]:
        effect = "deny" if self.chance.random() < 0.15 else "allow"
        cell = {
            "department": self.chance.choice(list(self.parents)),
            "group_id": str(self.company.groups[self.chance.choice(list(KINDS))]),
            "action": self.chance.choice(["view", "use", "use", "manage"]),
            "effect": effect,
            "inherit": self.chance.random() < 0.7,
        }
        if self.grants and self.chance.random() < 0.3:
            department, group, action, kept = self.chance.choice(list(self.grants))
            named = {"department": department, "group_id": group, "action": action.value, "effect": kept.value}
            return {**cell, **named, "unset": True}
        reach = self.chance.choice([None, "own", "subordinate", "collaborating", "corp"])
        return cell if effect == "deny" else {**cell, "reach": reach}

    def _keep(self, cell: dict[str, Any]) -> None:
        action, effect = Action(cell["action"]), Effect(cell["effect"])
        place = (cell["department"], cell["group_id"], action, effect)
        if cell.get("unset"):
            self.grants.pop(place, None)
            return
        reach = Reach(cell["reach"]) if cell.get("reach") else None
        self.grants[place] = Grant("any", cell["department"], cell["group_id"], action, effect, cell["inherit"], reach)

    async def change_agreements(self) -> None:
        """One made, or one ended."""
        if self.agreements and self.chance.random() < 0.5:
            ended = self.chance.choice(list(self.agreements))
            assert (await self.web.call("admin", "DELETE", f"/v1/agreements/{ended}")).status_code == 204
            del self.agreements[ended]
            return
        one, other = self.chance.choice(list(self.parents)), self.chance.choice(list(self.parents))
        group = str(self.company.groups[self.chance.choice(list(KINDS))])
        body = {"department": one, "partner_department": other, "group_id": group}
        made = await self.web.call("admin", "POST", "/v1/agreements", body)
        if made.status_code == 201:
            self.agreements[made.json()["id"]] = Agreement(made.json()["id"], one, other, group)

    async def change(self) -> None:
        """Something moves."""
        kind = self.chance.choice(["org", "roles", "grants", "agreements", "agreements"])
        if kind == "org":
            await self.arrange([name for name in self.people if name != "admin"])
        elif kind == "roles":
            for name in self.chance.sample([name for name in self.people if name != "admin"], 5):
                await self.change_roles(name)
        elif kind == "grants":
            await self.change_grants(self.chance.choice([1, 5, 20]))
        else:
            await self.change_agreements()

    async def ask(self) -> int:
        """Everybody about everything; how many answers were compared."""
        names, groups, actions = sorted(self.people), list(KINDS), list(Action)
        customers = sorted(self.owners)
        body = {
            "userids": names,
            "group_ids": [str(self.company.groups[group]) for group in groups],
            "actions": [action.value for action in actions],
            "customers": customers,
        }
        answer = await self.web.call("admin", "POST", "/v1/decisions/batch", body)
        assert answer.status_code == 200, answer.text
        items = answer.json()["items"]
        cells = list(itertools.product(names, groups, actions, customers))
        assert len(items) == len(cells)
        for (name, group, action, customer), item in zip(cells, items, strict=True):
            self.compare(name, group, action, self.owners[customer], item)
        return len(cells)

    def compare(self, name: str, group: str, action: Action, owners: list[str], item: dict[str, Any]) -> None:
        me, group_id = self.people[name], str(self.company.groups[group])
        agreements = list(self.agreements.values())
        now = datetime.now(UTC)
        relation = min(
            (related(me, self.people[owner], group_id, now, agreements, self.parents) for owner in owners), key=ORDER.index
        )
        held = frozenset({Role.ADMIN}) if name == "admin" else self.roles[name]
        subject = Subject(name, held, me.home, frozenset())
        want = expected(
            BUNDLE, list(self.grants.values()), self.parents, Question(subject, group_id, KINDS[group], action, relation)
        )
        got = (item["allowed"], Step(item["step"]) if item.get("step") else None)
        assert got == (want.allowed, want.step), f"{name} {action} {group} {owners} {relation}: {item}, model {want}"


async def play(companies: Companies, service: Service, seed: str, cells: int) -> None:
    asked = 0
    while asked < cells:
        chance = Random(f"{seed}/{asked}")
        company = await companies.make(live=False, customers=(), grants=())
        world = World(company, service.web(company), chance)
        await world.begin()
        for _ in range(16):
            asked += await world.ask()
            await world.change()


def test_the_shipped_capabilities_are_what_the_model_is_asked_about() -> None:
    text = (Path(__file__).parents[2] / "policies" / "roles.toml").read_text(encoding="utf-8")
    assert read(text) == BUNDLE


@pytest.mark.timeout(900)
async def test_service_agrees_with_the_plain_model(companies: Companies, service: Service) -> None:
    print(f"TAGWARDEN_TEST_SEED={SEED}")
    await play(companies, service, str(SEED), CELLS)


@pytest.mark.soak
@pytest.mark.timeout(0)
async def test_service_agrees_with_the_plain_model_for_long(companies: Companies, service: Service) -> None:
    await play(companies, service, str(soak.seed()), soak.rounds(10_000_000))
