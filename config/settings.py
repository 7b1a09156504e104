"""All that the process is told from outside, read once, typed and checked; every fault is named at once.

Values come from ``RELEVE_*`` variables, from a ``.env`` file beside the process, and for secrets from the
file that ``RELEVE_<NAME>_FILE`` points to.  An empty variable counts as unset, so that a compose file may
pass on what is not there.
"""

from __future__ import annotations

import os
import re
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, Self
from urllib.parse import SplitResult, urlsplit

from pydantic import Field, SecretStr, ValidationError, ValidationInfo, field_validator, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from config.brokers import Broker, broker_from, check_broker_url
from worker.domain.fleet.lanes import USUAL_CEILINGS, USUAL_FLOORS, Shares, parse_ceilings, parse_floors
from worker.stores.redis.connection import check_redis_url

PREFIX = "RELEVE_"
PRODUCTION_DOMAIN = "enedis.fr"
_DURATION = re.compile(r"P(?=\d)(?:(\d{1,4})Y)?(?:(\d{1,4})M)?(?:(\d{1,4})W)?(?:(\d{1,4})D)?", re.ASCII)
_UNIT_DAYS = (365, 30.4, 7, 1)
_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_ORIGIN = re.compile(  # plain http for a machine of one's own alone: codes travel on it
    rf"(?:https://(?:(?:\*|{_LABEL})\.)*{_LABEL}\.{_LABEL}|https?://(?:(?:\*|{_LABEL})\.)*(?:localhost|127\.0\.0\.1))(?::\d{{1,5}})?",
    re.IGNORECASE,
)
_UNKNOWN: Any = object()  # a field at fault
_UNREADABLE: Any = object()  # the value of a file that can't be read


class ConfigError(Exception):
    """What the process was told can't work; the text has one line a fault, each saying what to do."""


class Settings(BaseSettings):
    """Every knob of Relève; the reference page of the docs is made from these descriptions."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_file=".env",
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
        hide_input_in_errors=True,
    )

    preset: Literal["enedis-v4", "enedis-v5", "enedis-2026"] = Field(
        "enedis-2026", description="Which generation of the supplier's API to speak."
    )
    enedis_sandbox: bool = Field(False, description="Use the supplier's sandbox hosts instead of production.")
    enedis_url: str | None = Field(None, description="Base URL in place of the preset's, e.g. the simulator's.")
    enedis_authorize_url: str | None = Field(
        None, description="Consent page in place of the preset's; with only a host, the preset's path is added."
    )
    enedis_client_id: str = Field("releve-simulator", description="Id of the application at Enedis.")
    enedis_client_secret: SecretStr = Field(
        SecretStr("releve-simulator-secret"), description="Secret of the application; also as …_FILE."
    )
    data_dir: Path = Field(
        Path("releve-data"), description="Folder of the embedded defaults: databases, token keys, Redis files."
    )
    redis_url: SecretStr | None = Field(
        None,
        description="redis://, rediss:// or unix:// URL, or sentinel://:PASSWORD@HOST1,HOST2,HOST3/0?master=NAME; "
        "unset, an embedded server is started when needed. Also as …_FILE.",
    )
    broker_url: SecretStr | None = Field(
        None,
        description="Broker of Celery where it is not redis_url: amqp://USER:PASSWORD@HOST:5672/VHOST or amqps://… of "
        "RabbitMQ 4 (hosts of a cluster with ; between whole URLs), or a URL like redis_url. Also as …_FILE.",
    )
    registry_url: SecretStr | None = Field(
        None, description="SQLAlchemy URL of accounts and tokens; unset, SQLite in data_dir."
    )
    measures_url: SecretStr | None = Field(
        None,
        description="Where documents are kept: couchdb+http://user:password@host:5984/, couchdb+https://… or a "
        "SQLAlchemy URL; unset, SQLite in data_dir.",
    )
    registry_admin_url: SecretStr | None = Field(
        None,
        description="The same PostgreSQL database as owner of its tables, for `releve migrate` alone, which then also "
        "makes the user that registry_url names. Also as …_FILE.",
    )
    measures_admin_url: SecretStr | None = Field(
        None,
        description="The same CouchDB as its administrator, for `releve migrate` alone, which then also makes the user "
        "that measures_url names. Also as …_FILE.",
    )
    token_keys: SecretStr | None = Field(
        None,
        description="Fernet keys that seal tokens, comma separated, the newest first (make one with "
        "`releve keys new`); unset, a key file in data_dir. Also as …_FILE.",
    )
    history_load_days: int = Field(28, ge=0, le=745, description="Depth of the load curve's backfill, in days.")
    calls_per_second: int | None = Field(
        None, ge=0, description="Calls a second to the supplier, all workers together; unset the preset's, 0 no limit."
    )
    calls_per_hour: int | None = Field(
        None, ge=0, description="Calls an hour to the supplier, all workers together; unset the preset's, 0 no limit."
    )
    calls_per_day: int | None = Field(
        None, ge=0, description="Calls a day to the supplier, all workers together; unset the preset's, 0 no limit."
    )
    quota_floors: str = Field(
        USUAL_FLOORS,
        description="Percent of the quota that each kind of work can count on, 90 together at most; what it leaves "
        "flows to the others.",
    )
    quota_ceilings: str = Field(
        USUAL_CEILINGS,
        description="Percent of the quota at which each kind of work stops while another goes without.",
    )
    supplier_timeout_s: float = Field(20, gt=0, le=120, description="Longest wait for an answer of the supplier.")
    store_timeout_s: float = Field(30, gt=0, le=120, description="Longest wait for an answer of the measure store.")
    nightly_at: str = Field(
        "08:30", pattern=r"^([01]\d|2[0-3]):[0-5]\d$", description="Start of the nightly sync, Europe/Paris."
    )
    inflight_expiry_s: int = Field(
        900, ge=2, le=86_400, description="After this long a published window counts as lost and is published again."
    )
    visibility_timeout_s: int = Field(
        180, ge=2, le=86_400, description="After this long the broker gives a dead worker's message to another."
    )
    reconcile_every_s: int = Field(30, ge=1, le=3600, description="How often beat looks for lost or new work.")
    public_url: str = Field(
        "http://127.0.0.1:8000", description="Where browsers reach the connect service; links in messages begin so."
    )
    session_key: SecretStr | None = Field(
        None,
        description="Signs browser sessions, 32 characters or more; unset, a key file in data_dir. Also as …_FILE.",
    )
    operator_password: SecretStr | None = Field(
        None, description="Opens the operator's page, which is closed without it. Also as …_FILE."
    )
    proxy_origins: str = Field(
        "", description="Origins that may use /proxy, comma separated, like https://*.cozy.example; empty closes it."
    )
    consent_duration: str | None = Field(
        None, description="How long a consent is asked for, like P6M or P1095D; unset, the longest the preset may have."
    )
    webhook_url: str | None = Field(None, description="Gets a signed POST when an account needs its owner.")
    webhook_secret: SecretStr | None = Field(None, description="Signs these POSTs (HMAC-SHA256). Also as …_FILE.")
    smtp_url: SecretStr | None = Field(
        None, description="smtp://user:password@host:587 or smtps://…: sends the same by e-mail to notify_mail."
    )
    mail_from: str = Field("releve@localhost", description="Sender of e-mails.")
    notify_mail: str | None = Field(None, description="Who gets the e-mails: the operator's or support's address.")
    keep_consent_proof_days: int = Field(
        1825,
        ge=0,
        le=36_500,
        description="How long the proof of an ended consent is kept, without any measure; 0 not at all.",
    )
    incident_accounts: int = Field(
        5,
        ge=0,
        le=500,
        description="The same failure on this many accounts may be an incident of the supplier's; 0 never.",
    )
    incident_share: float = Field(
        0.8, gt=0, le=1, description="And on this share of all accounts asked within incident_minutes."
    )
    incident_minutes: float = Field(10, gt=0, le=1440, description="How far back an incident is looked for.")
    incident_probe_s: float = Field(
        60,
        gt=0,
        le=3600,
        description="How long an incident lasts before canaries are sent; then twice as long each time, 15 times at "
        "most.",
    )
    audit_sample: int = Field(
        200, ge=0, le=100_000, description="How many accounts' documents are held against one another each night."
    )
    keep_corrections_days: int = Field(
        400, ge=1, le=36_500, description="How long is kept what the supplier corrected: the old and the new value."
    )
    raw_vault_days: int = Field(
        0,
        ge=0,
        le=3650,
        description="How many days the supplier's answers are kept as they came, sealed, for `releve replay`; 0 for "
        "none. A month is erased as a whole, up to 31 days later.",
    )
    api_calls_per_minute: int = Field(
        600,
        ge=1,
        le=1_000_000,
        description="Calls a minute that one token, or one browser session, may make to the API.",
    )
    pretend_now: datetime | None = Field(
        None, description="Live at this time (ISO with offset) instead of now; refused with the supplier's own hosts."
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field("INFO", description="Least level to log.")
    log_format: Literal["console", "json"] = Field(
        "console", description="Log lines for people (console), or one JSON object a line for programs (json)."
    )
    metrics_host: str = Field("127.0.0.1", description="Address that a worker's metrics endpoint listens on.")
    metrics_port: int = Field(
        0, ge=0, le=65_535, description="Port of a worker's metrics endpoint (Prometheus); 0 for none."
    )
    watchdog_silence_s: int = Field(
        120,
        ge=0,
        le=86_400,
        description="A worker that its broker can't reach for this long, while the broker answers others, starts "
        "itself anew; 0 never.",
    )
    layout: Literal["plain", "packed"] = Field(
        "plain",
        description="How measures are laid out: plain, a document a value as the original did, or packed, a document a "
        "day of load curve and a year of daily values; `releve migrate-layout` turns one into the other.",
    )
    couchdb_shards: int | None = Field(
        None,
        ge=1,
        le=256,
        description="Shards (q) of each CouchDB database when it is made; unset the server's default.",
    )
    couchdb_replicas: int | None = Field(
        None, ge=1, le=9, description="Copies (n) of each document in a CouchDB cluster; unset the server's default."
    )
    flower_password: SecretStr | None = Field(
        None,
        description="Password of the user `releve` in the Flower that `releve up` starts; unset, a key file in "
        "data_dir. Also as …_FILE.",
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, env_settings, _SecretFiles(settings_cls), dotenv_settings

    @classmethod
    def from_env(cls, **given: Any) -> Self:
        """Read everything.  Raises ConfigError with all faults."""
        try:
            return cls(**given)
        except ValidationError as error:
            raise ConfigError("\n".join(_fault(**fault) for fault in error.errors(include_input=False))) from None

    @field_validator("pretend_now")
    @classmethod
    def _aware(cls, value: datetime | None) -> datetime | None:
        if value is not None and value.tzinfo is None:
            raise ValueError("needs an offset, like 2024-07-25T09:00+02:00")
        return value

    @field_validator("pretend_now")
    @classmethod
    def _not_in_production(cls, value: datetime | None, told: ValidationInfo) -> datetime | None:
        # Here and not in a model validator, which would not be asked where another field is at fault.
        hosts = told.data.get("enedis_url", _UNKNOWN), told.data.get("enedis_sandbox", _UNKNOWN)
        if value is not None and _UNKNOWN not in hosts and _is_production(*hosts):
            raise ValueError("is for the simulator: unset it, or set RELEVE_ENEDIS_URL to the simulator")
        return value

    @field_validator("enedis_url", "enedis_authorize_url", "public_url", "webhook_url")
    @classmethod
    def _http(cls, value: str | None) -> str | None:
        parts = _split_url(value or "http://unset")
        if parts is None or parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("needs an http:// or https:// URL")
        return value.rstrip("/") if value else value

    @field_validator("redis_url")
    @classmethod
    def _redis(cls, value: SecretStr | None) -> SecretStr | None:
        if value:
            check_redis_url(value.get_secret_value())
        return value

    @field_validator("broker_url")
    @classmethod
    def _broker(cls, value: SecretStr | None) -> SecretStr | None:
        if value:
            check_broker_url(value.get_secret_value())
        return value

    @field_validator("consent_duration")
    @classmethod
    def _at_most_three_years(cls, value: str | None) -> str | None:
        if value is None:
            return None
        match = _DURATION.fullmatch(value)
        counts = match.groups(default="0") if match else ("0", "0", "0", "0")
        days = sum(int(count) * unit for count, unit in zip(counts, _UNIT_DAYS, strict=True))
        if not 1 <= days <= 3 * 365 + 1:
            raise ValueError("needs a duration of at most three years, like P6M, P1Y or P1095D")
        return value

    @field_validator("quota_floors")
    @classmethod
    def _floors(cls, value: str) -> str:
        parse_floors(value)
        return value

    @field_validator("quota_ceilings")
    @classmethod
    def _ceilings(cls, value: str) -> str:
        parse_ceilings(value)
        return value

    @field_validator("proxy_origins")
    @classmethod
    def _origins(cls, value: str) -> str:
        for origin in filter(None, (part.strip() for part in value.split(","))):
            if not _ORIGIN.fullmatch(origin):
                raise ValueError(
                    "needs origins like https://*.cozy.example: scheme and host, * for one label of the host, never "
                    "for its last two"
                )
        return value

    @field_validator("smtp_url")
    @classmethod
    def _smtp(cls, value: SecretStr | None) -> SecretStr | None:
        parts = urlsplit(value.get_secret_value() if value else "smtp://unset")
        if parts.scheme not in ("smtp", "smtps") or not parts.hostname or not _port_holds(parts):
            raise ValueError("needs a URL like smtp://user:password@host:587 or smtps://host")
        return value

    @field_validator("mail_from", "notify_mail")
    @classmethod
    def _address(cls, value: str | None) -> str | None:
        if value is not None and not re.fullmatch(r"[^@\s<>,]+@[^@\s<>,]+", value):
            raise ValueError("needs one e-mail address, like support@example.org")
        return value

    @model_validator(mode="after")
    def _shares_fit(self) -> Self:
        try:
            self.quota_shares()
        except ValueError as error:
            raise ValueError(f"RELEVE_QUOTA_CEILINGS: {error}") from None
        return self

    @model_validator(mode="after")
    def _notices_whole(self) -> Self:
        if self.webhook_url and not self.webhook_secret:
            raise ValueError("RELEVE_WEBHOOK_URL needs RELEVE_WEBHOOK_SECRET: its receiver must know who sends")
        if self.smtp_url and not self.notify_mail:
            raise ValueError("RELEVE_SMTP_URL needs RELEVE_NOTIFY_MAIL: to whom should the e-mails go?")
        return self

    @field_validator("*", mode="before")
    @classmethod
    def _readable(cls, value: Any, told: ValidationInfo) -> Any:
        if value is _UNREADABLE:  # which file is not told: some put the secret itself there
            variable = f"{PREFIX}{str(told.field_name).upper()}_FILE"
            raise ValueError(f"the file that {variable} names can't be read or is empty: mend it, or unset it")
        return value

    @property
    def speaks_to_production(self) -> bool:
        """The supplier's own hosts, with real meters behind them."""
        return _is_production(self.enedis_url, self.enedis_sandbox)

    def quota_shares(self) -> Shares:
        return Shares.parse(self.quota_floors, self.quota_ceilings)

    def registry(self) -> str:
        return _secret(self.registry_url) or f"sqlite:///{self.data_dir / 'registry.db'}"

    def measures(self) -> str:
        return _secret(self.measures_url) or f"sqlite:///{self.data_dir / 'measures.db'}"

    def registry_owner(self) -> str:
        """For who changes the registry's tables."""
        return _secret(self.registry_admin_url) or self.registry()

    def measures_owner(self) -> str:
        """For who makes databases."""
        return _secret(self.measures_admin_url) or self.measures()

    def redis(self) -> str | None:
        return _secret(self.redis_url)

    def broker(self) -> str | None:
        """The broker's URL as kombu writes it; None for the embedded Redis."""
        return self.broker_options().url

    def broker_address(self) -> str | None:
        """The broker's URL as it was told; None for the embedded Redis."""
        return _secret(self.broker_url) or self.redis()

    def broker_options(self) -> Broker:
        return broker_from(self.broker_address(), self.visibility_timeout_s)


@lru_cache(maxsize=1)
def get_settings() -> Settings:
    """The settings of this process, read at first use.  Raises ConfigError."""
    return Settings.from_env()


class _SecretFiles(PydanticBaseSettingsSource):
    """``RELEVE_<NAME>_FILE``: the value stands in a file, as container platforms hand out secrets."""

    def get_field_value(self, field: Any, field_name: str) -> tuple[Any, str, bool]:
        path = os.environ.get(f"{PREFIX}{field_name.upper()}_FILE")
        if not path:
            return None, field_name, False
        try:
            text = Path(path).read_text(encoding="utf-8").strip()
            return text or _UNREADABLE, field_name, False  # an empty secret must not fall back on a default
        except (OSError, UnicodeDecodeError):
            return _UNREADABLE, field_name, False

    def __call__(self) -> dict[str, Any]:
        found = {name: self.get_field_value(None, name)[0] for name in self.settings_cls.model_fields}
        return {name: value for name, value in found.items() if value}


def _is_production(enedis_url: str | None, sandbox: bool) -> bool:
    if enedis_url is None:
        return not sandbox
    host = urlsplit(enedis_url).hostname or ""
    return host.endswith(PRODUCTION_DOMAIN) and "sandbox" not in host and ".hml." not in host


def _split_url(url: str) -> SplitResult | None:
    """None where it is no URL: what the library says then may quote a password."""
    try:
        parts = urlsplit(url)
        return parts if parts.port is None or parts.port else None
    except ValueError:
        return None


def _fault(*, loc: tuple[int | str, ...], msg: str, **_: Any) -> str:
    message = msg.removeprefix("Value error, ")
    return f"{PREFIX}{str(loc[0]).upper()}: {message}" if loc else message


def _port_holds(parts: SplitResult) -> bool:
    try:
        return parts.port is None or parts.port > 0
    except ValueError:
        return False


def _secret(value: SecretStr | None) -> str | None:
    return value.get_secret_value() if value else None
