"""The grants of one policy revision, sorted for what is asked of them: by group, and by the departments they open it to.

It exists so that no question walks all rows. It is filled page by page while a revision is loaded, so that a large one
never holds up the event loop, and only read afterwards. It decides nothing: `enforcer.py` asks Casbin.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence

from tagwarden.policy.model import Effect, Grant, InvalidPolicy


class Matrix:
    """Iterates over its grants in the order in which they came."""

    def __init__(self, grants: Iterable[Grant] = ()) -> None:
        self._rows: dict[str, Grant] = {}
        self._of_group: dict[str, list[Grant]] = {}
        self._open_in: dict[int, set[str]] = {}
        self._open_below: dict[int, set[str]] = {}
        self.add(grants)

    def add(self, grants: Iterable[Grant]) -> None:
        """Takes more rows; InvalidPolicy when two share an id."""
        for grant in grants:
            if self._rows.setdefault(grant.id, grant) is not grant:
                raise InvalidPolicy(mistake="two grants have one id: a decision could name the wrong one")
            self._of_group.setdefault(grant.group, []).append(grant)
            if grant.effect is Effect.ALLOW:
                self._open_in.setdefault(grant.department, set()).add(grant.group)
                if grant.inherit:
                    self._open_below.setdefault(grant.department, set()).add(grant.group)

    def __iter__(self) -> Iterator[Grant]:
        return iter(self._rows.values())

    def __len__(self) -> int:
        return len(self._rows)

    def get(self, id_: str) -> Grant | None:
        """The row of this id."""
        return self._rows.get(id_)

    def of_group(self, group: str) -> Sequence[Grant]:
        """Every row about a group."""
        return self._of_group.get(group, ())

    def groups_opened_to(self, home: Iterable[int], above: Iterable[int]) -> set[str]:
        """Ids of groups of which any allow row reaches these departments; `above` are their ancestors."""
        return set().union(*self._opened(home, above))

    def opens_any_to(self, home: Iterable[int], above: Iterable[int]) -> bool:
        """Whether there is one such group."""
        return any(self._opened(home, above))

    def _opened(self, home: Iterable[int], above: Iterable[int]) -> Iterator[Collection[str]]:
        yield from (self._open_in.get(department, ()) for department in home)
        yield from (self._open_below.get(department, ()) for department in above)
