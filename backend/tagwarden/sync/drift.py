"""The drift guard: what WeCom was seen to hold is held against what was decided, and each disagreement is acted on.

Seeing and acting are two transactions. A reading records cases and shows outbound what was decided, so that nothing is
sent for or against a case before the guard has judged it. Acting follows the policy: value tags are put back, other
edits pass the decision of their owner or are put back too. What is put back is left to outbound: it is told what WeCom
holds, and sends the difference. Before a run puts back more follows than the brake allows, it stops and asks.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from uuid import UUID

from tagwarden.approvals import messages
from tagwarden.approvals import service as approvals
from tagwarden.approvals.messages import Told
from tagwarden.assignments import from_wecom, queries
from tagwarden.catalog import repository as catalog
from tagwarden.catalog.model import Tag
from tagwarden.corps.command import Epoch, command
from tagwarden.corps.model import Caller, Work
from tagwarden.customers import repository as customers
from tagwarden.customers.model import Follow
from tagwarden.identity.model import Module, RoleName
from tagwarden.kernel import clock, jobs
from tagwarden.kernel.ids import new_id
from tagwarden.policy import service as policy
from tagwarden.policy.drift import DriftRule
from tagwarden.policy.model import Kind
from tagwarden.policy.service import Picture
from tagwarden.sync import drift_rows, repository
from tagwarden.sync.drift_model import (
    OFTEN,
    OFTEN_IN_DAYS,
    AddedOrRemoved,
    Difference,
    GuardNotStopped,
    Verdict,
    differences,
    verdict_of,
)
from tagwarden.sync.drift_rows import Case
from tagwarden.sync.model import RUN_JOB, RunKind

AT_ONCE = 50
RELEASED_FOR = timedelta(hours=24)
VANISHED = "follows_vanished"
Seen = Mapping[UUID, Sequence[str]]
"""WeCom's tag ids by follow, as far as they are tags of ours that are sent."""


async def compare(work: Work, seen: Seen, read_at: datetime, run_id: UUID | None = None) -> list[UUID]:
    """Records where a reading disagrees with what was decided; inside the caller's command.

    Most of a company is as it was decided: a run finds that out without a lock, and writes nothing. Returns the follows that
    could not be judged, because something of ours was on its way to them: read them again.
    """
    tags = await catalog.sendable(work.corp_id, {one for ids in seen.values() for one in ids})
    held = {follow_id: {one for one in ids if one in tags} for follow_id, ids in seen.items()}
    agreed = await _agreed(work.corp_id, held, read_at) if run_id is not None else set()
    others = {one: ids for one, ids in held.items() if one not in agreed}
    return await _compare_locked(work, others, tags, read_at, run_id) if others else []


async def _agreed(corp_id: str, held: Mapping[UUID, set[str]], read_at: datetime) -> set[UUID]:
    at_rest = await drift_rows.at_rest(corp_id, list(held), read_at)
    wanted = await queries.desired_of_follows(corp_id, list(at_rest))
    return {one for one, observed in at_rest.items() if held[one] == wanted[one].keys() and held[one] == set(observed)}


async def _compare_locked(
    work: Work, seen: Mapping[UUID, set[str]], tags: Mapping[str, UUID], read_at: datetime, run_id: UUID | None
) -> list[UUID]:
    locked = [follow.id for follow in await customers.lock_follows(work.corp_id, list(seen))]
    quiet = await drift_rows.quiet_since(work.corp_id, locked, read_at)
    wanted = await queries.desired_of_follows(work.corp_id, locked)
    known = {case.follow_id: case for case in await drift_rows.pending(work.corp_id, list(quiet))}
    found: list[Difference] = []
    for follow_id in locked:  # rows of many follows are written in the order of their ids, by everybody
        if follow_id in quiet:
            found += differences(follow_id, {tags[one] for one in seen[follow_id]}, set(wanted[follow_id].values()))
    await drift_rows.keep(work.corp_id, found, run_id)
    if known:
        await _drop_gone(work.corp_id, list(known), found)
    await drift_rows.observe(work.corp_id, locked, {one: sorted(wanted[one]) for one in locked if one in quiet}, read_at)
    differing = [one for one in locked if one not in quiet and seen[one] != wanted[one].keys()]
    stuck = await drift_rows.given_up(work.corp_id, differing) if differing else set()
    return [one for one in differing if one not in stuck]


async def _drop_gone(corp_id: str, follow_ids: Sequence[UUID], found: Sequence[Difference]) -> None:
    there = {(one.follow_id, one.tag_id) for one in found}
    cases = await drift_rows.pending(corp_id, follow_ids)
    gone = [(case.id, "gone", None) for case in cases if (case.follow_id, case.tag_id) not in there]
    await drift_rows.close(corp_id, gone)


# -- acting -------------------------------------------------------------------------------------------------------------


async def act_on_all(corp_id: str, run_id: UUID | None = None) -> int:
    """Acts on every open case, chunk by chunk, of one run or of all that no run is collecting; returns how many follows."""
    caller = Caller(corp_id, "", approvals.SYSTEM, request_id=str(run_id or new_id()))
    acted, tried = 0, 0
    while follow_ids := await drift_rows.follows_to_act_on(corp_id, run_id, AT_ONCE + tried):
        chunk = follow_ids[tried : tried + AT_ONCE]  # those before are under way in a call: another time
        if not chunk:
            break
        done = await act(caller, chunk, run_id)
        if done is None:
            break
        acted += done
        tried += len(chunk) - done
    return acted


@command(Epoch.SHARED)
async def act(work: Work, follow_ids: Sequence[UUID], run_id: UUID | None) -> int | None:
    """Acts on the cases of some follows; returns of how many, None when the brake is pulled."""
    picture = await policy.known(work)
    brake = await drift_rows.guard(work.corp_id, lock=True)
    if brake["stopped_at"] is not None or await _brakes(work, picture, run_id, brake["allowance"] if brake["released"] else 0):
        return None
    follows = await customers.lock_follows(work.corp_id, list(follow_ids))
    work.now = clock.now()
    cases = await drift_rows.pending(work.corp_id, list(follow_ids))
    hand = _Hand(work, picture, await queries.unconfirmed_groups(work.corp_id), await _tags(work.corp_id, cases))
    wanted = await queries.desired_of_follows(work.corp_id, [follow.id for follow in follows])
    done = 0
    for follow in follows:
        mine = [case for case in cases if case.follow_id == follow.id and case.state == "open"]
        done += await hand.settle(follow, mine, set(wanted[follow.id].values()))
    ended = [(case.id, "gone", "follow_ended") for case in cases if case.follow_id not in {follow.id for follow in follows}]
    await drift_rows.close(work.corp_id, ended)
    await _name_offenders(work, picture, hand.put_back_of)
    return done + len({case.follow_id for case in cases} - {follow.id for follow in follows})


async def _brakes(work: Work, picture: Picture, run_id: UUID | None, allowance: int) -> bool:
    """Whether acting would put back too many follows; then the brake is pulled and the admins are told."""
    planned, done = await drift_rows.to_put_back(work.corp_id, run_id, _put_back_groups(picture))
    if planned + done <= picture.drift.brake(0) + allowance:
        return False
    if planned + done <= picture.drift.brake(await drift_rows.count_follows(work.corp_id)) + allowance:
        return False
    if await drift_rows.stop(work.corp_id, "too_many", planned):
        admins = [one.userid for one in picture.directory.holders(RoleName.ADMIN)]
        await messages.tell_of(work, Told.DRIFT_STOPPED, admins, f"corp:{work.corp_id}", str(planned))
        work.record("drift.stopped", f"corp:{work.corp_id}", reason="too_many", follows=planned)
    return True


def _put_back_groups(picture: Picture) -> list[UUID]:
    """Groups whose cases are put back whoever made the edit."""
    return [
        UUID(one.id)
        for one in picture.groups.values()
        if one.kind is not Kind.UNCLASSIFIED and picture.drift.of(one.id, one.kind) is not DriftRule.WECOM
    ]


async def _tags(corp_id: str, cases: Sequence[Case]) -> dict[UUID, Tag]:
    return await catalog.tags_by_id(corp_id, list({case.tag_id for case in cases}))


class _Hand:
    """Acts on one follow after the other, inside one command."""

    def __init__(self, work: Work, picture: Picture, unconfirmed: set[UUID], tags: Mapping[UUID, Tag]) -> None:
        self._work, self._picture = work, picture
        self._unconfirmed, self._tags = unconfirmed, tags
        self.put_back_of: Counter[str] = Counter()

    async def settle(self, follow: Follow, cases: Sequence[Case], wanted: set[UUID]) -> int:
        """Acts on the open cases of a locked follow; 0 while a call for it is under way."""
        present, absent = self._as_wecom_has_it(cases)
        if not await drift_rows.uncover(self._work.corp_id, follow.id, [], []):
            return 0
        gone = [case for case in cases if (case.kind is AddedOrRemoved.ADDED) == (case.tag_id in wanted)]
        ends: list[tuple[UUID, str, str | None]] = [(case.id, "gone", None) for case in gone]
        by_verdict: dict[Verdict, list[Case]] = {}
        for case in cases:
            if case in gone:
                continue
            verdict, why = self._verdict(case)
            by_verdict.setdefault(verdict, []).append(case)
            if verdict is Verdict.REPORT:
                ends.append((case.id, "reported", why))
        ends += await self._take_in(follow, by_verdict.get(Verdict.TAKE_IN, []))
        ends += await self._ask(follow, by_verdict.get(Verdict.ASK, []))
        ends += [(case.id, "put_back", None) for case in by_verdict.get(Verdict.PUT_BACK, [])]
        await self._close(follow, cases, ends, present, absent)
        return 1

    def _as_wecom_has_it(self, cases: Sequence[Case]) -> tuple[dict[UUID, str], dict[UUID, str]]:
        """By case: WeCom's id of a tag that it holds, and of one that it does not."""
        ids = {case.id: self._tags[case.tag_id].wecom_id or "" for case in cases if case.tag_id in self._tags}
        present = {case.id: ids[case.id] for case in cases if case.id in ids and case.kind is AddedOrRemoved.ADDED}
        return present, {case: wecom_id for case, wecom_id in ids.items() if case not in present}

    def _verdict(self, case: Case) -> tuple[Verdict, str | None]:
        tag = self._tags.get(case.tag_id)
        group = self._picture.groups.get(str(tag.group_id)) if tag is not None else None
        if tag is None or group is None:
            return Verdict.REPORT, "tag_unknown"
        rule = self._picture.drift.of(group.id, group.kind)
        suspended = self._work.corp.writes_suspended
        return verdict_of(rule, group.kind, unconfirmed=tag.group_id in self._unconfirmed, suspended=suspended)

    async def _take_in(self, follow: Follow, cases: Sequence[Case]) -> list[tuple[UUID, str, str | None]]:
        if not cases:
            return []
        add, remove = _by_kind(cases)
        refused = await from_wecom.take_in(self._work, self._picture, follow, add, remove)
        return [
            (case.id, "put_back", refused[case.tag_id]) if case.tag_id in refused else (case.id, "taken_in", None)
            for case in cases
        ]

    async def _ask(self, follow: Follow, cases: Sequence[Case]) -> list[tuple[UUID, str, str | None]]:
        if not cases:
            return []
        asked = await from_wecom.ask_for(self._work, self._picture, follow, *_by_kind(cases))
        if isinstance(asked, str):
            return [(case.id, "put_back", asked) for case in cases]
        await drift_rows.close(self._work.corp_id, [(case.id, "asked", None) for case in cases], asked)
        return [(case.id, "asked", None) for case in cases]

    async def _close(
        self,
        follow: Follow,
        cases: Sequence[Case],
        ends: Sequence[tuple[UUID, str, str | None]],
        present: Mapping[UUID, str],
        absent: Mapping[UUID, str],
    ) -> None:
        """Tells outbound how things stand in WeCom, but of what was only reported, and leaves the difference to it."""
        told = {case_id for case_id, state, _ in ends if state != "reported"}
        states = {case_id: state for case_id, state, _ in ends}
        await drift_rows.uncover(
            self._work.corp_id,
            follow.id,
            [one for case, one in present.items() if case in told],
            [one for case, one in absent.items() if case in told],
        )
        await drift_rows.close(self._work.corp_id, ends)
        if told:
            bulk = all(case.run_id is not None for case in cases)
            await repository.mark_dirty(self._work.corp_id, follow.id, bulk)
        back = [case for case in cases if states.get(case.id) in ("put_back", "asked")]
        if back:
            self.put_back_of[follow.userid] += len(back)
            self._work.record(
                "drift.put_back",
                f"follow:{follow.id}",
                {"row": None, "revision": self._picture.revision, "epoch": self._picture.epoch},
                owner=follow.userid,
                customer=follow.external_userid,
                added=sorted(str(case.tag_id) for case in back if case.kind is AddedOrRemoved.ADDED),
                removed=sorted(str(case.tag_id) for case in back if case.kind is AddedOrRemoved.REMOVED),
                asked=any(states[case.id] == "asked" for case in back),
            )


def _by_kind(cases: Sequence[Case]) -> tuple[list[UUID], list[UUID]]:
    added = [case.tag_id for case in cases if case.kind is AddedOrRemoved.ADDED]
    return added, [case.tag_id for case in cases if case.kind is AddedOrRemoved.REMOVED]


async def _name_offenders(work: Work, picture: Picture, put_back: Mapping[str, int]) -> None:
    """Tells the admins of owners whose edits had to be put back again and again: when it has been often, and each time
    it has been ten times as often again."""
    if not put_back:
        return
    admins = [one.userid for one in picture.directory.holders(RoleName.ADMIN)]
    for row in await drift_rows.offenders(work.corp_id, OFTEN, OFTEN_IN_DAYS, sorted(put_back)):
        now, before = row["put_back"], row["put_back"] - put_back[row["userid"]]
        if before < OFTEN or now // (10 * OFTEN) > before // (10 * OFTEN):
            await messages.tell_of(work, Told.DRIFT_REPEATED, admins, f"employee:{row['userid']}", str(now))


@command(Epoch.SHARED)
async def confirm(work: Work) -> int:
    """Lets go of the brake for what waits now, for a day; admin, or sub-admin with the sync module. Returns how many."""
    picture = await policy.in_force(work)
    picture.directory.require_module(picture.directory.employee(work.caller.userid), Module.SYNC)
    waiting, _ = await drift_rows.to_put_back(work.corp_id, None, _put_back_groups(picture))
    released = await drift_rows.release(work.corp_id, work.caller.userid, work.now + RELEASED_FOR, waiting)
    if released is None:
        raise GuardNotStopped()
    if released["reason"] == VANISHED and await repository.insert_run(
        work.corp_id, new_id(), RunKind.DRIFT.value, work.caller.userid
    ):
        await jobs.enqueue(RUN_JOB, {"corp_id": work.corp_id})
    work.record("drift.confirmed", f"corp:{work.corp_id}", reason=released["reason"], follows=waiting)
    return waiting


async def follows_vanished(work: Work, missing: int) -> None:
    """Pulls the brake because a reading showed far fewer follows than there were; inside the caller's command."""
    if await drift_rows.stop(work.corp_id, VANISHED, missing):
        picture = await policy.known(work)
        admins = [one.userid for one in picture.directory.holders(RoleName.ADMIN)]
        await messages.tell_of(work, Told.DRIFT_STOPPED, admins, f"corp:{work.corp_id}", VANISHED)
        work.record("drift.stopped", f"corp:{work.corp_id}", reason=VANISHED, follows=missing)
