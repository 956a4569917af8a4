"""Going on with a run and sampling its generator: what comes out, what is refused, and what happens
where files are changed, damaged, missing or of another run."""
import json
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest

import gan_quadratic as program
from helpers import compare, decode_everything, files
from runs import (
    QUIET,
    STEPS,
    TINY,
    assert_same_numbers,
    changes,
    command,
    few_samples,
    interrupt,
    one_line,
    trained,
)

LONGER = '--resume', '--iterations', '62'


def change(folder, pattern, edit):
    """Gives a file the content that `edit` makes of its own; None: removes it."""
    path, = folder.glob(pattern)
    if edit:
        path.write_bytes(edit(path.read_bytes()))
    elif path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()


def cut(share):
    """Keeps this share of a file."""
    return lambda content: content[:int(share*len(content))]


def replace(old, new):
    return lambda content: content.replace(old, new)


def edit_settings(folder, **changed):
    """Records other settings in a run's folder; None: leaves one out."""
    path = folder/'settings.json'
    settings = {**json.loads(path.read_text()), **changed}
    kept = {name: value for name, value in settings.items() if value != 'left out'}
    path.write_text(json.dumps(kept))


def assert_refused(folder, words, status, capsys, *pieces):
    """The command says so in a line and changes nothing in the folder."""
    before = files(folder)
    capsys.readouterr()  # what making the folder said
    assert command(*words, '--output', folder) == status
    one_line(capsys, *pieces)
    assert changes(folder, before) == []


# --------------------------------------------------------------------------------------- going on

def test_an_interrupted_run_resumes_where_it_was_moved_to(half, drawn, tmp_path, capsys):
    """As if it had never been interrupted; also where a kill left files half written."""
    moved = half.rename(tmp_path/'moved')
    (moved/'iterations').mkdir()
    (moved/'saved_model.tmp').mkdir()
    for name in ('saved_model.tmp/mark', 'iterations/iteration_000040.png.tmp',
                 'summary.json.tmp', 'checkpoint.npz.tmp'):
        (moved/name).write_text('left by a kill')
    assert command('--resume', '--pictures', 'article', '--output', moved) == 0
    assert 'Going on from iteration 2' in capsys.readouterr().out
    assert decode_everything(moved) == []
    assert compare(moved, drawn) == []


def test_a_finished_run_is_not_run_again(done, capsys):
    before = files(done)
    assert command('--resume', '--output', done) == 0
    assert 'is finished: 41 iterations' in capsys.readouterr().out
    assert changes(done, before) == []


@pytest.fixture(scope='module')
def longer(tmp_path_factory):
    """The folder of a run of 62 iterations in one go."""
    folder = tmp_path_factory.mktemp('longer')
    assert command(*STEPS, *QUIET, '--iterations', 62, '--output', folder) == 0
    return folder


@pytest.fixture
def growing(done, monkeypatch):
    """The folder of a finished run that was to be longer, and was interrupted at once."""
    with monkeypatch.context() as patch:
        patch.setattr(program.Run, 'train', lambda *arguments: interrupt())
        assert command(*LONGER, '--output', done) == 130
    return done


def test_a_finished_run_grows(done, longer, capsys):
    """As if it had been longer from the start."""
    assert command(*LONGER, '--output', done) == 0
    assert '\nGoing on from iteration 41' in capsys.readouterr().out
    assert_same_numbers(done, longer)


def test_a_run_that_was_interrupted_as_it_grew(growing, longer, capsys):
    """It is no longer finished."""
    assert command('--resume', '--output', growing) == 0
    assert 'is finished' not in capsys.readouterr().out
    assert_same_numbers(growing, longer)


def test_it_can_still_be_sampled(growing):
    assert command('--sample', 5, '--output', growing) == 0


@pytest.fixture(scope='module')
def own_run(tmp_path_factory):
    """A folder of rows.npy, the user's, and of a run on them. Not to be written to."""
    folder = tmp_path_factory.mktemp('own')
    np.save(folder/'rows.npy', np.random.default_rng(0).normal(size=[50, 2]))
    with few_samples():
        program.train(data=str(folder/'rows.npy'), output=folder/'run', **TINY)
    return folder


@pytest.fixture
def own(own_run, tmp_path):
    """The run's folder in a copy of own_run."""
    folder = shutil.copytree(own_run, tmp_path/'own')
    edit_settings(folder/'run', data=str(folder/'rows.npy'))
    return folder/'run'


@pytest.mark.parametrize('spoil, reason', [
    (lambda path: np.save(path, np.load(path) + 1), 'is not what the run began with'),
    (lambda path: path.unlink(), 'cannot be read')], ids=['changed', 'gone'])
def test_data_that_are_no_longer_there(spoil, reason, own, capsys):
    spoil(own.with_name('rows.npy'))
    assert_refused(own, ['--resume', '--iterations', 7], 2, capsys, reason)
    assert command('--sample', 3, '--output', own) == 0  # needs no data


def test_data_that_moved(own):
    moved = own.with_name('rows.npy').rename(own.with_name('moved.npy'))
    assert command('--resume', '--iterations', 7, '--data', moved, '--output', own) == 0


REFUSED = {
    '--data none.csv --overwrite': "argument --data: 'none.csv' cannot be read",
    '--resume --hidden 8': 'argument --hidden: 8 contradicts 4',
    '--resume --normalize': 'argument --normalize: standard contradicts None',
    '--resume --data ring': 'argument --data: ring contradicts quadratic',
    '--sample 25 --iterations 500': 'argument --iterations: 500 contradicts 41'}


@pytest.mark.parametrize('words', REFUSED)
@pytest.mark.parametrize('run', ['half', 'done'])
def test_what_contradicts_the_run_is_refused(run, words, request, capsys):
    folder = request.getfixturevalue(run)
    assert_refused(folder, words.split(), 2, capsys, REFUSED[words])


# --------------------------------------------------------------------------------- stopping early

def test_a_run_is_finished_as_it_is(half, tmp_path):
    """As if it had been so short from the start."""
    n = trained(half)
    assert n < 41
    assert command(*STEPS, *QUIET, '--iterations', n, '--output', tmp_path/'short') == 0
    assert command('--resume', '--iterations', n, '--output', half) == 0
    assert_same_numbers(half, tmp_path/'short')


def test_fewer_iterations_than_are_trained(half, capsys):
    n = trained(half)
    words = '--resume', '--iterations', n - 1
    assert_refused(half, words, 2, capsys, f'argument --iterations: {n - 1} ', f'the {n} that')


@pytest.mark.parametrize('name', ['half', "it's mine", '-x'])
def test_the_message_after_an_interrupt_names_both_ways(
        name, half, tmp_path, monkeypatch, capsys):
    """And can be pasted."""
    if name != 'half':
        half.rename(tmp_path/name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(program, 'run_command', lambda given: interrupt())
    assert command('--resume', f'--output={name}') == 130
    line = one_line(capsys)
    python, script, *words = shlex.split(line.split('go on with: ')[1].split(';')[0])
    assert (python, script) == ('python', 'gan_quadratic.py')
    given = program.parse(words)
    assert given['resume']
    assert Path(given['output']) == Path(name)
    assert f'--iterations {trained(Path(name))}' in line


def test_an_interrupt_beside_a_damaged_checkpoint(half, monkeypatch, capsys):
    change(half, 'checkpoint.npz', cut(0.5))
    monkeypatch.setattr(program, 'run_command', lambda given: interrupt())
    assert command('--resume', '--output', half) == 130
    one_line(capsys, 'stopped')


def test_an_unfinished_run_has_no_generator(half, capsys):
    """The line says how to come by one."""
    pieces = f'{half} holds no trained generator yet', '--resume', f'--iterations {trained(half)}'
    assert_refused(half, ['--sample', 25], 1, capsys, *pieces)


# ---------------------------------------------------------------------------------------- samples

@pytest.mark.parametrize('n', [25, 2345])
def test_the_first_samples_are_the_same_for_every_number(n, done):
    lines_before = (done/'generated_samples.csv').read_text().splitlines()
    assert command('--sample', n, '--output', done) == 0
    lines = (done/'generated_samples.csv').read_text().splitlines()
    assert len(lines) == n + 1
    same = min(len(lines), len(lines_before))
    assert lines[:same] == lines_before[:same]


def test_sampling_changes_nothing_else(done):
    before = files(done)
    assert command('--sample', 25, '--output', done) == 0
    assert changes(done, before) == ['generated_samples.csv']


MODEL = {
    'cut data': ('snapshots/data.npz', cut(0.5), 'snapshots/data.npz'),
    'no data': ('snapshots/data.npz', None, 'snapshots/data.npz'),
    'no snapshots': ('snapshots', None, 'snapshots/data.npz'),
    'cut graph': ('saved_model/saved_model.pb', cut(0.5), 'saved_model'),
    'no graph': ('saved_model/saved_model.pb', None, 'saved_model'),
    'no model': ('saved_model', None, 'saved_model'),
    'cut weights': ('saved_model/*/*data*', cut(0.5), 'saved_model'),
    'cut index': ('saved_model/*/*index', cut(0.5), 'saved_model'),
    'cut summary': ('summary.json', cut(0.5), 'summary.json')}


@pytest.mark.parametrize('case', MODEL)
def test_a_damaged_model_makes_no_samples(case, done, capsys):
    """The line names the file."""
    pattern, edit, name = MODEL[case]
    change(done, pattern, edit)
    assert_refused(done, ['--sample', 25], 1, capsys, done/name)


# ------------------------------------------------------------------------------- other versions

def test_a_setting_that_an_earlier_version_lacks_has_its_default(done):
    edit_settings(done, average='left out', penalty='left out')
    assert command('--sample', 5, '--output', done) == 0
    assert command('--resume', '--output', done) == 0


@pytest.mark.parametrize('words', [LONGER, ['--sample', 5]], ids=['resume', 'sample'])
def test_a_setting_that_is_unknown_is_of_another_version(words, done, capsys):
    edit_settings(done, depth=3)
    assert_refused(done, words, 1, capsys, done/'settings.json', 'of another version')


def test_a_checkpoint_of_another_format_is_of_another_version(done, monkeypatch, capsys):
    monkeypatch.setattr(program, 'FORMAT', 99)
    assert_refused(done, LONGER, 1, capsys, done/'checkpoint.npz', 'of another version')


@pytest.mark.parametrize('words', [LONGER, ['--sample', 5]], ids=['resume', 'sample'])
def test_settings_without_a_fingerprint(words, done, capsys):
    """Which is no flag, and has no default."""
    edit_settings(done, fingerprint='left out')
    assert_refused(done, words, 1, capsys, done/'settings.json', 'is damaged')


@pytest.mark.parametrize('text', ['null', '[1]'])
def test_settings_that_are_none(text, done, capsys):
    (done/'settings.json').write_text(text)
    assert_refused(done, ['--resume'], 1, capsys, done/'settings.json', 'is damaged')


@pytest.mark.parametrize('name, value', [
    ('iterations', None), ('iterations', '41'), ('iterations', 41.5), ('iterations', True),
    ('hidden', 4), ('hidden', []), ('hidden', [None]), ('seed', -1), ('average', 'much'),
    ('activation', 'relo'), ('step_by_step', 'yes'), ('data', 5), ('data', None),
    ('normalize', 3), ('pictures', None), ('keep', 0)])
def test_a_setting_of_another_type(name, value, done, capsys):
    edit_settings(done, **{name: value})
    assert_refused(done, ['--resume'], 1, capsys, done/'settings.json', 'is damaged')


# ----------------------------------------------------------------------------- damage and mixtures

DAMAGE = {
    'cut checkpoint': ('checkpoint.npz', cut(0.9999)),
    'a wrong bit': ('checkpoint.npz', replace(b'"iteration": 41', b'"iteration": 40')),
    'cut settings': ('settings.json', cut(0.5)),
    'cut metrics': ('metrics.csv', cut(0.5)),
    'renamed column': ('metrics.csv', replace(b'D on Real', b'D on real')),
    'byte order mark': ('metrics.csv', lambda content: b'\xef\xbb\xbf' + content),
    'other log': ('loss_logs.csv', replace(b'Iteration', b'Step')),
    'no log': ('loss_logs.csv', None)}


@pytest.mark.parametrize('case', DAMAGE)
def test_a_damaged_run_does_not_go_on(case, done, capsys):
    """Nor does it start from nothing or change what is there, which may be all there is: not even a
    row that the checkpoint knows nothing of."""
    name, edit = DAMAGE[case]
    change(done, 'metrics.csv', lambda content: content + content.splitlines(True)[-1])
    change(done, name, edit)
    assert_refused(done, LONGER, 1, capsys, done/name)


def test_weights_that_are_not_finite(done, capsys):
    arrays = program.read_file(done/'checkpoint.npz')
    arrays['GAN/Generator/dense/kernel'][0, 0] = np.nan
    program.write_file(done/'checkpoint.npz', **arrays)
    assert_refused(done, LONGER, 1, capsys, done/'checkpoint.npz')


@pytest.mark.parametrize('settings', [dict(hidden=[5]), dict(seed=1)],
                         ids=['other networks', 'other seed'])
def test_a_checkpoint_of_another_run(settings, done, capsys):
    """Of networks of the same shape, too."""
    edit_settings(done, **settings)
    assert_refused(done, LONGER, 1, capsys, done/'checkpoint.npz', 'of another run')


def test_data_of_another_run(done, capsys):
    edit_settings(done, seed=1)
    assert_refused(done, ['--sample', 5], 1, capsys, done/'snapshots/data.npz', 'of another run')


@pytest.mark.parametrize('words', [['--resume'], ['--sample', 5]], ids=['resume', 'sample'])
@pytest.mark.parametrize('text', ['{"mine": 1}', '[]', 'null', '{"settings": 3}'])
def test_a_summary_of_another_program(text, words, done, capsys):
    (done/'summary.json').write_text(text)
    assert_refused(done, words, 1, capsys, done/'summary.json')


@pytest.mark.parametrize('run, words', [
    ('half', ['--resume']), ('done', ['--resume', '--pictures', 'all'])], ids=['half', 'done'])
def test_a_run_that_lost_its_checkpoint(run, words, request, capsys):
    """It does not start anew over what is left."""
    folder = request.getfixturevalue(run)
    change(folder, 'checkpoint.npz', None)
    assert_refused(folder, words, 1, capsys, folder/'checkpoint.npz')


@pytest.mark.parametrize('names', [
    ['saved_model', 'generated_samples.csv', 'snapshots/data.npz'],
    ['saved_model/variables/variables.index']], ids=['all', 'a part'])
def test_what_can_be_made_again_is(names, done, finished):
    for name in names:
        change(done, name, None)
    assert command('--resume', '--output', done) == 0
    assert compare(done, finished) == []


def test_what_cannot_be_made_again_is_told(done, capsys):
    change(done, 'snapshots', None)
    assert command('--resume', '--output', done) == 0
    said = capsys.readouterr().out
    assert '3 of 3 snapshots are missing' in said
    assert 'cannot be made again' in said
    assert (done/'snapshots/data.npz').exists()
