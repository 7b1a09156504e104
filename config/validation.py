"""Checks and types of single settings, options of a broker, secrets from files, and which hosts are the suppliers' own.

A check raises ValueError with a text for the operator that doesn't repeat the value, because the value may hold a
password.

Redis and RabbitMQ deliver messages in different ways, so options, queues and exchange depend on the scheme of the
broker's URL: Redis, Redis Sentinel or RabbitMQ. The comments hold for RabbitMQ 4.0, kombu 5.7 and Celery 5.7: what
they say was taken from the documentation and sources, then tried on a real server.
"""

from __future__ import annotations

import os
import re
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Final, Literal
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

from pydantic import AfterValidator, SecretStr
from pydantic_settings import PydanticBaseSettingsSource

from worker.domain.consents import last_day_of
from worker.domain.lanes import BROKER_PREFIX, parse_ceilings, parse_floors
from worker.domain.series import parse_series
from worker.stores.redis import TLS_OPTIONS, Sentinels, check_redis_url, parse_sentinels, parse_url_options, split_url

AMQP_SCHEMES: Final = ("amqp", "amqps")
PRODUCTION_DOMAIN: Final = "enedis.fr"
GAS_PRODUCTION_DOMAIN: Final = "grdf.fr"
GATEWAY_DOMAIN: Final = "conso.boris.sh"
MAIL_ADDRESS: Final = re.compile(r"[^\s@<>,;]+@[^\s@<>,;]+\.[^\s@<>,;]+")
MIN_WEBHOOK_SECRET: Final = 32
# Only these files may be empty: the compose file names them even where the settings are not used.
OPTIONAL_FILES: Final = frozenset({"webhook_secret", "notify_url", "rte_client_secret"})
UNREADABLE: Final[Any] = object()  # Stands for a value whose file can't be read or is empty.
_CERT_REQS: Final = {"required": ssl.CERT_REQUIRED, "optional": ssl.CERT_OPTIONAL, "none": ssl.CERT_NONE}
_LONGEST_CONTACT: Final = 200
_ANY_DAY: Final = date(2001, 1, 1)


def is_production(enedis_url: str | None, sandbox: bool) -> bool:
    """Return whether the settings lead to Enedis' hosts for real meters, not to its sandbox or other hosts."""
    if enedis_url is None:
        return not sandbox
    from worker.clients.endpoints import host_of

    host = host_of(enedis_url)
    return _is_in_domain(enedis_url, PRODUCTION_DOMAIN) and "sandbox" not in host and ".hml." not in host


def is_gas_production(grdf_url: str | None, grdf_client_id: str | None) -> bool:
    """Return whether gas is read from GRDF's own hosts. These also serve GRDF's sandbox, so the sandbox counts too."""
    if not grdf_client_id:
        return False
    return grdf_url is None or _is_in_domain(grdf_url, GAS_PRODUCTION_DOMAIN)


def is_gateway_production(gateway_url: str | None) -> bool:
    """Return whether a home's measures come from the public gateway, which serves real meters."""
    return gateway_url is None or _is_in_domain(gateway_url, GATEWAY_DOMAIN)


def is_suppliers(url: str | None) -> bool:
    """Return whether a URL is on a host of Enedis, GRDF (their sandboxes included) or the public gateway."""
    domains = (PRODUCTION_DOMAIN, GAS_PRODUCTION_DOMAIN, GATEWAY_DOMAIN)
    return url is not None and any(_is_in_domain(url, domain) for domain in domains)


def _is_in_domain(url: str, domain: str) -> bool:
    # Imported late: the module loads the supplier presets, which a process that only reads settings doesn't need.
    from worker.clients.endpoints import is_in_domain

    return is_in_domain(url, domain)


def is_home_of(home: bool | None, data_dir: Path | None) -> bool:
    """Return whether an installation is for one home: by the setting, else by the mark in its data folder."""
    return home if home is not None else data_dir is not None and home_mark_in(data_dir).exists()


def home_mark_in(data_dir: Path) -> Path:
    """Return the path of the file that marks a data folder as a home's."""
    return data_dir / "home"


def check_http_url(url: str) -> None:
    """Raise ValueError unless this is an http:// or https:// URL."""
    parts = split_url(url)
    if parts is None or parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("needs an http:// or https:// URL")


def check_networks(text: str) -> None:
    """Raise ValueError unless the text is a list of networks with commas between them."""
    # Imported late, here and below, because few installations set networks.
    from worker.domain.networks import parse_networks

    try:
        parse_networks(text)
    except ValueError:
        raise ValueError("needs networks with commas between them, like 10.1.0.0/16,fd00::/8") from None


def check_webhook(url: str, secret: str, networks: str) -> None:
    """Raise ValueError for a webhook whose messages could be read or forged on the way."""
    from worker.domain.networks import is_loopback_host

    parts = urlsplit(url)
    if parts.scheme != "https" and not networks and not is_loopback_host(parts.hostname or ""):
        raise ValueError("needs https:// (or set RELEVE_WEBHOOK_NETWORKS to the receiver's private network)")
    if len(secret) < MIN_WEBHOOK_SECRET:
        raise ValueError(
            f"the secret needs at least {MIN_WEBHOOK_SECRET} characters: make one with `openssl rand -hex 32`"
        )


def check_consent_duration(duration: str) -> None:
    """Raise ValueError unless this is an ISO 8601 duration, like P6M, of at most three years."""
    try:
        days = (last_day_of(_ANY_DAY, duration) - _ANY_DAY).days + 1
    except ValueError:
        days = 0
    if not 1 <= days <= 3 * 365 + 1:
        raise ValueError("needs a duration of at most three years, like P6M, P1Y or P1095D")


def check_contact(text: str) -> None:
    """Raise ValueError unless the contact is one short line of text that a page can show."""
    if not text.strip() or len(text) > _LONGEST_CONTACT or not text.isprintable():
        raise ValueError(f"needs one line of at most {_LONGEST_CONTACT} characters: a mail address, a URL or a text")
    if text.strip().startswith("https://"):
        check_http_url(text.strip())


def check_notify_urls(urls: str) -> None:
    """Raise ValueError if a URL in ``urls``, separated by spaces, names no service that can send notices."""
    # Imported late, because few installations set this, and the module loads apprise.
    from worker.accounts.notice_services import load_service

    for url in urls.split():
        load_service(url)


def check_notify_hosts(urls: Sequence[str], networks: str) -> None:
    """Raise ValueError if the host of a URL is in a private network outside ``networks``."""
    from worker.accounts.notice_services import check_host
    from worker.domain.networks import parse_networks

    for url in urls:
        check_host(url, parse_networks(networks))


@dataclass(frozen=True, slots=True)
class BrokerOptions:
    """What Celery needs to know about a broker. ``url`` is None for the embedded Redis: its address is known later."""

    url: str | None
    kind: Literal["redis", "rabbitmq"]
    transport_options: dict[str, Any] = field(repr=False)
    use_ssl: dict[str, Any] | None = None

    @property
    def queue_arguments(self) -> dict[str, str] | None:
        """Arguments to declare a queue; None for Redis.

        RabbitMQ gets quorum queues, which survive the loss of a node.
        """
        return {"x-queue-type": "quorum"} if self.kind == "rabbitmq" else None

    @property
    def exchange_type(self) -> Literal["direct", "topic"]:
        """The type of the exchange: ``topic`` on RabbitMQ, otherwise ``direct``.

        Celery's delayed delivery on RabbitMQ needs a topic exchange. Our routing keys have no wildcards, so a topic
        exchange routes them like a direct one.
        """
        return "topic" if self.kind == "rabbitmq" else "direct"


def check_broker_url(url: str) -> None:
    """Raise ValueError for a URL that can't work; the text is for the operator and doesn't repeat the URL."""
    if _scheme(url) not in AMQP_SCHEMES:
        try:
            check_redis_url(url)
        except ValueError as error:
            message = str(error).replace("needs a redis://", "needs an amqp://, amqps://, redis://")
            raise ValueError(message) from None
        return
    hosts = [split_url(host) for host in url.split(";")]
    if not all(host and host.hostname for host in hosts) or len({host.scheme for host in hosts if host}) != 1:
        raise ValueError(
            "needs amqp://USER:PASSWORD@HOST:5672/VHOST or amqps://…; for a cluster give whole URLs of one kind "
            "with ; between them; write / : @ ? # % ; in a password as %2F %3A %40 %3F %23 %25 %3B"
        )
    for host in hosts:
        if host:
            known = TLS_OPTIONS - {"ssl_check_hostname"} if host.scheme == "amqps" else frozenset[str]()
            parse_url_options(host, known)


def build_broker_options(url: str | None, visibility_timeout_s: int) -> BrokerOptions:
    """Return the options for the broker at ``url``, which ``check_broker_url`` has accepted.

    The ``url`` of the result is in kombu's form.
    """
    options = _redis_options(visibility_timeout_s)
    if url is None:
        return BrokerOptions(None, "redis", options)
    scheme = _scheme(url)
    if scheme in AMQP_SCHEMES:
        plain = ";".join(host.partition("?")[0] for host in url.split(";"))  # TLS options go into use_ssl.
        # Publishing waits until most nodes have the message on disk; without this option, a cut connection loses
        # messages.
        return BrokerOptions(plain, "rabbitmq", {"confirm_publish": True}, _tls_of(url))
    if scheme == "sentinel":
        sentinels = parse_sentinels(url)
        options |= {"master_name": sentinels.master, "sentinel_kwargs": sentinels.client_options()}
        return BrokerOptions(_kombu_sentinels(sentinels), "redis", options)
    if scheme == "unix":
        del options["socket_keepalive"]
        return BrokerOptions(_kombu_socket(url), "redis", options)
    return BrokerOptions(_kombu_redis(url), "redis", options)


def _scheme(url: str) -> str:
    return url.partition("://")[0]


def _kombu_redis(url: str) -> str:
    plain, _, query = url.partition("?")
    options = dict(parse_qsl(query))
    # In redis-py `db` wins over the path; kombu reads only the path.
    if (database := options.pop("db", None)) is not None:
        plain = "/".join((*plain.split("/")[:3], database))
    if plain.startswith("rediss:"):
        options.setdefault("ssl_cert_reqs", "required")  # By default kombu checks no certificate.
    return f"{plain}?{urlencode(options)}" if options else plain


def _kombu_socket(url: str) -> str:
    # unix://[USER:PASSWORD@]/run/redis.sock?db=0&password=… becomes
    # redis+socket://USER:PASSWORD@/run/redis.sock?virtual_host=0
    plain, _, query = url.removeprefix("unix://").partition("?")
    options = dict(parse_qsl(query))
    credentials, at, path = plain.rpartition("@")
    if password := options.get("password"):
        credentials, at = f"{credentials.partition(':')[0]}:{quote(password, safe='')}", "@"
    return f"redis+socket://{credentials}{at}{path}?virtual_host={options.get('db', '0')}"


def _kombu_sentinels(sentinels: Sentinels) -> str:
    credentials = (
        f"{quote(sentinels.username or '', safe='')}:{quote(sentinels.password, safe='')}@"
        if sentinels.password
        else ""
    )
    hosts = ((f"[{host}]" if ":" in host else host, port) for host, port in sentinels.nodes)
    return ";".join(f"sentinel://{credentials}{host}:{port}/{sentinels.database}" for host, port in hosts)


def _redis_options(visibility_timeout_s: int) -> dict[str, Any]:
    return {
        "global_keyprefix": BROKER_PREFIX,
        # This must be longer than the longest window takes (3 calls of 25 s, then the store), or the window's message
        # would be delivered twice.
        "visibility_timeout": visibility_timeout_s,
        "unacked_restore_interval": 10,  # Messages of a dead worker are looked for every 10 s, not every 100 s.
        "unacked_restore_throttle": 1,
        # A worker that crashes while it searches blocks the search only this long; the default is 300 s.
        "unacked_mutex_expire": 30,
        # Because of this and the health check, a half-open connection recovers within 22 s instead of never.
        "socket_timeout": 10,
        "socket_connect_timeout": 5,
        "health_check_interval": 10,
        "socket_keepalive": True,
        "retry_on_timeout": True,
        "queue_order_strategy": "priority",  # A worker takes from a queue only if all queues before it are empty.
        "priority_steps": [0],  # Our messages have no priority; kombu would poll four lists a queue.
    }


def _tls_of(url: str) -> dict[str, Any] | None:
    """Return the TLS options of ``amqps`` URLs under py-amqp's names; the hosts of a cluster share them."""
    if _scheme(url) != "amqps":
        return None
    options: dict[str, str] = {}
    for host in url.split(";"):
        options |= dict(parse_qsl(host.partition("?")[2]))
    reqs = options.pop("ssl_cert_reqs", "required")
    # Without server_hostname py-amqp checks the certificate, but not which host it is for. If the option is None, kombu
    # uses the host's name.
    hostname = {} if reqs == "none" else {"server_hostname": None}
    return {option.removeprefix("ssl_"): value for option, value in options.items()} | {
        "cert_reqs": _CERT_REQS[reqs],
        **hostname,
    }


def _checked(check: Callable[[str], object]) -> AfterValidator:
    """Return a validator that calls ``check`` with a text or secret and leaves the value as it is."""

    def validate(value: Any) -> Any:
        check(value.get_secret_value() if isinstance(value, SecretStr) else value)
        return value

    return AfterValidator(validate)


def _checked_folder(folder: Path) -> Path:
    """Return the folder. Raises ValueError if it can't be created, because it or a part of its path is a file."""
    nearest = next((path for path in (folder, *folder.parents) if path.exists()), None)
    if nearest is not None and not nearest.is_dir():
        raise ValueError(f"{nearest} is a file: name a folder")
    return folder


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
Folder = Annotated[Path, AfterValidator(_checked_folder)]
FileToMake = Annotated[Path, AfterValidator(lambda file: _checked_folder(file.parent) / file.name)]


class SecretFileSource(PydanticBaseSettingsSource):
    """A source of settings: the file that ``RELEVE_<NAME>_FILE`` names, as Docker and Kubernetes provide secrets.

    An unreadable file gives ``UNREADABLE``, which leads to one error. So does an empty file, except the files of
    ``OPTIONAL_FILES``.
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
