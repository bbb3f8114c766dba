"""The library, the people and every request as the test recorded them, and what a change comes to. Pure: no database, no
product code, and none of its rules.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

Pair = tuple[str, str]
"""A follow and a tag it carries."""

PARENTS = {1: 0, 10: 1, 11: 10, 12: 10, 20: 1, 21: 20}
SIGNING = {"manager", "supervisor"}
TAG_CHANGE, ADOPTION = "tag_change", "adopt_marks"
GROUP_CHANGE, TAG_EDIT = "tag_group_change", "tag_edit"
MIGRATION, TAG_DELETE, GROUP_DELETE = "tag_migration", "tag_delete", "tag_group_delete"
ROLES, ISSUER, POLICY, DELEGATION = "roles_give", "issuer_right", "policy_publish", "delegation"
KINDS = (
    TAG_CHANGE, ADOPTION, GROUP_CHANGE, TAG_EDIT, MIGRATION, TAG_DELETE, GROUP_DELETE, ROLES, ISSUER, POLICY, DELEGATION,
)  # fmt: skip


@dataclass
class Person:
    person: str
    homes: set[int]
    leads: set[int]
    roles: set[str]
    active: bool = True


@dataclass
class Group:
    name: str
    kind: str
    choice: str
    gone: bool = False


@dataclass
class Tag:
    group: str
    name: str
    retired: bool = False
    gone: bool = False


@dataclass
class Delegation:
    giver: str
    taker: str
    begun: bool
    ended: bool = False


@dataclass
class Mark:
    follow: str
    tag: str
    approval: str | None


@dataclass
class Request:
    """`about`: whose follow or whom it concerns. `signed`: level → who pressed the button, of this round."""

    kind: str
    content: dict[str, Any]
    requester: str
    about: str
    id: str = ""
    state: str = ""
    round: int = 1
    escalations: int = 0
    mute: bool = False
    """Asked through an issuer that may not sign, or by a machine."""
    editors: set[str] = field(default_factory=set)
    signed: dict[int, str] = field(default_factory=dict)
    base: Any = None


@dataclass
class Record:
    """What the test knows."""

    people: dict[str, Person]
    groups: dict[str, Group]
    tags: dict[str, Tag]
    rules: dict[str, Any]
    grants: set[tuple[int, str]]
    follows: dict[str, tuple[str, str]] = field(default_factory=dict)
    marks: dict[str, Mark] = field(default_factory=dict)
    issuers: dict[str, bool] = field(default_factory=dict)
    revision: int = 0
    delegations: dict[str, Delegation] = field(default_factory=dict)
    requests: dict[str, Request] = field(default_factory=dict)
    unsigned: set[str] = field(default_factory=set)
    """Value marks nobody signed: imported in setup, or there when their group became a value group."""

    def rule(self, kind: str, name: str) -> Any:
        """One rule of a kind of request: its own, else that of protected changes, else the one for everything."""
        plain = {"asking_is_level1": True, "level1_roles": sorted(SIGNING), "level2_departments": []}
        places = [self.rules.get("kinds", {}).get(kind, {})]
        if kind not in (TAG_CHANGE, ADOPTION):
            places.append({"asking_is_level1": False, **self.rules.get("protected", {})})
        return next(place[name] for place in (*places, self.rules, plain) if name in place)

    def is_value(self, group: str) -> bool:
        return self.groups[group].kind == "value"

    def needs_two(self, kind: str, content: dict[str, Any]) -> bool:
        """Whether a change must wait for two signatures."""
        tag = self.tags.get(content.get("tag", ""))
        if kind == GROUP_CHANGE:
            group, after = self.groups[content["group"]], content
            kinds = {group.kind, after["kind"]}
            return ("value" in kinds and len(kinds) == 2) or (group.kind == "value" and group.choice != after["choice"])
        if kind == GROUP_DELETE:
            return self.is_value(content["group"])
        if kind == MIGRATION:
            assert tag is not None
            return self.is_value(tag.group) or self.is_value(content["group"])
        if kind in (TAG_EDIT, TAG_DELETE):
            assert tag is not None
            moved = kind == TAG_DELETE or (content["name"], content["retired"]) != (tag.name, tag.retired)
            return self.is_value(tag.group) and moved
        if kind == ROLES:
            return bool(set(content["give"]) & SIGNING - self.people[content["userid"]].roles)
        if kind == ISSUER:
            signs = self.issuers.get(content["issuer"])
            return signs is None or (content["may_sign"] and not signs)
        if kind == DELEGATION:
            return self.crosses(content["giver"], content["taker"])
        return self.loosens(content)

    def crosses(self, giver: str, taker: str) -> bool:
        """Whether the taker stands neither above nor below what the giver leads."""
        led = self.people[giver].leads
        places = self.people[taker].homes | self.people[taker].leads
        below = any(led & set(line_of(place)) for place in places)
        above = any(places & set(line_of(one)) for one in led)
        return bool(led) and not below and not above

    def loosens(self, content: dict[str, Any]) -> bool:
        """Whether more people may ask for value tags, or fewer, other or the same people need to sign."""
        if any(self.is_value(group) for _, group in content["add"]):
            return True
        if content["rules"] is None:
            return False
        after = Record(self.people, {}, {}, content["rules"], set())
        for kind in KINDS:
            before_asking, asking = self.rule(kind, "asking_is_level1"), after.rule(kind, "asking_is_level1")
            before_roles, roles = set(self.rule(kind, "level1_roles")), set(after.rule(kind, "level1_roles"))
            before_places, places = set(self.rule(kind, "level2_departments")), set(after.rule(kind, "level2_departments"))
            if (asking and not before_asking) or roles - before_roles:
                return True
            if before_places and (not places or places - before_places):
                return True
        return False

    # -- content and base -----------------------------------------------------------------------------------------------

    def pairs(self) -> set[Pair]:
        return {(mark.follow, mark.tag) for mark in self.marks.values()}

    def effective(self, follow: str, add: Iterable[str], remove: Iterable[str], *, all_wait: bool) -> dict[str, Any]:
        """What a tag change comes to: single choice takes along, what is so already falls out, what waits remains."""
        held = [mark.tag for mark in self.marks.values() if mark.follow == follow]
        single = {self.tags[tag].group for tag in add if self.groups[self.tags[tag].group].choice == "single"}
        taken = [tag for tag in held if self.tags[tag].group in single and tag not in add]
        gains = {tag for tag in add if tag not in held}
        loses = {tag for tag in (*remove, *taken) if tag in held}
        if not all_wait:
            gains, loses = ({tag for tag in some if self.is_value(self.tags[tag].group)} for some in (gains, loses))
        return {"follow": follow, "add": gains, "remove": loses}

    def base(self, request: Request) -> Any:
        """Everything a request stands on besides its signers, as it is now."""
        content = request.content
        if request.kind == TAG_CHANGE:
            named = content["add"] | content["remove"]
            groups = {self.tags[tag].group for tag in named}
            held = {
                id_
                for id_, mark in self.marks.items()
                if mark.follow == content["follow"] and self.tags[mark.tag].group in groups
            }
            return [self.follows.get(content["follow"]), self._tags(named), self._groups(groups), held]
        if request.kind == MIGRATION:
            held = {id_ for id_, mark in self.marks.items() if mark.tag == content["tag"]}
            target = self.tags.get(content["into"])
            into = (target.name, target.group, target.retired, target.gone) if target else None
            return [self._tags({content["tag"]}), into, self._groups({content["group"], self.tags[content["tag"]].group}), held]
        if request.kind == TAG_EDIT:
            return [self._tags({content["tag"]}), self.groups[self.tags[content["tag"]].group].kind]
        if request.kind == TAG_DELETE:
            tag = self.tags[content["tag"]]
            return [tag.group, self.groups[tag.group].kind, tag.name, tag.gone, self._carried({content["tag"]})]
        if request.kind == GROUP_DELETE:
            tags = {id_ for id_, tag in self.tags.items() if tag.group == content["group"] and not tag.gone}
            return [self._groups({content["group"]}), tags, self._carried(tags)]
        if request.kind == GROUP_CHANGE:
            return self._groups({content["group"]})
        if request.kind in (ROLES, DELEGATION):
            userids = [content[name] for name in ("userid", "giver", "taker") if name in content]
            people = [self.people[userid] for userid in userids]
            return [
                (one.person, one.active, one.roles & SIGNING, one.leads | (one.homes if request.kind == ROLES else set()))
                for one in people
            ]
        if request.kind == ISSUER:
            return self.issuers.get(content["issuer"])
        return self.revision if request.kind == POLICY else None

    def _tags(self, tags: Iterable[str]) -> Any:
        return {tag: (self.tags[tag].group, self.tags[tag].name, self.tags[tag].retired, self.tags[tag].gone) for tag in tags}

    def _groups(self, groups: Iterable[str]) -> Any:
        return {
            group: (self.groups[group].name, self.groups[group].kind, self.groups[group].choice, self.groups[group].gone)
            for group in groups
        }

    def _carried(self, tags: set[str]) -> bool:
        return any(mark.tag in tags for mark in self.marks.values())

    # -- what is made ---------------------------------------------------------------------------------------------------

    def carry_out(self, kind: str, content: dict[str, Any]) -> set[Pair]:
        """Makes a change here; returns who carries what from then on."""
        pairs = self.pairs()
        if kind == TAG_CHANGE:
            follow = content["follow"]
            return (pairs | {(follow, tag) for tag in content["add"]}) - {(follow, tag) for tag in content["remove"]}
        if kind == MIGRATION:
            return self._migrate(content, pairs)
        if kind == GROUP_CHANGE:
            group = self.groups[content["group"]]
            if content["kind"] == "value" != group.kind:
                self.unsigned |= {id_ for id_, mark in self.marks.items() if self.tags[mark.tag].group == content["group"]}
            group.kind, group.choice = content["kind"], content["choice"]
        elif kind == TAG_EDIT:
            self.tags[content["tag"]].name, self.tags[content["tag"]].retired = content["name"], content["retired"]
        elif kind == TAG_DELETE:
            self.tags[content["tag"]].gone = True
        elif kind == GROUP_DELETE:
            self.groups[content["group"]].gone = True
            for tag in self.tags.values():
                tag.gone |= tag.group == content["group"]
        elif kind == ROLES:
            self.people[content["userid"]].roles |= set(content["give"])
        elif kind == ISSUER:
            self.issuers[content["issuer"]] = content["may_sign"]
        elif kind == POLICY:
            self.revision += 1
            self.grants = (self.grants - content["remove"]) | content["add"]
            self.rules = content["rules"] or self.rules
        elif kind == DELEGATION:
            self.delegations[content["id"]] = Delegation(content["giver"], content["taker"], content["begun"])
        return pairs

    def _migrate(self, content: dict[str, Any], pairs: set[Pair]) -> set[Pair]:
        source, target, group = content["tag"], content["target"], content["group"]
        if content["into"] is None:
            self.tags[target] = Tag(group, self.tags[source].name)
        carriers = {follow for follow, tag in pairs if tag == source}
        gone = {(follow, source) for follow in carriers}
        if self.groups[group].choice == "single":
            gone |= {(follow, tag) for follow, tag in pairs if follow in carriers and self.tags[tag].group == group}
        self.tags[source].retired = True
        return (pairs - gone) | {(follow, target) for follow in carriers}


def line_of(department: int) -> list[int]:
    """A department and everything above it, nearest first."""
    found = []
    while department in PARENTS:
        found.append(department)
        department = PARENTS[department]
    return found
