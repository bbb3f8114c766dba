"""The frame of every command: locks, lines, refusals, idempotency, retries, and what races make of it."""
