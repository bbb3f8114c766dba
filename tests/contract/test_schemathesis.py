"""Schemathesis over the running service with the tokens of four roles: no 5xx and no answer the document does not name.

Requests are drawn from docs/openapi.json, and are the same in every run. Each is either at the limits of a value or
random. `TAGWARDEN_CONTRACT_EXAMPLES` (5 where it is not set) says how many random ones there are for each role and
operation; where it is set, every role also sends those at the limits, else the two ends of the ladder do.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.generation.case import Case
from schemathesis.schemas import BaseSchema

from contract.hints import DOCUMENT, Json, filled, hinted, ids_of
from support.company import Companies
from support.service import Service, bearer, token_for

ASKED = os.environ.get("TAGWARDEN_CONTRACT_EXAMPLES")
TRUTHS = {"needs_grant", "inherit", "unset", "rebase", "partial", "may_sign"}
ROLES = {"staff": "ann", "manager": "east", "supervisor": "hq", "admin": "admin"}
Actor = tuple[dict[str, str], dict[str, str]]

bounded = settings(
    max_examples=int(ASKED or 5), derandomize=True, database=None, deadline=None, suppress_health_check=list(HealthCheck)
)


def requests_of(phase: str) -> BaseSchema:
    """The document as a source of requests of one phase.

    Left to test_edges.py: methods nobody offers, and the character U+0000; to test_document.py: requests without a token.
    Not looked at: whether a well-formed request is also allowed.
    """
    schema = schemathesis.openapi.from_dict(hinted(DOCUMENT))
    schema.config.phases.update(phases=[phase])
    schema.config.phases.coverage.unexpected_methods = set()
    schema.config.generation.update(allow_x00=False, deterministic=True)
    schema.config.checks.positive_data_acceptance.enabled = False
    schema.config.checks.ignored_auth.enabled = False
    return schema


limits, random = requests_of("coverage"), requests_of("fuzzing")


@pytest.fixture(scope="module")
def session() -> Iterator[requests.Session]:
    with requests.Session() as one:
        one.trust_env = False
        yield one


@pytest.fixture(scope="module", params=ROLES if ASKED else ["staff", "admin"])
async def either_end(request: pytest.FixtureRequest, companies: Companies) -> Actor:
    return await _actor(companies, request.param)


@pytest.fixture(scope="module", params=ROLES)
async def anybody(request: pytest.FixtureRequest, companies: Companies) -> Actor:
    return await _actor(companies, request.param)


async def _actor(companies: Companies, role: str) -> Actor:
    """The headers of one role, and the ids in a company of its own."""
    company = await companies.make()
    return bearer(token_for(company.corp_id, ROLES[role])), await ids_of(company)


@limits.parametrize()
@bounded
def test_values_at_their_limits(case: Case, service: Service, session: requests.Session, either_end: Actor) -> None:
    check(case, service, session, either_end)


@random.parametrize()
@bounded
def test_values_at_random(case: Case, service: Service, session: requests.Session, anybody: Actor) -> None:
    check(case, service, session, anybody)


def check(case: Case, service: Service, session: requests.Session, actor: Actor) -> None:
    """Sends one request and holds the answer against the document."""
    headers, ids = actor
    if _lenient(case.query) or _number_for_truth(case.body):
        return
    drawn = case.as_transport_kwargs(base_url=service.process.url, headers=headers)
    sent = {name: filled(drawn[name], ids) for name in ("url", "params", "json") if name in drawn}
    case.validate_response(session.request(**{**drawn, **sent}, timeout=30))


def _lenient(query: Json) -> bool:
    """What is taken although the document says otherwise: the word `null`, a number for a moment (test_edges.py), and a
    parameter that nobody reads (app/test_route_rights.py)."""
    if any(name.startswith("x-schemathesis-unknown") for name in query):
        return True
    if any(
        not isinstance(value, str) or value in ("true", "false") for name, value in query.items() if name == "external_userid"
    ):
        return True  # in an address everything is text, and any text may be somebody's id
    values: list[Any] = [one for value in query.values() for one in (value if isinstance(value, list) else [value])]
    return None in values or "null" in values or any(_number(query.get(name)) for name in ("as_of", "since"))


def _number_for_truth(body: Any) -> bool:
    """0 and 1 are taken for false and true."""
    if isinstance(body, list):
        return any(_number_for_truth(one) for one in body)
    if not isinstance(body, dict):
        return False
    return any((name in TRUTHS and type(one) is not bool) or _number_for_truth(one) for name, one in body.items())


def _number(value: object) -> bool:
    try:
        float(str(value))
    except ValueError:
        return False
    return True
