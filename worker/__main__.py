"""``python -m worker``, the same as the command ``releve``."""

from worker.cli import main

main()
