"""Users of Redis by service (L15): what each may do, and what is refused, on a real server with the lines we hand out.

The whole stack runs with these users in tests/integration/compose/test_start_to_first_document.py.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.support.missing import skip
from tests.support.waiting import until
from worker.domain.lanes import BROKER_PREFIX, QUEUES
from worker.ops.installation_secrets import REDIS_USERS, redis_conf
from worker.stores.child_processes import Supervisor, free_port
from worker.stores.redis.embedded import find_server

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "redis-keys.md"
USERS = [user.name for user in REDIS_USERS]
PASSWORDS = {name: f"password-of-{name}" for name in USERS}
QUEUE = BROKER_PREFIX + QUEUES[0]
HELD = f"{BROKER_PREFIX}unacked:host-1-abc"
BINDING = f"{BROKER_PREFIX}_kombu.binding.releve"
TOKEN = "releve:secret:token:enedis-2026"
REQUEST = "releve:connection_request:one"
# Refused to everybody.
COMMANDS_OF_THE_SERVER = [
    "FLUSHALL",
    "FLUSHDB",
    "SHUTDOWN NOSAVE",
    "CONFIG GET requirepass",
    "CONFIG SET maxmemory 1",
    "DEBUG SLEEP 0",
    "ACL LIST",
    "ACL SETUSER mallory on nopass +@all ~*",
    "KEYS *",
    "MONITOR",
    "SAVE",
    "REPLICAOF 127.0.0.1 1",
    "MIGRATE 127.0.0.1 1 k 0 1",
    "CLIENT LIST",
    "CLIENT KILL TYPE normal",
    "SCRIPT FLUSH",
    "FUNCTION FLUSH",
    "MODULE LIST",
    "SLOWLOG GET",
    "GET elsewhere",
    "SET elsewhere 1",
    "PUBLISH elsewhere 1",
]
FORBIDDEN = [
    *(("beat", f"{read} {key}") for read, key in (("GET", TOKEN), ("GET", REQUEST), ("HGETALL", HELD))),
    ("beat", f"BRPOP {QUEUE} 1"),
    ("beat", f"LRANGE {QUEUE} 0 -1"),
    ("beat", f"DEL {QUEUE}"),
    ("beat", "HSET releve:task:one:daily state ok"),
    ("beat", f"PUBLISH {BROKER_PREFIX}/0.celery.pidbox shutdown"),
    *(("flower", f"{read} {key}") for read, key in (("GET", TOKEN), ("GET", REQUEST), ("HGETALL", HELD))),
    ("flower", f"LPUSH {QUEUE} message"),
    ("flower", f"LRANGE {QUEUE} 0 -1"),
    ("flower", f"BRPOP {QUEUE} 1"),
    ("flower", f"DEL {QUEUE}"),
    ("flower", "HGETALL releve:heartbeat"),
    ("flower", f"EVAL return(redis.call('LPUSH',KEYS[1],1)) 1 {QUEUE}"),
    *(("metrics", f"{read} {key}") for read, key in (("GET", TOKEN), ("GET", REQUEST), ("HGETALL", HELD))),
    ("metrics", f"LPUSH {QUEUE} message"),
    ("metrics", "HSET releve:heartbeat beat 1"),
    ("metrics", f"EVAL return(redis.call('LPUSH',KEYS[1],1)) 1 {QUEUE}"),
    ("metrics", "SET releve:text:audit 1"),
    ("metrics", f"PUBLISH {BROKER_PREFIX}/0.celery.pidbox shutdown"),
    ("metrics", f"PSUBSCRIBE {BROKER_PREFIX}/0.celeryev/*"),
    ("web", f"HGETALL {HELD}"),
    ("web", f"BRPOP {QUEUE} 1"),
    ("web", f"PUBLISH {BROKER_PREFIX}/0.celery.pidbox shutdown"),
    ("health", "INFO"),
    ("health", f"GET {TOKEN}"),
]
ALLOWED = [
    *((user, "PING") for user in USERS),
    *((user, "INFO memory") for user in USERS if user != "health"),
    ("worker", f"LPUSH {QUEUE} message"),
    ("worker", f"HSET {HELD} tag message"),
    ("worker", f"SET {TOKEN} sealed"),
    ("worker", f"PUBLISH {BROKER_PREFIX}/0.celeryev/task.received event"),
    ("web", f"LPUSH {QUEUE} message"),
    ("web", f"SET {REQUEST} sealed"),
    ("web", "SET releve:consent_flow:state sealed"),
    ("web", "HGETALL releve:heartbeat"),
    ("beat", f"LPUSH {QUEUE} message"),
    ("beat", f"SADD {BINDING} queue"),
    ("beat", "HSET releve:heartbeat beat 1"),
    ("flower", f"LLEN {QUEUE}"),
    ("flower", f"PUBLISH {BROKER_PREFIX}/0.celery.pidbox ping"),
    ("metrics", f"LLEN {QUEUE}"),
    ("metrics", f"EVAL return(redis.call('LLEN',KEYS[1])) 1 {QUEUE}"),  # KEDA.
    ("metrics", "HGETALL releve:heartbeat"),
    ("metrics", "GET releve:text:audit"),
]

LogIn = Callable[[str], redis.Redis]


@pytest.fixture(scope="module", params=["bundled", "redis-server"])
def log_in(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LogIn]:
    """Return a function that connects as a user of a server with the lines of redis.conf."""
    program = str(find_server()) if request.param == "bundled" else shutil.which(request.param)
    if program is None:
        skip("no redis-server: apt-get install redis-server")
    folder, port = tmp_path_factory.mktemp("redis"), free_port()
    conf = folder / "redis.conf"
    conf.write_text(redis_conf(PASSWORDS))
    options = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)]
    with ExitStack() as stack:
        children = stack.enter_context(Supervisor(grace_s=5))
        children.start("redis", [program, str(conf), *options], log_path=folder / "redis.log")
        clients = {
            user: stack.enter_context(redis.Redis("127.0.0.1", port, username=user, password=PASSWORDS[user]))
            for user in USERS
        }
        until(lambda: _answers(clients["health"]), (folder / "redis.log").read_text)
        yield clients.__getitem__


def _answers(client: redis.Redis) -> bool:
    with suppress(redis.exceptions.ConnectionError):
        return bool(client.ping())
    return False


def refusal(log_in: LogIn, user: str, command: str) -> str:
    """Return what the server says against a command, or nothing where it carries it out."""
    try:
        log_in(user).execute_command(*command.split())
    except redis.exceptions.ResponseError as error:
        return str(error)
    return ""


def test_l15_nobody_may_touch_the_server_or_leave_our_keys(log_in: LogIn) -> None:
    answers = {(user, command): refusal(log_in, user, command) for user in USERS for command in COMMANDS_OF_THE_SERVER}
    # The server itself refuses DEBUG to everybody, before it looks at the user.
    refused = re.compile(r"permission|DEBUG command not allowed")
    assert {call: answer for call, answer in answers.items() if not refused.search(answer)} == {}


def test_l15_a_user_may_not_do_what_is_another_s(log_in: LogIn) -> None:
    answers = {(user, command): refusal(log_in, user, command) for user, command in FORBIDDEN}
    # "Permission" where a script is refused.
    assert {call: answer for call, answer in answers.items() if "permission" not in answer.lower()} == {}


def test_l15_a_user_may_do_what_its_service_does(log_in: LogIn) -> None:
    answers = {(user, command): refusal(log_in, user, command) for user, command in ALLOWED}
    assert {call: answer for call, answer in answers.items() if answer} == {}


def test_l15_workers_and_web_reach_each_key_of_the_page(log_in: LogIn) -> None:
    cells = re.findall(r"^\| (`.+?`[^|]*) \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    keys = [key for cell in cells for key in re.findall(r"`([a-z_]+[^`]*)`", cell) if not key.startswith("celery:")]
    assert len(keys) >= 30
    for user in ("worker", "web"):
        for key in keys:
            log_in(user).exists(f"releve:{key}")


def test_l15_without_a_password_nobody_is_let_in(log_in: LogIn) -> None:
    options = log_in("health").connection_pool.connection_kwargs
    address: dict[str, Any] = {"host": options["host"], "port": options["port"], "retry": Retry(NoBackoff(), 0)}
    for login in ({}, {"username": "default", "password": ""}, {"username": "worker", "password": PASSWORDS["web"]}):
        with redis.Redis(**address, **login) as client, pytest.raises(redis.exceptions.AuthenticationError):
            client.ping()


def test_no_password_stands_in_the_servers_file() -> None:
    assert not any(password in redis_conf(PASSWORDS) for password in PASSWORDS.values())
