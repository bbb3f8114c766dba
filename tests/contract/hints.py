"""Makes generated requests meet things that exist.

Random ids find nothing, so every answer would be 404. The document that requests are drawn from therefore names ids of
one company where any would do; before a request is sent, each name becomes the id it has in the company at hand.
"""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any
from uuid import UUID

from support.company import Company
from tagwarden.kernel.ids import new_id

Json = dict[str, Any]

FROZEN = Path(__file__).parents[2] / "docs" / "openapi.json"
DOCUMENT: Json = json.loads(FROZEN.read_text(encoding="utf-8"))

LONGEST = 4096
DEMAND = "Tagwarden-Epoch-At-Least"

GROUPS = ("value", "activity", "advice")
TAGS = ("value/high", "value/mid", "activity/hot", "activity/warm", "advice/asked", "advice/keen")
APPROVALS = ("approval/1", "approval/2", "approval/3")
RUNS = ("run/1",)


def _placeholder(number: int) -> str:
    return str(UUID(int=(0xC0FFEE << 100) | (4 << 76) | (2 << 62) | number))


PLACEHOLDERS = {name: _placeholder(number) for number, name in enumerate((*GROUPS, *TAGS, *APPROVALS, *RUNS), 1)}


def _known(*names: str) -> list[Any]:
    return [PLACEHOLDERS[name] for name in names]


UNKNOWN = "01a20038-5f1d-72b0-bcf7-4960a4e25a74"
NOBODY = "x" * 64

OFFERED: dict[str, list[Any]] = {
    "external_userid": ["c1", "c2", NOBODY],
    "follow_userid": ["ann", "bob"],
    "owner": ["ann", "cat", NOBODY],
    "userid": ["cat", "dan", NOBODY],
    "department": [1, 10, 11, -1],
    "group_id": [*_known(*GROUPS), UNKNOWN],
    "tag_id": [*_known(*TAGS), UNKNOWN],
    "parent_id": [*_known(*TAGS), UNKNOWN],
    "tag": [*_known(*TAGS), UNKNOWN],
    "not_tag": [*_known(*TAGS), UNKNOWN],
    "add": _known(*TAGS),
    "remove": [*_known(*TAGS), UNKNOWN],
    "approval_id": [*_known(*APPROVALS), UNKNOWN],
    "run_id": _known(*RUNS),
    "name": ["fresh", "新标签", "a/b", "value", "asked"],
    "If-Match": ["*", '"1"'],
    "group_ids": [*_known(*GROUPS), UNKNOWN],
    "customers": ["c1", "c2", NOBODY],
}


BESIDE_OTHERS = {"owner", "userid", "department", "name", "If-Match"}
"""Here any other value would do as well; an id that is not offered is not found."""


def hinted(document: Json) -> Json:
    """A copy whose parameters and bodies offer what exists, and one that does not; answers are left as they are."""
    drawn = copy.deepcopy(document)
    for path, item in drawn["paths"].items():
        for operation in item.values():
            # A demanded epoch is read in one place; drawn everywhere, most requests would end there.
            taken = [one for one in operation.get("parameters", []) if one["name"] != DEMAND or path == "/v1/me"]
            operation["parameters"] = taken
            for parameter in taken:
                shorter = _shorter(parameter["schema"])
                # A filter of the ledger finds nothing rather than refusing: any text will do.
                parameter["schema"] = shorter if path == "/v1/sync/ledger" else _offer(parameter["name"], shorter)
    for name, schema in drawn["components"]["schemas"].items():
        if schema.get("additionalProperties") is False:
            properties = schema["properties"]
            drawn["components"]["schemas"][name]["properties"] = {one: _offer(one, properties[one]) for one in properties}
    return drawn


def _shorter(schema: Json) -> Json:
    """An address above 64 KiB is refused by the web server before the application sees it."""
    return {**schema, "maxLength": min(schema["maxLength"], LONGEST)} if "maxLength" in schema else schema


def _offer(name: str, schema: Json) -> Json:
    if name not in OFFERED:
        return schema
    if name in BESIDE_OTHERS:
        return {"anyOf": [{"enum": OFFERED[name]}, schema]}
    if schema.get("type") == "array":
        return {**schema, "items": {"enum": OFFERED[name]}}
    return {"enum": [*OFFERED[name], None] if "null" in schema["type"] else OFFERED[name]}


async def ids_of(company: Company) -> dict[str, str]:
    """Placeholder → id in this company, after three people asked for a value tag each."""
    found = {PLACEHOLDERS[name]: str(company.groups[name]) for name in GROUPS}
    found |= {PLACEHOLDERS[name]: str(company.tags[name]) for name in TAGS}
    asked = (("ann", "c1"), ("bob", "c2"), ("cat", "c3"))
    for name, (userid, customer) in zip(APPROVALS, asked, strict=True):
        found[PLACEHOLDERS[name]] = str((await company.change(userid, customer, ["value/low"])).approval_id)
    found[PLACEHOLDERS["run/1"]] = str(new_id())
    return found


def filled(sent: Any, ids: dict[str, str]) -> Any:
    """An address, its parameters or a body as they are sent: with every placeholder replaced."""
    if isinstance(sent, dict):
        return {name: filled(one, ids) for name, one in sent.items()}
    if isinstance(sent, list):
        return [filled(one, ids) for one in sent]
    if not isinstance(sent, str):
        return sent
    for placeholder, known in ids.items():
        sent = sent.replace(placeholder, known)
    return sent
