"""What the document promises about requests nobody should send: named here one by one, each with its own answer."""

from __future__ import annotations

import base64

import pytest

from support.company import Company
from support.service import Service, check_problem

NUL = "a%00b"


def _cursor(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


@pytest.mark.parametrize(
    "path",
    [
        f"/v1/customers?q={NUL}",
        f"/v1/customers?cursor={_cursor(chr(0))}",
        f"/v1/customers/{NUL}",
        f"/v1/customers/{NUL}/tags",
        f"/v1/customers/{NUL}/history",
    ],
)
async def test_a_nul_in_an_address_is_no_mistake_of_ours(company: Company, service: Service, path: str) -> None:
    response = await service.web(company).get("hq", path)
    assert response.status_code in (400, 404, 422), response.text


async def test_a_nul_in_a_callback_is_no_mistake_of_ours(service: Service) -> None:
    path = f"/callbacks/wecom/{NUL}/crm?msg_signature=a&timestamp=1&nonce=c&echostr=d"
    assert (await service.http.get(path)).status_code in (401, 422)


@pytest.mark.parametrize(
    ("userid", "path", "body"),
    [
        ("ann", f"/v1/customers/{NUL}/tag-changes", {"add": ["{asked}"]}),
        ("ann", "/v1/customers/c1/tag-changes", {"add": ["{high}"], "reason": "\0"}),
        ("admin", "/v1/tag-groups", {"name": "fresh", "kind": "standard", "description": "\0"}),
        ("admin", "/v1/tag-groups/{advice}/tags", {"name": "fresh", "meaning": "\0"}),
        ("ann", "/v1/decisions", {"group_id": "{advice}", "action": "use", "external_userid": "\0"}),
    ],
)
async def test_a_nul_in_a_body_is_no_mistake_of_ours(
    company: Company, service: Service, userid: str, path: str, body: dict[str, object]
) -> None:
    names = {
        "{asked}": str(company.tags["advice/asked"]),
        "{high}": str(company.tags["value/high"]),
        "{advice}": str(company.groups["advice"]),
    }
    sent = {
        key: [names[one] for one in value] if isinstance(value, list) else names.get(str(value), value)
        for key, value in body.items()
    }
    response = await service.http.post(
        path.replace("{advice}", names["{advice}"]), json=sent, headers=service.web(company).headers(userid)
    )
    assert response.status_code in (404, 422), response.text


async def test_a_large_agent_id_is_refused(company: Company, service: Service) -> None:
    body = {"secret": "a secret of the app", "agent_id": 2**63}
    response = await service.http.put("/v1/corp/credentials/crm", json=body, headers=service.web(company).headers("admin"))
    check_problem(response, 422)


@pytest.mark.parametrize("text", ["abc", "9" * 30])
async def test_a_foreign_cursor_of_the_audit_is_refused(company: Company, service: Service, text: str) -> None:
    response = await service.web(company).get("admin", f"/v1/audit?cursor={_cursor(text)}")
    check_problem(response, 400, "cursor_invalid")


async def test_a_moment_after_the_last_one_is_refused(company: Company, service: Service) -> None:
    response = await service.web(company).get("ann", "/v1/customers/c1/history?as_of=9999-12-31T23:59:59-23:00")
    check_problem(response, 422)


async def test_what_may_be_asked_without_a_token(service: Service) -> None:
    for path in ("/schema", "/schema/openapi.json", "/health/live", "/health/ready"):
        assert (await service.http.get(path)).status_code == 200, path
