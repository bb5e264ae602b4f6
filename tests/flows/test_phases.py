"""The clock of phases: what threads do at once counts once, and a command begins at nothing."""

import threading
import time

from flows.phases import Phase, measure_phases, reset_phases, spent_times, timed


def test_what_threads_do_at_once_counts_once() -> None:
    reset_phases()
    together = threading.Barrier(4)

    def work() -> None:
        together.wait()
        with timed(Phase.DETECT):
            together.wait()
            time.sleep(0.2)
            together.wait()

    threads = [threading.Thread(target=work) for _ in range(4)]
    started = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    took = time.monotonic() - started
    measured = measure_phases()
    assert 0.2 <= measured[Phase.DETECT] <= took
    assert measured[Phase.READ] == 0.0
    with timed(Phase.WRITE):
        assert measure_phases()[Phase.WRITE] > 0.0, "what goes on counts so far"
    reset_phases()
    assert set(measure_phases().values()) == {0.0}


def test_times_are_in_the_order_of_the_work_and_hardly_any_time_is_left_out() -> None:
    models = {"a": {"load_s": 20.0, "busy_s": 3.0, "idle_s": 0.0}, "b": {"load_s": 0.0, "busy_s": 9.0, "idle_s": 1.0}}
    phases = {"starting": 5.0, "reading": 0.01, "detectors": 2.0, "collating": 0.5, "writing": 0.3}
    assert [(spent.what, spent.seconds) for spent in spent_times(models, phases)] == [
        ("starting", 5.0),
        ("detectors", 2.0),
        ("engine start: a", 20.0),
        ("engine work: a", 3.0),
        ("engine work: b", 9.0),
        ("engine idle: b", 1.0),
        ("collating", 0.5),
        ("writing", 0.3),
    ]
    assert not spent_times({}, {}), "a manifest without phases has nothing to tell"
