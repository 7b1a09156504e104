"""What `celery -A worker flower` does without being told: this machine alone, a password, bounded memory, no orders.

Flower by itself listens on every address, shows its pages to whoever comes, keeps 100 000 tasks and lets its visitors
stop workers.  What is set here is the lowest word: FLOWER_* variables, flowerconfig.py and flags go before it.
"""

from __future__ import annotations

import secrets
from typing import Final

from config.settings import ConfigError, Settings
from worker.runtime.process import kept_text

USER: Final = "releve"
PASSWORD_FILE: Final = "flower.password"  # noqa: S105 - a file's name
DEFAULT_PORT: Final = 5555
MOST_TASKS: Final = 5_000  # about 10 MB
OFFLINE_S: Final = 3_600  # workers come and go where they are scaled
COLUMNS: Final = "name,state,args,runtime,retries,received,worker"


def set_defaults(settings: Settings) -> None:
    """Before Flower reads its options.  Raises ConfigError."""
    from flower.options import options  # `releve up` has no need of Flower's own modules

    ours = [f"{USER}:{password(settings)}"]

    def lock() -> None:
        """Whoever was told of no door at all has ours; run again when the configuration file has been read."""
        told = options.basic_auth and options.basic_auth != ours
        if not told:
            options.basic_auth = [] if options.auth else ours

    options.address = "127.0.0.1"
    options.logging = settings.log_level.lower()  # Tornado sets the level by it
    options.max_tasks = MOST_TASKS
    options.purge_offline_workers = OFFLINE_S
    options.read_only = True
    options.tasks_columns = COLUMNS
    options.add_parse_callback(lock)


def password(settings: Settings) -> str:
    """As told, else from a file in data_dir that is made at first use.  Raises ConfigError."""
    told = settings.flower_password.get_secret_value() if settings.flower_password else ""
    if not told.isascii():  # Flower could not compare it
        raise ConfigError("RELEVE_FLOWER_PASSWORD: use letters, digits and signs of ASCII alone")
    return told or kept_text(settings.data_dir, PASSWORD_FILE, lambda: secrets.token_urlsafe(18)).strip()


def where_password_is(settings: Settings) -> str:
    """For who looks for it."""
    if settings.flower_password:
        return "in RELEVE_FLOWER_PASSWORD (or the file of RELEVE_FLOWER_PASSWORD_FILE)"
    return f"in {settings.data_dir / PASSWORD_FILE}"
