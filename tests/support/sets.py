"""A pytest plugin: which of the collected tests run, and in which order.

A folder says to which set a test belongs, and a mark (setup.cfg lists them) what differs from its folder.
"""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Final

import pytest

from tests.support.real_couchdb import real_couchdb_url

# Folders that `make test` leaves to `make test-rest`, but for what the mark `change` names there.
REST_FOLDERS: Final = ("tests/acceptance/", "tests/browser/", "tests/fuzz/")
ORDERED_FOLDER: Final = "tests/acceptance/"  # Each of its files uses one system up, test by test.
COUCHDB_FIXTURES: Final = {"couchdb_url", "empty_couchdb_url"}
# A test with one of these fixtures needs a server, so the quick set leaves it out.
SERVER_FIXTURES: Final = {
    "certificates",
    "couchdb_url",
    "empty_couchdb_url",
    "mosquitto_broker",
    "postgres_database",
    "postgres_pair",
    "postgres_url",
    "rabbitmq_node",
    "rabbitmq_nodes",
    "redis_server_url",
    "redis_url",
    "sentinel_redis",
    "shared_postgres",
    "tls_redis",
}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--set", choices=["change", "rest"], help="only what `make test` or what `make test-rest` runs; else everything"
    )
    parser.addoption("--shuffle", metavar="SEED", help="run files, and the tests of each, in another order")
    parser.addoption(
        "--quick", action="store_true", help="only tests that need no server, no socket and no exploration"
    )


def pytest_configure(config: pytest.Config) -> None:
    if seed := config.getoption("--shuffle"):
        config.pluginmanager.register(Shuffle(seed))


class Shuffle:
    """Another order of files, and of the tests in each, by a seed; before pytest groups them by their fixtures."""

    def __init__(self, seed: str) -> None:
        self._seed = seed

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        chance = Random(self._seed)
        files: dict[Path, list[pytest.Item]] = {}
        for item in items:
            files.setdefault(item.path, []).append(item)
        for file in files.values():
            if not file[0].nodeid.startswith(ORDERED_FOLDER):
                chance.shuffle(file)
        order = list(files.values())
        chance.shuffle(order)
        items[:] = [item for file in order for item in file]


@pytest.hookimpl(trylast=True)  # Hypothesis has marked its tests by then.
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keep the tests of the wanted set, and only the quick ones of these on request."""
    kept = items
    if config.getoption("--set") == "change":
        kept = [item for item in kept if _is_of_every_change(item)]
    elif config.getoption("--set") == "rest":
        kept = [item for item in kept if _is_of_the_rest(item)]
    if config.getoption("--quick"):
        kept = [item for item in kept if _is_quick(item)]
    if len(kept) < len(items):
        chosen = set(kept)
        config.hook.pytest_deselected(items=[item for item in items if item not in chosen])
        items[:] = kept


def _is_of_every_change(item: pytest.Item) -> bool:
    """Return whether `make test` runs this: a folder says it, and a mark what differs from its folder."""
    if item.get_closest_marker("other_generation") and not item.get_closest_marker("generations"):
        return False
    if item.nodeid.startswith(REST_FOLDERS):
        return item.get_closest_marker("change") is not None
    return item.get_closest_marker("rest") is None


def _is_of_the_rest(item: pytest.Item) -> bool:
    """Return whether `make test-rest` runs this.

    That is what `make test` leaves out, and a second time what a real CouchDB or more examples make another test.
    """
    if not _is_of_every_change(item) or item.get_closest_marker("hypothesis"):
        return True
    return real_couchdb_url() is not None and bool(
        COUCHDB_FIXTURES & set(getattr(item, "fixturenames", ())) or item.get_closest_marker("couchdb")
    )


def _is_quick(item: pytest.Item) -> bool:
    needs_server = SERVER_FIXTURES & set(getattr(item, "fixturenames", ()))
    return not needs_server and not item.get_closest_marker("sockets") and not item.get_closest_marker("slow")
