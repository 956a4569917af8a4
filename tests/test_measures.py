"""The measures, by hand, by laws and on known sets; the claims, on runs that fail them."""
import math
from types import SimpleNamespace

import numpy as np
import pytest
from numpy.testing import assert_allclose

import gan_quadratic as program
from gan_quadratic import energy_distance_to, neighbour_shares, sample_data

CLAIMS = [
    'losses_settle', 'samples_follow', 'real_features_stay', 'centroid_moves_toward',
    'features_mix']


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def normal(rng):
    """Draws rows [n, dim], standard normal; others at each call."""
    return lambda n, dim: rng.normal(size=[n, dim])


# ---------------------------------------------------------------------------------- energy distance

def distance_between(samples, real, spread=None, unbiased=False):
    """The energy distance, without its error."""
    distance, _ = energy_distance_to(real, spread, unbiased)(samples)
    return distance


@pytest.mark.parametrize('unit, origin', [(1, 0), (1000, 7), (1e-3, -7)])
def test_the_energy_distance_by_hand_in_any_units(unit, origin):
    real = np.array([[-1.], [1.]])  # of standard deviation 1
    samples = np.array([[2.]])
    between = (3 + 1)/2
    within_samples = 0
    within_real = (0 + 2 + 2 + 0)/4
    expected = 2*between - within_samples - within_real
    found = distance_between(unit*samples + origin, unit*real + origin)
    assert found == pytest.approx(expected)


def mean_distance(a, b, unbiased):
    """By subtracting each from each; unbiased: of a with itself, but no row."""
    apart = np.linalg.norm(a[:, None] - b, axis=2)
    pairs = apart.size - len(a)*unbiased
    return apart.sum()/pairs


@pytest.mark.parametrize('unbiased', [False, True], ids=['', 'unbiased'])
@pytest.mark.parametrize('n, m, dim', [
    pytest.param(9, 7, 2, id='few rows'),
    pytest.param(600, 700, 3, id='several blocks'),
    pytest.param(40, 50, 30, id='many columns')])
def test_the_energy_distance_by_subtracting(n, m, dim, unbiased, normal):
    spread = np.linspace(1, 5, dim)
    samples = normal(n, dim)
    real = normal(m, dim)
    between = mean_distance(samples, real, False)
    within_samples = mean_distance(samples, samples, unbiased)
    within_real = mean_distance(real, real, unbiased)
    expected = 2*between - within_samples - within_real
    found = distance_between(samples*spread, real*spread, spread, unbiased)
    assert found == pytest.approx(expected, abs=2e-4)  # single precision


def test_copies_are_at_no_distance(rng):
    real = sample_data(2000, rng=rng)
    assert distance_between(real, real) == pytest.approx(0, abs=1e-6)


def test_unpaired_it_is_0_in_the_mean_over_draws(normal):
    found = []
    for _ in range(300):
        distance = distance_between(normal(20, 2), normal(30, 2), np.ones(2), unbiased=True)
        found.append(distance)
    error_of_mean = np.std(found)/math.sqrt(len(found))
    assert abs(np.mean(found)) < 3*error_of_mean


@pytest.mark.parametrize('constant', [0., 5., 0.1], ids=str)
def test_a_constant_column_adds_nothing(constant, normal):
    """The deviation of 300 times 0.1 is no 0, by rounding; and a generator hits no constant."""
    samples = normal(300, 2)
    real = normal(300, 2)
    expected = distance_between(samples[:, :1], real[:, :1])
    real[:, 1] = constant
    samples[:, 1] = constant + 1e-6
    assert distance_between(samples, real) == pytest.approx(expected, abs=1e-5)


def test_beyond_single_precision_it_is_large_and_finite(normal):
    real = normal(50, 2)
    assert 1e9 < distance_between(real*1e30, real) < math.inf


@pytest.mark.parametrize('shift, most', [
    pytest.param(0, 1.7, id='of one law, where it may be too careful'),
    pytest.param(0.5, 1.2, id='shifted'),
    pytest.param(1, 1.2, id='shifted further')])
@pytest.mark.parametrize('n, m', [(200, 30), (100, 100), (30, 200)], ids=str)
def test_the_standard_error_is_what_repeats_on_fresh_rows_differ_by(n, m, shift, most, normal):
    results = []
    for _ in range(150):
        distance = energy_distance_to(normal(m, 2), np.ones(2), unbiased=True)
        results.append(distance(normal(n, 2) + shift))
    distances, errors = np.transpose(results)
    assert 0.8 < np.median(errors)/distances.std() < most


# ------------------------------------------------------------------------------- nearest neighbours

def shares_by_subtracting(samples, real):
    """Of own kind among all that are nearest, the mean over the rows of each kind."""
    both = np.concatenate([samples, real])
    is_sample = np.arange(len(both)) < len(samples)
    apart = np.sum((both[:, None] - both)**2, axis=2)
    np.fill_diagonal(apart, np.inf)
    nearest = apart == apart.min(axis=1, keepdims=True)
    of_own_kind = nearest & (is_sample[:, None] == is_sample)
    shares = of_own_kind.sum(axis=1)/nearest.sum(axis=1)
    return shares[is_sample].mean(), shares[~is_sample].mean()


@pytest.mark.parametrize('shift', [0, 0.5, 1])
def test_neighbour_shares_by_subtracting(shift, normal):
    samples = normal(300, 5) + shift
    real = normal(300, 5)
    expected = shares_by_subtracting(samples, real)
    found = neighbour_shares(samples, real, np.ones(5))
    assert found == pytest.approx(expected, abs=0.004)


@pytest.mark.parametrize('dim', [1, 2, 4])
def test_neighbour_shares_of_binary_columns_by_subtracting(dim, rng):
    """Of many equal rows each is as near as another."""
    samples, real = rng.integers(0, 2, [2, 100, dim]).astype(float)
    expected = shares_by_subtracting(samples, real)
    found = neighbour_shares(samples, real, np.ones(dim))
    assert found == pytest.approx(expected)


def test_neighbour_shares_of_equal_rows_by_hand():
    samples = np.array([[0.], [0.], [0.]])  # near each: 2 samples and 1 real row
    real = np.array([[0.], [5.], [5.]])     # near the first: 3 samples; near the others: each other
    expected = 2/3, (0 + 1 + 1)/3
    assert neighbour_shares(samples, real) == pytest.approx(expected)


def test_no_order_of_the_rows_matters(normal):
    samples = normal(100, 2)
    real = normal(100, 2)
    samples[::2] = samples[0]
    real[::3] = samples[0]
    of_samples, of_real = neighbour_shares(samples, real, np.ones(2))
    exchanged = neighbour_shares(real[::-1], samples[::-1], np.ones(2))
    assert exchanged == pytest.approx((of_real, of_samples))


def whole(low, high, dim=1):
    """The law of whole numbers in `dim` columns: it draws 100 rows."""
    return lambda rng: rng.integers(low, high + 1, [100, dim])


def die_and_normal(rng):
    return np.stack([rng.integers(1, 7, 100), rng.normal(size=100)], axis=1)


LAWS = {
    'a binary column': whole(0, 1),
    'two binary columns': whole(0, 1, 2),
    'four binary columns': whole(0, 1, 4),
    'a die': whole(1, 6),
    'whole numbers to 20': whole(0, 20),
    'whole numbers to 99': whole(0, 99),
    'a constant': whole(7, 7),
    'a normal column': lambda rng: rng.normal(size=[100, 1]),
    'a die and a normal column': die_and_normal,
}


@pytest.mark.parametrize('law', LAWS)
def test_two_draws_of_one_law_are_hardly_ever_told(law, rng):
    draw = LAWS[law]
    shares = [neighbour_shares(draw(rng), draw(rng)) for _ in range(200)]
    told = np.max(shares, axis=1) > 0.65
    assert told.mean() <= 0.03


@pytest.mark.parametrize('law', LAWS)
def test_of_two_draws_of_one_law_shares_are_half_in_the_mean(law, rng):
    draw = LAWS[law]
    shares = [neighbour_shares(draw(rng), draw(rng)) for _ in range(200)]
    assert_allclose(np.mean(shares, axis=0), 0.5, atol=0.015)


def same_law(real, rng):
    return rng.normal(size=real.shape)


def copies(real, rng):
    return real


def near_copies(real, rng):
    return real + 1e-4*rng.normal(size=real.shape)


def most_copied(real, rng):
    new = rng.normal(size=real.shape)
    return np.where(real[:, :1] < 0.8, real, new)


def few_modes(real, rng):
    modes = rng.normal(size=[20, 5])
    return np.repeat(modes, 50, axis=0) + 0.05*rng.normal(size=real.shape)


def elsewhere(real, rng):
    return real + 9


@pytest.mark.parametrize('make, least, most', [
    (same_law, 0.45, 0.55),
    (copies, 0, 0),
    (near_copies, 0, 0.05),
    (most_copied, 0, 0.4),
    (few_modes, 0.95, 1),
    (elsewhere, 1, 1)])
def test_the_share_of_samples_in_known_cases(make, least, most, normal, rng):
    real = normal(1000, 5)
    of_samples, _ = neighbour_shares(make(real, rng), real)
    assert least <= of_samples <= most


def test_noise_in_many_columns_is_seen_in_the_share_of_real_rows(normal):
    """Its samples lie nearer to real rows than to each other."""
    flat = normal(2000, 2) @ normal(2, 50)
    samples = flat[:1000] + normal(1000, 50)
    of_samples, of_real = neighbour_shares(samples, flat[1000:], np.ones(50))
    assert of_samples < 0.5
    assert of_real > 0.95


def in_two_classes(rows):
    """Every other row far from the rest."""
    rows[::2] += 20
    return rows


def test_a_lost_class_is_seen(normal):
    real = in_two_classes(normal(1000, 2))
    assert min(neighbour_shares(normal(1000, 2), real)) > 0.6


# ----------------------------------------------------------------------------- both on the parabola

def without(x_from, x_to, rng):
    """2,000 points of the parabola, none with x in this range."""
    points = sample_data(5000, rng=rng)
    inside = (points[:, 0] >= x_from) & (points[:, 0] < x_to)
    return points[~inside][:2000]


def test_a_lost_arm_is_seen_by_both(rng):
    real = sample_data(2000, rng=rng)
    arm = without(-50, 0, rng)
    assert distance_between(arm, real) > 0.2
    assert min(neighbour_shares(arm, real)) > 0.6


def test_a_lost_end_is_seen_by_the_energy_distance(rng):
    real = sample_data(2000, rng=rng)
    distance, error = energy_distance_to(real)(without(-50, -45, rng))
    assert distance > 2*error


@pytest.mark.parametrize('deviation, of_samples, of_real', [
    (0, 0.49, 0.49),
    (10, 0.53, 0.71),
    (30, 0.62, 0.82),
    (100, 0.78, 0.92),
    (300, 0.88, 0.97),
    (400, 0.90, 0.98)])
def test_noise_around_the_curve_is_seen_by_the_neighbours(deviation, of_samples, of_real, rng):
    """Of deviation 400 the energy distance makes 0.016."""
    samples = sample_data(1000, rng=rng)
    samples[:, 1] += deviation*rng.normal(size=1000)
    found = neighbour_shares(samples, sample_data(1000, rng=rng))
    assert found == pytest.approx((of_samples, of_real), abs=0.05)


# ----------------------------------------------------------------------------------------- own data

def settings(**flags):
    return program.Settings({**program.DEFAULTS, 'data': 'own', **flags})


def image_shares(images, samples, unit):
    """Shares of neighbours, of 8 x 8 pixels in this unit."""
    rows = np.float32(unit*images).reshape(-1, 8, 8)
    data = program.make_data(settings(), *program.find_rows(rows))
    return neighbour_shares(np.float32(unit*samples), data.rows, data.spread)


@pytest.mark.parametrize('unit', [1e-23, 1e-21, 1e18, 1e19])
def test_images_measure_the_same_in_any_unit(unit, normal):
    pictures = normal(3, 64)
    images = normal(300, 3) @ pictures
    samples = normal(300, 3) @ pictures
    expected = image_shares(images, samples, 1)
    assert image_shares(images, samples, unit) == pytest.approx(expected, abs=0.01)


def final_measures(rows, samples):
    """Of a run on a table, where real rows measure 0 and shuffled columns 0.5."""
    data = program.make_data(settings(), rows)
    return dict(program.measures_of(samples, data.held_out, data), floor=0., shuffled=0.5)


@pytest.mark.parametrize('attempt', range(4))
def test_30_rows_are_too_few_to_say_as_good_as_real_rows(attempt):
    """Held out of 150; samples are draws of the very law, four times six columns."""
    rng = np.random.default_rng(attempt)
    final = final_measures(rng.normal(size=[150, 6]), rng.normal(size=[2000, 6]))
    verdict = program.judge(final)
    assert verdict.holds is None
    assert verdict.sentence.startswith('Too few rows to tell')


@pytest.mark.parametrize('attempt', range(4))
def test_1000_rows_are_enough_to_say_so(attempt):
    rng = np.random.default_rng(attempt)
    final = final_measures(rng.normal(size=[5000, 6]), rng.normal(size=[2000, 6]))
    verdict = program.judge(final)
    assert verdict.holds is True
    assert 'as good as real rows' in verdict.sentence


@pytest.mark.parametrize('n', [150, 5000])
def test_samples_with_a_lost_class_can_be_told(n, normal):
    rows = in_two_classes(normal(n, 2))
    verdict = program.judge(final_measures(rows, normal(2000, 2)))
    assert verdict.holds is False


def test_the_neighbours_error_is_what_repeats_on_fresh_rows_differ_by(normal):
    shares = []
    for _ in range(100):
        final = final_measures(normal(500, 2), normal(500, 2))
        shares.append(final['neighbours_samples'])
    assert final['neighbours_error'] == pytest.approx(np.std(shares), rel=0.2)


AS_GOOD = dict(
    energy_distance=0.01, energy_distance_error=0.001, floor=0., shuffled=0.5,
    neighbours_samples=0.5, neighbours_real=0.5, neighbours_error=0.02)
CLOSE_BY_CHANCE = dict(neighbours_samples=0.4, neighbours_real=0.4, neighbours_error=0.09)


@pytest.mark.parametrize('measured, said', [
    pytest.param({}, 'as good as real rows', id='as good'),
    pytest.param(dict(energy_distance=0.05), 'can be told', id='too far'),
    pytest.param(dict(neighbours_samples=0.9), 'rows: 90%', id='by samples'),
    pytest.param(dict(neighbours_real=0.9), 'rows: 90%', id='by real rows'),
    pytest.param(dict(energy_distance=0.6), 'no nearer', id='as far as shuffled columns'),
    pytest.param(dict(energy_distance_error=0.1), 'Too few', id='distance unsure'),
    pytest.param(dict(neighbours_error=0.06), 'Too few', id='share unsure'),
    pytest.param(CLOSE_BY_CHANCE, 'Too few', id='small share unsure')])
def test_the_verdict_says_what_is_sure(measured, said):
    assert said in program.judge(AS_GOOD | measured).sentence


# ------------------------------------------------------------------------------------------- claims

SNAPSHOTS = 30
FALLING = np.linspace(1, 0.1, SNAPSHOTS)
IN_EQUILIBRIUM = {
    'Iteration': np.arange(SNAPSHOTS),
    'Discriminator Loss Mean': np.full(SNAPSHOTS, 2*math.log(2)),
    'Discriminator Loss Spread': FALLING,
    'Generator Loss Mean': np.full(SNAPSHOTS, math.log(2)),
    'Largest Real Move': np.zeros(SNAPSHOTS),
    'Moved Toward': np.ones(SNAPSHOTS),
    'Feature Distance': FALLING,
}
FINAL = dict(energy_distance=0., neighbours_samples=0.5, neighbours_real=0.5)


def check(columns=IN_EQUILIBRIUM, verdict=None, **final):
    """The claims of a run: for each whether it holds."""
    claims = program.check_claims(columns, {**FINAL, **final}, verdict)
    return {name: claim['holds'] for name, claim in claims.items()}


def test_in_equilibrium_all_claims_hold():
    assert check() == dict.fromkeys(CLAIMS, True)


@pytest.mark.parametrize('claim, column, values', [
    ('losses_settle', 'Discriminator Loss Mean', np.full(SNAPSHOTS, 2*math.log(2) + 0.06)),
    ('losses_settle', 'Generator Loss Mean', np.full(SNAPSHOTS, math.log(2) - 0.06)),
    ('losses_settle', 'Discriminator Loss Spread', FALLING[::-1]),
    ('real_features_stay', 'Largest Real Move', np.append(np.zeros(29), 1e-7)),
    ('centroid_moves_toward', 'Moved Toward', np.repeat([0, 1], [4, 26])),
    ('features_mix', 'Feature Distance', np.full(SNAPSHOTS, 0.1))])
def test_a_claim_fails_alone(claim, column, values):
    expected = dict.fromkeys(CLAIMS, True)
    expected[claim] = False
    assert check({**IN_EQUILIBRIUM, column: values}) == expected


@pytest.mark.parametrize('distance, holds', [(0.019, True), (0.021, False)])
def test_samples_of_built_in_data_follow_up_to_a_distance_of_2_hundredths(distance, holds):
    assert check(energy_distance=distance)['samples_follow'] is holds


def test_the_line_on_built_in_data_shows_the_neighbours_too():
    claims = program.check_claims(IN_EQUILIBRIUM, dict(FINAL, neighbours_real=0.97))
    assert 0.97 in claims['samples_follow']['measured'].values()


@pytest.mark.parametrize('holds', [True, False, None])
def test_whether_samples_of_own_data_follow_is_the_verdict(holds):
    verdict = SimpleNamespace(holds=holds, sentence='')
    assert check(verdict=verdict, energy_distance=0.03)['samples_follow'] is holds


def fraction(values):
    """What the claim that features mix makes of distances at each snapshot."""
    columns = {name: column[:1].repeat(len(values)) for name, column in IN_EQUILIBRIUM.items()}
    columns['Feature Distance'] = values
    claims = program.check_claims(columns, FINAL)
    found, = claims['features_mix']['measured'].values()
    return found


@pytest.mark.parametrize('n, part', [
    pytest.param(9, 3, id='thirds of 9'),
    pytest.param(29, 10, id='thirds of 29'),
    pytest.param(30, 3, id='tenths of 30'),
    pytest.param(100, 10, id='tenths of 100')])
def test_the_last_part_of_a_run_is_compared_with_the_first(n, part):
    falling = np.arange(n, 0., -1)
    expected = falling[-part:].mean()/falling[:part].mean()
    assert fraction(falling) == pytest.approx(expected)


@pytest.mark.parametrize('n', [1, 2, 8])
def test_of_few_snapshots_the_parts_are_undefined(n):
    assert fraction(np.ones(n)) is None
