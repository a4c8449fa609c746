"""`python -m thoracle`."""

from thoracle.cli.app import main

main()
