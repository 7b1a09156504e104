"""Who may come in, by hand: one list of all kinds, and an end by id."""

from __future__ import annotations

from tests.support.installation import Installation


def test_access_lists_one_kind_after_another_each_named_and_ends_one_by_its_id(installation: Installation) -> None:
    token = installation.query("access", "add-token", "--name", "n", "--scope", "read:accounts")["id"]
    installation.query("access", "add-client", "n", "--redirect-uri", "https://a.example/b")
    text = installation.releve("access", "list").out
    places = [text.index(f"{kind}s\n") for kind in ("operator", "session", "token", "client", "grant")]
    assert places == sorted(places) and "no operators yet" in text and token in text
    assert [row["access"] for row in installation.query_rows("access", "list")] == ["token", "client"]
    assert [row["access"] for row in installation.query_rows("access", "list", "--limit", "1")] == ["token", "client"]
    assert installation.query_rows("access", "list", "--tenant", "kilowatt") == []
    assert installation.query("access", "remove", "token", token) == {"kind": "token", "id": token, "ended": 1}
    (row,) = installation.query_rows("access", "list", "--kind", "token")
    assert row["revoked_at"] and "access" not in row
    (entry,) = installation.query_rows("audit", "--action", "token.revoke")
    assert (entry["subject"], entry["outcome"]) == (token, "ok")
