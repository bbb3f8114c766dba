"""What we stand on goes away and comes back: PostgreSQL under the service and the worker, WeCom under the worker."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest

from support.company import ISSUER, SEALER, Companies, Company
from support.engine import engine_on
from support.installation import a_server, until
from support.service import (
    Process,
    Service,
    Web,
    check_problem,
    environment,
    free_port,
    service_on,
    simulating,
    token_for,
    working,
)
from tagwarden.audit import service as audit
from tagwarden.corps.credentials import AppCredential
from tagwarden.governance import operator, publishing
from tagwarden.governance import service as governance
from tagwarden.governance.bundle import GroupLine, read_bundle
from tagwarden.kernel import db
from tagwarden.kernel.embedded import EmbeddedPostgres, EmbeddedUrls
from tagwarden.kernel.ids import new_id

SECRET = "the secret of the app in the simulator"


# -- PostgreSQL ---------------------------------------------------------------------------------------------------------


@dataclass
class Ground:
    """A service and a worker on a database server that a test may stop."""

    server: EmbeddedPostgres
    urls: EmbeddedUrls
    folder: Path
    service: Service
    worker: Process
    company: Company

    async def come_back(self) -> None:
        """Starts the server again and waits until the service has noticed."""
        self.server.stop()
        assert self.server.start() == self.urls, "the server has to come back where it was"

        async def ready() -> bool:
            return (await self.service.http.get("/health/ready")).status_code == 200

        await until(ready)


async def is_working(urls: EmbeddedUrls) -> bool:
    """Whether the worker has come up: one that starts without a database ends with a sentence, as it should."""
    async with engine_on(urls.application):
        return bool(await db.fetch_value("select exists (select 1 from process_heartbeat where role = 'worker') as up"))


@pytest.fixture(scope="module")
async def ground(database: EmbeddedUrls) -> AsyncIterator[Ground]:
    with a_server() as (server, urls, folder):
        async with engine_on(urls.application):
            customers = [("ann", f"a{n:03}", ()) for n in range(200)]
            company = await Companies(urls.owner).make(customers=[*customers, ("ann", "c1", ())])
        async with service_on(urls.application) as service:
            with working(urls.application, f"http://127.0.0.1:{free_port()}") as worker:
                await until(lambda: is_working(urls))
                yield Ground(server, urls, folder, service, worker, company)


async def test_postgres_gone_and_back(ground: Ground) -> None:
    service, worker, company = ground.service, ground.worker, ground.company
    web, http = service.web(company), service.http
    tags = [company.tags["activity/hot"], company.tags["activity/warm"]]
    assert (await web.tag("ann", "c1", [tags[0]])).status_code == 200
    for round_ in range(2):
        ground.server.stop()
        for language, word in (("zh", "数据库暂时不可用"), ("en", "database is not available")):
            for method, path in (("GET", "/v1/me"), ("GET", "/v1/customers"), ("POST", "/v1/customers/c1/tag-changes")):
                headers = {**web.headers("ann"), "Accept-Language": language}
                body = {"add": [str(tags[0])]} if method == "POST" else None
                answer = await http.request(method, path, json=body, headers=headers)
                assert word in check_problem(answer, 503, "database_unavailable")["detail"]
        check_problem(await http.get("/v1/me", headers={"Authorization": "Bearer x"}), 401)
        crowd = await asyncio.gather(*(http.get("/v1/me", headers=web.headers("bob")) for _ in range(40)))
        assert {answer.status_code for answer in crowd} == {503}
        assert (await http.get("/health/live")).status_code == 200
        assert (await http.get("/health/ready")).status_code == 503
        assert service.process.running
        assert worker.running, worker.log[-3000:]
        await ground.come_back()
        answer = await web.tag("ann", "c1", [tags[(round_ + 1) % 2]])
        assert answer.status_code == 200, answer.text
        assert {item["outcome"] for item in answer.json()["items"]} == {"applied"}
    async with engine_on(ground.urls.application):
        assert (await audit.verify(company.corp_id)).sound
        assert len(await company.carried("ann", "c1")) == 1
    assert worker.running, worker.log[-3000:]


async def test_postgres_killed_in_the_middle_loses_nothing_accepted(ground: Ground) -> None:
    accepted = await _write_until_it_dies(ground.service.web(ground.company), ground.company, ground.folder)
    await ground.come_back()
    async with engine_on(ground.urls.application):
        for customer in accepted:
            assert await ground.company.carried("ann", customer) == {"advice/asked"}
        assert (await audit.verify(ground.company.corp_id)).sound
    assert ground.worker.running, ground.worker.log[-3000:]


async def _write_until_it_dies(web: Web, company: Company, folder: Path) -> list[str]:
    """Writes on until the server, killed after thirty answers, answers no more; the customers whose change was accepted."""
    accepted: list[str] = []
    pid = int((folder / "pg" / "postmaster.pid").read_text().split()[0])
    names = iter([f"a{n:03}" for n in range(200)])

    async def write() -> None:
        for customer in names:
            body = {"add": [str(company.tags["advice/asked"])]}
            answer = await web.http.post(f"/v1/customers/{customer}/tag-changes", json=body, headers=web.headers("ann"))
            if answer.status_code != 200:
                assert check_problem(answer)["status"] >= 500
                return
            accepted.append(customer)
            if len(accepted) == 30:
                os.kill(pid, 9)

    await asyncio.gather(*(write() for _ in range(4)))
    assert 30 <= len(accepted) < 200
    return accepted


def test_an_idle_connection_that_died_counts_as_a_database_gone() -> None:
    assert issubclass(asyncpg.exceptions.InternalClientError, db.GONE)


# -- WeCom --------------------------------------------------------------------------------------------------------------


def setup_of(corp_id: str) -> dict[str, Any]:
    """A small company as the simulator loads it."""
    return {
        "corp_id": corp_id,
        "apps": [{"name": "crm", "secret": SECRET, "agent_id": 1}],
        "departments": [{"id": 1, "name": "HQ", "parentid": 0}, {"id": 10, "name": "East", "parentid": 1}],
        "employees": [
            {"userid": "admin", "department": [1]},
            {"userid": "boss", "department": [1], "is_leader_in_dept": [1]},
            {"userid": "hq", "department": [1]},
            {"userid": "ann", "department": [10]},
            {"userid": "east", "department": [10], "is_leader_in_dept": [1]},
        ],
        "tag_groups": [{"name": "advice", "tags": ["asked", "keen"], "app": "crm"}],
        "follows": [{"userid": "ann", "external_userid": f"wmCustomer{n}"} for n in range(3)],
    }


ROLES = {"admin": "admin", "boss": "supervisor", "hq": "supervisor", "ann": "staff", "east": "manager"}


async def command(env: dict[str, str], *words: str) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tagwarden", *words, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()


async def company_in(simulator: Process, companies: Companies, urls: EmbeddedUrls) -> Company:
    """A live company imported through the public command line from the simulator."""
    company = Company(f"ww{new_id().hex}")
    async with httpx.AsyncClient(base_url=simulator.url, trust_env=False) as http:
        assert (await http.post("/control/corps", json=setup_of(company.corp_id))).is_success
    new = operator.NewCorp(company.corp_id, "a company", "admin", ISSUER, True)
    async with companies.as_owner():
        await operator.add_corp(SEALER, new, [AppCredential(company.corp_id, "crm", 1, SECRET)])
    more = {"WECOM_API_BASE": simulator.url, "WECOM_CALLS_PER_MINUTE": "3000"}
    env = {**environment(urls.application, **more), "TAGWARDEN_TOKEN": token_for(company.corp_id, "admin")}
    await command(env, "import")
    plain = read_bundle(
        {
            "people.toml": "".join(f'[[person]]\nuserid = "{userid}"\nroles = ["{role}"]\n' for userid, role in ROLES.items()),
            "grants.toml": '[[grant]]\ndepartment = 10\ngroup = "advice"\naction = "use"\n',
            "groups.toml": '[[group]]\nname = "advice"\nkind = "standard"\nchoice = "multiple"\n',
        },
        operator.default_texts(),
    )
    assert plain.groups == (GroupLine("advice", plain.groups[0].kind, plain.groups[0].choice),)
    await publishing.apply_bundle(company.as_("admin"), plain, "test")
    await governance.activate(company.as_("admin"))
    for row in await db.fetch("select id, name from tag where corp_id = $1", company.corp_id):
        company.tags[f"advice/{row['name']}"] = row["id"]
    return company


@pytest.mark.usefixtures("nothing_left_over")
async def test_wecom_gone_and_back(service: Service, companies: Companies, database: EmbeddedUrls, tmp_path: Path) -> None:
    state, port = tmp_path / "wecom.sqlite", free_port()
    with simulating(state, port) as simulator:
        company = await company_in(simulator, companies, database)
        web = service.web(company)
        with working(database.application, simulator.url) as worker:
            assert (await web.tag("ann", "wmCustomer0", [company.tags["advice/asked"]])).status_code == 200
            await until(lambda: holds(simulator, company, "wmCustomer0", {"advice/asked"}))
            await until(lambda: settled(web))  # its answer has arrived too: killed before, it would be sent again
            simulator.kill()
            for number in (1, 2):
                changed = await web.tag("ann", f"wmCustomer{number}", [company.tags["advice/keen"]])
                assert changed.status_code == 200
            await until(lambda: tried(web))
            ledger = (await web.get("admin", "/v1/sync/ledger")).json()
            assert ledger["waiting_total"] == 2
            assert [one["state"] for one in ledger["items"][:2]] == ["waiting", "waiting"]
            assert worker.running, worker.log[-3000:]
            with simulating(state, port) as back:
                for number in (1, 2):
                    customer = f"wmCustomer{number}"
                    await until(lambda customer=customer: holds(back, company, customer, {"advice/keen"}))  # type: ignore[misc]
                assert await holds(back, company, "wmCustomer0", {"advice/asked"})
                await until(lambda: settled(web))
    states = [
        one["state"] for one in (await web.get("admin", "/v1/sync/ledger")).json()["items"] if one["api"].endswith("mark_tag")
    ]
    assert states.count("accepted") == 3


async def tried(web: Web) -> bool:
    """Whether every waiting follow was tried, in vain, at least once."""
    waiting = (await web.get("admin", "/v1/sync/ledger", state="waiting")).json()["items"]
    return len(waiting) == 2 and all(one["attempt"] >= 1 for one in waiting)


async def settled(web: Web) -> bool:
    return bool((await web.get("admin", "/v1/sync/ledger")).json()["waiting_total"] == 0)


async def holds(simulator: Process, company: Company, customer: str, tags: set[str]) -> bool:
    async with httpx.AsyncClient(base_url=simulator.url, trust_env=False) as http:
        answer = await http.get(f"/control/corps/{company.corp_id}/follows/ann/{customer}")
    return set(answer.json()["tags"]) == tags
