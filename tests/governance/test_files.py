"""Policies as files against a corp: an export is stable and changes nothing, a diff tells what an application does."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from app import routes
from support.company import GRANTS, GROUPS, PEOPLE, Companies, Company, GrantLine, Kind, Reach, arrange, bundle_of
from support.servers import as_operator, tried
from support.service import token_for
from tagwarden.catalog.service import GroupChange, change_group
from tagwarden.governance import files, publishing
from tagwarden.governance.bundle import FILES, Bundle, BundleInvalid, read_bundle
from tagwarden.governance.differing import Plan
from tagwarden.governance.operator import default_texts
from tagwarden.identity.model import ModuleMissing
from tagwarden.kernel import db
from tagwarden.kernel.embedded import EmbeddedUrls
from tagwarden.policy.model import Action, Effect

RULES: dict[str, Any] = {
    "asking_is_level1": False,
    "expires_after_days": 5,
    "level1_roles": ["supervisor", "manager"],
    "level2_departments": [1],
    "protected": {"expires_after_days": 9, "asking_is_level1": True},
    "kinds": {"adopt_marks": {"expires_after_days": 30}, 'odd " name\n[x]': {"level1_roles": ["supervisor"]}},
}
ODD = (
    GrantLine(12, "advice", Action.USE, Effect.DENY, inherit=False),
    GrantLine(10, "advice", Action.MANAGE),
    GrantLine(1, "value", Action.VIEW, reach=Reach.CORP, inherit=False),
    GrantLine(999, "advice", Action.USE, reach=Reach.OWN),
)


def as_bundle(texts: dict[str, str]) -> Bundle:
    return read_bundle(texts, default_texts())


async def lines(company: Company) -> int:
    return int(await db.fetch_value("select seq from audit_head where corp_id = $1", company.corp_id))


async def epoch(company: Company) -> int:
    return int(await db.fetch_value("select epoch from corp_epoch where corp_id = $1", company.corp_id))


async def apply(company: Company, bundle: Bundle, userid: str = "admin", **more: Any) -> files.Applied:
    return await files.apply_folder(company.as_(userid), bundle, "a note", **more)


async def diff(company: Company, bundle: Bundle) -> Plan:
    return await files.diff_bundle(company.as_("admin"), bundle)


def told(plan: Plan) -> list[tuple[str, str, str, bool]]:
    return [(one.part, one.change, one.what, one.held) for one in plan.changes]


@pytest.fixture
async def setup(companies: Companies) -> Company:
    """A company in setup, with rows, rules and names of every sort."""
    company = await companies.make(live=False, customers=())
    bundle = replace(bundle_of(PEOPLE, GROUPS, (*GRANTS, *ODD)), approvals=RULES)
    await publishing.apply_bundle(company.as_("admin"), bundle, "odd")
    return company


async def test_an_export_that_is_applied_changes_nothing(setup: Company, owner_sql: asyncpg.Connection) -> None:
    admin = setup.as_("admin")
    first = await files.export_bundle(admin)
    before = await routes.contents(owner_sql, setup.corp_id), await lines(setup)
    bundle = as_bundle(first)
    assert (await diff(setup, bundle)).empty
    assert (await apply(setup, bundle)).done is None
    done = await publishing.apply_bundle(admin, bundle, "the whole way")
    assert (done.revision, done.approvals) == (3, [])
    after = await routes.contents(owner_sql, setup.corp_id), await lines(setup)
    moved = {name for name in before[0] if before[0][name] != after[0][name]}
    assert moved == {"corp_epoch"}, "the command itself moves the epoch and writes nothing else"
    assert before[1] == after[1]
    assert await files.export_bundle(admin) == first


async def test_applying_an_export_leaves_the_epoch(setup: Company) -> None:
    bundle = as_bundle(await files.export_bundle(setup.as_("admin")))
    before = await epoch(setup)
    await apply(setup, bundle)
    assert await epoch(setup) == before


async def test_an_export_has_the_same_bytes_in_another_corp(setup: Company, companies: Companies) -> None:
    first = await files.export_bundle(setup.as_("admin"))
    other = await companies.make(live=False, customers=())
    await publishing.apply_bundle(other.as_("admin"), as_bundle(first), "as exported")
    assert await files.export_bundle(other.as_("admin")) == first


async def test_names_never_become_entries(setup: Company) -> None:
    evil = '总部\n[[grant]]\ndepartment = 1\ngroup = "value"\naction = "use"\u2028\u202e\x7f"'
    await arrange(setup.corp_id, "update department set name = $2 where corp_id = $1 and id = 10", setup.corp_id, evil)
    await arrange(setup.corp_id, "update tag_group set name = $2 where corp_id = $1 and name = 'advice'", setup.corp_id, evil)
    bundle = as_bundle(await files.export_bundle(setup.as_("admin")))
    assert len(bundle.grants) == len(GRANTS) + len(ODD)
    assert {line.name for line in bundle.groups} == {"value", "activity", evil}
    assert (await diff(setup, bundle)).empty


async def test_a_renamed_group_is_the_same_row(company: Company) -> None:
    admin = company.as_("admin")
    await company.own_library()
    await change_group(admin, company.groups["advice"], GroupChange(name="counsel"), "*")
    bundle = as_bundle(await files.export_bundle(admin))
    assert {grant.group for grant in bundle.grants} == {"value", "activity", "counsel"}
    assert (await diff(company, bundle)).empty
    more = replace(bundle, grants=(*bundle.grants, GrantLine(1, "counsel", Action.VIEW)))
    assert [(one.change, one.what) for one in (await diff(company, more)).changes] == [("added", "1(HQ) counsel view allow")]
    done = await apply(company, more)
    assert done.done is not None
    ids = await db.fetch(
        "select id from policy_grant where corp_id = $1 and revision = $2 order by id", company.corp_id, done.done.revision
    )
    assert {row["id"] for row in ids} > {"10:advice:use"}, "rows keep the ids that decisions were recorded under"


async def test_rows_of_a_deleted_group_are_neither_exported_nor_a_difference(company: Company) -> None:
    sql = "update tag_group set deleted_at = now() where corp_id = $1 and name = 'advice'"
    await arrange(company.corp_id, sql, company.corp_id)
    bundle = as_bundle(await files.export_bundle(company.as_("admin")))
    assert {grant.group for grant in bundle.grants} == {"value", "activity"}
    assert (await diff(company, bundle)).empty


async def test_the_same_said_otherwise_is_no_difference(company: Company) -> None:
    plain = bundle_of(PEOPLE, GROUPS, GRANTS)
    explicit = {**plain.approvals, "level1_roles": ["supervisor", "manager"], "level2_departments": []}
    shuffled = replace(plain, approvals=explicit, capabilities=plain.capabilities[::-1], grants=plain.grants[::-1])
    assert (await diff(company, shuffled)).empty


async def test_a_diff_names_every_part_and_what_would_be_held(company: Company) -> None:
    people = {**PEOPLE, "ann": (11, False, ("staff", "manager")), "bob": (11, False, ("staff", "auditor"))}
    kinds = {**GROUPS, "advice": (Kind.VALUE, GROUPS["advice"][1], ()), "activity": (Kind.STANDARD, GROUPS["activity"][1], ())}
    grants = (*GRANTS[:-1], GrantLine(10, "advice", Action.VIEW), GrantLine(21, "value", Action.USE))
    plain = bundle_of(people, kinds, grants)
    bundle = replace(plain, approvals={**plain.approvals, "expires_after_days": 9})
    plan = await diff(company, bundle)
    assert told(plan) == [
        ("groups", "changed", "activity", False),
        ("groups", "changed", "advice", True),
        ("people", "changed", "ann", True),
        ("people", "changed", "bob", False),
        ("grants", "added", "10(East) advice view allow", True),
        ("grants", "removed", "20(South) advice use allow", True),
        ("grants", "added", "21(Shenzhen) value use allow", True),
        ("chain", "changed", "expires_after_days", True),
    ]
    assert plan.loosens == ("grants",)
    done = (await apply(company, bundle)).done
    assert done is not None
    assert (done.revision, len(done.approvals)) == (None, 3), "what the diff calls held is what waits"
    rest = await diff(company, bundle)
    assert {one.part for one in rest.changes if not one.held} == set()


async def test_a_diff_in_setup_holds_nothing(setup: Company) -> None:
    plan = await diff(setup, bundle_of({"ann": (11, False, ("manager",))}, {}, (GrantLine(21, "value", Action.USE),)))
    assert plan.changes
    assert plan.held == 0


async def test_a_rehearsal_does_everything_and_leaves_nothing(company: Company, owner_sql: asyncpg.Connection) -> None:
    people = {"ann": (11, False, ("manager",)), "bob": (11, False, ("staff", "auditor"))}
    bundle = bundle_of(
        people, {"activity": (Kind.STANDARD, GROUPS["activity"][1], ())}, (*GRANTS, GrantLine(21, "value", Action.USE))
    )
    before = await routes.contents(owner_sql, company.corp_id), await lines(company)
    rehearsed = await apply(company, bundle, dry=True, take_source=True)
    assert rehearsed.done is not None
    assert len(rehearsed.done.approvals) == 2
    assert (await routes.contents(owner_sql, company.corp_id), await lines(company)) == before
    done = (await apply(company, bundle, take_source=True)).done
    assert done is not None
    assert len(done.approvals) == 2


async def test_a_rehearsal_fails_as_the_application_would(company: Company, owner_sql: asyncpg.Connection) -> None:
    before = await routes.contents(owner_sql, company.corp_id)
    bundle = bundle_of({"admin": (1, False, ("staff",))}, {}, GRANTS)
    for dry in (True, False):
        with pytest.raises(Exception, match="last admin"):
            await apply(company, bundle, dry=dry)
    for dry in (True, False):
        with pytest.raises(ModuleMissing):
            await apply(company, bundle_of({}, {}, GRANTS[:1]), "ann", dry=dry)
    assert await routes.contents(owner_sql, company.corp_id) == before


async def test_unknown_names_are_told_all_at_once(company: Company) -> None:
    grants = (*GRANTS, GrantLine(10, "advise", Action.VIEW))
    bundle = bundle_of({"anne": (1, False, ("staff",))}, {"valu": GROUPS["value"]}, grants)
    for attempt in (diff(company, bundle), apply(company, bundle), apply(company, bundle, dry=True)):
        with pytest.raises(BundleInvalid) as refused:
            await attempt
        said = [(one.code, one.where) for one in refused.value.mistakes]
        assert said == [
            ("group_unknown", "groups.toml #1: valu"),
            ("employee_unknown", "people.toml #1: anne"),
            ("group_unknown", "grants.toml #7: 10:advise:view"),
        ]
        assert "advice" in refused.value.mistakes[2].zh, "did you mean"


@pytest.mark.parametrize("userid", ["ann", "east", "boss"])
async def test_who_may_not_read_may_not_export(company: Company, userid: str) -> None:
    for use in (files.export_bundle(company.as_(userid)), files.diff_bundle(company.as_(userid), bundle_of({}, {}, ()))):
        with pytest.raises(ModuleMissing):
            await use


async def test_auditors_export_and_apply_nothing(company: Company) -> None:
    texts = await files.export_bundle(company.as_("auditor"))
    with pytest.raises(ModuleMissing):
        await apply(company, as_bundle(texts), "auditor")


# -- the command line ---------------------------------------------------------------------------------------------------


class Line:
    """`tagwarden policy …` of somebody, in a folder."""

    def __init__(self, company: Company, urls: EmbeddedUrls, folder: Path) -> None:
        self.company, self.env, self.folder = company, as_operator(urls), folder

    async def run(self, *words: str, userid: str = "admin") -> tuple[int, str]:
        env = {**self.env, "TAGWARDEN_TOKEN": token_for(self.company.corp_id, userid)}
        return await tried(env, "policy", *words)


@pytest.fixture
def line(company: Company, database: EmbeddedUrls, tmp_path: Path) -> Line:
    return Line(company, database, tmp_path / "bundle")


async def test_export_diff_edit_apply_by_hand(line: Line) -> None:
    folder = str(line.folder)
    code, said = await line.run("export", folder, "--organisation")
    assert (code, "grants.toml" in said) == (0, True), said
    names = {path.name for path in line.folder.iterdir()}
    assert names == {*FILES, "organisation.toml"}
    assert await line.run("diff", folder) == (0, "没有差别 / no differences\n")
    assert (await line.run("apply", folder))[1].startswith("没有差别")
    assert (await line.run("export", folder))[1] == "没有变化\n"
    grants = line.folder / "grants.toml"
    grants.write_text(grants.read_text() + '\n[[grant]]\ndepartment = 11\ngroup = "advice"\naction = "manage"\n')
    code, said = await line.run("diff", folder)
    assert (code, "+ 11(Shanghai) advice manage allow" in said) == (3, True), said
    code, said = await line.run("diff", folder, "--json")
    assert (code, json.loads(said)["changes"][0]["what"]) == (3, "11(Shanghai) advice manage allow")
    code, said = await line.run("apply", folder, "--dry-run", "--note", "more")
    assert (code, "未写入" in said) == (0, True), said
    assert (await line.run("diff", folder))[0] == 3
    code, said = await line.run("apply", folder, "--note", "more")
    assert (code, "策略第 3 版" in said) == (0, True), said
    assert (await line.run("diff", folder))[0] == 0
    code, said = await line.run("export")
    assert code == 0
    assert "# ======== grants.toml ========" in said


async def test_an_export_never_writes_over_what_somebody_wrote(line: Line) -> None:
    line.folder.mkdir()
    (line.folder / "grants.toml").write_text("# mine\n")
    code, said = await line.run("export", str(line.folder))
    assert (code, "[written_by_hand]" in said) == (1, True), said
    assert [path.name for path in line.folder.iterdir()] == ["grants.toml"]
    assert (await line.run("export", str(line.folder), "--force"))[0] == 0


async def test_lint_against_the_corp_and_offline(line: Line) -> None:
    folder = str(line.folder)
    await line.run("export", folder, "--organisation")
    code, said = await line.run("lint", folder, "--strict")
    assert (code, "[department_without_group]" in said) == (1, True), said
    assert (await line.run("lint", folder))[0] == 0
    code, offline = await tried(line.env, "policy", "lint", folder, "--strict")
    assert code == 1
    assert offline == said, "the export knows as much as the corp"


async def test_mistakes_are_listed_for_a_person(line: Line) -> None:
    line.folder.mkdir()
    (line.folder / "grants.toml").write_text('[[grant]]\ndepartment = "10"\ngroup = "a"\naction = "use"\n')
    (line.folder / "groups.toml").write_bytes("[[group]]\nname = '客户'".encode("gbk"))
    code, said = await line.run("apply", str(line.folder))
    assert (code, "UTF-8" in said, "[bundle_invalid]" in said) == (1, True, True), said
    (line.folder / "groups.toml").write_bytes(b"\xef\xbb\xbf[[group]]\nnam = 'x'\n")
    code, said = await line.run("apply", str(line.folder))
    assert code == 1
    assert "[field_missing] groups.toml #1" in said or "[field_unknown] groups.toml #1" in said, said
    assert "[value_invalid] grants.toml #1: 10 a" in said, said
    assert "Traceback" not in said


async def test_explain_and_unassigned(line: Line) -> None:
    code, said = await line.run("explain", "--user", "ann", "--group", "advice", "--action", "use", "--customer", "c2")
    assert (code, "relation" in said) == (0, True), said
    code, said = await line.run("explain", "--user", "ann", "--group", "advice", "--action", "use", "--json")
    assert (code, json.loads(said)["allowed"]) == (0, True)
    assert (await line.run("explain", "--user", "bob", "--group", "advice", "--action", "use", userid="ann"))[0] == 1
    assert (await line.run("explain", "--user", "ann", "--group", "nope", "--action", "use"))[0] == 1
    code, said = await line.run("unassigned", "--json")
    assert code == 0
    assert [one["userid"] for one in json.loads(said)] == ["admin", "auditor", "boss", "hq"]
    assert (await line.run("unassigned", userid="ann"))[0] == 1
