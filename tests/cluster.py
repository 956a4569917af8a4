"""How long an iteration takes on one and on two workers, each with one core of this machine; a table in markdown.

    python tests/cluster.py                            three sizes, some three minutes
    python tests/cluster.py --sizes 512,512,4096       hidden units, then the batch

Beside it: one process without a cluster, with one core. The chief, which does next to nothing, has all cores. Times are
read off the loss log that a run writes, after its first calls of the compiled loop.
"""
import argparse
import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from helpers import print_command, print_table, start_command

CALLS = 6  # of the compiled loop at the least, the first two of which take longer


def free_addresses(n):
    """n addresses of this machine on which nobody listens."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(('127.0.0.1', 0))) for _ in range(n)]
        return [f'127.0.0.1:{each.getsockname()[1]}' for each in sockets]


def start(cores, cluster, task, index, *arguments):
    """The command on these cores as a task of the cluster, without one where `cluster` is None."""
    environment = {name: value for name, value in os.environ.items() if name != 'TF_CONFIG'}
    if cluster:
        environment['TF_CONFIG'] = json.dumps({'cluster': cluster, 'task': {'type': task, 'index': index}})
    return start_command(*arguments, env=environment, stdout=subprocess.DEVNULL, stderr=None,
                         preexec_fn=lambda: os.sched_setaffinity(0, cores))


def pace(process, log, seconds):
    """Milliseconds that an iteration of a run takes, by its loss log."""
    seen, size = [], 0  # seconds and iterations, whenever the log has grown
    while len(seen) < CALLS or seen[-1][0] < seen[0][0] + seconds:
        time.sleep(0.002)
        if process.poll() is not None:
            sys.exit(f'{process.args} ended with {process.returncode}')
        if log.exists() and log.stat().st_size > size:
            text = log.read_text()
            size = len(text)
            seen.append((time.perf_counter(), text.count('\n')))
    (began, first), (end, last) = seen[2], seen[-1]
    return 1000*(end - began)/(last - first)


def milliseconds(workers, hidden, batch, seconds):
    """What an iteration takes with so many workers."""
    address, *others = free_addresses(1 + workers)
    cores = sorted(os.sched_getaffinity(0))
    cluster = dict(chief=[address], worker=others) if workers else None
    with tempfile.TemporaryDirectory() as folder:
        processes = [start({cores[k % len(cores)]}, cluster, 'worker', k) for k in range(workers)]
        chief = start(cores if workers else cores[:1], cluster, 'chief', 0, '--hidden', *hidden, '--batch-size', batch,
                      '--iterations', 10**7, '--snapshot-every', 10**7, '--log-every', 1, '--pictures', 'none',
                      '--output', folder)
        try:
            return pace(chief, Path(folder)/'loss_logs.csv', seconds)
        finally:
            for process in (chief, *processes):
                process.kill()
                process.wait()


def main():
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--sizes', nargs='+', default=['16,16,256', '256,256,1024', '512,512,4096'],
                        metavar='N,N,BATCH', help='hidden units, then the batch (default: three sizes)')
    parser.add_argument('--seconds', type=float, default=10, metavar='S', help='of each measurement (default: 10)')
    arguments = parser.parse_args()
    print_command()

    def row(size):
        *hidden, batch = size.split(',')
        alone, one, two = (milliseconds(workers, hidden, batch, arguments.seconds) for workers in range(3))
        return [' '.join(hidden), batch, f'{alone:.2f} ms', f'{one:.1f} ms', f'{two:.1f} ms', f'{one/two:.2f} times',
                f'{os.getloadavg()[0]:.1f}']
    print_table(['hidden', 'batch', 'no cluster', 'one worker', 'two workers', 'two against one', 'load'],
                map(row, arguments.sizes))


if __name__ == '__main__':
    main()
