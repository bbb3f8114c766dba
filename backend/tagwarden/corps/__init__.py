"""The tenant: its row, state, zone, credentials and epoch, and the frame every writing use case runs in."""
