"""Kills short runs at random moments, resumes them, and counts what was lost; prints a table in markdown.

In turn it kills the training process alone, the drawing process alone, and both. A resumed run may be killed again.
In the end every file must decode, and the numbers must be to the byte those of the same run uninterrupted.
"""
import argparse
import contextlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from helpers import (
    SHORT, compare, decode_everything, drawing_processes, print_command, print_table, run_command, start_command)

TRAINING, DRAWING, BOTH = KINDS = 'the training process', 'the drawing process', 'both'


def killed_once(arguments, folder, kind, moment):
    """Runs the command and kills after `moment` seconds, counted from the drawing process's start where that is to die.
    Returns whether it came before the end of what was to be killed, and the exit status."""
    process = start_command(*arguments, '--output', folder)
    while kind == DRAWING and process.poll() is None and not drawing_processes(folder):
        time.sleep(0.02)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(moment)
    victims = [process.pid] if kind != DRAWING and process.poll() is None else []
    victims += drawing_processes(folder) if kind != TRAINING else []
    for pid in victims:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    process.communicate()
    return bool(victims), process.returncode


def trial(folder, kind, rng, duration, reference):
    """One run, killed once or more, then resumed to its end. Returns the number of kills and what is wrong."""
    kills, wrong, arguments = 0, [], SHORT
    while not kills or kind != DRAWING and rng.random() < 0.4:  # the drawing process lives in a run's last part only
        hit, status = killed_once(arguments, folder, kind, rng.uniform(0, duration/(5 if kind == DRAWING else 1)))
        kills += hit
        wrong += decode_everything(folder, temporary=True) if folder.exists() else []
        if (folder/'settings.json').exists() or not kills:  # then the run was quicker than the moment
            arguments = ('--resume',) if kills else (*SHORT, '--overwrite')
    wrong += [f'the run ended with {status}'] if kind == DRAWING and status else []
    status, output = (run_command(folder, script='plotting.py') if kind == DRAWING else
                      run_command(*arguments, '--output', folder))
    wrong += [f'the last command ended with {status}: {output[-500:]}'] if status else []
    return kills, wrong + decode_everything(folder) + compare(folder, reference)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--times', type=int, default=20, metavar='N', help='runs to kill (default: 20)')
    parser.add_argument('--seed', type=int, default=0, metavar='N', help='of the random moments (default: 0)')
    arguments = parser.parse_args()
    print_command()
    rng, trials = random.Random(arguments.seed), {kind: [] for kind in KINDS}
    with tempfile.TemporaryDirectory() as parent:
        reference, began = Path(parent)/'reference', time.monotonic()
        assert run_command(*SHORT, '--output', reference)[0] == 0, 'the uninterrupted run failed'
        duration = time.monotonic() - began
        for k in range(arguments.times):
            kind = KINDS[k % len(KINDS)]
            kills, wrong = trial(Path(parent)/f'run{k}', kind, rng, duration, reference)
            trials[kind].append((kills, not wrong))
            print(f'{k + 1} of {arguments.times}: {kind}, {kills} kills: {"; ".join(wrong) or "nothing lost"}',
                  file=sys.stderr, flush=True)
    print_table(['SIGKILL of', 'kills', 'runs with nothing lost'], (
        [kind, sum(kills for kills, _ in done), f'{sum(whole for _, whole in done)} of {len(done)}']
        for kind, done in trials.items()))
    return int(not all(whole for done in trials.values() for _, whole in done))


if __name__ == '__main__':
    sys.exit(main())
