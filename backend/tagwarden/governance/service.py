"""Use cases of admins about the corp itself: its credentials, and leaving `setup`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any
from uuid import UUID

from tagwarden.catalog import repository as catalog
from tagwarden.catalog.model import TagGroup
from tagwarden.corps import credentials
from tagwarden.corps.command import Epoch, command
from tagwarden.corps.credentials import AppCredential
from tagwarden.corps.model import CorpNotInSetup, CorpState, Work
from tagwarden.governance import readiness
from tagwarden.governance.readiness import Point
from tagwarden.identity.model import RoleName
from tagwarden.kernel import db
from tagwarden.kernel.errors import Conflict
from tagwarden.kernel.sealing import Sealer
from tagwarden.policy import service as policy
from tagwarden.policy.chains import SIGNING_ROLES
from tagwarden.policy.model import Action, Kind


class ActivationBlocked(Conflict):
    """`items` are all blockers; the sentence names the first of them."""

    code = "activation_blocked"
    zh = "还不能启用，缺 {count} 项：{summary_zh}"
    en = "Cannot be activated yet, {count} points are missing: {summary_en}"

    def __init__(self, blockers: Sequence[Point]) -> None:
        self.blockers = tuple(blockers)
        said = {"summary_zh": "；".join(one.zh for one in blockers[:3]), "summary_en": "; ".join(one.en for one in blockers[:3])}
        super().__init__(count=len(blockers), items=[asdict(one) for one in blockers], **said)


@command(Epoch.SHARED)
async def put_credentials(work: Work, sealer: Sealer, credential: AppCredential) -> str:
    """Replaces one app's WeCom credential and lifts a stop; the old token goes with it. Admins only; never audited in clear."""
    picture = await policy.in_force(work)
    caller = picture.directory.employee(work.caller.userid)
    picture.directory.require_role(caller, RoleName.ADMIN)
    await credentials.store(sealer, credential)
    await credentials.drop_token(work.corp_id, credential.app)
    work.record("corp.credentials_changed", f"app:{credential.app}", agent_id=credential.agent_id)
    return credential.app


@command(Epoch.EXCLUSIVE)
async def activate(work: Work) -> dict[str, Any]:
    """Leaves `setup` for good, or lists everything that is missing (ActivationBlocked)."""
    picture = await policy.in_force(work)
    caller = picture.directory.employee(work.caller.userid)
    picture.directory.require_role(caller, RoleName.ADMIN)
    if work.corp.state is CorpState.LIVE and not work.corp.writes_suspended:
        raise CorpNotInSetup()
    found = await readiness.points(work.corp_id, picture)
    if blockers := [point for point in found if point.blocking]:
        raise ActivationBlocked(blockers)
    await db.execute(
        "update corp set state = 'live', writes_suspended = false, activated_at = now() where corp_id = $1", work.corp_id
    )
    groups = await catalog.groups(work.corp_id)
    baseline = {
        "revision": picture.revision,
        "kinds": {str(group.id): group.kind.value for group in groups},
        "signers": sorted(one.userid for one in picture.directory.holders(*SIGNING_ROLES)),
        "issuers": sorted(picture.directory.signing_issuers),
    }
    work.record(
        "corp.activated", f"corp:{work.corp_id}", {"row": None, "revision": picture.revision, "epoch": work.epoch}, **baseline
    )
    return {
        "state": "live",
        "revision": picture.revision,
        "unclassified": [g.name for g in groups if g.kind is Kind.UNCLASSIFIED],
        "warnings": [asdict(point) for point in found],
    }


async def groups_overview(corp_id: str, picture: policy.Picture, userid: str) -> list[tuple[TagGroup, list[Action]]]:
    """Groups an employee may see, use or manage at all, with the actions that are open to him."""
    overview = []
    for group in await catalog.groups(corp_id):
        actions = [action for action in Action if picture.may(userid, str(group.id), group.kind, action, None)]
        if actions:
            overview.append((group, actions))
    return overview


async def find_group(corp_id: str, group_id: UUID) -> TagGroup | None:
    """One group, for readers."""
    return await catalog.group(corp_id, group_id)
