"""Runs the README's two commands, word for word, in fresh clones with empty virtual environments.

    python tests/install.py python3.10 python3.13 --tensorflow 2.16 2.21 --only train

On each Python (a command or path) with each TensorFlow (forced by a constraint file) prints a row per command.
"""
import argparse
import itertools
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

VERSIONS = 'import sys, tensorflow, numpy; print(*sys.version.split()[:1], tensorflow.__version__, numpy.__version__)'


def run(line, clone, environment):
    """Runs a shell line. Returns its exit status, its seconds, those to the first picture, and its last line."""
    began, picture = time.monotonic(), None
    with tempfile.TemporaryFile('w+') as output:
        process = subprocess.Popen(line, shell=True, cwd=clone, env=environment, stdout=output, stderr=output)
        while process.poll() is None:
            if not picture and any((clone/'outputs'/'iterations').glob('*.png')):
                picture = time.monotonic() - began
            time.sleep(0.1)
        output.seek(0)
        return process.returncode, time.monotonic() - began, picture, ''.join(output.read().strip().splitlines()[-1:])


def check(python, tensorflow, name, line, folder):
    """The table's row of one of the two commands on one Python and TensorFlow."""
    environment = dict(os.environ, PATH=f'{folder/"bin"}{os.pathsep}{os.environ["PATH"]}', VIRTUAL_ENV='')
    (folder/'bin').mkdir()
    (folder/'bin'/'python3').write_text(f'#!/bin/sh\nexec {shlex.quote(os.path.abspath(shutil.which(python)))} "$@"\n')
    (folder/'bin'/'python3').chmod(0o755)
    clone, environment['PIP_CONSTRAINT'] = folder/'clone', str(folder/'constraints.txt')
    (folder/'constraints.txt').write_text(f'tensorflow=={tensorflow}.*\n' if tensorflow else '')
    subprocess.run(['git', 'clone', '-q', str(ROOT), str(clone)], check=True)
    installation, last = line.rsplit(' && ', 1)
    status, installing, picture, output = run(installation, clone, environment)
    versions, seconds = 'not installed', 0
    if not status:
        *_, versions = run(f'{shlex.split(last)[0]} -c {shlex.quote(VERSIONS)}', clone, environment)
        status, seconds, picture, output = run(last, clone, environment)
    return [versions, name, f'{installing:.0f}', f'{seconds:.0f}', status,
            f'first picture after {picture:.1f} s' if picture else output]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('pythons', nargs='*', default=[sys.executable])
    parser.add_argument('--tensorflow', nargs='*', default=[None], metavar='VERSION')
    parser.add_argument('--only', choices=('train', 'test'))
    arguments = parser.parse_args()
    readme = (ROOT/'README.md').read_text(encoding='utf-8')
    lines = dict(zip(('train', 'test'), re.findall('^python3 -m venv .+ && .+ && .+', readme, re.M)))

    def rows():
        for python, tensorflow, name in itertools.product(
                arguments.pythons, arguments.tensorflow, [arguments.only] if arguments.only else lines):
            with tempfile.TemporaryDirectory() as folder:
                yield check(python, tensorflow, name, lines[name], Path(folder))
    print_command()
    print_table(['Python, TensorFlow, NumPy', 'command', 'installing, s', 'running, s', 'ended', ''], rows())


if __name__ == '__main__':
    main()
