"""A run is never lost: bad input, kills, interrupts, full disks, damaged files, and what lies in the folder already."""
import builtins
import contextlib
import errno
import io
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

import gan_quadratic
from folders import draw
from helpers import ROOT, compare, decode_everything, drawing_processes, files, fork_command

# Step by step nothing waits for the compiler; kill_resume.py runs the compiled loop.
STEPS = '--iterations', '61', '--snapshot-every', '20', '--step-by-step', '--print-every', '10'
AS_ROOT = hasattr(os, 'geteuid') and os.geteuid() == 0
NO_PROC = not os.path.isdir('/proc/self')


def command(*words):
    """The command in this process. Returns its exit status."""
    return gan_quadratic.main([str(word) for word in words])


def at_iteration(monkeypatch, iteration, act):
    """Has `act` called when the run prints the line of an iteration."""
    say = gan_quadratic.say

    def saying(line, *rest, **options):
        say(line, *rest, **options)
        if line.startswith(f'Iterations: {iteration}\t'):
            act()
    monkeypatch.setattr(gan_quadratic, 'say', saying)


def interrupt():
    signal.raise_signal(signal.SIGINT)


def one_line(capsys, *pieces):
    """The single line on stderr, with these pieces in it; given capfd, TensorFlow's own lines count too."""
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1, lines
    assert all(str(piece) in lines[0] for piece in pieces), lines
    assert lines[0].startswith('gan_quadratic.py: ')
    return lines[0]


@pytest.fixture(scope='module')
def finished(tmp_path_factory):
    """The folder of a finished run, with pictures. Not to be written to."""
    folder = tmp_path_factory.mktemp('robust')/'finished'
    assert command(*STEPS, '--output', folder) == 0
    assert len(list(folder.glob('*/*.png'))) == 12 and len(list(folder.glob('*.*[gf]'))) == 6, 'pictures are missing'
    return folder


@pytest.fixture(scope='module')
def unfinished(tmp_path_factory):
    """The folder of the same run, without pictures so far, interrupted about its middle. Not to be written to."""
    folder = tmp_path_factory.mktemp('robust')/'unfinished'
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(gan_quadratic, 'CHECKPOINT_EVERY', 0)
        at_iteration(monkeypatch, 30, interrupt)
        assert command(*STEPS, '--pictures', 'none', '--output', folder) == 130
    return folder


@pytest.fixture
def done(finished, tmp_path):
    """A copy of the finished run."""
    return shutil.copytree(finished, tmp_path/'run')


@pytest.fixture
def half(unfinished, tmp_path):
    """A copy of the interrupted run."""
    return shutil.copytree(unfinished, tmp_path/'half')


def assert_same_numbers(folder, reference):
    """The numbers of two runs agree to the byte, every file decodes, and nothing temporary is left."""
    assert not decode_everything(folder)
    assert not [line for line in compare(folder, reference) if line.endswith('differs')]


# ------------------------------------------------------------------------------------------------------ bad input

def write_bad_files(folder):
    """Data files of every kind that cannot be data."""
    for name, text in {
            'empty.csv': '', 'header.csv': 'x,y\n', 'row.csv': 'x,y\n1,2\n', 'words.csv': 'x,y\n1,two\n3,4\n',
            'ragged.csv': '1,2\n3,4,5\n', 'gap.csv': '1,2\n3,\n', 'nan.csv': '1,2\nnan,4\n', 'inf.csv': '1,2\n3,inf\n',
            'names.csv': 'x,y,z\n1,2\n3,4\n', 'text.txt': '1,2\n3,4\n', 'none': '1,2\n3,4\n', 'text.npy': '1,2\n3,4\n',
            'text.npz': '1,2\n3,4\n', 'empty.npy': '', 'empty.npz': ''}.items():
        (folder/name).write_text(text)
    (folder/'binary.csv').write_bytes(bytes(range(256)))
    (folder/'folder.csv').mkdir()
    mixed = np.array([[1, None], [2, 'x']], object)
    for name, rows in {'pickled': mixed, 'scalar': np.array(1.), 'row': np.ones([1, 2]),
                       'words': np.array([['a', 'b']]*3), 'complex': np.ones([3, 2], complex), 'bare': np.ones([5, 0]),
                       'nan': np.full([3, 2], np.nan), 'huge': np.array([[1e300, 1], [-1e300, 2]])}.items():
        np.save(folder/f'{name}.npy', rows)
    np.savez(folder/'several.npz', a=np.ones([3, 2]), b=np.ones([3, 2]))
    np.savez(folder/'nothing.npz')
    np.savez(folder/'pickled.npz', mixed)
    shutil.copy(folder/'several.npz', folder/'disguised.npy')
    (folder/'cut.npz').write_bytes((folder/'several.npz').read_bytes()[:100])
    (folder/'cut.npy').write_bytes((folder/'nan.npy').read_bytes()[:140])


@pytest.fixture(scope='module')
def bad_files(tmp_path_factory):
    folder = tmp_path_factory.mktemp('bad')
    write_bad_files(folder)
    return folder


LONG = 'x'*5000
BAD_INPUT = [line.split(' | ') for line in """
    --iterations 0 | --iterations | 0 is not allowed | whole number from 1 to 1000000000
    --iterations -5 | --iterations | -5 is not allowed | whole number from 1
    --iterations 1e3 | --iterations | 1e3 is not allowed | whole number
    --iterations 1000000001 | --iterations | 1000000001 is not allowed | to 1000000000
    --iterations nan | --iterations | nan is not allowed | whole number
    --iterations | --iterations | expected one argument
    --batch-size 0 | --batch-size | 0 is not allowed | from 1 to 100000
    --batch-size 100001 | --batch-size | 100001 is not allowed | from 1 to 100000
    --batch-size inf | --batch-size | inf is not allowed | whole number
    --d-steps 0 | --d-steps | 0 is not allowed | from 1 to 1000
    --d-steps 1001 | --d-steps | 1001 is not allowed | from 1 to 1000
    --g-steps -1 | --g-steps | -1 is not allowed | from 1 to 1000
    --g-steps 2.5 | --g-steps | 2.5 is not allowed | whole number
    --learning-rate 0 | --learning-rate | 0 is not allowed | a number from 1e-12 to 1000
    --learning-rate -0.1 | --learning-rate | -0.1 is not allowed | a number from
    --learning-rate nan | --learning-rate | nan is not allowed | a number from
    --learning-rate inf | --learning-rate | inf is not allowed | to 1000
    --learning-rate 1e9 | --learning-rate | 1e9 is not allowed | to 1000
    --learning-rate fast | --learning-rate | fast is not allowed | a number from
    --scale 0 | --scale | 0 is not allowed | a number from 1e-06 to 1e+06
    --scale -100 | --scale | -100 is not allowed | a number from
    --scale nan | --scale | nan is not allowed | a number from
    --scale inf | --scale | inf is not allowed | to 1e+06
    --scale=-inf | --scale | -inf is not allowed | a number from
    --scale 1e300 | --scale | 1e300 is not allowed | to 1e+06
    --hidden | --hidden | expected at least one argument
    --hidden 0 | --hidden | 0 is not allowed | from 1 to 4096
    --hidden 16 -16 | --hidden | -16 is not allowed | from 1 to 4096
    --hidden 16 5000 | --hidden | 5000 is not allowed | from 1 to 4096
    --hidden 16,16 | --hidden | 16,16 is not allowed | whole number
    --noise-dim 0 | --noise-dim | 0 is not allowed | from 1 to 4096
    --noise-dim 99999 | --noise-dim | 99999 is not allowed | from 1 to 4096
    --seed -1 | --seed | -1 is not allowed | from 0 to 4294967295
    --seed 4294967296 | --seed | 4294967296 is not allowed | from 0 to
    --seed 1.5 | --seed | 1.5 is not allowed | whole number
    --log-every 0 | --log-every | 0 is not allowed | from 1
    --snapshot-every 0 | --snapshot-every | 0 is not allowed | from 1
    --snapshot-every -100 | --snapshot-every | -100 is not allowed | from 1
    --print-every 0 | --print-every | 0 is not allowed | from 1
    --sample 0 | --sample | 0 is not allowed | from 1 to 10000000
    --sample 10000001 | --sample | 10000001 is not allowed | to 10000000
    --data quadratc | --data | 'quadratc' is no file and no known distribution | allowed are quadratic, cubic
    --data quadratic.csv | --data | 'quadratic.csv' is no file | .csv, .tsv, .csv.gz, .tsv.gz, .npy, .npz
    --data {long} | --data | is no file
    --activation relo | --activation | invalid choice: 'relo' | leaky_relu
    --layer densely | --layer | invalid choice: 'densely' | dense | residual
    --output-mapping tan | --output-mapping | invalid choice: 'tan' | linear | tanh
    --pictures some | --pictures | invalid choice: 'some' | article | all | none
    --keep all | --keep | invalid choice: 'all' | last | best
    --normalize yes | --normalize | invalid choice: 'yes' | standard | quantile
    --penalty -1 | --penalty | -1 is not allowed | a number from 0 to 1e+06
    --columns 1 | --columns | no meaning beside --data quadratic
    --output= | --output | names no folder | give one
    --iteration 5 | unrecognized arguments: --iteration 5
    --learning_rate 5 | unrecognized arguments: --learning_rate 5
    --epochs 5 | unrecognized arguments: --epochs 5
    outputs/mine | unrecognized arguments: outputs/mine
    --resume --overwrite | --overwrite | not allowed with argument --resume
    --sample 5 --resume | --resume | not allowed with argument --sample
    --sample 5 --overwrite | --overwrite | not allowed with argument --sample
    --scale 5 --data ring | --scale | no meaning beside --data ring
    --scale 5 --data {dir}/nan.csv | --scale | no meaning beside --data
    --layer maxout --activation relu | --activation | no meaning beside --layer maxout
    --resume | --resume | holds no run
    --sample 5 | --sample | holds no run
    --output {dir}/text.txt | --output | text.txt | give a folder
    --output {dir}/text.txt/below | --output | text.txt | give a folder
    --output {long} | --output | give a
    --data {dir}/folder.csv | --data | folder.csv | is a folder
    --data {dir} | --data | is a folder | a file that ends in .csv
    --data {dir}/text.txt | --data | text.txt | is no table | a file that ends in .csv
    --data {dir}/none | --data | is no table | a file that ends in .csv
    --data {dir}/empty.csv | --data | empty.csv | holds 0 rows | at least 2
    --data {dir}/header.csv | --data | header.csv | holds 0 rows | at least 2
    --data {dir}/row.csv | --data | row.csv | holds 1 rows | at least 2
    --data {dir}/words.csv | --data | words.csv | line 2, column 'y' holds 'two' | --columns 1
    --data {dir}/ragged.csv | --data | ragged.csv | line 2 has 3 cells, the first has 2
    --data {dir}/gap.csv | --data | gap.csv | line 2, column '2' is empty | --columns 1
    --data {dir}/nan.csv | --data | nan.csv | line 2, column '1' holds 'nan'
    --data {dir}/inf.csv | --data | inf.csv | line 2, column '2' holds 'inf'
    --data {dir}/names.csv | --data | line 2 has 2 cells, the first has 3
    --data {dir}/binary.csv | --data | binary.csv | not a table of numbers
    --data {dir}/text.npy | --data | text.npy | not a table of numbers
    --data {dir}/text.npz | --data | text.npz | not a table of numbers
    --data {dir}/empty.npy | --data | empty.npy | not a table of numbers
    --data {dir}/empty.npz | --data | empty.npz | not a table of numbers
    --data {dir}/cut.npy | --data | cut.npy | not a table of numbers
    --data {dir}/cut.npz | --data | cut.npz | not a table of numbers
    --data {dir}/disguised.npy | --data | disguised.npy | one array, or name it x_train
    --data {dir}/pickled.npy | --data | pickled.npy | not a table of numbers
    --data {dir}/pickled.npz | --data | pickled.npz | not a table of numbers
    --data {dir}/several.npz | --data | holds the arrays ['a', 'b'] | one array, or name it x_train
    --data {dir}/nothing.npz | --data | nothing.npz | one array
    --data {dir}/scalar.npy | --data | scalar.npy | at least 2
    --data {dir}/row.npy | --data | holds 1 rows | at least 2
    --data {dir}/bare.npy | --data | bare.npy | column
    --data {dir}/words.npy | --data | words.npy | numbers are allowed
    --data {dir}/complex.npy | --data | complex128 | numbers are allowed
    --data {dir}/nan.npy | --data | nan.npy | not finite
    --data {dir}/huge.npy | --data | huge.npy | not finite
""".strip().splitlines()]


@pytest.mark.parametrize('words, pieces', [(words.split(), pieces) for words, *pieces in BAD_INPUT],
                         ids=[line[0].strip() for line in BAD_INPUT])
def test_bad_input(words, pieces, bad_files, tmp_path, capsys):
    words = [word.format(dir=bad_files, long=LONG) for word in words]
    output = [] if '--output' in ' '.join(words) else ['--output', tmp_path/'run']
    assert command('--iterations', 2, *words, *output) == 2
    line, = capsys.readouterr().err.splitlines()
    start = 'error: ' if pieces[0].startswith('unrec') or pieces[0][-1].isdigit() else f'error: argument {pieces[0]}: '
    assert line.startswith(f'gan_quadratic.py: {start}')
    assert not [piece for piece in pieces if piece not in line], line


def test_bad_input_loads_no_tensorflow(bad_files, tmp_path):
    lines = ['--iterations 0', '--data quadratc', f'--data {bad_files}/ragged.csv --output {tmp_path}',
             f'--data {bad_files}/nan.npy --output {tmp_path}',
             f'--output {bad_files}/text.txt', f'--resume --output {tmp_path}', '--epochs 5']
    script = ('import sys, gan_quadratic; '
              'print([gan_quadratic.main(line.split()) for line in sys.argv[1:]], "tensorflow" in sys.modules)')
    said = subprocess.run([sys.executable, '-c', script, *lines], cwd=ROOT, capture_output=True, text=True)
    assert said.stdout.split('\n')[-2] == f'{[2]*len(lines)} False', said


@pytest.mark.parametrize('package, script', [
    ('tensorflow', 'gan_quadratic.py'), ('numpy', 'gan_quadratic.py'), ('matplotlib', 'plotting.py')])
def test_without_a_package(package, script, tmp_path):
    (tmp_path/package).mkdir()
    (tmp_path/package/'__init__.py').write_text(f'raise ModuleNotFoundError("No module named {package!r}")')
    said = subprocess.run([sys.executable, ROOT/script], text=True, cwd=tmp_path,
                          env=dict(os.environ, PYTHONPATH=str(tmp_path)), capture_output=True)
    assert said.returncode == 1 and said.stderr.count('\n') == 1 and '-r requirements.txt' in said.stderr
    assert said.stderr.startswith(f'{script}: No module named')


@pytest.mark.skipif(AS_ROOT, reason='root may read everything')
def test_unreadable_data(tmp_path, capsys):
    (tmp_path/'data.csv').write_text('1,2\n3,4\n')
    (tmp_path/'data.csv').chmod(0)
    assert command('--data', tmp_path/'data.csv', '--output', tmp_path/'run') == 2
    assert 'argument --data' in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize('words', ['--data {dir}/nan.csv --overwrite', '--resume --hidden 8', '--seed 1'])
def test_bad_input_changes_nothing(words, half, bad_files, capsys):
    before = files(half)
    assert command(*words.format(dir=bad_files).split(), '--output', half) == 2
    assert files(half) == before


# ------------------------------------------------------------------------------------- what is in the folder already

MINE = ('notes.txt', 'iterations/iteration_best.png', 'checkpoint-mine',
        'snapshots/mine.npz', 'iterations/iteration_%06d.png', 'snapshots/%06d.npz.tmp')


def leave_own_files(folder):
    for name in MINE:
        (folder/name).parent.mkdir(exist_ok=True)
        (folder/name).write_text('mine')


def assert_own_files(folder):
    assert [name for name in MINE if not (folder/name).exists() or (folder/name).read_text() != 'mine'] == []


@pytest.mark.parametrize('name', [
    'metrics.csv', 'loss_logs.csv', 'generated_samples.csv', 'training_loss.png', 'iterations.gif', 'index.html',
    'summary.json', 'settings.json', 'columns.png', 'iterations/iteration_000777.png', 'snapshots/000777.npz',
    'checkpoint/model-5.index', 'checkpoint.npz', 'saved_model/mine', 'tensorboard/mine', 'features', 'generator/x'])
@pytest.mark.parametrize('words', ['', '--overwrite'])
def test_files_of_the_users_are_not_touched(name, words, tmp_path, capsys):
    """In a folder that never held a run, whatever bears a name of a run's is the user's."""
    (tmp_path/name).parent.mkdir(exist_ok=True)
    (tmp_path/name).write_text('{"mine": 1}')
    (tmp_path/'notes.txt').write_text('mine')
    before = files(tmp_path)
    assert command('--iterations', 11, *words.split(), '--output', tmp_path) == 2
    one_line(capsys, tmp_path/name.split('/')[0], 'another --output')
    assert files(tmp_path) == before


def test_a_folder_with_files_of_other_names_can_be_used(tmp_path):
    leave_own_files(tmp_path)
    for name in 'snapshots', 'iterations':
        shutil.rmtree(tmp_path/name)
    (tmp_path/'checkpoint-mine').unlink()
    assert command(*STEPS, '--iterations', 2, '--pictures', 'none', '--output', tmp_path) == 0
    assert (tmp_path/'notes.txt').read_text() == 'mine'


def test_an_unfinished_run_is_not_overwritten(half, capsys):
    before = files(half)
    assert command(*STEPS, '--output', half) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert '--resume' in line and '--overwrite' in line and str(half) in line
    assert files(half) == before


def test_a_new_run_in_a_finished_folder_leaves_none_of_the_old_frames(done):
    leave_own_files(done)
    assert command(*STEPS, '--iterations', 21, '--output', done) == 0
    assert_own_files(done)
    frames = [path.name for path in done.glob('iterations/*_[0-9]*')]
    assert sorted(frames) == ['iteration_000000.png', 'iteration_000020.png']
    assert not list(done.rglob('*000040*')) and (done/'loss_logs.csv').read_text().count('\n') == 4
    for name in MINE:
        (done/name).unlink()
    assert not decode_everything(done)


def test_overwrite_discards_the_unfinished_run_alone(half, tmp_path):
    leave_own_files(half)
    for folder in half, tmp_path/'nothing there':
        assert command(*STEPS, '--iterations', 2, '--pictures', 'none', '--overwrite', '--output', folder) == 0
        assert (folder/'loss_logs.csv').read_text().count('\n') == 2
        assert not list(folder.rglob('*000020*'))
    assert_own_files(half)


def test_an_interrupted_run_resumes_where_it_was_moved_to(half, finished, tmp_path, capsys):
    leave_own_files(half)
    moved = half.rename(tmp_path/'moved')
    (moved/'iterations').mkdir(exist_ok=True)
    for name in 'iterations/iteration_000040.png.tmp', 'summary.json.tmp', 'checkpoint.npz.tmp':
        (moved/name).write_text('left by a kill')
    assert command('--resume', '--pictures', 'article', '--output', moved) == 0
    assert 'Going on from iteration ' in capsys.readouterr().out
    assert_own_files(moved)
    for name in MINE:
        (moved/name).unlink()
    assert not decode_everything(moved)
    assert not compare(moved, finished)


@pytest.mark.parametrize('words', [STEPS, ['--resume'], ['--sample', '5']], ids=['new', 'resume', 'sample'])
def test_a_second_run_in_the_folder_refuses(words, done, capsys):
    before = files(done)
    with gan_quadratic.locked(done):
        assert command(*words, '--output', done) == 1
    one_line(capsys, 'another run', done)
    assert files(done) == before


def test_the_lock_of_a_killed_process_stops_nobody(tmp_path):
    script = ('import gan_quadratic, pathlib, sys, time\n'
              'with gan_quadratic.locked(pathlib.Path(sys.argv[1])):\n    print("locked", flush=True); time.sleep(600)')
    holder = subprocess.Popen([sys.executable, '-c', script, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE)
    assert holder.stdout.readline() == b'locked\n'
    with pytest.raises(gan_quadratic.Failure), gan_quadratic.locked(tmp_path):
        pass
    holder.kill()
    holder.communicate()
    with gan_quadratic.locked(tmp_path):
        pass


# ---------------------------------------------------------------------------------------------------------- resuming

def test_resume_of_a_finished_run(done, capsys):
    before = files(done)
    assert command('--resume', '--output', done) == 0
    assert 'finished' in capsys.readouterr().out
    assert files(done) == before


@pytest.mark.parametrize('flag, value, recorded', [
    ('--hidden', '8', '[16, 16]'), ('--seed', '1', '0'), ('--learning-rate', '0.5', '0.001'),
    ('--iterations', '60', '61'), ('--snapshot-every', '10', '20'), ('--data', 'ring', 'quadratic'),
    ('--normalize', '', 'None')])
def test_resume_with_a_contradicting_flag(flag, value, recorded, done, half, capsys):
    for folder in done, half:
        before = files(folder)
        assert command('--resume', flag, *value.split(), '--output', folder) == 2
        line = capsys.readouterr().err.splitlines()[-1]
        assert f'argument {flag}:' in line and value in line and recorded in line
        assert files(folder) == before


def test_a_finished_run_grows(half, tmp_path):
    """Also one that was interrupted before: as if it had been longer from the start."""
    for iterations in 61, 82:
        assert command('--resume', '--iterations', iterations, '--output', half) == 0
    longer = tmp_path/'longer'
    assert command(*STEPS, '--iterations', 82, '--pictures', 'none', '--output', longer) == 0
    assert not compare(half, longer)
    assert not decode_everything(half)


def test_interrupted_where_a_finished_run_begins_to_grow(done, monkeypatch, capsys):
    """Else the old summary would say that all is done."""
    with monkeypatch.context() as patch:
        patch.setattr(gan_quadratic, 'event_writer', lambda folder: interrupt())
        assert command('--resume', '--iterations', 62, '--output', done) == 130
    assert command('--resume', '--output', done) == 0
    assert (done/'summary.json').exists() and 'finished' not in capsys.readouterr().out
    assert (done/'loss_logs.csv').read_text().count('\n') == 1 + 7 and '"iterations": 62' in (
        done/'settings.json').read_text()


def test_interrupted_where_a_new_run_begins(done, monkeypatch, capsys):
    """The line leads on to that run, and not to the one that it replaces."""
    with monkeypatch.context() as patch:
        patch.setattr(gan_quadratic, 'open_run', lambda *words: interrupt())
        assert command(*STEPS, '--seed', 1, '--pictures', 'none', '--output', done) == 130
    one_line(capsys, '--resume', done)
    assert command('--resume', '--output', done) == 0
    assert '"seed": 1' in (done/'settings.json').read_text() and 'starting from' in capsys.readouterr().out


def test_killed_before_the_first_checkpoint(half, finished, capsys):
    (half/'checkpoint.npz').unlink()
    assert command('--resume', '--output', half) == 0
    assert 'starting from iteration 0' in capsys.readouterr().out
    assert_same_numbers(half, finished)


def test_data_that_changed_or_went(tmp_path, capsys):
    rows = np.random.default_rng(0).normal(size=[50, 2])
    source, folder = tmp_path/'data.npy', tmp_path/'run'
    np.save(source, rows)
    words = '--data', source, '--iterations', 2, '--step-by-step', '--pictures', 'none', '--output', folder
    assert command(*words) == 0
    capsys.readouterr()
    before = files(folder)
    np.save(source, rows + 1)
    assert command('--resume', '--iterations', 3, '--output', folder) == 2
    assert 'not what the run began with' in capsys.readouterr().err.splitlines()[-1]
    source.unlink()
    assert command('--resume', '--iterations', 3, '--output', folder) == 2
    assert 'is no file' in capsys.readouterr().err.splitlines()[-1]
    assert files(folder) == before
    assert command('--sample', 3, '--output', folder) == 0  # needs no data
    np.save(tmp_path/'moved.npy', rows)
    assert command('--resume', '--iterations', 3, '--data', tmp_path/'moved.npy', '--output', folder) == 0


# -------------------------------------------------------------------------------------------------- kills, interrupts

needs_proc = pytest.mark.skipif(NO_PROC, reason='finds processes by /proc')


def wait_until(happened, process):
    """Waits for something of a run, or for the run's end."""
    while not happened() and process.is_alive():
        time.sleep(0.01)


def wait_for_end_of_drawing(folder):
    while drawing_processes(folder):
        time.sleep(0.05)


@needs_proc
@pytest.mark.parametrize('seed', range(2))
def test_killed_at_a_random_moment(seed, finished, tmp_path, capsys):
    """The second with its drawing process. Many more, of the compiled loop, by kill_resume.py."""
    rng, folder, both = random.Random(seed), tmp_path/'run', seed == 1
    process = fork_command(*STEPS, '--output', folder, log=tmp_path/'log')
    wait_until((folder/'settings.json').exists, process)
    process.join(rng.uniform(0, 2.5))
    drawing = drawing_processes(folder) if both else []
    process.kill()
    for pid in drawing:
        os.kill(pid, signal.SIGKILL)
    process.join()
    wait_for_end_of_drawing(folder)
    assert not decode_everything(folder, temporary=True)
    assert command('--resume', '--output', folder) == 0
    assert not decode_everything(folder)
    assert not compare(folder, finished)


def kill_drawing(monkeypatch, at):
    """Has the drawing process killed when it is told a word for the first time."""
    tell = gan_quadratic.tell

    def telling(drawing, word):
        if word == at and drawing:
            drawing.kill()
            drawing.wait()
        tell(drawing, word)
    monkeypatch.setattr(gan_quadratic, 'tell', telling)


def one_line_of(said, piece):
    """The line that holds a piece."""
    line, = [line for line in said.splitlines() if piece in line]
    return line


def test_the_drawing_process_is_killed(finished, tmp_path, monkeypatch, capsys):
    """Training goes on; the end says what is missing; `plotting.py DIR` brings it."""
    folder = tmp_path/'run'
    kill_drawing(monkeypatch, 'finish')
    at_iteration(monkeypatch, 60, lambda: (folder/'metrics.png.tmp').write_text('what a kill may leave'))
    assert command(*STEPS, '--output', folder) == 0
    expected = [name for name in files(finished) if name.endswith(('.png', '.gif'))]
    assert any(not (folder/name).exists() for name in expected)
    line = one_line_of(capsys.readouterr().err, 'missing')
    assert line.startswith('Some pictures are missing') and 'plotting.py' in line and folder.name in line
    assert draw(folder) == (0, '')
    assert not compare(folder, finished)


@needs_proc
@pytest.mark.parametrize('number, status', [(signal.SIGKILL, -9), (signal.SIGTERM, 143)])
def test_the_drawing_process_ends_with_its_run(number, status, tmp_path):
    """Also when all is trained and it has much to draw still: else it would draw into the resumed run's files."""
    folder = tmp_path/'run'
    words = '--iterations', 20, '--snapshot-every', 1, '--step-by-step', '--batch-size', 8, '--pictures', 'all'
    process = fork_command(*words, '--output', folder, log=tmp_path/'log')
    wait_until(lambda: drawing_processes(folder), process)
    drawing, = drawing_processes(folder)
    os.kill(drawing, signal.SIGSTOP)
    wait_until((folder/'generated_samples.csv').exists, process)
    os.kill(process.pid, number)
    os.kill(drawing, signal.SIGCONT)
    process.join()
    wait_for_end_of_drawing(folder)
    assert process.exitcode == status, (tmp_path/'log').read_text()[-2000:]
    assert len([name for name in files(folder) if name.endswith('.png')]) < 7*20
    assert not decode_everything(folder, temporary=number == signal.SIGKILL)


@needs_proc
def test_an_interrupt_while_the_last_pictures_of_a_failure_are_drawn(done, monkeypatch):
    """No drawing process outlives the run, whose folder another may have by then."""
    def interrupted(drawing, word):
        raise KeyboardInterrupt
    monkeypatch.setattr(gan_quadratic, 'tell', interrupted)
    with pytest.raises(KeyboardInterrupt), gan_quadratic.drawing_process(done):
        raise gan_quadratic.Failure
    assert not drawing_processes(done)


@needs_proc
def test_interrupted(tmp_path):
    """One line says how to go on; how long that took is printed."""
    folder, log = tmp_path/'run', tmp_path/'log'
    process = fork_command(*STEPS, '--snapshot-every', 5, '--iterations', 100000, '--output', folder, log=log)
    wait_until(lambda: log.exists() and 'Iterations: 50' in log.read_text(), process)
    began = time.perf_counter()
    os.kill(process.pid, signal.SIGINT)
    process.join()
    took = time.perf_counter() - began
    print(f'SIGINT: ended after {took:.1f} s')
    assert process.exitcode == 130
    line = log.read_text().splitlines()[-1]
    assert line.startswith('gan_quadratic.py: stopped') and '--resume' in line and folder.name in line
    assert not drawing_processes(folder)
    assert not decode_everything(folder)


@pytest.mark.skipif(not hasattr(signal, 'alarm'), reason='no alarms')
def test_an_interrupt_that_is_swallowed_comes_again(tmp_path, monkeypatch, capsys):
    """TensorFlow's C++ goes on as if nothing had happened when one reaches Python code that it has called."""
    def swallowed():
        with contextlib.suppress(KeyboardInterrupt):
            interrupt()
    asked = []

    def soon(seconds):
        asked.append(seconds)
        signal.setitimer(signal.ITIMER_REAL, bool(seconds))
    monkeypatch.setattr(signal, 'alarm', soon)
    at_iteration(monkeypatch, 50, swallowed)
    assert command(*STEPS, '--iterations', 100_000, '--pictures', 'none', '--output', tmp_path) == 130
    assert 'stopped' in one_line(capsys, '--resume') and asked == [5, 5, 0]


# -------------------------------------------------------------------------------------------------------- not finite

def test_a_run_that_diverges(tmp_path, capsys):
    folder = tmp_path/'run'
    assert command(*STEPS, '--learning-rate', 1000, '--activation', 'relu', '--hidden', 64, 64, 64, '--scale', 1000000,
                   '--pictures', 'none', '--output', folder) == 1
    one_line(capsys, 'iteration', 'not finite', '--learning-rate')
    assert not decode_everything(folder)


def test_losses_beyond_all_bounds_are_divergence(tmp_path, capsys):
    assert command(*STEPS, '--learning-rate', 10, '--pictures', 'none', '--output', tmp_path) == 1
    one_line(capsys, 'iteration', 'beyond 1e+08', '--learning-rate below 10')


def test_a_failed_claim_is_followed_by_advice(tmp_path, capsys):
    assert command(*STEPS, '--iterations', 21, '--snapshot-every', 5, '--scale', 0.001, '--pictures', 'none',
                   '--output', tmp_path) == 0
    advice, = [line for line in capsys.readouterr().out.splitlines() if line.startswith('Try')]
    assert '--' in advice


def test_not_finite_leaves_what_was_good(done, monkeypatch, capsys):
    """Weights that stop being finite in a run that has checkpoint and pictures already."""
    before = files(done)
    step = gan_quadratic.train_iteration

    def stepping(sess, *rest, **options):
        bias, = [v for v in gan_quadratic.tf.trainable_variables() if v.op.name == 'GAN/Generator/dense_1/bias']
        bias.load([np.nan]*16, sess)
        return step(sess, *rest, **options)
    monkeypatch.setattr(gan_quadratic, 'train_iteration', stepping)
    assert command('--resume', '--iterations', 81, '--output', done) == 1
    one_line(capsys, 'iteration 61', 'loss is not finite')
    assert not decode_everything(done)
    after = files(done)
    assert not [name for name in before if name.startswith(('checkpoint/', 'iterations/', 'features/', 'snapshots/'))
                and after.get(name) != before[name]]
    assert all(after[name] == before[name] for name in ('loss_logs.csv', 'metrics.csv'))


# ----------------------------------------------------------------------------------------- no space, no permission

class ShortDisk:
    """Stands for `open` on a disk with room for so many bytes, which takes a part of what it cannot take whole."""

    def __init__(self, room):
        self.room = room

    def __call__(self, path, mode='r', buffering=-1, **options):
        if 'r' in mode:
            return builtins.open(path, mode, buffering, **options)
        disk = self

        class File(io.FileIO):
            def write(self, data):
                if not disk.room:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
                taken = bytes(data)[:disk.room]
                disk.room -= len(taken)
                return super().write(taken)
        raw = File(path, mode.replace('b', ''))
        if buffering == 0:
            return raw
        buffered = io.BufferedWriter(raw)
        return buffered if 'b' in mode else io.TextIOWrapper(buffered, **options)


def test_a_file_that_cannot_be_written_leaves_the_old_one(tmp_path, monkeypatch):
    path = tmp_path/'numbers.json'
    gan_quadratic.write_json(path, {'a': 1})
    monkeypatch.setattr(gan_quadratic, 'open', ShortDisk(10), raising=False)
    with pytest.raises(OSError, match='No space left'):
        gan_quadratic.write_json(path, {'a': 'much longer than that'})
    assert files(tmp_path) == {'numbers.json': b'{\n "a": 1\n}\n'}


@pytest.mark.parametrize('room', [100, 500_000])
def test_no_space_left(room, finished, tmp_path, monkeypatch, capsys):
    """From the first file to the last samples: one line, whole lines, and to be gone on with."""
    folder = tmp_path/'run'
    with monkeypatch.context() as patch:
        patch.setattr(gan_quadratic, 'open', ShortDisk(room), raising=False)
        patch.setattr(gan_quadratic, 'CHECKPOINT_EVERY', 0)
        assert command(*STEPS, '--pictures', 'none', '--output', folder) == 1
    one_line(capsys, folder, 'No space left', '--resume' if room > 100 else '')
    assert not decode_everything(folder)
    assert command('--resume' if room > 100 else STEPS[0], *([] if room > 100 else STEPS[1:]), '--output', folder) == 0
    assert_same_numbers(folder, finished)


def test_no_space_left_for_tensorboard(tmp_path, monkeypatch, capfd):
    """It is written by TensorFlow, whose errors are of another kind."""
    def full(writer, row):
        raise gan_quadratic.tf.errors.ResourceExhaustedError(None, None, 'events.out; No space left on device')
    monkeypatch.setattr(gan_quadratic, 'add_event', full)
    assert command(*STEPS, '--pictures', 'none', '--output', tmp_path) == 1
    one_line(capfd, tmp_path/'tensorboard', 'No space left', '--resume')


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 4 MB, mounted at this folder."""
    folder = tmp_path/'disk'
    folder.mkdir()
    if not AS_ROOT or subprocess.run(['mount', '-t', 'tmpfs', '-o', 'size=4m', 'tmpfs', str(folder)],
                                     capture_output=True).returncode:
        pytest.skip('may not mount a file system here')
    yield folder
    subprocess.run(['umount', '-l', str(folder)], check=True)


def fill(folder, room):
    """Fills the file system with a file that leaves so many bytes free."""
    disk = os.statvfs(folder)
    (folder/'ballast').write_bytes(bytes(max(0, disk.f_bavail*disk.f_frsize - room)))


@pytest.mark.parametrize('room', [8_000, 60_000])
def test_a_full_disk(room, small_disk, finished, monkeypatch, capfd):
    """Here a checkpoint, which TensorFlow writes, has no room either; and in the end nor have the samples."""
    folder = small_disk/'run'
    with monkeypatch.context() as patch:
        patch.setattr(gan_quadratic, 'CHECKPOINT_EVERY', 0)
        at_iteration(patch, 50, lambda: fill(small_disk, room))
        assert command(*STEPS, '--pictures', 'none', '--output', folder) == 1
    one_line(capfd, folder, 'No space left', '--resume')
    assert not decode_everything(folder)
    (small_disk/'ballast').unlink()
    assert command('--resume', '--output', folder) == 0
    assert_same_numbers(folder, finished)


def test_a_read_only_disk(small_disk, half, finished, capsys):
    folder = shutil.copytree(half, small_disk/'run')
    before = files(folder)
    subprocess.run(['mount', '-o', 'remount,ro', str(small_disk)], check=True)
    assert command('--resume', '--output', folder) == 1
    one_line(capsys, 'Read-only file system')
    assert command(*STEPS, '--output', small_disk/'another') == 1
    one_line(capsys, 'Read-only file system')
    subprocess.run(['mount', '-o', 'remount,rw', str(small_disk)], check=True)
    assert files(folder) == before
    assert command('--resume', '--output', folder) == 0
    assert_same_numbers(folder, finished)


@pytest.mark.skipif(AS_ROOT, reason='root may write everywhere')
def test_a_folder_without_permission(half, finished, capsys):
    half.chmod(0o500)
    assert command('--resume', '--output', half) == 1
    one_line(capsys, 'Permission denied', '--resume')
    half.chmod(0o700)
    assert command('--resume', '--output', half) == 0
    assert_same_numbers(half, finished)


@pytest.mark.parametrize('seconds', [0, 5], ids=['at the checkpoint', 'at the next row'])
def test_a_folder_that_vanishes(seconds, tmp_path, monkeypatch, capfd):
    folder = tmp_path/'run'
    at_iteration(monkeypatch, 30, lambda: shutil.rmtree(folder))
    monkeypatch.setattr(gan_quadratic, 'CHECKPOINT_EVERY', seconds)
    assert command(*STEPS, '--pictures', 'none', '--output', folder) == 1
    one_line(capfd, folder)


# ---------------------------------------------------------------------------------------------------------- damage

def cut(name, share=0.5):
    """Damage: a file that lost its end."""
    def damage(folder):
        path, = folder.glob(name)
        os.truncate(path, int(share*path.stat().st_size))
    return damage


def flip(name, where):
    """Damage: one wrong bit, at this share of the file."""
    def damage(folder):
        path, = folder.glob(name)
        content = bytearray(path.read_bytes())
        content[int(where*len(content))] ^= 4
        path.write_bytes(content)
    return damage


def put(name, text):
    """Damage: another content."""
    return lambda folder: (folder/name).write_text(text)


def edit(name, without=None, **changes):
    """Damage: other values in a JSON file, and one of its names gone."""
    def damage(folder):
        content = dict(json.loads((folder/name).read_text()), **changes)
        content.pop(without, None)
        put(name, json.dumps(content))(folder)
    return damage


def shorter_than_recorded(folder):
    """Of two CSVs one has rows that the checkpoint knows nothing of, the other lacks some that it knows."""
    with open(folder/'loss_logs.csv', 'a') as file:
        file.write('70,1,1\n')
    cut('metrics.csv', 0.9)(folder)


def rewrite(**changes):
    """Damage: other values in the state of a checkpoint, a whole file otherwise."""
    def damage(folder):
        with np.load(folder/'checkpoint.npz') as archive:
            arrays = dict(archive)
        state = dict(json.loads(arrays['state'].tobytes()), **changes)
        arrays['state'] = np.frombuffer(json.dumps(state).encode(), np.uint8)
        np.savez(folder/'checkpoint.npz', **arrays)
    return damage


CHECKPOINT, SETTINGS = 'checkpoint.npz', 'settings.json'
DAMAGE = {
    **{f'checkpoint cut to {share}': cut(CHECKPOINT, share) for share in (0, 0.01, 0.3, 0.9, 0.99, 0.9999)},
    **{f'a bit of the weights at {where}': flip(CHECKPOINT, where) for where in (0.1, 0.3, 0.5, 0.7)},
    'checkpoint garbage': put(CHECKPOINT, '\x00\x01'),
    'settings cut': cut(SETTINGS),
    'settings garbage': put(SETTINGS, '\x00\x01'),
    'settings of nothing': put(SETTINGS, '{}'),
    'settings without a name': edit(SETTINGS, 'batch_size'),
    'summary cut': cut('summary.json'),
    'losses shorter': cut('loss_logs.csv', 0.9),
    'metrics shorter': cut('metrics.csv', 0.9),
    'one CSV shorter': shorter_than_recorded,
    'losses gone': lambda folder: (folder/'loss_logs.csv').unlink(),
}


@pytest.mark.parametrize('damage', DAMAGE.values(), ids=DAMAGE)
def test_damage(damage, done, capsys):
    """One line, and neither a restart from nothing nor a change of what is there, which may be all there is."""
    damage(done)
    before = files(done)
    assert command('--resume', '--iterations', 81, '--pictures', 'none', '--output', done) == 1
    one_line(capsys, done)
    after = files(done)
    assert [name for name in before.keys() | after.keys() if before.get(name) != after.get(name)] == []


@pytest.mark.parametrize('old, new', [(b"'shape': (989", b"'shape': (189"), (b"{'descr'", b"z'descr'")])
def test_what_an_array_says_of_itself_is_checked_before_it_is_believed(old, new, tmp_path):
    """One bit, in arrays so long that NumPy reads no further than it is told to."""
    path = tmp_path/'checkpoint.npz'
    np.savez(path, recent=np.ones([989, 2]))
    assert gan_quadratic.read_file(path)['recent'].shape == (989, 2)
    path.write_bytes(path.read_bytes().replace(old, new))
    with pytest.raises(gan_quadratic.Failure, match='damaged'):
        gan_quadratic.read_file(path)


@pytest.mark.parametrize('damage, piece', [
    (rewrite(format=99), 'of another version'), (edit(SETTINGS, hidden=[16, 17]), 'of another run'),
    (edit(SETTINGS, hidden=[16]), 'of another run')], ids=['newer', 'wider', 'fewer layers'])
def test_a_checkpoint_of_another_kind(damage, piece, done, capsys):
    damage(done)
    before = files(done)
    for words in ['--resume', '--iterations', 81, '--pictures', 'none'], ['--sample', 5]:
        assert command(*words, '--output', done) == 1
        one_line(capsys, piece, done)
        assert files(done) == before


# --------------------------------------------------------------------------------------------------------- samples

@pytest.mark.parametrize('n', [25, 12_345])
def test_sample(n, done, capsys):
    """Without training; the first rows are the same for every number of them."""
    before = files(done)
    assert command('--sample', n, '--output', done) == 0
    after = files(done)
    ours, theirs = after.pop('generated_samples.csv'), before.pop('generated_samples.csv')
    assert ours.count(b'\n') == n + 1
    assert ours.startswith(theirs) or theirs.startswith(ours)
    assert {name for name in after if after[name] != before.get(name)} <= {
        'saved_model/saved_model.pb', 'saved_model/fingerprint.pb'} and after.keys() == before.keys()


def test_what_a_kill_left_of_a_model_is_no_hindrance(done):
    for ending in '.tmp', '.old':
        shutil.copytree(done/'saved_model', done/f'saved_model{ending}')
    (done/'saved_model/mark').touch()
    assert command('--sample', 25, '--output', done) == 0
    assert not (done/'saved_model/mark').exists() and not list(done.glob('saved_model.*'))


def test_a_model_that_cannot_be_replaced_stays(done, monkeypatch, capsys):
    before, replace = files(done), os.replace

    def fails(source, target):
        if target == done/'saved_model':
            raise OSError(errno.EIO, 'Input/output error')
        replace(source, target)
    monkeypatch.setattr(os, 'replace', fails)
    assert command('--sample', 25, '--output', done) == 1
    one_line(capsys, done/'saved_model', 'Input/output error')
    after = files(done)
    assert {name for name in after if after[name] != before.get(name)} <= {'generated_samples.csv'}


def test_sample_of_an_unfinished_run(half, finished):
    assert command('--sample', 25, '--output', half) == 0
    assert (half/'generated_samples.csv').read_text().count('\n') == 26
    assert command('--resume', '--output', half) == 0
    assert_same_numbers(half, finished)


def test_sample_without_a_checkpoint(half, capsys):
    (half/'checkpoint.npz').unlink()
    before = files(half)
    assert command('--sample', 25, '--output', half) == 1
    one_line(capsys, 'no trained generator', half)
    assert files(half) == before


def test_sample_contradicted_by_a_flag(half, capsys):
    """Flags that would mean training are not silently left aside."""
    assert command('--sample', 25, '--iterations', 500, '--output', half) == 2
    assert 'argument --iterations' in capsys.readouterr().err.splitlines()[-1]
