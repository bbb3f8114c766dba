"""Approvals over HTTP: boxes, one request, decisions one by one and in bulk, editing, withdrawing, submitting again."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Annotated, Literal
from uuid import UUID

import msgspec
from litestar import Controller, Response, get, patch, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, HeaderParameter, JSONBody, QueryParameter

from tagwarden.approvals import reading, service, timekeeping
from tagwarden.approvals.model import ApprovalUnknown, Verdict
from tagwarden.approvals.reading import Box
from tagwarden.approvals.schemas import (
    ApprovalOut,
    ApprovalPage,
    BulkDecisionIn,
    BulkIn,
    BulkItemOut,
    BulkOut,
    DecisionIn,
    EditIn,
    summary,
    whole,
)
from tagwarden.corps.model import Caller, Idempotency
from tagwarden.kernel import clock
from tagwarden.kernel.errors import TagwardenError, Unavailable
from tagwarden.kernel.http import (
    ETAG,
    LARGEST_PAGE,
    CursorInvalid,
    decode_cursor,
    encode_cursor,
    problems,
    with_etag,
)
from tagwarden.policy import service as policy
from tagwarden.policy.service import Picture

IfMatch = Annotated[str | None, HeaderParameter(name="If-Match", max_length=64)]
BoxName = Literal["inbox", "overdue", "mine", "team", "all"]


class ApprovalController(Controller):
    """Held changes and their two sign-offs."""

    path = "/v1/approvals"
    tags = ("approvals",)

    @get("/", operation_id="list_approvals", opt={"action": "view"}, responses=problems())
    async def list(
        self,
        picture: NamedDependency[Picture],
        caller: NamedDependency[Caller],
        limit: Annotated[int, QueryParameter(ge=1, le=LARGEST_PAGE)] = 50,
        box: FromQuery[BoxName] = "inbox",
        cursor: FromQuery[str | None] = None,
    ) -> ApprovalPage:
        """`inbox`: what awaits the caller; `overdue`: of that, what has waited too long; `mine`: what he asked for; `team`:
        open requests of people he leads; `all`: what he may see. Newest first."""
        now = clock.now()
        signer = await reading.reader(picture, caller.userid, now)
        before = _uuid(decode_cursor(cursor))
        found, following = await reading.page(picture, signer, Box(box), before=before, limit=limit, now=now)
        return ApprovalPage([summary(one) for one in found], encode_cursor(following) if following else None)

    @get(
        "/{approval_id:uuid}", operation_id="get_approval", opt={"action": "view"}, response_headers=ETAG, responses=problems(404)
    )
    async def read(
        self, picture: NamedDependency[Picture], caller: NamedDependency[Caller], approval_id: FromPath[UUID]
    ) -> Response[ApprovalOut]:
        """One request, before → after, with its signatures; the ETag is what a decision has to name."""
        return await _shown(picture, caller, approval_id)

    @patch(
        "/{approval_id:uuid}",
        operation_id="edit_approval",
        opt={"action": "approve"},
        response_headers=ETAG,
        responses=problems(404, 409, 412, 428),
    )
    async def edit(
        self, caller: NamedDependency[Caller], approval_id: FromPath[UUID], data: JSONBody[EditIn], if_match: IfMatch = None
    ) -> Response[ApprovalOut]:
        """Changes content or reason. Every signature is void then and the editor never signs it; saving what stands
        there changes nothing."""
        await service.edit(caller, approval_id, data.change, data.reason, if_match)
        return await _after(caller, approval_id)

    @post(
        "/{approval_id:uuid}/decisions",
        operation_id="decide_approval",
        opt={"action": "approve"},
        status_code=200,
        response_headers=ETAG,
        responses=problems(404, 409, 412, 428),
    )
    async def decide(
        self, caller: NamedDependency[Caller], approval_id: FromPath[UUID], data: JSONBody[DecisionIn], if_match: IfMatch = None
    ) -> Response[ApprovalOut]:
        """Signs or refuses the level that is due. A request that moved meanwhile answers 200 with `state: stale`."""
        await service.decide(caller, approval_id, Verdict(data.verdict), data.comment, if_match)
        return await _after(caller, approval_id)

    @post("/decisions", operation_id="decide_approvals", opt={"action": "approve"}, status_code=200, responses=problems(409))
    async def decide_many(
        self, caller: NamedDependency[Caller], data: JSONBody[BulkIn], language: NamedDependency[str]
    ) -> BulkOut:
        """Decides up to 50, each by its own ETag and in a transaction of its own; one that fails stops no other."""
        return BulkOut([await _decide_one(caller, one, language) for one in data.items])

    @post(
        "/{approval_id:uuid}/withdraw",
        operation_id="withdraw_approval",
        opt={"action": "approve"},
        status_code=200,
        response_headers=ETAG,
        responses=problems(404, 409),
    )
    async def withdraw(self, caller: NamedDependency[Caller], approval_id: FromPath[UUID]) -> Response[ApprovalOut]:
        """Takes one's own request back."""
        await service.withdraw(caller, approval_id)
        return await _after(caller, approval_id)

    @post(
        "/{approval_id:uuid}/resubmit",
        operation_id="resubmit_approval",
        opt={"action": "approve"},
        status_code=201,
        response_headers=ETAG,
        responses=problems(404, 409),
    )
    async def resubmit(self, caller: NamedDependency[Caller], approval_id: FromPath[UUID]) -> Response[ApprovalOut]:
        """Asks anew for what was refused, withdrawn, expired or went stale; nothing carries over."""
        return await _after(caller, await service.resubmit(caller, approval_id), 201)

    @post(
        "/{approval_id:uuid}/escalate",
        operation_id="escalate_approval",
        opt={"action": "approve"},
        status_code=200,
        response_headers=ETAG,
        responses=problems(404, 409),
    )
    async def escalate(self, caller: NamedDependency[Caller], approval_id: FromPath[UUID]) -> Response[ApprovalOut]:
        """Lets the next leader in line sign level 1 too (approvals module); unchanged where there is none."""
        await timekeeping.escalate(caller, approval_id)
        return await _after(caller, approval_id)

    @post(
        "/{approval_id:uuid}/remind",
        operation_id="remind_of_approval",
        opt={"action": "approve"},
        status_code=200,
        response_headers=ETAG,
        responses=problems(404, 409),
    )
    async def remind(self, caller: NamedDependency[Caller], approval_id: FromPath[UUID]) -> Response[ApprovalOut]:
        """Reminds whoever may sign the level that is due (approvals module), at most once an hour."""
        await timekeeping.remind_by_hand(caller, approval_id)
        return await _after(caller, approval_id)


async def _decide_one(caller: Caller, one: BulkDecisionIn, language: str) -> BulkItemOut:
    try:
        await service.decide(_for_item(caller, one), one.id, Verdict(one.verdict), one.comment, one.etag)
    except Unavailable:
        raise
    except TagwardenError as error:
        return BulkItemOut(one.id, "refused", code=error.code, detail=error.text(language))
    approval, _, _ = await reading.read(caller.corp_id, one.id)
    return BulkItemOut(one.id, "decided", state=approval.state.value, closed_reason=approval.closed_reason)


def _for_item(caller: Caller, one: BulkDecisionIn) -> Caller:
    """Each item is its own use case, so each has its own share of the caller's Idempotency-Key."""
    if caller.idempotency is None:
        return caller
    key = f"{caller.idempotency.key}/{one.id}"
    body_hash = hashlib.sha256(msgspec.json.encode(one)).hexdigest()
    return replace(caller, idempotency=Idempotency(caller.idempotency.route, key, body_hash))


async def _after(caller: Caller, approval_id: UUID, status: int = 200) -> Response[ApprovalOut]:
    """The request as it stands after the caller's own write, with what he may see beside it."""
    return await _shown(await policy.current(caller.corp_id), caller, approval_id, status)


async def _shown(picture: Picture, caller: Caller, approval_id: UUID, status: int = 200) -> Response[ApprovalOut]:
    approval, signatures, change = await reading.read(picture.corp_id, approval_id)
    signer = await reading.reader(picture, caller.userid, clock.now())
    if not reading.can_see(picture, approval, signer, signatures):
        raise ApprovalUnknown()
    earlier = await reading.earlier(picture, approval, signer)
    return with_etag(whole(approval, signatures, change, earlier), approval.etag, status)


def _uuid(text: str | None) -> UUID | None:
    try:
        return UUID(text) if text else None
    except ValueError:
        raise CursorInvalid() from None
