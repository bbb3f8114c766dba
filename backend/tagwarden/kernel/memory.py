"""What lives long is kept out of the cyclic collector's way.

CPython walks everything it tracks whenever enough is new: with a matrix of 110,000 grants in memory that stops the event
loop for half a second. What is made here is freed like everything else when nobody holds it any more; only cycles made
meanwhile are not found again, so it is for blocks that are rare and short.
"""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator

_open = 0


@contextlib.contextmanager
def long_lived() -> Iterator[None]:
    """No collection within the block; what exists at its end is never walked again."""
    global _open
    _open += 1
    if _open == 1:
        gc.disable()
    try:
        yield
    finally:
        _open -= 1
        if _open == 0:
            gc.freeze()
            gc.enable()
