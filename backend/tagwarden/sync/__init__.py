"""Keeps WeCom equal to what was decided, and mirrors from it what is WeCom's to say."""
