"""How held tag changes and adoptions are applied: inside the last signature's transaction, on the base that was signed."""

from __future__ import annotations

import hashlib
from typing import Annotated, Any
from uuid import UUID

import msgspec
import rfc8785

from tagwarden.approvals.chain import Chain, chain_for
from tagwarden.approvals.model import Approval, Ask, NotEditable, NotStanding
from tagwarden.approvals.standing import rules_of
from tagwarden.assignments import queries, repository
from tagwarden.assignments.model import Held, Op, effects, payload, plan, require_room, rule_against
from tagwarden.assignments.service import TAG_CHANGE, write_items
from tagwarden.catalog import repository as catalog
from tagwarden.catalog.limits import TAGS_ON_ONE
from tagwarden.corps.command import Epoch
from tagwarden.corps.model import Work
from tagwarden.customers import repository as customers
from tagwarden.kernel import db
from tagwarden.kernel.errors import Invalid, TagwardenError
from tagwarden.policy.model import Action, Kind
from tagwarden.policy.service import Picture

ADOPTION = "adopt_marks"


class _Wanted(msgspec.Struct, forbid_unknown_fields=True):
    """The content of an edited tag change."""

    add: Annotated[list[UUID], msgspec.Meta(max_length=50)] = []
    remove: Annotated[list[UUID], msgspec.Meta(max_length=50)] = []


class ChangeUnreadable(Invalid):
    code = "change_unreadable"
    zh = "change 应为 add 和 remove 两个标签 id 列表：{why}"
    en = "`change` is two lists of tag ids, add and remove: {why}"


def _read(change: dict[str, Any]) -> _Wanted:
    try:
        return msgspec.convert(change, _Wanted, strict=False)
    except msgspec.ValidationError as error:
        raise ChangeUnreadable(why=str(error)) from error


def _digest(content: Any) -> str:
    return hashlib.sha256(rfc8785.dumps(content)).hexdigest()


class TagChangeApplier:
    """A change of tags on one follow."""

    kind = TAG_CHANGE
    epoch_lock = Epoch.SHARED
    protected = False
    writes_tags = True

    async def fingerprint(self, corp_id: str, payload: dict[str, Any]) -> str:
        """Owner, the named tags, their groups, and which assignments are open in those groups."""
        follow_id = UUID(payload["follow_id"])
        follow = await db.fetch_one(
            "select userid, ended_at is null as open from follow where corp_id = $1 and id = $2", corp_id, follow_id
        )
        tags = await catalog.tags_by_id(corp_id, [UUID(tag_id) for tag_id in (*payload["add"], *payload["remove"])])
        groups = await catalog.groups_by_id(corp_id, list({tag.group_id for tag in tags.values()}))
        held = [one for one in await repository.held(corp_id, follow_id) if one.group_id in groups]
        return _digest(
            {
                "follow": {"userid": follow["userid"], "open": follow["open"]} if follow else None,
                "tags": {str(tag.id): [str(tag.group_id), tag.retired, tag.name] for tag in tags.values()},
                "groups": {str(group.id): [group.kind.value, group.choice.value] for group in groups.values()},
                "held": sorted(str(one.id) for one in held),
            }
        )

    async def lock(self, corp_id: str, payload: dict[str, Any]) -> None:
        """The follow and the tags, until the transaction ends."""
        await customers.lock_follows(corp_id, [UUID(payload["follow_id"])])
        await catalog.tags_by_id(corp_id, [UUID(tag_id) for tag_id in (*payload["add"], *payload["remove"])], lock=True)

    async def check(self, work: Work, picture: Picture, approval: Approval) -> str | None:
        """The requester's right and the group rules, as they stand now."""
        payload = approval.payload
        tags = await catalog.tags_by_id(work.corp_id, [UUID(tag_id) for tag_id in (*payload["add"], *payload["remove"])])
        groups = await catalog.groups_by_id(work.corp_id, list({tag.group_id for tag in tags.values()}))
        for group in groups.values():
            relation = picture.relation(approval.requester, payload["userid"], str(group.id), work.now)
            if not picture.may(approval.requester, str(group.id), group.kind, Action.USE, relation):
                return "requester_lost_right"
        held = await repository.held(work.corp_id, UUID(payload["follow_id"]))
        try:
            items = plan(
                [one for one in held if one.tag_id in tags],
                tags,
                groups,
                [UUID(tag_id) for tag_id in payload["add"]],
                [UUID(tag_id) for tag_id in payload["remove"]],
            )
            require_room(held, items, TAGS_ON_ONE)
        except TagwardenError as error:
            return error.code
        return next((rule for item in items if (rule := rule_against(item, work.now, work.corp.time_zone))), None)

    async def revise(self, work: Work, approval: Approval, change: dict[str, Any] | None) -> Ask:
        """Other tags on the same follow, or the same ones on today's base; plans anew, so single choice takes along."""
        asked = approval.payload
        wanted = _read(change) if change is not None else _Wanted(list(map(UUID, asked["add"])), list(map(UUID, asked["remove"])))
        follow_id = UUID(asked["follow_id"])
        if not await customers.lock_follows(work.corp_id, [follow_id]):
            raise NotStanding(why="follow_ended")
        held = await repository.held(work.corp_id, follow_id)
        tags = await catalog.tags_by_id(work.corp_id, [*wanted.add, *wanted.remove, *(one.tag_id for one in held)])
        groups = await catalog.groups_by_id(work.corp_id, list({tag.group_id for tag in tags.values()}))
        planned = plan([one for one in held if one.tag_id in tags], tags, groups, wanted.add, wanted.remove)
        items = [item for item in planned if not item.unchanged]
        if not items:
            raise NotStanding(why="nothing_to_change")
        fresh = payload(asked["external_userid"], follow_id, asked["userid"], items, held)
        if change is not None and (fresh["add"], fresh["remove"]) == (asked["add"], asked["remove"]):
            fresh = asked  # saving what stands there is no edit
        keys = effects(follow_id, [item for item in items if item.group.kind is Kind.VALUE])
        return Ask(TAG_CHANGE, fresh, keys, approval.about_userid, approval.about_customer, approval.reason)

    async def describe(self, corp_id: str, payload: dict[str, Any]) -> dict[str, Any]:
        """Tag names before and after, in the groups concerned, as they stood when asked, and what was carried there before."""
        before = {UUID(tag_id) for tag_id in payload["before"]}
        after = (before | {UUID(tag_id) for tag_id in payload["add"]}) - {UUID(tag_id) for tag_id in payload["remove"]}
        tags = await catalog.tags_by_id(corp_id, list(before | after))
        return {
            "customer": payload["external_userid"],
            "owner": payload["userid"],
            "before": sorted(tags[tag_id].name for tag_id in before if tag_id in tags),
            "after": sorted(tags[tag_id].name for tag_id in after if tag_id in tags),
            "history": await queries.marks_before(corp_id, UUID(payload["follow_id"]), list({t.group_id for t in tags.values()})),
        }

    async def apply(self, work: Work, picture: Picture, approval: Approval) -> None:
        """Writes the rows; the database lets each effect through once."""
        payload = approval.payload
        follow_id = UUID(payload["follow_id"])
        held = await repository.held(work.corp_id, follow_id)
        add, remove = ([UUID(tag_id) for tag_id in payload[op]] for op in ("add", "remove"))
        tags = await catalog.tags_by_id(work.corp_id, [*add, *remove])
        groups = await catalog.groups_by_id(work.corp_id, list({tag.group_id for tag in tags.values()}))
        items = plan([one for one in held if one.tag_id in tags], tags, groups, add, remove)
        protected = [item for item in items if item.group.kind is Kind.VALUE]
        others = [item for item in items if item.group.kind is not Kind.VALUE and not item.unchanged]
        await write_items(work, follow_id, protected, source="approval", approval_id=approval.id)
        if others:
            await write_items(work, follow_id, others, source="approval", approval_id=approval.id)
        work.record(
            "tags.changed",
            f"follow:{follow_id}",
            {"row": [f"approval:{approval.id}"], "revision": picture.revision, "epoch": picture.epoch},
            customer=payload["external_userid"],
            add=sorted(str(item.tag.id) for item in items if item.op is Op.ADD),
            remove=sorted(str(item.tag.id) for item in items if item.op is Op.REMOVE),
            requester=approval.requester,
        )


class AdoptionApplier:
    """Value marks WeCom held already: two people put their names behind them; nothing is sent."""

    kind = ADOPTION
    epoch_lock = Epoch.SHARED
    protected = False
    writes_tags = True

    async def fingerprint(self, corp_id: str, payload: dict[str, Any]) -> str:
        """The rows themselves: each names its assignment, so a moved mark is another row (see `check`)."""
        return _digest(payload["marks"])

    async def lock(self, corp_id: str, payload: dict[str, Any]) -> None:
        """Every follow of the bundle, by id."""
        await customers.lock_follows(corp_id, sorted({UUID(mark["follow_id"]) for mark in payload["marks"]}))

    async def check(self, work: Work, picture: Picture, approval: Approval) -> str | None:
        """Stale only when no row is left; single rows that moved drop out."""
        return None if await self._standing(work, picture, approval) else "nothing_left_to_adopt"

    async def revise(self, work: Work, approval: Approval, change: dict[str, Any] | None) -> Ask:
        """The same marks; a bundle is not edited."""
        if change is not None:
            raise NotEditable()
        keys = tuple(f"assign:{mark['follow_id']}:{mark['tag_id']}:adopt" for mark in approval.payload["marks"])
        return Ask(ADOPTION, approval.payload, keys, approval.about_userid, None, approval.reason)

    async def describe(self, corp_id: str, payload: dict[str, Any]) -> dict[str, Any]:
        """The marks, by owner and customer; an adoption changes who stands behind them, not the tags."""
        tags = await catalog.tags_by_id(corp_id, list({UUID(mark["tag_id"]) for mark in payload["marks"]}))
        marks = [
            {"owner": mark["userid"], "customer": mark["external_userid"], "tag": tags[UUID(mark["tag_id"])].name}
            for mark in payload["marks"]
            if UUID(mark["tag_id"]) in tags
        ]
        return {"before": "unconfirmed", "after": "confirmed", "marks": marks}

    async def apply(self, work: Work, picture: Picture, approval: Approval) -> None:
        """Names the approval on every mark that still stands; what dropped out is recorded with its count."""
        standing = await self._standing(work, picture, approval)
        adopted = await repository.adopt(work.corp_id, [UUID(mark["assignment_id"]) for mark in standing], approval.id)
        work.record(
            "marks.adopted",
            f"approval:{approval.id}",
            {"row": [f"approval:{approval.id}"], "revision": picture.revision, "epoch": picture.epoch},
            adopted=adopted,
            dropped=len(approval.payload["marks"]) - adopted,
        )

    async def _standing(self, work: Work, picture: Picture, approval: Approval) -> list[dict[str, Any]]:
        """Rows whose mark is still open, unbacked, in a value group, of the same owner, who has the chain that signs."""
        marks = approval.payload["marks"]
        follow_ids = [UUID(mark["follow_id"]) for mark in marks]
        open_now = await repository.held_by_follows(work.corp_id, follow_ids)
        named = await catalog.groups_by_id(work.corp_id, list({one.group_id for held in open_now.values() for one in held}))
        value = {group.id for group in named.values() if group.kind is Kind.VALUE}
        owners = {
            row["id"]: row["userid"]
            for row in await db.fetch(
                "select id, userid from follow where corp_id = $1 and id = any($2::uuid[]) and ended_at is null",
                work.corp_id,
                follow_ids,
            )
        }
        expected = _chain(picture, approval, approval.about_userid)
        return [
            mark
            for mark in marks
            if owners.get(UUID(mark["follow_id"])) == mark["userid"]
            and _is_unconfirmed(open_now[UUID(mark["follow_id"])], UUID(mark["assignment_id"]), value)
            and _chain(picture, approval, mark["userid"]) == expected
        ]


def _is_unconfirmed(held: list[Held], assignment_id: UUID, value: set[UUID]) -> bool:
    return any(one.id == assignment_id and not one.backed and one.group_id in value for one in held)


def _chain(picture: Picture, approval: Approval, owner: str) -> Chain | None:
    rules = rules_of(picture, approval.kind)
    try:
        return chain_for(
            picture.directory,
            owner=owner,
            requester=approval.requester,
            barred=approval.barred,
            asking_is_level1=rules.asking_is_level1 and approval.level1 == (approval.requester,),
            rules=rules,
            escalations=approval.escalations,
        )
    except TagwardenError:
        return None
