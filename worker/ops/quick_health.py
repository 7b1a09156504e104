"""A quick `releve health` that loads little of Relève, because platforms run it every few seconds next to busy workers.

This module only finds out whether all is well. If not, or if it does not support the settings (another broker, TLS,
Sentinels, a file ``.env``), ``worker.cli.health`` makes the full check, which applies the same criteria and says what
is wrong.
"""

from __future__ import annotations

import json
import os
import re
import socket
from contextlib import closing
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from worker.stores.sockets import ask_redis

MAX_AGE_S: Final = 90.0  # A worker sends a heartbeat every 4 s (in a home, every 60 s), but Redis may answer slowly.
BEAT_S: Final = 180.0  # Beat sends a message every minute; in a home, every two minutes.
TIMEOUT_S: Final = 5.0
USUAL_ADDRESSES: Final = {
    "web": "http://127.0.0.1:8000/static/page.css",
    "flower": "http://127.0.0.1:5555/healthcheck",  # This page is open even if Flower has a password.
    "metrics": "http://127.0.0.1:9808/metrics",
}
READINESS_CHECKS: Final = {
    "worker": ("redis", "broker", "registry", "measures"),
    "beat": ("redis", "broker"),
    "web": ("redis", "registry"),
    "flower": ("broker",),
    "metrics": ("redis", "registry"),
}
# Matches error answers, and the lines of INFO in which ``judge_redis`` of ``worker.ops.store_checks`` finds a fault.
_REDIS_FAULT: Final = r"(?m)^(-|role:slave|loading:1|cluster_enabled:1|aof_last_\w+_status:err)"
_STEPS: Final = Path(__file__).parents[1] / "stores/registry/migrations/versions"


def is_well(words: str) -> bool:
    """Return whether `releve health WORDS` would find no fault; False also if only the full check can tell."""
    try:
        kind, role, url = re.findall(r"^(live|ready) --role (\w+)(?: --url (\S+))?$", words)[0]
        needs = {"live": (), "ready": READINESS_CHECKS[role]}[kind]
        if Path(".env").exists() or _setting("BROKER_URL"):
            return False
        return (
            ((role in USUAL_ADDRESSES and not needs) or _is_redis_good(role))
            and all(_is_store_good(need) for need in needs if need in ("registry", "measures"))
            and (role not in USUAL_ADDRESSES or ask_listener(url or USUAL_ADDRESSES[role]) < 500)
        )
    except Exception:  # noqa: BLE001 - The full check meets the same error, and reports it.
        return False


def _setting(name: str, usual: str = "") -> str:
    file = os.environ.get(f"RELEVE_{name}_FILE")
    return os.environ.get(f"RELEVE_{name}") or (Path(file).read_text(encoding="utf-8").strip() if file else usual)


def _data_file(name: str) -> Path:
    return Path(_setting("DATA_DIR", "releve-data"), name).absolute()


def _is_redis_good(role: str) -> bool:
    """Return whether Redis has no fault, and the role's heartbeats are recent.

    These are the heartbeats of all workers on this host, or that of beat; other roles have none.
    """
    url = _setting("REDIS_URL") or _data_file("redis/server.url").read_text(encoding="utf-8").strip()
    parts = urlsplit(url)
    if parts.scheme != "redis" or parts.query or parts.path not in ("", "/", "/0"):
        return False
    answer = ask_redis(url, "INFO\r\nHGETALL releve:heartbeat", TIMEOUT_S)
    now = int(re.findall(r"server_time_usec:(\d+)", answer)[0]) / 1e6
    workers = sorted(map(json.loads, re.findall(r"(?m)^(\{.+\})\r$", answer)), key=lambda worker: worker["seen_at"])
    own = {
        worker["name"]: worker["seen_at"] for worker in workers if worker["name"].endswith(f"@{socket.gethostname()}")
    }
    beat = map(float, re.findall(r"(?m)^beat\r\n.+\r\n(.+)\r$", answer))
    age_s = now - min({"worker": own.values(), "beat": beat}.get(role, [now]))
    is_young = age_s <= (MAX_AGE_S if role == "worker" else BEAT_S)
    return is_young and "maxmemory_policy:noeviction" in answer and not re.search(_REDIS_FAULT, answer)


def _is_store_good(store: str) -> bool:
    """Return whether a store answers; the registry must have the tables of this version, and CouchDB all databases."""
    url = _setting(f"{store.upper()}_URL")
    if url.startswith("couchdb+"):
        return _is_couchdb_good(url)
    if url:
        import psycopg

        opened: Any = psycopg.connect(url, connect_timeout=int(TIMEOUT_S))
    else:
        import sqlite3

        opened = sqlite3.connect(f"{_data_file(f'{store}.db').as_uri()}?mode=ro", uri=True)
    newest = max(file.name.partition("_")[0] for file in _STEPS.glob("[0-9]*_*.py"))
    with closing(opened) as connection:
        if store == "registry":
            return bool([(newest,)] == connection.execute("SELECT version_num FROM alembic_version").fetchall())
        connection.execute("SELECT 1 FROM measure_day LIMIT 1")
        return True


def _is_couchdb_good(url: str) -> bool:
    from worker.stores.measures import measure_store, open_couchdb
    from worker.stores.measures.couchdb import read_or_none

    layout, server = measure_store.Layout(_setting("LAYOUT", "plain")), open_couchdb(url, TIMEOUT_S)
    own, others = measure_store.doctypes_of(layout), measure_store.readings_of(layout.other)
    infos = {name: server and read_or_none(server, measure_store.database_name(name)) for name in (*own, *others)}
    return all(infos[name] for name in own) and not any((infos[name] or {}).get("doc_count") for name in others)


def ask_listener(address: str) -> int:
    """Return the HTTP status of the answer at an address. Raises OSError, IndexError and ValueError."""
    url = urlsplit(address)
    path = url._replace(scheme="", netloc="", fragment="").geturl() or "/"
    with socket.create_connection((url.hostname or "127.0.0.1", url.port or 80), TIMEOUT_S) as connection:
        connection.sendall(f"GET {path} HTTP/1.0\r\nHost: {url.netloc}\r\n\r\n".encode())
        return int(connection.recv(64).split()[1])
