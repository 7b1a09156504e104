"""releve doctor: every connection and setting looked at, each fault with its mend."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfoNotFoundError

import click

from config.settings import ConfigError, Settings, get_settings
from worker.cli.common import json_option, print_json
from worker.domain.readings import day_length
from worker.errors import WorkerError
from worker.runtime import (
    Runtime,
    calls_per_hour,
    endpoints_from,
    measures_from,
    redis_url_from,
    sealer_from,
)
from worker.stores.redis_link import check_eviction, connect
from worker.stores.registry import AccountRegistry

_LONGEST_DAY: Final = datetime(2024, 10, 27, tzinfo=UTC).date()


@dataclass(frozen=True, slots=True)
class Finding:
    check: str
    ok: bool
    told: str  # what was found, or what to do


Check = Callable[[Settings, ExitStack], str]


@click.command()
@json_option
def doctor(as_json: bool) -> int:
    """Check settings, time zones, Redis, registry, measure store, supplier and workers, one line each.

    \b
    Example:
      releve doctor
    """
    findings = list(_examine())
    if as_json:
        print_json([asdict(finding) for finding in findings])
    else:
        for finding in findings:
            click.echo(f"{'ok  ' if finding.ok else 'FAIL'} {finding.check:10} {finding.told}")
    return 0 if all(finding.ok for finding in findings) else 1


def _examine() -> Iterator[Finding]:
    try:
        settings = get_settings()
    except ConfigError as error:
        yield from (Finding("settings", False, line) for line in str(error).splitlines())
        return
    with ExitStack() as opened:
        for name, check in _CHECKS.items():
            yield _look(name, check, settings, opened)


def _look(name: str, check: Check, settings: Settings, opened: ExitStack) -> Finding:
    try:
        return Finding(name, True, check(settings, opened))
    except (ConfigError, WorkerError) as error:
        return Finding(name, False, " ".join(str(error).split()))


def _settings(settings: Settings, opened: ExitStack) -> str:
    where = "the supplier's own hosts" if settings.speaks_to_production else "a sandbox or simulator"
    pretence = f", PRETENDING it is {settings.pretend_now.isoformat()}" if settings.pretend_now else ""
    per_hour = calls_per_hour(settings, endpoints_from(settings)) or "no limit of"
    return f"{settings.preset} on {where}, {per_hour} calls an hour{pretence}"


def _python(settings: Settings, opened: ExitStack) -> str:
    return f"Python {sys.version.split()[0]}"


def _time_zone(settings: Settings, opened: ExitStack) -> str:
    try:
        length = day_length(_LONGEST_DAY)
    except ZoneInfoNotFoundError:
        raise ConfigError("no time zone data: pip install tzdata") from None
    if length != timedelta(hours=25):
        raise ConfigError("the time zone data is wrong for Europe/Paris: update tzdata")
    return "Europe/Paris knows its clock changes"


def _disk(settings: Settings, opened: ExitStack) -> str:
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(settings.data_dir).free // 2**20
    if free < 200:
        raise ConfigError(f"only {free} MiB are free where {settings.data_dir} is: make room")
    return f"{free} MiB free in {settings.data_dir}"


def _keys(settings: Settings, opened: ExitStack) -> str:
    sealer = sealer_from(settings)
    if sealer.unseal(sealer.seal("probe")) != "probe":
        raise ConfigError("RELEVE_TOKEN_KEYS can't open what they sealed")
    return "tokens can be sealed" + ("" if settings.token_keys else f" (key file in {settings.data_dir})")


def _registry(settings: Settings, opened: ExitStack) -> str:
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    try:
        registry = AccountRegistry(settings.registry(), sealer_from(settings))
    except ValueError as error:
        raise ConfigError(f"RELEVE_REGISTRY_URL: {error}") from None
    opened.callback(registry.close)
    registry.migrate()
    counts = registry.count_by_state()
    accounts = ", ".join(f"{number} {state}" for state, number in counts.items() if number) or "no accounts"
    return f"schema {registry.schema_version()}, {accounts}"


def _measures(settings: Settings, opened: ExitStack) -> str:
    for store in measures_from(settings).values():
        store.read("doctor", "0", "1")
    return "all five doctypes answer"


def _redis(settings: Settings, opened: ExitStack) -> str:
    redis = connect(redis_url_from(settings, opened))
    opened.callback(redis.close)
    check_eviction(redis)
    version = redis.info("server").get("redis_version", "?")
    persistent = redis.info("persistence").get("aof_enabled")
    kept = "append-only file on" if persistent else "no append-only file: queued work is lost when it restarts"
    return f"version {version}, noeviction, {kept}"


def _supplier(settings: Settings, opened: ExitStack) -> str:
    """One token for the application's credentials; a user's token can't be had without the user."""
    with Runtime(settings) as runtime:
        if runtime.account_tokens:
            return f"{settings.preset} has a token for each account: nothing to ask for"
        runtime.tokens_of("").current()
    return "gives the application a token"


def _workers(settings: Settings, opened: ExitStack) -> str:
    from worker.publishing import workers_answer

    with Runtime(settings) as runtime:
        if not workers_answer(runtime):
            raise ConfigError("no worker answers: start one with `releve up` or `celery -A worker worker -l INFO`")
    return "at least one worker answers"


_CHECKS: Final[dict[str, Check]] = {
    "settings": _settings,
    "python": _python,
    "time zone": _time_zone,
    "disk": _disk,
    "keys": _keys,
    "registry": _registry,
    "measures": _measures,
    "redis": _redis,
    "supplier": _supplier,
    "workers": _workers,
}
