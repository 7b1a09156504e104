"""``python -m worker``: the same door as ``releve``."""

from worker.cli import main

main()
