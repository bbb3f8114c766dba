"""Writing what WeCom says about customers and follows into our mirror; what it says about tags goes to the drift guard.

In `setup` the marks WeCom holds come in as assignments; once live they are compared with what was decided. A follow ends
only where a reading of its customer, or a complete reading of its owner, did not show it; its marks stay untouched and
stop counting, and requests about it end, told to both sides. A follow that began anew in WeCom begins anew here.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from tagwarden.approvals import repository as approval_rows
from tagwarden.approvals import service as approvals
from tagwarden.assignments import repository as assignments
from tagwarden.catalog import library_rows
from tagwarden.catalog import repository as catalog
from tagwarden.corps.command import Epoch, command
from tagwarden.corps.model import CorpState, Work
from tagwarden.customers import repository as customers
from tagwarden.customers.model import ContactSeen, Label
from tagwarden.identity import accounts
from tagwarden.kernel import db
from tagwarden.sync import again, drift, drift_rows, readings, refresh, repository
from tagwarden.sync.refresh import Refresh
from tagwarden.sync.rereads import Kind, Reread

AGAIN = timedelta(seconds=5)
"""When to read a follow again that something of ours was on its way to."""
MANY_MISSING = 20
MANY_MISSING_SHARE = 0.1
"""More missing follows of up to a hundred owners than both of these are no departure: somebody is asked."""
NO_LONGER_THERE = "not_in_wecom"
BEGAN_ANEW = "began_anew"
REASONS = {"del_external_contact": "deleted_by_employee", "DELETE_BY_TRANSFER": "transferred"}

Pair = tuple[str, str]


@command(Epoch.SHARED)
async def mirror_contacts(
    work: Work,
    run_id: UUID,
    seen: Sequence[ContactSeen],
    cursor: dict[str, Any],
    done: int,
    read_at: datetime | None = None,
) -> int:
    """One page of follows with the marks WeCom held at `read_at`, and the run's cursor, in one transaction.

    Returns how many marks were taken in; the cursor counts them under `marks`.
    """
    taken = await _take_in(work, seen, read_at or await repository.moment(), run_id)
    counted = {**cursor, "marks": cursor.get("marks", 0) + taken}
    await repository.advance_run(work.corp_id, run_id, counted, done, None)
    work.record("contacts.mirrored", f"sync_run:{run_id}", follows=len(seen), marks=taken)
    return taken


@command(Epoch.SHARED)
async def mirror_customer(work: Work, claimed: Refresh, seen: Sequence[ContactSeen], read_at: datetime) -> None:
    """One customer with all followers WeCom shows, read because of events; the wish to read goes with it."""
    names = await accounts.accounts(work.corp_id)
    shown = {names.here(one.userid) for one in seen}
    named = {here for note in claimed.notes if "userid" in note and (here := names.here(note["userid"]))}
    gone = [(userid, claimed.key) for userid in sorted(named - shown)]
    ended = 0
    for follow in await customers.open_pairs(work.corp_id, gone):
        if follow.since < read_at:
            ended += await end_follows(work, [follow.id], _reason(claimed, names, follow.userid))
    await refresh.settle(work.corp_id, claimed)  # before a new wish to read it again, which is then that alone
    await _take_in(work, seen, read_at, None)
    await _note_who_left(work, claimed, names)
    fails = [note["failreason"] for note in claimed.notes if "failreason" in note]
    detail: dict[str, Any] = {"events": sorted({str(note.get("change")) for note in claimed.notes}), "ended": ended}
    if fails:
        detail["transfer_failed"] = sorted(set(fails))
    work.record("contact.refreshed", f"customer:{claimed.key}", follows=len(seen), **detail)


def _reason(claimed: Refresh, names: accounts.Accounts, userid: str) -> str:
    """Why a follow ended, as the events said; they are believed in nothing but this word."""
    for note in reversed(claimed.notes):
        if "userid" in note and names.here(note["userid"]) == userid and note.get("change") == "del_external_contact":
            return REASONS.get(note.get("source", ""), REASONS["del_external_contact"])
    return NO_LONGER_THERE


async def _note_who_left(work: Work, claimed: Refresh, names: accounts.Accounts) -> None:
    """Of each employee the latest word counts: the customer deleted him, or was added again (or confirmed him).

    `add_half_external_contact` is neither: until the customer confirms, WeCom takes no mark.
    """
    latest: dict[str, tuple[int, bool]] = {}
    for note in claimed.notes:
        left = note.get("change") == "del_follow_user"
        if (left or note.get("change") == "add_external_contact") and (here := names.here(note["userid"])):
            latest[here] = max(latest.get(here, (0, False)), (int(note["at"]), left))
    for userid, (at, left) in latest.items():
        moment = datetime.fromtimestamp(at, UTC) if left else None
        await customers.set_customer_left(work.corp_id, userid, claimed.key, moment)
        if not left:
            await again.retry_now_that_related(work.corp_id, userid, claimed.key)


async def _take_in(work: Work, seen: Sequence[ContactSeen], read_at: datetime, run_id: UUID | None) -> int:
    """Returns how many marks were taken in as assignments."""
    names = await accounts.accounts(work.corp_id)
    known = [replace(one, userid=here) for one in seen if (here := names.here(one.userid)) is not None]
    standing = await _end_what_began_anew(work, known)
    follow_ids = await customers.mirror_contacts(work.corp_id, known, standing)
    marks = {follow_ids[(one.userid, one.external_userid)]: one.tag_ids for one in known}
    await _keep_labels(work, known, follow_ids)
    taken, busy = 0, set[UUID]()
    if work.corp.state is CorpState.SETUP:
        taken = await _import(work, marks, read_at, run_id)
    else:
        busy = set(await drift.compare(work, marks, read_at, run_id))
    if run_id is not None:
        await readings.note_page(work.corp_id, run_id, list(marks))
    unsure = [one.external_userid for one in known if follow_ids[(one.userid, one.external_userid)] in busy]
    await refresh.want(work.corp_id, [Reread(Kind.CONTACT, one, refresh.READ_AGAIN) for one in dict.fromkeys(unsure)], AGAIN)
    return taken


async def _end_what_began_anew(work: Work, seen: Sequence[ContactSeen]) -> dict[Pair, UUID]:
    """A follow that WeCom dates later than we do ended in between, whether or not anybody told us. Returns those that stand."""
    since = {(one.userid, one.external_userid): one.since for one in seen}
    before = await customers.open_pairs(work.corp_id, list(since))
    anew = {follow.id for follow in before if since[(follow.userid, follow.external_userid)] > follow.since}
    await end_follows(work, sorted(anew), BEGAN_ANEW)
    return {(follow.userid, follow.external_userid): follow.id for follow in before if follow.id not in anew}


async def _import(work: Work, seen: dict[UUID, tuple[str, ...]], read_at: datetime, run_id: UUID | None) -> int:
    """What WeCom holds while the corp is being set up: nobody here has decided on it yet."""
    tags = await catalog.sendable(work.corp_id, {one for ids in seen.values() for one in ids})
    held = {follow_id: [one for one in ids if one in tags] for follow_id, ids in seen.items()}
    marks = [(follow_id, tags[one], None) for follow_id, ids in held.items() for one in ids]
    living = await catalog.tags_by_id(work.corp_id, list({tag_id for _, tag_id, _ in marks}), lock=True)
    marks = [mark for mark in marks if mark[1] in living]  # one may have been deleted while the page was read
    taken = 0
    if marks:
        taken = await assignments.start(work.corp_id, marks, source="import", actor=work.caller.userid, since=work.now)
    await repository.observe(work.corp_id, list(held.items()), read_at)
    if run_id is None:
        await drift_rows.note_seen(work.corp_id, list(held), read_at)
    return taken


async def _keep_labels(work: Work, seen: Sequence[ContactSeen], follow_ids: dict[Pair, UUID]) -> None:
    """Personal and strategy tags. A list of many customers shows ids alone: what is no tag of ours is a strategy tag."""
    rows: list[tuple[UUID, Label]] = []
    whole: list[UUID] = []
    listed: list[UUID] = []
    ours = await library_rows.in_library(work.corp_id)
    for one in seen:
        follow_id = follow_ids[(one.userid, one.external_userid)]
        if one.labels is not None:
            whole.append(follow_id)
            rows += [(follow_id, label) for label in one.labels]
        else:
            listed.append(follow_id)
            rows += [(follow_id, Label("strategy", "", wecom_id=tag)) for tag in one.tag_ids if tag not in ours]
    if rows or whole or listed:
        await customers.put_labels(work.corp_id, rows, whole, listed)


async def count_strategy_tags(corp_id: str) -> None:
    """They count against WeCom's limit of tags. It lists no app the strategies of others: what customers carry is known."""
    async with db.transaction():
        await library_rows.note_strategy_tags(corp_id, await customers.count_strategy_tags(corp_id))


async def end_follows(work: Work, follow_ids: Sequence[UUID], reason: str) -> int:
    """Ends follows, inside the caller's command: first the requests about them, whose people are told."""
    if not follow_ids:
        return 0
    for approval_id in await approval_rows.open_about_follows(work.corp_id, follow_ids):
        await approvals.make_stale(work, approval_id, "follow_ended")
    ended = await customers.end_follows(work.corp_id, follow_ids, reason)
    work.record("follows.ended", f"corp:{work.corp_id}", follows=sorted(map(str, follow_ids)), reason=reason)
    return ended


@command(Epoch.SHARED)
async def leave_owners(work: Work, run_id: UUID, wecom_userids: Iterable[str], cursor: dict[str, Any], done: int) -> int:
    """Ends what a complete reading of these owners did not show, and moves the run's cursor behind them.

    Returns how many follows ended, 0 where it is too much to believe; the cursor counts them under `ended`.
    """
    names = await accounts.accounts(work.corp_id)
    owners = sorted({here for one in wecom_userids if (here := names.here(one)) is not None})
    began_at = datetime.fromisoformat(cursor["began"]) if "began" in cursor else None
    ended = await _end_missing(work, run_id, owners, began_at) if began_at else 0
    await readings.forget_pages(work.corp_id, run_id)
    counted = {**cursor, "ended": cursor.get("ended", 0) + ended}
    await repository.advance_run(work.corp_id, run_id, counted, done, None)
    return ended


async def _end_missing(work: Work, run_id: UUID, owners: Sequence[str], began_at: datetime) -> int:
    missing = await readings.not_shown(work.corp_id, run_id, owners, began_at, MANY_MISSING + 1)
    if len(missing) > MANY_MISSING:
        many, of_all = await readings.count_not_shown(work.corp_id, run_id, owners, began_at)
        if many > of_all * MANY_MISSING_SHARE and not (await drift_rows.guard(work.corp_id))["released"]:
            await drift.follows_vanished(work, many)
            return 0
        missing = await readings.not_shown(work.corp_id, run_id, owners, began_at)
    return await end_follows(work, missing, NO_LONGER_THERE)
