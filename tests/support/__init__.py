"""What tests stand on: a real PostgreSQL, companies built through the real use cases, and running processes."""
