"""What the monthly look at WeCom's credentials found: kept by app, and told to the admins. Looking is the app's own work."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from tagwarden.approvals import messages
from tagwarden.approvals.messages import Told
from tagwarden.corps.command import Epoch, command
from tagwarden.corps.model import Work
from tagwarden.identity.model import Module, RoleName
from tagwarden.kernel import db
from tagwarden.policy import service as policy

EVERY = timedelta(days=30)
AFTER_A_REFUSAL = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Checked:
    """What was found of one app: the first thing WeCom refused, or nothing."""

    app: str
    code: int | None = None
    problem_zh: str | None = None
    problem_en: str | None = None

    @property
    def ok(self) -> bool:
        return self.problem_zh is None


@dataclass(frozen=True, slots=True)
class Kept(Checked):
    checked_at: datetime | None = None


async def due(corp_id: str) -> bool:
    """Whether a live corp was last looked at a month ago, or a day ago where something was refused then."""
    return bool(
        await db.fetch_value(
            "select exists (select 1 from corp where corp_id = $1 and state = 'live' and activated_at < now() - $2::interval)"
            " and not exists (select 1 from credential_check where corp_id = $1"
            "  and checked_at > now() - case when ok then $2::interval else $3::interval end) as due",
            corp_id,
            EVERY,
            AFTER_A_REFUSAL,
        )
    )


async def last(corp_id: str) -> list[Kept]:
    """What was found of each app when it was looked at last."""
    rows = await db.fetch(
        "select app, code, problem_zh, problem_en, checked_at from credential_check where corp_id = $1 order by app", corp_id
    )
    return [Kept(**row) for row in rows]


@command(Epoch.SHARED)
async def keep(work: Work, found: Sequence[Checked]) -> None:
    """Keeps what was found and tells admins and the sync module: what WeCom refuses, or that it was looked at."""
    picture = await policy.known(work)
    for one in found:
        await db.execute(
            "insert into credential_check (corp_id, app, checked_at, ok, code, problem_zh, problem_en)"
            " values ($1, $2, $3, $4, $5, $6, $7) on conflict (corp_id, app) do update set checked_at = excluded.checked_at,"
            " ok = excluded.ok, code = excluded.code, problem_zh = excluded.problem_zh, problem_en = excluded.problem_en",
            work.corp_id,
            one.app,
            work.now,
            one.ok,
            one.code,
            one.problem_zh,
            one.problem_en,
        )
    people = [
        one.userid
        for one in picture.directory.holders(RoleName.ADMIN, RoleName.SUBADMIN)
        if one.holds(RoleName.ADMIN) or Module.SYNC in one.modules
    ]
    refused = [one for one in found if not one.ok]
    event = Told.CREDENTIALS_REFUSED if refused else Told.CREDENTIALS_CHECKED
    reason = "；".join(f"{one.app}：{one.problem_zh}" for one in refused) or None
    await messages.tell_of(work, event, people, f"corp:{work.corp_id}", reason)
    codes = {one.app: one.code for one in found}
    work.record("credentials.checked", f"corp:{work.corp_id}", ok=not refused, codes=codes)
