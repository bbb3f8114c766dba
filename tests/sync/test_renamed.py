"""Accounts that WeCom renamed, from everywhere a userid comes in: the same person by either name, and never somebody else."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import httpx
import pytest

from support.company import GRANTS, bundle_of
from support.mailbox import Mailbox
from support.service import Service, Web, check_problem
from support.town import GROUPS, PEOPLE, Town
from tagwarden.governance import files, publishing
from tagwarden.governance.bundle import PersonLine
from tagwarden.governance.mistakes import BundleInvalid
from tagwarden.identity import repository as identity
from tagwarden.identity.model import IdentityRefused, RoleName
from tagwarden.kernel import clock, db
from tagwarden.sync.model import RunKind

NEW = {"ann": "ann.lee", "east": "east.wu", "boss": "boss.li"}


@pytest.fixture
async def web(town: Town, mail: Mailbox, service: Service) -> Web:
    """After ann, east and boss were renamed inside WeCom."""
    for old, new in NEW.items():
        await mail.edit("update_user", userid=old, changes={"userid": new})
    await mail.work()
    return service.web(town)


async def follow_named(town: Town, web: Web, name: str, customer: str = "wmC1") -> httpx.Response:
    body = {"add": [str(town.tags["advice/keen"])], "remove": [], "follow_userid": name}
    return await web.call("east.wu", "POST", f"/v1/customers/{customer}/tag-changes", body)


async def give_the_name_away(mail: Mailbox, name: str) -> None:
    """Somebody new in WeCom gets the name."""
    user = {"userid": name, "name": "another", "department": [11], "is_leader_in_dept": [0]}
    await mail.edit("create_user", user=user)
    await mail.work()


async def asked_everywhere(town: Town, web: Web, name: str) -> dict[str, httpx.Response]:
    """Every place where a request names a person, naming ann (or whoever has the name)."""
    group = str(town.groups["advice"])
    question = {"group_id": group, "action": "use", "external_userid": "wmC1"}
    return {
        "follow": await follow_named(town, web, name),
        "owner": await web.get("boss.li", "/v1/customers", owner=name),
        "decision": await web.call("admin", "POST", "/v1/decisions", {**question, "userid": name, "follow_userid": name}),
        "explain": await web.call("admin", "POST", "/v1/decisions/explain", {**question, "userid": name}),
        "batch": await web.call("admin", "POST", "/v1/decisions/batch", {"userids": [name], "group_ids": [group]}),
        "ledger": await web.get("admin", f"/v1/sync/ledger?userid={name}"),
        "roles": await web.call("admin", "PUT", f"/v1/employees/{name}/roles", {"roles": ["staff"]}),
    }


@pytest.mark.parametrize("name", ["ann", "ann.lee"])
async def test_a_request_may_name_a_renamed_person_either_way(town: Town, web: Web, name: str) -> None:
    found = await asked_everywhere(town, web, name)
    assert {place: answer.status_code for place, answer in found.items()} == dict.fromkeys(found, 200)
    assert found["follow"].json()["follow_userid"] == "ann"
    assert {one["external_userid"] for one in found["owner"].json()["items"]} == {"wmC1", "wmC2"}
    assert found["decision"].json()["allowed"]
    assert found["explain"].json()["allowed"]
    assert [cell["allowed"] for cell in found["batch"].json()["items"]] == [True]
    assert {line["external_userid"] for line in found["ledger"].json()["items"]} == {"wmC1"}
    await town.drain()
    assert await town.control.held("ann.lee", "wmC1") == {"advice/keen"}
    rows = await db.fetch("select userid from employee_role where corp_id = $1 and userid like 'ann%'", town.corp_id)
    assert [row["userid"] for row in rows] == ["ann"]


async def test_a_delegate_and_a_joined_account_may_be_named_either_way(town: Town, web: Web) -> None:
    ends_at = (clock.now() + timedelta(days=9)).isoformat()
    given = await web.call("hq", "POST", "/v1/delegations", {"delegate": "boss.li", "ends_at": ends_at})
    assert given.status_code == 201, given.text
    (row,) = await db.fetch("select userid, delegate from delegation where corp_id = $1", town.corp_id)
    assert row == {"userid": "hq", "delegate": "boss"}
    joined = await web.call("admin", "PUT", "/v1/employees/bob/person", {"same_as": "ann.lee"})
    assert joined.status_code == 200, joined.text
    directory = await identity.load_directory(town.corp_id)
    assert directory.employees["bob"].person == directory.employees["ann"].person == "ann"


async def test_policy_files_may_name_people_either_way_and_once(town: Town, web: Web) -> None:
    admin = town.as_("admin")
    bundle = bundle_of(PEOPLE, GROUPS, GRANTS)
    renamed = tuple(replace(line, userid=NEW.get(line.userid, line.userid)) for line in bundle.people)
    assert (await files.diff_bundle(admin, replace(bundle, people=renamed))).empty
    await publishing.apply_bundle(admin, replace(bundle, people=renamed), "by WeCom's names")
    twice = (*bundle.people, PersonLine("ann.lee", (RoleName.STAFF,)))
    with pytest.raises(BundleInvalid) as refused:
        await files.diff_bundle(admin, replace(bundle, people=twice))
    assert [mistake.code for mistake in refused.value.mistakes] == ["person_twice"]


async def test_tokens_and_clicks_are_by_wecoms_name_alone(town: Town, web: Web) -> None:
    check_problem(await web.get("ann", "/v1/me"), 403, "refused_at_identity")
    assert (await web.get("ann.lee", "/v1/me")).json()["userid"] == "ann"


async def test_a_name_that_somebody_else_has_now_names_nobody(town: Town, mail: Mailbox, web: Web) -> None:
    await give_the_name_away(mail, "ann")
    found = await asked_everywhere(town, web, "ann")
    for place, answer in found.items():
        assert answer.status_code == 422, place
        check_problem(answer, 422, "userid_ambiguous")
    found = await asked_everywhere(town, web, "ann.lee")
    assert {place: answer.status_code for place, answer in found.items()} == dict.fromkeys(found, 200)
    await mail.edit("delete_user", userid="ann")
    await mail.work()
    assert (await follow_named(town, web, "ann")).status_code == 200, "nobody else has it any more"
    await give_the_name_away(mail, "ann")
    await mail.edit("update_user", userid="ann", changes={"userid": "another"})
    mail.lose = 1.0
    assert (await town.run(RunKind.ORG))["state"] == "done"
    assert (await follow_named(town, web, "ann")).status_code == 200


async def test_two_who_changed_names_with_each_other_are_never_mistaken(town: Town, mail: Mailbox, web: Web) -> None:
    await mail.edit("update_user", userid="bob", changes={"userid": "ann"})
    await mail.work()
    directory = await identity.load_directory(town.corp_id)
    assert directory.here("ann") == "bob", "a token's word is WeCom's"
    check_problem(await follow_named(town, web, "ann", "wmC3"), 422, "userid_ambiguous")
    assert (await follow_named(town, web, "bob", "wmC3")).json()["follow_userid"] == "bob"
    assert (await follow_named(town, web, "ann.lee")).json()["follow_userid"] == "ann"
    await mail.edit("mark", userid="ann", external_userid="wmC3", add=["advice/cheap"], remove=[])
    await mail.work()
    assert "advice/cheap" in await town.carried("bob", "wmC3")
    await town.drain()
    assert not (await town.control.held("ann.lee", "wmC1")) - {"advice/keen"}


async def test_a_freed_name_in_an_event_ends_and_marks_nothing_of_the_renamed_person(town: Town, mail: Mailbox, web: Web) -> None:
    await give_the_name_away(mail, "ann")
    await mail.edit("add_contact", userid="ann", external_userid="wmC1")
    await mail.edit("mark", userid="ann", external_userid="wmC1", add=["value/high"], remove=[])
    await mail.work()
    assert await town.carried("ann", "wmC1") == set(), "what the new one does is not hers"
    await mail.edit("del_contact", userid="ann", external_userid="wmC1")
    await mail.work()
    rows = await db.fetch("select ended_at from follow where corp_id = $1 and external_userid = 'wmC1'", town.corp_id)
    assert [row["ended_at"] for row in rows] == [None]
    with pytest.raises(IdentityRefused):
        (await identity.load_directory(town.corp_id)).here("ann")
