"""What a model is told of a book's style sheet: a short passage in the part that all prompts of the book share.

A book without one has the prompts of before, token for token, so that no call is computed anew.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import cache
from importlib import resources
from string import Template
from typing import TYPE_CHECKING

from chunkers.style import Style

if TYPE_CHECKING:
    from engine.prompts import Prompt

STYLE_VERSION = 1
MAX_PASSAGE_CHARS = 1_400
"""Of the whole passage, some 400 tokens: what it leaves out, the guards know all the same."""
MAX_LISTED_CHARS = 420
"""Of one list in it."""
_NAMES = {"en-GB": "British", "en-US": "American"}


def add_style(prompt: "Prompt", passage: str) -> "Prompt":
    """The prompt with what `render_style` gave after its system message; itself where that is nothing."""
    return replace(prompt, system=f"{prompt.system}\n\n{passage}") if passage else prompt


def render_style(style: Style, text: str) -> str:
    """The passage for a book's text: decisions about words that stand in it, as many as there is room for; empty where there are none."""
    lines = [line for line in _list_lines(style, text.casefold()) if line]
    if not lines:
        return ""
    passage = _line("lead")
    for line in lines:
        if len(passage) + len(line) < MAX_PASSAGE_CHARS:
            passage += f"\n- {line}"
    return passage


def _list_lines(style: Style, text: str) -> Iterator[str]:
    if style.language != "auto":
        yield _line("language", language=_NAMES[style.language])
    yield _list("words", (word for word in style.words if word.casefold() in text))
    yield _list("casing", (right for right in style.casing.values() if right.casefold() in text))
    forms = ((right, [form for form in changed if form.casefold() in text]) for right, changed in style.variants.items())
    yield _list("variants", (f"{right} (not {', '.join(changed)})" for right, changed in forms if changed or right.casefold() in text))
    own = style.conventions
    for name, value in (("dash", own.dash), ("ellipsis", own.ellipsis), ("quotes", own.quotes)):
        if value is not None:
            yield _line(name, **{name: value})
    if own.serial_comma is not None:
        yield _line("serial_comma" if own.serial_comma else "no_serial_comma")
    kinds = [kind.value for kind in style.protected.kinds]
    kinds += [f"the section «{' '.join(heading.split())}»" for heading in style.protected.headings]
    yield _list("protected", [*kinds, *(f"«{_cut(passage)}»" for passage in style.protected.text)])


def _cut(passage: str) -> str:
    """The beginning of a passage, which is enough to know it by."""
    words = passage.split()
    return " ".join(words) if len(words) <= 8 else " ".join(words[:8]) + " …"


def _list(name: str, entries: Iterable[str]) -> str:
    kept: list[str] = []
    for entry in entries:
        if sum(map(len, kept)) + len(entry) > MAX_LISTED_CHARS:
            break
        kept.append(entry)
    return _line(name, **{name: ", ".join(kept)}) if kept else ""


def _line(line_name: str, **values: str) -> str:
    return _load_lines()[line_name].substitute(values)


@cache
def _load_lines() -> dict[str, Template]:
    text = resources.files("engine.templates").joinpath(f"style.v{STYLE_VERSION}.txt").read_text("utf-8")
    return {name: Template(line) for name, line in re.findall(r"^(\w+): (.*)$", text, re.MULTILINE)}
