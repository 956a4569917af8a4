"""What the tests and the measuring scripts share: starting the command, looking at what a run left, printing tables."""
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
SAME = 'loss_logs.csv', 'metrics.csv', 'generated_samples.csv'  # to the byte, however often a run was killed
PACKAGES = 'tensorflow', 'numpy', 'matplotlib', 'scikit-learn', 'jax', 'torch'  # whose versions stand above a table
FORKS = multiprocessing.get_context('forkserver')  # which has imported TensorFlow: that takes longer than a run
FORKS.set_forkserver_preload(['tensorflow.compat.v1', 'gan_quadratic'])


def print_command():
    """The lines above a script's tables: the command, when it ran and on what."""
    model = re.search('model name.*: (.*)', Path('/proc/cpuinfo').read_text()) if sys.platform == 'linux' else None
    versions = {each.name: each.version for each in importlib.metadata.distributions() if each.name in PACKAGES}
    print('`' + shlex.join(['python', f'tests/{Path(sys.argv[0]).name}', *sys.argv[1:]]) + '`  ')
    print(', '.join([time.strftime('%Y-%m-%d %H:%M'), model[1] if model else platform.machine(),
                     f'{os.cpu_count()} cores', f'load {os.getloadavg()[0]:.1f}', platform.system(),
                     f'Python {platform.python_version()}', *map(' '.join, versions.items())]) + '\n', flush=True)


def print_table(heads, rows):
    """Prints a table in GitHub's Markdown, each row as soon as it is known."""
    for row in itertools.chain([heads, ['---']*len(heads)], rows):
        print(f'| {" | ".join(map(str, row))} |', flush=True)
    print(flush=True)


def start_command(*arguments, script='gan_quadratic.py', **options):
    """One of the two scripts as a process, stdout and stderr together in a pipe unless `options` differ."""
    return subprocess.Popen([sys.executable, str(ROOT/script), *map(str, arguments)],
                            **dict(stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) | options)


def run_command(*arguments, script='gan_quadratic.py'):
    """Runs one of the two scripts to its end. Returns exit status and output."""
    process = start_command(*arguments, script=script)
    output, _ = process.communicate()
    return process.returncode, output


def in_fork(arguments, log):
    """The command inside a forked process, its output in the file `log`."""
    with open(log, 'a') as file:
        for descriptor in 1, 2:
            os.dup2(file.fileno(), descriptor)
    status = gan_quadratic.main(arguments)
    sys.stdout.flush()
    os._exit(status)  # as the command itself ends


def fork_command(*arguments, log):
    """Starts the command in a forked process; its `.exitcode` is negative where a signal ended it."""
    process = FORKS.Process(target=in_fork, args=([str(argument) for argument in arguments], str(log)))
    process.start()
    return process


def drawing_processes(folder):
    """The ids of the drawing processes of a run in this folder (by Linux's /proc)."""
    found = []
    for path in Path('/proc').glob('[0-9]*/cmdline'):
        with contextlib.suppress(OSError):  # ended meanwhile
            if {'--follow', str(folder)} <= {*path.read_bytes().decode(errors='replace').split('\0')}:
                found.append(int(path.parent.name))
    return found


def files(folder):
    """Every file below a folder: path relative to it, without the time in the names of TensorBoard's -> bytes."""
    return {re.sub('tfevents.*', 'tfevents', str(path.relative_to(folder))): path.read_bytes()
            for path in sorted(folder.rglob('*')) if path.is_file()}


def decode_everything(folder, temporary=False):
    """What is wrong with the files of a folder, a line each. `temporary`: may .tmp files lie there (after a kill)?"""
    wrong = [] if temporary else [f'{path.name} was left behind' for path in folder.rglob('*.tmp')]
    for path in sorted(folder.rglob('*')):
        try:
            if path.suffix == '.csv':
                header, *lines, end = path.read_text().split('\n')
                widths = {len([float(cell or 0) for cell in line.split(',')]) for line in lines}
                assert not end and widths <= {header.count(',') + 1}, 'a line is not whole'
            elif path.suffix in ('.png', '.gif'):
                with Image.open(path) as image:
                    for frame in ImageSequence.Iterator(image):
                        frame.load()
            elif path.suffix in ('.npz', '.json'):
                gan_quadratic.read_file(path)
        except Exception as error:  # whatever a broken file makes a decoder say is a line of the answer
            wrong.append(f'{path.name}: {error!r}')
    return wrong


def compare(folder, reference):
    """How a run's folder differs from that of the same run uninterrupted, a line each: names, and bytes of SAME."""
    ours, theirs = files(folder), files(reference)
    return ([f'{name} is missing or should not be there' for name in theirs.keys() ^ ours.keys()]
            + [f'{name} differs' for name in SAME if ours.get(name) != theirs[name]])
