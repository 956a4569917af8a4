"""Runs the README's two commands, word for word, in fresh clones with empty virtual environments.

    python tests/install.py                            on this Python, with the newest TensorFlow allowed
    python tests/install.py python3.10 python3.13 --tensorflow 2.16 2.21 --only train

On each Python (a command or path) with each TensorFlow (forced by a constraint file) prints a row per command: what was
installed, seconds of installation and of the command, how it ended, and seconds to the first picture or the last line.
"""
import argparse
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from helpers import ROOT, print_command, print_table

VERSIONS = ('import platform, importlib.metadata as m; '
            'print(platform.python_version(), *map(m.version, ("tensorflow", "numpy", "matplotlib")))')


def run(line, clone, environment):
    """Runs a shell line. Returns its exit status, its seconds, those to the first picture, and its last line."""
    began, picture = time.monotonic(), None
    with tempfile.TemporaryFile('w+') as output:
        process = subprocess.Popen(line, shell=True, cwd=clone, env=environment, stdout=output, stderr=output)
        while process.poll() is None:
            if not picture and any((clone/'outputs'/'iterations').glob('*.png')):
                picture = time.monotonic() - began
            time.sleep(0.1)
        seconds = time.monotonic() - began
        output.seek(0)
        return process.returncode, seconds, picture, ''.join(output.read().strip().splitlines()[-1:])


def check(python, tensorflow, name, line, folder):
    """One of the two commands on one Python and TensorFlow: its row of the table."""
    environment = dict(os.environ, PATH=f'{folder/"bin"}{os.pathsep}{os.environ["PATH"]}')
    environment.pop('VIRTUAL_ENV', None)
    (folder/'bin').mkdir()
    (folder/'bin'/'python3').write_text(f'#!/bin/sh\nexec {shlex.quote(os.path.abspath(shutil.which(python)))} "$@"\n')
    (folder/'bin'/'python3').chmod(0o755)
    if tensorflow:
        (folder/'constraints.txt').write_text(f'tensorflow=={tensorflow}.*\n')
        environment['PIP_CONSTRAINT'] = str(folder/'constraints.txt')
    clone = folder/'clone'
    subprocess.run(['git', 'clone', '-q', str(ROOT), str(clone)], check=True)
    installation, last = line.rsplit(' && ', 1)
    status, installing, _, output = run(installation, clone, environment)
    if status:
        return ['not installed', name, f'{installing:.0f}', '', status, output]
    *_, versions = run(f'{shlex.split(last)[0]} -c {shlex.quote(VERSIONS)}', clone, environment)
    status, seconds, picture, output = run(last, clone, environment)
    if name == 'train':
        output = f'first picture after {picture:.1f} s' if picture else f'no picture: {output}'
    return [versions, name, f'{installing:.0f}', f'{seconds:.0f}', status, output]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('pythons', nargs='*', default=[sys.executable])
    parser.add_argument('--tensorflow', nargs='*', default=[None], metavar='VERSION')
    parser.add_argument('--only', choices=('train', 'test'))
    arguments = parser.parse_args()
    readme = (ROOT/'README.md').read_text(encoding='utf-8')
    lines = dict(zip(('train', 'test'), re.findall('^python3 -m venv .+ && .+ && .+', readme, re.M)))

    def rows():
        for python in arguments.pythons:
            for tensorflow in arguments.tensorflow:
                for name in [arguments.only] if arguments.only else lines:
                    with tempfile.TemporaryDirectory() as folder:
                        yield check(python, tensorflow, name, lines[name], Path(folder))
    print_command()
    print_table(['Python, TensorFlow, NumPy, matplotlib', 'command', 'installing, s', 'running, s', 'exit status', ''],
                rows())


if __name__ == '__main__':
    main()
