"""Draws `deploy/env.example` from the settings, so that the example cannot lag behind them (`make env` writes it).

It must not read the environment: the file is the same on every machine and holds no value of anybody's installation.
"""

from __future__ import annotations

import sys
from textwrap import wrap
from typing import Any

from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings

from tagwarden.kernel.settings import Settings

WIDTH = 100
HEAD = (
    "Every setting of Tagwarden, with its default; drawn from tagwarden/kernel/settings.py by `make env`.",
    "Nothing has to be set: without a database an embedded PostgreSQL serves. Uncomment what you give a value.",
    "A file with secrets in it belongs to its service alone (mode 0600).",
)


def render(settings: type[BaseSettings] = Settings) -> str:
    """The whole text: what each setting is, then the setting, commented out with its default."""
    prefix = settings.model_config.get("env_prefix", "")
    parts = ["\n".join(f"# {line}" for line in HEAD)]
    parts += [_entry(f"{prefix}{name.upper()}", field) for name, field in settings.model_fields.items()]
    return "\n\n".join(parts) + "\n"


def _entry(name: str, field: FieldInfo) -> str:
    words = [f"# {line}" for line in wrap(field.description or "", WIDTH)]
    return "\n".join([*words, f"#{name}={_shown(field.default)}"])


def _shown(default: Any) -> str:
    return "" if default is None or default == [] else str(default)


if __name__ == "__main__":
    sys.stdout.write(render())
