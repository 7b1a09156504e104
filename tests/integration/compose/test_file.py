"""docker-compose.yml: rights, networks, secrets and limits of each service, and an explanation of each variable."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from typing import Any

import pytest
import yaml

from config.settings import PREFIX, Settings
from tests.integration.compose.reading import (
    COMPOSE,
    EXAMPLE,
    FILE,
    ONCE,
    OURS,
    ROOT,
    SERVICES,
    VARIABLE,
    environment,
    example,
    mounts,
    words,
)
from worker.ops.installation_secrets import RELEVE_USER as OUR_USER
from worker.ops.installation_secrets import SECRETS, SERVICE_USERS, Addresses, files_for_services

SERVERS = ("redis", "couchdb", "postgres")
ALL = "simulator,metrics,tools,tracing"
PROFILES = ("", "simulator", "metrics", ALL)
# The volume of secrets that each service can read.
READERS = {
    "redis": "secrets-redis",
    "postgres": "secrets-postgres",
    "couchdb": "secrets-couchdb",
    "migrate": "secrets-migrate",
    "worker-nightly": "secrets-worker",
    "worker-backfill": "secrets-worker",
    "web": "secrets-web",
    "backup": "secrets-backup",
    "beat": "secrets-beat",
    "flower": "secrets-flower",
    "metrics": "secrets-metrics",
    "grafana": "secrets-grafana",
}
SECRET_FILES = files_for_services({secret.name: secret.name for secret in SECRETS}, Addresses())


def compose(*words: str, profiles: str = "") -> str:
    """Return the output of the compose client with .env.example, without the variables of this shell."""
    command = ["docker", "compose", "--env-file", str(EXAMPLE), "-f", str(FILE), *words]
    if shutil.which("docker") is None:
        pytest.skip("no docker client here")
    answer = subprocess.run(
        command,
        env={"PATH": "/usr/bin:/bin:/usr/local/bin", "COMPOSE_PROFILES": profiles},
        capture_output=True,
        text=True,
        check=False,
    )
    if "is not a docker command" in answer.stderr:
        pytest.skip("the docker client has no compose")
    assert answer.returncode == 0, answer.stderr
    assert "variable is not set" not in answer.stderr
    return answer.stdout


@pytest.mark.parametrize("profiles", PROFILES)
def test_compose_takes_the_file_with_the_example_as_it_stands(profiles: str) -> None:
    compose("config", "--quiet", profiles=profiles)


def test_we_read_the_file_as_compose_does() -> None:
    theirs: dict[str, Any] = json.loads(compose("config", "--format", "json", profiles=ALL))["services"]
    assert theirs.keys() == SERVICES.keys()
    for name in OURS:
        assert theirs[name]["command"] == words(name)
        assert theirs[name].get("environment", {}) == environment(name)


@pytest.mark.parametrize("name", SERVICES)
def test_what_runs_on_is_looked_after_and_what_ends_is_not_started_again(name: str) -> None:
    service = SERVICES[name]
    assert service["restart"] == ("no" if name in ONCE else "unless-stopped")
    assert ("healthcheck" in service) == (name not in ONCE)


@pytest.mark.parametrize("name", SERVICES)
def test_each_service_is_bounded_and_has_no_rights_to_spare(name: str) -> None:
    service = SERVICES[name]
    assert service["deploy"]["resources"]["limits"].keys() == {"cpus", "memory", "pids"}
    assert float(service["deploy"]["resources"]["limits"]["cpus"]) <= 1, "Docker refuses more than the host has"
    assert "memory" in service["deploy"]["resources"]["reservations"]
    assert service["logging"]["options"]["max-size"]
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service.get("cap_add", []) == (["CHOWN", "DAC_OVERRIDE", "FOWNER"] if name == "secrets" else [])


@pytest.mark.parametrize("name", OURS)
def test_our_containers_are_read_only(name: str) -> None:
    assert SERVICES[name]["read_only"] is True
    assert SERVICES[name]["init"] is True
    assert SERVICES[name].get("user") == ("0:0" if name == "secrets" else None)  # None means the user of the image.


@pytest.mark.parametrize("name", SERVICES)
def test_podman_takes_the_file_as_docker_does(name: str) -> None:
    """podman knows no uid= and gid= for a tmpfs, and splits the arguments of a CMD health check at blanks."""
    options = [option for mount in SERVICES[name].get("tmpfs", []) for option in mount.partition(":")[2].split(",")]
    assert [option for option in options if re.match(r"[ug]id=", option)] == []
    kind, *command = SERVICES[name].get("healthcheck", {}).get("test", ["CMD"])
    assert kind == "CMD-SHELL" or [argument for argument in command if re.search(r"\s", argument)] == []


@pytest.mark.parametrize("name", OURS)
def test_the_data_folder_is_for_our_user_alone(name: str) -> None:
    """A tmpfs is open to everybody without uid=, and a folder within it is made with our umask."""
    folder = environment(name).get("RELEVE_DATA_DIR")
    assert folder not in [mount.partition(":")[0] for mount in SERVICES[name]["tmpfs"]]
    assert folder in (("/var/lib/releve",) if name == "beat" else ("/tmp/releve",) if folder else (None,))


@pytest.mark.parametrize("name", SERVICES)
def test_no_port_is_open_beyond_this_host(name: str) -> None:
    ports = SERVICES[name].get("ports", [])
    assert all(port.startswith("127.0.0.1:") for port in ports)
    # A port of a network without a way out can't be published.
    assert not ports or set(SERVICES[name]["networks"]) - {"backend"}
    if name in SERVERS:
        assert SERVICES[name]["networks"] == ["backend"] and not ports


@pytest.mark.parametrize("names", [("worker-nightly", "worker-backfill"), ("flower",), ("metrics",)], ids="-".join)
def test_l17_figures_without_a_password_are_for_the_backend_alone(names: tuple[str, ...]) -> None:
    """Beside the backend they listen in networks where nobody but their own kind is."""
    for name in names:
        for network in set(SERVICES[name]["networks"]) - {"backend"}:
            neighbours = {other for other in SERVICES if network in SERVICES[other].get("networks", ())}
            assert neighbours == set(names), network
    assert COMPOSE["networks"]["backend"] == {"internal": True}


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_reads_its_own_secrets_alone(name: str) -> None:
    secrets = {source for source in mounts(name).values() if source.startswith("secrets")}
    if name == "secrets":
        assert secrets == {"secrets", *(f"secrets-{reader}" for reader in SECRET_FILES)}
    else:
        assert secrets == ({f"{READERS[name]}:ro"} if name in READERS else set())


@pytest.mark.parametrize("name", OURS)
def test_each_secret_file_that_a_service_names_is_handed_out_to_it_and_no_other_is(name: str) -> None:
    named = {path for key, path in environment(name).items() if key.endswith("_FILE") and key != "RELEVE_LEDGER_FILE"}
    files = SECRET_FILES[READERS[name].removeprefix("secrets-")] if name in READERS else {}
    assert named == {f"/secrets/{file}" for file in files}


def test_whoever_erases_or_saves_shares_the_ledger_of_erasures_and_only_a_backup_has_its_key() -> None:
    users = {name for name in OURS if mounts(name).get("/ledger") == "ledger"}
    assert users == {"worker-nightly", "worker-backfill", "web", "backup"}
    assert {environment(name)["RELEVE_LEDGER_FILE"] for name in users} == {"/ledger/ledger.ndjson"}
    assert [reader for reader, files in SECRET_FILES.items() if "backup_keys" in files] == ["backup"]
    assert mounts("backup")["/backups"] == "./backups"


@pytest.mark.parametrize("name", SERVICES)
def test_no_secret_of_the_installation_stands_in_an_environment(name: str) -> None:
    variables = {secret.variable for secret in SECRETS}
    text = FILE.read_text(encoding="utf-8").partition(f"\n  {name}:")[2]
    block = re.split(r"\n  [a-z-]+:|\n\S", text)[0]
    passed_on = {match[1] for match in VARIABLE.finditer(block) if match[1] and match[3] != match[1]}
    assert not passed_on & variables
    assert not environment(name).keys() & variables


def test_s6_secrets_come_from_the_file_and_one_that_is_set_elsewhere_is_named_alone() -> None:
    variables = {secret.variable for secret in SECRETS}
    raw = yaml.safe_load(FILE.read_text(encoding="utf-8"))["services"]["secrets"]
    assert set(raw["environment"]["SECRETS_SET"].split()) == {f"${{{name}:+{name}}}" for name in variables}
    assert environment("secrets") == {"SECRETS_SET": " " * (len(variables) - 1)}
    (file,) = (volume for volume in raw["volumes"] if isinstance(volume, dict))
    assert (file["source"], file["read_only"]) == ("./.env", True)
    assert words("secrets")[words("secrets").index("--env-file") + 1] == file["target"]


def test_s6_grafana_reads_the_password_of_influxdb_from_a_file() -> None:
    sources = ROOT / "deploy" / "grafana" / "provisioning" / "datasources" / "influxdb.yml"
    (source,) = yaml.safe_load(sources.read_text(encoding="utf-8"))["datasources"]
    assert source["secureJsonData"] == {"password": "$__file{/secrets/influxdb_password}"}
    assert "influxdb_password" in SECRET_FILES["grafana"]


@pytest.mark.parametrize("name", sorted(set(SERVICES) - {"couchdb"}))
def test_s6_containers_are_read_only(name: str) -> None:
    """CouchDB writes its settings and its cookie beside its data."""
    assert SERVICES[name]["read_only"] is True


def test_beat_and_flower_have_no_key_and_no_way_to_accounts() -> None:
    assert SECRET_FILES["beat"].keys() == {"redis_url"}
    assert SECRET_FILES["flower"].keys() == {"redis_url", "flower_password"}
    assert not {"token_keys", "session_key", "enedis_client_secret"} & SECRET_FILES["metrics"].keys()


def test_only_the_web_application_has_the_key_of_sessions() -> None:
    """N7: what a worker, beat or a backup has is not enough to let anybody in."""
    assert {reader for reader, files in SECRET_FILES.items() if "session_key" in files} == {"web"}
    mounting = {name for name in SERVICES if "RELEVE_SESSION_KEY_FILE" in environment(name)}
    assert mounting == {"web"}


def test_workers_and_pages_are_no_administrators() -> None:
    admins = {"postgres_admin_password", "couchdb_admin_password"}
    for reader in ("worker", "web", "metrics"):
        assert not any(admin in text for admin in admins for text in SECRET_FILES[reader].values())


def test_secrets_belong_to_the_user_that_reads_them() -> None:
    for reader, owner in SERVICE_USERS.items():
        assert SERVICES[reader]["user"] == f"{owner}:{owner}"
    assert f"\nUSER {OUR_USER}:{OUR_USER}\n" in (ROOT / "Dockerfile").read_text(encoding="utf-8")


def test_each_variable_is_in_the_example_and_explained() -> None:
    used = {match[1] for match in VARIABLE.finditer(FILE.read_text(encoding="utf-8")) if match[1]}
    assert used == example().keys() - {"COMPOSE_PROFILES"}  # This one is compose's own.
    lines = EXAMPLE.read_text(encoding="utf-8").splitlines()
    for block in re.split(r"\n(?=#)", "\n".join(lines)):
        assert block.startswith("#"), f"nothing explains {block!r}"


# Each other setting keeps its default, for one of these reasons.
NOT_PASSED = {
    "docker-compose.home.yml is for homes": {"home", "gateway_url", "gateway_calls_per_half_day"},
    "Redis is among the services": {"broker_url"},
    "the other times of this file depend on it": {"supplier_timeout_s", "store_timeout_s"},
    "only drills and tests change it": {
        "inflight_expiry_s", "visibility_timeout_s", "reconcile_every_s", "watchdog_silence_s", "incident_share",
        "incident_minutes", "incident_probe_s",
    },
}  # fmt: skip


def test_each_setting_is_passed_on_or_named_here_with_the_reason() -> None:
    named = {key.removesuffix("_FILE") for name in OURS for key in environment(name)} | {"RELEVE_LEDGER_FILE"}
    left_out = {PREFIX + name.upper() for names in NOT_PASSED.values() for name in names}
    settings = {PREFIX + name.upper() for name in Settings.model_fields}
    assert (settings - named, left_out - settings) == (left_out, set())


def test_the_example_names_the_defaults() -> None:
    """An emptied line changes nothing, except for those of the simulator, which have no default."""
    values = example()
    for name, default in re.findall(r"\$\{([A-Z_]+):-([^}]*)\}", FILE.read_text(encoding="utf-8")):
        if not default and values[name]:
            assert name in ("RELEVE_ENEDIS_URL", "RELEVE_ENEDIS_AUTHORIZE_URL", "RELEVE_PRETEND_HOMES"), name
        elif default:
            assert values[name] in (default, ""), name


def test_the_image_holds_what_the_dockerfile_copies_and_nothing_else_is_sent() -> None:
    copied = re.findall(r"^COPY (?!--)(.+) \S+$", (ROOT / "Dockerfile").read_text(encoding="utf-8"), re.MULTILINE)
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert "*" in ignored
    assert {word for line in copied for word in line.split()} == {line[1:] for line in ignored if line.startswith("!")}
