"""What Piccolo's own commands ask for: the engine and the one app whose history is `migrations/`."""

from __future__ import annotations

from piccolo.conf.apps import AppRegistry

from tagwarden.kernel.db import DB as DB

APP_REGISTRY = AppRegistry(apps=[])
