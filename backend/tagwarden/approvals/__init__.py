"""Held changes and their two sign-offs. Knows no tags: each kind of request brings its own applier."""
