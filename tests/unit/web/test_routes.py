"""The router's table: a method that a route doesn't declare reaches no other route either."""

from __future__ import annotations

import re
from collections import defaultdict
from typing import Final

from fastapi.routing import iter_route_contexts
from starlette.routing import Match, Mount

from tests.golden.test_outside_names import pretend_app

METHODS: Final = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"}
# Here "new-holder" and "join" may be suppliers and "search" an account, which there are not: see tests/integration/web.
OF_ANOTHER_ROUTE: Final = {
    "GET /connect/new-holder",
    "GET /connect/join",
    "GET /api/accounts/search",
    "DELETE /api/accounts/search",
}


def test_a_method_that_no_route_declares_reaches_none() -> None:
    contexts = iter_route_contexts(pretend_app(is_home=False).routes)
    routes = [route for route in contexts if not isinstance(route.original_route, Mount)]
    declared = defaultdict[str, set[str]](set)
    for route in routes:
        declared[route.path] |= route.methods
    assert len(declared) > 50
    reached = {
        f"{method} {path}"
        for path, methods in declared.items()
        for method in METHODS - methods
        if any(route.matches(scope_of(method, path))[0] is Match.FULL for route in routes)
    }
    assert reached == OF_ANOTHER_ROUTE


def scope_of(method: str, path: str) -> dict[str, str]:
    return {"type": "http", "method": method, "path": re.sub(r"\{[^}]*\}", "x", path), "root_path": ""}
