"""Games of the sync engine under virtual time, each by one seed: see simulated.py.

`TAGWARDEN_SEED=n` plays one again. The long test plays TAGWARDEN_SOAK_ROUNDS games that nobody has played before.
"""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from support import soak

SEED = os.environ.get("TAGWARDEN_SEED")
GAMES, PARTS = 200, 8
EACH, LANES = 50, 4


def play(first: int, games: int) -> None:
    """Games in a process of their own, whose clocks are virtual: every one must end as it should."""
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "PYTHONHASHSEED": "0"}
    command = [sys.executable, "-m", "sync.simulated", str(first), str(games)]
    played = subprocess.run(command, env=env, text=True, capture_output=True)
    assert played.returncode == 0, played.stderr
    assert played.stdout.count("seed ") == games + 1, "and the first one, which warms up"


@pytest.mark.timeout(900)
@pytest.mark.parametrize("part", range(1 if SEED else PARTS))
def test_wecom_ends_as_decided(part: int) -> None:
    if SEED:
        play(int(SEED), 1)
        return
    each = GAMES // PARTS
    play(1 + part * each, each)


@pytest.mark.soak
@pytest.mark.timeout(0)
@pytest.mark.parametrize("lane", range(LANES))
def test_wecom_ends_as_decided_for_long(lane: int) -> None:
    """As many test processes as there are lanes can share the work; no game is played twice."""
    each = -(-soak.rounds(10_000) // LANES)
    first = soak.seed() + lane * each
    for seed in range(first, first + each, EACH):
        count = min(EACH, first + each - seed)
        play(seed, count)
