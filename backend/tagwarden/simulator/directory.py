"""Departments and employees as WeCom serves them to an app (path/90208, 95350, 95351, 90196, 90200, 90201, 96067).

Reads only; the corp is loaded by `corps.py` and edited by `console.py`. Phone numbers and mail addresses are never
served, as to any app made after 2022-06-20.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence

from tagwarden.simulator import errcodes
from tagwarden.simulator.call import Call, Json, make_cursor, read_cursor, read_number
from tagwarden.simulator.model import Refused, check_userid
from tagwarden.simulator.store import Store

_OPEN_PAGE = 10_000


def list_departments(call: Call) -> Json:
    """department/list: the department asked for and everything below it; the whole tree without `id`."""
    leaders = _leaders(call)
    return {"department": [{**row, "department_leader": leaders.get(row["id"], [])} for row in _subtree(call)]}


def list_department_ids(call: Call) -> Json:
    """department/simplelist: ids, parents and order only."""
    found = [{key: row[key] for key in ("id", "parentid", "order")} for row in _subtree(call)]
    return {"department_id": found}


def get_department(call: Call) -> Json:
    """department/get: one department."""
    wanted = read_number(call.query.get("id"), 0)
    for row in _departments(call.store, call.corp_id):
        if row["id"] == wanted:
            return {"department": {**row, "department_leader": _leaders(call).get(wanted, [])}}
    raise Refused(errcodes.UNKNOWN_DEPARTMENT)


def list_members(call: Call) -> Json:
    """user/simplelist: the direct members of one department, names only."""
    found = [
        {
            "userid": doc["userid"],
            "name": doc["name"],
            "department": doc["department"],
            "open_userid": _open_userid(call.corp_id, doc["userid"]),
        }
        for doc in _members(call)
    ]
    return {"userlist": found}


def list_members_fully(call: Call) -> Json:
    """user/list: the direct members of one department, in full."""
    return {"userlist": _members(call)}


def get_member(call: Call) -> Json:
    """user/get: one employee; userids compare without case."""
    return find_employee(call.store, call.corp_id, call.query.get("userid"))


def list_member_ids(call: Call) -> Json:
    """user/list_id: one row per membership, paged; for the contact assistant only."""
    limit, start = call.limit(_OPEN_PAGE, _OPEN_PAGE), read_cursor(call.text("cursor"))
    rows = call.store.rows(
        "SELECT userid, department FROM members WHERE corp_id = ? ORDER BY userid, department LIMIT ? OFFSET ?",
        call.corp_id, limit + 1, start,
    )  # fmt: skip
    page = [{"userid": row["userid"], "department": row["department"]} for row in rows[:limit]]
    return {"dept_user": page, "next_cursor": make_cursor(start + limit) if len(rows) > limit else ""}


def list_follow_users(call: Call) -> Json:
    """get_follow_user_list: the employees who have the customer-contact function (path/92571)."""
    found = [doc["userid"] for doc in _employees(call.store, call.corp_id) if _follows_customers(doc)]
    return {"follow_user": found}


def find_employee(store: Store, corp_id: str, userid: object) -> Json:
    """An employee's record as user/get answers it. Raises 40003 and 60111."""
    row = store.row("SELECT doc FROM employees WHERE corp_id = ? AND userid = ?", corp_id, check_userid(userid))
    if row is None:
        raise Refused(errcodes.UNKNOWN_USERID)
    return _public(json.loads(row["doc"]))


def check_follow_user(store: Store, corp_id: str, userid: object) -> str:
    """The userid as stored, of an employee who has the customer-contact function. Raises 40003, 60111, 84084."""
    return check_follow_users(store, corp_id, [userid])[0]


def check_follow_users(store: Store, corp_id: str, userids: Sequence[object]) -> list[str]:
    """The same of many, in one statement; the first that is wrong is told."""
    asked = json.dumps([check_userid(userid) for userid in userids])
    rows = store.rows(
        "SELECT e.doc FROM json_each(?) AS asked LEFT JOIN employees e ON e.corp_id = ? AND e.userid = asked.value "
        "ORDER BY asked.key",
        asked, corp_id,
    )  # fmt: skip
    return [_follow_userid(row["doc"]) for row in rows]


def _follow_userid(stored: str | None) -> str:
    if stored is None:
        raise Refused(errcodes.UNKNOWN_USERID)
    doc = json.loads(stored)
    if not _follows_customers(doc):
        raise Refused(errcodes.NOT_A_FOLLOW_USER)
    return str(doc["userid"])


def _employees(store: Store, corp_id: str) -> list[Json]:
    rows = store.rows("SELECT doc FROM employees WHERE corp_id = ? ORDER BY rowid", corp_id)
    return [json.loads(row["doc"]) for row in rows]


def _members(call: Call) -> list[Json]:
    department = read_number(call.query.get("department_id"), 0)
    if not call.store.row("SELECT 1 FROM departments WHERE corp_id = ? AND id = ?", call.corp_id, department):
        raise Refused(errcodes.UNKNOWN_DEPARTMENT)
    rows = call.store.rows(
        "SELECT e.doc FROM members m JOIN employees e ON e.corp_id = m.corp_id AND e.userid = m.userid "
        "WHERE m.corp_id = ? AND m.department = ? ORDER BY e.rowid",
        call.corp_id, department,
    )  # fmt: skip
    return [_public(json.loads(row["doc"])) for row in rows]


def _departments(store: Store, corp_id: str) -> list[Json]:
    return [json.loads(row["doc"]) for row in store.rows("SELECT doc FROM departments WHERE corp_id = ?", corp_id)]


def _subtree(call: Call) -> list[Json]:
    everything = _departments(call.store, call.corp_id)
    top = read_number(call.query.get("id"), 0)
    if not top:
        return everything
    children: dict[int, list[Json]] = {}
    for row in everything:
        children.setdefault(row["parentid"], []).append(row)
    found = [row for row in everything if row["id"] == top]
    if not found:
        raise Refused(errcodes.UNKNOWN_DEPARTMENT)
    for row in found:  # grows while it is walked: breadth first
        found.extend(children.get(row["id"], []))
    return found


def _leaders(call: Call) -> dict[int, list[str]]:
    found: dict[int, list[str]] = {}
    for doc in _employees(call.store, call.corp_id):
        for department, leads in zip(doc["department"], doc["is_leader_in_dept"], strict=True):
            if leads:
                found.setdefault(department, []).append(doc["userid"])
    return found


def _follows_customers(doc: Json) -> bool:
    return bool(doc.get("customer_contact", True)) and doc["status"] == 1


def _public(doc: Json) -> Json:
    return {key: value for key, value in doc.items() if key != "customer_contact"}


def _open_userid(corp_id: str, userid: str) -> str:
    return "wo" + hashlib.sha256(f"{corp_id}/{userid}".encode()).hexdigest()[:30]
