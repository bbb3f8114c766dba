"""Drafts of the matrix over HTTP: write down, look at the impact, publish, drop."""

from __future__ import annotations

from typing import Annotated, Literal
from uuid import UUID

import msgspec
from litestar import Controller, Response, delete, get, patch, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter

from tagwarden.corps.model import Caller
from tagwarden.governance import drafts, drift_file, repository
from tagwarden.governance.bundle import approvals_content
from tagwarden.governance.draft_schemas import (
    DraftIn,
    DraftOut,
    DraftPage,
    DraftPatch,
    ImpactOut,
    PublishedOut,
    PublishIn,
    cell_of,
    draft_out,
    impact_out,
    summary,
)
from tagwarden.governance.drafts import DraftEdit
from tagwarden.governance.impact import Impact, impact_of_draft
from tagwarden.governance.impact_table import table
from tagwarden.governance.model import DraftState, DraftUnknown
from tagwarden.governance.policy_controllers import WAITS, IfMatch, published, require_policy_reader
from tagwarden.identity.model import Module
from tagwarden.kernel.http import ETAG, LARGEST_PAGE, CursorInvalid, answers, decode_cursor, encode_cursor, problems, with_etag
from tagwarden.policy import service as policy
from tagwarden.policy.service import Picture

StateName = Literal["active", "open", "held", "published", "discarded"]
Days = Annotated[int, QueryParameter(ge=1, le=90)]


class DraftController(Controller):
    """What the matrix could become."""

    path = "/v1/policy/drafts"
    tags = ("policy",)

    @get("/", operation_id="list_policy_drafts", opt={"action": "policy"}, responses=problems())
    async def list(
        self,
        picture: NamedDependency[Picture],
        caller: NamedDependency[Caller],
        limit: Annotated[int, QueryParameter(ge=1, le=LARGEST_PAGE)] = 50,
        wanted: Annotated[StateName, QueryParameter(name="state")] = "active",
        cursor: FromQuery[str | None] = None,
    ) -> DraftPage:
        """Drafts, newest first; `active` are those that have not ended."""
        require_policy_reader(picture, caller)
        states = [DraftState.OPEN, DraftState.HELD] if wanted == "active" else [DraftState(wanted)]
        found = await repository.drafts(picture.corp_id, states, _uuid(decode_cursor(cursor)), limit)
        following = encode_cursor(found[-1].id) if len(found) == limit else None
        return DraftPage([summary(picture, one) for one in found], following)

    @post("/", operation_id="create_policy_draft", opt={"action": "policy"}, response_headers=ETAG, responses=problems(404))
    async def create(self, caller: NamedDependency[Caller], data: JSONBody[DraftIn]) -> Response[DraftOut]:
        """Begins a draft on the revision in force. It decides nothing until it is published."""
        return await _shown(caller, await drafts.create_draft(caller, _edit(data), data.from_revision), 201)

    @get(
        "/{draft_id:uuid}",
        operation_id="get_policy_draft",
        opt={"action": "policy"},
        response_headers=ETAG,
        responses=problems(404),
    )
    async def read(
        self, picture: NamedDependency[Picture], caller: NamedDependency[Caller], draft_id: FromPath[UUID]
    ) -> Response[DraftOut]:
        """One draft: every cell that differs from the revision it was made on."""
        require_policy_reader(picture, caller)
        return await _shown(caller, draft_id)

    @patch(
        "/{draft_id:uuid}",
        operation_id="change_policy_draft",
        opt={"action": "policy"},
        response_headers=ETAG,
        responses=problems(404, 409, 412, 428),
    )
    async def change(
        self, caller: NamedDependency[Caller], draft_id: FromPath[UUID], data: JSONBody[DraftPatch], if_match: IfMatch = None
    ) -> Response[DraftOut]:
        """Sets and unsets cells, or changes capabilities, chain and note. Whoever edits a draft never signs it."""
        return await _shown(caller, await drafts.edit_draft(caller, draft_id, _edit(data), if_match))

    @delete(
        "/{draft_id:uuid}",
        operation_id="discard_policy_draft",
        opt={"action": "policy"},
        status_code=204,
        responses=problems(404, 409, 412, 428),
    )
    async def discard(self, caller: NamedDependency[Caller], draft_id: FromPath[UUID], if_match: IfMatch = None) -> None:
        """Drops a draft for good."""
        await drafts.discard_draft(caller, draft_id, if_match)

    @post(
        "/{draft_id:uuid}/impact",
        operation_id="ask_policy_impact",
        opt={"action": "ask"},
        status_code=200,
        responses=problems(404, 409),
    )
    async def impact(
        self,
        picture: NamedDependency[Picture],
        caller: NamedDependency[Caller],
        draft_id: FromPath[UUID],
        days: Days = 7,
    ) -> ImpactOut:
        """What publishing it now would do: who gains or loses what, which marks could no longer be made, which open requests
        would go stale or lose their signers, which decisions of the last `days` would come out differently."""
        return impact_out(picture, await _impact(picture, caller, draft_id, days))

    @post(
        "/{draft_id:uuid}/impact/export",
        operation_id="export_policy_impact",
        opt={"action": "ask"},
        status_code=200,
        media_type="text/csv",
        responses=problems(404, 409),
    )
    async def export(
        self, picture: NamedDependency[Picture], caller: NamedDependency[Caller], draft_id: FromPath[UUID], days: Days = 7
    ) -> Response[str]:
        """The whole impact as CSV: a line for each person and group, owner, request and decision."""
        found = await _impact(picture, caller, draft_id, days)
        return Response(
            table(picture, found), media_type="text/csv", headers={"Content-Disposition": 'attachment; filename="impact.csv"'}
        )

    @post(
        "/{draft_id:uuid}/publish",
        operation_id="publish_policy_draft",
        opt={"action": "policy"},
        status_code=200,
        responses={202: answers(PublishedOut, WAITS), **problems(404, 409, 412, 428)},
    )
    async def publish(
        self, caller: NamedDependency[Caller], draft_id: FromPath[UUID], data: JSONBody[PublishIn], if_match: IfMatch = None
    ) -> Response[PublishedOut]:
        """Makes it the next revision, in force for every request that begins after the answer."""
        return published(await drafts.publish_draft(caller, draft_id, data.note, if_match))


async def _impact(picture: Picture, caller: Caller, draft_id: UUID, days: int) -> Impact:
    picture.directory.require_module(picture.directory.employee(caller.userid), Module.POLICY)
    return await impact_of_draft(picture, caller, draft_id, days)


def _edit(data: DraftIn | DraftPatch) -> DraftEdit:
    capabilities = None if data.capabilities is None else msgspec.to_builtins(data.capabilities)
    chain = None if data.approvals is None else approvals_content(data.approvals, "approvals")
    drift = None if data.drift is None else drift_file.content(data.drift, "drift")
    cells, rebase = tuple(cell_of(one) for one in data.cells), isinstance(data, DraftPatch) and data.rebase
    return DraftEdit(cells, capabilities, chain, drift, data.note, rebase)


async def _shown(caller: Caller, draft_id: UUID, status: int = 200) -> Response[DraftOut]:
    draft = await repository.draft(caller.corp_id, draft_id)
    if draft is None:
        raise DraftUnknown()
    return with_etag(draft_out(await policy.current(caller.corp_id), draft), draft.etag, status)


def _uuid(text: str | None) -> UUID | None:
    try:
        return UUID(text) if text else None
    except ValueError:
        raise CursorInvalid() from None
