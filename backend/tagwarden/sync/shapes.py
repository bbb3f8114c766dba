"""WeCom's records as our mirror takes them in. Pure; WeCom's field names end here."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from tagwarden.customers.model import ContactSeen, Label
from tagwarden.sync.org_in import STATUS, DepartmentSeen, MemberSeen, OrgSeen

Record = dict[str, Any]
ENTERPRISE, PERSONAL, STRATEGY = 1, 2, 3
LABELS = {PERSONAL: "personal", STRATEGY: "strategy"}
LONGEST_NAME = 200


def led(user: Record) -> set[int]:
    """The departments a member leads: one flag each, in the order of his departments (90196)."""
    pairs = zip(user.get("department", ()), user.get("is_leader_in_dept", ()), strict=False)
    return {department for department, leader in pairs if leader}


def status(user: Record) -> str:
    """Our word for a member's state; what we do not know is not active."""
    return STATUS.get(user.get("status", 1), "inactive")


def department(one: Record) -> DepartmentSeen:
    """One node of the tree."""
    return one["id"], one.get("name", ""), one.get("parentid", 0), one.get("order", 0)


def member(user: Record) -> MemberSeen:
    """One member (90196)."""
    leads = led(user)
    places = {one: one in leads for one in dict.fromkeys(user.get("department", ()))}
    return MemberSeen(user["userid"], str(user.get("name", user["userid"])), status(user), user.get("main_department"), places)


def organisation(departments: list[Record], users: dict[str, Record], leads: dict[str, set[int]]) -> OrgSeen:
    """The whole tree with everybody in it."""
    known = {one["id"] for one in departments}
    return OrgSeen(
        tuple(department(one) for one in departments),
        tuple((userid, user.get("name", userid), status(user), user.get("main_department")) for userid, user in users.items()),
        tuple(
            (userid, one, one in leads[userid])
            for userid, user in users.items()
            for one in dict.fromkeys(user.get("department", ()))
            if one in known
        ),
    )


def listed_contact(contact: Record, follow: Record) -> ContactSeen:
    """A row of the list of many (92994): tags by id alone, personal ones left out."""
    return _contact(contact, follow, tuple(follow.get("tag_id", ())), None)


def followers(contact: Record, follows: list[Record]) -> list[ContactSeen]:
    """A page of one customer's followers (92114): tags with their type, personal ones without an id."""
    seen = []
    for follow in follows:
        tags = [tag for tag in follow.get("tags", ()) if isinstance(tag, dict)]
        ours = tuple(str(tag["tag_id"]) for tag in tags if tag.get("type", ENTERPRISE) == ENTERPRISE and tag.get("tag_id"))
        labels = tuple(_label(tag) for tag in tags if tag.get("type") in LABELS)
        seen.append(_contact(contact, follow, ours, labels))
    return seen


def _label(tag: Record) -> Label:
    name, group = str(tag.get("tag_name", ""))[:LONGEST_NAME], str(tag.get("group_name", ""))[:LONGEST_NAME]
    return Label(LABELS[tag["type"]], name, group, str(tag.get("tag_id") or ""))


def _contact(contact: Record, follow: Record, tag_ids: tuple[str, ...], labels: tuple[Label, ...] | None) -> ContactSeen:
    return ContactSeen(
        follow["userid"],
        contact["external_userid"],
        contact.get("name", ""),
        contact.get("type", 1),
        contact.get("corp_name") or None,
        datetime.fromtimestamp(follow.get("createtime", 0), UTC),
        tag_ids,
        labels,
    )
