"""The Kubernetes manifests, rendered by kustomize: valid by Kubernetes' schemas and consistent with the program.

Nothing here runs on a cluster.  KEDA's own kinds are compared with the fields that its documentation names:
keda.sh/docs/latest/reference/scaledobject-spec, …/scalers/redis-lists, …/scalers/rabbitmq-queue.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import kubernetes_validate
import pytest
import yaml

from config.settings import Settings
from config.validation import build_broker_options
from tests.support.missing import skip
from worker.cli.health import live as live_command
from worker.cli.health import ready as ready_command
from worker.cli.main import cli
from worker.ops.liveness import ROLE_CHECKS

pytestmark = pytest.mark.rest

FOLDER = Path(__file__).parents[2] / "deploy" / "kubernetes"
BUILDS = ("base", "overlays/example", "overlays/example-rabbitmq")
VERSIONS = ("1.30", "1.37")
REDIS_USERS = ("web", "beat", "flower", "metrics")  # L15: these have a user of their own; workers have the usual URL.
QUEUES = {"steps", "control", "first_screen", "nightly", "repair", "backfill", "strangers"}
KEDA = "keda.sh/v1alpha1"
TRIGGER_FIELDS = {
    "redis": {"address", "listName", "listLength", "databaseIndex"},
    "rabbitmq": {"protocol", "queueName", "mode", "value"},
}

Manifest = dict[str, Any]


@pytest.fixture(scope="module", params=BUILDS)
def build(request: pytest.FixtureRequest) -> list[Manifest]:
    if not (kustomize := shutil.which("kustomize")):
        skip("no kustomize: apt-get install kustomize")
    rendered = subprocess.run([kustomize, "build", FOLDER / request.param], capture_output=True, text=True, check=False)
    assert rendered.returncode == 0, rendered.stderr
    return list(yaml.safe_load_all(rendered.stdout))


def of_kind(build: list[Manifest], *kinds: str) -> list[Manifest]:
    return [manifest for manifest in build if manifest["kind"] in kinds]


def pods(build: list[Manifest]) -> list[Manifest]:
    """Return the pod templates of Deployments and Jobs."""
    return [manifest["spec"]["template"] for manifest in of_kind(build, "Deployment", "Job")]


def containers(build: list[Manifest]) -> Iterator[tuple[Manifest, Manifest]]:
    """Yield each container with its pod."""
    for pod in pods(build):
        for container in pod["spec"]["containers"]:
            yield pod["spec"], container


def queues_of(container: Manifest) -> list[str]:
    words = container["args"]
    return words[words.index("-Q") + 1].split(",") if "-Q" in words else []


@pytest.mark.parametrize("version", VERSIONS)
def test_every_manifest_fits_the_schema_of_kubernetes(build: list[Manifest], version: str) -> None:
    checked = [manifest for manifest in build if manifest["apiVersion"] != KEDA]
    assert len(checked) >= 18
    for manifest in checked:
        kubernetes_validate.validate(manifest, version, strict=True)


def test_only_the_web_application_has_the_key_of_sessions(build: list[Manifest]) -> None:
    mounting = set()
    for pod in pods(build):
        names = [env["name"] for container in pod["spec"]["containers"] for env in container.get("env", ())]
        items = [item["key"] for volume in pod["spec"]["volumes"] for item in volume.get("secret", {}).get("items", ())]
        if "RELEVE_SESSION_KEY_FILE" in names or "session_key" in items:
            mounting.add(pod["metadata"]["labels"]["app.kubernetes.io/component"])
    assert mounting == {"web"}


def test_every_selector_finds_its_pods(build: list[Manifest]) -> None:
    labels = [pod["metadata"]["labels"] for pod in pods(build)]
    selectors = [manifest["spec"]["selector"] for manifest in of_kind(build, "Service")]
    selectors += [manifest["spec"]["selector"]["matchLabels"] for manifest in of_kind(build, "PodDisruptionBudget")]
    assert len(selectors) >= 5
    for selector in selectors:
        assert sum(selector.items() <= pod_labels.items() for pod_labels in labels) == 1
    for deployment in of_kind(build, "Deployment"):
        wanted = deployment["spec"]["selector"]["matchLabels"]
        assert wanted.items() <= deployment["spec"]["template"]["metadata"]["labels"].items()
        assert sum(wanted.items() <= pod_labels.items() for pod_labels in labels) == 1


def test_policies_of_the_network_name_parts_that_there_are(build: list[Manifest]) -> None:
    parts = {pod["metadata"]["labels"]["app.kubernetes.io/component"] for pod in pods(build)}
    ports = {port["name"] for _, container in containers(build) for port in container.get("ports", [])}
    for policy in of_kind(build, "NetworkPolicy"):
        for expression in policy["spec"]["podSelector"].get("matchExpressions", []):
            assert set(expression["values"]) <= parts
        for rule in policy["spec"].get("ingress", []):
            assert {port["port"] for port in rule["ports"]} <= ports


def test_l18_the_pages_are_open_to_the_namespace_of_the_ingress_alone(build: list[Manifest]) -> None:
    [policy] = [item for item in of_kind(build, "NetworkPolicy") if item["metadata"]["name"] == "releve-web"]
    [rule] = policy["spec"]["ingress"]
    assert rule["from"] == [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "ingress-nginx"}}}]


def test_l18_no_policy_lets_everybody_in(build: list[Manifest]) -> None:
    for policy in of_kind(build, "NetworkPolicy"):
        for rule in policy["spec"].get("ingress", []):
            assert rule["from"], policy
            assert all(source["namespaceSelector"]["matchLabels"] for source in rule["from"]), policy


def test_l17_flower_listens_in_its_own_pod_alone(build: list[Manifest]) -> None:
    [flower] = [container for _, container in containers(build) if "flower" in container["args"]]
    assert "--address=127.0.0.1" in flower["args"]


def test_no_pod_has_more_rights_than_it_needs(build: list[Manifest]) -> None:
    for pod, container in containers(build):
        assert pod["securityContext"]["runAsNonRoot"]
        assert pod["securityContext"]["runAsUser"] == 10001  # It is the user of the image: Dockerfile.
        assert not pod["automountServiceAccountToken"]
        assert not pod["enableServiceLinks"]
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert {"cpu", "memory"} == container["resources"]["limits"].keys() == container["resources"]["requests"].keys()
    assert "10001" in (FOLDER.parents[1] / "Dockerfile").read_text()


def test_every_variable_is_a_setting_and_every_secret_comes_in_a_file(build: list[Manifest]) -> None:
    secrets = secret_keys()
    for pod, container in containers(build):
        component = container["args"][3 if container["args"][0] == "celery" else 1]
        volumes = {volume["name"]: volume for volume in pod["volumes"]}
        roots = {mount["mountPath"]: volumes[mount["name"]] for mount in container["volumeMounts"]}
        files = {
            f"{root}/{item['path']}": item["key"]
            for root, volume in roots.items()
            for item in volume.get("secret", {}).get("items", [])
        }
        assert set(files.values()) <= secrets
        for variable in container["env"]:
            name = variable["name"].removeprefix("RELEVE_").lower()
            if name == "ledger_file":
                assert "persistentVolumeClaim" in roots[str(Path(variable["value"]).parent)]
            elif name.endswith("_file"):
                own_user = f"_{component}" if name == "redis_url_file" and component in REDIS_USERS else ""
                assert files.pop(variable["value"]) == name.removesuffix("_file") + own_user
            assert {name, name.removesuffix("_file")} & Settings.model_fields.keys()
        assert not files  # Every mounted file is read.
    for config in of_kind(build, "ConfigMap"):
        data = dict(config["data"])
        data.pop("FORWARDED_ALLOW_IPS", None)  # The HTTP server's own.
        values = {name.removeprefix("RELEVE_").lower(): value for name, value in data.items()}
        assert values.keys() <= Settings.model_fields.keys()
        assert Settings.from_env(_env_file=None, **values)


def test_whoever_erases_writes_to_one_ledger_that_outlives_the_pods(build: list[Manifest]) -> None:
    claims = {item["metadata"]["name"]: item["spec"]["accessModes"] for item in of_kind(build, "PersistentVolumeClaim")}
    assert claims == {"releve-ledger": ["ReadWriteMany"]}
    users = {
        pod["metadata"]["labels"]["app.kubernetes.io/component"]
        for pod in pods(build)
        for volume in pod["spec"]["volumes"]
        if volume.get("persistentVolumeClaim") == {"claimName": "releve-ledger"}
    }
    assert users == {"worker-nightly", "worker-backfill", "web"}
    for pod, container in containers(build):
        names = {variable["name"] for variable in container["env"]}
        has_ledger = any(mount["mountPath"] == "/ledger" for mount in container["volumeMounts"])
        assert has_ledger == ({"RELEVE_LEDGER_FILE", "RELEVE_ERASURE_KEYS_FILE"} <= names), pod


def test_the_example_of_the_secret_holds_no_value() -> None:
    assert all(not value for value in secret()["stringData"].values())
    assert secret()["metadata"]["name"] == "releve"


def test_every_command_is_one_that_there_is(build: list[Manifest]) -> None:
    for _, container in containers(build):
        words = container["args"]
        if words[0] == "releve":
            assert cli.get_command(click.Context(cli), words[1]) is not None
        else:
            assert words[:3] == ["celery", "-A", "worker"]
            assert words[3] in ("worker", "beat", "flower")
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            if probe in container:
                assert_probe(container[probe]["exec"]["command"], live=probe == "livenessProbe")
    running = [manifest["spec"]["template"]["spec"]["containers"][0] for manifest in of_kind(build, "Deployment")]
    assert all({"livenessProbe", "readinessProbe"} <= container.keys() for container in running)


def assert_probe(command: list[str], *, live: bool) -> None:
    assert command[:3] == ["releve", "health", "live" if live else "ready"]
    context = (live_command if live else ready_command).make_context(
        command[2], command[3:]
    )  # It refuses a wrong option.
    assert context.params["role"] in ROLE_CHECKS


def test_the_workers_serve_every_queue(build: list[Manifest]) -> None:
    served = [queues_of(container) for _, container in containers(build)]
    assert set().union(*served) == QUEUES
    assert all(queues[:3] == ["steps", "control", "first_screen"] for queues in served if queues)


def test_there_is_one_beat(build: list[Manifest]) -> None:
    beat = next(item for item in of_kind(build, "Deployment") if item["metadata"]["name"] == "releve-beat")
    assert beat["spec"]["replicas"] == 1
    assert beat["spec"]["strategy"] == {"type": "Recreate"}


def test_keda_scales_deployments_that_there_are_by_queues_that_they_serve(build: list[Manifest]) -> None:
    deployments = {item["metadata"]["name"]: item for item in of_kind(build, "Deployment")}
    scaled = of_kind(build, "ScaledObject")
    assert len(scaled) in (0, 2)
    prefix = build_broker_options(None, 180).transport_options["global_keyprefix"]
    keys = {item["metadata"]["name"]: item for item in of_kind(build, "TriggerAuthentication")}
    for manifest in scaled:
        spec = manifest["spec"]
        assert manifest["apiVersion"] == KEDA
        assert 1 <= spec["minReplicaCount"] < spec["maxReplicaCount"]
        deployment = deployments[spec["scaleTargetRef"]["name"]]
        assert "replicas" not in deployment["spec"]
        queues = queues_of(deployment["spec"]["template"]["spec"]["containers"][0])
        for trigger in spec["triggers"]:
            fields = trigger["metadata"]
            assert fields.keys() == TRIGGER_FIELDS[trigger["type"]]
            assert all(isinstance(value, str) for value in fields.values())
            queue = fields["listName"].removeprefix(prefix) if trigger["type"] == "redis" else fields["queueName"]
            assert queue in queues
            references = keys[trigger["authenticationRef"]["name"]]["spec"]["secretTargetRef"]
            assert {reference["key"] for reference in references} <= secret_keys()
            if trigger["type"] == "redis":
                assert {reference["parameter"] for reference in references} == {"username", "password"}


def secret() -> Manifest:
    manifest: Manifest = yaml.safe_load((FOLDER / "secret.example.yaml").read_text(encoding="utf-8"))
    return manifest


def secret_keys() -> set[str]:
    return set(secret()["stringData"])
