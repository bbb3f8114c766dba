"""How long a soak test goes on, and by which dice: two environment variables, read here and nowhere else."""

from __future__ import annotations

import os
import secrets


def rounds(default: int) -> int:
    """TAGWARDEN_SOAK_ROUNDS, else the test's own number; what a round is, the test says."""
    return int(os.environ.get("TAGWARDEN_SOAK_ROUNDS") or default)


def seed() -> int:
    """TAGWARDEN_SOAK_SEED, else a fresh number; printed, so that a failure can be played again."""
    chosen = int(os.environ.get("TAGWARDEN_SOAK_SEED") or secrets.randbits(32))
    print(f"TAGWARDEN_SOAK_SEED={chosen}")
    return chosen
