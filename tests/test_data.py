"""Data of the user's: reading them, rows kept back, normal scores, and what comes back in the data's own units."""
import gzip
import json
import math
import signal
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

import gan_quadratic as program
from gan_quadratic import Quantile, UsageError, find_rows, make_data, make_streams, normal_inputs, parse, train
from test_robust import at_iteration, command
from test_run import TINY, assert_events, assert_saved_model, draw_all, measured


# -------------------------------------------------------------------------------------------------------- reading

@pytest.mark.parametrize('name, text', [
    ('a.csv', 'mass,height\n1,2.5\n-3e2,4\n'), ('a.tsv', 'mass\theight\n1\t2.5\n-3e2\t4\n'),
    ('a.csv', 'mass;height\n1;2.5\n-3e2;4\n'), ('a.csv', '\ufeffmass,height\r\n1,2.5\r\n\r\n-3e2,4\r\n'),
    ('a.csv', '\n\n"mass","height"\n"1","2.5"\n-3e2,4'), ('a.csv', '\n'*30 + 'mass,height\n1,2.5\n-3e2,4'),
    ('A.CSV', 'mass, height\n 1, 2.5\n-3e2,4\n')])
@pytest.mark.parametrize('packed', [False, True])
def test_tables_of_every_kind(name, text, packed, tmp_path):
    path = tmp_path/(name + '.gz' if packed else name)
    path.write_bytes(gzip.compress(text.encode()) if packed else text.encode())
    rows, names, image = find_rows(str(path))
    assert rows.tolist() == [[1, 2.5], [-300, 4]] and names == ['mass', 'height'] and image is None
    assert find_rows(str(path), ['height'])[0].tolist() == find_rows(str(path), ['2'])[0].tolist() == [[2.5], [4]]
    assert find_rows(str(path), ['2', 'mass'])[1] == ['height', 'mass']


@pytest.mark.parametrize('text, chosen, rows', [
    ('1\n2.5\n\n-3e2\n', None, [[1], [2.5], [-300]]),
    ('name,x,y\nanna,1,2\nbert,3,4\n', ['x', 'y'], [[1, 2], [3, 4]]),  # no column of text is looked at
    ('x,y,x\n1,2,3\n4,5,6\n', ['3', 'y'], [[3, 2], [6, 5]])])
def test_columns_by_number_and_name(text, chosen, rows, tmp_path):
    (tmp_path/'a.csv').write_text(text)
    assert find_rows(str(tmp_path/'a.csv'), chosen)[0].tolist() == rows


@pytest.mark.parametrize('text, chosen, pieces', [
    ('a,b\n1,2\n\n3,four\n', None, ["line 4, column 'b'", "'four'", '--columns']),
    ('a,b\n"1\n",2\n\n3,four\n', None, ["line 5, column 'b'"]), ('a,b\n1,2\n3,\n', None, ["line 3, column 'b': ''"]),
    ('a,b\n1,2\n3,nan\n', None, ['line 3', "'nan'"]), ('a;b\n1;inf\n3;4\n', None, ['line 2', "'inf'"]),
    ('a,b\n1,2\n3\n', None, ['line 3 has 1 cells, the first has 2']), ('a,b\n1,2\n3,4,5\n', None, ['line 3 has 3']),
    ('a;b\n1;2\n3\n', None, ['line 3 has 1 cells, the first has 2']), ('a\n1,2\n3,4\n', None, ['line 2 has 2 cells']),
    ('a;b\n1,5;2,5\n3,5;4,5\n', None, ["line 2, column 'a': '1,5'", 'a point']),
    ('"1,5","2"\n3,4\n5,6\n', None, ["line 1, column '1': '1,5'", 'a point']),
    ('a,b\n1,2\n3,1e39\n', None, ["line 3, column 'b': '1e39'", 'single precision', '--columns']),
    ('1,,3\n4,5,6\n', None, ["line 1, column '2': ''"]), ('1,NA\n3,4\n', None, ["line 1, column '2': 'NA'"]),
    ('5.1,setosa\n4.9,setosa\n', None, ["line 1, column '2': 'setosa'", '--columns']),
    ('a,b\n1;5,2\n2;5,3\n', None, ["'1;5'"]), ('1,5;2,5\n3;4\n', None, ["line 1, column '1': '1,5'", 'a point']),
    ('a\n', None, ['0 rows']), ('', None, ['0 rows']), ('a,b\n1,2\n', None, ['1 rows']),
    ('x,y\n1,2\n3,4\n', ['z'], ["no column 'z'"]), ('x,y\n1,2\n3,4\n', ['3'], ['from 1 to 2']),
    ('x,y\n1,2\n3,4\n', ['x', '1'], ['twice']), ('x,y,x\n1,2,3\n', ['x'], ["2 columns 'x'"]),
    ('größe\n1\n2\n'.encode('latin-1'), None, ['save it as UTF-8']),
    ('größe\n1\n2\n'.encode('utf-16'), None, ['save it as UTF-8']),
    (f'"two\nlines","\x1b[31m",{"long"*500}\n1,2,3\n4,5,6\n', ['z'], ["no column 'z'"])])
def test_what_is_wrong_with_a_table(text, chosen, pieces, tmp_path):
    """In a line of bearable length."""
    (tmp_path/'a.csv').write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(UsageError) as error:
        find_rows(str(tmp_path/'a.csv'), chosen)
    said = str(error.value)
    assert [piece for piece in pieces if piece not in said] == [], said
    assert said.startswith(f"argument --data: '{tmp_path}") and said.isprintable() and len(said) < 500


def test_a_refused_file_leaves_no_folder(tmp_path):
    (tmp_path/'a.csv').write_text('x,y\n1,two\n')
    assert command('--data', tmp_path/'a.csv', '--output', tmp_path/'out') == 2
    assert not (tmp_path/'out').exists()


def test_arrays_of_every_type(tmp_path):
    for dtype in ('float16', '>f8', 'uint8', 'bool', 'int64', 'float32'):
        rows, _, _ = find_rows(np.array([[0, 1], [1, 1]], dtype))
        assert rows.dtype == float and rows.tolist() == [[0, 1], [1, 1]]
    assert find_rows(np.arange(3.))[0].shape == (3, 1)
    assert type(find_rows(np.matrix([[0, 1], [1, 1]]))[0]) is type(find_rows(np.ma.ones([2, 2]))[0]) is np.ndarray
    images = np.random.default_rng(0).integers(0, 255, [5, 3, 6, 7], np.uint8)  # channels first
    rows, _, image = find_rows(images)
    assert image == (6, 7, 3) and np.array_equal(rows[2].reshape(image), np.moveaxis(images[2], 0, 2))
    tiny = np.array([[1e-310, 1], [5e-324, -1e-300], [-1e-310, 1e-280]])  # processors compute with such numbers or not
    assert find_rows(tiny)[0].tolist() == [[0, 1], [0, 0], [0, 1e-280]] and tiny[0, 0] == 1e-310
    np.savez(tmp_path/'a.npz', **{f'array_{k}': np.ones([2, 2]) for k in range(500)})
    fields = np.zeros(3, [(f'field_{k}', 'f8') for k in range(500)])
    for source, chosen, piece in ((np.ma.masked_equal([[0., 1], [1, 1]], 0), None, 'masked values'),
                                  (images, ['1'], 'leave --columns out'), (fields, None, 'values of type'),
                                  (str(tmp_path/'a.npz'), None, 'x_train')):
        with pytest.raises(UsageError, match=piece) as error:
            find_rows(source, chosen)
        assert len(str(error.value)) < 500


# ------------------------------------------------------------------------------------------- rows kept back

@pytest.mark.parametrize('n, kept', [(200, 40), (60, 20), (40, 20), (39, None)])
def test_a_fifth_of_the_rows_is_kept_back(n, kept):
    """At least 20, none of fewer than 40 rows; never drawn for training; the seed says which."""
    rows = np.arange(2.*n).reshape(n, 2)**1.5
    data, again, other = (make_data(parse(['--normalize', 'quantile', '--seed', seed]), rows) for seed in '001')
    assert (data.kept is None) if kept is None else len(data.kept) == kept
    drawn = {tuple(row) for row in data.sample(20*n, np.random.default_rng(0))}
    back = set() if kept is None else {tuple(row) for row in data.kept}
    assert drawn.isdisjoint(back) and drawn | back == {tuple(row) for row in rows}
    if kept:
        assert np.array_equal(data.kept, again.kept) and not np.array_equal(data.kept, other.kept)


def test_few_rows_are_not_judged(tmp_path, capsys):
    results = train(data=np.random.default_rng(0).normal(size=[30, 2]), output=str(tmp_path), **TINY)
    assert 'too few to have any kept back' in capsys.readouterr().out
    assert results['final']['energy_distance'] is None and results['delivered_iteration'] == 4
    assert results['claims']['samples_follow']['holds'] is None and results['verdict'] is None


@pytest.fixture(scope='module')
def table():
    """90 rows: two columns that go together; whole numbers, 0 and 1, milliseconds, a constant, the largest whole
    doubles, few values far apart; a narrow column far from 0."""
    rng = np.random.default_rng(1)
    x = rng.lognormal(size=90)
    return np.stack([x, x + 0.1*rng.normal(size=90), rng.integers(0, 60, 90), rng.random(90) < 0.3,
                     1.7e12 + rng.integers(0, 3000, 90), np.full(90, 7.), 2.**53 - rng.integers(0, 60, 90),
                     rng.choice([1e-280, 1e38, 7], 90), 1e9 + rng.random(90)], axis=1)


def test_samples_are_in_the_datas_own_units(table, tmp_path):
    results = train(data=table, output=str(tmp_path), keep='best', **TINY)
    samples = results['samples']
    written = np.loadtxt(tmp_path/'generated_samples.csv', delimiter=',', skiprows=1)
    np.testing.assert_allclose(written, samples, rtol=1e-8)
    assert (samples >= table.min(axis=0)).all() and (samples <= table.max(axis=0)).all()
    assert all(np.isin(written[:, k], table[:, k]).all() for k in range(2, 8))
    assert len(np.unique(written[:, 4])) > 20   # milliseconds within three seconds, apart on disk too
    assert len(np.unique(samples[:, 0])) > 500  # between the rows
    assert np.array_equal(written[:, 8], samples[:, 8])
    assert {'floor', 'shuffled'} <= results['final'].keys() and results['verdict']
    assert_saved_model(tmp_path, results['settings'], samples)


def test_keep_best_delivers_the_nearest_snapshot(table, tmp_path):
    flags = dict(TINY, data=table, iterations=41, learning_rate=0.1, seed=1)
    best = train(output=str(tmp_path/'best'), keep='best', **flags)
    distances = dict(zip(*(measured(tmp_path/'best')[name] for name in ('Iteration', 'Energy Distance'))))
    nearest = min(distances, key=distances.get)
    assert best['delivered_iteration'] == nearest != 40
    short = train(output=str(tmp_path/'short'), keep='last', **dict(flags, iterations=int(nearest) + 1))
    assert np.array_equal(best['samples'], short['samples'])
    assert measured(tmp_path/'best')['Energy Distance'][-1] > distances[nearest]


def test_keep_best_survives_an_interrupt(table, tmp_path, monkeypatch):
    np.save(tmp_path/'table.npy', table)
    words = ['--data', tmp_path/'table.npy', '--iterations', 13, '--snapshot-every', 2, '--learning-rate', 0.05,
             '--step-by-step', '--hidden', 4, '--print-every', 1, '--pictures', 'none', '--output']
    assert command(*words, tmp_path/'whole') == 0
    with monkeypatch.context() as patch:
        patch.setattr(program, 'CHECKPOINT_EVERY', 0)
        at_iteration(patch, 11, lambda: signal.raise_signal(signal.SIGINT))
        assert command(*words, tmp_path/'broken') == 130
    (tmp_path/'table.npy').rename(tmp_path/'moved.npy')
    assert command('--resume', '--data', tmp_path/'moved.npy', '--output', tmp_path/'broken') == 0
    for name in 'loss_logs.csv', 'metrics.csv', 'generated_samples.csv':
        assert (tmp_path/'whole'/name).read_bytes() == (tmp_path/'broken'/name).read_bytes()
    assert_events(tmp_path/'broken', files=2)
    summaries = [json.loads((tmp_path/name/'summary.json').read_text()) for name in ('whole', 'broken')]
    assert summaries[0]['delivered_iteration'] == summaries[1]['delivered_iteration']


@pytest.mark.parametrize('words', [['--normalize', 'quantile'], ['--normalize']])
@pytest.mark.parametrize('own', [True, False])
def test_batches_are_the_same_however_many_are_drawn_at_a_time(own, words, table):
    """That number follows from the machine's pace."""
    settings = dict(parse(words), batch_size=700, noise_dim=3)
    data = make_data(settings, table if own else None)

    def drawn(*lengths):
        run = SimpleNamespace(settings=settings, data=data, streams=make_streams(0), pace=1e-9,
                              dim=len(data.names), noise_dim=3)
        for run.length, iteration in zip(lengths, np.cumsum([1, *lengths])):
            yield program.Run.draw(run, iteration)
    (X, Z, end), = drawn(7)
    *parts, ends = zip(*drawn(1, 4, 2))
    assert X.shape == (7, 700, len(data.names)) and ends[-1] == end != ends[0]
    assert all(np.array_equal(whole, np.concatenate(part)) for whole, part in zip((X, Z), parts))


# ---------------------------------------------------------------------------------------------- normal scores

def back(transform, scores):
    """What `from_networks` makes of scores [n, dim]."""
    with tf.Graph().as_default(), tf.Session() as sess:
        return sess.run(transform.from_networks(tf.constant(scores, tf.float32)))


@pytest.mark.parametrize('n, dim', [(20, 3), (500, 1), (300, 40), (5000, 2)])
def test_there_and_back(n, dim):
    """Gives the rows again, near enough that all single precision lost is far below what tells values apart."""
    rows = np.random.default_rng(0).standard_t(2, [n, dim])*1e6 + 1e9
    transform = Quantile(rows)
    scores = transform.to_networks(rows)
    order = np.argsort(rows, axis=0)
    assert (np.diff(np.take_along_axis(scores, order, axis=0), axis=0) >= 0).all()
    np.testing.assert_allclose(back(transform, scores), rows, rtol=0, atol=2e-3*np.ptp(rows))
    close = np.abs(back(transform, scores) - rows)[np.abs(scores) < 2]
    assert np.quantile(close, 0.99) < 1e-3*rows.std()


def test_samples_do_not_leave_the_range_by_rounding():
    rows = np.random.default_rng(0).lognormal(size=[50, 500])
    samples = back(Quantile(rows), np.repeat([[-9.], [9.]], 500, axis=1))
    assert np.array_equal(samples[0], rows.min(axis=0)) and (samples[1] <= rows.max(axis=0)).all()
    np.testing.assert_allclose(samples[1], rows.max(axis=0), rtol=1e-15)


def test_scores_are_normal_whatever_the_column():
    """Also a column of 0 and 1, whose equal values share their step, and a constant one."""
    rng = np.random.default_rng(0)
    rows = np.stack([rng.lognormal(size=400), rng.random(400) < 0.2, np.full(400, 3.), rng.integers(0, 9, 400)], axis=1)
    drawn = normal_inputs(Quantile(rows), rows)(20_000, rng)
    for column in drawn.T:
        levels = np.linspace(-2, 2, 9)
        shares = [np.mean(column < level) for level in levels]
        assert np.abs(np.array(shares) - [(1 + math.erf(x/2**0.5))/2 for x in levels]).max() < 0.03


def test_heavy_tails_come_back():
    """Also where a column has more rows than knots."""
    rows = np.random.default_rng(0).standard_t(2, [5000, 1])
    transform = Quantile(rows)
    samples = back(transform, normal_inputs(transform, rows)(200_000, np.random.default_rng(1)))
    assert samples.std() == pytest.approx(rows.std(), rel=0.1)


def test_steps_and_lines_between_values():
    rows = np.stack([np.arange(100.), np.repeat([0., 1.], 50), np.random.default_rng(0).normal(size=100)], axis=1)
    transform = Quantile(rows)
    assert transform.steps.tolist() == [True, True, False]
    scores = np.random.default_rng(1).normal(size=[4000, 3])*3
    samples = back(transform, scores)
    assert np.isin(samples[:, 0], rows[:, 0]).all() and np.isin(samples[:, 1], [0, 1]).all()
    assert abs(samples[:, 1].mean() - 0.5) < 0.03
    assert (samples >= rows.min(axis=0)).all() and (samples <= rows.max(axis=0)).all()
    assert np.mean(np.isin(samples[:, 2], rows[:, 2])) < 0.6  # only beyond the ends


@pytest.mark.parametrize('n, least, most', [(60, 0.5, 1.5), (5000, 0.1, 0.5)])
def test_smoothing_moves_few_rows_about_as_far_as_their_neighbours_lie(n, least, most):
    """And many rows hardly; means, deviations and correlations stay."""
    rng = np.random.default_rng(0)
    rows = rng.normal(size=[n, 8]) @ rng.normal(size=[8, 8])
    scores, drawn = Quantile(rows).to_networks(rows), normal_inputs(Quantile(rows), rows)(40_000, rng)
    assert np.abs(np.corrcoef(drawn.T) - np.corrcoef(scores.T)).max() < 0.05
    assert np.abs(drawn.mean(axis=0)).max() < 0.03 and np.abs(drawn.std(axis=0)/scores.std(axis=0) - 1).max() < 0.03
    apart, moved = (np.sort(np.linalg.norm(some[:, None] - scores, axis=2)) for some in (scores[:50], drawn[:50]))
    assert least < np.median(moved[:, 0])/np.median(apart[:, 1]) < most


# -------------------------------------------------------------------------------------------------------- images

@pytest.mark.parametrize('shape', [(12, 9), (8, 8, 3)])
def test_images(shape, tmp_path, monkeypatch):
    monkeypatch.setattr(program, 'FINAL_ROWS', 500)  # numbers of many images are slow to write
    rng = np.random.default_rng(0)
    blends = rng.random([300, 3]) @ rng.random([3, math.prod(shape)])  # of three pictures
    images = np.round(255*blends/blends.max()).astype(np.uint8).reshape(-1, *shape)
    images[0].flat[:2] = 0, 255
    np.savez(tmp_path/'images.npz', x_train=images, y_train=np.arange(300), x_test=images[:3])
    results = train(data=str(tmp_path/'images.npz'), output=str(tmp_path/'out'), **TINY)
    assert results['samples'].shape == (500, np.prod(shape))
    assert_saved_model(tmp_path/'out', results['settings'], results['samples'])
    data = make_data(results['settings'], *find_rows(str(tmp_path/'images.npz')))
    scaled = data.transform.to_networks(data.rows)
    assert scaled.min() == -1 and scaled.max() == 1


def test_a_download_that_fails(tmp_path, capsys, monkeypatch):
    def unreachable():
        raise Exception('URL fetch failure on https://example.org/mnist.npz: None -- unreachable')
    monkeypatch.setattr(program.tf.keras.datasets.mnist, 'load_data', unreachable)
    assert program.main(['--data', 'mnist', '--output', str(tmp_path)]) == 1
    line, = capsys.readouterr().err.splitlines()
    assert 'mnist' in line and 'could not be fetched' in line and 'local copy' in line


def test_values_near_the_limits_of_single_precision(tmp_path, capfd):
    """No warning of a library reaches the console, and there is every picture that there can be."""
    rows = np.random.default_rng(0).normal(size=[50, 2])*[1e30, 1e-6]
    train(data=rows, output=str(tmp_path), **TINY)
    draw_all(tmp_path, 'columns.png')
    assert capfd.readouterr().err == ''


def test_measures_stay_finite_where_samples_are_far_off(tmp_path):
    rows = np.random.default_rng(0).normal(size=[50, 2])*1e-30
    results = train(data=rows, normalize=False, output=str(tmp_path), **TINY)
    assert math.isfinite(results['final']['energy_distance']) and results['final']['energy_distance'] > 1e9


def test_hidden_as_an_array_and_as_many_points_as_real_ones(tmp_path):
    results = train(hidden=np.array([3, 5]), iterations=1, batch_size=2, step_by_step=True, pictures='none',
                    output=str(tmp_path))
    assert results['settings']['hidden'] == [3, 5]
    with np.load(tmp_path/'snapshots'/'000000.npz') as arrays:
        assert arrays['generated'].shape == (256, 2) and arrays['features'].shape == (3, 2, 2, 2)
