"""Lets the tests import the two files of the program from the folder above, and wastes no time, as
these do not; runs that several files of tests look at."""
import fcntl
import gc
import itertools
import os
import shutil
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))
os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')
# more would wait for each other, for there is a process per core
os.environ.setdefault('OPENBLAS_NUM_THREADS', '1')
pytest.register_assert_rewrite('runs')  # as in tests: a failed assert says what came
gc.set_threshold(100_000)  # TensorFlow's graphs make many objects, and nearly all of them stay


def pytest_collection_modifyitems(items):
    """Puts the file whose tests share one run first; processes steal tests from the end."""
    items.sort(key=lambda item: item.path.name != 'test_smoke.py')


def pytest_sessionfinish():
    gc.freeze()  # else the graphs of all tests are looked through once more


def made_once(tmp_path_factory, name, make):
    """The folder that `make` fills: once, though several processes of pytest-xdist ask for it."""
    parent = tmp_path_factory.getbasetemp()
    if 'PYTEST_XDIST_WORKER' in os.environ:
        parent = parent.parent
    with open(parent/f'{name}.lock', 'w') as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        folder = parent/name
        if not folder.exists():
            make(parent/f'{name}.new')
            os.replace(parent/f'{name}.new', folder)
    return folder


def run(*words):
    from runs import STEPS, command
    return command(*STEPS, *words)


@pytest.fixture(scope='session')
def finished(tmp_path_factory):
    """The folder of a finished run of STEPS, without pictures. Not to be written to."""
    def make(folder):
        assert run('--pictures', 'none', '--output', folder) == 0
    return made_once(tmp_path_factory, 'finished', make)


@pytest.fixture(scope='session')
def drawn(tmp_path_factory):
    """The folder of the same run with its pictures. Not to be written to."""
    def make(folder):
        assert run('--output', folder) == 0
        assert len(list(folder.glob('*/*.png'))) == 9
        assert len(list(folder.glob('*.*[gf]'))) == 6
    return made_once(tmp_path_factory, 'drawn', make)


@pytest.fixture(scope='session')
def unfinished(tmp_path_factory):
    """The folder of the same run, interrupted beyond its middle. Not to be written to."""
    import gan_quadratic
    from runs import at_iteration, interrupt

    def make(folder):
        # by this clock every twelfth iteration is saved
        clock = SimpleNamespace(perf_counter=itertools.count().__next__, time=time.time)
        with pytest.MonkeyPatch.context() as monkeypatch:
            monkeypatch.setattr(gan_quadratic, 'time', clock)
            at_iteration(monkeypatch, 30, interrupt)
            assert run('--pictures', 'none', '--output', folder) == 130
    return made_once(tmp_path_factory, 'unfinished', make)


@pytest.fixture
def done(finished, tmp_path):
    """A copy of the finished run."""
    return shutil.copytree(finished, tmp_path/'run')


@pytest.fixture
def half(unfinished, tmp_path):
    """A copy of the unfinished run."""
    return shutil.copytree(unfinished, tmp_path/'half')
