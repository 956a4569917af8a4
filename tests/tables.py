"""How near the program's samples come to real rows of tables that nobody tuned it to; prints a table in markdown.

    python tests/tables.py                             four tables, three seeds each, some five minutes
    python tests/tables.py --tables rare mixed small wide      tables drawn anew from laws that are known
    python tests/tables.py --flags hidden=32,32        other settings than the program's own

Each table is cut into random halves. The program trains on one with its own settings, and is judged by the other, of
which it knows nothing: unbiased energy distance (no row paired with itself), columns divided by the training half's
deviation. Beside it: the rows of the training half (floor), its columns shuffled one by one, and a Gaussian copula.

Samples and real are the shares, of samples and of as many rows of the other half, at most 1,000 each, whose nearest
neighbour among all others is of their own kind: 0.5 where they cannot be told apart, 1 where they can. Regret is how
much further the delivered generator is from the other half than the best snapshot of the run, each judged by the 2,000
samples that the program takes its measures from.
"""
import argparse
import contextlib
import tempfile
import time
from statistics import NormalDist, median
from unittest import mock

import numpy as np
import sklearn.datasets
from scipy.spatial.distance import cdist

from helpers import gan_quadratic, print_command, print_table

TABLES = 'wine', 'iris', 'breast_cancer', 'diabetes'


def rare(rng, n):
    """Two clusters in six columns, the second of 3 rows in 100."""
    return rng.normal(size=(n, 6)) + 4*(rng.random((n, 1)) < 0.03)


def mixed(rng, n):
    """A heavy tail, a log-normal, counts, money in whole hundreds, two 0/1 columns and days since 1970, all through
    two factors."""
    a, b = rng.normal(size=(2, n))
    return np.stack([rng.standard_t(2, n) + 2*a, np.exp(a + 0.5*rng.normal(size=n)), rng.poisson(np.exp(1 + 0.7*b)),
                     np.round(np.exp(10 + 0.5*a + 0.3*rng.normal(size=n)), -2), rng.random(n) < 1/(1 + np.exp(-3*a)),
                     (rng.random(n) < 0.1) | (b > 1.5), 18000 + np.floor(300*(b - a)), rng.normal(size=n)], axis=1)


def small(rng, n):
    """Three clusters in five columns, with correlations of their own."""
    which = rng.integers(3, size=n)
    return (np.random.default_rng(0).normal(size=(3, 5))*3)[which] + np.einsum(
        'nij,nj->ni', np.random.default_rng(1).normal(size=(3, 5, 5))[which]/2, rng.normal(size=(n, 5)))


def wide(rng, n):
    """Forty columns that bend with five factors."""
    factors, weights = rng.normal(size=(n, 5)), np.random.default_rng(0).normal(size=(5, 40))
    return np.tanh(factors @ weights/2) + 0.3*rng.normal(size=(n, 40))


LAWS = dict(rare=(rare, 1000), mixed=(mixed, 500), small=(small, 75), wide=(wide, 400))


def halves(name, seed):
    """The rows of a table in two halves, cut at random; of a law two draws, the second of at least 1,000 rows."""
    rng = np.random.default_rng(seed)
    if name in LAWS:
        law, n = LAWS[name]
        return law(rng, n).astype(float), law(rng, max(1000, min(n, 2000))).astype(float)
    rows = getattr(sklearn.datasets, f'load_{name}')(return_X_y=True)[0]
    rows = rows[rng.permutation(len(rows))]
    return rows[:len(rows)//2], rows[len(rows)//2:]


def distance(samples, other, spread):
    """The unbiased energy distance of samples [n, d] to the other half [m, d], columns in units of `spread`."""
    a, b = samples/spread, other/spread
    n, m = len(a), len(b)
    return 2*cdist(a, b).mean() - cdist(a, a).sum()/(n*(n - 1)) - cdist(b, b).sum()/(m*(m - 1))


def neighbour_shares(samples, other, spread, rng):
    """The share of samples, and of as many rows of the other half, whose nearest neighbour is of their own kind."""
    n = min(len(samples), len(other), 1000)
    order = rng.permutation(2*n)  # of several neighbours equally near, none of them is preferred
    points, is_sample = np.concatenate([samples[:n], other[:n]])[order]/spread, order < n
    apart = cdist(points, points)
    np.fill_diagonal(apart, np.inf)
    own = is_sample[apart.argmin(axis=1)] == is_sample
    return own[is_sample].mean(), own[~is_sample].mean()


def copula(rows, n, rng):
    """n samples of a Gaussian copula on normal scores of rows [m, d], its margins linear between the values."""
    m, d = rows.shape
    scores = np.array([NormalDist().inv_cdf((k + 0.5)/m) for k in range(m)])
    ranks = np.argsort(np.argsort(rows + 1e-9*rows.std(axis=0)*rng.normal(size=rows.shape), axis=0), axis=0)
    drawn = rng.multivariate_normal(np.zeros(d), np.corrcoef(scores[ranks].T), n, method='eigh')
    return np.stack([np.interp(drawn[:, k], scores, np.sort(rows[:, k])) for k in range(d)], axis=1)


def measure(name, seed, flags):
    """The figures of one table and seed, by name of the column."""
    (half, other), rng = halves(name, seed), np.random.default_rng(seed)
    spread, some = half.std(axis=0), half[:5000]
    found = dict(floor=some, shuffled=rng.permuted(some, axis=0), copula=copula(half, 2000, rng))
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        with (mock.patch.object(gan_quadratic, 'sample_measures', wraps=gan_quadratic.sample_measures) as measures,
              contextlib.redirect_stdout(None)):
            result = gan_quadratic.train(data=half, seed=seed, output=f'{folder}/run', pictures='none', **flags)
        seconds = time.perf_counter() - began
    found['this program'] = result['samples'][:2000]
    figures = {column: distance(samples, other, spread) for column, samples in found.items()}
    figures['samples'], figures['real'] = neighbour_shares(found['this program'], other, spread, rng)
    *snapshots, _ = [distance(call.args[0], other, spread) for call in measures.call_args_list]  # the last are final
    delivered = result['delivered_iteration']
    regret = snapshots[delivered//result['settings']['snapshot_every']] - min(snapshots)
    return dict(figures, regret=regret, delivered=delivered, seconds=seconds)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--seeds', type=int, nargs='+', default=[0, 1, 2], metavar='N', help='(default: 0 1 2)')
    parser.add_argument('--tables', nargs='+', default=TABLES, choices=[*TABLES, *LAWS],
                        help=f'(default: {" ".join(TABLES)})')
    parser.add_argument('--flags', nargs=argparse.REMAINDER, default=[], help='name=value, for train()')
    arguments = parser.parse_args()
    flags = {name: [int(x) for x in value.split(',')] if ',' in value else value
             for name, value in (word.split('=') for word in arguments.flags)}
    print_command()
    columns = ['floor', 'shuffled', 'copula', 'this program', 'samples', 'real', 'regret', 'delivered', 'seconds']

    def row(name):
        found = [measure(name, seed, flags) for seed in arguments.seeds]
        cells = [[figures[column] for figures in found] for column in columns]
        return [name, *(f'{median(values):.3g} ({", ".join(f"{x:.3g}" for x in values)})' for values in cells)]
    print_table(['table', *columns], map(row, arguments.tables))


if __name__ == '__main__':
    main()
