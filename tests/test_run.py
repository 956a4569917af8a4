"""The program as its users meet it: the command, its files and pictures, the exercises, the user's own data."""
import csv
import io
import json
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
from gan_quadratic import DISTRIBUTIONS, train
from plotting import FRAMES, ONCE

from folders import draw
from test_measures import CLAIMS, METRICS

ROOT = Path(program.__file__).parent
LINE = re.compile(r'Iterations: \d+\t Discriminator loss: \d+\.\d{4}\t Generator loss: \d+\.\d{4}')
TINY = dict(iterations=3, snapshot_every=2, batch_size=8, hidden=[4])


def command(script, *words, **options):
    words = [sys.executable, str(ROOT/script), *map(str, words)]
    return subprocess.run(words, capture_output=True, text=True, **options)


def assert_pictures(folder, names):
    """Each of them decodes and is not blank."""
    for name in names:
        with Image.open(folder/name) as image:
            assert image.format == ('GIF' if name.endswith('gif') else 'PNG'), name
            shades = np.asarray(image.convert('L'))
        assert shades.std() > 5 and min(shades.shape) > 300, name


def expected_pictures(iterations, sets=('article',)):
    lines = {name: kind.gif for name, kind in FRAMES.items() if kind.which in sets}
    return [name % i for name in lines for i in iterations] + [*lines.values(), *list(ONCE)[:3]]


@pytest.fixture(scope='module')
def run(tmp_path_factory):
    """A short run of the command, from another folder, into a path with spaces and letters beyond ASCII."""
    elsewhere = tmp_path_factory.mktemp('elsewhere')
    done = command('gan_quadratic.py', '--iterations', 201, '--snapshot-every', 100, '--print-every', 100,
                   '--output', 'größe 2 π', cwd=elsewhere, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, done.stderr
    return elsewhere/'größe 2 π', done


def test_the_command_leaves_its_files(run):
    folder, done = run
    assert done.stderr == ''
    assert sum(bool(LINE.fullmatch(line)) for line in done.stdout.splitlines()) == 3
    assert not re.search(r'[\r\b]|ETA', done.stdout)  # no progress bar into a pipe
    assert_pictures(folder, expected_pictures([0, 100, 200]))
    assert {path.name for path in folder.iterdir() if path.is_file()} == {
        'settings.json', 'summary.json', 'loss_logs.csv', 'metrics.csv', 'generated_samples.csv', 'training_data.png',
        'training_loss.png', 'metrics.png', 'iterations.gif', 'feature_transform.gif', 'feature_transform_centroid.gif',
        'checkpoint.npz', 'index.html'}
    assert {path.name for path in folder.iterdir() if path.is_dir()} == {
        'iterations', 'features', 'snapshots', 'saved_model', 'tensorboard'}
    assert not list(folder.rglob('*.tmp')) and len(list((folder/'tensorboard').iterdir())) == 1
    with Image.open(folder/'iterations.gif') as gif:
        assert gif.n_frames == 3 and gif.info['duration'] == 500


def test_the_csvs(run):
    folder, _ = run
    with open(folder/'loss_logs.csv') as file:
        rows = list(csv.reader(file))
    assert rows[0] == ['Iteration', 'Discriminator Loss', 'Generator Loss']
    assert [int(row[0]) for row in rows[1:]] == list(range(0, 201, 10))
    assert np.isfinite(np.array(rows[1:], float)).all()
    samples = np.loadtxt(folder/'generated_samples.csv', delimiter=',', skiprows=1)
    assert samples.shape == (10000, 2) and (folder/'generated_samples.csv').read_text().startswith('x,y\n')


def test_the_summary_agrees_with_the_csvs(run):
    folder, done = run
    summary = json.loads((folder/'summary.json').read_text())
    rows = program.read_rows(folder/'metrics.csv')
    assert [row['Iteration'] for row in rows] == [0, 100, 200]
    assert list(rows[0]) == METRICS
    assert summary['settings']['seed'] == 0 and summary['settings']['iterations'] == 201
    assert set(summary['seconds']) == {'set_up', 'compile', 'training', 'pictures'}
    claims = summary['claims']
    assert list(claims) == CLAIMS
    assert all(set(claim) == {'claim', 'measured', 'holds'} for claim in claims.values())
    share = claims['centroid_moves_toward']['measured']['share of snapshots']
    assert share == np.mean([row['Centroid Distance After'] < row['Centroid Distance Before'] for row in rows])
    assert claims['real_features_stay']['measured'] == {'largest move': 0} and claims['real_features_stay']['holds']
    assert claims['samples_follow']['measured']['energy distance'] == summary['final']['energy_distance'] > 0.02
    assert not claims['samples_follow']['holds']
    assert sum(claim['claim'] in done.stdout for claim in claims.values()) == 5
    # the losses' mean since the last snapshot is that of the log, whose every tenth row it covers
    log = np.loadtxt(folder/'loss_logs.csv', delimiter=',', skiprows=1)
    covered = log[(log[:, 0] > 100) & (log[:, 0] <= 200)]
    assert abs(covered[:, 1].mean() - rows[2]['Discriminator Loss Mean']) < 3*rows[2]['Discriminator Loss Spread']


def test_measures_agree_with_the_snapshots_arrays(run):
    folder, _ = run
    for row in program.read_rows(folder/'metrics.csv'):
        with np.load(folder/(program.SNAPSHOT % row['Iteration'])) as arrays:
            centroids = arrays['features'].mean(axis=2)
        apart = np.linalg.norm(centroids[:, 1] - centroids[:, 0], axis=1)
        assert row['Centroid Distance Before'] == pytest.approx(apart[1], rel=1e-5)
        assert row['Centroid Distance After'] == pytest.approx(apart[2], rel=1e-5)
        assert row['Largest Real Move'] == 0


# ------------------------------------------------------------------------------------ TensorFlow's own formats

def test_the_saved_model_gives_what_the_session_gives(run, tmp_path):
    """In a fresh process without this project; the first rows are those of generated_samples.csv."""
    folder, _ = run
    Z = program.sample_Z(10_000, 2, program.make_streams(0)['final'])
    np.save(tmp_path/'Z.npy', Z)
    (tmp_path/'load.py').write_text(LOAD)
    done = subprocess.run([sys.executable, 'load.py', str(folder)], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "'GAN/Generator/dense/kernel'" in done.stdout and 'RMSProp' not in done.stdout
    expected = np.loadtxt(folder/'generated_samples.csv', delimiter=',', skiprows=1)
    assert_samples(np.load(tmp_path/'out.npy'), expected)


LOAD = """
import sys, numpy as np, tensorflow as tf
model = tf.saved_model.load(sys.argv[1] + '/saved_model')
Z = tf.constant(np.load('Z.npy').astype('float32'))
np.save('out.npy', model.signatures['serving_default'](Z=Z)['samples'].numpy())
print([name for name, _ in tf.train.list_variables(sys.argv[1] + '/saved_model/variables/variables')])
"""


def assert_saved_model(folder, settings, expected):
    """The SavedModel of a folder makes these samples of the noise that they are made of."""
    import tensorflow as tf2
    Z = program.sample_Z(program.FINAL_ROWS, settings['noise_dim'], program.make_streams(settings['seed'])['final'])
    model = tf2.saved_model.load(str(folder/'saved_model'))
    assert_samples(model.signatures['serving_default'](Z=tf2.constant(Z, 'float32'))['samples'].numpy(), expected)


def assert_samples(samples, expected):
    """They agree to 1e-5 of each column's deviation, but for a value in a thousand, which may fall on another step."""
    assert samples.shape == expected.shape
    assert (np.abs(samples - expected) <= 1e-5*expected.std(axis=0) + 1e-8*np.abs(expected)).mean() > 0.999


def assert_events(folder):
    """TensorBoard's file holds the graph once, and each figure of metrics.csv once."""
    path, = (folder/'tensorboard').iterdir()
    events = list(program.tf.train.summary_iterator(str(path)))
    assert sum(bool(event.graph_def) for event in events) == 1
    scalars = {(value.tag, event.step): value.simple_value for event in events for value in event.summary.value}
    rows = program.read_rows(folder/'metrics.csv')
    expected = {(name, int(row['Iteration'])): value for row in rows for name, value in row.items()
                if value is not None and name != 'Iteration'}
    assert scalars.keys() == expected.keys()
    assert all(scalars[key] == pytest.approx(expected[key], rel=1e-6, abs=1e-9) for key in expected)
    assert sum(len(event.summary.value) for event in events) == len(scalars)


def test_tensorboard_has_each_measure_once(run):
    assert_events(run[0])


# ------------------------------------------------------------------------------------------ seeds, schedules, pace

def test_claims_are_false_of_an_untrained_generator(tmp_path):
    claims = train(iterations=5, snapshot_every=1, learning_rate=1e-12, step_by_step=True, pictures='none',
                   output=str(tmp_path))['claims']
    for name in ('losses_settle', 'samples_follow', 'centroid_moves_toward'):
        assert claims[name]['holds'] is False, claims[name]


def results_of(folder, **flags):
    train(output=str(folder), pictures='none', **flags)
    return [(folder/name).read_bytes() for name in ('loss_logs.csv', 'metrics.csv', 'generated_samples.csv')]


def test_the_seed_fixes_everything_and_snapshots_change_no_batch(tmp_path):
    """Nor does the compiled loop, also of several steps an iteration."""
    flags = dict(iterations=31, snapshot_every=15, log_every=1, batch_size=32, d_steps=3, g_steps=2, step_by_step=True)
    first, second = (results_of(tmp_path/name, **flags) for name in 'ab')
    assert first == second
    other = results_of(tmp_path/'c', **flags, seed=1)
    assert all(one != another for one, another in zip(first, other))
    seldom = results_of(tmp_path/'d', **dict(flags, snapshot_every=1000, step_by_step=False))
    rows = [np.loadtxt(text.decode().splitlines(), delimiter=',', skiprows=1) for text in (first[0], seldom[0])]
    assert len(rows[0]) == 31
    np.testing.assert_allclose(rows[0][:10], rows[1][:10], rtol=1e-4)
    np.testing.assert_allclose(*rows, rtol=1e-3)


def test_a_call_lasts_half_a_second_at_most_from_the_first_on(tmp_path, monkeypatch):
    sizes = []

    def slow(X_batches, Z_batches):
        sizes.append(len(X_batches))
        time.sleep(0.1*len(X_batches))
        return np.ones([len(X_batches), 2])
    monkeypatch.setattr(program, 'block_trainer', lambda run, length: slow)
    train(iterations=14, output=str(tmp_path), pictures='none')
    assert sum(sizes) == 13 and max(sizes) <= 4 and len(sizes) < 10


class Terminal(io.StringIO):
    """Stands for stdout on a terminal."""
    def isatty(self):
        return True


@pytest.mark.parametrize('term, bars', [('dumb', 0), ('xterm', 1)])
def test_the_bar_counts_from_where_the_pace_is_known(term, bars, tmp_path, monkeypatch):
    """Else the first estimate would take compiling for training; a terminal that knows no escapes gets none."""
    made = []

    class Bar:
        def __init__(self, target, unit_name):
            made.append([target])

        def add(self, n):
            made[-1].append(n)
    monkeypatch.setenv('TERM', term)
    monkeypatch.setattr(program.tf.keras.utils, 'Progbar', Bar)
    monkeypatch.setattr(sys, 'stdout', Terminal())
    train(iterations=14, output=str(tmp_path), pictures='none', step_by_step=True, print_every=1)
    said = sys.stdout.getvalue()
    assert len(made) == bars and ('\033' in said) == bool(bars)
    for target, *done in made:  # iteration 0 goes alone, then the first block of one iteration shows the pace
        assert target == 14 - 2 and sum(done) == target


def test_nobody_listens(tmp_path):
    words = (f'"{sys.executable}" "{ROOT}/gan_quadratic.py" --iterations 21 --snapshot-every 10 --print-every 1 '
             f'--step-by-step --output "{tmp_path}/out" 2>&- | head -1')
    done = subprocess.run(['sh', '-c', words], capture_output=True, text=True)
    assert done.stderr == '' and json.loads((tmp_path/'out'/'summary.json').read_text())['settings']['iterations'] == 21
    assert_pictures(tmp_path/'out', expected_pictures([0, 10, 20]))


# -------------------------------------------------------------------------------------------------- exercises

def test_shapes_of_the_distributions():
    rng = np.random.default_rng(0)
    rows = {name: line.sample(8000, 100., rng) for name, line in DISTRIBUTIONS.items()}
    for name in ('ring', 'sphere'):
        np.testing.assert_allclose(np.linalg.norm(rows[name], axis=1), 1)
    np.testing.assert_allclose(rows['sphere'].mean(axis=0), 0, atol=0.03)
    np.testing.assert_allclose((rows['sphere']**2).mean(axis=0), 1/3, atol=0.02)
    np.testing.assert_allclose(np.hypot(*rows['helix'][:, :2].T), 1)
    x, y = rows['two-curves'].T
    np.testing.assert_allclose(np.abs(y), 10 + x*x)
    assert abs(np.mean(y > 0) - 0.5) < 0.02
    centres = np.stack([np.cos(np.arange(8)*np.pi/4), np.sin(np.arange(8)*np.pi/4)], axis=1)
    offsets = rows['gaussians'][:, None] - centres
    nearest = np.linalg.norm(offsets, axis=2).argmin(axis=1)
    assert np.bincount(nearest, minlength=8).min() > 900
    spread = np.array([offsets[nearest == k, k].std(axis=0) for k in range(8)])
    np.testing.assert_allclose(spread, 0.05, rtol=0.08)
    for name, line in DISTRIBUTIONS.items():
        if line.curve:
            np.testing.assert_allclose(rows[name][:, 1], line.curve(rows[name][:, 0]))


# ------------------------------------------------------------------------------------------ from other programs

def test_train_beside_eager_tensorflow_without_a_main_guard(tmp_path):
    """And Keras stays what it would have been, though it is not loaded with TensorFlow."""
    code = ('import os, sys; from gan_quadratic import build_gan, tf as late, train\n'
            'assert "tensorflow" not in sys.modules\n'
            'late.constant; assert "keras" not in sys.modules and "TF_USE_LEGACY_KERAS" not in os.environ\n'
            'import tensorflow as tf; from tensorflow.keras.layers import Dense; import keras\n'
            'print(tf.keras.__version__ == keras.__version__, tf.keras.layers.Dense is keras.layers.Dense is Dense)\n'
            'print(float(tf.reduce_sum(tf.ones([2]))), tf.keras.utils.Progbar.__name__)\n'
            'with tf.Graph().as_default():\n    print(build_gan()._fields[0], tf.executing_eagerly())\n'
            f'results = train(iterations=3, snapshot_every=2, output={str(tmp_path/"out")!r}, step_by_step=True)\n'
            'print(results["samples"].shape, sorted(results)); print(float(tf.reduce_sum(tf.ones([3]))))\n')
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[:3] == ['True True', '2.0 Progbar', 'X False'] and lines[-1] == '3.0'
    assert ("(10000, 2) ['advice', 'claims', 'delivered_iteration', 'final', 'samples', 'seconds', 'settings', "
            "'verdict', 'versions']") in lines
    assert_pictures(tmp_path/'out', expected_pictures([0, 2]))


def test_the_example_of_the_readme(tmp_path, monkeypatch, capsys):
    example, = re.findall(r'```python\n(.*?)```', (ROOT/'README.md').read_text(encoding='utf-8'), re.S)
    monkeypatch.chdir(tmp_path)
    exec(example, {})
    said = r"\{'energy_distance': [\d.]+, 'curve_residual': [\d.]+, 'coverage': [\d.]+\} \(10000, 2\)"
    assert re.fullmatch(said, capsys.readouterr().out.splitlines()[-1])
    assert_pictures(tmp_path/'outputs'/'demo', expected_pictures([0, 1000, 2000]))


def test_the_examples_of_help_can_be_pasted():
    lines = [shlex.split(line, comments=True) for line in program.__doc__.split('\n\n')[1].splitlines()]
    assert len(lines) == 4
    for python, script, *words in lines:
        assert python == 'python' and (ROOT/script).exists() and isinstance(program.parse(words), dict)


def test_train_names_what_is_wrong():
    with pytest.raises(program.UsageError, match='--iterations: 0 is not allowed'):
        train(iterations=0)
    with pytest.raises(program.UsageError, match='--iteratons'):
        train(iteratons=5)


def test_three_runs_in_threads(tmp_path, capfd):
    """Each with its own graph and folder, and stderr is there afterwards."""
    with ThreadPoolExecutor(3) as threads:
        runs = [threads.submit(train, output=str(tmp_path/name), pictures='none', step_by_step=True, **TINY)
                for name in 'abc']
        samples = [run.result()['samples'] for run in runs]
    assert np.array_equal(samples[0], samples[1]) and np.array_equal(samples[0], samples[2])
    capfd.readouterr()
    os.write(2, b'still here')
    assert capfd.readouterr().err == 'still here'


@pytest.mark.parametrize('data', [name for name in DISTRIBUTIONS if name != 'quadratic'])
def test_every_distribution_trains(data, tmp_path):
    results = train(data=data, output=str(tmp_path), pictures='none', step_by_step=True, **TINY)
    assert results['samples'].shape[1] == (3 if data in ('helix', 'sphere') else 2)
    assert results['settings']['normalize'] == 'standard'
    assert results['settings']['hidden'] == [4]  # the user's flag wins
    if data in ('sphere', 'spiral'):
        settings = dict(results['settings'], pictures='all')
        program.write_json(tmp_path/'settings.json', settings)
        assert draw(tmp_path) == (0, '')
        names = [name % i for name, kind in FRAMES.items() for i in (0, 2) if data == 'spiral' or not kind.planar]
        assert len(names) == (14 if data == 'spiral' else 10)
        assert_pictures(tmp_path, names)
