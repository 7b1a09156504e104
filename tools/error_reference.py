"""Generate docs/reference/errors.md: ``python -m tools.error_reference > docs/reference/errors.md``.

Codes, meanings and remedies come from the error tree, the others from the codes' texts.  A test compares the page with
them.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator, Sequence
from typing import Final

from worker import errors
from worker.errors import AccountError, DataError, TransientError, WorkerError
from worker.texts import translate

_HEAD: Final = """# Error codes

Made from `worker/errors.py` and `worker/locales/codes.json` by `make reference`; a test keeps this page in
step. A code is what `releve status`, the API, notices and logs show; the kind says what Relève itself does about it.

One code has one cause. Where cozy-konnector-libs has a word for what happened, the code begins with that word, and the
cause follows after a dot: `VENDOR_DOWN.TIMEOUT` is a `VENDOR_DOWN` for whoever knows only that. So a program may
compare the first word alone. `VENDOR_DOWN` and `ANSWER_MALFORMED` themselves are families: their rows say what all of
a family have in common.
"""
_BUG: Final = (
    "Ours to mend",
    "An exception that nobody foresaw. The window is asked for again with growing waits; the log has its traceback.",
)
_RETIRED: Final = """## Codes of older versions

Versions before 0.2.0 stored these codes without a cause; rows that still hold one keep their texts: {codes}.
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
        "([why accounts wait](../explanation/waiting-accounts.md)).",
    ),
    DataError: (
        "Kept out and reported",
        "Nothing doubtful is stored, and the window is not asked for again that day, for the answer would be the same. "
        "Other windows and accounts go on.",
    ),
}


def to_markdown() -> str:
    """Return the whole page."""
    sections = [_section(list(_subclasses(root)), root.__name__, *texts) for root, texts in _KINDS.items()]
    bug = _section([errors.Unforeseen], errors.Unforeseen.__name__, *_BUG)
    codes = ", ".join(f"`{code}`" for code in errors.RETIRED_CODES)
    return "\n".join([_HEAD, *sections, bug, _RETIRED.format(codes=codes)])


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
