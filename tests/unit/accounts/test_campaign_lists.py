"""The operator's list of addresses for a campaign: what is read, and what is refused whole."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.accounts.campaigns import MOST_LINES, CampaignRefused, read_list

GOOD = "reference,mail\nA 1,anne@example.org\n"
# Kinds of lines; {n} makes each line different.
KINDS = {
    "good": "ref {n},x{n}@example.org",
    "empty": ",x{n}@example.org",
    "no field": "ref {n}",
    "no address": "ref {n},x{n}",
    "comma in it": "ref {n},x{n}@example.org,0",
    "foreign letters": "ref {n},é{n}@example.org",
    "reference twice": " FIRST  reference,x{n}@example.org",
    "address twice": "ref {n},First@Example.ORG ",
}
FAULTS = {
    "empty": "a field is empty",
    "no field": "a field is empty",
    "no address": "this is no mail address",
    "comma in it": "it has more fields than the first line",
    "foreign letters": "this is no mail address",
    "reference twice": "the same reference or account as in line 2",
    "address twice": "the same address as in line 2",
}


@pytest.mark.parametrize(
    "text",
    [
        "reference;mail\nA 1;anne@example.org\nB;b@example.org",
        "\ufeffMail , Name, Reference\r\nanne@example.org,x,A 1\r\n\r\nb@example.org,y,B\r\n",
        'reference,mail\n"A 1","anne@example.org"\nB , b@example.org\n',
    ],
)
def test_a_list_is_read_with_any_sign_between_order_and_further_columns(text: str) -> None:
    by_reference, lines = read_list(text)
    assert by_reference and [line[1:] for line in lines] == [("A 1", "anne@example.org"), ("B", "b@example.org")]


def test_a_list_names_accounts_instead() -> None:
    assert read_list("account,mail\nk3q7d0fr2mxx,anne@example.org\n") == (
        False,
        [(2, "k3q7d0fr2mxx", "anne@example.org")],
    )


@given(st.lists(st.sampled_from(sorted(KINDS)), max_size=12))
def test_a_list_with_any_faults_is_refused_whole_with_their_lines_alone(kinds: list[str]) -> None:
    lines = ["first reference,first@example.org", *(KINDS[kind].format(n=n) for n, kind in enumerate(kinds))]
    text = "\n".join(["reference,mail", *lines])
    faults = [f"line {number}: {FAULTS[kind]}" for number, kind in enumerate(kinds, 3) if kind != "good"]
    if not faults:
        assert [line[0] for line in read_list(text)[1]] == list(range(2, len(lines) + 2))
        return
    with pytest.raises(CampaignRefused) as refused:
        read_list(text)
    assert [str(line) for line in refused.value.lines] == faults
    assert "example" not in f"{refused.value}{refused.value.lines}", "no line is quoted"


@pytest.mark.parametrize(
    "text, words",
    [
        ("", "headings"),
        ("name,mail\n", "headings"),
        ("reference,account,mail\n", "headings"),
        ("reference,mail,mail\n", "headings"),
        ('reference,mail\nA,"a@example.org\n', "1 line"),
        ("reference,mail\n" + "".join(f"{n},x{n}@example.org\n" for n in range(MOST_LINES + 1)), "more than 100000"),
    ],
)
def test_what_is_no_list_is_refused(text: str, words: str) -> None:
    with pytest.raises(CampaignRefused, match=words):
        read_list(text)
