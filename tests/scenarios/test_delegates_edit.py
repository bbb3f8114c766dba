"""Who edits in whose name: a delegate is everybody he stands in for, and none of them signs what he made of a request."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from support.company import Companies
from support.desk import CROWD, Desk
from support.service import Service, check_problem

LEADERS = {**CROWD, "other": (11, True, ("manager",))}


async def test_who_edits_for_two_bars_both(companies: Companies, service: Service) -> None:
    """Shanghai has two leaders, and one manager stands in for either."""
    desk = Desk.of(service, await companies.make(people=LEADERS))
    until = (datetime.now(UTC) + timedelta(days=5)).isoformat()
    for away in ("lead", "other"):
        assert (await desk.delegate(away, "deputy", until)).status_code == 201
    asked = await desk.ask()
    shown = (await desk.edit("deputy", asked, add=["value/mid"])).json()
    assert shown["approval"]["level1"] == ["east"]
    for one in ("deputy", "lead", "other"):
        check_problem(await desk.web.sign(one, asked), 403, "not_a_signer")
    assert await desk.signed(asked, "east", "hq") == "applied"
