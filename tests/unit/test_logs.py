"""Log lines for people and for programs, and the context that joins the lines of a task."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from celery.app import trace
from celery.app.task import Context
from celery.beat import ScheduleEntry, Scheduler
from celery.schedules import schedule
from pydantic import SecretStr

from config.settings import Settings
from worker import logs
from worker.logs import REDACTOR, ConsoleFormatter, JsonFormatter, fields
from worker.ops import logging_setup, task_signals

log = logging.getLogger("releve.tests")


ROOT = logging.getLogger()


@contextmanager
def fresh_root() -> Iterator[None]:
    """Give the root logger no handlers, as in a new process; pytest's handlers are back afterwards."""
    level, handlers = ROOT.level, ROOT.handlers
    ROOT.handlers = []
    try:
        yield
    finally:
        for handler in ROOT.handlers:
            handler.close()
        ROOT.handlers = handlers
        logging.captureWarnings(False)
        ROOT.setLevel(level)


def read(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


@fresh_root()
def test_a_program_reads_numbers_as_numbers(tmp_path: Path) -> None:
    logs.configure(level="INFO", form="json", logfile=tmp_path / "log")
    log.info("window stored, %s", "à l'heure", extra=fields(created=4, duration_s=0.25, code=None, whole=True))
    (line,) = read(tmp_path / "log")
    assert line.pop("time").endswith("+00:00")
    assert line == {
        "level": "INFO",
        "logger": "releve.tests",
        "message": "window stored, à l'heure",
        "created": 4,
        "duration_s": 0.25,
        "code": None,
        "whole": True,
    }


@fresh_root()
def test_a_person_reads_key_and_value(tmp_path: Path) -> None:
    logs.configure(level="INFO", form="console", logfile=tmp_path / "log")
    log.info("window stored", extra=fields(created=4, code=None, whole=True, reason='it "failed"', none="", days=[1]))
    text = (tmp_path / "log").read_text(encoding="utf-8")
    line = 'window stored created=4 code=- whole=true reason="it \\"failed\\"" none="" days=[1]\n'
    assert text.endswith(f" INFO releve.tests {line}")


@pytest.mark.parametrize("form", ["console", "json"])
@fresh_root()
def test_a_traceback_is_written_once_and_masked(tmp_path: Path, form: Any) -> None:
    logs.configure(level="INFO", form=form, logfile=tmp_path / "log")
    try:
        raise ValueError("of meter 98765432109876")
    except ValueError:
        log.exception("unforeseen")
    text = (tmp_path / "log").read_text(encoding="utf-8")
    assert text.count("ValueError: of meter ***") == 1
    assert "98765432109876" not in text
    if form == "json":
        (line,) = read(tmp_path / "log")
        assert line["exception"].startswith("Traceback")


@fresh_root()
def test_what_a_library_hangs_on_its_records_is_not_written(tmp_path: Path) -> None:
    logs.configure(level="INFO", form="json", logfile=tmp_path / "log")
    log.info("Task received", extra={"data": {"name": "tasks.x", "id": "i1", "args": "[1, 2, 600]"}, "odd": "600"})
    (line,) = read(tmp_path / "log")
    assert (line["task"], line["task_id"]) == ("tasks.x", "i1")
    assert "600" not in (tmp_path / "log").read_text()


@fresh_root()
def test_it_is_set_up_anew_without_writing_a_line_twice(tmp_path: Path) -> None:
    for form in ("json", "console"):
        logs.configure(level="INFO", form=form, logfile=tmp_path / form)  # type: ignore[arg-type]
    log.info("once")
    assert [(tmp_path / form).read_text().count("once") for form in ("json", "console")] == [0, 1]


@fresh_root()
def test_who_has_set_up_logging_before_keeps_it_unless_the_process_is_ours() -> None:
    theirs = logging.NullHandler()
    ROOT.addHandler(theirs)
    logs.configure(level="INFO", form="json")
    assert ROOT.handlers == [theirs]
    logs.configure(level="INFO", form="json", takeover=True)
    assert theirs not in ROOT.handlers
    assert len(ROOT.handlers) == 1


@fresh_root()
def test_lines_go_to_the_error_stream_of_the_moment(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(level="WARNING", form="console")
    log.info("unheard")
    log.warning("heard")
    shown = capsys.readouterr()
    assert ("heard" in shown.err, "unheard" in shown.err, shown.out) == (True, False, "")


@fresh_root()
def test_celerys_pool_never_writes_the_messages_it_is_given() -> None:
    logs.configure(level="DEBUG", form="console")
    assert not logging.getLogger("celery.pool").isEnabledFor(logging.DEBUG)


# Context


class WindowStep:
    name = "tasks.pipeline.fetch"

    def __init__(self) -> None:
        self.request = Context(root_id="root-1")


def context_of_a_line() -> dict[str, Any]:
    line = logging.LogRecord("x", logging.INFO, "x.py", 1, "x", (), None)
    logs.add_context(line)
    context: dict[str, Any] = line.__dict__["fields"]
    return context


@pytest.mark.parametrize(
    "args, kwargs, run",
    [
        (("a1", "daily", "2024-07-01", "2024-07-08"), {"run_id": "r1", "claim": None}, {"run": "r1"}),
        (({"account_id": "a1", "run_id": "r1", "readings": [[1, 30, 600]]},), {}, {"run": "r1"}),
        (("a1",), {}, {}),
        ((), {}, {}),
    ],
)
def test_each_line_of_a_task_says_which_task_run_and_chain_it_is_of(args: Any, kwargs: Any, run: Any) -> None:
    task: Any = WindowStep()
    task_signals._record_start(task, args, kwargs)
    try:
        assert context_of_a_line() == {"task": "tasks.pipeline.fetch", **run, "chain": "root-1"}
    finally:
        task_signals._record_end(task)
    assert context_of_a_line() == {}


def test_a_lines_own_fields_go_before_the_context_and_threads_have_each_their_own() -> None:
    contexts = []
    logs.bind(run="r1", task="t")
    try:
        other = threading.Thread(target=lambda: contexts.append(context_of_a_line()))
        other.start()
        other.join()
        line = logging.LogRecord("x", logging.INFO, "x.py", 1, "x", (), None)
        line.__dict__.update(fields(run="of its own"))
        logs.add_context(line)
    finally:
        logs.bind()
    assert contexts == [{}]
    assert line.__dict__["fields"] == {"run": "of its own", "task": "t"}


# Set-up of processes and commands


def settings(folder: Path, **values: Any) -> Settings:
    return Settings.from_env(_env_file=None, data_dir=folder, **values)


def test_every_secret_of_the_settings_is_known_to_the_mask_one_by_one(tmp_path: Path) -> None:
    (tmp_path / "session.key").write_text("kept-session-key\n")  # The web application's own: nobody else reads it.
    secret = {
        name: SecretStr(f"canary-{name}")
        for name, field in Settings.model_fields.items()
        if "SecretStr" in str(field.annotation)
    }
    urls = {
        "redis_url": "redis://:canary-r%40dis@host:6379/0",
        "broker_url": "amqp://releve:canary-broker@host/",
        "registry_url": "postgresql+psycopg://releve:canary-registry@host/releve",
        "measures_url": "couchdb+http://releve:canary-measures@host:5984/",
        "notify_url": "mailtos://releve:canary-mail@h.example?from=a@example.org&to=b@example.org tgram://12345:canary_bot_key/9/",
    }
    values = {**secret, **urls, "token_keys": "canary-key-1, canary-key-2"}
    known = set(logging_setup.known_secrets(settings(tmp_path, **values)))
    assert {"canary-r%40dis", "canary-broker", "canary-registry", "canary-measures"} <= known
    assert {"canary-mail", "canary_bot_key"} <= known
    assert {"canary-key-1", "canary-key-2"} <= known and "kept-session-key" not in known
    assert {value.get_secret_value() for name, value in secret.items() if name not in {*urls, "token_keys"}} <= known


@pytest.mark.parametrize(
    "log_level, option, level",
    [
        ("INFO", logging.WARNING, logging.INFO),  # Celery's default option.
        ("INFO", logging.DEBUG, logging.DEBUG),
        ("WARNING", logging.ERROR, logging.WARNING),
    ],
)
@fresh_root()
def test_celerys_option_may_ask_for_more_than_the_settings_and_not_for_less(
    tmp_path: Path, log_level: Any, option: int, level: int
) -> None:
    logging_setup.configure_process(settings(tmp_path, log_level=log_level), level=option)
    assert ROOT.level == level


@pytest.mark.parametrize(
    "env, verbose, level",
    [
        ({}, False, logging.ERROR),
        ({}, True, logging.INFO),
        ({"RELEVE_LOG_LEVEL": "DEBUG"}, False, logging.DEBUG),
        ({"RELEVE_LOG_LEVEL": "nonsense"}, True, logging.INFO),
    ],
)
@fresh_root()
def test_a_command_is_quiet_unless_asked(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    env: dict[str, str],
    verbose: bool,
    level: int,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(logging_setup, "get_settings", Settings.from_env)
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    logging_setup.configure_command(verbose=verbose)
    assert ROOT.level == level


def test_a_key_made_at_first_use_is_known_to_the_mask_at_once(tmp_path: Path) -> None:
    from worker.runtime.keys import stored_secret

    key = stored_secret(tmp_path, "session.key", lambda: "made-just-now-0123").strip()
    assert REDACTOR.mask_text(f"with {key}") == "with ***"


@fresh_root()
def test_it_writes_to_a_file_that_celery_was_given(tmp_path: Path) -> None:
    logging_setup.configure_process(settings(tmp_path, log_format="json"), logfile=str(tmp_path / "log"), takeover=True)
    log.info("x", extra=fields(created=1))
    assert read(tmp_path / "log")[0]["created"] == 1


def test_both_forms_take_a_record_that_no_filter_has_seen() -> None:
    line = logging.LogRecord("x", logging.INFO, "x.py", 1, "of %s", ("it",), None)
    assert ConsoleFormatter().format(line).endswith(" x of it")
    assert json.loads(JsonFormatter().format(line))["message"] == "of it"


@pytest.mark.parametrize(
    ("logger", "message", "level", "logged"),
    [
        ("celery.app.trace", trace.LOG_SUCCESS, logging.INFO, False),
        ("celery.worker.strategy", trace.LOG_RECEIVED, logging.INFO, False),
        ("celery.app.trace", trace.LOG_SUCCESS, logging.DEBUG, True),
        ("celery.app.trace", trace.LOG_RETRY, logging.INFO, True),
        ("celery.app.trace", trace.LOG_FAILURE, logging.INFO, True),
    ],
)
def test_r5_of_a_task_only_what_is_no_success_is_a_line(
    logger: str, message: str, level: int, logged: bool, caplog: pytest.LogCaptureFixture
) -> None:
    task_signals._quiet_tasks()
    values = dict.fromkeys(("return_value", "runtime", "exc", "traceback", "description"), "")
    with caplog.at_level(level):
        logging.getLogger(logger).info(message, {"id": "i1", "name": "tasks.pipeline.fetch", **values})
    assert bool(caplog.records) is logged


def test_r5_a_beat_that_sends_a_task_writes_no_line(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    task_signals._quiet_tasks()
    app = Celery("beat", broker="memory://", set_as_current=False)
    scheduler = Scheduler(app, schedule={}, lazy=True)
    with caplog.at_level(logging.INFO):
        scheduler.apply_entry(ScheduleEntry("tick", "tasks.any", schedule=schedule(1), app=app))
        logging.getLogger("celery.beat").info("beat: Starting...")
    of_beat = [record.message for record in caplog.records if record.name == "celery.beat"]
    assert of_beat == ["beat: Starting..."]
