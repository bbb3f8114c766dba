"""Whether a request still stands: its chain as it is now, and what its signatures were given on.

A signature counts only while content, base, chain, the requester's right and every signer's authority are as they
were. What moved makes the request stale, and everyone sees why.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import rfc8785

from tagwarden.approvals import delegation_rows, repository
from tagwarden.approvals.applier import applier_of
from tagwarden.approvals.chain import Chain, Signer, chain_for, may_stand_in, turn_now
from tagwarden.approvals.model import Approval, Ask, NoApprover, Signature
from tagwarden.corps.model import Caller, Work
from tagwarden.identity.model import IdentityRefused
from tagwarden.policy.chains import ChainRules
from tagwarden.policy.service import Picture


def content_hash(wanted: Ask, fingerprint: str) -> str:
    """What a signature signs: sha256 over the canonical JSON (RFC 8785) of content, base and effects."""
    content: dict[str, Any] = {
        "kind": wanted.kind,
        "payload": wanted.payload,
        "fingerprint": fingerprint,
        "effects": sorted(wanted.effects),
        "about": [wanted.about_userid, wanted.about_customer],
        "reason": wanted.reason,
    }
    return hashlib.sha256(rfc8785.dumps(content)).hexdigest()


def rules_of(picture: Picture, kind: str) -> ChainRules:
    """The chain rules of a kind, in the revision in force."""
    return picture.approvals.of(kind, protected=applier_of(kind).protected)


def may_sign(caller: Caller, picture: Picture) -> bool:
    """Whether this identity can sign at all: a person, by a token of an issuer that may."""
    return caller.act is None and caller.may_sign and picture.directory.may_sign(caller.issuer)


def chain_of(picture: Picture, approval: Approval, *, escalations: int | None = None) -> Chain:
    """The chain as it stands now; without level 1 where it cannot be built any more."""
    rules = rules_of(picture, approval.kind)
    try:
        return chain_for(
            picture.directory,
            owner=approval.about_userid,
            requester=approval.requester,
            barred=approval.barred,
            asking_is_level1=rules.asking_is_level1 and approval.level1 == (approval.requester,),
            rules=rules,
            escalations=approval.escalations if escalations is None else escalations,
        )
    except (NoApprover, IdentityRefused):
        return Chain((), approval.level2 if approval.pending else ())


async def signer_of(work: Work, picture: Picture) -> Signer:
    """The caller with those who named him their delegate and are away now."""
    employee = picture.directory.employee(work.caller.userid)
    return Signer(employee, await delegation_rows.standing_for(work.corp_id, employee.userid, work.now))


async def due_people(work: Work, picture: Picture, approval: Approval, chain: Chain) -> set[str]:
    """Everybody who could sign the level that is due: its signers and their delegates, without whom has signed already."""
    due = chain.of(approval.level)
    signatures = await repository.signatures(work.corp_id, approval.id, approval.round)
    away = await delegation_rows.delegates_of(work.corp_id, due, work.now)
    people = [one for userid in {*due, *away} if (one := picture.directory.known(userid)) is not None and one.active]
    rules = rules_of(picture, approval.kind)
    return {
        one.userid
        for one in people
        if turn_now(picture.directory, approval, chain, Signer(one, away.get(one.userid, ())), signatures, rules)
    }


async def stale_reason(
    work: Work, picture: Picture, approval: Approval, chain: Chain, signatures: Sequence[Signature]
) -> str | None:
    """Why the request no longer stands, or None. Writes nothing; what the request is about is locked by the caller."""
    effects = await repository.effects(work.corp_id, approval.id, approval.round)
    asked = Ask(approval.kind, approval.payload, tuple(effects), approval.about_userid, approval.about_customer, approval.reason)
    if content_hash(asked, approval.fingerprint) != approval.content_hash:
        return "content_moved"
    requester = picture.directory.known(approval.requester)
    if requester is None or not requester.active or requester.person != approval.requester_person:
        return "requester_gone"
    for signature in signatures:
        if not await _still_counts(work, picture, approval, chain, signature):
            return "signer_lost_authority"
    applier = applier_of(approval.kind)
    if await applier.fingerprint(work.corp_id, approval.payload) != approval.fingerprint:
        return "base_moved"
    return await applier.check(work, picture, approval)


async def _still_counts(work: Work, picture: Picture, approval: Approval, chain: Chain, signature: Signature) -> bool:
    """A signature of level 1, looked at when level 2 is due. A delegation that ran out was in force when it was used."""
    signer = picture.directory.known(signature.signer)
    if signer is None or not signer.active or signer.person != signature.signer_person:
        return False
    if signature.on_behalf_of is None:
        return signature.signer in chain.level1
    if signature.on_behalf_of not in chain.level1:
        return False
    if not may_stand_in(picture.directory, approval, signer, signature.level, rules_of(picture, approval.kind)):
        return False
    return await delegation_rows.stood(work.corp_id, signature.on_behalf_of, signature.signer, signature.signed_at)
