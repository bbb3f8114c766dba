"""Lists and single checks at random, where departments work on each other's customers; and what happens at once."""

from __future__ import annotations

import asyncio
from random import Random
from typing import Any

import pytest

from support.agreements import CUSTOMERS, EAST, SOUTH
from support.company import PEOPLE, Action, Companies, Company, Effect, GrantLine, Reach
from support.service import Service, Web
from tagwarden.assignments import reading
from tagwarden.assignments.model import CustomerHidden, FollowAmbiguous, TagChangeRefused
from tagwarden.assignments.reading import CustomerFilter
from tagwarden.assignments.service import TagChange, change_tags
from tagwarden.assignments.sight import Sight
from tagwarden.governance import agreements
from tagwarden.governance.agreements import Wanted
from tagwarden.identity.model import RoleName
from tagwarden.kernel import clock
from tagwarden.policy import service as policy
from tagwarden.policy.model import Relation


@pytest.fixture
async def company(companies: Companies) -> Company:
    return await companies.make(customers=CUSTOMERS)


@pytest.fixture
def web(service: Service, company: Company) -> Web:
    return service.web(company)


# -- lists and single checks, at random -------------------------------------------------------------------------------------


async def test_lists_show_collaborators_what_single_checks_allow(companies: Companies) -> None:
    random = Random(20_261_128)
    people: dict[str, tuple[int, bool, tuple[str, ...]]] = dict(PEOPLE)
    for number in range(14):
        roles = random.choice([("staff",), ("staff",), ("manager",), ("subadmin",), ("admin",), ()])
        people[f"p{number}"] = (random.choice([1, 10, 11, 12, 20, 21]), random.random() < 0.2, roles)
    grants = [
        GrantLine(random.choice([1, 10, 11, 12, 20, 21]), group, action, effect, random.random() < 0.8, reach)
        for group in ("value", "activity", "advice")
        for _ in range(5)
        for action in (random.choice([Action.VIEW, Action.USE]),)
        for effect in (Effect.DENY if random.random() < 0.15 else Effect.ALLOW,)
        for reach in (random.choice([None, None, *Reach]) if effect is Effect.ALLOW else None,)
    ]
    owners = [userid for userid in people if userid not in ("hq", "auditor")]
    held = [(), ("advice/asked",), ("value/high", "advice/keen"), ("activity/hot",)]
    customers = [(owner, f"x{number % 17}", random.choice(held)) for number, owner in enumerate(owners * 2)]
    unique = list({(owner, customer): (owner, customer, carried) for owner, customer, carried in customers}.values())
    company = await companies.make(
        people=people, grants=list({line.id: line for line in grants}.values()), customers=unique, live=False
    )
    for _ in range(12):
        department, partner = random.choice([1, 10, 11, 12, 20, 21]), random.choice([1, 10, 11, 12, 20, 21])
        group = random.choice(list(company.groups.values()))
        try:
            await agreements.make_agreement(company.as_("admin"), Wanted(department, partner, group))
        except agreements.AgreementExists:
            continue
    picture = await policy.current(company.corp_id)
    collaborating = 0
    for actor in people:
        collaborating += await _compare(picture, actor, unique, company)
    assert collaborating > 20, f"too few collaborate: {collaborating}"


async def _compare(picture: policy.Picture, actor: str, truth: list[tuple[str, str, Any]], company: Company) -> int:
    """One person's lists beside decisions one by one; how many follows he sees by an agreement."""
    now, by_agreement = clock.now(), 0
    leads = picture.directory.employee(actor).holds(RoleName.MANAGER, RoleName.SUPERVISOR)
    wanted: dict[str, set[str]] = {}
    viewed: dict[tuple[str, str], set[str]] = {}
    for owner, customer, carried in truth:
        open_to = {}
        for group in picture.groups.values():
            relation = picture.relation(actor, owner, group.id, now)
            open_to[group.name] = picture.may(actor, group.id, group.kind, Action.VIEW, relation)
            if open_to[group.name] and relation is Relation.COLLABORATING:
                by_agreement += 1
        his = owner == actor or (leads and relation is Relation.SUBORDINATE)
        if his or any(open_to.values()):
            wanted.setdefault(customer, set()).add(owner)
            viewed[owner, customer] = {path for path in carried if open_to[path.split("/")[0]]}
    listed = await reading.list_customers(picture, actor, CustomerFilter(), None, 200)
    assert {one["external_userid"]: set(one["followers"]) for one in listed} == wanted, actor
    for customer in {customer for _, customer, _ in truth}:
        sight = Sight(picture, actor, now)
        if customer not in wanted:
            with pytest.raises(CustomerHidden):
                await reading.visible_follows(picture, sight, customer)
            continue
        assert {one.userid for one in await reading.visible_follows(picture, sight, customer)} == wanted[customer], actor
        for one in await reading.customer_tags(picture, actor, customer):
            paths = {f"{tag['group_name']}/{tag['tag']}" for tag in one["tags"]}
            assert paths == viewed[one["follow_userid"], customer], f"{actor} {customer}"
    for path in ("advice/keen", "value/high", "activity/hot"):
        found = await reading.list_customers(picture, actor, CustomerFilter(tags=(company.tags[path],)), None, 200)
        carriers: dict[str, set[str]] = {}
        for (owner, customer), paths in viewed.items():
            if path in paths:
                carriers.setdefault(customer, set()).add(owner)
        assert {one["external_userid"]: set(one["followers"]) for one in found} == carriers, f"{actor} {path}"
    return by_agreement


async def test_one_agreement_ended_and_used_at_once_is_before_or_after(company: Company) -> None:
    """Whoever tags while it is ended has done so before, or is refused: never in between."""
    for number in range(6):
        wanted = Wanted(SOUTH, EAST, company.groups["advice"])
        made = (await agreements.make_agreement(company.as_("admin"), wanted)).id
        assert made is not None
        tag = company.tags[("advice/asked", "advice/cheap", "advice/keen")[number % 3]]
        change = TagChange("c3", add=(tag,) if number < 3 else (), remove=(tag,) if number >= 3 else ())
        tried_at_once = change_tags(company.as_("dan"), change)
        await asyncio.gather(tried_at_once, agreements.end_agreement(company.as_("admin"), made), return_exceptions=True)
        with pytest.raises((TagChangeRefused, FollowAmbiguous)):
            await change_tags(company.as_("dan"), change)
