"""Every query of the room: the organisation, roles and issuers' rights of one corp."""

from __future__ import annotations

from collections.abc import Sequence

from tagwarden.identity import model
from tagwarden.identity.model import Directory, Module, RoleName
from tagwarden.identity.tables import EmployeeRole
from tagwarden.kernel import db


async def load_directory(corp_id: str) -> Directory:
    """The whole picture of one moment: that of the caller's transaction, else of one of its own."""
    if not db.in_transaction():
        async with db.transaction("repeatable read"):
            return await load_directory(corp_id)
    issuers = await db.fetch("select issuer, may_sign from issuer_right where corp_id = $1", corp_id)
    employees = await _employees(corp_id)
    return Directory(
        await _departments(corp_id),
        employees,
        frozenset(row["issuer"] for row in issuers if row["may_sign"]),
        frozenset(row["issuer"] for row in issuers),
        {one.wecom_userid: one.userid for one in employees.values() if one.wecom_userid is not None},
    )


async def _departments(corp_id: str) -> dict[int, model.Department]:
    found: dict[int, model.Department] = {}
    async for page in db.pages("select id, name, parent_id from department where corp_id = $1", corp_id):
        found.update((row["id"], model.Department(row["id"], row["name"], row["parent_id"])) for row in page)
    return found


async def _employees(corp_id: str) -> dict[str, model.Employee]:
    places = await _places(corp_id)
    roles = await _roles(corp_id)
    found: dict[str, model.Employee] = {}
    sql = "select userid, name, person, status, wecom_userid, name_reused from employee where corp_id = $1"
    async for page in db.pages(sql, corp_id):
        for userid, name, person, status, elsewhere, reused in page:
            homes, leads = places.get(userid, (frozenset(), frozenset()))
            held, modules = roles.get(userid, (frozenset(), frozenset()))
            active = status == "active"
            found[userid] = model.Employee(userid, name, person, active, homes, leads, held, modules, elsewhere, reused)
    return found


async def _places(corp_id: str) -> dict[str, tuple[frozenset[int], frozenset[int]]]:
    """By employee: the departments, and those he leads."""
    sql = (
        "select userid, array_agg(department_id), array_agg(department_id) filter (where is_leader)"
        " from employee_department where corp_id = $1 group by userid"
    )
    found: dict[str, tuple[frozenset[int], frozenset[int]]] = {}
    async for page in db.pages(sql, corp_id):
        found.update((userid, (frozenset(homes), frozenset(leads or ()))) for userid, homes, leads in page)
    return found


async def _roles(corp_id: str) -> dict[str, tuple[frozenset[RoleName], frozenset[Module]]]:
    """By employee: the roles, and the module switches of all of them."""
    nothing: tuple[frozenset[RoleName], frozenset[Module]] = (frozenset(), frozenset())
    found: dict[str, tuple[frozenset[RoleName], frozenset[Module]]] = {}
    async for page in db.pages("select userid, role, modules from employee_role where corp_id = $1", corp_id):
        for userid, role, modules in page:
            roles, switches = found.get(userid, nothing)
            found[userid] = (roles | {RoleName(role)}, switches.union(Module(name) for name in modules))
    return found


async def replace_departments(corp_id: str, rows: Sequence[tuple[int, str, int, int]]) -> None:
    """Makes the mirror hold exactly these (id, name, parent id, order)."""
    ids, names, parents, orders = db.columns(rows, 4)
    await db.execute("delete from department where corp_id = $1 and id <> all($2::bigint[])", corp_id, ids)
    await db.execute(
        "insert into department (corp_id, id, name, parent_id, sort)"
        " select $1, * from unnest($2::bigint[], $3::text[], $4::bigint[], $5::bigint[])"
        " on conflict (corp_id, id) do update set name = excluded.name, parent_id = excluded.parent_id, sort = excluded.sort",
        corp_id,
        ids,
        names,
        parents,
        orders,
    )


async def mirror_employees(corp_id: str, rows: Sequence[tuple[str, str, str, int | None]]) -> list[str]:
    """Upserts (userid, name, status, main department); who is missing has left. Returns the userids that left now."""
    userids, names, statuses, mains = db.columns(rows, 4)
    await db.execute(
        "insert into employee (corp_id, userid, name, person, status, main_department, updated_at)"
        " select $1, u, n, lower(u), s, m, now() from unnest($2::text[], $3::text[], $4::text[], $5::bigint[]) as t (u, n, s, m)"
        " on conflict (corp_id, userid) do update set name = excluded.name, status = excluded.status,"
        " main_department = excluded.main_department, updated_at = excluded.updated_at",
        corp_id,
        userids,
        names,
        statuses,
        mains,
    )
    left = await db.fetch(
        "update employee set status = 'left', updated_at = now()"
        " where corp_id = $1 and status <> 'left' and userid <> all($2::text[]) returning userid",
        corp_id,
        userids,
    )
    return sorted(row["userid"] for row in left)


async def replace_places(corp_id: str, rows: Sequence[tuple[str, int, bool]]) -> None:
    """Makes memberships exactly these (userid, department, is leader)."""
    await db.execute("delete from employee_department where corp_id = $1", corp_id)
    userids, departments, leaders = db.columns(rows, 3)
    await db.execute(
        "insert into employee_department (corp_id, userid, department_id, is_leader)"
        " select $1, * from unnest($2::text[], $3::bigint[], $4::boolean[])",
        corp_id,
        userids,
        departments,
        leaders,
    )


async def give_role(corp_id: str, userid: str, role: RoleName, modules: Sequence[str], given_by: str) -> None:
    """Gives a role, or changes its module switches."""
    await db.execute(
        "insert into employee_role (corp_id, userid, role, modules, given_by) values ($1, $2, $3, $4, $5)"
        " on conflict (corp_id, userid, role) do update set modules = excluded.modules, given_by = excluded.given_by",
        corp_id,
        userid,
        role.value,
        list(modules),
        given_by,
    )


async def take_role(corp_id: str, userid: str, role: RoleName) -> None:
    """Takes a role away."""
    await EmployeeRole.delete().where(
        (EmployeeRole.corp_id == corp_id) & (EmployeeRole.userid == userid) & (EmployeeRole.role == role.value)
    )


async def set_mirrored(corp_id: str) -> None:
    """Notes that the organisation was mirrored just now."""
    await db.execute("update corp set org_mirrored_at = now() where corp_id = $1", corp_id)


async def join_person(corp_id: str, userid: str, person: str) -> None:
    """Makes an account one more of a person; the database sees to it that this happens once."""
    await db.execute("update employee set person = $3 where corp_id = $1 and userid = $2", corp_id, userid, person)


async def put_issuer(corp_id: str, issuer: str, may_sign: bool) -> None:
    """Binds an issuer, or changes its right. Two statements: an upsert would ask the guard for a new binding every time."""
    found = await db.fetch_value(
        "update issuer_right set may_sign = $3 where corp_id = $1 and issuer = $2 returning 1", corp_id, issuer, may_sign
    )
    if found is None:
        await db.execute("insert into issuer_right (corp_id, issuer, may_sign) values ($1, $2, $3)", corp_id, issuer, may_sign)


async def remove_issuer(corp_id: str, issuer: str) -> None:
    """Unbinds an issuer."""
    await db.execute("delete from issuer_right where corp_id = $1 and issuer = $2", corp_id, issuer)
