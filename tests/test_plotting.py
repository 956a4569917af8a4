"""The pictures: whole and within their edges whatever the data; and the process that draws them
beside a run."""
import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import plotting
from folders import draw, make_folder

ROOT = Path(plotting.__file__).parent
RNG = np.random.default_rng(0)
X = RNG.uniform(-50, 50, 300)
PARABOLA = np.stack([X, 10 + X**2], axis=1)
BUILT_IN = dict(own=False, names=['x', 'y'])
NORMAL = RNG.normal(size=[300, 30])
TAILS = np.stack([RNG.standard_t(1, 300), RNG.integers(0, 2, 300), np.full(300, 7)], axis=1)
LETTERS = [f'abcdefghijklmnopqrstuv{k:02}' for k in range(30)]
ONE, TWO = (200,), (0, 200)  # iterations of the snapshots
DATA = {  # of all kinds: rows, and further arguments of make_folder
    'built-in': (PARABOLA, dict(BUILT_IN, iterations=TWO, noise_dim=1)),
    'one column': (NORMAL[:, :1], dict(iterations=ONE)),
    'thirty long names': (NORMAL, dict(iterations=ONE, names=LETTERS)),
    'three longer names': (
        NORMAL[:, :3]*1e5, dict(iterations=ONE, names=['W'*50, 'i'*50, 'from $ to $ '*4])),
    'formulas, iteration 0': (
        NORMAL[:, :2], dict(iterations=(0,), names=['from_$_to_$', 'US$ or CA$'], noise_dim=16)),
    'large and tiny, one name twice': (
        NORMAL[:, :2]*[1e30, 1e-6], dict(iterations=ONE, names=['a', 'a'])),
    'heavy tails, few values': (TAILS, dict(iterations=ONE)),
    'other scripts': (
        NORMAL[:, :4],
        dict(iterations=ONE, names=['温度', 'цена', 'السعر', 'a\u2028b\ud800'])),
    'grey images': (RNG.integers(0, 256, [70, 64]), dict(iterations=TWO, image=(8, 8))),
    'colour images': (RNG.integers(0, 256, [70, 192]), dict(iterations=ONE, image=(8, 8, 3))),
}


def pictures(folder):
    found = [*folder.rglob('*.png'), *folder.rglob('*.gif')]
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


def remove_pictures(folder):
    for name in pictures(folder):
        (folder/name).unlink()


def content_of_page(folder):
    text = (folder/'index.html').read_text()
    start = text.index('<script type="application/json" id="run">') + 41
    return json.loads(text[start:text.index('</script>', start)])


def iterations_on_page(folder):
    return content_of_page(folder)['columns']['Iteration']


def grey(path):
    with Image.open(path) as image:
        return np.asarray(image.convert('L')).astype(int)


def plot(*arguments, **options):
    """plotting.py as a process: what it returned and printed."""
    return subprocess.run([sys.executable, ROOT/'plotting.py', *arguments], text=True,
                          capture_output=True, **options)


def one_line(said):
    return said.count('\n') == 1 and said.startswith('plotting.py: ')


# ------------------------------------------------------------------------------------ what is drawn

@pytest.fixture(scope='module', params=DATA)
def drawn(request, tmp_path_factory):
    """A folder on data of some kind with its pictures, what stderr said, and the data's name."""
    rows, options = DATA[request.param]
    if len(options['iterations']) == 2:
        left_out = ()
    else:  # what is drawn of features and losses is the same for all data
        left_out = 'features/', 'training_loss', 'metrics'
    pictures_of = 'all' if rows.shape[1] == 2 else 'article'
    folder = tmp_path_factory.mktemp('drawn')/'run'
    make_folder(folder, np.asarray(rows, float), pictures=pictures_of, **options)
    with pytest.MonkeyPatch.context() as patch:
        for table in 'FRAMES', 'ONCE':
            kinds = getattr(plotting, table).items()
            kept = {path: kind for path, kind in kinds if not path.startswith(left_out or ' ')}
            patch.setattr(plotting, table, kept)
        status, said = draw(folder)
    assert status == 0, said
    return folder, said, request.param


def test_nothing_is_drawn_at_the_border(drawn):
    """Where it would be cut; and something is drawn."""
    folder, _, _ = drawn
    for path in folder.rglob('*.png'):
        pixels = grey(path)
        border = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
        assert border.min() >= 250, f'{path} is cut'
        assert pixels.std() > 5, f'{path} is empty'


def test_what_is_said_while_drawing(drawn):
    """No warning is heard; letters that the font lacks are told."""
    _, said, name = drawn
    lacking = name == 'other scripts'
    assert said.count('\n') == lacking, said
    assert ('the font lacks letters' in said) == lacking


def test_every_picture_is_there(drawn):
    folder, _, name = drawn
    rows, options = DATA[name]
    moving = len(options['iterations']) == 2
    each = 3 if rows.shape[1] == 2 else 1
    if moving:
        each += 4 if rows.shape[1] == 2 else 2
    whole = {'training_data.png'}
    if moving:
        whole |= {'training_loss.png', 'metrics.png'}
    if options.get('own', True) and 'image' not in options:
        whole.add('columns.png')
    assert {path.name for path in folder.glob('*.png')} == whole
    assert len(list(folder.glob('*/*.png'))) == each*len(options['iterations'])


def make_data(folder, rows, **options):
    """The numbers of a folder as drawing functions get them."""
    make_folder(folder, rows, **dict(options, pictures='none'))  # prepares no picture
    return plotting.Drawing(folder).data


def draw_figure(draw_on, data):
    """A picture of the whole run as a figure."""
    figure = plotting.new_figure()
    draw_on(figure, data)
    return figure


def rewrite_metrics(folder, columns):
    """Gives metrics.csv other values by column; None removes the column."""
    with open(folder/'metrics.csv', newline='') as file:
        rows = list(csv.DictReader(file))
    with open(folder/'metrics.csv', 'w', newline='') as file:
        names = [name for name in rows[0] if columns.get(name, True)]
        writer = csv.DictWriter(file, names, extrasaction='ignore', lineterminator='\n')
        writer.writeheader()
        for k, row in enumerate(rows):
            given = {name: values[k] for name, values in columns.items() if values}
            writer.writerow(row | given)


def draw_metrics(folder, **columns):
    """The panels of metrics.png by title."""
    data = make_data(folder, NORMAL[:, :2])
    rewrite_metrics(folder, columns)
    return {ax.get_title(): ax for ax in draw_figure(plotting.metrics, data).axes}


@pytest.mark.parametrize('column, values, title', [
    ('D on Real', None, 'Mean D(x)'),
    ('Moved Toward', None, 'Share of G steps so far that brought these nearer'),
    ('Energy Distance', ['nan', 'inf', ''], 'Energy distance'),
], ids=['removed', 'needed for another', 'not finite'])
def test_a_column_that_is_missing_has_no_panel(column, values, title, tmp_path):
    panels = draw_metrics(tmp_path/'run', **{column: values})
    assert len(panels) == 8
    assert title not in panels


def test_every_panel_has_its_truth_beside_it(tmp_path):
    for title, ax in draw_metrics(tmp_path/'run').items():
        styles = {line.get_linestyle() for line in ax.lines}
        assert '--' in styles, title


def test_panels_stand_apart(tmp_path):
    panels = draw_metrics(tmp_path/'run')
    panels['Losses'].figure.canvas.draw()
    boxes = [ax.get_tightbbox() for ax in panels.values()]
    assert len(boxes) == 9
    assert not any(one.overlaps(other) for one, other in combinations(boxes, 2))


@pytest.mark.parametrize('values', [[0.8, -0.03, -0.04], [900, 1e-5, 0.1], [0.1, 0, 0.1]],
                         ids=['negative', 'far above', 'none'])
def test_energy_distances_lie_within_their_panel(values, tmp_path):
    ax = draw_metrics(tmp_path/'run', **{'Energy Distance': values})['Energy distance']
    ax.autoscale_view()
    shown = ax.transData.transform(ax.lines[0].get_xydata())
    heights = ax.transAxes.inverted().transform(shown)[:, 1]
    assert heights.min() > 0.04
    assert heights.max() < 0.96


def test_the_share_of_moves_toward_is_that_of_all_so_far(tmp_path):
    panels = draw_metrics(tmp_path/'run', **{'Moved Toward': ['1', '0', '1']})
    ax = panels['Share of G steps so far that brought these nearer']
    assert ax.lines[0].get_ydata() == pytest.approx([1, 1/2, 2/3])


# --------------------------------------------------------------------------- features and centroids

HALF_PLANE = np.array([[0, 0, 0], [1, 0, -3]], float)  # D's line, after its step: feature 1 is 3


def feature_snapshot(before, after, n=8):
    """Features of n equal samples around G's step; the real ones at (4, 4), before D's at 0."""
    features = np.zeros([3, 2, n, 2])
    features[1:, 0] = 4
    features[1, 1] = before
    features[2, 1] = after
    return dict(features=features, boundary=HALF_PLANE)


def prepare(draw_on, snapshot):
    """A picture of a snapshot as a figure."""
    figure = plotting.new_figure()
    draw_on(figure, {})(snapshot)
    return figure


def by_label(ax):
    return {artist.get_label(): artist for artist in [*ax.lines, *ax.patches]}


def test_the_line_of_the_discriminator_is_where_it_cannot_tell():
    """And to its right, where D answers more, all is blue."""
    snapshot = feature_snapshot((0, 0), (2, 2))
    ax, = prepare(lambda *to: plotting.transformed_features('G', *to), snapshot).axes
    line = by_label(ax)['D(x) = 0.5; blue: D says real']
    x, _ = line.get_data()
    real = by_label(ax)['Real Data After G step'].get_xdata()[0]
    generated = by_label(ax)['Generated Data Before G step'].get_xdata()[0]
    assert x[0] == pytest.approx(generated + (real - generated)*3/4)
    blue = [patch for patch in ax.patches if patch.get_visible()][-1]
    assert blue.get_facecolor()[2] > blue.get_facecolor()[0]
    assert blue.get_xy()[:, 0].max() > real


def test_runs_without_the_line_are_drawn():
    snapshot = feature_snapshot((0, 0), (2, 2))
    del snapshot['boundary']
    ax, = prepare(lambda *to: plotting.transformed_features('G', *to), snapshot).axes
    assert len(by_label(ax)['Real Data After G step'].get_xdata()) == 8


@pytest.mark.parametrize('before, after, said', [
    ((0, 0), (1, 1), '5.657 → 4.243: nearer'),
    ((0, 0), (-1, -1), '5.657 → 7.071: not nearer'),
    ((0, 0), (9, 9), '5.657 → 7.071: not nearer'),
    ((0, 0), (0.001, -0.0009), '5.65685425 → 5.6567837: nearer'),
], ids=['nearer', 'away', 'beyond', 'hardly'])
def test_the_centroid_is_nearer_where_the_arrow_ends_in_the_disc(before, after, said):
    snapshot = feature_snapshot(before, after)
    _, right = prepare(lambda *to: plotting.centroids('G', *to), snapshot).axes
    disc = by_label(right)['nearer to the real centroid']
    arrow = right.patches[-1].get_xy()
    tip = arrow[np.hypot(*arrow.T).argmax()]
    inside = np.hypot(*(tip - disc.get_center())) < disc.get_radius()
    assert said in [text.get_text() for text in right.texts]
    assert inside == said.endswith(': nearer')


def test_both_axes_of_the_centroids_have_one_scale():
    """So that a move has one direction in both halves."""
    snapshot = feature_snapshot((0, 3.9), (2, 3.9))
    left, right = prepare(lambda *to: plotting.centroids('G', *to), snapshot).axes
    ends = [text.get_text().split(' to ') for text in left.texts]
    spans = [float(high) - float(low) for low, high in ends]
    assert spans[0] == pytest.approx(spans[1])
    assert left.get_aspect() == right.get_aspect() == 1


def test_a_step_of_d_is_seen_from_the_real_centroid():
    """Both centroids moved by the same: the generated one stays where it was."""
    features = np.zeros([3, 2, 8, 2])
    features[0, 0] = 4
    features[1] = features[0] + (5, 7)
    snapshot = dict(features=features, boundary=HALF_PLANE)
    _, right = prepare(lambda *to: plotting.centroids('D', *to), snapshot).axes
    after = right.lines[-1].get_xydata()
    assert after == pytest.approx(np.zeros([1, 2]), abs=1e-6)
    assert '5.65685425 → 5.65685425: not nearer' in [text.get_text() for text in right.texts]


# ------------------------------------------------------------------------- maps, tables, animations

@pytest.fixture(scope='module')
def decision_painter(tmp_path_factory):
    """What writes a picture of D's map, and a snapshot on which D can tell nowhere."""
    folder = tmp_path_factory.mktemp('decision')/'run'
    data = make_data(folder, PARABOLA, iterations=(0,))
    paint = plotting.painter(data, plotting.FRAMES['discriminator/decision_%06d.png'])
    snapshot = plotting.read_file(folder/'snapshots'/'000000.npz')
    return paint, dict(snapshot, decision=np.tile(np.linspace(0, 0.4, 8), 8))


def painted(paint, snapshot, path):
    paint(snapshot, 0, path)
    return grey(path)


def test_the_map_has_a_line_where_d_cannot_tell(decision_painter, tmp_path):
    paint, nowhere = decision_painter
    across = dict(nowhere, decision=np.tile(np.linspace(0, 1, 8), 8))
    without = painted(paint, nowhere, tmp_path/'it.png')
    with_line = painted(paint, across, tmp_path/'it.png')
    assert ((with_line < 60) & (without > 150)).sum() > 200


def test_the_map_says_how_many_samples_lie_outside(decision_painter, tmp_path):
    paint, nowhere = decision_painter
    outside = dict(nowhere, generated=nowhere['generated'] + 1e6)
    inside = painted(paint, nowhere, tmp_path/'it.png')
    said = painted(paint, outside, tmp_path/'it.png')
    corner = np.s_[-40:, 400:]
    assert (said[corner] < inside[corner] - 50).sum() > 50


def test_nothing_stays_of_a_snapshot_before(decision_painter, tmp_path):
    paint, nowhere = decision_painter
    first = painted(paint, nowhere, tmp_path/'it.png')
    painted(paint, dict(nowhere, decision=np.ones(64)), tmp_path/'it.png')
    assert np.array_equal(painted(paint, nowhere, tmp_path/'it.png'), first)


@pytest.mark.parametrize('noise_dim, sheets', [(1, 1), (2, 1), (4, 8)])
def test_every_sheet_of_noise_is_mapped(noise_dim, sheets, tmp_path):
    folder = tmp_path/'run'
    data = make_data(folder, PARABOLA, iterations=(0,), noise_dim=noise_dim)
    figure = plotting.new_figure()
    update = plotting.mapping(figure, data)
    update(plotting.read_file(folder/'snapshots'/'000000.npz'))
    left, right = figure.axes
    cells, = left.collections
    mapped, = right.collections
    assert len(mapped.get_paths()) == sheets*len(cells.get_paths())


@pytest.fixture(scope='module')
def columns_figure(tmp_path_factory):
    """columns.png of a table whose generated columns are the real ones, the second reversed."""
    folder = tmp_path_factory.mktemp('columns')/'run'
    rows = RNG.normal(size=[300, 2]) + RNG.normal(size=[300, 1])/2
    data = make_data(folder, rows)
    with open(folder/'generated_samples.csv', 'w') as file:
        file.write('x0,x1\n')
        for x, y in np.resize(rows, [12_000, 2]):
            file.write(f'{x:.9g},{0.9*y + 0.1*x:.9g}\n')
    return draw_figure(plotting.table_columns, data)


def test_curves_say_of_how_many_rows_they_are(columns_figure):
    """Of all real rows; of a million samples no more are read than needed."""
    legend, = columns_figure.subfigs[0].legends
    words = [text.get_text() for text in legend.texts]
    assert words == ['real, trained on or not: 300 rows', 'generated: 10,000 rows']


def test_the_difference_of_correlations_has_a_scale_of_its_own(columns_figure):
    images = [ax.images[0] for ax in columns_figure.subfigs[1].axes if ax.images]
    limits = [image.get_clim()[1] for image in images]
    assert limits[:2] == [1, 1]
    assert limits[2] == np.abs(images[2].get_array()).max() < 0.2


def test_names_stand_under_the_correlations(columns_figure):
    squares = [ax for ax in columns_figure.subfigs[1].axes if ax.images]
    for ax in squares:
        assert [label.get_text() for label in ax.get_xticklabels()] == ['x0', 'x1']


@pytest.mark.parametrize('n, milliseconds, frames', [(3, 500, 3), (1500, 20, 750)])
def test_gifs_last_no_longer_than_twenty_seconds(n, milliseconds, frames, tmp_path):
    paths = [tmp_path/f'{k}.png' for k in range(n)]
    for k, path in enumerate(paths):
        Image.new('P', (2, 2), k % 200).save(path)
    plotting.write_gif(paths, tmp_path/'out.gif')
    with Image.open(tmp_path/'out.gif') as gif:
        assert abs(gif.info['duration'] - milliseconds) <= 10
        assert gif.n_frames <= frames
        assert gif.n_frames*gif.info['duration'] <= 20_000


# ------------------------------------------------------------------------------------- the command

@pytest.fixture(scope='module')
def run(tmp_path_factory):
    """A folder with its pictures. Not to be written to."""
    folder = tmp_path_factory.mktemp('plotting')/'run'
    make_folder(folder, PARABOLA, pictures='article', **BUILT_IN)
    assert draw(folder) == (0, '')
    return folder


@pytest.fixture
def copy(run, tmp_path):
    return shutil.copytree(run, tmp_path/'copy')


DARK = (b'axes.facecolor: black\nfont.size: 22\ntext.usetex: True\n'
        b'path.effects: [withStroke()]\nsavefig.dpi: 9\n')
INLINE = 'module://matplotlib_inline.backend_inline'


def test_lost_pictures_are_drawn_again(copy, tmp_path):
    """To the byte, without a display and a HOME, whatever matplotlib's files and variables say."""
    before = pictures(copy)
    assert len(before) == 9 + 3 + 3
    remove_pictures(copy)
    rc = tmp_path/'rc'
    rc.mkdir()
    (rc/'matplotlibrc').write_bytes(DARK)
    (tmp_path/'matplotlibrc').write_bytes(DARK)
    done = plot('copy', cwd=tmp_path, env=dict(
        PATH='', LANG='C', MPLCONFIGDIR=str(rc), MATPLOTLIBRC=str(rc), MPLBACKEND=INLINE))
    assert (done.returncode, done.stderr) == (0, '')
    assert done.stdout == '15 pictures drawn; the page is copy/index.html\n'
    assert pictures(copy) == before


def test_no_tensorflow_and_no_pyplot():
    names = 'tensorflow', 'matplotlib.pyplot'
    code = f'import sys, plotting; print([name in sys.modules for name in {names}])'
    done = subprocess.run([sys.executable, '-c', code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout == '[False, False]\n'


@pytest.mark.parametrize('arguments, expected', [
    (['none'], 'none holds no run'),
    (['--', '-x'], '-x holds no run'),
    (['--follow', '1', '--', '-x'], '-x holds no run'),
    (['one', 'two'], 'two'),
    (['--follow', 'x'], '--follow'),
], ids=['no run', 'like a flag', 'like a flag, followed', 'too many', 'no number'])
def test_wrong_commands_are_one_line(arguments, expected, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    status, said = draw(*arguments)
    assert status == 2
    assert one_line(said)
    assert expected in said


def test_names_that_a_terminal_cannot_show(tmp_path):
    done = plot(tmp_path/'größe', env=dict(os.environ, PYTHONIOENCODING='ascii'))
    assert done.returncode == 2
    assert one_line(done.stderr)
    assert r'gr\xf6\xdfe holds no run' in done.stderr


def test_python_that_does_not_look_beside_the_script(tmp_path):
    done = plot(tmp_path, env=dict(os.environ, PYTHONSAFEPATH='1'))
    assert 'holds no run' in done.stderr


def test_a_closed_stderr(tmp_path):
    command = f'exec "{sys.executable}" "{ROOT}/plotting.py" "{tmp_path}" 2>&-'
    done = subprocess.run(command, shell=True, stdout=subprocess.PIPE)
    assert (done.returncode, done.stdout) == (2, b'')


# ----------------------------------------------------------------------- files that are not as left

PAGE_ALONE = 15 - 1  # all pictures but one


@pytest.mark.parametrize('name, left', [
    ('snapshots/000100.npz', 15 - 3),
    ('loss_logs.csv', PAGE_ALONE),
    ('metrics.csv', PAGE_ALONE),
    ('summary.json', 15),
])
def test_damaged_files(name, left, copy):
    """One line that names the file, status 1, and every picture that does not need it is drawn."""
    remove_pictures(copy)
    whole = (copy/name).read_bytes()
    half = len(whole)//2
    (copy/name).write_bytes(whole[:60] + b'\xff\x00garbage' + whole[60:half] + b'\n')
    status, said = draw(copy)
    assert status == 1
    assert one_line(said)
    assert f'{copy/name} is damaged' in said
    assert len(pictures(copy)) == left


@pytest.mark.parametrize('name, content', [
    ('settings.json', b'{"a": '), ('settings.json', b'{}'), ('snapshots/data.npz', b'PK'),
], ids=['half', 'empty', 'no archive'])
def test_damaged_files_without_which_nothing_can_be_drawn(name, content, copy):
    (copy/name).write_bytes(content)
    status, said = draw(copy)
    assert status == 1
    assert one_line(said)
    assert f'{copy/name} is damaged' in said


def test_metrics_that_another_program_has_saved(copy):
    """With a byte order mark, and a column by another name."""
    remove_pictures(copy)
    text = (copy/'metrics.csv').read_text().replace('D on Real', 'D on real rows')
    (copy/'metrics.csv').write_text('\ufeff' + text, encoding='utf-8')
    assert draw(copy) == (0, '')
    assert len(pictures(copy)) == 15


def test_snapshots_of_something_else(copy):
    """Pictures that cannot be drawn of them cost no others."""
    remove_pictures(copy)
    arrays = plotting.read_file(copy/'snapshots'/'000100.npz')
    np.savez(copy/'snapshots'/'000100.npz', **dict(arrays, generated=np.zeros(3)))
    status, said = draw(copy)
    assert status == 1
    assert one_line(said)
    assert '000100' in said
    assert len(pictures(copy)) >= 15 - 3


def test_snapshots_that_vanish_while_drawing(copy, monkeypatch):
    """Are left out, also of the page; a GIF is made of all the frames that there are."""
    found = plotting.numbered(copy, plotting.SNAPSHOT)
    (copy/'snapshots'/'000100.npz').unlink()
    real = plotting.numbered
    monkeypatch.setattr(plotting, 'numbered', lambda folder, pattern: (
        found if pattern == plotting.SNAPSHOT else real(folder, pattern)))
    assert draw(copy) == (0, '')
    assert iterations_on_page(copy) == [0, 200]
    with Image.open(copy/'iterations.gif') as gif:
        assert gif.n_frames == 3


def test_a_damaged_frame_is_told(copy):
    (copy/'snapshots'/'000100.npz').unlink()
    os.truncate(copy/'iterations'/'iteration_000100.png', 3000)
    status, said = draw(copy)
    assert status == 1
    assert one_line(said)
    assert str(copy/'iterations.gif') in said


def test_measures_on_the_page_are_those_of_their_snapshot(copy):
    with open(copy/'metrics.csv') as file:
        rows = list(csv.DictReader(file))
    for name, values in content_of_page(copy)['columns'].items():
        expected = [float(row[name]) for row in rows]
        assert values == pytest.approx(expected), name


@pytest.mark.parametrize('kept', ['half a row', 'no row'])
def test_tables_that_are_being_written(kept, copy):
    for name in 'loss_logs.csv', 'metrics.csv':
        text = (copy/name).read_text()
        if kept == 'half a row':
            text += '300,1.'
        else:
            text = text.split('\n')[0] + '\n'
        (copy/name).write_text(text)
    assert draw(copy) == (0, '')


# --------------------------------------------------------------------------------- beside a run

def test_the_page_is_written_once_a_second(copy, monkeypatch):
    """As snapshots arrive, and it shows those alone whose pictures are drawn."""
    shown = []
    clock = iter(np.arange(100, 200, 0.3))
    monkeypatch.setattr(plotting, 'write_page', lambda drawing: shown.append(sorted(drawing.done)))
    monkeypatch.setattr(plotting.time, 'monotonic', lambda: next(clock))
    for iteration in range(300, 1000, 100):
        shutil.copy(copy/'snapshots'/'000200.npz', copy/'snapshots'/f'000{iteration}.npz')
    plotting.Drawing(copy).draw_frames()
    assert 2 <= len(shown) <= 4
    for iterations in shown:
        assert iterations == [*range(0, iterations[-1] + 1, 100)]


def follow(folder, parent, **options):
    pipes = dict.fromkeys(['stdin', 'stdout', 'stderr'], subprocess.PIPE)
    command = [sys.executable, ROOT/'plotting.py', '--follow', str(parent), '--', folder]
    return subprocess.Popen(command, text=True, **pipes | options)


def wait_until(condition):
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end, 'nothing came of it'
        time.sleep(0.05)


def tell(process, word):
    process.stdin.write(word)
    process.stdin.flush()


def test_following_a_run(run, copy):
    """It draws what arrives and is not drawn yet, to the same bytes as when all is drawn; at `d`
    the pictures of the whole run and the GIFs, at `q` the page as it stays, and it ends, though
    its stdin is open."""
    remove_pictures(copy)
    (copy/'index.html').unlink()
    late = [(copy/name, copy/f'late{k}')
            for k, name in enumerate(('snapshots/000200.npz', 'summary.json'))]
    for path, away in late:
        path.rename(away)
    process = follow(copy, os.getpid())
    wait_until((copy/'features'/'feature_transform_centroid_000100.png').exists)
    wait_until((copy/'index.html').exists)
    assert content_of_page(copy)['live']
    assert not (copy/'metrics.png').exists()

    for path, away in late:
        away.rename(path)
    tell(process, 'd')
    wait_until((copy/'feature_transform_centroid.gif').exists)
    assert content_of_page(copy)['live']
    tell(process, 'q')
    assert process.wait(timeout=20) == 0
    assert process.communicate() == ('', '')
    assert pictures(copy) == pictures(run)
    assert content_of_page(copy) == content_of_page(run)


@pytest.mark.parametrize('sent, heard', [(b'', 'q'), (b'q', 'q'), (b'd', 'd')])
def test_the_end_of_stdin_is_as_good_as_a_word(sent, heard, tmp_path, monkeypatch):
    make_folder(tmp_path/'run', NORMAL[:, :2], pictures='none')
    drawing = plotting.Drawing(tmp_path/'run')
    monkeypatch.setattr(plotting.select, 'select', lambda *_: ([0], [], []))
    monkeypatch.setattr(plotting.os, 'read', lambda *_: sent)
    assert drawing.hear() == heard


def test_a_page_waits_for_nothing_after_a_signal(tmp_path, monkeypatch):
    make_folder(tmp_path/'run', NORMAL[:, :2], pictures='none')
    drawing = plotting.Drawing(tmp_path/'run', os.getppid(), asked=[signal.SIGTERM])
    written = []
    monkeypatch.setattr(plotting, 'write_page', lambda drawing: written.append(drawing.live))
    with pytest.raises(SystemExit):
        drawing.check()
    assert written == [False]


def test_it_draws_for_no_other_run(copy):
    remove_pictures(copy)
    process = follow(copy, os.getppid())
    assert process.communicate() == ('', '')
    assert process.returncode == 0
    assert pictures(copy) == {}


def ended(process_id):
    status = Path(f'/proc/{process_id}/status')
    return not status.exists() or 'State:\tZ' in status.read_text()


@pytest.mark.parametrize('whose', ['its own', "the run's"])
def test_a_kill_leaves_no_half_picture(whose, tmp_path):
    """SIGTERM of the drawing process, or SIGKILL of the process that it draws for."""
    folder = make_folder(tmp_path/'run', PARABOLA, iterations=range(0, 3000, 10))
    starts_it = ('import os, subprocess, sys, time\n'
                 'command = [*sys.argv[1:], "--follow", str(os.getpid())]\n'
                 'process = subprocess.Popen(command, stdin=subprocess.PIPE)\n'
                 'print(process.pid, flush=True)\n'
                 'time.sleep(60)')
    command = [sys.executable, '-c', starts_it, sys.executable, ROOT/'plotting.py', folder]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    drawing = int(process.stdout.readline())
    wait_until(lambda: len(list(folder.rglob('*.png'))) >= 5)
    if whose == 'its own':
        os.kill(drawing, signal.SIGTERM)
    else:
        process.kill()
    wait_until(lambda: ended(drawing))
    process.kill()
    process.communicate()

    assert not list(folder.rglob('*.tmp'))
    assert len(list(folder.rglob('*.png'))) < 300
    for path in folder.rglob('*.png'):
        with Image.open(path) as image:
            image.load()


IN_A_CALLBACK = '''
import os, signal, sys, weakref
sys.argv[1:] = [{folder!r}]
sys.path.insert(0, {root!r})
import plotting

class Thing:
    pass

def painter(data, kind):
    def paint(*_):
        thing = Thing()
        paint.kept = weakref.ref(thing, lambda _: os.kill(os.getpid(), signal.SIGTERM))
    return paint

plotting.painter = painter
sys.exit(plotting.main())
'''


def test_a_signal_within_a_callback(copy):
    """Whose exceptions Python prints and forgets."""
    (copy/'iterations'/'iteration_000000.png').unlink()
    code = IN_A_CALLBACK.format(folder=str(copy), root=str(ROOT))
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (130, '')


def test_two_at_once_take_turns(tmp_path):
    """So that none removes what the other is writing."""
    make_folder(tmp_path/'run', NORMAL[:, :2], pictures='none')
    one, other = plotting.Drawing(tmp_path/'run'), plotting.Drawing(tmp_path/'run')
    drawn = []

    def draw_other():
        with other.trying('a.png'):
            drawn.append('other')

    thread = threading.Thread(target=draw_other)
    with one.trying('a.png'):
        thread.start()
        thread.join(0.3)
        assert drawn == []
    thread.join(10)
    assert drawn == ['other']
