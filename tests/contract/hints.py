"""Makes generated requests meet things that exist.

Random ids find nothing, so every answer would be 404. The document that requests are drawn from therefore offers names
beside what it describes; before a request is sent, each name becomes the id it has in the company at hand.
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

LONGEST = 256

GROUPS = ("value", "activity", "advice")
TAGS = ("value/high", "value/mid", "activity/hot", "activity/warm", "advice/asked", "advice/keen")
APPROVALS = ("approval/1", "approval/2", "approval/3")
RUNS = ("run/1",)


def _placeholder(number: int) -> str:
    return str(UUID(int=(0xC0FFEE << 100) | (4 << 76) | (2 << 62) | number))


PLACEHOLDERS = {name: _placeholder(number) for number, name in enumerate((*GROUPS, *TAGS, *APPROVALS, *RUNS), 1)}


def _known(*names: str) -> list[Any]:
    return [PLACEHOLDERS[name] for name in names]


OFFERED: dict[str, list[Any]] = {
    "external_userid": ["c1", "c2", "c3", "c4"],
    "follow_userid": ["ann", "bob"],
    "owner": ["ann", "cat"],
    "userid": ["cat", "dan"],
    "department": [1, 10, 11],
    "group_id": _known(*GROUPS),
    "tag_id": _known(*TAGS),
    "tag": _known(*TAGS),
    "not_tag": _known(*TAGS),
    "add": _known(*TAGS),
    "remove": _known(*TAGS),
    "approval_id": _known(*APPROVALS),
    "run_id": _known(*RUNS),
    "If-Match": ["*", '"1"'],
}


def hinted(document: Json) -> Json:
    """A copy whose parameters and bodies also offer what exists; answers are left as they are."""
    drawn = copy.deepcopy(document)
    for item in drawn["paths"].values():
        for operation in item.values():
            for parameter in operation.get("parameters", []):
                parameter["schema"] = _offer(parameter["name"], _shorter(parameter["schema"]))
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
    if schema.get("type") == "array":
        return {**schema, "items": {"anyOf": [{"enum": OFFERED[name]}, schema["items"]]}}
    return {"anyOf": [{"enum": OFFERED[name]}, schema]}


async def ids_of(company: Company) -> dict[str, str]:
    """Placeholder → id in this company, after three people asked for a value tag each."""
    found = {PLACEHOLDERS[name]: str(company.groups[name]) for name in GROUPS}
    found |= {PLACEHOLDERS[name]: str(company.tags[name]) for name in TAGS}
    asked = (("ann", "c1"), ("bob", "c2"), ("cat", "c3"))
    for name, (userid, customer) in zip(APPROVALS, asked, strict=True):
        found[PLACEHOLDERS[name]] = str((await company.change(userid, customer, ["value/low"])).approval_id)
    found[PLACEHOLDERS["run/1"]] = str(new_id())
    return found


def filled(value: Any, ids: dict[str, str]) -> Any:
    """The same with every placeholder replaced."""
    if isinstance(value, dict):
        return {name: filled(one, ids) for name, one in value.items()}
    if isinstance(value, list):
        return [filled(one, ids) for one in value]
    return ids.get(value, value) if isinstance(value, str) else value
