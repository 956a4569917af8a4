"""The pictures: whole and within their edges whatever the data; and the process that draws them beside a run."""
import csv
import json
import os
import shutil
import signal
import subprocess
import sys
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
DATA = {  # of all kinds: rows, and further arguments of make_folder
    'built-in': (np.stack([X, 10 + X**2], axis=1), dict(own=False, names=['x', 'y'], noise_dim=1)),
    'one column': (RNG.normal(size=[300, 1]), {}),
    'thirty long names': (RNG.normal(size=[300, 30]), dict(names=[f'abcdefghijklmnopqrstuv{k:02}' for k in range(30)])),
    'three longer names': (RNG.normal(size=[300, 3])*1e5, dict(names=['W'*50, 'i'*50, 'from $ to $ '*4])),
    'formulas, one iteration': (RNG.normal(size=[300, 2]), dict(
        names=['from_$_to_$', 'price (US$ or CA$)'], noise_dim=16, iterations=(0,))),
    'large and tiny, the same name twice': (RNG.normal(size=[300, 2])*[1e30, 1e-6], dict(names=['a', 'a'])),
    'heavy tails, few values': (np.stack([RNG.standard_t(1, 300), RNG.integers(0, 2, 300), np.full(300, 7)], 1), {}),
    'other scripts': (RNG.normal(size=[300, 4]), dict(names=['温度', 'цена', 'السعر', 'a\u2028b'])),
    'grey images': (RNG.integers(0, 256, [70, 64]), dict(image=(8, 8))),
    'colour images': (RNG.integers(0, 256, [70, 192]), dict(image=(8, 8, 3))),
}
MOVING = 'built-in', 'one column', 'three longer names', 'heavy tails, few values', 'grey images'  # two snapshots


def pictures(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob('*.[pg][ni][gf]')}


def numbers_of_page(folder):
    text = (folder/'index.html').read_text()
    return json.loads(text.split('<script type="application/json" id="run">')[1].split('</script>')[0])


@pytest.mark.parametrize('name', DATA)
def test_every_picture_is_whole(name, tmp_path, monkeypatch):
    """Nothing is drawn at the border, where it would be cut; no warning is heard; columns.png of own tables alone."""
    rows, options = DATA[name]
    planar, moving = rows.shape[1] == 2, name in MOVING
    if not moving:  # what is drawn of features and losses is the same for all data
        for table in 'FRAMES', 'ONCE':
            monkeypatch.setattr(plotting, table, {path: kind for path, kind in getattr(plotting, table).items()
                                                  if not path.startswith(('features/', 'training_loss', 'metrics'))})
    options = dict(iterations=(0, 200) if moving else (200,), pictures='all' if planar else 'article') | options
    folder = make_folder(tmp_path/'run', np.asarray(rows, float), **options)
    status, said = draw(folder)
    assert status == 0 and said.count('\n') == (name == 'other scripts'), said
    drawn = sorted(folder.rglob('*.png'))
    frames = (3 if planar else 1) + moving*(4 if planar else 2)
    assert len(drawn) == frames*len(options['iterations']) + 1 + 2*moving + (
        options.get('own', True) and 'image' not in options)
    for path in drawn:
        with Image.open(path) as image:
            pixels = np.asarray(image.convert('L'))
        border = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
        assert border.min() >= 250 and pixels.std() > 5, path


def draw_metrics(folder, **columns):
    """The panels of metrics.png, by title, where columns of metrics.csv hold these values; None: there is no such."""
    figure = plotting.FigureCanvasAgg(plotting.Figure()).figure
    data = plotting.Drawing(make_folder(folder, RNG.normal(size=[300, 2]))).data
    with open(folder/'metrics.csv', newline='') as file:
        rows = [dict(row, **{name: value[k] for name, value in columns.items() if value})
                for k, row in enumerate(csv.DictReader(file))]
    names = [name for name in rows[0] if columns.get(name, True)]
    lines = [names, *([str(row[name]) for name in names] for row in rows)]
    (folder/'metrics.csv').write_text(''.join(','.join(line) + '\n' for line in lines))
    plotting.metrics(figure, data)
    figure.canvas.draw()
    return {ax.get_title(): ax for ax in figure.axes}


def test_panels_are_those_of_the_columns_there_are(tmp_path):
    """Columns that are missing, as in older runs, or not finite have none; ten panels stand apart, and negative energy
    distances lie within theirs, as does the first, far above the others."""
    neighbours, residual = 'Nearest neighbours of their own kind', 'Curve residual, median |y - f(x)|'
    panels = draw_metrics(tmp_path/'old', **{'D on Real': None, 'Energy Distance': ['nan', 'inf', '']})
    assert len(panels) == 5 and not panels.keys() & {neighbours, 'Mean D(x)', 'Energy distance', residual}
    panels = draw_metrics(tmp_path/'new', **{
        'Neighbours Samples': ['', 0.9, 0.6], 'Neighbours Real': [0.8, 0.7, 0.5], 'Curve Residual': [3, 2, 1],
        'Coverage': [0, 0.5, 1], 'Energy Distance': [0.8, -0.03, -0.04]})
    boxes, ax = [ax.get_tightbbox() for ax in panels.values()], panels['Energy distance']
    assert len(panels) == 10 and not any(a.overlaps(b) for a, b in combinations(boxes, 2))
    heights = ax.transAxes.inverted().transform(ax.transData.transform(ax.lines[0].get_xydata()))[:, 1]
    assert ax.get_yscale() == 'symlog' and 0.04 < heights.min() and heights.max() < 0.96


@pytest.fixture(scope='module')
def run(tmp_path_factory):
    """A folder with its pictures. Not to be written to."""
    folder = make_folder(tmp_path_factory.mktemp('plotting')/'run', *DATA['built-in'][:1], own=False, names=['x', 'y'],
                         pictures='article')
    assert draw(folder) == (0, '')
    return folder


@pytest.fixture
def copy(run, tmp_path):
    return shutil.copytree(run, tmp_path/'copy')


DARK = b'axes.facecolor: black\nfont.size: 22\ntext.usetex: True\npath.effects: [withStroke()]\nsavefig.dpi: 9\n'


@pytest.mark.parametrize('matplotlibrc, environment', [
    (DARK, {}), (None, dict(MPLCONFIGDIR='{rc}')),
    (b'backend: none\nno key\n', dict(MATPLOTLIBRC='{rc}', MPLBACKEND='module://matplotlib_inline.backend_inline'))])
def test_lost_pictures_are_drawn_again(matplotlibrc, environment, copy, tmp_path):
    """To the byte, without a display and a HOME, whatever matplotlib's files and variables say."""
    before = pictures(copy)
    assert len(before) == 9 + 3 + 3
    for name in before:
        (copy/name).unlink()
    (tmp_path/'rc').mkdir()
    (tmp_path/'rc'/'matplotlibrc').write_bytes(DARK)
    if matplotlibrc:
        (tmp_path/'matplotlibrc').write_bytes(matplotlibrc)
    environment = {name: value.format(rc=tmp_path/'rc') for name, value in environment.items()}
    done = subprocess.run([sys.executable, ROOT/'plotting.py', 'copy'], cwd=tmp_path, capture_output=True, text=True,
                          env={'PATH': '', 'LANG': 'C', **environment})
    assert (done.returncode, done.stderr) == (0, '')
    assert pictures(copy) == before


def test_no_tensorflow_and_no_pyplot():
    code = 'import sys, plotting; print([name in sys.modules for name in ("tensorflow", "matplotlib.pyplot")])'
    done = subprocess.run([sys.executable, '-c', code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout == '[False, False]\n'


def test_a_folder_without_a_run_is_bad_input(tmp_path):
    """One line, also in a terminal that cannot show it."""
    status, line = draw(tmp_path)
    assert status == 2 and line.count('\n') == 1 and 'holds no run' in line
    done = subprocess.run([sys.executable, ROOT/'plotting.py', tmp_path/'größe'], capture_output=True, text=True,
                          env=dict(os.environ, PYTHONIOENCODING='ascii'))
    assert done.returncode == 2 and done.stderr.count('\n') == 1 and r'gr\xf6\xdfe holds no run' in done.stderr


def test_what_moves_is_drawn_and_nothing_stays(tmp_path):
    """On D's map: the line where it cannot tell, and how many samples lie outside."""
    folder = make_folder(tmp_path/'run', *DATA['built-in'][:1], iterations=(0,))
    paint = plotting.Drawing(folder).painters['discriminator/decision_%06d.png']
    shot = plotting.read_file(folder/'snapshots'/'000000.npz')
    nowhere, across = (dict(shot, decision=np.tile(np.linspace(0, end, 8), 8)) for end in (0.4, 1))
    drawn = []
    for each in nowhere, across, dict(nowhere, generated=shot['generated'] + 1e6), nowhere:
        paint(each, 0, tmp_path/'it.png')
        with Image.open(tmp_path/'it.png') as image:
            drawn.append(np.asarray(image.convert('L')).astype(int))
    assert np.array_equal(drawn[3], drawn[0]) and ((drawn[1] < 60) & (drawn[0] > 150)).sum() > 200
    assert (drawn[2][-40:, 400:] < drawn[0][-40:, 400:] - 50).sum() > 50


@pytest.mark.parametrize('n, milliseconds, frames', [(3, 500, 3), (1500, 20, 750)])
def test_gifs_last_no_longer_than_twenty_seconds(n, milliseconds, frames, tmp_path):
    paths = [tmp_path/f'{k}.png' for k in range(n)]
    for k, path in enumerate(paths):
        Image.new('P', (2, 2), k % 200).save(path)
    plotting.write_gif(paths, tmp_path/'out.gif')
    with Image.open(tmp_path/'out.gif') as gif:
        assert abs(gif.info['duration'] - milliseconds) <= 10 and gif.n_frames <= frames
        assert gif.n_frames*gif.info['duration'] <= 20_000


@pytest.mark.parametrize('name, content, left', [
    *((name, None, 15 - 3 - 1) for name in ('snapshots/000100.npz', 'loss_logs.csv', 'metrics.csv', 'summary.json')),
    ('settings.json', b'{"a": ', 0), ('settings.json', b'{}', 0), ('snapshots/data.npz', b'PK', 0)])
def test_damaged_files(name, content, left, copy):
    """One line that names the file, status 1, and every picture that does not need it is drawn."""
    for path in pictures(copy):
        (copy/path).unlink()
    whole = (copy/name).read_bytes()
    (copy/name).write_bytes(content or whole[:60] + b'\xff\x00garbage' + whole[60:len(whole)//2] + b'\n')
    status, line = draw(copy)
    assert status == 1 and line.count('\n') == 1 and line.startswith(f'plotting.py: {copy/name} is damaged')
    assert len(pictures(copy)) >= left


def test_what_the_gifs_are_made_of(copy):
    """All frames on disk, also where a snapshot's numbers are gone, which then is not on the page."""
    (copy/'snapshots'/'000100.npz').unlink()
    assert draw(copy) == (0, '')
    with Image.open(copy/'iterations.gif') as gif:
        assert gif.n_frames == 3
    with open(copy/'metrics.csv') as file:
        rows = {int(row['Iteration']): row for row in csv.DictReader(file)}
    numbers = numbers_of_page(copy)
    assert numbers['iterations'] == [0, 200]
    for name, values in numbers['measures'].items():  # each by its snapshot
        for i, value in zip((0, 200), values):
            assert value is None if rows[i][name] == '' else value == pytest.approx(float(rows[i][name]), rel=1e-3)
    os.truncate(copy/'iterations'/'iteration_000100.png', 3000)
    status, line = draw(copy)
    assert status == 1 and line.count('\n') == 1 and str(copy/'iterations.gif') in line


def test_a_last_line_that_is_being_written(copy):
    for name in 'loss_logs.csv', 'metrics.csv':
        with open(copy/name, 'a') as file:
            file.write('300,1.')
    assert draw(copy) == (0, '')
    for name in 'loss_logs.csv', 'metrics.csv':
        (copy/name).write_text((copy/name).read_text().split('\n')[0] + '\n')  # stopped before the first row
    assert draw(copy) == (0, '')


def test_claims_on_the_page(copy):
    summary = json.loads((copy/'summary.json').read_text())
    claim = summary['claims']['losses_settle']
    summary['claims'].update(no=dict(claim, holds=False, finding='They swing.'), open=dict(claim, holds=None))
    summary['final'].update(neighbours_samples=0.51234)
    (copy/'summary.json').write_text(json.dumps(summary))
    assert draw(copy) == (0, '')
    figures = 'distance 0.01; spread undefined'
    assert numbers_of_page(copy)['claims'] == [['✓ holds', 'The losses settle', figures], [
        'not so', 'The losses settle', figures + '; They swing.'], ['undefined', 'The losses settle', figures]]
    assert ['neighbours samples', 0.5123] in numbers_of_page(copy)['final']


def test_the_page_is_written_once_a_second(copy, monkeypatch):
    """As snapshots arrive, and it shows those alone whose pictures are drawn."""
    shown, clock = [], iter(np.arange(100, 200, 0.3))
    monkeypatch.setattr(plotting, 'write_page', lambda run: shown.append(sorted(run.done)))
    monkeypatch.setattr(plotting.time, 'monotonic', lambda: next(clock))
    for i in range(300, 1000, 100):
        shutil.copy(copy/'snapshots'/'000200.npz', copy/'snapshots'/f'000{i}.npz')
    plotting.Drawing(copy).draw_frames()
    assert len(shown) == 3 and all(iterations == [*range(0, iterations[-1] + 1, 100)] for iterations in shown)


def follow(folder, parent):
    return subprocess.Popen([sys.executable, ROOT/'plotting.py', folder, '--follow', str(parent)], text=True,
                            **dict.fromkeys(['stdin', 'stdout', 'stderr'], subprocess.PIPE))


def wait_until(condition):
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end, 'nothing came of it'
        time.sleep(0.05)


def test_following_a_run(run, copy):
    """It draws what arrives and is not drawn yet, to the same bytes as when all is drawn; at the end of its stdin what
    is left, the pictures of the whole run, the GIFs and the page with the summary."""
    for path in [*copy.rglob('*_000[12]00.png'), *copy.glob('*.png'), *copy.glob('*.gif'), copy/'index.html']:
        path.unlink()
    late = {name: (copy/name).rename(copy/f'{len(name)}') for name in ('snapshots/000200.npz', 'summary.json')}
    process = follow(copy, os.getpid())
    wait_until(lambda: (copy/'features'/'feature_transform_centroid_000100.png').exists())
    assert 200 not in numbers_of_page(copy)['iterations'] and 'not finished' in numbers_of_page(copy)['state']
    assert process.poll() is None and not list(copy.glob('*.gif')) and not (copy/'metrics.png').exists()
    for name, path in late.items():
        path.rename(copy/name)
    assert process.communicate() == ('', '') and process.returncode == 0
    assert pictures(copy) == pictures(run) and numbers_of_page(copy) == numbers_of_page(run)


def test_it_draws_for_no_other_run(copy):
    for name in pictures(copy):
        (copy/name).unlink()
    process = follow(copy, os.getppid())
    assert process.communicate() == ('', '') and process.returncode == 0 and pictures(copy) == {}


@pytest.mark.parametrize('whose', ['its own', "the run's"])
def test_a_kill_leaves_no_half_picture(whose, tmp_path):
    """SIGTERM of the drawing process, or SIGKILL of the process that it draws for."""
    folder = make_folder(tmp_path/'run', *DATA['built-in'][:1], iterations=range(0, 3000, 10))
    parent = ('import os, subprocess, sys, time\n'
              'p = subprocess.Popen([*sys.argv[1:], str(os.getpid())], stdin=subprocess.PIPE)\n'
              'print(p.pid, flush=True); time.sleep(60)')
    process = subprocess.Popen([sys.executable, '-c', parent, sys.executable, str(ROOT/'plotting.py'), str(folder),
                                '--follow'], stdout=subprocess.PIPE, text=True)
    drawing = int(process.stdout.readline())
    wait_until(lambda: len(list(folder.rglob('*.png'))) >= 5)
    os.kill(drawing, signal.SIGTERM) if whose == 'its own' else process.kill()
    wait_until(lambda: not os.path.exists(f'/proc/{drawing}')
               or 'State:\tZ' in Path(f'/proc/{drawing}/status').read_text())
    process.kill()
    process.communicate()
    assert not list(folder.rglob('*.tmp')) and len(list(folder.rglob('*.png'))) < 300
    for path in folder.rglob('*.png'):
        with Image.open(path) as image:
            image.load()
