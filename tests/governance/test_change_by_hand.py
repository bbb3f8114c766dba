"""What a folder would do, and taking it back, from the command line; a rehearsal leaves nothing."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest

from governance.test_files import Line
from support.company import Company
from tagwarden.kernel import db
from tagwarden.kernel.embedded import EmbeddedUrls


@pytest.fixture
def line(company: Company, database: EmbeddedUrls, tmp_path: Path) -> Line:
    return Line(company, database, tmp_path / "bundle")


async def revision(company: Company) -> int:
    return int(await db.fetch_value("select max(revision) from policy_revision where corp_id = $1", company.corp_id))


async def test_impact_apply_and_rollback(line: Line) -> None:
    folder = str(line.folder)
    await line.run("export", folder)
    grants = line.folder / "grants.toml"
    kept = [entry for entry in grants.read_text().split("\n\n") if not ("department = 10" in entry and "advice" in entry)]
    grants.write_text("\n\n".join(kept))
    code, said = await line.run("impact", folder, "--json")
    assert code == 0, said
    found = json.loads(said)
    assert (found["access"]["lost"], found["access"]["people"], found["loosens"]) == (8, 4, [])
    code, said = await line.run("impact", folder)
    assert (code, "涉及 4 人" in said, "ann  advice  use" in said) == (0, True, True), said
    code, said = await line.run("impact", folder, "--csv")
    assert [row["what"] for row in csv.DictReader(io.StringIO(said))] == ["access"] * 8
    assert await revision(line.company) == 2, "asking writes nothing"

    assert (await line.run("apply", folder, "--note", "less"))[0] == 0
    code, said = await line.run("rollback", "2", "--note", "back", "--dry-run")
    assert (code, "演练通过" in said) == (0, True), said
    assert await revision(line.company) == 3
    code, said = await line.run("rollback", "2", "--note", "back")
    assert (code, "策略第 4 版" in said) == (0, True), said
    assert await revision(line.company) == 4
    code, said = await line.run("rollback", "2", "--note", "back")
    assert (code, "[nothing_differs]" in said) == (1, True), said


async def test_only_who_configures_asks_and_takes_back(line: Line) -> None:
    await line.run("export", str(line.folder))
    for words in (("impact", str(line.folder)), ("rollback", "1", "--note", "n")):
        code, said = await line.run(*words, userid="ann")
        assert (code, "[module_missing]" in said) == (1, True), said
    assert (await line.run("impact"))[0] == 2
    assert (await line.run("rollback", "9", "--note", "n"))[0] == 1
