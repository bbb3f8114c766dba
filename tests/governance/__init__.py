"""What an admin may do alone, and what he may not once the corp is live."""
