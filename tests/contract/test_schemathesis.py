"""Schemathesis over the running service with the tokens of four roles: no 5xx and no answer the document does not name.

The requests are drawn from docs/openapi.json and are the same in every run. `TAGWARDEN_CONTRACT_EXAMPLES` (12 if it is
not set) says how many are drawn at random for each role and operation, beside those at the limits of every value.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import requests
import schemathesis
from schemathesis import checks
from schemathesis.generation.case import Case

from contract.hints import filled, hinted, ids_of
from support.company import Companies
from support.service import Service, bearer, token_for

EXAMPLES = int(os.environ.get("TAGWARDEN_CONTRACT_EXAMPLES", "12"))
ROLES = {"staff": "ann", "manager": "east", "supervisor": "hq", "admin": "admin"}
DOCUMENT = Path(__file__).parents[2] / "docs" / "openapi.json"
schema = schemathesis.openapi.from_dict(hinted(json.loads(DOCUMENT.read_text(encoding="utf-8"))))
schema.config.phases.coverage.unexpected_methods = set()  # test_edges.py asks for them
schema.config.checks.positive_data_acceptance.enabled = False  # well-formed is not yet allowed


@pytest.fixture(scope="module")
def session() -> Iterator[requests.Session]:
    with requests.Session() as one:
        one.trust_env = False
        yield one


@pytest.fixture(scope="module", params=list(ROLES))
async def somebody(request: pytest.FixtureRequest, companies: Companies) -> tuple[dict[str, str], dict[str, str]]:
    """The headers of one role, and the ids in a company of its own."""
    company = await companies.make()
    return bearer(token_for(company.corp_id, ROLES[request.param])), await ids_of(company)


@schema.parametrize()
@hypothesis.settings(max_examples=EXAMPLES, derandomize=True, deadline=None, database=None, suppress_health_check=list(hypothesis.HealthCheck))
def test_every_answer_is_in_the_document(
    case: Case, service: Service, session: requests.Session, somebody: tuple[dict[str, str], dict[str, str]]
) -> None:
    headers, ids = somebody
    case.path_parameters = filled(case.path_parameters, ids)
    case.query = filled(case.query, ids)
    case.body = filled(case.body, ids)
    case.call_and_validate(base_url=service.process.url, headers=headers, session=session)
