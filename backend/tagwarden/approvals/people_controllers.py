"""What concerns one's own signing over HTTP: who stands in for me, and what I was told."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from litestar import Controller, Response, delete, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter

from tagwarden.approvals import delegation_rows, delegations, messages
from tagwarden.approvals.delegation_rows import Delegation
from tagwarden.approvals.delegations import DelegationUnknown, Wanted, manages_approvals
from tagwarden.approvals.schemas import (
    DelegationIn,
    DelegationOut,
    Delegations,
    HeldOut,
    NotificationOut,
    NotificationPage,
    ReadIn,
    ReadOut,
    held,
)
from tagwarden.corps.model import Caller
from tagwarden.identity.model import RoleName
from tagwarden.kernel import clock
from tagwarden.kernel.http import LARGEST_PAGE, CursorInvalid, answers, decode_cursor, encode_cursor, problems
from tagwarden.policy.service import Picture

Limit = Annotated[int, QueryParameter(ge=1, le=LARGEST_PAGE)]


class DelegationController(Controller):
    """Who signs while somebody is away."""

    path = "/v1/delegations"
    tags = ("approvals",)

    @get("/", operation_id="list_delegations", opt={"action": "self"}, responses=problems())
    async def list(
        self,
        picture: NamedDependency[Picture],
        caller: NamedDependency[Caller],
        limit: Limit = 50,
        over: FromQuery[bool] = False,
        cursor: FromQuery[str | None] = None,
    ) -> Delegations:
        """Delegations from or to the caller; everybody's for auditors and the approvals module. `over`: past ones too."""
        before = _uuid(decode_cursor(cursor))
        me = picture.directory.employee(caller.userid)
        everybody = me.holds(RoleName.AUDITOR) or manages_approvals(me)
        at = None if over else clock.now()
        rows = await delegation_rows.page(picture.corp_id, None if everybody else me.userid, at=at, before=before, limit=limit)
        following = encode_cursor(rows[-1].id) if len(rows) == limit else None
        return Delegations([_out(row) for row in rows], following)

    @post(
        "/",
        operation_id="delegate_signing",
        opt={"action": "approve"},
        status_code=201,
        response_description="In force.",
        responses={202: answers(HeldOut, "It crosses the giver's line and waits for two signatures."), **problems(409)},
    )
    async def create(
        self, caller: NamedDependency[Caller], data: JSONBody[DelegationIn]
    ) -> Response[DelegationOut] | Response[HeldOut]:
        """Names who signs for the caller while he is away. The delegate holds the signing role himself; one hop."""
        done = await delegations.delegate(caller, Wanted(data.delegate, data.starts_at, data.ends_at, data.reason))
        if done.approval_id is not None:
            return held(done.approval_id)
        row = await delegation_rows.get(caller.corp_id, done.id)
        if row is None:
            raise DelegationUnknown()
        return Response(_out(row), status_code=201)

    @delete(
        "/{delegation_id:uuid}",
        operation_id="end_delegation",
        opt={"action": "approve"},
        status_code=204,
        responses=problems(404, 409),
    )
    async def end(self, caller: NamedDependency[Caller], delegation_id: FromPath[UUID]) -> None:
        """Takes a delegation back at once."""
        await delegations.end_delegation(caller, delegation_id)


class NotificationController(Controller):
    """What the caller was told about requests."""

    path = "/v1/notifications"
    tags = ("approvals",)

    @get("/", operation_id="list_notifications", opt={"action": "self"}, responses=problems())
    async def list(
        self,
        caller: NamedDependency[Caller],
        limit: Limit = 50,
        unread: FromQuery[bool] = False,
        cursor: FromQuery[str | None] = None,
    ) -> NotificationPage:
        """Newest first."""
        rows = await messages.page(caller.corp_id, caller.userid, unread=unread, before=_uuid(decode_cursor(cursor)), limit=limit)
        following = encode_cursor(rows[-1]["id"]) if len(rows) == limit else None
        return NotificationPage([NotificationOut(**row) for row in rows], following)

    @post("/read", operation_id="mark_notifications_read", opt={"action": "self"}, status_code=200, responses=problems(409))
    async def mark_read(self, caller: NamedDependency[Caller], data: JSONBody[ReadIn]) -> ReadOut:
        """Marks the caller's own as read."""
        return ReadOut(await messages.mark_read(caller, data.ids))


def _out(row: Delegation) -> DelegationOut:
    return DelegationOut(row.id, row.userid, row.delegate, row.starts_at, row.ends_at, row.reason, row.approval_id, row.ended_at)


def _uuid(text: str | None) -> UUID | None:
    try:
        return UUID(text) if text else None
    except ValueError:
        raise CursorInvalid() from None
