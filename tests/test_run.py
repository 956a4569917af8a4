"""The program as its users meet it: the command, its files and pictures, the exercises, the user's own data."""
import csv
import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import gan_quadratic as program
import plotting
from gan_quadratic import DISTRIBUTIONS, PICTURES, train

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
    lines = {name: gif for name, (gif, which, _) in PICTURES.items() if which in sets}
    return [name % i for name in lines for i in iterations] + [*lines.values(), *program.RUN_PICTURES]


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
        'training_loss.png', 'metrics.png', 'iterations.gif', 'feature_transform.gif', 'feature_transform_centroid.gif'}
    assert not list(folder.rglob('*.tmp'))
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
    assert list(rows[0]) == program.METRICS
    assert summary['settings']['seed'] == 0 and summary['settings']['iterations'] == 201
    assert set(summary['seconds']) == {'set_up', 'compile', 'training', 'pictures'}
    claims = summary['claims']
    assert list(claims) == list(program.CLAIMS)
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


def test_claims_are_false_of_an_untrained_generator(tmp_path):
    claims = train(iterations=5, snapshot_every=1, learning_rate=1e-12, step_by_step=True, pictures='none',
                   output=str(tmp_path))['claims']
    for name in ('losses_settle', 'samples_follow', 'centroid_moves_toward'):
        assert claims[name]['holds'] is False, claims[name]


def test_measures_agree_with_the_snapshots_arrays(run):
    folder, _ = run
    for row in program.read_rows(folder/'metrics.csv'):
        with np.load(folder/(program.SNAPSHOT % row['Iteration'])) as arrays:
            centroids = arrays['features'].mean(axis=2)
        apart = np.linalg.norm(centroids[:, 1] - centroids[:, 0], axis=1)
        assert row['Centroid Distance Before'] == pytest.approx(apart[1], rel=1e-5)
        assert row['Centroid Distance After'] == pytest.approx(apart[2], rel=1e-5)
        assert row['Largest Real Move'] == 0


def test_lost_pictures_are_drawn_again(run, tmp_path):
    folder = tmp_path/'copy'
    shutil.copytree(run[0], folder)
    pictures = expected_pictures([0, 100, 200])
    before = {name: (folder/name).read_bytes() for name in pictures}
    for name in pictures:
        (folder/name).unlink()
    done = command('plotting.py', folder, env={'PATH': '', 'LANG': 'C'})  # no display, no HOME
    assert (done.returncode, done.stderr) == (0, '')
    assert {name: (folder/name).read_bytes() for name in pictures} == before


def test_the_drawing_process_loads_no_tensorflow():
    code = 'import sys, plotting; print("tensorflow" in sys.modules, "matplotlib.pyplot" in sys.modules)'
    done = subprocess.run([sys.executable, '-c', code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout == 'False False\n'


def test_a_folder_without_a_run_is_bad_input(tmp_path):
    done = command('plotting.py', tmp_path)
    assert done.returncode == 2 and 'holds no run' in done.stderr.splitlines()[-1]


def test_colours_are_the_same_in_every_picture(run):
    """White is white, and the two colours stand in each picture as they are, not only in shades of them."""
    folder, _ = run
    wanted = [(255, 255, 255), *(tuple(bytes.fromhex(colour[1:])) for colour in (plotting.REAL, plotting.GENERATED))]
    for name in ('iterations/iteration_000100.png', 'features/feature_transform_000100.png'):
        with Image.open(folder/name) as image:
            found = {colour: count for count, colour in image.convert('RGB').getcolors(1000)}
        nearest = [min(found, key=lambda colour: sum((a - b)**2 for a, b in zip(colour, want))) for want in wanted]
        assert nearest[0] == wanted[0] and found[nearest[0]] > 1e5
        assert max(abs(a - b) for one, want in zip(nearest, wanted) for a, b in zip(one, want)) <= 4, name


def test_sample_pictures_keep_their_axes(run):
    folder, _ = run
    frames = [np.asarray(Image.open(folder/'iterations'/f'iteration_{i:06d}.png').convert('RGB')) for i in (0, 200)]
    assert np.array_equal(frames[0][60:, :80], frames[1][60:, :80])      # the y axis with its numbers
    assert np.array_equal(frames[0][400:460], frames[1][400:460])        # legend


def results_of(folder, **flags):
    train(output=str(folder), pictures='none', **flags)
    return [(folder/name).read_bytes() for name in ('loss_logs.csv', 'metrics.csv', 'generated_samples.csv')]


def test_the_seed_fixes_everything_and_snapshots_change_no_batch(tmp_path):
    flags = dict(iterations=41, snapshot_every=20, log_every=1, batch_size=32)
    first, second = (results_of(tmp_path/name, **flags) for name in 'ab')
    assert first == second
    other = results_of(tmp_path/'c', **flags, seed=1)
    assert all(one != another for one, another in zip(first, other))
    seldom = results_of(tmp_path/'d', **dict(flags, snapshot_every=1000))
    rows = [np.loadtxt(text.decode().splitlines(), delimiter=',', skiprows=1) for text in (first[0], seldom[0])]
    np.testing.assert_allclose(*rows, rtol=1e-3)


def test_the_companion_schedule_and_step_by_step(tmp_path):
    flags = dict(iterations=21, snapshot_every=10, log_every=1, d_steps=10, g_steps=10)
    fast, slow = results_of(tmp_path/'fast', **flags), results_of(tmp_path/'slow', **flags, step_by_step=True)
    rows = [np.loadtxt(text.decode().splitlines(), delimiter=',', skiprows=1) for text in (fast[0], slow[0])]
    assert len(rows[0]) == 21
    np.testing.assert_allclose(rows[0][:5], rows[1][:5], rtol=1e-3)


def test_a_call_lasts_half_a_second_at_most_from_the_first_on(tmp_path, monkeypatch):
    sizes = []

    def slow(X_batches, Z_batches):
        sizes.append(len(X_batches))
        time.sleep(0.1*len(X_batches))
        return np.ones([len(X_batches), 2])
    monkeypatch.setattr(program, 'block_trainer', lambda session, settings, length: slow)
    train(iterations=14, output=str(tmp_path), pictures='none')
    assert sum(sizes) == 13 and max(sizes) <= 4 and len(sizes) < 10


# -------------------------------------------------------------------------------------------------- exercises

@pytest.mark.parametrize('data', [name for name in DISTRIBUTIONS if name != 'quadratic'])
def test_every_distribution_builds_trains_and_draws(data, tmp_path, monkeypatch):
    results = train(data=data, output=str(tmp_path), pictures='none', step_by_step=True, **TINY)
    build_loop = program.build_loop  # without XLA here, whose compiling takes longer than all the rest
    monkeypatch.setattr(program, 'build_loop', lambda *words, **networks: build_loop(*words[:6], False, **networks))
    looped = train(data=data, output=str(tmp_path/'loop'), pictures='none', **TINY)
    close = dict(rtol=1e-2, atol=1e-2*np.abs(results['samples']).max())
    np.testing.assert_allclose(looped['samples'], results['samples'], **close)
    dim = results['samples'].shape[1]
    assert dim == (3 if data in ('helix', 'sphere') else 2)
    assert results['settings']['normalize'] and results['settings']['hidden'] == [4]  # the user's flag wins
    run = plotting.Run(tmp_path)
    run.frames = program.frames(dict(pictures='all'), dim)
    run.draw_frames(again=True)
    names = [name % i for name in run.frames for i in (0, 2)]
    assert len(names) == (14 if dim == 2 else 10)
    assert_pictures(tmp_path, names)


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


def test_all_pictures_of_planar_data(tmp_path):
    train(output=str(tmp_path), pictures='all', **TINY)
    assert_pictures(tmp_path, expected_pictures([0, 2], ('article', 'all')))


# ---------------------------------------------------------------------------------------------- the user's data

def write(path, rows):
    """A data file of the kind that its ending says."""
    if path.suffix == '.csv':
        np.savetxt(path, rows, delimiter=',', header='mass,length,width,height,age', comments='')
    else:
        (np.save if path.suffix == '.npy' else np.savez)(path, rows)
    return path


@pytest.mark.parametrize('ending', ['.csv', '.npy', '.npz'])
def test_rows_of_a_file(ending, tmp_path):
    rng = np.random.default_rng(0)
    rows = rng.normal(size=[50, 5])*[1, 10, 100, 1000, 0] + 7
    path = write(tmp_path/f'rows{ending}', rows)
    results = train(data=str(path), output=str(tmp_path/'out'), pictures='none', step_by_step=True, **TINY)
    assert results['samples'].shape == (10000, 5)
    header = (tmp_path/'out'/'generated_samples.csv').read_text().split('\n')[0]
    assert header == ('mass,length,width,height,age' if ending == '.csv' else 'x1,x2,x3,x4,x5')
    run = plotting.Run(tmp_path/'out')
    run.frames = program.frames(dict(pictures='all'), 5)
    run.draw_frames(again=True)
    plotting.draw_training_data(run.folder, run.data)
    assert_pictures(run.folder, [name % i for name in run.frames for i in (0, 2)] + ['training_data.png'])
    data = program.make_data(results['settings'], *program.load_rows(path))
    standardised = data.to_networks(rows)
    np.testing.assert_allclose(standardised[:, :4].mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(standardised[:, :4].std(axis=0), 1, rtol=1e-5)
    np.testing.assert_allclose(data.from_networks(standardised.astype(float)), rows, rtol=1e-4)
    drawn = data.sample(400, rng)
    assert {tuple(row) for row in drawn} == {tuple(row) for row in rows}  # with replacement, all of them in time


def test_blank_lines_before_the_header_of_a_csv(tmp_path):
    (tmp_path/'rows.csv').write_text('\n\n"mass,\nkg",length\n1,2\n\n3,4\n')
    rows, names, _ = program.load_rows(tmp_path/'rows.csv')
    assert rows.tolist() == [[1, 2], [3, 4]] and names == ['mass,\nkg', 'length']


def test_a_constant_column_is_drawn_without_a_warning(tmp_path):
    np.save(tmp_path/'rows.npy', np.stack([np.arange(9.), np.full(9, 7.)], axis=1))
    train(data=str(tmp_path/'rows.npy'), output=str(tmp_path/'out'), pictures='all', step_by_step=True, **TINY)
    done = command('plotting.py', tmp_path/'out')
    assert (done.returncode, done.stderr) == (0, '')
    assert done.stdout.startswith('14 pictures of snapshots drawn')  # 7 kinds twice
    assert_pictures(tmp_path/'out', expected_pictures([0, 2], ('article', 'all')))


def test_labels_of_many_columns_are_whole_and_beside_the_panels():
    figure = plotting.new_figure()
    axes = plotting.data_axes(figure, dict(low=np.array([4., -25, -300, -5e6]), high=np.array([10., 40, 400, 3e6]),
                                           names=['mass', 'length', 'width', 'height']))
    figure.canvas.draw()
    for ax, _ in axes:
        label = ax.yaxis.label.get_window_extent()
        assert label.x0 > 0 and not any(label.overlaps(other.bbox) for other, _ in axes)


def test_a_csv_without_header_and_a_single_column(tmp_path):
    (tmp_path/'one.csv').write_text('1\n2.5\n\n-3e2\n')
    rows, names, image = program.load_rows(tmp_path/'one.csv')
    assert rows.tolist() == [[1], [2.5], [-300]] and names is None and image is None
    results = train(data=str(tmp_path/'one.csv'), output=str(tmp_path/'out'), pictures='all', step_by_step=True, **TINY)
    assert results['samples'].shape == (10000, 1)
    assert_pictures(tmp_path/'out', ['iterations/iteration_000002.png', 'training_data.png'])
    assert not (tmp_path/'out'/'discriminator').exists()


@pytest.mark.parametrize('shape', [(28, 28), (8, 8, 3)])
def test_images(shape, tmp_path):
    images = np.random.default_rng(0).integers(0, 256, [30, *shape]).astype(np.uint8)
    np.savez(tmp_path/'images.npz', x_train=images, y_train=np.arange(30), x_test=images[:3])
    results = train(data=str(tmp_path/'images.npz'), output=str(tmp_path/'out'), pictures='all', step_by_step=True,
                    **TINY)
    assert results['samples'].shape == (10000, np.prod(shape)) and results['final']['energy_distance'] is None
    assert results['claims']['samples_follow']['holds'] is None
    assert_pictures(tmp_path/'out', ['iterations/iteration_000002.png', 'training_data.png', 'iterations.gif',
                                     'metrics.png'])
    for name in 'training_data.png', 'iterations/iteration_000002.png':  # from the darkest pixel to the brightest
        with Image.open(tmp_path/'out'/name) as picture:
            inside = np.asarray(picture.convert('RGB'))[150:350, 100:300]
        assert inside.min() < 20 and inside.max() > 235 and 60 < inside.mean() < 190, name
    data = program.make_data(results['settings'], *program.load_rows(tmp_path/'images.npz'))
    scaled = data.to_networks(images.reshape(30, -1))
    assert scaled.min() == -1 and scaled.max() == 1


def test_a_download_that_fails(tmp_path, capsys, monkeypatch):
    def unreachable():
        raise Exception('URL fetch failure on https://example.org/mnist.npz: None -- unreachable')
    monkeypatch.setattr(program.tf.keras.datasets.mnist, 'load_data', unreachable)
    assert program.main(['--data', 'mnist', '--output', str(tmp_path)]) == 1
    line, = capsys.readouterr().err.splitlines()
    assert 'mnist' in line and 'could not be fetched' in line and 'local copy' in line


# ------------------------------------------------------------------------------------------ from other programs

def test_train_beside_eager_tensorflow_without_a_main_guard(tmp_path):
    code = ('import tensorflow as tf; print(float(tf.reduce_sum(tf.ones([2]))))\n'
            'from gan_quadratic import train\n'
            f'results = train(iterations=21, snapshot_every=20, output={str(tmp_path/"out")!r})\n'
            'print(results["samples"].shape, sorted(results)); print(float(tf.reduce_sum(tf.ones([3]))))\n')
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == '2.0' and lines[-1] == '3.0'
    assert "(10000, 2) ['claims', 'final', 'samples', 'seconds', 'settings', 'versions']" in lines
    assert_pictures(tmp_path/'out', expected_pictures([0, 20]))


def test_the_example_of_the_readme(tmp_path):
    example, = re.findall(r'```python\n(.*?)```', (ROOT/'README.md').read_text(encoding='utf-8'), re.S)
    done = subprocess.run([sys.executable, '-c', example], capture_output=True, text=True, cwd=tmp_path,
                          env=dict(os.environ, PYTHONPATH=str(ROOT)))
    assert done.returncode == 0, done.stderr
    said = r"\{'energy_distance': [\d.]+, 'curve_residual': [\d.]+, 'coverage': [\d.]+\} \(10000, 2\)"
    assert re.fullmatch(said, done.stdout.splitlines()[-1])
    assert_pictures(tmp_path/'outputs'/'demo', expected_pictures([0, 1000, 2000]))


def test_the_examples_of_help_can_be_pasted():
    lines = [line.split() for line in program.EXAMPLES.splitlines()[1:]]
    assert len(lines) == 4
    for python, script, *words in lines:
        assert python == 'python' and (ROOT/script).exists() and isinstance(program.parse(words), dict)


def test_train_names_what_is_wrong():
    with pytest.raises(program.UsageError, match='--iterations: 0 is not allowed'):
        train(iterations=0)
    with pytest.raises(program.UsageError, match='--iteratons'):
        train(iteratons=5)


@pytest.mark.parametrize('redirect', ['| head -1', '>&- 2>&-'])
def test_nobody_listens(redirect, tmp_path):
    words = (f'"{sys.executable}" "{ROOT}/gan_quadratic.py" --iterations 21 --snapshot-every 5 --print-every 1 '
             f'--output "{tmp_path}/out" {redirect}')
    done = subprocess.run(['sh', '-c', words], capture_output=True, text=True)
    assert done.stderr == '' and json.loads((tmp_path/'out'/'summary.json').read_text())['settings']['iterations'] == 21
    assert_pictures(tmp_path/'out', expected_pictures([0, 5, 10, 15, 20]))
