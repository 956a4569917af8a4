"""A run is never lost: bad input, kills, interrupts, full disks, damaged files, and what lies in the folder already."""
import contextlib
import itertools
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import numpy as np
import pytest

import gan_quadratic
from folders import draw
from helpers import ROOT, compare, decode_everything, drawing_processes, files, fork_command

# Step by step nothing waits for the compiler; kill_resume.py runs the compiled loop.
STEPS = '--iterations', '41', '--snapshot-every', '20', '--step-by-step', '--print-every', '10'
needs_proc = pytest.mark.skipif(not os.path.isdir('/proc/self'), reason='finds processes by /proc')


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
    said = capsys.readouterr().err
    assert said.count('\n') == 1 and said.startswith('gan_quadratic.py: '), said
    assert all(str(piece) in said for piece in pieces), said
    return said


@pytest.fixture(scope='module')
def finished(tmp_path_factory):
    """The folder of a finished run, with pictures. Not to be written to."""
    folder = tmp_path_factory.mktemp('robust')/'finished'
    assert command(*STEPS, '--output', folder) == 0
    assert len(list(folder.glob('*/*.png'))) == 9 and len(list(folder.glob('*.*[gf]'))) == 6, 'pictures are missing'
    return folder


@pytest.fixture(scope='module')
def unfinished(tmp_path_factory):
    """The folder of the same run, without pictures so far, interrupted beyond its middle. Not to be written to."""
    folder = tmp_path_factory.mktemp('robust')/'unfinished'
    with pytest.MonkeyPatch.context() as monkeypatch:  # by this clock every twelfth iteration is saved
        clock = SimpleNamespace(perf_counter=itertools.count().__next__, time=time.time)
        monkeypatch.setattr(gan_quadratic, 'time', clock)
        at_iteration(monkeypatch, 30, interrupt)
        assert command(*STEPS, '--pictures', 'none', '--output', folder) == 130
    return folder


@pytest.fixture
def done(finished, tmp_path):
    return shutil.copytree(finished, tmp_path/'run')


@pytest.fixture
def half(unfinished, tmp_path):
    return shutil.copytree(unfinished, tmp_path/'half')


def assert_same_numbers(folder, reference):
    """The numbers of two runs agree to the byte, every file decodes, and nothing temporary is left."""
    assert not decode_everything(folder)
    assert not [line for line in compare(folder, reference) if line.endswith('differs')]


@pytest.fixture(scope='module')
def bad_files(tmp_path_factory):
    folder = tmp_path_factory.mktemp('bad')
    for name, text in {'row.csv': 'x,y\n1,2\n', 'words.csv': 'x,y\n1,two\n3,4\n', 'ragged.csv': '1,2\n3,4,5\n',
                       'text.txt': '1,2\n3,4\n', 'text.npy': '1,2\n3,4\n', 'binary.csv': '\0\1\xff'}.items():
        (folder/name).write_bytes(text.encode('latin-1'))
    (folder/'folder.csv').mkdir()
    for name, rows in {'pickled': np.array([[1, None], [2, 'x']], object), 'words': np.array([['a', 'b']]*3),
                       'huge': np.array([[1e300, 1], [-1e300, 2]])}.items():
        np.save(folder/f'{name}.npy', rows)
    np.savez(folder/'several.npz', a=np.ones([3, 2]), b=np.ones([3, 2]))
    (folder/'cut.npz').write_bytes((folder/'several.npz').read_bytes()[:100])
    return folder


NUMBERS = {
    'a whole number from 1 to 1000000000': 'iterations=0 log-every=0 snapshot-every=-5 print-every=1e3',
    'a whole number from 1 to 100000': 'batch-size=100001', 'a whole number from 1 to 1000': 'd-steps=1001 g-steps=2.5',
    'a whole number from 1 to 4096': 'hidden=16,16 noise-dim=99999', 'a number from 1e-12 to 1000': 'learning-rate=nan',
    'a whole number from 0 to 4294967295': 'seed=4294967296', 'a whole number from 1 to 10000000': 'sample=0',
    'a number from 0 to 1e+06': 'penalty=-1', 'a number from 1e-06 to 1e+06': 'scale=-inf'}
BAD_INPUT = [line.split(' | ') for line in """
    --hidden | --hidden | expected at least one argument
    --data quadratc | --data | 'quadratc' is no known distribution and no table; known are quadratic, cubic | .csv, .
    --data quadratic.csv | --data | 'quadratic.csv' cannot be read: No such file
    --activation relo | --activation | invalid choice: 'relo' | leaky_relu
    --output= | --output | is no name that can be written | give another
    --iteration 5 | unrecognized arguments: --iteration 5
    --resume --overwrite | --overwrite | not allowed with argument --resume
    --scale 5 --data ring | --scale | no meaning beside --data ring
    --resume | --resume | holds no run
    --output {dir}/text.txt/below | --output | text.txt | give a folder
    --output {long} | --output | give a
    --data {dir}/folder.csv | --data | folder.csv | cannot be read: Is a directory
    --data {dir}/text.txt | --data | text.txt | is no known distribution and no table | that end in .csv
    --data {dir}/row.csv | --data | row.csv | holds 1 rows | at least 2
    --data {dir}/words.csv | --data | words.csv | line 2, column 'y': 'two' is no finite number | --columns
    --data {dir}/ragged.csv | --data | ragged.csv | line 2 has 3 cells, the first has 2
    --data {dir}/several.npz | --data | holds the arrays ['a', 'b'] | one array, or name it x_train
    --data {dir}/words.npy | --data | words.npy | numbers are allowed
    --data {dir}/huge.npy | --data | huge.npy | not finite
""".strip().splitlines()] + [
    [f'--{case}', '--' + case.split('=')[0], f'{case.split("=")[1]} is not allowed; give {bounds}']
    for bounds, cases in NUMBERS.items() for case in cases.split()] + [
    [f'--data {{dir}}/{name}', '--data', f"{name}' is not a table of numbers"]
    for name in ('binary.csv', 'text.npy', 'cut.npz', 'pickled.npy')]


@pytest.mark.parametrize('words, pieces', [(words.split(), pieces) for words, *pieces in BAD_INPUT],
                         ids=[line[0].strip() for line in BAD_INPUT])
def test_bad_input(words, pieces, bad_files, tmp_path, capsys):
    words = [word.format(dir=bad_files, long='x'*5000) for word in words]
    output = [] if '--output' in ' '.join(words) else ['--output', tmp_path/'run']
    assert command('--iterations', 2, *words, *output) == 2
    line, = capsys.readouterr().err.splitlines()
    start = 'error: ' if pieces[0].startswith('unrec') else f'error: argument {pieces[0]}: '
    assert line.startswith(f'gan_quadratic.py: {start}')
    assert not [piece for piece in pieces if piece not in line], line


@pytest.mark.parametrize('package, script', [('tensorflow', 'gan_quadratic.py'), ('matplotlib', 'plotting.py')])
def test_without_a_package(package, script, tmp_path):
    (tmp_path/package).mkdir()
    (tmp_path/package/'__init__.py').write_text(f'raise ModuleNotFoundError("No module named {package!r}")')
    said = subprocess.run([sys.executable, ROOT/script], text=True, cwd=tmp_path,
                          env=dict(os.environ, PYTHONPATH=str(tmp_path)), capture_output=True)
    assert said.returncode == 1 and said.stderr.count('\n') == 1 and '-r requirements.txt' in said.stderr
    assert said.stderr.startswith(f'{script}: No module named')


@pytest.mark.parametrize('words, pieces', [
    ('--data {dir}/ragged.csv --overwrite', ['argument --data']), ('--seed 1', ['--resume', '--overwrite']),
    ('--resume --hidden 8', ['argument --hidden', '[8]', '[16, 16]']), ('--resume --normalize', ['argument --norm']),
    ('--resume --iterations 40', ['argument --iterations', '40', '41']),
    ('--sample 25 --iterations 500', ['argument --iterations', '500', '41'])])
def test_what_is_refused_changes_nothing(words, pieces, half, done, bad_files, capsys):
    """Of an unfinished run; a finished one is only replaced by a new one."""
    for folder in (half, done) if '--resume' in words or '--sample' in words else [half]:
        before = files(folder)
        assert command(*words.format(dir=bad_files).split(), '--output', folder) == 2
        one_line(capsys, *pieces)
        assert files(folder) == before


MINE = 'notes.txt', 'iterations/iteration_best.png', 'snapshots/mine.npz', 'snapshots/%06d.npz.tmp'


def leave_own_files(folder):
    for name in MINE:
        (folder/name).parent.mkdir(exist_ok=True)
        (folder/name).write_text('mine')


def assert_own_files(folder):
    """They are as they were; removes them, for what follows to see the run alone."""
    for name in MINE:
        assert (folder/name).read_text() == 'mine'
        (folder/name).unlink()


@pytest.mark.parametrize('words, name', [('', 'metrics.csv'), *(('--overwrite', name) for name in (
    'metrics.csv', 'generated_samples.csv', 'iterations.gif', 'index.html', 'summary.json', 'settings.json',
    'columns.png', 'iterations/iteration_000777.png', 'snapshots/000777.npz', 'checkpoint/model-5.index',
    'checkpoint.npz', 'saved_model/mine', 'tensorboard/mine', 'features'))])
def test_files_of_the_users_are_not_touched(words, name, tmp_path, capsys):
    """In a folder that never held a run, whatever bears a name of a run's is the user's."""
    (tmp_path/name).parent.mkdir(exist_ok=True)
    (tmp_path/name).write_text('{"mine": 1}')
    (tmp_path/'notes.txt').write_text('mine')
    before = files(tmp_path)
    assert command('--iterations', 11, *words.split(), '--output', tmp_path) == 2
    one_line(capsys, tmp_path/name.split('/')[0], 'another --output')
    assert files(tmp_path) == before


def test_a_new_run_replaces_a_finished_one_whole(done, monkeypatch, capsys):
    """None of its frames stays, nor is it gone on with where the new one is interrupted before it begins."""
    leave_own_files(done)
    with monkeypatch.context() as patch:
        patch.setattr(gan_quadratic, 'Run', lambda *words: interrupt())
        assert command(*STEPS, '--iterations', 21, '--seed', 1, '--output', done) == 130
    one_line(capsys, '--resume', done)
    assert command('--resume', '--output', done) == 0
    assert 'Nothing was saved: starting from iteration 0' in capsys.readouterr().out
    assert '"seed": 1' in (done/'settings.json').read_text()
    assert_own_files(done)
    assert not list(done.rglob('*000040*')) and (done/'iterations'/'iteration_000020.png').exists()
    assert (done/'loss_logs.csv').read_text().count('\n') == 4 and not decode_everything(done)


def test_overwrite_discards_the_unfinished_run_alone(half):
    leave_own_files(half)
    assert command(*STEPS, '--iterations', 2, '--pictures', 'none', '--overwrite', '--output', half) == 0
    assert (half/'loss_logs.csv').read_text().count('\n') == 2 and not list(half.glob('*/*000020*'))
    assert_own_files(half)


def test_an_interrupted_run_resumes_where_it_was_moved_to(half, finished, tmp_path, capsys):
    """Also where a kill left files and a model half written."""
    leave_own_files(half)
    moved = half.rename(tmp_path/'moved')
    for name in 'saved_model', 'saved_model.tmp':
        (moved/name).mkdir()
        (moved/name/'mark').touch()
    for name in 'iterations/iteration_000040.png.tmp', 'summary.json.tmp', 'checkpoint.npz.tmp':
        (moved/name).write_text('left by a kill')
    assert command('--resume', '--pictures', 'article', '--output', moved) == 0
    assert 'Going on from iteration 2' in capsys.readouterr().out
    assert_own_files(moved)
    assert not decode_everything(moved) and not compare(moved, finished)


@pytest.mark.parametrize('words', [STEPS, ['--resume'], ['--sample', '5']], ids=['new', 'resume', 'sample'])
def test_a_second_run_in_the_folder_refuses(words, done, capsys):
    before = files(done)
    with gan_quadratic.locked(done):
        assert command(*words, '--output', done) == 1
    one_line(capsys, 'another run', done)
    assert files(done) == before


def test_a_finished_run_grows(half, finished, tmp_path, monkeypatch, capsys):
    """Also one that was interrupted twice: as if it had been longer from the start. When it begins to grow, the old
    summary must not say any more that all is done."""
    assert command('--resume', '--output', half) == 0
    assert_same_numbers(half, finished)
    with monkeypatch.context() as patch:
        patch.setattr(gan_quadratic.Run, 'train', lambda run: interrupt())
        assert command('--resume', '--iterations', 62, '--output', half) == 130
    capsys.readouterr()
    assert command('--resume', '--output', half) == 0
    said, longer = capsys.readouterr().out, tmp_path/'longer'
    assert '\nGoing on from iteration 41' in said and 'is finished' not in said
    assert command(*STEPS, '--iterations', 62, '--pictures', 'none', '--output', longer) == 0
    assert not compare(half, longer) and not decode_everything(half)


def test_data_that_changed_or_went(tmp_path, capsys):
    rows, source, folder = np.random.default_rng(0).normal(size=[50, 2]), tmp_path/'data.npy', tmp_path/'run'
    np.save(source, rows)
    assert command('--data', source, *STEPS, '--iterations', 2, '--pictures', 'none', '--output', folder) == 0
    before = files(folder)
    for change, piece in ((lambda: np.save(source, rows + 1), 'not what the run'), (source.unlink, 'cannot be read')):
        change()
        assert command('--resume', '--iterations', 3, '--output', folder) == 2
        one_line(capsys, piece)
    assert files(folder) == before
    assert command('--sample', 3, '--output', folder) == 0  # needs no data
    np.save(tmp_path/'moved.npy', rows)
    assert command('--resume', '--iterations', 3, '--data', tmp_path/'moved.npy', '--output', folder) == 0


def wait_until(happened, process):
    """Waits for something of a run, or for the run's end."""
    while not happened() and process.is_alive():
        time.sleep(0.01)


def assert_resumes(folder, reference):
    """What a killed run left, once nothing draws there, decodes, and --resume completes it."""
    while drawing_processes(folder):
        time.sleep(0.05)
    assert not decode_everything(folder, temporary=True)
    assert command('--resume', '--output', folder) == 0
    assert not decode_everything(folder) and not compare(folder, reference)


@needs_proc
def test_killed_at_a_random_moment(finished, tmp_path):
    """With its drawing process; alone: below. Many more, of the compiled loop, by kill_resume.py."""
    folder = tmp_path/'run'
    process = fork_command(*STEPS, '--output', folder, log=tmp_path/'log')
    wait_until((folder/'settings.json').exists, process)
    process.join(1)  # as far as it then is, which differs from time to time
    drawing = drawing_processes(folder)
    process.kill()
    for pid in drawing:
        os.kill(pid, signal.SIGKILL)
    process.join()
    assert_resumes(folder, finished)


@needs_proc
def test_the_drawing_process_is_killed(finished, tmp_path, monkeypatch, capsys):
    """Training goes on; the end says what is missing; `plotting.py DIR` brings it."""
    folder = tmp_path/'run'

    def kill():
        (folder/'metrics.png.tmp').write_text('what a kill may leave')
        os.kill(*drawing_processes(folder), signal.SIGKILL)
    at_iteration(monkeypatch, 40, kill)
    assert command(*STEPS, '--output', folder) == 0
    assert not (folder/'iterations.gif').exists()
    line, = [line for line in capsys.readouterr().err.splitlines() if 'missing' in line]
    assert line.startswith('Some pictures are missing') and 'plotting.py' in line and folder.name in line
    assert draw(folder) == (0, '')
    assert not compare(folder, finished)


@needs_proc
@pytest.mark.parametrize('number, status, at', [
    (signal.SIGKILL, -9, 'metrics.csv'), (signal.SIGINT, 130, 'summary.json')])
def test_the_drawing_process_ends_with_its_run(number, status, at, finished, tmp_path):
    """Also when all is trained and it has all to draw still: else it would draw into the resumed run's files. An
    interrupted run says in its last line how to go on."""
    folder, log = tmp_path/'run', tmp_path/'log'
    process = fork_command(*STEPS, '--output', folder, log=log)
    wait_until(lambda: drawing_processes(folder), process)
    drawing, = drawing_processes(folder)
    os.kill(drawing, signal.SIGSTOP)
    wait_until((folder/at).exists, process)
    os.kill(process.pid, number)
    os.kill(drawing, signal.SIGCONT)
    process.join()
    line = log.read_text().splitlines()[-1]
    assert process.exitcode == status, line
    assert number == signal.SIGKILL or line.endswith(f'go on with: python gan_quadratic.py --resume --output {folder}')
    assert compare(folder, finished)
    assert_resumes(folder, finished)


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
    at_iteration(monkeypatch, 30, swallowed)
    assert command(*STEPS, '--iterations', 100_000, '--pictures', 'none', '--output', tmp_path) == 130
    one_line(capsys, 'stopped', '--resume')
    assert asked == [5, 5, 0]


def test_a_run_that_diverges(tmp_path, capsys):
    words = STEPS + ('--learning-rate', 10, '--pictures', 'none', '--overwrite')
    assert command(*words, '--output', tmp_path/'run') == 1
    one_line(capsys, 'iteration', 'a loss is not finite or beyond 1e+08', '--learning-rate below')
    assert not decode_everything(tmp_path/'run')


def test_not_finite_leaves_what_was_good(done, monkeypatch, capsys):
    """Weights that stop being finite in a run that has checkpoint and pictures already."""
    whole, step = files(done), gan_quadratic.train_iteration
    def stepping(sess, *rest, **options):
        result = step(sess, *rest, **options)
        bias, = [v for v in gan_quadratic.tf.trainable_variables() if v.op.name == 'GAN/Generator/dense_1/bias']
        bias.load([np.nan]*16, sess)
        return result
    monkeypatch.setattr(gan_quadratic, 'train_iteration', stepping)
    assert command('--resume', '--iterations', 42, '--pictures', 'none', '--output', done) == 1
    one_line(capsys, 'iteration 42: a weight is')
    assert not decode_everything(done)
    after = files(done)
    assert {name for name in whole if after.get(name) != whole[name]} == {
        'settings.json', 'summary.json', 'tensorboard/events.out.tfevents'}


@contextlib.contextmanager
def files_of_at_most(size):
    """Longer files cannot be written, and of what is too much the first bytes are: as where a disk is full."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@pytest.mark.parametrize('size, file', [
    (100, 'settings.json'), (800, 'tensorboard'), (230_000, 'generated_samples.csv')])
def test_no_space_left(size, file, finished, tmp_path, capsys):
    """From the first file to the last samples: one line, whole lines, and to be gone on with."""
    folder = tmp_path/'run'
    with files_of_at_most(size):
        assert command(*STEPS, '--pictures', 'none', '--output', folder) == 1
    one_line(capsys, file, 'too large', '--resume')
    assert not decode_everything(folder)
    assert command(*['--resume'] if size > 100 else STEPS, '--pictures', 'none', '--output', folder) == 0
    assert_same_numbers(folder, finished)


@pytest.fixture
def small_disk(tmp_path):
    folder = tmp_path/'disk'
    folder.mkdir()
    if os.geteuid() or subprocess.run(['mount', '-t', 'tmpfs', '-o', 'size=4m', 'tmpfs', str(folder)],
                                     capture_output=True).returncode:
        pytest.skip('may not mount a file system here')
    yield folder
    subprocess.run(['umount', '-l', str(folder)], check=True)


def test_a_full_disk(small_disk, finished, monkeypatch, capfd):
    """Here a checkpoint, which TensorFlow writes, has no room either."""
    folder = small_disk/'run'
    def fill():
        disk = os.statvfs(small_disk)
        (small_disk/'ballast').write_bytes(bytes(disk.f_bavail*disk.f_frsize - 8_000))
    with monkeypatch.context() as patch:
        patch.setattr(gan_quadratic, 'CHECKPOINT_EVERY', 0)
        at_iteration(patch, 30, fill)
        assert command(*STEPS, '--pictures', 'none', '--output', folder) == 1
    one_line(capfd, folder, 'No space left', '--resume')
    assert not decode_everything(folder)
    (small_disk/'ballast').unlink()
    assert command('--resume', '--pictures', 'none', '--output', folder) == 0
    assert_same_numbers(folder, finished)


def test_a_read_only_disk(small_disk, half, capsys):
    folder = shutil.copytree(half, small_disk/'run')
    before = files(folder)
    subprocess.run(['mount', '-o', 'remount,ro', str(small_disk)], check=True)
    assert command('--resume', '--output', folder) == 1
    one_line(capsys, 'Read-only file system')
    assert command(*STEPS, '--output', small_disk/'another') == 1
    one_line(capsys, 'Read-only file system')
    assert files(folder) == before


@pytest.mark.skipif(os.geteuid() == 0, reason='root may write everywhere')
def test_without_permission(half, capsys):
    before = files(half)
    half.chmod(0o500)
    assert command('--resume', '--output', half) == 1
    one_line(capsys, 'Permission denied', '--resume')
    half.chmod(0o700)
    assert files(half) == before


def test_a_folder_that_vanishes(tmp_path, monkeypatch, capfd):
    folder = tmp_path/'run'
    at_iteration(monkeypatch, 10, lambda: shutil.rmtree(folder))
    monkeypatch.setattr(gan_quadratic, 'CHECKPOINT_EVERY', 0)
    assert command(*STEPS, '--pictures', 'none', '--output', folder) == 1
    one_line(capfd, folder)


def damage(folder, pattern, change):
    """Gives a file the content that `change` makes of its own; None: removes it."""
    path, = folder.glob(pattern)
    content = change and change(path.read_bytes())
    gan_quadratic.remove(path)
    if content is not None:
        path.write_bytes(content)


def cut(share):
    return lambda content: content[:int(share*len(content))]


def flip(where):
    """One wrong bit, at this share of the file."""
    return lambda content: bytes(byte ^ 4*(k == int(where*len(content))) for k, byte in enumerate(content))


def replace(old, new):
    return lambda content: content.replace(old, new)


CHECKPOINT, SETTINGS = 'checkpoint.npz', 'settings.json'
DAMAGE = [
    (CHECKPOINT, cut(0), CHECKPOINT), (CHECKPOINT, cut(0.9999), CHECKPOINT), (CHECKPOINT, flip(0.5), CHECKPOINT),
    (SETTINGS, cut(0.5), SETTINGS), (SETTINGS, replace(b'batch_size', b'other'), SETTINGS),
    (SETTINGS, replace(b'16', b'17'), 'of another run'), ('summary.json', cut(0.5), 'summary.json'),
    ('metrics.csv', cut(0.9), 'metrics.csv'), ('loss_logs.csv', None, 'loss_logs.csv')]


@pytest.mark.parametrize('name, change, piece', DAMAGE)
def test_damage(name, change, piece, done, capsys):
    """One line, and neither a restart from nothing nor a change of what is there, which may be all there is: not even
    of a row that the checkpoint knows nothing of."""
    with open(done/'loss_logs.csv', 'a') as file:
        file.write('70,1,1\n')
    damage(done, name, change)
    before = files(done)
    assert command('--resume', '--iterations', 81, '--pictures', 'none', '--output', done) == 1
    one_line(capsys, done, piece)
    assert files(done) == before


@pytest.mark.parametrize('name, change', [
    ('snapshots/data.npz', cut(0.5)), ('snapshots/data.npz', None), ('saved_model/saved_model.pb', cut(0.5)),
    ('saved_model', None), ('saved_model/*/*data*', cut(0.5)), ('saved_model/*/*index', cut(0.5))])
def test_damage_of_what_samples_are_made_from(name, change, done, capsys):
    damage(done, name, change)
    before = files(done)
    assert command('--sample', 25, '--output', done) == 1
    one_line(capsys, done)
    assert files(done) == before


def test_sample(done, half, capsys):
    """Without training, and nothing else changes; the first rows are the same for every number of them. Nor does
    anything where a finished run is to go on, or an unfinished one has no model yet."""
    before, unfinished = files(done), files(half)
    assert command('--resume', '--output', done) == 0
    assert 'is finished' in capsys.readouterr().out and files(done) == before
    assert command('--sample', 25, '--output', half) == 1
    one_line(capsys, 'holds no trained generator yet; train one with --resume', half)
    assert files(half) == unfinished
    theirs = before.pop('generated_samples.csv')
    for n in 25, 12_345:
        assert command('--sample', n, '--output', done) == 0
        after = files(done)
        ours = after.pop('generated_samples.csv')
        assert ours.count(b'\n') == n + 1 and (ours.startswith(theirs) or theirs.startswith(ours)) and after == before
