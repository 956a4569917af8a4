"""How near samples come to real rows of tables that nobody tuned the program to; prints Markdown.

    python tests/tables.py                                    four tables, six seeds each
    python tests/tables.py --tables rare mixed small wide     drawn anew from laws that are known
    python tests/tables.py --seeds 0 --flags --hidden 32 32   other settings than the program's

Each table is cut into random halves. The program trains on one with its own settings, and is judged
by the other, of which it knows nothing: unbiased energy distance (no row paired with itself),
columns divided by the training half's deviation. Beside it: what the run itself said, by the rows
it had kept back of its own half; the rows of the training half (floor); its columns shuffled one by
one; a Gaussian copula.

Samples and real are the shares, of samples and of as many rows of the other half, at most 1,000
each, whose nearest neighbour among all others is of their own kind: 0.5 where they cannot be told
apart, 1 where they can. Regret is how much further the delivered generator is from the other half
than the best snapshot of the run, each judged by the samples that the snapshot was measured by.
"""
import argparse
import contextlib
import tempfile
import time
from statistics import NormalDist, fmean, median
from unittest import mock

import numpy as np
import sklearn.datasets
from scipy.spatial.distance import cdist

from helpers import gan_quadratic, print_command, print_table
from study import program_flags

TABLES = 'wine', 'iris', 'breast_cancer', 'diabetes'
SAMPLES = 2000        # of the program and of the copula, to judge
LARGEST_HALF = 5000   # rows of the training half, as floor
NEIGHBOURS = 1000     # rows of each kind in the nearest-neighbour test
MEDIANS = ('floor', 'shuffled', 'copula', 'this program', 'samples', 'real', 'regret', 'delivered',
           'seconds')  # the columns of the table before the means


# ------------------------------------------------------------------------------------------ tables

def rare(rng, n):
    """Two clusters in six columns, the second of 3 rows in 100."""
    rows = rng.normal(size=(n, 6))
    in_second = rng.random((n, 1)) < 0.03
    return rows + 4*in_second


def mixed(rng, n):
    """Columns of many kinds, through two factors a and b."""
    a, b = rng.normal(size=(2, n))
    heavy_tail = rng.standard_t(2, n) + 2*a
    log_normal = np.exp(a + 0.5*rng.normal(size=n))
    counts = rng.poisson(np.exp(1 + 0.7*b))
    whole_hundreds = np.round(np.exp(10 + 0.5*a + 0.3*rng.normal(size=n)), -2)
    often = rng.random(n) < 1/(1 + np.exp(-3*a))
    seldom = (rng.random(n) < 0.1) | (b > 1.5)
    days = 18000 + np.floor(300*(b - a))  # since 1970
    normal = rng.normal(size=n)
    return np.stack([heavy_tail, log_normal, counts, whole_hundreds, often, seldom, days, normal],
                    axis=1)


def small(rng, n):
    """Three clusters in five columns, with correlations of their own."""
    centres = 3*np.random.default_rng(0).normal(size=(3, 5))
    mixings = np.random.default_rng(1).normal(size=(3, 5, 5))/2
    which = rng.integers(3, size=n)
    noise = rng.normal(size=(n, 5))
    return centres[which] + np.einsum('nij,nj->ni', mixings[which], noise)


def wide(rng, n):
    """Forty columns that bend with five factors."""
    weights = np.random.default_rng(0).normal(size=(5, 40))
    factors = rng.normal(size=(n, 5))
    return np.tanh(factors @ weights/2) + 0.3*rng.normal(size=(n, 40))


LAWS = dict(rare=(rare, 1000), mixed=(mixed, 500), small=(small, 75), wide=(wide, 400))


def halves(name, seed):
    """The rows of a table in two random halves; of a law two draws, the second of 1,000 rows."""
    rng = np.random.default_rng(seed)
    if name in LAWS:
        law, n = LAWS[name]
        return law(rng, n).astype(float), law(rng, 1000).astype(float)
    load = getattr(sklearn.datasets, f'load_{name}')
    rows, _ = load(return_X_y=True)
    shuffled = rows[rng.permutation(len(rows))]
    half = len(rows)//2
    return shuffled[:half], shuffled[half:]


# ---------------------------------------------------------------------------------------- measures

def distance(samples, other, spread):
    """The unbiased energy distance of samples [n, d] to the other half [m, d]."""
    a = samples/spread
    b = other/spread
    n, m = len(a), len(b)
    within_a = cdist(a, a).sum()/(n*(n - 1))
    within_b = cdist(b, b).sum()/(m*(m - 1))
    return 2*cdist(a, b).mean() - within_a - within_b


def neighbour_shares(samples, other, spread, rng):
    """The shares of samples and of other rows whose nearest neighbour is of their own kind."""
    n = min(len(samples), len(other), NEIGHBOURS)
    order = rng.permutation(2*n)  # of several neighbours equally near, none of them is preferred
    points = np.concatenate([samples[:n], other[:n]])[order]/spread
    is_sample = order < n
    apart = cdist(points, points)
    np.fill_diagonal(apart, np.inf)
    own = is_sample[apart.argmin(axis=1)] == is_sample
    return own[is_sample].mean(), own[~is_sample].mean()


def copula(rows, n, rng):
    """n samples of a Gaussian copula on normal scores of rows [m, d], its margins linear."""
    m, dim = rows.shape
    scores = np.array([NormalDist().inv_cdf((k + 0.5)/m) for k in range(m)])
    noise = 1e-9*rows.std(axis=0)*rng.normal(size=rows.shape)  # so that equal values get ranks too
    ranks = np.argsort(np.argsort(rows + noise, axis=0), axis=0)
    correlations = np.corrcoef(scores[ranks].T)
    drawn = rng.multivariate_normal(np.zeros(dim), correlations, n, method='eigh')
    columns = [np.interp(drawn[:, k], scores, np.sort(rows[:, k])) for k in range(dim)]
    return np.stack(columns, axis=1)


# ------------------------------------------------------------------------------------------- runs

@contextlib.contextmanager
def samples_of_snapshots():
    """Gives a list that receives the samples which each snapshot is measured by."""
    seen = []
    take = gan_quadratic.Snapshots.take

    def take_and_tell(*arguments):
        losses, shot = take(*arguments)
        _, _, samples, _ = shot
        seen.append(samples)
        return losses, shot
    with mock.patch.object(gan_quadratic.Snapshots, 'take', take_and_tell):
        yield seen


def train(rows, seed, flags):
    """The program's results on these rows, the samples of each snapshot, and the seconds."""
    began = time.perf_counter()
    with (tempfile.TemporaryDirectory() as folder, samples_of_snapshots() as seen,
          contextlib.redirect_stdout(None)):
        results = gan_quadratic.train(
            data=rows, seed=seed, output=f'{folder}/run', pictures='none', **flags)
    return results, seen, time.perf_counter() - began


def measure(name, seed, flags):
    """The figures of one table and seed, by name of the column."""
    half, other = halves(name, seed)
    rng = np.random.default_rng(seed)
    spread = half.std(axis=0)
    shuffled = rng.permuted(half[:LARGEST_HALF], axis=0)
    of_copula = copula(half, SAMPLES, rng)
    results, seen, seconds = train(half, seed, flags)
    samples = results['samples'][:SAMPLES]
    of_samples, of_real = neighbour_shares(samples, other, spread, rng)

    delivered = results['delivered_iteration']
    number, beyond = divmod(delivered, results['settings']['snapshot_every'])
    if beyond:  # the end of training, where no snapshot falls on it
        seen.append(samples)
        number = -1
    distances = [distance(each, other, spread) for each in seen]
    return {
        'floor': distance(half[:LARGEST_HALF], other, spread),
        'shuffled': distance(shuffled, other, spread),
        'copula': distance(of_copula, other, spread),
        'this program': distance(samples, other, spread),
        'said': results['final']['energy_distance'],
        'error': results['final']['energy_distance_error'],
        'samples': of_samples,
        'real': of_real,
        'regret': distances[number] - min(distances),
        'delivered': delivered,
        'seconds': seconds}


# ---------------------------------------------------------------------------------- what is printed

def column(found, name):
    """The figures of a column, seed by seed."""
    return [figures[name] for figures in found]


def in_words(value):
    return f'{value:.3g}' if abs(value) < 1000 else f'{value:.0f}'


def main_row(name, found):
    """The medians over seeds, then means: of the distance, and of what the runs themselves said."""
    medians = [median(column(found, each)) for each in MEDIANS]
    means = [fmean(column(found, each)) for each in ('this program', 'said', 'error')]
    return [name, *map(in_words, medians + means)]


def print_seeds(found_by_table):
    """Each seed's distance beside what its run said, and how often it beats the others."""
    def shown(found, name):
        return ', '.join(map(in_words, column(found, name)))
    print_table(['table', 'seed by seed', 'said by the runs'],
                ([name, shown(found, 'this program'), shown(found, 'said')]
                 for name, found in found_by_table.items()))
    runs = [figures for found in found_by_table.values() for figures in found]
    nearer = sum(figures['this program'] < figures['shuffled'] for figures in runs)
    beaten = sum(median(column(found, 'this program')) < median(column(found, 'copula'))
                 for found in found_by_table.values())
    ours = fmean(column(runs, 'this program'))
    said = fmean(column(runs, 'said'))
    print(f'Nearer than shuffled columns in {nearer} of {len(runs)} runs; than the copula by the '
          f'median on {beaten} of {len(found_by_table)} tables. Mean distance {ours:.3g}; mean of '
          f'what the runs said {said:.3g}.')


def main():
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--seeds', type=int, nargs='+', default=[*range(6)], metavar='N',
                        help='(default: 0 1 2 3 4 5)')
    parser.add_argument('--tables', nargs='+', default=TABLES, choices=[*TABLES, *LAWS],
                        help=f'(default: {" ".join(TABLES)})')
    parser.add_argument('--flags', nargs=argparse.REMAINDER, default=[],
                        help='for gan_quadratic.py, behind all others')
    arguments = parser.parse_args()
    flags = program_flags(arguments.flags)
    print_command()
    found_by_table = {}

    def row(name):
        found = [measure(name, seed, flags) for seed in arguments.seeds]
        found_by_table[name] = found
        return main_row(name, found)
    print_table(['table', *MEDIANS, 'mean', 'said, mean', 'its error, mean'],
                map(row, arguments.tables))
    print_seeds(found_by_table)


if __name__ == '__main__':
    main()
