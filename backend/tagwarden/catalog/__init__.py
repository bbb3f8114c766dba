"""The tag library: groups, tags, their kinds and their names."""
