"""Once a month each live company's credentials are tried as `doctor --probe` does it, and its admins hear what came of it.

No document says that a secret expires; what happens is that somebody resets it, takes the app's right or changes an address.
This finds it before the next change of a tag does. Reads only, through the budget; a refused credential stops its app like
any other call's would.
"""

from __future__ import annotations

from tagwarden.app.doctor import probe
from tagwarden.app.doctor.model import Finding, Level
from tagwarden.approvals.service import SYSTEM
from tagwarden.corps.model import Caller
from tagwarden.sync import credential_checks
from tagwarden.sync.credential_checks import Checked
from tagwarden.wecom.client import WecomClient


class CredentialHealth:
    """The worker's monthly look."""

    def __init__(self, client: WecomClient) -> None:
        self._client = client

    async def check_if_due(self, corp_id: str) -> bool:
        """Looks at a corp whose last look is a month old; False when it is not."""
        if not await credential_checks.due(corp_id):
            return False
        found = summed_up([finding async for finding in probe.of_corp(self._client, corp_id)])
        await credential_checks.keep(Caller(corp_id, "", SYSTEM), found)
        return True


def summed_up(findings: list[Finding]) -> list[Checked]:
    """By app, the first thing that is broken, or nothing."""
    found: dict[str, Checked] = {}
    for finding in findings:
        app = str(finding.facts.get("app", ""))
        known = found.get(app)
        if known is None or (known.ok and finding.level is Level.BROKEN):
            found[app] = _checked(app, finding)
    return list(found.values())


def _checked(app: str, finding: Finding) -> Checked:
    if finding.level is not Level.BROKEN:
        return Checked(app)
    return Checked(app, finding.facts.get("code"), finding.text.zh, finding.text.en)
