"""Generate docs/reference/licences.md: ``python -m tools.licence_reference > docs/reference/licences.md``.

The packages are those of requirements/run.lock, the licences what each package's metadata declares.  Versions are left
out, so that the page changes only when a package or a licence does.  `make lint` compares the page with what is
installed.
"""

from __future__ import annotations

import re
import sys
from email.message import Message
from importlib.metadata import PackageNotFoundError, metadata
from typing import Final, cast

from tools.lock_files import FOLDER, read_lock

_PERMISSIVE: Final = "include its text"
# What an image with Relève may hold, and what each asks of whoever hands the image on; another licence is a decision.
ACCEPTED: Final = {
    "Apache-2.0": f"{_PERMISSIVE} and the package's notices",
    "BSD": f"{_PERMISSIVE} (the package doesn't say which of the BSD licences)",
    "BSD-2-Clause": _PERMISSIVE,
    "BSD-3-Clause": _PERMISSIVE,
    "EPL-2.0": "nothing here: for paho-mqtt you may choose BSD-3-Clause",
    "ISC": _PERMISSIVE,
    "LGPL-3.0-only": "users can replace these modules: they are separate, unchanged files",
    "MIT": _PERMISSIVE,
    "MIT-0": "nothing",
    "MPL-2.0": "publish changes to these files: they are unchanged",
    "PSF-2.0": _PERMISSIVE,
}
# What metadata calls them without an SPDX identifier.
_CLASSIFIERS: Final = {
    "Apache Software License": "Apache-2.0",
    "BSD License": "BSD",
    "ISC License (ISCL)": "ISC",
    "MIT License": "MIT",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
}
# Locked only for some versions of Python or platforms, so they may be missing on the machine that makes the page.
ELSEWHERE: Final = {"async-timeout": "Apache-2.0"}

_HEAD: Final = """# Licences

Made from `requirements/run.lock` and the packages' metadata by `make reference`; `make lint` checks it. A test
refuses a licence that is not listed here. Relève itself is under the MIT licence.

The image has these packages, unchanged, in `/opt/releve/lib`. Their licence texts are in each `*.dist-info`; their
versions are in the [SBOM](../how-to/production.md#check-packages-and-images). Compiled libraries inside wheels
(OpenSSL, libpq, Valkey and others) have their own licences: see `licenses` and `sboms` in the same folders. The
image's base, Debian and Python, is not listed here.

| licence | packages |
| --- | --- |
"""
_ASKED: Final = """
`AND` means that all of them apply; `OR` means that you may choose one.
If you distribute the image, each licence requires:

| licence | requires |
| --- | --- |
"""


class UnknownLicence(Exception):
    """A package declares no licence that this module knows."""


def to_markdown() -> str:
    """Return the whole page.  Raises UnknownLicence."""
    packages: dict[str, list[str]] = {}
    for package in read_lock(FOLDER / "run.lock"):
        packages.setdefault(licence_of(package.name), []).append(package.name)
    rows = "".join(f"| {licence} | {', '.join(names)} |\n" for licence, names in sorted(packages.items()))
    named = sorted(set().union(*map(identifiers, packages)))
    if refused := [identifier for identifier in named if identifier not in ACCEPTED]:
        raise UnknownLicence(f"not accepted in tools/licence_reference.py: {', '.join(refused)}")
    return _HEAD + rows + _ASKED + "".join(f"| {identifier} | {ACCEPTED[identifier]} |\n" for identifier in named)


def licence_of(name: str) -> str:
    """Return the SPDX expression of the package's licence.  Raises UnknownLicence."""
    try:
        declared = cast(Message, metadata(name))
    except PackageNotFoundError:
        if name in ELSEWHERE:
            return ELSEWHERE[name]
        raise UnknownLicence(f"{name} is not installed: run make reference, which installs it") from None
    return declared_licence(declared)


def declared_licence(declared: Message) -> str:
    """Return the SPDX expression of a package's metadata: by PEP 639, a known identifier, or classifiers.

    Several classifiers don't say whether one may choose: all are named.
    """
    if expression := declared.get("License-Expression"):
        return str(expression)
    if (identifier := str(declared.get("License") or "").strip()) in ACCEPTED.keys() - {"BSD"}:
        return identifier
    classifiers = [
        value.rpartition(" :: ")[2]
        for value in declared.get_all("Classifier", [])
        if value.startswith("License :: OSI Approved :: ")
    ]
    if not classifiers or not all(classifier in _CLASSIFIERS for classifier in classifiers):
        raise UnknownLicence(
            f"{declared['Name']} declares no licence known to tools/licence_reference.py: {classifiers}"
        )
    return " AND ".join(sorted(_CLASSIFIERS[classifier] for classifier in classifiers))


def identifiers(expression: str) -> set[str]:
    """Return the licences that an expression names, one with an exception (WITH) as it stands."""
    return {part.strip() for part in re.split(r"\bAND\b|\bOR\b|[()]", expression) if part.strip()}


if __name__ == "__main__":
    sys.stdout.write(to_markdown())
