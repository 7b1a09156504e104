"""The settings: read once from the environment, typed and checked; all errors are reported together.

Values come from ``RELEVE_*`` variables, from a ``.env`` file in the working folder, and for secrets from the file that
``RELEVE_<NAME>_FILE`` names.  An empty variable counts as unset, so that a compose file may pass on variables that are
not set.
"""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, Literal, Self

from pydantic import Field, SecretStr, ValidationError, ValidationInfo, field_validator, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from config import validation
from worker.domain.lanes import USUAL_CEILINGS, USUAL_FLOORS, Shares
from worker.domain.series import USUAL_SERIES, Series, complete_fleet, parse_series

PREFIX: Final = "RELEVE_"
SIMULATOR_SECRET: Final = "releve-simulator-secret"  # noqa: S105 - everybody may know it
# Settings that name the host of a consent page or token endpoint.
_FURTHER_HOSTS: Final = ("enedis_authorize_url", "grdf_authorize_url", "grdf_token_url")
UP_ADDRESS: Final = "up.url"  # File in the data folder with the address of the pages of `releve up`.
_REGULATOR: Final = "https://www.cre.fr/fileadmin/Documents/Open_data/Marches_de_detail"
_UNKNOWN: Final[Any] = object()  # Stands for the value of another field if that field is invalid.


class ConfigError(Exception):
    """Some settings are invalid; the text has one line for each error, which says what to do."""


# Defaults of a home: how many days the load curve's history goes back at most, and the hour from which gateways allow
# calls.
_OF_A_HOME: Final = {"history_load_days": 745, "nightly_at": "06:00"}


class Settings(BaseSettings):
    """Every setting of Relève; ``tools.settings_reference`` makes the reference page from the text below each one."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_file=".env",
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
        hide_input_in_errors=True,
    )

    preset: Literal["enedis-v4", "enedis-v5", "enedis-2026"] = "enedis-2026"
    """Version of Enedis' API."""

    enedis_sandbox: bool = False
    """Use Enedis' sandbox instead of production."""

    enedis_url: validation.HttpUrl | None = None
    """Base URL of Enedis' API, for instance of the simulator. Unset: the preset's."""

    enedis_authorize_url: validation.HttpUrl | None = None
    """Address of Enedis' consent page. With a host alone, the preset's path is added. Unset: the preset's."""

    enedis_client_id: str = "releve-simulator"
    """Client id of your application at Enedis."""

    enedis_client_secret: SecretStr = SecretStr(SIMULATOR_SECRET)
    """Client secret of your application at Enedis. Also as …_FILE."""

    grdf_preset: Literal["grdf-adict", "grdf-adict-sandbox"] = "grdf-adict"
    """API of GRDF, for gas."""

    grdf_url: validation.HttpUrl | None = None
    """Base URL of GRDF's API. With a host alone, the preset's path is added. Unset: the preset's."""

    grdf_token_url: validation.HttpUrl | None = None
    """Address of GRDF's token endpoint. Unset: the preset's, or that of the simulator at RELEVE_GRDF_URL."""

    grdf_authorize_url: validation.HttpUrl | None = None
    """Address of GRDF's consent page (Client Connect). With a host alone, the preset's path is added. Unset: the
    preset's."""

    grdf_scope: str | None = None
    """Scope of GRDF's token. Unset: the preset's."""

    grdf_client_id: str | None = None
    """Client id of your application at GRDF (ADICT). Unset: no gas."""

    grdf_client_secret: SecretStr = SecretStr(SIMULATOR_SECRET)
    """Client secret of your application at GRDF. Also as …_FILE."""

    grdf_calls_per_second: int | None = Field(None, ge=0)
    """Most calls a second to GRDF, over all workers. 0: no limit. Unset: the preset's."""

    grdf_calls_per_day: int | None = Field(None, ge=0)
    """Most calls a day to GRDF, over all workers. 0: no limit. Unset: the preset's."""

    home: bool | None = None
    """Run for one home, without a contract with Enedis: a gateway reads the meters. Unset: true in a data folder that
    `releve home add` or `releve import` has set up."""

    gateway_url: validation.HttpUrl | None = None
    """Base URL of your own gateway, with the API of conso-api. Unset: conso.boris.sh."""

    gateway_calls_per_half_day: int = Field(60, ge=1)
    """Most calls to the gateway in 12 hours. conso-api bans an address after 100 calls in 12 hours."""

    data_dir: validation.Folder = Path("releve-data")
    """Folder for databases, keys and Redis files that no other setting places elsewhere."""

    redis_url: validation.RedisUrl | None = None
    """URL of Redis: redis://, rediss://, unix:// or sentinel://:PASSWORD@HOST1,HOST2,HOST3/0?master=NAME. Unset: an
    embedded server, started when needed. Also as …_FILE."""

    broker_url: validation.BrokerUrl | None = None
    """URL of Celery's broker: amqp://USER:PASSWORD@HOST:5672/VHOST or amqps://… for RabbitMQ 4, or a URL like
    RELEVE_REDIS_URL. For a cluster, give several whole URLs with ; between them. Unset: RELEVE_REDIS_URL. Also as
    …_FILE."""

    registry_url: SecretStr | None = None
    """SQLAlchemy URL of the registry, which has the accounts and tokens. Unset: SQLite in RELEVE_DATA_DIR. Also as
    …_FILE."""

    measures_url: SecretStr | None = None
    """URL of the measure store: couchdb+http://USER:PASSWORD@HOST:5984/, couchdb+https://… or a SQLAlchemy URL. Unset:
    SQLite in RELEVE_DATA_DIR. Also as …_FILE."""

    registry_admin_url: SecretStr | None = None
    """URL of the registry in PostgreSQL as the owner of its tables. Only `releve migrate` uses it; it also creates the
    user of RELEVE_REGISTRY_URL. Also as …_FILE."""

    measures_admin_url: SecretStr | None = None
    """URL of CouchDB as its administrator. Only `releve migrate` uses it; it also creates the user of
    RELEVE_MEASURES_URL. Also as …_FILE."""

    token_keys: SecretStr | None = None
    """Keys that encrypt tokens, with commas between them, the newest first. `releve secrets add --key` makes one.
    Unset: a key file in RELEVE_DATA_DIR. Also as …_FILE."""

    erasure_keys: SecretStr | None = None
    """Keys that sign the ledger of erasures and hash the erased meters, each of 32 characters or more, with commas
    between them, the newest first. Never drop an old one. Unset: a key file in RELEVE_DATA_DIR. Also as …_FILE."""

    ledger_file: validation.FileToMake | None = None
    """File of erasures and ended consents (the ledger of erasures). A restore applies it, so keep a copy with the
    backups. Unset: ledger.ndjson in RELEVE_DATA_DIR."""

    backup_keys: SecretStr | None = None
    """Keys that encrypt backups, with commas between them, the newest first. `releve secrets add --key` makes one.
    Unset: a key file in RELEVE_DATA_DIR. Also as …_FILE."""

    series: validation.SeriesNames = Field(
        ",".join(USUAL_SERIES),
        description=f"Series collected from every meter, with commas between them: {', '.join(Series)}. If the "
        "list has no series of a supplier, Relève collects that supplier's usual ones. `releve accounts series` "
        "chooses for one account.",
    )

    history_load_days: int = Field(28, ge=0, le=745)
    """Days of load curve that a backfill fetches. Unset: 28, for a home 745."""

    calls_per_second: int | None = Field(None, ge=0)
    """Most calls a second to Enedis, over all workers. 0: no limit. Unset: the preset's."""

    calls_per_hour: int | None = Field(None, ge=0)
    """Most calls an hour to Enedis, over all workers. 0: no limit. Unset: the preset's."""

    calls_per_day: int | None = Field(None, ge=0)
    """Most calls a day to Enedis, over all workers. 0: no limit. Unset: the preset's."""

    quota_floors: validation.Floors = USUAL_FLOORS
    """Percent of the quota that is reserved for each lane, together 90 at most. Other lanes may use a lane's unused
    part."""

    quota_ceilings: validation.Ceilings = USUAL_CEILINGS
    """Highest percent of the quota that each lane may use while other lanes wait. `strangers` never uses more."""

    supplier_timeout_s: float = Field(20, gt=0, le=120)
    """Timeout of a call to a supplier, in seconds."""

    store_timeout_s: float = Field(30, gt=0, le=120)
    """Timeout of a call to the measure store, in seconds."""

    nightly_at: str = Field("08:30", pattern=r"^([01]\d|2[0-3]):[0-5]\d$")
    """Start of the nightly sync, in Paris time. Unset: 08:30, for a home 06:00."""

    inflight_expiry_s: int = Field(900, ge=2, le=86_400)
    """A queued window that has not finished after this many seconds is queued again."""

    visibility_timeout_s: int = Field(180, ge=2, le=86_400)
    """Seconds after which the broker gives a dead worker's message to another worker."""

    reconcile_every_s: int = Field(30, ge=1, le=3600)
    """Seconds after which beat searches again for lost or new work."""

    public_url: validation.HttpUrl = "http://127.0.0.1:8000"
    """Address at which browsers reach the pages. Links in messages begin with it. Unset: where the last `releve up` on
    RELEVE_DATA_DIR listened."""

    plain_http: bool = False
    """Allow an http:// RELEVE_PUBLIC_URL that other machines reach without TLS. Use this only in your own network. If
    it is false, the web service does not start with such an address."""

    contact: validation.ContactText | None = None
    """How households reach you: a mail address, an https:// address or one line of text. Pages show it where they can't
    help further."""

    session_key: SecretStr | None = None
    """Keys that protect sessions, codes, operators and forms, with commas between them, the newest first. `releve
    secrets add --key` makes one. Only the web application needs them. Unset: a key file in RELEVE_DATA_DIR. Also as
    …_FILE."""

    pretend_homes: bool = False
    """Offer every visitor a simulated home on the first page. Never use it with real meters behind RELEVE_ENEDIS_URL:
    anybody could read them. Refused with the suppliers' own hosts."""

    new_accounts_per_browser: int = Field(5, ge=1, le=1000)
    """New accounts a day that one browser may connect without an invitation. Further ones wait for the operator
    (`releve consents --requests`)."""

    new_accounts_per_address: int = Field(20, ge=1, le=100_000)
    """New accounts a day that one IPv4 address or one IPv6 /64 may connect without an invitation."""

    new_accounts_per_day: int = Field(500, ge=1, le=1_000_000)
    """New accounts a day that all browsers together may connect without an invitation."""

    consent_duration: validation.ConsentDuration | None = None
    """Duration of the consents that Relève asks for, like P6M or P1095D. Unset: the longest that the preset allows."""

    webhook_url: validation.HttpUrl | None = None
    """URL that receives the notices as signed POSTs."""

    webhook_secret: SecretStr | None = None
    """Secret that signs the POSTs to RELEVE_WEBHOOK_URL (HMAC-SHA256), of 32 characters or more. Also as …_FILE."""

    webhook_networks: validation.Networks = ""
    """Private networks that webhooks of notices and the services of RELEVE_NOTIFY_URL may reach, like 10.1.0.0/16, or
    127.0.0.0/8 for a mail server on this machine. Unset: public addresses only."""

    notify_url: validation.NotifyUrls | None = None
    """Services that receive the operator's notices: apprise URLs with a space between them, like
    mailtos://USER:PASSWORD@HOST?from=ADDRESS&to=ADDRESS, ntfys://…, tgram://… or matrixs://…. The first mail service
    also sends invitations, sign-in links and the households' notices. Also as …_FILE."""

    notify_language: Literal["fr", "en"] = "fr"
    """Language of the operator's notices. Households choose their own."""

    keep_consent_proof_days: int = Field(1825, ge=0, le=36_500)
    """Days for which the proof of an ended consent is kept. It holds no measures. An erasure removes the meter and the
    reference from it at once."""

    daily_limit_kwh: float = Field(900, gt=0)
    """Without a contract, more than this in a day, or a twelfth of it in an hour, is not stored. 36 kVA deliver 900 kWh
    in 25 hours."""

    prices_base_url: validation.HttpUrl = f"{_REGULATOR}/Option_Base.csv"
    """Address of the regulator's prices, option Base. A daily task fetches it if an account is on the regulated tariff.
    Redirects are followed to the hosts of these three settings, www.cre.fr, www.data.gouv.fr and
    static.data.gouv.fr."""

    prices_hphc_url: validation.HttpUrl = f"{_REGULATOR}/Option_HPHC.csv"
    """Address of the regulator's prices, option HP/HC."""

    prices_tempo_url: validation.HttpUrl = f"{_REGULATOR}/Option_Tempo.csv"
    """Address of the regulator's prices, option Tempo."""

    rte_client_id: str | None = None
    """Client id of your application at RTE (Tempo Like Supply Contract), for the colours of Tempo. Unset: they come
    only from files."""

    rte_client_secret: SecretStr | None = None
    """Client secret of your application at RTE. Also as …_FILE."""

    rte_url: validation.HttpUrl = "https://digital.iservices.rte-france.com"
    """Base URL of RTE's services, for instance of the simulator."""

    incident_accounts: int = Field(5, ge=0, le=500)
    """An incident opens by itself only if at least this many accounts fail alike. 0: none opens by itself."""

    incident_share: float = Field(0.8, gt=0, le=1)
    """An incident that holds windows opens by itself only if at least this share of accounts fails alike. Accounts
    without a call within RELEVE_INCIDENT_MINUTES do not count."""

    incident_minutes: float = Field(10, gt=0, le=1440)
    """Minutes over which failures are counted for an incident."""

    incident_probe_s: float = Field(60, gt=0, le=3600)
    """Seconds from an incident's start to its first probes. Each wait is twice the one before, up to 15 times the
    first."""

    audit_sample: int = Field(200, ge=0, le=100_000)
    """Number of accounts that the nightly audit checks."""

    keep_corrections_days: int = Field(400, ge=1, le=36_500)
    """Days for which corrections are kept, with the old and the new value."""

    raw_answers_days: int = Field(0, ge=0, le=3650)
    """Days for which the supplier's answers are kept, encrypted, for `releve replay`. 0: none are kept. Relève erases
    whole months, so answers may stay up to 31 days longer."""

    api_calls_per_minute: int = Field(600, ge=1, le=1_000_000)
    """Most calls a minute to the API by one token or one browser session."""

    pretend_now: datetime | None = None
    """Act as if it were this time (ISO 8601 with offset). For tests: refused with the suppliers' own hosts."""

    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    """Lowest level that is logged."""

    log_format: Literal["console", "json"] = "console"
    """Format of log lines: text (console), or one JSON object a line (json)."""

    metrics_host: str = "127.0.0.1"
    """Address that a worker's metrics endpoint listens on."""

    metrics_port: int = Field(0, ge=0, le=65_535)
    """Port of a worker's metrics endpoint for Prometheus. 0: no endpoint."""

    watchdog_silence_s: int = Field(120, ge=0, le=86_400)
    """A worker restarts itself after this many seconds without its broker, if the broker answers other connections. 0:
    never."""

    layout: Literal["plain", "packed"] = "plain"
    """How CouchDB stores measures. plain: one document a value. packed: one document for a day of load curve or a year
    of daily values. `releve migrate --layout` converts."""

    couchdb_shards: int | None = Field(None, ge=1, le=256)
    """Shards (q) of each CouchDB database, set when it is created. Unset: the server's default."""

    couchdb_replicas: int | None = Field(None, ge=1, le=9)
    """Copies (n) of each document in a CouchDB cluster, set when a database is created. Unset: the server's default."""

    couchdb_revisions: int = Field(50, ge=10, le=1000)
    """Revisions that CouchDB keeps of documents that change every night (_revs_limit). Their number must exceed the
    nights between two replications. `releve migrate` sets it; CouchDB's own default is 1000."""

    flower_password: SecretStr | None = None
    """Password of the user `releve` in the Flower that `releve up` starts. Unset: a key file in RELEVE_DATA_DIR. Also
    as …_FILE."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, env_settings, validation.SecretFileSource(settings_cls), dotenv_settings

    @classmethod
    def from_env(cls, **values: Any) -> Self:
        """Read all settings; ``values`` override the environment.  Raises ConfigError with all errors."""
        try:
            return cls(**values)
        except ValidationError as error:
            raise ConfigError("\n".join(_error_line(**fault) for fault in error.errors(include_input=False))) from None

    @field_validator("pretend_now")
    @classmethod
    def _check_offset(cls, value: datetime | None) -> datetime | None:
        if value is not None and value.tzinfo is None:
            raise ValueError("needs an offset, like 2024-07-25T09:00+02:00")
        return value

    @field_validator("pretend_now", "pretend_homes")
    @classmethod
    def _check_pretence(cls, value: Any, info: ValidationInfo) -> Any:
        # This is a field's validator, because a model's validator would not run if another field is invalid.
        if value and validation.is_home_of(info.data.get("home"), info.data.get("data_dir")):
            if validation.is_gateway_production(info.data.get("gateway_url")):
                raise ValueError("is for the simulator only: unset it, or set RELEVE_GATEWAY_URL to the simulator")
            return value
        hosts = info.data.get("enedis_url", _UNKNOWN), info.data.get("enedis_sandbox", _UNKNOWN)
        if value and _UNKNOWN not in hosts and validation.is_production(*hosts):
            raise ValueError("is for the simulator only: unset it, or set RELEVE_ENEDIS_URL to the simulator")
        if value and validation.is_gas_production(info.data.get("grdf_url"), info.data.get("grdf_client_id")):
            raise ValueError("is for the simulator only: unset it, or set RELEVE_GRDF_URL to the simulator")
        for name in _FURTHER_HOSTS:
            if value and validation.is_suppliers(info.data.get(name)):
                raise ValueError(
                    f"is for the simulator only: unset it, or unset {PREFIX}{name.upper()}, which names a real host"
                )
        return value

    @model_validator(mode="after")
    def _apply_home_defaults(self) -> Self:
        if self.is_home:
            self.__dict__ |= {name: value for name, value in _OF_A_HOME.items() if name not in self.model_fields_set}
        return self

    @model_validator(mode="after")
    def _read_address(self) -> Self:
        """Use the address that `releve up` has written into the data folder, unless the setting names one."""
        if "public_url" not in self.model_fields_set:
            with suppress(OSError, ValueError):
                address = (self.data_dir / UP_ADDRESS).read_text(encoding="utf-8")
                validation.check_http_url(address)
                self.__dict__["public_url"] = address
        return self

    @model_validator(mode="after")
    def _check_shares(self) -> Self:
        try:
            self.quota_shares()
        except ValueError as error:
            raise ValueError(f"RELEVE_QUOTA_CEILINGS: {error}") from None
        return self

    @model_validator(mode="after")
    def _check_home(self) -> Self:
        if self.home is False and self.home_mark().exists():
            raise ValueError(
                f"RELEVE_HOME is false, but {self.home_mark()} marks this data folder as a home's: unset "
                "RELEVE_HOME, or set RELEVE_DATA_DIR to another folder"
            )
        if self.is_home and self.has_enedis_credentials:
            raise ValueError(
                "RELEVE_ENEDIS_CLIENT_ID is set, but a home uses a gateway instead of Enedis: unset it; or unset "
                "RELEVE_HOME and set RELEVE_DATA_DIR to another folder"
            )
        return self

    @model_validator(mode="after")
    def _check_notices(self) -> Self:
        if self.webhook_url and not self.webhook_secret:
            raise ValueError("RELEVE_WEBHOOK_URL needs RELEVE_WEBHOOK_SECRET, so that the receiver can check who sends")
        if self.webhook_url and self.webhook_secret:
            try:
                validation.check_webhook(
                    self.webhook_url, self.webhook_secret.get_secret_value(), self.webhook_networks
                )
            except ValueError as error:
                raise ValueError(f"RELEVE_WEBHOOK_URL: {error}") from None
        try:
            validation.check_notify_hosts(self.notify_urls(), self.webhook_networks)
        except ValueError as error:
            raise ValueError(f"RELEVE_NOTIFY_URL: {error}") from None
        return self

    @field_validator("*", mode="before")
    @classmethod
    def _check_secret_file(cls, value: Any, info: ValidationInfo) -> Any:
        # The message doesn't name the path, because a person may have put the secret itself there by mistake.
        if value is validation.UNREADABLE:
            variable = f"{PREFIX}{str(info.field_name).upper()}_FILE"
            raise ValueError(
                f"the file that {variable} names can't be read or is empty: correct it, or unset the variable"
            )
        return value

    @property
    def pretends(self) -> bool:
        """Whether ``pretend_homes`` or ``pretend_now`` is set.

        Don't guess this from the supplier's host name: a private gateway isn't Enedis' host either, but has real
        meters.
        """
        return self.pretend_homes or self.pretend_now is not None

    @property
    def speaks_to_simulator(self) -> bool:
        """Whether a simulator replaces Enedis; Relève sends a simulator more data than it sends Enedis."""
        if self.is_home:
            return False
        return self.pretends and self.enedis_url is not None and not validation.is_suppliers(self.enedis_url)

    @property
    def speaks_to_gas_simulator(self) -> bool:
        """Whether gas is set up and a simulator replaces GRDF."""
        has_gas = bool(self.grdf_client_id)
        return self.pretends and has_gas and self.grdf_url is not None and not validation.is_suppliers(self.grdf_url)

    @property
    def has_enedis_credentials(self) -> bool:
        """Whether the client id is that of a real application at Enedis, not the simulator's."""
        return self.enedis_client_id not in ("", type(self).model_fields["enedis_client_id"].default)

    @property
    def is_home(self) -> bool:
        """Whether this installation is for one home, and uses a gateway instead of Enedis."""
        return validation.is_home_of(self.home, self.data_dir)

    def home_mark(self) -> Path:
        return validation.home_mark_in(self.data_dir)

    def contact_link(self) -> str | None:
        """Return a link to the operator's contact; None if it is not set, or neither a URL nor a mail address."""
        if self.contact is None or self.contact.startswith("https://"):
            return self.contact
        return f"mailto:{self.contact}" if validation.MAIL_ADDRESS.fullmatch(self.contact) else None

    def quota_shares(self) -> Shares:
        """Return each lane's floor and ceiling in the quota."""
        return Shares.parse(self.quota_floors, self.quota_ceilings)

    def collected_series(self) -> tuple[Series, ...]:
        """Return the series that are collected from every meter by default."""
        return complete_fleet(self.named_series())

    def named_series(self) -> tuple[Series, ...]:
        return parse_series(self.series)

    def registry(self) -> str:
        """Return the URL of the registry, SQLite in data_dir by default."""
        return _secret(self.registry_url) or f"sqlite:///{self.data_dir / 'registry.db'}"

    def measures(self) -> str:
        """Return the URL of the measure store, SQLite in data_dir by default."""
        return _secret(self.measures_url) or f"sqlite:///{self.data_dir / 'measures.db'}"

    def registry_owner(self) -> str:
        """Return the registry's URL for the user that may change its tables."""
        return _secret(self.registry_admin_url) or self.registry()

    def measures_owner(self) -> str:
        """Return the measure store's URL for the user that may create databases."""
        return _secret(self.measures_admin_url) or self.measures()

    def ledger(self) -> Path:
        """Return the path of the ledger of erasures, in data_dir by default."""
        return self.ledger_file or self.data_dir / "ledger.ndjson"

    def notify_urls(self) -> list[str]:
        return (_secret(self.notify_url) or "").split()

    def redis(self) -> str | None:
        """Return the URL of Redis; None for the embedded server."""
        return _secret(self.redis_url)

    def broker_address(self) -> str | None:
        """Return the broker's URL as it was set; None for the embedded Redis."""
        return _secret(self.broker_url) or self.redis()

    def broker_options(self) -> validation.BrokerOptions:
        return validation.build_broker_options(self.broker_address(), self.visibility_timeout_s)


@lru_cache(maxsize=1)
def get_settings() -> Settings:
    """Return the settings of this process, read at the first call.  Raises ConfigError."""
    return Settings.from_env()


def _error_line(*, loc: tuple[int | str, ...], msg: str, **_: Any) -> str:
    message = msg.removeprefix("Value error, ")
    return f"{PREFIX}{str(loc[0]).upper()}: {message}" if loc else message


def _secret(value: SecretStr | None) -> str | None:
    return value.get_secret_value() if value else None
