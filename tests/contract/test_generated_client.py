"""openapi-python-client makes a client of the document without a warning, and the client plays the story's first steps."""

from __future__ import annotations

import contextlib
import importlib
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, Self

import pytest

from contract.hints import FROZEN
from support.company import Company
from support.service import Service, token_for

Load = Callable[[str], ModuleType]
GENERATE = (sys.executable, "-m", "openapi_python_client", "generate", "--meta", "none", "--fail-on-warning")


@pytest.fixture(scope="module")
def load(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Load]:
    """Imports a module of the client that was just generated."""
    folder = tmp_path_factory.mktemp("client")
    package = folder / "generated_tagwarden"
    env = {**os.environ, "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])}
    made = subprocess.run(
        [*GENERATE, "--path", str(FROZEN), "--output-path", str(package)], env=env, cwd=folder, capture_output=True, text=True
    )
    said = made.stdout + made.stderr
    assert made.returncode == 0, said
    assert "warning" not in said.lower(), said
    sys.path.insert(0, str(folder))
    try:
        yield lambda name: importlib.import_module(f"{package.name}.{name}")
    finally:
        sys.path.remove(str(folder))


class Person:
    """One person with the generated client."""

    def __init__(self, load: Load, service: Service, company: Company, userid: str) -> None:
        self._load = load
        self._client = load("client").AuthenticatedClient(
            base_url=service.process.url, token=token_for(company.corp_id, userid), httpx_args={"trust_env": False}
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.get_async_httpx_client().aclose()

    async def does(self, operation: str, *args: Any, **more: Any) -> Any:
        """Calls one operation, named `tag.operation_id`."""
        return await self._load(f"api.{operation}").asyncio_detailed(*args, client=self._client, **more)


People = dict[str, Person]


@pytest.fixture
async def people(load: Load, company: Company, service: Service) -> AsyncIterator[People]:
    async with contextlib.AsyncExitStack() as stack:
        yield {one: await stack.enter_async_context(Person(load, service, company, one)) for one in ("ann", "east", "hq")}


async def test_the_first_steps_of_the_story(load: Load, people: People) -> None:
    ann, east, hq = people["ann"], people["east"], people["hq"]
    models = load("models")

    me = (await ann.does("identity.get_me")).parsed
    assert isinstance(me, models.Me)
    assert (me.userid, me.roles) == ("ann", ["staff"])

    groups = {group.name: group for group in (await ann.does("catalog.list_tag_groups")).parsed.items}
    assert {name: group.kind for name, group in groups.items()}["value"] == "value"
    tags = {tag.name: tag.id for group in groups.values() for tag in group.tags}

    applied = await ann.does("customers.change_customer_tags", "c1", body=models.TagChangeIn(add=[tags["hot"]]))
    assert (applied.status_code, applied.parsed.outcome) == (200, "applied")
    assert [(item.tag_id, item.op) for item in applied.parsed.items] == [(tags["hot"], "add")]

    change = models.TagChangeIn(add=[tags["high"]], reason="highest spend")
    held = await ann.does("customers.change_customer_tags", "c1", body=change, idempotency_key="once")
    assert (held.status_code, held.parsed.outcome) == (202, "pending_approval")
    again = await ann.does("customers.change_customer_tags", "c1", body=change, idempotency_key="once")
    assert again.parsed.approval_id == held.parsed.approval_id

    states = [await _signs(person, models, held.parsed.approval_id) for person in (east, hq)]
    assert states == ["pending_level2", "applied"]
    carried = (await ann.does("customers.get_customer_tags", "c1")).parsed
    assert {tag.tag for tag in carried.follows[0].tags} == {"hot", "high"}


async def test_a_refusal_is_a_problem_with_a_code(load: Load, company: Company, people: People) -> None:
    ann = people["ann"]
    refused = await ann.does(
        "customers.change_customer_tags", "c2", body=load("models").TagChangeIn(add=[company.tags["activity/hot"]])
    )
    assert isinstance(refused.parsed, load("models").Problem)
    assert (refused.parsed.status, refused.parsed.code) == (403, "tag_change_refused")
    unsigned = await ann.does("approvals.get_approval", company.tags["value/high"])
    assert (unsigned.status_code, unsigned.parsed.code) == (404, "approval_unknown")


async def _signs(person: Person, models: ModuleType, approval_id: Any) -> str:
    """Reads, then signs what was read; an older ETag is refused."""
    read = await person.does("approvals.get_approval", approval_id)
    verdict = models.DecisionIn(verdict=models.DecisionInVerdict.APPROVE)
    without = await person.does("approvals.decide_approval", approval_id, body=verdict)
    outdated = await person.does("approvals.decide_approval", approval_id, body=verdict, if_match='"another"')
    assert (without.status_code, outdated.status_code) == (428, 412)
    signed = await person.does("approvals.decide_approval", approval_id, body=verdict, if_match=read.headers["etag"])
    assert signed.headers["etag"] != read.headers["etag"]
    return str(signed.parsed.approval.state)
