"""The corp's tag library: groups and tags, read and changed by apps and by the console (path/92117).

`maker` is the app that made a group or a tag, None for the admin console; only its maker may edit or delete it through
the API. Deleted rows stay, because WeCom still shows them, flagged, to whoever asks by id.
"""

from __future__ import annotations

import secrets
import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tagwarden.simulator import errcodes
from tagwarden.simulator.call import Call, Json
from tagwarden.simulator.model import Refused, check_name, check_order, check_owner
from tagwarden.simulator.store import Store

_LIVE_TAG = "SELECT * FROM tags WHERE corp_id = ? AND id = ? AND NOT deleted"
_LIVE_GROUP = "SELECT * FROM tag_groups WHERE corp_id = ? AND id = ? AND NOT deleted"
_RENAME_TAG = "UPDATE tags SET name = ?, sort = ? WHERE id = ?"
_RENAME_GROUP = "UPDATE tag_groups SET name = ?, sort = ? WHERE id = ?"


@dataclass(frozen=True, slots=True)
class Added:
    """What one addition made: the group's row, whether it is new, and the rows of the tags it made."""

    group: sqlite3.Row
    is_new_group: bool
    tags: list[sqlite3.Row]


def list_tags(call: Call) -> Json:
    """get_corp_tag_list: the whole library, or what the filters ask for; `group_id` wins over `tag_id`."""
    group_ids, tag_ids = call.ids("group_id"), call.ids("tag_id")
    groups = call.store.rows("SELECT * FROM tag_groups WHERE corp_id = ? ORDER BY sort DESC, rowid", call.corp_id)
    tags = call.store.rows("SELECT * FROM tags WHERE corp_id = ? ORDER BY sort DESC, rowid", call.corp_id)
    if group_ids:
        groups = [row for row in groups if row["id"] in set(group_ids)]
        return {"tag_group": _render(groups, tags, group_flag=False, tag_flag=True)}
    if tag_ids:
        tags = [row for row in tags if row["id"] in set(tag_ids)]
        groups = [row for row in groups if row["id"] in {tag["group_id"] for tag in tags}]
        return {"tag_group": _render(groups, tags, group_flag=True, tag_flag=True)}
    groups, tags = [row for row in groups if not row["deleted"]], [row for row in tags if not row["deleted"]]
    return {"tag_group": _render(groups, tags, group_flag=False, tag_flag=False)}


def add_tags(call: Call) -> Json:
    """add_corp_tag: into a group by id, into a group of that name, or into a new group; all tags or none."""
    items = call.body.get("tag")
    if not isinstance(items, list) or not items or not all(isinstance(item, dict) for item in items):
        raise Refused(errcodes.BAD_PARAMETER, "tag must be a non-empty array")
    if len(items) > call.switches.max_tags_per_add:
        raise Refused(errcodes.BAD_PARAMETER, "too many tags in one call")
    orders: dict[str, int] = {}
    for item in items:  # a name given twice makes one tag
        orders.setdefault(check_name(item.get("name"), call.switches), check_order(item.get("order", 0)))
    group = _group_to_fill(call)
    foreign = group is not None and group["maker"] != call.app.name
    if foreign and not call.switches.foreign_group_accepts_tags:
        raise Refused(call.switches.foreign_tag_code, "the group belongs to the console or to another app")
    order = check_order(call.body.get("order", 0))
    name = group["name"] if group else call.text("group_name")
    added = add_to_library(call.store, call.corp_id, call.app.name, name, list(orders.items()), order)
    shown = _tags_of(call.store, added.group["id"]) if call.switches.add_answers_whole_group else added.tags
    return {"tag_group": _render([added.group], shown, group_flag=False, tag_flag=False)[0]}


def edit_tag(call: Call) -> Json:
    """edit_corp_tag: rename or reorder a tag or a group of this app's own making."""
    row, is_group = _find(call.store, call.corp_id, call.text("id"))
    check_owner([row["maker"]], call.app.name, call.switches)
    name = call.body.get("name") or row["name"]
    order = check_order(call.body.get("order", row["sort"]))
    if not call.switches.edit_moves:
        order = row["sort"]
    rename_in_library(call.store, call.corp_id, row, is_group, name, order)
    return {}


def delete_tags(call: Call) -> Json:
    """del_corp_tag: tags and groups of this app's own making, all or none; a group goes with its last tag."""
    tag_ids, group_ids = call.ids("tag_id"), call.ids("group_id")
    if not tag_ids and not group_ids:
        raise Refused(errcodes.BAD_PARAMETER, "tag_id and group_id are both empty")
    tags = _live(call.store, _LIVE_TAG, call.corp_id, tag_ids)
    groups = _live(call.store, _LIVE_GROUP, call.corp_id, group_ids)
    inside = [tag for group in groups for tag in _tags_of(call.store, group["id"])]
    check_owner((row["maker"] for row in [*tags, *groups, *inside]), call.app.name, call.switches)
    delete_from_library(call.store, tags, groups)
    return {}


# -- shared with the console -----------------------------------------------------------------------------------------


def add_to_library(
    store: Store, corp_id: str, maker: str | None, group_name: str, tags: Sequence[tuple[str, int]], order: int = 0
) -> Added:
    """Make tags (name, order) in the group of that name, which is made if it does not exist. Raises `Refused`."""
    check_name(group_name, store.switches)
    for name, _ in tags:
        check_name(name, store.switches)
    group = find_group(store, corp_id, group_name)
    twins = {row["name"] for row in _tags_of(store, group["id"])} & {name for name, _ in tags} if group else set()
    if twins:
        raise Refused(errcodes.NAME_TAKEN, "a tag of this name is in the group")
    _check_room(store, corp_id, len(tags), 0 if group else 1)
    now, group_id = int(store.now()), group["id"] if group else _new_id()
    new = [(_new_id(), corp_id, group_id, name, sort, now, maker) for name, sort in tags]
    with store.transaction():
        if group is None:
            store.run(
                "INSERT INTO tag_groups (id, corp_id, name, sort, created, maker) VALUES (?, ?, ?, ?, ?, ?)",
                group_id, corp_id, group_name, order, now, maker,
            )  # fmt: skip
        store.run_many("INSERT INTO tags (id, corp_id, group_id, name, sort, created, maker) VALUES (?, ?, ?, ?, ?, ?, ?)", new)
    made = {row[0] for row in new}
    stored = store.rows("SELECT * FROM tag_groups WHERE id = ?", group_id)[0]
    return Added(stored, group is None, [row for row in _tags_of(store, group_id) if row["id"] in made])


def rename_in_library(
    store: Store, corp_id: str, row: sqlite3.Row, is_group: bool, name: object, order: int | None = None
) -> None:
    """Give a tag or a group another name and order. Raises 40071 where a sibling has the name."""
    wanted = check_name(name, store.switches)
    if is_group:
        twin = find_group(store, corp_id, wanted)
    else:
        twin = next((tag for tag in _tags_of(store, row["group_id"]) if tag["name"] == wanted), None)
    if twin is not None and twin["id"] != row["id"]:
        raise Refused(errcodes.NAME_TAKEN)
    sql = _RENAME_GROUP if is_group else _RENAME_TAG
    store.run(sql, wanted, row["sort"] if order is None else order, row["id"])


def delete_from_library(store: Store, tags: Sequence[sqlite3.Row], groups: Sequence[sqlite3.Row]) -> tuple[list[str], list[str]]:
    """Delete, take the marks off every customer, and return the tag ids deleted by name and the group ids gone."""
    gone = {row["id"] for row in groups}
    with store.transaction():
        for tag in tags:
            _delete_tag(store, tag["id"])
        for group_id in sorted({tag["group_id"] for tag in tags} - gone):
            if not _tags_of(store, group_id):
                gone.add(group_id)
        for group_id in gone:
            for tag in _tags_of(store, group_id):
                _delete_tag(store, tag["id"])
            store.run("UPDATE tag_groups SET deleted = 1 WHERE id = ?", group_id)
    return [tag["id"] for tag in tags if tag["group_id"] not in {row["id"] for row in groups}], sorted(gone)


def find_group(store: Store, corp_id: str, name: str) -> sqlite3.Row | None:
    """The live group of that name."""
    return store.row("SELECT * FROM tag_groups WHERE corp_id = ? AND name = ? AND NOT deleted", corp_id, name)


def tags_by_name(store: Store, corp_id: str) -> dict[str, sqlite3.Row]:
    """Live tags by "group/tag". A dictionary, because names may hold a slash and cannot be split."""
    rows = store.rows(
        "SELECT t.*, g.name || '/' || t.name AS path FROM tags t JOIN tag_groups g ON g.id = t.group_id "
        "WHERE t.corp_id = ? AND NOT t.deleted",
        corp_id,
    )
    return {row["path"]: row for row in rows}


def whole_library(store: Store, corp_id: str) -> list[Json]:
    """Live groups with their tags and who made each, for the control API."""
    groups = store.rows("SELECT * FROM tag_groups WHERE corp_id = ? AND NOT deleted ORDER BY rowid", corp_id)
    tags = store.rows("SELECT * FROM tags WHERE corp_id = ? AND NOT deleted ORDER BY rowid", corp_id)
    makers = {row["id"]: row["maker"] for row in [*groups, *tags]}
    shown = _render(groups, tags, group_flag=False, tag_flag=False)
    for group in shown:
        group["maker"] = makers[group["group_id"]]
        group["tag"] = [{**tag, "maker": makers[tag["id"]]} for tag in group["tag"]]
    return shown


def _delete_tag(store: Store, tag_id: str) -> None:
    store.run("UPDATE tags SET deleted = 1 WHERE id = ?", tag_id)
    store.run("DELETE FROM marks WHERE tag_id = ?", tag_id)


def _group_to_fill(call: Call) -> sqlite3.Row | None:
    group_id, name = call.text("group_id"), call.text("group_name")
    if group_id:
        return _live(call.store, _LIVE_GROUP, call.corp_id, [group_id])[0]
    if not name:
        raise Refused(errcodes.BAD_PARAMETER, "group_id or group_name is required")
    return find_group(call.store, call.corp_id, name)


def _check_room(store: Store, corp_id: str, tags: int, groups: int) -> None:
    live_tags = store.count("SELECT count(*) FROM tags WHERE corp_id = ? AND NOT deleted", corp_id)
    live_groups = store.count("SELECT count(*) FROM tag_groups WHERE corp_id = ? AND NOT deleted", corp_id)
    if live_tags + tags > store.switches.max_corp_tags or live_groups + groups > store.switches.max_groups:
        raise Refused(errcodes.TOO_MANY_CORP_TAGS)


def _find(store: Store, corp_id: str, wanted: str) -> tuple[sqlite3.Row, bool]:
    for sql, is_group in ((_LIVE_TAG, False), (_LIVE_GROUP, True)):
        row = store.row(sql, corp_id, wanted)
        if row is not None:
            return row, is_group
    raise Refused(errcodes.UNKNOWN_TAG)


def _live(store: Store, sql: str, corp_id: str, ids: Iterable[str]) -> list[sqlite3.Row]:
    found = [store.row(sql, corp_id, wanted) for wanted in dict.fromkeys(ids)]
    live = [row for row in found if row is not None]
    if len(live) < len(found):
        raise Refused(errcodes.UNKNOWN_TAG)
    return live


def _tags_of(store: Store, group_id: str) -> list[sqlite3.Row]:
    return store.rows("SELECT * FROM tags WHERE group_id = ? AND NOT deleted ORDER BY sort DESC, rowid", group_id)


def _render(groups: Iterable[sqlite3.Row], tags: Iterable[sqlite3.Row], *, group_flag: bool, tag_flag: bool) -> list[Json]:
    """`deleted` is shown on groups only when asked by tag id, on tags when asked by any id."""
    by_group: dict[str, list[Json]] = {}
    for tag in tags:
        by_group.setdefault(tag["group_id"], []).append({"id": tag["id"], **_common(tag, tag_flag)})
    found = []
    for group in groups:
        shown = _common(group, group_flag)
        named = {"group_id": group["id"], "group_name": shown.pop("name"), **shown}
        found.append({**named, "tag": by_group.get(group["id"], [])})
    return found


def _common(row: sqlite3.Row, flag: bool) -> Json:
    shown: Json = {"name": row["name"], "create_time": row["created"], "order": row["sort"]}
    return {**shown, "deleted": bool(row["deleted"])} if flag else shown


def _new_id() -> str:
    return "et" + secrets.token_urlsafe(22)
