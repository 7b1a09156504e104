"""Expected shapes of GRDF's answers, for each series."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from worker.clients.answer_shapes import AnswerShape
from worker.domain.measures.series import Series

ANSWER_SHAPES: Final[Mapping[Series, Sequence[AnswerShape]]] = {}
