"""The tag library over HTTP."""

from __future__ import annotations

from typing import Annotated, Literal
from uuid import UUID

from litestar import Controller, Response, get, patch, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, HeaderParameter, JSONBody
from msgspec import UNSET

from tagwarden.approvals.schemas import WAITS, HeldOut, held
from tagwarden.catalog import counts, limits, reading, repository, service
from tagwarden.catalog.model import Choice, GroupUnknown, TagUnknown
from tagwarden.catalog.reading import open_actions
from tagwarden.catalog.schemas import (
    GroupHeldOut,
    GroupIn,
    GroupList,
    GroupOut,
    GroupPatch,
    TagIn,
    TagOut,
    TagPatch,
    group_out,
    limits_out,
    tag_out,
)
from tagwarden.corps.model import Caller
from tagwarden.kernel.http import ETAG, answers, problems, with_etag
from tagwarden.policy.model import Kind
from tagwarden.policy.service import Picture

IfMatch = Annotated[str | None, HeaderParameter(name="If-Match", max_length=64)]
KindFilter = Literal["temporary", "standard", "value", "unclassified"]


class TagGroupController(Controller):
    """Groups with their tags, as far as the caller may see, use or manage them."""

    path = "/v1/tag-groups"
    tags = ("catalog",)

    @get("/", operation_id="list_tag_groups", opt={"action": "view"}, responses=problems())
    async def list(
        self,
        picture: NamedDependency[Picture],
        caller: NamedDependency[Caller],
        kind: FromQuery[KindFilter | None] = None,
        marked: FromQuery[bool | None] = None,
    ) -> GroupList:
        """Every group that is open to the caller in any way, with its tags and how many carry them, and WeCom's limits.

        `kind`: groups of one kind (`unclassified`: what an admin has to classify). `marked`: groups with a name, their own
        or a tag's, that came from WeCom and breaks our rules (false: without), and of their tags those alone.
        `limits.strategy_tags`: WeCom's strategy tags (规则组) seen on customers, which count too; it lists no app the strategies
        of others, so there may be more. Personal tags do not count.
        """
        shown = await reading.library(picture, caller.userid, Kind(kind) if kind else None, marked)
        kept, taken = await counts.by_tag(picture.corp_id), sorted(await repository.group_names(picture.corp_id))
        items = [group_out(group, tags, actions, kept, taken) for group, tags, actions in shown]
        if marked:
            for item in items:
                item.tags = [tag for tag in item.tags if tag.name_marked]
        return GroupList(items, limits_out(await limits.use(picture.corp_id)))

    @get("/{group_id:uuid}", operation_id="get_tag_group", opt={"action": "view"}, response_headers=ETAG, responses=problems(404))
    async def read(
        self, picture: NamedDependency[Picture], caller: NamedDependency[Caller], group_id: FromPath[UUID]
    ) -> Response[GroupOut]:
        """One group; not found where nothing of it is open to the caller."""
        return await _group(picture, caller, group_id)

    @post("/", operation_id="create_tag_group", opt={"action": "manage"}, response_headers=ETAG, responses=problems(409))
    async def create(self, caller: NamedDependency[Caller], data: JSONBody[GroupIn]) -> Response[GroupOut]:
        """Makes a group (catalog module)."""
        draft = service.GroupDraft(data.name, Kind(data.kind), Choice(data.choice), data.description, data.sort)
        group_id = await service.create_group(caller, draft)
        return await _group_alone(caller.corp_id, group_id, 201)

    @patch(
        "/{group_id:uuid}",
        operation_id="change_tag_group",
        opt={"action": "manage"},
        response_headers=ETAG,
        responses={202: answers(GroupHeldOut, WAITS), **problems(404, 409, 412, 428)},
    )
    async def change(
        self, caller: NamedDependency[Caller], group_id: FromPath[UUID], data: JSONBody[GroupPatch], if_match: IfMatch = None
    ) -> Response[GroupOut] | Response[GroupHeldOut]:
        """Classifies, renames, orders or describes a group. Once live, a value group's kind and choice wait for two signatures.

        What is carried already stays: a kind holds for marks put on from then on. In a group that becomes `value` such
        marks are not confirmed; how many there would be is answered here and shown to the signers.
        """
        change = service.GroupChange(
            data.name,
            Kind(data.kind) if data.kind else None,
            Choice(data.choice) if data.choice else None,
            data.description,
            data.reason,
            data.sort,
        )
        done = await service.change_group(caller, group_id, change, if_match)
        if done.approval_id is not None:
            marks = await counts.unbacked_of(caller.corp_id, group_id) if change.kind is Kind.VALUE else 0
            return Response(GroupHeldOut("pending_approval", done.approval_id, marks), status_code=202)
        return await _group_alone(caller.corp_id, group_id)

    @post(
        "/{group_id:uuid}/tags",
        operation_id="create_tag",
        opt={"action": "manage"},
        response_headers=ETAG,
        responses=problems(404, 409),
    )
    async def create_tag(
        self, caller: NamedDependency[Caller], group_id: FromPath[UUID], data: JSONBody[TagIn]
    ) -> Response[TagOut]:
        """Makes a tag, at the top or below a parent of the same group (three levels); it reaches WeCom before its first mark."""
        draft = service.TagDraft(data.name, data.meaning, data.service_process, data.ends_on, data.parent_id, data.sort)
        return await _tag(caller.corp_id, await service.create_tag(caller, group_id, draft), 201)


class TagController(Controller):
    """Single tags."""

    path = "/v1/tags"
    tags = ("catalog",)

    @patch(
        "/{tag_id:uuid}",
        operation_id="change_tag",
        opt={"action": "manage"},
        response_headers=ETAG,
        responses={202: answers(HeldOut, WAITS), **problems(404, 409, 412, 428)},
    )
    async def change(
        self, caller: NamedDependency[Caller], tag_id: FromPath[UUID], data: JSONBody[TagPatch], if_match: IfMatch = None
    ) -> Response[TagOut] | Response[HeldOut]:
        """Renames, describes, retires or restores a tag, gives it an end, an order or another parent in its group.

        Name, retirement and end of a value tag wait for two signatures; its place in the tree does not. A tag with others
        in use below it is not retired (409 `tag_has_children`), nor restored below a retired one (409 `parent_retired`).
        """
        change = service.TagChange(
            data.name,
            data.meaning,
            data.service_process,
            data.retired,
            data.reason,
            service.KEEP if data.ends_on is UNSET else data.ends_on,
            service.KEEP if data.parent_id is UNSET else data.parent_id,
            data.sort,
        )
        done = await service.change_tag(caller, tag_id, change, if_match)
        if done.approval_id is not None:
            return held(done.approval_id)
        return await _tag(caller.corp_id, tag_id)


async def _group(picture: Picture, caller: Caller, group_id: UUID) -> Response[GroupOut]:
    group = await reading.group(picture, caller.userid, group_id)
    return await _shown(picture.corp_id, group_id, open_actions(picture, caller.userid, group.id, group.kind))


async def _shown(corp_id: str, group_id: UUID, actions: list[str], status: int = 200) -> Response[GroupOut]:
    group = await repository.group(corp_id, group_id)
    if group is None:
        raise GroupUnknown()
    tags = await repository.tags_of_group(corp_id, group_id)
    kept = await counts.by_tag(corp_id, [tag.id for tag in tags])
    taken = sorted(await repository.group_names(corp_id))
    return with_etag(group_out(group, tags, actions, kept, taken), group.etag, status)


async def _group_alone(corp_id: str, group_id: UUID, status: int = 200) -> Response[GroupOut]:
    return await _shown(corp_id, group_id, ["manage"], status)


async def _tag(corp_id: str, tag_id: UUID, status: int = 200) -> Response[TagOut]:
    tag = await repository.tag(corp_id, tag_id)
    if tag is None:
        raise TagUnknown()
    siblings = await repository.tags_of_group(corp_id, tag.group_id)
    return with_etag(tag_out(tag, siblings, await counts.by_tag(corp_id, [tag_id])), tag.etag, status)
