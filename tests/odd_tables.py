"""Throws damaged and odd tables at `train()`, and counts what is neither a result nor one line.

    python tests/odd_tables.py --times 400 --seed 0

Each is made from one seed, printed beside what went wrong: `--seed SEED --times 1` makes it again.
Half are read with warnings as errors; anything on stderr counts as a defect.
"""
import argparse
import contextlib
import csv
import gzip
import io
import os
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from helpers import gan_quadratic as program
from helpers import print_command, print_table

COLUMNS = [  # (rng, n) -> [n]
    lambda rng, n: rng.normal(size=n),
    lambda rng, n: rng.normal(size=n)*1e30,
    lambda rng, n: rng.normal(size=n)*1e-310,
    lambda rng, n: np.full(n, 3.7),
    lambda rng, n: np.arange(n),
    lambda rng, n: rng.integers(0, 2, n),
    lambda rng, n: rng.standard_cauchy(n),
    lambda rng, n: 1.7e12 + rng.integers(0, 3000, n),
    lambda rng, n: rng.choice([3.4e38, -3.4e38, -0.0, 5e-324], n),
    lambda rng, n: np.exp(rng.normal(size=n)*20)]
AMBIGUOUS = ['', '-1', 'two\nlines']  # names that a reader may take for something else
NAMES = [
    'x', 'x', '$', '"quoted"', 'a,b', 'a;b', 'größe', '重さ', 'وزن', '\\frac', '%d', '{0}',
    'long'*500, 'a\u2028b', '\x1b[31m', 'n\0l', *AMBIGUOUS]
BAD_CELLS = ['', 'NA', 'inf', '1e999', '1,5', '0x1f', '1_000', '١', 'two\nlines', '"', '\0']
DTYPES = ['float16', 'float32', '>f8', '<i8', 'uint8', 'bool', 'longdouble', 'complex64', 'object',
          'U9', 'M8[s]']
SHAPES = [  # of an array of rows: half of them as they are
    lambda rows: rows,
    lambda rows: rows,
    lambda rows: rows,
    lambda rows: rows,
    np.asfortranarray,
    lambda rows: rows[::-1],
    lambda rows: rows[:, 0],
    lambda rows: rows[:0],
    lambda rows: rows[:, :0],
    lambda rows: np.resize(rows, [12, 8, 8]),
    lambda rows: np.resize(rows, [12, 3, 8, 8])]
KINDS = ['.csv', '.csv', '.tsv', '.csv.gz', '.npy', '.npz', 'array']
FLAGS = [{}, {}, {}, {}, dict(normalize='standard'), dict(normalize=False),
         dict(pictures='article')]


# ------------------------------------------------------------------------------------- making cases

class Case(NamedTuple):
    """Something for --data, flags, and the rows that must be read from it, None if not known."""
    source: Any
    flags: dict
    expected: Any

    def __str__(self):
        shape = getattr(self.source, 'shape', None)
        return f'{shape or Path(self.source).suffix} {self.flags}'


def pick(rng, choices):
    """One of a list, whatever it holds."""
    return choices[rng.integers(len(choices))]


def make_rows(rng):
    n = rng.choice([1, 2, 3, 9, 39, 40, 300, 1500])
    dim = rng.choice([1, 2, 3, 5, 30], p=[0.2, 0.3, 0.3, 0.15, 0.05])
    columns = [pick(rng, COLUMNS)(rng, n) for _ in range(dim)]
    return np.stack(columns, axis=1).astype(float)


def make_names(rng, dim):
    """Names of columns, and whether they leave no doubt about how the table is to be read."""
    names = [pick(rng, NAMES) for _ in range(dim)]
    clear = not set(names) & set(AMBIGUOUS)
    if dim == 1 and {',', ';'} & set(names[0]):  # then it looks like two columns
        clear = False
    return names, clear


def spoil_a_cell(rng, cells):
    """Puts something odd into a row, which may become longer, too."""
    row = pick(rng, cells)
    row[0] = pick(rng, BAD_CELLS)
    if rng.random() < 0.5:
        row.append('9')


def table_bytes(rng, rows):
    """Rows as a table's bytes, and whether exactly these rows must be read from it again."""
    cells = [[repr(x) for x in row] for row in rows.tolist()]
    whole = True
    if rng.random() < 0.3:
        spoil_a_cell(rng, cells)
        whole = False
    if rng.random() < 0.7:
        names, clear = make_names(rng, rows.shape[1])
        cells.insert(0, names)
        whole = whole and clear
    text = io.StringIO()
    writer = csv.writer(text, delimiter=pick(rng, ',;\t'),
                        lineterminator=pick(rng, ['\n', '\r\n', '\r']),
                        quoting=pick(rng, [csv.QUOTE_MINIMAL, csv.QUOTE_ALL]))
    writer.writerows(cells)
    lines_before = '\n'*pick(rng, [0, 0, 2])
    lines_behind = '\n'*pick(rng, [0, 1, 2])
    encodings = ['utf-8', 'utf-8-sig', 'utf-16', 'latin-1']
    encoding = str(rng.choice(encodings, p=[0.5, 0.4, 0.05, 0.05]))
    content = (lines_before + text.getvalue() + lines_behind).encode(encoding, 'replace')
    return content, whole and encoding.startswith('utf-8')


def make_array(rng, rows):
    """Rows as an array of some type and shape: itself where nothing was changed."""
    array = rows
    if rng.random() < 0.5:
        with np.errstate(all='ignore'), warnings.catch_warnings():
            warnings.simplefilter('ignore')
            array = rows.astype(pick(rng, DTYPES))
    return pick(rng, SHAPES)(array)


def damaged(rng, content):
    """Bytes that something has happened to."""
    where = int(rng.integers(0, len(content))*rng.choice([0.05, 1]))
    start, rest = content[:where], content[where:]
    flipped = rest[0] ^ 1 << int(rng.integers(8))
    return pick(rng, [
        start,                                    # the end is cut off
        start + bytes([flipped]) + rest[1:],      # a bit is flipped
        start + content[where//2:],               # a piece stands twice
        start + b'\0\0' + rest,
        b'# comment\n' + content])


def make_case(rng, folder):
    rows = make_rows(rng)
    flags = pick(rng, FLAGS)
    kind = pick(rng, KINDS)
    path = folder/f'table{kind}'
    if 'sv' in kind:
        content, whole = table_bytes(rng, rows)
        path.write_bytes(gzip.compress(content) if kind.endswith('gz') else content)
    else:
        array = make_array(rng, rows)
        whole = array is rows
        if kind == 'array':
            return Case(array, flags, rows if whole else None)
        save = np.savez if kind == '.npz' else np.save
        save(path, array)
    if rng.random() < 0.3:
        path.write_bytes(damaged(rng, path.read_bytes()))
        whole = False
    return Case(str(path), flags, rows if whole else None)


# ----------------------------------------------------------------------------------- judging a case

def judge(case, run):
    """Trains. Returns 'result' or 'refused'; AssertionError and all else are defects."""
    flags = dict(pictures='none') | case.flags
    try:
        results = program.train(data=case.source, output=str(run), iterations=3, snapshot_every=2,
                                batch_size=8, hidden=[4], step_by_step=True, **flags)
    except program.UsageError as error:
        judge_line(str(error))
        judge_refusal(case, run, str(error))
        return 'refused'
    except program.Failure as error:
        judge_line(str(error))
        return 'refused'
    judge_results(case, results)
    judge_files(run, results)
    if 'pictures' in case.flags:
        assert (run/'training_data.png').exists(), 'pictures are missing'
    return 'result'


def judge_line(line):
    assert line.isprintable(), f'not for one line: {line!r}'
    assert len(line) < 1000, f'too long for one line: {line!r}'


def judge_refusal(case, run, line):
    assert not run.exists(), f'it left a folder: {line}'
    assert case.expected is None or len(case.expected) < 2, f'the rows are good: {line}'


def judge_results(case, results):
    rows, _, _ = program.find_rows(case.source)
    samples = results['samples']
    if case.expected is not None:
        same = np.allclose(rows, case.expected, 0, 1e-290)
        assert same, 'not the rows that were written'
    assert samples.shape == (program.FINAL_ROWS, rows.shape[1])
    assert np.isfinite(samples).all(), 'samples are not finite'
    if results['settings']['normalize'] == 'quantile':
        assert (samples >= rows.min(axis=0)).all(), 'samples below the data'
        assert (samples <= rows.max(axis=0)).all(), 'samples above the data'
    measures = [value for value in results['final'].values() if value is not None]
    judge_measures(measures)


def judge_measures(values):
    assert np.isfinite(values).all(), 'a measure is not finite'
    assert np.abs(values).max(initial=0) < 1e100, 'a measure is beyond all bounds'


def judge_files(run, results):
    _, *lines = (run/'metrics.csv').read_text().splitlines()
    judge_measures([float(cell) for line in lines for cell in line.split(',') if cell])
    with open(run/'generated_samples.csv', newline='', encoding='utf-8') as file:
        _, *cells = csv.reader(file)
    written = np.array(cells, float)  # raises where the CSV is ragged
    image = bool(program.read_file(run/'snapshots/data.npz')['image'].size)
    np.testing.assert_allclose(written, results['samples'], rtol=1e-3 if image else 1e-8,
                               atol=1e-300)


@contextlib.contextmanager
def captured_stderr():
    """Gives the file that stderr goes to: of Python, TensorFlow's C++ and the drawing process."""
    terminal = os.dup(2)
    with tempfile.TemporaryFile() as file:
        os.dup2(file.fileno(), 2)
        try:
            yield file
        finally:
            os.dup2(terminal, 2)
            os.close(terminal)


def try_case(seed):
    """The case of a seed in words, its outcome, and what is wrong, '' for nothing."""
    rng = np.random.default_rng(seed)
    outcome = defect = ''
    with tempfile.TemporaryDirectory() as folder, captured_stderr() as stderr:
        case = make_case(rng, Path(folder))
        try:
            with warnings.catch_warnings(), contextlib.redirect_stdout(None):
                warnings.simplefilter('error' if rng.random() < 0.5 else 'always')
                outcome = judge(case, Path(folder)/'out')
        except Exception as error:
            message = ' '.join(str(error).split())[:300]
            defect = f'{type(error).__name__}: {message}'
        stderr.seek(0)
        said = stderr.read().decode(errors='replace')[:300]
    return str(case), outcome, defect or said


def main():
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--times', type=int, default=400, help='tables (default: 400)')
    parser.add_argument('--seed', type=int, default=0, help='of the first table (default: 0)')
    arguments = parser.parse_args()
    print_command()
    _ = program.tf.keras  # its own warnings at import are not the program's
    counts = dict(result=0, refused=0, defect=0)
    for seed in range(arguments.seed, arguments.seed + arguments.times):
        case, outcome, defect = try_case(seed)
        counts['defect' if defect else outcome] += 1
        if defect:
            print(f'seed {seed}, {case}: {defect}\n', flush=True)
    print_table(counts, [counts.values()])
    return 1 if counts['defect'] else 0


if __name__ == '__main__':
    sys.exit(main())
