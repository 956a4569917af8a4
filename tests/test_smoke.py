"""A smoke test: one short run of the command, its pictures, its numbers and its page. Needs pytest alone."""
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
from PIL import Image

SCRIPT = Path(__file__).resolve().parents[1]/'gan_quadratic.py'
LINE = re.compile(r'Iterations: \d+\t Discriminator loss: \d+\.\d{4}\t Generator loss: \d+\.\d{4}')
ONCE = {'training_data.png', 'training_loss.png', 'metrics.png', 'iterations.gif', 'feature_transform.gif',
        'feature_transform_centroid.gif'}
EACH = 'iterations/iteration_%06d', 'features/feature_transform_%06d', 'features/feature_transform_centroid_%06d'


def test_a_short_run_of_the_command(tmp_path):
    """From another folder, into one whose name has spaces and letters beyond ASCII."""
    arguments = '--iterations 301 --snapshot-every 100 --print-every 100 --output'.split()
    done = subprocess.run([sys.executable, SCRIPT, *arguments, 'größe 2 π'], cwd=tmp_path, capture_output=True,
                          stdin=subprocess.DEVNULL, encoding='utf-8')
    assert (done.returncode, done.stderr) == (0, '')
    assert sum(bool(LINE.fullmatch(line)) for line in done.stdout.splitlines()) == 4
    assert not re.search(r'[\r\b]|ETA', done.stdout)  # no progress bar into a pipe
    folder = tmp_path/'größe 2 π'
    names = {str(path.relative_to(folder)) for path in folder.rglob('*') if path.is_file()}
    pictures = ONCE | {f'{name % i}.png' for name in EACH for i in range(0, 301, 100)}
    assert {name for name in names if name.endswith(('png', 'gif'))} == pictures
    for name in pictures:
        with Image.open(folder/name) as image:
            assert np.asarray(image.convert('L')).std() > 5 and min(image.size) > 300, name  # not blank
            assert name != 'iterations.gif' or (image.n_frames, image.info['duration']) == (4, 500)
    page = (folder/'index.html').read_text(encoding='utf-8')
    assert all(name in page for name in ONCE if name.endswith('png')) and not [n for n in names if n.endswith('.tmp')]
    for name, shape in ('loss_logs', (31, 3)), ('metrics', (4, 15)), ('generated_samples', (10_000, 2)):
        rows = np.loadtxt(folder/f'{name}.csv', delimiter=',', skiprows=1)
        assert rows.shape == shape and np.isfinite(rows).all()
    claims = json.loads((folder/'summary.json').read_text())['claims'].values()
    assert sum(claim['claim'] in done.stdout for claim in claims) == 5
