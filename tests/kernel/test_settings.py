"""Settings are checked at the start; what is wrong is told by name, and a secret value never is."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from support.service import environment
from tagwarden.kernel import settings
from tagwarden.kernel.settings import SettingsInvalid

SECRET = "hunter2-do-not-show"
GOOD: dict[str, Any] = {"issuer": "crm", "algorithm": "HS256", "verify_key": "k" * 32}


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of this machine's own settings."""
    for name in ("DATABASE_URL", "SECRET_KEY", "ISSUERS", "PORT", "LOG_LEVEL", "DATA_DIR"):
        monkeypatch.delenv(f"TAGWARDEN_{name}", raising=False)


BAD = [
    ("SECRET_KEY", SECRET, "SECRET_KEY"),
    ("ISSUERS", SECRET, "ISSUERS"),
    ("ISSUERS", json.dumps(SECRET), "ISSUERS"),
    ("ISSUERS", json.dumps({"verify_key": SECRET}), "ISSUERS"),
    ("ISSUERS", json.dumps([SECRET]), "ISSUERS"),
    ("ISSUERS", json.dumps([{**GOOD, "verify_key": SECRET}]), "VERIFY_KEY"),
    ("ISSUERS", json.dumps([{**GOOD, "verify_key": [SECRET]}]), "VERIFY_KEY"),
    ("ISSUERS", json.dumps([{**GOOD, "sign_key": {"key": SECRET}}]), "SIGN_KEY"),
    ("ISSUERS", json.dumps([{**GOOD, "algorithm": "none", "sign_key": SECRET}]), "ALGORITHM"),
    ("ISSUERS", json.dumps([{"algorithm": "HS256", "sign_key": SECRET}]), "ISSUER"),
    ("ISSUERS", f'[{{"verify_key": "{SECRET}"', "ISSUERS"),
    ("PORT", "99999", "PORT"),
    ("PORT", "eighty", "PORT"),
    ("DATABASE_CONNECTIONS", "0", "DATABASE_CONNECTIONS"),
    ("WECOM_CALLS_PER_MINUTE", "-1", "WECOM_CALLS_PER_MINUTE"),
    ("MAX_BODY_BYTES", "1", "MAX_BODY_BYTES"),
    ("LOG_LEVEL", "loud", "LOG_LEVEL"),
    ("LOG_FORMAT", "xml", "LOG_FORMAT"),
]


@pytest.mark.parametrize(("name", "value", "named"), BAD)
def test_what_is_wrong_is_named_and_never_shown(name: str, value: str, named: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"TAGWARDEN_{name}", value)
    with pytest.raises(SettingsInvalid) as refused:
        settings.load()
    for text in (str(refused.value), refused.value.text("zh"), repr(refused.value), json.dumps(refused.value.facts)):
        assert SECRET not in text
        assert SECRET[:7] not in text
    assert named in refused.value.text("en")
    assert refused.value.__cause__ is None


def test_good_settings_show_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAGWARDEN_SECRET_KEY", SECRET * 2)
    monkeypatch.setenv("TAGWARDEN_DATABASE_URL", f"postgresql://me:{SECRET}@127.0.0.1/x")
    monkeypatch.setenv("TAGWARDEN_ISSUERS", json.dumps([{**GOOD, "verify_key": SECRET * 2, "sign_key": SECRET * 2}]))
    found = settings.load()
    assert SECRET not in repr(found) + str(found) + str(found.model_dump()) + found.model_dump_json()
    assert found.issuers[0].verify_key is not None
    assert found.issuers[0].verify_key.get_secret_value() == SECRET * 2


def test_local_keys_are_made_once_for_us_alone(tmp_path: Path) -> None:
    first = settings.with_local_keys(settings.load(data_dir=tmp_path / "new"))
    again = settings.with_local_keys(settings.load(data_dir=tmp_path / "new"))
    assert first.secret_key == again.secret_key
    assert [one.issuer for one in again.issuers] == [settings.LOCAL_ISSUER]
    assert (tmp_path / "new" / "keys.json").stat().st_mode & 0o077 == 0
    other = settings.with_local_keys(settings.load(data_dir=tmp_path / "other"))
    assert other.secret_key != first.secret_key


def start(**more: str) -> tuple[int, str]:
    """`tagwarden serve` that should not come far: its exit code and what it said."""
    env = environment("postgresql://me@127.0.0.1:1/x", **more)
    done = subprocess.run(
        [sys.executable, "-m", "tagwarden", "serve", "--port", "1"],
        env=env,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize(
    "more",
    [
        {"SECRET_KEY": SECRET},
        {"DATABASE_URL": f"mysql://me:{SECRET}@127.0.0.1:1/x"},
        {"DATABASE_URL": f"postgresql://me:{SECRET}@127.0.0.1:1/x"},
    ],
    ids=["secret_key", "another_database", "nobody_there"],
)
def test_a_start_that_fails_says_one_sentence_without_the_secret(more: dict[str, str]) -> None:
    code, said = start(**more)
    assert code == 1, said
    assert SECRET not in said
    assert "Traceback" not in said
    assert len(said.strip().splitlines()) == 1, said
