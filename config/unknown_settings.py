"""Variables that are set but have no effect: unknown names, and settings of earlier versions.

    RELEVE_CALS_PER_HOUR is not a setting: did you mean RELEVE_CALLS_PER_HOUR?
    RELEVE_PROXY_ORIGINS has no effect any more: each application that uses /proxy is now a client: …

Processes warn about such variables when they start, but run: a variable of a newer version, set before an upgrade or
left after a downgrade, must not keep an older version from running. ``releve doctor`` fails for them.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterator
from typing import Final

from pydantic_settings import DotEnvSettingsSource

from config.settings import PREFIX, Settings

_MAILS: Final = "set `RELEVE_NOTIFY_URL=mailtos://…`"
# Each renamed or removed setting, and what replaces it.
REMOVED: Final = {
    "RELEVE_MAIL_FROM": _MAILS,
    "RELEVE_NOTIFY_MAIL": _MAILS,
    "RELEVE_OPERATOR_PASSWORD": "operators have names: add one with `releve access add-operator NAME`",
    "RELEVE_PROXY_ORIGINS": (
        "each application that uses /proxy is now a client: make one with `releve access add-client`"
    ),
    "RELEVE_RAW_VAULT_DAYS": "use `RELEVE_RAW_ANSWERS_DAYS`",
    "RELEVE_SMTP_URL": _MAILS,
}
# Variables that aren't settings, but are used by the compose file, the tests and the watchdog.
_OTHERS: Final = re.compile(r"RELEVE_(VERSION|WATCHDOG_RESTARTS|DRILL_TWICE|FUZZ_EXAMPLES|TEST_\w+)")
# Kubernetes sets these in each container for a Service whose name begins with releve-.
_OF_SERVICES: Final = re.compile(r"RELEVE_\w+_(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_\d+_(TCP|UDP)(_\w+)?)")
_ADDRESS: Final = re.compile(r"(tcp|udp)://.*")  # The value of RELEVE_<SERVICE>_PORT.
_LEAST_LIKENESS: Final = 0.75


def unknown_settings() -> list[str]:
    """Return a line for each variable that isn't a setting, with the setting that was likely meant."""
    known = {f"{PREFIX}{name.upper()}{ending}" for name in Settings.model_fields for ending in ("", "_FILE")}
    return [
        f"{name} is not a setting: {_advice(name, known)}" for name in _variables() if _is_unknown(name.upper(), known)
    ]


def removed_settings() -> list[str]:
    """Return a line for each setting that is still set and does nothing any more, with what replaces it."""
    variables = {name.upper() for name in _variables()}
    return [
        f"{name} has no effect any more: {instead}"
        for name, instead in REMOVED.items()
        if variables & {name, f"{name}_FILE"}
    ]


def _variables() -> Iterator[str]:
    """Yield the names of variables with our prefix and a value, first from the environment, then from ``.env``."""
    names = [name for name, value in os.environ.items() if value and name.upper().startswith(PREFIX)]
    yield from sorted(names)
    in_file = DotEnvSettingsSource(Settings).env_vars  # Keys are in lower case.
    taken = {name.lower() for name in names}
    yield from sorted(
        name.upper()
        for name, value in in_file.items()
        if value and name.startswith(PREFIX.lower()) and name not in taken
    )


def _is_unknown(name: str, known: set[str]) -> bool:
    if name in known or name.removesuffix("_FILE") in REMOVED or _OTHERS.fullmatch(name):
        return False
    is_address = name.endswith("_PORT") and _ADDRESS.fullmatch(os.environ.get(name, ""))
    return not (is_address or _OF_SERVICES.fullmatch(name))


def _advice(name: str, known: set[str]) -> str:
    like = difflib.get_close_matches(name.upper(), sorted(known), n=1, cutoff=_LEAST_LIKENESS)
    return f"did you mean {like[0]}?" if like else "unset it, or look up the name in the settings reference"
