"""``python -m worker``, the same as the command ``releve``."""

from __future__ import annotations

from worker.cli import main

main()
