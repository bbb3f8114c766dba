"""Who signs, for organisations as odd as real ones. Pure: no database."""

from __future__ import annotations

from typing import Any

import pytest

from tagwarden.approvals.chain import chain_for
from tagwarden.approvals.model import NoApprover
from tagwarden.identity.model import Department, Directory, Employee, IdentityRefused, RoleName

TREE = {1: 0, 10: 1, 11: 10, 12: 10, 111: 11, 20: 1, 21: 20}
WORDS = {"m": RoleName.MANAGER, "s": RoleName.SUPERVISOR, "a": RoleName.ADMIN, "u": RoleName.AUDITOR, "-": RoleName.STAFF}


def person(
    userid: str, homes: str = "", leads: str = "", roles: str = "-", person: str | None = None, active: bool = True
) -> Employee:
    """`homes` and `leads` are department numbers with spaces between; a led department is also a home."""
    led = frozenset(map(int, leads.split()))
    return Employee(
        userid,
        userid,
        person or userid,
        active,
        frozenset(map(int, homes.split())) | led,
        led,
        frozenset(WORDS[letter] for letter in roles),
    )


BOSS = person("boss", leads="1", roles="s")
HQ = person("hq", "1", roles="s")
EAST = person("east", leads="10", roles="m")
ANN = person("ann", "11")
USUAL = (BOSS, HQ, EAST, ANN)


def directory(*people: Employee, tree: dict[int, int] = TREE) -> Directory:
    departments = {id_: Department(id_, str(id_), parent) for id_, parent in tree.items()}
    return Directory(departments, {one.userid: one for one in people})


def chain(*people: Employee, **more: Any) -> tuple[tuple[str, ...], tuple[str, ...], bool]:
    wanted: dict[str, Any] = {"owner": "ann", "requester": "ann", "asking_is_level1": True, **more}
    found = chain_for(directory(*people, tree=wanted.pop("tree", TREE)), **wanted)
    return found.level1, found.level2, found.asking_signs


def nobody(*people: Employee, **more: Any) -> str:
    with pytest.raises(NoApprover) as none:
        chain(*people, **more)
    return str(none.value.facts["why"])


def test_the_usual() -> None:
    assert chain(*USUAL) == (("east",), ("boss", "hq"), False)


def test_a_leader_without_a_role_is_passed_over() -> None:
    idle = person("idle", leads="11")
    assert chain(*USUAL, idle)[0] == ("east",)
    for letter in "au":
        assert chain(*USUAL, person("idle", leads="11", roles=letter))[0] == ("east",)


def test_a_manager_who_leads_nothing_in_line_does_not_sign() -> None:
    beside = person("beside", "11", roles="m")
    south = person("south", leads="20", roles="m")
    assert chain(*USUAL, beside, south)[0] == ("east",)


def test_the_nearest_leader_signs() -> None:
    near = person("near", leads="11", roles="m")
    assert chain(*USUAL, near)[0] == ("near",)


def test_several_leaders_of_one_department_may_each_sign() -> None:
    also = person("also", leads="10", roles="m")
    assert chain(*USUAL, also)[0] == ("also", "east")


def test_an_inactive_leader_is_passed_over() -> None:
    near = person("near", leads="11", roles="m", active=False)
    assert chain(*USUAL, near)[0] == ("east",)


def test_a_leader_of_himself_is_signed_for_from_above() -> None:
    ann = person("ann", leads="11", roles="m")
    assert chain(BOSS, HQ, EAST, ann) == (("east",), ("boss", "hq"), False)
    assert chain(BOSS, HQ, EAST, ann, requester="hq")[0] == ("east",)


def test_the_top_leaders_own_customer_has_no_level1() -> None:
    assert nobody(BOSS, HQ, EAST, owner="boss", requester="boss") == "level1"


def test_empty_middle_levels_are_climbed() -> None:
    deep = person("ann", "111")
    assert chain(BOSS, HQ, EAST, deep)[0] == ("east",)
    assert chain(BOSS, HQ, deep)[:2] == (("boss",), ("hq",))


def test_an_owner_in_three_departments_has_the_nearest_leaders_of_all() -> None:
    ann = person("ann", "111 12 21")
    near = person("near", leads="12", roles="m")
    south = person("south", leads="20", roles="m")
    assert chain(BOSS, HQ, EAST, near, south, ann)[0] == ("near",)
    assert chain(BOSS, HQ, EAST, south, ann)[0] == ("east", "south")


def test_an_owner_in_the_root() -> None:
    ann = person("ann", "1")
    assert chain(BOSS, HQ, EAST, ann)[:2] == (("boss",), ("hq",))


def test_an_owner_without_a_department_has_nobody() -> None:
    assert nobody(BOSS, HQ, EAST, person("ann")) == "level1"
    assert nobody(BOSS, HQ, EAST, person("ann", "999")) == "level1"


def test_a_cycle_in_the_mirror_ends() -> None:
    assert chain(*USUAL, tree={10: 11, 11: 10, 1: 0})[0] == ("east",)


def test_an_unknown_owner_has_nobody() -> None:
    assert nobody(*USUAL, owner="ghost", requester="ann") == "owner_unknown"


def test_an_unknown_or_inactive_requester_is_nobody() -> None:
    for left in ((), (person("gone", "11", active=False),)):
        with pytest.raises(IdentityRefused):
            chain(*USUAL, *left, requester="gone")


def test_no_supervisor() -> None:
    assert nobody(EAST, ANN) == "level2"
    assert nobody(EAST, ANN, person("hq", "1", roles="s", active=False)) == "level2"


def test_the_only_supervisor_is_level1_too() -> None:
    assert nobody(BOSS, ANN) == "level1"
    assert chain(BOSS, EAST, ANN)[:2] == (("east",), ("boss",))


def test_two_supervisors_who_lead_together_sign_for_each_other() -> None:
    both = (person("s1", leads="1", roles="s"), person("s2", leads="1", roles="s"))
    assert chain(*both, ANN)[:2] == (("s1", "s2"), ("s1", "s2"))


def test_a_supervisor_in_line_signs_level1_and_another_level2() -> None:
    assert chain(BOSS, HQ, ANN)[:2] == (("boss",), ("hq",))


def test_the_requester_is_level1_by_asking() -> None:
    assert chain(*USUAL, requester="east") == (("east",), ("boss", "hq"), True)
    assert chain(BOSS, HQ, ANN, requester="boss") == (("boss",), ("hq",), True)


def test_asking_counts_for_the_eligible_level1_only() -> None:
    near = person("near", leads="11", roles="m")
    assert chain(*USUAL, near, requester="east") == (("near",), ("boss", "hq"), False)
    assert chain(*USUAL, requester="hq") == (("east",), ("boss",), False)


def test_asking_can_be_switched_off() -> None:
    assert chain(*USUAL, requester="east", asking_is_level1=False) == (("boss",), ("hq",), False)
    also = person("also", leads="10", roles="m")
    assert chain(*USUAL, also, requester="east", asking_is_level1=False)[0] == ("also",)


def test_asking_needs_a_second_person() -> None:
    assert nobody(BOSS, ANN, requester="boss") == "level2"
    assert nobody(EAST, ANN, requester="east") == "level2"
    twin = person("boss2", "1", roles="s", person="boss")
    assert nobody(BOSS, twin, ANN, requester="boss") == "level2"


def test_the_requester_signs_nothing_else() -> None:
    first, second, _ = chain(*USUAL, requester="boss")
    assert "boss" not in (*first, *second)


def test_a_second_account_is_the_same_person() -> None:
    twin = person("ann2", leads="11", roles="m", person="ann")
    assert chain(*USUAL, twin)[0] == ("east",)
    asking = person("east2", "10", person="east")
    assert chain(*USUAL, asking, requester="east2") == (("boss",), ("hq",), False)
    top = person("ann3", "1", roles="s", person="ann")
    assert "ann3" not in chain(*USUAL, top)[1]


def test_two_accounts_of_one_person_are_not_two_signers() -> None:
    twin = person("boss2", "1", roles="s", person="boss")
    assert nobody(BOSS, twin, ANN) == "level1"
    assert chain(BOSS, twin, HQ, ANN)[:2] == (("boss",), ("hq",))


def test_the_owner_signs_nothing_about_himself() -> None:
    owner = person("ann", "1", roles="s")
    first, second, _ = chain(BOSS, HQ, EAST, owner)
    assert "ann" not in (*first, *second)


def test_the_barred_sign_nothing() -> None:
    assert chain(*USUAL, barred=["east"])[0] == ("boss",)
    assert chain(*USUAL, barred=["Hq"])[1] == ("boss",)
    assert chain(*USUAL, requester="east", barred=["EAST"]) == (("boss",), ("hq",), False)
    assert nobody(*USUAL, barred=["hq", "boss"]) == "level2"


def test_a_machine_in_line_never_signs() -> None:
    machine = Employee("bot", "bot", "bot", True, frozenset({11}), frozenset({11}), frozenset({RoleName.SERVICE}))
    assert chain(*USUAL, machine)[0] == ("east",)
