"""Writing what WeCom says about the organisation into our mirror: whole, or the one member or tree an event was about.

Rights move when this commits. A member who is gone has left: the account stays, counts no more, and what was asked about
it or by it ends. An account that WeCom renamed stays the account it was (`identity/accounts.py`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tagwarden.approvals import service as approvals
from tagwarden.corps.command import Epoch, command
from tagwarden.corps.model import Work
from tagwarden.identity import accounts
from tagwarden.identity import repository as identity
from tagwarden.kernel import db
from tagwarden.sync import refresh
from tagwarden.sync.model import NothingSeen
from tagwarden.sync.refresh import Refresh
from tagwarden.sync.rereads import Kind, Reread

STATUS = {1: "active", 2: "disabled", 4: "inactive", 5: "left"}
LEFT = STATUS[5]
AGAIN = {"change": "department_unknown"}
"""Why a member is read once more: his department was not mirrored yet."""

DepartmentSeen = tuple[int, str, int, int]


@dataclass(frozen=True, slots=True)
class OrgSeen:
    """The organisation as one complete reading of WeCom shows it."""

    departments: tuple[DepartmentSeen, ...]
    employees: tuple[tuple[str, str, str, int | None], ...]
    places: tuple[tuple[str, int, bool], ...]


@dataclass(frozen=True, slots=True)
class MemberSeen:
    """One member as WeCom shows him: `places` are his departments with whether he leads them."""

    userid: str
    name: str
    status: str
    main: int | None
    places: Mapping[int, bool]


@command(Epoch.EXCLUSIVE)
async def mirror_org(work: Work, seen: OrgSeen) -> dict[str, Any]:
    """Makes departments, members and leaders equal to WeCom; rights move when this commits.

    NothingSeen when WeCom showed nothing at all: an app that lost its range must not make everybody leave. A newcomer
    under a userid that an account here gave up is not let in, and named in the result.
    """
    if not seen.departments or not seen.employees:
        raise NothingSeen()
    await _apply_renames(work)
    names = await accounts.accounts(work.corp_id)
    here = {userid: names.here(userid) for userid, *_ in seen.employees}
    employees = [(known, name, status, main) for userid, name, status, main in seen.employees if (known := here[userid])]
    places = [(known, department, leads) for userid, department, leads in seen.places if (known := here.get(userid))]
    await identity.replace_departments(work.corp_id, seen.departments)
    left = await identity.mirror_employees(work.corp_id, employees)
    await identity.replace_places(work.corp_id, places)
    await identity.set_mirrored(work.corp_id)
    for userid in left:
        await stale_for(work, userid)
    result: dict[str, Any] = {"departments": len(seen.departments), "employees": len(employees), "left": left}
    kept_out = sorted(userid for userid, known in here.items() if known is None)
    await accounts.note_all_reused(work.corp_id, kept_out)
    if kept_out:
        result["kept_out"] = kept_out
    work.record("org.mirrored", f"corp:{work.corp_id}", **result)
    return result


@command(Epoch.EXCLUSIVE)
async def mirror_departments(work: Work, claimed: Refresh, departments: Sequence[DepartmentSeen]) -> None:
    """Makes the tree of departments equal to WeCom; who belongs where is told by events of its own."""
    if not departments:
        raise NothingSeen()
    await identity.replace_departments(work.corp_id, departments)
    await refresh.settle(work.corp_id, claimed)
    work.record("departments.mirrored", f"corp:{work.corp_id}", departments=len(departments))


@command(Epoch.EXCLUSIVE)
async def mirror_employee(work: Work, claimed: Refresh, seen: MemberSeen | None) -> None:
    """Makes one account equal to WeCom, after the renames that are known; None: WeCom knows nobody of that name."""
    await _apply_renames(work, claimed.key)
    names = await accounts.accounts(work.corp_id)
    await refresh.settle(work.corp_id, claimed)
    here = names.here(seen.userid) if seen is not None else names.known.get(claimed.key)
    if here is None:
        await accounts.note_reused(work.corp_id, claimed.key, seen is not None)
        work.record("employee.kept_out" if seen else "employee.unknown", f"employee:{claimed.key}")
        return
    if seen is None or seen.status == LEFT:
        if await accounts.set_left(work.corp_id, here):
            await stale_for(work, here)
        work.record("employee.left", f"employee:{here}")
        return
    await accounts.put_employee(work.corp_id, here, seen.name, seen.status, seen.main)
    known = await accounts.departments(work.corp_id)
    await accounts.put_places(work.corp_id, here, {one: leads for one, leads in seen.places.items() if one in known})
    if seen.places.keys() - known and AGAIN not in claimed.notes:
        await refresh.want(work.corp_id, [Reread(Kind.DEPARTMENTS), Reread(Kind.EMPLOYEE, claimed.key, AGAIN)])
    leads = sorted(one for one, leading in seen.places.items() if leading)
    work.record("employee.mirrored", f"employee:{here}", departments=sorted(seen.places), leads=leads)


async def _apply_renames(work: Work, reading: str = "") -> None:
    """Renames accounts in the order in which WeCom did; one whose account is not known under its old name yet waits.

    `reading`: the name that is being read already.
    """
    moved = True
    while moved:
        moved = False
        known = (await accounts.accounts(work.corp_id)).known
        for old, new, sent_at in await accounts.waiting_renames(work.corp_id):
            userid = known.get(old.lower())
            if userid is None:
                continue
            twin = await accounts.rename(work.corp_id, userid, new)
            await accounts.rename_applied(work.corp_id, old, new, sent_at)
            if twin is not None:
                await stale_for(work, twin)
            if new.lower() != reading:
                await refresh.want(work.corp_id, [Reread(Kind.EMPLOYEE, new.lower())])
            work.record("employee.renamed", f"employee:{userid}", wecom_userid=new, joined=twin)
            moved = True
            break


async def stale_for(work: Work, userid: str) -> None:
    """Ends open requests about an employee, or of his."""
    rows = await db.fetch(
        "select id from approval where corp_id = $1 and state in ('pending_level1', 'pending_level2')"
        " and (about_userid = $2 or requester = $2) order by id",
        work.corp_id,
        userid,
    )
    for row in rows:
        await approvals.make_stale(work, row["id"], "owner_or_requester_left")
