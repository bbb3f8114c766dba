"""A list is what single checks allow: random organisations and people, every list against every single question.

Nothing is missing from a list, nothing is in it twice, and paging it two by two gives the same. What may be seen is asked
of the service itself, one by one, so these tests hold whatever the relations between people are.
"""

from __future__ import annotations

import os
import secrets
from random import Random
from typing import Any

import pytest

from support.company import GROUPS, Action, Companies, Company, Effect, GrantLine, Kind, Reach
from support.service import Service, Web
from tagwarden.catalog.model import Choice
from tagwarden.kernel.errors import TagwardenError

SEED = int(os.environ.get("TAGWARDEN_TEST_SEED", "0")) or secrets.randbits(32)
ORGANISATIONS = int(os.environ.get("TAGWARDEN_TEST_ORGANISATIONS", "2"))
HOMES = (1, 10, 11, 12, 20, 21)
ROLES = ("staff", "manager", "supervisor", "auditor", "admin", "subadmin")
LIBRARY = {
    **GROUPS,
    "stars": (Kind.VALUE, Choice.SINGLE, ("one", "two")),
    "money": (Kind.STANDARD, Choice.MULTIPLE, ("paid", "owes")),
    "raw": (Kind.UNCLASSIFIED, Choice.MULTIPLE, ("left",)),
}
Place = tuple[int, bool, tuple[str, ...]]


class Drawn:
    """An organisation in which signers exist and everything else is by chance."""

    def __init__(self, chance: Random) -> None:
        self.people: dict[str, Place] = {
            "admin": (1, False, ("admin",)),
            "boss": (1, True, ("supervisor",)),
            "hq": (1, False, ("supervisor",)),
        }
        for number in range(9):
            roles = tuple(sorted(chance.sample(ROLES, chance.choice((0, 1, 1, 1, 2)))))
            self.people[f"p{number}"] = (chance.choice(HOMES), chance.random() < 0.3, roles)
        names = list(LIBRARY)
        cells = {(chance.choice(HOMES), chance.choice(names), chance.choice(list(Action))) for _ in range(14)}
        self.grants = [
            GrantLine(
                *cell,
                Effect.DENY if chance.random() < 0.15 else Effect.ALLOW,
                inherit=chance.random() < 0.8,
                reach=chance.choice((None, None, *Reach)),
            )
            for cell in sorted(cells)
        ]
        tags = [f"{group}/{tag}" for group, (_, _, of_group) in LIBRARY.items() for tag in of_group]
        owners = [userid for userid in self.people if userid.startswith("p")]
        pairs = {(chance.choice(owners), f"c{chance.randrange(8)}") for _ in range(13)}
        self.customers = [(owner, customer, tuple(_one_each(chance, tags))) for owner, customer in sorted(pairs)]


def _one_each(chance: Random, tags: list[str]) -> list[str]:
    """At most one tag a group, so that single choice holds."""
    found: dict[str, str] = {}
    for tag in chance.sample(tags, 4):
        found[tag.split("/")[0]] = tag
    return sorted(found.values())


@pytest.fixture(scope="module", params=range(ORGANISATIONS))
async def drawn(request: pytest.FixtureRequest, companies: Companies) -> tuple[Company, Drawn]:
    seed = f"{SEED}/{request.param}"
    print(f"TAGWARDEN_TEST_SEED={SEED}")
    made = Drawn(Random(seed))
    company = await companies.make(people=made.people, groups=LIBRARY, grants=made.grants, customers=made.customers)
    chance = Random(f"{seed}/requests")
    for owner, customer, _ in made.customers:
        for tag in chance.sample(("value/high", "value/low", "stars/one"), 2):
            await service_asks(company, owner, customer, tag)
    return company, made


async def service_asks(company: Company, owner: str, customer: str, tag: str) -> None:
    """A request where the policy lets one be made."""
    try:
        await company.change(owner, customer, [tag], follow_userid=owner)
    except TagwardenError:
        return


async def whole(web: Web, userid: str, path: str, limit: int, **query: Any) -> list[Any] | int:
    """Every page of a list, or the status of the refusal."""
    found: list[Any] = []
    cursor = None
    for _ in range(500):
        answer = await web.get(userid, path, limit=limit, cursor=cursor, **query)
        if answer.status_code != 200:
            return answer.status_code
        found += answer.json()["items"]
        cursor = answer.json().get("next_cursor")
        if cursor is None:
            return found
    raise AssertionError(f"{path} never ends")


async def paged(web: Web, userid: str, path: str, **query: Any) -> list[Any] | int:
    """The list in large pages; in small ones it must be the same."""
    at_once, by_two = await whole(web, userid, path, 200, **query), await whole(web, userid, path, 2, **query)
    assert at_once == by_two, f"{path} as {userid}"
    if isinstance(at_once, list):
        assert len({str(one) for one in at_once}) == len(at_once), f"{path} as {userid}: twice"
    return at_once


async def test_customers_their_tags_and_history(drawn: tuple[Company, Drawn], service: Service) -> None:
    company, made = drawn
    web = service.web(company)
    for userid in made.people:
        listed = await paged(web, userid, "/v1/customers")
        assert isinstance(listed, list)
        followers = {one["external_userid"]: one["followers"] for one in listed}
        for customer in {customer for _, customer, _ in made.customers}:
            single = await web.get(userid, f"/v1/customers/{customer}")
            assert (single.status_code == 200) == (customer in followers), f"{SEED} {userid} {customer}"
            if single.status_code != 200:
                assert single.status_code == 403
                assert (await web.get(userid, f"/v1/customers/{customer}/tags")).status_code == 403
                continue
            assert single.json()["followers"] == followers[customer], f"{SEED} {userid} {customer}"
            await tags_and_history(web, userid, company, made, customer, set(followers[customer]))


async def tags_and_history(web: Web, userid: str, company: Company, made: Drawn, customer: str, followers: set[str]) -> None:
    allowed: dict[str, set[str]] = {}
    held = {owner: tags for owner, of, tags in made.customers if of == customer}
    for owner in followers:
        groups = {tag.split("/")[0] for tag in held[owner]}
        seen = [group for group in groups if await may_view(web, userid, company, group, customer, owner)]
        allowed[owner] = {str(company.tags[tag]) for tag in held[owner] if tag.split("/")[0] in seen}
    answer = (await web.get(userid, f"/v1/customers/{customer}/tags")).json()
    shown = {one["follow_userid"]: {tag["tag_id"] for tag in one["tags"]} for one in answer["follows"]}
    assert shown == allowed, f"{SEED} {userid} {customer}"
    history = await paged(web, userid, f"/v1/customers/{customer}/history")
    assert isinstance(history, list)
    told = {(one["userid"], one["tag_id"]) for one in history if one["userid"] in followers}
    assert told == {(owner, tag) for owner, tags in allowed.items() for tag in tags}, f"{SEED} {userid} {customer}"


async def may_view(web: Web, userid: str, company: Company, group: str, customer: str, owner: str) -> bool:
    question = {"group_id": str(company.groups[group]), "action": "view", "external_userid": customer, "follow_userid": owner}
    answer = await web.call(userid, "POST", "/v1/decisions", question)
    assert answer.status_code == 200, answer.text
    return bool(answer.json()["allowed"])


async def test_groups(drawn: tuple[Company, Drawn], service: Service) -> None:
    company, made = drawn
    web = service.web(company)
    for userid in made.people:
        listed = {one["id"]: one["actions"] for one in (await web.get(userid, "/v1/tag-groups")).json()["items"]}
        for group in map(str, company.groups.values()):
            single = await web.get(userid, f"/v1/tag-groups/{group}")
            assert (single.status_code, group in listed) in ((200, True), (404, False)), f"{SEED} {userid}"
            if single.status_code == 200:
                assert single.json()["actions"] == listed[group]


async def test_unconfirmed_marks(drawn: tuple[Company, Drawn], service: Service) -> None:
    company, made = drawn
    web = service.web(company)
    for userid in made.people:
        counted: dict[str, int] = {}
        for customer in {customer for _, customer, _ in made.customers}:
            answer = await web.get(userid, f"/v1/customers/{customer}/tags")
            for one in answer.json().get("follows", []):
                marks = sum(tag["unconfirmed"] for tag in one["tags"])
                if marks:
                    counted[one["follow_userid"]] = counted.get(one["follow_userid"], 0) + marks
        told = (await web.get(userid, "/v1/adoptions")).json()
        assert (told["total"], told["by_owner"]) == (sum(counted.values()), counted), f"{SEED} {userid}"


async def test_boxes_of_approvals(drawn: tuple[Company, Drawn], service: Service) -> None:
    company, made = drawn
    web = service.web(company)
    every = await paged(web, "admin", "/v1/approvals", box="all")
    assert isinstance(every, list)
    for userid in made.people:
        boxes = {box: await paged(web, userid, "/v1/approvals", box=box) for box in ("all", "inbox", "mine", "team", "overdue")}
        ids = {box: [one["id"] for one in found] for box, found in boxes.items() if isinstance(found, list)}
        assert all(found == sorted(found, reverse=True) for found in ids.values())
        for one in every:
            single = await web.get(userid, f"/v1/approvals/{one['id']}")
            assert (single.status_code, one["id"] in ids["all"]) in ((200, True), (404, False)), f"{SEED} {userid}"
            assert (one["requester"] == userid) == (one["id"] in ids["mine"])
        for box in ("inbox", "mine", "team", "overdue"):
            assert set(ids[box]) <= set(ids["all"]), f"{SEED} {userid} {box}"


@pytest.mark.parametrize(
    "path", ["/v1/audit", "/v1/sync/ledger", "/v1/employees", "/v1/policy/revisions", "/v1/delegations", "/v1/notifications"]
)
async def test_lists_that_are_whole_or_refused(path: str, drawn: tuple[Company, Drawn], service: Service) -> None:
    company, made = drawn
    web = service.web(company)
    full = None
    for userid in ["admin", *made.people]:
        if path == "/v1/sync/ledger":
            assert (await web.get(userid, path)).status_code in (200, 403)
            continue
        found = (await paged(web, userid, path)) if path != "/v1/employees" else await employees(web, userid)
        if path in ("/v1/notifications", "/v1/delegations") or isinstance(found, int):
            assert not isinstance(found, int) or found == 403
            continue
        full = full if full is not None else found
        assert found == full, f"{SEED} {userid}: everything or nothing"


async def employees(web: Web, userid: str) -> list[Any] | int:
    answer = await web.get(userid, "/v1/employees")
    return answer.json()["items"] if answer.status_code == 200 else answer.status_code
