"""Every package that runs has a licence that we know and accept (L14)."""

from __future__ import annotations

from email.message import Message
from importlib.metadata import PackageNotFoundError, metadata

import pytest

from tools import licence_reference
from tools.licence_reference import ACCEPTED, ELSEWHERE, UnknownLicence, declared_licence, identifiers, licence_of
from tools.lock_files import FOLDER, read_lock

RUN = read_lock(FOLDER / "run.lock")


@pytest.mark.parametrize("name", [package.name for package in RUN])
def test_each_package_declares_a_licence_that_is_accepted(name: str) -> None:
    named = identifiers(licence_of(name))
    assert named and named <= ACCEPTED.keys()


def test_what_is_locked_for_here_is_installed_here_and_only_the_rest_is_known_by_hand() -> None:
    """A package that is known by hand where it is installed could change its licence unseen."""
    missing = []
    for package in RUN:
        try:
            declared = metadata(package.name)
        except PackageNotFoundError:
            missing.append(package.name)
        else:
            assert ELSEWHERE.get(package.name) in (None, declared_licence(declared))
    assert set(missing) <= ELSEWHERE.keys()
    assert ELSEWHERE.keys() <= {package.name for package in RUN if package.marker}


def declared(**fields: str | list[str]) -> Message:
    message = Message()
    message["Name"] = "example"
    for name, values in fields.items():
        for value in [values] if isinstance(values, str) else values:
            message[name.replace("_", "-")] = value
    return message


@pytest.mark.parametrize(
    ("fields", "licence"),
    [
        ({"License_Expression": "MIT", "Classifier": "License :: OSI Approved :: BSD License"}, "MIT"),
        ({"License": "BSD-3-Clause"}, "BSD-3-Clause"),
        ({"License": "New BSD", "Classifier": "License :: OSI Approved :: BSD License"}, "BSD"),
        (
            {
                "Classifier": [
                    "License :: OSI Approved :: MIT License",
                    "License :: OSI Approved :: Apache Software License",
                ]
            },
            "Apache-2.0 AND MIT",
        ),
    ],
)
def test_a_licence_is_read_from_the_most_exact_field(fields: dict[str, str | list[str]], licence: str) -> None:
    assert declared_licence(declared(**fields)) == licence


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"License": "UNKNOWN"},
        {"License": "Proprietary"},
        {"Classifier": "License :: Other/Proprietary License"},
        {"Classifier": "License :: OSI Approved :: GNU Affero General Public License v3"},
    ],
)
def test_no_licence_and_an_unknown_one_are_refused(fields: dict[str, str | list[str]]) -> None:
    with pytest.raises(UnknownLicence, match="example"):
        declared_licence(declared(**fields))


def test_an_expression_of_another_licence_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    assert identifiers("(MIT OR Apache-2.0) AND GPL-2.0-only WITH Classpath-exception-2.0") == {
        "MIT",
        "Apache-2.0",
        "GPL-2.0-only WITH Classpath-exception-2.0",
    }
    monkeypatch.setattr(licence_reference, "licence_of", lambda name: "AGPL-3.0-only")
    with pytest.raises(UnknownLicence, match=r"AGPL-3\.0-only"):
        licence_reference.to_markdown()
