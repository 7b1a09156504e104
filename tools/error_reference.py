"""Generate docs/reference/errors.md: ``python -m tools.error_reference > docs/reference/errors.md``.

Codes, meanings and remedies come from the error tree, the others from the codes' texts, those of the API too.  `make
lint` compares them with the page.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator, Sequence
from typing import Final

from worker import errors
from worker.errors import AccountError, DataError, TransientError, WorkerError
from worker.texts import load_texts, translate
from worker.web.error_pages import PROBLEM_KEY

_HEAD: Final = """# Error codes

Made from `worker/errors.py` and `worker/locales/codes.json` by `make reference`; `make lint` checks it.
`releve status`, the API, notices and logs show these codes. The sections say what Relève does about each.

One code has one cause. If cozy-konnector-libs has a name for an error, the code begins with that name, and the cause
follows after a dot: `VENDOR_DOWN.TIMEOUT` is a kind of `VENDOR_DOWN`. A program may compare only the part before the
first dot. `VENDOR_DOWN` and `ANSWER_MALFORMED` are families of codes.
"""
_BUG: Final = (
    "Bugs in Relève",
    "An unexpected exception occurred. The window is retried with growing waits; the log has the traceback.",
)
_RETIRED: Final = """## Codes of older versions

Versions before 0.2.0 stored these codes without a cause. Rows may still hold them: `VENDOR_DOWN`, `UNKNOWN_ERROR`.
"""
_OF_API: Final = """## Codes of the API

The field `error` of a refused call has one of these; `type` leads to it on the page `/api/docs`, `detail` says more.

| code | meaning |
| --- | --- |
{rows}"""
_KINDS: Final[dict[type[WorkerError], tuple[str, str]]] = {
    TransientError: (
        "Retried automatically",
        "The window is retried with growing waits, or after the time that the supplier gives. After five "
        "failures in a day it waits for the next day. The account keeps its state. `RateLimited` is not "
        "counted as a failure.",
    ),
    AccountError: (
        "The account waits for its holder",
        "Automatic runs skip the account (`action_needed`), stored data stays, and a notice is sent. For a missing "
        "consent or a changed holder, this happens only after two refusals, six hours apart ([why accounts "
        "wait](../explanation/waiting-accounts.md)).",
    ),
    DataError: (
        "Rejected and reported",
        "The doubtful answer is not stored. The window is not retried on that day, because the answer would be the "
        "same. Other windows and accounts continue.",
    ),
}


def to_markdown() -> str:
    """Return the whole page."""
    sections = [_section(list(_subclasses(root)), root.__name__, *texts) for root, texts in _KINDS.items()]
    root = errors.UnexpectedError
    bug = _section([root, *_subclasses(root)], root.__name__, *_BUG)
    problems = sorted(key.removeprefix(PROBLEM_KEY) for key in load_texts() if key.startswith(PROBLEM_KEY))
    rows = "".join(f"| `{code}` | {translate(f'{PROBLEM_KEY}{code}', 'en')} |\n" for code in problems)
    return "\n".join([_HEAD, *sections, bug, _OF_API.format(rows=rows), _RETIRED])


def _section(kinds: Sequence[type[WorkerError]], name: str, title: str, what_happens: str) -> str:
    rows = "".join(map(_row, kinds))  # The roots themselves are never raised.
    return (
        f"## {title}\n\n`{name}`. {what_happens}\n\n"
        f"| code | error | meaning | what to do |\n| --- | --- | --- | --- |\n{rows}"
    )


def _row(kind: type[WorkerError]) -> str:
    to_do = kind.remedy or translate(f"code.{kind.code}.what_to_do", "en")
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
