"""What a run may spend, and what it has spent: money, engine-seconds, time of day, calls.

Owns the limits. Prices are ledger.py's.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """Limits of one command; None is no limit. What is in flight when one is reached is finished, nothing more is asked."""

    max_cost: Decimal | None = None
    """Money, in the currency of the prices."""
    max_engine_seconds: float | None = None
    """Time for which engines are held: loading, computing and waiting."""
    deadline: datetime | None = None
    """With a time zone."""
    max_calls: int | None = None
    """Calls that are computed; 0 plans a run without computing anything."""

    def find_end(self, cost: Callable[[], Decimal], held_seconds: Callable[[], float], num_calls: int = 0) -> str | None:
        """Which limit is reached where so much is spent, in words; None while there is room. What has no limit is not asked for."""
        if self.max_calls is not None and num_calls >= self.max_calls:
            return f"max_calls={self.max_calls}"
        if self.max_cost is not None and cost() >= self.max_cost:
            return f"--max-cost {self.max_cost}"
        if self.max_engine_seconds is not None and held_seconds() >= self.max_engine_seconds:
            return f"--max-engine-hours {self.max_engine_seconds / 3600:g}"
        if self.deadline is not None and datetime.now(UTC) >= self.deadline:
            return f"--deadline {self.deadline.isoformat(timespec='seconds')}"
        return None


class Spending:
    """What the engines of one command have spent so far; one for all its models, asked and told from any thread."""

    def __init__(self, budget: Budget) -> None:
        self.budget = budget
        self._lock = threading.Lock()
        self._held: dict[str, tuple[float, Decimal]] = {}
        """Since when, and for how much an hour."""
        self._held_seconds: dict[str, float] = {}
        self._cost = Decimal(0)
        self._num_calls = 0
        self._end: str | None = None

    def end(self, reason: str) -> None:
        """No call more, for a limit that somebody else watches."""
        self._end = self._end or reason

    def hold(self, model: str, per_engine_hour: Decimal | None) -> None:
        """A model's engine is held from now on, for so much money an hour; no change where it is held."""
        with self._lock:
            self._held.setdefault(model, (time.monotonic(), per_engine_hour or Decimal(0)))

    def release(self, model: str) -> None:
        """It is held no more."""
        with self._lock:
            if (held := self._held.pop(model, None)) is not None:
                seconds = time.monotonic() - held[0]
                self._held_seconds[model] = self._held_seconds.get(model, 0.0) + seconds
                self._cost += _hours(seconds) * held[1]

    def count_call(self) -> None:
        """A call is going to be computed."""
        with self._lock:
            self._num_calls += 1

    def add_cost(self, cost: Decimal) -> None:
        """Money for a call's tokens; what the engine's hours cost is counted by itself."""
        with self._lock:
            self._cost += cost

    def held_seconds(self, model: str | None = None) -> float:
        """For which a model's engine has been held; None sums over all of them."""
        with self._lock:
            now = time.monotonic()
            running = sum(now - since for name, (since, _) in self._held.items() if model in (None, name))
            return running + sum(seconds for name, seconds in self._held_seconds.items() if model in (None, name))

    @property
    def cost(self) -> Decimal:
        """Money so far: tokens, and the hours for which engines are held."""
        with self._lock:
            now = time.monotonic()
            return self._cost + sum((_hours(now - since) * price for since, price in self._held.values()), Decimal(0))

    def find_end(self) -> str | None:
        """Which limit is reached, in words; None while there is room for a call more."""
        return self._end or self.budget.find_end(lambda: self.cost, self.held_seconds, self._num_calls)


def _hours(seconds: float) -> Decimal:
    return Decimal(round(seconds * 1_000_000)) / 3_600_000_000
