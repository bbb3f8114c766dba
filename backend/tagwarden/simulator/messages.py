"""Template cards: message/send and message/update_template_card as far as cards go (path/90236, 94888, 90312).

A response code lives for 72 hours and can be used once. Cards are recorded, not drawn: what each receiver was sent, and what
it was updated to on whose screen. WeCom drops in silence what goes beyond a member's share of messages.
"""

from __future__ import annotations

import json
import secrets
import sqlite3

from tagwarden.simulator import errcodes
from tagwarden.simulator.call import Call, Json
from tagwarden.simulator.model import Refused, check_card
from tagwarden.simulator.store import Store

_MOST_USERS = 1000
_MINUTE = 60
_CALLS_BACK = frozenset({"button_interaction", "vote_interaction", "multiple_interaction"})


def send_message(call: Call) -> Json:
    """message/send: unknown members come back lower-cased in `invaliduser`; 81013 where none is left."""
    _check_agent(call)
    known, unknown = _receivers(call, [userid for userid in call.text("touser").split("|") if userid])
    if not known:
        raise Refused(errcodes.NO_VALID_RECEIVER)
    task_id = _task_id(call)
    msgid = secrets.token_urlsafe(30)
    reached = [userid for userid in known if _has_room(call, userid)]
    with call.store.transaction():
        call.store.run(
            "INSERT INTO cards (msgid, corp_id, app, task_id, sent, body, receivers) VALUES (?, ?, ?, ?, ?, ?, ?)",
            msgid, call.corp_id, call.app.name, task_id, call.store.now(), json.dumps(call.body), json.dumps(reached),
        )  # fmt: skip
        code = issue_response_code(call.store, msgid)
    invalid = "|".join(userid.lower() for userid in unknown)
    return {"invaliduser": invalid, "invalidparty": "", "invalidtag": "", "msgid": msgid, "response_code": code}


def update_card(call: Call) -> Json:
    """message/update_template_card: uses the response code up. Raises 60140 for one unknown, used or expired."""
    _check_agent(call)
    row = call.store.row(
        "SELECT r.*, c.updates, c.receivers FROM response_codes r JOIN cards c ON c.msgid = r.msgid "
        "WHERE r.code = ? AND c.corp_id = ? AND c.app = ?",
        call.text("response_code"), call.corp_id, call.app.name,
    )  # fmt: skip
    if row is None or row["used"] or row["expires"] <= call.store.now():
        raise Refused(errcodes.BAD_RESPONSE_CODE)
    button, card = call.body.get("button"), call.body.get("template_card")
    if not isinstance(button, dict) and not isinstance(card, dict):
        raise Refused(errcodes.BAD_PARAMETER, "button or template_card is required")
    if isinstance(card, dict):
        check_card(card, call.switches)
    _, unknown = _receivers(call, call.ids("userids"))
    updates = json.dumps([*json.loads(row["updates"]), call.body])
    with call.store.transaction():
        call.store.run("UPDATE response_codes SET used = 1 WHERE code = ?", row["code"])
        call.store.run("UPDATE cards SET updates = ? WHERE msgid = ?", updates, row["msgid"])
    return {"invaliduser": [userid.lower() for userid in unknown]}


def issue_response_code(store: Store, msgid: str) -> str:
    """A new response code for a card; sending makes one and so does every click."""
    code = secrets.token_urlsafe(30)
    expires = store.now() + store.switches.response_code_seconds
    store.run("INSERT INTO response_codes (code, msgid, expires) VALUES (?, ?, ?)", code, msgid, expires)
    return code


def list_cards(store: Store, corp_id: str) -> list[Json]:
    """Every message sent, oldest first: whom it reached, what it was updated to, and whose screen shows it closed."""
    rows = store.rows("SELECT * FROM cards WHERE corp_id = ? ORDER BY rowid", corp_id)
    return [
        {
            "msgid": row["msgid"],
            "app": row["app"],
            "task_id": row["task_id"],
            "body": json.loads(row["body"]),
            "receivers": json.loads(row["receivers"]),
            "updates": json.loads(row["updates"]),
            "closed_for": closed_for(row),
        }
        for row in rows
    ]


def closed_for(card: sqlite3.Row) -> list[str]:
    """The receivers on whose screens an update replaced the buttons."""
    receivers: list[str] = json.loads(card["receivers"])
    closed: set[str] = set()
    for update in json.loads(card["updates"]):
        replaced = update.get("button") or (update.get("template_card") or {}).get("replace_text")
        if replaced:
            named = {str(userid).casefold() for userid in update.get("userids") or ()}
            closed |= {userid for userid in receivers if update.get("atall") or userid.casefold() in named}
    return sorted(closed)


def _receivers(call: Call, asked: list[str]) -> tuple[list[str], list[str]]:
    """Members as the corp writes them, and names nobody has."""
    if len(asked) > _MOST_USERS:
        raise Refused(errcodes.USERID_LIST_TOO_LONG)
    if "@all" in asked:
        return [row["userid"] for row in call.store.rows("SELECT userid FROM employees WHERE corp_id = ?", call.corp_id)], []
    sql = "SELECT userid FROM employees WHERE corp_id = ? AND userid = ?"
    found = {userid: call.store.row(sql, call.corp_id, userid) for userid in dict.fromkeys(asked)}
    return [str(row["userid"]) for row in found.values() if row], [userid for userid, row in found.items() if row is None]


def _has_room(call: Call, userid: str) -> bool:
    """Whether one more message reaches the member this minute; beyond that it is dropped in silence (path/90312)."""
    sent = call.store.count(
        "SELECT count(*) FROM cards WHERE corp_id = ? AND app = ? AND sent > ? "
        "AND EXISTS (SELECT 1 FROM json_each(receivers) WHERE value = ?)",
        call.corp_id, call.app.name, call.store.now() - _MINUTE, userid,
    )  # fmt: skip
    return sent < call.switches.messages_per_member_minute


def _check_agent(call: Call) -> None:
    if call.body.get("agentid") != call.app.agent_id:
        raise Refused(errcodes.NOT_YOUR_AGENT)


def _task_id(call: Call) -> str | None:
    """The card's task id: required where buttons call back, unique within the app."""
    if call.body.get("msgtype") != "template_card":
        return None
    card = check_card(call.body.get("template_card"), call.switches)
    if card.get("card_type") in _CALLS_BACK and call.switches.cards_need_callback_url and not _has_callback(call):
        raise Refused(errcodes.NO_CALLBACK_URL)
    task_id = card.get("task_id")
    if task_id is None:
        return None
    sql = "SELECT 1 FROM cards WHERE corp_id = ? AND app = ? AND task_id = ?"
    if call.store.row(sql, call.corp_id, call.app.name, task_id):
        raise Refused(errcodes.BAD_PARAMETER, "task_id was used before")
    return str(task_id)


def _has_callback(call: Call) -> bool:
    sql = "SELECT 1 FROM apps WHERE corp_id = ? AND name = ? AND callback_url IS NOT NULL"
    return call.store.row(sql, call.corp_id, call.app.name) is not None
