"""What the API of 0.2.0 answered on its kept installation: this version only adds fields."""

from __future__ import annotations

from typing import Any, Final

import pytest
from fastapi.testclient import TestClient

from tests.golden.keep_answers import CALLS, FILE, Answer, Request, keep
from tests.golden.keep_old_words import prepare
from tests.support.kept_installation import load_kept

NAMES: Final = (*CALLS, "GET /api/accounts without a token")
RELEASE: Final[list[tuple[int, Any]]] = load_kept(FILE)
OTHER: Final = {"message", "state_keys"}  # A text for people, and how many keys of Redis an account has.


@pytest.fixture(scope="module")
def answers(redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> list[tuple[int, Any]]:
    installation = prepare(tmp_path_factory.mktemp("kept"), redis_url)
    installation.releve("migrate")

    def ask(requests: list[Request]) -> list[Answer]:
        with installation.open() as parts:
            client = TestClient(parts.create_app())
            found = [client.request(one[0], one[1], headers=one[2], content=one[3]) for one in requests]
            return [(one.status_code, one.headers["Content-Type"], one.text) for one in found]

    return keep(installation, ask)


@pytest.mark.parametrize("rank", range(len(NAMES)), ids=NAMES)
def test_an_answer_of_the_release_only_gets_more_fields(rank: int, answers: list[tuple[int, Any]]) -> None:
    (status, ours), (kept_status, theirs) = answers[rank], RELEASE[rank]
    assert (status, known_part(ours, theirs)) == (kept_status, theirs)


def known_part(ours: Any, theirs: Any) -> Any:
    """Return our answer without the fields and columns that are new."""
    if isinstance(theirs, dict) and isinstance(ours, dict):
        return {
            name: each if name in OTHER and type(ours.get(name)) is type(each) else known_part(ours.get(name), each)
            for name, each in theirs.items()
        }
    if isinstance(theirs, str) and isinstance(ours, str) and theirs.startswith("load,"):
        columns = theirs.partition("\n")[0].count(",") + 1
        return "".join(f"{','.join(line.split(',')[:columns])}\n" for line in ours.splitlines())
    if isinstance(theirs, list) and isinstance(ours, list) and len(ours) == len(theirs):
        return [known_part(our, their) for our, their in zip(ours, theirs, strict=True)]
    return ours
