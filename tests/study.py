"""Measures what the documents say of the program, over several seeds, and prints its tables in GitHub's markdown.

    python tests/study.py claims           the tutorial's claims under both schedules
    python tests/study.py distributions    how well each built-in distribution comes out
    python tests/study.py exercises        activations, layers and output mappings compared

It runs the command line program, one run after the other in a temporary folder, for some ten minutes each.
"""
import argparse
import datetime
import importlib.metadata
import json
import math
import os
import platform
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
import gan_quadratic  # noqa: E402  it is found only through the line above

SCHEDULES = {'1 + 1 steps': [], '10 + 10 steps': ['--d-steps', '10', '--g-steps', '10', '--iterations', '10001']}
NOT_LEARNT = 0.1  # an energy distance of another shape than the data's: five times what passes for following it


def program(*flags):
    """A command line of the program as the reader would type it."""
    return shlex.join(['python', 'gan_quadratic.py', *map(str, flags)])


def typed(value):
    """A setting as it is typed behind its flag."""
    return '' if value is True else ' '.join(map(str, value)) if isinstance(value, list) else str(value)


def run(flags, seed, pictures):
    """One run of the program: its summary (None where training diverged) and the seconds the whole command took."""
    flags = [*flags, '--seed', seed, '--pictures', pictures]
    print(f'{time.strftime("%H:%M:%S")} {program(*flags)}', file=sys.stderr, flush=True)
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        done = subprocess.run([sys.executable, ROOT/'gan_quadratic.py', *map(str, flags), '--output', folder],
                              stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        seconds = time.perf_counter() - began
        if done.returncode == 0:
            return json.loads((Path(folder)/'summary.json').read_text()), seconds
    if done.returncode == 1 and 'not finite' in done.stderr:
        return None, seconds
    sys.exit(f'{program(*flags)} ended with status {done.returncode}:\n{done.stderr}')


def header(title):
    """The lines above the tables: what was run, when and on what."""
    try:
        cpu = next(line for line in open('/proc/cpuinfo') if line.startswith('model name')).split(':')[1].strip()
    except (OSError, StopIteration):  # not on Linux
        cpu = platform.processor()
    load = ', '.join(f'{x:.1f}' for x in os.getloadavg()) if hasattr(os, 'getloadavg') else 'unknown'
    packages = ', '.join(f'{name} {importlib.metadata.version(name)}' for name in ('tensorflow', 'numpy'))
    print(f'### {title}\n\n`{shlex.join(["python", "tests/study.py", *sys.argv[1:]])}`  ')
    print(f'{datetime.date.today()}, {cpu}, {os.cpu_count()} cores, load before the start {load} '
          f'(1, 5, 15 minutes); Python {platform.python_version()}, {packages}')


def table(heading, columns, rows):
    """Prints a table under its heading."""
    print(f'\n{heading}\n\n| {" | ".join(columns)} |\n|{"---|"*len(columns)}')
    for row in rows:
        print(f'| {" | ".join(map(str, row))} |')
    sys.stdout.flush()


def show(value):
    """A figure, short."""
    return f'{value:.3g}' if math.isfinite(value) else 'not finite'


def listed(values):
    """The figures of all seeds, in the seeds' order."""
    return ', '.join(map(show, values))


def median_and_worst(values, worst=max):
    """Both as a table shows them; blank where every run diverged."""
    if not values:
        return '', ''
    return show(statistics.median(values)), show(worst(values))


def energy_distance(summary):
    """Of a run's final samples; infinite where training diverged."""
    return summary['final']['energy_distance'] if summary else math.inf


def claims(seeds, pictures):
    """The tutorial's claims, as summary.json judges them, under both schedules."""
    header('What the tutorial claims')
    for schedule, flags in SCHEDULES.items():
        summaries = [run(flags, seed, pictures)[0] for seed in range(seeds)]
        finished = [summary for summary in summaries if summary]
        rows = []
        for key, claim in finished[0]['claims'].items():
            held = sum(summary['claims'][key]['holds'] is True for summary in finished)
            for figure in claim['measured']:
                values = [summary['claims'][key]['measured'][figure] for summary in finished]
                worst = min if figure.startswith('share') else max  # a share should be large, all else small
                rows.append([claim['claim'], figure, *median_and_worst(values, worst), f'{held} of {seeds}'])
        for figure, worst in (('curve_residual', max), ('coverage', min)):
            values = [summary['final'][figure] for summary in finished]
            rows.append(['Final samples', figure.replace('_', ' '), *median_and_worst(values, worst), ''])
        table(f'{schedule}: `{program(*flags)}`, seeds 0 to {seeds - 1}',
              ['Claim', 'Measured', 'Median', 'Worst', 'Claim held in'], rows)
        print(f'\nEnergy distance, seed by seed: {listed(map(energy_distance, summaries))}', flush=True)


def distributions(seeds, pictures):
    """How well each built-in distribution comes out with the settings of its own line in DISTRIBUTIONS."""
    header('Built-in distributions')
    rows = []
    for name, distribution in gan_quadratic.DISTRIBUTIONS.items():
        runs = [run(['--data', name], seed, pictures) for seed in range(seeds)]
        settings = ', '.join(f'{flag.replace("_", "-")} {typed(value)}'.strip()
                             for flag, value in distribution.flags.items())
        within = sum(bool(summary) and summary['claims']['samples_follow']['holds'] for summary, _ in runs)
        rows.append([name, settings or 'the defaults',
                     listed(energy_distance(summary) for summary, _ in runs),
                     ', '.join(f'{seconds:.0f}' for _, seconds in runs), f'{within} of {seeds}'])
    table(f'`{program("--data", "NAME")}`, seeds 0 to {seeds - 1}',
          ['Data', 'Its own settings', 'Energy distance of each seed', 'Seconds, whole command', 'Within 0.02'], rows)


def exercises(seeds, pictures, iterations, plain):
    """Activations, layers and output mappings, one changed at a time.

    On standardised data, because on plain data the table shows little but which networks reach y = 2500 in time.
    """
    header('Activations, layers and output mappings')
    common = [*([] if plain else ['--normalize']), '--iterations', iterations]
    variants = [[]]
    for flag, values in (('--activation', gan_quadratic.ACTIVATIONS), ('--hidden', ('16', '16 16', '16 16 16 16')),
                         ('--layer', gan_quadratic.LAYERS), ('--output-mapping', gan_quadratic.OUTPUT_MAPPINGS)):
        default = typed(gan_quadratic.parse([])[flag[2:].replace('-', '_')])
        variants += [[flag, *value.split()] for value in values if value != default]
    rows = []
    for variant in variants:
        summaries = [run([*common, *variant], seed, pictures)[0] for seed in range(seeds)]
        distances = [energy_distance(summary) for summary in summaries]
        training = [summary['seconds']['training'] for summary in summaries if summary]
        rows.append([f'`{" ".join(variant)}`' if variant else 'the defaults', listed(distances),
                     *median_and_worst(distances), f'{statistics.median(training):.1f}' if training else '',
                     sum(summary is None for summary in summaries),
                     sum(NOT_LEARNT < distance < math.inf for distance in distances)])
    table(f'{"Data as they are" if plain else "Standardised data"}: `{program(*common)}`, seeds 0 to {seeds - 1}',
          ['Changed', 'Energy distance of each seed', 'Median', 'Worst', 'Seconds of training, median', 'Diverged',
           f'Did not learn (above {NOT_LEARNT})'], rows)


def main():
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    for study, seeds in ((claims, 10), (distributions, 3), (exercises, 3)):
        command = commands.add_parser(study.__name__, help=study.__doc__.splitlines()[0], description=study.__doc__)
        command.set_defaults(study=study)
        command.add_argument('--seeds', type=int, default=seeds, metavar='N',
                             help='runs of each kind (default: %(default)s)')
        command.add_argument('--pictures', default='none', choices=('none', 'article', 'all'),
                             help='which pictures the runs draw, for their time (default: %(default)s)')
        if study is exercises:
            command.add_argument('--iterations', type=int, default=30001, metavar='N',
                                 help='of every run (default: %(default)s)')
            command.add_argument('--plain', action='store_true', help='data as they are, not standardised')
    given = vars(parser.parse_args())
    given.pop('study')(**given)


if __name__ == '__main__':
    main()
