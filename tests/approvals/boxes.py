"""Whether a box holds exactly what its rule says, asked of every request one by one; by no query of the product."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from uuid import UUID

from support.company import Company
from tagwarden.approvals import reading, repository
from tagwarden.approvals.model import Approval
from tagwarden.approvals.reading import Box
from tagwarden.kernel import clock, db
from tagwarden.policy import service as policy

PAGE = 40


async def require_exact(company: Company, userids: Iterable[str]) -> None:
    """For each of these people, each box that is more than a column."""
    corp_id = company.corp_id
    rows = await db.fetch("select id from approval where corp_id = $1 order by id desc", corp_id)
    requests = [one for row in rows if (one := await repository.get(corp_id, row["id"])) is not None]
    picture, now = await policy.current(corp_id), clock.now()
    signed = await repository.signatures_of(corp_id, requests)
    for userid in userids:
        signer = await reading.reader(picture, userid, now)
        seen = [one for one in requests if reading.can_see(picture, one, signer, signed.get(one.id, ()))]
        rules: dict[Box, Callable[[Approval], bool]] = {
            Box.ALL: lambda one: True,
            Box.INBOX: lambda one, signer=signer: reading.awaits(picture, one, signer, signed.get(one.id, ())),
            Box.TEAM: lambda one, signer=signer: one.pending and reading.in_team(picture, one, signer),
            Box.MINE: lambda one, userid=userid: one.requester == userid,
        }
        for box, holds in rules.items():
            found, before = list[UUID](), None
            while True:
                page, before = await reading.page(picture, signer, box, before=before, limit=PAGE, now=now)
                found += [one.id for one in page]
                if before is None:
                    break
            assert found == [one.id for one in seen if holds(one)], f"{box} of {userid}"
