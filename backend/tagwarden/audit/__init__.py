"""The chain: who did what, under which decision, in bytes that cannot be rewritten unseen."""
