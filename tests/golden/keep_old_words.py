"""Keep what the commands of a release printed, for the test that its words still give that.

``python -m tests.golden.keep_old_words FOLDER`` writes ``tests/golden/release_0.2.0/old_words.json``. FOLDER has the
code of the release, commands included:

    git archive d3b557df config tasks worker | tar -x -C FOLDER

Each call meets the kept installation as it was kept. What it prints to standard output is kept, with its exit code.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from config.settings import PREFIX
from tests.golden.keep_installation import OPERATOR, installation_of
from tests.support import servers
from tests.support.installation import Installation
from tests.support.kept_installation import KEPT, create_kept_tables, load_kept, load_redis

FILE: Final = "old_words"
STDIN: Final = "a long and good password, or secret 7391\n"
KEPT_IDS: Final = {
    "ACCOUNT": load_kept("secrets")["accounts"]["first"],
    "CLIENT": load_kept("secrets")["proxy_client"][0],
    "INVITATION": load_kept("registry")["invitations"][0]["id"],
    "METER": "30001640000033",
    "OPERATOR": OPERATOR,
    "REQUEST": "made-up",
    "SAMPLE": load_kept("registry")["quarantine"][0]["fingerprint"],
    "SESSION": load_kept("registry")["access_keys"][0]["id"],
    "TOKEN": load_kept("registry")["api_tokens"][0]["id"],
}
CALLS: Final = (
    "history",
    "history ACCOUNT",
    "history ACCOUNT 2023-01-01",
    "history ACCOUNT 2024-07-01",
    "history no-such-id 2024-07-01",
    "completeness",
    "completeness ACCOUNT",
    "completeness --all",
    "completeness --all --rebuild",
    "freshness",
    "freshness --days 30",
    "accounts find",
    "accounts find METER",
    "accounts find 30001640999999",
    "accounts find -",
    "consents export",
    "consents export ACCOUNT",
    "consents export no-such-id",
    "invitations",
    "invitations list",
    "invitations list --open",
    "invitations list --tenant default",
    "invitations revoke",
    "invitations revoke INVITATION",
    "invitations revoke no-such-id",
    "requests",
    "requests list",
    "requests accept",
    "requests accept REQUEST",
    "requests accept no-such-id",
    "requests refuse REQUEST",
    "requests refuse no-such-id",
    "requests open-reading METER",
    "backfill",
    "backfill ACCOUNT",
    "backfill no-such-id",
    "quarantine",
    "quarantine list",
    "quarantine show",
    "quarantine show SAMPLE",
    "quarantine show SAMPLE --raw",
    "quarantine show no-such-id",
    "quarantine clear",
    "quarantine clear SAMPLE",
    "quarantine clear no-such-id",
    "migrate-layout",
    "migrate-layout --to packed",
    "migrate-layout --to packed --account ACCOUNT",
    "backup-info",
    "backup-info backup.zip",
    "backup-info no-such.zip",
    "operators",
    "operators add",
    "operators add carol --password -",
    "operators add carol --password - --no-second-factor",
    "operators list",
    "operators end OPERATOR",
    "operators end OPERATOR --yes",
    "operators end carol --yes",
    "operators link OPERATOR",
    "operators link carol",
    "operators password OPERATOR --password -",
    "operators password carol --password -",
    "sessions",
    "sessions list",
    "sessions list --account ACCOUNT",
    "sessions list --kind household",
    "sessions list --kind operator",
    "sessions end",
    "sessions end SESSION",
    "sessions end no-such-id",
    "sessions end --all",
    "sessions end --all --kind operator",
    "sessions end --account ACCOUNT",
    "tokens",
    "tokens new",
    "tokens new --name club --scope read:accounts",
    "tokens list",
    "tokens revoke",
    "tokens revoke TOKEN",
    "tokens revoke no-such-id",
    "proxy-clients",
    "proxy-clients new",
    "proxy-clients new Cozy --redirect-uri https://a.example/b",
    "proxy-clients new Cozy --redirect-uri https://a.example/b --pkce",
    "proxy-clients list",
    "proxy-clients revoke CLIENT",
    "proxy-clients revoke no-such-id",
    "tenants",
    "tenants list",
    "tenants set",
    "tenants set kilowatt",
    "tenants set kilowatt --title Club",
    "tenants set default --no-webhook",
    "keys",
    "keys new",
    "keys rotate",
    "secrets make",
    "secrets make secrets",
    "secrets make secrets --redis redis:1",
)
# An id without a digit, which the recorded texts show.
_SHOWN: Final = load_kept("secrets")["accounts"]["gas"]
# What each call makes anew: ids, some of which have no digit, secrets and moments.
_MADE: Final = re.compile(
    r"\b\d{4}-\d\d-\d\d[T ]\d\d:\d\d(?::\d\d)?(?:\.\d+)?(?:Z|\+00:00)?"
    rf"|\b(?!{_SHOWN})[abcdefghjkmnpqrstvwxyz\d]{{12}}\b"
    r"|\b[A-Z2-7]{32}\b"  # An authenticator's key; the next pattern needs a digit, and one in a thousand has none.
    r"|(?<!\.)-*\b(?=[\w-]*\d)(?!\d{4}-\d\d-\d\d\b)[\w-]{10,}=*"
)


def prepare(folder: Path, redis_url: str) -> Installation:
    """Return the kept installation, its tables as 0.2.0 has left them."""
    url = f"sqlite:///{folder}/kept.db"
    create_kept_tables(url)
    for name in ("ledger.ndjson", "backup.zip"):
        (folder / name).write_bytes((KEPT / name).read_bytes())
    load_redis(redis_url)
    return installation_of(folder, redis_url, registry_url=url, measures_url=url, keep_corrections_days="3000")


def to_words(call: str) -> list[str]:
    """Return the words of a call, with kept ids in the place of capitals."""
    return [KEPT_IDS.get(word, word) for word in call.split()]


def mask(text: str) -> str:
    """Return the text without what each call makes anew, and without the width of columns that comes with it."""
    return re.sub(r" {2,}|─+|-{3,}", " … ", _MADE.sub("…", text))


def main(code: str) -> None:
    """Run all calls on the code of the release, and write what they print."""
    found: dict[str, Any] = {}
    with servers.redis_server() as redis_url:
        for call in CALLS:
            found[call] = _run(code, redis_url, call)
            as_json = _run(code, redis_url, f"{call} --json")
            if as_json[0] != 2:  # Else the release had no such option.
                found[f"{call} --json"] = as_json
    lines = (f"{json.dumps(call)}: {json.dumps(result, ensure_ascii=False)}" for call, result in found.items())
    (KEPT / f"{FILE}.json").write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


def _run(code: str, redis_url: str, call: str) -> tuple[int, str]:
    with TemporaryDirectory() as folder:
        installation = prepare(Path(folder), redis_url)
        env = {PREFIX + name.upper(): value for name, value in installation.all_settings().items()}
        ran = subprocess.run(
            [sys.executable, "-m", "worker", *to_words(call)],
            cwd=folder,
            env={**os.environ, **env, "PYTHONPATH": code},
            input=STDIN,
            capture_output=True,
            text=True,
            check=False,
        )
        return ran.returncode, mask(ran.stdout)


if __name__ == "__main__":
    main(sys.argv[1])
