"""Folders as a run leaves them, made of plain NumPy: for tests of plotting.py, which needs no
more of a run."""
import contextlib
import csv
import io
import json
import sys
from unittest import mock

import numpy as np

import plotting

METRICS = (
    'Iteration',
    'Discriminator Loss Mean',
    'Discriminator Loss Spread',
    'Generator Loss Mean',
    'Generator Loss Spread',
    'D on Real',
    'D on Generated',
    'Energy Distance',
    'Neighbours Samples',
    'Neighbours Real',
    'Feature Distance',
    'Centroid Distance Before',
    'Centroid Distance After',
    'Moved Toward',
    'Largest Real Move',
)
SETTINGS = dict(
    hidden=[16, 16],
    layer='dense',
    activation='tanh',
    iterations=201,
    d_steps=1,
    g_steps=1,
    batch_size=256,
    learning_rate=0.001,
    seed=0,
)
CLAIM = dict(
    claim='The losses settle',
    measured={'distance': 0.01, 'spread': None},
    holds=True,
)
FINAL = dict(
    energy_distance=0.004,
    energy_distance_error=0.001,
    neighbours_samples=0.7,
    neighbours_real=None,
    floor=0.0013,
)
SHEETS = 8


def noise_grid(noise_dim):
    """Positions of one sheet of noise, [k, 1 or 2]."""
    axes = [np.linspace(-1, 1, 9)]*min(noise_dim, 2)
    return np.stack(np.meshgrid(*axes), -1).reshape(-1, len(axes))


def write_data(path, rows, names, image, own, noise):
    low = rows.min(axis=0)
    high = rows.max(axis=0)
    margin = np.where(high > low, 0.15*(high - low), np.maximum(1, 0.1*np.abs(high)))
    arrays = dict(training=rows, real=rows[:64 if len(image) else 256], low=low - margin,
                  high=high + margin, names=names, image=image, floor=0.001, noise=noise)
    if own:
        arrays.update(rows=rows, shuffled=0.1)
    np.savez(path, **arrays)


def write_snapshot(path, rows, mapped, rng):
    features = rng.normal(size=[3, 2, 256, 2])
    features[:, 1] += 3*rng.random()
    features[2, 0] = features[1, 0]  # an update of G moves no real feature
    generated = rows[rng.permutation(len(rows))[:256]]
    np.savez(path, generated=generated, features=features.astype(np.float32),
             boundary=rng.normal(size=[2, 3]), decision=rng.random(64).astype(np.float32),
             mapping=np.resize(rows, [mapped, rows.shape[1]]).astype(np.float32))


def write_table(path, header, rows):
    with open(path, 'w', newline='', encoding='utf-8', errors='replace') as file:
        writer = csv.writer(file, lineterminator='\n')
        writer.writerow(header)
        writer.writerows(rows)


def make_folder(folder, rows, names=None, iterations=(0, 100, 200), own=True, image=(),
                pictures='all', noise_dim=2):
    """A finished run in this folder on rows [n, dim]; every number not learned is random."""
    rng = np.random.default_rng(0)
    names = names or [f'x{k}' for k in range(rows.shape[1])]
    noise = noise_grid(noise_dim)
    snapshots = folder/'snapshots'
    snapshots.mkdir(parents=True)
    write_data(snapshots/'data.npz', rows, names, image, own, noise)
    settings = dict(SETTINGS, data='table.csv' if own else 'quadratic', pictures=pictures,
                    fingerprint=[1, 2, 3] if own else None, noise_dim=noise_dim)
    (folder/'settings.json').write_text(json.dumps(settings))

    measured = []
    for iteration in iterations:
        mapped = len(noise)*(SHEETS if noise_dim > 2 else 1)
        write_snapshot(snapshots/f'{iteration:06d}.npz', rows, mapped, rng)
        numbers = [f'{x:.4g}' for x in rng.random(10)]
        measured.append([iteration, *numbers, 2, 1, 1, 0])
    write_table(folder/'metrics.csv', METRICS, measured)
    write_table(folder/'loss_logs.csv', ['Iteration', 'Discriminator Loss', 'Generator Loss'],
                [(iteration, 1.3, 0.7) for iteration in iterations])
    write_table(folder/'generated_samples.csv', names, np.resize(rows, [500, rows.shape[1]]))
    summary = dict(claims=dict(losses_settle=CLAIM), final=FINAL, settings=settings,
                   versions=dict(python='3'), seconds=dict(training=2.),
                   verdict='As good as real rows.' if own else None,
                   delivered_iteration=iterations[-1])
    (folder/'summary.json').write_text(json.dumps(summary))
    return folder


def draw(*arguments):
    """`python plotting.py FOLDER`, in this process. Returns its exit status and what it printed on
    stderr."""
    stderr = io.StringIO()
    command = mock.patch.object(sys, 'argv', ['plotting.py', *map(str, arguments)])
    signals = mock.patch.object(plotting.signal, 'signal')
    with command, signals, contextlib.redirect_stderr(stderr):
        return plotting.main(), stderr.getvalue()
