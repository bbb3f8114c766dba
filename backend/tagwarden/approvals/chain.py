"""Who may sign a request now: its chain, who stands in for whom, and whose turn it is. Pure; takes the organisation.

Level 1 is the nearest leader in line above the employee concerned who also holds the role; the next one up only when
none is left, or on escalation. Level 2 is an HQ supervisor, another person. The requester never signs, but a requester
who is himself the eligible level 1 has signed by asking where the policy says so. A delegate is the person he stands for.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from tagwarden.approvals.model import (
    Approval,
    ApprovalClosed,
    NoApprover,
    NotASigner,
    NotYourTurn,
    Signature,
    Verdict,
)
from tagwarden.identity.model import Directory, Employee, RoleName
from tagwarden.policy.chains import ChainRules


@dataclass(frozen=True, slots=True)
class Chain:
    """Who may sign which level now; any one of a level does."""

    level1: tuple[str, ...]
    level2: tuple[str, ...]
    asking_signs: bool = False

    def of(self, level: int) -> tuple[str, ...]:
        """Who may sign this level; nobody where the asking was its signature."""
        return self.level2 if level == 2 else () if self.asking_signs else self.level1


@dataclass(frozen=True, slots=True)
class Turn:
    """The level somebody may sign now, in his own name or for somebody who is away."""

    level: int
    on_behalf_of: str | None = None


def chain_for(
    directory: Directory,
    *,
    owner: str,
    requester: str,
    asking_is_level1: bool,
    barred: Iterable[str] = (),
    rules: ChainRules | None = None,
    escalations: int = 0,
) -> Chain:
    """Who signs a request that concerns `owner`; NoApprover where two different persons cannot be found."""
    rules = rules or ChainRules()
    concerned = directory.known(owner)
    asking = directory.employee(requester)
    if concerned is None:
        raise NoApprover(why="owner_unknown")
    never = _Never.of(directory, (*barred, owner))
    seconds = [one for one in _supervisors(directory, rules) if never.allows(one) and not _same(one, asking)]
    found: list[Employee] = []
    steps = 0
    for leaders in directory.leaders_above(concerned):
        eligible = [one for one in leaders if one.holds(*rules.level1_roles) and never.allows(one)]
        if asking_is_level1 and not found and any(one.userid == requester for one in eligible):
            return _signed_by_asking(requester, seconds)
        # Who leads at two distances is one step: else an escalation would let in nobody.
        first = [one for one in eligible if one not in found and not _same(one, asking) and _has_partner(one, seconds)]
        if not first:
            continue
        found += first
        steps += 1
        if steps > escalations:
            break
    if not found:
        raise NoApprover(why="level1" if seconds else "level2")
    return Chain(_ids(found), _ids(two for two in seconds if _has_partner(two, found)))


def _signed_by_asking(requester: str, seconds: list[Employee]) -> Chain:
    if not seconds:
        raise NoApprover(why="level2")
    return Chain((requester,), _ids(seconds), asking_signs=True)


def _supervisors(directory: Directory, rules: ChainRules) -> Iterator[Employee]:
    return (one for one in directory.holders(RoleName.SUPERVISOR) if signs_level2(directory, one, rules))


def signs_level2(directory: Directory, one: Employee, rules: ChainRules) -> bool:
    """Whether the rules let somebody sign level 2 at all."""
    homes = {up for home in one.departments for up in directory.line(home)}
    there = not rules.level2_departments or not homes.isdisjoint(rules.level2_departments)
    return there and one.holds(RoleName.SUPERVISOR)


def level2_signers(directory: Directory, rules: ChainRules) -> list[Employee]:
    """Everybody who may sign level 2 by these rules, whoever asks."""
    return list(_supervisors(directory, rules))


def _has_partner(one: Employee, others: Iterable[Employee]) -> bool:
    return any(one.person != other.person for other in others)


@dataclass(frozen=True, slots=True)
class _Never:
    """Who never signs a request, by account and by person: the employee concerned and whoever edited it."""

    userids: frozenset[str]
    persons: frozenset[str]

    @staticmethod
    def of(directory: Directory, userids: Iterable[str]) -> _Never:
        named = list(userids)
        persons = {one.person for userid in named if (one := directory.known(userid))}
        return _Never(frozenset(userid.casefold() for userid in named), frozenset(persons))

    def allows(self, one: Employee) -> bool:
        return one.person not in self.persons and one.userid.casefold() not in self.userids


def _same(one: Employee, other: Employee) -> bool:
    return one.person == other.person or one.userid.casefold() == other.userid.casefold()


def _ids(employees: Iterable[Employee]) -> tuple[str, ...]:
    return tuple(sorted({one.userid for one in employees}))


@dataclass(frozen=True, slots=True)
class Signer:
    """Who signs: the account, and those who are away and named it their delegate."""

    employee: Employee
    stands_for: tuple[str, ...] = ()


def may_stand_in(directory: Directory, approval: Approval, delegate: Employee, level: int, rules: ChainRules) -> bool:
    """Whether a delegate could sign this level of this request himself, as far as person and role go."""
    role = signs_level2(directory, delegate, rules) if level == 2 else delegate.holds(*rules.level1_roles)
    concerned, requester = directory.known(approval.about_userid), directory.known(approval.requester)
    if not role or concerned is None or requester is None or _same(delegate, requester):
        return False
    return _Never.of(directory, (*approval.barred, approval.about_userid)).allows(delegate)


def turn_at(directory: Directory, approval: Approval, chain: Chain, signer: Signer, level: int, rules: ChainRules) -> Turn | None:
    """In whose name the signer may sign a level, apart from whether it is due; None when in nobody's."""
    if signer.employee.userid in chain.of(level):
        return Turn(level)
    away = signs_for(directory, approval, chain, signer, level, rules)
    return Turn(level, away[0]) if away else None


def signs_for(
    directory: Directory, approval: Approval, chain: Chain, signer: Signer, level: int, rules: ChainRules
) -> tuple[str, ...]:
    """Everybody in whose name the signer may sign a level as a delegate."""
    due, me = chain.of(level), signer.employee
    if not may_stand_in(directory, approval, me, level, rules):
        return ()
    away = (other for userid in signer.stands_for if userid in due and (other := directory.known(userid)) is not None)
    return tuple(one.userid for one in away if one.active and _leaves_a_second(directory, chain, level, me, one))


def _leaves_a_second(directory: Directory, chain: Chain, level: int, me: Employee, away: Employee) -> bool:
    """A delegate is another person; after his level 1 somebody must be left for level 2 who is neither of the two."""
    if me.person == away.person:
        return False
    if level == 2:
        return True
    seconds = (directory.known(userid) for userid in chain.level2)
    return any(two is not None and two.person not in (me.person, away.person) for two in seconds)


def signs_now(
    directory: Directory,
    approval: Approval,
    chain: Chain,
    signer: Signer,
    signatures: Iterable[Signature],
    rules: ChainRules,
) -> Turn:
    """The signer's turn; NotASigner, ApprovalClosed or NotYourTurn otherwise, in that order."""
    signatures = list(signatures)
    due = turn_now(directory, approval, chain, signer, signatures, rules)
    if due is not None:
        return due
    if not approval.pending:
        already = signer.employee.person in _signed(directory, signatures)
        if already or any(turn_at(directory, approval, chain, signer, level, rules) for level in (1, 2)):
            raise ApprovalClosed(state=approval.state.value)
        raise NotASigner(audit={"object": f"approval:{approval.id}"})
    if approval.level == 1 and turn_at(directory, approval, chain, signer, 2, rules):
        raise NotYourTurn()
    raise NotASigner(audit={"object": f"approval:{approval.id}", "level": approval.level})


def turn_now(
    directory: Directory,
    approval: Approval,
    chain: Chain,
    signer: Signer,
    signatures: Iterable[Signature],
    rules: ChainRules,
) -> Turn | None:
    """The signer's turn at the level that is due; None where it is not his, or one of its two people has signed already."""
    turn = turn_at(directory, approval, chain, signer, approval.level, rules) if approval.pending else None
    if turn is None or not _signed(directory, signatures).isdisjoint(_persons(directory, signer.employee, turn.on_behalf_of)):
        return None
    return turn


def _signed(directory: Directory, signatures: Iterable[Signature]) -> set[str]:
    return {person for one in signatures if one.verdict is Verdict.APPROVE for person in persons_of(directory, one)}


def persons_of(directory: Directory, signature: Signature) -> set[str]:
    """The person who signed, and the one he signed for."""
    away = directory.known(signature.on_behalf_of) if signature.on_behalf_of else None
    return {signature.signer_person, *([away.person] if away else [])}


def _persons(directory: Directory, signer: Employee, away: str | None) -> set[str]:
    other = directory.known(away) if away else None
    return {signer.person, *([other.person] if other else [])}
