"""How near the program's samples come to real rows of tables that nobody tuned it to; prints a table in markdown.

    python tests/tables.py                             four tables, three seeds each, some five minutes
    python tests/tables.py --ctgan PYTHON              beside CTGAN and TVAE, by a Python that has the package ctgan
    python tests/tables.py --flags hidden=32,32        other settings than the program's own

Each table is cut into random halves. The program trains on one with its own settings, and is judged by the other, of
which it knows nothing: unbiased energy distance (no row paired with itself), columns divided by the training half's
deviation. Beside it: other rows of the training half (floor), its columns shuffled one by one, and a Gaussian copula.
"""
import argparse
import contextlib
import datetime
import io
import os
import platform
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import NormalDist, median

import numpy as np
import sklearn.datasets

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from gan_quadratic import train  # noqa: E402

TABLES = ('wine', 'iris', 'breast_cancer', 'diabetes')
CTGAN = """
import sys, numpy as np, pandas as pd, torch, ctgan
rows, seed = pd.DataFrame(np.load(sys.argv[1])).rename(columns=str), int(sys.argv[3])
torch.manual_seed(seed); np.random.seed(seed)
for name in 'CTGAN', 'TVAE':
    model = getattr(ctgan, name)(epochs=300)
    model.fit(rows)
    np.save(f'{sys.argv[2]}/{name}.npy', model.sample(2000).to_numpy())
"""


def halves(name, seed):
    """The rows of a table in two halves, cut at random."""
    rows = getattr(sklearn.datasets, f'load_{name}')(return_X_y=True)[0]
    rows = rows[np.random.default_rng(seed).permutation(len(rows))]
    return rows[:len(rows)//2], rows[len(rows)//2:]


def pairs(a, b):
    """The Euclidean distances of rows of a [n, d] to rows of b [m, d]: [n, m]."""
    return np.sqrt(((a[:, None] - b)**2).sum(axis=2))


def mean_pairs(a, b):
    """Their mean, in pieces."""
    return np.mean([pairs(part, b).mean(axis=1).mean() for part in np.array_split(a, 40)])


def distance(samples, other, spread):
    """The unbiased energy distance of samples [n, d] to the other half [m, d], columns in units of `spread`."""
    a, b = samples/spread, other/spread
    n, m = len(a), len(b)
    return 2*mean_pairs(a, b) - mean_pairs(a, a)*n/(n - 1) - mean_pairs(b, b)*m/(m - 1)


def copula(rows, n, rng):
    """n samples of a Gaussian copula on normal scores of rows [m, d], its margins linear between the values."""
    m, d = rows.shape
    scores = np.array([NormalDist().inv_cdf((k + 0.5)/m) for k in range(m)])
    ranks = np.argsort(np.argsort(rows + 1e-9*rows.std(axis=0)*rng.normal(size=rows.shape), axis=0), axis=0)
    drawn = rng.multivariate_normal(np.zeros(d), np.corrcoef(scores[ranks].T), n, method='eigh')
    return np.stack([np.interp(drawn[:, k], scores, np.sort(rows[:, k])) for k in range(d)], axis=1)


def by_ctgan(python, half, seed, folder):
    """Samples of CTGAN and TVAE trained on a half, by a Python that has them."""
    np.save(f'{folder}/half.npy', half)
    subprocess.run([python, '-c', CTGAN, f'{folder}/half.npy', folder, str(seed)], check=True, capture_output=True)
    return {name: np.load(f'{folder}/{name}.npy') for name in ('CTGAN', 'TVAE')}


def measure(name, seed, flags, python):
    """The figures of one table and seed, by name of the column."""
    half, other = halves(name, seed)
    rng, spread = np.random.default_rng(seed), half.std(axis=0)
    found = dict(floor=distance(half, other, spread), shuffled=distance(rng.permuted(half, axis=0), other, spread),
                 copula=distance(copula(half, 2000, rng), other, spread))
    with tempfile.TemporaryDirectory() as folder:
        for model, samples in by_ctgan(python, half, seed, folder).items() if python else ():
            found[model] = distance(samples, other, spread)
        began = time.perf_counter()
        with contextlib.redirect_stdout(io.StringIO()):
            result = train(data=half, seed=seed, output=f'{folder}/run', pictures='none', **flags)
        found['seconds'] = time.perf_counter() - began
        samples = result['samples'][:2000]
        found['this program'] = distance(samples, other, spread)
        near = [np.median(pairs(rows/spread, half/spread).min(axis=1)) for rows in (samples, other)]
        found['nearness'] = near[0]/near[1]
        snapshots = {}
        for path in Path(folder, 'run', 'snapshots').glob('[0-9]*.npz'):
            with np.load(path) as arrays:
                snapshots[int(path.stem)] = distance(arrays['generated'], other, spread)
        found['regret'] = snapshots[result['delivered_iteration']] - min(snapshots.values())
        found['delivered'] = result['delivered_iteration']
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--seeds', type=int, nargs='+', default=[0, 1, 2], metavar='N', help='(default: 0 1 2)')
    parser.add_argument('--tables', nargs='+', default=TABLES, choices=TABLES, help='(default: all)')
    parser.add_argument('--ctgan', metavar='PYTHON', help='of an environment with the package ctgan')
    parser.add_argument('--flags', nargs=argparse.REMAINDER, default=[], help='name=value, for train()')
    arguments = parser.parse_args()
    flags = {name: [int(x) for x in value.split(',')] if ',' in value else value
             for name, value in (word.split('=') for word in arguments.flags)}
    print(f'`python tests/tables.py {shlex.join(sys.argv[1:])}`  \n{datetime.date.today()}, {os.cpu_count()} cores, '
          f'load {os.getloadavg()[0]:.1f}, Python {platform.python_version()}; median (each seed)\n')
    columns = ['floor', 'shuffled', 'copula', *(['CTGAN', 'TVAE'] if arguments.ctgan else []), 'this program',
               'nearness', 'regret', 'delivered', 'seconds']
    print(f'| table | {" | ".join(columns)} |\n|{"---|"*(len(columns) + 1)}')
    for name in arguments.tables:
        found = [measure(name, seed, flags, arguments.ctgan) for seed in arguments.seeds]
        cells = [[row[column] for row in found] for column in columns]
        print(f'| {name} | ' + ' | '.join(f'{median(values):.3g} ({", ".join(f"{x:.3g}" for x in values)})'
                                          for values in cells) + ' |', flush=True)


if __name__ == '__main__':
    main()
