"""The kept installations of past releases, loaded unchanged (``tests.golden.keep_installation`` creates them)."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from datetime import UTC, date, datetime
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from redis import Redis
from sqlalchemy import Column, Connection, MetaData, Table, create_engine, insert, select

from tests.golden.keep_installation import FOLDER, packed_databases
from tests.support.fakes import MemoryStore, memory_measures, packed_memory_measures
from worker.domain.series import Doctype

KEPT: Final = FOLDER / "release_0.2.0"
_SQLITE: Final = "sqlite:///"

Rows = Mapping[str, list[dict[str, Any]]]


def load_kept(name: str) -> Any:
    """Return the content of the kept file of this name, such as ``registry``."""
    return json.loads((KEPT / f"{name}.json").read_text(encoding="utf-8"))


def create_kept_tables(url: str) -> None:
    """Create the kept tables of registry and measures in an empty database, with their rows."""
    if url.startswith(_SQLITE):
        Path(url.removeprefix(_SQLITE)).write_bytes(_sqlite_file())
    else:
        _create_tables(url)


@cache
def _sqlite_file() -> bytes:
    with TemporaryDirectory() as folder:
        file = Path(folder, "kept.db")
        _create_tables(f"{_SQLITE}{file}")
        return file.read_bytes()


def _create_tables(url: str) -> None:
    engine = create_engine(url)
    with engine.begin() as connection:
        for statement in load_kept("schema")[connection.dialect.name]:
            connection.exec_driver_sql(statement.replace("%", "%%"))
        tables = _reflect(connection)
        kept: dict[str, list[dict[str, Any]]] = {**load_kept("registry"), **load_kept("measures")["sql"]}
        for table in tables.sorted_tables:
            if rows := kept.get(table.name):
                connection.execute(insert(table), [_to_row(table, row) for row in rows])
    engine.dispose()


def read_all_rows(url: str) -> dict[str, list[dict[str, Any]]]:
    """Return all rows of all tables of a database, in the form of the kept files."""
    engine = create_engine(url)
    with engine.connect() as connection:
        rows = {
            table.name: [
                {name: _to_json(value) for name, value in row.items()}
                for row in connection.execute(select(table)).mappings()
            ]
            for table in _reflect(connection).sorted_tables
        }
    engine.dispose()
    return rows


def find_lost_rows(before: Rows, after: Rows) -> dict[str, int]:
    """Return how many rows of each table are gone or changed; new or dropped columns don't count."""
    lost = {}
    for name, rows in before.items():
        remaining = after.get(name, [])
        columns = set(rows[0] if rows else ()) & set(remaining[0] if remaining else ())
        there = {_to_line(row, columns) for row in remaining}
        lost[name] = sum(_to_line(row, columns) not in there for row in rows)
    return {name: number for name, number in lost.items() if number}


def load_redis(url: str) -> None:
    """Put the kept keys into an empty Redis."""
    with Redis.from_url(url) as redis:
        redis.flushdb()
        for name, key in load_kept("redis").items():
            match key["type"], key["value"]:
                case "string", value:
                    redis.set(name, value)
                case "bytes", value:
                    redis.set(name, base64.b64decode(value))
                case "hash", value:
                    redis.hset(name, mapping=value)
                case "list", value:
                    redis.rpush(name, *value)
                case "set", value:
                    redis.sadd(name, *value)
                case "zset", value:
                    redis.zadd(name, value)


def kept_document_stores() -> dict[str, Any]:
    """Return stores with the kept documents, by layout."""
    kept = load_kept("measures")
    plain, packed = memory_measures(), packed_memory_measures()
    for name, documents in kept["plain"].items():
        _fill(plain[Doctype(name)], documents)
    databases = packed_databases(packed)
    for name, documents in kept["packed"].items():
        _fill(databases[name], documents)
    return {"plain": plain, "packed": packed}


def _fill(memory: MemoryStore, documents: list[dict[str, Any]]) -> None:
    memory.documents = {document["_id"]: document for document in documents}


def _reflect(connection: Connection) -> MetaData:
    metadata = MetaData()
    metadata.reflect(connection)
    return metadata


def _to_row(table: Table, row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _from_json(table.c[name], value) for name, value in row.items()}


def _from_json(column: Column[Any], value: Any) -> Any:
    kind = column.type.python_type
    if value is None or kind not in (bytes, date, datetime):
        return value
    if kind is bytes:
        return base64.b64decode(value)
    moment = kind.fromisoformat(value)
    return moment.replace(tzinfo=None) if kind is datetime and not getattr(column.type, "timezone", False) else moment


def _to_json(value: Any) -> Any:
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, datetime):
        value = value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
    return value.isoformat() if isinstance(value, date) else value


def _to_line(row: Mapping[str, Any], columns: set[str]) -> str:
    return json.dumps({name: row[name] for name in sorted(columns)}, sort_keys=True)


def write_steps(folder: Path, source: Path, **steps: str) -> Path:
    """Return a copy of the migrations with made-up later steps; ``_9001="…"`` is the body of a module's upgrade."""
    versions = folder / "migrations" / "versions"
    versions.mkdir(parents=True)
    (versions.parent / "env.py").write_text((source / "env.py").read_text())
    for file in source.glob("versions/[0-9]*_*.py"):
        (versions / file.name).write_text(file.read_text())
    before = max(file.name.partition("_")[0] for file in versions.iterdir())
    for name, body in steps.items():
        phase, number = name.rsplit("_", 1)
        (versions / f"{number}_made_up.py").write_text(
            "import sqlalchemy as sa\nfrom alembic import op\n"
            f"revision, down_revision, phase = {number!r}, {before!r}, {phase!r}\n"
            f"def upgrade():\n    {body}\n"
        )
        before = number
    return versions.parent
