"""Reads the sample company and its customers; turns their WeCom half into what the simulator loads."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "sample"
SINCE = 852_076_800  # 1997-01-01, the first day of the history
WECOM_EMPLOYEE = ("userid", "name", "department", "main_department", "is_leader_in_dept")


@dataclass(frozen=True, slots=True)
class Sample:
    """The company as written, its customers in file order, and what each of them spent."""

    company: dict[str, Any]
    spent: dict[str, float]

    @property
    def corp_id(self) -> str:
        return str(self.company["corp_id"])

    def owner_of(self, external_userid: str) -> str:
        """The employee a customer was dealt to."""
        owners = self.company["owners_in_order"]
        return str(owners[list(self.spent).index(external_userid) % len(owners)])

    def customers_of(self, userid: str) -> list[str]:
        """Customers dealt to an employee, in file order."""
        owners = self.company["owners_in_order"]
        return [one for number, one in enumerate(self.spent) if owners[number % len(owners)] == userid]

    def extra_of(self, userid: str) -> list[str]:
        """Customers an employee follows besides their owner."""
        return [one["external_userid"] for one in self.company["extra_follows"] if one["userid"] == userid]

    def marked(self) -> dict[str, list[str]]:
        """Tags WeCom already holds, by customer."""
        return {one["external_userid"]: one["tags"] for one in self.company["initial_marks"]}

    def follows(self) -> list[dict[str, Any]]:
        """Every follow as the simulator loads it."""
        marks = {(one["userid"], one["external_userid"]): one["tags"] for one in self.company["initial_marks"]}
        owners = self.company["owners_in_order"]
        pairs = [(owners[number % len(owners)], one) for number, one in enumerate(self.spent)]
        pairs += [(one["userid"], one["external_userid"]) for one in self.company["extra_follows"]]
        return [
            {
                "userid": userid,
                "external_userid": external,
                "name": f"客户{external[2:]}",
                "createtime": SINCE + number,
                "tags": marks.get((userid, external), []),
            }
            for number, (userid, external) in enumerate(pairs)
        ]

    def corp_setup(self, app_secret: str, contacts_secret: str) -> dict[str, Any]:
        """The WeCom half: what WeCom itself knows of this company, and nothing that only we know."""
        return {
            "corp_id": self.corp_id,
            "name": self.company["name"],
            "apps": [
                {"name": "crm", "secret": app_secret, "agent_id": 1000002, "kind": "app"},
                {"name": "contacts", "secret": contacts_secret, "agent_id": 0, "kind": "contacts"},
            ],
            "departments": self.company["departments"],
            "employees": [{key: one[key] for key in WECOM_EMPLOYEE} for one in self.company["employees"]],
            "tag_groups": [{"name": one["name"], "tags": one["tags"]} for one in self.company["tag_groups"]],
            "follows": self.follows(),
        }


@cache
def load() -> Sample:
    """The shipped sample."""
    company = json.loads((FOLDER / "sample_corp.json").read_text(encoding="utf-8"))
    spent: dict[str, float] = {}
    for line in (FOLDER / "cdnow_sample.txt").read_text(encoding="ascii").splitlines():
        fields = line.split()
        if len(fields) == 5:
            customer = f"wm{fields[0]}"
            spent[customer] = spent.get(customer, 0.0) + float(fields[4])
    return Sample(company, spent)
