"""The faults that a drill's Redis shows by itself."""

from __future__ import annotations

import time
from contextlib import ExitStack
from pathlib import Path

import pytest
from redis import Redis

from drill.servers import DrillRedis

pytestmark = pytest.mark.sockets


def test_redis_stalls_cuts_and_loses_the_messages_of_the_broker_alone(tmp_path: Path) -> None:
    server = DrillRedis(tmp_path)
    with ExitStack() as stack, Redis.from_url(server.url, decode_responses=True) as client:
        stack.callback(server.stop)
        client.rpush("releve:celery:nightly", "waiting")
        client.hset("releve:celery:unacked:host-1-a", "tag", "taken")
        client.zadd("releve:celery:unacked_index:host-1-a", {"tag": 1})
        client.sadd("releve:celery:_kombu.binding.releve", "nightly")
        client.hset("releve:task:k9x4w:daily", "state", "ok")
        server.lose_messages()
        assert client.keys() and set(client.keys()) == {
            "releve:celery:_kombu.binding.releve",
            "releve:task:k9x4w:daily",
        }
        begun = time.monotonic()
        server.stall(0.3)
        assert client.ping()
        assert time.monotonic() - begun > 0.2
        connection = client.client_id()
        server.cut()
        assert client.client_id() != connection
        server.kill()
        server.start()
        assert client.hget("releve:task:k9x4w:daily", "state") in ("ok", None)  # A second may be lost.
