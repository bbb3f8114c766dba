"""`deploy/env.example` says what can be set: all of it, nothing else, and never a value of this machine."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tagwarden.app.env_example import render
from tagwarden.kernel.settings import Settings

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "deploy" / "env.example"


def test_the_example_is_what_the_settings_say() -> None:
    assert EXAMPLE.read_text(encoding="utf-8") == render(), "run `make env`"


def test_every_setting_stands_in_it_with_words() -> None:
    named = re.findall(r"^# \S.*\n#TAGWARDEN_([A-Z_]+)=", render(), re.MULTILINE)
    assert named == [name.upper() for name in Settings.model_fields]


def test_every_setting_stands_in_the_table_of_the_readme() -> None:
    table = (ROOT / "README.md").read_text(encoding="utf-8").partition("## Settings")[2].partition("## Commands")[0]
    named = re.findall(r"`([A-Z_]+)`(?=[^|\n]*\|[^|\n]*\|[^|\n]*\|$)", table, re.MULTILINE)
    assert named == [name.upper() for name in Settings.model_fields]


def test_the_environment_does_not_show_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAGWARDEN_SECRET_KEY", "a secret of this machine, long enough to be one")
    monkeypatch.setenv("TAGWARDEN_PORT", "4711")
    assert render() == EXAMPLE.read_text(encoding="utf-8")
