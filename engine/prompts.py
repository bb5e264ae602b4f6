"""Templates into token ids: the shared part first, so that every prompt of a template begins with the same tokens."""

import json
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from string import Template

from jinja2.exceptions import TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from chunkers.tokens import Tokenizer
from engine.models import Model, ModelError

_TEMPLATE_ERRORS = (TemplateError, ArithmeticError, LookupError, TypeError, ValueError, RecursionError)
"""What a template raises, the sandbox's refusals among them: it is a program, and fails like one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """One version of a template: what is said once, then what is said of each chunk."""

    name: str
    version: int
    system: str
    user: Template


def load_prompt(name: str, version: int) -> Prompt:
    """Read `engine/templates/NAME.vVERSION.txt`; the line `---` parts the shared text from that of each chunk."""
    text = resources.files("engine.templates").joinpath(f"{name}.v{version}.txt").read_text("utf-8")
    system, _, user = text.partition("\n---\n")
    return Prompt(name=name, version=version, system=system.strip(), user=Template(user.strip()))


_CONTENT = "\ufdd0user message\ufdd0"
"""Stands for the user message while the chat template is rendered, so that only the template's own text is read for special tokens."""


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
                f"{model.name} has no chat template. The edits protocol needs a model that follows instructions; "
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

    def render(self, prompt: Prompt, values: dict[str, str]) -> list[int]:
        """Token ids of the whole prompt, ready for the answer to begin; what the values hold is text, whatever it looks like.

        Raises KeyError with the name of a variable of the prompt that `values` lacks, and ModelError where the chat template fails.
        """
        content = prompt.user.substitute(values)
        messages = [{"role": "system", "content": prompt.system}, {"role": "user", "content": _CONTENT}]
        try:
            text = self._template.render(messages=messages, add_generation_prompt=True, enable_thinking=False, **self._tokens)
        except _TEMPLATE_ERRORS as error:
            raise self._unusable(error) from error
        before, mark, after = text.partition(_CONTENT)
        if not mark:
            raise self._unusable(ValueError("it leaves the user message out"))
        own = self._tokenizer.encode_with_offsets(content).ids
        return [*self._tokenizer.encode_template(before), *own, *self._tokenizer.encode_template(after)]

    def _unusable(self, error: Exception) -> ModelError:
        return ModelError(
            f"The chat template of {self._model_name} failed ({error}). It must render a system and a user message; "
            "choose another model, or use --protocol score."
        )


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
