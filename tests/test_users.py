"""What users type and bring: flags, environments, names and paths, objects of other libraries,
tables with odd first lines."""
import errno
import fcntl
import os
import signal
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest

import gan_quadratic as program
from gan_quadratic import UsageError, train
from helpers import ROOT
from runs import TINY, command, interrupt, one_line

# -------------------------------------------------------------------------------- the command line

NUMBERS = [
    ('iterations', '0', 'a whole number from 1 to 1000000000'),
    ('log-every', '0', 'a whole number from 1 to 1000000000'),
    ('snapshot-every', '-5', 'a whole number from 1 to 1000000000'),
    ('print-every', '1e3', 'a whole number from 1 to 1000000000'),
    ('batch-size', '100001', 'a whole number from 1 to 100000'),
    ('d-steps', '1001', 'a whole number from 1 to 1000'),
    ('g-steps', '2.5', 'a whole number from 1 to 1000'),
    ('hidden', '16,16', 'a whole number from 1 to 4096'),
    ('noise-dim', '99999', 'a whole number from 1 to 4096'),
    ('learning-rate', 'nan', 'a number from 1e-12 to 1000'),
    ('seed', '4294967296', 'a whole number from 0 to 4294967295'),
    ('sample', '0', 'a whole number from 1 to 10000000'),
    ('penalty', '-1', 'a number from 0 to 1'),
    ('scale', '-inf', 'a number from 1e-06 to 1')]


@pytest.mark.parametrize('flag, value, bounds', NUMBERS, ids=[case[0] for case in NUMBERS])
def test_a_number_out_of_bounds(flag, value, bounds, capsys):
    assert command(f'--{flag}={value}') == 2
    one_line(capsys, f'argument --{flag}: {value} is not allowed; give {bounds}')


USAGE = {
    '--hidden': 'argument --hidden: expected at least one argument',
    '--activation relo': "argument --activation: invalid choice: 'relo'",
    '--output=': "argument --output: '' is no name that can be written; give another",
    '--iteration 5': 'unrecognized arguments: --iteration 5',
    '--resume --overwrite': 'argument --overwrite: not allowed with argument --resume',
    '--scale 5 --data ring': 'argument --scale: has no meaning beside --data ring',
    '--columns a': 'argument --columns: has no meaning beside --data quadratic',
    '--resume': 'argument --resume: outputs holds no run',
    '--sample 5': 'argument --sample: outputs holds no run',
    '--output file/below': 'argument --output: file/below: Not a directory; give a folder',
    f'--output {"x"*5000}': 'File name too long; give a folder',
    '--data quadratc': "--data: 'quadratc' is no known distribution and no table; known are quad",
    '--data none.csv': "argument --data: 'none.csv' cannot be read: No such file or directory",
    '--data file': "file' is no known distribution and no table"}


@pytest.mark.parametrize('words', USAGE, ids=[words[:30] for words in USAGE])
def test_what_cannot_be_done(words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path/'file').write_text('1,2\n3,4\n')
    assert command(*words.split()) == 2
    one_line(capsys, 'error: ', USAGE[words])
    assert os.listdir(tmp_path) == ['file']


BAD_FILES = {
    'row.csv': ('x,y\n1,2\n', 'holds 1 rows of 2 columns; at least 2'),
    'words.csv': ('x,y\n1,two\n3,4\n', "line 2, column 'y': 'two' is no finite number"),
    'ragged.csv': ('1,2\n3,4,5\n', 'line 2 has 3 cells, the first has 2'),
    'binary.csv': ('\0\1\xff', 'is not a table of numbers'),
    'text.npy': ('1,2\n3,4\n', 'is not a table of numbers'),
    'words.npy': (np.array([['a', 'b']]*3), 'numbers are allowed'),
    'huge.npy': (np.array([[1e300, 1], [-1e300, 2]]), 'not finite'),
    'pickled.npy': (np.array([[1, None], [2, 'x']], object), 'is not a table of numbers'),
    'several.npz': (dict(a=[[1]], b=[[2]]), "holds the arrays ['a', 'b']; give one array")}


@pytest.mark.parametrize('name', BAD_FILES)
def test_a_file_that_cannot_be_learned(name, tmp_path, capsys):
    content, reason = BAD_FILES[name]
    if isinstance(content, str):
        (tmp_path/name).write_bytes(content.encode('latin-1'))
    elif isinstance(content, dict):
        np.savez(tmp_path/name, **content)
    else:
        np.save(tmp_path/name, content)
    assert command('--data', tmp_path/name, '--output', tmp_path/'run') == 2
    one_line(capsys, f"argument --data: '{tmp_path/name}' ", reason)
    assert not (tmp_path/'run').exists()


def test_a_folder_in_place_of_a_file(tmp_path, capsys):
    (tmp_path/'folder.csv').mkdir()
    assert command('--data', tmp_path/'folder.csv', '--output', tmp_path/'run') == 2
    one_line(capsys, "folder.csv' cannot be read: Is a directory")


def test_a_path_that_is_no_utf_8(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert command('--output', 'a/\udc80') == 2
    one_line(capsys, 'argument --output')
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM, signal.SIGALRM])
def test_handlers_of_signals_are_put_back(number, monkeypatch):
    before = signal.getsignal(number)
    monkeypatch.setattr(program, 'run_command', lambda given: interrupt())
    assert command() == 130
    assert signal.getsignal(number) == before
    assert signal.alarm(0) == 0


# ------------------------------------------------------------------------------------ environments

MISSING = {
    'tensorflow': ('gan_quadratic.py', "No module named 'tensorflow'; install what is needed"),
    'numpy': ('gan_quadratic.py', "No module named 'numpy'; install what is needed"),
    'matplotlib': ('plotting.py', "No module named 'matplotlib'; install what is needed"),
    'fcntl': ('gan_quadratic.py', 'needs Linux or macOS; on Windows')}


@pytest.mark.parametrize('module', MISSING)
def test_without_a_module(module, tmp_path):
    script, reason = MISSING[module]
    (tmp_path/f'{module}.py').write_text(
        f'raise ModuleNotFoundError("No module named {module!r}", name={module!r})')
    done = subprocess.run([sys.executable, ROOT/script], text=True, cwd=tmp_path,
                          env=dict(os.environ, PYTHONPATH=str(tmp_path)), capture_output=True)
    assert done.returncode == 1
    assert done.stderr.startswith(f'{script}: ')
    assert reason in done.stderr
    assert done.stderr.count('\n') == 1


def test_an_unusual_environment(tmp_path):
    """All at once: a terminal of ASCII, an unknown backend, determinism, a symbolic link, ~, an odd
    matplotlibrc, no folder of a script in sys.path."""
    (tmp_path/'a.csv').write_text('größe,b\n' + '1,2\n3,4.5\n'*30)
    (tmp_path/'link.py').symlink_to(ROOT/'gan_quadratic.py')
    (tmp_path/'matplotlibrc').write_text('text.usetex: True\nfont.size: 22\n')
    environment = dict(os.environ, PYTHONIOENCODING='ascii', MPLBACKEND='module://nowhere',
                       TF_DETERMINISTIC_OPS='1', HOME=str(tmp_path), PYTHONSAFEPATH='1')
    words = ['--data=~/a.csv', '--output=~/größe', '--iterations', '3', '--snapshot-every', '2',
             '--step-by-step', '--hidden', '4']
    done = subprocess.run([sys.executable, 'link.py', *words], cwd=tmp_path, env=environment,
                          capture_output=True, text=True)
    assert done.stderr == ''
    assert done.returncode == 0
    assert 'Output      ' in done.stdout
    for name in 'index.html', 'iterations/iteration_000002.png':
        assert (tmp_path/'größe'/name).exists()


class Tee:
    """A stdout that can do no more than it must, but for being a terminal."""
    text = ''

    def write(self, text):
        self.text += text

    def flush(self):
        pass

    def isatty(self):
        return True


def test_no_progress_bar_is_no_reason_to_stop(tmp_path, monkeypatch):
    def fail(*arguments, **options):
        raise AttributeError('keras')
    keras = SimpleNamespace(utils=SimpleNamespace(Progbar=fail))
    monkeypatch.setitem(vars(program.tf), 'keras', keras)
    monkeypatch.setenv('TERM', 'xterm')
    monkeypatch.setattr(sys, 'stdout', Tee())
    results = train(output=str(tmp_path), **TINY)
    assert results['delivered_iteration'] == 4
    assert 'Iterations: 0' in sys.stdout.text


def test_a_file_system_without_locks(tmp_path, monkeypatch, capsys):
    def fail(*arguments):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))
    monkeypatch.setattr(fcntl, 'flock', fail)
    with program.locked(tmp_path):
        assert 'would not notice each other' in capsys.readouterr().out


@pytest.mark.parametrize('error, words', [
    (FileNotFoundError(errno.ENOENT, "No usable temporary directory found in ['/tmp']"),
     'set TMPDIR'),
    (OSError(errno.EIO, 'Input/output error'), 'Input/output error; see to it')],
    ids=['no temporary directory', 'input/output'])
def test_an_error_that_names_no_file(error, words, monkeypatch, capsys):
    def fail(*arguments):
        raise error
    monkeypatch.setattr(program, 'run_command', fail)
    assert command() == 1
    line = one_line(capsys, words)
    assert 'None' not in line


# ------------------------------------------------------------------------------ objects as data

class Frame:
    """Stands for a data frame, whose columns are of several types."""
    columns = ('-log10p', 'b', 'flag')

    def __array__(self, dtype=None, copy=None):
        return np.array([[1, 2.5, True], [3, 4.5, False]]*30, object)


def test_columns_are_chosen_by_train(tmp_path):
    results = train(data=Frame(), columns=['-log10p', 'flag'], output=str(tmp_path), **TINY)
    assert results['samples'].shape == (10_000, 2)
    header = (tmp_path/'generated_samples.csv').read_text().split('\n')[0]
    assert header == '-log10p,flag'


@pytest.mark.parametrize('data, words', [
    ([[1], [2, 3]], 'the array is not a table of numbers'),
    ([['a', 'b']]*3, 'numbers are allowed'),
    ([[None, 1]]*3, 'the array')], ids=['ragged', 'texts', 'missing'])
def test_an_array_that_cannot_be_learned(data, words, tmp_path):
    with pytest.raises(UsageError, match=words):
        train(data=data, output=str(tmp_path/'out'))
    assert not (tmp_path/'out').exists()


def test_train_names_its_arguments():
    with pytest.raises(UsageError, match=r"no argument 'iteration'; it has .*\biterations\b"):
        train(iteration=5)
