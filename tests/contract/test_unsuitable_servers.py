"""A server that can't serve is named in one line: SQL_ASCII, CouchDB 2, a Redis that evicts, or another server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from redis import Redis

from config.settings import ConfigError, Settings
from tests.support import servers
from tests.support.canned_server import answer, canned_server
from tests.support.commands import CommandResult, run_releve
from worker.errors import StoreUnavailable
from worker.ops.startup import _check_couchdb
from worker.stores.database import Database

ENCODINGS = ("SQL_ASCII", "LATIN1")


@pytest.fixture(params=ENCODINGS)
def encoding(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def odd_database(postgres_url: str, encoding: str) -> Iterator[str]:
    """Yield the URL of a PostgreSQL database whose texts are not in UTF-8."""
    with servers.fresh_database(postgres_url, f"ENCODING '{encoding}' LOCALE 'C' TEMPLATE template0") as url:
        yield url


def test_a_database_in_another_encoding_is_named_with_what_to_do(odd_database: str, encoding: str) -> None:
    database = Database(odd_database)
    with pytest.raises(StoreUnavailable, match=f"has the encoding {encoding}.*ENCODING 'UTF8'"), database.reading():
        pass
    database.close()


@pytest.mark.parametrize("setting", ["RELEVE_REGISTRY_URL", "RELEVE_MEASURES_URL"])
def test_the_doctor_and_each_command_say_so_too(
    tmp_path: Path, redis_url: str, odd_database: str, encoding: str, setting: str
) -> None:
    env = {"RELEVE_DATA_DIR": str(tmp_path), "RELEVE_REDIS_URL": redis_url, setting: odd_database}
    migrated = run_releve(tmp_path, env, "migrate")
    assert f"has the encoding {encoding}: make one with CREATE DATABASE" in migrated.error_line
    name = "registry" if setting == "RELEVE_REGISTRY_URL" else "measures"
    line = line_of(run_releve(tmp_path, env, "doctor"), name)
    assert line.startswith("FAIL") and f"has the encoding {encoding}" in line


def line_of(ended: CommandResult, check: str) -> str:
    """Return the doctor's line for a check."""
    assert "a bug in Relève" not in ended.err
    return next(line for line in ended.out.splitlines() if line[5:].startswith(check))


OTHERS = {
    "CouchDB 2": (
        answer(200, {"couchdb": "Welcome", "version": "2.3.1"}),
        "CouchDB 2.3.1 at {origin} is too old: update it to CouchDB 3 or newer",
    ),
    "CouchDB 1": (answer(200, {"couchdb": "Welcome", "version": "1.7.2"}), "CouchDB 1.7.2 at {origin} is too old"),
    "another API": (
        answer(200, {"version": {"number": "8.1"}}),
        "the server at {origin} is not CouchDB",
    ),
    "a list": (answer(200, [1]), "the server at {origin} is not CouchDB"),
    "a page": (answer(200, "<html>hello</html>", "text/html"), "{origin} does not answer like CouchDB"),
}


@pytest.mark.parametrize("kind", OTHERS)
def test_a_measures_url_to_another_server_is_named(tmp_path: Path, redis_url: str, kind: str) -> None:
    welcome, words = OTHERS[kind]
    with canned_server(*[welcome] * 200) as server:
        origin = server.url.rstrip("/")
        url = f"couchdb+{server.url.replace('http://', 'http://releve:password@')}"
        env = {"RELEVE_DATA_DIR": str(tmp_path), "RELEVE_REDIS_URL": redis_url, "RELEVE_MEASURES_URL": url}
        migrated, doctor = run_releve(tmp_path, env, "migrate"), run_releve(tmp_path, env, "doctor")
    assert words.format(origin=origin) in migrated.error_line
    line = line_of(doctor, "couchdb")
    assert line.startswith("FAIL") and words.format(origin=origin) in line
    assert "password" not in migrated.err + doctor.out


@pytest.mark.sockets
@pytest.mark.parametrize("version", ["3.0.0", "3.5.2", "3.3.3+cloudant", "4.1", "10.0"])
def test_a_worker_takes_every_later_couchdb(version: str) -> None:
    with canned_server(answer(200, {"couchdb": "Welcome", "version": version})) as server:
        _check_couchdb(settings_of(f"couchdb+{server.url}"))


@pytest.mark.sockets
def test_a_worker_does_not_start_on_couchdb_2() -> None:
    with (
        canned_server(answer(200, {"couchdb": "Welcome", "version": "2.3.1"})) as server,
        pytest.raises(ConfigError, match=r"CouchDB 2\.3\.1 .* is too old"),
    ):
        _check_couchdb(settings_of(f"couchdb+{server.url}"))


@pytest.mark.sockets
def test_a_worker_waits_for_a_couchdb_that_is_down() -> None:
    _check_couchdb(settings_of("couchdb+http://127.0.0.1:1/"))


def settings_of(measures_url: str) -> Settings:
    return Settings.from_env(_env_file=None, measures_url=measures_url, enedis_url="http://127.0.0.1:9")


def test_a_registry_url_to_another_server_is_named(tmp_path: Path, redis_url: str) -> None:
    url = f"postgresql://releve:password@{urlsplit(redis_url).netloc}/releve?connect_timeout=2"
    env = {"RELEVE_DATA_DIR": str(tmp_path), "RELEVE_REDIS_URL": redis_url, "RELEVE_REGISTRY_URL": url}
    ended = run_releve(tmp_path, env, "status")
    assert "check that it runs, and RELEVE_REGISTRY_URL" in ended.error_line
    assert "password" not in ended.err


def test_a_redis_that_evicts_is_named(tmp_path: Path, redis_url: str) -> None:
    with Redis.from_url(redis_url) as redis:
        redis.config_set("maxmemory-policy", "allkeys-lru")
        try:
            env = {"RELEVE_DATA_DIR": str(tmp_path), "RELEVE_REDIS_URL": redis_url}
            ended, doctor = run_releve(tmp_path, env, "status"), run_releve(tmp_path, env, "doctor")
        finally:
            redis.config_set("maxmemory-policy", "noeviction")
    assert "evicts keys (maxmemory-policy allkeys-lru): set maxmemory-policy noeviction" in ended.error_line
    assert line_of(doctor, "redis").startswith("FAIL")
