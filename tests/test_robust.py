"""A run is never lost, and nothing ends without a word: kills, interrupts, other processes,
training that goes astray, disks and folders."""
import contextlib
import errno
import os
import resource
import runpy
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

import gan_quadratic as program
from folders import draw
from helpers import (
    ROOT,
    compare,
    decode_everything,
    drawing_processes,
    files,
    fork,
)
from runs import (
    QUIET,
    STEPS,
    TINY,
    assert_same_numbers,
    at_iteration,
    changes,
    command,
    few_samples,
    fork_command,
    interrupt,
    one_line,
)

needs_proc = pytest.mark.skipif(not os.path.isdir('/proc/self'), reason='finds processes by /proc')


# ---------------------------------------------------------------------------- kills and interrupts

def wait_until(happened, process):
    """Waits for something of a run, or for the run's end."""
    while not happened() and process.is_alive():
        time.sleep(0.01)


def assert_resumes(folder, reference):
    """What a killed run left, once nothing draws there, decodes, and --resume completes it."""
    while drawing_processes(folder):
        time.sleep(0.05)
    assert decode_everything(folder, temporary=True) == []
    assert command('--resume', '--output', folder) == 0
    assert decode_everything(folder) == []
    assert compare(folder, reference) == []


def test_killed_at_a_random_moment(finished, tmp_path):
    """Many more, of the compiled loop and its drawing process, by kill_resume.py."""
    folder = tmp_path/'run'
    process = fork_command(*STEPS, *QUIET, '--output', folder, log=tmp_path/'log')
    wait_until((folder/'settings.json').exists, process)
    process.join(0.4)  # as far as it then is, which differs from time to time
    process.kill()
    process.join()
    assert_resumes(folder, finished)


@needs_proc
@pytest.mark.parametrize('number, status, at', [
    (signal.SIGKILL, -9, 'metrics.csv'), (signal.SIGINT, 130, 'summary.json')],
    ids=['killed', 'interrupted'])
def test_the_drawing_process_ends_with_its_run(number, status, at, drawn, tmp_path):
    """Also when all is trained and it has all to draw still: else it would draw into the resumed
    run's files."""
    folder = tmp_path/'run'
    process = fork_command(*STEPS, '--output', folder, log=tmp_path/'log')
    wait_until(lambda: drawing_processes(folder), process)
    drawing, = drawing_processes(folder)
    os.kill(drawing, signal.SIGSTOP)
    wait_until((folder/at).exists, process)
    os.kill(process.pid, number)
    os.kill(drawing, signal.SIGCONT)
    process.join()
    assert process.exitcode == status, (tmp_path/'log').read_text()
    assert compare(folder, drawn) != []
    assert_resumes(folder, drawn)


@needs_proc
def test_the_drawing_process_is_killed(drawn, tmp_path, monkeypatch, capsys):
    """Training goes on; the end says what is missing; `plotting.py DIR` brings it."""
    folder = tmp_path/'run'

    def kill():
        (folder/'metrics.png.tmp').write_text('what a kill may leave')
        drawing, = drawing_processes(folder)
        os.kill(drawing, signal.SIGKILL)
    at_iteration(monkeypatch, 40, kill)
    assert command(*STEPS, '--output', folder) == 0
    assert not (folder/'iterations.gif').exists()
    said = capsys.readouterr().err
    assert f'Some pictures are missing; draw them by: python plotting.py {folder}' in said
    assert draw(folder) == (0, '')
    assert compare(folder, drawn) == []


def test_an_interrupt_that_is_swallowed_comes_again(tmp_path, monkeypatch, capsys):
    """TensorFlow's C++ goes on as if nothing had happened when one reaches Python code that it has
    called."""
    asked = []

    def swallowed():
        with contextlib.suppress(KeyboardInterrupt):
            interrupt()

    def soon(seconds):
        asked.append(seconds)
        signal.setitimer(signal.ITIMER_REAL, 0.2 if seconds else 0)
    monkeypatch.setattr(signal, 'alarm', soon)
    at_iteration(monkeypatch, 30, swallowed)
    assert command(*STEPS, *QUIET, '--iterations', 100_000, '--output', tmp_path) == 130
    one_line(capsys, 'stopped', '--resume')
    assert asked[:2] == [5, 5]
    assert asked[-1] == 0


# ---------------------------------------------------------- the process, and others beside it

def as_main(*words):
    """The script as `%run`, cProfile and coverage run it. Returns 40 and its status, once back."""
    sys.argv = ['gan_quadratic.py', *map(str, words)]
    with pytest.raises(SystemExit) as end:
        runpy.run_path(str(ROOT/'gan_quadratic.py'), run_name='__main__')
    return 40 + end.value.code


@pytest.mark.parametrize('words, status', [
    (['--help'], 0), (['--hidden'], 2), ([*STEPS, *QUIET, '--iterations', 2], 0)],
    ids=['help', 'usage', 'a run'])
def test_the_script_comes_back_to_what_runs_it(words, status, tmp_path):
    process = fork(as_main, *words, f'--output={tmp_path}/run', log=tmp_path/'log')
    process.join()
    assert process.exitcode == 40 + status, (tmp_path/'log').read_text()


def dying(end):
    with program.silence():
        os.write(2, b'last words')
        end()


def wait_for_words(words, log):
    """What a process has said, with these words in it, which may come after its end."""
    until = time.monotonic() + 10
    while words not in log.read_text() and time.monotonic() < until:
        time.sleep(0.02)
    return log.read_text()


def leave():
    os._exit(1)


@pytest.mark.parametrize('end, status', [(os.abort, -signal.SIGABRT), (leave, 1)],
                         ids=['abort', 'exit'])
def test_the_last_words_of_a_process_are_seen(end, status, tmp_path):
    """Though stderr was silenced as it died."""
    process = fork(dying, end, log=tmp_path/'log')
    process.join()
    assert process.exitcode == status
    assert 'last words' in wait_for_words('last words', tmp_path/'log')


def test_silence_is_silent_otherwise(capfd):
    with program.silence():
        os.write(2, b'TensorFlow says this and that')
    assert capfd.readouterr().err == ''


def with_xla_flags(flags, *words):
    os.environ['XLA_FLAGS'] = flags
    return command(*words)


def test_an_unknown_flag_of_xla_is_told(tmp_path):
    """XLA aborts the process, just when stderr is silenced."""
    words = '--iterations', 3, '--hidden', 4, *QUIET, '--output', tmp_path/'run'
    process = fork(with_xla_flags, '--xla_gpu_something=false', *words, log=tmp_path/'log')
    process.join()
    assert process.exitcode != 0
    assert 'xla_gpu_something' in wait_for_words('xla_gpu_something', tmp_path/'log')


def without_listeners(folder):
    """A run whose stdout and stderr nobody reads, as with `2>&- | head -1`."""
    reading, writing = os.pipe()
    os.dup2(writing, 1)
    os.close(reading)
    os.close(2)
    words = '--iterations', 5, '--print-every', 1, '--hidden', 4, '--step-by-step'
    return command(*words, *QUIET, '--output', folder)


def train_without_stderr(folder):
    os.close(2)
    with few_samples():
        program.train(**TINY, output=folder)


@pytest.mark.parametrize('run', [without_listeners, train_without_stderr],
                         ids=['command', 'train'])
def test_nobody_listens(run, tmp_path):
    process = fork(run, tmp_path/'run', log=tmp_path/'log')
    process.join()
    assert process.exitcode == 0
    assert (tmp_path/'run'/'summary.json').exists()
    assert decode_everything(tmp_path/'run') == []


@pytest.fixture
def worker(tmp_path, monkeypatch):
    """A process that is forked while a run trains, as a pool's are: a list of its id."""
    started = []

    def start():
        started.append(os.fork())
        if started[0] == 0:
            time.sleep(30)
            os._exit(0)
    at_iteration(monkeypatch, 10, start)
    yield started
    with contextlib.suppress(ProcessLookupError):
        os.kill(started[0], signal.SIGKILL)
        os.waitpid(started[0], 0)


def test_a_forked_process_holds_neither_pictures_nor_lock(worker, tmp_path):
    folder = tmp_path/'run'
    assert command(*STEPS, '--iterations', 21, '--output', folder) == 0
    assert os.waitpid(worker[0], os.WNOHANG) == (0, 0), 'it waited for the process to end'
    assert (folder/'index.html').exists()
    assert command('--sample', 5, '--output', folder) == 0


def test_a_folder_that_is_named_like_a_flag(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert command(*STEPS, '--iterations', 2, '--output=-x') == 0
    assert capsys.readouterr().err == ''
    assert (tmp_path/'-x'/'iterations'/'iteration_000000.png').exists()
    assert (tmp_path/'-x'/'index.html').exists()


# ---------------------------------------------------------------------- training that goes astray

def test_a_run_that_diverges(tmp_path, capsys):
    assert command(*STEPS, *QUIET, '--learning-rate', 30, '--output', tmp_path/'run') == 1
    one_line(capsys, 'iteration', 'a loss is not finite or beyond 1e+08', '--learning-rate below')
    assert decode_everything(tmp_path/'run') == []


def test_not_finite_leaves_what_was_good(done, monkeypatch, capsys):
    """Weights that stop being finite in a run that has a checkpoint already."""
    before = files(done)
    step = program.train_iteration

    def stepping(sess, *arguments):
        losses = step(sess, *arguments)
        bias, = (v for v in program.tf.trainable_variables()
                 if v.op.name == 'GAN/Generator/dense/bias')
        bias.load([np.nan]*4, sess)
        return losses
    monkeypatch.setattr(program, 'train_iteration', stepping)
    assert command('--resume', '--iterations', 42, '--output', done) == 1
    one_line(capsys, 'iteration 42: a weight is')
    assert decode_everything(done) == []
    assert changes(done, before) == ['settings.json', 'tensorboard/events.out.tfevents']


# ------------------------------------------------------------------------------------------ disks

@contextlib.contextmanager
def files_of_at_most(size):
    """Longer files cannot be written, and of what is too much the first bytes are: as where a disk
    is full."""
    before, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, most))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (before, most))


@pytest.mark.parametrize('size, file', [(100, 'settings.json'), (50_000, 'snapshots/data.npz')])
def test_no_space_left(size, file, finished, tmp_path, capsys):
    """One line, whole files, and to be gone on with."""
    folder = tmp_path/'run'
    with files_of_at_most(size):
        assert command(*STEPS, *QUIET, '--output', folder) == 1
    one_line(capsys, file, 'too large', '--resume')
    assert decode_everything(folder) == []
    go_on = ['--resume'] if (folder/'settings.json').exists() else [*STEPS, *QUIET]
    assert command(*go_on, '--output', folder) == 0
    assert_same_numbers(folder, finished)


def test_no_space_left_for_the_samples(finished, tmp_path, monkeypatch, capsys):
    def fill(file, *arguments):
        file.write('0.1,0')
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    folder = tmp_path/'run'
    with monkeypatch.context() as patch:
        patch.setattr(np, 'savetxt', fill)
        assert command(*STEPS, *QUIET, '--output', folder) == 1
    one_line(capsys, folder/'generated_samples.csv', 'No space left', '--resume')
    assert decode_everything(folder) == []
    assert command('--resume', '--output', folder) == 0
    assert_same_numbers(folder, finished)


@pytest.fixture
def small_disk(tmp_path):
    folder = tmp_path/'disk'
    folder.mkdir()
    mount = ['mount', '-t', 'tmpfs', '-o', 'size=4m', 'tmpfs', str(folder)]
    if os.geteuid() or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip('may not mount a file system here')
    yield folder
    subprocess.run(['umount', '-l', str(folder)], check=True)


def test_a_full_disk(small_disk, finished, monkeypatch, capfd):
    folder = small_disk/'run'

    def fill():
        disk = os.statvfs(small_disk)
        free = disk.f_bavail*disk.f_frsize
        (small_disk/'ballast').write_bytes(bytes(free - 4_000))
    with monkeypatch.context() as patch:
        patch.setattr(program, 'CHECKPOINT_EVERY', 0)
        at_iteration(patch, 30, fill)
        assert command(*STEPS, *QUIET, '--output', folder) == 1
    one_line(capfd, folder, 'No space left', '--resume')
    assert decode_everything(folder) == []
    (small_disk/'ballast').unlink()
    assert command('--resume', '--output', folder) == 0
    assert_same_numbers(folder, finished)


@pytest.mark.parametrize('words, name', [(['--resume'], 'run'), ([*STEPS, *QUIET], 'another')],
                         ids=['resume', 'new'])
def test_a_read_only_disk(words, name, small_disk, half, capsys):
    shutil.copytree(half, small_disk/'run')
    before = files(small_disk)
    subprocess.run(['mount', '-o', 'remount,ro', str(small_disk)], check=True)
    assert command(*words, '--output', small_disk/name) == 1
    one_line(capsys, 'Read-only file system')
    assert changes(small_disk, before) == []


@pytest.mark.skipif(os.geteuid() == 0, reason='root may write everywhere')
def test_without_permission(half, capsys):
    before = files(half)
    half.chmod(0o500)
    assert command('--resume', '--output', half) == 1
    one_line(capsys, 'Permission denied', '--resume')
    half.chmod(0o700)
    assert changes(half, before) == []


def vanish(folder, moved):
    shutil.rmtree(folder)


def move(folder, moved):
    folder.rename(moved)


def recreate(folder, moved):
    shutil.rmtree(folder)
    folder.mkdir()


@pytest.mark.parametrize('change', [vanish, move, recreate])
def test_a_folder_that_is_no_longer_there(change, tmp_path, monkeypatch, capfd):
    folder = tmp_path/'run'
    at_iteration(monkeypatch, 10, lambda: change(folder, tmp_path/'moved'))
    assert command(*STEPS, *QUIET, '--output', folder) == 1
    one_line(capfd, folder, 'was removed or moved')
    assert not folder.exists() or files(folder) == {}


@pytest.mark.parametrize('change', [vanish, move])
def test_a_folder_where_another_run_is_by_now(change, finished, tmp_path, monkeypatch, capsys):
    """It gets no file of this one's; this one, if it still is, can go on."""
    folder = tmp_path/'run'

    def replace():
        change(folder, tmp_path/'moved')
        shutil.copytree(finished, folder)
    with monkeypatch.context() as patch:
        at_iteration(patch, 10, replace)
        assert command(*STEPS, *QUIET, '--seed', 1, '--output', folder) == 1
    one_line(capsys, folder, 'was removed or moved')
    assert changes(folder, files(finished)) == []
    if change is move:
        assert command('--resume', '--output', tmp_path/'moved') == 0
