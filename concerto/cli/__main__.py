"""`python -m concerto.cli`, the same as `concerto`."""

from concerto.cli import main

main()
