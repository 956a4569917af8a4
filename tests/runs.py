"""Runs in this process, for the tests: starting and stopping them, and reading what they left."""
import csv
import json
import math
import signal
from unittest import mock

import numpy as np
import pytest

import gan_quadratic as program
from helpers import compare, decode_everything, files, fork

# Step by step nothing waits for the compiler; kill_resume.py runs the compiled loop.
TINY = dict(iterations=5, snapshot_every=2, batch_size=8, hidden=[4], pictures='none',
            step_by_step=True)
STEPS = ('--iterations', '41', '--snapshot-every', '20', '--print-every', '10',
         '--hidden', '4', '--step-by-step')
QUIET = '--pictures', 'none'


def few_samples():
    """Within it, runs deliver 1,000 samples: to measure 10,000 takes as long as a short run."""
    return mock.patch.object(program, 'FINAL_ROWS', 1000)


def command(*words):
    """The command in this process, with few samples. Returns its exit status."""
    with few_samples():
        return program.main([str(word) for word in words])


def fork_command(*words, log):
    """The command in a forked process."""
    return fork(command, *words, log=log)


def at_iteration(monkeypatch, iteration, act):
    """Has `act` called when the run prints the line of an iteration."""
    say = program.say

    def saying(line, *rest, **options):
        say(line, *rest, **options)
        if f'Iterations: {iteration}\t' in line:
            act()
    monkeypatch.setattr(program, 'say', saying)


def interrupt():
    """As Ctrl-C does."""
    signal.raise_signal(signal.SIGINT)


def one_line(capsys, *pieces):
    """The single line on stderr, with these pieces; by capfd, TensorFlow's lines count too."""
    said = capsys.readouterr().err
    assert said.startswith('gan_quadratic.py: ')
    assert said.count('\n') == 1
    for piece in pieces:
        assert str(piece) in said
    return said


def trained(folder):
    """How many iterations the checkpoint of a run has behind it."""
    arrays = program.read_file(folder/'checkpoint.npz')
    return json.loads(arrays['state'].tobytes())['iteration']


def changes(folder, before):
    """The files of a folder that are new, gone or others than `before`, which `files` gave."""
    after = files(folder)
    names = before.keys() | after.keys()
    return sorted(name for name in names if before.get(name) != after.get(name))


def assert_same_numbers(folder, reference):
    """The numbers of two runs agree to the byte, all files decode, and nothing temporary is left.
    """
    assert decode_everything(folder) == []
    differing = [line for line in compare(folder, reference) if line.endswith('differs')]
    assert differing == []


def measured(folder):
    """The columns of metrics.csv: name -> values."""
    with open(folder/'metrics.csv', newline='') as file:
        header, *rows = csv.reader(file)
    values = [[float(cell or 'nan') for cell in row] for row in rows]
    return dict(zip(header, np.array(values).T))


def assert_saved_model(folder, settings, expected):
    """TensorFlow 2 makes these samples of the noise that they are made of by the SavedModel; but
    for a value in a thousand, which may fall on another step."""
    import tensorflow as tf2
    stream = program.make_streams(settings['seed'])['final']
    Z = program.sample_Z(program.FINAL_ROWS, settings['noise_dim'], stream)
    model = tf2.saved_model.load(str(folder/'saved_model'))
    generator = model.signatures['serving_default']
    samples = generator(Z=tf2.constant(Z, 'float32'))['samples'].numpy()
    assert samples.shape == expected.shape
    tolerance = 1e-5*expected.std(axis=0) + 1e-8*np.abs(expected)
    assert np.mean(np.abs(samples - expected) <= tolerance) > 0.999


def shown_by_tensorboard(folder):
    """What TensorBoard shows, (name, iteration) -> value: a file that begins with START at an
    iteration drops what earlier ones have from there on."""
    tf = program.tf
    shown = {}
    for path in sorted((folder/'tensorboard').glob('events*')):
        for event in tf.train.summary_iterator(str(path)):
            if event.session_log.status == tf.SessionLog.START:
                shown = {key: value for key, value in shown.items() if key[1] < event.step}
            for value in event.summary.value:
                key = value.tag, event.step
                assert key not in shown, 'written twice'
                shown[key] = value.simple_value
    return shown


def assert_events(folder, files):
    """TensorBoard finds each figure of metrics.csv in so many files, and the graph in the first."""
    paths = sorted((folder/'tensorboard').glob('events*'))
    assert len(paths) == files
    iterator = program.tf.train.summary_iterator
    assert [path for path in paths if any(event.graph_def for event in iterator(str(path)))] == [
        paths[0]]
    columns = measured(folder)
    steps = columns.pop('Iteration')
    figures = {(name, step): value for name, column in columns.items()
               for step, value in zip(steps, column) if not math.isnan(value)}
    assert shown_by_tensorboard(folder) == pytest.approx(figures, rel=1e-6, abs=1e-9)
