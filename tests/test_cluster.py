"""Training on several machines, played by processes on this one: a chief and its workers by TF_CONFIG."""
import json
import os
import signal
import socket
import time

import numpy as np
import pytest

import gan_quadratic
from helpers import FORKS, SAME, in_fork

FLAGS = ('--iterations', '161', '--snapshot-every', '40', '--log-every', '1', '--print-every', '40', '--d-steps', '2',
         '--batch-size', '64', '--hidden', '4', '--pictures', 'none')  # one hidden layer: half the time to compile


def in_task(config, words, log):
    """The command inside a forked process, with this TF_CONFIG, and less patience once the workers have compiled."""
    in_thread, patience = gan_quadratic.in_thread, iter([60])
    os.environ['TF_CONFIG'] = config
    gan_quadratic.in_thread = lambda function, *arguments, seconds=None: in_thread(
        function, *arguments, seconds=seconds and next(patience, 4))
    in_fork(words, log)


class Task:
    """The command as one task of a cluster, what it says in the file `log`."""

    def __init__(self, log, config, words):
        self.log, self.folder = log, log.with_suffix('')
        self.process = FORKS.Process(target=in_task, args=(config, [str(word) for word in words], str(log)))
        self.process.start()

    def said(self):
        return self.log.read_text() if self.log.exists() else ''

    def losses(self):
        return gan_quadratic.read_file(self.folder/'loss_logs.csv')[1]

    def wait_until(self, happened):
        while not happened():
            assert self.process.is_alive(), self.said()
            time.sleep(0.01)

    def end(self):
        self.process.join(120)
        return self.process.exitcode


@pytest.fixture
def cluster(tmp_path):
    """Addresses of two workers, and what starts a task: a function (name, task, index, *words) -> Task."""
    sockets, tasks = [socket.create_server(('127.0.0.1', 0)) for _ in range(3)], []
    chief, *workers = [f'127.0.0.1:{each.getsockname()[1]}' for each in sockets]
    for each in sockets:
        each.close()

    def start(name, task=None, index=0, *words):
        words = [*words, '--output', tmp_path/name] if task != 'worker' else words
        config = dict(cluster=dict(chief=[chief], worker=workers), task=dict(type=task, index=index)) if task else {}
        tasks.append(Task(tmp_path/f'{name}.log', json.dumps(config), words))
        return tasks[-1]
    yield workers, start
    for each in tasks:
        each.process.kill()


def test_cluster(tmp_path, cluster):
    """A chief that is stopped while it waits; a whole run; one whose worker is killed, and which after --resume ends
    with the bytes of the first; another, with another penalty and served by the same workers, with one machine's
    losses, whose worker hangs. Who loses a worker says so in a line; workers end by signals."""
    workers, start = cluster
    first, ours = start('first', 'worker', 0), (*FLAGS, '--penalty', '1')
    waiting = start('waiting', 'chief', 0, *ours)
    waiting.wait_until(lambda: f'Waiting     for the workers {workers[0]}, {workers[1]}' in waiting.said())
    os.kill(waiting.process.pid, signal.SIGTERM)
    assert waiting.end() == 143 and 'stopped' in waiting.said().split('\n')[-2]
    second, whole = start('second', 'worker', 1), start('whole', 'chief', 0, *ours)
    assert whole.end() == 0, whole.said()

    def lose(chief, number):
        """Sends the second worker a signal, from which the chief ends."""
        chief.wait_until(lambda: (chief.folder/'checkpoint.npz').exists() and len(chief.losses()) >= 20)
        os.kill(second.process.pid, number)
        assert chief.end() == 1 and not (chief.folder/'summary.json').exists()
        line = chief.said().split('\n')[-2]
        assert line.startswith('gan_quadratic.py: ') and '--resume' in line
    lose(start('killed', 'chief', 0, *ours), signal.SIGKILL)
    second, resumed = start('again', 'worker', 1), start('killed', 'chief', 0, '--resume')
    assert resumed.end() == 0, resumed.said()
    assert all((resumed.folder/name).read_bytes() == (whole.folder/name).read_bytes() for name in SAME)
    ours = *FLAGS, '--penalty', '2'
    alone, hung = start('alone', None, 0, *ours), start('hung', 'chief', 0, *ours)
    lose(hung, signal.SIGSTOP)
    os.kill(second.process.pid, signal.SIGCONT)
    assert alone.end() == 0
    np.testing.assert_allclose(hung.losses()[:20], alone.losses()[:20], rtol=1e-4)
    os.kill(first.process.pid, signal.SIGTERM)
    os.kill(second.process.pid, signal.SIGINT)
    assert (first.end(), second.end(), first.said(), second.said()) == (143, 130, '', '')


JOBS, CHIEF = {'chief': ['a:1'], 'worker': ['b:1', 'c:1', 'd:1']}, {'type': 'chief', 'index': 0}
REFUSED = [*((config, 64, '') for config in ['{', '[]', '{"cluster": null}', *map(json.dumps, [
    {'cluster': JOBS}, {'cluster': JOBS, 'task': 'chief'}, {'cluster': JOBS, 'task': {'type': 'ps', 'index': 0}},
    {'cluster': JOBS, 'task': {'type': 'worker', 'index': 3}}, {'cluster': {'worker': ['b:1']}, 'task': CHIEF},
    {'cluster': {'chief': ['a:1', 'b:1'], 'worker': ['c:1']}, 'task': CHIEF},
    {'cluster': {'chief': ['a:1'], 'worker': ['b']}, 'task': CHIEF},
    {'cluster': {'chief': ['a:1'], 'worker': 'b:1'}, 'task': CHIEF}])]),
    *((json.dumps({'cluster': JOBS, 'task': CHIEF}), batch, f'give {near}\n') for batch, near in ((256, 255), (1, 3)))]


@pytest.mark.parametrize('config, batch, end', REFUSED)
def test_malformed_config_or_a_batch_that_does_not_divide(config, batch, end, monkeypatch, capsys, tmp_path):
    monkeypatch.setenv('TF_CONFIG', config)
    assert gan_quadratic.main(['--output', str(tmp_path/'run'), '--batch-size', str(batch)]) == 2
    said = capsys.readouterr().err
    assert said.count('\n') == 1 and said.endswith(end) and not (tmp_path/'run').exists()


@pytest.mark.parametrize('config', ['', '{}', json.dumps({'cluster': {'chief': ['a:1']}, 'task': CHIEF})])
def test_config_without_workers(config, monkeypatch):
    monkeypatch.setenv('TF_CONFIG', config)
    assert gan_quadratic.read_cluster() is None
