"""Use cases of people over what leaves for WeCom: pausing it, and trying again what was given up.

A pause holds back what changes WeCom's tags and nothing else: who paused wants to look at WeCom, and signers must be able to
go on. It is a row, so it outlives every restart. What waits meanwhile only grows; nothing is given up for it.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from uuid import UUID

from tagwarden.assignments.sight import Sight
from tagwarden.corps.command import Epoch, command
from tagwarden.corps.model import Work
from tagwarden.identity.model import Module, ModuleMissing, RoleName
from tagwarden.kernel import db, notices
from tagwarden.policy import service as policy
from tagwarden.policy.service import Picture
from tagwarden.sync import again, cards_rows, outbox
from tagwarden.sync.model import DIRTY, LineUnknown, NothingGivenUp
from tagwarden.wecom import pause

AT_ONCE = 500
"""Lines tried again in one command."""


@dataclass(frozen=True, slots=True)
class Retried:
    """How many lines are tried again, and how many of the same code are left for the next command."""

    retried: int
    left: int


async def _require_sync(work: Work) -> Picture:
    picture = await policy.in_force(work)
    picture.directory.require_module(picture.directory.employee(work.caller.userid), Module.SYNC)
    return picture


@command(Epoch.SHARED)
async def pause_sending(work: Work, reason: str) -> bool:
    """Holds back everything that changes WeCom's tags; false where it was paused already, which takes the new reason over."""
    await _require_sync(work)
    before = await pause.read(work.corp_id)
    await pause.write(work.corp_id, True, reason, work.caller.userid, work.now if before is None else before.since)
    work.record("sync.paused", f"corp:{work.corp_id}", reason_hash=_hash(reason), again=before is not None)
    return before is None


@command(Epoch.SHARED)
async def resume_sending(work: Work, reason: str) -> bool:
    """Lets it go on; false where nothing was paused."""
    await _require_sync(work)
    before = await pause.read(work.corp_id)
    if before is None:
        return False
    await pause.write(work.corp_id, False, reason, work.caller.userid, work.now)
    work.record("sync.resumed", f"corp:{work.corp_id}", reason_hash=_hash(reason))
    await notices.tell(DIRTY, work.corp_id)
    return True


def _hash(reason: str) -> str:
    return hashlib.sha256(reason.encode()).hexdigest()


@command(Epoch.SHARED)
async def retry_line(work: Work, line_id: UUID) -> int:
    """Tries again what one given-up line is about: a follow, a tag, a group, a card, or the follow of a call.

    The sync module may all of it, anybody else but an auditor the follows he sees; LineUnknown, NothingGivenUp, ModuleMissing.
    """
    picture = await policy.in_force(work)
    follow_id = await again.follow_of_line(work.corp_id, line_id)
    await _require_retry(picture, work, follow_id)
    if follow_id is not None:
        done = await again.retry_follow(work.corp_id, follow_id)
        if not done:
            raise NothingGivenUp()
        await wake_tags_of(work.corp_id, follow_id)
    elif not await outbox.retry(work.corp_id, line_id) and not await cards_rows.retry(work.corp_id, [line_id]):
        raise LineUnknown()
    work.record("sync.retried", f"line:{line_id}")
    return 1


async def _require_retry(picture: Picture, work: Work, follow_id: UUID | None) -> None:
    employee = picture.directory.employee(work.caller.userid)
    try:
        picture.directory.require_module(employee, Module.SYNC)
    except ModuleMissing:
        owner = await again.owner_of(work.corp_id, follow_id) if follow_id else None
        if owner is None or not Sight(picture, employee.userid, work.now).sees(owner):
            raise LineUnknown() from None
        if employee.roles == {RoleName.AUDITOR}:  # reads everything, changes nothing
            raise


@command(Epoch.SHARED)
async def retry_code(work: Work, code: int | None) -> Retried:
    """Tries again all that was given up with one code, or with any: at most 500 follows a command, at a batch's pace."""
    await _require_sync(work)
    follows = await again.retry_follows(work.corp_id, code, AT_ONCE)
    for follow_id in follows:
        await wake_tags_of(work.corp_id, follow_id)
    others = await outbox.retry_all(work.corp_id, code) + await cards_rows.retry_all(work.corp_id, code)
    left = await again.count_given_up(work.corp_id, code)
    if not follows and not others:
        raise NothingGivenUp()
    work.record("sync.retried", f"corp:{work.corp_id}", code=code, follows=len(follows), others=others)
    return Retried(len(follows) + others, left)


async def wake_tags_of(corp_id: str, follow_id: UUID) -> None:
    """The tags without a WeCom id that a follow waits for go out again."""
    for tag_id in await again.tags_waited_for(corp_id, follow_id):
        await outbox.mark_library_dirty(corp_id, tag_id)


async def under_way(corp_id: str) -> int:
    """Calls that had left before a pause and were not answered yet."""
    return int(
        await db.fetch_value(
            "select count(*) from wecom_call where corp_id = $1 and state = 'sent' and api = any($2)"
            " and sent_at > clock_timestamp() - interval '30 seconds'",
            corp_id,
            sorted(pause.TAG_WRITES),
        )
    )
