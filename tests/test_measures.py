"""The measures, against hand calculations and on known sets, and the claims on runs that are known to fail them."""
import math
from types import SimpleNamespace

import numpy as np
import pytest

from gan_quadratic import (advice, check_claims, energy_distance_to, get_y, make_data, mean_distance, nearness, parse,
                           sample_data, sample_measures, verdict)

METRICS = ['Iteration', 'Discriminator Loss Mean', 'Discriminator Loss Spread', 'Generator Loss Mean',
           'Generator Loss Spread', 'D on Real', 'D on Generated', 'Energy Distance', 'Curve Residual', 'Coverage',
           'Feature Mixing', 'Centroid Distance Before', 'Centroid Distance After', 'Moved Toward', 'Largest Real Move']
CLAIMS = ['losses_settle', 'samples_follow', 'real_features_stay', 'centroid_moves_toward', 'features_mix']


def test_mean_distance_by_hand():
    a, b = np.array([[0., 0.], [3., 4.]]), np.array([[0., 0.]])
    assert mean_distance(a, b) == 2.5               # (0 + 5)/2
    assert mean_distance(a, a) == 2.5               # (0 + 5 + 5 + 0)/4


def test_mean_distance_in_pieces():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=[700, 3]), rng.normal(size=[600, 3])
    expected = np.linalg.norm(a[:, None] - b, axis=2).mean()
    assert mean_distance(a, b) == pytest.approx(expected, rel=1e-9)


def test_mean_distance_of_many_columns():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=[40, 30]), rng.normal(size=[50, 30])
    assert mean_distance(a, b) == pytest.approx(np.linalg.norm(a[:, None] - b, axis=2).mean(), rel=1e-9)
    assert energy_distance_to(b)(b) == 0


def test_energy_distance_by_hand():
    real = np.array([[-1.], [1.]])                  # standard deviation 1
    generated = np.array([[2.]])
    # 2*(3 + 1)/2 - 0 - (0 + 2 + 2 + 0)/4
    assert energy_distance_to(real)(generated) == pytest.approx(3)
    # each coordinate in units of the real one's standard deviation, so units do not matter
    assert energy_distance_to(1000*real + 7)(1000*generated + 7) == pytest.approx(3)


def test_energy_distance_is_zero_of_equal_sets_and_small_of_equal_distributions():
    rng = np.random.default_rng(0)
    real = sample_data(2000, rng=rng)
    distance = energy_distance_to(real)
    assert distance(real) == 0
    assert distance(real[::-1]) == pytest.approx(0, abs=1e-6)
    assert 0 < distance(sample_data(2000, rng=rng)) < 0.005
    assert distance(real + [10, 0]) > 0.03


def test_energy_distance_of_a_constant_column():
    real = np.array([[0., 5.], [1., 5.]])
    assert energy_distance_to(real)(real) == 0


def test_residual_and_coverage_on_known_sets():
    def of(points, low=-50, high=50, curve=get_y):
        measured = sample_measures(points, SimpleNamespace(curve=curve, low=[low], high=[high]), None)
        assert measured.pop('energy_distance') is None
        return [*measured.values()]
    x = np.linspace(-50, 50, 2001)
    on = np.stack([x, get_y(x)], axis=1)
    assert of(on) == [0, 1] and of(on + [0, -3]) == [pytest.approx(3), 1]
    assert of(on[x < 0]) == [0, 0.5] and of(np.full([100, 2], 49.)) == [10 + 49**2 - 49, 0.05]
    # a quarter of the fair share is 5 of 400 points in one of 20 bins
    bins = np.repeat(np.arange(20), [4, 5] + [20]*17 + [51]) + 0.5
    assert of(np.stack([bins, get_y(bins)], axis=1), 0, 20) == [0, 0.95]
    assert of(on, curve=None) == [None, None]


def rows_of(n, **columns):
    """Rows of metrics.csv of a run in perfect equilibrium, but for these columns."""
    perfect = dict(zip(METRICS, [0, 2*math.log(2), 0, math.log(2), 0, 0.5, 0.5, 0, 0, 1, 0.1, 1, 0.5, 1, 0]))
    falling = np.linspace(1, 0.1, n)
    columns = {'Discriminator Loss Spread': falling, 'Feature Mixing': falling, **columns}
    return [dict(perfect, Iteration=i, **{name: column[i] for name, column in columns.items()}) for i in range(n)]


def holding(rows, final=0., **levels):
    claims = check_claims(rows, dict(energy_distance=final, **levels))
    return {name for name, claim in claims.items() if claim['holds']}


def test_all_claims_hold_of_an_ideal_run():
    assert holding(rows_of(20)) == set(CLAIMS)


@pytest.mark.parametrize('name, column, values', [
    ('losses_settle', 'Discriminator Loss Mean', [2*math.log(2) + 0.06]*20),
    ('losses_settle', 'Generator Loss Mean', [math.log(2) - 0.06]*20),
    ('losses_settle', 'Discriminator Loss Spread', np.linspace(0.1, 1, 20)),
    ('real_features_stay', 'Largest Real Move', [0]*19 + [1e-7]),
    ('centroid_moves_toward', 'Moved Toward', [0, 0, 0] + [1]*17),
    ('features_mix', 'Feature Mixing', [0.1]*20),
])
def test_a_claim_fails_alone(name, column, values):
    assert holding(rows_of(20, **{column: values})) == set(CLAIMS) - {name}


def test_far_samples_fail_and_unjudged_ones_are_undefined():
    assert holding(rows_of(20), final=0.021) == set(CLAIMS) - {'samples_follow'}
    assert check_claims(rows_of(20), dict(energy_distance=None))['samples_follow']['holds'] is None


@pytest.mark.parametrize('final, holds', [(-0.02, True), (0.049, True), (0.051, False), (0.2, False)])
def test_own_data_are_held_against_real_rows_and_shuffled_columns(final, holds):
    """Half of the way from real rows, 0, to shuffled columns, 0.1; where that is nothing, 0.02 beyond real rows."""
    assert ('samples_follow' in holding(rows_of(20), final, floor=0., shuffled=0.1)) == holds
    assert 'samples_follow' in holding(rows_of(20), 0.019, floor=0., shuffled=0.)
    assert 'samples_follow' not in holding(rows_of(20), 0.021, floor=0., shuffled=0.)


def test_the_verdict_says_which_it_is():
    words = [verdict(dict(energy_distance=x, floor=0., shuffled=0.1)) for x in (0.01, 0.05, 0.11)]
    assert ['as good as' in words[0], 'but not as near' in words[1], 'no nearer' in words[2]] == [True]*3
    assert verdict(dict(energy_distance=0.1)) is None


def test_the_unpaired_energy_distance_by_a_double_loop():
    rng = np.random.default_rng(0)
    real, samples, scale = (rng.normal(size=[n, 2])*[1, 5] for n in (7, 9, 50))

    def mean(a, b, same=False):
        far = [math.dist(p/scale.std(axis=0), q/scale.std(axis=0)) for i, p in enumerate(a) for j, q in enumerate(b)
               if not (same and i == j)]
        return sum(far)/len(far)
    expected = 2*mean(samples, real) - mean(samples, samples, True) - mean(real, real, True)
    found = energy_distance_to(real, scale.std(axis=0), unpaired=True)(samples)
    assert found == pytest.approx(expected, abs=2e-4)  # in single precision


def test_the_unpaired_energy_distance_is_0_in_the_mean():
    rng = np.random.default_rng(0)
    values = [energy_distance_to(rng.normal(size=[20, 3]), 1., True)(rng.normal(size=[200, 3]))
              for _ in range(200)]
    assert abs(np.mean(values)) < 3*np.std(values)/200**0.5 and min(values) < 0


def test_nearness_of_copies_is_0_and_that_of_rows_kept_back_is_1():
    rng = np.random.default_rng(0)
    data = SimpleNamespace(rows=rng.normal(size=[50, 3])*[1, 100, 0] + 7, kept=rng.normal(size=[30, 3])*[1, 100, 0] + 7)
    assert nearness(data.rows, data) < 1e-6 and nearness(data.kept, data) == 1
    scaled = (data.rows - data.rows.mean(axis=0))/[*data.rows.std(axis=0)[:2], 1]
    usual = np.median([min(np.linalg.norm(scaled - (row - data.rows.mean(axis=0))/[*data.rows.std(axis=0)[:2], 1],
                                          axis=1)) for row in data.kept])
    moved = data.rows + [0.01*data.rows[:, 0].std(), 0, 0]
    assert nearness(moved, data) == pytest.approx(0.01/usual, rel=1e-3)


@pytest.mark.parametrize('changed, best, flag', [
    ({'Discriminator Loss Mean': [50.]*20}, 5, '--learning-rate 0.0002'), ({}, 19, '--iterations 300001'),
    ({}, 5, '--normalize')])
def test_advice_goes_by_what_was_measured(changed, best, flag):
    distances = np.full(20, 0.5)
    distances[best] = 0.3
    rows = rows_of(20, **{'Energy Distance': distances}, **changed)
    assert flag in advice(parse([]), rows, make_data(parse([])))
    settings = parse(['--normalize'])
    distances[best] = 0.1
    if not changed and best == 5:
        rows = rows_of(20, **{'Energy Distance': distances})
        assert '--keep best' in advice(settings, rows, make_data(settings))
        assert '--hidden 32 32' in advice(parse(['--normalize', '--keep', 'best']), rows, make_data(settings))


@pytest.mark.parametrize('distances, flag', [
    ([0.5], '--hidden'), ([0.5, 0.3], '--iterations'), ([0.3, 0.5], '--hidden')])
def test_advice_on_runs_of_few_snapshots(distances, flag):
    settings = parse(['--normalize'])
    rows = rows_of(len(distances), **{'Energy Distance': distances})
    assert flag in advice(settings, rows, make_data(settings))
