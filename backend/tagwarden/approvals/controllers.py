"""Approvals over HTTP: boxes, one request, a decision, withdrawal."""

from __future__ import annotations

from typing import Annotated, Any, Literal
from uuid import UUID

from litestar import Controller, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, HeaderParameter, JSONBody, QueryParameter

from tagwarden.approvals import repository, service
from tagwarden.approvals.model import Approval, ApprovalUnknown, Verdict
from tagwarden.approvals.schemas import ApprovalOut, ApprovalPage, DecisionIn, summary, whole
from tagwarden.corps.model import Caller
from tagwarden.kernel.http import ETAG, LARGEST_PAGE, CursorInvalid, decode_cursor, encode_cursor, problems, with_etag
from tagwarden.policy.service import Picture

IfMatch = Annotated[str | None, HeaderParameter(name="If-Match", max_length=64)]
SCAN = 200


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
        box: FromQuery[Literal["inbox", "mine", "all"]] = "inbox",
        cursor: FromQuery[str | None] = None,
    ) -> ApprovalPage:
        """`inbox`: what awaits the caller; `mine`: what he asked for; `all`: what he may see. Newest first."""
        found: list[Approval] = []
        before = _uuid(decode_cursor(cursor))
        while len(found) < limit:
            rows = await repository.page(
                picture.corp_id,
                requester=caller.userid if box == "mine" else None,
                pending_only=box == "inbox",
                before=before,
                limit=SCAN,
            )
            for approval in rows:
                before = approval.id
                shown = box == "mine" or (service.awaits if box == "inbox" else service.can_see)(picture, approval, caller.userid)
                if shown:
                    found.append(approval)
                if len(found) == limit:
                    break
            if len(rows) < SCAN:
                break
        following = encode_cursor(before) if len(found) == limit else None
        return ApprovalPage([summary(approval) for approval in found], following)

    @get(
        "/{approval_id:uuid}", operation_id="get_approval", opt={"action": "view"}, response_headers=ETAG, responses=problems(404)
    )
    async def read(
        self, picture: NamedDependency[Picture], caller: NamedDependency[Caller], approval_id: FromPath[UUID]
    ) -> Response[ApprovalOut]:
        """One request, before → after, with its signatures; the ETag is what a decision has to name."""
        approval, signatures, change = await service.read(picture.corp_id, approval_id)
        if not service.can_see(picture, approval, caller.userid):
            raise ApprovalUnknown()
        return with_etag(whole(approval, signatures, change), approval.etag)

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
        return await _shown(caller.corp_id, approval_id)

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
        return await _shown(caller.corp_id, approval_id)


async def _shown(corp_id: str, approval_id: UUID) -> Response[Any]:
    approval, signatures, change = await service.read(corp_id, approval_id)
    return with_etag(whole(approval, signatures, change), approval.etag)


def _uuid(text: str | None) -> UUID | None:
    try:
        return UUID(text) if text else None
    except ValueError:
        raise CursorInvalid() from None
