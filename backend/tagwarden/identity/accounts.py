"""Which account of ours a userid of WeCom's is: large and small letters are one, and WeCom may rename an account.

An account keeps the userid it had here first, and with it its roles, follows, requests and signatures; what WeCom calls
it stands beside it. So a renamed account is the same account, and never a second person. Rows only.

Who says a userid decides how it is read. WeCom (callbacks, readings, tokens, clicks) says what it calls people now: a name
that an account gave up is nobody's. A request may name people either way (`Directory.named`), and is refused where the
first userid of one has become the name of another.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from tagwarden.kernel import db

RENAMES_WAIT = timedelta(days=7)
"""How long a rename waits for the account it is about: an earlier rename of the same account may still be on its way."""


@dataclass(frozen=True, slots=True)
class Accounts:
    """`known`: userids here by WeCom's in small letters. `taken`: userids of accounts that WeCom calls otherwise now:
    whoever else is listed under one is not that account. `coming`: new names whose account is not known yet."""

    known: Mapping[str, str]
    taken: frozenset[str]
    coming: frozenset[str]

    def here(self, wecom_userid: str) -> str | None:
        """The userid here; WeCom's own for a newcomer; None where a newcomer may not be let in under it."""
        folded = wecom_userid.lower()
        if folded in self.known:
            return self.known[folded]
        return None if folded in self.taken or folded in self.coming else wecom_userid


async def accounts(corp_id: str) -> Accounts:
    """Every account of the corp, and the renames that wait for theirs."""
    rows = await db.fetch("select userid, wecom_userid from employee where corp_id = $1", corp_id)
    waiting = await db.fetch(
        "select new_userid from userid_rename where corp_id = $1 and applied_at is null and seen_at > now() - $2::interval",
        corp_id,
        RENAMES_WAIT,
    )
    # An account joined to a renamed one (see `rename`) keeps its row, and the name leads to the first.
    known = {row["userid"].lower(): row["userid"] for row in rows if row["wecom_userid"] is None}
    known |= {row["wecom_userid"].lower(): row["userid"] for row in rows if row["wecom_userid"] is not None}
    taken = frozenset(row["userid"].lower() for row in rows if row["wecom_userid"] is not None) - known.keys()
    return Accounts(known, taken, frozenset(row["new_userid"].lower() for row in waiting) - known.keys())


async def note_rename(corp_id: str, old: str, new: str, sent_at: datetime) -> None:
    """Keeps a rename until the account it is about is known; a repeat is the same one."""
    await db.execute(
        "insert into userid_rename (corp_id, old_userid, new_userid, sent_at) values ($1, $2, $3, $4) on conflict do nothing",
        corp_id,
        old,
        new,
        sent_at,
    )


async def waiting_renames(corp_id: str) -> list[tuple[str, str, datetime]]:
    """Renames not applied yet, oldest first."""
    rows = await db.fetch(
        "select old_userid, new_userid, sent_at from userid_rename where corp_id = $1 and applied_at is null"
        " order by sent_at, seen_at",
        corp_id,
    )
    return [(row["old_userid"], row["new_userid"], row["sent_at"]) for row in rows]


async def rename(corp_id: str, userid: str, new: str) -> str | None:
    """Gives an account the name it has in WeCom now. Returns the userid of an account that came in under that name
    before the rename was known: it becomes one more account of the same person and counts no more."""
    twin = await db.fetch_value(
        "select userid from employee where corp_id = $1 and lower(userid) = $2 and userid <> $3 and wecom_userid is null",
        corp_id,
        new.lower(),
        userid,
    )
    if twin is not None:
        await db.execute(
            "update employee t set status = 'left', updated_at = now(), person = case when t.person = lower(t.userid)"
            " and not exists (select 1 from employee o where o.corp_id = t.corp_id and o.userid <> t.userid"
            " and o.person = t.person) then a.person else t.person end"
            " from employee a where t.corp_id = $1 and t.userid = $2 and a.corp_id = t.corp_id and a.userid = $3",
            corp_id,
            twin,
            userid,
        )
    await db.execute(
        "update employee set wecom_userid = case when lower(userid) = $3 then null else $4 end,"
        " name_reused = name_reused and lower(userid) <> $3, updated_at = now()"
        " where corp_id = $1 and userid = $2",
        corp_id,
        userid,
        new.lower(),
        new,
    )
    return str(twin) if twin is not None else None


async def rename_applied(corp_id: str, old: str, new: str, sent_at: datetime) -> None:
    """The rename was made."""
    await db.execute(
        "update userid_rename set applied_at = now() where corp_id = $1 and old_userid = $2 and new_userid = $3 and sent_at = $4",
        corp_id,
        old,
        new,
        sent_at,
    )


async def note_reused(corp_id: str, name: str, reused: bool) -> None:
    """Somebody else has the name that an account gave up, or nobody any more."""
    await db.execute(
        "update employee set name_reused = $3 where corp_id = $1 and lower(userid) = $2 and wecom_userid is not null"
        " and name_reused <> $3",
        corp_id,
        name.lower(),
        reused,
    )


async def note_all_reused(corp_id: str, names: Collection[str]) -> None:
    """The same, as a reading of everybody shows it."""
    await db.execute(
        "update employee set name_reused = not name_reused where corp_id = $1 and wecom_userid is not null"
        " and name_reused <> (lower(userid) = any($2::text[]))",
        corp_id,
        [name.lower() for name in names],
    )


async def put_employee(corp_id: str, userid: str, name: str, status: str, main: int | None) -> None:
    """Writes one member as WeCom shows him."""
    await db.execute(
        "insert into employee (corp_id, userid, name, person, status, main_department, updated_at)"
        " values ($1, $2, $3, lower($2), $4, $5, now()) on conflict (corp_id, userid) do update set name = excluded.name,"
        " status = excluded.status, main_department = excluded.main_department, updated_at = excluded.updated_at",
        corp_id,
        userid,
        name,
        status,
        main,
    )


async def put_places(corp_id: str, userid: str, places: Mapping[int, bool]) -> None:
    """Makes one member's departments exactly these, with whether he leads them."""
    await db.execute("delete from employee_department where corp_id = $1 and userid = $2", corp_id, userid)
    await db.execute(
        "insert into employee_department (corp_id, userid, department_id, is_leader)"
        " select $1, $2, * from unnest($3::bigint[], $4::boolean[])",
        corp_id,
        userid,
        list(places),
        list(places.values()),
    )


async def set_left(corp_id: str, userid: str) -> bool:
    """A member left; False when he had left already."""
    row = await db.fetch_one(
        "update employee set status = 'left', updated_at = now() where corp_id = $1 and userid = $2 and status <> 'left'"
        " returning userid",
        corp_id,
        userid,
    )
    return row is not None


async def departments(corp_id: str) -> set[int]:
    """The ids of the mirrored departments."""
    return {row["id"] for row in await db.fetch("select id from department where corp_id = $1", corp_id)}
