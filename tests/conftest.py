"""Real servers as fixtures, each started once a session when the first test asks for it.

Without its server a test is skipped, but in CI it fails: nobody would notice the skip there.
"""

from __future__ import annotations

import gc
import os
import sys
from collections import Counter
from collections.abc import Iterator

import pytest
from redis import Redis

from tests.support import redis_servers, servers
from tests.support.certificates import Certificates, make_certificates
from tests.support.compiled_statements import share_compiled_statements
from tests.support.missing import or_skip
from tests.support.mosquitto import Mosquitto, mosquitto
from tests.support.passwords import CHEAP_HASHER, set_hasher
from tests.support.postgres_pair import PostgresPair
from tests.support.postgres_pair import postgres_pair as open_postgres_pair
from tests.support.processor_time import ProcessorTime
from tests.support.profiles import load_profile
from tests.support.rabbitmq import RabbitMQ, rabbitmq, rabbitmq_cluster
from tests.support.real_couchdb import delete_databases
from tests.support.settings_fields import keep_field_facts
from tests.support.sqlite_connections import commit_without_disk
from worker.logs import REDACTOR, ConsoleFormatter

pytest_plugins = ["tests.support.sets", "tests.support.socket_origins"]

load_profile()
commit_without_disk()
share_compiled_statements()
keep_field_facts()
gc.disable()  # Until all tests are collected: nothing of them is garbage.


def pytest_collection_finish() -> None:
    """Leave modules and tests out of garbage collection, and collect seldom: a full one looks at each object."""
    gc.freeze()
    gc.set_threshold(50_000, 10, 5)
    gc.enable()


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(ProcessorTime())
    _name_a_broker()
    if config.getoption("--quick"):
        sys.addaudithook(_refuse_sockets)


def _name_a_broker() -> None:
    """Give Celery a broker in memory: without one, the first look at a task starts an embedded Redis in this folder."""
    from worker.app import app

    app.conf.broker_url = "memory://"


@pytest.fixture(autouse=True)
def forgotten_secrets() -> Iterator[None]:
    """Let the process forget a test's secrets: the keys of thousands of installations would slow every later line."""
    before = vars(REDACTOR).copy()
    yield
    vars(REDACTOR).update(before)


@pytest.fixture(autouse=True, scope="session")
def cheap_passwords() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        set_hasher(patch, CHEAP_HASHER)
        yield


def _refuse_sockets(event: str, arguments: tuple[object, ...]) -> None:
    """Raise where a test of the quick set opens a connection or a port; the address of a Unix socket is no tuple."""
    if event in ("socket.connect", "socket.bind") and isinstance(arguments[1], tuple):
        raise AssertionError("the quick set opens no socket: mark this test with `sockets`")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what was skipped, in one line a reason."""
    skipped = terminalreporter.stats.get("skipped", [])
    reasons = Counter(str(report.longrepr[2]).removeprefix("Skipped: ") for report in skipped if report.longrepr)
    if reasons:
        terminalreporter.section("skipped")
    for reason, number in reasons.most_common():
        terminalreporter.write_line(f"{number} skipped: {reason}")


@pytest.fixture(scope="session")
def redis_server_url() -> Iterator[str]:
    """Yield the URL of a Redis-protocol server, for what outlives a test module."""
    with or_skip(servers.redis_server()) as url:
        yield url


@pytest.fixture(scope="module")
def redis_url(redis_server_url: str) -> str:
    """Return the URL of a Redis-protocol server, emptied for each module: claims and incidents outlive their test."""
    with Redis.from_url(redis_server_url) as redis:
        redis.flushall()
    return redis_server_url


@pytest.fixture(scope="session")
def couchdb_url() -> Iterator[str]:
    """Yield ``couchdb+http://…`` of a CouchDB-protocol server: a real one where RELEVE_TEST_COUCHDB_URL names it."""
    with or_skip(servers.couchdb_server()) as url:
        yield url


@pytest.fixture(scope="session")
def _emptied_couchdb() -> Iterator[str]:
    with or_skip(servers.couchdb_server()) as url:
        yield url


@pytest.fixture
def empty_couchdb_url(_emptied_couchdb: str) -> str:
    """Return the URL of a CouchDB-protocol server whose databases, this fixture's alone, are deleted first."""
    delete_databases(_emptied_couchdb)
    return _emptied_couchdb


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """Yield a PostgreSQL server's URL; RELEVE_TEST_POSTGRES_URL names another, whose user must be a superuser."""
    if configured_url := os.environ.get("RELEVE_TEST_POSTGRES_URL"):
        yield configured_url
        return
    with or_skip(servers.postgres_server()) as url:
        yield url


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def postgres_pair() -> Iterator[PostgresPair]:
    """Yield a PostgreSQL primary and its standby for one test module, which may kill the primary."""
    with or_skip(open_postgres_pair()) as pair:
        yield pair


@pytest.fixture(scope="session")
def rabbitmq_node(certificates: Certificates) -> Iterator[RabbitMQ]:
    """Yield a RabbitMQ node; a test that kills it starts it again."""
    with or_skip(rabbitmq(certificates)) as node:
        yield node


@pytest.fixture(scope="module")
def rabbitmq_nodes(certificates: Certificates) -> Iterator[list[RabbitMQ]]:
    """Yield the nodes of a RabbitMQ cluster for one test module, which may kill one."""
    with or_skip(rabbitmq_cluster(certificates)) as nodes:
        yield nodes


@pytest.fixture(scope="module")
def mosquitto_broker(certificates: Certificates) -> Iterator[Mosquitto]:
    """Yield an MQTT broker for one test module; a test that stops it starts it again."""
    with or_skip(mosquitto(certificates)) as broker:
        yield broker


@pytest.fixture(scope="session")
def tls_redis(certificates: Certificates) -> Iterator[str]:
    with or_skip(redis_servers.tls_redis(certificates)) as url:
        yield url


@pytest.fixture(scope="module")
def sentinel_redis() -> Iterator[redis_servers.SentinelRedis]:
    """Yield Redis behind Sentinels, for one test module: killing its leader uses it up."""
    with or_skip(redis_servers.sentinel_redis()) as server:
        yield server


@pytest.fixture(scope="session")
def shared_postgres(postgres_url: str) -> Iterator[str]:
    """Yield the URL of one database for all tests of the session; each deletes what earlier ones have left."""
    with servers.fresh_database(postgres_url) as url:
        yield url


@pytest.fixture
def postgres_database(postgres_url: str) -> Iterator[str]:
    """Yield the URL of an empty database for one test."""
    with servers.fresh_database(postgres_url) as url:
        yield url


@pytest.fixture
def caplog(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    """Yield pytest's caplog with our fields in its text: what must not be logged must not be there either."""
    own_formatter = caplog.handler.formatter
    caplog.handler.setFormatter(ConsoleFormatter())
    yield caplog
    caplog.handler.setFormatter(own_formatter)
