"""One company, built once through the real use cases; every attempt on it runs in a transaction that is rolled back."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import asyncpg
import pytest

from support.company import Companies, Company, arrange
from tagwarden.kernel import db
from tagwarden.kernel.embedded import EmbeddedUrls

from .forger import Forger

CUSTOMERS = (
    ("ann", "c1", ()),
    ("bob", "c2", ("value/mid",)),
    ("bob", "given", ()),
    ("ann", "given", ()),
    ("cat", "given", ()),
    ("bob", "unsigned", ("value/low",)),
    ("ann", "unsigned", ()),
    ("bob", "shared", ()),
    ("ann", "shared", ()),
    ("cat", "c3", ()),
)


@dataclass
class Fortress:
    """A live company and the ids an attack needs, by name."""

    company: Company
    ids: dict[str, Any]


@pytest.fixture(scope="session")
async def fortress(companies: Companies) -> Fortress:
    """Signed, ended, unconfirmed and ordinary marks; a follow that ended with a signed mark and one with an unsigned one."""
    company = await companies.make(customers=CUSTOMERS)
    for owner, customer, tag in (
        ("ann", "c1", "value/high"),
        ("ann", "c1", "value/mid"),
        ("bob", "given", "value/high"),
        ("bob", "shared", "value/high"),
    ):
        answer = await company.change(owner, customer, [tag])
        await company.sign("east", answer.approval_id)
        await company.sign("hq", answer.approval_id)
    await company.change("ann", "c1", ["advice/asked", "advice/keen"])
    await company.change("ann", "c1", [], ["advice/keen"])
    pending = await company.change("bob", "c2", ["value/low"])
    for customer in ("given", "unsigned"):
        await arrange(
            company.corp_id, "update follow set ended_at = now() where id = $1", await company.follow_id("bob", customer)
        )
    return Fortress(company, {**await _ids(company), "pending": pending.approval_id})


async def _ids(company: Company) -> dict[str, Any]:
    ids: dict[str, Any] = {"corp": company.corp_id}
    ids |= {path.replace("/", "_"): tag_id for path, tag_id in company.tags.items()}
    ids |= {f"group_{name}": group_id for name, group_id in company.groups.items()}
    rows = await db.fetch(
        "select f.id as follow, f.userid || '_' || f.external_userid as at, a.id, t.name, a.ended_at is not null as ended,"
        " coalesce(a.ended_approval_id, a.approval_id) as approval from follow f left join assignment a on a.follow_id = f.id"
        " left join tag t on t.id = a.tag_id where f.corp_id = $1",
        company.corp_id,
    )
    for row in rows:
        ids[f"follow_{row['at']}"] = row["follow"]
        if row["id"]:
            ids[f"mark_{row['at']}_{row['name']}{'_ended' if row['ended'] else ''}"] = row["id"]
            ids[f"approval_{row['at']}_{row['name']}"] = row["approval"]
    return ids


@pytest.fixture
async def attacker(database: EmbeddedUrls) -> AsyncIterator[asyncpg.Connection]:
    """A connection as the application's role, inside a transaction that never commits."""
    connection = await asyncpg.connect(database.application)
    transaction = connection.transaction()
    await transaction.start()
    yield connection
    await transaction.rollback()
    await connection.close()


@pytest.fixture
def forger(attacker: asyncpg.Connection, fortress: Fortress) -> Forger:
    """Forges approvals in the fortress."""
    return Forger(attacker, fortress.company)
