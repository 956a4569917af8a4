"""The measures, by hand and on known sets; the claims, on runs that fail them."""
import math
from types import SimpleNamespace

import numpy as np
import pytest

import gan_quadratic as program
from gan_quadratic import energy_distance_to, neighbour_shares, sample_data, verdict

METRICS = [
    'Iteration', 'Discriminator Loss Mean', 'Discriminator Loss Spread', 'Generator Loss Mean',
    'Generator Loss Spread', 'D on Real', 'D on Generated', 'Energy Distance', 'Curve Residual',
    'Coverage', 'Feature Mixing', 'Centroid Distance Before', 'Centroid Distance After',
    'Moved Toward', 'Largest Real Move']
CLAIMS = [
    'losses_settle', 'samples_follow', 'real_features_stay', 'centroid_moves_toward',
    'features_mix']


@pytest.fixture
def rng():
    return np.random.default_rng(0)


# ---------------------------------------------------------------------------------- energy distance

@pytest.mark.parametrize('n, m, dim', [
    pytest.param(700, 600, 3, id='in several blocks'),
    pytest.param(40, 50, 30, id='many columns'),
    pytest.param(1, 1, 1, id='one number each')])
def test_the_mean_distance_by_subtracting(n, m, dim, rng):
    a = rng.normal(size=[n, dim])
    b = rng.normal(size=[m, dim])
    expected = np.linalg.norm(a[:, None] - b, axis=2).mean()
    assert program.mean_distance(a, b) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize('unit, origin', [(1, 0), (1000, 7), (1e-3, -7)])
def test_the_energy_distance_by_hand_in_any_units(unit, origin):
    real = np.array([[-1.], [1.]])  # of standard deviation 1
    generated = np.array([[2.]])
    between = (3 + 1)/2
    within_generated = 0
    within_real = (0 + 2 + 2 + 0)/4
    distance = energy_distance_to(unit*real + origin)
    expected = 2*between - within_generated - within_real
    assert distance(unit*generated + origin) == pytest.approx(expected)


def mean_distance_by_loops(a, b, spread):
    """No row with itself where a is b."""
    far = [math.dist(p/spread, q/spread)
           for i, p in enumerate(a) for j, q in enumerate(b) if not (a is b and i == j)]
    return sum(far)/len(far)


def test_the_unpaired_energy_distance_by_loops(rng):
    real = rng.normal(size=[7, 2])*[1, 5]
    samples = rng.normal(size=[9, 2])*[1, 5]
    spread = np.array([1.5, 4.])
    between = mean_distance_by_loops(samples, real, spread)
    within_samples = mean_distance_by_loops(samples, samples, spread)
    within_real = mean_distance_by_loops(real, real, spread)
    distance = energy_distance_to(real, spread, unpaired=True)
    expected = 2*between - within_samples - within_real
    assert distance(samples) == pytest.approx(expected, abs=2e-4)


def test_a_set_is_at_no_distance_from_itself(rng):
    real = sample_data(2000, rng=rng)
    assert energy_distance_to(real)(real) == 0


def test_a_constant_column_adds_nothing():
    rows = np.array([[0., 5.], [1., 5.]])
    assert energy_distance_to(rows)(rows) == 0


def test_another_draw_is_near_and_a_shifted_one_is_not(rng):
    distance = energy_distance_to(sample_data(2000, rng=rng))
    another = sample_data(2000, rng=rng)
    assert 0 < distance(another) < 0.005
    assert distance(another + [10, 0]) > 0.03


# ------------------------------------------------------------------------------------------- curves

def curve_measures(points, low, high):
    """Residual from the tutorial's curve, and coverage."""
    data = SimpleNamespace(curve=program.get_y, low=[low], high=[high], held_out=None)
    measured = program.sample_measures(points, data, None)
    return measured['curve_residual'], measured['coverage']


def points_at(x):
    return np.stack([x, program.get_y(x)], axis=1)


ON_THE_CURVE = points_at(np.linspace(-50, 50, 2001))


@pytest.mark.parametrize('points, residual, coverage', [
    pytest.param(ON_THE_CURVE, 0, 1, id='the curve'),
    pytest.param(ON_THE_CURVE + [0, -3], 3, 1, id='3 below'),
    pytest.param(ON_THE_CURVE[:1000], 0, 0.5, id='an arm'),
    pytest.param(np.full([100, 2], 49.), 10 + 49**2 - 49, 0.05, id='one point')])
def test_residual_and_coverage(points, residual, coverage):
    assert curve_measures(points, -50, 50) == pytest.approx((residual, coverage))


def test_a_bin_is_covered_by_a_quarter_of_its_fair_share():
    counts = [4, 5] + [20]*17 + [51]  # of 400 points in 20 bins: 5 are enough
    x = np.repeat(np.arange(20), counts) + 0.5
    assert curve_measures(points_at(x), 0, 20) == (0, 0.95)


# ------------------------------------------------------------------------------- nearest neighbours

def shares_by_subtracting(samples, real):
    both = np.concatenate([samples, real])
    apart = np.linalg.norm(both[:, None] - both, axis=2)
    np.fill_diagonal(apart, np.inf)
    nearest_is_sample = apart.argmin(axis=1) < len(samples)
    of_samples = nearest_is_sample[:len(samples)].mean()
    of_real = 1 - nearest_is_sample[len(samples):].mean()
    return of_samples, of_real


@pytest.mark.parametrize('shift', [0, 0.5, 1])
def test_neighbour_shares_by_subtracting(shift, rng):
    samples = rng.normal(size=[1000, 5]) + shift
    real = rng.normal(size=[1000, 5])
    expected = shares_by_subtracting(samples, real)
    assert neighbour_shares(samples, real) == pytest.approx(expected, abs=0.003)


def same_law(real, rng):
    return rng.normal(size=real.shape)


def copies(real, rng):
    return real


def near_copies(real, rng):
    return real + 1e-4*rng.normal(size=real.shape)


def most_copied(real, rng):
    return np.where(real[:, :1] < 0.8, real, rng.normal(size=real.shape))


def few_modes(real, rng):
    modes = rng.normal(size=[20, real.shape[1]])
    return np.repeat(modes, len(real)//20, axis=0) + 0.05*rng.normal(size=real.shape)


def elsewhere(real, rng):
    return real + 9


@pytest.mark.parametrize('make, least, most', [
    (same_law, 0.45, 0.55), (copies, 0, 0.05), (near_copies, 0, 0.05), (most_copied, 0, 0.4),
    (few_modes, 0.95, 1), (elsewhere, 1, 1)])
def test_the_share_of_samples_in_known_cases(make, least, most, rng):
    real = rng.normal(size=[1000, 5])
    of_samples, _ = neighbour_shares(make(real, rng), real)
    assert least <= of_samples <= most


def test_noise_in_many_columns_is_seen_in_the_share_of_real_rows(rng):
    """Its samples lie nearer to real rows than to each other."""
    flat = rng.normal(size=[2000, 2]) @ rng.normal(size=[2, 50])
    samples = flat[:1000] + rng.normal(size=[1000, 50])
    of_samples, of_real = neighbour_shares(samples, flat[1000:])
    assert of_samples < 0.5
    assert of_real > 0.95


def test_a_lost_class_is_seen(rng):
    real = rng.normal(size=[1000, 2]) + 20*rng.integers(0, 2, [1000, 1])
    lost = rng.normal(size=[1000, 2])
    assert min(neighbour_shares(lost, real)) > 0.6


# ------------------------------------------------------------------------------------------- claims

FALLING = np.linspace(1, 0.1, 20)
IN_EQUILIBRIUM = {
    'Iteration': np.arange(20),
    'Discriminator Loss Mean': np.full(20, 2*math.log(2)),
    'Discriminator Loss Spread': FALLING,
    'Generator Loss Mean': np.full(20, math.log(2)),
    'Largest Real Move': np.zeros(20),
    'Moved Toward': np.ones(20),
    'Feature Mixing': FALLING,
}


def check(columns, energy_distance=0., **baselines):
    """Which claims hold, by name, in a run in equilibrium but for these columns."""
    final = dict(energy_distance=energy_distance, **baselines)
    claims = program.check_claims({**IN_EQUILIBRIUM, **columns}, final)
    return {name: claim['holds'] for name, claim in claims.items()}


def test_in_equilibrium_all_claims_hold():
    assert check({}) == dict.fromkeys(CLAIMS, True)


@pytest.mark.parametrize('claim, column, values', [
    ('losses_settle', 'Discriminator Loss Mean', np.full(20, 2*math.log(2) + 0.06)),
    ('losses_settle', 'Generator Loss Mean', np.full(20, math.log(2) - 0.06)),
    ('losses_settle', 'Discriminator Loss Spread', FALLING[::-1]),
    ('real_features_stay', 'Largest Real Move', np.array([0]*19 + [1e-7])),
    ('centroid_moves_toward', 'Moved Toward', np.array([0]*3 + [1]*17)),
    ('features_mix', 'Feature Mixing', np.full(20, 0.1))])
def test_a_claim_fails_alone(claim, column, values):
    expected = dict.fromkeys(CLAIMS, True)
    expected[claim] = False
    assert check({column: values}) == expected


@pytest.mark.parametrize('energy_distance, baselines, holds', [
    pytest.param(0.019, {}, True, id='near'),
    pytest.param(0.021, {}, False, id='far'),
    pytest.param(None, {}, None, id='unknown'),
    pytest.param(-0.02, dict(floor=0., shuffled=0.1), True, id='nearer than real rows'),
    pytest.param(0.049, dict(floor=0., shuffled=0.1), True, id='before half of the way'),
    pytest.param(0.051, dict(floor=0., shuffled=0.1), False, id='beyond half of the way'),
    pytest.param(0.019, dict(floor=0., shuffled=0.), True, id='near, and so are shuffled columns'),
    pytest.param(0.021, dict(floor=0., shuffled=0.), False, id='far, unlike shuffled columns')])
def test_how_near_samples_must_be(energy_distance, baselines, holds):
    assert check({}, energy_distance, **baselines)['samples_follow'] is holds


# ------------------------------------------------------------------------------------------ verdict

@pytest.mark.parametrize('energy_distance, share, said', [
    pytest.param(0.01, 0.5, 'as good as', id='as good'),
    pytest.param(0.05, 0.5, 'can be told', id='too far'),
    pytest.param(0.01, 0.9, '90% have a nearest', id='too few neighbours'),
    pytest.param(0.11, 0.5, 'no nearer', id='no nearer than shuffled columns')])
def test_the_verdict_says_which_it_is(energy_distance, share, said):
    final = dict(energy_distance=energy_distance, floor=0., shuffled=0.1,
                 neighbours_samples=share, neighbours_real=0.5)
    assert said in verdict(final, 1000)


def test_there_is_no_verdict_by_no_rows():
    assert verdict(dict(energy_distance=0.01), 0) is None
