"""Template cards: just enough of message/send and message/update_template_card to show and close one.

Source: path/90236, 94888. A response code lives for 72 hours and can be used once. Cards are recorded,
not drawn; texts are not judged.
"""

from __future__ import annotations

import json
import re
import secrets

from tagwarden.simulator import errcodes
from tagwarden.simulator.call import Call, Json
from tagwarden.simulator.model import Refused
from tagwarden.simulator.store import Store

_CODE_SECONDS = 72 * 3600
_MOST_USERS = 1000
_TASK_ID = re.compile(r"[0-9A-Za-z_@-]{1,128}")


def send_message(call: Call) -> Json:
    """message/send: unknown members come back lower-cased in `invaliduser`; 81013 where none is left."""
    _check_agent(call)
    asked = [userid for userid in call.text("touser").split("|") if userid]
    if len(asked) > _MOST_USERS:
        raise Refused(errcodes.USERID_LIST_TOO_LONG)
    sql = "SELECT 1 FROM employees WHERE corp_id = ? AND userid = ?"
    unknown = [userid for userid in asked if userid != "@all" and not call.store.row(sql, call.corp_id, userid)]
    if len(unknown) == len(asked):
        raise Refused(errcodes.NO_VALID_RECEIVER)
    task_id = _task_id(call)
    msgid = secrets.token_urlsafe(30)
    with call.store.transaction():
        call.store.run(
            "INSERT INTO cards (msgid, corp_id, app, task_id, sent, body) VALUES (?, ?, ?, ?, ?, ?)",
            msgid, call.corp_id, call.app.name, task_id, call.store.now(), json.dumps(call.body),
        )  # fmt: skip
        code = issue_response_code(call.store, msgid)
    invalid = "|".join(userid.lower() for userid in unknown)
    return {"invaliduser": invalid, "invalidparty": "", "invalidtag": "", "msgid": msgid, "response_code": code}


def update_card(call: Call) -> Json:
    """message/update_template_card: uses the response code up. Raises 60140 for one unknown, used or expired."""
    _check_agent(call)
    row = call.store.row(
        "SELECT r.*, c.updates FROM response_codes r JOIN cards c ON c.msgid = r.msgid "
        "WHERE r.code = ? AND c.corp_id = ? AND c.app = ?",
        call.text("response_code"), call.corp_id, call.app.name,
    )  # fmt: skip
    if row is None or row["used"] or row["expires"] <= call.store.now():
        raise Refused(errcodes.BAD_RESPONSE_CODE)
    if not isinstance(call.body.get("button"), dict) and not isinstance(call.body.get("template_card"), dict):
        raise Refused(errcodes.BAD_PARAMETER, "button or template_card is required")
    updates = json.dumps([*json.loads(row["updates"]), call.body])
    with call.store.transaction():
        call.store.run("UPDATE response_codes SET used = 1 WHERE code = ?", row["code"])
        call.store.run("UPDATE cards SET updates = ? WHERE msgid = ?", updates, row["msgid"])
    return {"invaliduser": []}


def issue_response_code(store: Store, msgid: str) -> str:
    """A new response code for a card; sending makes one and so does every click."""
    code = secrets.token_urlsafe(30)
    expires = store.now() + _CODE_SECONDS
    store.run("INSERT INTO response_codes (code, msgid, expires) VALUES (?, ?, ?)", code, msgid, expires)
    return code


def list_cards(store: Store, corp_id: str) -> list[Json]:
    """Every message sent, oldest first, with what it was updated to."""
    rows = store.rows("SELECT * FROM cards WHERE corp_id = ? ORDER BY rowid", corp_id)
    return [
        {
            "msgid": row["msgid"],
            "app": row["app"],
            "task_id": row["task_id"],
            "body": json.loads(row["body"]),
            "updates": json.loads(row["updates"]),
        }
        for row in rows
    ]


def _check_agent(call: Call) -> None:
    if call.body.get("agentid") != call.app.agent_id:
        raise Refused(errcodes.NOT_YOUR_AGENT)


def _task_id(call: Call) -> str | None:
    """The card's task id: required where buttons call back, unique within the app."""
    card = call.body.get("template_card")
    if call.body.get("msgtype") != "template_card":
        return None
    if not isinstance(card, dict):
        raise Refused(errcodes.BAD_PARAMETER, "template_card is required")
    task_id = card.get("task_id")
    if task_id is None and card.get("card_type") != "button_interaction":
        return None
    if not isinstance(task_id, str) or not _TASK_ID.fullmatch(task_id):
        raise Refused(errcodes.BAD_PARAMETER, "task_id is missing or malformed")
    sql = "SELECT 1 FROM cards WHERE corp_id = ? AND app = ? AND task_id = ?"
    if call.store.row(sql, call.corp_id, call.app.name, task_id):
        raise Refused(errcodes.BAD_PARAMETER, "task_id was used before")
    return task_id
