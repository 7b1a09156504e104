"""Stores that refuse writes within a block, in this process: what only looks must come to its end there.

An SQL statement that changes rows or tables is refused, and a Redis command with the flag ``write``, in a pipeline and
in a script too. What is refused is also noted, because the code may go on after an error of its store.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

import pytest
from redis import Redis
from redis.client import Pipeline
from redis.commands.core import Script
from sqlalchemy import Engine, event

_CHANGES: Final = re.compile(
    r"\s*(?:WITH\b.*\b)?(INSERT|UPDATE|DELETE|REPLACE|CREATE|DROP|ALTER|TRUNCATE)\b", re.S | re.I
)
_CALLED: Final = re.compile(r"redis\.p?call\(\s*['\"](\w+)['\"]")
_RUNS_SCRIPT: Final = frozenset({"EVAL", "EVALSHA", "FCALL", "SCRIPT LOAD"})  # Judged by its text, at its call.


class WriteAttempted(AssertionError):
    """Not of a kind that our code takes for an outage."""


@contextmanager
def refusing_writes(redis: Redis, allowed: str = "(?!)") -> Iterator[list[str]]:
    """Yield a list of the writes that were tried within the block; ``redis`` says which commands write.

    ``allowed``: the pattern of the beginning of writes that are carried out and not listed, as the list names them.
    """
    writing = {name.upper() for name in redis.command_list(category="write")}
    tried: list[str] = []

    def refuse(write: str) -> None:
        if re.match(allowed, write):
            return
        tried.append(write)
        raise WriteAttempted(write)

    def check_sql(*arguments: Any) -> None:
        if found := _CHANGES.match(arguments[2]):
            refuse(f"SQL {found[1].upper()} {' '.join(arguments[2][found.end() :].split()[:3])}")

    def check_redis(name: str, key: object = "") -> None:
        name = name.upper()
        if name in writing and name not in _RUNS_SCRIPT:
            refuse(f"Redis {name} {_kind_of(key)}")

    execute, execute_all, call = Redis.execute_command, Pipeline.execute, Script.__call__

    def execute_command(client: Redis, *arguments: Any, **options: Any) -> Any:
        check_redis(*arguments[:2])
        return execute(client, *arguments, **options)

    def execute_pipeline(pipeline: Pipeline, *arguments: Any, **options: Any) -> Any:
        for queued in pipeline.command_stack:
            check_redis(*queued[0][:2])
        return execute_all(pipeline, *arguments, **options)

    def call_script(script: Script, keys: Sequence[Any] | None = None, *rest: Any, **options: Any) -> Any:
        text = script.script.decode() if isinstance(script.script, bytes) else script.script
        for name in _CALLED.findall(text):
            check_redis(name, (keys or [""])[0])
        return call(script, keys, *rest, **options)

    event.listen(Engine, "before_cursor_execute", check_sql)
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Redis, "execute_command", execute_command)
            patch.setattr(Pipeline, "execute", execute_pipeline)
            patch.setattr(Script, "__call__", call_script)
            yield tried
    finally:
        event.remove(Engine, "before_cursor_execute", check_sql)


def _kind_of(key: object) -> str:
    """Return the first two words of a key such as ``releve:task:…``: the rest may be a secret or an account."""
    text = key.decode() if isinstance(key, bytes) else str(key)
    return ":".join(text.split(":")[:2])
