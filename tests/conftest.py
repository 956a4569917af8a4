"""Lets the tests import the program's files from the folder above, and wastes no time."""
import gc
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')
# More threads would wait for each other, for pytest -n 2 has a process per core.
os.environ.setdefault('OPENBLAS_NUM_THREADS', '1')
gc.set_threshold(100_000)  # TensorFlow's graphs make many objects, and nearly all of them stay


def pytest_collection_modifyitems(items):
    """Puts the file whose tests share one run first; processes steal tests from the end."""
    items.sort(key=lambda item: item.path.name != 'test_smoke.py')


def pytest_sessionfinish():
    gc.freeze()  # else the graphs of all tests are looked through once more
