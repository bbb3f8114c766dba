"""The chain: what it says, and that no line is changed unseen."""
