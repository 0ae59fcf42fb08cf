"""`python -m app.cli` is `wiretune`."""

from app.cli import main

main()
