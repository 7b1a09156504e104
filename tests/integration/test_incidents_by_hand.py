"""`releve incidents`: listing incidents, opening and closing them by hand."""

from __future__ import annotations

from tests.support.installation import Installation


def test_without_any_it_says_so(installation: Installation) -> None:
    assert installation.releve("incidents").out == "no incident, open or closed\n"
    assert installation.query_rows("incidents") == []


def test_one_is_opened_and_closed_by_hand_and_stays_in_the_list(installation: Installation) -> None:
    opened = installation.query_rows("incidents", "--open")
    assert [(incident["kind"], incident["series"], incident["open"]) for incident in opened] == [
        ("by_hand", ["daily"], True),
        ("by_hand", ["load_curve"], True),
    ]
    assert "by_hand" in installation.releve("incidents").out
    closed = installation.query_rows("incidents", "--close")
    assert {(incident["open"], incident["how"]) for incident in closed} == {(False, "by_hand")}
    assert installation.run("incidents", "--close").error_line == "releve: no incident is open"


def test_both_at_once_is_misuse(installation: Installation) -> None:
    assert installation.run("incidents", "--open", "--close").code == 2
