"""Run numbered cases."""

import sys

from .cases import Case
from .kills import kill_and_rerun
from .options import fuzz_options
from .readers import fuzz_reader
from .workplace import Workplace

KINDS = ("readers", "options", "kills")


def run_cases(
    place: Workplace, kind: str, n: int, seed: int, show: bool = False
) -> list[Case]:
    """Run `n` cases of one of `KINDS`, with the seeds from `seed` on."""
    cases = []
    durations: dict[str, float] = {}
    for i in range(seed, seed + n):
        if kind == "readers":
            case = fuzz_reader(place, i)
        elif kind == "options":
            case = fuzz_options(place, i)
        else:
            case = kill_and_rerun(place, i, durations)
        cases.append(case)
        if show and case.is_defect:
            print(f"✘ seed {i}: {case}", file=sys.stderr)
    return cases
