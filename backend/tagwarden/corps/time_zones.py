"""Time zones a corp may have: those of the IANA database on this machine. A zone nobody knows would break every month's end."""

from __future__ import annotations

import difflib
import zoneinfo
from functools import cache

from tagwarden.kernel.errors import Invalid

OF_THE_MACHINE = frozenset({"localtime", "posixrules", "Factory"})
"""Files that lie among the zones and mean another one on every machine, or none."""


class TimeZoneUnknown(Invalid):
    code = "time_zone_unknown"
    zh = "没有时区“{time_zone}”，请写 IANA 名称，例如：{examples}"
    en = "There is no time zone “{time_zone}”; write its IANA name, for example {examples}"


@cache
def known() -> frozenset[str]:
    """Every zone there is."""
    return frozenset(zoneinfo.available_timezones() - OF_THE_MACHINE)


def require_time_zone(name: str) -> str:
    """The name, or TimeZoneUnknown with names like it."""
    if name not in known():
        near = difflib.get_close_matches(name[:64], sorted(known()), n=2, cutoff=0.7)
        examples = dict.fromkeys([*near, "Asia/Shanghai"])
        raise TimeZoneUnknown(time_zone=name[:64], examples=", ".join(examples))
    return name
