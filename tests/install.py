"""Runs the README's two commands, word for word, in fresh clones with empty virtual environments.

    python tests/install.py [PYTHON ...] [--tensorflow VERSION ...] [--only train|test]

For each Python (a command or path; this one where none is given) and each TensorFlow (the newest that requirements.txt
allows where none is given; a version such as 2.16 is forced by a constraint file). Prints a row per combination: what
was installed, seconds to the first picture after the installation, seconds of each command, and how it ended.
"""
import argparse
import os
import re
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
VERSIONS = ('import platform, importlib.metadata as m; '
            'print(platform.python_version(), *map(m.version, ("tensorflow", "numpy", "matplotlib")))')


def readme_commands():
    """The two lines of the README's first code block."""
    block = re.search(r'```sh\n(.*?)```', (ROOT/'README.md').read_text(encoding='utf-8'), re.S)[1]
    return dict(zip(('train', 'test'), block.strip().splitlines()))


def split_installation(line):
    """A README line as its installation (all but the last part) and what it then runs."""
    *installation, last = line.split(' && ')
    return ' && '.join(installation), last


def run(line, folder, environment):
    """Runs a shell line; returns its exit status, its seconds, and the end of what it said."""
    began = time.monotonic()
    done = subprocess.run(line, shell=True, cwd=folder, env=environment, text=True, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT)
    return done.returncode, time.monotonic() - began, done.stdout.strip().splitlines()[-1:]


def first_picture(line, folder, environment):
    """Runs the training line; returns its exit status, its seconds, and seconds until the first picture was on disk."""
    began = time.monotonic()
    process = subprocess.Popen(line, shell=True, cwd=folder, env=environment, stdout=subprocess.DEVNULL)
    seen = None
    while process.poll() is None:
        if seen is None and list((folder/'outputs'/'iterations').glob('*.png')):
            seen = time.monotonic() - began
        time.sleep(0.1)
    return process.returncode, time.monotonic() - began, seen


def check(python, tensorflow, only, folder):
    """Both commands on one Python and TensorFlow; yields a row of the table for each."""
    (folder/'bin').mkdir()
    (folder/'bin'/'python3').write_text(f'#!/bin/sh\nexec {shlex.quote(python)} "$@"\n')
    (folder/'bin'/'python3').chmod(0o755)
    environment = dict(os.environ, PATH=f'{folder/"bin"}{os.pathsep}{os.environ["PATH"]}')
    environment.pop('VIRTUAL_ENV', None)
    if tensorflow:
        (folder/'constraints.txt').write_text(f'tensorflow=={tensorflow}.*\n')
        environment['PIP_CONSTRAINT'] = str(folder/'constraints.txt')
    for name, line in readme_commands().items():
        if only not in (None, name):
            continue
        clone = folder/name
        subprocess.run(['git', 'clone', '-q', str(ROOT), str(clone)], check=True)
        installation, last = split_installation(line)
        status, installing, said = run(installation, clone, environment)
        if status == 0:
            interpreter = shlex.split(last)[0]
            _, _, installed = run(f'{interpreter} -c {shlex.quote(VERSIONS)}', clone, environment)
            if name == 'train':
                status, seconds, seen = first_picture(last, clone, environment)
                said = [f'first picture after {seen:.1f} s' if seen else 'no picture']
            else:
                status, seconds, said = run(last, clone, environment)
        else:
            installed, seconds = ['not installed'], 0
        yield f'| {" / ".join(installed)} | {name} | {installing:.0f} | {seconds:.0f} | {status} | {" ".join(said)} |'


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('pythons', nargs='*', default=[sys.executable])
    parser.add_argument('--tensorflow', nargs='*', default=[None], metavar='VERSION')
    parser.add_argument('--only', choices=('train', 'test'))
    arguments = parser.parse_args()
    print('| Python, TensorFlow, NumPy, matplotlib | command | installing, s | running, s | exit status | |')
    print('|---|---|---|---|---|---|')
    for python in arguments.pythons:
        for tensorflow in arguments.tensorflow:
            with tempfile.TemporaryDirectory() as folder:
                resolved = subprocess.run([python, '-c', 'import sys; print(sys.executable)'], capture_output=True,
                                          text=True, check=True)
                for row in check(resolved.stdout.strip(), tensorflow, arguments.only, Path(folder)):
                    print(row, flush=True)


if __name__ == '__main__':
    main()
