"""The tree of a group's tags: at most three levels, one group, no circles. Pure; the database refuses the same.

A living tag never hangs below a retired one: whoever retires a parent says first what becomes of its children, and
nothing is retired, restored or deleted by the way.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from uuid import UUID

from tagwarden.catalog.model import HasChildren, ParentRetired, Tag, TagUnknown, TreeCycle, TreeTooDeep

DEEPEST = 3


class Tree:
    """Tags of one or more groups by parent. A parent that was deleted is none: its children stand at the top."""

    def __init__(self, tags: Iterable[Tag]) -> None:
        self._tags = {tag.id: tag for tag in tags}
        self._children: dict[UUID, list[Tag]] = {}
        for tag in self._tags.values():
            if tag.parent_id in self._tags and tag.parent_id is not None:
                self._children.setdefault(tag.parent_id, []).append(tag)

    def parent(self, tag: Tag) -> Tag | None:
        """The tag it hangs below."""
        return self._tags.get(tag.parent_id) if tag.parent_id else None

    def parent_named(self, group_id: UUID, parent_id: UUID) -> Tag:
        """The tag a request names as parent; TagUnknown unless it is one of this group."""
        found = self._tags.get(parent_id)
        if found is None or found.group_id != group_id:
            raise TagUnknown()
        return found

    def children(self, tag_id: UUID) -> Sequence[Tag]:
        """What hangs directly below a tag."""
        return self._children.get(tag_id, ())

    def depth(self, tag: Tag) -> int:
        """1 at the top; a circle, which cannot be, ends the walk."""
        depth, at = 1, self.parent(tag)
        while at is not None and depth <= len(self._tags):
            depth, at = depth + 1, self.parent(at)
        return depth

    def height(self, tag_id: UUID) -> int:
        """Levels of the subtree, the tag's own included."""
        height, level = 0, [tag_id]
        while level and height <= len(self._tags):
            height, level = height + 1, [child.id for one in level for child in self.children(one)]
        return height

    def holds(self, top: UUID, tag_id: UUID) -> bool:
        """Whether a tag is `top` or hangs somewhere below it."""
        at = self._tags.get(tag_id)
        for _ in range(len(self._tags)):
            if at is None or at.id == top:
                break
            at = self.parent(at)
        return at is not None and at.id == top

    def living_below(self, tag_id: UUID) -> list[Tag]:
        """Direct children that are not retired."""
        return [child for child in self.children(tag_id) if not child.retired]


def require_new_place(tags: Iterable[Tag], group_id: UUID, parent_id: UUID) -> None:
    """TagUnknown, ParentRetired or TreeTooDeep unless a new tag may hang below this one."""
    tree = Tree(tags)
    parent = tree.parent_named(group_id, parent_id)
    if parent.retired:
        raise ParentRetired(parent=parent.name)
    if tree.depth(parent) >= DEEPEST:
        raise TreeTooDeep(levels=tree.depth(parent) + 1, limit=DEEPEST)


def require_place(tags: Iterable[Tag], before: Tag, after: Tag) -> None:
    """Raises unless a tag that changes may stand where it would, as living or retired as it would be."""
    tree = Tree(tags)
    moved = after.parent_id != before.parent_id
    if moved and after.parent_id is not None:
        parent = tree.parent_named(after.group_id, after.parent_id)
        if tree.holds(before.id, parent.id):
            raise TreeCycle(parent=parent.name)
        levels = tree.depth(parent) + tree.height(before.id)
        if levels > DEEPEST:
            raise TreeTooDeep(levels=levels, limit=DEEPEST)
    if after.retired and not before.retired:
        require_no_children(tree.living_below(before.id), before)
    above = tree.parent(after)
    if not after.retired and (moved or before.retired) and above is not None and above.retired:
        raise ParentRetired(parent=above.name)


def require_no_children(children: Sequence[Tag], tag: Tag) -> None:
    """HasChildren while something hangs below a tag that would go."""
    if children:
        named = "、".join(child.name for child in children[:5])
        raise HasChildren(name=tag.name, count=len(children), children=named)
