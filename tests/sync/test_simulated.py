"""Games of the sync engine under virtual time, each by one seed: see simulated.py.

`TAGWARDEN_SEED=n` plays one again. The long test plays TAGWARDEN_SOAK_ROUNDS games that nobody has played before.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence

import pytest

from support import soak

SEED = os.environ.get("TAGWARDEN_SEED")
GAMES, AT_ONCE = 200, 2
EACH, LANES = 50, 4


def begin(first: int, games: int) -> subprocess.Popen[str]:
    """Games in a process of their own, whose clocks are virtual."""
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "PYTHONHASHSEED": "0"}
    command = [sys.executable, "-m", "sync.simulated", str(first), str(games)]
    return subprocess.Popen(command, env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def end(lanes: Sequence[subprocess.Popen[str]], games: int) -> None:
    """Every game of every lane ended as it must."""
    for (said, wrong), lane in [(lane.communicate(), lane) for lane in lanes]:
        assert lane.returncode == 0, wrong
        assert said.count("seed ") == games + 1, "and the first one, which warms up"


@pytest.mark.timeout(1200)
def test_wecom_ends_as_decided() -> None:
    if SEED:
        end([begin(int(SEED), 1)], 1)
        return
    each = GAMES // AT_ONCE
    end([begin(1 + lane * each, each) for lane in range(AT_ONCE)], each)


@pytest.mark.soak
@pytest.mark.timeout(0)
@pytest.mark.parametrize("lane", range(LANES))
def test_wecom_ends_as_decided_for_long(lane: int) -> None:
    """As many test processes as there are lanes can share the work; no game is played twice."""
    each = -(-soak.rounds(10_000) // LANES)
    first = soak.seed() + lane * each
    for seed in range(first, first + each, EACH):
        count = min(EACH, first + each - seed)
        end([begin(seed, count)], count)
