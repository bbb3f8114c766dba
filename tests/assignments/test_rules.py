"""Group rules on single items, as the corp's own calendar says."""

from __future__ import annotations

from datetime import UTC, date, datetime
from uuid import uuid4

import pytest

from tagwarden.assignments.model import Item, Op, rule_against
from tagwarden.catalog.model import Choice, Tag, TagGroup
from tagwarden.policy.model import Kind

GROUP = TagGroup(uuid4(), "g", Kind.STANDARD, Choice.MULTIPLE, "", None, False, 1, datetime(2026, 1, 1, tzinfo=UTC))
LAST_DAY = date(2026, 11, 29)


@pytest.mark.parametrize(
    ("moment", "zone", "rule"),
    [
        (datetime(2026, 11, 29, 15, 59, tzinfo=UTC), "Asia/Shanghai", None),
        (datetime(2026, 11, 29, 16, 0, tzinfo=UTC), "Asia/Shanghai", "tag_ended"),
        (datetime(2026, 11, 29, 23, 59, tzinfo=UTC), "UTC", None),
        (datetime(2026, 11, 30, 4, 59, tzinfo=UTC), "America/New_York", None),
        (datetime(2026, 11, 30, 5, 0, tzinfo=UTC), "America/New_York", "tag_ended"),
    ],
)
def test_a_tag_ends_with_its_last_day_where_the_corp_is(moment: datetime, zone: str, rule: str | None) -> None:
    tag = Tag(uuid4(), GROUP.id, "t", None, "", "", LAST_DAY, None, True, False, 1, False)
    assert rule_against(Item(tag, GROUP, Op.ADD), moment, zone) == rule
    assert rule_against(Item(tag, GROUP, Op.REMOVE), moment, zone) is None
