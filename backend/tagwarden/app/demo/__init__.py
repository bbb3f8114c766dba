"""`tagwarden demo`: the whole product on one machine, with a simulated WeCom, telling its own story over HTTP."""

from __future__ import annotations

from tagwarden.app.demo.stage import play

__all__ = ["play"]
