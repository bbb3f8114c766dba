"""Loading a whole corp at once, and the shape in which its departments and employees are stored.

Loading replaces what the corp had: tokens, call log, queued faults and undelivered callbacks too.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from tagwarden.simulator.call import Json
from tagwarden.simulator.library import add_to_library, tags_by_name
from tagwarden.simulator.model import check_external_userid, check_userid
from tagwarden.simulator.schemas import AppSetup, CallbackSetup, CorpSetup, FollowSetup
from tagwarden.simulator.store import Store


class BadSetup(ValueError):
    """What the control API was given contradicts itself; the text says where."""


def load_corp(store: Store, setup: CorpSetup) -> Json:
    """Create or replace a corp in one transaction; answers the ids its tags were given. Raises `BadSetup`."""
    with store.transaction():
        store.forget_corp(setup.corp_id)
        store.run("INSERT INTO corps VALUES (?, ?)", setup.corp_id, setup.name)
        for app in setup.apps:
            _save_app(store, setup.corp_id, app)
        _load_departments(store, setup.corp_id, setup.departments)
        for employee in setup.employees:
            save_employee(store, setup.corp_id, employee)
        for group in setup.tag_groups:
            add_to_library(store, setup.corp_id, group.app, group.name, [(name, 0) for name in group.tag_names()])
        _load_follows(store, setup.corp_id, setup.follows)
    return {"corp_id": setup.corp_id, "tags": {n: row["id"] for n, row in tags_by_name(store, setup.corp_id).items()}}


def set_callback(store: Store, corp_id: str, app: str, callback: CallbackSetup | None) -> None:
    """Store or clear where an app receives callbacks."""
    url, token, aes_key = (callback.url, callback.token, callback.aes_key) if callback else (None, None, None)
    store.run(
        "UPDATE apps SET callback_url = ?, callback_token = ?, callback_aes_key = ? WHERE corp_id = ? AND name = ?",
        url, token, aes_key, corp_id, app,
    )  # fmt: skip


def save_employee(store: Store, corp_id: str, given: dict[str, Any]) -> Json:
    """Store an employee given in WeCom's field names; what is left out gets WeCom's default. Raises `BadSetup`."""
    userid = check_userid(given.get("userid"))
    departments = given.get("department", [1])
    doc: Json = {
        "userid": userid,
        "name": given.get("name", userid),
        "department": departments,
        "order": given.get("order", [0] * len(departments)),
        "position": given.get("position", ""),
        "is_leader_in_dept": given.get("is_leader_in_dept", [0] * len(departments)),
        "direct_leader": given.get("direct_leader", []),
        "main_department": given.get("main_department", departments[0] if departments else 0),
        "status": given.get("status", 1),
        "alias": given.get("alias", ""),
        "extattr": given.get("extattr", {"attrs": []}),
        "customer_contact": given.get("customer_contact", True),
    }
    if len(doc["is_leader_in_dept"]) != len(departments):
        raise BadSetup(f"{userid}: is_leader_in_dept does not match department")
    for department in departments:
        if not store.row("SELECT 1 FROM departments WHERE corp_id = ? AND id = ?", corp_id, department):
            raise BadSetup(f"{userid}: department {department} does not exist")
    store.run("DELETE FROM members WHERE corp_id = ? AND userid = ?", corp_id, userid)
    memberships = [(corp_id, department, userid) for department in departments]
    store.run_many("INSERT INTO members VALUES (?, ?, ?)", memberships)
    store.run("INSERT OR REPLACE INTO employees VALUES (?, ?, ?)", corp_id, userid, json.dumps(doc))
    return doc


def save_department(store: Store, corp_id: str, given: dict[str, Any]) -> Json:
    """Store a department given in WeCom's field names."""
    doc: Json = {
        "id": int(given["id"]),
        "name": given.get("name", ""),
        "name_en": given.get("name_en", ""),
        "parentid": int(given.get("parentid", 0)),
        "order": given.get("order", 0),
    }
    values = (corp_id, doc["id"], doc["parentid"], json.dumps(doc))
    store.run("INSERT OR REPLACE INTO departments VALUES (?, ?, ?, ?)", *values)
    return doc


def check_tree(store: Store, corp_id: str) -> None:
    """Raise `BadSetup` unless every department hangs below a root (parent 0)."""
    rows = store.rows("SELECT id, parentid FROM departments WHERE corp_id = ?", corp_id)
    parents = {row["id"]: row["parentid"] for row in rows}
    for department in parents:
        seen: set[int] = set()
        while department:
            if department in seen or department not in parents:
                raise BadSetup(f"department {department} is missing or in a circle")
            seen.add(department)
            department = parents[department]


def save_follow(store: Store, corp_id: str, given: FollowSetup) -> int:
    """Store a follow and its customer; answers the follow's row id."""
    return save_follows(store, corp_id, [given])[0]


def save_follows(store: Store, corp_id: str, given: Sequence[FollowSetup]) -> range:
    """Store many with a few statements; answers their row ids, in order. A name that is given replaces what was known."""
    now = int(store.now())
    for one in given:
        check_external_userid(one.external_userid)
    unnamed = ((corp_id, one.external_userid, one.external_userid) for one in given)
    store.run_many("INSERT OR IGNORE INTO customers VALUES (?, ?, ?)", unnamed)
    named = ((corp_id, one.external_userid, one.name or one.external_userid) for one in given if one.name is not None)
    store.run_many("INSERT OR REPLACE INTO customers VALUES (?, ?, ?)", named)
    first = 1 + store.count("SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'follows'")
    rows = (
        (number, corp_id, one.userid, one.external_userid, now if one.createtime is None else one.createtime, _follow_doc(one))
        for number, one in enumerate(given, first)
    )
    store.run_many("INSERT INTO follows (id, corp_id, userid, external_userid, createtime, doc) VALUES (?, ?, ?, ?, ?, ?)", rows)
    return range(first, first + len(given))


def _follow_doc(given: FollowSetup) -> str:
    doc = {key: getattr(given, key) for key in ("remark", "description", "add_way", "state", "personal_tags", "half")}
    doc["strategy_tags"] = [{"id": tag.id, "name": tag.name, "group": tag.group} for tag in given.strategy_tags]
    return json.dumps(doc)


def _save_app(store: Store, corp_id: str, app: AppSetup) -> None:
    store.run(
        "INSERT INTO apps (corp_id, name, secret, agent_id, kind, customer_contact) VALUES (?, ?, ?, ?, ?, ?)",
        corp_id, app.name, app.secret, app.agent_id, app.kind, app.customer_contact,
    )  # fmt: skip
    set_callback(store, corp_id, app.name, app.callback)


def _load_departments(store: Store, corp_id: str, departments: Iterable[dict[str, Any]]) -> None:
    for department in departments:
        save_department(store, corp_id, department)
    check_tree(store, corp_id)


def _load_follows(store: Store, corp_id: str, follows: Sequence[FollowSetup]) -> None:
    rows = store.rows("SELECT userid FROM employees WHERE corp_id = ?", corp_id)
    employees = {row["userid"].casefold() for row in rows}
    tags = {name: row["id"] for name, row in tags_by_name(store, corp_id).items()}
    for follow in follows:
        if follow.userid.casefold() not in employees:
            raise BadSetup(f"follow of {follow.userid}: no such employee")
        for name in follow.tags:
            if name not in tags:
                raise BadSetup(f"follow of {follow.userid}: no such tag {name}")
    numbered = zip(save_follows(store, corp_id, follows), follows, strict=True)
    marks = ((number, tags[name]) for number, follow in numbered for name in dict.fromkeys(follow.tags))
    store.run_many("INSERT INTO marks VALUES (?, ?)", marks)
