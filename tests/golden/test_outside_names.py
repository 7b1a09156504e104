"""Names that the outside sees: what a restructuring must leave as it is, held to a recorded list.

The list is written anew by ``python -m tests.golden.test_outside_names > tests/golden/outside_names.json``.
Sources are scanned as a whole, so that neither a module's place nor a class's name matters.
"""

from __future__ import annotations

import ast
import inspect
import itertools
import json
import logging
import re
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import click
import pytest
from celery import Celery
from fastapi import FastAPI
from pydantic import SecretStr
from starlette.routing import Mount

from config import celery_options
from config.settings import PREFIX, Settings
from simulator.control_routes import admin_routes
from tests.support.pages import ROOT
from worker import metrics as worker_metrics
from worker.cli.gas_option import REFERENCE as WITH_GAS
from worker.cli.main import cli
from worker.domain.documents import packed_doctype
from worker.domain.packing import PACKED_SERIES
from worker.domain.series import Doctype
from worker.logs import JsonFormatter, add_context, bind, fields
from worker.ops import fleet_metrics
from worker.stores.measures.sql import METADATA as MEASURES
from worker.stores.redis.locks import Rate
from worker.stores.registry.tables import METADATA as REGISTRY
from worker.web.asgi import create_app

RECORDED = Path(__file__).parent / "outside_names.json"
PACKAGES = ("config", "tasks", "worker", "simulator", "drill")
NO_PART: Any = None  # In place of parts that no route asks for before it is called.
HOLE = "{}"
DEEPEST = 4  # How far a name is followed to what it is given.
NAMED_IN_REDIS = {"get_cursor", "get_secret", "lock", "move_cursor", "put_cursor", "put_secret", "slot"}
LOG_CALLS = {"critical", "debug", "error", "exception", "info", "log", "warning"}


@dataclass(frozen=True)
class Module:
    name: str
    nodes: dict[type[ast.AST], list[Any]]
    assigned: dict[str, list[ast.expr]]  # What each name is given, wherever in the module.

    def calls(self, *names: str) -> Iterator[ast.Call]:
        return (call for call in self.nodes[ast.Call] if name_of(call.func) in names)


@cache
def modules() -> list[Module]:
    files = (file for package in PACKAGES for file in sorted((ROOT / package).rglob("*.py")))
    return [to_module(file) for file in files]


def to_module(file: Path) -> Module:
    nodes: dict[type[ast.AST], list[Any]] = defaultdict(list)
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        nodes[type(node)].append(node)
    assigned: dict[str, list[ast.expr]] = defaultdict(list)
    for node in (*nodes[ast.Assign], *nodes[ast.AnnAssign]):
        if node.value:
            assigned[name_of(node.targets[0] if isinstance(node, ast.Assign) else node.target)].append(node.value)
    name = ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    return Module(name, nodes, assigned)


@cache
def definitions(kind: type[ast.AST]) -> list[tuple[Module, Any]]:
    return [(module, node) for module in modules() for node in module.nodes[kind]]


@cache
def constant(name: str) -> str:
    """The text of a constant, wherever it stands; a hole where there are several of this name, or none."""
    values = {text for module in modules() for value in module.assigned.get(name, ()) for text in texts(value, module)}
    return values.pop() if len(values) == 1 else HOLE


def name_of(node: ast.AST) -> str:
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""


def texts(node: ast.AST, module: Module, depth: int = 0) -> list[str]:
    """All that an expression may say, as far as literals tell it."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return [node.value]
    if isinstance(node, ast.FormattedValue):
        return texts(node.value, module, depth) if name_of(node.value).isupper() else [HOLE]
    if isinstance(node, ast.JoinedStr):
        return ["".join(parts) for parts in itertools.product(*(texts(part, module, depth) for part in node.values))]
    if isinstance(node, ast.IfExp):
        return texts(node.body, module, depth) + texts(node.orelse, module, depth)
    if isinstance(node, ast.Name) and node.id == "__name__":
        return [module.name]
    if isinstance(node, ast.Name) and node.id in module.assigned and depth < DEEPEST:
        return [text for value in module.assigned[node.id] for text in texts(value, module, depth + 1)]
    return [constant(name_of(node))] if name_of(node).isupper() and depth < DEEPEST else [HOLE]


def keys_of(node: ast.AST, module: Module, depth: int = 0) -> Iterator[str]:
    """Keys of a dict: of a literal, of a name that one is given to, or of what a function of ours returns."""
    if isinstance(node, ast.Dict):
        for key, value in zip(node.keys, node.values, strict=True):
            yield from texts(key, module) if key else keys_of(value, module, depth + 1)
    elif isinstance(node, ast.Name) and depth < DEEPEST:
        for value in module.assigned.get(node.id, ()):
            yield from keys_of(value, module, depth + 1)
    elif isinstance(node, ast.IfExp):
        yield from itertools.chain(keys_of(node.body, module, depth), keys_of(node.orelse, module, depth))
    elif isinstance(node, ast.Call) and depth < DEEPEST:
        for where, function in definitions(ast.FunctionDef):
            for statement in ast.walk(function) if function.name == name_of(node.func) else ():
                if isinstance(statement, ast.Return) and statement.value:
                    yield from keys_of(statement.value, where, depth + 1)


def keywords(call: ast.Call, module: Module) -> Iterator[str]:
    for keyword in call.keywords:
        yield from [keyword.arg] if keyword.arg else keys_of(keyword.value, module)


def stores() -> list[tuple[Module, ast.ClassDef]]:
    """Classes whose keys lie in Redis: all below the one that makes keys."""
    classes = [
        (module, class_node, {*map(name_of, class_node.bases)}) for module, class_node in definitions(ast.ClassDef)
    ]
    store_names = {
        class_node.name
        for _, class_node, _ in classes
        if any(getattr(part, "name", "") == "_key" for part in class_node.body)
    }
    while subclass_names := {class_node.name for _, class_node, bases in classes if bases & store_names} - store_names:
        store_names |= subclass_names
    return [(module, class_node) for module, class_node, bases in classes if bases & store_names]


def redis_keys() -> Iterator[str]:
    """Kinds of keys, names within them, and every word of the modules that write them: the fields of hashes."""
    for module, store in stores():
        calls = [node for node in ast.walk(store) if isinstance(node, ast.Call)]
        arguments = [argument for call in calls if name_of(call.func) == "__init__" for argument in call.args]
        prefix = "".join(texts(argument.right, module)[0] for argument in arguments if isinstance(argument, ast.BinOp))
        for call in (call for call in calls if name_of(call.func) == "_key"):
            keys = itertools.product(*(texts(part, module) for part in call.args))
            yield from (f"key {prefix}{':'.join(parts)}" for parts in keys)
    in_redis = {module.name for module, _ in stores()}
    for module in modules():
        for call in module.calls(*NAMED_IN_REDIS):
            yield from (f"{name_of(call.func)} {text}" for text in texts(call.args[0], module))
        for call in module.calls(Rate.__name__):
            yield from (f"limit {text}" for text in texts(call.args[0], module))
        for call in module.calls("record_task", "record_success"):
            yield from (f"task field {field}" for field in keywords(call, module))
        for node in (*module.nodes[ast.Constant], *module.nodes[ast.JoinedStr]):
            for text in texts(node, module):
                if re.fullmatch(r"(releve|celery|heartbeat|unacked\w*):\S*", text):
                    yield f"literal {text}"
                elif "redis.call(" in text:
                    for pattern in (r"'([a-z][a-z0-9_:]*)'", r"[{,] ?(\w+) = ARGV", r"told\.(\w+)"):
                        yield from (f"script word {word}" for word in re.findall(pattern, text))
                elif module.name in in_redis and re.fullmatch(r"[a-z][a-z0-9_]*(:\*)?", text):
                    yield f"word {text}"


def settings() -> Iterator[str]:
    for name, field in Settings.model_fields.items():
        value = field.default.get_secret_value() if isinstance(field.default, SecretStr) else field.default
        yield f"{PREFIX}{name.upper()} = {value.as_posix() if isinstance(value, Path) else value!r}"


def commands(command: click.Command = cli, path: str = "releve") -> Iterator[str]:
    yield path
    for parameter in command.params:
        choices = "|".join(map(str, parameter.type.choices)) if isinstance(parameter.type, click.Choice) else ""
        names = "/".join([*parameter.opts, *parameter.secondary_opts])
        yield f"{path} {parameter.param_type_name} {names} {choices}".strip()
    if isinstance(command, click.Group):
        for name in command.list_commands(click.Context(command, obj=WITH_GAS)):
            if below := command.get_command(click.Context(command, obj=WITH_GAS), name):
                yield from commands(below, f"{path} {name}")


def error_codes() -> Iterator[str]:
    """Codes of errors and of the API's refusals, and the values of every enum that has texts for values."""
    for module, class_node in definitions(ast.ClassDef):
        assignments = [part for part in class_node.body if isinstance(part, ast.Assign | ast.AnnAssign) and part.value]
        if {"Enum", "StrEnum"} & {*map(name_of, class_node.bases)}:
            enum_texts = [text for part in assignments for text in texts(part.value, module)]
            yield from [f"enum {' | '.join(enum_texts)}"] if {*enum_texts} != {HOLE} else []
        for part in (
            part for part in assignments if isinstance(part, ast.AnnAssign) and name_of(part.target) == "code"
        ):
            yield from (f"code {text}" for text in texts(part.value, module))
    for module in modules():
        calls = (call.args[:2] for call in module.nodes[ast.Call] if len(call.args) > 1)
        rows = (row for node in module.nodes[ast.Dict] for row in zip(node.keys, node.values, strict=True))
        for status, code in (*calls, *rows):
            name = ast.unparse(status) if isinstance(status, ast.Constant | ast.Attribute) else ""
            if re.fullmatch(r"[45]\d\d|error\.status_code", name):
                yield from (f"answer {name} {text}" for text in texts(code, module))


def metrics() -> Iterator[str]:
    for definition in (*worker_metrics.WORKER_METRICS.definitions, *fleet_metrics.METRICS.definitions):
        yield f"{definition.kind} {definition.name}{{{','.join(definition.labels)}}}"
        for label, values in definition.labels.items():
            yield from (f'{definition.name}{{{label}="{value}"}}' for value in values)


def log_events() -> Iterator[str]:
    for module in modules():
        for call in module.calls("getLogger"):
            yield from (f"logger {name}" for argument in call.args for name in texts(argument, module))
        for call in module.calls(*LOG_CALLS):
            for logger in loggers(call.func, module):
                message_texts = texts(call.args[name_of(call.func) == "log"], module)
                yield from (f"{logger} {name_of(call.func)}: {text}" for text in message_texts)
        for call in module.calls(fields.__name__, bind.__name__):
            yield from (f"field {field}" for field in keywords(call, module))
    error = ValueError, ValueError(), None
    record = logging.LogRecord("releve", logging.INFO, "", 0, "", (), error, sinfo="stack")
    record.data = {"name": "", "id": ""}  # What Celery says of a task.
    add_context(record)
    yield from (f"field {field}" for field in json.loads(JsonFormatter().format(record)))


def loggers(called: Any, module: Module) -> Iterator[str]:
    """Names of the logger that a method is called of; none for an object of another kind."""
    owner = getattr(called, "value", called)
    for value in module.assigned.get(owner.id, ()) if isinstance(owner, ast.Name) else [owner]:
        if isinstance(value, ast.Call) and name_of(value.func) == "getLogger":
            yield from texts(value.args[0], module)


def tasks() -> Iterator[str]:
    for name in celery_options.imports:
        import_module(name)
    bare = Celery("releve", set_as_current=False)  # Ours would start the embedded broker.
    for name, task in bare.tasks.items():
        if task.run.__module__.startswith(PACKAGES):
            yield f"task {name}({', '.join(inspect.signature(task.run).parameters)})"
    yield from (f"beat {name}: {entry['task']}" for name, entry in celery_options.beat_schedule.items())
    yield from (f"route {pattern}: {route['queue']}" for pattern, route in celery_options.task_routes.items())
    yield from (f"queue {queue.exchange.name}/{queue.name}" for queue in celery_options.task_queues)


def pretend_app(*, is_home: bool) -> FastAPI:
    """Return the web application over what it asks of its parts before it is called."""
    settings = SimpleNamespace(is_home=is_home, public_url="https://releve.example.org")  # Its own computer is nobody.
    stores: Any = SimpleNamespace(settings=settings, registry=None)
    sync: Any = SimpleNamespace(suppliers=SimpleNamespace(has_rights=False))
    return create_app(stores, sync, NO_PART, NO_PART)


def http_paths() -> Iterator[str]:
    """Routes, files that are served as they are, and what the API's description names."""
    apps = [pretend_app(is_home=is_home) for is_home in (False, True)]
    for route in (*(route for app in apps for route in all_routes(app.routes)), *admin_routes(NO_PART)):
        if isinstance(route, Mount):
            folder = Path(str(getattr(route.app, "directory", "")))
            files = (file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file())
            yield from (f"GET {route.path}/{file}" for file in files)
        else:
            yield from (f"{method} {route.path}" for method in route.methods)
    described = apps[0].openapi()
    for path, operations in described["paths"].items():
        for method, operation in operations.items():
            yield f"operation {operation['operationId']}"
            yield from (
                f"{method.upper()} {path} {parameter['in']} {parameter['name']}"
                for parameter in operation.get("parameters", ())
            )
    for name, schema in described["components"]["schemas"].items():
        yield from (f"schema {name}.{field}" for field in schema.get("properties", ()))


def all_routes(routes: Iterable[Any]) -> Iterator[Any]:
    """FastAPI keeps a router that was included as one entry, with its routes below."""
    for route in routes:
        yield from all_routes(route.effective_candidates()) if hasattr(route, "effective_candidates") else [route]


def tables() -> Iterator[str]:
    for table in (table for metadata in (REGISTRY, MEASURES) for table in metadata.sorted_tables):
        for column in table.columns:
            yield f"{table.name}.{column.name} {column.type}{'' if column.nullable else ' not null'}"
        for rule in (*table.constraints, *table.indexes):
            columns = ", ".join(column.name for column in cast(Any, rule).columns)
            yield f"{table.name} {type(rule).__name__} {rule.name or ''}({columns})"
    yield from (f"doctype {period.full_name}" for period in Doctype)
    yield from (f"doctype {packed_doctype(series)}" for series in PACKED_SERIES)


KINDS: dict[str, Callable[[], Iterator[str]]] = {
    kind.__name__: kind
    for kind in (commands, error_codes, http_paths, log_events, metrics, redis_keys, settings, tables, tasks)
}


def names_of(kind: str) -> set[str]:
    """Without those that no literal tells."""
    return {name for name in KINDS[kind]() if not name.endswith(f" {HOLE}")}


@pytest.mark.parametrize("kind", KINDS)
def test_the_names_that_the_outside_sees_are_those_recorded(kind: str) -> None:
    recorded, names = set(json.loads(RECORDED.read_text(encoding="utf-8"))[kind]), names_of(kind)
    assert {"gone": sorted(recorded - names), "new": sorted(names - recorded)} == {"gone": [], "new": []}


if __name__ == "__main__":
    sys.stdout.write(json.dumps({kind: sorted(names_of(kind)) for kind in KINDS}, ensure_ascii=False, indent=2) + "\n")
