"""Moving, merging and deleting tags over HTTP: what touches the marks that carry them."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from litestar import Response, delete, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, HeaderParameter, JSONBody, QueryParameter

from tagwarden.approvals.schemas import WAITS, HeldOut, held
from tagwarden.assignments import library, usage
from tagwarden.assignments.library import Done
from tagwarden.assignments.library_schemas import UsageOut, usage_of_group, usage_of_tag
from tagwarden.assignments.schemas import MergeIn, MigrationOut, MoveIn
from tagwarden.catalog.controllers import TagController, TagGroupController
from tagwarden.corps.model import Caller
from tagwarden.kernel.http import answers, problems
from tagwarden.policy.service import Picture

Reason = Annotated[str, QueryParameter(max_length=1000)]
IfMatch = Annotated[str | None, HeaderParameter(name="If-Match", max_length=64)]
GONE = {204: answers(type(None), "Deleted."), 202: answers(HeldOut, WAITS), **problems(404, 409, 412, 428)}


class CarriedTagController(TagController):
    """Single tags, together with the marks that carry them."""

    @post(
        "/{tag_id:uuid}/move",
        operation_id="move_tag",
        opt={"action": "manage"},
        status_code=200,
        responses={202: answers(MigrationOut, WAITS), **problems(404, 409, 412, 428)},
    )
    async def move(
        self, caller: NamedDependency[Caller], tag_id: FromPath[UUID], data: JSONBody[MoveIn], if_match: IfMatch = None
    ) -> Response[MigrationOut]:
        """Moves a tag to another group: WeCom cannot, so a new tag takes over every mark and the old one is retired."""
        return _answer(await library.move_tag(caller, tag_id, data.group_id, data.reason, if_match))

    @post(
        "/{tag_id:uuid}/merge",
        operation_id="merge_tag",
        opt={"action": "manage"},
        status_code=200,
        responses={202: answers(MigrationOut, WAITS), **problems(404, 409, 412, 428)},
    )
    async def merge(
        self, caller: NamedDependency[Caller], tag_id: FromPath[UUID], data: JSONBody[MergeIn], if_match: IfMatch = None
    ) -> Response[MigrationOut]:
        """Merges a tag into another: whoever carries it carries the other from then on; it is retired."""
        return _answer(await library.merge_tag(caller, tag_id, data.into, data.reason, if_match))

    @delete("/{tag_id:uuid}", operation_id="delete_tag", opt={"action": "manage"}, status_code=200, responses=GONE)
    async def delete_tag(
        self, caller: NamedDependency[Caller], tag_id: FromPath[UUID], reason: Reason = "", if_match: IfMatch = None
    ) -> Response[HeldOut] | Response[None]:
        """Deletes a tag that nobody carries, no open request would put on, and nothing stands below (409 otherwise: retire it).

        `reason` is read by the signers of what has to wait.
        """
        return _gone(await library.delete_tag(caller, tag_id, reason, if_match))

    @get("/{tag_id:uuid}/usage", operation_id="get_tag_usage", opt={"action": "view"}, responses=problems(404))
    async def usage(
        self,
        picture: NamedDependency[Picture],
        caller: NamedDependency[Caller],
        language: NamedDependency[str],
        tag_id: FromPath[UUID],
    ) -> UsageOut:
        """Where a tag is used, as far as the caller may see: marks, open requests, policy, tags below it, WeCom."""
        return usage_of_tag(await usage.of_tag(picture, caller.userid, tag_id), language)


class CarriedTagGroupController(TagGroupController):
    """Groups, together with the marks that carry their tags."""

    @delete("/{group_id:uuid}", operation_id="delete_tag_group", opt={"action": "manage"}, status_code=200, responses=GONE)
    async def delete_group(
        self, caller: NamedDependency[Caller], group_id: FromPath[UUID], reason: Reason = "", if_match: IfMatch = None
    ) -> Response[HeldOut] | Response[None]:
        """Deletes a group with its tags, which nobody may carry or ask for. Grants that name it give nothing any more."""
        return _gone(await library.delete_group(caller, group_id, reason, if_match))

    @get("/{group_id:uuid}/usage", operation_id="get_tag_group_usage", opt={"action": "view"}, responses=problems(404))
    async def usage(
        self,
        picture: NamedDependency[Picture],
        caller: NamedDependency[Caller],
        language: NamedDependency[str],
        group_id: FromPath[UUID],
    ) -> UsageOut:
        """Where a group and its tags are used, as far as the caller may see."""
        return usage_of_group(await usage.of_group(picture, caller.userid, group_id), language)


def _answer(done: Done) -> Response[MigrationOut]:
    waits = done.approval_id is not None
    answer = MigrationOut("pending_approval" if waits else "applied", done.id, done.moved, done.approval_id)
    return Response(answer, status_code=202 if waits else 200)


def _gone(done: Done) -> Response[HeldOut] | Response[None]:
    return Response(None, status_code=204) if done.approval_id is None else held(done.approval_id)
