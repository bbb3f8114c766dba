"""The calls this house makes to WeCom, each a method named after what it asks.

It knows paths, shapes and paging, and retries one thing only: a refused token, once. Whether to try again later is the
caller's, by the verdict in WecomRefused. It must never run inside a transaction and keeps no phone numbers.

Where `wechatpy` has the call in today's shape, its API class builds the request; where it is missing or outdated (group
filter, userid lists, paging of followers) the request is written here. Its transport and its retry are never used.
"""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from wechatpy.work.client.api import WeChatExternalContact

from tagwarden.corps.credentials import CUSTOMER_APP
from tagwarden.kernel import db
from tagwarden.kernel.ids import new_id
from tagwarden.kernel.sealing import Sealer
from tagwarden.wecom.budget import Budget
from tagwarden.wecom.ledger import Entry
from tagwarden.wecom.model import AgentMissing, CallClass, NoAnswer, VerdictKind, WecomRefused
from tagwarden.wecom.token import Token, Tokens
from tagwarden.wecom.transport import Answer, Request, Transport

Record = dict[str, Any]

PAGE_SIZE = 100
"""Customers of one page, the most WeCom gives (path/92994)."""

FOLLOWER_PAGES = 1000
"""Pages of 500 followers of one customer (path/92114) after which WeCom is taken for going round in circles."""

FORBIDDEN = 48002
MESSAGES = frozenset({"message/send", "message/update_template_card"})
PHONE_FIELDS = frozenset({"mobile", "telephone", "remark_mobiles"})


@dataclass(frozen=True, slots=True)
class CustomersPage:
    """Follows of some members: pairs of `external_contact` and `follow_info` as WeCom gives them (path/92994).

    `next_cursor` is empty on the last page; `unlicensed` are userids that WeCom left out for want of a licence.
    """

    items: list[tuple[Record, Record]]
    next_cursor: str
    unlicensed: list[str]


@dataclass(frozen=True, slots=True)
class FollowersPage:
    """A page of one customer's followers, with the customer."""

    contact: Record
    followers: list[Record]


class WecomClient:
    """One client a process: `start` it, and `close` it.

    Every method waits for its slot in the budget and raises CorpStopped, CredentialMissing, TokenBrake, NoAnswer (the
    outcome is unknown) or WecomRefused (WeCom said no).
    """

    def __init__(self, api_base: str, sealer: Sealer, budget: Budget, *, timeout: float = 10.0) -> None:
        self.sealer = sealer
        self._budget = budget
        self._transport = Transport(api_base, budget, timeout)
        self.tokens = Tokens(sealer, self._transport)

    async def start(self) -> None:
        """Opens the HTTP session and takes the budget's first look at the clocks."""
        await self._budget.start()
        await self._transport.start()

    async def close(self) -> None:
        """Ends renewals of tokens and closes the HTTP session."""
        await self.tokens.close()
        await self._transport.close()

    # -- the organisation ---------------------------------------------------------------------------------------------

    async def department_list(self, corp_id: str, *, call_class: CallClass = CallClass.READ) -> list[Record]:
        """All departments the app may see: `{id, name, parentid, order, department_leader}` (path/90208)."""
        request = Request("GET", "department/list", {}, expects="department")
        return _records(await self._ask(_entry(corp_id, request, call_class), request), "department")

    async def user_list(self, corp_id: str, department_id: int, *, call_class: CallClass = CallClass.READ) -> list[Record]:
        """The direct members of one department, whole, without phone numbers (path/90201)."""
        request = Request("GET", "user/list", {"department_id": str(department_id)}, expects="userlist")
        entry = _entry(corp_id, request, call_class, subject=str(department_id))
        return [_without_phones(user) for user in _records(await self._ask(entry, request), "userlist")]

    async def user(self, corp_id: str, userid: str, *, call_class: CallClass = CallClass.READ) -> Record:
        """One member, without phone numbers (path/90196); WecomRefused 60111 where there is none of that name."""
        request = Request("GET", "user/get", {"userid": userid}, expects="userid")
        return _without_phones(await self._ask(_entry(corp_id, request, call_class, subject=userid), request))

    async def follow_users(self, corp_id: str, *, call_class: CallClass = CallClass.READ) -> list[str]:
        """The userids in range that have customer contact (path/92571)."""
        request = _built(_API.get_follow_user_list(), expects="follow_user")
        return _texts(await self._ask(_entry(corp_id, request, call_class), request), "follow_user")

    # -- customers ----------------------------------------------------------------------------------------------------

    async def customers_page(
        self, corp_id: str, userids: list[str], cursor: str, *, call_class: CallClass = CallClass.READ
    ) -> CustomersPage:
        """At most 100 follows of at most 100 members, from `cursor` on, "" at first (path/92994)."""
        body = {"userid_list": userids, "cursor": cursor, "limit": PAGE_SIZE}
        request = Request("POST", "externalcontact/batch/get_by_user", {}, body, expects="external_contact_list")
        answer = await self._ask(_entry(corp_id, request, call_class, subject=",".join(userids)), request)
        items = [
            (_record(item, "external_contact"), _without_phones(_record(item, "follow_info")))
            for item in _records(answer, "external_contact_list")
        ]
        unlicensed = _texts(_record(answer, "fail_info"), "unlicensed_userid_list")
        return CustomersPage(items, str(answer.get("next_cursor") or ""), unlicensed)

    async def customer_pages(
        self, corp_id: str, external_userid: str, *, call_class: CallClass = CallClass.INTERACTIVE
    ) -> AsyncIterator[FollowersPage]:
        """One customer with all followers in range, page by page (path/92114). Nobody has left who stands on no page yet.

        NoAnswer where the pages do not come to an end as they should: a cursor that comes twice or is refused, a customer
        whom WeCom does not know any more in the middle. What was read until then is not all there is.
        """
        cursor, cursors = "", set[str]()
        while True:
            params = {"external_userid": external_userid} | ({"cursor": cursor} if cursor else {})
            request = Request("GET", "externalcontact/get", params, expects="follow_user")
            try:
                answer = await self._ask(_entry(corp_id, request, call_class, subject=external_userid), request)
            except WecomRefused as refused:
                if cursor and refused.verdict.kind is VerdictKind.DROP:
                    raise NoAnswer("pages_broke_off") from refused
                raise
            if not isinstance(answer["follow_user"], list):
                raise NoAnswer("not_wecom")
            cursor = str(answer.get("next_cursor") or "")
            yield FollowersPage(
                _record(answer, "external_contact"),
                [_without_phones(follow) for follow in _records(answer, "follow_user")],
            )
            if not cursor:
                return
            if cursor in cursors or len(cursors) == FOLLOWER_PAGES:
                raise NoAnswer("pages_broke_off")
            cursors.add(cursor)

    # -- the tag library ----------------------------------------------------------------------------------------------

    async def tag_library(
        self,
        corp_id: str,
        tag_ids: Sequence[str] = (),
        group_ids: Sequence[str] = (),
        *,
        call_class: CallClass = CallClass.READ,
    ) -> list[Record]:
        """Tag groups with their tags: all without ids, by `group_ids` alone where both are given (path/92117)."""
        body = {key: list(ids) for key, ids in (("tag_id", tag_ids), ("group_id", group_ids)) if ids}
        request = Request("POST", "externalcontact/get_corp_tag_list", {}, body, expects="tag_group")
        subject = ",".join([*group_ids, *tag_ids]) or None
        return _records(await self._ask(_entry(corp_id, request, call_class, subject=subject), request), "tag_group")

    async def add_tags(
        self,
        corp_id: str,
        names: Sequence[str],
        *,
        group_id: str | None = None,
        group_name: str | None = None,
        order: int | None = None,
        group_order: int | None = None,
        call_class: CallClass = CallClass.INTERACTIVE,
    ) -> Record:
        """Adds tags to a group by id, or by name (made if it is not there); returns `{group_id, group_name, tag: []}`.

        The answer is not promised to hold more than the new tags; a known group's order is passed over (path/92117).
        """
        tags = [{"name": name} | ({} if order is None else {"order": order}) for name in names]
        built = _API.add_corp_tag(group_id=group_id, group_name=group_name, order=group_order, tags=tags)
        request = _built(built, expects="tag_group")
        entry = _entry(corp_id, request, call_class, subject=group_id or group_name)
        return _record(await self._ask(entry, request), "tag_group")

    async def edit_tag(
        self,
        corp_id: str,
        id: str,
        name: str,
        *,
        order: int | None = None,
        call_class: CallClass = CallClass.INTERACTIVE,
    ) -> None:
        """Renames and places a tag or a group that this app made (path/92117)."""
        request = _built(_API.edit_corp_tag(id, name, order))
        await self._ask(_entry(corp_id, request, call_class, subject=id), request)

    async def delete_tags(
        self,
        corp_id: str,
        tag_ids: Sequence[str],
        *,
        group_ids: Sequence[str] = (),
        call_class: CallClass = CallClass.INTERACTIVE,
    ) -> None:
        """Deletes tags that this app made; the last tag of a group takes the group with it (path/92117)."""
        request = _built(_API.del_corp_tag(list(tag_ids) or None, list(group_ids) or None))
        await self._ask(_entry(corp_id, request, call_class, subject=",".join([*group_ids, *tag_ids])), request)

    async def mark_tag(
        self,
        corp_id: str,
        *,
        follow_id: UUID,
        userid: str,
        external_userid: str,
        add: Collection[str],
        remove: Collection[str],
        attempt: int,
        call_class: CallClass = CallClass.INTERACTIVE,
    ) -> None:
        """Adds and removes tags (WeCom ids) on one follow in one call (path/92118).

        WeCom does not say what it does with repeats; never have two calls on one follow under way (45035).
        """
        request = _built(_API.mark_tag(userid, external_userid, sorted(add), sorted(remove)))
        entry = Entry(
            corp_id,
            CUSTOMER_APP,
            request.path,
            call_class,
            subject=f"{userid} {external_userid}",
            follow_id=follow_id,
            add_tags=tuple(sorted(add)),
            remove_tags=tuple(sorted(remove)),
            attempt=attempt,
        )
        await self._ask(entry, request)

    # -- cards --------------------------------------------------------------------------------------------------------

    async def send_card(
        self, corp_id: str, userid: str, card: Mapping[str, Any], *, call_class: CallClass = CallClass.INTERACTIVE
    ) -> Record:
        """Sends a template card to one member: `{msgid, response_code, invaliduser}` (path/90236). AgentMissing."""
        body = {
            "touser": userid,
            "msgtype": "template_card",
            "agentid": await self._agent_id(corp_id),
            "template_card": dict(card),
            "enable_duplicate_check": 0,
        }
        request = Request("POST", "message/send", {}, body, expects="msgid")
        return await self._ask(_entry(corp_id, request, call_class, subject=f"{userid} {card.get('task_id')}"), request)

    async def update_card(
        self,
        corp_id: str,
        userid: str,
        response_code: str,
        card: Mapping[str, Any],
        *,
        call_class: CallClass = CallClass.INTERACTIVE,
    ) -> None:
        """Redraws a card on one member's screen; uses the response code up, which is good once, for 72 hours (path/94888)."""
        body = {
            "userids": [userid],
            "agentid": await self._agent_id(corp_id),
            "response_code": response_code,
            "template_card": dict(card),
        }
        request = Request("POST", "message/update_template_card", {}, body)
        await self._ask(_entry(corp_id, request, call_class, subject=f"{userid} {card.get('task_id')}"), request)

    async def _agent_id(self, corp_id: str) -> int:
        agent_id = (await self.tokens.get(corp_id, CUSTOMER_APP)).credential.agent_id
        if agent_id is None:
            raise AgentMissing(app=CUSTOMER_APP)
        return agent_id

    # -- one call, with its token -------------------------------------------------------------------------------------

    async def _ask(self, entry: Entry, request: Request) -> Answer:
        if db.in_transaction():
            raise RuntimeError("WeCom is never called inside a transaction")
        token = await self.tokens.get(entry.corp_id, entry.app)
        try:
            return await self._send(entry, request, token)
        except WecomRefused as refused:
            if refused.verdict.kind is not VerdictKind.REFRESH:
                raise
        token = await self.tokens.refresh(entry.corp_id, entry.app, token.generation)
        return await self._send(entry, request, token)

    async def _send(self, entry: Entry, request: Request, token: Token) -> Answer:
        signed = dataclasses.replace(request, params={**request.params, "access_token": token.value})
        try:
            # A line of its own for each attempt, born after the one of its token: the ledger is read by id.
            return await self._transport.call(dataclasses.replace(entry, id=new_id()), signed)
        except WecomRefused as refused:
            # An app that may not send messages may mark all the same: cards must not stop what they are beside.
            if refused.verdict.kind is VerdictKind.STOP and not (refused.wecom_code == FORBIDDEN and entry.api in MESSAGES):
                raise await self.tokens.stop(token.credential, refused) from None
            raise


class _RequestBuilder:
    """Stands where wechatpy's API classes expect a client: what they would send comes back as a value."""

    def get(self, path: str, params: Mapping[str, str] | None = None) -> Request:
        return Request("GET", path, dict(params or {}))

    def post(self, path: str, data: Mapping[str, Any]) -> Request:
        return Request("POST", path, {}, dict(data))


_API = WeChatExternalContact(client=_RequestBuilder())


def _built(request: Request, expects: str | None = None) -> Request:
    return dataclasses.replace(request, expects=expects)


def _entry(corp_id: str, request: Request, call_class: CallClass, *, subject: str | None = None) -> Entry:
    return Entry(corp_id, CUSTOMER_APP, request.path, call_class, subject)


def _record(answer: Mapping[str, Any], key: str) -> Record:
    value = answer.get(key)
    return value if isinstance(value, dict) else {}


def _records(answer: Mapping[str, Any], key: str) -> list[Record]:
    value = answer.get(key)
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _texts(answer: Mapping[str, Any], key: str) -> list[str]:
    value = answer.get(key)
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []


def _without_phones(record: Record) -> Record:
    return {key: value for key, value in record.items() if key not in PHONE_FIELDS}
