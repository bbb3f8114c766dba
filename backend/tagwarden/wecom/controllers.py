"""WeCom's callbacks: proven, stored raw, answered at once; what they mean is worked out later."""

from __future__ import annotations

from typing import Annotated, Any

from litestar import Controller, Request, Response, get, post
from litestar.datastructures import State
from litestar.enums import MediaType
from litestar.params import PathParameter, QueryParameter

from tagwarden.kernel import clock
from tagwarden.kernel.http import problems
from tagwarden.wecom import callback
from tagwarden.wecom.envelope import CallbackQuery

LARGEST_ENVELOPE = 262_144
Text = Annotated[str, QueryParameter(min_length=1, max_length=4096)]
Name = Annotated[str, PathParameter(min_length=1, max_length=64)]


class CallbackController(Controller):
    """One address per corp and app; public, because WeCom proves itself by signature."""

    path = "/callbacks/wecom/{corp_id:str}/{app:str}"
    tags = ("callbacks",)

    @get(
        "/",
        operation_id="verify_wecom_callback",
        opt={"action": "callback", "public": True},
        media_type=MediaType.TEXT,
        responses=problems(401, 503),
    )
    async def verify(
        self, state: State, corp_id: Name, app: Name, msg_signature: Text, timestamp: Text, nonce: Text, echostr: Text
    ) -> str:
        """Answers WeCom's check of the address with the decrypted echo."""
        keys = await callback.keys_of(state.sealer, corp_id, app)
        return callback.verify_url(keys, CallbackQuery(msg_signature, timestamp, nonce), echostr, clock.now())

    @post(
        "/",
        operation_id="receive_wecom_callback",
        opt={"action": "callback", "public": True},
        status_code=200,
        media_type=MediaType.TEXT,
        responses=problems(401, 503),
        request_max_body_size=LARGEST_ENVELOPE,
    )
    async def receive(
        self,
        request: Request[Any, Any, Any],
        state: State,
        corp_id: Name,
        app: Name,
        msg_signature: Text,
        timestamp: Text,
        nonce: Text,
    ) -> Response[str]:
        """Proves the envelope, stores it as it came, and answers; a repeat is stored once."""
        body = await request.body()  # measured before anything says whether the corp exists
        keys = await callback.keys_of(state.sealer, corp_id, app)
        query = CallbackQuery(msg_signature, timestamp, nonce)
        callback.open_envelope(keys, query, body, clock.now())
        await callback.store(corp_id, app, msg_signature, timestamp, nonce, body)
        return Response("", status_code=200)
