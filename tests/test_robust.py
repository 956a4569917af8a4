"""A run is never lost: kills, interrupts, training that goes astray, full disks."""
import contextlib
import os
import resource
import shutil
import signal
import subprocess
import time

import numpy as np
import pytest

import gan_quadratic as program
from folders import draw
from helpers import compare, decode_everything, drawing_processes, files, fork, fork_command
from runs import QUIET, STEPS, assert_same_numbers, at_iteration, command, interrupt, one_line

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
        signal.setitimer(signal.ITIMER_REAL, 0.01 if seconds else 0)
    monkeypatch.setattr(signal, 'alarm', soon)
    at_iteration(monkeypatch, 30, swallowed)
    assert command(*STEPS, *QUIET, '--iterations', 100_000, '--output', tmp_path) == 130
    one_line(capsys, 'stopped', '--resume')
    assert asked == [5, 5, 0]


def without_listeners(folder):
    """A run whose stdout and stderr nobody reads, as with `2>&- | head -1`."""
    reading, writing = os.pipe()
    os.dup2(writing, 1)
    os.close(reading)
    os.close(2)
    return command(*STEPS, *QUIET, '--print-every', 1, '--output', folder)


def test_nobody_listens(tmp_path):
    process = fork(without_listeners, tmp_path/'run', log=tmp_path/'log')
    process.join()
    assert process.exitcode == 0
    assert (tmp_path/'run'/'summary.json').exists()


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
    after = files(done)
    changed = {name for name in before if after.get(name) != before[name]}
    assert changed == {'settings.json', 'summary.json', 'tensorboard/events.out.tfevents'}


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


@pytest.mark.parametrize('size, file', [
    (100, 'settings.json'), (800, 'snapshots'), (230_000, 'generated_samples.csv')],
    ids=['at the start', 'a snapshot', 'the samples'])
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
    assert files(small_disk) == before


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
    monkeypatch.setattr(program, 'CHECKPOINT_EVERY', 0)
    assert command(*STEPS, *QUIET, '--output', folder) == 1
    one_line(capfd, folder)
