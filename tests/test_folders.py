"""The folder of a run: what it is called, and what a new run finds, keeps and replaces there."""
import os
import shutil

import pytest

import gan_quadratic as program
from helpers import compare, files
from runs import QUIET, STEPS, changes, command, interrupt, one_line

NEW_RUN = *STEPS, *QUIET


# ------------------------------------------------------------------------------ what it is called

FOLDERS = {
    '': 'outputs',
    '--iterations 11 --pictures all --print-every 5': 'outputs',
    '--activation leaky_relu --seed 0': 'outputs',
    '--data spiral': 'outputs/spiral',
    '--data spiral --hidden 64 64': 'outputs/spiral',
    '--data spiral --seed 3': 'outputs/spiral-seed-3',
    '--seed 3 --data spiral': 'outputs/spiral-seed-3',
    '--data ring --no-normalize': 'outputs/ring-no-normalize',
    '--normalize --activation tanh': 'outputs/normalize-activation-tanh',
    '--hidden 32 32': 'outputs/hidden-32-32',
    '--g-steps 10 --d-steps 10 --iterations 11': 'outputs/d-steps-10-g-steps-10',
    '--data my/measurements.csv': 'outputs/measurements',
    '--data my/measurements.tsv.gz --seed 1': 'outputs/measurements-seed-1',
    '--data spiral --resume': 'outputs/spiral',
    '--data spiral --sample 100': 'outputs/spiral',
    '--data spiral --overwrite --iterations 5': 'outputs/spiral',
    '--data spiral --output mine': 'mine'}


@pytest.mark.parametrize('words', FOLDERS)
def test_a_run_has_a_folder_named_after_its_flags(words):
    folder = program.folder_of(program.parse(words.split()))
    assert str(folder) == FOLDERS[words]


@pytest.mark.parametrize('name', ['snapshots', 'tensorboard', 'saved_model', 'index.html'])
def test_no_table_is_called_as_what_a_run_writes(name):
    """Else one run would lie in the files of another."""
    folder = program.folder_of(program.parse(['--data', f'{name}.csv']))
    assert folder.parent.name == 'outputs'
    assert folder.name != name


@pytest.mark.parametrize('name', ['.csv', '..csv', '...csv'])
def test_a_table_without_a_name(name):
    """Its run lies neither in `outputs` itself nor above it."""
    folder = program.folder_of(program.parse(['--data', name]))
    assert folder.parent.name == 'outputs'
    assert folder.name.strip('.') != ''


def test_resume_and_sample_find_it_by_the_same_flags(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    flags = '--data', 'ring', '--hidden', '4', '--step-by-step'
    assert command(*flags, *QUIET, '--iterations', 3) == 0
    output, = (line for line in capsys.readouterr().out.splitlines() if line.startswith('Output'))
    assert output.split() == ['Output', 'outputs/ring-hidden-4-step-by-step']
    assert command(*flags, '--resume') == 0
    assert command(*flags, '--sample', 5) == 0


# ------------------------------------------------------------------------------- what is in the way

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
    assert changes(tmp_path, before) == []


def test_an_unfinished_run_is_not_replaced_unasked(half, capsys):
    before = files(half)
    assert command(*NEW_RUN, '--output', half) == 2
    one_line(capsys, 'holds an unfinished run', '--resume', '--overwrite', 'another --output')
    assert changes(half, before) == []


@pytest.mark.parametrize('flags', [['--seed', 1], ['--hidden', 5], ['--iterations', 21]],
                         ids=['seed', 'hidden', 'fewer iterations'])
def test_a_finished_run_that_would_be_lost_is_not_replaced_unasked(flags, done, capsys):
    before = files(done)
    assert command(*NEW_RUN, *flags, '--output', done) == 2
    one_line(capsys, f'{done} holds a finished run', '--resume', '--overwrite', 'another --output')
    assert changes(done, before) == []


@pytest.mark.parametrize('flags', [
    [], ['--iterations', 62], ['--pictures', 'all'], ['--print-every', 1],
    ['--seed', 1, '--overwrite']],
    ids=['the same', 'more iterations', 'pictures', 'print-every', 'overwrite'])
def test_a_finished_run_that_comes_again_is_replaced(flags, done, monkeypatch):
    began = []
    monkeypatch.setattr(program, 'train_run', lambda *arguments: began.append(arguments))
    assert command(*NEW_RUN, *flags, '--output', done) == 0
    assert len(began) == 1


@pytest.mark.parametrize('words', [NEW_RUN, ['--resume'], ['--sample', '5']],
                         ids=['new', 'resume', 'sample'])
def test_a_second_run_in_the_folder_refuses(words, done, capsys):
    before = files(done)
    with program.locked(done):
        assert command(*words, '--output', done) == 1
    one_line(capsys, 'another run', done)
    assert changes(done, before) == []


# ------------------------------------------------------------------------------- what is replaced

def test_a_new_run_replaces_a_finished_one(done, finished):
    """But for files of the user's."""
    mine = done/'saved_model'/'README.md', done/'tensorboard'/'mine.txt'
    for path in mine:
        path.write_text('mine')
    assert command(*NEW_RUN, '--output', done) == 0
    for path in mine:
        assert path.read_text() == 'mine'
        path.unlink()
    assert compare(done, finished) == []
    assert len(os.listdir(done/'tensorboard')) == 1


def test_overwrite_discards_an_unfinished_run(half, finished):
    assert command(*NEW_RUN, '--overwrite', '--output', half) == 0
    assert compare(half, finished) == []


@pytest.mark.parametrize('pattern', program.WRITTEN)
def test_every_file_of_a_run_is_removed(pattern, done):
    """With its folder, and with what a kill left half written."""
    name = pattern.replace('%06d', '000777').replace('%f', '1234.5')
    (done/name).parent.mkdir(parents=True, exist_ok=True)
    (done/name).touch()
    (done/f'{name}.tmp').touch()
    program.discard(done)
    assert os.listdir(done) == ['settings.json']


@pytest.mark.parametrize('name', [
    'notes.txt', 'tensorboard/mine.txt', 'tensorboard/events.out.tfevents.mine',
    'saved_model/README.md', 'saved_model/variables/mine', 'iterations/iteration_best.png',
    'snapshots/mine.npz', 'snapshots/%06d.npz.tmp'])
def test_no_file_of_the_users_is_removed(name, done):
    (done/name).parent.mkdir(exist_ok=True)
    (done/name).write_text('mine')
    program.discard(done)
    assert (done/name).read_text() == 'mine'


def out_of_memory(*arguments, **options):
    raise MemoryError


def interrupted(*arguments, **options):
    interrupt()


@pytest.mark.parametrize('place', ['Snapshots', 'Networks', 'build_loop'])
@pytest.mark.parametrize('failing, status', [(out_of_memory, 1), (interrupted, 130)],
                         ids=['out of memory', 'interrupt'])
def test_a_start_that_fails_destroys_nothing(place, failing, status, done, monkeypatch, capsys):
    """Of the finished run that it would have replaced."""
    before = files(done)
    monkeypatch.setattr(program, place, failing)
    compiled = '--hidden', '4', '--seed', '1'
    assert command(*compiled, '--overwrite', '--output', done) == status
    one_line(capsys)
    assert changes(done, before) == []


@pytest.mark.parametrize('name', ['snapshots', 'tensorboard'])
def test_a_file_in_the_place_of_a_folder(name, done, capsys):
    """The finished run beside it is not lost by a start that cannot succeed."""
    shutil.rmtree(done/name)
    (done/name).write_text('mine')
    before = files(done)
    assert command(*NEW_RUN, '--output', done) != 0
    one_line(capsys, done/name)
    assert changes(done, before) == []
