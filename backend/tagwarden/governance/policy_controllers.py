"""The matrix over HTTP: the revision in force and the ones before it."""

from __future__ import annotations

from typing import Annotated

import msgspec
from litestar import Controller, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromQuery, HeaderParameter, JSONBody, QueryParameter

from tagwarden.corps.model import Caller
from tagwarden.governance import drafts
from tagwarden.governance.draft_schemas import PublishedOut, RollbackIn
from tagwarden.governance.drafts import policy_etag
from tagwarden.governance.publishing import Published
from tagwarden.governance.schemas import PolicyOut, Revision, Revisions
from tagwarden.identity.model import Module, RoleName
from tagwarden.kernel.http import ETAG, LARGEST_PAGE, answers, decode_cursor, encode_cursor, number_in, problems, with_etag
from tagwarden.policy import repository as policies
from tagwarden.policy.service import Picture

WAITS = "It loosens what protects value tags and waits for two signatures, content and all."
IfMatch = Annotated[str | None, HeaderParameter(name="If-Match", max_length=64)]
Limit = Annotated[int, QueryParameter(ge=1, le=LARGEST_PAGE)]


class PolicyController(Controller):
    """The published policy, for admins and auditors."""

    path = "/v1/policy"
    tags = ("policy",)

    @get("/", operation_id="get_policy", opt={"action": "policy"}, response_headers=ETAG, responses=problems())
    async def read(self, picture: NamedDependency[Picture], caller: NamedDependency[Caller]) -> Response[PolicyOut]:
        """The revision in force; the ETag is what a rollback names."""
        require_policy_reader(picture, caller)
        row = await policies.current(picture.corp_id)
        content = msgspec.json.decode(row["content"]) if row else {}
        grants = [
            {
                "id": grant.id,
                "department": grant.department,
                "group_id": grant.group,
                "action": grant.action.value,
                "effect": grant.effect.value,
                "inherit": grant.inherit,
                "reach": grant.reach.value if grant.reach else None,
            }
            for grant in picture.grants
        ]
        shown = PolicyOut(
            picture.revision,
            picture.epoch,
            content.get("capabilities", []),
            content.get("approvals", {}),
            content.get("drift", {}),
            grants,
        )
        return with_etag(shown, policy_etag(picture.revision))

    @get("/revisions", operation_id="list_policy_revisions", opt={"action": "policy"}, responses=problems())
    async def revisions(
        self,
        picture: NamedDependency[Picture],
        caller: NamedDependency[Caller],
        limit: Limit = 50,
        cursor: FromQuery[str | None] = None,
    ) -> Revisions:
        """Revisions, newest first."""
        require_policy_reader(picture, caller)
        rows = await policies.revisions(picture.corp_id, number_in(decode_cursor(cursor)), limit)
        following = encode_cursor(rows[-1]["revision"]) if len(rows) == limit else None
        return Revisions([Revision(**row) for row in rows], following)

    @post(
        "/rollback",
        operation_id="roll_back_policy",
        opt={"action": "policy"},
        status_code=200,
        responses={202: answers(PublishedOut, WAITS), **problems(404, 409, 412, 428)},
    )
    async def roll_back(
        self, caller: NamedDependency[Caller], data: JSONBody[RollbackIn], if_match: IfMatch = None
    ) -> Response[PublishedOut]:
        """Makes what an earlier revision said the next one. To see its impact first, begin a draft `from_revision`."""
        return published(await drafts.roll_back(caller, data.revision, data.note, if_match))


def require_policy_reader(picture: Picture, caller: Caller) -> None:
    employee = picture.directory.employee(caller.userid)
    if not employee.holds(RoleName.AUDITOR):
        picture.directory.require_module(employee, Module.POLICY)


def published(done: Published) -> Response[PublishedOut]:
    """200 with the revision, or 202 with the request that waits."""
    if done.approvals:
        return Response(PublishedOut("pending_approval", None, done.approvals[0]), status_code=202)
    return Response(PublishedOut("published", done.revision), status_code=200)
