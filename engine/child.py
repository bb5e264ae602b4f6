"""The process of one engine: requests come in through a pipe, completions go out, and it ends when the pipe does.

Run by process.py as `python -m engine.child FD`. A parent that is killed takes it along: nothing computes for nobody.
"""

import os
import queue
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import closing
from multiprocessing.connection import Connection

from engine.process import BEAT_S, TICK_S, Answered, Ask, Died, EngineSpec, NotImported, Ready, connect
from engine.protocol import Engine, EngineError, Steps
from engine.records import Completion, Request


class _Inbox:
    """What the parent asks, by run; read by a thread, so that the end of the pipe ends the process whatever the engine does."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe, self._asked = pipe, queue.SimpleQueue[Ask]()
        self.run_number = 0
        """Of the run that the parent last asked in."""
        threading.Thread(target=self._read, name="inbox", daemon=True).start()

    def _read(self) -> None:
        while True:
            try:
                ask: Ask = self._pipe.recv()
            except (EOFError, OSError):
                os._exit(0)  # at once, also out of the middle of a step
            self.run_number = ask.run_number
            self._asked.put(ask)

    def wait(self, *, block: bool) -> Ask | None:
        """The next message; None where there is none and nothing is waited for."""
        try:
            return self._asked.get(block=block)
        except queue.Empty:
            return None


class _Run:
    """One run's requests, for the engine to pull."""

    def __init__(self, first: Ask, inbox: _Inbox) -> None:
        self.number, self._has_more = first.run_number, first.has_more
        self.next_ask: Ask | None = None
        """The first message of the run that follows, where one has ended this."""
        self._waiting, self._inbox, self._num_in_flight = deque(first.requests), inbox, 0

    def requests(self, beat: Callable[[bool], None], min_held: int) -> Iterator[Request | None]:
        """Until the parent begins another run; None while the engine has something to do and the parent has nothing to add.

        `beat` is called between steps of an engine that is not full, and told whether it stalls: it holds fewer than `min_held` although
        the parent has more.
        """
        while True:
            while self._waiting:
                self._num_in_flight += 1
                yield self._waiting.popleft()
            ask = self._inbox.wait(block=False)
            if ask is None:
                beat(self._has_more and self._num_in_flight < min_held)
                if self._num_in_flight:
                    yield None
                    continue
                ask = self._inbox.wait(block=True)
            if ask is None:
                continue
            if ask.run_number != self.number:
                self.next_ask = ask
                return
            self._waiting.extend(ask.requests)
            self._has_more = ask.has_more

    def answer(self, completion: Completion) -> Completion:
        """Count a completion."""
        self._num_in_flight -= 1
        return completion


class _Outbox:
    """What the parent is told: completions, and signs of life while steps go on."""

    def __init__(self, pipe: Connection, engine: Engine) -> None:
        self._pipe, self._engine = pipe, engine
        self._lock = threading.Lock()
        self._sent_at, self._busy_seconds, self._num_stalled = time.monotonic(), 0.0, 0
        threading.Thread(target=self._beat_on, name="beat", daemon=True).start()

    def send(self, run_number: int, completion: Completion | None) -> None:
        with self._lock:
            self._busy_seconds = self._engine.busy_seconds
            steps = self._engine.steps + Steps(0, self._num_stalled)
            self._pipe.send(Answered(run_number, completion, self._busy_seconds, steps))
            self._sent_at = time.monotonic()

    def beat(self, is_stalled: bool = False) -> None:
        """Count a stall; a sign of life, where the last is not just sent."""
        self._num_stalled += is_stalled
        if time.monotonic() - self._sent_at > TICK_S:
            self.send(0, None)

    def _beat_on(self) -> None:
        # of an engine that is full, which asks for nothing: as long as steps end it lives, however long they take
        while True:
            time.sleep(BEAT_S)
            if self._engine.busy_seconds > self._busy_seconds:
                self.beat()


def serve(engine: Engine, pipe: Connection, inbox: _Inbox) -> None:
    """Answer runs until the pipe ends. Raises EngineError when the engine is gone."""
    outbox = _Outbox(pipe, engine)
    ask = inbox.wait(block=True)
    while ask is not None:
        run = _Run(ask, inbox)
        # half of what the engine computes at once, which is half of what it holds
        with closing(engine.run(run.requests(outbox.beat, engine.max_in_flight // 4))) as completions:  # type: ignore[type-var]
            for completion in completions:
                outbox.send(run.number, run.answer(completion))
                if inbox.run_number != run.number:
                    break  # left early: closing the engine's generator lets go of what is in flight
        ask = run.next_ask or _skip(inbox, run.number)


def _skip(inbox: _Inbox, run_number: int) -> Ask | None:
    """The first message of a later run."""
    while (ask := inbox.wait(block=True)) and ask.run_number == run_number:
        pass
    return ask


def _build(spec: EngineSpec) -> Engine:
    if spec.kind == "scripted":
        from engine.scripted import build_scripted

        return build_scripted(spec.model, **spec.engine_args)
    from engine.vllm import VllmEngine  # takes 12 s to import; nothing but a load needs it

    return VllmEngine(spec.model, **spec.engine_args)


def main() -> None:
    """Entry point of the child."""
    pipe = connect(int(sys.argv[1]))
    spec: EngineSpec = pipe.recv()
    inbox = _Inbox(pipe)  # from now on the process ends with its parent, also while the engine loads
    try:
        with _build(spec) as engine:
            pipe.send(Ready(engine.build, engine.determinism, engine.max_in_flight, engine.block_size))
            serve(engine, pipe, inbox)
    except ImportError as error:
        pipe.send(NotImported(str(error)))
    except (EngineError, TypeError, ValueError) as error:
        pipe.send(Died(str(error)))


if __name__ == "__main__":
    main()
