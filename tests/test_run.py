"""`train` and the command as their users meet them: what a run leaves, seeds, pace, exercises,
other programs."""
import json
import os
import re
import shlex
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

import gan_quadratic as program
from folders import draw
from gan_quadratic import DISTRIBUTIONS, train
from helpers import ROOT, SAME
from plotting import FRAMES, numbered
from runs import (
    TINY,
    assert_events,
    assert_saved_model,
    command,
    few_samples,
    measured,
    one_line,
)

COLUMNS = [
    'Iteration', 'Discriminator Loss Mean', 'Discriminator Loss Spread', 'Generator Loss Mean',
    'Generator Loss Spread', 'D on Real', 'D on Generated', 'Energy Distance',
    'Neighbours Samples', 'Neighbours Real', 'Feature Distance', 'Centroid Distance Before',
    'Centroid Distance After', 'Moved Toward', 'Largest Real Move']
CLAIMS = ['losses_settle', 'samples_follow', 'real_features_stay', 'centroid_moves_toward',
          'features_mix']


# ------------------------------------------------------------------------- the numbers of a run

@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp('short')


@pytest.fixture(scope='module')
def results(folder):
    """What `train` returns, of a run in `folder`."""
    return train(iterations=201, snapshot_every=100, step_by_step=True, pictures='none',
                 output=folder)


@pytest.fixture(scope='module')
def columns(folder, results):
    """Those of metrics.csv."""
    return measured(folder)


def read_rows(path):
    """The header of a CSV, and its rows [n, columns]."""
    header, *lines = path.read_text().splitlines()
    return header, np.array([line.split(',') for line in lines], float)


def test_every_tenth_iteration_is_in_the_log(folder, results):
    header, rows = read_rows(folder/'loss_logs.csv')
    assert header == 'Iteration,Discriminator Loss,Generator Loss'
    assert rows[:, 0].tolist() == list(range(0, 201, 10))
    assert np.isfinite(rows).all()


def test_the_samples_that_are_written_are_those_returned(folder, results):
    header, rows = read_rows(folder/'generated_samples.csv')
    assert header == 'x,y'
    assert rows.shape == (10_000, 2)
    np.testing.assert_allclose(rows, results['samples'], rtol=1e-8)


def test_each_snapshot_is_a_row_of_metrics(columns):
    assert list(columns) == COLUMNS
    assert columns['Iteration'].tolist() == [0, 100, 200]


def test_every_metric_is_a_number(columns):
    undefined = [name for name, column in columns.items() if not np.isfinite(column).all()]
    assert undefined == []


def test_the_mean_loss_covers_the_iterations_since_the_last_snapshot(folder, columns):
    """The log has every tenth of them."""
    _, rows = read_rows(folder/'loss_logs.csv')
    logged = rows[11:, 1].mean()
    spread = columns['Discriminator Loss Spread'][2]
    assert columns['Discriminator Loss Mean'][2] == pytest.approx(logged, abs=3*spread)


@pytest.mark.parametrize('when, moment', [('Before', 1), ('After', 2)])
def test_centroid_distances_are_those_of_the_snapshots(when, moment, folder, columns):
    apart = []
    for path in numbered(folder, program.SNAPSHOT).values():
        real, generated = program.read_file(path)['features'][moment].mean(axis=1)
        apart.append(np.linalg.norm(generated - real))
    np.testing.assert_allclose(columns[f'Centroid Distance {when}'], apart, rtol=1e-5)


def test_the_summary_is_what_train_returns(folder, results):
    summary = json.loads((folder/'summary.json').read_text())
    returned = {name: value for name, value in results.items() if name != 'samples'}
    assert summary == returned


def test_the_summary_has_the_settings(results):
    assert results['settings']['iterations'] == 201
    assert results['settings']['seed'] == 0


def test_each_claim_says_what_it_goes_by(results):
    assert list(results['claims']) == CLAIMS
    for claim in results['claims'].values():
        assert {'claim', 'measured', 'holds'} <= claim.keys()


def test_the_claim_on_the_centroid_needs_nine_snapshots(results):
    claim = results['claims']['centroid_moves_toward']
    assert claim['measured'] == {'share of snapshots': None}


def test_real_features_stay(results, columns):
    assert not columns['Largest Real Move'].any()
    claim = results['claims']['real_features_stay']
    assert claim['measured'] == {'largest move': 0}
    assert claim['holds']


def test_a_run_that_is_too_short_does_not_follow_its_data(results):
    claim = results['claims']['samples_follow']
    distance = results['final']['energy_distance']
    assert distance > 0.02
    assert claim['measured']['energy distance'] == distance
    assert claim['holds'] is False


def test_the_saved_model_makes_the_samples(folder, results):
    assert_saved_model(folder, results['settings'], results['samples'])


def test_the_saved_model_holds_the_generator_alone(folder, results):
    import tensorflow as tf2
    variables = tf2.train.list_variables(str(folder/'saved_model'/'variables'/'variables'))
    scopes = {'/'.join(name.split('/')[:2]) for name, _ in variables}
    assert scopes == {'GAN/Generator'}


def test_tensorboard_shows_the_metrics(folder, results):
    assert_events(folder, files=1)


# ---------------------------------------------------------------------------------- seed and pace

FOUR_RUNS = {
    'first': dict(snapshot_every=10, seed=0, step_by_step=True),
    'again': dict(snapshot_every=10, seed=0, step_by_step=True),
    'other seed': dict(snapshot_every=10, seed=1, step_by_step=True),
    'compiled': dict(snapshot_every=1000, seed=0)}


@pytest.fixture(scope='module')
def four(tmp_path_factory):
    """The folder of FOUR_RUNS, which were in threads at once, each with a graph of its own."""
    parent = tmp_path_factory.mktemp('four')

    def run(name):
        train(iterations=21, log_every=1, batch_size=32, hidden=[4], d_steps=3, g_steps=2,
              pictures='none', output=parent/name, **FOUR_RUNS[name])
    with few_samples(), ThreadPoolExecutor(len(FOUR_RUNS)) as threads:
        list(threads.map(run, FOUR_RUNS))
    return parent


@pytest.mark.parametrize('name', SAME)
def test_the_seed_fixes_every_byte(name, four):
    assert (four/'first'/name).read_bytes() == (four/'again'/name).read_bytes()


@pytest.mark.parametrize('name', SAME)
def test_another_seed_is_another_run(name, four):
    assert (four/'first'/name).read_bytes() != (four/'other seed'/name).read_bytes()


def test_neither_snapshots_nor_the_compiled_loop_change_a_batch(four):
    _, rows = read_rows(four/'first'/'loss_logs.csv')
    _, compiled = read_rows(four/'compiled'/'loss_logs.csv')
    assert len(rows) == 21
    np.testing.assert_allclose(rows, compiled, rtol=1e-3)


def test_stderr_is_there_after_runs_in_threads(four, capfd):
    os.write(2, b'still here')
    assert capfd.readouterr().err == 'still here'


def test_a_call_is_short_from_the_first_on(tmp_path, monkeypatch):
    """As long as CALL_SECONDS, of iterations that take a quarter of it."""
    lengths = []

    def slow(X_batches, Z_batches):
        lengths.append(len(X_batches))
        time.sleep(0.03*len(X_batches))
        return np.ones([len(X_batches), 2])
    monkeypatch.setattr(program, 'CALL_SECONDS', 0.12)
    monkeypatch.setattr(program.Networks, 'block_trainer', lambda networks, length: slow)
    with few_samples():
        train(iterations=14, hidden=[4], output=tmp_path, pictures='none')
    assert sum(lengths) == 13
    assert max(lengths) <= 4
    assert len(lengths) < 10


# ------------------------------------------------------------------------ the user's own rows

def test_a_generator_that_was_never_trained_is_told(tmp_path, capsys):
    with few_samples():
        train(**dict(TINY, iterations=1), output=tmp_path)
    assert re.search(r'generator of iteration 0, which is hardly trained', capsys.readouterr().out)


# ------------------------------------------------------------------------- large networks and data

@pytest.mark.parametrize('hidden, dim', [([16], 2), ([1024], 2), ([16], 784)],
                         ids=['small', 'wide', 'images'])
def test_no_session_may_use_what_xla_cannot_compile(hidden, dim):
    """As Grappler does to save memory where batches are large."""
    options = program.session_config(hidden, dim).graph_options.rewrite_options
    assert options.memory_optimization == options.NO_MEM_OPT


STORIES = {  # as TensorFlow 2.21 tells them
    'TemporaryVariable': """Graph execution error:

Detected unsupported operations when trying to compile graph: TemporaryVariable (No OpKernel)
The op is created at:
somewhere
\ttf2xla conversion failed""",
    'OOM when allocating': """Graph execution error:

Detected at node 'MatMul' defined at (most recent call last):
    File "gan_quadratic.py", line 23, in <module>
Node: 'MatMul'
OOM when allocating tensor with shape[100000,4096]
\t [[{{node MatMul}}]]"""}


@pytest.mark.parametrize('cause', STORIES)
def test_the_cause_that_tensorflow_tells_is_printed(cause, tmp_path, monkeypatch, capsys):
    def fail(*arguments):
        raise program.tf.errors.InternalError(None, None, STORIES[cause])
    monkeypatch.setattr(program, 'Networks', fail)
    assert command('--output', tmp_path) == 1
    one_line(capsys, 'TensorFlow: ', cause)


def test_a_large_batch_is_measured_in_no_time():
    features = np.random.default_rng(0).normal(size=[3, 2, 100_000, 2]).astype(np.float32)
    losses = np.ones([10, 2])
    began = time.process_time()
    row = program.metrics_row(10, losses, (0.5, 0.5), features, (0.1, 0.5, 0.5))
    assert time.process_time() - began < 3
    assert row['Feature Distance'] < 0.01


def test_wide_samples_are_made_and_written_in_blocks(tmp_path, monkeypatch):
    """Of at most some MB, however many columns there are."""
    sizes = []
    monkeypatch.setattr(np, 'savetxt', lambda file, rows, *form: sizes.append(rows.nbytes))
    images = np.random.default_rng(0).random([30, 70, 70])
    with few_samples():
        train(data=images, output=tmp_path, **dict(TINY, iterations=1))
    assert sum(sizes) == 1000*70*70*8
    assert max(sizes) <= 32e6


# ------------------------------------------------------------------------------ the distributions

def draw_rows(name):
    return DISTRIBUTIONS[name].sample(8000, 100., np.random.default_rng(0))


@pytest.mark.parametrize('name, columns', [('ring', 2), ('helix', 2), ('sphere', 3)])
def test_points_lie_on_the_unit_circle(name, columns):
    """The helix's do where one looks along its axis."""
    radius = np.linalg.norm(draw_rows(name)[:, :columns], axis=1)
    np.testing.assert_allclose(radius, 1)


def test_a_sphere_is_covered_evenly():
    rows = draw_rows('sphere')
    np.testing.assert_allclose(rows.mean(axis=0), 0, atol=0.03)
    np.testing.assert_allclose((rows**2).mean(axis=0), 1/3, atol=0.02)


def test_two_curves_share_the_points():
    x, y = draw_rows('two-curves').T
    np.testing.assert_allclose(np.abs(y), 10 + x*x)
    assert np.mean(y > 0) == pytest.approx(0.5, abs=0.02)


def test_eight_gaussians():
    angles = np.arange(8)*np.pi/4
    centres = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    offsets = draw_rows('gaussians')[:, None] - centres
    nearest = np.linalg.norm(offsets, axis=2).argmin(axis=1)
    for k in range(8):
        its_own = offsets[nearest == k, k]
        assert len(its_own) > 900
        np.testing.assert_allclose(its_own.std(axis=0), 0.05, rtol=0.08)


CURVES = dict(
    quadratic=lambda x: 10 + x**2,
    cubic=lambda x: x**3,
    quartic=lambda x: x**4,
    sine=lambda x: 10*np.sin(x/10),
    cosine=lambda x: 10*np.cos(x/10))


@pytest.mark.parametrize('name', CURVES)
def test_points_lie_on_their_curve(name):
    x, y = draw_rows(name).T
    np.testing.assert_allclose(y, CURVES[name](x))


@pytest.mark.parametrize('name', [name for name in DISTRIBUTIONS if name != 'quadratic'])
def test_networks_see_standardised_columns(name):
    flags = {**program.DEFAULTS, **DISTRIBUTIONS[name].flags, 'data': name}
    data = program.make_data(program.Settings(flags))
    inputs = data.inputs(20_000, np.random.default_rng(0))
    assert inputs.shape[1] == len(data.names)
    np.testing.assert_allclose(inputs.mean(axis=0), 0, atol=0.04)
    np.testing.assert_allclose(inputs.std(axis=0), 1, atol=0.03)


# ---------------------------------------------------------------- exercises, and other programs

@pytest.fixture(scope='module')
def exercise(tmp_path_factory):
    """The folder of a run on a sphere, and what `train` returned."""
    folder = tmp_path_factory.mktemp('sphere')
    with few_samples():
        return folder, train(data='sphere', output=folder, **TINY)


def test_a_flag_wins_over_what_suits_the_data(exercise):
    settings = exercise[1]['settings']
    assert settings['normalize'] == 'standard'
    assert settings['hidden'] == [4]


def test_an_exercise_is_drawn(exercise):
    """Every picture of three columns decodes and is not blank."""
    folder, results = exercise
    settings = dict(results['settings'], pictures='all')
    program.write_file(folder/'settings.json', **settings)
    assert draw(folder) == (0, '')
    expected = ['training_data.png', 'training_loss.png', 'metrics.png']
    for name, kind in FRAMES.items():
        if not kind.planar:
            expected += [name % 0, name % 2, name % 4, kind.gif]
    for name in expected:
        with Image.open(folder/name) as image:
            shades = np.asarray(image.convert('L'))
        assert shades.std() > 5, name
        assert min(shades.shape) > 300, name


NOTEBOOK = '''
import os
import sys
from gan_quadratic import build_gan, tf as late, train
assert 'tensorflow' not in sys.modules

late.constant  # the first use imports TensorFlow, but not Keras
assert 'keras' not in sys.modules
assert 'TF_USE_LEGACY_KERAS' not in os.environ

import keras
import tensorflow as tf
from tensorflow.keras.layers import Dense
assert tf.keras.__version__ == keras.__version__
assert keras.layers.Dense is Dense
assert tf.keras.utils.Progbar.__name__ == 'Progbar'
assert float(tf.reduce_sum(tf.ones([2]))) == 2

with tf.Graph().as_default():
    assert build_gan()._fields[0] == 'X'
    assert not tf.executing_eagerly()

results = train(**{flags})
assert results['samples'].shape == (10000, 2)
assert float(tf.reduce_sum(tf.ones([3]))) == 3
'''


def test_train_beside_eager_tensorflow(tmp_path):
    flags = dict(TINY, output=str(tmp_path/'out'))
    code = NOTEBOOK.replace('{flags}', repr(flags))
    done = subprocess.run([sys.executable, '-c', code], stderr=subprocess.PIPE, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr


def test_the_example_of_the_readme(tmp_path, monkeypatch, capsys):
    readme = (ROOT/'README.md').read_text(encoding='utf-8')
    example, = re.findall(r'```python\n(.*?)```', readme, re.S)
    monkeypatch.chdir(tmp_path)
    exec(example.replace('iterations=2001', 'iterations=3, step_by_step=True'), {})
    printed = capsys.readouterr().out.splitlines()[-1]
    assert re.fullmatch(r"\{'energy_distance': [\d.]+, .*\} \(10000, 2\)", printed)
    assert (tmp_path/'outputs/demo/iterations/iteration_000000.png').exists()


def examples():
    """The lines of --help that can be pasted."""
    paragraph = program.__doc__.split('\n\n')[1]
    return [line.split('#')[0].strip() for line in paragraph.splitlines()]


@pytest.mark.parametrize('line', examples())
def test_the_examples_of_help_can_be_pasted(line):
    python, script, *words = shlex.split(line)
    assert python == 'python'
    assert (ROOT/script).exists()
    program.parse(words)


def test_help_has_examples():
    assert len(examples()) == 5
