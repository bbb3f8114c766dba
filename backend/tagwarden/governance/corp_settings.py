"""What an admin says about the corp itself: its name, its time zone, and where its policy is written."""

from __future__ import annotations

from dataclasses import dataclass

from tagwarden.corps.command import Epoch, command
from tagwarden.corps.model import PolicySource, Work
from tagwarden.corps.time_zones import require_time_zone
from tagwarden.governance.source import move_source
from tagwarden.identity.model import RoleName
from tagwarden.kernel import db
from tagwarden.kernel.errors import Invalid
from tagwarden.policy import service as policy
from tagwarden.policy.service import Picture


class CorpNameInvalid(Invalid):
    code = "corp_name_invalid"
    zh = "企业名称不能为空白"
    en = "The corp's name must not be blank"


@dataclass(frozen=True, slots=True)
class CorpChange:
    """None leaves it as it is."""

    name: str | None = None
    time_zone: str | None = None
    policy_source: PolicySource | None = None


def require_admin(work: Work, picture: Picture) -> None:
    """Raises RoleMissing unless the caller is an admin: no switch of a sub-admin's reaches the corp itself."""
    picture.directory.require_role(picture.directory.employee(work.caller.userid), RoleName.ADMIN)


@command(Epoch.EXCLUSIVE)
async def put_corp(work: Work, change: CorpChange) -> bool:
    """Makes it so; what stands so already leaves no line. Whether anything changed."""
    require_admin(work, await policy.in_force(work))
    fields = _differing(work, change)
    for column, value in fields.items():
        await db.execute(f"update corp set {column} = $2 where corp_id = $1", work.corp_id, value)
    if fields:
        # A name is nobody's affair in the chain: that it changed is.
        zone = fields.get("time_zone", work.corp.time_zone)
        work.record("corp.changed", f"corp:{work.corp_id}", renamed="name" in fields, time_zone=zone)
    moved = change.policy_source is not None and await move_source(work, change.policy_source)
    return bool(fields) or moved


def _differing(work: Work, change: CorpChange) -> dict[str, str]:
    fields = {}
    if change.name is not None and (name := change.name.strip()) != work.corp.name:
        if not name:
            raise CorpNameInvalid()
        fields["name"] = name
    if change.time_zone is not None and require_time_zone(change.time_zone) != work.corp.time_zone:
        fields["time_zone"] = change.time_zone
    return fields
