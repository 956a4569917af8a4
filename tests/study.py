"""Measures what the documents say of the program, over several seeds; prints Markdown tables.

    python tests/study.py claims           the tutorial's claims, under both schedules
    python tests/study.py distributions    every distribution, also as on another processor
    python tests/study.py exercises        activations, layers and output mappings
    python tests/study.py measures         the measures themselves, where the answer is known

Further flags go to the program behind those of the study: `--iterations 2001` makes short runs of
all. Runs come one after the other, or with `--scheduler local` on all cores, or with `--scheduler
tcp://HOST:PORT` on the machines where `dask worker` runs.
"""
import argparse
import contextlib
import itertools
import json
import logging
import math
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import numpy as np

from helpers import gan_quadratic as program
from helpers import print_command, print_table

SEEDS = {'claims': 10, 'distributions': 10, 'exercises': 3, 'measures': 4}
COMPANION = {'d_steps': 10, 'g_steps': 10, 'iterations': 10001}  # the tutorial's other schedule
# As a processor without AVX would compute. Levels 1 to 3 of XLA's optimisation alone gave the same
# bytes on an Intel Xeon with TensorFlow 2.21; level 0 gives others, and takes three times as long.
OTHER_FLAGS = '--xla_backend_optimization_level=2 --xla_cpu_max_isa=SSE4_2'
FOLLOWS = 0.02       # energy distance up to which samples follow a built-in distribution
NOT_LEARNED = 0.1    # an energy distance of another shape than the data's
BESIDE = 'energy_distance_error', 'neighbours_samples', 'neighbours_real'  # the claims' figures
EXERCISES = {
    'activation': program.ACTIVATIONS,
    'hidden': [[16], [16, 16, 16, 16]],
    'layer': program.LAYERS,
    'output_mapping': program.OUTPUT_MAPPINGS}


# ------------------------------------------------------------------------------------------- runs

def one_run(flags, xla_flags=None):
    """Trains in a folder that is then removed. Returns what `train` does, None where it diverged.

    XLA reads its flags once in a process: with others the run gets a process of its own.
    """
    shown = {name: value for name, value in flags.items() if not isinstance(value, np.ndarray)}
    print(time.strftime('%H:%M:%S'), *words(shown), file=sys.stderr, flush=True)
    with tempfile.TemporaryDirectory() as folder:
        flags = {**flags, 'output': folder, 'overwrite': True, 'pictures': 'none'}
        began = time.perf_counter()
        results = train_here(flags) if xla_flags is None else train_apart(flags, xla_flags)
        if results:
            results['seconds']['whole'] = time.perf_counter() - began
        return results


def train_here(flags):
    """Trains in this process."""
    try:
        with contextlib.redirect_stdout(None):
            return program.train(**flags)
    except program.Failure as failure:
        if diverged(str(failure)):
            return None
        raise


def train_apart(flags, xla_flags):
    """Trains in a process of its own. Returns the summary, without samples."""
    command = [sys.executable, program.__file__, *words(flags)]
    environment = {**os.environ, 'XLA_FLAGS': xla_flags}
    ended = subprocess.run(command, env=environment, capture_output=True, text=True)
    if ended.returncode == 0:
        return json.loads(Path(flags['output'], 'summary.json').read_text())
    if diverged(ended.stderr):
        return None
    raise RuntimeError(f'{command} ended with {ended.returncode}: {ended.stderr}')


def diverged(message):
    """Does a failure say that training went astray?"""
    return 'not finite' in message


def words(flags):
    """The arguments of `train` as the command takes them."""
    found = []
    for name, value in flags.items():
        flag = '--' + name.replace('_', '-')
        if value is True:
            found.append(flag)
        elif value is False:
            found.append(flag.replace('--', '--no-', 1))
        elif isinstance(value, list):
            found += [flag, *map(str, value)]
        else:
            found += [flag, str(value)]
    return found


def program_flags(arguments):
    """Words of the command line as `train` takes them."""
    flags = program.parse(arguments)
    if '--no-normalize' in arguments:
        flags['normalize'] = False
    return flags


@contextlib.contextmanager
def mapping(scheduler):
    """Gives a function like `map`, which maps `one_run`: by Dask where a scheduler is named."""
    if scheduler is None:
        yield map
        return
    from dask.distributed import Client, LocalCluster
    with contextlib.ExitStack() as stack:
        if scheduler == 'local':
            cluster = LocalCluster(
                n_workers=os.cpu_count(), threads_per_worker=1, memory_limit=None,
                dashboard_address=None, silence_logs=logging.ERROR)
            scheduler = stack.enter_context(cluster)
        client = stack.enter_context(Client(scheduler))
        client.upload_file(program.__file__)  # so workers elsewhere need no clone

        def spread(function, *runs):
            futures = client.map(function, *runs, pure=False)
            return (future.result() for future in futures)
        yield spread


# -------------------------------------------------------------------------------- what came of them

def final(results, name):
    """A measure of the final samples of all runs that did not diverge."""
    return [each['final'][name] for each in results if each]


def energy_distances(results):
    """Of each run's final samples; infinite where training diverged."""
    return [each['final']['energy_distance'] if each else math.inf for each in results]


def middle(values):
    """The median in words."""
    return f'{median(values):.3g}' if values else ''


def listed(values):
    """All values in words."""
    return ', '.join(f'{value:.3g}' for value in values)


def neighbours(results):
    """The medians of both neighbours' shares in words."""
    return f'{middle(final(results, "neighbours_samples"))}, ' \
           f'{middle(final(results, "neighbours_real"))}'


def seconds(results, of):
    """The median in words: `of` training, or of the whole run."""
    return middle([each['seconds'][of] for each in results if each])


def print_title(flags, seeds):
    command = ' '.join(['python gan_quadratic.py', *words(flags)])
    print(f'`{command}`, seeds 0 to {seeds - 1}\n', flush=True)


# ----------------------------------------------------------------------------------------- studies

def study_claims(seeds, flags, map_runs):
    """The tutorial's claims, as summary.json judges them, under both schedules."""
    schedules = [{**schedule, **flags} for schedule in ({}, COMPANION)]
    runs = [{**schedule, 'seed': seed} for schedule in schedules for seed in range(seeds)]
    results = map_runs(one_run, runs)
    for schedule in schedules:
        print_title(schedule, seeds)
        found = list(itertools.islice(results, seeds))
        summaries = [each for each in found if each]
        if summaries:
            print_table(['Claim', 'Measured', 'Median', 'Least', 'Most', 'Claim holds in'],
                        claims_rows(summaries, seeds))
        print(f'Energy distance, seed by seed: {listed(energy_distances(found))}\n', flush=True)


def claims_rows(summaries, seeds):
    """The rows of a table: of each claim its figures, then measures of the final samples."""
    def row(title, name, values, holds=''):
        defined = [value for value in values if value is not None]
        if not defined:
            return [title, name, '', '', '', holds]
        extremes = [f'{value:.3g}' for value in (min(defined), max(defined))]
        return [title, name, middle(defined), *extremes, holds]

    for key in summaries[0]['claims']:
        claims = [summary['claims'][key] for summary in summaries]
        count = sum(claim['holds'] is True for claim in claims)
        holds = f'{count} of {seeds}'
        for name in claims[0]['measured']:
            values = [claim['measured'].get(name) for claim in claims]
            yield row(claims[0]['claim'], name, values, holds)
            holds = ''
    for name in BESIDE:
        yield row('Final samples', name.replace('_', ' '), final(summaries, name))


def study_distributions(seeds, flags, map_runs):
    """All built-in distributions, each seed twice: as it is, and with other instructions.

    Training is chaotic: another processor makes other runs of the same seeds.
    """
    runs = [{'data': data, **flags, 'seed': seed}
            for data in program.DISTRIBUTIONS for _ in range(2) for seed in range(seeds)]
    xla_flags = [None]*seeds + [OTHER_FLAGS]*seeds
    results = map_runs(one_run, runs, xla_flags*len(program.DISTRIBUTIONS))

    def row(data):
        as_shipped = list(itertools.islice(results, seeds))
        elsewhere = list(itertools.islice(results, seeds))
        found = as_shipped + elsewhere
        distances = energy_distances(found)
        beyond = sum(distance > FOLLOWS for distance in distances)
        return [f'`{data}`', f'{median(distances):.3g}', f'{max(distances):.3g}',
                f'{beyond} of {len(found)}', neighbours(found), seconds(as_shipped, 'training'),
                listed(energy_distances(as_shipped)), listed(energy_distances(elsewhere))]
    print_title({'data': 'NAME', **flags}, seeds)
    print(f'Other instructions: `XLA_FLAGS="{OTHER_FLAGS}"`\n')
    print_table(['Data', 'Energy distance: median', 'Worst', f'Over {FOLLOWS}',
                 'Neighbours: samples, real', 'Seconds of training', 'Each seed',
                 'Each with other instructions'],
                map(row, program.DISTRIBUTIONS))


def study_exercises(seeds, flags, map_runs):
    """Activations, layers and output mappings, one changed at a time.

    On standardised data, because on plain data the table shows little but which networks reach
    y = 2500 in time.
    """
    common = {'normalize': 'standard', 'iterations': 30001, **flags}
    changes = [{}]
    for name, values in EXERCISES.items():
        changes += [{name: value} for value in values if value != program.DEFAULTS[name]]
    runs = [{**common, **change, 'seed': seed} for change in changes for seed in range(seeds)]
    results = map_runs(one_run, runs)

    def row(change):
        found = list(itertools.islice(results, seeds))
        distances = energy_distances(found)
        follow = sum(distance <= FOLLOWS for distance in distances)
        not_learned = sum(NOT_LEARNED < distance < math.inf for distance in distances)
        return [f'`{" ".join(words(change))}`' if change else 'the defaults',
                listed(distances), f'{median(distances):.3g}', f'{max(distances):.3g}',
                neighbours(found), seconds(found, 'training'), seconds(found, 'whole'),
                f'{follow} of {seeds}', not_learned, found.count(None)]
    print_title(common, seeds)
    print_table(['Further flags', 'Energy distance of each seed', 'Median', 'Worst',
                 'Neighbours: samples, real', 'Seconds of training', 'Of the whole run',
                 'Samples follow the data in', f'Not learned (above {NOT_LEARNED})', 'Diverged'],
                map(row, changes))


# ------------------------------------------------------------------------- the measures themselves

CASE_DRAWS = 50      # of samples that are wrong in a known way
REPEATS = 200        # on fresh rows, to know how much a figure from so few differs
JUDGING_ROWS = 1000  # fresh ones, as many as the neighbours' test takes
COLUMNS = 6
FEW_ROWS, MANY_ROWS = 150, 1000


def study_measures(seeds, flags, map_runs):
    """The measures on samples that are known to be right or wrong, and their standard errors."""
    print(f'{program.MEASURED_ROWS} samples made from the default data, beside as many real ones; '
          f'means and deviations of {CASE_DRAWS} draws\n')
    print_table(['What is wrong', 'Energy distance', 'Its deviation', 'Its error, as measured',
                 'Neighbours: samples, real', 'Their deviations'],
                cases_rows())

    sizes = [FEW_ROWS]*seeds + [MANY_ROWS]
    tables = [normal_rows(n, np.random.default_rng(seed)) for seed, n in enumerate(sizes)]
    runs = [{**flags, 'data': rows, 'seed': seed} for seed, rows in enumerate(tables)]
    results = map_runs(one_run, runs)
    print(f'Tables of {COLUMNS} normal columns: what a run says, beside {REPEATS} repeats on as '
          f'many fresh rows as it kept back (their mean and deviation), and {JUDGING_ROWS} rows\n')
    print_table(['Rows', 'Energy distance, its error', 'Repeats',
                 'Neighbours: samples, real, their error', 'Repeats: samples', 'Real',
                 f'By {JUDGING_ROWS} rows: distance, neighbours', 'Verdict'],
                map(repeats_row, tables, results))


def normal_rows(n, rng):
    return rng.normal(size=[n, COLUMNS])


def spoiled(real, n, rng):
    """Samples [n, 2] of the tutorial's data that are wrong in a known way, by what is wrong."""
    drawn = program.sample_data(3*n, rng=rng)
    x = drawn[:, 0]
    outside_bin = (x < 10) | (x >= 15)  # the bin is the twentieth part of the range
    cases = {'nothing: another draw': drawn[:n]}
    for deviation in 10, 30, 100, 300:
        noise = np.zeros([n, 2])
        noise[:, 1] = deviation*rng.normal(size=n)
        cases[f'noise of {deviation} on y'] = drawn[:n] + noise
    cases['no left arm'] = drawn[x >= 0][:n]
    cases['no x from 10 to 15'] = drawn[outside_bin][:n]
    cases['copies of the real ones'] = real.copy()
    return cases


def cases_rows():
    """The rows of a table: of each case the means over draws, and what they vary by."""
    n = program.MEASURED_ROWS
    measured = {}
    for seed in range(CASE_DRAWS):
        rng = np.random.default_rng(seed)
        real = program.sample_data(n, rng=rng)
        distance_to_real = program.energy_distance_to(real)
        for name, samples in spoiled(real, n, rng).items():
            distance, error = distance_to_real(samples)
            shares = program.neighbour_shares(samples, real)
            measured.setdefault(name, []).append([distance, error, *shares])
    for name, draws in measured.items():
        distance, error, *shares = np.mean(draws, axis=0)
        deviation, _, *of_shares = np.std(draws, axis=0)
        yield [name, f'{distance:.2g}', f'{deviation:.2g}', f'{error:.2g}', listed(shares),
               listed(of_shares)]


def repeats_row(rows, results):
    """The row of one table: what the run said, and what it would have said of other rows."""
    rng = np.random.default_rng(1)
    said = results['final']
    samples = results['samples'][:program.MEASURED_ROWS]
    spread = rows.std(axis=0)

    def distance_and_shares(n):
        fresh = normal_rows(n, rng)
        some = rng.permutation(results['samples'])[:JUDGING_ROWS]
        distance, _ = program.energy_distance_to(fresh, spread, unbiased=True)(samples)
        return [distance, *program.neighbour_shares(some, fresh, spread)]

    _, held_out = program.hold_out(rows, len(rows), rng)
    repeats = np.array([distance_and_shares(len(held_out)) for _ in range(REPEATS)])
    by_many = distance_and_shares(JUDGING_ROWS)
    return [
        len(rows),
        listed([said['energy_distance'], said['energy_distance_error']]),
        mean_and_deviation(repeats[:, 0]),
        listed([said['neighbours_samples'], said['neighbours_real'], said['neighbours_error']]),
        mean_and_deviation(repeats[:, 1]),
        mean_and_deviation(repeats[:, 2]),
        listed(by_many),
        results['verdict']]


def mean_and_deviation(values):
    return f'{values.mean():.3f}, {values.std():.3f}'


# ------------------------------------------------------------------------------------ command line

STUDIES = {
    'claims': study_claims,
    'distributions': study_distributions,
    'exercises': study_exercises,
    'measures': study_measures}


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False)
    parser.add_argument('study', choices=STUDIES)
    defaults = ', '.join(f'{study} {seeds}' for study, seeds in SEEDS.items())
    parser.add_argument('--seeds', type=int, metavar='N', help=f'of each kind ({defaults})')
    parser.add_argument('--scheduler', metavar='ADDRESS', help="of Dask, or 'local'")
    arguments, further = parser.parse_known_args()
    flags = program_flags(further)
    print_command()
    seeds = arguments.seeds or SEEDS[arguments.study]
    with mapping(arguments.scheduler) as map_runs:
        STUDIES[arguments.study](seeds, flags, map_runs)


if __name__ == '__main__':
    main()
