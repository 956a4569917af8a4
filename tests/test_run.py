"""`train` and the command as their users meet them: what a run leaves, seeds, pace, exercises, other programs."""
import csv
import json
import math
import os
import re
import shlex
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import gan_quadratic as program
from gan_quadratic import DISTRIBUTIONS, make_data, parse, train
from plotting import FRAMES, ONCE, numbered

from folders import draw
from helpers import SAME
from test_measures import CLAIMS, METRICS

ROOT = Path(program.__file__).parent
TINY = dict(iterations=5, snapshot_every=2, batch_size=8, hidden=[4], pictures='none', step_by_step=True)


def draw_all(folder, planar=True):
    """Draws every picture of a TINY run without pictures, in this process; they decode and are not blank."""
    settings = program.read_file(folder/'settings.json')
    program.write_file(folder/'settings.json', **dict(settings, pictures='all'))
    assert draw(folder) == (0, '')
    kinds = {name: kind for name, kind in FRAMES.items() if planar >= kind.planar}
    for name in (*(name % i for name in kinds for i in (0, 2, 4)), *(kind.gif for kind in kinds.values()),
                 *list(ONCE)[:3]):
        with Image.open(folder/name) as image:
            assert image.format == ('GIF' if name.endswith('gif') else 'PNG'), name
            shades = np.asarray(image.convert('L'))
        assert shades.std() > 5 and min(shades.shape) > 300, name


def measured(folder):
    """The columns of metrics.csv."""
    with open(folder/'metrics.csv', newline='') as file:
        header, *rows = csv.reader(file)
    return dict(zip(header, np.array([[float(cell or 'nan') for cell in row] for row in rows]).T))


def test_the_numbers_of_a_run_agree(tmp_path):
    folder = tmp_path
    results = train(iterations=201, snapshot_every=100, step_by_step=True, pictures='none', output=folder)
    rows = list(csv.reader((folder/'loss_logs.csv').read_text().splitlines()))
    assert rows[0] == ['Iteration', 'Discriminator Loss', 'Generator Loss']
    assert [int(row[0]) for row in rows[1:]] == list(range(0, 201, 10)) and np.isfinite(np.array(rows[1:], float)).all()
    samples = np.loadtxt(folder/'generated_samples.csv', delimiter=',', skiprows=1)
    assert samples.shape == (10000, 2) and (folder/'generated_samples.csv').read_text().startswith('x,y\n')
    np.testing.assert_allclose(samples, results['samples'], rtol=1e-8)
    columns = measured(folder)
    assert list(columns) == METRICS and columns['Iteration'].tolist() == [0, 100, 200]
    assert all(np.isfinite(column).all() for column in columns.values()) and not columns['Largest Real Move'].any()
    # the losses' mean since the last snapshot is that of the log, whose every tenth row it covers
    covered = np.array(rows[12:], float)
    assert abs(covered[:, 1].mean() - columns['Discriminator Loss Mean'][2]) < 3*columns['Discriminator Loss Spread'][2]
    for k, path in enumerate(numbered(folder, program.SNAPSHOT).values()):
        with np.load(path) as arrays:
            centroids = arrays['features'].mean(axis=2)
        for when, apart in zip(('Before', 'After'), np.linalg.norm(centroids[1:, 1] - centroids[1:, 0], axis=1)):
            assert columns[f'Centroid Distance {when}'][k] == pytest.approx(apart, rel=1e-5)
    summary = json.loads((folder/'summary.json').read_text())
    assert summary == {name: value for name, value in results.items() if name != 'samples'}
    assert summary['settings']['seed'] == 0 and summary['settings']['iterations'] == 201
    claims = summary['claims']
    assert list(claims) == CLAIMS and all({'claim', 'measured', 'holds'} <= set(claim) for claim in claims.values())
    assert claims['centroid_moves_toward']['measured']['share of snapshots'] == np.mean(
        columns['Centroid Distance After'] < columns['Centroid Distance Before'])
    assert claims['real_features_stay']['measured'] == {'largest move': 0} and claims['real_features_stay']['holds']
    assert claims['samples_follow']['measured']['energy distance'] == summary['final']['energy_distance'] > 0.02
    assert claims['samples_follow']['holds'] is claims['losses_settle']['holds'] is False
    assert_saved_model(folder, results['settings'], results['samples'])
    assert_events(folder, files=1)


def assert_saved_model(folder, settings, expected):
    """The SavedModel of a folder, read back by TensorFlow 2, makes these samples of the noise that they are made of;
    but for a value in a thousand, which may fall on another step."""
    import tensorflow as tf2
    Z = program.sample_Z(program.FINAL_ROWS, settings['noise_dim'], program.make_streams(settings['seed'])['final'])
    model = tf2.saved_model.load(str(folder/'saved_model'))
    samples = model.signatures['serving_default'](Z=tf2.constant(Z, 'float32'))['samples'].numpy()
    assert samples.shape == expected.shape
    assert (np.abs(samples - expected) <= 1e-5*expected.std(axis=0) + 1e-8*np.abs(expected)).mean() > 0.999
    names = [name for name, _ in tf2.train.list_variables(str(folder/'saved_model'/'variables'/'variables'))]
    assert 'GAN/Generator/dense/kernel' in names and not [name for name in names if 'RMSProp' in name]


def assert_events(folder, files):
    """TensorBoard finds each figure of metrics.csv once in so many files, and the graph in the first: a file that
    begins with START at an iteration drops what earlier ones have from there on."""
    paths, scalars, graphs, tf = sorted((folder/'tensorboard').iterdir()), {}, [], program.tf
    for path in paths:
        for event in tf.train.summary_iterator(str(path)):
            if event.session_log.status == tf.SessionLog.START:
                scalars = {key: value for key, value in scalars.items() if key[1] < event.step}
            graphs += [path] if event.graph_def else []
            new = {(value.tag, event.step): value.simple_value for value in event.summary.value}
            assert scalars.keys().isdisjoint(new) and len(new) == len(event.summary.value)
            scalars.update(new)
    columns = measured(folder)
    steps = columns.pop('Iteration')
    expected = {(name, step): x for name in columns for step, x in zip(steps, columns[name]) if not math.isnan(x)}
    assert len(paths) == files and graphs == paths[:1]
    assert scalars == pytest.approx(expected, rel=1e-6, abs=1e-9)


def test_the_seed_fixes_everything_and_snapshots_change_no_batch(tmp_path, capfd):
    """Nor does the compiled loop. The runs are in threads, each with its own graph; stderr is there afterwards."""
    def run(k, **flags):
        train(iterations=21, log_every=1, batch_size=32, hidden=[4], d_steps=3, g_steps=2, output=tmp_path/str(k),
              pictures='none', **flags)
        return [(tmp_path/str(k)/name).read_bytes() for name in SAME]
    flags = *(dict(snapshot_every=10, seed=seed, step_by_step=True) for seed in (0, 0, 1)), dict(snapshot_every=1000)
    with ThreadPoolExecutor(4) as threads:
        runs = [threads.submit(run, k, **each) for k, each in enumerate(flags)]
        first, second, other, seldom = (run.result() for run in runs)
    os.write(2, b'still here')
    assert capfd.readouterr().err == 'still here'
    assert first == second and all(one != another for one, another in zip(first, other))
    rows = [np.loadtxt(text.decode().splitlines(), delimiter=',', skiprows=1) for text in (first[0], seldom[0])]
    assert len(rows[0]) == 21
    np.testing.assert_allclose(*rows, rtol=1e-3)


def test_a_call_lasts_half_a_second_at_most_from_the_first_on(tmp_path, monkeypatch):
    sizes = []

    def slow(X_batches, Z_batches):
        sizes.append(len(X_batches))
        time.sleep(0.1*len(X_batches))
        return np.ones([len(X_batches), 2])
    monkeypatch.setattr(program.Run, 'block_trainer', lambda run: slow)
    train(iterations=14, output=tmp_path, pictures='none')
    assert sum(sizes) == 13 and max(sizes) <= 4 and len(sizes) < 10


def test_nobody_listens(tmp_path):
    words = (f'"{sys.executable}" "{ROOT}/gan_quadratic.py" --iterations 11 --print-every 1 --pictures none '
             f'--step-by-step --output "{tmp_path}/out" 2>&- | head -1')
    done = subprocess.run(['sh', '-c', words], capture_output=True, text=True)
    assert done.stderr == '' and (tmp_path/'out'/'summary.json').exists()


def test_shapes_of_the_distributions():
    rng = np.random.default_rng(0)
    rows = {name: line.sample(8000, 100., rng) for name, line in DISTRIBUTIONS.items()}
    for circle in rows['ring'], rows['sphere'], rows['helix'][:, :2]:
        np.testing.assert_allclose(np.linalg.norm(circle, axis=1), 1)
    np.testing.assert_allclose(rows['sphere'].mean(axis=0), 0, atol=0.03)
    np.testing.assert_allclose((rows['sphere']**2).mean(axis=0), 1/3, atol=0.02)
    x, y = rows['two-curves'].T
    np.testing.assert_allclose(np.abs(y), 10 + x*x)
    assert abs(np.mean(y > 0) - 0.5) < 0.02
    angles = np.arange(8)*np.pi/4
    offsets = rows['gaussians'][:, None] - np.stack([np.cos(angles), np.sin(angles)], axis=1)
    nearest = np.linalg.norm(offsets, axis=2).argmin(axis=1)
    assert np.bincount(nearest, minlength=8).min() > 900
    np.testing.assert_allclose([offsets[nearest == k, k].std(axis=0) for k in range(8)], 0.05, rtol=0.08)
    for name, line in DISTRIBUTIONS.items():
        if line.curve:
            np.testing.assert_allclose(rows[name][:, 1], line.curve(rows[name][:, 0]))
        inputs = make_data(parse(['--data', name], **line.flags)).inputs(20_000, rng)
        assert inputs.shape[1] == (3 if name in ('helix', 'sphere') else 2)
        if name != 'quadratic':
            assert np.abs(inputs.mean(axis=0)).max() < 0.04 and np.abs(inputs.std(axis=0) - 1).max() < 0.03


def test_an_exercise_trains_and_is_drawn(tmp_path):
    results = train(data='sphere', output=tmp_path, **TINY)
    assert results['samples'].shape == (10_000, 3) and results['settings']['normalize'] == 'standard'
    assert results['settings']['hidden'] == [4]  # the user's flag wins
    draw_all(tmp_path, planar=False)


def test_train_beside_eager_tensorflow(tmp_path):
    code = ('import os, sys; from gan_quadratic import build_gan, tf as late, train\n'
            'assert "tensorflow" not in sys.modules\n'
            'late.constant; assert "keras" not in sys.modules and "TF_USE_LEGACY_KERAS" not in os.environ\n'
            'import tensorflow as tf; from tensorflow.keras.layers import Dense; import keras\n'
            'print(tf.keras.__version__ == keras.__version__, tf.keras.layers.Dense is keras.layers.Dense is Dense)\n'
            'print(float(tf.reduce_sum(tf.ones([2]))), tf.keras.utils.Progbar.__name__)\n'
            'with tf.Graph().as_default():\n    print(build_gan()._fields[0], tf.executing_eagerly())\n'
            f'results = train(**{dict(TINY, output=str(tmp_path/"out"))!r})\n'
            'print(results["samples"].shape, sorted(results)); print(float(tf.reduce_sum(tf.ones([3]))))\n')
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[:3] == ['True True', '2.0 Progbar', 'X False'] and lines[-2:] == [
        "(10000, 2) ['advice', 'claims', 'delivered_iteration', 'final', 'samples', 'seconds', 'settings', "
        "'verdict', 'versions']", '3.0']


def test_the_example_of_the_readme(tmp_path, monkeypatch, capsys):
    example, = re.findall(r'```python\n(.*?)```', (ROOT/'README.md').read_text(encoding='utf-8'), re.S)
    monkeypatch.chdir(tmp_path)
    exec(example.replace('iterations=2001', 'iterations=3'), {})
    said = r"\{'energy_distance': [\d.]+, 'curve_residual': [\d.]+, 'coverage': [\d.]+\} \(10000, 2\)"
    assert re.fullmatch(said, capsys.readouterr().out.splitlines()[-1])
    assert all((tmp_path/'outputs/demo'/(name % 0)).exists() for name in list(FRAMES)[:3])


def test_the_examples_of_help_can_be_pasted():
    lines = [shlex.split(line, comments=True) for line in program.__doc__.split('\n\n')[1].splitlines()]
    assert len(lines) == 5
    for python, script, *words in lines:
        assert python == 'python' and (ROOT/script).exists() and program.parse(words)['output']
