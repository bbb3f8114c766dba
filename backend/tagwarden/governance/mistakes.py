"""What is wrong in a policy file, told to somebody who does not program: file, entry, and what to write instead.

Every mistake has a stable code and both languages. Pure; it finds no mistakes itself, it words them.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Iterable
from dataclasses import asdict, dataclass

from tagwarden.catalog.model import Choice
from tagwarden.identity.model import Module, RoleName
from tagwarden.kernel.errors import Invalid
from tagwarden.policy.model import Action, Effect, Kind, Reach


@dataclass(frozen=True, slots=True)
class Mistake:
    """`where` names the file, and the entry by number and name; `code` never changes."""

    code: str
    where: str
    zh: str
    en: str

    def said(self) -> str:
        """One line in both languages."""
        return f"[{self.code}] {self.where}：{self.zh} / {self.en}"


class BundleInvalid(Invalid):
    """`items` are all mistakes that were found, `where` and `why` the first of them."""

    code = "bundle_invalid"
    zh = "策略文件有误：{where}：{why_zh}"
    en = "The policy bundle is not valid: {where}: {why}"

    def __init__(self, *mistakes: Mistake, where: str = "", why: str = "") -> None:
        self.mistakes = mistakes or (Mistake("invalid", where, why, why),)
        first = self.mistakes[0]
        super().__init__(where=first.where, why=first.en, why_zh=first.zh, items=[asdict(one) for one in self.mistakes])


def _words(words: Iterable[str]) -> tuple[str, str]:
    listed = ", ".join(f'"{word}"' for word in words)
    return f"只能写其中之一：{listed}", f"one of {listed}"


def _list_of(words: Iterable[str], zh: str, en: str) -> tuple[str, str]:
    listed = ", ".join(f'"{word}"' for word in words)
    return f"{zh}，写在方括号里，可用：{listed}", f"{en} in square brackets, out of {listed}"


_HOURS = ("1 到 720 的整数，不加引号", "a whole number from 1 to 720, without quotes")
_FLAG = ("true 或 false，不加引号", "true or false, without quotes")
_NUMBERS = ("企业微信的部门编号，写在方括号里，如 [10, 12]", "WeCom's department ids in square brackets, like [10, 12]")

INSTEAD: dict[str, tuple[str, str]] = {
    "name": ("名称，加引号", "a name, in quotes"),
    "kind": _words(kind.value for kind in Kind if kind is not Kind.UNCLASSIFIED),
    "choice": _words(Choice),
    "userid": ("企业微信账号，加引号", "the WeCom userid, in quotes"),
    "roles": _list_of(RoleName, "角色", "roles"),
    "modules": _list_of(Module, "子管理员的模块", "a sub-admin's modules"),
    "department": ("企业微信的部门编号，整数，不加引号", "WeCom's id of the department, a whole number without quotes"),
    "group": ("标签组的名称，加引号", "the tag group's name, in quotes"),
    "action": _words(Action),
    "effect": _words(Effect),
    "inherit": _FLAG,
    "reach": _words(Reach),
    "asking_is_level1": _FLAG,
    "expires_after_days": ("1 到 90 的整数，不加引号", "a whole number from 1 to 90, without quotes"),
    "remind_after_hours": _HOURS,
    "escalate_after_hours": _HOURS,
    "level1_roles": _list_of((RoleName.MANAGER, RoleName.SUPERVISOR), "一级审批的角色", "roles that sign level 1"),
    "level2_departments": _NUMBERS,
    "departments": _NUMBERS,
    "leads": _NUMBERS,
    "id": ("企业微信的部门编号，整数，不加引号", "WeCom's id of the department, a whole number without quotes"),
    "parent": ("上级部门的编号，整数；最上级不写", "the id of the department above; left out at the top"),
    "active": _FLAG,
    "value": ("put_back 或 ask，加引号", "put_back or ask, in quotes"),
    "others": ("wecom 或 tagwarden，加引号", "wecom or tagwarden, in quotes"),
    "stop_above_percent": ("大于 0、不超过 100 的数字，不加引号", "a number above 0 and up to 100, without quotes"),
    "groups": (
        "长期价值标签组写 put_back 或 ask，其他标签组写 wecom 或 tagwarden，加引号",
        "put_back or ask for a value group, wecom or tagwarden for others, in quotes",
    ),
}
"""What to write into a field, in both languages."""


def not_toml(where: str, error: tomllib.TOMLDecodeError) -> Mistake:
    """The text cannot be read at all."""
    place = re.search(r"at line (\d+), column (\d+)", str(error))
    zh = f"第 {place[1]} 行第 {place[2]} 列写法有误" if place else "写法有误"
    return Mistake(
        "not_toml", where, f"{zh}，检查引号、方括号和等号（{error}）", f"not TOML, look at quotes and brackets: {error}"
    )


def misread(where: str, fields: Iterable[str], error: Exception) -> Mistake:
    """What msgspec says about an entry, as a sentence; `fields` are those the entry may have."""
    text, known = str(error), sorted(fields)
    if missing := re.search(r"missing required field `(\w+)`", text):
        zh, en = INSTEAD.get(missing[1], ("", ""))
        return Mistake("field_missing", where, f"缺少 {missing[1]}（{zh}）", f"{missing[1]} is missing: {en}")
    if unknown := re.search(r"unknown field `([^`]*)`", text):
        near_zh, near_en = nearest(unknown[1], known)
        zh = f"不认识 {unknown[1]}{near_zh}；这里可以写：{'、'.join(known)}"
        return Mistake("field_unknown", where, zh, f"{unknown[1]} is not known here{near_en}; there are {', '.join(known)}")
    return _wrong_value(where, text)


def _wrong_value(where: str, text: str) -> Mistake:
    path = re.search(r"at `(?:key in )?\$([^`]*)`", text)
    names = re.findall(r"\.(\w+)", path[1]) if path else []
    field = names[-1] if names else ""
    zh, en = INSTEAD.get(field, ("", ""))
    wrong = re.search(r"Invalid enum value (.+?)(?: - at|$)", text)
    said = f" {wrong[1]}" if wrong else ""
    if not zh:
        return Mistake("value_invalid", where, text, text)
    return Mistake("value_invalid", where, f"{field} 的值{said}不对，应为：{zh}", f"{field}{said} will not do: write {en}")


def nearest(word: str, known: Iterable[str]) -> tuple[str, str]:
    """Did you mean …, or nothing."""
    found = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return (f"，是不是“{found[0]}”", f", did you mean “{found[0]}”") if found else ("", "")


def two_brackets(where: str, key: str) -> Mistake:
    """A table where a list of tables stands."""
    return Mistake("two_brackets", where, f"每一条以 [[{key}]] 开头，两层方括号", f"write [[{key}]], with two brackets")


def only_here(where: str, keys: Iterable[str], found: str) -> Mistake:
    """Something else at the top of a file."""
    listed = ", ".join(f"[[{key}]]" for key in keys)
    near_zh, near_en = nearest(found, keys)
    zh = f"不认识 {found}{near_zh}；这个文件里只有 {listed}"
    return Mistake("entry_unknown", where, zh, f"{found} is not known{near_en}: only {listed} stands here")


def unknown_file(name: str, known: Iterable[str]) -> Mistake:
    """A file nobody reads."""
    files = sorted(known)
    zh, en = nearest(name, files)
    return Mistake(
        "file_unknown",
        name,
        f"不认识这个文件{zh}；策略文件是：{'、'.join(files)}",
        f"unknown file{en}; a bundle holds {', '.join(files)}",
    )


def stands_twice(where: str, id_: str) -> Mistake:
    """Two entries for one thing."""
    return Mistake("stands_twice", where, f"{id_} 写了两次，请合并成一条", f"{id_} stands twice; make one entry of them")


def deny_with_reach(where: str) -> Mistake:
    """A deny that names a reach."""
    return Mistake(
        "deny_has_no_reach",
        where,
        "禁止对所有客户生效，去掉 reach",
        "a deny forbids everywhere and has no reach; leave reach out",
    )


def group_unknown(where: str, name: str, known: Iterable[str]) -> Mistake:
    """The corp has no such tag group."""
    zh, en = nearest(name, known)
    return Mistake(
        "group_unknown",
        where,
        f"企业里没有标签组“{name}”{zh}；先在企业微信建好并 tagwarden import catalog",
        f"no such tag group “{name}”{en}; make it in WeCom first, then `tagwarden import catalog`",
    )


def employee_unknown(where: str, userid: str, known: Iterable[str]) -> Mistake:
    """The corp has no such employee."""
    zh, en = nearest(userid, known)
    return Mistake(
        "employee_unknown",
        where,
        f"企业里没有员工 {userid}{zh}；新员工先 tagwarden import org",
        f"no such employee {userid}{en}; after somebody joined, `tagwarden import org`",
    )
