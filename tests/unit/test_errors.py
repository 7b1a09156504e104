"""The error tree: an error can be rebuilt from its message alone and has a code that an account may show."""

from __future__ import annotations

import importlib
import pickle
import pkgutil
from collections.abc import Iterator

import pytest

import worker
from tools.check_texts.code import FAMILIES
from worker.errors import AccountError, DataError, TransientError, UnexpectedError, WorkerError
from worker.texts import LANGUAGES, translate_cause, translate_code

# The vocabulary of cozy-konnector-libs, each word followed by the cause, and our own words.
CODES = {
    "USER_ACTION_NEEDED",
    "USER_ACTION_NEEDED.OAUTH_OUTDATED",
    "USER_ACTION_NEEDED.OAUTH_OUTDATED.REFRESH_LOST",
    "USER_ACTION_NEEDED.ACCOUNT_REMOVED",
    "USER_ACTION_NEEDED.OAUTH_OUTDATED.RIGHT_ENDED",
    "USER_ACTION_NEEDED.OAUTH_OUTDATED.TOKEN_REFUSED",
    "USER_ACTION_NEEDED.TOKEN_NEEDED",
    "LOGIN_FAILED",
    "GATEWAY_BANNED",
    "VENDOR_DOWN",  # The family; like ANSWER_MALFORMED it is never raised itself.
    "VENDOR_DOWN.ANSWER_BROKEN_OFF",
    "VENDOR_DOWN.INCIDENT",
    "VENDOR_DOWN.NOT_JSON",
    "VENDOR_DOWN.SERVER_ERROR",
    "VENDOR_DOWN.TIMEOUT",
    "VENDOR_DOWN.UNREACHABLE",
    "RATE_LIMITED",
    "RATE_LIMITED.BY_SUPPLIER",
    "ANSWER_MALFORMED",
    "ANSWER_MALFORMED.JSON",
    "ANSWER_MALFORMED.METER",
    "ANSWER_MALFORMED.SHAPE",
    "ANSWER_MALFORMED.TOKEN",
    "ANSWER_MALFORMED.TOO_LARGE",
    "ANSWER_MALFORMED.UNIT",
    "APPLICATION_REFUSED",
    "SETUP_WRONG",
    "WRITE_REFUSED",
    "CONSENT_ENDED",
    "CONSENT_STOPPED",
    "ACCOUNT_CLOSED",
    "FILES_ONLY",
    "UNKNOWN_ERROR.BUG",
    "UNKNOWN_ERROR.REQUEST_REFUSED",
    "WORKER_LOST",
    "CANNOT_FIND_ACCOUNT",
    "METER_ELSEWHERE",
    "series_not_offered",
    # What a supplier doesn't register of a right.
    "right_contract_ended",
    "right_email",
    "right_name",
    "right_postcode",
    "right_proof",
    "right_revoked",
    "right_scope",
}
# A new consent cures all of these, and cozy-konnector-libs has one word for them.
ONE_CURE = {"ConsentRevoked", "RefreshTokenDead"}
MESSAGE = "say what to do: then do it"


def descendants(parent: type[WorkerError]) -> Iterator[type[WorkerError]]:
    yield parent
    for child in parent.__subclasses__():
        yield from descendants(child)


def whole_tree() -> list[type[WorkerError]]:
    """Return all error classes, sorted by name; every module is imported first, for a few define their own."""
    for module in pkgutil.walk_packages(worker.__path__, "worker."):
        if not module.name.endswith("__main__") and ".migrations" not in module.name:
            importlib.import_module(module.name)
    return sorted(set(descendants(WorkerError)), key=lambda kind: kind.__name__)


TREE = whole_tree()


@pytest.mark.parametrize("kind", TREE, ids=lambda kind: kind.__name__)
def test_an_error_is_rebuilt_from_its_message_alone(kind: type[WorkerError]) -> None:
    error = kind(MESSAGE)
    for rebuilt in (kind(str(error)), pickle.loads(pickle.dumps(error)), type(error)(*error.args)):
        assert type(rebuilt) is kind
        assert str(rebuilt) == MESSAGE
        assert rebuilt.code == kind.code


def test_the_codes_are_these() -> None:
    assert {kind.code for kind in TREE} - {""} == CODES


def test_a_code_names_one_cause() -> None:
    classes_by_code: dict[str, set[str]] = {}
    for kind in TREE:
        if kind.code and "." not in kind.__qualname__:
            classes_by_code.setdefault(kind.code, set()).add(kind.__name__)
    shared = {code: names for code, names in classes_by_code.items() if len(names - FAMILIES) > 1}
    assert shared == {"USER_ACTION_NEEDED.OAUTH_OUTDATED": ONE_CURE}


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize(
    "code",
    ["VENDOR_DOWN", "UNKNOWN_ERROR", "VENDOR_DOWN.OF_A_LATER_VERSION", "USER_ACTION_NEEDED.CGU_FORM", "SOMETHING_NEW"],
)
def test_a_code_of_another_version_stays_readable(code: str, language: str) -> None:
    assert translate_code(code, "what_to_do", language)


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("supplier", ["enedis", "grdf", "gateway"])
def test_why_a_call_failed_is_said_for_each_code_of_a_call(supplier: str, language: str) -> None:
    calls = {kind for kind in TREE if kind.code and not issubclass(kind, AccountError)}
    causes = {kind.code: translate_cause(kind.code, supplier, language) for kind in calls}
    silent = {code for code, cause in causes.items() if not cause}
    assert {code for code in silent if not code.startswith("right_")} == {"METER_ELSEWHERE", "series_not_offered"}
    said = [cause for cause in causes.values() if cause]
    assert len(said) == len(set(said)) and not any("{" in cause for cause in said)


@pytest.mark.parametrize("kind", TREE, ids=lambda kind: kind.__name__)
def test_an_error_says_what_to_do_by_one_of_three_kinds(kind: type[WorkerError]) -> None:
    kinds = [branch for branch in (TransientError, AccountError, DataError) if issubclass(kind, branch)]
    assert len(kinds) == (0 if kind is WorkerError or issubclass(kind, UnexpectedError) else 1)
    assert kind.__doc__


@pytest.mark.parametrize(
    "kind", [kind for kind in TREE if issubclass(kind, TransientError)], ids=lambda kind: kind.__name__
)
def test_a_wait_that_was_asked_for_survives_the_way_between_processes(kind: type[TransientError]) -> None:
    error = kind(MESSAGE, retry_after_s=12.5)
    rebuilt = pickle.loads(pickle.dumps(error))
    assert (str(rebuilt), rebuilt.retry_after_s) == (MESSAGE, 12.5)
    assert kind(MESSAGE).retry_after_s is None
