"""Kills short runs at random moments, resumes them, and counts what was lost; prints Markdown.

In turn it kills the training process alone, the drawing process alone, and both. A resumed run may
be killed again. In the end every file must decode, and the numbers must be to the byte those of the
same run uninterrupted.
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
from typing import NamedTuple

from helpers import (
    SHORT,
    compare,
    decode_everything,
    drawing_processes,
    print_command,
    print_table,
    run_command,
    start_command,
)

TRAINING = 'the training process'
DRAWING = 'the drawing process'
BOTH = 'both'
KINDS = TRAINING, DRAWING, BOTH
AGAIN = 0.4  # how likely a resumed run is killed once more


class Outcome(NamedTuple):
    """Of a run that was killed and resumed."""
    kills: int
    wrong: list  # a line each


def kill(pids):
    """Kills processes, which may have ended meanwhile."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def killed_once(arguments, folder, kind, moment):
    """Runs the command, and kills after so many seconds, if what is to die still lives.

    They are counted from the drawing process's start where that is to die. Returns whether there
    was something to kill, and the exit status.
    """
    process = start_command(*arguments, '--output', folder)
    while kind == DRAWING and process.poll() is None and not drawing_processes(folder):
        time.sleep(0.02)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(moment)
    victims = []
    if kind != DRAWING and process.poll() is None:
        victims.append(process.pid)
    if kind != TRAINING:
        victims += drawing_processes(folder)
    kill(victims)
    process.communicate()
    return bool(victims), process.returncode


def kill_training(folder, kind, rng, duration):
    """A run whose training is killed once or more, then resumed to its end."""
    kills = 0
    wrong = []
    arguments = SHORT
    while not kills or rng.random() < AGAIN:
        hit, _ = killed_once(arguments, folder, kind, rng.uniform(0, duration))
        kills += hit
        if folder.exists():
            wrong += decode_everything(folder, temporary=True)
        if not kills:  # the run was quicker than the moment
            arguments = *SHORT, '--overwrite'
        elif (folder/'settings.json').exists():
            arguments = ('--resume',)
    status, output = run_command(*arguments, '--output', folder)
    if status:
        wrong.append(f'the last command ended with {status}: {output[-500:]}')
    return Outcome(kills, wrong)


def kill_drawing(folder, rng, duration):
    """A run whose drawing process is killed, and whose pictures are then drawn once more."""
    wrong = []
    arguments = SHORT
    hit = False
    while not hit:
        moment = rng.uniform(0, duration/5)  # it lives in a run's last part only
        hit, status = killed_once(arguments, folder, DRAWING, moment)
        wrong += decode_everything(folder, temporary=True)
        arguments = *SHORT, '--overwrite'
    if status:
        wrong.append(f'the run ended with {status}')
    status, output = run_command(folder, script='plotting.py')
    if status:
        wrong.append(f'plotting.py ended with {status}: {output[-500:]}')
    return Outcome(1, wrong)


def trial(folder, kind, rng, duration, reference):
    """One run that is killed, and what is wrong with it in the end."""
    if kind == DRAWING:
        outcome = kill_drawing(folder, rng, duration)
    else:
        outcome = kill_training(folder, kind, rng, duration)
    wrong = outcome.wrong + decode_everything(folder) + compare(folder, reference)
    return Outcome(outcome.kills, wrong)


def run_trials(times, rng):
    """The outcomes of so many trials, by kind."""
    outcomes = {kind: [] for kind in KINDS}
    with tempfile.TemporaryDirectory() as parent:
        reference = Path(parent)/'reference'
        began = time.monotonic()
        status, output = run_command(*SHORT, '--output', reference)
        duration = time.monotonic() - began
        assert status == 0, f'the uninterrupted run failed: {output}'
        for k in range(times):
            kind = KINDS[k % len(KINDS)]
            outcome = trial(Path(parent)/f'run{k}', kind, rng, duration, reference)
            outcomes[kind].append(outcome)
            found = '; '.join(outcome.wrong) or 'nothing lost'
            print(f'{k + 1} of {times}: {kind}, {outcome.kills} kills: {found}',
                  file=sys.stderr, flush=True)
    return outcomes


def main():
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--times', type=int, default=20, metavar='N',
                        help='runs to kill (default: 20)')
    parser.add_argument('--seed', type=int, default=0, metavar='N',
                        help='of the random moments (default: 0)')
    arguments = parser.parse_args()
    print_command()
    outcomes = run_trials(arguments.times, random.Random(arguments.seed))
    rows = []
    lost = 0
    for kind, done in outcomes.items():
        kills = sum(outcome.kills for outcome in done)
        whole = sum(not outcome.wrong for outcome in done)
        rows.append([kind, kills, f'{whole} of {len(done)}'])
        lost += len(done) - whole
    print_table(['SIGKILL of', 'kills', 'runs with nothing lost'], rows)
    return 1 if lost else 0


if __name__ == '__main__':
    sys.exit(main())
