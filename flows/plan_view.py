"""A plan as a person or a program reads it."""

from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from flows.planning import ModelPlan, RunPlan
from flows.printable import flatten


def render_plan(plan: RunPlan, currency: str) -> RenderableType:
    """A headline, a line for each model, and what could not be read."""
    table = Table(
        "model", "chunks to read", "read before", "calls new", "stored", "failed before", "to follow, about", box=None, pad_edge=False
    )
    for column in table.columns[1:]:
        column.justify = "right"
    for model in plan.models:
        numbers = (
            model.chunks["new"],
            model.chunks["stored"],
            model.num_new,
            model.num_stored,
            model.num_failed_before,
            model.num_expected,
        )
        table.add_row(model.name, *(f"{number:,}" for number in numbers))
    head = f"{plan.num_documents:,} documents, {plan.num_words:,} words, {plan.num_chunks:,} chunks of prose → {plan.run.folder}"
    if plan.num_near_duplicates is not None:
        share = plan.num_near_duplicates / plan.num_chunks if plan.num_chunks else 0.0
        head += f"\n{plan.num_near_duplicates:,} of the chunks ({share:.0%}) repeat an earlier one, or nearly"
    parts: list[RenderableType] = [Text(head, style="bold"), *(Text(flatten(message), style="yellow") for message in plan.unread), table]
    parts += [Text(_estimate(model, currency), style="dim") for model in plan.models]
    parts += [Text(flatten(model.misfit), style="yellow") for model in plan.models if model.misfit]
    return Group(*parts)


def _estimate(model: ModelPlan, currency: str) -> str:
    if not model.num_new and not model.num_failed_before:
        return f"{model.name}: everything is in the store; no engine is needed."
    share = f"{model.reusable_tokens / model.new_tokens:.0%}" if model.new_tokens else "none"
    tokens = f"{model.name}: {model.new_tokens:,} prompt tokens in new calls, {share} of which the prefix cache can spare"
    cost = f", {model.cost:.4f} {currency}" if model.cost is not None else ""
    if model.seconds is None:
        told = f"{tokens}{f'{cost} without the answers' if cost else ''}"
        return f"{told}; no time can be told before a first run in this workspace (`--limit 3` is a short one)."
    return f"{tokens}; about {model.seconds:,.0f} s of engine work{cost} at the speed of the last run, the answers' tokens not counted."


def describe_plan(plan: RunPlan) -> dict[str, Any]:
    """The same for a program."""
    return {
        "run": plan.run.name,
        "documents": plan.num_documents,
        "words": plan.num_words,
        "chunks": plan.num_chunks,
        "near_duplicates": plan.num_near_duplicates,
        "unread": list(plan.unread),
        "models": [
            {
                "model": model.name,
                "chunks_new": model.chunks["new"],
                "chunks_stored": model.chunks["stored"],
                "calls_new": model.num_new,
                "calls_stored": model.num_stored,
                "calls_failed": model.num_failed_before,
                "calls_expected": model.num_expected,
                "new_prompt_tokens": model.new_tokens,
                "reusable_prompt_tokens": model.reusable_tokens,
                "seconds": None if model.seconds is None else round(model.seconds, 1),
                "cost": None if model.cost is None else str(model.cost),
                "misfit": model.misfit,
            }
            for model in plan.models
        ],
    }
