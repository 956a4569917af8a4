"""Runs the README's two commands, word for word, in fresh clones with empty environments.

    python tests/install.py python3.10 python3.13 --tensorflow 2.16 2.21 --only train

On each Python (a command or path) with each TensorFlow (forced by a constraint file) prints a row
per command.
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
from typing import NamedTuple

from helpers import ROOT, print_command, print_table

PRINT_VERSIONS = """
import sys, numpy, tensorflow
print(sys.version.split()[0], tensorflow.__version__, numpy.__version__)
"""


class Ended(NamedTuple):
    """How a shell line ended."""
    status: int
    seconds: float
    first_picture: float  # seconds, None where there is none
    last_line: str


def run(line, clone, environment):
    """Runs a shell line to its end."""
    first_picture = None
    began = time.monotonic()
    with tempfile.TemporaryFile('w+') as output:
        process = subprocess.Popen(line, shell=True, cwd=clone, env=environment,
                                   stdout=output, stderr=output)
        while process.poll() is None:
            pictures = (clone/'outputs'/'iterations').glob('*.png')
            if first_picture is None and any(pictures):
                first_picture = time.monotonic() - began
            time.sleep(0.1)
        seconds = time.monotonic() - began
        output.seek(0)
        lines = output.read().strip().splitlines()
    return Ended(process.returncode, seconds, first_picture, lines[-1] if lines else '')


def make_environment(python, tensorflow, folder):
    """Variables by which `python3` is this Python, and pip takes this TensorFlow."""
    path = os.path.abspath(shutil.which(python))
    command = folder/'bin'/'python3'
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec {shlex.quote(path)} "$@"\n')
    command.chmod(0o755)
    constraints = folder/'constraints.txt'
    constraints.write_text(f'tensorflow=={tensorflow}.*\n' if tensorflow else '')
    return dict(
        os.environ,
        PATH=f'{command.parent}{os.pathsep}{os.environ["PATH"]}',
        PIP_CONSTRAINT=str(constraints),
        VIRTUAL_ENV='')


def check(python, tensorflow, name, line, folder):
    """The table's row of one of the two commands on one Python and TensorFlow."""
    environment = make_environment(python, tensorflow, folder)
    clone = folder/'clone'
    subprocess.run(['git', 'clone', '-q', str(ROOT), str(clone)], check=True)
    installation, command = line.rsplit(' && ', 1)
    installed = run(installation, clone, environment)
    if installed.status:
        return ['not installed', name, f'{installed.seconds:.0f}', '', installed.status,
                installed.last_line]
    its_python = shlex.split(command)[0]
    versions = run(f'{its_python} -c {shlex.quote(PRINT_VERSIONS)}', clone, environment).last_line
    ran = run(command, clone, environment)
    remark = ran.last_line
    if ran.first_picture is not None:
        remark = f'first picture after {ran.first_picture:.1f} s'
    return [versions, name, f'{installed.seconds:.0f}', f'{ran.seconds:.0f}', ran.status, remark]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('pythons', nargs='*', default=[sys.executable])
    parser.add_argument('--tensorflow', nargs='*', default=[None], metavar='VERSION')
    parser.add_argument('--only', choices=('train', 'test'))
    arguments = parser.parse_args()
    readme = (ROOT/'README.md').read_text(encoding='utf-8')
    commands = re.findall('^python3 -m venv .+ && .+ && .+', readme, re.MULTILINE)
    lines = dict(zip(('train', 'test'), commands))
    names = [arguments.only] if arguments.only else lines

    def rows():
        cases = itertools.product(arguments.pythons, arguments.tensorflow, names)
        for python, tensorflow, name in cases:
            with tempfile.TemporaryDirectory() as folder:
                yield check(python, tensorflow, name, lines[name], Path(folder))
    print_command()
    print_table(['Python, TensorFlow, NumPy', 'command', 'installing, s', 'running, s', 'ended',
                 ''], rows())


if __name__ == '__main__':
    main()
