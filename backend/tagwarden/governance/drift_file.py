"""`drift.toml` of a policy bundle: what becomes of tags changed inside WeCom. Pure; knows no database.

People name groups, revisions keep their ids. What a rule then means says `policy/drift.py`.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec

from tagwarden.governance import mistakes
from tagwarden.governance.mistakes import BundleInvalid
from tagwarden.policy.drift import read_drift

FILE = "drift.toml"


class _Drift(msgspec.Struct, forbid_unknown_fields=True):
    value: Literal["put_back", "ask"] = "put_back"
    others: Literal["wecom", "tagwarden"] = "wecom"
    stop_above_percent: Annotated[float, msgspec.Meta(gt=0, le=100)] = 1.0
    groups: dict[str, Literal["put_back", "ask", "wecom", "tagwarden"]] = {}


def read(text: str) -> dict[str, Any]:
    """The file as content of a revision, groups still by name; BundleInvalid."""
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise BundleInvalid(mistakes.not_toml(FILE, error)) from error
    return content(table, FILE)


def content(table: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The rule in the one form in which a revision keeps it, whole; BundleInvalid naming `where`."""
    try:
        return dict(msgspec.to_builtins(msgspec.convert(table, _Drift)))
    except msgspec.ValidationError as error:
        raise BundleInvalid(mistakes.misread(where, _Drift.__struct_fields__, error)) from error


def by_id(drift: Mapping[str, Any], ids: Mapping[str, str]) -> dict[str, Any]:
    """The same with groups by id; that each is there was seen before (`differing.require_known`)."""
    return {**drift, "groups": {ids[name]: rule for name, rule in sorted(drift.get("groups", {}).items())}}


def by_name(drift: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    """What a revision says of the groups there are, by name; of groups that are gone it says nothing any more."""
    rules = read_drift(drift)
    return {
        "value": rules.value.value,
        "others": rules.others.value,
        "stop_above_percent": rules.stop_above_percent,
        "groups": {names[id_]: rule.value for id_, rule in rules.groups.items() if id_ in names},
    }


def said(drift: Mapping[str, Any]) -> dict[str, Any]:
    """Field by field: `value`, `others`, `stop_above_percent`, `groups.NAME`."""
    fields = {name: value for name, value in drift.items() if name != "groups"}
    return fields | {f"groups.{name}": rule for name, rule in drift.get("groups", {}).items()}
