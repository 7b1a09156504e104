"""A release is built from a right and tested commit, its papers say what was built, and no file is changed after."""

from __future__ import annotations

import os
import shutil
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from tests.support.git import git
from tools.check_texts import releases
from tools.check_texts.project import Project
from tools.lock_files import ROOT
from tools.new_version import NotWritten, write_version
from tools.release import papers, publish
from tools.release.checks import find_faults, read_section
from tools.tested import committed_tree, is_tested, stamp

IMAGE = "registry.example/us/releve"
CHANGES = (
    "# Changes\n\n## Unreleased\n\n## 1.2.3 (2026-12-02)\n\n### Fixed\n\n- one\n\n## 1.2.2 (2026-01-01)\n\n- old\n"
)


def write(folder: Path, **texts: str) -> None:
    for name, text in texts.items():
        (folder / {"setup": "setup.cfg", "changes": "CHANGELOG.md"}.get(name, name)).write_text(text, encoding="utf-8")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Return a checkout whose commit can be released as 1.2.3."""
    write(tmp_path, setup="[metadata]\nversion = 1.2.3\n", changes=CHANGES)
    (tmp_path / ".gitignore").write_text("build/\n")
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "--quiet", "--message", "Release")
    return tmp_path


def commit(folder: Path) -> None:
    git(folder, "commit", "--quiet", "--all", "--message", "More")


def test_a_right_commit_has_no_fault_even_if_its_tag_is_there(checkout: Path) -> None:
    assert list(find_faults(checkout, "1.2.3", IMAGE)) == []
    git(checkout, "tag", "--annotate", "--message", "1.2.3", "v1.2.3")
    assert list(find_faults(checkout, "1.2.3", "localhost:5000/a/releve")) == []


def test_all_faults_are_told_at_once(checkout: Path) -> None:
    git(checkout, "tag", "v1.2.4")
    write(checkout, changes=CHANGES.replace("## Unreleased\n", "## Unreleased\n\n- more\n"))
    commit(checkout)
    write(checkout, new="new")
    assert list(find_faults(checkout, "1.2.4", "Registry/releve:1")) == [
        "IMAGE=Registry/releve:1: name registry and image in lower case, without a tag: registry.example/owner/releve",
        "commit or remove what differs from the commit: new",
        "setup.cfg has the version 1.2.3: run make version VERSION=1.2.4",
        "CHANGELOG.md has no section “1.2.4 (DATE)”: run make version VERSION=1.2.4",
        "the tag v1.2.4 is another commit: choose another version",
    ]
    assert list(find_faults(checkout, "next", IMAGE)) == ["say which version: make release VERSION=0.3.0"]


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        (
            "2026-12-02",
            "2026-12-01",
            "CHANGELOG.md dates 1.2.3 2026-12-01, and the commit is of 2026-12-02: use one day",
        ),
        ("\n### Fixed\n\n- one\n", "", "CHANGELOG.md says nothing of 1.2.3"),
        ("## Unreleased\n", "## Unreleased\n\n- two\n", "CHANGELOG.md has unreleased changes: move them to 1.2.3"),
    ],
)
def test_the_changelog_is_the_one_of_this_release(checkout: Path, old: str, new: str, fault: str) -> None:
    write(checkout, changes=CHANGES.replace(old, new, 1))
    commit(checkout)
    assert list(find_faults(checkout, "1.2.3", IMAGE)) == [fault]


def test_the_stamp_belongs_to_the_files_that_were_tested(checkout: Path) -> None:
    tree = committed_tree(checkout)
    assert tree and not is_tested(checkout)
    assert stamp(checkout, tree) == "build/tested: make release knows that these files are tested"
    assert is_tested(checkout)
    write(checkout, changes=CHANGES + "\n")
    assert not is_tested(checkout), "a file has changed"
    commit(checkout)
    assert not is_tested(checkout), "another commit"
    git(checkout, "revert", "--no-edit", "HEAD")
    assert is_tested(checkout), "the same files again"


def test_no_stamp_is_written_where_files_changed_before_or_during_the_tests(checkout: Path) -> None:
    tree = committed_tree(checkout)
    assert tree
    write(checkout, new="new")
    for given in ("", tree):
        assert stamp(checkout, given).startswith("no stamp for make release: ")
    assert not (checkout / "build").exists()


def test_without_a_commit_nothing_is_tested(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert committed_tree(tmp_path) is None and not is_tested(tmp_path)


def copy_places(folder: Path) -> Path:
    for path in ("setup.cfg", "CHANGELOG.md", *releases.PLACES_OF_THE_VERSION):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / path, folder / path)
    return folder


def test_a_new_version_stands_everywhere_and_the_changes_get_their_date(tmp_path: Path) -> None:
    files = write_version(copy_places(tmp_path), "9.8.7", date(2027, 1, 31))
    assert set(files) == {"setup.cfg", "CHANGELOG.md", *releases.PLACES_OF_THE_VERSION}
    project = Project(tmp_path)
    assert [*releases.versions(project), *releases.changes(project)] == []
    changes = (tmp_path / "CHANGELOG.md").read_text(encoding="utf-8")
    assert "\n## Unreleased\n\n## 9.8.7 (2027-01-31)\n" in changes
    with pytest.raises(NotWritten, match=r"already has a section 9\.8\.7"):
        write_version(tmp_path, "9.8.7", date(2027, 2, 1))


def test_nothing_is_written_where_a_place_is_missing(tmp_path: Path) -> None:
    copy_places(tmp_path)
    (tmp_path / "Dockerfile").write_text("FROM scratch\n")
    with pytest.raises(NotWritten, match="Dockerfile names no version"):
        write_version(tmp_path, "9.8.7", date(2027, 1, 31))
    assert (tmp_path / "setup.cfg").read_bytes() == (ROOT / "setup.cfg").read_bytes()
    with pytest.raises(NotWritten, match="say which version"):
        write_version(tmp_path, "", date(2027, 1, 31))


def test_the_notes_are_the_section_with_paths_in_place_of_links() -> None:
    changes = "- a ([how](docs/a.md#b)), [b](https://b.example)"
    text = f"## Unreleased\n\n## 1.2.3 (2026-12-02)\n\n{changes}\n\n## 1.2.2 (2026-01-01)\n"
    section = read_section(text, "1.2.3")
    assert section == ("2026-12-02", changes)
    assert papers.to_notes("1.2.3", section[1]) == (
        "# Relève 1.2.3\n\n- a (how: `docs/a.md#b`), [b](https://b.example)\n"
    )
    assert read_section(text, "1.2") is None


def test_the_statement_names_each_file_the_commit_and_who_built() -> None:
    times = datetime(2026, 12, 2, 12, tzinfo=UTC), datetime(2026, 12, 2, 12, 5, tzinfo=UTC)
    source = ("git+https://forge.example/us/releve", "a" * 40)
    statement = papers.to_statement({"b": "22", "a": "11"}, {"version": "1.2.3"}, source, "urn:x", times)
    assert statement == {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": "a", "digest": {"sha256": "11"}}, {"name": "b", "digest": {"sha256": "22"}}],
        "predicateType": "https://slsa.dev/provenance/v1",
        "predicate": {
            "buildDefinition": {
                "buildType": "urn:releve:make-release:1",
                "externalParameters": {"version": "1.2.3"},
                "resolvedDependencies": [
                    {"uri": "git+https://forge.example/us/releve", "digest": {"gitCommit": "a" * 40}}
                ],
            },
            "runDetails": {
                "builder": {"id": "urn:x"},
                "metadata": {"startedOn": "2026-12-02T12:00:00Z", "finishedOn": "2026-12-02T12:05:00Z"},
            },
        },
    }
    without = papers.to_statement({}, {}, (None, "a" * 40), "urn:x", times)["predicate"]["buildDefinition"]
    assert without["resolvedDependencies"] == [{"digest": {"gitCommit": "a" * 40}}]


@pytest.mark.parametrize(
    ("remote", "public"),
    [
        ("https://forge.example/us/releve.git", "git+https://forge.example/us/releve.git"),
        ("https://name:token@forge.example/us/releve", None),
        ("/srv/git/releve.git", None),
        ("git@forge.example:us/releve", None),
        ("", None),
    ],
)
def test_the_statement_tells_no_path_and_no_password(remote: str, public: str | None) -> None:
    assert papers.to_public_address(remote) == public


def test_the_builder_is_the_workflow_or_somebodys_computer() -> None:
    github = {
        "GITHUB_REPOSITORY": "us/releve",
        "GITHUB_SERVER_URL": "https://forge.example",
        "GITHUB_WORKFLOW_REF": "us/releve/.github/workflows/ci.yml@refs/tags/v1.2.3",
    }
    assert papers.find_builder_id(github) == (
        "https://forge.example/us/releve/.github/workflows/ci.yml@refs/tags/v1.2.3"
    )
    gitlab = {"CI_PROJECT_URL": "https://lab.example/us/releve", "CI_COMMIT_SHA": "abc"}
    assert papers.find_builder_id(gitlab) == "https://lab.example/us/releve/-/blob/abc/.gitlab-ci.yml"
    assert papers.find_builder_id({}) == "urn:releve:builder:somebodys-computer"


@pytest.fixture
def built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder with a release, and programs that note their arguments in `asked` instead of publishing."""
    folder, programs = tmp_path / "dist", tmp_path / "programs"
    programs.mkdir()
    (folder / "home-assistant").mkdir(parents=True)
    write(folder, **{"releve-1.2.3.whl": "wheel", "releve-1.2.3.tar.gz": "sdist", "release-notes.md": "notes"})
    write(folder, **{"releve-1.2.3.oci.tar": "image", "home-assistant/repository.yaml": "name: x"})
    now = datetime(2026, 12, 2, tzinfo=UTC)
    given = {"version": "1.2.3", "image": IMAGE}
    papers.write_statement(folder, "1.2.3", papers.to_statement({}, given, (None, "c" * 40), "urn:x", (now, now)))
    papers.write_sums(folder)
    for name in ("skopeo", "gh"):
        (programs / name).write_text(f'#!/bin/sh\necho "{name} $* ${{UV_PUBLISH_TOKEN-unset}}" >>{tmp_path}/asked\n')
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:/usr/bin:/bin")
    return folder


def test_what_is_published_is_what_was_built(built: Path) -> None:
    release = publish.read_release(built)
    assert release == publish.Release(built, "1.2.3", IMAGE, "c" * 40)
    commands = publish.to_commands(release)
    assert list(commands) == ["tag", "package", "images", "page"]
    assert commands["tag"][0][-2:] == ["v1.2.3", "c" * 40]
    assert commands["package"][0][-2:] == [f"{built}/releve-1.2.3.tar.gz", f"{built}/releve-1.2.3.whl"]
    write(built, **{"releve-1.2.3.whl": "another"})
    with pytest.raises(publish.NotPublished, match="the files aren't those of SHA256SUMS"):
        publish.read_release(built)


def test_targets_are_published_in_their_order_and_an_empty_token_is_none(built: Path, tmp_path: Path) -> None:
    environment = {**os.environ, "UV_PUBLISH_TOKEN": ""}
    publish.publish(publish.read_release(built), ["images", "page"], environment)
    files = " ".join(
        f"{built}/{name}"
        for name in ("SHA256SUMS", "releve-1.2.3.intoto.json", "releve-1.2.3.oci.tar", "releve-1.2.3.tar.gz")
    )
    assert (tmp_path / "asked").read_text(encoding="utf-8").splitlines() == [
        f"skopeo copy --all --preserve-digests oci-archive:{built}/releve-1.2.3.oci.tar docker://{IMAGE}:1.2.3 unset",
        f"gh release create v1.2.3 --verify-tag --title Relève 1.2.3 --notes-file {built}/release-notes.md"
        f" {files} {built}/releve-1.2.3.whl unset",
    ]


def test_a_failure_and_an_unknown_target_publish_nothing_more(built: Path, tmp_path: Path) -> None:
    release = publish.read_release(built)
    for targets in ([], ["tag"], ["images", "all"]):
        with pytest.raises(publish.NotPublished, match="say what to publish: package images page"):
            publish.publish(release, targets, os.environ)
    assert not (tmp_path / "asked").exists()
    (tmp_path / "programs" / "skopeo").write_text("#!/bin/sh\nexit 1\n")
    with pytest.raises(publish.NotPublished, match="skopeo failed: images isn't published"):
        publish.publish(release, ["images", "page"], os.environ)
    assert not (tmp_path / "asked").exists()


def test_a_folder_without_a_release_or_without_images_says_so(built: Path, tmp_path: Path) -> None:
    with pytest.raises(publish.NotPublished, match="run make release first"):
        publish.read_release(tmp_path)
    (built / "releve-1.2.3.oci.tar").unlink()
    papers.write_sums(built)
    release = publish.read_release(built)
    with pytest.raises(publish.NotPublished, match="has no images"):
        publish.publish(release, ["images"], os.environ)
