"""Each rule of the decision, and its edges, as small tables."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest

from tagwarden.policy.enforcer import PolicyEngine
from tagwarden.policy.model import (
    Action,
    Capability,
    Decision,
    Effect,
    Grant,
    InvalidPolicy,
    Kind,
    Question,
    Reach,
    Relation,
    Role,
    Step,
    Subject,
    read_capabilities,
)

POLICIES = Path(__file__).parents[2] / "policies"
MODEL = (POLICIES / "model.conf").read_text(encoding="utf-8")
BUNDLE = read_capabilities((POLICIES / "roles.toml").read_text(encoding="utf-8"))

VIEW, USE, MANAGE = Action
OWN, SUBORDINATE, COLLABORATING, NONE = Relation
ALLOW, DENY = Effect
GROUP = "0190b5a2-0000-7000-8000-000000000001"

# 1 is the root, 7 and 8 are below 3, which is below 1.
PARENTS = {1: None, 3: 1, 7: 3, 8: 3, 9: 1}


def person(
    *roles: Role, home: Iterable[int] = (7,), userid: str = "zhang", parents: dict[int, int | None] | None = None
) -> Subject:
    tree: dict[int, int | None] = PARENTS if parents is None else parents
    above: set[int] = set()
    for department in home:
        parent = tree[department]
        while parent is not None:
            above.add(parent)
            parent = tree[parent]
    return Subject(userid, frozenset(roles), frozenset(home), frozenset(above))


def grant(
    department: int,
    action: Action = USE,
    effect: Effect = ALLOW,
    *,
    group: str = GROUP,
    inherit: bool = True,
    reach: Reach | None = None,
) -> Grant:
    name = f"{department}/{group}/{action}/{effect}/{inherit}/{reach}"
    return Grant(name, department, group, action, effect, inherit, reach)


def ask(
    grants: Iterable[Grant],
    subject: Subject,
    action: Action = USE,
    relation: Relation | None = OWN,
    *,
    group: str = GROUP,
    kind: Kind = Kind.VALUE,
    capabilities: Iterable[Capability] = BUNDLE,
) -> Decision:
    return PolicyEngine(capabilities, grants, MODEL).decide(Question(subject, group, kind, action, relation))


def outcome(decision: Decision) -> str:
    return "yes" if decision.step is None else decision.step.value


EVERYTHING = (grant(1, USE), grant(1, MANAGE))


@pytest.mark.parametrize(
    ("role", "action", "answers"),
    [
        # with every grant there is            own    subordinate collaborating none     the group itself
        (Role.STAFF, VIEW, "yes relation yes relation yes"),
        (Role.STAFF, USE, "yes relation yes relation yes"),
        (Role.STAFF, MANAGE, "capability capability capability capability capability"),
        (Role.MANAGER, VIEW, "yes yes yes relation yes"),
        (Role.MANAGER, USE, "yes yes yes relation yes"),
        (Role.MANAGER, MANAGE, "capability capability capability capability capability"),
        (Role.SUPERVISOR, VIEW, "yes yes yes yes yes"),
        (Role.SUPERVISOR, USE, "relation yes relation relation yes"),
        (Role.ADMIN, VIEW, "yes yes yes yes yes"),
        (Role.ADMIN, USE, "capability capability capability capability capability"),
        (Role.ADMIN, MANAGE, "relation relation relation relation yes"),
        (Role.SUBADMIN, VIEW, "yes relation relation relation yes"),
        (Role.SUBADMIN, MANAGE, "relation relation relation relation yes"),
        (Role.AUDITOR, VIEW, "yes yes yes yes yes"),
        (Role.AUDITOR, USE, "capability capability capability capability capability"),
        (Role.AUDITOR, MANAGE, "capability capability capability capability capability"),
        (Role.SERVICE, VIEW, "capability capability capability capability capability"),
        (Role.SERVICE, USE, "capability capability capability capability capability"),
        (Role.SERVICE, MANAGE, "capability capability capability capability capability"),
    ],
)
def test_what_each_role_may_do_where_everything_is_granted(role: Role, action: Action, answers: str) -> None:
    subject = person(role)
    found = [outcome(ask(EVERYTHING, subject, action, relation)) for relation in [*Relation, None]]
    assert found == answers.split()


@pytest.mark.parametrize(
    ("role", "action", "relation", "answer"),
    [
        (Role.ADMIN, VIEW, None, "yes"),
        (Role.ADMIN, VIEW, OWN, "grant"),
        (Role.ADMIN, MANAGE, None, "yes"),
        (Role.AUDITOR, VIEW, None, "yes"),
        (Role.AUDITOR, VIEW, NONE, "yes"),
        (Role.SUBADMIN, MANAGE, None, "grant"),
        (Role.SUBADMIN, VIEW, OWN, "grant"),
        (Role.SUPERVISOR, VIEW, NONE, "grant"),
        (Role.STAFF, USE, OWN, "grant"),
        (Role.STAFF, USE, NONE, "grant"),
        (Role.STAFF, USE, None, "grant"),
    ],
)
@pytest.mark.parametrize("grants", [(), (grant(7, VIEW, DENY), grant(1, MANAGE, DENY))])
def test_who_needs_no_grant_is_not_concerned_by_a_deny_either(
    role: Role, action: Action, relation: Relation | None, answer: str, grants: tuple[Grant, ...]
) -> None:
    assert outcome(ask(grants, person(role), action, relation)) == answer
    assert outcome(ask(grants, person(role, home=()), action, relation)) == answer


@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize("action", Action)
def test_an_unclassified_group_is_used_by_nobody_and_managed_by_admins(role: Role, action: Action) -> None:
    may = {(Role.ADMIN, MANAGE), (Role.ADMIN, VIEW), (Role.AUDITOR, VIEW)}
    decision = ask(EVERYTHING, person(role), action, None, kind=Kind.UNCLASSIFIED)
    assert outcome(decision) == ("yes" if (role, action) in may else "capability")


def test_no_policy_can_let_anybody_use_an_unclassified_group() -> None:
    with pytest.raises(InvalidPolicy, match="unclassified"):
        Capability(Role.ADMIN, Kind.UNCLASSIFIED, USE, frozenset(Relation), needs_grant=False)


@pytest.mark.parametrize(
    "subject", [person(), person(Role.AUDITOR, userid=""), person(home=()), person(Role.AUDITOR, userid="", home=())]
)
def test_an_unknown_subject_is_refused_at_identity(subject: Subject) -> None:
    decision = ask(EVERYTHING, subject, VIEW)
    assert (decision.allowed, decision.step, decision.row) == (False, Step.IDENTITY, None)


def test_nothing_is_allowed_by_an_empty_policy() -> None:
    for role in Role:
        for action in Action:
            for relation in [*Relation, None]:
                assert outcome(ask((), person(role), action, relation, capabilities=())) == "capability"
                assert outcome(ask(EVERYTHING, person(role), action, relation, capabilities=())) == "capability"


@pytest.mark.parametrize(
    ("rows", "home", "answer"),
    [
        ([grant(7)], [7], "yes"),
        ([grant(3)], [7], "yes"),
        ([grant(1)], [7], "yes"),
        ([grant(8)], [7], "grant"),
        ([grant(7)], [3], "grant"),
        ([grant(3, inherit=False)], [3], "yes"),
        ([grant(3, inherit=False)], [7], "grant"),
        ([grant(3, inherit=False)], [7, 3], "yes"),
        ([grant(7, group="another")], [7], "grant"),
        ([grant(7)], [], "grant"),
        # several departments: one is enough to be given the group
        ([grant(9)], [7, 9], "yes"),
        # a deny anywhere on the way wins, whatever else is allowed and however near
        ([grant(7), grant(1, effect=DENY)], [7], "grant"),
        ([grant(7, effect=DENY), grant(1)], [7], "grant"),
        ([grant(7), grant(9, effect=DENY)], [7, 9], "grant"),
        ([grant(7), grant(8, effect=DENY)], [7], "yes"),
        ([grant(7), grant(7, effect=DENY)], [7], "grant"),
        # a deny that is not passed on concerns direct members only
        ([grant(7), grant(3, effect=DENY, inherit=False)], [7], "yes"),
        ([grant(1), grant(3, effect=DENY, inherit=False)], [3], "grant"),
        ([grant(1), grant(3, effect=DENY, inherit=False)], [7, 3], "grant"),
        # the reach of a deny means nothing
        ([grant(7), grant(7, effect=DENY, reach=Reach.OWN)], [7], "grant"),
    ],
)
def test_whom_a_grant_reaches(rows: list[Grant], home: list[int], answer: str) -> None:
    subject = person(Role.MANAGER, home=home)
    assert outcome(ask(rows, subject, USE, SUBORDINATE)) == answer
    assert outcome(ask(reversed(rows), subject, USE, SUBORDINATE)) == answer, "the order of rows must not matter"
    assert outcome(ask(rows, subject, USE, None)) == answer


@pytest.mark.parametrize(
    ("rows", "may_view", "may_use", "may_manage"),
    [
        ([grant(7, VIEW)], "yes", "grant", "grant"),
        ([grant(7, USE)], "yes", "yes", "grant"),
        ([grant(7, MANAGE)], "grant", "grant", "yes"),
        ([*EVERYTHING, grant(7, VIEW, DENY)], "grant", "grant", "yes"),
        ([*EVERYTHING, grant(7, USE, DENY)], "yes", "grant", "yes"),
        ([*EVERYTHING, grant(7, MANAGE, DENY)], "yes", "yes", "grant"),
    ],
)
def test_which_actions_a_grant_covers(rows: list[Grant], may_view: str, may_use: str, may_manage: str) -> None:
    subject = person(Role.STAFF, Role.SUBADMIN)
    found = [outcome(ask(rows, subject, action, None)) for action in Action]
    assert found == [may_view, may_use, may_manage]


@pytest.mark.parametrize(
    ("reach", "answers"),
    [
        (Reach.OWN, "yes relation relation relation"),
        (Reach.SUBORDINATE, "yes yes relation relation"),
        (Reach.COLLABORATING, "yes yes yes relation"),
        (Reach.CORP, "yes yes yes yes"),
        (None, "yes yes yes yes"),
    ],
)
def test_reach_narrows_the_relations_of_the_role(reach: Reach | None, answers: str) -> None:
    supervisor = person(Role.SUPERVISOR)
    for action in (USE, VIEW):
        found = [outcome(ask([grant(7, action, reach=reach)], supervisor, VIEW, relation)) for relation in Relation]
        assert found == answers.split()


@pytest.mark.parametrize(
    ("row", "asked", "relation", "answer"),
    [
        (grant(7, VIEW, reach=Reach.CORP), VIEW, NONE, "yes"),
        (grant(1, VIEW, reach=Reach.CORP), VIEW, SUBORDINATE, "yes"),
        (grant(1, VIEW, reach=Reach.CORP), USE, OWN, "grant"),
        (grant(7, VIEW, reach=Reach.COLLABORATING), VIEW, SUBORDINATE, "relation"),
        (grant(7, VIEW, reach=None), VIEW, NONE, "relation"),
        # only a grant to view widens
        (grant(7, USE, reach=Reach.CORP), VIEW, NONE, "relation"),
        (grant(7, USE, reach=Reach.CORP), USE, NONE, "relation"),
        (grant(7, USE, reach=Reach.CORP), USE, SUBORDINATE, "relation"),
    ],
)
def test_a_grant_to_view_the_corp_widens(row: Grant, asked: Action, relation: Relation, answer: str) -> None:
    assert outcome(ask([row], person(Role.STAFF), asked, relation)) == answer


def test_a_deny_ends_widening_too() -> None:
    rows = [grant(7, VIEW, reach=Reach.CORP), grant(1, VIEW, DENY)]
    assert outcome(ask(rows, person(Role.STAFF), VIEW, NONE)) == "grant"


def test_a_second_grant_may_reach_further_than_the_first() -> None:
    rows = [grant(7, reach=Reach.OWN), grant(3, reach=Reach.SUBORDINATE)]
    decision = ask(rows, person(Role.MANAGER), USE, SUBORDINATE)
    assert decision.allowed
    assert decision.row == rows[1]


def test_several_roles_add_up() -> None:
    subject = person(Role.STAFF, Role.AUDITOR)
    assert outcome(ask((), subject, VIEW, NONE)) == "yes"
    assert outcome(ask((), subject, USE, OWN)) == "grant"
    assert outcome(ask([grant(7)], subject, USE, OWN)) == "yes"


def test_the_row_that_decided_is_named() -> None:
    allow, deny = grant(1, reach=Reach.OWN), grant(3, effect=DENY)
    staff, manager = person(Role.STAFF), person(Role.MANAGER)
    assert ask([allow], staff, USE, OWN).row == allow
    assert ask([allow, deny], staff, USE, OWN).row == deny
    assert ask([], staff, USE, OWN).row is None
    assert ask([allow], manager, USE, SUBORDINATE).row == allow, "the grant is too narrow"
    too_far = ask([allow], staff, USE, NONE).row
    assert isinstance(too_far, Capability)
    assert too_far.role == Role.STAFF, "the role does not list it"
    auditing = ask([], person(Role.AUDITOR), VIEW, NONE).row
    assert isinstance(auditing, Capability)
    assert auditing.role == Role.AUDITOR


def test_the_trace_shows_each_step_and_what_it_saw() -> None:
    allow = grant(1)
    decision = ask([allow], person(Role.STAFF, Role.SERVICE), USE, NONE)
    assert [(step.step, step.passed, step.saw) for step in decision.trace] == [
        (Step.IDENTITY, True, ("role:service", "role:staff")),
        (Step.CAPABILITY, True, ("kind:value", "action:use")),
        (Step.GRANT, True, ("dept:7", "above:1", "above:3")),
        (Step.RELATION, False, ("relation:none",)),
    ]
    assert decision.trace[2].row == allow


def test_fifteen_levels_and_more_are_no_limit() -> None:
    depth = 40
    chain: dict[int, int | None] = {1: None} | {number: number - 1 for number in range(2, depth + 1)}
    subject = person(Role.STAFF, home=[depth], parents=chain)
    assert outcome(ask([grant(1)], subject)) == "yes"
    assert outcome(ask([grant(depth), grant(1, effect=DENY)], subject)) == "grant"


@pytest.mark.parametrize("group", ["a,b", "(a)", "[1]", '"', "r.sub || true", "客户等级", "🏷", " ", "", "\n", "#x"])
def test_group_ids_are_never_read_as_text(group: str) -> None:
    rows = [grant(7, group=group)]
    assert outcome(ask(rows, person(Role.STAFF), group=group)) == "yes"
    assert outcome(ask(rows, person(Role.STAFF), group=group + "x")) == "grant"
    assert outcome(ask([*rows, grant(7, effect=DENY, group=group)], person(Role.STAFF), group=group)) == "grant"


@pytest.mark.parametrize("userid", ["auditor", "role:auditor", "dept:7", "7", "admin"])
def test_a_userid_that_looks_like_a_role_or_department_means_nothing(userid: str) -> None:
    stranger = person(Role.STAFF, home=[9], userid=userid)
    assert outcome(ask([grant(7)], stranger, USE)) == "grant"
    assert outcome(ask([], stranger, VIEW)) == "grant"
    assert outcome(ask([], person(userid=userid), VIEW)) == "identity"


def test_answers_are_remembered_for_a_standing_not_for_a_person() -> None:
    engine = PolicyEngine(BUNDLE, [grant(7)], MODEL, memo_limit=3)
    first = engine.decide(Question(person(Role.STAFF, userid="a"), GROUP, Kind.VALUE, USE, OWN))
    assert engine.decide(Question(person(Role.STAFF, userid="b"), GROUP, Kind.VALUE, USE, OWN)) is first
    for number in range(10):
        invented = Question(person(Role.STAFF), f"invented-{number}", Kind.VALUE, USE, OWN)
        assert outcome(engine.decide(invented)) == "grant"
    again = engine.decide(Question(person(Role.STAFF), GROUP, Kind.VALUE, USE, OWN))
    assert again == first
    assert again is not first, "the memo has a limit"


@pytest.mark.parametrize(
    ("text", "mistake"),
    [
        ("[[boss]]\nmay=['view']\nkinds=['value']\non=[]", "boss"),
        ("[[staff]]\nmay=['tag']\nkinds=['value']\non=[]", "tag"),
        ("[[staff]]\nmay='view'\nkinds=['value']\non=[]", "list"),
        ("[[staff]]\nmay=['view']\nkinds=['value']", "missing on"),
        ("[[staff]]\nmay=['view']\nkinds=['value']\non=['everyone']", "everyone"),
        ("[[staff]]\nmay=['view']\nkinds=['value']\non=[]\nonly=1", "unknown only"),
        ("[[staff]]\nmay=['view']\nkinds=['value']\non=[]\ngrant=false", "grant"),
        ("[staff]\nmay=['view']", "two brackets"),
        ("[[staff]]\nmay=['use']\nkinds=['unclassified']\non=[]", "unclassified"),
        ("[[staff", "TOML"),
    ],
)
def test_a_mistake_in_the_roles_is_named(text: str, mistake: str) -> None:
    with pytest.raises(InvalidPolicy, match=mistake):
        read_capabilities(text)


def test_two_grants_of_one_id_are_not_loaded() -> None:
    twice = Grant("1", 7, GROUP, USE, ALLOW), Grant("1", 8, GROUP, USE, DENY)
    with pytest.raises(InvalidPolicy, match="one id"):
        PolicyEngine(BUNDLE, twice, MODEL)
