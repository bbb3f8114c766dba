"""Claiming tags and groups that count as another app's, over HTTP."""

from __future__ import annotations

from typing import Literal
from uuid import UUID

import msgspec
from litestar import Controller, post
from litestar.di import NamedDependency
from litestar.params import FromPath

from tagwarden.catalog import claim
from tagwarden.corps.model import Caller
from tagwarden.kernel.http import problems


class ClaimedOut(msgspec.Struct):
    """WeCom is asked; its yes shows as `wecom.ours`, its no in the ledger."""

    outcome: Literal["asking_wecom"] = "asking_wecom"


class ClaimController(Controller):
    """What this app made in WeCom before anybody noted it."""

    path = "/v1"
    tags = ("catalog",)

    @post(
        "/tag-groups/{group_id:uuid}/claim",
        operation_id="claim_tag_group",
        opt={"action": "manage"},
        status_code=200,
        responses=problems(404, 409),
    )
    async def group(self, caller: NamedDependency[Caller], group_id: FromPath[UUID]) -> ClaimedOut:
        """Says that this app made the group (catalog module). WeCom confirms by taking an edit that changes nothing."""
        await claim.claim_group(caller, group_id)
        return ClaimedOut()

    @post(
        "/tags/{tag_id:uuid}/claim",
        operation_id="claim_tag",
        opt={"action": "manage"},
        status_code=200,
        responses=problems(404, 409),
    )
    async def tag(self, caller: NamedDependency[Caller], tag_id: FromPath[UUID]) -> ClaimedOut:
        """The same of a tag (the module, and `manage` on its group)."""
        await claim.claim_tag(caller, tag_id)
        return ClaimedOut()
