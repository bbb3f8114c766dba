"""A tag change as rules see it: what it adds and removes, what single choice takes along, what waits. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from enum import StrEnum
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from tagwarden.catalog.model import Choice, Tag, TagGroup
from tagwarden.kernel.errors import Conflict, Invalid, Refused
from tagwarden.policy.model import Kind


class Op(StrEnum):
    ADD = "add"
    REMOVE = "remove"


class Outcome(StrEnum):
    APPLIED = "applied"
    PENDING = "pending"
    UNCHANGED = "unchanged"


class TagsUnknown(Invalid):
    code = "tag_unknown"
    zh = "标签不存在：{tag_ids}"
    en = "Unknown tags: {tag_ids}"


class ChangeEmpty(Invalid):
    code = "change_empty"
    zh = "请至少添加或移除一个标签"
    en = "Add or remove at least one tag"


class ChangeContradicts(Invalid):
    code = "change_contradicts"
    zh = "同一标签不能同时添加和移除"
    en = "A tag cannot be added and removed in one change"


class SingleChoiceTwice(Invalid):
    code = "single_choice_twice"
    zh = "标签组“{group}”只能选一个标签"
    en = "Only one tag of the single-choice group “{group}” can be added"


class FollowAmbiguous(Invalid):
    code = "follow_ambiguous"
    zh = "多名员工添加了该客户，请用 follow_userid 指明：{userids}"
    en = "Several employees follow this customer; name one in follow_userid: {userids}"


class TagChangeRefused(Refused):
    code = "tag_change_refused"
    zh = "未做任何更改：{summary_zh}"
    en = "Nothing was changed: {summary_en}"


class CustomerTagsFull(Conflict):
    code = "customer_tags_full"
    zh = "企业微信限制每名员工最多给一位客户打 {limit} 个标签，这样会有 {tags} 个"
    en = "WeCom lets one employee put {limit} tags on a customer; this would make {tags}"


class CustomerHidden(Refused):
    code = "customer_hidden"
    zh = "您无权查看该客户"
    en = "You may not see this customer"


@dataclass(frozen=True, slots=True)
class Held:
    """An open assignment of the follow, as the plan needs it."""

    id: UUID
    tag_id: UUID
    group_id: UUID
    since: datetime
    approval_id: UUID | None
    source: str
    carried: bool = False

    @property
    def backed(self) -> bool:
        """Whether two signatures stand behind it; of a value tag, false means "not confirmed"."""
        return self.approval_id is not None or self.carried


@dataclass(frozen=True, slots=True)
class Item:
    """One tag added or removed; `reason` is `single_choice` for what another item took along."""

    tag: Tag
    group: TagGroup
    op: Op
    unchanged: bool = False
    reason: str | None = None

    @property
    def needs_approval(self) -> bool:
        return self.group.kind is Kind.VALUE and not self.unchanged


def plan(
    held: Sequence[Held], tags: Mapping[UUID, Tag], groups: Mapping[UUID, TagGroup], add: Sequence[UUID], remove: Sequence[UUID]
) -> list[Item]:
    """Every item of a change, single-choice removals included; raises Invalid where the change contradicts itself.

    `tags` must hold every tag that is named or held; `groups` their groups.
    """
    wanted_add, wanted_remove = dict.fromkeys(add), dict.fromkeys(remove)
    if not wanted_add and not wanted_remove:
        raise ChangeEmpty()
    unknown = [str(tag_id) for tag_id in (*wanted_add, *wanted_remove) if tag_id not in tags]
    if unknown:
        raise TagsUnknown(tag_ids=", ".join(unknown))
    if not wanted_add.keys().isdisjoint(wanted_remove):
        raise ChangeContradicts()
    _require_one_choice(wanted_add, tags, groups)
    carried = {one.tag_id for one in held}
    items = [_item(tags[tag_id], groups, Op.ADD, tag_id in carried) for tag_id in wanted_add]
    items += [_item(tags[tag_id], groups, Op.REMOVE, tag_id not in carried) for tag_id in wanted_remove]
    for tag_id in _taken_along(held, tags, groups, wanted_add, wanted_remove):
        items.append(Item(tags[tag_id], groups[tags[tag_id].group_id], Op.REMOVE, reason="single_choice"))
    return items


def _item(tag: Tag, groups: Mapping[UUID, TagGroup], op: Op, unchanged: bool) -> Item:
    return Item(tag, groups[tag.group_id], op, unchanged)


def _require_one_choice(add: Iterable[UUID], tags: Mapping[UUID, Tag], groups: Mapping[UUID, TagGroup]) -> None:
    chosen: set[UUID] = set()
    for tag_id in add:
        group = groups[tags[tag_id].group_id]
        if group.choice is Choice.SINGLE and group.id in chosen:
            raise SingleChoiceTwice(group=group.name)
        chosen.add(group.id)


def _taken_along(
    held: Sequence[Held],
    tags: Mapping[UUID, Tag],
    groups: Mapping[UUID, TagGroup],
    add: Mapping[UUID, None],
    remove: Mapping[UUID, None],
) -> list[UUID]:
    single = {tags[tag_id].group_id for tag_id in add if groups[tags[tag_id].group_id].choice is Choice.SINGLE}
    return [one.tag_id for one in held if one.group_id in single and one.tag_id not in add and one.tag_id not in remove]


def require_room(held: Sequence[Held], items: Iterable[Item], limit: int) -> None:
    """CustomerTagsFull where a follow would carry more tags than WeCom keeps; one that has too many may always lose some."""
    changes = [item for item in items if not item.unchanged]
    added = sum(item.op is Op.ADD for item in changes)
    tags = len(held) + added - sum(item.op is Op.REMOVE for item in changes)
    if added and tags > limit:
        raise CustomerTagsFull(limit=limit, tags=tags)


def rule_against(item: Item, moment: datetime, zone: str) -> str | None:
    """The group rule that forbids an item: `tag_retired`, `tag_ended` (by the corp's own day); None when none does."""
    if item.op is not Op.ADD or item.unchanged:
        return None
    return rule_of_tag(item.tag, moment.astimezone(ZoneInfo(zone)).date())


def rule_of_tag(tag: Tag, today: date) -> str | None:
    """Why a tag is added to nobody any more: `tag_retired`, `tag_ended`; None where it is."""
    if tag.retired:
        return "tag_retired"
    if tag.ends_on is not None and tag.ends_on < today:
        return "tag_ended"
    return None


def end_of_month(moment: datetime, zone: str) -> datetime:
    """The first instant of the next month in the corp's zone, in UTC: when temporary tags end."""
    local = moment.astimezone(ZoneInfo(zone))
    year, month = (local.year + 1, 1) if local.month == 12 else (local.year, local.month + 1)
    return datetime(year, month, 1, tzinfo=ZoneInfo(zone)).astimezone(UTC)


@dataclass(frozen=True, slots=True)
class ItemAnswer:
    """One line of the answer to a tag change."""

    tag_id: UUID
    op: Op
    outcome: Outcome
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class ChangeAnswer:
    """`approval_id` is set when something waits for two signatures."""

    items: tuple[ItemAnswer, ...]
    follow_userid: str
    approval_id: UUID | None = None


def payload(external_userid: str, follow_id: UUID, userid: str, items: Iterable[Item], held: Iterable[Held]) -> dict[str, Any]:
    """What an approval of a tag change holds: ids only, sorted, so that one change has one hash.

    `before` are the tags held in the groups concerned: what signers see stays what it was when they signed.
    """
    items = list(items)
    concerned = {item.group.id for item in items}
    return {
        "follow_id": str(follow_id),
        "userid": userid,
        "external_userid": external_userid,
        "before": sorted(str(one.tag_id) for one in held if one.group_id in concerned),
        "add": sorted(str(item.tag.id) for item in items if item.op is Op.ADD),
        "remove": sorted(str(item.tag.id) for item in items if item.op is Op.REMOVE),
    }


def effects(follow_id: UUID, items: Iterable[Item]) -> tuple[str, ...]:
    """The effect keys of a tag change, as the database forms them from the rows."""
    return tuple(f"assign:{follow_id}:{item.tag.id}:{item.op.value}" for item in items)
