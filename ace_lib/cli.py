"""The command `ace` (also `python -m ace_lib`): runs of notebooks, and tools for data files."""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from ace_lib import AceError, __version__


def main(argv: list[str] | None = None) -> int:
    """Run one subcommand and return the exit status: 0, 1 on an error, 130 when interrupted."""
    arguments = build_parser().parse_args(argv)
    try:
        return arguments.command(arguments) or 0
    except (AceError, OSError) as error:  # OSError as of a full disk: the message names the file
        print(f"error: {error}", file=sys.stderr)
        return getattr(error, "exit_code", 1)
    except KeyboardInterrupt:
        print("interrupted: the same command goes on from here", file=sys.stderr)
        return 130


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of `ace`, one subcommand each."""
    from ace_lib import curate_files, verify

    parser = argparse.ArgumentParser(prog="ace", description=__doc__)
    parser.add_argument("--version", action="version", version=f"ace {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    def add(name: str, run: Callable, text: str) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=text, description=text)
        command.set_defaults(command=run)
        return command

    text = "execute the notebooks of a profile in order, skipping what is complete"
    command = add("run", _run, text)
    _add_profile(command)
    command.add_argument("--only", metavar="NAME", default="", help="this alone, as 05_train_sft")
    command.add_argument(
        "--redo", metavar="NAME", default="", help="make this one anew, and what reads it"
    )
    _add_profile(add("doctor", _doctor, "check this machine against what a profile needs"))

    text = "test the papers' claims over several training seeds, skipping what is complete"
    command = add("study", _study, text)
    _add_profile(command, "study")
    command.add_argument("--row", metavar="CLAIM", default="", help="only this claim, as overlong")

    _add_profile(add("stop", _stop, "end the training that goes on in a profile's runs"))

    command = add("submit", _submit, "submit a profile's runs to Slurm, each after the one before")
    _add_profile(command)
    command.add_argument("--hours", type=float, default=24.0, help="of a job (default: 24)")
    command.add_argument(
        "sbatch", nargs=argparse.REMAINDER, metavar="-- OPTION…", help="more options for sbatch"
    )

    command = add("lint", _lint, "check that the values of profiles fit each other")
    command.add_argument("profiles", nargs="+", metavar="PROFILE", help="without .yaml")

    text = "estimate time, tokens, memory and disk of a profile before anything runs"
    command = add("plan", _plan, text)
    command.add_argument("profile", metavar="PROFILE", help="without .yaml")
    command.add_argument("--figure", type=Path, metavar="FILE", help="save the costs as a figure")

    text = "copy what a profile's runs showed to results/, and render the README from it"
    _add_profile(add("results", _results, text))

    text = "judge responses or programs from a file, one verdict per row"
    verify.add_arguments(add("verify", verify.run_command, text))

    text = "judge the answers of an evaluation anew, as after a change of the verifier"
    command = add("regrade", _regrade, text)
    command.add_argument("samples", type=Path, metavar="SAMPLES.jsonl.gz", help="changed in place")
    command.add_argument("problems", type=Path, metavar="PROBLEMS.jsonl[.gz]", help="answered")

    text = "rows of `ace verify` with a category and a label: true for a right answer"
    command = add("audit", _audit, "compare the verifier with labelled rows, by category")
    command.add_argument("files", type=Path, nargs="+", metavar="FILE.jsonl[.gz]", help=text)
    command.add_argument("--json", action="store_true", help="print JSON instead of a table")
    command.add_argument("--workers", type=int, help="processes (default: one a core)")

    text = "remove the candidate prompts that overlap benchmark items, with the evidence"
    command = add("decontaminate", curate_files.run_decontaminate, text)
    curate_files.add_decontaminate_arguments(command)

    command = add("dedup", curate_files.run_dedup, "keep one of exact and near-duplicate prompts")
    curate_files.add_dedup_arguments(command)
    return parser


def _add_profile(parser: argparse.ArgumentParser, default: str = "tiny") -> None:
    text = (
        "a file of notebooks/profiles, without .yaml, and @SEED for another seed "
        f"(default: {default})"
    )
    parser.add_argument("--profile", default=default, help=text)


def _run(arguments: argparse.Namespace) -> None:
    from ace_lib import pipeline

    pipeline.run_profile(arguments.profile, arguments.only, arguments.redo)


def _study(arguments: argparse.Namespace) -> None:
    from ace_lib import study

    study.run_study(arguments.profile, arguments.row)


def _stop(arguments: argparse.Namespace) -> None:
    from ace_lib import at_work, runs

    states = sorted(runs.profile_folder(arguments.profile).glob(f"*/{at_work.STATE}"))
    stopped = [state.parent for state in states if at_work.stop(state.parent)]
    for folder in stopped:
        print(f"ended the training of {folder.name}")
    print(f"{len(stopped)} ended; `ace run` goes on from the last checkpoints")


def _submit(arguments: argparse.Namespace) -> None:
    from ace_lib import submit

    options = [option for option in arguments.sbatch if option != "--"]
    jobs = submit.submit_profile(arguments.profile, arguments.hours, options)
    for step, job in jobs:
        print(f"{job}  {step}")
    print(f"{len(jobs)} jobs; follow them with `squeue --me`")


def _results(arguments: argparse.Namespace) -> None:
    from ace_lib import provenance, report

    print(*report.publish(arguments.profile, provenance.repository()), sep="\n")


def _audit(arguments: argparse.Namespace) -> None:
    from ace_lib import audit

    audit.print_audit(arguments.files, arguments.workers, arguments.json)


def _lint(arguments: argparse.Namespace) -> int:
    from ace_lib import lint

    found = [finding for name in arguments.profiles for finding in lint.lint(name)]
    print(*found, sep="\n", file=sys.stderr)
    if not found:
        print(f"{len(lint.RULES)} rules, nothing found in {', '.join(arguments.profiles)}")
    return 1 if found else 0


def _plan(arguments: argparse.Namespace) -> None:
    from ace_lib import plan

    made = plan.make_plan(arguments.profile)
    print(plan.report(made))
    if arguments.figure:
        figure, alt = plan.draw(made)
        figure.savefig(arguments.figure, metadata={"Description": alt})
    made.check()


def _regrade(arguments: argparse.Namespace) -> None:
    from ace_lib import evaluate

    judged, changed = evaluate.regrade(arguments.samples, arguments.problems)
    print(f"{judged} answers judged, {changed} verdicts are other than before")


def _doctor(arguments: argparse.Namespace) -> int:
    from ace_lib import doctor

    checks = doctor.examine(arguments.profile)
    print(checks, checks.verdict(), sep="\n")
    return 0 if checks.ok else 1
