"""Show the progress of a study: how many jobs are done, running, failed or waiting, and how long the rest may take.

Exit code: 0 if all jobs are done or Snakemake is running, 1 if a job failed, or if jobs are left and no Snakemake is
running.
"""

import argparse
import json
import time
from collections import Counter
from pathlib import Path

from vae import progress
from vae.catalogue import STAGES
from vae.progress import FAILED, RUNNING, STATES, WAITING, Progress

LISTED = 20  # jobs of a state that are named


def arguments(parser: argparse.ArgumentParser) -> None:
    """The folder of a study, and how its state is written."""
    parser.add_argument(
        "results", type=Path, nargs="?", default=Path("results"), help="the results of a study (default: results)"
    )
    parser.add_argument("--format", choices=["text", "json"], default="text", help="(default: text)")


def run(args: argparse.Namespace) -> int:
    """Print the state; returns the exit code."""
    now, state = time.time(), progress.read(args.results)
    print(json.dumps(_facts(state, now), indent=2) if args.format == "json" else "\n".join(_lines(state, now)))
    return int(state.state in (FAILED, "stopped"))


def _facts(state: Progress, now: float) -> dict:
    left, untold = state.seconds_left(now)
    return {
        "results": str(state.results),
        "state": state.state,
        "at_work": state.at_work,
        "steps": dict(zip(("done", "all"), state.steps)) or None,
        "models": state.models,
        "jobs": _counts(state),
        "stages": _stages(state),
        "running": [
            {"stage": job.stage, "job": job.name, "seconds": round(now - state.began[job])} for job in state.of(RUNNING)
        ],
        "failed": [
            {"stage": job.stage, "job": job.name, "log": str(log), "last_line": line}
            for job in state.of(FAILED)
            for log, line in [state.reason(job)]
        ],
        "interrupted": [{"stage": job.stage, "job": job.name} for job in state.interrupted],
        "seconds_left": round(left / max(1, len(state.of(RUNNING)))),
        "stages_without_times": untold,
    }


def _counts(state: Progress) -> dict[str, int]:
    return {name: len(state.of(name)) for name in STATES}


def _stages(state: Progress) -> dict[str, dict[str, int]]:
    """How many jobs of each stage are in each state."""
    counts = Counter((job.stage, found) for job, found in state.states.items())
    stages = {job.stage for job in state.states}
    return {stage: {name: counts[stage, name] for name in STATES} for stage in STAGES if stage in stages}


def _lines(state: Progress, now: float) -> list[str]:
    who = f"Snakemake is at work ({', '.join(state.at_work)})" if state.at_work else "no Snakemake is at work"
    who += f", {state.steps[0]} of {state.steps[1]} steps of this run done" if state.steps else ""
    what = f"{state.models} model{'s' * (state.models != 1)}" if state.known else "its config is not checked yet"
    lines = [f"{state.results}: {state.state}; {what}, {len(state.states)} jobs; {who}", ""]
    rows = {**_stages(state), "all": _counts(state)}
    lines.append(f"{'stage':<10}" + "".join(f"{name:>9}" for name in STATES))
    lines += [f"{stage:<10}" + "".join(f"{count:>9}" for count in counts.values()) for stage, counts in rows.items()]
    for job in state.of(FAILED)[:LISTED]:
        log, line = state.reason(job)
        lines += [
            "",
            f"failed: {job}; see {log}",
            f"  {line or 'its log is empty; see that of Snakemake, in .snakemake/log'}",
        ]
    lines += _more(state.of(FAILED))
    if running := state.of(RUNNING):
        lines += ["", *(f"running: {job}, for {_duration(now - state.began[job])}" for job in running[:LISTED])]
        lines += _more(running)
    if state.interrupted:
        lines += ["", f"interrupted: {len(state.interrupted)} of those that wait; run Snakemake again, and they resume"]
    if state.of(RUNNING) or state.of(WAITING):
        lines += ["", _left(state, now)]
    return lines


def _more(jobs: list) -> list[str]:
    return [f"… and {len(jobs) - LISTED} more"] if len(jobs) > LISTED else []


def _left(state: Progress, now: float) -> str:
    """Roughly how long it takes, as many jobs at a time as are running."""
    left, untold = state.seconds_left(now)
    together = max(1, len(state.of(RUNNING)))
    at_a_time = "one job at a time" if together == 1 else f"{together} jobs at a time"
    if untold and not left:
        return f"left: not known before one job is done of {', '.join(untold)}"
    rest = f"; without {', '.join(untold)}, of which no job is done" if untold else ""
    return f"left: about {_duration(left / together)}, {at_a_time}{rest}"


def _duration(seconds: float) -> str:
    """A duration as people say it."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60:02d} min"
