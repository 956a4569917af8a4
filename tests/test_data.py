"""Data of the user's: reading them, rows kept back, normal scores, and what comes back in the data's own units."""
import gzip
import math
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

import gan_quadratic as program
from gan_quadratic import Quantile, UsageError, find_rows, make_data, make_streams, normal_inputs, parse, train
from helpers import SAME
from test_robust import at_iteration, command, interrupt
from test_run import TINY, assert_events, assert_saved_model, measured


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


def test_columns_by_number_and_name(tmp_path):
    (tmp_path/'a.csv').write_text('name,x,y,x\nanna,1,2,5\nbert,3,4,6\n')  # no column of text is looked at
    assert find_rows(str(tmp_path/'a.csv'), ['4', 'y'])[0].tolist() == [[5, 2], [6, 4]]


@pytest.mark.parametrize('text, chosen, pieces', [
    ('a,b\n"1\n",2\n\n3,four\n', None, ["line 5, column 'b'", "'four'", '--columns']),
    ('a,b\n1,2\n3,\n', None, ["line 3, column 'b': ''"]), ('a;b\n1;inf\n3;4\n', None, ['line 2', "'inf'"]),
    ('a,b\n1,2\n3\n', None, ['line 3 has 1 cells, the first has 2']), ('a\n1,2\n3,4\n', None, ['line 2 has 2 cells']),
    ('a;b\n1,5;2,5\n3,5;4,5\n', None, ["line 2, column 'a': '1,5'", 'a point']),
    ('a,b\n1,2\n3,1e39\n', None, ["line 3, column 'b': '1e39'", 'single precision', '--columns']),
    ('1,NA\n3,4\n', None, ["line 1, column '2': 'NA'"]), ('a,b\n1;5,2\n2;5,3\n', None, ["'1;5'"]),
    ('', None, ['0 rows']), ('a,b\n1,2\n', None, ['1 rows']), ('x,y,x\n1,2,3\n', ['x'], ["2 columns 'x'"]),
    ('x,y\n1,2\n3,4\n', ['3'], ['from 1 to 2']), ('x,y\n1,2\n3,4\n', ['x', '1'], ['twice']),
    ('größe\n1\n2\n'.encode('latin-1'), None, ['save it as UTF-8']),
    (f'"two\nlines","\x1b[31m",{"long"*500}\n1,2,3\n4,5,6\n', ['z'], ["no column 'z'"])])
def test_what_is_wrong_with_a_table(text, chosen, pieces, tmp_path):
    """In a line of bearable length."""
    (tmp_path/'a.csv').write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(UsageError) as error:
        find_rows(str(tmp_path/'a.csv'), chosen)
    said = str(error.value)
    assert [piece for piece in pieces if piece not in said] == [], said
    assert said.startswith(f"argument --data: '{tmp_path}") and said.isprintable() and len(said) < 500


def test_arrays_of_every_type(tmp_path):
    for dtype in ('float16', '>f8', 'uint8', 'bool'):
        rows, _, _ = find_rows(np.array([[0, 1], [1, 1]], dtype))
        assert rows.dtype == float and rows.tolist() == [[0, 1], [1, 1]]
    assert find_rows(np.arange(3.))[0].shape == (3, 1)
    assert type(find_rows(np.ma.ones([2, 2]))[0]) is np.ndarray
    images = np.random.default_rng(0).integers(0, 255, [5, 3, 6, 7], np.uint8)  # channels first
    rows, _, image = find_rows(images)
    assert image == (6, 7, 3) and np.array_equal(rows[2].reshape(image), np.moveaxis(images[2], 0, 2))
    tiny = np.array([[1e-310, 1], [5e-324, -1e-300], [-1e-310, 1e-280]])  # processors compute with such numbers or not
    assert find_rows(tiny)[0].tolist() == [[0, 1], [0, 0], [0, 1e-280]] and tiny[0, 0] == 1e-310
    np.savez(tmp_path/'a.npz', **{f'array_{k}': np.ones([2, 2]) for k in range(500)})
    for source, chosen, piece in ((np.ma.masked_equal([[0., 1], [1, 1]], 0), None, 'masked values'),
                                  (images, ['1'], 'leave --columns out'), (str(tmp_path/'a.npz'), None, 'x_train'),
                                  (np.zeros(3, [(f'f{k}', 'f8') for k in range(500)]), None, 'values of type')):
        with pytest.raises(UsageError, match=piece) as error:
            find_rows(source, chosen)
        assert len(str(error.value)) < 500


@pytest.mark.parametrize('n, kept', [(200, 40), (40, 20), (39, None)])
def test_a_fifth_of_the_rows_is_kept_back(n, kept):
    """At least 20, none of fewer than 40 rows; never drawn for training; the seed says which."""
    rows = np.arange(2.*n).reshape(n, 2)**1.5
    data, again, other = (make_data(parse(['--normalize', 'quantile', '--seed', seed]), rows) for seed in '001')
    drawn = {tuple(row) for row in data.sample(20*n, np.random.default_rng(0))}
    back = set() if kept is None else {tuple(row) for row in data.kept}
    assert drawn.isdisjoint(back) and drawn | back == {tuple(row) for row in rows}
    assert len(back) == (kept or 0)
    if kept:
        assert np.array_equal(data.kept, again.kept) and not np.array_equal(data.kept, other.kept)


def test_few_rows_are_not_judged(tmp_path, capsys):
    results = train(data=np.random.default_rng(0).normal(size=[30, 2]), output=str(tmp_path), **TINY)
    assert 'too few to have any kept back' in capsys.readouterr().out and results['delivered_iteration'] == 4
    assert results['final']['energy_distance'] is results['verdict'] is None


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


def test_keep_best_survives_an_interrupt(table, tmp_path, monkeypatch):
    np.save(tmp_path/'table.npy', table)
    words = ['--data', tmp_path/'table.npy', '--iterations', 13, '--snapshot-every', 2, '--learning-rate', 0.05,
             '--step-by-step', '--hidden', 4, '--print-every', 1, '--pictures', 'none', '--output']
    assert command(*words, tmp_path/'whole') == 0
    with monkeypatch.context() as patch:
        patch.setattr(program, 'CHECKPOINT_EVERY', 0)
        at_iteration(patch, 11, interrupt)
        assert command(*words, tmp_path/'broken') == 130
    (tmp_path/'table.npy').rename(tmp_path/'moved.npy')
    assert command('--resume', '--data', tmp_path/'moved.npy', '--output', tmp_path/'broken') == 0
    assert all((tmp_path/'whole'/name).read_bytes() == (tmp_path/'broken'/name).read_bytes() for name in SAME)
    assert_events(tmp_path/'broken', files=2)


@pytest.mark.parametrize('own, words', [(True, ['--normalize', 'quantile']), (False, ['--normalize'])])
def test_batches_are_the_same_however_many_are_drawn_at_a_time(own, words, table):
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


def back(transform, scores):
    """What `from_networks` makes of scores [n, dim]."""
    with tf.Graph().as_default(), tf.Session() as sess:
        return sess.run(transform.from_networks(tf.constant(scores, tf.float32)))


@pytest.mark.parametrize('n, dim', [(20, 3), (300, 40), (5000, 2)])
def test_there_and_back(n, dim):
    """All that single precision loses is far below what tells values apart; heavy tails come back too."""
    rows = np.random.default_rng(0).standard_t(2, [n, dim])*1e6 + 1e9
    transform, order = Quantile(rows), np.argsort(rows, axis=0)
    scores = transform.to_networks(rows)
    again = back(transform, scores)
    assert (np.diff(np.take_along_axis(scores, order, axis=0), axis=0) >= 0).all()
    np.testing.assert_allclose(again, rows, rtol=0, atol=2e-3*np.ptp(rows))
    assert np.quantile(np.abs(again - rows)[np.abs(scores) < 2], 0.99) < 1e-3*rows.std()
    if n == 5000:  # more rows than knots
        samples = back(transform, normal_inputs(transform, rows)(200_000, np.random.default_rng(1)))
        np.testing.assert_allclose(samples.std(axis=0), rows.std(axis=0), rtol=0.1)


def test_scores_are_normal_whatever_the_column():
    """Also a column of 0 and 1, whose equal values share their step, and a constant one."""
    rng = np.random.default_rng(0)
    rows = np.stack([rng.lognormal(size=400), rng.random(400) < 0.2, np.full(400, 3.), rng.integers(0, 9, 400)], axis=1)
    drawn, levels = normal_inputs(Quantile(rows), rows)(20_000, rng), np.linspace(-2, 2, 9)
    for column in drawn.T:
        shares = np.array([np.mean(column < level) for level in levels])
        assert np.abs(shares - [(1 + math.erf(x/2**0.5))/2 for x in levels]).max() < 0.03


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


def test_smoothing_moves_rows_about_as_far_as_their_neighbours_lie():
    """Many rows hardly; means, deviations and correlations stay."""
    for n, least, most in (60, 0.5, 1.5), (5000, 0.1, 0.5):
        rng = np.random.default_rng(0)
        rows = rng.normal(size=[n, 8]) @ rng.normal(size=[8, 8])
        scores, drawn = Quantile(rows).to_networks(rows), normal_inputs(Quantile(rows), rows)(40_000, rng)
        assert np.abs(np.corrcoef(drawn.T) - np.corrcoef(scores.T)).max() < 0.05
        assert np.abs(drawn.mean(axis=0)).max() < 0.03 and np.ptp(drawn.std(axis=0)/scores.std(axis=0)) < 0.06
        apart, moved = (np.sort(np.linalg.norm(some[:, None] - scores, axis=2)) for some in (scores[:50], drawn[:50]))
        assert least < np.median(moved[:, 0])/np.median(apart[:, 1]) < most


def test_images(tmp_path, monkeypatch):
    shape = 8, 8, 3
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


def test_values_near_the_limits_of_single_precision(tmp_path, capfd):
    """No warning of a library reaches the console; measures of samples far off are finite."""
    rows = np.random.default_rng(0).normal(size=[50, 2])
    train(data=rows*[1e30, 1e-6], output=str(tmp_path/'a'), **TINY)
    final = train(data=rows*1e-30, normalize=False, output=str(tmp_path/'b'), **TINY)['final']
    assert capfd.readouterr().err == '' and 1e9 < final['energy_distance'] < math.inf
