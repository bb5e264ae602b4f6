"""Templates into token ids: the shared part first, so that every prompt of a template begins with the same tokens."""

import json
import logging
import re
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib import resources
from itertools import chain
from pathlib import Path
from string import Template
from typing import Protocol

from jinja2.exceptions import TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from chunkers.tokens import Tokenizer
from engine.models import Model, ModelError
from engine.records import Messages

logger = logging.getLogger(__name__)

_TEMPLATE_ERRORS = (TemplateError, ArithmeticError, LookupError, TypeError, ValueError, RecursionError)
"""What a template raises, the sandbox's refusals among them: it is a program, and fails like one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """One version of a template: what is said once, what is said of each chunk, and what is said of an answer that is no good."""

    name: str
    version: int
    system: str
    user: Template
    correction: Template
    """Has one variable, `error`."""


def load_prompt(name: str, version: int) -> Prompt:
    """Read `engine/templates/NAME.vVERSION.txt`: the three texts of a Prompt in their order, parted by lines `---`."""
    text = resources.files("engine.templates").joinpath(f"{name}.v{version}.txt").read_text("utf-8")
    system, user, correction = (part.strip() for part in text.split("\n---\n"))
    return Prompt(name=name, version=version, system=system, user=Template(user), correction=Template(correction))


@dataclass(frozen=True, slots=True, kw_only=True)
class Rendered:
    """A prompt as an engine takes it."""

    token_ids: tuple[int, ...]
    """An estimate where there are messages."""
    messages: Messages | None = None
    """None for an engine that takes token ids."""


class Renderer(Protocol):
    """Puts prompts into the form that one engine takes."""

    def ask(self, prompt: Prompt, values: dict[str, str]) -> Rendered:
        """The whole prompt; raises KeyError with the name of a variable of the prompt that `values` lacks."""
        ...

    def ask_again(self, asked: Rendered, answer: str, reply: str) -> Rendered | None:
        """The conversation continued with the model's answer and what the user says of that; None where it cannot be."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversation:
    """Messages as somebody else gives them, to be answered as they are."""

    messages: Messages
    variables: str = "{}"
    """What the chat template is told besides, as a JSON object."""


_PLACE = re.compile("\ufdd0([0-9]+)\ufdd0")
_MAX_LAYOUTS = 1024

_USER, _ANSWER, _REPLY = "\ufdd0user message\ufdd0", "\ufdd0answer\ufdd0", "\ufdd0reply\ufdd0"
"""Stand for messages while the chat template is rendered, so that only the template's own text is read for special tokens."""


class ChatRenderer:
    """Puts messages into a model's own chat template."""

    def __init__(self, model: Model, tokenizer: Tokenizer) -> None:
        """Raises ModelError when the model has no chat template, or one that is no template."""
        self._model_name, self._tokenizer = model.name, tokenizer
        settings = _read_json(model.folder / "tokenizer_config.json")
        separate = model.folder / "chat_template.jinja"
        source = separate.read_text("utf-8") if separate.is_file() else settings.get("chat_template")
        if not isinstance(source, str):
            raise ModelError(
                f"{model.name} has no chat template. The edits and rewrite protocols need a model that follows instructions; "
                "name its -Instruct version, or use --protocol score."
            )
        # a model's template is a program by somebody else: no attribute access, no mutation
        environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"])
        environment.globals["raise_exception"] = _raise_exception
        try:
            self._template = environment.from_string(source)
        except _TEMPLATE_ERRORS as error:
            raise self._unusable(error) from error
        self._tokens = {key: _token_text(settings.get(key)) for key in ("bos_token", "eos_token")}
        self._frames: dict[str, tuple[list[int], list[int]]] = {}
        self._layouts: dict[tuple[object, ...], list[Sequence[int] | int]] = {}

    def ask(self, prompt: Prompt, values: dict[str, str]) -> Rendered:
        """As Renderer says; raises as `render`."""
        return Rendered(token_ids=tuple(self.render(prompt, values)))

    def ask_again(self, asked: Rendered, answer: str, reply: str) -> Rendered | None:
        """As Renderer says."""
        token_ids = self.render_reply(asked.token_ids, answer, reply)
        return None if token_ids is None else Rendered(token_ids=tuple(token_ids))

    def render(self, prompt: Prompt, values: dict[str, str]) -> list[int]:
        """Token ids of the whole prompt, ready for the answer to begin; what the values hold is text, whatever it looks like.

        Raises KeyError with the name of a variable of the prompt that `values` lacks, and ModelError where the chat template fails.
        """
        content = prompt.user.substitute(values)
        before, after = self._frame(prompt.system)
        return [*before, *self._encode(content), *after]

    def _frame(self, system: str) -> tuple[list[int], list[int]]:
        """Token ids before and after a user's message, rendered once for each system message: the same for every chunk."""
        if system not in self._frames:
            messages = [{"role": "system", "content": system}, {"role": "user", "content": _USER}]
            try:
                before, after = self._render_around(messages, [_USER])
            except _TEMPLATE_ERRORS as error:
                raise self._unusable(error) from error
            self._frames[system] = self._tokenizer.encode_template(before), self._tokenizer.encode_template(after)
        return self._frames[system]

    def render_reply(self, token_ids: Sequence[int], answer: str, reply: str) -> list[int] | None:
        """Token ids of a conversation that goes on: a rendered prompt, the model's answer to it, and what the user says of that.

        Answer and reply are text, whatever they look like. None where the model's chat template renders no second question.
        """
        if self._turn is None:
            return None
        to_user, to_model = self._turn
        return [*token_ids, *self._encode(answer), *to_user, *self._encode(reply), *to_model]

    def render_messages(self, conversations: Sequence[Conversation]) -> list["array[int]"]:
        """Token ids of each conversation, in order, ready for the answer to begin; messages are text, whatever they look like.

        Raises ValueError where the chat template refuses a conversation, such as for the order of its roles.
        """
        layouts = [self._lay_out(conversation) for conversation in conversations]
        texts = iter(self._tokenizer.encode_blocks([text for conversation in conversations for _, text in conversation.messages]))
        rendered = []
        for conversation, layout in zip(conversations, layouts, strict=True):
            contents = [next(texts) for _ in conversation.messages]
            ids = array("I")
            for piece in layout:
                ids.extend(contents[piece] if isinstance(piece, int) else piece)
            rendered.append(ids)
        return rendered

    def check_messages(self, conversation: Conversation) -> None:
        """Raises ValueError as `render_messages`, without the work."""
        self._lay_out(conversation)

    def _lay_out(self, conversation: Conversation) -> list[Sequence[int] | int]:
        """The chat template's own tokens, and between them the indexes of messages; the same for all conversations of one shape."""
        shape = (*((role, bool(text)) for role, text in conversation.messages), conversation.variables)
        if shape not in self._layouts:
            if len(self._layouts) >= _MAX_LAYOUTS:
                self._layouts.clear()
            self._layouts[shape] = self._make_layout(conversation)
        return self._layouts[shape]

    def _make_layout(self, conversation: Conversation) -> list[Sequence[int] | int]:
        messages = [
            {"role": role, "content": f"\ufdd0{index}\ufdd0" if text else ""} for index, (role, text) in enumerate(conversation.messages)
        ]
        variables = json.loads(conversation.variables)
        try:
            rendered = self._template.render({**variables, **self._tokens, "messages": messages, "add_generation_prompt": True})
        except _TEMPLATE_ERRORS as error:
            raise ValueError(f"the chat template of {self._model_name} refuses these messages ({error})") from error
        own, places = _PLACE.split(rendered)[::2], [int(index) for index in _PLACE.findall(rendered)]
        left_out = {index for index, (_, text) in enumerate(conversation.messages) if text} - set(places)
        if left_out:
            raise ValueError(f"the chat template of {self._model_name} leaves messages[{min(left_out)}] out")
        layout: list[Sequence[int] | int] = [array("I", self._tokenizer.encode_template(own[0]))]
        for place, text in zip(places, own[1:], strict=True):
            layout += [place, array("I", self._tokenizer.encode_template(text))]
        return layout

    @cached_property
    def _turn(self) -> tuple[list[int], list[int]] | None:
        """The template's own tokens between an answer and the user's reply, and after the reply."""
        messages = [
            {"role": "system", "content": "system"},
            {"role": "user", "content": _USER},
            {"role": "assistant", "content": _ANSWER},
            {"role": "user", "content": _REPLY},
        ]
        try:
            _, _, to_user, to_model = self._render_around(messages, [_USER, _ANSWER, _REPLY])
        except _TEMPLATE_ERRORS as error:
            logger.warning(
                "The chat template of %s renders no second question (%s); answers that cannot be used are not asked again; "
                "choose another model where that matters.",
                self._model_name,
                error,
            )
            return None
        return self._tokenizer.encode_template(to_user), self._tokenizer.encode_template(to_model)

    def _render_around(self, messages: Sequence[dict[str, str]], marks: Sequence[str]) -> list[str]:
        """What the chat template says before, between and after the marks. Raises _TEMPLATE_ERRORS where it fails or leaves one out."""
        rest = self._template.render(messages=messages, add_generation_prompt=True, enable_thinking=False, **self._tokens)
        parts = []
        for mark in marks:
            before, found, rest = rest.partition(mark)
            if not found:
                raise ValueError(f"it leaves the {mark.strip(mark[0])} out")
            parts.append(before)
        return [*parts, rest]

    def _encode(self, content: str) -> list[int]:
        return self._tokenizer.encode_with_offsets(content).ids

    def _unusable(self, error: Exception) -> ModelError:
        return ModelError(
            f"The chat template of {self._model_name} failed ({error}). It must render a system and a user message; "
            "choose another model, or use --protocol score."
        )


class EndpointRenderer:
    """Messages for a server that has its own chat template, with token ids of their texts, from which lengths are estimated."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer

    def ask(self, prompt: Prompt, values: dict[str, str]) -> Rendered:
        """As Renderer says."""
        return self._continue(Rendered(token_ids=(), messages=()), ("system", prompt.system), ("user", prompt.user.substitute(values)))

    def ask_again(self, asked: Rendered, answer: str, reply: str) -> Rendered:
        """As Renderer says."""
        return self._continue(asked, ("assistant", answer), ("user", reply))

    def _continue(self, asked: Rendered, *further: tuple[str, str]) -> Rendered:
        texts = (self._tokenizer.encode_with_offsets(content).ids for _, content in further)
        return Rendered(token_ids=tuple(chain(asked.token_ids, *texts)), messages=(*(asked.messages or ()), *further))


def _raise_exception(message: str) -> None:
    raise TemplateError(message)


def _token_text(token: object) -> str:
    if isinstance(token, dict):
        return str(token.get("content", ""))
    return str(token or "")


def _read_json(path: Path) -> dict[str, object]:
    if not path.is_file():
        return {}
    content: dict[str, object] = json.loads(path.read_text("utf-8"))
    return content
