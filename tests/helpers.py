"""What the tests and the measuring scripts share: starting the command, looking at what a run left,
printing tables."""
import contextlib
import importlib.metadata
import itertools
import multiprocessing
import os
import platform
import re
import shlex
import subprocess
import sys
import time
from pathlib import Path

from PIL import Image, ImageSequence

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
import gan_quadratic  # noqa: E402

SHORT = '--iterations', '301', '--snapshot-every', '100'
# to the byte, however often a run was killed
SAME = 'loss_logs.csv', 'metrics.csv', 'generated_samples.csv'
# whose versions stand above a table
PACKAGES = 'tensorflow', 'numpy', 'matplotlib', 'scikit-learn', 'jax', 'torch'
# Its processes have imported TensorFlow: that takes longer than a run.
FORKS = multiprocessing.get_context('forkserver')
FORKS.set_forkserver_preload(['tensorflow.compat.v1', 'gan_quadratic'])


def processor():
    """The model of this machine's processor."""
    if sys.platform == 'linux':
        model = re.search('model name.*: (.*)', Path('/proc/cpuinfo').read_text())
        if model:
            return model[1]
    return platform.machine()


def print_command():
    """The lines above a script's tables: the command, when it ran and on what."""
    script = f'tests/{Path(sys.argv[0]).name}'
    versions = [f'{each.name} {each.version}' for each in importlib.metadata.distributions()
                if each.name in PACKAGES]
    surroundings = [
        time.strftime('%Y-%m-%d %H:%M'),
        processor(),
        f'{os.cpu_count()} cores',
        f'load {os.getloadavg()[0]:.1f}',
        platform.system(),
        f'Python {platform.python_version()}',
        *dict.fromkeys(versions)]
    print(f'`{shlex.join(["python", script, *sys.argv[1:]])}`  ')
    print(', '.join(surroundings) + '\n', flush=True)


def print_table(heads, rows):
    """Prints a table in GitHub's Markdown, each row as soon as it is known."""
    for row in itertools.chain([heads, ['---']*len(heads)], rows):
        print(f'| {" | ".join(map(str, row))} |', flush=True)
    print(flush=True)


def start_command(*arguments, script='gan_quadratic.py', **options):
    """One of the two scripts as a process, stdout and stderr together in a pipe unless `options`
    differ."""
    command = [sys.executable, str(ROOT/script), *map(str, arguments)]
    pipes = dict(stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    return subprocess.Popen(command, **(pipes | options))


def run_command(*arguments, script='gan_quadratic.py'):
    """Runs one of the two scripts to its end. Returns exit status and output."""
    process = start_command(*arguments, script=script)
    output, _ = process.communicate()
    return process.returncode, output


def in_fork(log, function, arguments):
    """Calls a function inside a forked process, its output in the file `log`; what it returns is
    the exit status."""
    with open(log, 'a') as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    status = function(*arguments)
    sys.stdout.flush()
    os._exit(status or 0)


def fork(function, *arguments, log):
    """Calls a function in a process that has imported TensorFlow already; its `.exitcode` is what
    the function returns, negative where a signal ended it."""
    process = FORKS.Process(target=in_fork, args=(str(log), function, arguments))
    process.start()
    return process


def drawing_processes(folder):
    """The ids of the drawing processes of a run in this folder (by Linux's /proc)."""
    found = []
    for path in Path('/proc').glob('[0-9]*/cmdline'):
        with contextlib.suppress(OSError):  # ended meanwhile
            words = path.read_bytes().decode(errors='replace').split('\0')
            if '--follow' in words and str(folder) in words:
                found.append(int(path.parent.name))
    return found


def files(folder):
    """Every file below a folder: path relative to it, without the time in the names of
    TensorBoard's -> bytes."""
    found = {}
    for path in sorted(folder.rglob('*')):
        if path.is_file():
            name = str(path.relative_to(folder))
            found[re.sub('tfevents.*', 'tfevents', name)] = path.read_bytes()
    return found


def check_csv(path):
    """Raises where a line of a CSV is not whole or no numbers."""
    header, *lines, end = path.read_text().split('\n')
    rows = [[float(cell or 0) for cell in line.split(',')] for line in lines]
    width = header.count(',') + 1
    if end or any(len(row) != width for row in rows):
        raise ValueError('a line is not whole')


def check_picture(path):
    """Raises where a frame of a picture does not decode."""
    with Image.open(path) as image:
        for frame in ImageSequence.Iterator(image):
            frame.load()


DECODERS = {'.csv': check_csv, '.png': check_picture, '.gif': check_picture,
            '.npz': gan_quadratic.read_file, '.json': gan_quadratic.read_file}


def decode_everything(folder, temporary=False):
    """What is wrong with the files of a folder, a line each. `temporary`: may .tmp files lie there
    (after a kill)?"""
    wrong = []
    for path in sorted(folder.rglob('*')):
        if path.suffix == '.tmp' and not temporary:
            wrong.append(f'{path.name} was left behind')
        if path.suffix in DECODERS:
            try:
                DECODERS[path.suffix](path)
            except Exception as error:  # whatever a broken file makes a decoder say
                wrong.append(f'{path.name}: {error!r}')
    return wrong


def compare(folder, reference):
    """How a run's folder differs from that of the same run uninterrupted, a line each: names, and
    bytes of SAME."""
    ours, theirs = files(folder), files(reference)
    only_one_has = [f'{name} is missing or should not be there'
                    for name in ours.keys() ^ theirs.keys()]
    return only_one_has + [f'{name} differs' for name in SAME if ours.get(name) != theirs[name]]
