"""What an object says of itself ends up in tracebacks and debuggers: no secret is in it, wherever it stands."""

from __future__ import annotations

import ast
import dataclasses
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from config.settings import Settings
from tests.unit.test_errors import MESSAGE, TREE
from worker.accounts.notice_texts import to_message
from worker.accounts.token_store import UserTokenStore
from worker.clients.enedis.consent import Callback
from worker.clients.enedis.errors import Reply
from worker.clients.tokens import Token, UserTokens
from worker.domain.consent.consents import Notice, NoticeKind
from worker.domain.measures.answers import Answer, AnswerKind
from worker.domain.measures.splitting import SplitFetch
from worker.logs import REDACTOR, Redactor, forms_of
from worker.runtime.process import Runtime
from worker.stores.encryption import new_key
from worker.stores.measures.couchdb_http import CouchAnswer
from worker.web.sessions import Session

ROOT = Path(__file__).parents[2]
METER = "98765432109876"
TOKENS = ("canary-access-token", "canary-refresh-token")
OURS = ("worker", "config", "tasks")
NOW = datetime(2024, 7, 25, 7, tzinfo=UTC)


@pytest.fixture(scope="module")
def secrets() -> dict[str, str]:
    names = [name for name, field in Settings.model_fields.items() if "SecretStr" in str(field.annotation)]
    urls = {
        "measures_url": "couchdb+http://releve:canary-measures-password@127.0.0.1:9/",
        "smtp_url": "smtp://releve:canary-smtp-password@127.0.0.1:9",
    }
    own = [name for name in names if not name.endswith("_url")]
    return {name: f"canary-{name}-0123456789abcdef0123456789" for name in own} | urls | {"token_keys": new_key()}


@pytest.fixture(scope="module")
def runtime(secrets: dict[str, str], redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runtime]:
    told: dict[str, Any] = {
        **secrets,
        "data_dir": tmp_path_factory.mktemp("reprs"),
        "redis_url": redis_url,
        "preset": "enedis-v4",
        "enedis_url": "http://127.0.0.1:9",
        "webhook_url": "http://127.0.0.1:9/hook",
        "notify_mail": "support@example.org",
    }
    with Runtime(Settings.from_env(_env_file=None, **told)) as runtime:
        yield runtime


def reached(start: Any) -> Iterator[Any]:
    """``start`` and all objects behind it: what ours hold, and what that holds where it is a library's."""
    seen: set[int] = set()
    waiting = [(start, 0)]
    while waiting:
        found, foreign = waiting.pop()
        if id(found) in seen or foreign > 1 or isinstance(found, str | bytes | SecretStr | type):
            continue
        seen.add(id(found))
        yield found
        ours = type(found).__module__.partition(".")[0] in OURS
        waiting += [(each, 0 if ours else foreign + 1) for each in _behind(found)]


def _behind(found: Any) -> list[Any]:
    if isinstance(found, dict):
        return list(found.values())
    if isinstance(found, list | tuple | set | frozenset):
        return list(found)
    if dataclasses.is_dataclass(found):  # with slots or without
        return [getattr(found, field.name) for field in dataclasses.fields(found)]
    return list(getattr(found, "__dict__", {}).values())


def test_no_object_of_a_running_house_shows_a_secret(runtime: Runtime, secrets: dict[str, str]) -> None:
    account, _ = runtime.registry.add("enedis", METER, NOW, token_needed=True)
    token = Token(*TOKENS, expires_at=1_900_000_000)
    runtime.registry.tokens.save(account.id, token.to_text(), NOW)
    vault = UserTokenStore(account.id, runtime.registry, runtime.state)
    assert vault.load() == token
    objects = [runtime, vault, UserTokens(vault, runtime.oauth), runtime.session_of(account.id), token]
    objects += [account, runtime.client_of(account), REDACTOR, Redactor(secrets.values())]
    objects += [Callback(TOKENS[0], "", (METER,), code=TOKENS[1]), Session(TOKENS[0]), Answer(AnswerKind.DATA, METER)]
    objects += [CouchAnswer(200, {"x": METER}), Reply(200, {"x": TOKENS[0]}, METER.encode())]
    objects += [SplitFetch(lambda _: Answer(AnswerKind.DATA, METER), [(None, METER)])]  # type: ignore[list-item]
    objects.append(
        to_message(Notice("n1", account.id, NoticeKind.ACTION_NEEDED, "", "x", "mail", NOW, NOW), lambda _: TOKENS[0])
    )
    marks = [METER, *TOKENS, "canary-measures-password", "canary-smtp-password"]
    marks += [value for name, value in secrets.items() if not name.endswith("_url")]
    found = [each for start in objects for each in reached(start)]
    ours = {type(each).__name__ for each in found if type(each).__module__.partition(".")[0] in OURS}
    assert {"Settings", "Runtime", "Sealer", "OAuthClient", "Mail", "Webhook", "Signer", "Token", "Account"} <= ours
    shown = {
        f"{type(each).__module__}.{type(each).__qualname__}: {mark[:12]}"
        for each in found
        if type(each) not in (dict, list, tuple, set, frozenset, bytes)  # what an object holds, by itself
        for text in (repr(each), str(each))
        for mark in marks
        if any(form in text for form in forms_of(mark))
    }
    assert shown == set()


def test_a_dataclass_of_ours_that_holds_a_secret_keeps_it_out_of_its_repr() -> None:
    assert "canary" not in repr(Token(*TOKENS))
    assert [field.name for field in dataclasses.fields(Token) if field.repr] == []


# What errors and log lines are made of

TELLTALES = {"access", "refresh", "usage_point", "usage_point_id", "payload", "readings", "password"} | {
    "access_token",
    "refresh_token",
    "client_secret",
    "get_secret_value",
    "token_keys",
    "session_key",
    "watts",
    "milliwatt_hours",
}
LEVELS = {"debug", "info", "warning", "error", "exception", "critical", "log"}
SOURCES = sorted(file for folder in OURS for file in (ROOT / folder).rglob("*.py") if "simulator" not in file.parts)


@pytest.mark.parametrize("kind", TREE, ids=lambda kind: kind.__name__)
def test_an_error_shows_its_message_and_nothing_else(kind: type[Exception]) -> None:
    error = kind(MESSAGE)
    error.__dict__["payload"] = METER  # whatever is hung on it
    assert (str(error), METER in repr(error)) == (MESSAGE, False)


def told_of(tree: ast.AST) -> Iterator[tuple[int, set[str]]]:
    """Line and names of each thing that goes into the text of a raised error or a log line."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
            texts: list[ast.expr] = [*node.exc.args]
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in LEVELS:
            if not (isinstance(node.func.value, ast.Name) and node.func.value.id in ("log", "logger")):
                continue
            texts = [*node.args, *(keyword.value for keyword in node.keywords)]
        else:
            continue
        for text in texts:
            names = {part.id for part in ast.walk(text) if isinstance(part, ast.Name)}
            names |= {part.attr for part in ast.walk(text) if isinstance(part, ast.Attribute)}
            yield node.lineno, names - {"len"}


def test_no_error_and_no_log_line_is_made_of_a_secret_a_meter_number_or_a_reading() -> None:
    told = [
        (f"{file.relative_to(ROOT)}:{line}", names & TELLTALES)
        for file in SOURCES
        for line, names in told_of(ast.parse(file.read_text(encoding="utf-8")))
    ]
    assert len(told) > 150
    assert [(place, found) for place, found in told if found] == []


def test_that_search_would_find_one() -> None:
    bad = 'raise WorkerError(f"no {account.usage_point_id}")\nlog.info("x", extra=fields(token=token.access))'
    assert [names & TELLTALES for _, names in told_of(ast.parse(bad))] == [{"usage_point_id"}, set(), {"access"}]
