"""What `GET /v1/sync/status` says of the time left: people's changes do not wait for a batch's pace, a batch does."""

from __future__ import annotations

from support.company import Companies
from support.service import service_on
from support.town import a_town
from tagwarden.kernel import db
from tagwarden.kernel.embedded import EmbeddedUrls

FEW = [("ann", f"wmA{number:03d}", ()) for number in range(30)]


async def test_time_left_depends_on_who_changed_what(companies: Companies, simulator_url: str, database: EmbeddedUrls) -> None:
    async with a_town(companies, simulator_url, customers=FEW) as town, service_on(database.application) as service:
        web = service.web(town)

        async def said() -> float:
            return float((await web.get("admin", "/v1/sync/status")).json()["estimate_seconds"])

        assert await said() == 0.0
        for owner, customer, _ in FEW:
            await town.change(owner, customer, add=["advice/keen"])
        assert await said() < 10, "thirty of sixty slots a minute"
        await db.execute("update follow_sync set class = 'bulk' where corp_id = $1", town.corp_id)
        assert 25 < await said() < 40, "one a second"
        assert (await web.get("admin", "/v1/sync/ledger")).json()["estimate_seconds"] > 25
