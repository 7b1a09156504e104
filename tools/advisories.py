"""Ask for known weaknesses of every locked package: ``python -m tools.advisories``, which is `make audit`.

Further words are options of pip-audit: `make audit ARGS="-s osv"` asks another service.

pip-audit asks; if it reaches no advisories, it says that all is well, or ends with a traceback.  Here one line says
that nothing was looked at.  Exit codes: 0 nothing is known, 1 something is, or a package could not be looked up,
2 no advisories were reached.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from tools.lock_files import lock_files, read_lock

NOTHING_KNOWN, WEAKNESSES, NOT_REACHED = 0, 1, 2
_LONGEST_REASON: Final = 160

Run = Callable[[Sequence[str]], subprocess.CompletedProcess[str]]


def audit(locks: Sequence[Path], run: Run, options: Sequence[str] = ()) -> tuple[int, list[str]]:
    """Return the exit code and the lines to print.

    Packages are asked about without their markers: a weakness on another platform is one too.
    """
    pins = {(package.name, package.version) for lock in locks for package in read_lock(lock)}
    packages: list[dict[str, Any]] = []
    for names in _without_doubles(pins):
        answer = _ask(names, run, options)
        try:
            packages += json.loads(answer.stdout)["dependencies"]
        except (ValueError, KeyError, TypeError):
            return NOT_REACHED, [_not_reached(len(pins), (answer.stderr.strip() or "no answer").splitlines()[-1])]
    skipped = {package["name"]: package["skip_reason"] for package in packages if "skip_reason" in package}
    if all("skip_reason" in package for package in packages):
        return NOT_REACHED, [_not_reached(len(pins), next(iter(skipped.values()), "no package was looked up"))]
    lines = [_weakness(package, weakness) for package in packages for weakness in package.get("vulns", ())]
    if skipped:
        lines.append(f"not looked up, {len(skipped)} of {len(pins)}: {', '.join(sorted(skipped))}")
    return (WEAKNESSES, lines) if lines else (NOTHING_KNOWN, [f"nothing is known of the {len(pins)} locked packages"])


def _without_doubles(pins: set[tuple[str, str]]) -> list[list[str]]:
    """Return the pins in lists with one version of a name each: pip-audit refuses a second one."""
    rounds: list[dict[str, str]] = []
    for name, version in sorted(pins):
        free = next((found for found in rounds if name not in found), None)
        if free is None:
            rounds.append(free := {})
        free[name] = f"{name}=={version}"
    return [list(found.values()) for found in rounds]


def _ask(pins: list[str], run: Run, options: Sequence[str]) -> subprocess.CompletedProcess[str]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "requirements.txt")
        path.write_text("\n".join(pins), encoding="utf-8")
        command = [sys.executable, "-m", "pip_audit", "--disable-pip", "--no-deps", "--progress-spinner", "off"]
        return run([*command, "--format", "json", "--requirement", str(path), *options])


def _not_reached(number: int, reason: str) -> str:
    return (
        f"make audit reached no advisories, so none of the {number} locked packages was looked at: run it where the "
        f"package index and its advisories can be reached ({reason[:_LONGEST_REASON]})"
    )


def _weakness(package: dict[str, Any], weakness: dict[str, Any]) -> str:
    fixed = ", ".join(weakness.get("fix_versions", ())) or "no version yet"
    return f"{package['name']} {package['version']}: {weakness['id']}, mended in {fixed}"


def _run(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, check=False)


if __name__ == "__main__":
    code, report = audit(lock_files(), _run, sys.argv[1:])
    print("\n".join(report))  # noqa: T201
    sys.exit(code)
