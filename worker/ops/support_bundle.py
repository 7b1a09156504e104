"""What support needs of one account in one file, under another name and without what is nobody's business.

The account's id becomes an alias salted anew for each bundle, so two bundles can't be laid side by side; a meter
number has no place in any part, and what looks like one is blotted out all the same.  What the household used
is left out unless asked for.  Of the settings only numbers, switches and untouched defaults are told: a text
that somebody set may be a secret, or name them.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import platform
import re
import secrets
import zipfile
from dataclasses import dataclass
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from config.settings import Settings
from worker.accounts.explanations import coverage_of, coverage_to_json, explainer_of, explanation_to_json
from worker.accounts.status import standing
from worker.domain.consent.accounts import Account
from worker.domain.consent.consents import Notice
from worker.domain.measures.readings import ONE_DAY
from worker.runtime.process import Runtime

_PACKAGES: Final = ("releve", "celery", "redis", "sqlalchemy", "alembic", "couchdb", "requests", "pydantic-settings")
_VALUES: Final = "_kwh"  # what the name of an energy ends with
_METER_NUMBER: Final = re.compile(r"(?<!\d)\d{14}(?!\d)")
_README: Final = """What is in here: how one account stands (status, completeness), why each of its last days is as it
is (explain), what the supplier corrected, what was told to the owner, versions and settings.

The account has an alias, made anew for each bundle. There is no meter number, no token, no secret, no address.
"""


@dataclass(frozen=True)
class Bundle:
    """``files``: texts by name."""

    alias: str
    files: dict[str, str]

    def write(self, path: Path) -> None:
        """A new file that its owner alone may read.  Raises OSError, FileExistsError too."""
        path.touch(mode=0o600, exist_ok=False)
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, text in self.files.items():
                archive.writestr(name, text)


def make_bundle(runtime: Runtime, account: Account, days: int, *, with_values: bool) -> Bundle:
    """Of the last ``days`` days up to yesterday.  Raises StoreUnavailable."""
    explainer, yesterday = explainer_of(runtime), runtime.dispatcher.today() - ONE_DAY
    told = [explanation_to_json(explainer.explain(account, yesterday - age * ONE_DAY)) for age in range(days)]
    parts: dict[str, Any] = {
        "manifest.json": _manifest(runtime, [yesterday - (days - 1) * ONE_DAY, yesterday], with_values),
        "status.json": standing(runtime, account),
        "completeness.json": coverage_to_json(account.id, coverage_of(runtime, account.id)),
        "explain.json": told,
        "corrections.json": [each for day in told for each in day["corrections"]],
        "notices.json": [_notice(each) for each in runtime.notices.of(account.id)],
        "settings.json": harmless_settings(runtime.settings),
    }
    cloak = _Cloak(account.id, with_values)
    files = {name: json.dumps(cloak.over(part), ensure_ascii=False, indent=1) for name, part in parts.items()}
    return Bundle(cloak.alias, {"README.txt": _README, **files})


class _Cloak:
    """Puts the alias for the account's id, blots out meter numbers, drops energies."""

    def __init__(self, account_id: str, with_values: bool) -> None:
        self._account_id, self._with_values = account_id, with_values
        self.alias = (
            f"account-{hmac.new(secrets.token_bytes(32), account_id.encode(), hashlib.sha256).hexdigest()[:10]}"
        )

    def over(self, part: Any) -> Any:
        if isinstance(part, dict):
            return {self.over(name): self.over(told) for name, told in part.items() if self._shows(name)}
        if isinstance(part, list):
            return [self.over(each) for each in part]
        return _METER_NUMBER.sub("…", part.replace(self._account_id, self.alias)) if isinstance(part, str) else part

    def _shows(self, name: str) -> bool:
        return self._with_values or not name.endswith(_VALUES)


def harmless_settings(settings: Settings) -> dict[str, Any]:
    """Every setting: its value where that gives nothing away, else whether it is set."""
    return {name: _harmless(getattr(settings, name), field.default) for name, field in Settings.model_fields.items()}


def _harmless(value: Any, default: Any) -> Any:
    if value is None or isinstance(value, bool | int | float):
        return value
    if value == default:
        return "default"
    return "set"


def _manifest(runtime: Runtime, days: list[date], with_values: bool) -> dict[str, Any]:
    return {
        "made_at": runtime.now().isoformat(timespec="seconds"),
        "days": [day.isoformat() for day in days],
        "with_values": with_values,
        "preset": runtime.endpoints.preset.name,
        "versions": {name: version(name) for name in _PACKAGES},
        "schema": runtime.registry.schema_version(),
        "python": platform.python_version(),
        "system": platform.system(),
    }


def _notice(each: Notice) -> dict[str, Any]:
    return {
        "kind": each.kind.value,
        "reason": each.reason,
        "about": each.about,
        "channel": each.channel,
        "created_at": each.created_at.isoformat(timespec="seconds"),
        "attempts": each.attempts,
        "delivered_at": each.delivered_at.isoformat(timespec="seconds") if each.delivered_at else None,
    }
