"""The control API, below /control: loading corps, reading what happened, faults, clock, switches, edits by people.

It is unauthenticated and meant for the loopback interface only: whoever reaches it owns the simulator. It is no part of
WeCom, and no client may use it to do what WeCom's API is for.
"""

from __future__ import annotations

import hashlib
from dataclasses import asdict
from typing import Any

import msgspec
from litestar import Controller, Request, Response, delete, get, patch, post, put
from litestar.di import NamedDependency
from litestar.exceptions import NotFoundException
from litestar.params import FromPath, FromQuery, JSONBody

from tagwarden.simulator import errcodes
from tagwarden.simulator.call import Json
from tagwarden.simulator.callbacks import CallbackSender, list_deliveries
from tagwarden.simulator.console import make_edit
from tagwarden.simulator.contacts import find_follow, held_tags, tags_of_follow
from tagwarden.simulator.corps import BadSetup, load_corp, set_callback
from tagwarden.simulator.faults import queue_fault
from tagwarden.simulator.journal import list_calls, measure_window
from tagwarden.simulator.library import whole_library
from tagwarden.simulator.messages import list_cards
from tagwarden.simulator.model import Refused, Switches
from tagwarden.simulator.schemas import AnyEdit, CallbackSetup, CorpSetup, FaultSetup
from tagwarden.simulator.store import Store
from tagwarden.simulator.tokens import drop_tokens, lift_bans


class ClockShift(msgspec.Struct, forbid_unknown_fields=True):
    """Seconds to move the clock by, on top of earlier shifts."""

    shift_seconds: float


class ServerController(Controller):
    """What belongs to no corp: health, clock, switches, bans."""

    path = "/control"

    @get("/health", sync_to_thread=False)
    def health(self, store: NamedDependency[Store]) -> Json:
        return {"status": "ok", "now": store.now()}

    @post("/clock", status_code=200, sync_to_thread=False)
    def shift_clock(self, store: NamedDependency[Store], data: JSONBody[ClockShift]) -> Json:
        return {"shift_seconds": store.shift_clock(data.shift_seconds), "now": store.now()}

    @get("/switches", sync_to_thread=False)
    def read_switches(self, store: NamedDependency[Store]) -> Json:
        return asdict(store.switches)

    @patch("/switches", sync_to_thread=False)
    def set_switches(self, store: NamedDependency[Store], data: JSONBody[dict[str, Any]]) -> Json:
        """Change the switches named; the others stay. An unknown name is refused."""
        current = asdict(store.switches)
        unknown = data.keys() - current.keys()
        if unknown:
            raise BadSetup(f"no such switch: {', '.join(sorted(unknown))}")
        store.set_switches(msgspec.convert({**current, **data}, Switches))
        return asdict(store.switches)

    @delete("/bans", sync_to_thread=False)
    def lift_bans(self, store: NamedDependency[Store]) -> None:
        lift_bans(store)

    @get("/strays", sync_to_thread=False)
    def list_strays(self, store: NamedDependency[Store], since: FromQuery[int] = 0) -> Json:
        """Calls that no corp can be charged with: their token or corpid is unknown."""
        return {"calls": list_calls(store, "", since)}

    @post("/corps", sync_to_thread=False)
    def load_corp(self, store: NamedDependency[Store], data: JSONBody[CorpSetup]) -> Json:
        return load_corp(store, data)


class CorpController(Controller):
    """What belongs to one corp."""

    path = "/control/corps/{corp_id:str}"

    @get("/calls", sync_to_thread=False)
    def list_calls(
        self,
        store: NamedDependency[Store],
        corp_id: FromPath[str],
        since: FromQuery[int] = 0,
        api: FromQuery[str | None] = None,
    ) -> Json:
        return {"calls": list_calls(store, _known(store, corp_id), since, api)}

    @get("/window", sync_to_thread=False)
    def measure_window(
        self,
        store: NamedDependency[Store],
        corp_id: FromPath[str],
        seconds: FromQuery[float] = 60.0,
        since: FromQuery[int] = 0,
        api: FromQuery[str | None] = None,
    ) -> Json:
        return measure_window(store, _known(store, corp_id), seconds, since, api)

    @get("/follows", sync_to_thread=False)
    def list_follows(self, store: NamedDependency[Store], corp_id: FromPath[str]) -> Json:
        return {"follows": held_tags(store, _known(store, corp_id))}

    @get("/follows/{userid:str}/{external_userid:str}", sync_to_thread=False)
    def read_follow(
        self,
        store: NamedDependency[Store],
        corp_id: FromPath[str],
        userid: FromPath[str],
        external_userid: FromPath[str],
    ) -> Json:
        return tags_of_follow(store, find_follow(store, _known(store, corp_id), userid, external_userid))

    @get("/tags", sync_to_thread=False)
    def read_library(self, store: NamedDependency[Store], corp_id: FromPath[str]) -> Json:
        return {"tag_group": whole_library(store, _known(store, corp_id))}

    @get("/state-hash", sync_to_thread=False)
    def hash_state(self, store: NamedDependency[Store], corp_id: FromPath[str]) -> Json:
        """A SHA-256 over the library and every follow's tags; equal states have equal hashes."""
        state = [whole_library(store, _known(store, corp_id)), held_tags(store, corp_id)]
        return {"sha256": hashlib.sha256(msgspec.json.encode(state, order="deterministic")).hexdigest()}

    @get("/cards", sync_to_thread=False)
    def list_cards(self, store: NamedDependency[Store], corp_id: FromPath[str]) -> Json:
        return {"cards": list_cards(store, _known(store, corp_id))}

    @get("/callbacks", sync_to_thread=False)
    def list_callbacks(self, store: NamedDependency[Store], corp_id: FromPath[str]) -> Json:
        return {"callbacks": list_deliveries(store, _known(store, corp_id))}

    @post("/console", status_code=200)
    async def edit(
        self,
        store: NamedDependency[Store],
        sender: NamedDependency[CallbackSender],
        corp_id: FromPath[str],
        data: JSONBody[AnyEdit],
    ) -> Json:
        """Make an edit as people do in WeCom; answers how many callbacks it queued, before they are delivered."""
        queued = make_edit(store, _known(store, corp_id), data)
        sender.wake()
        return {"callbacks": queued}

    @put("/apps/{app:str}/callback")
    async def set_callback(
        self,
        store: NamedDependency[Store],
        sender: NamedDependency[CallbackSender],
        corp_id: FromPath[str],
        app: FromPath[str],
        data: JSONBody[CallbackSetup | None] = None,
    ) -> Json:
        """Save a callback URL as the console does: only if it answers the echo. No body clears it."""
        if not store.row("SELECT 1 FROM apps WHERE corp_id = ? AND name = ?", corp_id, app):
            raise NotFoundException(detail="no such app")
        problem = await sender.verify(corp_id, data) if data else ""
        if problem:
            raise BadSetup(f"the callback URL did not prove its keys: {problem}")
        set_callback(store, corp_id, app, data)
        return {"verified": data is not None}

    @put("/apps/{app:str}/secret", sync_to_thread=False)
    def reset_secret(
        self, store: NamedDependency[Store], corp_id: FromPath[str], app: FromPath[str], data: JSONBody[dict[str, str]]
    ) -> Json:
        """Give an app another secret; its tokens end."""
        store.run("UPDATE apps SET secret = ? WHERE corp_id = ? AND name = ?", data["secret"], corp_id, app)
        drop_tokens(store, _known(store, corp_id), app)
        return {}

    @delete("/tokens", sync_to_thread=False)
    def end_tokens(self, store: NamedDependency[Store], corp_id: FromPath[str]) -> None:
        """End every token of the corp before its time; they answer 40014."""
        drop_tokens(store, _known(store, corp_id))

    @post("/faults", sync_to_thread=False)
    def queue_faults(
        self, store: NamedDependency[Store], corp_id: FromPath[str], data: JSONBody[FaultSetup | list[FaultSetup]]
    ) -> Json:
        """Queue one fault or several."""
        faults = data if isinstance(data, list) else [data]
        for fault in faults:
            queue_fault(store, _known(store, corp_id), fault)
        return {"queued": len(faults)}

    @delete("/faults", sync_to_thread=False)
    def clear_faults(self, store: NamedDependency[Store], corp_id: FromPath[str]) -> None:
        store.run("DELETE FROM faults WHERE corp_id = ?", _known(store, corp_id))


def answer_refusal(_: Request[Any, Any, Any], error: Exception) -> Response[Json]:
    """What the control API says to a setup or an edit that cannot be: 400 with WeCom's code where there is one."""
    if isinstance(error, Refused):
        return Response({"errcode": error.code, "detail": error.hint or errcodes.describe(error.code)}, status_code=400)
    return Response({"detail": str(error)}, status_code=400)


def _known(store: Store, corp_id: str) -> str:
    if not store.row("SELECT 1 FROM corps WHERE corp_id = ?", corp_id):
        raise NotFoundException(detail="no such corp")
    return corp_id
