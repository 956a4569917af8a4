"""Data of the user's: reading them, rows held out, normal scores, samples in their units."""
import gzip
import itertools
import math
import re
import time
from statistics import NormalDist
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from numpy.testing import assert_allclose, assert_array_equal

import gan_quadratic as program
from gan_quadratic import Quantile, UsageError, find_rows, normal_inputs, train
from runs import TINY


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def write(tmp_path):
    """Writes a table, text or bytes. Returns its path."""
    def write(content, name='table.csv'):
        path = tmp_path/name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return str(path)
    return write


def read_rows(source):
    """The rows alone."""
    rows, _, _ = find_rows(source)
    return rows


def refusal(source, columns=None):
    """What is said of data that cannot be read."""
    with pytest.raises(UsageError) as error:
        find_rows(source, columns)
    return str(error.value)


# ------------------------------------------------------------------------------------------- tables

@pytest.mark.parametrize('text', [
    pytest.param('mass,height\n1,2.5\n-3e2,4\n', id='commas'),
    pytest.param('mass\theight\n1\t2.5\n-3e2\t4\n', id='tabs'),
    pytest.param('mass;height\n1;2.5\n-3e2;4\n', id='semicolons'),
    pytest.param('mass|height\n1|2.5\n-3e2|4\n', id='bars'),
    pytest.param('# mass height\n  1.0   2.5\n -3e2   4.0\n', id='as numpy.savetxt aligns'),
    pytest.param('mass, height\n 1, 2.5\n-3e2,4\n', id='spaces beside commas'),
    pytest.param('"mass","height"\n"1","2.5"\n-3e2,4', id='quotes'),
    pytest.param('\n'*30 + 'mass,height\n1,2.5\n\n-3e2,4', id='empty lines'),
    pytest.param('\ufeffmass,height\r\n1,2.5\r\n-3e2,4\r\n', id='from Windows'),
    pytest.param('sep=;\nmass;height\n1;2.5\n-3e2;4\n', id='with a hint for Excel'),
    pytest.param('sep=,\r\nmass,height\r\n1,2.5\r\n-3e2,4\r\n', id='with a hint and CRLF'),
    pytest.param('mass,height\n1,2.5,\n-3e2,4,\n', id='rows end in a comma'),
    pytest.param('mass,height,\n1,2.5,\n-3e2,4,\n', id='all lines end in a comma'),
    pytest.param('mass;height;\n1;2.5;\n-3e2;4;\n', id='all lines end in a semicolon')])
def test_a_table_is_read(text, write):
    rows, names, image = find_rows(write(text))
    assert names == ['mass', 'height']
    assert rows.tolist() == [[1, 2.5], [-300, 4]]
    assert image is None


@pytest.mark.parametrize('name, content', [
    ('table.tsv', b'1\t2\n3\t4\n'),
    ('TABLE.CSV', b'1,2\n3,4\n'),
    ('table.csv.gz', gzip.compress(b'1,2\n3,4\n', mtime=0)),
    ('table.tsv.gz', gzip.compress(b'1\t2\n3\t4\n', mtime=0))])
def test_a_table_of_any_ending_is_read(name, content, write):
    rows = read_rows(write(content, name))
    assert rows.tolist() == [[1, 2], [3, 4]]


@pytest.mark.parametrize('columns, rows, names', [
    (['x'], [[1], [3]], ['x']),
    (['3'], [[2], [4]], ['y']),
    (['4', 'y'], [[5, 2], [6, 4]], ['x y', 'y'])])
def test_columns_are_chosen_by_name_or_number(columns, rows, names, write):
    """The column of texts is not looked at."""
    path = write('name,x,y,x y\nanna,1,2,5\nbert,3,4,6\n')
    found, found_names, _ = find_rows(path, columns)
    assert (found.tolist(), found_names) == (rows, names)


@pytest.mark.parametrize('text, columns, said', [
    pytest.param('', None, 'at least 2 rows', id='empty'),
    pytest.param('a,b\n1,2\n', None, '1 rows', id='one row'),
    pytest.param('a,b\n"1\n",2\n\n3,four\n', None, "line 5, column 'b': 'four'", id='a text'),
    pytest.param('a,b\n1,2\n3,\n', None, "line 3, column 'b': ''", id='an empty cell'),
    pytest.param('1,NA\n3,4\n', None, "line 1, column '2': 'NA'", id='a missing one at the top'),
    pytest.param('a;b\n1;inf\n3;4\n', None, "line 2, column 'b': 'inf'", id='infinity'),
    pytest.param('a,b\n1,2\n3,1e39\n', None, "line 3, column 'b': '1e39'", id='too large'),
    pytest.param('a;b\n1,5;2\n3;4\n', None, "line 2, column 'a': '1,5'", id='a decimal comma'),
    pytest.param('a,b\n"1,234",5\n2,3\n', None, "'1,234' is no finite", id='thousands'),
    pytest.param('a,b\n1;5,2\n2;5,3\n', None, "'1;5'", id='two separators'),
    pytest.param('a:b\n1:2\n3:4\n', None, "'1:2'", id='colons'),
    pytest.param('a,b\n1,2\n3\n', None, 'line 3 has 1 cells, the first has 2', id='short'),
    pytest.param('a\n1,2\n3,4\n', None, 'line 2 has 2 cells, the first has 1', id='long'),
    pytest.param('x,y,x\n1,2,3\n', ['x'], "several columns 'x'", id='two of a name'),
    pytest.param('x,y\n1,2\n3,4\n', ['z'], "no column 'z'", id='none of a name'),
    pytest.param('x,y\n1,2\n3,4\n', ['3'], 'numbers from 1 to 2', id='none of a number'),
    pytest.param('x,y\n1,2\n3,4\n', ['x', '1'], 'a column twice', id='twice'),
    pytest.param('größe\n1\n2\n'.encode('latin-1'), None, 'save it as UTF-8', id='Latin-1')])
def test_it_is_said_what_is_wrong_with_a_table(text, columns, said, write):
    path = write(text)
    line = refusal(path, columns)
    assert line.startswith(f'argument --data: {path!r} ')
    assert said in line


@pytest.mark.parametrize('advice', [
    'a point', '1,234.5 is 1234.5', 'semicolon', 'spaces', 'single precision', '--columns'])
def test_it_is_said_how_a_number_is_written(advice, write):
    assert advice in refusal(write('a;b\n1,5;2,5\n3,5;4,5\n'))


def test_what_is_said_of_odd_names_is_a_line_of_bearable_length(write):
    names = f'"two\nlines","\x1b[31m",{"long"*500}'
    line = refusal(write(f'{names}\n1,2,3\n4,5,6\n'), ['z'])
    assert line.isprintable()
    assert len(line) < 500


# ------------------------------------------------------------------------------------------ headers

@pytest.mark.parametrize('text, names', [
    pytest.param('body mass\n1\n2\n', ['body mass'], id='a text'),
    pytest.param('2019,x\n1,2.5\n3,4\n', ['2019', 'x'], id='a text beside a number'),
    pytest.param(',0,1,2\n0,1.5,2,3\n1,4,5,6\n', ['', '0', '1', '2'], id='nothing over an index')])
def test_the_first_line_holds_names(text, names, write, capsys):
    rows, found, _ = find_rows(write(text))
    assert (found, len(rows)) == (names, 2)
    assert capsys.readouterr().out == ''


@pytest.mark.parametrize('text, columns', [
    ('country,2019,2020\nDE,1.1,2.2\nFR,2,3\n', ['2019', '2020']),
    ('id,2001,2002\na7,1.1,2.2\nb2,2,3\n', ['2001', '2002'])])
def test_years_beside_a_text_are_names(text, columns, write):
    rows, names, _ = find_rows(write(text), columns)
    assert names == columns
    assert rows.tolist() == [[1.1, 2.2], [2, 3]]


@pytest.mark.parametrize('text', [
    pytest.param('3,7\n5,3\n2,8\n', id='numbers'),
    pytest.param('1990,1995\n1991,1999\n2000,2001\n', id='years over years'),
    pytest.param('0\n5\n2\n', id='a single number'),
    pytest.param('0,2,1\n5,3,9\n2,8,9\n', id='numbers that do not count up')])
def test_the_first_line_is_a_row(text, write, capsys):
    rows, names, _ = find_rows(write(text))
    assert (names, len(rows)) == (None, 3)
    assert capsys.readouterr().out == ''


@pytest.mark.parametrize('text', [
    pytest.param('0,1,2\n1.5,2.5,3.5\n4,5,6.5\n', id='counts from 0'),
    pytest.param('1;2\n0.5;0.7\n3;4\n', id='counts from 1'),
    pytest.param('0,1\n5,3\n2,8\n', id='counts from 0, whole numbers below'),
    pytest.param('2019,2020\n1,2.5\n3,4\n', id='years over other values')])
def test_a_first_line_that_could_hold_names_is_a_row_with_a_note(text, write, capsys):
    rows, names, _ = find_rows(write(text))
    assert (names, len(rows)) == (None, 3)
    first_line = ', '.join(re.split('[,;]', text.split()[0]))
    said = capsys.readouterr().out
    assert f'the first line, {first_line}, is taken for a row' in said


def test_a_first_line_of_texts_over_texts_holds_names_with_a_note(write, capsys):
    _, names, _ = find_rows(write('anna,1\nbert,2\ncarl,3\n'), ['2'])
    assert names == ['1']
    assert 'the first line, anna, 1, is taken for names' in capsys.readouterr().out


# ------------------------------------------------------------------------------------------- arrays

@pytest.mark.parametrize('dtype', ['float16', '>f8', 'uint8', 'bool', 'object'])
def test_an_array_of_any_type_becomes_rows_of_floats(dtype):
    rows = read_rows(np.eye(2, dtype=dtype))
    assert rows.dtype == float
    assert rows.tolist() == [[1, 0], [0, 1]]


@pytest.mark.parametrize('values', [
    pytest.param(np.array([1.5, 2]), id='a vector'),
    pytest.param([(1.5,), (2,)], id='a list of tuples'),
    pytest.param(np.matrix([[1.5], [2]]), id='a matrix'),
    pytest.param(np.ma.array([1.5, 2]), id='a masked array without masked values')])
def test_what_numpy_makes_an_array_of_becomes_rows(values):
    rows = read_rows(values)
    assert type(rows) is np.ndarray
    assert rows.tolist() == [[1.5], [2]]


def test_subnormal_values_become_0():
    """For some processors take their differences for 0, others not."""
    rows = read_rows([1e-310, 5e-324, -1e-310, 1e-280])
    assert rows.ravel().tolist() == [0, 0, 0, 1e-280]


def test_the_users_array_is_not_changed():
    values = np.array([[1e-310, 1], [2, 3]])
    find_rows(values)
    assert values[0, 0] == 1e-310


MASKED = np.ma.masked_equal([0, 1, 2], 0)
RECORDS = np.zeros(3, dtype='f8, f8')


@pytest.mark.parametrize('values, said', [
    pytest.param(MASKED, 'masked values', id='masked'),
    pytest.param([[1], [2, 3]], 'is not a table of numbers', id='ragged'),
    pytest.param(['a', 'b', 'c'], 'numbers are allowed', id='texts'),
    pytest.param(RECORDS, 'numbers are allowed', id='records'),
    pytest.param([1, math.nan, 2], 'not finite', id='not a number'),
    pytest.param(np.ones([3, 0]), '0 columns', id='no columns')])
def test_it_is_said_what_is_wrong_with_an_array(values, said):
    line = refusal(values)
    assert line.startswith('argument --data: the array ')
    assert said in line


def test_an_npz_of_many_arrays_is_refused_in_a_line_of_bearable_length(tmp_path):
    path = str(tmp_path/'several.npz')
    arrays = {f'array_{k}': [1, 2] for k in range(500)}
    np.savez(path, **arrays)
    line = refusal(path)
    assert 'x_train' in line
    assert len(line) < 500


# --------------------------------------------------------------------------------- tables of others

class Frame:
    """Stands for a data frame of pandas."""

    def __init__(self, columns):
        self.columns = list(columns)
        self.values = [list(column) for column in columns.values()]

    def __array__(self, dtype=None, copy=None):
        return np.array(self.values, object).T


class Polars:
    """Stands for a data frame of Polars, which as a whole makes numbers of dates."""

    def __init__(self, columns):
        self.columns = list(columns)
        self.values = [np.array(column) for column in columns.values()]

    def get_columns(self):
        return self.values


class Arrow:
    """Stands for a table of pyarrow, whose `columns` are no names."""

    def __init__(self, columns):
        self.column_names = list(columns)
        self.columns = [np.array(column) for column in columns.values()]


class Series:
    """Stands for a series of pandas, or another named array."""

    def __init__(self, name, values):
        self.name = name
        self.values = values

    def __array__(self, dtype=None, copy=None):
        return np.array(self.values)


TABLES = pytest.mark.parametrize('table', [dict, Frame, Polars, Arrow])
MIXED = {'mass, kg': [1.5, 2], '[3]': [True, False]}


@TABLES
def test_a_table_of_others_keeps_its_names(table):
    rows, names, image = find_rows(table(MIXED))
    assert names == ['mass, kg', '[3]']
    assert rows.tolist() == [[1.5, 1], [2, 0]]
    assert image is None


@TABLES
@pytest.mark.parametrize('column', ['[3]', '2'])
def test_a_column_of_such_a_table_is_chosen_by_name_or_number(column, table):
    rows, names, _ = find_rows(table(MIXED), [column])
    assert names == ['[3]']
    assert rows.tolist() == [[1], [0]]


@pytest.mark.parametrize('name', [0, None, ('mass', 'kg')], ids=str)
def test_names_that_are_no_texts_are_none(name):
    rows, found, _ = find_rows(Frame({'x': [1, 2], name: [3, 4]}))
    assert found is None
    assert rows.tolist() == [[1, 3], [2, 4]]


def test_a_series_keeps_its_name():
    rows, names, _ = find_rows(Series('mass', [1, 2]))
    assert names == ['mass']
    assert rows.tolist() == [[1], [2]]


def test_a_series_without_a_name_has_none():
    rows, names, _ = find_rows(Series(None, [1, 2]))
    assert names is None
    assert rows.tolist() == [[1], [2]]


@pytest.mark.parametrize('shape, image', [
    pytest.param([5, 2], None, id='columns'),
    pytest.param([5, 6, 7], (6, 7), id='images')])
def test_a_named_array_of_more_dimensions_is_no_series(shape, image):
    """Those of h5py and xarray have names."""
    rows, names, found_image = find_rows(Series('/data', np.ones(shape)))
    assert names is None
    assert found_image == image
    assert len(rows) == 5


def test_a_dict_without_names_is_a_table():
    columns = {0: [1, 2], 1: [3, 4]}
    rows, names, _ = find_rows(columns)
    assert names is None
    assert rows.tolist() == [[1, 3], [2, 4]]


@TABLES
@pytest.mark.parametrize('cells, said', [
    pytest.param([1, None], 'missing', id='None'),
    pytest.param([1, math.nan], 'missing', id='not a number'),
    pytest.param([1, math.inf], 'not finite', id='infinity'),
    pytest.param([1j, 2], "'1j'", id='a complex number'),
    pytest.param(['red', 'blue'], "'red'", id='a category'),
    pytest.param(np.array(['2024-05-01', '2024-05-02'], 'M8[D]'), 'dates', id='a date')])
def test_what_cannot_be_learned_is_said_by_its_column(cells, said, table):
    line = refusal(table({'mass': [1, 2], 'colour': cells}))
    assert "column 'colour'" in line
    assert said in line


@TABLES
def test_columns_that_are_left_out_are_not_looked_at(table):
    colours = table({'mass': [1, 2], 'colour': ['red', 'blue']})
    rows, names, _ = find_rows(colours, ['mass'])
    assert names == ['mass']
    assert rows.tolist() == [[1], [2]]


@pytest.mark.parametrize('column', [
    pytest.param([1, 2, 3], id='longer than another'),
    pytest.param([[1, 2], [3, 4]], id='of two columns'),
    pytest.param(np.ma.masked_equal([1, 2], 2), id='with a masked cell'),
    pytest.param(5, id='a number')])
def test_a_dict_that_is_no_table_is_refused(column):
    line = refusal(dict(mass=[1, 2], odd=column))
    assert line.startswith('argument --data: the array')


def test_data_that_are_none_are_the_default(monkeypatch):
    monkeypatch.setattr(program, 'run_command', lambda given, array: (given, array))
    assert train(data=None, seed=None) == ({}, None)


# ------------------------------------------------------------------------------------------- images

def pictures(*shape):
    """Bytes, of which neighbours differ."""
    return np.arange(math.prod(shape)).reshape(shape).astype(np.uint8)


@pytest.mark.parametrize('shape, image', [
    pytest.param((5, 6, 7), (6, 7), id='grey'),
    pytest.param((5, 6, 7, 1), (6, 7), id='grey, one channel'),
    pytest.param((5, 6, 7, 3), (6, 7, 3), id='colours'),
    pytest.param((5, 3, 2), None, id='too small for images')])
def test_arrays_of_images_are_found_by_their_shape(shape, image):
    rows, _, found_image = find_rows(pictures(*shape))
    assert found_image == image
    assert_array_equal(rows, pictures(*shape).reshape(5, -1))


def test_transparency_is_left_out():
    images = pictures(5, 6, 7, 4)
    rows, _, image = find_rows(images)
    assert image == (6, 7, 3)
    assert_array_equal(rows, images[..., :3].reshape(5, -1))


@pytest.mark.parametrize('channels', [3, 4])
def test_channels_may_come_first(channels):
    images = pictures(5, channels, 6, 7)
    rows, _, image = find_rows(images)
    assert image == (6, 7, 3)
    for k, colour in enumerate(['red', 'green', 'blue']):
        of_pixels = rows[:, k::3]
        assert_array_equal(of_pixels, images[:, k].reshape(5, -1), colour)


def test_images_of_other_channels_are_refused():
    assert '5 channels' in refusal(pictures(5, 6, 7, 5))


def test_images_have_no_columns_to_choose_from():
    assert 'leave --columns out' in refusal(pictures(5, 6, 7), ['1'])


# ------------------------------------------------------------------------------------ rows held out

def settings(**flags):
    return program.Settings({**program.DEFAULTS, **flags})


def as_set(rows):
    return set(map(tuple, rows))


@pytest.mark.parametrize('n, held_out', [
    pytest.param(200, 40, id='a fifth'),
    pytest.param(40, 20, id='at least 20')])
def test_rows_held_out_are_never_drawn(n, held_out, rng):
    rows = np.arange(2.*n).reshape(n, 2)
    data = program.make_data(settings(), rows)
    drawn = as_set(data.sample(20*n, rng))
    assert len(data.held_out) == held_out
    assert drawn == as_set(rows) - as_set(data.held_out)


def test_of_fewer_than_40_rows_none_are_held_out(rng):
    rows = np.arange(2.*39).reshape(39, 2)
    data = program.make_data(settings(), rows)
    assert data.held_out is None
    assert as_set(data.sample(20*39, rng)) == as_set(rows)


def test_the_seed_says_which_rows_are_held_out():
    rows = np.arange(400.).reshape(200, 2)
    first = program.make_data(settings(seed=0), rows).held_out
    again = program.make_data(settings(seed=0), rows).held_out
    other = program.make_data(settings(seed=1), rows).held_out
    assert_array_equal(first, again)
    assert as_set(first) != as_set(other)


# -------------------------------------------------------------------------------------------- draws

class PiecewiseRun:
    """What `Run.draw` needs of a run whose calls have these lengths."""
    batch_size, noise_dim = 700, 3

    def __init__(self, data, lengths):
        self.data = data
        self.settings = settings(batch_size=self.batch_size, noise_dim=self.noise_dim)
        self.streams = program.make_streams(0)
        self.networks = SimpleNamespace(dim=len(data.names))
        self.lengths = iter(lengths)

    def block_length(self, iteration):
        return next(self.lengths)


def draws(data, *lengths):
    """Batches X and Z of calls of these lengths, joined, and the streams' states after the last."""
    run = PiecewiseRun(data, lengths)
    calls = [program.Run.draw(run, 0) for _ in lengths]
    X, Z, states = zip(*calls)
    return np.concatenate(X), np.concatenate(Z), states[-1]


@pytest.mark.parametrize('rows, normalize', [
    pytest.param(None, 'standard', id='built-in data'),
    pytest.param(np.arange(180.).reshape(90, 2), 'quantile', id='own data')])
def test_batches_are_the_same_however_many_are_drawn_at_a_time(rows, normalize):
    data = program.make_data(settings(normalize=normalize), rows)
    X, Z, states = draws(data, 7)
    X_parts, Z_parts, states_parts = draws(data, 1, 4, 2)
    assert_array_equal(X_parts, X)
    assert_array_equal(Z_parts, Z)
    assert states_parts == states


# ------------------------------------------------------------------------------------ normal scores

def from_networks(transform, scores):
    """Scores [n, dim] in the data's units."""
    with tf.Graph().as_default(), tf.Session() as sess:
        return sess.run(transform.from_networks(tf.constant(scores, tf.float32)))


def heavy_tailed(n, dim):
    """Rows with heavy tails, far from 0."""
    return 1e6*np.random.default_rng(0).standard_t(2, [n, dim]) + 1e9


SHAPES = (20, 3), (300, 40), (5000, 2)


@pytest.fixture(scope='session', params=SHAPES, ids=str)
def heavy_tails(request):
    """Such rows and their transform."""
    rows = heavy_tailed(*request.param)
    return rows, Quantile(rows)


def test_scores_are_in_the_order_of_the_values(heavy_tails):
    rows, transform = heavy_tails
    order = np.argsort(rows, axis=0)
    ordered = np.take_along_axis(transform.to_networks(rows), order, axis=0)
    assert (np.diff(ordered, axis=0) >= 0).all()


def test_rows_come_back_from_their_scores(heavy_tails):
    """Single precision loses far less than what tells values apart, a little more in the tails."""
    rows, transform = heavy_tails
    scores = transform.to_networks(rows)
    off = np.abs(from_networks(transform, scores) - rows)
    inside = np.abs(scores) < 2
    assert off.max() < 2e-3*np.ptp(rows)
    assert np.quantile(off[inside], 0.99) < 1e-3*rows.std()


def test_draws_have_the_deviations_of_heavy_tails(rng):
    rows = heavy_tailed(5000, 2)
    drawn = normal_inputs(rows)(200_000, rng)
    samples = from_networks(Quantile(rows), drawn)
    deviations = rows.std(axis=0)
    assert_allclose(samples.std(axis=0), deviations, rtol=0.1)


COLUMNS = {
    'skewed': lambda rng: rng.lognormal(size=400),
    '0 and 1': lambda rng: rng.random(400) < 0.2,
    'constant': lambda rng: np.full(400, 3.),
    'whole numbers': lambda rng: rng.integers(0, 9, 400),
}


@pytest.mark.parametrize('column', COLUMNS.values(), ids=COLUMNS)
def test_the_networks_see_any_column_as_a_standard_normal(column, rng):
    """Equal values share their step."""
    rows = np.column_stack([column(rng), rng.normal(size=400)])
    scores, _ = normal_inputs(rows)(20_000, rng).T
    for level in np.linspace(-2, 2, 9):
        expected = (1 + math.erf(level/math.sqrt(2)))/2
        assert np.mean(scores < level) == pytest.approx(expected, abs=0.03)


STEPS = np.repeat([0., 1.], 50)
WHOLE = np.arange(100.)
CONTINUOUS = np.random.default_rng(0).normal(size=100)


def test_equal_values_come_to_the_middle_of_their_step():
    """Between the scores of the first and of the last of 50 zeros among 100 values."""
    scores = Quantile(STEPS[:, None]).to_networks(STEPS[:, None])
    first = NormalDist().inv_cdf(0.5/100)
    last = NormalDist().inv_cdf(49.5/100)
    assert_allclose(scores[:50], (first + last)/2, rtol=1e-6)
    assert_allclose(scores[50:], -(first + last)/2, rtol=1e-6)


def samples_of(column, rng):
    """Where the networks' samples, some of them far out, come to lie in a column."""
    transform = Quantile(column[:, None])
    return from_networks(transform, 3*rng.normal(size=[4000, 1]))


@pytest.mark.parametrize('column', [STEPS, WHOLE], ids=['two values', 'whole numbers'])
def test_a_column_of_steps_comes_back_as_its_values(column, rng):
    assert set(np.unique(samples_of(column, rng))) <= set(column)


def test_steps_come_back_as_often_as_they_were(rng):
    assert samples_of(STEPS, rng).mean() == pytest.approx(0.5, abs=0.03)


def test_a_continuous_column_comes_back_between_its_values(rng):
    samples = samples_of(CONTINUOUS, rng)
    assert samples.min() == CONTINUOUS.min()  # and so is all beyond
    assert samples.max() == CONTINUOUS.max()
    rows_within = np.sort(CONTINUOUS)[1:-1]
    assert np.mean(np.isin(samples, rows_within)) < 0.05


def correlated(n, rng):
    """Rows of 8 columns, and their normal scores."""
    mixing = rng.normal(size=[8, 8])
    rows = rng.normal(size=[n, 8]) @ mixing
    return rows, Quantile(rows).to_networks(rows)


def nearest(some, scores):
    """The distances of some points to all scores, the least first."""
    distances = np.linalg.norm(some[:, None] - scores, axis=2)
    return np.sort(distances, axis=1)


@pytest.mark.parametrize('n, least, most', [
    pytest.param(60, 0.5, 1.5, id='few rows'),
    pytest.param(5000, 0.1, 0.5, id='many rows, hardly')])
def test_smoothing_moves_rows_about_as_far_as_their_neighbours_lie(n, least, most, rng):
    rows, scores = correlated(n, rng)
    drawn = normal_inputs(rows)(50, rng)
    moved = np.median(nearest(drawn, scores)[:, 0])
    to_neighbour = np.median(nearest(scores[:50], scores)[:, 1])  # the nearest is the row itself
    assert least < moved/to_neighbour < most


@pytest.mark.parametrize('n', [60, 5000])
def test_smoothing_keeps_means_deviations_and_correlations(n, rng):
    rows, scores = correlated(n, rng)
    drawn = normal_inputs(rows)(40_000, rng)
    assert_allclose(drawn.mean(axis=0), 0, atol=0.03)
    deviations = scores.std(axis=0)
    correlations = np.corrcoef(scores.T)
    assert_allclose(drawn.std(axis=0), deviations, rtol=0.04)
    assert_allclose(np.corrcoef(drawn.T), correlations, atol=0.05)


# ----------------------------------------------------------------------------------------- decimals

@pytest.mark.parametrize('decimals', range(10))
def test_a_column_is_written_with_as_many_decimals_as_it_has(decimals, rng):
    texts = [f'{value:.{decimals}f}' for value in 1000*rng.normal(size=50)]
    column = np.array(texts, float)
    form, = program.column_formats(column[:, None])
    assert [form % value for value in column] == texts


THIRDS = np.arange(10)/3


@pytest.mark.parametrize('column', [
    pytest.param(THIRDS, id='thirds'),
    pytest.param(1e-12*THIRDS, id='small'),
    pytest.param(1e9 + THIRDS, id='close to each other')])
def test_other_columns_are_written_so_that_their_values_stay_apart(column):
    form, = program.column_formats(column[:, None])
    written = [float(form % value) for value in column]
    assert_allclose(written, column, rtol=1e-8)
    assert_allclose(np.diff(written), np.diff(column), rtol=1e-3)


# --------------------------------------------------------------------------------- runs on own data

TABLE_COLUMNS = {  # of 90 rows
    'skewed': lambda rng: rng.lognormal(size=90),
    'narrow, far from 0': lambda rng: 1e9 + rng.random(90),
    'two decimals': lambda rng: np.round(100*rng.normal(size=90), 2),
    'whole numbers': lambda rng: rng.integers(0, 60, 90),
    '0 and 1': lambda rng: rng.random(90) < 0.3,
    'milliseconds': lambda rng: 1.7e12 + rng.integers(0, 3000, 90),
    'constant': lambda rng: np.full(90, 7.),
    'the largest whole doubles': lambda rng: 2.**53 - rng.integers(0, 60, 90),
    'few values far apart': lambda rng: rng.choice([1e-280, 1e38, 7], 90),
}
SMOOTH = 'skewed', 'narrow, far from 0', 'two decimals'
WHOLE_NUMBERS = (
    'whole numbers', '0 and 1', 'milliseconds', 'constant', 'the largest whole doubles')


@pytest.fixture(scope='session')
def table():
    """90 rows, the columns of which are hard to write and to learn."""
    rng = np.random.default_rng(1)
    return np.stack([column(rng) for column in TABLE_COLUMNS.values()], axis=1)


@pytest.fixture(scope='session')
def trained(table, tmp_path_factory):
    """A short run on the table: its folder, what `train` returned, and the CSV it wrote."""
    folder = tmp_path_factory.mktemp('data')/'trained'
    results = train(data=table, output=str(folder), keep='best', **TINY)
    written = np.loadtxt(folder/'generated_samples.csv', delimiter=',', skiprows=1)
    return SimpleNamespace(folder=folder, written=written, **results)


@pytest.fixture
def column(name, table, trained):
    """A column's values in the table, in what `train` returned, and in the CSV."""
    k = list(TABLE_COLUMNS).index(name)
    return SimpleNamespace(
        rows=table[:, k],
        samples=trained.samples[:, k],
        written=trained.written[:, k])


@pytest.mark.parametrize('name', TABLE_COLUMNS)
def test_samples_lie_within_the_columns_range(name, column):
    assert column.samples.min() >= column.rows.min()
    assert column.samples.max() <= column.rows.max()


@pytest.mark.parametrize('name', [*WHOLE_NUMBERS, 'few values far apart'])
def test_whole_numbers_and_few_values_come_back_as_they_were(name, column):
    assert set(column.written) <= set(column.rows)


@pytest.mark.parametrize('name', SMOOTH)
def test_other_numbers_come_back_between_the_rows(name, column):
    assert len(np.unique(column.written)) > 500


def cells_of(name, folder):
    """A column of the CSV, as it is written."""
    lines = (folder/'generated_samples.csv').read_text(encoding='utf-8').splitlines()
    k = list(TABLE_COLUMNS).index(name)
    return [line.split(',')[k] for line in lines[1:]]


@pytest.mark.parametrize('name', WHOLE_NUMBERS)
def test_whole_numbers_come_back_without_a_decimal_point(name, trained):
    cells = cells_of(name, trained.folder)
    assert [cell for cell in cells if not cell.isdigit()] == []


def test_numbers_come_back_with_their_columns_decimals(trained):
    cells = cells_of('two decimals', trained.folder)
    assert [cell for cell in cells if not re.fullmatch(r'-?\d+\.\d\d', cell)] == []


@pytest.mark.parametrize('name', ['two decimals'])
def test_so_do_those_that_train_returns(name, column):
    assert_array_equal(column.samples, column.samples.round(2))


def test_so_do_those_of_standardised_columns(few):
    assert_array_equal(few['samples'], few['samples'].round(1))


def test_the_csv_holds_the_samples_that_train_returns(trained):
    assert_allclose(trained.written, trained.samples, rtol=1e-8)


def test_the_saved_model_makes_the_samples_of_their_noise(trained):
    """Read back by TensorFlow 2; but for a value in a thousand, which may fall on another step."""
    import tensorflow as tf2
    stream = program.make_streams(0)['final']
    Z = program.sample_Z(program.FINAL_ROWS, trained.settings['noise_dim'], stream)
    model = tf2.saved_model.load(str(trained.folder/'saved_model'))
    generate = model.signatures['serving_default']
    made = generate(Z=tf2.constant(Z, tf.float32))['samples'].numpy()
    k = list(TABLE_COLUMNS).index('two decimals')
    made[:, k] = made[:, k].round(2)
    off = np.abs(made - trained.samples)
    assert np.mean(off > 1e-5*made.std(axis=0)) < 0.001


@pytest.fixture
def held_out(trained, table):
    """The rows held out of the table, and the columns' deviations of the others."""
    data = program.make_data(program.Settings(trained.settings), table)
    return data.held_out, data.spread


def test_a_table_is_judged_by_all_samples_and_the_rows_held_out(held_out, trained):
    rows, spread = held_out
    distance = program.energy_distance_to(rows, spread, unbiased=True)
    expected, error = distance(trained.samples)
    assert trained.final['energy_distance'] == pytest.approx(expected)
    assert trained.final['energy_distance_error'] == pytest.approx(error)


def test_a_table_is_compared_with_its_real_and_its_shuffled_rows(trained):
    assert trained.final['floor'] < trained.final['shuffled']


@pytest.fixture(scope='session')
def few(tmp_path_factory):
    """A run on too few rows to hold any out, of one decimal; its snapshot is at the beginning."""
    flags = dict(TINY, iterations=21, snapshot_every=1000, keep='best', normalize='standard')
    rows = np.random.default_rng(0).normal(size=[30, 2]).round(1)
    folder = tmp_path_factory.mktemp('data')/'few'
    return train(data=rows, output=str(folder), **flags)


def test_few_rows_are_not_judged(few):
    assert few['final']['energy_distance'] is None
    assert few['claims']['samples_follow']['holds'] is None
    assert 'Too few rows' in few['verdict']


def test_the_end_of_training_may_be_the_best_though_no_snapshot_falls_on_it(few):
    assert few['delivered_iteration'] == 20


@pytest.fixture(scope='session')
def wild(table, tmp_path_factory):
    """A run on the table that gets worse again, with the flags for others like it."""
    flags = dict(TINY, data=table, iterations=41, learning_rate=0.1, seed=1)
    folder = tmp_path_factory.mktemp('data')/'wild'
    results = train(output=str(folder), keep='best', **flags)
    return SimpleNamespace(folder=folder, flags=flags, **results)


def test_keep_best_finds_the_snapshot_nearest_to_real_rows(wild):
    header, rows = program.read_file(wild.folder/'metrics.csv')
    distances = rows[:, header.index('Energy Distance')]
    nearest = rows[distances.argmin(), header.index('Iteration')]
    assert nearest < 40  # else the last would do
    assert wild.delivered_iteration == nearest


def test_keep_best_delivers_the_generator_of_that_snapshot(wild, tmp_path):
    flags = dict(wild.flags, iterations=wild.delivered_iteration + 1)
    short = train(output=str(tmp_path), keep='last', **flags)
    assert_array_equal(wild.samples, short['samples'])


def test_rows_held_out_choose_nothing(wild, tmp_path, monkeypatch):
    """With others in their place, all that is measured and delivered is the same."""
    hold_out = program.hold_out

    def hold_out_others(rows, most, rng):
        training, held_out = hold_out(rows, most, rng)
        return training, 2*held_out
    monkeypatch.setattr(program, 'hold_out', hold_out_others)
    results = train(output=str(tmp_path), keep='best', **wild.flags)
    assert_array_equal(results['samples'], wild.samples)
    measured = (tmp_path/'metrics.csv').read_text()
    assert measured == (wild.folder/'metrics.csv').read_text()


def interrupt_after_saving(monkeypatch, iteration):
    """Has a run save often, by a clock that ticks when read, and stop after this iteration."""
    save = program.Run.save

    def save_and_stop(run):
        save(run)
        if run.iteration > iteration:
            raise KeyboardInterrupt
    clock = SimpleNamespace(perf_counter=itertools.count().__next__, time=time.time)
    monkeypatch.setattr(program, 'time', clock)
    monkeypatch.setattr(program.Run, 'save', save_and_stop)


def test_keep_best_survives_an_interrupt(wild, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        interrupt_after_saving(patch, wild.delivered_iteration)
        with pytest.raises(KeyboardInterrupt):
            train(output=str(tmp_path), keep='best', **wild.flags)
    table = wild.flags['data']
    resumed = train(resume=True, data=table, output=str(tmp_path))
    assert resumed['delivered_iteration'] == wild.delivered_iteration
    assert_array_equal(resumed['samples'], wild.samples)


# --------------------------------------------------------------------------------- images, extremes

@pytest.fixture
def blends(rng):
    """300 pictures of bytes, each a blend of the same three."""
    three = rng.random([3, 8*8*3])
    values = rng.random([300, 3]) @ three
    scaled = np.round(255*values/values.max())
    return scaled.astype(np.uint8).reshape(300, 8, 8, 3)


def test_networks_see_images_between_minus_1_and_1(blends):
    rows, _, image = find_rows(blends)
    data = program.make_data(settings(normalize='standard'), rows, None, image)
    scaled = data.transform.to_networks(data.rows)
    assert (scaled.min(), scaled.max()) == (-1, 1)


def test_images_from_an_npz_are_learned(blends, tmp_path, monkeypatch):
    monkeypatch.setattr(program, 'FINAL_ROWS', 500)  # many images take long to write
    path = str(tmp_path/'images.npz')
    np.savez(path, x_train=blends, y_train=range(300), x_test=blends[:3])
    results = train(data=path, output=str(tmp_path/'out'), **TINY)
    assert results['samples'].shape == (500, 8*8*3)


def test_near_the_limits_of_single_precision_measures_are_finite(rng, tmp_path, capfd):
    """And no warning of a library reaches the console. Samples are far away from such rows."""
    rows = 1e-30*rng.normal(size=[50, 2])
    results = train(data=rows, normalize=False, output=str(tmp_path), **TINY)
    assert 1e9 < results['final']['energy_distance'] < math.inf
    assert capfd.readouterr().err == ''
