"""Every query of the room: the organisation, roles and issuers' rights of one corp."""

from __future__ import annotations

from collections.abc import Sequence

from tagwarden.identity import model
from tagwarden.identity.model import Directory, Module, RoleName
from tagwarden.identity.tables import Department, Employee, EmployeeRole, IssuerRight
from tagwarden.kernel import db


async def load_directory(corp_id: str) -> Directory:
    """The whole picture; the caller's transaction makes it one moment."""
    departments = await Department.select(Department.id, Department.name, Department.parent_id).where(
        Department.corp_id == corp_id
    )
    employees = await Employee.select(Employee.userid, Employee.name, Employee.person, Employee.status).where(
        Employee.corp_id == corp_id
    )
    places = await db.fetch(
        "select userid, array_agg(department_id) as homes, array_agg(department_id) filter (where is_leader) as leads"
        " from employee_department where corp_id = $1 group by userid",
        corp_id,
    )
    roles = await EmployeeRole.select(EmployeeRole.userid, EmployeeRole.role, EmployeeRole.modules).where(
        EmployeeRole.corp_id == corp_id
    )
    issuers = await IssuerRight.select(IssuerRight.issuer, IssuerRight.may_sign).where(IssuerRight.corp_id == corp_id)
    homes = {row["userid"]: (frozenset(row["homes"]), frozenset(row["leads"] or ())) for row in places}
    held: dict[str, set[RoleName]] = {}
    switches: dict[str, set[Module]] = {}
    for row in roles:
        held.setdefault(row["userid"], set()).add(RoleName(row["role"]))
        switches.setdefault(row["userid"], set()).update(Module(name) for name in row["modules"])
    return Directory(
        {row["id"]: model.Department(row["id"], row["name"], row["parent_id"]) for row in departments},
        {
            row["userid"]: model.Employee(
                row["userid"],
                row["name"],
                row["person"],
                row["status"] == "active",
                *homes.get(row["userid"], (frozenset(), frozenset())),
                frozenset(held.get(row["userid"], ())),
                frozenset(switches.get(row["userid"], ())),
            )
            for row in employees
        },
        frozenset(row["issuer"] for row in issuers if row["may_sign"]),
        frozenset(row["issuer"] for row in issuers),
    )


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
