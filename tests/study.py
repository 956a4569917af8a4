"""Measures what the documents say of the program, over several seeds, and prints its tables in GitHub's markdown.

    python tests/study.py claims|distributions|exercises

Further flags go to the program behind those of the study, so `--iterations 2001` makes short runs of all. It runs the
command, one run after the other in a temporary folder, for some ten minutes each study.
"""
import argparse
import json
import math
import shlex
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from helpers import gan_quadratic as program, print_command, print_table, run_command

EXERCISES = {'--activation': program.ACTIVATIONS, '--hidden': ('16', '16 16 16 16'), '--layer': program.LAYERS,
             '--output-mapping': program.OUTPUT_MAPPINGS}
NOT_LEARNED = 0.1  # an energy distance of another shape than the data's: five times what passes for following it


def run(flags, seed):
    """One run of the command: its summary (None where training diverged) and the seconds the whole command took."""
    flags = [*flags.split(), '--seed', seed, '--pictures', 'none']
    print(time.strftime('%H:%M:%S'), *flags, file=sys.stderr, flush=True)
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        status, output = run_command(*flags, '--output', folder)
        seconds = time.perf_counter() - began
        if status == 0:
            return json.loads((Path(folder)/'summary.json').read_text()), seconds
    if status == 1 and 'not finite' in output:  # how the program says that training diverged
        return None, seconds
    sys.exit(f'{flags} ended with status {status}:\n{output}')


def energy_distances(summaries):
    """Of each run's final samples, also in words; infinite where training diverged."""
    distances = [summary['final']['energy_distance'] if summary else math.inf for summary in summaries]
    return distances, ', '.join(f'{value:.3g}' for value in distances)


def claims(seeds, flags):
    """The tutorial's claims, as summary.json judges them, under both schedules."""
    for schedule in '', '--d-steps 10 --g-steps 10 --iterations 10001':
        print(f'`python gan_quadratic.py {schedule} {flags}`, seeds 0 to {seeds - 1}\n', flush=True)
        summaries = [run(f'{schedule} {flags}', seed)[0] for seed in range(seeds)]
        figures, holds = {}, {}  # (claim, figure) -> values; claim -> in how many runs
        for summary in filter(None, summaries):
            for claim in summary['claims'].values():
                holds[claim['claim']] = holds.get(claim['claim'], 0) + (claim['holds'] is True)
                for figure, value in claim['measured'].items():
                    figures.setdefault((claim['claim'], figure), []).append(math.nan if value is None else value)
            for figure in ('curve_residual', 'coverage'):
                figures.setdefault(('Final samples', figure), []).append(summary['final'][figure])
        print_table(['Claim', 'Measured', 'Median', 'Least', 'Most', 'Claim holds in'], (
            [claim, figure, *(f'{x:.3g}' for x in (median(values), min(values), max(values))),
             f'{holds[claim]} of {seeds}' if claim in holds else '']
            for (claim, figure), values in figures.items()))
        print(f'Energy distance, seed by seed: {energy_distances(summaries)[1]}\n', flush=True)


def compare(variants, seeds, flags):
    """Prints a table of what the program learns with the flags of each variant."""
    def row(variant):
        summaries, seconds = zip(*(run(f'{flags} {variant}', seed) for seed in range(seeds)))
        distances, listed = energy_distances(summaries)
        training = [summary['seconds']['training'] for summary in summaries if summary] or [math.nan]
        follow = sum(bool(summary) and summary['claims']['samples_follow']['holds'] for summary in summaries)
        return [f'`{variant}`' if variant else 'the defaults', listed, f'{median(distances):.3g}',
                f'{max(distances):.3g}', f'{median(training):.1f}', f'{median(seconds):.1f}', f'{follow} of {seeds}',
                sum(NOT_LEARNED < distance < math.inf for distance in distances), distances.count(math.inf)]
    print(f'`python gan_quadratic.py {flags}`, seeds 0 to {seeds - 1}\n', flush=True)
    print_table(['Further flags', 'Energy distance of each seed', 'Median', 'Worst', 'Seconds of training, median',
                 'Whole command', 'Samples follow the data in', f'Not learned (above {NOT_LEARNED})', 'Diverged'],
                map(row, variants))


def distributions(seeds, flags):
    compare([f'--data {name}' for name in program.DISTRIBUTIONS], seeds, flags)


def exercises(seeds, flags):
    """Activations, layers and output mappings, one changed at a time. On standardised data, because on plain data the
    table shows little but which networks reach y = 2500 in time."""
    changes = [f'{flag} {value}' for flag, values in EXERCISES.items() for value in values 
               if value not in ('leaky_relu', 'dense', 'linear')]
    compare(['', *changes], seeds, f'--normalize --iterations 30001 {flags}')


def main():
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0], allow_abbrev=False)
    studies = dict(claims=claims, distributions=distributions, exercises=exercises)
    parser.add_argument('study', choices=studies)
    parser.add_argument('--seeds', type=int, metavar='N', help='runs of each kind (default: 10 for claims, else 3)')
    arguments, flags = parser.parse_known_args()
    print_command()
    studies[arguments.study](arguments.seeds or (10 if arguments.study == 'claims' else 3), shlex.join(flags))


if __name__ == '__main__':
    main()
