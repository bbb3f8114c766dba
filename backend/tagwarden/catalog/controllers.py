"""The tag library over HTTP."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from litestar import Controller, Response, get, patch, post
from litestar.di import NamedDependency
from litestar.params import FromPath, HeaderParameter, JSONBody

from tagwarden.catalog import repository, service
from tagwarden.catalog.model import Choice, GroupUnknown, TagUnknown
from tagwarden.catalog.schemas import GroupIn, GroupList, GroupOut, GroupPatch, TagIn, TagOut, TagPatch, group_out, tag_out
from tagwarden.corps.model import Caller
from tagwarden.kernel.http import ETAG, problems, with_etag
from tagwarden.policy.model import Action, Kind
from tagwarden.policy.service import Picture

IfMatch = Annotated[str | None, HeaderParameter(name="If-Match", max_length=64)]


def open_actions(picture: Picture, userid: str, group_id: UUID, kind: Kind) -> list[str]:
    """What is open to the caller on a group at all."""
    return [action.value for action in Action if picture.may(userid, str(group_id), kind, action, None)]


class TagGroupController(Controller):
    """Groups with their tags, as far as the caller may see, use or manage them."""

    path = "/v1/tag-groups"
    tags = ("catalog",)

    @get("/", operation_id="list_tag_groups", opt={"action": "view"}, responses=problems())
    async def list(self, picture: NamedDependency[Picture], caller: NamedDependency[Caller]) -> GroupList:
        """Every group that is open to the caller in any way."""
        shown = []
        for group, tags in await service.library(picture.corp_id):
            if actions := open_actions(picture, caller.userid, group.id, group.kind):
                shown.append(group_out(group, tags, actions))
        return GroupList(shown)

    @get("/{group_id:uuid}", operation_id="get_tag_group", opt={"action": "view"}, response_headers=ETAG, responses=problems(404))
    async def read(
        self, picture: NamedDependency[Picture], caller: NamedDependency[Caller], group_id: FromPath[UUID]
    ) -> Response[GroupOut]:
        """One group; not found where nothing of it is open to the caller."""
        return await _group(picture, caller, group_id)

    @post("/", operation_id="create_tag_group", opt={"action": "manage"}, response_headers=ETAG, responses=problems(409))
    async def create(self, caller: NamedDependency[Caller], data: JSONBody[GroupIn]) -> Response[GroupOut]:
        """Makes a group (catalog module)."""
        draft = service.GroupDraft(data.name, Kind(data.kind), Choice(data.choice), data.description)
        group_id = await service.create_group(caller, draft)
        return await _group_alone(caller.corp_id, group_id, 201)

    @patch(
        "/{group_id:uuid}",
        operation_id="change_tag_group",
        opt={"action": "manage"},
        response_headers=ETAG,
        responses=problems(404, 409, 412, 428),
    )
    async def change(
        self, caller: NamedDependency[Caller], group_id: FromPath[UUID], data: JSONBody[GroupPatch], if_match: IfMatch = None
    ) -> Response[GroupOut]:
        """Classifies, renames or describes a group."""
        change = service.GroupChange(
            data.name,
            Kind(data.kind) if data.kind else None,
            Choice(data.choice) if data.choice else None,
            data.description,
        )
        await service.change_group(caller, group_id, change, if_match)
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
        """Makes a tag; it reaches WeCom before its first mark."""
        draft = service.TagDraft(data.name, data.meaning, data.service_process, data.ends_on, data.parent_id)
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
        responses=problems(404, 409, 412, 428),
    )
    async def change(
        self, caller: NamedDependency[Caller], tag_id: FromPath[UUID], data: JSONBody[TagPatch], if_match: IfMatch = None
    ) -> Response[TagOut]:
        """Renames, describes, retires or restores a tag."""
        change = service.TagChange(data.name, data.meaning, data.service_process, data.retired)
        return await _tag(caller.corp_id, await service.change_tag(caller, tag_id, change, if_match))


async def _group(picture: Picture, caller: Caller, group_id: UUID) -> Response[GroupOut]:
    group = await repository.group(picture.corp_id, group_id)
    actions = open_actions(picture, caller.userid, group.id, group.kind) if group else []
    if group is None or not actions:
        raise GroupUnknown()
    tags = await repository.tags_of_group(picture.corp_id, group_id)
    return with_etag(group_out(group, tags, actions), group.etag)


async def _group_alone(corp_id: str, group_id: UUID, status: int = 200) -> Response[GroupOut]:
    group = await repository.group(corp_id, group_id)
    if group is None:
        raise GroupUnknown()
    tags = await repository.tags_of_group(corp_id, group_id)
    return with_etag(group_out(group, tags, ["manage"]), group.etag, status)


async def _tag(corp_id: str, tag_id: UUID, status: int = 200) -> Response[TagOut]:
    tag = await repository.tag(corp_id, tag_id)
    if tag is None:
        raise TagUnknown()
    return with_etag(tag_out(tag), tag.etag, status)
