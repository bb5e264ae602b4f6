"""Engine-seconds and money: shares add up, prices count what they should, sums do not depend on the order."""

import random
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from engine.budget import Budget, Spending
from engine.ledger import Prices, Work, make_ledger, total_cost
from engine.meter import Computed, Meter, count_tokens


@dataclass(frozen=True)
class Call:
    prompt_tokens: int = 1000
    cached_tokens: int = 600
    completion_tokens: int = 50
    engine_seconds: float = 3.0
    decode_seconds: float = 2.0


def test_shares_of_all_requests_add_up_to_the_steps() -> None:
    meter, rng = Meter(), random.Random(7)
    keys = [f"r{n}" for n in range(20)]
    for _ in range(300):
        for key in rng.sample(keys, rng.randrange(0, 6)):
            meter.count(key, Computed(rng.randrange(0, 50), rng.randrange(0, 2)))
        meter.end_step(rng.random())
    meter.count("last", Computed(1, 0))
    meter.end_step(0.0)
    shares = [meter.take(key) for key in [*keys, "last"]]
    assert sum(share.prefill_seconds + share.decode_seconds for share in shares) == pytest.approx(meter.busy_seconds)
    assert meter.take("r0").prefill_seconds == 0.0, "a share is taken once"


def test_step_is_shared_by_tokens_prompt_and_answer_apart() -> None:
    meter = Meter()
    meter.count("reads", Computed(30, 0))
    meter.count("answers", Computed(0, 1))
    meter.count("both", Computed(8, 1))
    meter.end_step(4.0)
    both = meter.take("both")
    assert meter.take("reads").prefill_seconds == pytest.approx(3.0)
    assert meter.take("answers").decode_seconds == pytest.approx(0.1)
    assert (both.prefill_seconds, both.decode_seconds) == pytest.approx((0.8, 0.1))


def test_answers_counted_together_take_what_they_take_one_by_one() -> None:
    together, one_by_one, rng = Meter(), Meter(), random.Random(11)
    keys, running = [f"r{n}" for n in range(40)], set[str]()
    taken: list[tuple[float, ...]] = []
    for _ in range(400):
        # some pause, some are read again, some end, as when a cache is full or a draft brings several tokens
        answering = {key for key in sorted(running) if rng.random() < 0.9}
        others = {key: Computed(rng.randrange(0, 30), rng.randrange(0, 4)) for key in rng.sample(sorted({*keys} - answering), 3)}
        together.count_ones(answering)
        for key in answering:
            one_by_one.count(key, Computed(0, 1))
        for key, tokens in others.items():
            together.count(key, tokens)
            one_by_one.count(key, tokens)
        seconds = rng.random()
        together.end_step(seconds)
        one_by_one.end_step(seconds)
        running = answering | others.keys()
        for key in rng.sample(sorted(running), 2):
            running.discard(key)
            shares = [meter.take(key) for meter in (together, one_by_one)]
            taken.append(tuple(seconds for share in shares for seconds in (share.prefill_seconds, share.decode_seconds)))
    assert len(taken) == 800
    assert all(each[:2] == pytest.approx(each[2:], abs=1e-9) for each in taken)
    assert sum(each[1] for each in taken) > 10


def test_step_without_a_token_goes_to_the_next() -> None:
    meter = Meter()
    meter.end_step(1.0)
    meter.count("a", Computed(4, 0))
    meter.end_step(1.0)
    assert meter.take("a").prefill_seconds == pytest.approx(2.0)


@pytest.mark.parametrize(
    ("scheduled", "computed", "prompt", "expected"),
    [(10, 10, 30, (10, 0)), (20, 30, 30, (20, 0)), (1, 31, 30, (0, 1)), (5, 32, 30, (3, 2)), (4, 40, 30, (0, 4)), (1, 1, 1, (1, 0))],
)
def test_tokens_up_to_the_prompt_s_length_are_the_prompt_s(scheduled: int, computed: int, prompt: int, expected: tuple[int, int]) -> None:
    assert count_tokens(scheduled, computed, prompt) == Computed(*expected)


def test_tokens_cost_by_kind_and_cached_ones_less_where_they_have_a_price() -> None:
    prices = Prices(input_per_million=Decimal(2), output_per_million=Decimal(10))
    assert prices.cost_of(Call()) == Decimal("0.0025")  # 1000 x 2 + 50 x 10 a million
    cheaper = Prices(input_per_million=Decimal(2), cached_per_million=Decimal("0.5"), output_per_million=Decimal(10))
    assert cheaper.cost_of(Call()) == Decimal("0.0016")  # 400 x 2 + 600 x 0.5 + 50 x 10 a million
    assert Prices(per_engine_hour=Decimal(36)).cost_of(Call()) == Decimal("0.03")
    assert Prices().cost_of(Call()) is None, "no price is not a price of nothing"


def test_ledger_adds_up_whatever_the_order() -> None:
    rng = random.Random(3)
    calls = {f"{n}": Call(engine_seconds=seconds, decode_seconds=seconds * rng.random()) for n in range(999) for seconds in [rng.random()]}
    prices = Prices(per_engine_hour=Decimal("2.5"), input_per_million=Decimal(1))
    rows = make_ledger("m", calls, prices, load_s=20.0, idle_s=5.0)
    shuffled = dict(sorted(calls.items(), key=lambda item: item[0][::-1]))
    assert make_ledger("m", shuffled, prices, load_s=20.0, idle_s=5.0) == rows
    assert [row.kind for row in rows] == list(Work)
    seconds = {row.kind: row.engine_seconds for row in rows}
    assert seconds[Work.PREFILL] + seconds[Work.DECODE] == pytest.approx(sum(call.engine_seconds for call in calls.values()))
    total = total_cost(rows)
    by_call = sum((prices.cost_of(call) or Decimal(0) for call in calls.values()), Decimal(0))
    assert total is not None
    assert float(total - prices.cost_of_time(25.0)) == pytest.approx(float(by_call), abs=1e-6)


def test_budget_ends_at_each_of_its_limits() -> None:
    assert Spending(Budget()).find_end() is None
    spending = Spending(Budget(max_calls=2, max_cost=Decimal("0.5")))
    spending.count_call()
    spending.add_cost(Decimal("0.4"))
    assert spending.find_end() is None
    spending.add_cost(Decimal("0.1"))
    assert spending.find_end() == "--max-cost 0.5"
    assert Spending(Budget(deadline=datetime.now(UTC) - timedelta(seconds=1))).find_end() is not None
    assert Spending(Budget(deadline=datetime.now(UTC) + timedelta(hours=1))).find_end() is None


def test_engines_that_are_held_cost_by_the_hour_until_they_are_released() -> None:
    spending = Spending(Budget(max_engine_seconds=0.0))
    assert spending.find_end() == "--max-engine-hours 0"
    spending.hold("a", Decimal(3600_000))
    spending.hold("a", Decimal(1))  # it is held already
    while spending.held_seconds("a") < 0.01:
        pass
    spending.release("a")
    held_s, cost = spending.held_seconds("a"), spending.cost
    assert float(cost) == pytest.approx(1000 * held_s, rel=1e-3)
    assert spending.held_seconds("b") == 0
    assert (spending.held_seconds(), spending.cost) == (held_s, cost), "what is released costs no more"
