"""Who may sign and what may be applied, said a second time and as plainly as possible, from what the test itself
recorded. Knows nothing of the product's chain. Pure: no database, no product code.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from .model_of_changes import ADOPTION, DELEGATION, SIGNING, TAG_CHANGE, Record, Request, line_of


@dataclass(frozen=True)
class Signature:
    """A row of the database."""

    level: int
    signer: str
    on_behalf_of: str | None
    by_asking: bool
    content_hash: str


class Truth(Record):
    """What is recorded, and the judgement of it."""

    def same_person(self, userids: Iterable[str]) -> set[str]:
        """Every account of these people."""
        persons = {self.people[userid].person for userid in userids}
        return {userid for userid, one in self.people.items() if one.person in persons}

    def seconds(self, request: Request, about: str) -> set[str]:
        """HQ supervisors who are not in it themselves."""
        allowed = set(self.rule(request.kind, "level2_departments"))
        found = {userid for userid, one in self.people.items() if one.active and "supervisor" in one.roles}
        if allowed:
            found = {userid for userid in found if any(allowed & set(line_of(home)) for home in self.people[userid].homes)}
        return found - self.same_person({request.requester, *self.concerned(request, about)})

    @staticmethod
    def concerned(request: Request, about: str) -> set[str]:
        """Who never signs besides the requester: whom it is about, whom it gives authority, and whoever edited it."""
        return {about, *request.editors, *([request.content["taker"]] if request.kind == DELEGATION else [])}

    def firsts(self, request: Request, about: str, *, by_asking: bool = False) -> set[str]:
        """The nearest eligible leaders above; one step higher for every escalation."""
        roles = set(self.rule(request.kind, "level1_roles"))
        never = self.same_person(self.concerned(request, about))
        mine = self.same_person({request.requester})
        seconds = self.seconds(request, about)
        found: set[str] = set()
        steps = request.escalations + 1
        for leaders in self.leaders(about):
            able = {userid for userid in leaders if self.people[userid].roles & roles} - never
            if by_asking and request.requester in able:
                return {request.requester}
            fresh = {userid for userid in able - mine if seconds - self.same_person({userid})} - found
            found |= fresh
            steps -= bool(fresh)
            if not steps or (by_asking and found):
                break
        return set() if by_asking else found

    def leaders(self, about: str) -> Iterator[set[str]]:
        """Active leaders at each distance above somebody, nearest first."""
        lines = [line_of(home) for home in self.people[about].homes]
        for distance in range(max(map(len, lines), default=0)):
            at = {line[distance] for line in lines if distance < len(line)}
            yield {userid for userid, one in self.people.items() if one.active and one.leads & at and userid != about}

    def able(self, request: Request, level: int) -> set[str]:
        """Who may sign a level in his own name; nobody where the asking was its signature."""
        if level == 2:
            return self.seconds(request, request.about)
        asked = Signature(1, request.requester, None, True, "")
        by_asking = request.signed.get(1) == request.requester and not self.fault(request, asked, request.about)
        return set() if by_asking else self.firsts(request, request.about)

    def edits_as(self, request: Request, editor: str) -> set[str]:
        """Who is barred by an edit: a delegate is the person he stands for, unless the request is his own to edit."""
        if editor == request.requester or any(editor in self.able(request, level) for level in (1, 2)):
            return {editor}
        away = {one.giver for one in self.delegations.values() if one.taker == editor}
        return {editor} | {giver for giver in away for level in (1, 2) if self.stands_in(request, level, editor, giver)}

    def stands_in(self, request: Request, level: int, taker: str, giver: str) -> bool:
        """Whether a delegate may sign a level for somebody, and leaves a second person after level 1."""
        signature = Signature(level, taker, giver, False, "")
        if giver not in self.able(request, level) or self.fault(request, signature, request.about):
            return False
        return level == 2 or bool(self.seconds(request, request.about) - self.same_person({taker, giver}))

    def signers(self, request: Request) -> list[str]:
        """Who may sign the level that is due, delegates included."""
        level = 1 if request.state == "pending_level1" else 2
        able = self.firsts(request, request.about) if level == 1 else self.seconds(request, request.about)
        names: list[tuple[str, str | None]] = [(userid, None) for userid in self.people if userid in able]
        names += [(one.taker, one.giver) for one in self.delegations.values() if one.giver in able]
        taken = self.same_person(request.signed.values())
        return [
            signer
            for signer, away in names
            if signer not in taken and not self.fault(request, Signature(level, signer, away, False, ""), request.about)
        ]

    def fault(self, request: Request, signature: Signature, about: str) -> str | None:
        """Why a signature does not count at this moment; None when it does."""
        level, signer, away = signature.level, signature.signer, signature.on_behalf_of
        me = self.people[signer]
        if not me.active:
            return "the signer is not active"
        if signature.by_asking:
            mine = level == 1 and signer == request.requester and not away and not request.mute
            stands = mine and self.rule(request.kind, "asking_is_level1")
            return None if stands and signer in self.firsts(request, about, by_asking=True) else "asking is no signature here"
        if signer in self.same_person({request.requester, *self.concerned(request, about)}):
            return "requester, owner or editor signed"
        able = self.firsts(request, about) if level == 1 else self.seconds(request, about)
        if away is None:
            return None if signer in able else "the signer is not eligible"
        roles = set(self.rule(request.kind, "level1_roles"))
        holds = me.roles & roles if level == 1 else signer in able
        if not holds or away in self.same_person({signer}):
            return "the delegate holds no role of his own"
        if away not in able:
            return "the delegate stands in for somebody who is not eligible"
        rows = self.delegations.values()
        stands = any((one.giver, one.taker, one.begun, one.ended) == (away, signer, True, False) for one in rows)
        return None if stands else "no delegation in force"

    def verdict(self, request: Request, signatures: list[Signature], content_hash: str) -> str | None:
        """Why a request must not be applied at this moment; None when it may."""
        if [one.level for one in signatures] != [1, 2]:
            return "not exactly two signatures"
        if {one.content_hash for one in signatures} != {content_hash}:
            return "a signature belongs to another content"
        if {one.level: one.signer for one in signatures} != request.signed:
            return "somebody signed whom the test did not see sign"
        if not self.people[request.requester].active:
            return "the requester is not active"
        first, second = ({name for name in (one.signer, one.on_behalf_of) if name} for one in signatures)
        if self.same_person(first) & self.same_person(second):
            return "the two are not two people"
        for about in request.content.get("owners", [request.about]):
            for one in signatures:
                if (why := self.fault(request, one, about)) is not None:
                    return f"level {one.level}: {why}"
        if request.base != (now := self.base(request)):
            return f"the base moved to {now}"
        return None if self.may_ask(request) else "the requester lost the right"

    def may_ask(self, request: Request) -> bool:
        """The right a request stands on."""
        if request.kind == TAG_CHANGE:
            tags = (*request.content["add"], *request.content["remove"])
            return all(self.may_use(request.requester, self.tags[tag].group, request.about) for tag in tags)
        return request.kind in (ADOPTION, DELEGATION) or "admin" in self.people[request.requester].roles

    def may_use(self, actor: str, group: str, owner: str) -> bool:
        """The shipped capabilities and the matrix: own follows for staff and managers, followers below for leaders."""
        one = self.people[actor]
        below = actor != owner and any(one.leads & set(line_of(home)) for home in self.people[owner].homes)
        able = bool(one.roles & {"staff", "manager"}) if actor == owner else below and bool(one.roles & SIGNING)
        places = {place for home in one.homes for place in line_of(home)}
        return able and any((place, group) in self.grants for place in places)
