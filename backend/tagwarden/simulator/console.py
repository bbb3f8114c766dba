"""Edits by people inside WeCom: the admin console, the sales person's client, the contact administrator.

Unlike calls of the API these are reported by callback, and they may touch every tag, whoever made it. Each edit and the
events it causes are one transaction.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from typing import Any, cast

import msgspec

from tagwarden.simulator import errcodes
from tagwarden.simulator import schemas as edits
from tagwarden.simulator.contacts import find_follow, mark
from tagwarden.simulator.corps import BadSetup, check_tree, save_department, save_employee, save_follow
from tagwarden.simulator.directory import check_follow_user
from tagwarden.simulator.events import (
    Event,
    Fields,
    announce,
    card_event,
    contact_event,
    customer_event,
    shuffle_event,
    tag_event,
)
from tagwarden.simulator.library import (
    Added,
    add_to_library,
    delete_from_library,
    find_group,
    rename_in_library,
    tags_by_name,
)  # fmt: skip
from tagwarden.simulator.messages import closed_for, issue_response_code
from tagwarden.simulator.model import Refused
from tagwarden.simulator.store import Store


def make_edit(store: Store, corp_id: str, edit: edits.AnyEdit) -> int:
    """Make one edit; the number of callbacks queued. Raises `Refused` or `BadSetup`, and then nothing changed."""
    with store.transaction():
        return announce(store, corp_id, _EDITS[type(edit)](store, corp_id, edit))


# -- customers --------------------------------------------------------------------------------------------------------


def _mark(store: Store, corp_id: str, edit: edits.Mark) -> list[Event]:
    follow = find_follow(store, corp_id, edit.userid, edit.external_userid)
    add = [_tag(store, corp_id, name)["id"] for name in edit.add]
    remove = [_tag(store, corp_id, name)["id"] for name in edit.remove]
    done = mark(store, corp_id, follow, add, remove) if add or remove or edit.strategy_tags is None else None
    if edit.strategy_tags is not None:
        doc = {**json.loads(follow["doc"]), "strategy_tags": msgspec.to_builtins(edit.strategy_tags)}
        store.run("UPDATE follows SET doc = ? WHERE id = ?", json.dumps(doc), follow["id"])
    elif done is None or (not done.add and not done.remove):
        return []
    return [customer_event("edit_external_contact", follow["userid"], follow["external_userid"])]


def _add_contact(store: Store, corp_id: str, edit: edits.AddContact) -> list[Event]:
    userid = check_follow_user(store, corp_id, edit.userid)
    sql = "SELECT * FROM follows WHERE corp_id = ? AND userid = ? AND external_userid = ?"
    if (there := store.row(sql, corp_id, userid, edit.external_userid)) is not None:
        return _confirm(store, there, edit)
    given = edits.FollowSetup(
        userid,
        edit.external_userid,
        edit.name,
        state=edit.state,
        personal_tags=edit.personal_tags,
        strategy_tags=edit.strategy_tags,
        half=edit.half,
    )
    follow_id = save_follow(store, corp_id, given)
    more = {"State": edit.state, "WelcomeCode": f"welcome{follow_id}"}
    change = "add_half_external_contact" if edit.half else "add_external_contact"
    return [customer_event(change, userid, edit.external_userid, **more)]


def _confirm(store: Store, there: sqlite3.Row, edit: edits.AddContact) -> list[Event]:
    """The customer confirms who had added him without asking."""
    doc = json.loads(there["doc"])
    if edit.half or not doc.get("half"):
        raise BadSetup("is a customer already")
    store.run("UPDATE follows SET doc = ? WHERE id = ?", json.dumps({**doc, "half": False}), there["id"])
    more = {"State": edit.state, "WelcomeCode": f"welcome{there['id']}"}
    return [customer_event("add_external_contact", there["userid"], there["external_userid"], **more)]


def _del_contact(store: Store, corp_id: str, edit: edits.DelContact) -> list[Event]:
    follow = find_follow(store, corp_id, edit.userid, edit.external_userid)
    pair = follow["userid"], follow["external_userid"]
    if edit.by == "customer":  # one-way: still in the employee's list, calls still work
        return [customer_event("del_follow_user", *pair)]
    store.run("DELETE FROM marks WHERE follow_id = ?", follow["id"])
    store.run("DELETE FROM follows WHERE id = ?", follow["id"])
    source = {"Source": "DELETE_BY_TRANSFER"} if edit.by == "transfer" else {}
    return [customer_event("del_external_contact", *pair, **source)]


def _transfer_fail(store: Store, corp_id: str, edit: edits.TransferFail) -> list[Event]:
    """Told of the employee who was to take over (path/92130); nothing changes."""
    userid = check_follow_user(store, corp_id, edit.userid)
    return [customer_event("transfer_fail", userid, edit.external_userid, FailReason=edit.reason)]


# -- the tag library --------------------------------------------------------------------------------------------------


def _create_group(store: Store, corp_id: str, edit: edits.CreateGroup) -> list[Event]:
    if not edit.tags:
        raise Refused(errcodes.BAD_PARAMETER, "a group needs a tag")
    return _created(add_to_library(store, corp_id, None, edit.group, [(name, 0) for name in edit.tags]))


def _create_tag(store: Store, corp_id: str, edit: edits.CreateTag) -> list[Event]:
    return _created(add_to_library(store, corp_id, None, edit.group, [(edit.name, 0)]))


def _created(added: Added) -> list[Event]:
    group = [tag_event("create", added.group["id"], "tag_group")] if added.is_new_group else []
    return group + [tag_event("create", tag["id"], "tag") for tag in added.tags]


def _rename_group(store: Store, corp_id: str, edit: edits.RenameGroup) -> list[Event]:
    group = _group(store, corp_id, edit.group)
    rename_in_library(store, corp_id, group, True, edit.name)
    return [tag_event("update", group["id"], "tag_group")]


def _rename_tag(store: Store, corp_id: str, edit: edits.RenameTag) -> list[Event]:
    tag = _tag(store, corp_id, edit.tag)
    rename_in_library(store, corp_id, tag, False, edit.name)
    return [tag_event("update", tag["id"], "tag")]


def _delete_group(store: Store, corp_id: str, edit: edits.DeleteGroup) -> list[Event]:
    return _deleted(*delete_from_library(store, [], [_group(store, corp_id, edit.group)]))


def _delete_tag(store: Store, corp_id: str, edit: edits.DeleteTag) -> list[Event]:
    return _deleted(*delete_from_library(store, [_tag(store, corp_id, edit.tag)], []))


def _deleted(tag_ids: list[str], group_ids: list[str]) -> list[Event]:
    tags = [tag_event("delete", tag_id, "tag") for tag_id in tag_ids]
    return tags + [tag_event("delete", group_id, "tag_group") for group_id in group_ids]


def _shuffle_tags(store: Store, corp_id: str, edit: edits.ShuffleTags) -> list[Event]:
    """One event, with the group's id or an empty one for the groups themselves; it says no order (path/92130)."""
    group = _group(store, corp_id, edit.group) if edit.group else None
    for place, name in enumerate(reversed(edit.order), 1):
        row = _tag(store, corp_id, f"{edit.group}/{name}") if group else _group(store, corp_id, name)
        table = "tags" if group else "tag_groups"
        store.run(f"UPDATE {table} SET sort = ? WHERE id = ?", place, row["id"])
    return [shuffle_event(group["id"] if group else "")]


# -- the organisation -------------------------------------------------------------------------------------------------


def _create_user(store: Store, corp_id: str, edit: edits.CreateUser) -> list[Event]:
    if store.row("SELECT 1 FROM employees WHERE corp_id = ? AND userid = ?", corp_id, edit.user.get("userid")):
        raise BadSetup("is an employee already")
    return [contact_event("create_user", _user_fields(save_employee(store, corp_id, edit.user)))]


def _update_user(store: Store, corp_id: str, edit: edits.UpdateUser) -> list[Event]:
    """Reported only where departments, leadership or the userid moved, as for assistants set up after 2022-08-15."""
    old = _employee(store, corp_id, edit.userid)
    kept = {key: value for key, value in old.items() if "department" not in edit.changes or key not in _PER_DEPARTMENT}
    given = {**kept, **edit.changes}
    if given["userid"] != old["userid"]:
        store.run("DELETE FROM members WHERE corp_id = ? AND userid = ?", corp_id, old["userid"])
        store.run("DELETE FROM employees WHERE corp_id = ? AND userid = ?", corp_id, old["userid"])
        store.run("UPDATE follows SET userid = ? WHERE corp_id = ? AND userid = ?", given["userid"], corp_id, old["userid"])
    new = save_employee(store, corp_id, given)
    if all(new[key] == old[key] for key in ("userid", "department", "is_leader_in_dept", "direct_leader")):
        return []
    fields = _user_fields({**new, "userid": old["userid"]})
    renamed: Fields = {"NewUserID": new["userid"]} if new["userid"] != old["userid"] else {}
    return [contact_event("update_user", {**fields, **renamed})]


def _delete_user(store: Store, corp_id: str, edit: edits.DeleteUser) -> list[Event]:
    """The follows stay: WeCom keeps the customers of a person who left until they are handed over."""
    userid = _employee(store, corp_id, edit.userid)["userid"]
    store.run("DELETE FROM members WHERE corp_id = ? AND userid = ?", corp_id, userid)
    store.run("DELETE FROM employees WHERE corp_id = ? AND userid = ?", corp_id, userid)
    return [contact_event("delete_user", {"UserID": userid})]


def _create_party(store: Store, corp_id: str, edit: edits.CreateParty) -> list[Event]:
    if store.row("SELECT 1 FROM departments WHERE corp_id = ? AND id = ?", corp_id, edit.party.get("id")):
        raise BadSetup("is a department already")
    doc = save_department(store, corp_id, edit.party)
    check_tree(store, corp_id)
    return [contact_event("create_party", {"Id": doc["id"], "ParentId": doc["parentid"]})]


def _update_party(store: Store, corp_id: str, edit: edits.UpdateParty) -> list[Event]:
    """Reported only where the parent moved."""
    old = _department(store, corp_id, edit.id)
    new = save_department(store, corp_id, {**old, **edit.changes, "id": edit.id})
    check_tree(store, corp_id)
    if new["parentid"] == old["parentid"]:
        return []
    return [contact_event("update_party", {"Id": new["id"], "ParentId": new["parentid"]})]


def _delete_party(store: Store, corp_id: str, edit: edits.DeleteParty) -> list[Event]:
    _department(store, corp_id, edit.id)
    if store.row("SELECT 1 FROM members WHERE corp_id = ? AND department = ?", corp_id, edit.id):
        raise BadSetup("the department has members")
    store.run("DELETE FROM departments WHERE corp_id = ? AND id = ?", corp_id, edit.id)
    check_tree(store, corp_id)
    return [contact_event("delete_party", {"Id": edit.id})]


# -- cards ------------------------------------------------------------------------------------------------------------


def _click_card(store: Store, corp_id: str, edit: edits.ClickCard) -> list[Event]:
    row = store.row("SELECT * FROM cards WHERE corp_id = ? AND task_id = ?", corp_id, edit.task_id)
    if row is None:
        raise BadSetup("no card with this task_id")
    userid = _employee(store, corp_id, edit.userid)["userid"]
    card = json.loads(row["body"])["template_card"]
    if not edit.forged:
        _check_click(store, row, card, userid, edit.key)
    fields: Fields = {
        "EventKey": edit.key,
        "TaskId": edit.task_id,
        "CardType": card.get("card_type", ""),
        "ResponseCode": issue_response_code(store, row["msgid"]),
        "AgentID": json.loads(row["body"])["agentid"],
    }
    return [card_event(row["app"], userid, fields)]


def _check_click(store: Store, row: sqlite3.Row, card: dict[str, Any], userid: str, key: str) -> None:
    """What a client of WeCom's could send: a button that the card on this person's screen has."""
    if userid not in json.loads(row["receivers"]):
        raise BadSetup("never got this card")
    if key not in [button.get("key") for button in card.get("button_list", ()) if button.get("type", 0) == 0]:
        raise BadSetup("the card has no such button")
    if userid in closed_for(row) and not store.switches.closed_cards_take_clicks:
        raise BadSetup("the card is closed on this screen")


# -- looking up -------------------------------------------------------------------------------------------------------

_PER_DEPARTMENT = ("order", "is_leader_in_dept", "main_department")


def _tag(store: Store, corp_id: str, wanted: str) -> sqlite3.Row:
    tags = tags_by_name(store, corp_id)
    found = tags.get(wanted) or next((tag for tag in tags.values() if tag["id"] == wanted), None)
    if found is None:
        raise Refused(errcodes.UNKNOWN_TAG, wanted)
    return found


def _group(store: Store, corp_id: str, wanted: str) -> sqlite3.Row:
    sql = "SELECT * FROM tag_groups WHERE corp_id = ? AND id = ? AND NOT deleted"
    found = find_group(store, corp_id, wanted) or store.row(sql, corp_id, wanted)
    if found is None:
        raise Refused(errcodes.UNKNOWN_TAG, wanted)
    return found


def _employee(store: Store, corp_id: str, userid: str) -> dict[str, Any]:
    row = store.row("SELECT doc FROM employees WHERE corp_id = ? AND userid = ?", corp_id, userid)
    if row is None:
        raise Refused(errcodes.UNKNOWN_USERID)
    return cast("dict[str, Any]", json.loads(row["doc"]))


def _department(store: Store, corp_id: str, department: int) -> dict[str, Any]:
    row = store.row("SELECT doc FROM departments WHERE corp_id = ? AND id = ?", corp_id, department)
    if row is None:
        raise Refused(errcodes.UNKNOWN_DEPARTMENT)
    return cast("dict[str, Any]", json.loads(row["doc"]))


def _user_fields(doc: dict[str, Any]) -> Fields:
    return {"UserID": doc["userid"], "Department": ",".join(str(department) for department in doc["department"])}


_EDITS: dict[type, Callable[[Store, str, Any], list[Event]]] = {
    edits.Mark: _mark,
    edits.AddContact: _add_contact,
    edits.DelContact: _del_contact,
    edits.CreateGroup: _create_group,
    edits.CreateTag: _create_tag,
    edits.RenameGroup: _rename_group,
    edits.RenameTag: _rename_tag,
    edits.DeleteGroup: _delete_group,
    edits.DeleteTag: _delete_tag,
    edits.CreateUser: _create_user,
    edits.UpdateUser: _update_user,
    edits.DeleteUser: _delete_user,
    edits.CreateParty: _create_party,
    edits.UpdateParty: _update_party,
    edits.DeleteParty: _delete_party,
    edits.ClickCard: _click_card,
    edits.ShuffleTags: _shuffle_tags,
    edits.TransferFail: _transfer_fail,
}
