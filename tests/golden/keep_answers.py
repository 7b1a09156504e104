"""Keep what the API of a release answered, for the test that its clients still get that.

``python -m tests.golden.keep_answers FOLDER`` writes ``tests/golden/release_0.2.0/answers.json``. FOLDER has the code
of the release, pages included:

    git archive d3b557df config tasks worker | tar -x -C FOLDER

All calls go to one kept installation, one after the other. What is made anew by each run is masked.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from config.settings import PREFIX
from tests.golden.keep_old_words import KEPT_IDS, mask, prepare
from tests.support import servers
from tests.support.installation import Installation
from tests.support.kept_installation import KEPT, load_kept
from worker.domain.sessions import Scope
from worker.stores.database import Database
from worker.stores.registry.api_tokens import ApiTokenTable

Request = tuple[str, str, dict[str, str], str]  # Method, path, headers, body.
Answer = tuple[int, str, str]  # Status, content type, body.

FILE: Final = "answers"
_DAYS: Final = "from=2020-10-01&to=2024-10-31"
_MEASURES: Final = "GET /api/accounts/SECOND/measures"
# Method, path and perhaps a body in JSON; the words in capitals are those of ``keep_old_words``.
CALLS: Final = (
    "GET /api/accounts",
    "GET /api/accounts?limit=2",
    "GET /api/accounts?limit=0",
    "GET /api/accounts?colour=red",
    "GET /api/accounts/ACCOUNT",
    "GET /api/accounts/ACCOUNT/status",
    "GET /api/accounts/ACCOUNT/progress",
    "GET /api/accounts/ACCOUNT/series",
    "GET /api/accounts/nosuchid",
    _MEASURES,
    f"{_MEASURES}?{_DAYS}",
    f"{_MEASURES}?by=minute&{_DAYS}&limit=3",
    f"{_MEASURES}?by=hour&{_DAYS}&limit=3",
    f"{_MEASURES}?by=month&{_DAYS}",
    f"{_MEASURES}?by=year&{_DAYS}",
    f"{_MEASURES}?series=daily&{_DAYS}",
    f"{_MEASURES}?series=load_curve&by=minute&{_DAYS}&limit=3",
    f"{_MEASURES}?series=max_power",
    f"{_MEASURES}?series=max_power&by=month",
    f"{_MEASURES}?from=2024-07-24&to=2024-07-20",
    f"{_MEASURES}?format=csv&{_DAYS}",
    "GET /api/accounts/GAS/measures",
    "GET /api/schemas",
    "GET /api/schemas/com.grandlyon.enedis.day",
    "GET /api/schemas/no.such.doctype",
    "GET /api/invitations",
    "GET /api/audit?limit=2",
    'POST /api/accounts/search {"usage_point": "30001640000033"}',
    "POST /api/accounts/search {}",
    'POST /api/accounts {"usage_point": "30001640000033"}',
    'POST /api/accounts {"usage_point": "30001640000777", "reference": "contract 4711"}',
    'POST /api/invitations {"account": "ACCOUNT"}',
    "DELETE /api/invitations/INVITATION",
    "DELETE /api/invitations/nosuchid0000",
    "POST /api/accounts/ACCOUNT/pause",
    "POST /api/accounts/ACCOUNT/pause",
    "POST /api/accounts/ACCOUNT/resume",
    'PATCH /api/accounts/ACCOUNT/series {"series": {"max_power": "on"}}',
    "POST /api/accounts/ACCOUNT/stop",
    "DELETE /api/accounts/ACCOUNT",
    "GET /api/accounts/ACCOUNT",
    "PUT /api/accounts",
    "GET /api/nowhere",
)
_ASK: Final = """
import json, sys
from fastapi.testclient import TestClient
from config.settings import get_settings
from worker.runtime.process import Runtime
from worker.web.app import create_app

with Runtime(get_settings()) as runtime:
    client = TestClient(create_app(runtime))
    for method, path, headers, body in json.load(sys.stdin):
        answer = client.request(method, path, headers=headers, content=body or None)
        print(json.dumps([answer.status_code, answer.headers["Content-Type"], answer.text]))
"""


def to_requests(token: str) -> Iterator[Request]:
    """Yield the requests of all calls, and last one without a token."""
    accounts = load_kept("secrets")["accounts"]
    ids = {"ACCOUNT": accounts["first"], "SECOND": accounts["second"], "GAS": accounts["gas"]}
    ids["INVITATION"] = KEPT_IDS["INVITATION"]
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    for call in CALLS:
        method, path, body = [*re.sub("|".join(ids), lambda word: ids[word[0]], call).split(" ", 2), ""][:3]
        yield method, path, headers, body
    yield "GET", "/api/accounts", {}, ""


def keep(installation: Installation, ask: Callable[[list[Request]], Iterable[Answer]]) -> list[tuple[int, Any]]:
    """Return status and body of each call, the body as JSON if it is JSON."""
    database = Database(installation.settings["registry_url"])
    token = ApiTokenTable(database).create("made-up", list(Scope))[1]
    database.close()
    answers = ask(list(to_requests(token)))
    return [
        (status, json.loads(mask(text)) if "json" in content_type else mask(text))
        for status, content_type, text in answers
    ]


def main(code: str) -> None:
    """Make all calls to the code of the release, and write its answers."""
    with servers.redis_server() as redis_url, TemporaryDirectory() as folder:
        installation = prepare(Path(folder), redis_url)
        env = {PREFIX + name.upper(): value for name, value in installation.all_settings().items()}

        def ask(requests: list[Request]) -> list[Answer]:
            ran = subprocess.run(
                [sys.executable, "-c", _ASK],
                cwd=folder,
                env={**os.environ, **env, "PYTHONPATH": code},
                input=json.dumps(requests),
                capture_output=True,
                text=True,
                check=False,
            )
            assert ran.returncode == 0, ran.stderr
            return [json.loads(line) for line in ran.stdout.splitlines()]

        lines = (json.dumps(answer, ensure_ascii=False) for answer in keep(installation, ask))
        (KEPT / f"{FILE}.json").write_text("[\n" + ",\n".join(lines) + "\n]\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1])
