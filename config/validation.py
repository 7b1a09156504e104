"""Checks and types of single settings, secrets from files, and which hosts are the supplier's own.

A check raises ValueError with a text for the operator that doesn't repeat the value, for it may hold a password.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Final
from urllib.parse import urlsplit

from pydantic import AfterValidator, SecretStr
from pydantic_settings import PydanticBaseSettingsSource

from config.brokers import check_broker_url
from worker.domain.consents import last_day_of
from worker.domain.lanes import parse_ceilings, parse_floors
from worker.domain.series import parse_series
from worker.stores.redis import check_redis_url, split_url

PRODUCTION_DOMAIN: Final = "enedis.fr"
GAS_PRODUCTION_DOMAIN: Final = "grdf.fr"
GATEWAY_DOMAIN: Final = "conso.boris.sh"
MAIL_ADDRESS: Final = re.compile(r"[^\s@<>,;]+@[^\s@<>,;]+\.[^\s@<>,;]+")
_LONGEST_CONTACT: Final = 200
MIN_WEBHOOK_SECRET: Final = 32
_ANY_DAY: Final = date(2001, 1, 1)


def is_production(enedis_url: str | None, sandbox: bool) -> bool:
    """Return whether these are the supplier's own hosts, with real meters behind them."""
    if enedis_url is None:
        return not sandbox
    from worker.clients.endpoints import host_of

    host = host_of(enedis_url)
    return _is_in_domain(enedis_url, PRODUCTION_DOMAIN) and "sandbox" not in host and ".hml." not in host


def is_gas_production(grdf_url: str | None, grdf_client_id: str | None) -> bool:
    """Return whether gas is asked for at GRDF's own hosts, which serve the sandbox too."""
    if not grdf_client_id:
        return False
    return grdf_url is None or _is_in_domain(grdf_url, GAS_PRODUCTION_DOMAIN)


def is_gateway_production(gateway_url: str | None) -> bool:
    """Return whether a home's measures are asked for at a public gateway, with real meters behind it."""
    return gateway_url is None or _is_in_domain(gateway_url, GATEWAY_DOMAIN)


def is_home_of(home: bool | None, data_dir: Path | None) -> bool:
    """Return whether an installation is for one home: as the setting says, else as the mark in its folder says."""
    return home if home is not None else data_dir is not None and home_mark_in(data_dir).exists()


def home_mark_in(data_dir: Path) -> Path:
    """Return the path of the file that makes a data folder that of a home."""
    return data_dir / "home"


def is_suppliers(url: str | None) -> bool:
    """Return whether an address is on a host of Enedis, of GRDF, also of their sandboxes, or of the public gateway."""
    domains = (PRODUCTION_DOMAIN, GAS_PRODUCTION_DOMAIN, GATEWAY_DOMAIN)
    return url is not None and any(_is_in_domain(url, domain) for domain in domains)


def _is_in_domain(url: str, domain: str) -> bool:
    from worker.clients.endpoints import is_in_domain  # Imported late: a window needs settings, and no presets.

    return is_in_domain(url, domain)


def check_http_url(url: str) -> None:
    """Raise ValueError for what is no http:// or https:// URL."""
    parts = split_url(url)
    if parts is None or parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("needs an http:// or https:// URL")


def check_networks(text: str) -> None:
    """Raise ValueError for what are no networks with commas between them."""
    from worker.domain.networks import parse_networks  # Imported late, here and below: few set it.

    try:
        parse_networks(text)
    except ValueError:
        raise ValueError("needs networks with commas between them, like 10.1.0.0/16,fd00::/8") from None


def check_webhook(url: str, secret: str, networks: str) -> None:
    """Raise ValueError for a webhook that could be read or forged on its way."""
    from worker.domain.networks import is_loopback_host

    parts = urlsplit(url)
    if parts.scheme != "https" and not networks and not is_loopback_host(parts.hostname or ""):
        raise ValueError("needs https:// (or set RELEVE_WEBHOOK_NETWORKS to the receiver's private network)")
    if len(secret) < MIN_WEBHOOK_SECRET:
        raise ValueError(
            f"the secret needs at least {MIN_WEBHOOK_SECRET} characters: make one with `openssl rand -hex 32`"
        )


def check_consent_duration(duration: str) -> None:
    """Raise ValueError for what is no ISO 8601 duration, like P6M, or is longer than three years."""
    try:
        days = (last_day_of(_ANY_DAY, duration) - _ANY_DAY).days + 1
    except ValueError:
        days = 0
    if not 1 <= days <= 3 * 365 + 1:
        raise ValueError("needs a duration of at most three years, like P6M, P1Y or P1095D")


def check_contact(text: str) -> None:
    """Raise ValueError for what is no line that a household can read."""
    if not text.strip() or len(text) > _LONGEST_CONTACT or not text.isprintable():
        raise ValueError(f"needs one line of at most {_LONGEST_CONTACT} characters: a mail address, a URL or a text")
    if text.strip().startswith("https://"):
        check_http_url(text.strip())


def check_notify_urls(urls: str) -> None:
    """Raise ValueError where one of the URLs, separated by spaces, is of no service that notices can be sent over."""
    from worker.accounts.notice_services import load_service  # Imported late: few set it, and it loads apprise.

    for url in urls.split():
        load_service(url)


def check_notify_hosts(urls: Sequence[str], networks: str) -> None:
    """Raise ValueError where one of the URLs names a host in a private network that ``networks`` has not."""
    from worker.accounts.notice_services import check_host
    from worker.domain.networks import parse_networks

    for url in urls:
        check_host(url, parse_networks(networks))


def _checked(check: Callable[[str], object]) -> AfterValidator:
    """Return a validator that leaves a text, or a secret, as it is, once ``check`` has raised nothing."""

    def validate(value: Any) -> Any:
        check(value.get_secret_value() if isinstance(value, SecretStr) else value)
        return value

    return AfterValidator(validate)


Networks = Annotated[str, _checked(check_networks)]
HttpUrl = Annotated[str, _checked(check_http_url), AfterValidator(lambda url: url.rstrip("/"))]
RedisUrl = Annotated[SecretStr, _checked(check_redis_url)]
BrokerUrl = Annotated[SecretStr, _checked(check_broker_url)]
NotifyUrls = Annotated[SecretStr, _checked(check_notify_urls)]
Floors = Annotated[str, _checked(parse_floors)]
Ceilings = Annotated[str, _checked(parse_ceilings)]
SeriesNames = Annotated[str, _checked(parse_series)]
ContactText = Annotated[str, _checked(check_contact), AfterValidator(str.strip)]
ConsentDuration = Annotated[str, _checked(check_consent_duration)]


def check_folder(folder: Path) -> None:
    """Raise ValueError where a folder can't be made, because it or a part of its path is a file."""
    nearest = next((path for path in (folder, *folder.parents) if path.exists()), None)
    if nearest is not None and not nearest.is_dir():
        raise ValueError(f"{nearest} is a file: name a folder")


def _checked_folder(folder: Path) -> Path:
    check_folder(folder)
    return folder


Folder = Annotated[Path, AfterValidator(_checked_folder)]
FileToMake = Annotated[Path, AfterValidator(lambda file: _checked_folder(file.parent) / file.name)]

OPTIONAL_FILES: Final = frozenset({"webhook_secret", "notify_url"})  # A compose file always names them.
UNREADABLE: Final[Any] = object()  # In place of a value whose file can't be read or is empty.


class SecretFileSource(PydanticBaseSettingsSource):
    """A source of settings: the file that ``RELEVE_<NAME>_FILE`` names, as Docker and Kubernetes provide secrets.

    An unreadable file gives ``UNREADABLE``, for one error, and so does an empty one but of ``OPTIONAL_FILES``.
    """

    def get_field_value(self, field: Any, field_name: str) -> tuple[Any, str, bool]:
        path = os.environ.get(f"{self.config.get('env_prefix', '')}{field_name.upper()}_FILE")
        if not path:
            return None, field_name, False
        try:
            text = Path(path).read_text(encoding="utf-8").strip()
            if not text and field_name in OPTIONAL_FILES:
                return None, field_name, False
            # An empty file is an error: the setting must not fall back on a default unnoticed.
            return text or UNREADABLE, field_name, False
        except (OSError, UnicodeDecodeError):
            return UNREADABLE, field_name, False

    def __call__(self) -> dict[str, Any]:
        values = {name: self.get_field_value(None, name)[0] for name in self.settings_cls.model_fields}
        return {name: value for name, value in values.items() if value}
