"""Folders as a run leaves them, made of plain NumPy: for tests of plotting.py, which needs no more of a run."""
import contextlib
import csv
import io
import json
import sys
from unittest import mock

import numpy as np

import plotting

METRICS = ('Iteration,Discriminator Loss Mean,Discriminator Loss Spread,Generator Loss Mean,Generator Loss Spread,'
           'D on Real,D on Generated,Energy Distance,Curve Residual,Coverage,Feature Mixing,Centroid Distance Before,'
           'Centroid Distance After,Moved Toward,Largest Real Move\n')


def make_folder(folder, rows, names=None, iterations=(0, 100, 200), own=True, image=(), pictures='all', noise_dim=2):
    """A finished run in this folder on rows [n, dim]; every number that was not learned is random."""
    rng, dim, shots = np.random.default_rng(0), rows.shape[1], folder/'snapshots'
    names = names or [f'x{k}' for k in range(dim)]
    low, high = rows.min(axis=0), rows.max(axis=0)
    margin = np.where(high > low, 0.15*(high - low), np.maximum(1, 0.1*np.abs(high)))
    shots.mkdir(parents=True)
    np.savez(shots/'data.npz', training=rows, real=rows[:64 if image else 256], low=low - margin, high=high + margin,
             names=names, image=image, floor=0.001, noise=np.stack(np.meshgrid(*[np.linspace(-1, 1, 9)]*2), -1).reshape(
                 -1, 2), **(dict(kept=rows[::5], shuffled=0.1) if own and not image else {}))
    settings = dict(data='table.csv' if own else 'quadratic', fingerprint=[1, 2, 3] if own else None, pictures=pictures,
                    hidden=[16, 16], layer='dense', activation='tanh', noise_dim=noise_dim, iterations=201, d_steps=1,
                    g_steps=1, batch_size=256, learning_rate=0.001, seed=0)
    (folder/'settings.json').write_text(json.dumps(settings))
    (folder/'loss_logs.csv').write_text('Iteration,Discriminator Loss,Generator Loss\n'
                                        + ''.join(f'{i},1.3,0.7\n' for i in iterations))
    with open(folder/'metrics.csv', 'w') as metrics:
        metrics.write(METRICS)
        for i in iterations:
            metrics.write(f'{i},' + ','.join(f'{x:.4g}' for x in rng.random(7)) + ',,,0.5,2,1,1,0\n')
            features = rng.normal(size=[3, 2, 256, 2])
            features[:, 1] += 3*rng.random()
            np.savez(shots/f'{i:06d}.npz', generated=rows[rng.permutation(len(rows))[:256]],
                     features=features.astype(np.float32), decision=rng.random(64).astype(np.float32),
                     mapping=np.resize(rows, [81, dim]).astype(np.float32))
    with open(folder/'generated_samples.csv', 'w', newline='') as file:
        csv.writer(file).writerow(names)
        np.savetxt(file, np.resize(rows, [500, dim]), '%.9g', ',')
    claim = dict(claim='The losses settle', measured={'distance': 0.01, 'spread': None}, holds=True)
    (folder/'summary.json').write_text(json.dumps(dict(
        claims=dict(losses_settle=claim), final=dict(energy_distance=0.004, coverage=None), settings=settings,
        versions=dict(python='3'), seconds=dict(training=2.), verdict='As good as real rows.', advice=None)))
    return folder


def draw(folder):
    """`python plotting.py FOLDER`, in this process. Returns its exit status and what it printed on stderr."""
    stderr = io.StringIO()
    with (mock.patch.object(sys, 'argv', ['plotting.py', str(folder)]), mock.patch.object(plotting.signal, 'signal'),
          contextlib.redirect_stderr(stderr)):
        return plotting.main(), stderr.getvalue()
