"""The tutorial's part: data, networks, losses, RMSProp, and the loop in the graph."""
import functools
import math

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from numpy.testing import assert_allclose, assert_array_equal

import gan_quadratic as program
from gan_quadratic import build_gan, build_loop, generator, sample_data, sample_Z, train_iteration

variables = tf.trainable_variables


@pytest.fixture
def graph():
    """A graph of its own, with weights that are the same every time."""
    with tf.Graph().as_default() as graph:
        tf.set_random_seed(1)
        yield graph


def start_session():
    """A session on the default graph, with the initial weights that the graph's seed draws."""
    sess = tf.Session(config=program.session_config([16, 16], 2))
    sess.run(tf.global_variables_initializer())
    return sess


@pytest.fixture(scope='session')
def gan():
    """The tutorial's graph. To build one takes longer than to train in it."""
    with tf.Graph().as_default():
        tf.set_random_seed(1)
        return build_gan()


@pytest.fixture
def sess(gan):
    """A session on the tutorial's graph, which is the default graph meanwhile."""
    with gan.X.graph.as_default(), start_session() as sess:
        yield sess


# --------------------------------------------------------------------------------------------- data

def tutorials_data(n=10000, scale=100):
    x = scale*(np.random.random_sample((n,)) - 0.5)  # noqa: NPY002
    return np.array([[value, 10 + value*value] for value in x])


def tutorials_noise(m, n):
    return np.random.uniform(-1., 1., size=[m, n])  # noqa: NPY002


@pytest.mark.parametrize('ours, theirs, arguments', [
    pytest.param(sample_data, tutorials_data, [], id='data'),
    pytest.param(sample_data, tutorials_data, [50, 4], id='narrow data'),
    pytest.param(sample_Z, tutorials_noise, [7, 3], id='noise')])
def test_draws_follow_numpys_global_seed(ours, theirs, arguments):
    np.random.seed(5)  # noqa: NPY002
    expected = theirs(*arguments)
    np.random.seed(5)  # noqa: NPY002
    assert_array_equal(ours(*arguments), expected)


# ----------------------------------------------------------------------------------------- networks

def test_the_graph_has_the_tutorials_names(gan):
    assert gan._fields == (
        'X', 'Z', 'G_sample', 'r_logits', 'f_logits', 'r_rep', 'g_rep', 'disc_loss', 'gen_loss',
        'disc_step', 'gen_step')


def test_variables_have_the_tutorials_names_and_shapes(sess):
    assert {v.op.name: v.shape.as_list() for v in variables('GAN/')} == {
        'GAN/Generator/dense/kernel': [2, 16],
        'GAN/Generator/dense/bias': [16],
        'GAN/Generator/dense_1/kernel': [16, 16],
        'GAN/Generator/dense_1/bias': [16],
        'GAN/Generator/dense_2/kernel': [16, 2],
        'GAN/Generator/dense_2/bias': [2],
        'GAN/Discriminator/dense/kernel': [2, 16],
        'GAN/Discriminator/dense/bias': [16],
        'GAN/Discriminator/dense_1/kernel': [16, 16],
        'GAN/Discriminator/dense_1/bias': [16],
        'GAN/Discriminator/dense_2/kernel': [16, 2],
        'GAN/Discriminator/dense_2/bias': [2],
        'GAN/Discriminator/dense_3/kernel': [2, 1],
        'GAN/Discriminator/dense_3/bias': [1]}


@pytest.mark.parametrize('name', ['X', 'Z', 'G_sample', 'r_rep', 'g_rep'])
def test_batches_of_any_length_have_two_columns(name, gan):
    assert getattr(gan, name).shape.as_list() == [None, 2]


@pytest.mark.parametrize('name', ['r_logits', 'f_logits'])
def test_logits_have_one_column(name, gan):
    assert getattr(gan, name).shape.as_list() == [None, 1]


def test_reuse_shares_the_generators_variables(gan, sess):
    feed = {gan.Z: sample_Z(5, 2)}
    samples = sess.run(gan.G_sample, feed)
    again = sess.run(generator(gan.Z, reuse=True), feed)
    assert_array_equal(again, samples)


@pytest.mark.parametrize('of_real, of_generated', [
    ('r_logits', 'f_logits'), ('r_rep', 'g_rep')])
def test_one_discriminator_looks_at_real_and_generated(of_real, of_generated, gan, sess):
    Z = sample_Z(5, 2)
    samples = sess.run(gan.G_sample, {gan.Z: Z})
    feed = {gan.X: samples, gan.Z: Z}
    real = sess.run(getattr(gan, of_real), feed)
    generated = sess.run(getattr(gan, of_generated), feed)
    assert_array_equal(generated, real)


@pytest.fixture(scope='session')
def wide_weights():
    """Initial weights by name, of networks wide enough for statistics."""
    with tf.Graph().as_default():
        tf.set_random_seed(1)
        build_gan(hsize=[64, 64])
        with start_session() as sess:
            return {v.op.name: sess.run(v) for v in variables('GAN/')}


@pytest.mark.parametrize('network', ['Generator', 'Discriminator'])
def test_kernels_are_glorot_uniform(network, wide_weights):
    kernel = wide_weights[f'GAN/{network}/dense_1/kernel']  # [64, 64]
    bound = math.sqrt(6/(64 + 64))
    assert 0.99*bound < np.abs(kernel).max() <= bound
    assert kernel.std() == pytest.approx(bound/math.sqrt(3), rel=0.03)  # of a uniform distribution


def test_biases_begin_at_zero(wide_weights):
    biases = [value for name, value in wide_weights.items() if name.endswith('bias')]
    assert len(biases) == 7
    assert not np.concatenate(biases).any()


# ----------------------------------------------------------------------------------------- training

def sigmoid(x):
    return 1/(1 + np.exp(-x))


def cross_entropy(logits, label):
    """The mean of -ln sigmoid(logits) for label 1, of -ln (1 - sigmoid(logits)) for label 0."""
    return np.mean(np.log1p(np.exp(-logits if label else logits)))


def slope_from_cross_entropy(logits, label):
    return (sigmoid(logits) - label)/len(logits)


class Reference:
    """A network, its gradients and TF1's RMSProp, written out in NumPy.

    The last `linear` layers have no leaky_relu.
    """

    def __init__(self, weights, linear):
        self.weights = [np.array(w, float) for w in weights]  # kernel, bias, kernel, bias...
        self.squares = [np.ones_like(w) for w in self.weights]
        n_layers = len(weights)//2
        self.slopes = [0.2]*(n_layers - linear) + [1]*linear

    def forward(self, x):
        """The output; remembers for `backward` what went in and out of each layer."""
        self.inputs = []
        self.sums = []
        for k, slope in enumerate(self.slopes):
            total = x @ self.weights[2*k] + self.weights[2*k + 1]
            self.inputs.append(x)
            self.sums.append(total)
            x = np.where(total > 0, total, slope*total)
        return x

    def backward(self, d):
        """Gradients of the weights, and of the input, from the gradient of the output."""
        gradients = []
        for k in reversed(range(len(self.sums))):
            d = np.where(self.sums[k] > 0, d, self.slopes[k]*d)
            gradients = [self.inputs[k].T @ d, d.sum(axis=0), *gradients]
            d = d @ self.weights[2*k].T
        return gradients, d

    def update(self, gradients):
        for w, square, gradient in zip(self.weights, self.squares, gradients):
            square += 0.1*(gradient*gradient - square)
            w -= 0.001*gradient/np.sqrt(square + 1e-10)


def reference_networks(sess):
    """Generator and discriminator in NumPy, with the weights of a session."""
    G = Reference(sess.run(variables('GAN/Generator')), linear=1)
    D = Reference(sess.run(variables('GAN/Discriminator')), linear=2)
    return G, D


def discriminator_loss(D, real, generated):
    """D's loss, and its gradients by the weights."""
    r_logits = D.forward(real)
    of_real, _ = D.backward(slope_from_cross_entropy(r_logits, 1))
    f_logits = D.forward(generated)
    of_generated, _ = D.backward(slope_from_cross_entropy(f_logits, 0))
    loss = cross_entropy(r_logits, 1) + cross_entropy(f_logits, 0)
    return loss, [a + b for a, b in zip(of_real, of_generated)]


def generator_loss(G, D, Z):
    """G's loss, and its gradients by the weights."""
    f_logits = D.forward(G.forward(Z))
    _, of_samples = D.backward(slope_from_cross_entropy(f_logits, 1))
    gradients, _ = G.backward(of_samples)
    return cross_entropy(f_logits, 1), gradients


def reference_iteration(G, D, X, Z, d_steps, g_steps):
    """Both losses, each from before the last update."""
    for _ in range(d_steps):
        dloss, gradients = discriminator_loss(D, X, G.forward(Z))
        D.update(gradients)
    for _ in range(g_steps):
        gloss, gradients = generator_loss(G, D, Z)
        G.update(gradients)
    return dloss, gloss


@pytest.mark.parametrize('n, steps', [
    pytest.param(20, (1, 1), id='1 + 1 steps'),
    pytest.param(5, (4, 3), id='4 + 3 steps')])
def test_iterations_follow_the_reference(n, steps, gan, sess):
    G, D = reference_networks(sess)
    rng = np.random.default_rng(0)
    for _ in range(n):
        X = sample_data(64, scale=4, rng=rng)
        Z = sample_Z(64, 2, rng)
        losses = train_iteration(sess, gan, X, Z, *steps)
        expected = reference_iteration(G, D, X, Z, *steps)
        assert losses == pytest.approx(expected, rel=1e-4)
    for v, expected in zip(variables('GAN/'), G.weights + D.weights):
        off = np.linalg.norm(sess.run(v) - expected)
        assert off < 1e-4*np.linalg.norm(expected), v.op.name


@pytest.mark.parametrize('step, network', [
    ('disc_step', 'GAN/Discriminator'), ('gen_step', 'GAN/Generator')])
def test_a_step_moves_the_variables_of_its_network_alone(step, network, gan, sess):
    weights = {v.op.name: v for v in variables('GAN/')}
    feed = {gan.X: sample_data(32), gan.Z: sample_Z(32, 2)}
    before = sess.run(weights)
    sess.run(getattr(gan, step), feed)
    after = sess.run(weights)
    moved = [name for name in weights if (before[name] != after[name]).any()]
    assert moved == [name for name in weights if name.startswith(network)]


@pytest.mark.parametrize('features, moves', [('r_rep', False), ('g_rep', True)])
def test_a_generator_step_moves_features_of_samples_alone(features, moves, gan, sess):
    feed = {gan.X: sample_data(32), gan.Z: sample_Z(32, 2)}
    before = sess.run(getattr(gan, features), feed)
    sess.run(gan.gen_step, feed)
    after = sess.run(getattr(gan, features), feed)
    assert (before != after).any() == moves


# ----------------------------------------------------------------------------------------- the loop

class BothWays:
    """Iterations step by step and in the graph: from the same weights, on the same batches."""

    def __init__(self, n, steps=(1, 1), **networks):
        rng = np.random.default_rng(4)
        self.steps = steps
        self.X = sample_data(16*n, rng=rng).reshape(n, 16, 2)
        self.Z = sample_Z(16*n, 2, rng).reshape(n, 16, 2)
        with tf.Graph().as_default():
            tf.set_random_seed(4)
            optimizers = [tf.train.RMSPropOptimizer(0.001) for _ in range(2)]
            self.gan = build_gan(*optimizers, **networks)
            self.run_loop = build_loop(*optimizers, n, 16, *steps, **networks)
            self.sess = start_session()
            first = self.sess.run(tf.global_variables())
            assigned = [v.assign(value) for v, value in zip(tf.global_variables(), first)]
            self.restart = tf.group(*assigned)

    def step_by_step(self):
        """Losses [n, 2]."""
        self.sess.run(self.restart)
        return [train_iteration(self.sess, self.gan, X, Z, *self.steps)
                for X, Z in zip(self.X, self.Z)]

    def in_the_graph(self, cuts=()):
        """Losses [n, 2], of one call, or of several that begin at these iterations too."""
        self.sess.run(self.restart)
        calls = zip(np.split(self.X, cuts), np.split(self.Z, cuts))
        return np.concatenate([self.run_loop(self.sess, X, Z) for X, Z in calls])


@pytest.fixture(scope='session')
def tutorials_loop():
    return BothWays(50)


def test_the_compiled_loop_agrees_with_step_by_step(tutorials_loop):
    losses = tutorials_loop.in_the_graph()
    assert_allclose(losses, tutorials_loop.step_by_step(), rtol=1e-4)


def test_calls_of_any_length_give_the_same_losses(tutorials_loop):
    whole = tutorials_loop.in_the_graph()
    assert_array_equal(tutorials_loop.in_the_graph(cuts=[1, 31, 33]), whole)


def test_the_compiled_loop_agrees_in_several_steps_with_a_penalty():
    both = BothWays(6, steps=(3, 2), hsize=[4], penalty=1000.)
    assert_allclose(both.in_the_graph(), both.step_by_step(), rtol=1e-4)


@pytest.fixture
def uncompiled(monkeypatch):
    """The loop without XLA, whose compiling takes longer than all else: its graph is the same."""
    plain = functools.partial(tf.function, autograph=False)
    monkeypatch.setattr(program.tf, 'function', lambda function, **_: plain(function))


def test_the_loop_agrees_in_other_networks(uncompiled):
    both = BothWays(3, hsize=[4], layer='layer_norm', activation='swish', output_mapping='tanh')
    assert_allclose(both.in_the_graph(), both.step_by_step(), rtol=1e-4)


# --------------------------------------------------------------------------------------- the tables

POINTS = np.linspace(-3, 3, 13)
EXPECTED = {
    'leaky_relu': np.where(POINTS > 0, POINTS, 0.2*POINTS),
    'relu': np.maximum(POINTS, 0),
    'elu': np.where(POINTS > 0, POINTS, np.expm1(POINTS)),
    'selu': np.where(POINTS > 0, 1.0507009873554805*POINTS, 1.7580993408473766*np.expm1(POINTS)),
    'gelu': [x*math.erfc(-x/math.sqrt(2))/2 for x in POINTS],
    'swish': POINTS*sigmoid(POINTS),
    'softplus': np.log1p(np.exp(POINTS)),
    'tanh': np.tanh(POINTS),
    'sigmoid': sigmoid(POINTS),
}


@pytest.mark.parametrize('name', program.ACTIVATIONS)
def test_an_activation_follows_its_definition(name, graph):
    outputs = program.ACTIVATIONS[name](tf.constant(POINTS, tf.float32))
    with tf.Session() as sess:
        values = sess.run(outputs)
    assert_allclose(values, EXPECTED[name], rtol=1e-5, atol=1e-6)


def dense(x, sums):
    return np.tanh(sums[0])


def residual(x, sums):
    return x + np.tanh(sums[0])


def layer_norm(x, sums):
    centred = sums[0] - sums[0].mean(axis=1, keepdims=True)
    variance = np.mean(centred**2, axis=1, keepdims=True)
    return np.tanh(centred/np.sqrt(variance + 1e-6))


def maxout(x, sums):
    return np.maximum(*sums)


DEFINITIONS = dict(dense=dense, residual=residual, layer_norm=layer_norm, maxout=maxout)


@pytest.mark.parametrize('name', program.LAYERS)
def test_a_layer_follows_its_definition(name, graph):
    """By the sums of its linear layers; it has as many units as inputs."""
    x = np.random.default_rng(0).normal(size=[5, 4])
    outputs = program.LAYERS[name](tf.constant(x, tf.float32), 4, tf.tanh)
    with start_session() as sess:
        values = sess.run(outputs)
        kernels = [sess.run(v) for v in variables() if v.op.name.endswith('kernel')]
    sums = [x @ kernel for kernel in kernels]  # biases are zero
    expected = DEFINITIONS[name](x, sums)
    assert_allclose(values, expected, rtol=1e-5, atol=1e-6)


def test_a_residual_layer_that_changes_the_width_has_a_linear_shortcut(graph):
    x = np.random.default_rng(0).normal(size=[5, 4])
    outputs = program.residual(tf.constant(x, tf.float32), 3, tf.tanh)
    with start_session() as sess:
        values = sess.run(outputs)
        shortcut, _, kernel, _ = sess.run(variables())  # biases are zero
    expected = x @ shortcut + np.tanh(x @ kernel)
    assert_allclose(values, expected, rtol=1e-5, atol=1e-6)


def test_the_tanh_mapping_reaches_the_ends_of_the_range_and_no_further(graph):
    low = np.float32([-50, 10])
    high = np.float32([50, 2510])
    Z = tf.constant(1e6*sample_Z(500, 2), tf.float32)
    out = generator(Z, output_mapping='tanh', low=low, high=high)
    with start_session() as sess:
        rows = sess.run(out)
    assert_allclose(rows.min(axis=0), low, atol=0.01)
    assert_allclose(rows.max(axis=0), high, atol=0.01)


# ------------------------------------------------------------------------------------------ penalty

def reference_penalty(D, X, gamma):
    """gamma/2 times the mean squared norm of the gradient of D's logit by its input."""
    D.forward(X)
    _, of_input = D.backward(np.ones([len(X), 1]))
    return gamma/2*np.mean(np.sum(of_input**2, axis=1))


def reference_penalty_gradient(D, X, gamma, weights):
    """Its gradient by some weights of D, by finite differences in double precision."""
    gradient = np.empty_like(weights)
    for index in np.ndindex(weights.shape):
        value = weights[index]
        weights[index] = value - 1e-6
        below = reference_penalty(D, X, gamma)
        weights[index] = value + 1e-6
        above = reference_penalty(D, X, gamma)
        weights[index] = value
        gradient[index] = (above - below)/2e-6
    return gradient


class Penalised:
    """A discriminator with a penalty, whose optimizer's step is the gradient; and its reference."""

    def __init__(self):
        self.gan = build_gan(disc_optimizer=tf.train.GradientDescentOptimizer(1.),
                             hsize=[5, 4], penalty=3.)
        self.penalty = program.gradient_penalty(self.gan, 3.)
        self.sess = start_session()
        self.X = np.random.default_rng(0).normal(size=[20, 2])
        self.Z = sample_Z(20, 2)
        self.feed = {self.gan.X: self.X, self.gan.Z: self.Z}
        G, self.D = reference_networks(self.sess)
        self.loss, self.gradients = discriminator_loss(self.D, self.X, G.forward(self.Z))


@pytest.fixture
def penalised(graph):
    return Penalised()


def test_the_penalty_follows_its_definition(penalised):
    value = penalised.sess.run(penalised.penalty, penalised.feed)
    expected = reference_penalty(penalised.D, penalised.X, 3.)
    assert value == pytest.approx(expected, rel=1e-5)


def test_the_discriminator_descends_its_loss_and_the_penalty(penalised):
    D = penalised.D
    penalised.sess.run(penalised.gan.disc_step, penalised.feed)
    after = penalised.sess.run(variables('GAN/Discriminator'))
    for weights, gradient, new in zip(D.weights, penalised.gradients, after):
        of_penalty = reference_penalty_gradient(D, penalised.X, 3., weights)
        assert_allclose(weights - new, gradient + of_penalty, rtol=1e-3, atol=1e-5)


def test_the_penalty_is_not_in_the_loss_that_is_shown(penalised):
    loss = penalised.sess.run(penalised.gan.disc_loss, penalised.feed)
    assert loss == pytest.approx(penalised.loss, rel=1e-5)


# ------------------------------------------------------------------------------------ where it runs

def test_small_networks_run_on_one_thread_and_no_gpu():
    config = program.session_config([16, 64], 64)
    assert config.intra_op_parallelism_threads == 1
    assert dict(config.device_count) == {'GPU': 0}


@pytest.mark.parametrize('hidden, dim', [
    pytest.param([65], 2, id='wide'),
    pytest.param([16], 65, id='many columns')])
def test_larger_networks_run_on_all_there_is(hidden, dim):
    config = program.session_config(hidden, dim)
    assert config.intra_op_parallelism_threads == 0
    assert dict(config.device_count) == {}
    assert config.gpu_options.allow_growth
