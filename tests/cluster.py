"""How long an iteration takes on one and on two workers, each with one core of this machine; a table in markdown.

    python tests/cluster.py                            three sizes, some three minutes
    python tests/cluster.py --sizes 512,512,4096       hidden units, then the batch

Beside it: one process without a cluster, with one core. The chief, which does next to nothing, has all cores. Times are
medians over calls of the compiled loop, after the first calls.
"""
import argparse
import contextlib
import datetime
import json
import multiprocessing
import os
import platform
import shlex
import socket
import sys
import time
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
import gan_quadratic as gan  # noqa: E402

PROCESSES = multiprocessing.get_context('spawn')


def free_addresses(n):
    """n addresses of this machine on which nobody listens."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(('127.0.0.1', 0))) for _ in range(n)]
        return [f'127.0.0.1:{each.getsockname()[1]}' for each in sockets]


def serve(core, config):
    """A worker, on one core."""
    os.sched_setaffinity(0, {core})
    os.environ['TF_CONFIG'] = config
    gan.main([])


def milliseconds(config, size, seconds):
    """What an iteration takes; a process of its own without TF_CONFIG gets one core."""
    os.environ['TF_CONFIG'] = config
    if not config:
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    *hidden, batch = map(str, size)
    settings = gan.parse(['--hidden', *hidden, '--batch-size', batch])
    data = gan.make_data(settings)
    with contextlib.redirect_stdout(None), gan.open_run(None, settings, data) as run:
        train_block = gan.block_trainer(run, 20)
        times, n, end = [], 1, time.perf_counter() + seconds
        while len(times) < 6 or time.perf_counter() < end:
            *batches, _ = gan.draw_batches(data, run.streams, n, settings['batch_size'], settings['noise_dim'])
            began = time.perf_counter()
            train_block(*batches)
            times.append(1000*(time.perf_counter() - began)/n)
            n = max(1, min(20, int(500/times[-1])))
    return median(times[2:])  # without the one that compiles, and the first thereafter


def measure(workers, size, seconds):
    """The same in fresh processes, with so many workers."""
    chief, *addresses = free_addresses(1 + workers)
    configs = [json.dumps({'cluster': {'chief': [chief], 'worker': addresses}, 'task': {'type': task, 'index': index}})
               for task, index in [('chief', 0), *(('worker', k) for k in range(workers))]]
    cores = sorted(os.sched_getaffinity(0))
    servers = [PROCESSES.Process(target=serve, args=(cores[k % len(cores)], config))
               for k, config in enumerate(configs[1:])]
    try:
        for server in servers:
            server.start()
        with PROCESSES.Pool(1) as pool:
            return pool.apply(milliseconds, (configs[0] if workers else '', size, seconds))
    finally:
        for server in servers:
            server.terminate()
            server.join()


def main():
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--sizes', nargs='+', default=['16,16,256', '256,256,1024', '512,512,4096'],
                        metavar='N,N,BATCH', help='hidden units, then the batch (default: three sizes)')
    parser.add_argument('--seconds', type=float, default=10, metavar='S', help='of each measurement (default: 10)')
    arguments = parser.parse_args()
    print(f'`python tests/cluster.py {shlex.join(sys.argv[1:])}`  \n{datetime.date.today()}, {os.cpu_count()} cores, '
          f'load {os.getloadavg()[0]:.1f}, Python {platform.python_version()}, TensorFlow {gan.tf.version.VERSION}\n')
    print('| hidden | batch | no cluster | one worker | two workers | two against one | load |\n|' + '---|'*7)
    for words in arguments.sizes:
        size = [int(word) for word in words.split(',')]
        alone, one, two = (measure(workers, size, arguments.seconds) for workers in range(3))
        print(f'| {" ".join(map(str, size[:-1]))} | {size[-1]} | {alone:.2f} ms | {one:.1f} ms | {two:.1f} ms '
              f'| {one/two:.2f} times | {os.getloadavg()[0]:.1f} |', flush=True)


if __name__ == '__main__':
    main()
