"""Things of another corp: one of each kind that a path can name, so that a test can see it is not found."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID

from support.company import Company
from tagwarden.approvals.delegations import Wanted, delegate
from tagwarden.governance import agreements
from tagwarden.governance.drafts import DraftEdit, create_draft
from tagwarden.sync import service as sync
from tagwarden.sync.model import RunKind


async def of_another_corp(other: Company) -> dict[str, str]:
    """An id of each kind that exists, in another corp."""
    asked = await other.change("ann", "theirs", ["value/high"])
    run = await other_run(other)
    wanted = Wanted("boss", None, datetime.now(UTC) + timedelta(days=1))
    delegated = await delegate(other.as_("hq"), wanted)
    between = agreements.Wanted(10, 20, other.groups["advice"])
    made = await agreements.make_agreement(other.as_("admin"), between)
    return {
        "group_id": str(other.groups["advice"]),
        "tag_id": str(other.tags["advice/asked"]),
        "external_userid": "theirs",
        "approval_id": str(asked.approval_id),
        "run_id": str(run),
        "userid": "somebody-of-theirs",
        "issuer": "an-issuer-of-theirs",
        "delegation_id": str(delegated.id),
        "agreement_id": str(made.id),
        "draft_id": str(await create_draft(other.as_("admin"), DraftEdit(note="theirs"))),
        "line_id": str(await other.follow_id("ann", "theirs")),
    }


async def other_run(other: Company) -> UUID:
    return await sync.request_run(other.as_("admin"), RunKind.ORG)
