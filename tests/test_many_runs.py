"""Many runs on many machines, as README.md has it: here two processes, one of which is killed."""
import multiprocessing.forkserver
import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest

from helpers import FORKS, SAME
from helpers import gan_quadratic as program

SEEDS = 0, 1


def train(seed, folder):
    """A short run, beside whose folder stand the ids of the processes that began it."""
    with open(f'{folder}/{seed}.pids', 'a') as pids:
        print(os.getpid(), file=pids)
    return program.train(seed=seed, overwrite=True, output=f'{folder}/{seed}', pictures='none',
                         iterations=201, snapshot_every=100, step_by_step=True)


def pids(folder, seed):
    """The processes that began a run."""
    return [int(line) for line in Path(folder, f'{seed}.pids').read_text().split()]


def wait_until(condition, seconds=120):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, 'it took too long'
        time.sleep(0.01)


@pytest.fixture
def client(tmp_path):
    """A client of two processes, forked from one that has imported TensorFlow."""
    dask = pytest.importorskip('dask')
    distributed = pytest.importorskip('dask.distributed')
    assert FORKS.get_start_method() == 'forkserver'
    multiprocessing.forkserver.ensure_running()  # before Dask names other modules to import
    with (dask.config.set({'distributed.worker.multiprocessing-method': 'forkserver'}),
          distributed.LocalCluster(n_workers=2, threads_per_worker=1, memory_limit=None,
                                   dashboard_address=None, local_directory=tmp_path) as cluster,
          distributed.Client(cluster) as client):
        yield client


def test_runs_of_a_worker_that_is_killed_come_back_as_those_of_one_process(client, tmp_path):
    there, here = tmp_path/'there', tmp_path/'here'
    there.mkdir()
    here.mkdir()
    runs = client.map(train, SEEDS, folder=there)
    wait_until((there/'0'/'metrics.csv').exists)
    assert not (there/'0'/'summary.json').exists(), 'the run ended before it could be killed'
    os.kill(pids(there, 0)[0], signal.SIGKILL)
    results = client.gather(runs)
    assert len(pids(there, 0)) == 2, 'the killed run did not begin anew'

    for seed, result in zip(SEEDS, results, strict=True):
        alone = train(seed, here)
        assert result['final'] == alone['final']
        assert result['claims'] == alone['claims']
        np.testing.assert_array_equal(result['samples'], alone['samples'])
        for name in SAME:
            written = (there/str(seed)/name).read_bytes()
            assert written == (here/str(seed)/name).read_bytes(), f'{name} of seed {seed}'
