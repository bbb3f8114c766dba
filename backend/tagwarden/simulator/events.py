"""What WeCom reports by callback, to whom, and how an event is written as XML (path/92130, 90970 to 90972, 90240).

Customer and tag events go to self-built apps, organisation events to the contact assistant alone. Only edits by people
are reported; calls of the API never are, so nothing in the API's own code may come here.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from tagwarden.simulator.store import Store

Fields = dict[str, str | int]
_QUEUE = "INSERT INTO deliveries (corp_id, app, event) VALUES (?, ?, ?)"


@dataclass(frozen=True, slots=True)
class Event:
    """One event: its name, its fields in order, and the app it goes to where that is not a matter of the app's kind."""

    name: str
    fields: Fields
    sender: str = "sys"
    app: str | None = None


def customer_event(change: str, userid: str, external_userid: str, **more: str) -> Event:
    fields: Fields = {"ChangeType": change, "UserID": userid, "ExternalUserID": external_userid, **more}
    return Event("change_external_contact", fields)


def tag_event(change: str, tag_id: str, tag_type: str) -> Event:
    """create, update or delete of a `tag` or a `tag_group`; carries no names."""
    return Event("change_external_tag", {"ChangeType": change, "Id": tag_id, "TagType": tag_type})


def shuffle_event(group_id: str) -> Event:
    """Tags of a group, or with "" the groups, were put into another order; carries no TagType."""
    return Event("change_external_tag", {"ChangeType": "shuffle", "Id": group_id})


def contact_event(change: str, fields: Fields) -> Event:
    return Event("change_contact", {"ChangeType": change, **fields})


def card_event(app: str, userid: str, fields: Fields) -> Event:
    return Event("template_card_event", fields, sender=userid, app=app)


def announce(store: Store, corp_id: str, events: list[Event]) -> int:
    """Queue the events for every app that may hear them; the number of deliveries. Call in the edit's transaction."""
    apps = store.rows("SELECT * FROM apps WHERE corp_id = ? AND callback_url IS NOT NULL ORDER BY rowid", corp_id)
    queued = 0
    for event in events:
        fields = {
            "ToUserName": corp_id,
            "FromUserName": event.sender,
            "CreateTime": int(store.now()),
            "MsgType": "event",
            "Event": event.name,
            **event.fields,
        }
        for app in apps:
            if not _hears(store, app["name"], app["kind"], bool(app["customer_contact"]), event):
                continue
            store.run(_QUEUE, corp_id, app["name"], json.dumps(fields))
            queued += 1
    return queued


def write_xml(fields: Fields) -> str:
    """The fields as WeCom's XML: text in CDATA, numbers bare."""
    return "<xml>" + "".join(f"<{name}>{_value(value)}</{name}>" for name, value in fields.items()) + "</xml>"


def _hears(store: Store, name: str, kind: str, customer_contact: bool, event: Event) -> bool:
    if event.app is not None:
        return event.app == name
    if event.name == "change_contact":
        return kind == "contacts" or store.switches.apps_receive_contact_events
    return kind == "app" and customer_contact


def _value(value: str | int) -> str:
    if isinstance(value, int):
        return str(value)
    return "<![CDATA[" + value.replace("]]>", "]]]]><![CDATA[>") + "]]>"
