"""docker-compose.home.yml: one service and one volume, with no right to spare, open to this machine alone."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from config.settings import PREFIX, Settings
from worker.cli.main import cli
from worker.ops.quick_health import READINESS_CHECKS

ROOT: Final = Path(__file__).parents[2]
FILE: Final = ROOT / "docker-compose.home.yml"
COMPOSE: Final = yaml.safe_load(FILE.read_text(encoding="utf-8"))
FLEET: Final = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
HOME: Final[dict[str, Any]] = COMPOSE["services"]["home"]


def test_it_is_one_service_and_one_volume() -> None:
    assert list(COMPOSE["services"]) == ["home"] and list(COMPOSE["volumes"]) == ["home"]
    # The image's user owns this folder, and RELEVE_DATA_DIR names it there.
    assert HOME["volumes"] == ["home:/var/lib/releve"]
    assert "RELEVE_DATA_DIR=/var/lib/releve" in (ROOT / "Dockerfile").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "name", ["image", "build", "init", "read_only", "security_opt", "cap_drop", "logging", "restart"]
)
def test_it_is_kept_as_the_fleets_services_are(name: str) -> None:
    assert HOME[name] == FLEET["services"]["web"][name]


def test_it_runs_as_the_user_of_the_image_with_limits() -> None:
    assert "user" not in HOME and "privileged" not in HOME and "network_mode" not in HOME
    assert HOME["deploy"]["resources"]["limits"].keys() == {"cpus", "memory", "pids"}
    assert float(HOME["deploy"]["resources"]["limits"]["cpus"]) <= 1, "Docker refuses more than the host has"


def test_the_port_is_this_machines_unless_it_is_opened() -> None:
    assert HOME["ports"] == ["${HOME_ADDRESS:-127.0.0.1}:${HOME_PORT:-8000}:8000"]


def test_its_settings_are_ours_and_hold_no_secret() -> None:
    names = [name.removeprefix(PREFIX).removesuffix("_FILE").lower() for name in HOME["environment"]]
    names = [name for name in names if PREFIX + name.upper() in HOME["environment"]]
    assert set(names) <= Settings.model_fields.keys()
    assert HOME["environment"]["RELEVE_HOME"] == "true"
    assert not [name for name in names if "token" in name or "secret" in name or "key" in name]


def test_s6_a_file_may_hold_the_one_secret_and_the_head_says_so() -> None:
    assert {"RELEVE_NOTIFY_URL", "RELEVE_NOTIFY_URL_FILE"} <= HOME["environment"].keys()
    assert "RELEVE_NOTIFY_URL_FILE=/var/lib/releve/" in FILE.read_text(encoding="utf-8").partition("\nname:")[0]


# Each other setting keeps its default, for one of these reasons.
NOT_PASSED: Final = {
    "a home asks a gateway": (
        "preset", "enedis_sandbox", "enedis_url", "enedis_authorize_url", "enedis_client_id", "enedis_client_secret",
        "calls_per_second", "calls_per_hour", "calls_per_day", "consent_duration",
    ),
    "no secret is in the environment": (
        "grdf_preset", "grdf_url", "grdf_token_url", "grdf_authorize_url", "grdf_scope", "grdf_client_id",
        "grdf_client_secret", "grdf_calls_per_second", "grdf_calls_per_day", "webhook_url", "webhook_secret",
        "session_key", "flower_password",
    ),
    "all of it is in the volume": (
        "data_dir", "redis_url", "broker_url", "registry_url", "registry_admin_url", "measures_url",
        "measures_admin_url", "token_keys", "erasure_keys", "backup_keys", "ledger_file", "layout", "couchdb_shards",
        "couchdb_replicas", "couchdb_revisions",
    ),
    "it is for many households": (
        "contact", "pretend_homes", "new_accounts_per_browser", "new_accounts_per_address", "new_accounts_per_day",
        "api_calls_per_minute", "quota_floors", "quota_ceilings", "incident_accounts", "incident_share",
        "incident_minutes", "incident_probe_s", "audit_sample", "metrics_host", "metrics_port",
    ),
    "its default suits a home": (
        "plain_http", "daily_limit_kwh", "raw_answers_days", "keep_corrections_days", "keep_consent_proof_days",
        "prices_base_url", "prices_hphc_url", "prices_tempo_url", "rte_url",
        "log_format", "pretend_now", "supplier_timeout_s", "store_timeout_s", "inflight_expiry_s",
        "visibility_timeout_s", "reconcile_every_s", "watchdog_silence_s",
    ),
}  # fmt: skip


def test_each_setting_is_passed_on_or_named_here_with_the_reason() -> None:
    ours = (name.removeprefix(PREFIX) for name in HOME["environment"] if name.startswith(PREFIX))
    passed = {name.removesuffix("_FILE").lower() for name in ours}
    left_out = [name for names in NOT_PASSED.values() for name in names]
    assert sorted([*passed, *left_out]) == sorted(Settings.model_fields)


def test_its_commands_are_ours() -> None:
    first, second = shlex.split(HOME["command"])[2].split(" && ")
    kind, checks = HOME["healthcheck"]["test"]
    for line in (first, second.removeprefix("exec "), *checks.split(" && ")):
        program, command, *words = line.split()
        found = cli.get_command(cli.make_context("releve", ["status"]), command)
        assert program == "releve" and found is not None, line
        assert words or command == "migrate"
    assert kind == "CMD-SHELL", "podman splits the arguments of a CMD health check at blanks"


def test_r1_a_dead_redis_or_worker_is_seen_within_about_a_minute_and_the_gateway_is_not_asked() -> None:
    check = HOME["healthcheck"]
    assert check["test"][1].split(" && ")[0] == "releve health ready --role worker"
    assert int(check["interval"].removesuffix("s")) * check["retries"] <= 60
    assert not {"supplier", "quota", "incidents"} & set(READINESS_CHECKS["worker"])


def test_its_logs_are_those_of_the_container_which_bounds_them() -> None:
    assert "releve up --no-log-files" in HOME["command"]
