"""The tutorial's part: data, networks, losses, RMSProp, and the loop in the graph against the loop outside it."""
import math

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

import gan_quadratic as program
from gan_quadratic import (ACTIVATIONS, LAYERS, build_gan, build_loop, generator, get_y, sample_data, sample_Z,
                           train_iteration)

NETWORKS = 'GAN/Generator', 'GAN/Discriminator'
variables = tf.trainable_variables


@pytest.fixture
def graph():
    """A graph of its own for each test, with weights that are the same every time."""
    with tf.Graph().as_default() as graph:
        tf.set_random_seed(1)
        yield graph


def started():
    """A session on the default graph with initial weights."""
    sess = tf.Session()
    sess.run(tf.global_variables_initializer())
    return sess


@pytest.fixture
def tutorial(graph):
    """The tutorial's graph, and a session on it."""
    return build_gan(), started()


def test_the_tutorials_calls_follow_numpys_global_seed():
    np.random.seed(5)
    (x, y), Z = sample_data().T, sample_Z(7, 3)
    np.random.seed(5)
    assert np.array_equal(sample_data(), np.stack([x, y], axis=1)) and np.array_equal(sample_Z(7, 3), Z)
    assert len(x) == 10_000 and -50 <= x.min() < -49.9 and 49.9 < x.max() < 50
    assert np.array_equal(y, 10 + x**2) and get_y(3) == 19
    assert Z.shape == (7, 3) and -1 <= Z.min() < 0 < Z.max() < 1


def test_names_shapes_and_reuse(tutorial):
    gan, sess = tutorial
    assert gan._fields == ('X', 'Z', 'G_sample', 'r_logits', 'f_logits', 'r_rep', 'g_rep', 'disc_loss', 'gen_loss',
                           'disc_step', 'gen_step')
    shapes = {v.op.name: v.shape.as_list() for v in variables('GAN/')}
    layers = [(network, k, shape) for network, widths in zip(NETWORKS, ([2, 16, 16, 2], [2, 16, 16, 2, 1]))
              for k, shape in enumerate(zip(widths, widths[1:]))]
    names = [(f'{network}/dense' + (f'_{k}' if k else ''), shape) for network, k, shape in layers]
    assert shapes == {f'{name}/{part}': each for name, (n, m) in names for part, each in (
        ('kernel', [n, m]), ('bias', [m]))} and sum(map(math.prod, shapes.values())) == 354 + 357
    assert all(each.shape.as_list() == [None, 2] for each in (gan.X, gan.Z, gan.G_sample, gan.r_rep, gan.g_rep))
    assert gan.r_logits.shape.as_list() == gan.f_logits.shape.as_list() == [None, 1]
    Z = np.full([5, 2], 0.3)
    samples, again = sess.run([gan.G_sample, generator(gan.Z, reuse=True)], {gan.Z: Z})
    real, fake = sess.run([[gan.r_logits, gan.r_rep], [gan.f_logits, gan.g_rep]], {gan.X: samples, gan.Z: Z})
    assert np.array_equal(samples, again) and len(variables('GAN/')) == 14
    assert all(np.array_equal(*pair) for pair in zip(real, fake))


def test_initial_weights_are_glorot_uniform_and_biases_zero(graph):
    build_gan(hsize=[64, 64])
    with started() as sess:
        for v in variables('GAN/'):
            value, bound = sess.run(v), np.sqrt(6/sum(v.shape.as_list())) if v.op.name.endswith('kernel') else 0
            assert np.abs(value).max() <= bound
            if bound and value.size >= 100:
                assert np.abs(value).max() > 0.9*bound and abs(value.std() - bound/3**0.5) < 0.1*bound


def sigmoid(x):
    return 1/(1 + np.exp(-x))


class Reference:
    """A network, its gradients and TF1's RMSProp, written out in NumPy; the last `linear` layers have no leaky_relu."""

    def __init__(self, weights, linear):
        self.layers = [np.array(w, float) for w in weights]  # kernel, bias, kernel, bias...
        self.squares = [np.ones_like(w) for w in self.layers]
        self.slopes = [0.2]*(len(weights)//2 - linear) + [1]*linear

    def forward(self, x):
        self.inputs, self.sums = [], []  # for `backward`
        for kernel, bias, slope in zip(self.layers[::2], self.layers[1::2], self.slopes):
            self.inputs.append(x)
            self.sums.append(x @ kernel + bias)
            x = self.sums[-1]*np.where(self.sums[-1] > 0, 1, slope)
        return x

    def backward(self, d):
        """Gradients of the weights and of the input from the gradient of the output."""
        gradients = []
        for k in reversed(range(len(self.sums))):
            d = d*np.where(self.sums[k] > 0, 1, self.slopes[k])
            gradients[:0] = [self.inputs[k].T @ d, d.sum(axis=0)]
            d = d @ self.layers[2*k].T
        return gradients, d

    def update(self, gradients):
        for w, s, g in zip(self.layers, self.squares, gradients):
            s += 0.1*(g*g - s)
            w -= 0.001*g/np.sqrt(s + 1e-10)


def reference_step(G, D, X, Z):
    """Both losses of a discriminator step and a generator step."""
    f_logits = D.forward(G.forward(Z))
    fake, _ = D.backward(sigmoid(f_logits)/len(Z))
    r_logits = D.forward(X)
    real, _ = D.backward((sigmoid(r_logits) - 1)/len(X))
    dloss = np.mean(np.log1p(np.exp(-r_logits)) + np.log1p(np.exp(f_logits)))
    D.update([a + b for a, b in zip(real, fake)])
    f_logits = D.forward(G.forward(Z))
    G.update(G.backward(D.backward((sigmoid(f_logits) - 1)/len(Z))[1])[0])
    return dloss, np.mean(np.log1p(np.exp(-f_logits)))


def test_twenty_alternating_steps_follow_the_reference(tutorial):
    (gan, sess), rng = tutorial, np.random.default_rng(0)
    networks = [*map(variables, NETWORKS)]
    G, D = (Reference(values, linear) for values, linear in zip(sess.run(networks), (1, 2)))
    for _ in range(20):
        X, Z = sample_data(64, scale=4, rng=rng), sample_Z(64, 2, rng)
        losses = train_iteration(sess, gan, X, Z)[:2]
        assert losses == pytest.approx(reference_step(G, D, X, Z), rel=1e-4)
    for network, values in zip((G, D), sess.run(networks)):
        for value, expected in zip(values, network.layers):
            assert np.linalg.norm(value - expected) < 1e-4*np.linalg.norm(expected)


def test_each_step_moves_its_own_network_alone_and_real_features_stay(tutorial):
    gan, sess = tutorial
    feed = {gan.X: sample_data(32), gan.Z: sample_Z(32, 2)}
    networks = [*map(variables, NETWORKS)]

    def moved(step):
        before = sess.run(networks)
        sess.run(step, feed)
        return [any((a != b).any() for a, b in zip(old, new)) for old, new in zip(before, sess.run(networks))]
    assert moved(gan.disc_step) == [False, True]
    features = sess.run([gan.r_rep, gan.g_rep], feed)
    assert moved(gan.gen_step) == [True, False]
    after = sess.run([gan.r_rep, gan.g_rep], feed)
    assert np.array_equal(features[0], after[0]) and not np.array_equal(features[1], after[1])


def losses_of(*ways, n=50, **networks):
    """Losses of the first n iterations, [n, 2], one way after the other from the same weights and batches: 'steps',
    or with XLA or without it the numbers of iterations in a call of the loop in the graph."""
    with tf.Graph().as_default():
        tf.set_random_seed(4)
        optimizers, rng = [tf.train.RMSPropOptimizer(0.001) for _ in range(2)], np.random.default_rng(4)
        gan = build_gan(*optimizers, **networks)
        loops = {way: build_loop(*optimizers, n, 16, jit_compile=way == 'XLA', **networks) for way, *k in ways if k}
        X, Z = (rows.reshape(n, 16, 2) for rows in (sample_data(n*16, rng=rng), sample_Z(n*16, 2, rng)))
        with started() as sess:
            first = sess.run(tf.global_variables())
            for way, *calls in ways:
                for variable, value in zip(tf.global_variables(), first):
                    variable.load(value, sess)
                yield np.concatenate(
                    [loops[way](sess, X[end - k:end], Z[end - k:end]) for k, end in zip(calls, np.cumsum(calls))]
                    or [[train_iteration(sess, gan, x, z)[:2]] for x, z in zip(X, Z)])


def test_the_loop_in_the_graph_agrees_with_step_by_step():
    """With XLA and without; and grouping iterations into calls changes nothing."""
    steps, whole, parts, plain = losses_of(['steps'], ['XLA', 50], ['XLA', 1, 30, 2, 17], ['no XLA', 50])
    np.testing.assert_allclose([whole, plain], [steps, steps], rtol=1e-4)
    assert np.array_equal(parts, whole)


def test_every_kind_of_network_and_the_penalty_train_both_ways(monkeypatch):
    """Every activation, in every kind of layer, at once, as their mean; and a deep network."""
    for table in ACTIVATIONS, LAYERS:
        every = list(table.values())
        monkeypatch.setitem(table, 'all', lambda *words, every=every: sum(each(*words) for each in every)/len(every))
    for flags in (dict(n=2, activation='all', layer='all', hsize=[4], output_mapping='tanh',
                       low=np.float32([-50, 10]), high=np.float32([50, 2510])),
                  dict(n=6, hsize=[12, 8, 6], penalty=1000.)):
        loop, steps = losses_of(['no XLA', flags['n']], ['steps'], **flags)
        assert np.isfinite(loop).all() and loop[1, 0] != loop[0, 0]
        np.testing.assert_allclose(loop, steps, rtol=1e-4)
    without, = losses_of(['steps'], **dict(flags, penalty=0.))
    assert steps[0, 0] == pytest.approx(without[0, 0], rel=1e-6)  # the loss that is reported is the tutorial's
    assert np.abs(steps[1:] - without[1:]).max() > 1e-3           # and yet D learned otherwise


def test_activations_follow_their_definitions(graph):
    x = np.linspace(-3, 3, 13)
    expected = {
        'leaky_relu': np.where(x > 0, x, 0.2*x), 'relu': np.maximum(x, 0), 'elu': np.where(x > 0, x, np.expm1(x)),
        'selu': 1.05070098735548*np.where(x > 0, x, 1.67326324235438*np.expm1(x)),
        'gelu': [v/2*math.erfc(-v/math.sqrt(2)) for v in x], 'swish': x*sigmoid(x), 'softplus': np.log1p(np.exp(x)),
        'tanh': np.tanh(x), 'sigmoid': sigmoid(x)}
    assert expected.keys() == ACTIVATIONS.keys()
    with tf.Session() as sess:
        for name, function in ACTIVATIONS.items():
            np.testing.assert_allclose(sess.run(function(np.float32(x))), expected[name], rtol=1e-5, atol=1e-6)


def test_layers_follow_their_definitions(graph):
    x = np.random.default_rng(0).normal(size=[5, 4])
    outputs = {name: layer(tf.constant(x, 'float32'), 4, tf.tanh) for name, layer in LAYERS.items()}
    with started() as sess:
        values = sess.run(outputs)
        dense = sess.run([v for v in variables('') if 'layer_norm' not in v.op.name.split('/')[0]])
    sums = [x @ kernel + bias for kernel, bias in zip(dense[::2], dense[1::2])]
    centred = sums[2] - sums[2].mean(axis=1, keepdims=True)
    expected = dict(dense=np.tanh(sums[0]), residual=x + np.tanh(sums[1]), maxout=np.maximum(*sums[3:]),
                    layer_norm=np.tanh(centred/np.sqrt(centred.var(axis=1, keepdims=True) + 1e-6)))
    assert values.keys() == expected.keys()
    for name in expected:
        np.testing.assert_allclose(values[name], expected[name], rtol=1e-5, atol=1e-6)


def test_tanh_mapping_stays_within_the_range(graph):
    low, high = np.float32([-50, 10]), np.float32([50, 2510])
    out = generator(tf.constant(1e6*sample_Z(500, 2), 'float32'), output_mapping='tanh', low=low, high=high)
    with started() as sess:
        rows = sess.run(out)
    assert (rows >= low - 0.01).all() and (rows <= high + 0.01).all() and np.ptp(rows[:, 0]) > 90


def test_the_penalty_and_its_gradients_follow_the_reference(graph):
    gan = build_gan(hsize=[5, 4], dim=3, noise_dim=2)
    penalty, X = program.gradient_penalty(gan, 3.), np.random.default_rng(0).normal(size=[20, 3])
    with started() as sess:
        value, gradients = sess.run([penalty, tf.gradients(penalty, variables(NETWORKS[1])[::2])], {gan.X: X})
        D = Reference(sess.run(variables(NETWORKS[1])), 2)

    def reference():  # gamma/2 times the mean squared norm of the gradient of D's logit by its input
        D.forward(X)
        return 3/2*np.mean(np.sum(D.backward(np.ones([len(X), 1]))[1]**2, axis=1))
    assert value == pytest.approx(reference(), rel=1e-5) and value > 0.01
    for kernel, gradient in zip(D.layers[::2], gradients):
        for index in np.ndindex(kernel.shape):  # by finite differences, in double precision
            values, at = [], kernel[index]
            for kernel[index] in at - 1e-6, at + 1e-6, at:
                values.append(reference())
            assert gradient[index] == pytest.approx((values[1] - values[0])/2e-6, rel=1e-3, abs=1e-6)


def test_small_networks_run_on_one_thread_and_on_no_gpu():
    small, wide, many = (program.session_config(*words) for words in (([16, 64], 64), ([65], 2), ([16], 65)))
    assert small.device_count['GPU'] == 0 and 'GPU' in small.device_count and small.intra_op_parallelism_threads == 1
    for config in wide, many:
        assert 'GPU' not in config.device_count and config.intra_op_parallelism_threads == 0
        assert config.gpu_options.allow_growth
