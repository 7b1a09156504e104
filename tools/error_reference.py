"""Generate docs/reference/errors.md: ``python -m tools.error_reference > docs/reference/errors.md``.

Codes and meanings come from the error tree, what to do from the texts of notices.  A test compares the page with them.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator
from typing import Final

from worker import errors
from worker.accounts.notice_texts import WHAT_TO_DO
from worker.errors import AccountError, DataError, TransientError, WorkerError

_HEAD: Final = """# Error codes

Made from `worker/errors.py` and `worker/accounts/notice_texts.py` by `make reference`; a test keeps this page in
step. A code is what `releve status`, the API, notices and logs show; the kind says what Relève itself does about it.
"""
_KINDS: Final[dict[type[WorkerError], tuple[str, str]]] = {
    TransientError: (
        "Tried again by itself",
        "The window is asked for again, with growing waits or when the supplier said; after five failures in a day it "
        "rests until the next. The account stays as it is. `RateLimited` counts as no failure.",
    ),
    AccountError: (
        "The account waits for its owner",
        "Automatic runs skip the account (`action_needed`), what is stored stays, and a notice goes out. A missing "
        "consent and a changed holder must be seen twice, six hours apart, before that happens "
        "([why accounts wait](../explanation/why-accounts-wait.md)).",
    ),
    DataError: (
        "Kept out and reported",
        "Nothing doubtful is stored, and the window is not asked for again that day, for the answer would be the same. "
        "Other windows and accounts go on.",
    ),
}
_AGAIN: Final = "Nothing: it is asked again by itself."
_REPORT: Final = "Run `releve -v sync ACCOUNT --inline` and report what it says."
_TO_DO: Final = {
    "RateLimited": f"{_AGAIN} See [quotas](../explanation/quotas.md).",
    "SupplierUnavailable": f"{_AGAIN} Where it lasts, `releve doctor` tells the supplier from the network.",
    "ConsentNotThere": "Nothing: the page comes again by itself.",
    "StoreUnavailable": "`releve doctor` says which server can't be reached.",
    "NotDelivered": "Look at `RELEVE_WEBHOOK_URL` or `RELEVE_NOTIFY_URL`. After eight tries a notice is given up.",
    "UnknownAccount": "`releve accounts list` shows those there are; a removed one stays removed.",
    "MalformedAnswer": _REPORT,
    "RequestRefused": _REPORT,
    "OperatorFault": "Check the client id, its secret, and that the application has subscribed each API "
    "([credentials](../how-to/enedis-credentials.md)). It is asked again every quarter of an hour.",
    "WriteRefused": f"{_REPORT} Its text names the store's own word.",
}


def to_markdown() -> str:
    """Return the whole page."""
    return "\n".join([_HEAD, *(_section(root, *texts) for root, texts in _KINDS.items())])


def _section(root: type[WorkerError], title: str, what_happens: str) -> str:
    rows = "".join(map(_row, _subclasses(root)))  # The roots themselves are never raised.
    return (
        f"## {title}\n\n`{root.__name__}`. {what_happens}\n\n"
        f"| code | error | meaning | what to do |\n| --- | --- | --- | --- |\n{rows}"
    )


def _row(kind: type[WorkerError]) -> str:
    to_do = _TO_DO.get(kind.__name__) or WHAT_TO_DO[kind.code]["en"]
    return f"| {f'`{kind.code}`' if kind.code else 'none'} | `{kind.__name__}` | {_meaning(kind)} | {to_do} |\n"


def _subclasses(kind: type[WorkerError]) -> Iterator[type[WorkerError]]:
    """Yield the subclasses in the error tree's module, in its order; others depend on what is imported."""
    yield from (
        child
        for child in vars(errors).values()
        if isinstance(child, type) and issubclass(child, kind) and child is not kind
    )


def _meaning(kind: type[WorkerError]) -> str:
    """Return the first paragraph of the error's docstring."""
    return inspect.cleandoc(kind.__doc__ or "").split("\n\n")[0].replace("\n", " ").replace("``", "`")


if __name__ == "__main__":
    sys.stdout.write(to_markdown())
