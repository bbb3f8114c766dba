"""What may be started together, and what may come of it: pairs and triples of use cases on one request, or on one base.

A race is made ready alone, run at once, and judged by `soundness.py`; here stands only which refusals may be said and in
which states its own requests may be found afterwards.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from uuid import UUID

from .arena import TEAM, Arena
from .desk import Desk, Outcome, People

Call = Callable[[], Awaitable[Outcome]]
Ends = set[tuple[str, ...]]
CLOSED, TURN, STRANGER = "approval_closed", "not_your_turn", "not_a_signer"
HIGH, MID, LOW = "value/high", "value/mid", "value/low"


@dataclass(frozen=True)
class Race:
    """`said`: the refusals that may be heard; `ends`: the states, sorted, of the requests it is about."""

    calls: Sequence[Call]
    said: set[str]
    about: Sequence[UUID]
    ends: Ends


Scenario = Callable[[Arena, Desk, str], Awaitable[Race]]


def without(*gone: str) -> People:
    """The organisation after some have left."""
    return {userid: place for userid, place in TEAM.items() if userid not in gone}


async def two_last_signatures(arena: Arena, desk: Desk, customer: str) -> Race:
    one = await arena.signed(customer, HIGH)
    return Race([lambda: desk.sign("hq", one), lambda: desk.sign("hq2", one)], {CLOSED}, [one], {("applied",)})


async def two_first_signatures(arena: Arena, desk: Desk, customer: str) -> Race:
    one = await arena.asked(customer, HIGH)
    return Race([lambda: desk.sign("east", one), lambda: desk.sign("west", one)], {STRANGER}, [one], {("pending_level2",)})


async def first_and_last_signature(arena: Arena, desk: Desk, customer: str) -> Race:
    one = await arena.asked(customer, HIGH)
    calls = [lambda: desk.sign("hq", one), lambda: desk.sign("east", one), lambda: desk.sign("hq2", one)]
    return Race(calls, {TURN, CLOSED, STRANGER}, [one], {("pending_level2",), ("applied",)})


async def clicks_of_one(arena: Arena, desk: Desk, customer: str) -> Race:
    one = await arena.signed(customer, HIGH)
    return Race([lambda: desk.sign("hq", one)] * 3, {CLOSED}, [one], {("applied",)})


async def an_edit_against_the_last_signature(arena: Arena, desk: Desk, customer: str) -> Race:
    one, editor = await arena.signed(customer, HIGH), arena.dice.choice(("ann", "west", "hq2"))
    calls = [lambda: desk.sign("hq", one), lambda: desk.edit(editor, one, [MID])]
    return Race(calls, {CLOSED, TURN}, [one], {("applied",), ("pending_level1",)})


async def an_edit_against_the_first_signature(arena: Arena, desk: Desk, customer: str) -> Race:
    one = await arena.asked(customer, HIGH)
    calls = [lambda: desk.sign("east", one), lambda: desk.edit("ann", one, [MID]), lambda: desk.edit("west", one, [LOW])]
    return Race(calls, {CLOSED, TURN, STRANGER, "no_approver"}, [one], {("pending_level1",), ("pending_level2",)})


async def leaving_against_signing(arena: Arena, desk: Desk, customer: str) -> Race:
    one = await arena.signed(customer, HIGH)
    gone = arena.dice.choice(("hq", "east", "ann"))
    ends: Ends = {("applied",), ("pending_level2",)} if gone == "hq" else {("applied",), ("stale",)}
    calls = [lambda: desk.sign("hq", one), lambda: desk.mirror(without(gone))]
    return Race(calls, {"refused_at_identity", STRANGER, CLOSED}, [one], ends)


async def losing_the_role_against_signing(arena: Arena, desk: Desk, customer: str) -> Race:
    one, loser = await arena.signed(customer, HIGH), arena.dice.choice(("hq", "east"))
    ends: Ends = {("applied",), ("pending_level2",)} if loser == "hq" else {("applied",), ("stale",)}
    calls = [lambda: desk.sign("hq", one), lambda: desk.put_roles(loser, [])]
    return Race(calls, {"refused_at_identity", STRANGER}, [one], ends)


async def the_end_of_a_delegation_against_the_delegate(arena: Arena, desk: Desk, customer: str) -> Race:
    delegation_id = await arena.away()
    one = await arena.asked(customer, HIGH)
    calls = [lambda: desk.sign("deputy", one), lambda: desk.end_delegation("east", delegation_id)]
    return Race(calls, {STRANGER}, [one], {("pending_level1",), ("pending_level2",)})


async def the_end_of_a_delegation_against_the_last_signature(arena: Arena, desk: Desk, customer: str) -> Race:
    delegation_id = await arena.away()
    one = await arena.signed(customer, HIGH, by="deputy")
    calls = [lambda: desk.sign("hq", one), lambda: desk.end_delegation(arena.dice.choice(("east", "deputy")), delegation_id)]
    return Race(calls, set(), [one], {("applied",), ("stale",)})


async def two_requests_on_one_base(arena: Arena, desk: Desk, customer: str) -> Race:
    one, other = await arena.signed(customer, HIGH), await arena.signed(customer, MID)
    calls = [lambda: desk.sign("hq", one), lambda: desk.sign("hq2", other)]
    return Race(calls, {CLOSED}, [one, other], {("applied", "stale")})


async def three_requests_on_one_base(arena: Arena, desk: Desk, customer: str) -> Race:
    requests = [await arena.signed(customer, tag) for tag in (HIGH, MID, LOW)]
    calls = [lambda one=one, by=by: desk.sign(by, one) for one, by in zip(requests, ("hq", "hq2", "hq"), strict=True)]
    return Race(calls, {CLOSED}, requests, {("applied", "stale", "stale")})


async def withdrawing_against_signing(arena: Arena, desk: Desk, customer: str) -> Race:
    one = await arena.signed(customer, HIGH)
    calls = [lambda: desk.sign("hq", one), lambda: desk.withdraw("ann", one)]
    return Race(calls, {CLOSED}, [one], {("applied",), ("withdrawn",)})


async def refusing_against_signing(arena: Arena, desk: Desk, customer: str) -> Race:
    one = await arena.signed(customer, HIGH)
    calls = [lambda: desk.sign("hq", one), lambda: desk.sign("hq2", one, "reject"), lambda: desk.edit("ann", one, [LOW])]
    return Race(calls, {CLOSED, TURN}, [one], {("applied",), ("rejected",), ("pending_level1",)})


async def expiring_against_signing(arena: Arena, desk: Desk, customer: str) -> Race:
    one = await arena.signed(customer, HIGH)
    await arena.backdate(one, "expires_at", f"{arena.dice.randrange(0, 100)} milliseconds")
    calls = [lambda: desk.sign("hq", one), desk.keep_time, desk.keep_time]
    return Race(calls, {CLOSED}, [one], {("applied",), ("expired",)})


async def timekeeping_against_signing(arena: Arena, desk: Desk, customer: str) -> Race:
    one = await arena.asked(customer, HIGH)
    await arena.backdate(one, "level_since", "-3 days")
    calls = [desk.keep_time, lambda: desk.sign("east", one), lambda: desk.escalate("admin", one), desk.keep_time]
    return Race(calls, set(), [one], {("pending_level2",)})


async def a_kind_against_a_tag_change(arena: Arena, desk: Desk, customer: str) -> Race:
    rank = arena.ranks.pop()
    kind, one = await arena.kind_change(rank), await arena.signed(customer, f"{rank}/high")
    calls = [lambda: desk.sign("hq", kind), lambda: desk.sign("hq2", one)]
    return Race(calls, {CLOSED}, [kind, one], {("applied", "applied"), ("applied", "stale")})


async def a_merge_against_a_tag_change(arena: Arena, desk: Desk, customer: str) -> Race:
    """Nobody signs the merge: it is of ordinary tags, one of which the follow carries and the request removes."""
    spare = arena.plain.pop()
    old, new = f"plain{spare}/old{spare}", f"plain{spare}/new{spare}"
    await arena.company.change("ann", customer, [old])
    one = await arena.signed(customer, HIGH, remove=(old,))
    away: Call = arena.dice.choice((lambda: desk.merge(old, new), lambda: desk.move(old, "advice")))
    return Race([lambda: desk.sign("hq", one), away], {CLOSED}, [one], {("applied",), ("stale",)})


async def a_held_merge_against_a_tag_change(arena: Arena, desk: Desk, customer: str) -> Race:
    rank = arena.ranks.pop()
    await arena.carrying(customer, f"{rank}/high")
    merge = await arena.migration(f"{rank}/high", f"{rank}/low")
    one = await arena.signed(customer, f"{rank}/mid")
    calls = [lambda: desk.sign("hq", merge), lambda: desk.sign("hq2", one)]
    return Race(calls, {CLOSED}, [merge, one], {("applied", "stale")})


async def submitting_again_twice(arena: Arena, desk: Desk, customer: str) -> Race:
    one = await arena.signed(customer, HIGH)
    await desk.withdraw("ann", one)
    return Race([lambda: desk.resubmit("ann", one)] * 2, set(), [one], {("withdrawn",)})


async def one_key_twice(arena: Arena, desk: Desk, customer: str) -> Race:
    key, one = f"key of {customer}", await arena.signed(customer, HIGH)
    other = await arena.customer()
    calls = [lambda: desk.sign("hq", one, key=f"s{key}")] * 2 + [lambda: desk.change("ann", other, [MID], key=f"c{key}")] * 2
    return Race(calls, {"idempotency_running"}, [one], {("applied",)})


async def everybody_at_once(arena: Arena, desk: Desk, customer: str) -> Race:
    one, other = await arena.signed(customer, HIGH), await arena.asked(customer, MID)
    calls = [
        lambda: desk.sign("hq", one),
        lambda: desk.sign("hq2", one),
        lambda: desk.sign("west", other),
        lambda: desk.edit("ann", other, [LOW]),
        lambda: desk.withdraw("ann", one),
        desk.keep_time,
        lambda: desk.change("ann", customer, [HIGH]),
    ]
    states = ("applied", "pending_level1", "pending_level2", "stale", "withdrawn")
    said = {CLOSED, TURN, "cannot_stand", "change_empty", "nothing_to_change"}
    return Race(calls, said, [one, other], {tuple(sorted((a, b))) for a in states for b in states})


SCENARIOS: tuple[Scenario, ...] = (
    two_last_signatures,
    two_first_signatures,
    first_and_last_signature,
    clicks_of_one,
    an_edit_against_the_last_signature,
    an_edit_against_the_first_signature,
    leaving_against_signing,
    losing_the_role_against_signing,
    the_end_of_a_delegation_against_the_delegate,
    the_end_of_a_delegation_against_the_last_signature,
    two_requests_on_one_base,
    three_requests_on_one_base,
    withdrawing_against_signing,
    refusing_against_signing,
    expiring_against_signing,
    timekeeping_against_signing,
    a_kind_against_a_tag_change,
    a_merge_against_a_tag_change,
    a_held_merge_against_a_tag_change,
    submitting_again_twice,
    one_key_twice,
    everybody_at_once,
)
"""All of them lock in one order, so that none ever waits for another in a circle."""
