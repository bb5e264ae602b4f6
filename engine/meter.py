"""Whose the engine's seconds are: each step's time is shared among the tokens that it computed, prompt and answer told apart."""

import time
from dataclasses import dataclass


@dataclass(slots=True)
class Share:
    """What one request took of the engine so far."""

    prefill_seconds: float = 0.0
    decode_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Computed:
    """Tokens of one request in one step."""

    prefill_tokens: int
    decode_tokens: int


class Meter:
    """Adds up steps; the shares that are taken add up to the steps' seconds, but for those of requests that have not ended."""

    def __init__(self) -> None:
        self.busy_seconds = 0.0
        """Of all steps so far."""
        self.num_steps = 0
        self._shares: dict[str, Share] = {}
        self._step: dict[str, Computed] = {}
        self._ones: set[str] = set()
        self._unattributed_seconds = 0.0
        """Of steps that computed no token; goes to the next that do."""
        self._clock = 0.0
        """What one token in every step so far would have taken."""
        self._since: dict[str, float] = {}
        """Of each request that has had one answer token in every step lately: the clock when that began."""

    def count(self, key: str, tokens: Computed) -> None:
        """What the step now running computes of a request."""
        before = self._step.get(key, Computed(0, 0))
        self._step[key] = Computed(before.prefill_tokens + tokens.prefill_tokens, before.decode_tokens + tokens.decode_tokens)

    def count_ones(self, keys: set[str]) -> None:
        """The requests of which the step now running computes one token of the answer each; `count` is told nothing of them.

        A step of a small model on a GPU takes 5 ms and holds 512 of them: what is done for each would be a tenth of it.
        """
        self._ones = keys

    def end_step(self, seconds: float) -> None:
        """Share the step's seconds among what it computed."""
        self.num_steps += 1
        self.busy_seconds += seconds
        self._unattributed_seconds += seconds
        num_tokens = len(self._ones) + sum(tokens.prefill_tokens + tokens.decode_tokens for tokens in self._step.values())
        if not num_tokens:
            return
        seconds_a_token = self._unattributed_seconds / num_tokens
        for key in self._since.keys() - self._ones:
            self._close(key)
        for key in self._ones - self._since.keys():
            self._since[key] = self._clock
        self._clock += seconds_a_token
        for key, tokens in self._step.items():
            share = self._shares.setdefault(key, Share())
            share.prefill_seconds += tokens.prefill_tokens * seconds_a_token
            share.decode_seconds += tokens.decode_tokens * seconds_a_token
        self._step, self._ones, self._unattributed_seconds = {}, set(), 0.0

    def _close(self, key: str) -> None:
        self._shares.setdefault(key, Share()).decode_seconds += self._clock - self._since.pop(key)

    def take(self, key: str) -> Share:
        """The share of a request that has ended; it is forgotten."""
        if key in self._since:
            self._close(key)
        return self._shares.pop(key, Share())


def count_tokens(num_scheduled: int, num_computed: int, num_prompt: int) -> Computed:
    """Which of `num_scheduled` tokens, the last of `num_computed`, are the prompt's."""
    before = num_computed - num_scheduled
    prefill = max(0, min(num_computed, num_prompt) - before)
    return Computed(min(prefill, num_scheduled), num_scheduled - min(prefill, num_scheduled))


class SharedClock:
    """The time of requests that are in flight together, in equal parts: what is said of a server, whose steps nobody sees."""

    def __init__(self) -> None:
        self.busy_seconds = 0.0
        """While at least one was in flight."""
        self.shared = 0.0
        """Grows by the part that one request has; a request's share is what it grows by while that is in flight."""
        self._at = time.monotonic()

    def advance(self, num_in_flight: int) -> None:
        """So many have been in flight since the last call; called whenever the number changes."""
        now = time.monotonic()
        if num_in_flight:
            self.busy_seconds += now - self._at
            self.shared += (now - self._at) / num_in_flight
        self._at = now
