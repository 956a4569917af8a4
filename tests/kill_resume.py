"""Kills short runs at random moments, resumes them, and counts what was lost; prints a table for the README.

    python tests/kill_resume.py --times 20 --seed 0

In turn it kills the training process alone, the drawing process alone, and both. A resumed run may be killed again.
In the end every file must decode, and the numbers must be to the byte those of the same run uninterrupted.
"""
import argparse
import contextlib
import datetime
import os
import platform
import random
import signal
import sys
import tempfile
import time
from pathlib import Path

from helpers import SHORT, compare, decode_everything, drawing_processes, run_command, start_command

KINDS = 'the training process', 'the drawing process', 'both'


def kill(pid):
    """SIGKILL; True where there was somebody to kill."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
        return True
    return False


def wait_for_drawing(process, folder):
    """Waits until the run has its drawing process, or has ended."""
    while process.poll() is None and not drawing_processes(folder):
        time.sleep(0.02)


def killed_once(words, folder, kind, moment):
    """Runs the command and kills after `moment` seconds, counted from the drawing process's start where that is to die.

    Returns whether the kill came before the end, and the exit status.
    """
    process = start_command(*words, '--output', folder)
    if kind == 'the drawing process':
        wait_for_drawing(process, folder)
    with contextlib.suppress(TimeoutError):
        end = time.monotonic() + moment
        while process.poll() is None and time.monotonic() < end:
            time.sleep(0.005)
    drawing = drawing_processes(folder) if kind != 'the training process' else []
    hit = kind != 'the drawing process' and process.poll() is None and kill(process.pid)
    hit = any([hit, *map(kill, drawing)])
    process.communicate()
    return hit, process.returncode


def trial(folder, kind, rng, duration, reference):
    """One run, killed once or more, then resumed to its end. Returns the number of kills and what is wrong."""
    kills, wrong, words = 0, [], SHORT
    alone = kind == 'the drawing process'
    while not kills or not alone and rng.random() < 0.4:
        # the drawing process lives only in the last part of a run
        hit, status = killed_once(words, folder, kind, rng.uniform(0, duration/5 if alone else duration))
        kills += hit
        wrong += decode_everything(folder, temporary=True) if folder.exists() else []
        if not kills:  # the run was quicker than the moment
            words = *SHORT, '--overwrite'
        elif (folder/'settings.json').exists():
            words = '--resume',
    if alone:
        wrong += [f'the run ended with {status}'] if status else []
        status, said = run_command(folder, script='plotting.py')
    else:
        status, said = run_command(*words, '--output', folder)
    wrong += [f'the last command ended with {status}: {said[-500:]}'] if status else []
    return kills, wrong + decode_everything(folder) + compare(folder, reference)


def machine():
    """What this runs on, in a line."""
    return f'{os.cpu_count()} cores, {platform.machine()}, {platform.system()}, Python {platform.python_version()}'


def table(counts):
    """Markdown of kind -> (runs, kills, survived)."""
    lines = ['| SIGKILL of | kills | runs with nothing lost |', '|---|---|---|']
    lines += [f'| {kind} | {kills} | {survived} of {runs} |' for kind, (runs, kills, survived) in counts.items()]
    return '\n'.join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--times', type=int, default=20, metavar='N', help='runs to kill (default: 20)')
    parser.add_argument('--seed', type=int, default=0, metavar='N', help='of the random moments (default: 0)')
    arguments = parser.parse_args()
    rng = random.Random(arguments.seed)
    counts = {kind: (0, 0, 0) for kind in KINDS}
    with tempfile.TemporaryDirectory() as parent:
        reference = Path(parent)/'reference'
        began = time.monotonic()
        status, said = run_command(*SHORT, '--output', reference)
        duration = time.monotonic() - began
        if status:
            sys.exit(f'the uninterrupted run failed: {said}')
        for k in range(arguments.times):
            kind = KINDS[k % len(KINDS)]
            kills, wrong = trial(Path(parent)/f'run{k}', kind, rng, duration, reference)
            counts[kind] = tuple(a + b for a, b in zip(counts[kind], (1, kills, not wrong)))
            print(f'{k + 1} of {arguments.times}: {kind}, {kills} kills: {"; ".join(wrong) or "nothing lost"}',
                  file=sys.stderr, flush=True)
    print(f'{datetime.date.today()}, {machine()}, seed {arguments.seed}, runs of {" ".join(SHORT)}\n')
    print(table(counts))
    return int(any(survived < runs for runs, _, survived in counts.values()))


if __name__ == '__main__':
    sys.exit(main())
