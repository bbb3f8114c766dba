"""The one visible table: controllers, event → handlers, appliers. No logic."""

from __future__ import annotations

from litestar import Controller

from tagwarden.approvals import applier
from tagwarden.approvals.controllers import ApprovalController
from tagwarden.assignments.appliers import AdoptionApplier, TagChangeApplier
from tagwarden.assignments.controllers import AdoptionController, CustomerController
from tagwarden.assignments.events import TagsChanged
from tagwarden.catalog.controllers import TagController, TagGroupController
from tagwarden.catalog.events import TagLibraryChanged
from tagwarden.governance.controllers import (
    AuditController,
    CorpController,
    DecisionController,
    MeController,
    OrganisationController,
    PolicyController,
)
from tagwarden.kernel import events
from tagwarden.kernel.events import Binding
from tagwarden.sync import handlers
from tagwarden.sync.controllers import SyncController

CONTROLLERS: list[type[Controller]] = [
    MeController,
    OrganisationController,
    TagGroupController,
    TagController,
    CustomerController,
    AdoptionController,
    ApprovalController,
    DecisionController,
    PolicyController,
    SyncController,
    CorpController,
    AuditController,
]

EVENTS = [
    Binding(TagsChanged, handlers.on_tags_changed, ("corp_id", "follow_id", "bulk")),
    Binding(TagLibraryChanged, handlers.on_library_changed, ("corp_id", "tag_id")),
]

APPLIERS: list[applier.Applier] = [TagChangeApplier(), AdoptionApplier()]


def wire() -> None:
    """Binds events and appliers; called once by every process."""
    events.bind(EVENTS)
    applier.bind(APPLIERS)
