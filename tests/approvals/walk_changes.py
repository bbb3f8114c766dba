"""Steps of a random walk around what requests stand on: the library, roles, policy, issuers, the organisation, follows.

What was spoilt is mended often, so that a walk does not end with nobody left to sign.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from uuid import UUID

from support.company import DEPARTMENTS, GrantLine, bundle_of
from tagwarden.assignments import library
from tagwarden.catalog import service as catalog
from tagwarden.catalog.model import Choice, TagOfAnotherApp
from tagwarden.customers import repository as customers
from tagwarden.governance import issuers, publishing, roles
from tagwarden.identity.model import RoleName
from tagwarden.kernel import db
from tagwarden.policy.model import Action, Kind
from tagwarden.sync import service as sync

from .model_of_changes import (
    ADOPTION,
    GROUP_CHANGE,
    GROUP_DELETE,
    ISSUER,
    MIGRATION,
    POLICY,
    ROLES,
    SIGNING,
    TAG_CHANGE,
    TAG_DELETE,
    TAG_EDIT,
    Group,
    Tag,
)
from .random_walk import MATRIX, PEOPLE, Walk
from .walk_steps import OTHER, live_tags, names

CHAINS: tuple[dict[str, Any], ...] = (
    {},
    {},
    {"asking_is_level1": False},
    {"level1_roles": ["manager"]},
    {"level2_departments": [1]},
    {"kinds": {TAG_CHANGE: {"asking_is_level1": False}, ROLES: {"asking_is_level1": False, "level2_departments": [1]}}},
    {"kinds": {GROUP_CHANGE: {"asking_is_level1": True}, ADOPTION: {"level1_roles": ["manager", "supervisor"]}}},
)


# -- the library ----------------------------------------------------------------------------------------------------------


async def move_tag(walk: Walk) -> None:
    """A tag moves to another group."""
    tag = walk.random.choice(live_tags(walk) or list(walk.truth.tags))
    group = walk.random.choice([id_ for id_, one in walk.truth.groups.items() if not one.gone])
    walk.say("move", names(walk, [tag]), "to", walk.truth.groups[group].name)
    done = await library.move_tag(walk.caller("admin"), UUID(tag), UUID(group), "because", "*")
    content = {"tag": tag, "into": None, "target": str(done.id), "group": group}
    walk.proposed(MIGRATION, content, "admin", "admin", done.approval_id)


async def merge_tag(walk: Walk) -> None:
    """A tag is merged into another."""
    tag, into = (walk.random.choice(live_tags(walk) or list(walk.truth.tags)) for _ in range(2))
    walk.say("merge", names(walk, [tag, into]))
    done = await library.merge_tag(walk.caller("admin"), UUID(tag), UUID(into), "because", "*")
    content = {"tag": tag, "into": into, "target": into, "group": walk.truth.tags[into].group}
    walk.proposed(MIGRATION, content, "admin", "admin", done.approval_id)


async def change_group(walk: Walk) -> None:
    """Another kind or another choice; value groups come back to being value groups."""
    random, groups = walk.random, walk.truth.groups
    group = random.choice([id_ for id_, one in groups.items() if not one.gone])
    was = groups[group]
    kind = (
        "value" if was.kind != "value" and was.name in ("value", "level") else random.choice(["value", "standard", "temporary"])
    )
    kind = was.kind if random.random() < 0.4 else kind
    choice = random.choice(["single", "multiple"])
    walk.say("group", was.name, was.kind, was.choice, "to", kind, choice)
    change = catalog.GroupChange(kind=Kind(kind), choice=Choice(choice), reason="because")
    done = await catalog.change_group(walk.caller("admin"), UUID(group), change, "*")
    walk.proposed(GROUP_CHANGE, {"group": group, "kind": kind, "choice": choice}, "admin", "admin", done.approval_id)


async def edit_tag(walk: Walk) -> None:
    """A new name, retirement, or back from it."""
    random, truth = walk.random, walk.truth
    tag = random.choice([id_ for id_, one in truth.tags.items() if not one.gone])
    name, retired = truth.tags[tag].name, truth.tags[tag].retired
    if random.random() < 0.5:
        name = f"n{len(walk.history)}"
    else:
        retired = not retired
    walk.say("edit tag", names(walk, [tag]), name, retired)
    change = catalog.TagChange(name=name, retired=retired, reason="because")
    try:
        done = await catalog.change_tag(walk.caller("admin"), UUID(tag), change, "*")
    except TagOfAnotherApp:
        assert truth.groups[truth.tags[tag].group].kind != "value", "a value tag's record is ours to name"
        return
    walk.proposed(TAG_EDIT, {"tag": tag, "name": name, "retired": retired}, "admin", "admin", done.approval_id)


async def delete_tag(walk: Walk) -> None:
    """A tag nobody carries goes."""
    carried = {mark.tag for mark in walk.truth.marks.values()}
    kept = [id_ for id_, one in walk.truth.tags.items() if not one.gone]
    tag = walk.random.choice([id_ for id_ in kept if id_ not in carried] or kept)
    walk.say("delete", names(walk, [tag]))
    done = await library.delete_tag(walk.caller("admin"), UUID(tag), "because", "*")
    walk.proposed(TAG_DELETE, {"tag": tag}, "admin", "admin", done.approval_id)


async def delete_group(walk: Walk) -> None:
    """A spare group goes, or somebody tries with one that is in use."""
    kept = [id_ for id_, one in walk.truth.groups.items() if not one.gone]
    spare = [id_ for id_ in kept if walk.truth.groups[id_].name.startswith("spare")]
    group = walk.random.choice(spare or kept)
    walk.say("delete group", walk.truth.groups[group].name)
    done = await library.delete_group(walk.caller("admin"), UUID(group), "because", "*")
    walk.proposed(GROUP_DELETE, {"group": group}, "admin", "admin", done.approval_id)


async def create_tag(walk: Walk) -> None:
    """A new tag where few are left; a new spare group where none is."""
    truth, admin = walk.truth, walk.caller("admin")
    kept = [id_ for id_, one in truth.groups.items() if not one.gone]
    name = f"t{len(walk.history)}"
    if not any(truth.groups[id_].name.startswith("spare") for id_ in kept):
        walk.say("create group", f"spare{name}")
        id_ = await catalog.create_group(admin, catalog.GroupDraft(f"spare{name}", Kind.VALUE, Choice.SINGLE))
        truth.groups[str(id_)] = Group(f"spare{name}", "value", "single")
        return
    live = live_tags(walk)
    group = min(kept, key=lambda id_: sum(truth.tags[tag].group == id_ for tag in live))
    walk.say("create tag", name, "in", truth.groups[group].name)
    id_ = await catalog.create_tag(admin, UUID(group), catalog.TagDraft(name))
    truth.tags[str(id_)] = Tag(group, name)


# -- people, policy, issuers ----------------------------------------------------------------------------------------------


async def put_roles(walk: Walk) -> None:
    """Roles given and taken; mostly back to what everybody began with."""
    userid = walk.random.choice([name for name in walk.truth.people if name not in ("admin", "bot")])
    one = walk.truth.people[userid]
    wanted = set(PEOPLE[userid][2])
    if walk.random.random() < 0.4:
        wanted ^= {walk.random.choice(["manager", "supervisor", "staff"])}
    walk.say("roles", userid, sorted(one.roles), "to", sorted(wanted))
    done = await roles.put_roles(walk.caller("admin"), userid, [RoleName(role) for role in sorted(wanted)], [], "because")
    held = sorted(wanted & SIGNING - one.roles)
    one.roles = (one.roles & wanted) | (wanted - SIGNING)
    if held:
        walk.proposed(ROLES, {"userid": userid, "give": held}, "admin", userid, done.approval_id)


async def put_issuer(walk: Walk) -> None:
    """Another issuer is bound, may sign, may not, or goes."""
    may_sign = walk.random.random() < 0.6
    if walk.random.random() < 0.3:
        walk.say("remove issuer")
        await issuers.remove_issuer(walk.caller("admin"), OTHER)
        del walk.truth.issuers[OTHER]
        return
    walk.say("issuer", may_sign)
    done = await issuers.put_issuer(walk.caller("admin"), OTHER, may_sign, "because", {OTHER})
    walk.proposed(ISSUER, {"issuer": OTHER, "may_sign": may_sign}, "admin", "admin", done.approval_id)


async def publish(walk: Walk) -> None:
    """Another matrix and another chain."""
    random, truth = walk.random, walk.truth
    named = {id_: one.name for id_, one in truth.groups.items() if not one.gone}
    cells = [(place, id_) for id_ in named for place in (10, 20)]
    usual = {(place, name) for place, name in MATRIX}
    lost = random.choice(cells) if random.random() < 0.3 else None
    grants = {cell for cell in cells if (cell[0], named[cell[1]]) in usual and cell != lost}
    grants |= {random.choice(cells)} if random.random() < 0.3 else set()
    plain = bundle_of({}, {}, [GrantLine(place, named[id_], Action.USE) for place, id_ in sorted(grants)])
    rules = {**plain.approvals, **random.choice(CHAINS)}
    # Cells of a group that is gone say nothing any more; they stay where they are.
    more, less = grants - truth.grants, {cell for cell in truth.grants if cell[1] in named} - grants
    content = {"add": more, "remove": less, "rules": None if rules == truth.rules else rules}
    walk.say("publish", len(more), "more", len(less), "less", content["rules"] or "the same chain")
    bundle = replace(plain, approvals=rules)
    done = await publishing.apply_bundle(walk.caller("admin"), bundle, "because")
    if not more and not less and content["rules"] is None:
        assert not done.approvals, "nothing differs: no revision, and nothing to sign"
        return
    walk.proposed(POLICY, content, "admin", "admin", done.approvals[0] if done.approvals else None)


async def organise(walk: Walk) -> None:
    """Somebody moves, leads, is disabled or leaves; mostly everybody comes back to where he was."""
    random, people = walk.random, walk.truth.people
    for userid, one in people.items():
        if random.random() < 0.5:
            home, leads, _ = PEOPLE[userid]
            one.homes, one.leads, one.active = {home}, {home} if leads else set(), True
    userid = random.choice([name for name in people if name != "admin"])
    one, place = people[userid], random.choice([10, 11, 12, 20, 21])
    what = random.choice(["move", "also", "leads", "leads two", "disabled", "left"])
    walk.say("organise", userid, what, place)
    if what in ("move", "also"):
        one.homes = {place} if what == "move" else one.homes | {place}
        one.leads = one.leads & one.homes
    elif what.startswith("leads"):
        one.homes, one.leads = one.homes | {place}, {place} if what == "leads" else one.leads | {place, 10}
        one.homes |= one.leads
    else:
        one.active = False
    if what == "left":
        one.homes, one.leads = set(), set()
    await _mirror(walk)


async def _mirror(walk: Walk) -> None:
    """WeCom shows everybody who belongs somewhere."""
    shown = {userid: one for userid, one in walk.truth.people.items() if one.homes}
    employees = tuple((id_, id_, "active" if one.active else "disabled", min(one.homes)) for id_, one in shown.items())
    places = tuple((id_, home, home in one.leads) for id_, one in shown.items() for home in sorted(one.homes))
    await sync.mirror_org(walk.caller("admin"), sync.OrgSeen(DEPARTMENTS, employees, places))


async def transfer(walk: Walk) -> None:
    """A customer goes over to somebody else: his follow ends, another begins."""
    truth, corp_id = walk.truth, walk.company.corp_id
    follow = walk.random.choice(list(truth.follows))
    owner, customer = truth.follows[follow]
    pairs = set(truth.follows.values())
    others = [name for name in ("ann", "bob", "cat", "dan", "near", "east") if (name, customer) not in pairs]
    if not others:
        return
    heir = walk.random.choice(others)
    walk.say("transfer", customer, "from", owner, "to", heir)
    walk.transferred = True
    kept = [UUID(id_) for id_, (userid, _) in truth.follows.items() if userid == owner and id_ != follow]
    async with db.transaction():
        assert await customers.end_missing_follows(corp_id, [owner], kept, "transfer") == 1
        await db.fetch("select close_command($1, array['{}'::bytea], true)", corp_id)
    await walk.company.add_customers((heir, customer, ()))
