"""The queues by name, in the order of treatment when quota is short, and where the Redis broker keeps them."""

from __future__ import annotations

from typing import Final

QUEUES: Final = ("control", "first_screen", "nightly", "repair", "backfill")
BROKER_PREFIX: Final = "releve:celery:"  # a shared Redis stays readable
