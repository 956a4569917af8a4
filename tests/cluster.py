"""How long an iteration takes on one and on two workers, each with one core of this machine; a table in markdown.

Beside it: one process without a cluster, with one core. The chief, which does next to nothing, has all cores.
"""
import argparse
import contextlib
import json
import os
import socket
import subprocess
import tempfile
import time
from pathlib import Path

from helpers import print_command, print_table, start_command

SIZES = (16, 16, 256), (256, 256, 1024), (512, 512, 4096)  # hidden units, then the batch


def start(cores, cluster, task, index, *arguments):
    """The command on these cores as a task of the cluster, if any."""
    config = json.dumps({'cluster': cluster, 'task': {'type': task, 'index': index}}) if cluster else ''
    return start_command(*arguments, env=dict(os.environ, TF_CONFIG=config), stdout=subprocess.DEVNULL, stderr=None,
                         preexec_fn=lambda: os.sched_setaffinity(0, cores))


def pace(log, seconds):
    seen = [(0, 0)]  # seconds and iterations, whenever the log has grown
    while len(seen) < 7 or seen[-1][0] < seen[1][0] + seconds:
        time.sleep(0.002)
        lines = log.read_text().count('\n') if log.exists() else 0
        if lines > seen[-1][1]:
            seen.append((time.perf_counter(), lines))
    (began, first), (end, last) = seen[3], seen[-1]  # the first calls take longer
    return 1000*(end - began)/(last - first)


def milliseconds(workers, hidden, batch, seconds):
    with contextlib.ExitStack() as stack:  # addresses on which nobody listens
        sockets = [stack.enter_context(socket.create_server(('127.0.0.1', 0))) for _ in range(1 + workers)]
        address, *others = [f'127.0.0.1:{each.getsockname()[1]}' for each in sockets]
    cores, cluster = sorted(os.sched_getaffinity(0)), dict(chief=[address], worker=others) if workers else None
    with tempfile.TemporaryDirectory() as folder:
        processes = [start({cores[k % len(cores)]}, cluster, 'worker', k) for k in range(workers)]
        words = '--iterations', 10**7, '--snapshot-every', 10**7, '--log-every', 1, '--pictures', 'none'
        processes.append(start(cores if workers else cores[:1], cluster, 'chief', 0, '--hidden', *hidden,
                               '--batch-size', batch, *words, '--output', folder))
        try:
            return pace(Path(folder)/'loss_logs.csv', seconds)
        finally:
            for process in reversed(processes):  # the chief first, or it would complain
                process.kill()
                process.wait()


def main():
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--seconds', type=float, default=10, metavar='S', help='of each measurement (default: 10)')
    seconds = parser.parse_args().seconds
    print_command()

    def row(size):
        *hidden, batch = size
        alone, one, two = (milliseconds(workers, hidden, batch, seconds) for workers in range(3))
        return hidden, batch, f'{alone:.2f} ms', f'{one:.1f} ms', f'{two:.1f} ms', f'{one/two:.2f} times'
    print_table(['hidden', 'batch', 'no cluster', 'one worker', 'two workers', 'two against one'], map(row, SIZES))


if __name__ == '__main__':
    main()
