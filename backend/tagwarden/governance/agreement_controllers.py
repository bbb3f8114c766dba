"""Agreements between departments over HTTP, for admins, sub-admins with the policy module, and auditors."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated
from uuid import UUID

from litestar import Controller, Response, delete, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter

from tagwarden.approvals.schemas import HeldOut, held
from tagwarden.corps.model import Caller
from tagwarden.governance import agreements
from tagwarden.governance.agreements import AgreementUnknown, Wanted
from tagwarden.governance.policy_controllers import require_policy_reader
from tagwarden.governance.schemas import AgreementIn, AgreementOut, AgreementPage
from tagwarden.kernel import clock
from tagwarden.kernel.http import LARGEST_PAGE, CursorInvalid, answers, decode_cursor, encode_cursor, problems
from tagwarden.policy import agreement_rows
from tagwarden.policy.agreement_rows import AgreementRecord
from tagwarden.policy.service import Picture

Limit = Annotated[int, QueryParameter(ge=1, le=LARGEST_PAGE)]


class AgreementController(Controller):
    """Who may use which group on whose customers, beside his own."""

    path = "/v1/agreements"
    tags = ("policy",)

    @get("/", operation_id="list_agreements", opt={"action": "policy"}, responses=problems())
    async def list(
        self,
        picture: NamedDependency[Picture],
        caller: NamedDependency[Caller],
        limit: Limit = 50,
        ended: FromQuery[bool] = False,
        cursor: FromQuery[str | None] = None,
    ) -> AgreementPage:
        """Agreements in force and planned, newest first; with `ended`, those that are over too."""
        require_policy_reader(picture, caller)
        now = clock.now()
        rows = await agreement_rows.page(picture.corp_id, ended=ended, before=_uuid(decode_cursor(cursor)), at=now, limit=limit)
        following = encode_cursor(rows[-1].id) if len(rows) == limit else None
        return AgreementPage([shown(picture, row, now) for row in rows], following)

    @post(
        "/",
        operation_id="make_agreement",
        opt={"action": "policy"},
        status_code=201,
        response_description="In force, or planned.",
        responses={202: answers(HeldOut, "It is about a value group and waits for two signatures."), **problems(404, 409)},
    )
    async def create(
        self, caller: NamedDependency[Caller], picture: NamedDependency[Picture], data: JSONBody[AgreementIn]
    ) -> Response[AgreementOut] | Response[HeldOut]:
        """Puts on record that people of one department, and below it, may use a group on the customers of another, and
        below it. One direction only."""
        wanted = Wanted(data.department, data.partner_department, data.group_id, data.since, data.until, data.note)
        done = await agreements.make_agreement(caller, wanted)
        if done.approval_id is not None:
            return held(done.approval_id)
        row = await agreement_rows.get(caller.corp_id, done.id) if done.id else None
        if row is None:
            raise AgreementUnknown()
        return Response(shown(picture, row, clock.now()), status_code=201)

    @delete(
        "/{agreement_id:uuid}",
        operation_id="end_agreement",
        opt={"action": "policy"},
        status_code=204,
        responses=problems(404, 409),
    )
    async def end(self, caller: NamedDependency[Caller], agreement_id: FromPath[UUID]) -> None:
        """Ends an agreement at once; it stays on record."""
        await agreements.end_agreement(caller, agreement_id)


def shown(picture: Picture, row: AgreementRecord, at: datetime) -> AgreementOut:
    """One agreement as it stands at a moment."""
    there = picture.directory.departments
    missing = [f"department:{one}" for one in (row.department_id, row.partner_department) if one not in there]
    if str(row.group_id) not in picture.groups:
        missing.append(f"tag_group:{row.group_id}")
    return AgreementOut(
        row.id,
        row.department_id,
        row.partner_department,
        row.group_id,
        row.note,
        row.state(at),
        row.made_by,
        row.approval_id,
        row.since,
        row.until,
        row.ended_at,
        row.ended_by,
        missing,
    )


def _uuid(text: str | None) -> UUID | None:
    try:
        return UUID(text) if text else None
    except ValueError:
        raise CursorInvalid() from None
