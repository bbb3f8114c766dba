"""The outermost room: wiring, HTTP, worker, command line. No rules live here."""
