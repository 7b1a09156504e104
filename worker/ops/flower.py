"""Safe defaults for `celery -A worker flower`: this machine only, a password, bounded memory, read-only pages.

Flower's own defaults listen on every address without a password, keep 100 000 tasks and let visitors stop workers.
The values set here have the lowest rank: FLOWER_* variables, flowerconfig.py and command-line flags override them.
"""

from __future__ import annotations

import secrets
from typing import Final

from config.settings import ConfigError, Settings
from worker.runtime.keys import stored_secret

USER: Final = "releve"
PASSWORD_FILE: Final = "flower.password"  # noqa: S105 - This is the name of a file.
DEFAULT_PORT: Final = 5555
MAX_TASKS: Final = 5_000  # They take about 10 MB.
OFFLINE_S: Final = 3_600  # Workers come and go where they are scaled.
COLUMNS: Final = "name,state,args,runtime,retries,received,worker"


def set_defaults(settings: Settings) -> None:
    """Set the defaults before Flower reads its options.  Raises ConfigError."""
    from flower.options import options  # Imported here because `releve up` does not need Flower's own modules.

    our_login = [f"{USER}:{password(settings)}"]

    def require_login() -> None:
        """Require our login where no other kind of login is configured.

        Flower calls it again after it has read the configuration file.
        """
        has_other_login = options.basic_auth and options.basic_auth != our_login
        if not has_other_login:
            options.basic_auth = [] if options.auth else our_login

    options.address = "127.0.0.1"
    options.logging = settings.log_level.lower()  # Tornado sets its level by this option.
    options.max_tasks = MAX_TASKS
    options.purge_offline_workers = OFFLINE_S
    options.read_only = True
    options.tasks_columns = COLUMNS
    options.add_parse_callback(require_login)


def password(settings: Settings) -> str:
    """Return the password from the settings, else from a file in data_dir, which is made at first use.

    Raises ConfigError.
    """
    configured = settings.flower_password.get_secret_value() if settings.flower_password else ""
    if not configured.isascii():  # Flower can't compare other characters.
        raise ConfigError("RELEVE_FLOWER_PASSWORD: use only ASCII letters, digits and signs")
    return configured or stored_secret(settings.data_dir, PASSWORD_FILE, lambda: secrets.token_urlsafe(18)).strip()


def password_source(settings: Settings) -> str:
    """Return the place where a person finds the password."""
    if settings.flower_password:
        return "in RELEVE_FLOWER_PASSWORD (or the file of RELEVE_FLOWER_PASSWORD_FILE)"
    return f"in {settings.data_dir / PASSWORD_FILE}"
