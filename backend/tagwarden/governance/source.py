"""Where the policy is written. While files are its truth, the matrix is read-only for everybody but `policy apply`.

Every use case that writes policy in the console's way (drafts, publish, rollback, agreements) calls `require_console`;
`publishing.apply_bundle` alone does not. Giving it back is an admin's audited act.
"""

from __future__ import annotations

from uuid import UUID

from tagwarden.approvals import service as approvals
from tagwarden.corps.model import PolicySource, Work
from tagwarden.kernel import db
from tagwarden.kernel.errors import Conflict

PUBLISH_KIND = "policy_publish"


class PolicyFromFiles(Conflict):
    code = "policy_from_files"
    zh = (
        "本企业的策略以文件为准，这里只读：请修改策略文件，再运行 tagwarden policy apply；"
        '要改回在控制台维护，由管理员 PUT /v1/corp {{"policy_source": "console"}}'
    )
    en = (
        "This corp's policy comes from files and is read-only here: change the files and run `tagwarden policy apply`;"
        ' to write it in the console again, an admin sends PUT /v1/corp {{"policy_source": "console"}}'
    )


def require_console(work: Work) -> None:
    """Raises PolicyFromFiles unless the policy may be written here; asked under the epoch's lock, after the right to write."""
    if work.corp.policy_source is PolicySource.FILES:
        raise PolicyFromFiles()


async def move_source(work: Work, source: PolicySource) -> bool:
    """Says where the policy is written from now on; inside the caller's command, which has established an admin.

    What was asked for in the console and not yet signed goes stale when files take over: only they publish from then on.
    """
    if work.corp.policy_source is source:
        return False
    await db.execute("update corp set policy_source = $2 where corp_id = $1", work.corp_id, source.value)
    if source is PolicySource.FILES:
        for asked in await _asked_in_console(work.corp_id):
            await approvals.make_stale(work, asked, PolicyFromFiles.code)
    work.record("corp.policy_source", f"corp:{work.corp_id}", before=work.corp.policy_source.value, after=source.value)
    return True


async def _asked_in_console(corp_id: str) -> list[UUID]:
    rows = await db.fetch(
        "select id from approval where corp_id = $1 and kind = $2 and state in ('pending_level1', 'pending_level2') order by id",
        corp_id,
        PUBLISH_KIND,
    )
    return [row["id"] for row in rows]
