"""Print how many lines of code each subject takes, for ``docs/explanation/architecture.md``.

A line is code without comments, docstrings and blank lines.
"""

from __future__ import annotations

import ast
import fnmatch
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Final

# A file belongs to the first subject that names it.
SUBJECTS: Final[Mapping[str, str]] = {
    "prices and costs": (
        "domain/prices/* accounts/price* accounts/cost* accounts/tempo "
        "clients/published_files clients/rte registry/public_files "
        "registry/account_details web/pages/cost* web/pages/prices cli/cost cli/prices"
    ),
    "files to import": "domain/files/* sync/file_import cli/import_files web/pages/files web/file_uploads",
    "gas rights": (
        "domain/access_right accounts/gas_rights accounts/right_sweep registry/rights web/pages/rights cli/gas_option"
    ),
    "consent proxy": "domain/oauth_proxy accounts/proxy_grants registry/proxy web/pages/oauth_proxy",
    "consent, ownership, evidence, erasure": (
        "domain/account domain/consents domain/connection_request domain/invitation domain/evidence "
        "domain/transitions accounts/connect accounts/opening accounts/refusals accounts/erasure "
        "accounts/asserted_accounts accounts/invitations accounts/series_choice registry/account* "
        "registry/consents registry/evidence registry/invitations registry/erased_meters "
        "registry/known_ledger redis/pending_consents stores/erasure_ledger web/pages/consent* "
        "web/api/invitations tasks/consent cli/consents cli/accounts runtime/consent_parts"
    ),
    "suppliers: calls, tokens, answers": (
        "clients/* domain/parsing/* domain/answers sync/quarantine registry/supplier_answers "
        "registry/user_tokens accounts/token_upkeep stores/token_store runtime/supplier_settings "
        "domain/networks"
    ),
    "quota, claims, retries, what is due": (
        "quota/* domain/schedule domain/lanes domain/planning domain/retry domain/calls sync/due sync/claims "
        "sync/history sync/inline sync/results redis/claims registry/due registry/outcomes "
        "registry/series_switches ops/capacity cli/plan cli/sync tasks/nightly tasks/base worker/app "
        "config/celery_options"
    ),
    "missing days, incidents, verification": (
        "domain/completeness domain/consistency domain/reasons domain/incident sync/incidents "
        "sync/verification redis/incidents accounts/explanations accounts/account_days accounts/status "
        "cli/explain cli/status cli/incidents"
    ),
    "outputs": "outputs/* registry/outputs cli/outputs runtime/output_parts",
    "documents, totals, exports, measure stores": (
        "domain/documents domain/packing domain/totals domain/tariffs domain/comparison domain/series "
        "domain/windows domain/messages domain/exports domain/statistics domain/clock stores/measures/* "
        "sync/layout_migration sync/window tasks/pipeline cli/show web/file_formats"
    ),
    "notices and mails": "domain/notice accounts/notice* registry/notices",
    "households' pages, charts, sign-in": (
        "web/pages/account* web/pages/cards web/pages/chart* web/pages/first_page web/pages/own_home "
        "web/pages/recovery web/pages/sign_in web/rendering web/texts worker/texts accounts/household_access "
        "registry/households domain/sessions registry/access_keys runtime/web_access cli/home"
    ),
    "operators and their access": (
        "web/pages/operator* domain/audit_entry registry/audit web/request_audit cli/access cli/audit "
        "registry/fleet_counts"
    ),
    "API and web server": "web/*",
    "operation: start-up, watchdog, backup, rotation, doctor": (
        "ops/* cli/backup cli/doctor cli/health cli/migrate cli/processes cli/secrets registry/dump "
        "registry/key_rotation stores/child_processes stores/process_guard stores/sockets tasks/upkeep"
    ),
    "other commands": "cli/*",
    "registry, Redis, encryption, build-up": "stores/* runtime/*",
    "settings, errors, logs, metrics": "config/* worker/* tasks/*",
}
_ROOTS: Final = ("worker", "tasks", "config")


def count_code(text: str) -> int:
    lines = text.splitlines()
    left_out = {number for number, line in enumerate(lines, 1) if not line.strip() or line.strip().startswith("#")}
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and ast.get_docstring(
            node
        ):
            left_out.update(range(node.body[0].lineno, (node.body[0].end_lineno or 0) + 1))
    return len(lines) - len(left_out)


def subject_of(path: Path) -> str:
    """Return the first subject one of whose patterns fits the end of the path."""
    name = f"/{path.with_suffix('')}"
    return next(
        subject
        for subject, patterns in SUBJECTS.items()
        if any(fnmatch.fnmatch(name, f"*/{pattern}") for pattern in patterns.split())
    )


def main() -> int:
    counts = Counter[str]()
    for path in (path for root in _ROOTS for path in Path(root).rglob("*.py")):
        counts[subject_of(path)] += count_code(path.read_text(encoding="utf-8"))
    for subject, lines in counts.most_common():
        sys.stdout.write(f"{lines:6}  {subject}\n")
    sys.stdout.write(f"{counts.total():6}  in all\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
