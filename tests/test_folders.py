"""What a run does to the files of its folder: what it replaces, refuses, goes on with, and where
they are damaged."""
import shutil

import numpy as np
import pytest

import gan_quadratic as program
from helpers import compare, decode_everything, files
from runs import QUIET, STEPS, TINY, assert_same_numbers, command, interrupt, one_line

NEW_RUN = *STEPS, *QUIET


# ------------------------------------------------------------------------------------- a new run

@pytest.mark.parametrize('flags', [[], ['--overwrite']], ids=['plain', 'overwrite'])
@pytest.mark.parametrize('name', [
    'metrics.csv', 'generated_samples.csv', 'iterations.gif', 'index.html', 'summary.json',
    'settings.json', 'columns.png', 'iterations/iteration_000777.png', 'snapshots/000777.npz',
    'checkpoint.npz', 'saved_model/mine', 'tensorboard/mine', 'features'])
def test_a_folder_that_never_held_a_run_is_the_users(name, flags, tmp_path, capsys):
    """Though what lies there bears a name of a run's."""
    (tmp_path/name).parent.mkdir(exist_ok=True)
    (tmp_path/name).write_text('{"mine": 1}')
    before = files(tmp_path)
    assert command(*NEW_RUN, *flags, '--output', tmp_path) == 2
    one_line(capsys, tmp_path/name.split('/')[0], 'another --output')
    assert files(tmp_path) == before


MINE = 'notes.txt', 'iterations/iteration_best.png', 'snapshots/mine.npz', 'snapshots/%06d.npz.tmp'


@pytest.fixture
def mine(done):
    """A finished run's folder with files of the user's, and one of each that a run writes."""
    for name in MINE:
        (done/name).parent.mkdir(exist_ok=True)
        (done/name).write_text('mine')
    for pattern in program.WRITTEN:
        path = done/pattern.replace('%06d', '000777')
        path.parent.mkdir(exist_ok=True)
        if not path.exists():
            path.write_text("the old run's")
    return done


def test_a_new_run_replaces_a_finished_one_whole(mine, finished):
    """Nothing of the old run stays, and all that is the user's."""
    assert command(*NEW_RUN, '--output', mine) == 0
    for name in MINE:
        assert (mine/name).read_text() == 'mine'
        (mine/name).unlink()
    assert compare(mine, finished) == []


def test_overwrite_discards_an_unfinished_run(half, finished):
    assert command(*NEW_RUN, '--overwrite', '--output', half) == 0
    assert compare(half, finished) == []


REFUSED = {
    '--data none.csv --overwrite': "argument --data: 'none.csv' cannot be read",
    '--resume --hidden 8': 'argument --hidden: [8] contradicts [4]',
    '--resume --normalize': 'argument --normalize: standard contradicts None',
    '--resume --iterations 40': 'argument --iterations: 40 contradicts 41',
    '--sample 25 --iterations 500': 'argument --iterations: 500 contradicts 41'}


@pytest.mark.parametrize('words', REFUSED)
@pytest.mark.parametrize('run', ['half', 'done'])
def test_what_is_refused_changes_nothing(run, words, request, capsys):
    folder = request.getfixturevalue(run)
    before = files(folder)
    assert command(*words.split(), '--output', folder) == 2
    one_line(capsys, REFUSED[words])
    assert files(folder) == before


def test_an_unfinished_run_is_not_replaced_unasked(half, capsys):
    before = files(half)
    assert command(*NEW_RUN, '--output', half) == 2
    one_line(capsys, 'holds an unfinished run', '--resume', '--overwrite')
    assert files(half) == before


@pytest.mark.parametrize('words', [NEW_RUN, ['--resume'], ['--sample', '5']],
                         ids=['new', 'resume', 'sample'])
def test_a_second_run_in_the_folder_refuses(words, done, capsys):
    before = files(done)
    with program.locked(done):
        assert command(*words, '--output', done) == 1
    one_line(capsys, 'another run', done)
    assert files(done) == before


# --------------------------------------------------------------------------------------- going on

def test_an_interrupted_run_resumes_where_it_was_moved_to(half, drawn, tmp_path, capsys):
    """As if it had never been interrupted; also where a kill left files half written."""
    moved = half.rename(tmp_path/'moved')
    for name in 'saved_model', 'saved_model.tmp', 'iterations':
        (moved/name).mkdir()
        (moved/name/'mark').touch()
    (moved/'iterations/mark').unlink()
    for name in 'iterations/iteration_000040.png.tmp', 'summary.json.tmp', 'checkpoint.npz.tmp':
        (moved/name).write_text('left by a kill')
    assert command('--resume', '--pictures', 'article', '--output', moved) == 0
    assert 'Going on from iteration 2' in capsys.readouterr().out
    assert decode_everything(moved) == []
    assert compare(moved, drawn) == []


def test_a_finished_run_is_not_run_again(done, capsys):
    before = files(done)
    assert command('--resume', '--output', done) == 0
    assert 'is finished: 41 iterations' in capsys.readouterr().out
    assert files(done) == before


@pytest.fixture(scope='module')
def longer(tmp_path_factory):
    """The folder of a run of 62 iterations in one go."""
    folder = tmp_path_factory.mktemp('longer')
    assert command(*NEW_RUN, '--iterations', 62, '--output', folder) == 0
    return folder


def test_a_finished_run_grows(done, longer, capsys):
    """As if it had been longer from the start."""
    assert command('--resume', '--iterations', 62, '--output', done) == 0
    assert '\nGoing on from iteration 41' in capsys.readouterr().out
    assert_same_numbers(done, longer)


def test_a_run_that_was_interrupted_as_it_grew(done, longer, monkeypatch, capsys):
    """It is no longer finished."""
    with monkeypatch.context() as patch:
        patch.setattr(program.Run, 'train', lambda run, events: interrupt())
        assert command('--resume', '--iterations', 62, '--output', done) == 130
    assert command('--resume', '--output', done) == 0
    assert 'is finished' not in capsys.readouterr().out
    assert_same_numbers(done, longer)


@pytest.fixture(scope='module')
def own_run(tmp_path_factory):
    """A folder of rows.npy, the user's, and of a run on them. Not to be written to."""
    folder = tmp_path_factory.mktemp('own')
    np.save(folder/'rows.npy', np.random.default_rng(0).normal(size=[50, 2]))
    program.train(data=str(folder/'rows.npy'), output=folder/'run', **TINY)
    return folder


@pytest.fixture
def own(own_run, tmp_path):
    """The run's folder in a copy of own_run."""
    folder = shutil.copytree(own_run, tmp_path/'own')
    damage(folder, 'run/settings.json', replace(bytes(own_run), bytes(folder)))
    return folder/'run'


@pytest.mark.parametrize('change, reason', [
    (lambda path: np.save(path, np.load(path) + 1), 'is not what the run began with'),
    (lambda path: path.unlink(), 'cannot be read')], ids=['changed', 'gone'])
def test_data_that_are_no_longer_there(change, reason, own, capsys):
    change(own.with_name('rows.npy'))
    before = files(own)
    assert command('--resume', '--iterations', 7, '--output', own) == 2
    one_line(capsys, reason)
    assert files(own) == before
    assert command('--sample', 3, '--output', own) == 0  # needs no data


def test_data_that_moved(own):
    moved = own.with_name('rows.npy').rename(own.with_name('moved.npy'))
    assert command('--resume', '--iterations', 7, '--data', moved, '--output', own) == 0


# ---------------------------------------------------------------------------------------- samples

@pytest.mark.parametrize('n', [25, 12_345])
def test_the_first_samples_are_the_same_for_every_number(n, done):
    """And nothing else changes."""
    before = files(done)
    assert command('--sample', n, '--output', done) == 0
    after = files(done)
    lines = after.pop('generated_samples.csv').splitlines()
    lines_before = before.pop('generated_samples.csv').splitlines()
    assert len(lines) == n + 1
    same = min(len(lines), len(lines_before))
    assert lines[:same] == lines_before[:same]
    assert after == before


def test_an_unfinished_run_has_no_generator(half, capsys):
    before = files(half)
    assert command('--sample', 25, '--output', half) == 1
    one_line(capsys, f'{half} holds no trained generator yet; train one with --resume')
    assert files(half) == before


# ----------------------------------------------------------------------------------------- damage

def damage(folder, pattern, change):
    """Gives a file the content that `change` makes of its own; None: removes it."""
    path, = folder.glob(pattern)
    if change is None and path.is_dir():
        shutil.rmtree(path)
    elif change is None:
        path.unlink()
    else:
        path.write_bytes(change(path.read_bytes()))


def cut(share):
    """Keeps this share of a file."""
    return lambda content: content[:int(share*len(content))]


def replace(old, new):
    return lambda content: content.replace(old, new)


DAMAGE = {
    'empty checkpoint': ('checkpoint.npz', cut(0)),
    'cut checkpoint': ('checkpoint.npz', cut(0.9999)),
    'a wrong bit': ('checkpoint.npz', replace(b'"iteration": 41', b'"iteration": 40')),
    'cut settings': ('settings.json', cut(0.5)),
    'cut summary': ('summary.json', cut(0.5)),
    'cut metrics': ('metrics.csv', cut(0.9)),
    'no log': ('loss_logs.csv', None)}


@pytest.mark.parametrize('case', DAMAGE)
def test_a_damaged_run_does_not_go_on(case, done, capsys):
    """Nor does it start from nothing or change what is there, which may be all there is: not even a
    row that the checkpoint knows nothing of."""
    name, change = DAMAGE[case]
    with open(done/'loss_logs.csv', 'a') as file:
        file.write('70,1,1\n')
    damage(done, name, change)
    before = files(done)
    assert command('--resume', '--iterations', 81, *QUIET, '--output', done) == 1
    one_line(capsys, done/name)
    assert files(done) == before


def test_settings_of_another_run(done, capsys):
    """The checkpoint is of networks of another width."""
    damage(done, 'settings.json', replace(b'  4\n', b'  5\n'))
    before = files(done)
    assert command('--resume', '--iterations', 81, *QUIET, '--output', done) == 1
    one_line(capsys, done/'checkpoint.npz', 'of another run')
    assert files(done) == before


DAMAGED_MODEL = {
    'cut data': ('snapshots/data.npz', cut(0.5)),
    'no data': ('snapshots/data.npz', None),
    'cut graph': ('saved_model/saved_model.pb', cut(0.5)),
    'no model': ('saved_model', None),
    'cut weights': ('saved_model/*/*data*', cut(0.5)),
    'cut index': ('saved_model/*/*index', cut(0.5))}


@pytest.mark.parametrize('case', DAMAGED_MODEL)
def test_a_damaged_model_makes_no_samples(case, done, capsys):
    name, change = DAMAGED_MODEL[case]
    damage(done, name, change)
    before = files(done)
    assert command('--sample', 25, '--output', done) == 1
    one_line(capsys, done)
    assert files(done) == before
