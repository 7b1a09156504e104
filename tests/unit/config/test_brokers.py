"""Celery's options for each kind of broker, and the URLs that are refused, with messages that hold no password."""

from __future__ import annotations

import ssl
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from kombu import Connection

from config.settings import ConfigError, Settings
from config.validation import build_broker_options, check_broker_url
from worker.stores.redis import Sentinels, check_redis_url, parse_sentinels

SECRET = "s3cret"
SENTINELS = f"sentinel://user:{SECRET}%40@h1,h2:26380,[::1]:26381/3?master=homes&sentinel_password=an0ther"


def to_kombu_url(url: str) -> str:
    return str(build_broker_options(url, 180).url)


def test_a_plain_redis_url_goes_to_kombu_as_it_is() -> None:
    assert to_kombu_url(f"redis://:{SECRET}@host:6379/1") == f"redis://:{SECRET}@host:6379/1"
    assert to_kombu_url("redis://host:6379/1?db=4") == "redis://host:6379/4"  # As redis-py reads it.


def test_kombu_is_told_to_look_at_certificates_which_by_itself_it_does_not(tmp_path: Path) -> None:
    query = parse_qs(urlsplit(to_kombu_url(f"rediss://host/0?ssl_ca_certs={tmp_path}/ca.pem")).query)
    assert query == {"ssl_ca_certs": [f"{tmp_path}/ca.pem"], "ssl_cert_reqs": ["required"]}
    assert Connection(to_kombu_url("rediss://host/0")).ssl == {"ssl_cert_reqs": ssl.CERT_REQUIRED}
    assert Connection(to_kombu_url("rediss://host/0?ssl_cert_reqs=none")).ssl == {"ssl_cert_reqs": ssl.CERT_NONE}


def test_a_socket_of_redis_is_written_as_kombu_knows_it() -> None:
    assert (
        to_kombu_url("unix:///run/redis.sock?db=2&password=a/b")
        == "redis+socket://:a%2Fb@/run/redis.sock?virtual_host=2"
    )
    assert "socket_keepalive" not in build_broker_options("unix:///run/redis.sock", 180).transport_options


def test_sentinels_are_taken_to_pieces() -> None:
    assert parse_sentinels(SENTINELS) == Sentinels(
        nodes=(("h1", 26379), ("h2", 26380), ("::1", 26381)),
        master="homes",
        database=3,
        username="user",
        password=f"{SECRET}@",
        sentinel_password="an0ther",
    )
    assert SECRET not in repr(parse_sentinels(SENTINELS))
    assert parse_sentinels("sentinel://h1?master=homes").database == 0


def test_kombu_hears_of_every_sentinel_and_of_the_master() -> None:
    broker = build_broker_options(SENTINELS, 180)
    login = f"user:{SECRET}%40@"
    assert broker.url == ";".join(f"sentinel://{login}{at}/3" for at in ("h1:26379", "h2:26380", "[::1]:26381"))
    assert broker.transport_options["master_name"] == "homes"
    assert broker.transport_options["sentinel_kwargs"]["password"] == "an0ther"
    assert SECRET not in repr(broker.transport_options)


def test_rabbitmq_gets_options_of_its_own_and_quorum_queues() -> None:
    broker = build_broker_options("amqp://u:p@h1/v;amqp://u:p@h2/v", 180)
    assert (broker.url, broker.kind, broker.use_ssl) == ("amqp://u:p@h1/v;amqp://u:p@h2/v", "rabbitmq", None)
    assert broker.transport_options == {"confirm_publish": True}
    assert broker.queue_arguments == {"x-queue-type": "quorum"}
    assert broker.exchange_type == "topic"


def test_redis_keeps_its_queues_and_its_order() -> None:
    for url in (None, "redis://host/0", SENTINELS):
        broker = build_broker_options(url, 77)
        assert (broker.kind, broker.queue_arguments, broker.exchange_type) == ("redis", None, "direct")
        assert broker.transport_options["visibility_timeout"] == 77
        assert broker.transport_options["queue_order_strategy"] == "priority"


def test_rabbitmq_over_tls_is_looked_at_and_called_by_its_name() -> None:
    broker = build_broker_options("amqps://u:p@h1/v?ssl_ca_certs=/ca.pem;amqps://u:p@h2/v", 180)
    assert broker.url == "amqps://u:p@h1/v;amqps://u:p@h2/v"
    assert broker.use_ssl == {"ca_certs": "/ca.pem", "cert_reqs": ssl.CERT_REQUIRED, "server_hostname": None}
    assert build_broker_options("amqps://h/v?ssl_cert_reqs=none", 180).use_ssl == {"cert_reqs": ssl.CERT_NONE}


@pytest.mark.parametrize(
    "url",
    [
        "redis://host",
        f"redis://:{SECRET}@host:6379/0",
        "rediss://host/0?ssl_cert_reqs=none",
        "unix:///run/redis.sock?db=1",
        SENTINELS,
        "sentinel://h1,h2,h3/0?master=homes",
    ],
)
def test_redis_may_be_any_of_these(url: str) -> None:
    check_redis_url(url)
    check_broker_url(url)


@pytest.mark.parametrize("url", ["amqp://host", f"amqp://u:{SECRET}@host:5672/v", "amqps://h1/v;amqps://h2/v"])
def test_a_broker_may_be_any_of_these_too(url: str) -> None:
    check_broker_url(url)


@pytest.mark.parametrize(
    "url, message",
    [
        (f"http://u:{SECRET}@host", "needs a redis://"),
        (f"{SECRET}", "needs a redis://"),
        ("unix://", "needs a redis://"),
        (f"redis://:{SECRET}@host:port/0", "needs a redis://"),
        ("redis://host/0?health_check_interval=1", "allows only db after"),
        ("redis://host/0?db=first", "needs a number as db"),
        ("rediss://host/0?ssl_cert_reqs=maybe", "needs ssl_cert_reqs to be one of required, optional, none"),
        ("rediss://host/0?ssl_ca_certs=/nowhere/ca.pem", "ssl_ca_certs is a file that does not exist"),
        (f"sentinel://:{SECRET}@h1,h2/0", "needs [?]master=NAME"),
        (f"sentinel://:{SECRET}@h1:port/0?master=homes", "needs a redis://"),
        (f"sentinel://:{SECRET}@/0?master=homes", "needs a redis://"),
        (f"sentinel://:{SECRET}@h1/first?master=homes", "needs a redis://"),
        ("sentinel://h1/0?master=homes&ssl_ca_certs=/ca.pem", "allows only master, sentinel_password"),
    ],
)
def test_another_url_of_redis_is_refused_in_one_line(url: str, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        check_redis_url(url)
    assert SECRET not in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "url, message",
    [
        (f"amqp://u:{SECRET}#@host/v", "needs amqp://USER"),
        (f"amqp://u:{SECRET}@h1/v;h2", "needs amqp://USER"),
        (f"amqp://u:{SECRET}@h1/v;amqps://h2/v", "of one kind"),
        ("amqp://", "needs amqp://USER"),
        ("amqp://host/v?heartbeat=1", "allows nothing after"),
        ("amqps://host/v?ssl_ca_certs=/nowhere/ca.pem", "ssl_ca_certs is a file that does not exist"),
        (f"amqpx://u:{SECRET}@host/v", "needs an amqp://"),
        (f"pyamqp://u:{SECRET}@host/v", "needs an amqp://"),
    ],
)
def test_another_url_of_a_broker_is_refused_in_one_line(url: str, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        check_broker_url(url)
    assert SECRET not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_settings_name_the_variable_that_is_wrong() -> None:
    with pytest.raises(ConfigError) as caught:
        Settings.from_env(_env_file=None, redis_url=f"sentinel://:{SECRET}@h1/0", broker_url=f"amqp://u:{SECRET}#@h/")
    first, second = str(caught.value).splitlines()
    assert first.startswith("RELEVE_REDIS_URL: needs ?master=NAME")
    assert second.startswith("RELEVE_BROKER_URL: needs amqp://")
    assert SECRET not in str(caught.value)


def test_without_a_broker_of_its_own_redis_carries_the_messages() -> None:
    settings = Settings.from_env(_env_file=None, redis_url="sentinel://h1,h2/0?master=homes")
    assert settings.redis() == "sentinel://h1,h2/0?master=homes"
    assert settings.broker_options().url == "sentinel://h1:26379/0;sentinel://h2:26379/0"
    assert Settings.from_env(_env_file=None).broker_options().url is None
