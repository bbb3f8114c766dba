"""The one visible table: controllers, event → handlers, appliers. No logic."""

from __future__ import annotations

from litestar import Controller

from tagwarden.approvals import applier
from tagwarden.approvals.controllers import ApprovalController
from tagwarden.approvals.delegations import DelegationApplier
from tagwarden.approvals.events import ApprovalClosedEvent, SignersChanged
from tagwarden.approvals.people_controllers import DelegationController, NotificationController
from tagwarden.assignments import usage
from tagwarden.assignments.appliers import AdoptionApplier, TagChangeApplier
from tagwarden.assignments.controllers import AdoptionController, CustomerController
from tagwarden.assignments.events import TagsChanged
from tagwarden.assignments.library_appliers import GroupDeleteApplier, MigrationApplier, TagDeleteApplier
from tagwarden.assignments.library_controllers import CarriedTagController, CarriedTagGroupController
from tagwarden.catalog.appliers import GroupChangeApplier, TagEditApplier
from tagwarden.catalog.claim_controllers import ClaimController
from tagwarden.catalog.events import OwnershipClaimed, TagGroupChanged, TagLibraryChanged
from tagwarden.catalog.remake import TagRemakeApplier
from tagwarden.catalog.remake_controllers import RemakeController
from tagwarden.governance.agreement_controllers import AgreementController
from tagwarden.governance.agreements import AgreementApplier
from tagwarden.governance.audit_controllers import AuditController
from tagwarden.governance.controllers import (
    CorpController,
    MeController,
    OrganisationController,
)
from tagwarden.governance.decision_controllers import DecisionController, WhoCanController
from tagwarden.governance.draft_controllers import DraftController
from tagwarden.governance.drafts import on_approval_closed
from tagwarden.governance.issuers import IssuerApplier
from tagwarden.governance.mentions import in_agreements, in_drafts
from tagwarden.governance.policy_controllers import PolicyController
from tagwarden.governance.publishing import PolicyApplier
from tagwarden.governance.review_controllers import AccessReviewController
from tagwarden.governance.roles import RolesApplier
from tagwarden.kernel import events
from tagwarden.kernel.events import Binding
from tagwarden.sync import handlers
from tagwarden.sync.controllers import SyncController
from tagwarden.sync.drift_controllers import DriftController
from tagwarden.sync.ledger_controllers import LedgerController

CONTROLLERS: list[type[Controller]] = [
    MeController,
    OrganisationController,
    CarriedTagGroupController,
    CarriedTagController,
    RemakeController,
    ClaimController,
    CustomerController,
    AdoptionController,
    ApprovalController,
    DelegationController,
    NotificationController,
    DecisionController,
    WhoCanController,
    PolicyController,
    AgreementController,
    DraftController,
    SyncController,
    DriftController,
    LedgerController,
    CorpController,
    AuditController,
    AccessReviewController,
]

EVENTS = [
    Binding(TagsChanged, handlers.on_tags_changed, ("corp_id", "follow_id", "bulk", "batch_id")),
    Binding(TagLibraryChanged, handlers.on_library_changed, ("corp_id", "tag_id")),
    Binding(ApprovalClosedEvent, on_approval_closed, ("corp_id", "approval_id", "state")),
    Binding(SignersChanged, handlers.on_request_moved, ("corp_id", "approval_id")),
    Binding(ApprovalClosedEvent, handlers.on_request_moved, ("corp_id", "approval_id")),
    Binding(TagGroupChanged, handlers.on_group_changed, ("corp_id", "group_id")),
    Binding(OwnershipClaimed, handlers.on_ownership_claimed, ("corp_id", "group_id", "tag_id")),
]

APPLIERS: list[applier.Applier] = [
    TagChangeApplier(),
    AdoptionApplier(),
    DelegationApplier(),
    GroupChangeApplier(),
    TagEditApplier(),
    TagRemakeApplier(),
    MigrationApplier(),
    TagDeleteApplier(),
    GroupDeleteApplier(),
    RolesApplier(),
    IssuerApplier(),
    PolicyApplier(),
    AgreementApplier(),
]

GROUP_MENTIONS: list[usage.Finder] = [in_drafts, in_agreements]
"""What of the rooms above names a tag group, shown before it is deleted."""


def wire() -> None:
    """Binds events, appliers and what names a group; called once by every process."""
    events.bind(EVENTS)
    applier.bind(APPLIERS)
    usage.bind(GROUP_MENTIONS)
