"""One short run of the command: its lines, pictures, numbers and page. Needs pytest alone."""
import json
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from gan_quadratic import energy_distance_to, sample_data

SCRIPT = Path(__file__).resolve().parents[1]/'gan_quadratic.py'
WORDS = ['--iterations', '301', '--snapshot-every', '100', '--print-every', '100']
ITERATIONS = 0, 100, 200, 300  # with a snapshot, and a line
LINE = r'Iterations: \d+\t Discriminator loss: \d+\.\d{4}\t Generator loss: \d+\.\d{4}'
ON_THE_PAGE = ['training_data.png', 'training_loss.png', 'metrics.png']
ANIMATIONS = ['iterations.gif', 'feature_transform.gif', 'feature_transform_centroid.gif']
FRAMES = [
    'iterations/iteration_%06d.png', 'features/feature_transform_%06d.png',
    'features/feature_transform_centroid_%06d.png']
PICTURES = [*ON_THE_PAGE, *ANIMATIONS, *(name % i for name in FRAMES for i in ITERATIONS)]


@pytest.fixture(scope='session')
def done(tmp_path_factory):
    """What the run said and left, in another folder, whose name has spaces and odd letters."""
    elsewhere = tmp_path_factory.mktemp('smoke')
    process = subprocess.run(
        [sys.executable, SCRIPT, *WORDS, '--output', 'größe 2 π'], cwd=elsewhere,
        capture_output=True, stdin=subprocess.DEVNULL, encoding='utf-8')
    return SimpleNamespace(
        status=process.returncode, said=process.stdout, complained=process.stderr,
        folder=elsewhere/'größe 2 π')


def found(folder, pattern):
    return {str(path.relative_to(folder)) for path in folder.rglob(pattern)}


def test_it_ends_well(done):
    assert (done.status, done.complained) == (0, '')


def test_it_prints_a_line_as_often_as_asked(done):
    lines = [line for line in done.said.splitlines() if line.startswith('Iterations')]
    assert len(lines) == len(ITERATIONS)
    assert [line for line in lines if not re.fullmatch(LINE, line)] == []


def test_it_draws_no_progress_bar_into_a_pipe(done):
    assert not re.search(r'[\r\b]|ETA', done.said)


def test_it_draws_these_pictures_and_no_other(done):
    assert found(done.folder, '*.png') | found(done.folder, '*.gif') == set(PICTURES)


@pytest.mark.parametrize('name', PICTURES)
def test_a_picture_is_large_enough_and_not_blank(name, done):
    with Image.open(done.folder/name) as image:
        shades = np.asarray(image.convert('L'))
    assert min(shades.shape) > 300
    assert shades.std() > 5


@pytest.mark.parametrize('name', ANIMATIONS)
def test_an_animation_has_a_frame_a_snapshot(name, done):
    with Image.open(done.folder/name) as image:
        assert image.n_frames == len(ITERATIONS)


def test_samples_are_shown_two_frames_a_second(done):
    with Image.open(done.folder/'iterations.gif') as image:
        assert image.info['duration'] == 500  # milliseconds


@pytest.mark.parametrize('name', ON_THE_PAGE)
def test_the_page_shows_a_picture(name, done):
    assert name in (done.folder/'index.html').read_text(encoding='utf-8')


def test_nothing_temporary_is_left(done):
    assert found(done.folder, '*.tmp') == set()


@pytest.mark.parametrize('name, shape', [
    ('loss_logs.csv', (31, 3)), ('metrics.csv', (4, 15)), ('generated_samples.csv', (10_000, 2))])
def test_numbers_are_finite(name, shape, done):
    rows = np.loadtxt(done.folder/name, delimiter=',', skiprows=1)
    assert rows.shape == shape
    assert np.isfinite(rows).all()


@pytest.fixture
def summary(done):
    return json.loads((done.folder/'summary.json').read_text(encoding='utf-8'))


def test_every_claim_is_printed(summary, done):
    claims = [claim['claim'] for claim in summary['claims'].values()]
    assert len(claims) == 5
    assert [claim for claim in claims if claim not in done.said] == []


def test_the_final_distance_is_that_of_all_samples_to_as_many_real_points(summary, done):
    """Measured once more, to other points; by its error it is seen that no fewer were taken."""
    samples = np.loadtxt(done.folder/'generated_samples.csv', delimiter=',', skiprows=1)
    distance, error = energy_distance_to(sample_data(10_000))(samples)
    final = summary['final']
    assert final['energy_distance'] == pytest.approx(distance, abs=4*error)
    assert final['energy_distance_error'] == pytest.approx(error, rel=0.1)


def test_the_claim_is_on_the_final_distance(summary):
    claimed = summary['claims']['samples_follow']['measured']['energy distance']
    assert claimed == summary['final']['energy_distance']
