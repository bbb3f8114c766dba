"""Who signs, in which order, and what makes a request stale."""
