"""The error tree: an error can be rebuilt from its message alone and has a code that an account may show."""

from __future__ import annotations

import importlib
import pickle
import pkgutil
from collections.abc import Iterator

import pytest

import worker
from worker.errors import AccountError, DataError, NotDelivered, StoreUnavailable, TransientError, WorkerError

# The vocabulary of cozy-konnector-libs, and our own words.  An outage of our own infrastructure is no account's
# error and has no code.
CODES = {
    "USER_ACTION_NEEDED",
    "USER_ACTION_NEEDED.OAUTH_OUTDATED",
    "USER_ACTION_NEEDED.OAUTH_OUTDATED.REFRESH_LOST",
    "USER_ACTION_NEEDED.ACCOUNT_REMOVED",
    "USER_ACTION_NEEDED.OAUTH_OUTDATED.RIGHT_ENDED",
    "LOGIN_FAILED",
    "VENDOR_DOWN",
    "RATE_LIMITED",
    "CONSENT_ENDED",
    "CONSENT_STOPPED",
    "ACCOUNT_CLOSED",
    "UNKNOWN_ERROR",
    "UNKNOWN_ERROR.PARTIAL_SYNC",
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


@pytest.mark.parametrize("kind", TREE, ids=lambda kind: kind.__name__)
def test_an_error_has_a_code_that_an_account_may_show(kind: type[WorkerError]) -> None:
    is_infrastructure = issubclass(kind, StoreUnavailable | NotDelivered) and kind.code == ""
    assert kind.code in CODES or is_infrastructure


@pytest.mark.parametrize("kind", TREE, ids=lambda kind: kind.__name__)
def test_an_error_says_what_to_do_by_one_of_three_kinds(kind: type[WorkerError]) -> None:
    kinds = [branch for branch in (TransientError, AccountError, DataError) if issubclass(kind, branch)]
    assert len(kinds) == (0 if kind is WorkerError else 1)
    assert kind.__doc__


@pytest.mark.parametrize(
    "kind", [kind for kind in TREE if issubclass(kind, TransientError)], ids=lambda kind: kind.__name__
)
def test_a_wait_that_was_asked_for_survives_the_way_between_processes(kind: type[TransientError]) -> None:
    error = kind(MESSAGE, retry_after_s=12.5)
    rebuilt = pickle.loads(pickle.dumps(error))
    assert (str(rebuilt), rebuilt.retry_after_s) == (MESSAGE, 12.5)
    assert kind(MESSAGE).retry_after_s is None
