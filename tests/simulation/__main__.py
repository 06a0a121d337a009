"""`python -m tests.simulation`: run seeds, print those that fail, replay one."""

import argparse
import os
import re
import sys
import time
from collections import Counter
from multiprocessing import get_context

from tests.simulation.simulate import Outcome, simulate


def main() -> int:
    """Run the seeds that the command line names; 1 if one fails."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=2000, help="how many seeds")
    parser.add_argument("--first", type=int, default=0, help="the first of them")
    parser.add_argument("--seconds", type=float, default=None, help="stop after so long")
    parser.add_argument("--seed", type=int, default=None, help="replay one, with its schedule")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--keep-going", action="store_true", help="do not stop at a failure")
    options = parser.parse_args()
    if options.seed is not None:
        return _replay(options.seed)
    return _run(options)


def _replay(seed: int) -> int:
    outcome = simulate(seed)
    print(outcome.script)
    print("\n".join(outcome.trace))
    print(outcome.outcomes, outcome.steps, "steps")
    for violation in outcome.violations:
        print("VIOLATION", violation)
    return bool(outcome.violations)


def _run(options: argparse.Namespace) -> int:
    began, seeds = time.monotonic(), range(options.first, options.first + options.seeds)
    done, steps, failed, outcomes = 0, 0, [], Counter[str]()
    kinds: dict[str, list[int]] = {}
    with get_context("fork").Pool(options.processes) as pool:
        for outcome in pool.imap_unordered(_simulated, seeds, chunksize=8):
            done += 1
            steps += outcome.steps
            outcomes += outcome.outcomes
            if outcome.violations:
                failed.append(outcome.seed)
                kinds.setdefault(_kind(outcome.violations[0]), []).append(outcome.seed)
                if not options.keep_going:
                    print(f"seed {outcome.seed}: {'; '.join(outcome.violations)[:600]}")
                    break
            if options.seconds is not None and time.monotonic() - began > options.seconds:
                break
        pool.terminate()
    seconds = time.monotonic() - began
    for kind, found in sorted(kinds.items(), key=lambda one: -len(one[1])):
        print(f"{len(found):6d} × (first {min(found)}, {len(found)} of {done}) {kind}")
    print(f"{done} seeds, {steps} steps, {seconds:.0f} s; clients: {dict(outcomes)}")
    if failed:
        print(f"{len(failed)} failed; replay: python -m tests.simulation --seed {failed[0]}")
    return bool(failed)


def _kind(violation: str) -> str:
    """Shorten a violation to what it has in common with others of its kind."""
    text = re.sub(r"sha256:[0-9a-f]+|\b[0-9a-f]{8,}\b|0x[0-9a-f]+", "…", violation)
    return re.sub(r"\(Client.*|[0-9]+", "#", text)[:160]


def _simulated(seed: int) -> Outcome:
    outcome = simulate(seed)
    outcome.trace, outcome.script = [], None
    return outcome


if __name__ == "__main__":
    if os.environ.get("PYTHONHASHSEED") != "0":
        # The order of sets of strings is part of a schedule.
        os.execve(  # ourselves
            sys.executable,
            [sys.executable, "-m", "tests.simulation", *sys.argv[1:]],
            {**os.environ, "PYTHONHASHSEED": "0"},
        )
    sys.exit(main())
