"""Customers, follows and the tags on each follow (path/92113, 92114, 92994, 92118).

Tags hang on the (employee, customer) pair: two followers of one customer hold separate sets. What a mark_tag call may
do is decided in `model.decide_marking`; here it is looked up and written.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable
from typing import Any

from tagwarden.simulator import errcodes
from tagwarden.simulator.call import Call, Json, make_cursor, make_place, read_cursor, read_place
from tagwarden.simulator.directory import check_follow_user, check_follow_users
from tagwarden.simulator.model import Marking, Refused, check_external_userid, check_userid, decide_marking
from tagwarden.simulator.store import Store

_BATCH_DEFAULT = 50
_BATCH_MOST = 100
_ENTERPRISE, _PERSONAL, _STRATEGY = 1, 2, 3


def list_customers(call: Call) -> Json:
    """externalcontact/list: every customer of one employee, unpaged."""
    userid = check_follow_user(call.store, call.corp_id, call.query.get("userid"))
    rows = call.store.rows(
        "SELECT external_userid FROM follows WHERE corp_id = ? AND userid = ? ORDER BY id", call.corp_id, userid
    )
    if not rows and call.switches.list_without_customers_code:
        raise Refused(call.switches.list_without_customers_code)
    return {"external_userid": [row["external_userid"] for row in rows]}


def get_customer(call: Call) -> Json:
    """externalcontact/get: one customer with all followers and the tags each of them put; `followers_a_page`."""
    external_userid = check_external_userid(call.query.get("external_userid"))
    start = read_cursor(call.query.get("cursor", ""))
    customer = _customer(call.store, call.corp_id, external_userid)
    follows = call.store.rows(
        "SELECT * FROM follows WHERE corp_id = ? AND external_userid = ? AND id > ? ORDER BY id LIMIT ?",
        call.corp_id, external_userid, start, call.switches.followers_a_page + 1,
    )  # fmt: skip
    if customer is None or (not follows and not start):
        raise Refused(errcodes.NO_RELATION)
    page = follows[: call.switches.followers_a_page]
    tags = _tags_on(call.store, page)
    answer: Json = {
        "external_contact": customer,
        "follow_user": [{**_follow(row), "tags": _shown_tags(row, tags[row["id"]])} for row in page],
    }
    if len(follows) > len(page):
        answer["next_cursor"] = make_cursor(start if start and call.switches.cursor_stands_still else page[-1]["id"])
    return answer


def list_customers_of_many(call: Call) -> Json:
    """batch/get_by_user: follows of up to 100 employees, up to 100 a page; ids of enterprise and strategy tags."""
    userids = check_follow_users(call.store, call.corp_id, _asked_userids(call))
    limit, place = call.limit(_BATCH_DEFAULT, _BATCH_MOST), read_place(call.text("cursor"))
    follows = _follows_of(call, userids, place, limit + 1)
    page = follows[:limit]
    tags = _tags_on(call.store, page)
    customers = _customers(call.store, call.corp_id, [row["external_userid"] for row in page])
    found = [_listed(row, customers[row["external_userid"]], tags[row["id"]]) for row in page]
    more = len(follows) > len(page)
    return {"external_contact_list": found, "next_cursor": make_place(page[-1]["userid"], page[-1]["id"]) if more else ""}


def _follows_of(call: Call, userids: list[str], place: tuple[str, int], most: int) -> list[sqlite3.Row]:
    """Follows after a place, employee by employee: a page costs the same wherever it stands among a million."""
    after, position = place[0].casefold(), place[1]
    found: list[sqlite3.Row] = []
    for userid in sorted(set(userids), key=str.casefold):
        if userid.casefold() < after or len(found) == most:
            continue
        found += call.store.rows(
            "SELECT * FROM follows WHERE corp_id = ? AND userid = ? AND id > ? ORDER BY id LIMIT ?",
            call.corp_id, userid, position if userid.casefold() == after else 0, most - len(found),
        )  # fmt: skip
    return found


def _listed(row: sqlite3.Row, customer: Json, tags: list[sqlite3.Row]) -> Json:
    doc = json.loads(row["doc"])
    return {
        "external_contact": customer,
        "follow_info": {**_follow_of(row, doc), "tag_id": _ids([*tags, *doc.get("strategy_tags", [])])},
    }


def mark_tag(call: Call) -> Json:
    """mark_tag: add and remove tags on one follow. Who made a tag does not matter here."""
    follow = find_follow(call.store, call.corp_id, call.body.get("userid"), call.body.get("external_userid"))
    if json.loads(follow["doc"]).get("half"):  # added without asking: calls fail until the customer confirms (path/90313)
        raise Refused(errcodes.NO_RELATION, "not confirmed by the customer yet")
    marking = mark(call.store, call.corp_id, follow, call.ids("add_tag"), call.ids("remove_tag"))
    if marking.code:
        raise Refused(marking.code, "a part was applied")
    return {}


def marked_pair(call: Call) -> tuple[str, str, str]:
    """The follow a mark_tag call is about, as one key: two calls for it may not run at once."""
    userid, customer = call.body.get("userid"), call.body.get("external_userid")
    return call.corp_id, str(userid).casefold(), str(customer)


# -- shared with the console -----------------------------------------------------------------------------------------


def find_follow(store: Store, corp_id: str, userid: object, external_userid: object) -> sqlite3.Row:
    """The follow. Raises 40003, 60111, 84084, 41035, 40096, and 84061 where there is none."""
    check_userid(userid)
    customer = check_external_userid(external_userid)
    employee = check_follow_user(store, corp_id, userid)
    row = store.row("SELECT * FROM follows WHERE corp_id = ? AND userid = ? AND external_userid = ?", corp_id, employee, customer)
    if row is None:
        raise Refused(errcodes.NO_RELATION)
    return row


def mark(store: Store, corp_id: str, follow: sqlite3.Row, add: list[str], remove: list[str]) -> Marking:
    """Apply one marking to a follow and return what it did."""
    held = held_tag_ids(store, follow["id"])
    known = _existing(store, corp_id, {*add, *remove})
    marking = decide_marking(held, add, remove, known, store.switches)
    with store.transaction():
        store.run_many("INSERT INTO marks VALUES (?, ?)", [(follow["id"], tag) for tag in marking.add])
        store.run_many("DELETE FROM marks WHERE follow_id = ? AND tag_id = ?", [(follow["id"], tag) for tag in marking.remove])
    return marking


def held_tag_ids(store: Store, follow_id: int) -> set[str]:
    """The enterprise tags a follow holds."""
    return {row["tag_id"] for row in store.rows("SELECT tag_id FROM marks WHERE follow_id = ?", follow_id)}


def held_tags(store: Store, corp_id: str) -> list[Json]:
    """Every follow of a corp with its tags as "group/tag" and as ids, both sorted."""
    rows = store.rows(
        "SELECT f.id, f.userid, f.external_userid, t.id AS tag_id, g.name || '/' || t.name AS path FROM follows f "
        "LEFT JOIN marks m ON m.follow_id = f.id LEFT JOIN tags t ON t.id = m.tag_id "
        "LEFT JOIN tag_groups g ON g.id = t.group_id WHERE f.corp_id = ? ORDER BY f.id, path",
        corp_id,
    )
    found: dict[int, Json] = {}
    for row in rows:
        pair = {"userid": row["userid"], "external_userid": row["external_userid"], "tags": [], "tag_ids": []}
        follow = found.setdefault(row["id"], pair)
        if row["tag_id"]:
            follow["tags"].append(row["path"])
            follow["tag_ids"].append(row["tag_id"])
    return list(found.values())


def tags_of_follow(store: Store, follow: sqlite3.Row) -> Json:
    """The tags of one follow as ids and as "group/tag"."""
    tags = _tags_on(store, [follow])[follow["id"]]
    return {"tag_ids": [tag["id"] for tag in tags], "tags": [f"{tag['group_name']}/{tag['name']}" for tag in tags]}


def _asked_userids(call: Call) -> list[str]:
    asked = call.ids("userid_list")
    if not asked and call.switches.batch_accepts_single_userid and call.text("userid"):
        asked = [call.text("userid")]
    if not asked:
        raise Refused(errcodes.BAD_USERID_LIST)
    if len(asked) > _BATCH_MOST:
        raise Refused(errcodes.USERID_LIST_TOO_LONG)
    return asked


def _existing(store: Store, corp_id: str, tag_ids: Iterable[str]) -> set[str]:
    sql = "SELECT 1 FROM tags WHERE id = ? AND corp_id = ? AND NOT deleted"
    return {tag_id for tag_id in tag_ids if store.row(sql, tag_id, corp_id)}


def _tags_on(store: Store, follows: list[sqlite3.Row]) -> dict[int, list[sqlite3.Row]]:
    found: dict[int, list[sqlite3.Row]] = {row["id"]: [] for row in follows}
    rows = store.rows(
        "SELECT m.follow_id, t.id, t.name, g.name AS group_name FROM marks m JOIN tags t ON t.id = m.tag_id "
        "JOIN tag_groups g ON g.id = t.group_id WHERE m.follow_id IN (SELECT value FROM json_each(?)) ORDER BY t.rowid",
        json.dumps(list(found)),
    )
    for row in rows:
        found[row["follow_id"]].append(row)
    return found


def _customer(store: Store, corp_id: str, external_userid: str) -> Json | None:
    return _customers(store, corp_id, [external_userid]).get(external_userid)


def _customers(store: Store, corp_id: str, external_userids: list[str]) -> dict[str, Json]:
    rows = store.rows(
        "SELECT external_userid, name FROM customers WHERE corp_id = ? AND external_userid IN (SELECT value FROM json_each(?))",
        corp_id, json.dumps(external_userids),
    )  # fmt: skip
    return {
        row["external_userid"]: {
            "external_userid": row["external_userid"], "name": row["name"], "type": 1, "gender": 0, "avatar": ""
        }
        for row in rows
    }  # fmt: skip


def _follow(row: sqlite3.Row) -> Json:
    return _follow_of(row, json.loads(row["doc"]))


def _follow_of(row: sqlite3.Row, doc: Json) -> Json:
    return {
        "userid": row["userid"],
        "remark": doc.get("remark", ""),
        "description": doc.get("description", ""),
        "createtime": row["createtime"],
        "remark_mobiles": [],
        "oper_userid": row["userid"],
        "add_way": doc.get("add_way", 0),
        "state": doc.get("state", ""),
    }


def _shown_tags(row: sqlite3.Row, tags: list[sqlite3.Row]) -> list[Json]:
    shown: list[Json] = [
        {"group_name": tag["group_name"], "tag_name": tag["name"], "tag_id": tag["id"], "type": _ENTERPRISE} for tag in tags
    ]
    for name in json.loads(row["doc"]).get("personal_tags", []):  # personal tags have no id
        shown.append({"group_name": "", "tag_name": name, "type": _PERSONAL})
    for tag in _strategy_tags(row):
        shown.append({"group_name": tag["group"], "tag_name": tag["name"], "tag_id": tag["id"], "type": _STRATEGY})
    return shown


def _ids(tags: list[Any]) -> list[str]:
    return [tag["id"] for tag in tags]


def _strategy_tags(row: sqlite3.Row) -> list[Json]:
    return list(json.loads(row["doc"]).get("strategy_tags", []))
