"""Steps of a random walk around a request: asking, signing, editing, standing in. Each does one thing through a real use
case and says what it meant to do. Askers and signers are mostly people who may, so that a good share gets through.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from support.company import arrange
from tagwarden.approvals import delegations, service, timekeeping
from tagwarden.approvals.model import Verdict
from tagwarden.assignments import adoption
from tagwarden.assignments.service import TagChange, change_tags

from .model_of_changes import (
    ADOPTION,
    DELEGATION,
    MIGRATION,
    ROLES,
    SIGNING,
    TAG_CHANGE,
    Request,
)
from .random_walk import Walk

OTHER = "another"


# -- asking ---------------------------------------------------------------------------------------------------------------


def live_tags(walk: Walk, *, value: bool | None = None) -> list[str]:
    """Tags that can be given, of value groups or of others."""
    truth = walk.truth
    kept = [id_ for id_, tag in truth.tags.items() if not (tag.gone or tag.retired)]
    return kept if value is None else [id_ for id_ in kept if truth.is_value(truth.tags[id_].group) is value]


def _asker(walk: Walk, owner: str) -> str:
    dice = walk.random.random()
    above = sorted({userid for leaders in walk.truth.leaders(owner) for userid in leaders})
    if dice < 0.5:
        return owner
    return walk.random.choice(above if above and dice < 0.9 else list(walk.truth.people))


async def ask_tags(walk: Walk, *, value: bool = True) -> None:
    """A tag change, mostly of value tags, mostly by somebody who may."""
    random, truth = walk.random, walk.truth
    follow = random.choice(list(truth.follows))
    owner, customer = truth.follows[follow]
    actor = _asker(walk, owner)
    add = random.sample(tags, 1) if (tags := live_tags(walk, value=value)) else []
    if value and random.random() < 0.2:
        add += random.sample(others, 1) if (others := live_tags(walk)) else []
    held = [mark.tag for mark in truth.marks.values() if mark.follow == follow and mark.tag not in add]
    remove = random.sample(held, 1) if held and random.random() < 0.3 else []
    add = add if not remove or random.random() < 0.5 else []
    partial, mute = random.random() < 0.85, random.random() < 0.05
    walk.say("ask", actor, "for", owner, customer, "add", names(walk, add), "remove", names(walk, remove), partial, mute)
    change = TagChange(customer, tuple(map(UUID, add)), tuple(map(UUID, remove)), owner, "because", partial)
    answer = await change_tags(walk.caller(actor, may_sign=not mute), change)
    waits = truth.effective(follow, add, remove, all_wait=False)
    if answer.approval_id is None:
        assert not waits["add"] | waits["remove"], "a side door: a value tag without a request"
        return
    content = waits if partial else truth.effective(follow, add, remove, all_wait=True)
    walk.fresh.append(Request(TAG_CHANGE, content, actor, owner, str(answer.approval_id), mute=mute))


def names(walk: Walk, tags: list[str]) -> list[str]:
    """Tags as people say them."""
    return [f"{walk.truth.groups[walk.truth.tags[tag].group].name}/{walk.truth.tags[tag].name}" for tag in tags]


async def ask_ordinary(walk: Walk) -> None:
    """A tag that waits for nobody."""
    await ask_tags(walk, value=False)


async def ask_adoption(walk: Walk) -> None:
    """Marks nobody signed."""
    actor = walk.random.choice(["admin", "east", "south", "boss"])
    walk.say("adopt", actor)
    for id_ in await adoption.ask_adoptions(walk.caller(actor), "because"):
        marks = (await walk.company.approval(id_)).payload["marks"]
        owners = sorted({mark["userid"] for mark in marks})
        content = {"marks": [mark["assignment_id"] for mark in marks], "owners": owners}
        walk.fresh.append(Request(ADOPTION, content, actor, owners[0], str(id_)))


# -- signing and what else becomes of a request ---------------------------------------------------------------------------


async def sign(walk: Walk) -> None:
    """A signature, mostly by somebody who may; sometimes through a machine or another issuer."""
    if not (waiting := walk.open()):
        return await ask_tags(walk)
    request = walk.random.choice(waiting)
    able = walk.truth.signers(request)
    actor = walk.random.choice(able if able and walk.random.random() < 0.9 else list(walk.truth.people))
    dice = walk.random.random()
    issuer = OTHER if dice < 0.03 else "tagwarden"
    act = "bot" if dice > 0.98 else None
    walk.say("sign", _named(walk, request), "by", actor, issuer, act or "")
    walk.signing = (request, actor) if walk.truth.issuers.get(issuer) and act is None else None
    caller = walk.caller(actor, issuer=issuer, act=act)
    await service.decide(caller, UUID(request.id), Verdict.APPROVE, "", "*")
    return None


def _named(walk: Walk, request: Request) -> str:
    return f"#{list(walk.truth.requests).index(request.id)} {request.kind} {request.state} {request.requester}→{request.about}"


def somebody(walk: Walk, likely: list[str]) -> str:
    """Mostly one of those who may, else anybody."""
    return walk.random.choice(likely if likely and walk.random.random() < 0.8 else list(walk.truth.people))


async def refuse(walk: Walk) -> None:
    """A refusal."""
    if waiting := walk.open():
        request = walk.random.choice(waiting)
        actor = somebody(walk, walk.truth.signers(request))
        walk.say("refuse", _named(walk, request), "by", actor)
        await service.decide(walk.caller(actor), UUID(request.id), Verdict.REJECT, "no", "*")


async def withdraw(walk: Walk) -> None:
    """The requester takes it back, or somebody else tries."""
    if waiting := walk.open():
        request = walk.random.choice(waiting)
        actor = somebody(walk, [request.requester])
        walk.say("withdraw", _named(walk, request), "by", actor)
        await service.withdraw(walk.caller(actor), UUID(request.id))


async def edit(walk: Walk) -> None:
    """Other tags or another reason, by the requester or a signer."""
    if not (waiting := walk.open(TAG_CHANGE) or walk.open()):
        return
    random, truth = walk.random, walk.truth
    request = random.choice(waiting)
    actor = somebody(walk, [request.requester, *truth.signers(request)])
    change, content = None, request.content
    if request.kind == TAG_CHANGE:
        add, remove = set(content["add"]), set(content["remove"])
        if random.random() < 0.6 and (tags := live_tags(walk, value=True)):
            add, remove = {random.choice(tags)}, set()
            change = {"add": sorted(add), "remove": []}
        content = truth.effective(content["follow"], add, remove, all_wait=True)
    walk.say("edit", _named(walk, request), "by", actor, "content" if change else "reason")
    walk.edited = (request, truth.edits_as(request, actor), content)
    reason = None if change else f"reason {len(walk.history)}"
    await service.edit(walk.caller(actor), UUID(request.id), change, reason, "*")


async def resubmit(walk: Walk) -> None:
    """Asks again for what ended without its change."""
    ended = [one for one in walk.truth.requests.values() if one.state in ("rejected", "withdrawn", "expired", "stale")]
    if not ended:
        return
    old = walk.random.choice(ended)
    actor = somebody(walk, [old.requester] * 9)
    walk.say("resubmit", _named(walk, old), "by", actor)
    content = dict(old.content)
    if old.kind == TAG_CHANGE:
        content = walk.truth.effective(content["follow"], content["add"], content["remove"], all_wait=True)
    fresh = await service.resubmit(walk.caller(actor), UUID(old.id))
    if str(fresh) not in walk.truth.requests:
        await _named_anew(walk, old, content, fresh)
        walk.fresh.append(Request(old.kind, content, actor, old.about, str(fresh)))


async def _named_anew(walk: Walk, old: Request, content: dict[str, Any], fresh: UUID) -> None:
    """What a request makes has an id of its own, never that of the request before."""
    field, called = {DELEGATION: ("id", "id"), MIGRATION: ("target", "target_id")}.get(old.kind, ("", ""))
    if field and content.get("into") is None:
        content[field] = (await walk.company.approval(fresh)).payload[called]
        assert content[field] != old.content[field], "two requests would make the same row"


async def escalate(walk: Walk) -> None:
    """The next leader is let in: whenever there is one."""
    if not (waiting := walk.open(TAG_CHANGE, ROLES) or walk.open()):
        return
    request = walk.random.choice(waiting)
    actor = somebody(walk, ["admin"])
    before = walk.truth.firsts(request, request.about)
    request.escalations += 1
    after = walk.truth.firsts(request, request.about)
    request.escalations -= 1
    walk.say("escalate", _named(walk, request), "by", actor, before, after)
    walk.escalated = request
    done = await timekeeping.escalate(walk.caller(actor), UUID(request.id))
    if request.state == "pending_level1" and walk.truth.people[request.requester].active:
        assert done == bool(after - before), f"escalated: {done}; {before} → {after}"


async def expire(walk: Walk) -> None:
    """Time runs out for a request; the worker sees it, or a signer."""
    if waiting := walk.open():
        request = walk.random.choice(waiting)
        walk.say("expire", _named(walk, request))
        corp_id = walk.company.corp_id
        await arrange(corp_id, "update approval set expires_at = now() where id = $1", UUID(request.id))
        if able := walk.truth.signers(request):
            await service.decide(walk.caller(able[0]), UUID(request.id), Verdict.APPROVE, "", "*")
        else:
            await timekeeping.expire_due(corp_id)


async def keep_time(walk: Walk) -> None:
    """What the worker does by the clock."""
    walk.say("keep time")
    await timekeeping.keep_time(walk.company.corp_id)


# -- standing in ----------------------------------------------------------------------------------------------------------


async def delegate(walk: Walk) -> None:
    """Somebody names who signs for him, from now on or from tomorrow."""
    random, truth = walk.random, walk.truth
    signing = [userid for userid, one in truth.people.items() if one.roles & SIGNING]
    giver, taker = somebody(walk, signing), somebody(walk, signing)
    begun, now = random.random() < 0.85, datetime.now(UTC)
    walk.say("delegate", giver, "to", taker, "now" if begun else "tomorrow")
    starts_at = None if begun else now + timedelta(days=1)
    wanted = delegations.Wanted(taker, starts_at, now + timedelta(days=9), "because")
    done = await delegations.delegate(walk.caller(giver), wanted)
    content = {"id": str(done.id), "giver": giver, "taker": taker, "begun": begun}
    walk.proposed(DELEGATION, content, giver, giver, done.approval_id)


async def end_delegation(walk: Walk) -> None:
    """One of the two takes it back, or the admin."""
    if running := [id_ for id_, one in walk.truth.delegations.items() if not one.ended]:
        id_ = walk.random.choice(running)
        row = walk.truth.delegations[id_]
        actor = somebody(walk, [row.giver, row.taker, "admin"])
        walk.say("end delegation", row, "by", actor)
        await delegations.end_delegation(walk.caller(actor), UUID(id_))
        row.ended = True
