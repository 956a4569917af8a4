"""Throws damaged and odd tables at `train()`, and counts what is neither a result nor the program's own one line.

    python tests/odd_tables.py --times 400 --seed 0

Each table is made from one seed, which is printed beside what went wrong: `--seed SEED --times 1` makes it again. Half
of the tables are read with warnings as errors, half with warnings shown; anything on stderr counts as a defect.
"""
import argparse
import contextlib
import csv
import gzip
import io
import json
import os
import sys
import tempfile
import warnings
from collections import Counter
from pathlib import Path

import numpy as np

from helpers import gan_quadratic as program, print_command, print_table

COLUMNS = [  # (rng, n) -> [n]
    lambda rng, n: rng.normal(size=n), lambda rng, n: rng.normal(size=n)*1e30, lambda rng, n: rng.normal(size=n)*1e-6,
    lambda rng, n: rng.normal(size=n)*1e-310, lambda rng, n: np.full(n, 3.7), lambda rng, n: np.zeros(n),
    lambda rng, n: np.arange(n), lambda rng, n: rng.integers(-9, 9, n), lambda rng, n: 2.**53 - rng.integers(0, 99, n),
    lambda rng, n: rng.integers(0, 2, n), lambda rng, n: rng.standard_cauchy(n)*10.**rng.integers(-9, 9),
    lambda rng, n: 1.7e12 + rng.integers(0, 3000, n), lambda rng, n: rng.choice([-0.0, 5e-324, 1e38], n),
    lambda rng, n: rng.choice([3.4e38, -3.4e38], n), lambda rng, n: np.exp(rng.normal(size=n)*20)]
NAMES = ['x', 'x', 'y', '', ' ', '$', 'US$ or CA$', 'two\nlines', '"quoted"', 'a,b', 'a;b', 'größe', '重さ', 'وزن', '🙂',
         '\\frac', 'x^2_{', '%d', '{0}', 'nan', 'long'*500, 'a\u2028b', '\x1b[31m', 'n\0l', '-1', '1e5x']
NO_NAMES = {'', ' ', 'nan', '-1'}  # of these: what a reader takes for cells
RECORD = [('a', '<f8'), ('b', '<i4')]
DTYPES = ['float16', 'float32', '>f8', '<i8', '>i2', 'uint8', 'uint64', 'bool', 'longdouble', 'complex64', 'object',
          'U9', 'S5', 'M8[s]', 'V8', RECORD]


def make_rows(rng):
    """Rows [n, dim], any kind of column beside any other, some rows twice."""
    n = rng.choice([1, 2, 3, 9, 39, 40, 60, 300, 1500], p=[0.03, 0.07, *[0.9/7]*7])
    dim = rng.choice([1, 2, 3, 5, 30], p=[0.2, 0.3, 0.3, 0.15, 0.05])
    rows = np.stack([COLUMNS[k](rng, n) for k in rng.integers(0, len(COLUMNS), dim)], axis=1).astype(float)
    return rows[rng.integers(0, n, n)] if rng.random() < 0.2 else rows


def table_text(rng, rows):
    """Rows as the bytes of a table, and whether it says all that is needed to read exactly these rows again."""
    cells = [[repr(x) for x in row] for row in rows.tolist()]
    good, quoting = True, int(rng.choice([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]))
    if rng.random() < 0.2 and len(cells) > 3:
        good = False
        cell = rng.choice(['', 'NA', 'text', 'inf', '1e999', '1,5', '0x1f', '1_000', '١', 'two\nlines', '"', '\0'])
        cells[rng.integers(len(cells))][0] = str(cell)
    if rng.random() < 0.15:
        good = False
        cells[rng.integers(len(cells))] += ['9']*int(rng.integers(1, 3))
    names = [NAMES[k] for k in rng.integers(0, len(NAMES), len(rows[0]))] if rng.random() < 0.7 else []
    good &= len(rows[0]) > 1 or not {',', ';'} & set(''.join(names))
    good &= not any(name in NO_NAMES or '\n' in name for name in names)
    out = io.StringIO()
    writer = csv.writer(out, delimiter=str(rng.choice([*',;\t'])), quoting=quoting,
                        lineterminator=str(rng.choice(['\n', '\r\n', '\r'])))
    writer.writerows(([names] if names else []) + cells)
    text = '\n'*int(rng.choice([0, 2, 30], p=[0.8, 0.1, 0.1])) + out.getvalue() + '\n'*int(rng.integers(0, 3))
    encoding = str(rng.choice(['utf-8', 'utf-8-sig', 'utf-16', 'latin-1'], p=[0.5, 0.4, 0.05, 0.05]))
    return text.encode(encoding, 'replace'), good and encoding.startswith('utf-8')


def array_of(rng, rows):
    """Rows as an array of an odd type, order or shape."""
    dtype = DTYPES[rng.integers(len(DTYPES))] if rng.random() < 0.5 else float
    rows = rows.view('V8') if dtype == 'V8' else np.zeros(len(rows), dtype) if dtype == RECORD else (
        rows.astype(dtype, copy=False))
    shape = rng.integers(0, 12)
    if shape < 6 or rows.dtype.names:
        return np.asfortranarray(rows) if shape < 2 else rows[::-1] if shape == 2 else rows
    return (rows[0, 0], rows[:, 0], rows[:0], rows[:, :0], np.resize(rows, [12, 8, 8]),
            np.resize(rows, [12, 1, 1, 2, 2] if rng.random() < 0.5 else [12, 3, 8, 8]))[shape - 6]


def damaged(rng, content):
    """Bytes with an end cut off, bits flipped, a piece twice, zeros put in or something put in front."""
    kind, where = rng.integers(5), int(rng.integers(0, len(content) + 1)*rng.choice([0.05, 1]))
    if kind == 1:
        content = bytearray(content)
        for k in rng.integers(0, max(1, min(len(content), 400)), rng.integers(1, 9)) if content else []:
            content[k] ^= 1 << rng.integers(8)
        return bytes(content)
    return (content[:where], None, content[:where] + content[where//2:], content[:where] + b'\0\0' + content[where:],
            b'# comment\n' + content)[kind]


def make_case(rng, folder):
    """Something for --data, flags, and the rows that must be read from it where they are known."""
    rows, kind = make_rows(rng), rng.choice(['.csv', '.tsv', '.csv.gz', '.npy', '.npz', 'array'],
                                            p=[0.35, 0.1, 0.1, 0.15, 0.1, 0.2])
    flags = [dict(), dict(), dict(), dict(normalize='standard'), dict(normalize=False), dict(penalty=3.),
             dict(pictures='article') if rng.random() < 0.3 else dict()][rng.integers(7)]
    path = folder/f'table{kind}'
    if 'sv' in kind:
        content, good = table_text(rng, rows)
        path.write_bytes(gzip.compress(content) if kind.endswith('gz') else content)
    else:
        with np.errstate(all='ignore'), warnings.catch_warnings():
            warnings.simplefilter('ignore')
            source = array_of(rng, rows)
        good = source is rows
        if kind == 'array' and isinstance(source, np.ndarray):
            return source, flags, rows if good else None
        if kind == '.npz':
            several = rng.random() < 0.1
            good &= not several
            np.savez(path, **{f'a{k}': source for k in range(1 + several)})
        else:
            path = folder/'table.npy'
            np.save(path, source)
    if rng.random() < 0.3:
        path.write_bytes(damaged(rng, path.read_bytes()))
        good = False
    return str(path), flags, rows if good else None


def judge(source, flags, expected, folder):
    """Trains. Returns 'result' or 'refused'; AssertionError and all else are defects."""
    flags = dict(dict(iterations=3, snapshot_every=2, batch_size=8, hidden=[4], step_by_step=True, pictures='none'),
                 **flags)
    run = folder/'out'
    try:
        results = program.train(data=source, output=str(run), **flags)
    except (program.UsageError, program.Failure) as error:
        line = str(error)
        assert line.isprintable() and len(line) < 1000, f'unfit for one line: {line!r}'
        assert isinstance(error, program.Failure) or not run.exists(), 'a refused file left a folder'
        assert expected is None or len(expected) < 2 or isinstance(error, program.Failure), f'good rows refused: {line}'
        return 'refused'
    rows, samples = program.find_rows(source)[0], results['samples']
    assert expected is None or np.allclose(rows, expected, 0, 1e-290), 'not the rows that were written'
    assert samples.shape == (10_000, rows.shape[1]) and np.isfinite(samples).all(), 'samples are not finite'
    if results['settings']['normalize'] == 'quantile':
        assert (samples >= rows.min(axis=0)).all() and (samples <= rows.max(axis=0)).all(), 'beyond the data'
    cells = ','.join((run/'metrics.csv').read_text().split('\n')[1:]).split(',')
    measures = [float(x) for x in [*cells, *results['final'].values()] if x not in ('', None)]
    assert np.isfinite(measures).all() and max(map(abs, measures)) < 1e100, 'a measure is not finite'
    json.loads((run/'summary.json').read_text(), parse_constant=lambda name: 1/0)
    with open(run/'generated_samples.csv', newline='', encoding='utf-8') as file:
        written = np.array(list(csv.reader(file))[1:], float)  # raises where the CSV is ragged
    np.testing.assert_allclose(written, samples, rtol=1e-3 if rows.dtype != float else 1e-8, atol=1e-300)
    assert flags['pictures'] == 'none' or (run/'training_data.png').exists(), 'pictures are missing'
    return 'result'


def trial(case, strict, folder, stderr):
    """Trains on a case, warnings as errors where `strict`. Returns 'result', 'refused' or 'defect', and the defect."""
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(None):
            warnings.simplefilter('error' if strict else 'always')
            outcome, defect = judge(*case, folder), ''
    except Exception as error:
        outcome, defect = 'defect', f'{type(error).__name__}: {" ".join(str(error).split())[:300]}'
    stderr.seek(0)
    printed = stderr.read()
    stderr.seek(0)
    stderr.truncate()
    return ('defect', defect or f'on stderr: {printed[:300]!r}') if defect or printed else (outcome, '')


def main():
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--times', type=int, default=400, help='tables (default: 400)')
    parser.add_argument('--seed', type=int, default=0, help='of the first table (default: 0)')
    arguments = parser.parse_args()
    print_command()
    program.tf.keras  # its own warnings at import are not the program's
    counts, stderr, terminal = Counter(), tempfile.TemporaryFile(buffering=0), os.dup(2)
    os.dup2(stderr.fileno(), 2)  # where TensorFlow's C++ and the drawing process write as well as Python
    try:
        for seed in range(arguments.seed, arguments.seed + arguments.times):
            with tempfile.TemporaryDirectory() as folder:
                rng = np.random.default_rng(seed)
                case = source, flags, _ = make_case(rng, Path(folder))
                outcome, defect = trial(case, rng.random() < 0.5, Path(folder), stderr)
            counts[outcome] += 1
            if defect:
                print(f'seed {seed}, {getattr(source, "shape", None) or Path(source).suffix} {flags}: {defect}\n')
    finally:
        os.dup2(terminal, 2)
    print_table(['results', 'refused in a line', 'defects'], [[counts['result'], counts['refused'], counts['defect']]])
    return int(counts['defect'] > 0)


if __name__ == '__main__':
    sys.exit(main())
