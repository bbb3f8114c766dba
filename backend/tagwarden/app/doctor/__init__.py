"""`tagwarden doctor`: looks at an installation as an operator would, and says what to do about what it finds.

It reads and never writes: the database is opened read-only, as the application's role. Only the probe of WeCom, which is
asked for by name, spends calls of the budget. What it says holds ids, counts and codes: never a secret or a token.
"""

from __future__ import annotations

from tagwarden.app.doctor.checks import examine
from tagwarden.app.doctor.model import Finding, Level, Text, worst

__all__ = ["Finding", "Level", "Text", "examine", "worst"]
