"""Makes ``python -m s2deploy`` the same as ``s2deploy``."""

from s2deploy.cli import main

main()
