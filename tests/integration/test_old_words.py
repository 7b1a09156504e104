"""The words of 0.2.0: what they print, as text and as JSON, and their exit code are those of the words in their place.

The hint that words are old goes to standard error, and never beside ``--json``.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from datetime import UTC, date, datetime

import pytest

from tests.support.commands import CommandResult
from tests.support.grants import give_grant
from tests.support.installation import Installation
from tests.support.registries import METER, OTHER_METER, add_ready, record_outcome
from worker.cli.main import ALIASES, find_alias
from worker.domain.answers import Deviation, DeviationKind
from worker.domain.completeness import DayMark, DayState
from worker.domain.series import Doctype
from worker.stores.registry.supplier_answers import Correction

DAY, RUN_ID = "2024-07-24", "20240725T070000.000000"
STDIN = "a long and good password, or secret 7391\n"
# Of each alias: what stands behind the old words, and the whole call in new words. A word in capitals stands for what
# each call gets anew; "no-such-id" for what there is not.
CALLS = {
    "history": (f"ACCOUNT {DAY}", f"explain ACCOUNT {DAY} --corrections"),
    "completeness --rebuild": ("--all --rebuild", "verify --all --rebuild-days"),
    "completeness": ("ACCOUNT", "explain ACCOUNT --days"),
    "freshness": ("--days 30", "status --freshness --days 30"),
    "home token": ("--token -", "home add --known-only --token -"),
    "accounts find": (METER, f"accounts list --meter {METER}"),
    "consents export": ("ACCOUNT", "consents show ACCOUNT"),
    "invitations revoke": ("INVITATION", "consents revoke INVITATION"),
    "invitations list": ("--open", "consents --invitations --open"),
    "requests accept": ("no-such-id", "consents accept no-such-id"),
    "requests refuse": ("no-such-id", "consents refuse no-such-id"),
    "requests open-reading": (METER, f"consents unblock {METER}"),
    "requests list": ("", "consents --requests"),
    "rights check": ("", "consents check"),
    "rights proof": ("no-such-id README", "consents proof no-such-id README"),
    "rights": ("", "consents --rights"),
    "backfill": ("ACCOUNT", "sync ACCOUNT --history"),
    "quarantine list": ("", "quarantine"),
    "quarantine show": ("SAMPLE", "quarantine SAMPLE"),
    "quarantine clear": ("SAMPLE", "quarantine SAMPLE --remove"),
    "migrate-layout --to": ("--to packed --account x", "migrate --layout packed --account x"),
    "migrate-layout": ("packed", "migrate --layout=packed"),
    "backup-info": ("BACKUP", "backup --show BACKUP"),
    "operators add": (
        "NAME --password - --no-second-factor",
        "access add-operator NAME --password - --no-second-factor",
    ),
    "operators list": ("", "access list --kind operator"),
    "operators end": ("OPERATOR --yes", "access remove operator OPERATOR --yes"),
    "operators link": ("OPERATOR", "access link OPERATOR"),
    "operators password": ("OPERATOR --password -", "access password OPERATOR --password -"),
    "operators": ("", "access"),
    "sessions list --kind": ("--kind household", "access list --kind session --of household"),
    "sessions list": ("--account ACCOUNT", "access list --kind session --account ACCOUNT"),
    "sessions end --kind": ("--all --kind=operator", "access remove session --all --of=operator"),
    "sessions end": ("no-such-id", "access remove session no-such-id"),
    "sessions": ("", "access"),
    "tokens new": ("--name club --scope read:accounts", "access add-token --name club --scope read:accounts"),
    "tokens list": ("", "access list --kind token"),
    "tokens revoke": ("TOKEN", "access remove token TOKEN"),
    "tokens": ("", "access"),
    "proxy-clients new": (
        "Cozy --redirect-uri https://a.example/b",
        "access add-client Cozy --redirect-uri https://a.example/b",
    ),
    "proxy-clients set": ("CLIENT --no-pkce", "access set-client CLIENT --no-pkce"),
    "proxy-clients list": ("", "access list --kind client"),
    "proxy-clients revoke": ("CLIENT", "access remove client CLIENT"),
    "proxy-clients": ("", "access"),
    "grants list": ("--account ACCOUNT", "access list --kind grant --account ACCOUNT"),
    "grants remove": ("GRANT", "access remove grant GRANT"),
    "grants": ("", "access"),
    "tenants list": ("", "tenants"),
    "tenants set": ("kilowatt --title Club", "tenants kilowatt --title Club"),
    "keys new": ("", "secrets add --key"),
    "keys rotate": ("", "secrets rotate"),
    "keys": ("", "secrets"),
    "secrets make": ("SECRETS", "secrets add SECRETS"),
    "pretend-homes": ("--patience 0", "demo --homes-only --patience 0"),
}
FAIL = {
    "home token",
    "requests accept",
    "requests refuse",
    "rights check",
    "rights proof",
    "rights",
}  # Gas is not set up.
FAIL |= {"sessions end", "migrate-layout --to", "migrate-layout", "pretend-homes"}
FAIL |= {"operators", "sessions", "tokens", "proxy-clients", "grants", "keys"}  # Groups, which need a subcommand.
MADE = re.compile(
    r"\b[a-z0-9]{12}\b|-*\b(?=[\w-]*\d)[A-Za-z0-9_-]{10,}=*|\d+| {2,}"
)  # Ids, secrets, numbers, and the width of columns.


@pytest.fixture
def account(installation: Installation) -> str:
    """An account with a corrected day, beside an operator and a grant of a proxy client."""
    with installation.open() as parts:
        account = add_ready(parts.stores.registry)
        complete = {date(2024, 7, 24): DayMark(DayState.COMPLETE)}
        record_outcome(parts.stores.registry, account, "1", last_day=date(2024, 7, 24), days=complete)
        at = datetime(2024, 7, 25, 7, tzinfo=UTC)
        parts.stores.registry.corrections.record([Correction(account, Doctype.DAY, DAY, 1000, 2000, at, at, RUN_ID)])
        client, _ = parts.stores.registry.proxy_clients.create("Cozy", ["https://a.example/b"], "default", pkce=True)
        give_grant(parts, client.id, METER)
        add_ready(parts.stores.registry, OTHER_METER)
    return account


def make(installation: Installation, account: str, what: str) -> str:
    """Return an id, name or file of this kind that nothing else uses."""
    name = f"made{len(list(installation.folder.iterdir())):08}"  # It is masked.
    (installation.folder / f"{name}.made").touch()

    def sample() -> str:
        with installation.open() as parts:
            deviation = Deviation(DeviationKind.FIELD, name, "text", {"a": 1})
            parts.stores.registry.quarantine.record(deviation, 1, "enedis-2026", parts.stores.now(), lambda _: ())
            return deviation.fingerprint

    def operator() -> str:
        options = ("--password", "-", "--no-second-factor", "--role", "support")
        return str(installation.query("access", "add-operator", name, *options)["name"])

    def grant() -> str:
        with installation.open() as parts:
            client, _ = parts.stores.registry.proxy_clients.create(
                "Cozy", ["https://a.example/b"], "default", pkce=True
            )
            return give_grant(parts, client.id, METER)

    def backup() -> str:
        return str(installation.query("backup", f"{name}.zip")["file"])

    makers: dict[str, Callable[[], str]] = {
        "ACCOUNT": lambda: account,
        "INVITATION": lambda: str(installation.query("invite", account)["invitation"]),
        "SAMPLE": sample,
        "BACKUP": backup,
        "NAME": lambda: name,
        "OPERATOR": operator,
        "TOKEN": lambda: str(
            installation.query("access", "add-token", "--name", "n", "--scope", "read:accounts")["id"]
        ),
        "CLIENT": lambda: str(
            installation.query("access", "add-client", "n", "--redirect-uri", "https://a.example/b")["id"]
        ),
        "GRANT": grant,
        "SECRETS": lambda: name,
    }
    return makers[what]()


@pytest.mark.rest
@pytest.mark.parametrize("old", CALLS)
def test_old_words_print_what_the_new_ones_print(
    old: str, installation: Installation, account: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (installation.folder / "README").write_text("a proof")
    behind, new = CALLS[old]
    words = f"{old.partition(' --')[0]} {behind}".split()

    def run(words: list[str], *more: str) -> CommandResult:
        monkeypatch.setattr("sys.stdin", io.StringIO(STDIN))
        given = [make(installation, account, word) if word.isupper() and word != "README" else word for word in words]
        monkeypatch.setattr("sys.stdin", io.StringIO(STDIN))
        return installation.run(*given, *more, keep_corrections_days="30")

    for more in ((), ("--json",), ("--help",)):
        was, now = run(words, *more), run(new.split(), *more)
        hints = [line for line in was.err.splitlines(keepends=True) if "the old words end" in line]
        assert len(hints) == ("--json" not in more), was.err
        assert all(f"`releve {old}`" in hint and f"`releve {ALIASES[old].rstrip('=')}`" in hint for hint in hints)
        assert (was.code, masked(was.out)) == (now.code, masked(now.out))
        assert masked(was.err) == masked("".join(hints) + now.err)
        assert more or (was.code == 0) == (old not in FAIL), was


@pytest.mark.rest
@pytest.mark.parametrize("words", ["history no-such-id", "invitations", "requests", "tenants set"])
def test_old_words_that_lack_what_they_needed_are_refused(installation: Installation, words: str) -> None:
    refused = installation.run(*words.split())
    assert (refused.code, refused.out) == (2, "")
    assert "the old words end" in refused.err and "needs 1 more" in refused.err
    assert installation.run(*words.split(), "--help").code == 0


def test_each_alias_is_tried() -> None:
    assert {*ALIASES} - {*CALLS} == {"invitations", "requests"}


def masked(text: str) -> str:
    return MADE.sub("…", text)


def test_an_option_may_stand_anywhere_behind_old_words() -> None:
    def new(words: str) -> str:
        found = find_alias(words.split())
        return " ".join(found[1]) if found else words

    assert new("accounts find --json -") == "accounts list --json --meter=-"
    assert new("accounts find") == "accounts list --meter"  # Its value is missing, as the old argument was.
    assert new("accounts find --help") == "accounts list --help"
    assert new("completeness --all --json --rebuild") == "verify --all --json --rebuild-days"
    assert new("sessions end --kind=operator --all") == "access remove session --of=operator --all"
    assert new("migrate-layout --account a --to packed") == "migrate --account a --layout packed"
    assert [new(words) for words in ("status history", "tenants", "migrate")] == [
        "status history",
        "tenants",
        "migrate",
    ]
