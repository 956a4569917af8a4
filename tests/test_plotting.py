"""The pictures: whole and within their edges whatever the data are called and however large; and the process that
draws them beside a run."""
import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import plotting
from folders import draw, make_folder

ROOT = Path(plotting.__file__).parent
RNG = np.random.default_rng(0)
X = RNG.uniform(-50, 50, 300)
DATA = {  # of all kinds: rows, and what else make_folder is told
    'built-in': (np.stack([X, 10 + X**2], axis=1), dict(own=False, names=['x', 'y'], noise_dim=1)),
    'one column': (RNG.normal(size=[300, 1]), {}),
    'thirty long names': (RNG.normal(size=[300, 30]),
                          dict(names=['abcdefghijklmnopqrstuv%02d' % k for k in range(30)])),
    'three longer names': (RNG.normal(size=[300, 3])*1e5, dict(names=['W'*50, 'i'*50, 'from $ to $ '*4])),
    'formulas, one iteration': (RNG.normal(size=[300, 2]), dict(
        names=['from_$_to_$', 'price (US$ or CA$)'], noise_dim=16, iterations=(0,))),
    'two long names': (RNG.normal(size=[300, 2])*[1, 100], dict(names=['W'*50, 'W'*50])),
    'heavy tails, two': (RNG.standard_t(1, [300, 2]), {}),
    'large and tiny': (RNG.normal(size=[300, 2])*[1e30, 1e-6], {}),
    'large and tiny, the same name twice': (RNG.normal(size=[300, 4])*[1e30, 1e-6, 1, 1] + [0, 1, 1e9, 0],
                                            dict(names=['a', 'a', 'b', 'b'])),
    'heavy tails, few values': (np.stack([RNG.standard_t(1, 300), RNG.integers(0, 2, 300), np.full(300, 7)], 1), {}),
    'other scripts': (RNG.normal(size=[300, 4]), dict(names=['温度', 'цена', 'السعر', 'a\nb'])),
    'names twice and in pieces': (RNG.normal(size=[300, 4]), dict(names=['x', 'x', '"two"\nlines', 'a\u2028b'])),
    'grey images': (RNG.integers(0, 256, [70, 64]), dict(image=(8, 8))),
    'colour images': (RNG.integers(0, 256, [70, 192]), dict(image=(8, 8, 3))),
}
MOVING = 'built-in', 'one column', 'three longer names', 'heavy tails, few values', 'grey images'  # two snapshots


def pictures(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob('*')
            if path.suffix in ('.png', '.gif')}


def ink_at_the_border(path):
    """How many of a picture's outermost pixels are not white."""
    with Image.open(path) as image:
        pixels = np.asarray(image.convert('L'))
    return int(sum((edge < 250).sum() for edge in (pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1])))


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
    assert {str(path): ink_at_the_border(path) for path in drawn if ink_at_the_border(path)} == {}
    print(f'{len(drawn)} pictures have clean borders')
    for path in drawn:
        with Image.open(path) as image:
            assert np.asarray(image.convert('L')).std() > 5, path


def test_heavy_tails_get_logarithmic_axes():
    """Where a few values lie far out, and only there."""
    heavy = [RNG.standard_t(1, 300), np.exp(3*RNG.normal(size=300)), np.append(np.zeros(300), [1, 1, 2, 1000])]
    light = [RNG.normal(size=5000), RNG.exponential(size=5000), RNG.integers(0, 2, 50), np.arange(50)**4, np.ones(9),
             1e9 + RNG.standard_t(1, 300), np.append(np.zeros(300), 1)]
    for values, scale in [(values, 'symlog') for values in heavy] + [(values, 'linear') for values in light]:
        ax = plotting.new_figure().add_subplot()
        plotting.scale_axis(ax, 'x', values, 4)
        assert ax.get_xscale() == scale, values[:3]


def test_names_leave_room_for_powers_of_ten(tmp_path):
    folder = make_folder(tmp_path/'run', 1e5*RNG.normal(size=[300, 7]), ['Yearly income, gross [€]']*7, iterations=(0,))
    figure = plotting.new_figure()
    plotting.samples(figure, plotting.Run(folder).data)
    figure.canvas.draw()
    for ax in figure.axes:
        name, power = ax.xaxis.label.get_window_extent(), ax.xaxis.get_offset_text().get_window_extent()
        assert power.width > 0 and not name.overlaps(power)


def test_tails_of_generated_rows_count_too(tmp_path):
    """The rows kept back may have missed them."""
    folder = make_folder(tmp_path/'run', RNG.normal(size=[300, 2]), iterations=(0,))
    np.savetxt(folder/'generated_samples.csv', RNG.standard_t(1, [5000, 2]), '%.9g', ',', header='x0,x1', comments='')
    figure = plotting.table_columns(folder, plotting.Run(folder).data)
    assert [ax.get_xscale() for ax in figure.axes[:2]] == ['symlog', 'symlog']
    for ax in figure.axes[:2]:  # and the numbers along them stand apart
        ends = ax.transData.transform([(x, 0) for x in sorted(ax.get_xticks())])[:, 0]
        assert np.diff(ends).min() > 12


def test_negative_energy_distances_lie_within_their_panel(tmp_path):
    """Also the first, far above the others."""
    folder = make_folder(tmp_path/'run', RNG.normal(size=[300, 2]))
    header, *rows = (folder/'metrics.csv').read_text().splitlines()
    rows = [row.split(',') for row in rows]
    for row, value in zip(rows, ('0.8', '-0.03', '-0.04')):
        row[header.split(',').index('Energy Distance')] = value
    (folder/'metrics.csv').write_text('\n'.join([header, *map(','.join, rows)]) + '\n')
    figure = plotting.metrics(folder, plotting.Run(folder).data)
    figure.canvas.draw()
    ax, = (ax for ax in figure.axes if ax.get_title() == 'Energy distance')
    heights = ax.transAxes.inverted().transform(ax.transData.transform(ax.lines[0].get_xydata()))[:, 1]
    assert ax.get_yscale() == 'symlog' and 0.04 < heights.min() and heights.max() < 0.96


def test_round_numbers_around_features():
    """They hold the values and no more than as much again on either side; small moves leave them where they are."""
    for low, high in RNG.normal(size=[50, 2])*10**RNG.uniform(-6, 9, [50, 1]):
        low, high = sorted([low, high])
        ends = plotting.round_ends(low, high)
        assert ends[0] < low < high < ends[1] and ends[1] - ends[0] < 3*(high - low)
        assert all(len(f'{end:.10g}'.strip('-0.').split('e')[0].strip('0').replace('.', '')) <= 4 for end in ends), ends
    assert plotting.round_ends(0.31, 4.2) == plotting.round_ends(0.33, 4.1)


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


def test_lost_pictures_are_drawn_again(copy):
    before = pictures(copy)
    assert len(before) == 9 + 3 + 3
    for name in before:
        (copy/name).unlink()
    done = subprocess.run([sys.executable, ROOT/'plotting.py', copy], capture_output=True, text=True,
                          env={'PATH': '', 'LANG': 'C'})  # no display, no HOME
    assert (done.returncode, done.stderr) == (0, '')
    assert pictures(copy) == before


def test_no_tensorflow_and_no_pyplot():
    code = ('import sys, plotting; print([name in sys.modules for name in '
            '("tensorflow", "matplotlib.pyplot", "gan_quadratic")])')
    done = subprocess.run([sys.executable, '-c', code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout == '[False, False, False]\n'


def test_a_folder_without_a_run_is_bad_input(tmp_path):
    (tmp_path/'file').touch()
    for path in tmp_path, tmp_path/'file', tmp_path/'nothing':
        status, said = draw(path)
        assert status == 2 and said.count('\n') == 1 and 'holds no run' in said


def test_what_moves_is_drawn_and_nothing_stays(tmp_path):
    """On D's map: the line where it cannot tell, and how many samples lie outside."""
    folder = make_folder(tmp_path/'run', *DATA['built-in'][:1], iterations=(0,))
    run = plotting.Run(folder)
    paint = run.painters['discriminator/decision_%06d.png']
    shot = plotting.read(folder/'snapshots'/'000000.npz')
    nowhere, across = (dict(shot, decision=np.tile(np.linspace(0, end, 8), 8)) for end in (0.4, 1))
    outside = dict(nowhere, generated=shot['generated'] + 1e6)
    drawn = []
    for k, each in enumerate((nowhere, across, outside, nowhere)):
        paint(each, 0, tmp_path/f'{k}.png')
        with Image.open(tmp_path/f'{k}.png') as image:
            drawn.append(np.asarray(image.convert('L')).astype(int))
    assert np.array_equal(drawn[3], drawn[0])
    assert ((drawn[1] < 60) & (drawn[0] > 150)).sum() > 200
    text = np.argwhere(drawn[2][-40:] < drawn[0][-40:] - 50)
    assert len(text) > 50 and text[:, 1].min() > 400


def test_colours_are_the_same_in_every_picture(run):
    """White is white, and the two colours stand in each picture as they are, not only in shades of them."""
    wanted = {(255, 255, 255), *(tuple(bytes.fromhex(colour[1:])) for colour in (plotting.REAL, plotting.GENERATED))}
    for name in ('iterations/iteration_000100.png', 'features/feature_transform_000100.png',
                 'features/feature_transform_centroid_000100.png'):
        with Image.open(run/name) as image:
            found = {colour: count for count, colour in image.convert('RGB').getcolors(1000)}
        assert wanted <= found.keys() and found[255, 255, 255] > 1e5, name


def test_sample_pictures_keep_their_axes(run):
    frames = [np.asarray(Image.open(run/'iterations'/f'iteration_{i:06d}.png').convert('RGB')) for i in (0, 200)]
    assert np.array_equal(frames[0][60:, :70], frames[1][60:, :70])      # the y axis with its numbers
    assert np.array_equal(frames[0][420:460, :500], frames[1][420:460, :500])        # legend


@pytest.mark.parametrize('n, milliseconds, frames', [(3, 500, 3), (50, 400, 50), (1500, 20, 750)])
def test_gifs_last_no_longer_than_twenty_seconds(n, milliseconds, frames, tmp_path):
    paths = [tmp_path/f'{k}.png' for k in range(n)]
    for k, path in enumerate(paths):
        Image.new('P', (2, 2), k % 200).save(path)
    plotting.write_gif(paths, tmp_path/'out.gif')
    with Image.open(tmp_path/'out.gif') as gif:
        assert abs(gif.info['duration'] - milliseconds) <= 10 and gif.n_frames <= frames
        assert gif.n_frames*gif.info['duration'] <= 20_000


@pytest.mark.parametrize('name', ['snapshots/000100.npz', 'loss_logs.csv', 'metrics.csv', 'summary.json'])
def test_damaged_numbers(name, copy):
    """One line that names the file, status 1, and every other picture is drawn."""
    for path in [*copy.rglob('*.png'), *copy.rglob('*.gif')]:
        path.unlink()
    content = (copy/name).read_bytes()
    (copy/name).write_bytes(content[:60] + b'\xff\x00garbage' + content[60:len(content)//2] + b'\n')
    status, said = draw(copy)
    assert status == 1 and said.count('\n') == 1, said
    assert said.startswith(f'plotting.py: {copy/name} is damaged')
    assert len(pictures(copy)) >= 15 - 3 - 1


def test_what_the_gifs_are_made_of(copy):
    """All frames on disk, also where a snapshot's numbers are gone; one that is cut is named."""
    (copy/'snapshots'/'000100.npz').unlink()
    assert draw(copy) == (0, '')
    with Image.open(copy/'iterations.gif') as gif:
        assert gif.n_frames == 3
    frame = copy/'iterations'/'iteration_000100.png'
    os.truncate(frame, 3000)
    status, said = draw(copy)
    assert status == 1 and said.count('\n') == 1 and str(copy/'iterations.gif') in said


@pytest.mark.parametrize('name, content', [('settings.json', b'{"a": '), ('settings.json', b'null'),
                                           ('settings.json', b'{}'), ('snapshots/data.npz', b'PK')])
def test_damaged_foundations(name, content, copy):
    (copy/name).write_bytes(content)
    status, said = draw(copy)
    assert status == 1 and said.startswith(f'plotting.py: {copy/name} is damaged') and said.count('\n') == 1


def test_a_last_line_that_is_being_written(copy):
    for name in 'loss_logs.csv', 'metrics.csv':
        with open(copy/name, 'a') as file:
            file.write('300,1.')
    assert draw(copy) == (0, '')
    for name in 'loss_logs.csv', 'metrics.csv':
        (copy/name).write_text((copy/name).read_text().split('\n')[0] + '\n')  # stopped before the first row
    assert draw(copy) == (0, '')


# ---------------------------------------------------------------------------------------------------- the page

def numbers_of_page(folder):
    text = (folder/'index.html').read_text()
    return json.loads(text.split('<script type="application/json" id="run">')[1].split('</script>')[0])


def test_measures_stand_by_their_snapshot(copy):
    """Also where a snapshot's file, or its row, is missing."""
    (copy/'snapshots'/'000100.npz').unlink()
    assert draw(copy) == (0, '')
    with open(copy/'metrics.csv') as file:
        rows = {int(row['Iteration']): row for row in csv.DictReader(file)}
    numbers = numbers_of_page(copy)
    assert numbers['iterations'] == [0, 200]
    for name, values in numbers['measures'].items():
        for i, value in zip((0, 200), values):
            assert value is None if rows[i][name] == '' else value == pytest.approx(float(rows[i][name]), rel=1e-3)


def test_the_page_is_written_once_a_second(copy, monkeypatch):
    """As snapshots arrive, and it shows those alone whose pictures are drawn."""
    shown, clock = [], iter(np.arange(100, 200, 0.3))
    monkeypatch.setattr(plotting, 'write_page', lambda *words: shown.append(sorted(words[-1])))
    monkeypatch.setattr(plotting.time, 'monotonic', lambda: next(clock))
    for i in range(300, 1000, 100):
        shutil.copy(copy/'snapshots'/'000200.npz', copy/'snapshots'/f'000{i}.npz')
    plotting.Run(copy).draw_frames(again=False)
    assert len(shown) == 3 and all(iterations == [*range(0, iterations[-1] + 1, 100)] for iterations in shown)


# ------------------------------------------------------------------------------------------------ beside a run

def follow(folder, **options):
    words = sys.executable, ROOT/'plotting.py', folder, '--follow', str(os.getpid())
    return subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                            **options)


def test_following_a_run(run, copy):
    """It draws what is missing, to the same bytes as when all is drawn, says when that is done, and puts the summary
    that comes then on the page."""
    for path in [*copy.rglob('*_000200.png'), *copy.glob('*.png'), *copy.rglob('*.gif')]:
        path.unlink()
    summary = (copy/'summary.json').rename(copy/'summary')
    process = follow(copy)
    process.stdin.write('draw\ndraw\nfinish\n')
    process.stdin.flush()
    assert process.stdout.readline() == 'done\n'
    assert pictures(copy) == pictures(run) and 'not finished' in (copy/'index.html').read_text()
    summary.rename(copy/'summary.json')
    assert process.communicate() == ('', '') and process.returncode == 0
    assert 'The losses settle' in (copy/'index.html').read_text()


def test_a_run_that_ends_early_ends_it(copy):
    for path in copy.rglob('*.png'):
        path.unlink()
    process = follow(copy)
    assert process.communicate('draw\n') == ('', '') and process.returncode == 0
    assert (copy/'iterations'/'iteration_000200.png').exists() and not (copy/'metrics.png').exists()


@pytest.mark.parametrize('whose', ['its own', "the run's"])
def test_a_kill_leaves_no_half_picture(whose, tmp_path):
    """SIGTERM of the drawing process, or SIGKILL of the process that it draws for."""
    folder = make_folder(tmp_path/'run', *DATA['built-in'][:1], iterations=range(0, 3000, 10))
    parent = ('import os, subprocess, sys, time\n'
              'p = subprocess.Popen([*sys.argv[1:], str(os.getpid())], stdin=subprocess.PIPE)\n'
              'p.stdin.write(b"draw\\n"); p.stdin.flush(); print(p.pid, flush=True); time.sleep(60)')
    process = subprocess.Popen([sys.executable, '-c', parent, sys.executable, str(ROOT/'plotting.py'), str(folder),
                                '--follow'], stdout=subprocess.PIPE, text=True)
    drawing = int(process.stdout.readline())
    while len(list(folder.rglob('*.png'))) < 5:
        time.sleep(0.02)
    os.kill(drawing, signal.SIGTERM) if whose == 'its own' else process.kill()
    for _ in range(200):
        time.sleep(0.05)
        if not os.path.exists(f'/proc/{drawing}') or 'State:\tZ' in Path(f'/proc/{drawing}/status').read_text():
            break
    else:
        raise AssertionError('it draws on')
    process.kill()
    process.communicate()
    assert not list(folder.rglob('*.tmp')) and len(list(folder.rglob('*.png'))) < 300
    for path in folder.rglob('*.png'):
        with Image.open(path) as image:
            image.load()
