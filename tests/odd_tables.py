"""Throws damaged and odd tables at `train()`, and counts what is neither a result nor the program's own one line.

    python tests/odd_tables.py --times 400 --seed 0

Each is made from one seed, printed beside what went wrong: `--seed SEED --times 1` makes it again. Half are read with
warnings as errors; anything on stderr counts as a defect.
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

import numpy as np

from helpers import gan_quadratic as program, print_command, print_table

COLUMNS = [  # (rng, n) -> [n]
    lambda rng, n: rng.normal(size=n), lambda rng, n: rng.normal(size=n)*1e30, lambda rng, n: rng.normal(size=n)*1e-310,
    lambda rng, n: np.full(n, 3.7), lambda rng, n: np.arange(n), lambda rng, n: rng.integers(0, 2, n),
    lambda rng, n: rng.standard_cauchy(n), lambda rng, n: 1.7e12 + rng.integers(0, 3000, n),
    lambda rng, n: rng.choice([3.4e38, -3.4e38, -0.0, 5e-324], n), lambda rng, n: np.exp(rng.normal(size=n)*20)]
NAMES = ['x', 'x', '$', '"quoted"', 'a,b', 'a;b', 'größe', '重さ', 'وزن', '\\frac', '%d', '{0}', 'long'*500, 'a\u2028b',
         '\x1b[31m', 'n\0l', '', '-1', 'two\nlines']  # the last three: a reader may take them for something else
DTYPES = ['float16', 'float32', '>f8', '<i8', 'uint8', 'bool', 'longdouble', 'complex64', 'object', 'U9', 'M8[s]']


def table_text(rng, rows):
    """Rows as the bytes of a table, and whether it says all that is needed to read exactly these rows again."""
    cells, whole = [[repr(x) for x in row] for row in rows.tolist()], rng.random() < 0.7
    if not whole:
        row = cells[rng.integers(len(cells))]
        row[0] = str(rng.choice(['', 'NA', 'inf', '1e999', '1,5', '0x1f', '1_000', '١', 'two\nlines', '"', '\0']))
        row += ['9']*int(rng.integers(2))
    names = [NAMES[k] for k in rng.integers(0, len(NAMES), len(rows[0]))] if rng.random() < 0.7 else []
    whole &= not {*names} & {*NAMES[-3:]} and (len(rows[0]) > 1 or not {',', ';'} & set(''.join(names)))
    out = io.StringIO()
    writer = csv.writer(out, delimiter=str(rng.choice([*',;\t'])), lineterminator=str(rng.choice(['\n', '\r\n', '\r'])),
                        quoting=int(rng.choice([csv.QUOTE_MINIMAL, csv.QUOTE_ALL])))
    writer.writerows(([names] if names else []) + cells)
    encoding = str(rng.choice(['utf-8', 'utf-8-sig', 'utf-16', 'latin-1'], p=[0.5, 0.4, 0.05, 0.05]))
    text = '\n'*int(rng.choice([0, 0, 2])) + out.getvalue() + '\n'*int(rng.integers(0, 3))
    return text.encode(encoding, 'replace'), whole and encoding.startswith('utf-8')


def damaged(rng, content):
    """Bytes with the end cut off, a bit flipped, a piece twice, zeros put in or something put in front."""
    where = int(rng.integers(0, len(content))*rng.choice([0.05, 1]))
    start, rest = content[:where], content[where:]
    return (start, start + bytes([rest[0] ^ 1 << rng.integers(8)]) + rest[1:], start + content[where//2:],
            start + b'\0\0' + rest, b'# comment\n' + content)[rng.integers(5)]


def make_case(rng, folder):
    """Something for --data, flags, and the rows that must be read from it where they are known."""
    n, dim = rng.choice([1, 2, 3, 9, 39, 40, 300, 1500]), rng.choice([1, 2, 3, 5, 30], p=[0.2, 0.3, 0.3, 0.15, 0.05])
    rows = np.stack([COLUMNS[k](rng, n) for k in rng.integers(0, len(COLUMNS), dim)], axis=1).astype(float)
    flags = rng.choice([{}, {}, {}, {}, dict(normalize='standard'), dict(normalize=False), dict(pictures='article')])
    kind = str(rng.choice(['.csv', '.csv', '.tsv', '.csv.gz', '.npy', '.npz', 'array']))
    path = folder/f'table{kind}'
    if 'sv' in kind:
        content, whole = table_text(rng, rows)
        path.write_bytes(gzip.compress(content) if kind.endswith('gz') else content)
    else:
        with np.errstate(all='ignore'), warnings.catch_warnings():
            warnings.simplefilter('ignore')
            odd = rows.astype(DTYPES[rng.integers(len(DTYPES))] if rng.random() < 0.5 else float, copy=False)
        array = [odd, odd, odd, odd, np.asfortranarray(odd), odd[::-1], odd[:, 0], odd[:0], odd[:, :0],
                 np.resize(odd, [12, 8, 8]), np.resize(odd, [12, 3, 8, 8])][rng.integers(11)]
        whole = array is rows
        if kind == 'array':
            return array, flags, rows if whole else None
        (np.savez if kind == '.npz' else np.save)(path, array)
    if rng.random() < 0.3:
        path.write_bytes(damaged(rng, path.read_bytes()))
        whole = False
    return str(path), flags, rows if whole else None


def judge(source, flags, expected, run):
    """Trains. Returns 'result' or 'refused'; AssertionError and all else are defects."""
    try:
        results = program.train(data=source, output=str(run), iterations=3, snapshot_every=2, batch_size=8, hidden=[4],
                                step_by_step=True, **dict(pictures='none') | flags)
    except (program.UsageError, program.Failure) as error:
        line, failed = str(error), isinstance(error, program.Failure)
        assert line.isprintable() and len(line) < 1000, f'unfit for one line: {line!r}'
        assert failed or not run.exists() and (expected is None or len(expected) < 2), f'good rows, or a folder: {line}'
        return 'refused'
    rows, samples = program.find_rows(source)[0], results['samples']
    assert expected is None or np.allclose(rows, expected, 0, 1e-290), 'not the rows that were written'
    assert samples.shape == (10_000, rows.shape[1]) and np.isfinite(samples).all(), 'samples are not finite'
    if results['settings']['normalize'] == 'quantile':
        assert (samples >= rows.min(axis=0)).all() and (samples <= rows.max(axis=0)).all(), 'beyond the data'
    cells = ','.join((run/'metrics.csv').read_text().split('\n')[1:]).split(',')
    measures = [float(x) for x in [*cells, *results['final'].values()] if x not in ('', None)]
    assert np.isfinite(measures).all() and max(map(abs, measures)) < 1e100, 'a measure is not finite'
    with open(run/'generated_samples.csv', newline='', encoding='utf-8') as file:
        written = np.array(list(csv.reader(file))[1:], float)  # raises where the CSV is ragged
    np.testing.assert_allclose(written, samples, rtol=1e-3 if rows.dtype != float else 1e-8, atol=1e-300)
    assert 'pictures' not in flags or (run/'training_data.png').exists(), 'pictures are missing'
    return 'result'


def main():
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--times', type=int, default=400, help='tables (default: 400)')
    parser.add_argument('--seed', type=int, default=0, help='of the first table (default: 0)')
    arguments = parser.parse_args()
    print_command()
    program.tf.keras  # its own warnings at import are not the program's
    counts, terminal = {'result': 0, 'refused': 0, 'defect': 0}, os.dup(2)
    for seed in range(arguments.seed, arguments.seed + arguments.times):
        with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile() as stderr:
            os.dup2(stderr.fileno(), 2)  # where TensorFlow's C++ and the drawing process write as well as Python
            rng, defect = np.random.default_rng(seed), ''
            source, flags, expected = make_case(rng, Path(folder))
            try:
                with warnings.catch_warnings(), contextlib.redirect_stdout(None):
                    warnings.simplefilter('error' if rng.random() < 0.5 else 'always')
                    outcome = judge(source, flags, expected, Path(folder)/'out')
            except Exception as error:
                defect = f'{type(error).__name__}: {" ".join(str(error).split())[:300]}'
            os.dup2(terminal, 2)
            stderr.seek(0)
            defect = defect or stderr.read().decode(errors='replace')[:300]
        counts['defect' if defect else outcome] += 1
        if defect:
            print(f'seed {seed}, {getattr(source, "shape", None) or Path(source).suffix} {flags}: {defect}\n')
    print_table(counts, [counts.values()])
    return int(counts['defect'] > 0)


if __name__ == '__main__':
    sys.exit(main())
