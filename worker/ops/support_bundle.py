"""The support bundle: one ZIP file with the state of one account, without the household's identity.

The account's id is replaced by an alias, which has a new salt in each bundle, so that two bundles can't be matched. By
design no part contains a meter number, but any text that looks like one is removed too. Measured energies are left out
unless they are requested.  Settings are shown only where they are numbers, switches or unchanged defaults, because a
text that somebody has set may be a secret, or may name the household.
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
from worker.accounts.status import coverage_of, coverage_to_json, explanation_to_json, status_of, to_row
from worker.domain.account import Account
from worker.domain.windows import ONE_DAY
from worker.ops.machine import find_commit
from worker.runtime.stores import Stores
from worker.runtime.sync_parts import Sync, build_explainer

_PACKAGES: Final = ("releve", "celery", "redis", "sqlalchemy", "alembic", "couchdb", "requests", "pydantic-settings")
# Names of measured values end with one of these.
_VALUE_SUFFIXES: Final = ("_kwh", "_kva", "peak_at", "activated_on", "volume", "index_start", "index_end")
_NOTICE_FIELDS: Final = ("kind", "reason", "about", "channel", "created_at", "attempts", "delivered_at")
_METER_NUMBER: Final = re.compile(r"(?<!\d)\d{14}(?!\d)|\bGI\d{6}\b")
_README: Final = """Contents: the state of one account (status, completeness), an explanation of each of its last days
(explain), corrections, notices about it, versions and settings.

The account has an alias, a new one in each bundle. There is no meter number, token, secret or address.
"""


@dataclass(frozen=True)
class Bundle:
    """A support bundle; ``files`` has the texts by file name."""

    alias: str
    files: dict[str, str]

    def write(self, path: Path) -> None:
        """Write the bundle to a new file that only its owner may read.

        Raises OSError, including FileExistsError.
        """
        path.touch(mode=0o600, exist_ok=False)
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, text in self.files.items():
                archive.writestr(name, text)


def make_bundle(stores: Stores, sync: Sync, account: Account, days: int, *, with_values: bool) -> Bundle:
    """Collect the data that support needs about the last ``days`` days up to yesterday."""
    explainer, yesterday = build_explainer(stores, sync), sync.history.today() - ONE_DAY
    explanations = [explanation_to_json(explainer.explain(account, yesterday - age * ONE_DAY)) for age in range(days)]
    parts: dict[str, Any] = {
        "manifest.json": _manifest(stores, sync, account, [yesterday - (days - 1) * ONE_DAY, yesterday], with_values),
        "status.json": status_of(account, sync.history).model_dump(mode="json"),
        "completeness.json": coverage_to_json(account.id, coverage_of(account.id, sync.history)),
        "explain.json": explanations,
        "corrections.json": [correction for day in explanations for correction in day["corrections"]],
        "notices.json": [
            to_row(notice, *_NOTICE_FIELDS) for notice in stores.registry.notices.list_for_account(account.id)
        ],
        "settings.json": masked_settings(stores.settings),
    }
    anonymizer = _Anonymizer(account.id, with_values)
    files = {name: json.dumps(anonymizer.clean(part), ensure_ascii=False, indent=1) for name, part in parts.items()}
    return Bundle(anonymizer.alias, {"README.txt": _README, **files})


class _Anonymizer:
    """Replaces the account's id with an alias, and removes meter numbers and, unless ``with_values``, energies."""

    def __init__(self, account_id: str, with_values: bool) -> None:
        self._account_id, self._with_values = account_id, with_values
        self.alias = (
            f"account-{hmac.new(secrets.token_bytes(32), account_id.encode(), hashlib.sha256).hexdigest()[:10]}"
        )

    def clean(self, part: Any) -> Any:
        if isinstance(part, dict):
            return {self.clean(name): self.clean(value) for name, value in part.items() if self._includes(name)}
        if isinstance(part, list):
            return [self.clean(item) for item in part]
        return _METER_NUMBER.sub("…", part.replace(self._account_id, self.alias)) if isinstance(part, str) else part

    def _includes(self, name: str) -> bool:
        return self._with_values or not name.endswith(_VALUE_SUFFIXES)


def masked_settings(settings: Settings) -> dict[str, Any]:
    """Return every setting by name: its value if this is a number, a switch or None, else "default" or "set"."""
    return {
        name: _masked_value(getattr(settings, name), field.default) for name, field in Settings.model_fields.items()
    }


def _masked_value(value: Any, default: Any) -> Any:
    if value is None or isinstance(value, bool | int | float):
        return value
    if value == default:
        return "default"
    return "set"


def _manifest(stores: Stores, sync: Sync, account: Account, days: list[date], with_values: bool) -> dict[str, Any]:
    clients = sync.suppliers.get(account.supplier)
    return {
        "made_at": stores.now().isoformat(timespec="seconds"),
        "days": [day.isoformat() for day in days],
        "with_values": with_values,
        "preset": clients.endpoints.preset.name if clients else f"{account.supplier}, not set up",
        "versions": {name: version(name) for name in _PACKAGES},
        "commit": find_commit(),
        "schema": stores.registry.schema_version(),
        "python": platform.python_version(),
        "system": platform.system(),
    }
