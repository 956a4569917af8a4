"""The measures, against hand calculations and on known sets, and the claims on runs that are known to fail them."""
import math
from types import SimpleNamespace

import numpy as np
import pytest

from gan_quadratic import (advice, check_claims, energy_distance_to, get_y, mean_distance, neighbour_shares, parse,
                           sample_data, sample_measures, verdict)

METRICS = ['Iteration', 'Discriminator Loss Mean', 'Discriminator Loss Spread', 'Generator Loss Mean',
           'Generator Loss Spread', 'D on Real', 'D on Generated', 'Energy Distance', 'Curve Residual', 'Coverage',
           'Feature Mixing', 'Centroid Distance Before', 'Centroid Distance After', 'Moved Toward', 'Largest Real Move']
CLAIMS = ['losses_settle', 'samples_follow', 'real_features_stay', 'centroid_moves_toward', 'features_mix']


@pytest.mark.parametrize('n, m, dim', [(700, 600, 3), (40, 50, 30), (1, 1, 1)])
def test_mean_distance_by_subtracting(n, m, dim):
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=[n, dim]), rng.normal(size=[m, dim])
    assert mean_distance(a, b) == pytest.approx(np.linalg.norm(a[:, None] - b, axis=2).mean(), rel=1e-9)


def test_energy_distance_by_hand():
    real, generated = np.array([[-1.], [1.]]), np.array([[2.]])  # the real ones' standard deviation is 1
    # 2*(3 + 1)/2 - 0 - (0 + 2 + 2 + 0)/4; units do not matter
    for units in 1, 1000:
        assert energy_distance_to(units*real + 7)(units*generated + 7) == pytest.approx(3)
    constant = np.array([[0., 5.], [1., 5.]])
    assert energy_distance_to(constant)(constant) == 0
    rng = np.random.default_rng(0)
    real = sample_data(2000, rng=rng)
    distance = energy_distance_to(real)
    assert distance(real) == 0 and 0 < distance(sample_data(2000, rng=rng)) < 0.005 and distance(real + [10, 0]) > 0.03


def test_residual_and_coverage_on_known_sets():
    def of(points, low=-50, high=50, curve=get_y):
        measured = sample_measures(points, SimpleNamespace(curve=curve, low=[low], high=[high], kept=None), None)
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


def columns_of(n, **columns):
    """metrics.csv of a run in perfect equilibrium, but for these columns."""
    perfect = dict(zip(METRICS, [0, 2*math.log(2), 0, math.log(2), 0, 0.5, 0.5, 0, 0, 1, 0.1, 1, 0.5, 1, 0]))
    falling = np.linspace(1, 0.1, n)
    return {**{name: np.full(n, value) for name, value in perfect.items()}, 'Iteration': np.arange(n),
            'Discriminator Loss Spread': falling, 'Feature Mixing': falling,
            **{name: np.array(values) for name, values in columns.items()}}


def claims_of(truth, final=0., levels={}, **columns):
    """The claims of which this is the truth, of a run of 20 snapshots."""
    claims = check_claims(columns_of(20, **columns), dict(energy_distance=final, **levels))
    assert list(claims) == CLAIMS
    return [name for name, claim in claims.items() if claim['holds'] is truth]


@pytest.mark.parametrize('name, column, values', [
    ('losses_settle', 'Discriminator Loss Mean', [2*math.log(2) + 0.06]*20),
    ('losses_settle', 'Generator Loss Mean', [math.log(2) - 0.06]*20),
    ('losses_settle', 'Discriminator Loss Spread', np.linspace(0.1, 1, 20)),
    ('real_features_stay', 'Largest Real Move', [0]*19 + [1e-7]),
    ('centroid_moves_toward', 'Moved Toward', [0, 0, 0] + [1]*17),
    ('features_mix', 'Feature Mixing', [0.1]*20)])
def test_a_claim_fails_alone(name, column, values):
    assert claims_of(True) == CLAIMS and claims_of(False, **{column: values}) == [name]


@pytest.mark.parametrize('final, levels, holds', [
    (0.019, {}, True), (0.021, {}, False), (None, {}, None),
    # Half of the way from real rows, 0, to shuffled columns, 0.1; where that is nothing, 0.02 beyond real rows.
    (-0.02, dict(floor=0., shuffled=0.1), True), (0.049, dict(floor=0., shuffled=0.1), True),
    (0.051, dict(floor=0., shuffled=0.1), False), (0.019, dict(floor=0., shuffled=0.), True),
    (0.021, dict(floor=0., shuffled=0.), False)])
def test_how_near_samples_must_be(final, levels, holds):
    assert 'samples_follow' in claims_of(holds, final, levels)


@pytest.mark.parametrize('energy, own, piece', [
    (0.01, 0.5, 'as good as'), (0.05, 0.5, 'can be told'), (0.01, 0.9, '90% have a nearest'), (0.11, 0.5, 'no nearer')])
def test_the_verdict_says_which_it_is(energy, own, piece):
    shares = dict(neighbours_samples=own, neighbours_real=0.5)
    assert piece in verdict(dict(energy_distance=energy, floor=0., shuffled=0.1, **shares), 1000)
    assert verdict(dict(energy_distance=energy), 0) is None


def test_the_unpaired_energy_distance_by_a_double_loop():
    rng = np.random.default_rng(0)
    real, samples, scale = (rng.normal(size=[n, 2])*[1, 5] for n in (7, 9, 50))

    def mean(a, b, same=False):
        far = [math.dist(p/scale.std(axis=0), q/scale.std(axis=0)) for i, p in enumerate(a) for j, q in enumerate(b)
               if not (same and i == j)]
        return sum(far)/len(far)
    expected = 2*mean(samples, real) - mean(samples, samples, True) - mean(real, real, True)
    assert energy_distance_to(real, scale.std(axis=0), unpaired=True)(samples) == pytest.approx(expected, abs=2e-4)


@pytest.mark.parametrize('distances, loss, flag', [
    ([0.5]*20, 50., '--learning-rate 0.0002'), ([0.5]*19 + [0.3], 1.4, '--iterations 300001'),
    ([0.5]*5 + [0.3] + [0.5]*14, 1.4, '--hidden 32 32'), ([0.5], 1.4, '--hidden'), ([0.5, 0.3], 1.4, '--iterations'),
    ([0.3, 0.5], 1.4, '--hidden')])
def test_advice_goes_by_what_was_measured(distances, loss, flag):
    columns = {'Energy Distance': distances, 'Discriminator Loss Mean': [loss]*len(distances)}
    assert flag in advice(parse([]), columns_of(len(distances), **columns))


RNG = np.random.default_rng(0)
REAL = RNG.normal(size=[1000, 5])


@pytest.mark.parametrize('samples, least, most', [
    (RNG.normal(size=[2000, 5]), 0.45, 0.55), (REAL, 0, 0.05), (REAL + 1e-4*RNG.normal(size=REAL.shape), 0, 0.05),
    (np.where(REAL[:, :1] < 0.8, REAL, RNG.normal(size=REAL.shape)), 0, 0.4),
    (np.repeat(RNG.normal(size=[20, 5]), 50, axis=0) + 0.05*RNG.normal(size=[1000, 5]), 0.95, 1), (REAL + 9, 1, 1)],
    ids=['the same law', 'copies', 'near copies', 'most of them copies', 'few modes', 'elsewhere'])
def test_neighbour_shares_of_known_cases(samples, least, most):
    """Beside a plain computation."""
    both = np.concatenate([samples[:1000], REAL])
    apart = np.linalg.norm(both[:, None] - both, axis=2) + np.diag([np.inf]*len(both))
    shares = neighbour_shares(samples, REAL)
    assert least <= shares[0] <= most
    if len(np.unique(both, axis=0)) == len(both):  # without ties
        same = (apart.argmin(axis=1) < 1000) == (np.arange(2000) < 1000)
        assert shares == pytest.approx((same[:1000].mean(), same[1000:].mean()), abs=0.003)


def test_a_lost_class_and_added_noise_are_seen():
    """Noise in many columns leaves samples nearer to real rows than to each other."""
    flat = RNG.normal(size=[2000, 2]) @ RNG.normal(size=[2, 50])
    assert neighbour_shares(flat[:1000] + RNG.normal(size=[1000, 50]), flat[1000:])[1] > 0.95
    whole, lost, real = (RNG.normal(size=[1000, 2]) + 20*RNG.integers(0, classes, [1000, 1]) for classes in (2, 1, 2))
    assert max(neighbour_shares(whole, real)) < 0.56 and min(neighbour_shares(lost, real)) > 0.6
