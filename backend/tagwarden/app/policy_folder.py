"""A bundle as it lies on disk: reads and writes the files, and knows nothing of what stands in them."""

from __future__ import annotations

from pathlib import Path

from tagwarden.governance.bundle import FILES, Bundle, read_bundle
from tagwarden.governance.bundle_out import MARK
from tagwarden.governance.decision_tables import Table, read_table
from tagwarden.governance.mistakes import BundleInvalid, Mistake
from tagwarden.governance.operator import default_texts
from tagwarden.governance.organisation import FILE as ORGANISATION
from tagwarden.governance.organisation import read_organisation
from tagwarden.identity.model import Directory
from tagwarden.kernel.errors import Conflict

TESTS = "tests"
SHIPPED_BESIDE = {"naming.toml": "model.conf"}
"""What stands in the shipped folder, beside this, and in no bundle of a corp."""


class WrittenByHand(Conflict):
    code = "written_by_hand"
    zh = "{file} 不是导出的文件，里面可能有手写的注释；要覆盖请加 --force"
    en = "{file} was not written by an export and may hold comments of somebody's; to write over it add --force"


def bundle_of(folder: Path) -> Bundle:
    """The bundle of a folder; BundleInvalid with all mistakes."""
    names = [path.name for path in sorted(folder.glob("*.toml")) if not _is_beside(path)]
    return read_bundle({name: text_of(folder / name) for name in names}, default_texts())


def _is_beside(path: Path) -> bool:
    mark = SHIPPED_BESIDE.get(path.name)
    return mark is not None and (path.parent / mark).is_file()


def organisation_of(folder: Path) -> Directory | None:
    """The organisation of a folder, where it has one."""
    path = folder / ORGANISATION
    return read_organisation(text_of(path), path.name) if path.is_file() else None


def tables_of(folder: Path, bundle: Bundle) -> list[Table]:
    """Every decision table of a folder, by name; BundleInvalid with all mistakes of the first that has any."""
    base = organisation_of(folder) or organisation_of(folder / TESTS) or Directory({}, {})
    paths = [path for path in sorted((folder / TESTS).glob("*.toml")) if path.name != ORGANISATION]
    if strange := sorted((folder / TESTS).glob("*.y*ml")):
        where, zh = strange[0].name, "决策表写成 TOML（.toml），不是 YAML"
        raise BundleInvalid(Mistake("table_not_toml", where, zh, "decision tables are TOML (.toml), not YAML"))
    return [read_table(f"{TESTS}/{path.name}", text_of(path), bundle, base) for path in paths]


def text_of(path: Path) -> str:
    """A file's text; a mark of byte order that an editor left is none of it."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        zh, en = "不是 UTF-8 编码，请另存为 UTF-8", "not UTF-8; save it as UTF-8"
        raise BundleInvalid(Mistake("not_utf8", path.name, zh, en)) from error


def write(folder: Path, texts: dict[str, str], *, force: bool) -> list[str]:
    """Writes the files, all or none; WrittenByHand where one is not an earlier export. The names of those that changed."""
    folder.mkdir(parents=True, exist_ok=True)
    before = {name: text_of(folder / name) if (folder / name).is_file() else None for name in texts}
    for name, text in before.items():
        if text is not None and not text.startswith(MARK) and text != texts[name] and not force:
            raise WrittenByHand(file=name)
    changed = [name for name in texts if texts[name] != before[name]]
    for name in changed:
        (folder / name).write_text(texts[name], encoding="utf-8", newline="\n")
    return changed


__all__ = ["FILES", "bundle_of", "organisation_of", "tables_of", "write"]
