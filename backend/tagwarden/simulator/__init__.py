"""A WeCom for the demo and the tests: an HTTP server that behaves as WeCom's documentation says WeCom behaves.

It exists so that the one real client can be driven over a real network without a WeCom account. It shares nothing with
that client but the protocol, so that one misunderstanding cannot hide in both: it must never import another room.
"""
