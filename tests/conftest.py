"""Lets the tests import the two files of the program from the folder above, and wastes no time, as these do not."""
import gc
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')
os.environ.setdefault('OPENBLAS_NUM_THREADS', '1')  # more would wait for each other, for there is a process per core
gc.set_threshold(100_000)  # TensorFlow's graphs make many objects, and nearly all of them stay


def pytest_sessionfinish():
    gc.freeze()  # else the graphs of all tests are looked through once more
