"""Customers, their tags, and the one write path, over HTTP."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated
from uuid import UUID

from litestar import Controller, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromQuery, JSONBody, PathParameter, QueryParameter

from tagwarden.assignments import adoption, reading
from tagwarden.assignments.reading import CustomerFilter
from tagwarden.assignments.schemas import (
    AdoptionIn,
    AdoptionOut,
    CustomerOut,
    CustomerPage,
    CustomerTags,
    HistoryItem,
    HistoryOut,
    TagChangeIn,
    TagChangeOut,
    UnconfirmedOut,
    change_out,
    tags_out,
)
from tagwarden.assignments.service import TagChange, change_tags
from tagwarden.assignments.sight import Sight
from tagwarden.corps.model import Caller
from tagwarden.customers import repository as customers
from tagwarden.kernel import clock
from tagwarden.kernel.http import LARGEST_PAGE, CursorInvalid, answers, decode_cursor, encode_cursor, problems
from tagwarden.policy.service import Picture

Limit = Annotated[int, QueryParameter(ge=1, le=LARGEST_PAGE)]
CustomerId = Annotated[str, PathParameter(min_length=1, max_length=64)]


class CustomerController(Controller):
    """What the caller may see of customers, and changes of their tags."""

    path = "/v1/customers"
    tags = ("customers",)

    @get("/", operation_id="list_customers", opt={"action": "view"}, responses=problems())
    async def list(
        self,
        picture: NamedDependency[Picture],
        caller: NamedDependency[Caller],
        limit: Limit = 50,
        owner: FromQuery[str | None] = None,
        department: FromQuery[int | None] = None,
        tag: FromQuery[list[UUID] | None] = None,
        not_tag: FromQuery[list[UUID] | None] = None,
        q: FromQuery[str | None] = None,
        cursor: FromQuery[str | None] = None,
    ) -> CustomerPage:
        """Customers the caller may see, by id."""
        wanted = CustomerFilter(owner, department, tuple(tag or ()), tuple(not_tag or ()), q)
        rows = await reading.list_customers(picture, caller.userid, wanted, decode_cursor(cursor), limit)
        following = encode_cursor(rows[-1]["external_userid"]) if len(rows) == limit else None
        return CustomerPage([CustomerOut(**row) for row in rows], following)

    @get("/{external_userid:str}", operation_id="get_customer", opt={"action": "view"}, responses=problems(404))
    async def read(
        self, picture: NamedDependency[Picture], caller: NamedDependency[Caller], external_userid: CustomerId
    ) -> CustomerOut:
        """One customer, with the followers the caller may see."""
        sight = Sight(picture, caller.userid, clock.now())
        follows = await reading.visible_follows(picture, sight, external_userid)
        row = await customers.customer(picture.corp_id, external_userid)
        return CustomerOut(external_userid, row["name"] if row else "", [follow.userid for follow in follows])

    @get("/{external_userid:str}/tags", operation_id="get_customer_tags", opt={"action": "view"}, responses=problems(404))
    async def tags_of(
        self, picture: NamedDependency[Picture], caller: NamedDependency[Caller], external_userid: CustomerId
    ) -> CustomerTags:
        """Tags per follow, of the groups the caller may view."""
        return tags_out(external_userid, await reading.customer_tags(picture, caller.userid, external_userid))

    @get("/{external_userid:str}/history", operation_id="get_customer_history", opt={"action": "view"}, responses=problems(404))
    async def history(
        self,
        picture: NamedDependency[Picture],
        caller: NamedDependency[Caller],
        external_userid: CustomerId,
        limit: Limit = 50,
        as_of: FromQuery[datetime | None] = None,
        cursor: FromQuery[str | None] = None,
    ) -> HistoryOut:
        """Tags then and now, newest first; with `as_of`, what was carried at that moment."""
        after = _moment_and_id(decode_cursor(cursor))
        rows = await reading.customer_history(picture, caller.userid, external_userid, as_of, after, limit)
        following = encode_cursor(f"{rows[-1]['since'].isoformat()}|{rows[-1]['id']}") if len(rows) == limit else None
        return HistoryOut([HistoryItem(**row) for row in rows], following)

    @post(
        "/{external_userid:str}/tag-changes",
        operation_id="change_customer_tags",
        opt={"action": "use"},
        status_code=200,
        response_description="Applied.",
        responses={202: answers(TagChangeOut, "Something waits for two signatures."), **problems(404, 409)},
    )
    async def change(
        self, caller: NamedDependency[Caller], external_userid: CustomerId, data: JSONBody[TagChangeIn]
    ) -> Response[TagChangeOut]:
        """Adds and removes tags: 200 applied, 202 where something waits for two signatures, 403 with every reason."""
        wanted = TagChange(external_userid, tuple(data.add), tuple(data.remove), data.follow_userid, data.reason, data.partial)
        answer = await change_tags(caller, wanted)
        return Response(change_out(answer), status_code=202 if answer.approval_id else 200)


class AdoptionController(Controller):
    """Value marks that WeCom held before anybody here approved them."""

    path = "/v1/adoptions"
    tags = ("approvals",)

    @get("/", operation_id="count_unconfirmed_marks", opt={"action": "view"}, responses=problems())
    async def count(self, picture: NamedDependency[Picture], caller: NamedDependency[Caller]) -> UnconfirmedOut:
        """How many marks are not confirmed, by owner, as far as the caller sees."""
        counted = await reading.unconfirmed_by_owner(picture, caller.userid)
        return UnconfirmedOut(sum(counted.values()), counted)

    @post("/", operation_id="ask_for_adoptions", opt={"action": "approve"}, status_code=202, responses=problems(409))
    async def ask(self, caller: NamedDependency[Caller], data: JSONBody[AdoptionIn]) -> AdoptionOut:
        """Asks for the adoptions that are the caller's to ask: one bundle per level-1 signer and 500 marks."""
        return AdoptionOut(await adoption.ask_adoptions(caller, data.reason))


def _moment_and_id(text: str | None) -> tuple[datetime, UUID] | None:
    if text is None:
        return None
    moment, _, last = text.partition("|")
    try:
        at, last_id = datetime.fromisoformat(moment), UUID(last)
    except ValueError:
        raise CursorInvalid() from None
    if at.tzinfo is None:
        raise CursorInvalid()
    return at, last_id
