"""Who carries which tag: the one write path, and the reads that stand on it."""
