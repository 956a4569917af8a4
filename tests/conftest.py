"""Lets the tests import the two files of the program from the folder above."""
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')
