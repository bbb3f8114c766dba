"""A tag that WeCom lost, made there anew, over HTTP."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

import msgspec
from litestar import Controller, Response, post
from litestar.di import NamedDependency
from litestar.params import FromPath, HeaderParameter, JSONBody

from tagwarden.approvals.schemas import WAITS, HeldOut, held
from tagwarden.catalog import remake
from tagwarden.corps.model import Caller
from tagwarden.kernel.http import answers, problems

IfMatch = Annotated[str | None, HeaderParameter(name="If-Match", max_length=64)]


class RemakeIn(msgspec.Struct, forbid_unknown_fields=True):
    """`reason` is read by the signers of what has to wait."""

    reason: Annotated[str, msgspec.Meta(max_length=1000)] = ""


class RemadeOut(msgspec.Struct):
    tag_id: UUID


class RemakeController(Controller):
    """Tags that somebody deleted inside WeCom."""

    path = "/v1/tags/{tag_id:uuid}/remake"
    tags = ("catalog",)

    @post(
        "/",
        operation_id="remake_tag",
        opt={"action": "manage"},
        status_code=200,
        responses={202: answers(HeldOut, WAITS), **problems(404, 409, 412, 428)},
    )
    async def remake(
        self, caller: NamedDependency[Caller], tag_id: FromPath[UUID], data: JSONBody[RemakeIn], if_match: IfMatch = None
    ) -> Response[RemadeOut] | Response[HeldOut]:
        """Makes the tag in WeCom again, and marks whoever carries it; of a value group after two signatures."""
        done = await remake.remake_tag(caller, tag_id, data.reason, if_match)
        if done.approval_id is not None:
            return held(done.approval_id)
        return Response(RemadeOut(tag_id))
