"""What test_robust.py and kill_resume.py share: starting the command, ending it, and looking at what it left behind."""
import json
import multiprocessing
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
import gan_quadratic  # noqa: E402

SHORT = '--iterations', '301', '--snapshot-every', '100'
SAME = 'loss_logs.csv', 'metrics.csv', 'generated_samples.csv'  # to the byte, however often a run was killed

# Processes that fork from one in which TensorFlow is imported already: the import takes longer than a short run.
FORKS = multiprocessing.get_context('forkserver')
FORKS.set_forkserver_preload(['tensorflow.compat.v1', 'gan_quadratic'])


def start_command(*words, script='gan_quadratic.py', **options):
    """One of the two scripts as a process, stdout and stderr together in a pipe unless `options` say otherwise."""
    options = dict(stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options)
    return subprocess.Popen([sys.executable, str(ROOT/script), *map(str, words)], **options)


def run_command(*words, script='gan_quadratic.py'):
    """Runs one of the two scripts to its end. Returns exit status and what it said."""
    process = start_command(*words, script=script)
    said, _ = process.communicate()
    return process.returncode, said


def in_fork(words, log):
    """The command inside a forked process, what it says in the file `log`."""
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    sys.exit(gan_quadratic.main(words))


def fork_command(*words, log):
    """Starts the command in a forked process; its `.exitcode` is negative where a signal ended it."""
    process = FORKS.Process(target=in_fork, args=([str(word) for word in words], str(log)))
    process.start()
    return process


def drawing_processes(folder):
    """The ids of the drawing processes of a run in this folder (by Linux's /proc)."""
    found = []
    for path in Path('/proc').glob('[0-9]*/cmdline'):
        try:
            words = path.read_bytes().decode(errors='replace').split('\0')
        except OSError:  # ended meanwhile
            continue
        if '--follow' in words and str(folder) in words:
            found.append(int(path.parent.name))
    return found


def decode_csv(path):
    """Raises ValueError unless a CSV holds a header and whole lines of as many numbers."""
    text = path.read_text()
    header, *rows = text.splitlines()
    if not text.endswith('\n'):
        raise ValueError('the last line is not whole')
    for row in rows:
        fields = row.split(',')
        [float(field or 0) for field in fields]
        if len(fields) != len(header.split(',')):
            raise ValueError(f'{row!r} does not fit the header')


def decode_picture(path):
    """Raises OSError or SyntaxError unless every frame of a picture can be decoded."""
    with Image.open(path) as image:
        for frame in range(getattr(image, 'n_frames', 1)):
            image.seek(frame)
            image.load()


def decode_arrays(path):
    """Raises an error unless every array of an .npz can be read."""
    with np.load(path) as arrays:
        dict(arrays)


DECODERS = {'.csv': decode_csv, '.png': decode_picture, '.gif': decode_picture, '.npz': decode_arrays,
            '.json': lambda path: json.loads(path.read_text())}


def files(folder):
    """Every file below a folder: path relative to it, without the time in the names of TensorBoard's -> bytes."""
    return {re.sub('tfevents.*', 'tfevents', str(path.relative_to(folder))): path.read_bytes()
            for path in sorted(folder.rglob('*')) if path.is_file()}


def decode_everything(folder, temporary=False):
    """What is wrong with the files of a folder, a line each. `temporary`: may .tmp files lie there (after a kill)?"""
    wrong = []
    for path in sorted(folder.rglob('*')):
        if path.suffix in ('.tmp', '.old'):
            wrong += [] if temporary else [f'{path.name} was left behind']
        elif path.suffix in DECODERS:
            try:
                DECODERS[path.suffix](path)
            except Exception as error:  # whatever a broken file makes a decoder say is a line of the answer
                wrong.append(f'{path.name}: {error!r}')
    return wrong


def compare(folder, reference):
    """How a run's folder differs from that of the same run uninterrupted, a line each: names, and bytes of SAME."""
    ours, theirs = files(folder), files(reference)
    return ([f'{name} is missing' for name in theirs.keys() - ours.keys()]
            + [f'{name} should not be there' for name in ours.keys() - theirs.keys()]
            + [f'{name} differs' for name in SAME if ours.get(name) != theirs[name]])
