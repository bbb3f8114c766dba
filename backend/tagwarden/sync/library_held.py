"""Tags of ours that WeCom renamed or deleted under our hands: ours are renamed back, others are held back and told of.

Our record stays as it is: who carries what was decided here. Of a tag that is held back nothing more is sent, nothing
put on, nothing taken off; admins are told once. It is let go of when WeCom shows it as it is here again, which an
accepted name (a rename, with two signatures where the group is a value group) brings about too; what was put on or
taken off meanwhile the next reading of the follows finds.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from tagwarden.approvals import messages
from tagwarden.approvals.messages import Told
from tagwarden.catalog import repository as catalog
from tagwarden.catalog.model import Tag
from tagwarden.corps.model import Work
from tagwarden.identity.model import RoleName
from tagwarden.kernel import notices
from tagwarden.policy import service as policy
from tagwarden.policy.model import Kind
from tagwarden.sync import drift_rows, outbox
from tagwarden.sync.model import DIRTY
from tagwarden.wecom.model import UNKNOWN_TAG

Seen = dict[str, Any]


async def hold_back(
    work: Work, library: Sequence[Seen], ours_to_name: set[UUID], read_at: datetime | None, held: list[str]
) -> None:
    """Compares every tag that WeCom knows with what it shows; names of those held back are added to `held`."""
    making = await outbox.made_since(work.corp_id, read_at)
    names = {str(one["id"]): str(one["name"]) for group in library for one in group.get("tag", ())}
    groups = {group.id: group for group in await catalog.groups(work.corp_id)}
    before = await catalog.held_back(work.corp_id)
    missing: list[str] = []
    for tag in await catalog.all_tags(work.corp_id):
        if tag.wecom_id is None or tag.group_id not in groups or tag.id in ours_to_name:
            continue
        there = names.get(tag.wecom_id)
        if there is None and tag.made_by_us and making:
            continue  # the reading may be older than the tag
        renamed = there is not None and there != tag.name and groups[tag.group_id].kind is Kind.VALUE
        if renamed and tag.made_by_us:
            await outbox.mark_library_dirty(work.corp_id, tag.id)
            work.record("tag.renamed_back", f"tag:{tag.id}")
            continue
        now: tuple[str | None, datetime | None] = (there if renamed else None, work.now if there is None else None)
        if now != (None, None):
            held.append(tag.name)
        if there is None:
            missing.append(tag.wecom_id)
        await _move(work, tag, before.get(tag.id, (None, None)), now)
    if missing and await drift_rows.forget_missing(work.corp_id, missing, UNKNOWN_TAG):
        await notices.tell(DIRTY, work.corp_id)


async def _move(
    work: Work, tag: Tag, before: tuple[str | None, datetime | None], now: tuple[str | None, datetime | None]
) -> None:
    if before[0] == now[0] and (before[1] is None) == (now[1] is None):
        return
    await catalog.set_held_back(work.corp_id, tag.id, now[0], now[1] and (before[1] or now[1]))
    if now == (None, None):
        await drift_rows.expect(work.corp_id, tag.id, str(tag.wecom_id))
        work.record("tag.sent_again", f"tag:{tag.id}")
        return
    await drift_rows.forget_observed(work.corp_id, [str(tag.wecom_id)])
    reason = "deleted_in_wecom" if now[1] else "renamed_in_wecom"
    picture = await policy.known(work)
    admins = [one.userid for one in picture.directory.holders(RoleName.ADMIN)]
    await messages.tell_of(work, Told.TAG_HELD_BACK, admins, f"tag:{tag.id}", reason)
    work.record("tag.held_back", f"tag:{tag.id}", reason=reason)
