"""What the database itself refuses, whoever holds the application's password."""
