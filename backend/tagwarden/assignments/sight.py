"""Whose customers somebody sees at one moment, worked out once, so that a list and a single read cannot differ.

It asks the policy about every relation a group could be met in and puts the answers together by owner. It decides nothing
itself and reads nothing: the picture has it all.
"""

from __future__ import annotations

from datetime import datetime

from tagwarden.identity.model import RoleName
from tagwarden.policy.model import Action, Group, Relation
from tagwarden.policy.service import Picture

OTHERS = frozenset({Relation.SUBORDINATE, Relation.COLLABORATING, Relation.NONE})


class Sight:
    """What `actor` sees at the moment `at`. IdentityRefused when he is nobody here."""

    def __init__(self, picture: Picture, actor: str, at: datetime) -> None:
        self._picture, self._actor, self._at = picture, actor, at
        self._me = picture.directory.employee(actor)
        self._around = picture.directory.around(self._me)
        viewed = {group.id: self._relations(group) for group in picture.groups.values()}
        self._sees_subordinates = self._me.holds(RoleName.MANAGER, RoleName.SUPERVISOR) or any(
            Relation.SUBORDINATE in relations for relations in viewed.values()
        )
        self.everybody = any(relations >= OTHERS for relations in viewed.values())
        # By group: the departments on whose customers it is agreed, and whether those, or all the others, are seen by it.
        self._partners = {group: picture.agreements.partners(group, self._around, at) for group in viewed}
        self._agreed: set[int] = set()
        for group, relations in viewed.items():
            if Relation.COLLABORATING in relations:
                self._agreed |= self._partners[group]
        self._unagreed = [self._partners[group] for group, relations in viewed.items() if Relation.NONE in relations]

    def _relations(self, group: Group) -> frozenset[Relation]:
        may = self._picture.may
        return frozenset(one for one in Relation if may(self._actor, group.id, group.kind, Action.VIEW, one))

    def sees(self, owner: str) -> bool:
        """Whether customers of this owner are seen at all: his own always, subordinates' as a leader, others' by a group."""
        if self.everybody or owner == self._actor:
            return True
        other = self._picture.directory.known(owner)
        if other is None:
            return False
        if self._picture.directory.leads(self._me, other):
            return self._sees_subordinates
        if not self._agreed and not self._unagreed:
            return False
        places = self._picture.directory.around(other)
        return not self._agreed.isdisjoint(places) or any(partners.isdisjoint(places) for partners in self._unagreed)

    def owners(self) -> list[str] | None:
        """Everybody whose customers are seen; None means all of the corp."""
        if self.everybody:
            return None
        return [owner for owner in self._picture.directory.employees if self.sees(owner)]

    def views(self, owner: str, group_id: str, kind: str) -> bool:
        """Whether tags of this group are seen on the follows of this owner."""
        relation = self._picture.relation(self._actor, owner, group_id, self._at)
        return self._picture.may(self._actor, group_id, kind, Action.VIEW, relation)

    def views_everywhere(self, group_id: str, kind: str) -> bool:
        """Whether they are seen whoever owns the follow."""
        return all(self._picture.may(self._actor, group_id, kind, Action.VIEW, one) for one in Relation)
