"""Redis, RabbitMQ and CouchDB over TLS: the right authority is accepted, any other gives one clear line."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import redis
from kombu import Connection

from config.validation import build_broker_options
from tests.support.canned_server import answer, canned_server
from tests.support.certificates import Certificates
from tests.support.rabbitmq import RabbitMQ
from tests.support.redis_servers import PASSWORD as REDIS_PASSWORD
from worker.domain.documents import ALL_KEYS
from worker.domain.series import Doctype
from worker.errors import StoreUnavailable
from worker.ops.broker import broker_errors
from worker.stores.measures import open_measures
from worker.stores.redis.connection import check_eviction, connect

pytestmark = pytest.mark.rest

RELEVE = Path(sys.executable).with_name("releve")


def add(folder: Path, meter: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """Add an account by the command, which also publishes its backfill."""
    values = {"DATA_DIR": str(folder / "data"), "ENEDIS_URL": "http://127.0.0.1:9", **settings}
    env = {name: value for name, value in os.environ.items() if not name.startswith("RELEVE_")}
    env |= {f"RELEVE_{name}": value for name, value in values.items()}
    words = [str(RELEVE), "accounts", "add", "--usage-point", meter]
    return subprocess.run(words, env=env, capture_output=True, text=True, check=False, cwd=folder)


def test_redis_over_tls_carries_state_and_messages(tls_redis: str, certificates: Certificates, tmp_path: Path) -> None:
    url = f"{tls_redis}?ssl_ca_certs={certificates.authority}"
    added = add(tmp_path, "43000000000001", REDIS_URL=url)
    assert added.returncode == 0, added.stderr
    with redis.Redis.from_url(url) as client:
        assert client.llen("releve:celery:control") == 1


def test_rabbitmq_over_tls_takes_messages(
    rabbitmq_node: RabbitMQ, redis_url: str, certificates: Certificates, tmp_path: Path
) -> None:
    url = f"{rabbitmq_node.tls_url}?ssl_ca_certs={certificates.authority}"
    added = add(tmp_path, "43000000000002", REDIS_URL=redis_url, BROKER_URL=url)
    assert added.returncode == 0, added.stderr


def test_a_redis_whose_authority_is_unknown_is_refused(tls_redis: str, certificates: Certificates) -> None:
    for query in ("", f"?ssl_ca_certs={certificates.other_authority}"):
        with connect(tls_redis + query) as client, pytest.raises(StoreUnavailable, match="set ssl_ca_certs") as caught:
            check_eviction(client)
        assert REDIS_PASSWORD not in str(caught.value)


def test_the_broker_client_looks_at_the_certificate_of_redis_too(tls_redis: str, certificates: Certificates) -> None:
    open_broker(f"{tls_redis}?ssl_ca_certs={certificates.authority}")
    with pytest.raises(redis.ConnectionError, match="CERTIFICATE_VERIFY_FAILED"):
        open_broker(tls_redis)


@pytest.mark.parametrize(
    "wrong, text",
    [
        (("s3cret", "an0ther"), "RabbitMQ refuses this user"),
        (("/homes", "/nowhere"), "no such virtual host"),
        (("ca.pem", "stranger.pem"), "set ssl_ca_certs"),
    ],
)
def test_what_is_wrong_in_the_url_of_rabbitmq_is_told(
    rabbitmq_node: RabbitMQ, certificates: Certificates, wrong: tuple[str, str], text: str
) -> None:
    url = f"{rabbitmq_node.tls_url}?ssl_ca_certs={certificates.authority}"
    open_broker(url)
    with pytest.raises(StoreUnavailable, match=text) as caught, broker_errors():
        open_broker(url.replace(*wrong))
    assert "\n" not in str(caught.value)
    assert "s3cret" not in str(caught.value)


def test_couchdb_is_believed_where_its_authority_is_in_ssl_cert_file(
    certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    no_database = answer(404, {"error": "not_found", "reason": "Database does not exist."})
    with canned_server(*[no_database] * 4, tls=certificates.server_context()) as server:
        url = f"couchdb+{server.url}"
        with pytest.raises(StoreUnavailable, match="can't be reached"):
            open_measures(url).read("acc", {Doctype.DAY: ALL_KEYS})
        monkeypatch.setenv("SSL_CERT_FILE", str(certificates.authority))
        assert open_measures(url).read("acc", {Doctype.DAY: ALL_KEYS}) == {Doctype.DAY: []}


def open_broker(url: str) -> None:
    """Connect to the broker as Celery does."""
    broker = build_broker_options(url, 180)
    with Connection(broker.url, ssl=broker.use_ssl or False, transport_options=broker.transport_options) as connection:
        connection.connect()
