"""What the demo may empty and what it may keep: its own folders, and nothing else."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from demo.stagehand import tagwarden
from tagwarden.app.demo.folder import FolderEmpty, FolderNotOurs, FolderUnusable, Mark, require_whole, resolved, take
from tagwarden.kernel.embedded import EmbeddedUnavailable
from tagwarden.kernel.embedded.folder import DataFolder

WHOLE = json.dumps({"simulator_port": 1, "complete": True})


def fill(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        path = folder / name.replace("__", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def listing(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    "files",
    [
        {"thesis__doc": "years of work"},
        {"thesis__doc": "years of work", "demo__json": WHOLE},
        {"demo__json": "[]"},
        {"demo__json": "null"},
        {"demo__json": "not json"},
        {"demo__json": '{"simulator_port": 1}'},
        {"demo__json": '{"simulator_port": "1", "complete": true}'},
        {"demo__json": '{"simulator_port": 1, "complete": true, "scenes": []}'},
        {"pg": "a file without a mark"},
        {"keys__json": "{}", "secrets__json": "{}"},
    ],
)
def test_a_folder_with_files_of_others_is_refused_and_left_alone(tmp_path: Path, files: dict[str, str]) -> None:
    before = listing(fill(tmp_path, **files))
    with pytest.raises(FolderNotOurs):
        take(tmp_path)
    assert listing(tmp_path) == before


def test_a_folder_of_an_earlier_demo_is_emptied_but_not_what_it_links_to(tmp_path: Path) -> None:
    elsewhere = fill(tmp_path / "elsewhere", kept="kept")
    data = fill(tmp_path / "data", demo__json=WHOLE, wecom__sqlite="old", keys__json="{}", lock="")
    (data / "pg").symlink_to(elsewhere)
    (data / "pg.tmp.x").mkdir()
    take(data)
    assert sorted(path.name for path in data.iterdir()) == ["demo.json", "lock"]
    assert Mark.read(data) == Mark(0, complete=False)
    assert listing(elsewhere) == {"kept": "kept"}


def test_a_demo_killed_before_its_first_word_leaves_a_folder_the_next_one_takes(tmp_path: Path) -> None:
    take(fill(tmp_path / "killed", lock=""))
    assert Mark.read(tmp_path / "killed") == Mark(0, complete=False)


def test_a_new_folder_is_closed_to_others(tmp_path: Path) -> None:
    take(tmp_path / "new" / "and" / "deep")
    assert (tmp_path / "new" / "and" / "deep").stat().st_mode & 0o077 == 0


def test_a_folder_in_use_is_left_alone(tmp_path: Path) -> None:
    data = fill(tmp_path, demo__json=WHOLE, wecom__sqlite="in use")
    lock = DataFolder(data).lock()
    before = listing(data)
    with pytest.raises(EmbeddedUnavailable, match="in use"):
        take(data)
    assert listing(data) == before
    os.close(lock)


@pytest.mark.parametrize("lost", ["pg/PG_VERSION", "secrets.json", "keys.json", "wecom.sqlite", "demo.json"])
def test_only_a_whole_demo_is_kept(tmp_path: Path, lost: str) -> None:
    fill(tmp_path, demo__json=WHOLE, secrets__json="", keys__json="", wecom__sqlite="", **{"pg/PG_VERSION": "18"})
    require_whole(tmp_path)
    (tmp_path / lost).unlink()
    with pytest.raises(FolderEmpty):
        require_whole(tmp_path)


def test_a_demo_that_was_not_set_up_to_its_end_is_not_kept(tmp_path: Path) -> None:
    fill(tmp_path, secrets__json="", keys__json="", wecom__sqlite="", **{"pg/PG_VERSION": "18"})
    Mark(1, complete=False).write(tmp_path)
    with pytest.raises(FolderEmpty):
        require_whole(tmp_path)


def test_impossible_places_are_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for place in (tmp_path / ("x" * 300), tmp_path / "loop" / "data"):
        with pytest.raises(FolderUnusable):
            resolved(place)
    (tmp_path / "file").write_text("")
    with pytest.raises(FolderUnusable):
        take(tmp_path / "file")


@pytest.mark.parametrize("words", [("--keep",), ("--once", "--keep"), ("--port", "70000")])
def test_the_command_line_refuses_in_a_sentence(tmp_path: Path, words: tuple[str, ...]) -> None:
    refused = tagwarden("demo", "--data", str(tmp_path), *words)
    assert refused.returncode in (1, 2)
    assert "Traceback" not in refused.stderr
    assert len(refused.stderr.strip().splitlines()) <= 4
    assert list(tmp_path.iterdir()) == []


def test_a_service_does_not_move_into_a_folder_that_the_next_demo_empties(tmp_path: Path) -> None:
    refused = tagwarden("serve", "--data", str(fill(tmp_path, demo__json=WHOLE)))
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "demo_folder" in refused.stderr
