"""Everything below /cgi-bin: how a call arrives, is logged, is judged and is answered.

The order is WeCom's as far as it is known: token, address, frequency, permission, method, body, then the API itself.
The APIs stand in one table; what they do stands in the files named after what they are about.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import cast
from urllib.parse import parse_qsl

import msgspec
from litestar.response.base import ASGIResponse
from litestar.types import ASGIApp, HTTPScope, Receive, Scope, Send

from tagwarden.simulator import contacts, directory, errcodes, library, messages
from tagwarden.simulator.call import App, Call, Json
from tagwarden.simulator.faults import JSON_MEDIA_TYPE, spoil, take_fault, takes_effect
from tagwarden.simulator.journal import Entry, close_entry, open_entry
from tagwarden.simulator.model import FrequencyLimit, Refused
from tagwarden.simulator.schemas import FaultSetup
from tagwarden.simulator.store import Store
from tagwarden.simulator.tokens import find_app, get_token

_GETTOKEN = "gettoken"
_MARK_TAG = "externalcontact/mark_tag"
_MARK_FIELDS = ("userid", "external_userid", "add_tag", "remove_tag")
_CUSTOMERS, _CONTACTS, _ASSISTANT, _ANY = "customers", "contacts", "assistant", "any"


@dataclass(frozen=True, slots=True)
class Api:
    """One API: its method, who may call it, and what it does."""

    method: str
    permission: str
    run: Callable[[Call], Json]


APIS: dict[str, Api] = {
    "department/list": Api("GET", _CONTACTS, directory.list_departments),
    "department/simplelist": Api("GET", _ANY, directory.list_department_ids),
    "department/get": Api("GET", _CONTACTS, directory.get_department),
    "user/simplelist": Api("GET", _CONTACTS, directory.list_members),
    "user/list": Api("GET", _CONTACTS, directory.list_members_fully),
    "user/get": Api("GET", _CONTACTS, directory.get_member),
    "user/list_id": Api("POST", _ASSISTANT, directory.list_member_ids),
    "externalcontact/get_follow_user_list": Api("GET", _CUSTOMERS, directory.list_follow_users),
    "externalcontact/list": Api("GET", _CUSTOMERS, contacts.list_customers),
    "externalcontact/get": Api("GET", _CUSTOMERS, contacts.get_customer),
    "externalcontact/batch/get_by_user": Api("POST", _CUSTOMERS, contacts.list_customers_of_many),
    "externalcontact/get_corp_tag_list": Api("POST", _CUSTOMERS, library.list_tags),
    "externalcontact/add_corp_tag": Api("POST", _CUSTOMERS, library.add_tags),
    "externalcontact/edit_corp_tag": Api("POST", _CUSTOMERS, library.edit_tag),
    "externalcontact/del_corp_tag": Api("POST", _CUSTOMERS, library.delete_tags),
    _MARK_TAG: Api("POST", _CUSTOMERS, contacts.mark_tag),
    "getcallbackip": Api("GET", _ANY, lambda call: {"ip_list": list(call.switches.callback_ips)}),
    "message/send": Api("POST", _ANY, messages.send_message),
    "message/update_template_card": Api("POST", _ANY, messages.update_card),
}


@dataclass(frozen=True, slots=True)
class Arrival:
    """A call as it came in, and whose it is as far as its token or its corpid say."""

    at: int
    api: str
    method: str
    ip: str
    query: dict[str, str]
    raw: bytes
    app: App | None
    token_code: int

    @property
    def corp_id(self) -> str:
        return self.app.corp_id if self.app else self.query.get("corpid", "") if self.api == _GETTOKEN else ""


class Gateway:
    """The WeCom side of the simulator. Limits and calls in flight live in memory; everything else in the store."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._in_flight: Counter[tuple[str, str]] = Counter()
        self._pairs: set[tuple[str, str, str]] = set()
        self._limits: dict[tuple[str, str, int], FrequencyLimit] = {}

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one call, as an ASGI app mounted at /cgi-bin."""
        at = time.monotonic_ns()  # before the body: reading it must not move the arrival
        answer = await self._answer(self._attribute(at, cast("HTTPScope", scope), await _read_body(receive)))
        await answer(scope, receive, send)

    def _attribute(self, at: int, scope: HTTPScope, raw: bytes) -> Arrival:
        query = dict(parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True))
        app, code = find_app(self._store, query.get("access_token"))
        ip = (scope["client"] or ("", 0))[0]
        return Arrival(at, scope["path"].strip("/"), str(scope["method"]), ip, query, raw, app, code)

    async def _answer(self, arrival: Arrival) -> ASGIApp:
        fault = take_fault(self._store, arrival.corp_id, arrival.api)
        entry_id = self._log(arrival, fault)
        app = arrival.app.name if arrival.app else None
        if arrival.api != _GETTOKEN and arrival.api not in APIS:
            close_entry(self._store, entry_id, None, app)
            return ASGIResponse(body=b"", status_code=404, media_type="text/plain")
        code: int | None = None
        body: Json = {}
        if takes_effect(fault):
            code, body, app = await self._serve(arrival, fault)
        elif fault:
            await asyncio.sleep(fault.seconds)
        if fault and fault.kind == "errcode":
            code, body = fault.code, _envelope(fault.code, "", arrival.ip)
        close_entry(self._store, entry_id, code, app)
        encoded = msgspec.json.encode(body)
        return spoil(fault, encoded) if fault else ASGIResponse(body=encoded, media_type=JSON_MEDIA_TYPE)

    def _log(self, arrival: Arrival, fault: FaultSetup | None) -> int:
        body = None
        if arrival.api == _MARK_TAG:
            sent = _decode(arrival.raw) or {}
            body = {key: sent.get(key) for key in _MARK_FIELDS}
        known = self._store.row("SELECT 1 FROM corps WHERE corp_id = ?", arrival.corp_id)
        corp_id = arrival.corp_id if known else ""
        app, kind = arrival.app.name if arrival.app else None, fault.kind if fault else None
        return open_entry(self._store, Entry(arrival.at, corp_id, arrival.api, app, kind, body))

    async def _serve(self, arrival: Arrival, fault: FaultSetup | None) -> tuple[int, Json, str | None]:
        """Carry the call out; its code, its answer, and the app it was."""
        app = arrival.app.name if arrival.app else None
        delay = fault.seconds if fault else 0.0
        try:
            with self._one_of_few(arrival):
                if arrival.api == _GETTOKEN:
                    app, result = self._get_token(arrival)
                    await asyncio.sleep(delay)
                else:
                    result = await self._run(arrival, delay)
        except Refused as refusal:
            return refusal.code, _envelope(refusal.code, refusal.hint, arrival.ip), app
        return errcodes.OK, {"errcode": errcodes.OK, "errmsg": "ok", **result}, app

    def _get_token(self, arrival: Arrival) -> tuple[str, Json]:
        self._check_frequency(arrival)
        if arrival.method != "GET":
            raise Refused(errcodes.BAD_PARAMETER, "require GET")
        return get_token(self._store, arrival.query.get("corpid"), arrival.query.get("corpsecret"), arrival.ip)

    async def _run(self, arrival: Arrival, delay: float) -> Json:
        api, app = APIS[arrival.api], arrival.app
        if app is None or arrival.token_code:
            raise Refused(arrival.token_code)
        trusted = self._store.switches.trusted_ips
        if trusted is not None and arrival.ip not in trusted:
            raise Refused(errcodes.IP_NOT_TRUSTED)
        self._check_frequency(arrival)
        _check_permission(app, api.permission)
        if arrival.method != api.method:
            raise Refused(errcodes.BAD_PARAMETER, f"require {api.method}")
        body = _decode(arrival.raw) if api.method == "POST" else {}
        if body is None:
            raise Refused(errcodes.BAD_PARAMETER, "Warning: wrong json format.")
        call = Call(self._store, app, arrival.query, body)
        if arrival.api != _MARK_TAG:
            result = api.run(call)
            await asyncio.sleep(delay)
            return result
        with self._one_at_a_time(contacts.marked_pair(call)):
            result = api.run(call)
            await asyncio.sleep(delay + self._store.switches.mark_seconds)
        return result

    def _check_frequency(self, arrival: Arrival) -> None:
        switches, now = self._store.switches, self._store.now()
        admitted = True
        if arrival.query.get("debug") == "1":  # path/90313
            key = arrival.corp_id, "debug", 60
            admitted = self._limits.setdefault(key, FrequencyLimit(60)).admit(now, switches.debug_calls_per_minute)
        for window, limit in ((60, switches.calls_per_minute), (3600, switches.calls_per_hour)):
            key = arrival.corp_id, arrival.api, window
            admitted &= self._limits.setdefault(key, FrequencyLimit(window)).admit(now, limit)
        if not admitted:
            raise Refused(errcodes.TOO_FREQUENT)

    @contextmanager
    def _one_of_few(self, arrival: Arrival) -> Iterator[None]:
        """45033: too many calls of one API by one corp at the same time."""
        key = arrival.corp_id, arrival.api
        if self._in_flight[key] >= self._store.switches.parallel_calls:
            raise Refused(errcodes.TOO_MANY_PARALLEL)
        self._in_flight[key] += 1
        try:
            yield
        finally:
            self._in_flight[key] -= 1

    @contextmanager
    def _one_at_a_time(self, pair: tuple[str, str, str]) -> Iterator[None]:
        """45035: the (employee, customer) pair is in another call at this moment."""
        if pair in self._pairs:
            raise Refused(errcodes.CONCURRENT_EDIT)
        self._pairs.add(pair)
        try:
            yield
        finally:
            self._pairs.discard(pair)


def _check_permission(app: App, permission: str) -> None:
    if permission == _CUSTOMERS and (app.kind != "app" or not app.customer_contact):
        raise Refused(errcodes.API_NOT_PERMITTED)
    if permission == _CONTACTS and app.kind != "app":  # path/96079: the assistant may no longer read these
        raise Refused(errcodes.CONTACTS_NOT_READABLE)
    if permission == _ASSISTANT and app.kind != "contacts":
        raise Refused(errcodes.API_NOT_PERMITTED)


async def _read_body(receive: Receive) -> bytes:
    """The whole body; Litestar's own reader does not work below a mount."""
    parts: list[bytes] = []
    while (message := await receive())["type"] == "http.request":
        parts.append(message["body"])
        if not message["more_body"]:
            break
    return b"".join(parts)


def _decode(raw: bytes) -> Json | None:
    try:
        body = msgspec.json.decode(raw)
    except msgspec.DecodeError:
        return None
    return body if isinstance(body, dict) else None


def _envelope(code: int, hint: str, ip: str) -> Json:
    if hint.startswith("Warning:"):
        return {"errcode": code, "errmsg": f"{hint} {errcodes.describe(code)}, from ip: {ip}"}
    more = f", hint: [{hint}]" if hint else ""
    return {"errcode": code, "errmsg": f"{errcodes.describe(code)}{more}, from ip: {ip}, devtool/query?e={code}"}
