"""Domain events: facts in past tense, told inside the transaction that made them true.

Rooms never register themselves: `app/wiring.py` holds the one visible table and binds it here. Handlers write rows
and nothing else; what needs a network happens later, in the worker.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any

Handler = Callable[..., Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Binding:
    """`handler` gets the named fields of the event, as plain values, in this order."""

    event: type
    handler: Handler
    fields: tuple[str, ...]


_bindings: dict[type, list[Binding]] = {}


def bind(table: Iterable[Binding]) -> None:
    """Replaces all bindings by those of the table."""
    _bindings.clear()
    for binding in table:
        _bindings.setdefault(binding.event, []).append(binding)


async def publish(event: Any) -> None:
    """Tells every bound handler, in the order of the table, in the caller's transaction."""
    for binding in _bindings.get(type(event), ()):
        await binding.handler(*(getattr(event, name) for name in binding.fields))
