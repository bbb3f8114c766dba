"""Tagwarden governs customer tags and keeps WeCom equal to what was decided."""
