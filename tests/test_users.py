"""What users bring: their environment, names and paths, objects of other libraries, tables with odd first lines."""
import errno
import fcntl
import json
import os
import shlex
import signal
import subprocess
import sys

import numpy as np
import pytest

import gan_quadratic as program
from gan_quadratic import UsageError, find_rows, train
from helpers import ROOT
from test_robust import at_iteration, command, interrupt, one_line

TINY = dict(iterations=5, snapshot_every=2, batch_size=8, hidden=[4], pictures='none', step_by_step=True)
SHORT = '--iterations', 5, '--print-every', 1, '--step-by-step', '--pictures', 'none', '--output'


class Tee:
    """A stdout that can do no more than it must."""
    text = ''

    def write(self, text):
        self.text += text

    def flush(self):
        pass


def test_an_unusual_environment(tmp_path):
    """All at once: a terminal of ASCII, an unknown backend, determinism, a symbolic link, ~, an odd matplotlibrc."""
    (tmp_path/'a.csv').write_text('größe,b\n' + '1,2\n3,4.5\n'*30)
    (tmp_path/'link.py').symlink_to(ROOT/'gan_quadratic.py')
    (tmp_path/'matplotlibrc').write_text('text.usetex: True\nfont.size: 22\n')
    done = subprocess.run(
        [sys.executable, 'link.py', '--data=~/a.csv', '--output=~/größe', '--iterations', '3', '--snapshot-every',
         '2', '--step-by-step', '--hidden', '4'], cwd=tmp_path, capture_output=True, text=True, env=dict(
            os.environ, PYTHONIOENCODING='ascii', MPLBACKEND='module://nowhere', TF_DETERMINISTIC_OPS='1',
            HOME=str(tmp_path)))
    assert (done.returncode, done.stderr) == (0, '')
    assert 'Output      ' in done.stdout and (tmp_path/'größe/index.html').exists() and not (tmp_path/'~').exists()
    assert (tmp_path/'größe/iterations/iteration_000002.png').exists()


def test_no_progress_bar_is_no_reason_to_stop(tmp_path, monkeypatch):
    def fail(*arguments, **options):
        raise AttributeError('keras')
    monkeypatch.setenv('TERM', 'xterm')
    monkeypatch.setattr(Tee, 'isatty', lambda stdout: True, raising=False)
    monkeypatch.setattr(sys, 'stdout', Tee())
    monkeypatch.setattr(program.tf.keras.utils, 'Progbar', fail)
    assert train(output=str(tmp_path), **TINY)['delivered_iteration'] == 4
    assert 'Iterations: 0' in sys.stdout.text


def test_no_proxy_stands_between_the_machines_of_a_cluster(monkeypatch):
    jobs = {'chief': ['a:1'], 'worker': ['b.c:2', '[::1]:3']}
    monkeypatch.setenv('TF_CONFIG', json.dumps({'cluster': jobs, 'task': {'type': 'chief', 'index': 0}}))
    monkeypatch.setenv('no_grpc_proxy', '')
    monkeypatch.setattr(program.tf.train, 'Server', lambda *arguments: os.environ['no_grpc_proxy'])
    assert program.serve.__wrapped__().split(',') == ['a', 'b.c', '[::1]']


def test_a_file_system_without_locks(tmp_path, monkeypatch, capsys):
    def fail(*arguments):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))
    monkeypatch.setattr(fcntl, 'flock', fail)
    with program.locked(tmp_path):
        assert 'would not notice each other' in capsys.readouterr().out


@pytest.mark.parametrize('error, words', [
    (FileNotFoundError(errno.ENOENT, "No usable temporary directory found in ['/tmp']"), 'set TMPDIR'),
    (OSError(errno.EIO, 'Input/output error'), 'Input/output error; see to it')])
def test_an_error_that_names_no_file(error, words, monkeypatch, capsys):
    def fail(*arguments):
        raise error
    monkeypatch.setattr(program, 'run_command', fail)
    assert command() == 1
    line = one_line(capsys)
    assert words in line and 'None' not in line


def test_a_path_that_is_no_utf_8(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert command('--output', 'a/\udc80') == 2
    assert 'argument --output' in one_line(capsys) and not list(tmp_path.iterdir())


def test_hints_can_be_pasted_and_handlers_of_signals_are_put_back(tmp_path, monkeypatch, capsys):
    folder, numbers = tmp_path/"it's mine", (signal.SIGINT, signal.SIGTERM, signal.SIGALRM)
    before = [signal.getsignal(number) for number in numbers]
    at_iteration(monkeypatch, 2, interrupt)
    assert command(*SHORT, folder) == 130
    words = shlex.split(one_line(capsys).split('go on with: ')[1])
    assert words[:2] == ['python', 'gan_quadratic.py'] and program.parse(words[2:])['output'] == str(folder)
    assert [signal.getsignal(number) for number in numbers] == before and signal.alarm(0) == 0


class Frame:
    """Stands for a data frame, whose columns are of several types."""
    columns = ['-log10p', 'b', 7]

    def __array__(self, dtype=None, copy=None):
        return np.array([[1, 2.5, True], [3, 4.5, False]]*30, object)


@pytest.mark.parametrize('data, columns, names', [
    (Frame(), None, ['-log10p', 'b', '7']), (Frame(), ['-log10p', '7'], ['-log10p', '7']),
    ([[1, 2], [3, 4]]*30, None, ['x', 'y']), ([(1.5,), (2,)]*30, ['1'], ['x1'])])
def test_what_numpy_makes_an_array_of(data, columns, names, tmp_path):
    samples = train(data=data, columns=columns, output=str(tmp_path), **TINY)['samples']
    assert (tmp_path/'generated_samples.csv').read_text().split('\n')[0] == ','.join(names)
    assert samples.shape == (10_000, len(names)) and samples.max() <= 4.5


@pytest.mark.parametrize('flags, words', [
    (dict(data=[[1], [2, 3]]), 'the array is not a table of numbers'), (dict(data={'a': 1}), 'not a table of numbers'),
    (dict(data=[['a', 'b']]*3), 'numbers are allowed'), (dict(data=[[None, 1]]*3), 'the array'),
    (dict(iteration=5), "'iteration'; did you mean iterations?"), (dict(qqq=5), "'qqq'; did you mean data or columns")])
def test_what_cannot_be_learned_is_refused_in_a_sentence(flags, words, tmp_path):
    with pytest.raises(UsageError) as error:
        train(output=str(tmp_path/'out'), **flags)
    assert words in str(error.value) and '\n' not in str(error.value) and not (tmp_path/'out').exists()


@pytest.mark.parametrize('text, names, first', [
    ('0,1,2\n1.5,2.5,3.5\n4,5,6.5\n', ['0', '1', '2'], 1.5), (',0,1,2\n0,1.5,2,3\n1,4,5,6\n', ['', '0', '1', '2'], 0),
    ('2019,2020\n1,2.5\n3,4\n', ['2019', '2020'], 1), ('0,1,2\n5,3,2\n1,0,4\n', ['0', '1', '2'], 5),
    ('1;2\n0.5;0.7\n3;4\n', ['1', '2'], 0.5), ('0,1\n5,3\n2,8\n', None, 0),
    ('1990,1995\n1991,1999\n2000,2001\n', None, 1990), ('3,7\n5,3\n2,8\n', None, 3),
    ('body mass\n1\n2\n', ['body mass'], 1), ('# x y\n1.0 2.0\n3.0 4.0\n', ['x', 'y'], 1),
    ('  1.0   2.0\n -3.0   4.0\n', None, 1), ('a|b\n1|2\n3|4\n', ['a', 'b'], 1)])
def test_what_the_first_line_is(text, names, first, tmp_path, capsys):
    """Names, or a row; where that can be doubted, a line says what it was taken for."""
    (tmp_path/'a.csv').write_text(text)
    rows, found, _ = find_rows(str(tmp_path/'a.csv'))
    assert found == names and rows[0, 0] == first
    doubted = text[0].isdigit() and text.split('\n')[0] not in ('1990,1995', '3,7')
    assert ('taken for ' + ('names' if names else 'a row') in capsys.readouterr().out) == doubted


@pytest.mark.parametrize('text, names', [
    ('country,2019,2020\nDE,1.1,2.2\nFR,2,3\n', ['2019', '2020']), ('name,1,2\nanna,0.5,0.7\nbert,3,4\n', ['1', '2'])])
def test_names_beside_a_column_of_text(text, names, tmp_path):
    (tmp_path/'a.csv').write_text(text)
    assert find_rows(str(tmp_path/'a.csv'), names)[1] == names


@pytest.mark.parametrize('text, words', [
    ('a,b\n"1,234",5\n2,3\n', ["'1,234'", 'is 1234.5']), ('a:b\n1:2\n3:4\n', ["'1:2'", 'semicolon', 'spaces'])])
def test_what_a_cell_should_be(text, words, tmp_path):
    (tmp_path/'a.csv').write_text(text)
    with pytest.raises(UsageError) as error:
        find_rows(str(tmp_path/'a.csv'))
    assert all(word in str(error.value) for word in words)
