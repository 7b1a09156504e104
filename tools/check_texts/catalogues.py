"""The catalogues hold what is shown and no more; `web/test_texts.py` holds that every text is in every language."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from tools.check_texts.project import Fault, Project

# Keys whose last words come from data or from a template's variables, so that no line names them.
BUILT = (
    "app.language.",
    "check.span.",
    "chart.column.",
    "choose.state.",
    "gas.transport_tariff.",
    "invitation.mail.",
    "joined.offer.",
    "notice.consent_ends.",
    "notice.incident.",
    "operator.audit.kind.",
    "operator.invited.",
    "operator.quota.span.",
    "output.mqtt.",
    "output.statistic.",
    "power.legend.",
    "reading.contract.",
    "register.",
    "registers.text.",
    "removed.",
    "right.fault.",
    "tariff.",
)
# Last words that a function adds to a key that it is given; `.both` is added where electricity and gas are offered.
_ADDED = (
    "one",
    "other",
    "title",
    "text",
    "subject",
    "rules",
    "headline",
    "advice",
    "what_to_do",
    "cause",
    "go",
    "both",
)


class _Named:
    """What the code and the templates name: constant texts, and patterns of the texts that are put together."""

    def __init__(self, project: Project) -> None:
        modules = [module for module in project.modules if not module.path.startswith(("config/", "tasks/"))]
        self._texts = {text for module in modules for _, text in module.strings}
        patterns = {
            "".join(re.escape(str(part.value)) if isinstance(part, ast.Constant) else "(.+)" for part in joined.values)
            for module in modules
            for joined in module.joined
        }
        for path in project.paths("worker/web/templates", "*.html"):
            source = project.read(path)
            self._texts |= set(re.findall(r"'([\w.]+)'", source))
            for before, after in re.findall(r"'([\w.]+\.)' ~ [\w.]+(?: ~ '(\.\w+)')?", source):
                patterns.add(f"{re.escape(before)}(.+){re.escape(after)}")
        for text in (text for one in project.catalogues for texts in one.texts.values() for text in texts.values()):
            # A fact may complete another text's key: ``{kind:incident.kind.*}``.
            for form in re.findall(r":([a-z_.]+\.\*[a-z_.]*)\}", text):
                patterns.add(re.escape(form).replace(r"\*", "(.+)"))
        self._patterns = [re.compile(pattern) for pattern in sorted(patterns) if re.match(r"[a-z_]+\\\.", pattern)]

    def has(self, key: str) -> bool:
        if key in self._texts or key.startswith(BUILT):
            return True
        found = (match.groups() for pattern in self._patterns if (match := pattern.fullmatch(key)))
        if any(all(map(self._is_named, parts)) for parts in found):
            return True
        base, _, last = key.rpartition(".")
        return last in _ADDED and self.has(base)

    def _is_named(self, part: str) -> bool:
        return part in self._texts or all(word in self._texts for word in part.split("."))


def keys(project: Project) -> Iterator[Fault]:
    named = _Named(project)
    for catalogue in project.catalogues:
        for key in catalogue.texts:
            if not named.has(key):
                yield catalogue.fault_of_key(key, "nothing asks for this text: remove it")


def built_keys(project: Project) -> Iterator[Fault]:
    keys_there = [key for catalogue in project.catalogues for key in catalogue.texts]
    for prefix in BUILT:
        if not any(key.startswith(prefix) for key in keys_there):
            yield Fault("tools/check_texts/catalogues.py", 1, f"no text begins with {prefix}: remove it from BUILT")


CHECKS = (keys, built_keys)
