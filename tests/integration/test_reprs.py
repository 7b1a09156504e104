"""The reprs of our objects: they appear in tracebacks and debuggers, so none of them contains a secret."""

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
from tests.support.parts import Parts
from tests.unit.test_errors import MESSAGE, TREE
from worker.accounts.notice_channels import compose_message
from worker.clients.endpoints import Callback
from worker.clients.supplier_session import Reply, SplitFetch, Token
from worker.clients.tokens import UserTokens
from worker.domain.answers import Answer, AnswerKind
from worker.domain.notice import Notice, NoticeKind
from worker.logs import REDACTOR, Redactor, written_forms
from worker.stores.encryption import generate_key
from worker.stores.measures.couchdb import CouchAnswer
from worker.stores.token_store import UserTokenStore
from worker.web.dependencies import Session

ROOT = Path(__file__).parents[2]
METER = "98765432109876"
TOKENS = ("canary-access-token", "canary-refresh-token")
OURS = ("worker", "config", "tasks", "simulator", "drill")
NOW = datetime(2024, 7, 25, 7, tzinfo=UTC)


@pytest.fixture(scope="module")
def secrets() -> dict[str, str]:
    names = [name for name, field in Settings.model_fields.items() if "SecretStr" in str(field.annotation)]
    urls = {
        "measures_url": "couchdb+http://releve:canary-measures-password@127.0.0.1:9/",
        "notify_url": "mailtos://releve:canary-mail-password@127.0.0.1:9?from=a@example.org&to=b@example.org",
    }
    own = [name for name in names if not name.endswith("_url")]
    return {name: f"canary-{name}-0123456789abcdef0123456789" for name in own} | urls | {"token_keys": generate_key()}


@pytest.fixture(scope="module")
def parts(secrets: dict[str, str], redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Parts]:
    settings: dict[str, Any] = {
        **secrets,
        "data_dir": tmp_path_factory.mktemp("reprs"),
        "redis_url": redis_url,
        "preset": "enedis-v4",
        "webhook_networks": "127.0.0.0/8",
        "enedis_url": "http://127.0.0.1:9",
        "webhook_url": "http://127.0.0.1:9/hook",
    }
    with Parts(Settings.from_env(_env_file=None, **settings)) as parts:
        yield parts


def reachable(start: Any) -> Iterator[Any]:
    """Yield ``start`` and all objects behind it: those that ours hold, and those that a library's object holds."""
    visited: set[int] = set()
    waiting = [(start, 0)]
    while waiting:
        item, foreign = waiting.pop()
        if id(item) in visited or foreign > 1 or isinstance(item, str | bytes | SecretStr | type):
            continue
        visited.add(id(item))
        yield item
        ours = type(item).__module__.partition(".")[0] in OURS
        waiting += [(child, 0 if ours else foreign + 1) for child in _children(item)]


def _children(item: Any) -> list[Any]:
    if isinstance(item, dict):
        return list(item.values())
    if isinstance(item, list | tuple | set | frozenset):
        return list(item)
    if dataclasses.is_dataclass(item):  # A dataclass with slots has no __dict__.
        return [getattr(item, field.name) for field in dataclasses.fields(item)]
    return list(getattr(item, "__dict__", {}).values())


def test_no_object_of_a_running_house_shows_a_secret(parts: Parts, secrets: dict[str, str]) -> None:
    account, _ = parts.stores.registry.accounts.add("enedis", METER, NOW, token_needed=True)
    token = Token(*TOKENS, expires_at=1_900_000_000)
    parts.stores.registry.tokens.save(account.id, token.to_text(), NOW)
    token_store = UserTokenStore(account.id, parts.stores.registry, parts.stores.windows)
    assert token_store.load() == token.to_text()
    objects = [
        parts.stores,
        parts.sync,
        parts.consent,
        token_store,
        UserTokens(token_store, parts.sync.suppliers.main.oauth),
        parts.sync.suppliers.main.application_session(),
        token,
    ]
    objects += [account, parts.sync.suppliers.main.client_of(account), REDACTOR, Redactor(secrets.values())]
    objects += [Callback(TOKENS[0], "", (METER,), code=TOKENS[1]), Session(_empty_sid=TOKENS[0])]
    objects += [Answer(AnswerKind.DATA, METER), parts.access]
    objects += [CouchAnswer(200, {"x": METER}), Reply(200, {"x": TOKENS[0]}, METER.encode())]
    objects += [SplitFetch(lambda _: Answer(AnswerKind.DATA, METER), payloads=[(None, METER)])]  # type: ignore[list-item]
    objects.append(
        compose_message(
            Notice("n1", account.id, NoticeKind.ACTION_NEEDED, "LOGIN_FAILED", "x", "mail", NOW, NOW),
        )
    )
    marks = [METER, *TOKENS, "canary-measures-password", "canary-mail-password"]
    marks += [value for name, value in secrets.items() if not name.endswith("_url")]
    items = [item for start in objects for item in reachable(start)]
    ours = {type(item).__name__ for item in items if type(item).__module__.partition(".")[0] in OURS}
    assert {
        "Settings",
        "Stores",
        "Sealer",
        "OAuthClient",
        "NotifyService",
        "Webhook",
        "Signer",
        "Token",
        "Account",
    } <= ours
    shown = {
        f"{type(item).__module__}.{type(item).__qualname__}: {mark[:12]}"
        for item in items
        if type(item) not in (dict, list, tuple, set, frozenset, bytes)  # Their items are checked one by one.
        for text in (repr(item), str(item))
        for mark in marks
        if any(form in text for form in written_forms(mark))
    }
    assert shown == set()


# The parts of errors and log lines.

SENSITIVE_NAMES = {"access", "refresh", "usage_point", "usage_point_id", "payload", "readings", "password"} | {
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
    error.__dict__["payload"] = METER  # An attribute must not appear either.
    assert (str(error), METER in repr(error)) == (MESSAGE, False)


def names_in_messages(tree: ast.AST) -> Iterator[tuple[int, set[str]]]:
    """Yield the line and the names of each part of the text of a raised error or a log line."""
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
    findings = [
        (f"{file.relative_to(ROOT)}:{line}", names & SENSITIVE_NAMES)
        for file in SOURCES
        for line, names in names_in_messages(ast.parse(file.read_text(encoding="utf-8")))
    ]
    assert len(findings) > 150
    assert [(place, names) for place, names in findings if names] == []


def test_that_search_would_find_one() -> None:
    bad = 'raise WorkerError(f"no {account.usage_point_id}")\nlog.info("x", extra=fields(token=token.access))'
    assert [names & SENSITIVE_NAMES for _, names in names_in_messages(ast.parse(bad))] == [
        {"usage_point_id"},
        set(),
        {"access"},
    ]
