"""Folders as a run leaves them, made of plain NumPy: for tests of plotting.py, which needs no more
of a run."""
import contextlib
import csv
import io
import json
import sys
from unittest import mock

import numpy as np

import plotting
from gan_quadratic import LOSSES, METRICS

FRAME_ROWS = 256  # in a picture of each snapshot, of images 64
SIDE = 9          # points on each side of a grid of noise, 8 of D's map
SHEETS = 8        # of noise that has more than two dimensions


def make_folder(folder, rows, names=None, iterations=(0, 100, 200), own=True, image=(),
                pictures='all', noise_dim=2):
    """A finished run in this folder on rows [n, dim]; every number that was not learned is random.
    """
    rng = np.random.default_rng(0)
    names = names or [f'x{k}' for k in range(rows.shape[1])]
    (folder/'snapshots').mkdir(parents=True)
    sheet = noise_sheet(noise_dim)
    write_data(folder, rows, names, own, image, sheet)
    write_logs(folder, iterations, rng)
    for iteration in iterations:
        mapped = len(sheet)*(SHEETS if noise_dim > 2 else 1)
        write_snapshot(folder, iteration, rows, mapped, rng)
    write_samples(folder, rows, names)
    settings = dict(
        data='table.csv' if own else 'quadratic',
        fingerprint=[1, 2, 3] if own else None,
        pictures=pictures,
        hidden=[16, 16],
        layer='dense',
        activation='tanh',
        noise_dim=noise_dim,
        iterations=201,
        d_steps=1,
        g_steps=1,
        batch_size=256,
        learning_rate=0.001,
        seed=0)
    write_json(folder/'settings.json', settings)
    write_summary(folder, settings)
    return folder


def noise_sheet(noise_dim):
    """A grid over the first two values of the noise: [n, 2], or [n, 1] where there is but one."""
    axis = np.linspace(-1, 1, SIDE)
    if noise_dim == 1:
        return axis[:, None]
    return np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)


def write_data(folder, rows, names, own, image, sheet):
    """What the run knows of its data."""
    low, high = rows.min(axis=0), rows.max(axis=0)
    margin = np.where(high > low, 0.15*(high - low), np.maximum(1, 0.1*np.abs(high)))
    arrays = dict(
        training=rows, real=rows[:64 if image else FRAME_ROWS], low=low - margin,
        high=high + margin, names=names, formats=['%.9g']*len(names), image=image, noise=sheet,
        floor=0.001)
    if own and not image:
        arrays.update(rows=rows, shuffled=0.1)
    np.savez(folder/'snapshots'/'data.npz', **arrays)


def write_logs(folder, iterations, rng):
    with open(folder/'loss_logs.csv', 'w', newline='') as file:
        writer = csv.writer(file, lineterminator='\n')
        writer.writerow(LOSSES)
        writer.writerows([i, 1.3, 0.7] for i in iterations)
    with open(folder/'metrics.csv', 'w', newline='') as file:
        writer = csv.DictWriter(file, METRICS, lineterminator='\n')
        writer.writeheader()
        for i in iterations:
            row = {name: f'{value:.4g}' for name, value in zip(METRICS, rng.random(len(METRICS)))}
            row.update({'Iteration': i, 'Moved Toward': 1, 'Largest Real Move': 0})
            writer.writerow(row)


def write_snapshot(folder, iteration, rows, mapped, rng):
    """mapped: how many points of the grids of noise the generator has mapped."""
    features = rng.normal(size=[3, 2, FRAME_ROWS, 2])
    features[:, 1] += 3*rng.random()  # of generated samples
    np.savez(
        folder/'snapshots'/f'{iteration:06d}.npz',
        generated=rows[rng.permutation(len(rows))[:FRAME_ROWS]],
        features=features.astype(np.float32),
        boundary=rng.normal(size=[2, 3]).astype(np.float32),
        decision=rng.random((SIDE - 1)**2).astype(np.float32),
        mapping=np.resize(rows, [mapped, rows.shape[1]]).astype(np.float32))


def write_samples(folder, rows, names):
    with open(folder/'generated_samples.csv', 'w', newline='') as file:
        csv.writer(file).writerow(names)
        np.savetxt(file, np.resize(rows, [500, len(names)]), '%.9g', ',')


def write_summary(folder, settings):
    claim = dict(claim='The losses settle', measured=dict(distance=0.01, spread=None), holds=True)
    final = dict(energy_distance=0.004, energy_distance_error=0.001, neighbours_samples=0.6,
                 neighbours_real=0.7, neighbours_error=0.02, floor=0.001)
    write_json(folder/'summary.json', dict(
        claims=dict(losses_settle=claim), final=final, settings=settings,
        versions=dict(python='3'), seconds=dict(training=2.), delivered_iteration=200,
        verdict='As good as real rows.'))


def write_json(path, content):
    path.write_text(json.dumps(content))


def draw(folder):
    """`python plotting.py FOLDER`, in this process. Returns its exit status and what it printed on
    stderr."""
    stderr = io.StringIO()
    with (mock.patch.object(sys, 'argv', ['plotting.py', str(folder)]),
          mock.patch.object(plotting.signal, 'signal'), contextlib.redirect_stderr(stderr)):
        return plotting.main(), stderr.getvalue()
