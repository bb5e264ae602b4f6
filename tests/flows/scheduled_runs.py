"""Runs of a schedule one after the other in one process, which spares the imports: `python -m tests.flows.scheduled_runs JSON`.

Prints the ids of the flow runs, as a list in JSON, on the last line.
"""

import json
import sys

from flows.scheduled import proofread_new


def main() -> None:
    """Each of the given runs, to its end."""
    states = [proofread_new(**given, return_state=True) for given in json.loads(sys.argv[1])]
    sys.stdout.write(json.dumps([str(state.state_details.flow_run_id) for state in states]) + "\n")


if __name__ == "__main__":
    main()
