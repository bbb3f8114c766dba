"""`python -m tagwarden`."""

from tagwarden.app.cli import main

main()
