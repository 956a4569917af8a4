"""A simple GAN that learns to draw the points of y = 10 + x^2, in TensorFlow 1's style on current TensorFlow.

    python gan_quadratic.py  # the tutorial: 100,001 iterations of 1 + 1 steps
    python gan_quadratic.py --d-steps 10 --g-steps 10 --iterations 10001 --output outputs/companion  # 10 + 10 steps
    python gan_quadratic.py --data spiral --pictures all --output outputs/spiral  # an exercise, with every picture
    python gan_quadratic.py --sample 1000  # so many samples of the first one's generator
    python gan_quadratic.py --data table.csv --output outputs/mine  # data of your own; with --resume it goes on

Read it from top to bottom: data, networks, graph and training follow the tutorial, by its names and in its order, and
stand on their own; what a run needs comes after. `plotting.py`, a process of its own, draws from the files of a run.
"""
import argparse
import contextlib
import csv
import difflib
import errno
import fcntl
import functools
import gc
import gzip
import itertools
import json
import math
import multiprocessing.pool
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
import zipfile
import zlib
from array import array
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from statistics import NormalDist
from typing import Any, Callable, NamedTuple, Optional

INSTALL = 'install what is needed: python -m pip install -r requirements.txt'
try:
    import numpy as np
except ImportError as error:
    sys.exit(f'gan_quadratic.py: {error}; {INSTALL}')


# ------------------------------------------------------------------------------------------------- TensorFlow

# At its own level, 3, XLA unrolls loops over 16 units before they become vector instructions: a quarter slower here.
XLA_FLAGS = '--xla_backend_optimization_level=2'
SILENCE = threading.Lock()  # stderr and the environment belong to all threads


@contextlib.contextmanager
def silence():
    """Discards what goes to stderr: what TensorFlow says as it is imported, and version 2.16 as XLA first compiles."""
    with SILENCE, open(os.devnull, 'wb') as nowhere, open(os.dup(2), 'wb') as stderr:
        os.dup2(nowhere.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(stderr.fileno(), 2)


class LateTensorFlow:
    """`tensorflow.compat.v1`, imported at the first use of one of its names: `--help` need not wait seconds for it."""
    @functools.cached_property
    def module(self):
        os.environ.setdefault('XLA_FLAGS', XLA_FLAGS)  # read by XLA when it first compiles
        os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')
        # With this variable the import leaves Keras, a third of the time and 100 MB, to the first use of `tf.keras`.
        lean = not ('TF_USE_LEGACY_KERAS' in os.environ or 'tensorflow' in sys.modules or find_spec('tf_keras'))
        with silence():
            os.environ.update({'TF_USE_LEGACY_KERAS': '1'} if lean else {})
            import tensorflow.compat.v1 as module
            if lean:
                del os.environ['TF_USE_LEGACY_KERAS']
        module.logging.set_verbosity(module.logging.ERROR)
        return module

    def __getattr__(self, name):
        return getattr(self.module, name)


tf = LateTensorFlow()


# ---------------------------------------------------------------------------------------------- training data

def get_y(x):
    """The tutorial's curve, 10 + x^2, elementwise."""
    return 10 + x*x


def sample_data(n=10000, scale=100, rng=np.random, curve=get_y):
    """Real samples: [n, 2] points (x, curve(x)), x uniform in scale * [-0.5, 0.5)."""
    x = scale*(rng.random(n) - 0.5)
    return np.stack([x, curve(x)], axis=1)


def sample_Z(m, n, rng=np.random):
    """Noise: [m, n] values, uniform in [-1, 1)."""
    return rng.uniform(-1., 1., size=[m, n])


SHAPED = dict(normalize='standard', hidden=[32, 32], activation='tanh', noise_dim=4, learning_rate=0.0005,
              iterations=20001)  # what shapes other than the tutorial's come out well with


class Distribution(NamedTuple):
    """What draws rows (n, scale, rng) -> [n, dim], the same however many at a time, and flags that suit them."""
    sample: Callable
    flags: dict = SHAPED
    curve: Optional[Callable] = None  # y of x, if they are points of a graph
    scaled: bool = False              # does --scale mean something to it?


def shape(points, *ranges, scaled=False, flags=SHAPED):
    """The distribution of points(u, ...) -> coordinates, of numbers uniform in these ranges; the first times scale?"""
    def sample(n, scale, rng):
        first, *others = (low + (high - low)*u for (low, high), u in zip(ranges, rng.random((n, len(ranges))).T))
        return np.stack(points(scale*first if scaled else first, *others), axis=1)
    return Distribution(sample, flags, scaled=scaled)


CURVES = {'quadratic': get_y, 'cubic': lambda x: x**3, 'quartic': lambda x: x**4,
          'sine': lambda x: 10*np.sin(x/10), 'cosine': lambda x: 10*np.cos(x/10)}
DISTRIBUTIONS = {
    **{name: Distribution(functools.partial(sample_data, curve=curve), {} if curve is get_y else SHAPED, curve, True)
       for name, curve in CURVES.items()},
    'two-curves': shape(lambda x, u: [x, np.where(u < 0.5, get_y(x), -get_y(x))], (-0.5, 0.5), (0, 1), scaled=True),
    'spiral': shape(lambda r: [r*np.cos(4*np.pi*r), r*np.sin(4*np.pi*r)], (0, 1),  # Archimedean, of two turns
                    flags=dict(SHAPED, hidden=[64, 64], iterations=40001)),
    'ring': shape(lambda t: [np.cos(t), np.sin(t)], (0, 2*np.pi)),
    # Eight of standard deviation 0.05, centred on the unit circle, by Box and Muller's way to a normal pair.
    'gaussians': shape(lambda k, u, t: [f(2*np.pi*np.floor(k)/8) + 0.05*np.sqrt(-2*np.log1p(-u))*f(t)
                                        for f in (np.cos, np.sin)], (0, 8), (0, 1), (0, 2*np.pi)),
    'helix': shape(lambda z: [np.cos(2*np.pi*z), np.sin(2*np.pi*z), z], (-1, 1)),
    'sphere': shape(lambda z, t: [np.sqrt(1 - z*z)*np.cos(t), np.sqrt(1 - z*z)*np.sin(t), z], (-1, 1), (0, 2*np.pi))}
IMAGE_FLAGS = dict(normalize='standard', hidden=[256, 256], layer='layer_norm', activation='swish', noise_dim=32,
                   output_mapping='tanh', average=0.999, learning_rate=0.0007, penalty=2., batch_size=64,
                   iterations=30001, keep='best')
TABLE_FLAGS = dict(normalize='quantile', hidden=[64, 64], noise_dim=16,  # or as many as columns, where these are more
                   learning_rate=0.00005, penalty=3., iterations=20001, keep='best')
KERAS_DATASETS = ('mnist', 'cifar10')
BUILT_IN = (*DISTRIBUTIONS, *KERAS_DATASETS)


# --------------------------------------------------------------------------------------------------- networks

def dense(inputs, units, activation=None):
    """What `tf.layers.dense` did: [n, k] -> [n, units], Glorot uniform kernel, zero bias, in scope dense, dense_1..."""
    with tf.variable_scope(None, default_name='dense'):
        kernel = tf.get_variable('kernel', [inputs.shape[-1], units], use_resource=True)  # Glorot uniform by default
        bias = tf.get_variable('bias', [units], use_resource=True, initializer=tf.zeros_initializer())
    outputs = product(inputs, kernel) + bias
    return activation(outputs) if activation else outputs


def product(inputs, kernel):
    """inputs [n, k] times kernel [k, units], with another form of the same gradient where there are at most two units:
    of so narrow a product with a transposed kernel XLA makes scalar instructions on CPUs, a fifth of the whole loop."""
    if kernel.shape[1] > 2:
        return tf.matmul(inputs, kernel)

    @tf.custom_gradient
    def narrow(inputs, kernel):
        return tf.matmul(inputs, kernel), lambda d: (
            tf.add_n([d[:, k:k + 1]*kernel[:, k] for k in range(kernel.shape[1])]),
            tf.stack([tf.reduce_sum(inputs*d[:, k:k + 1], 0) for k in range(kernel.shape[1])], axis=1))
    return narrow(inputs, tf.identity(kernel))


def layer_norm(inputs, units, activation):
    """A dense layer, each row normalised before the activation (Ba et al. 2016), [n, k] -> [n, units]."""
    outputs = dense(inputs, units)
    with tf.variable_scope(None, default_name='layer_norm'):
        gain = tf.get_variable('gain', [units], use_resource=True, initializer=tf.ones_initializer())
        offset = tf.get_variable('offset', [units], use_resource=True, initializer=tf.zeros_initializer())
    mean, variance = tf.nn.moments(outputs, [-1], keepdims=True)
    return activation(tf.nn.batch_normalization(outputs, mean, variance, offset, gain, 1e-6))


LAYERS = {  # (inputs [n, k], units, activation) -> [n, units]
    'dense': dense,
    # A dense layer beside a shortcut (He et al. 2015), which is linear where k is not `units`.
    'residual': lambda x, units, act: (x if x.shape[-1] == units else dense(x, units)) + dense(x, units, act),
    'layer_norm': layer_norm,
    # The larger of two linear layers (Goodfellow et al. 2013); it is its own activation.
    'maxout': lambda x, units, act: tf.maximum(dense(x, units), dense(x, units))}
ACTIVATIONS = {  # lambdas, so that TensorFlow is loaded only when one is used
    'leaky_relu': lambda x: tf.nn.leaky_relu(x),
    'relu': lambda x: tf.nn.relu(x),
    'elu': lambda x: tf.nn.elu(x),
    'selu': lambda x: tf.nn.selu(x),
    'gelu': lambda x: x*(1 + tf.erf(x/math.sqrt(2)))/2,
    'swish': lambda x: x*tf.sigmoid(x),
    'softplus': lambda x: tf.nn.softplus(x),
    'tanh': lambda x: tf.tanh(x),
    'sigmoid': lambda x: tf.sigmoid(x)}
OUTPUT_MAPPINGS = {  # of the generator's last layer, to data that lies between low and high
    'linear': lambda out, low, high: out,
    'tanh': lambda out, low, high: (high + low)/2 + (high - low)/2*tf.tanh(out)}


def generator(Z, hsize=[16, 16], reuse=False, *, dim=2, activation='leaky_relu', layer='dense',
              output_mapping='linear', low=-1., high=1.):
    """Turns noise Z [n, noise_dim] into samples [n, dim], as the networks see data; reuse=True shares the variables.
    Hidden layers of `hsize` units, a linear layer, then OUTPUT_MAPPINGS[output_mapping] onto the range low to high."""
    with tf.variable_scope('GAN/Generator', reuse=reuse):
        h = Z
        for units in hsize:
            h = LAYERS[layer](h, units, ACTIVATIONS[activation])
        out = dense(h, dim)
    return OUTPUT_MAPPINGS[output_mapping](out, low, high)


def discriminator(X, hsize=[16, 16], reuse=False, *, activation='leaky_relu', layer='dense'):
    """Judges samples X [n, dim]: logits [n, 1], positive for real, and features h3 [n, 2], the last, linear layer."""
    with tf.variable_scope('GAN/Discriminator', reuse=reuse):
        h = X
        for units in hsize:
            h = LAYERS[layer](h, units, ACTIVATIONS[activation])
        h3 = dense(h, 2)
        out = dense(h3, 1)
    return out, h3


# ------------------------------------------------------------------------------------------------------ graph

class GAN(NamedTuple):
    """The tutorial's tensors and steps, by its names."""
    X: Any         # real samples [n, dim]
    Z: Any         # noise [n, noise_dim]
    G_sample: Any  # generated samples [n, dim]
    r_logits: Any  # of real samples [n, 1]
    f_logits: Any  # of generated (fake) samples [n, 1]
    r_rep: Any     # features of real samples [n, 2]
    g_rep: Any     # features of generated samples [n, 2]
    disc_loss: Any
    gen_loss: Any
    disc_step: Any = None  # one update of the discriminator's variables
    gen_step: Any = None   # one update of the generator's variables


def connect(X, Z, hsize=[16, 16], reuse=False, *, dim=2, activation='leaky_relu', layer='dense', joined=False,
            **mapping):
    """Both networks on real samples X and noise Z, with the two losses: a `GAN` that has no steps yet. joined: D looks
    at both batches in one pass, which takes less time than two and gives the same. The rest as in `generator`."""
    hidden = dict(activation=activation, layer=layer)
    G_sample = generator(Z, hsize, reuse, dim=dim, **hidden, **mapping)
    if joined:
        logits, rep = discriminator(tf.concat([X, G_sample], axis=0), hsize, reuse, **hidden)
        (r_logits, f_logits), (r_rep, g_rep) = tf.split(logits, 2), tf.split(rep, 2)
    else:
        r_logits, r_rep = discriminator(X, hsize, reuse, **hidden)
        f_logits, g_rep = discriminator(G_sample, hsize, reuse=True, **hidden)
    cross_entropy = tf.nn.sigmoid_cross_entropy_with_logits
    disc_loss = tf.reduce_mean(cross_entropy(logits=r_logits, labels=tf.ones_like(r_logits))
                               + cross_entropy(logits=f_logits, labels=tf.zeros_like(f_logits)))
    gen_loss = tf.reduce_mean(cross_entropy(logits=f_logits, labels=tf.ones_like(f_logits)))
    return GAN(X, Z, G_sample, r_logits, f_logits, r_rep, g_rep, disc_loss, gen_loss)


def gradient_penalty(gan, gamma):
    """R1 (Mescheder, Geiger and Nowozin 2018): gamma/2 times the mean, over real samples, of the squared norm of the
    gradient of D's logit by its input. A scalar, 0 for gamma 0."""
    if not gamma:
        return 0
    gradients, = tf.gradients(gan.r_logits, gan.X)  # row by row, for no row enters another's logit
    return gamma/2*tf.reduce_mean(tf.reduce_sum(tf.square(gradients), axis=1))


def build_gan(gen_optimizer=None, disc_optimizer=None, penalty=0., *, noise_dim=2, dim=2, **networks):
    """The tutorial's graph, in the default graph: a `GAN` on placeholders. Each optimizer, by default the tutorial's,
    updates its own network alone; D's minimises the `gradient_penalty` too. networks: as `connect` takes them."""
    X = tf.placeholder(tf.float32, [None, dim])
    Z = tf.placeholder(tf.float32, [None, noise_dim])
    gan = connect(X, Z, dim=dim, **networks)
    gen_vars = tf.get_collection(tf.GraphKeys.GLOBAL_VARIABLES, scope='GAN/Generator')
    disc_vars = tf.get_collection(tf.GraphKeys.GLOBAL_VARIABLES, scope='GAN/Discriminator')
    gen_step = (gen_optimizer or tf.train.RMSPropOptimizer(0.001)).minimize(gan.gen_loss, var_list=gen_vars)
    disc_step = (disc_optimizer or tf.train.RMSPropOptimizer(0.001)).minimize(
        gan.disc_loss + gradient_penalty(gan, penalty), var_list=disc_vars)
    return gan._replace(disc_step=disc_step, gen_step=gen_step)


# --------------------------------------------------------------------------------------------------- training

def train_iteration(sess, gan, X_batch, Z_batch, d_steps=1, g_steps=1, look=lambda: None):
    """One iteration as the tutorial runs it, step by step. Returns both losses, each from before its network's last
    update, and what `look()` gave before the discriminator's updates, before the generator's, and after these."""
    before_d = look()
    for _ in range(d_steps):
        _, dloss = sess.run([gan.disc_step, gan.disc_loss], feed_dict={gan.X: X_batch, gan.Z: Z_batch})
    before_g = look()
    for _ in range(g_steps):
        _, gloss = sess.run([gan.gen_step, gan.gen_loss], feed_dict={gan.Z: Z_batch})
    return dloss, gloss, (before_d, before_g, look())


def loss_and_gradients(network, variables, X, Z, penalty=0., **networks):
    """The loss of the 'Generator' or 'Discriminator' on a batch, and gradients of what its updates minimise: a list."""
    of_D = network == 'Discriminator'
    gan = connect(X, Z, joined=of_D and not penalty, **networks)  # the penalty needs the real samples' gradients apart
    loss, extra = (gan.disc_loss, gradient_penalty(gan, penalty)) if of_D else (gan.gen_loss, 0)
    return [loss, *tf.gradients(loss + extra, variables)]


def build_loop(gen_optimizer, disc_optimizer, length, batch_size, d_steps=1, g_steps=1, jit_compile=True,
               compute=loss_and_gradients, *, noise_dim=2, dim=2, **networks):
    """Up to `length` iterations of the tutorial's loop inside the graph, of what `build_gan` made with the optimizers:
    a function (sess, X_batches [n, batch_size, dim], Z_batches [n, batch_size, noise_dim]) -> losses [n, 2]. compute:
    what gives losses and gradients, here or on other machines. networks: as `connect` takes them, and the penalty."""
    # XLA compiles anew for each shape that is fed: so batches pass through buffers of one shape, with a count beside.
    X_buffer, Z_buffer = (np.zeros([length, batch_size, width], np.float32) for width in (dim, noise_dim))
    X_fed, Z_fed = (tf.placeholder(tf.float32, buffer.shape) for buffer in (X_buffer, Z_buffer))
    count = tf.placeholder(tf.int32, [])

    def steps(number, network, optimizer, batch):  # one after the other; the loss is from before the last
        variables = tf.trainable_variables(f'GAN/{network}')

        def step(k, _):
            loss, *gradients = compute(network, variables, *batch, dim=dim, reuse=True, **networks)
            with tf.control_dependencies([optimizer.apply_gradients(zip(gradients, variables))]):
                return k + 1, tf.identity(loss)
        return tf.while_loop(lambda k, _: k < number, step, [tf.constant(0), tf.constant(0.)])[1]

    def iterations(X_batches, Z_batches, count):
        def iteration(i, losses):
            batch = X_batches[i], Z_batches[i]
            dloss = steps(d_steps, 'Discriminator', disc_optimizer, batch)
            with tf.control_dependencies([dloss]):
                gloss = steps(g_steps, 'Generator', gen_optimizer, batch)
            return i + 1, tf.tensor_scatter_nd_update(losses, [[i]], [[dloss, gloss]])
        return tf.while_loop(lambda i, _: i < count, iteration, [tf.constant(0), tf.zeros([length, 2])])[1]
    losses = tf.function(iterations, jit_compile=jit_compile, autograph=False)(X_fed, Z_fed, count)

    def run_loop(sess, X_batches, Z_batches):
        n = len(X_batches)
        X_buffer[:n], Z_buffer[:n] = X_batches, Z_batches
        return sess.run(losses, feed_dict={X_fed: X_buffer, Z_fed: Z_buffer, count: n})[:n].astype(float)
    return run_loop


# --------------------------------------------------------------------------------------------------- measures

def distances(a, b):
    """The Euclidean distances of rows of a [n, d] to all rows of b [m, d], in blocks of rows that stay in the cache."""
    # |p - q|^2 = |p|^2 - 2 p.q + |q|^2, as one matrix product: several times as fast as subtracting, some digits worse
    left = np.column_stack([np.sum(a**2, axis=1), -2*a, np.ones_like(a[:, 0])])
    right = np.column_stack([np.ones_like(b[:, 0]), b, np.sum(b**2, axis=1)]).T
    for rows in np.array_split(left, math.ceil(len(a)*len(b)/50_000)):
        yield np.sqrt(np.maximum(0, rows @ right))  # by rounding, a square may be just below 0


def mean_distance(a, b, unpaired=False):
    """The mean distance over all pairs of rows of a [n, d] and b [m, d]; unpaired: of a with itself, but no row."""
    return sum(block.sum(dtype=np.float64) for block in distances(a, b))/(len(a)*(len(b) - unpaired))


def energy_distance_to(real, spread=None, unpaired=False):
    """The function samples [n, d] -> energy distance (Szekely and Rizzo 2013) to these real [m, d], coordinates divided
    by `spread`, by default the real ones' deviations. Unpaired, it is 0 in the mean over draws of one distribution."""
    centre, spread = real.mean(axis=0), real.std(axis=0) if spread is None else spread

    def standardised(points):  # beyond 1e15 deviations all is equally far: squares stay within single precision
        return np.clip((points - centre)/np.where(spread > 0, spread, 1), -1e15, 1e15).astype(np.float32)
    b = standardised(real)
    within_real = mean_distance(b, b, unpaired)

    def distance(generated):
        a = standardised(generated)
        return float(2*mean_distance(a, b) - mean_distance(a, a, unpaired) - within_real)
    return distance


def neighbour_shares(samples, real):
    """The nearest-neighbour two-sample test (Lopez-Paz and Oquab 2017): the shares of samples [n, d], and of as many
    real [m, d], at most 1,000, whose nearest neighbour is of their own kind: 0.5 if alike, 1 if apart, 0 if copied."""
    n = min(len(samples), len(real), 1000)
    order = np.random.default_rng(0).permutation(2*n)  # which breaks ties at random
    both, is_sample = np.concatenate([samples[:n], real[:n]])[order], order < n
    apart = np.concatenate([*distances(both, both)])
    np.fill_diagonal(apart, np.inf)
    same = is_sample[apart.argmin(axis=1)] == is_sample
    return float(same[is_sample].mean()), float(same[~is_sample].mean())


def sample_measures(samples, data, distance):
    """Of samples [n, dim], None if undefined: energy distance; of a curve the median |y - curve(x)| and coverage, the
    share of 20 x bins with at least a quarter of their fair share; with rows kept back `neighbour_shares`."""
    measured = dict(energy_distance=distance(samples) if distance else None)
    rest = data.kept if data.kept is not None else data.sample(1000, np.random.default_rng(5))
    if True:
        spread, kind = (np.ones(1), np.float32) if data.image else ((data.rows if data.rows is not None else rest).std(axis=0), float)
        measured['neighbours_samples'], measured['neighbours_real'] = neighbour_shares(*(
            ((rows[:1000] - data.low)/np.where(spread > 0, spread, 1)).astype(kind) for rows in (samples, rest)))
    return measured


def metrics_row(iteration, losses, answers, features, measured):
    """One row of metrics.csv by column, of losses [n, 2] since the last snapshot, mean D(x) on real and on generated
    samples, features [3, 2, n, 2], before D's updates, before G's, after, of real, of generated, and `measured`."""
    _, (real, before), (real_after, after) = features.astype(float)  # float has room for a run gone astray
    was, now = (np.linalg.norm(cloud.mean(axis=0) - real.mean(axis=0)) for cloud in (before, after))
    return {
        'Iteration': iteration, 'Discriminator Loss Mean': losses[:, 0].mean(),
        'Discriminator Loss Spread': losses[:, 0].std(), 'Generator Loss Mean': losses[:, 1].mean(),
        'Generator Loss Spread': losses[:, 1].std(), 'D on Real': answers[0], 'D on Generated': answers[1],
        **{name.replace('_', ' ').title(): value for name, value in measured.items()},
        'Feature Distance': energy_distance_to(real_after)(after),
        'Centroid Distance Before': was, 'Centroid Distance After': now, 'Moved Toward': int(now < was),
        'Largest Real Move': np.abs(real_after - real).max()}


def check_claims(columns, final):
    """The tutorial's five claims, by columns [n] of metrics.csv and measures of the final samples, with `floor` and
    `shuffled`, those of real rows and of shuffled columns, if kept back. holds: None where a figure is undefined."""
    n = math.ceil(len(columns['Iteration'])/10)
    off = max(abs(columns[f'{name} Loss Mean'][-n:].mean() - level)
              for name, level in (('Discriminator', 2*math.log(2)), ('Generator', math.log(2))))
    # The last tenth in parts of the first. Iteration 0 has but one loss and so no spread.
    spread, mixing = (column[-n:].mean()/column[:n].mean() if len(column) and column[:n].mean() > 0 else math.nan
                      for column in (columns['Discriminator Loss Spread'][1:], columns['Feature Distance']))
    floor, shuffled = final.get('floor', 0), final.get('shuffled', 0)
    share = max(final.get('neighbours_samples', 0), final.get('neighbours_real', 0))
    distance = math.nan if final['energy_distance'] is None else final['energy_distance']
    # 0.02 is some 20 times what two draws of a built-in distribution measure; the eye sees smaller differences too.
    # Own tables may be half of the way from real rows to shuffled columns, images half of the way from 0.5 to 1.
    limit = max(floor + 0.02, (floor + shuffled)/2)
    move, toward = columns['Largest Real Move'].max(), columns['Moved Toward'].mean()
    follow = (('energy distance', distance, distance <= limit) if 'floor' in final or not share else
              ('nearest neighbours of their own kind', share, share <= 0.75))
    claims = {}
    for name, claim, *figures in (  # figures: name, value, is it as claimed?
            ('losses_settle', 'The losses settle at 2 ln 2 and ln 2',
             ('distance from 2 ln 2 and ln 2', off, off <= 0.05),  # D answers 0.476 to 0.526, in equilibrium 0.5
             ('spread, last tenth / first', spread, spread < 1)),
            ('samples_follow', 'Generated samples follow the real distribution', follow),
            ('real_features_stay', 'A generator update moves no feature of real data',
             ('largest move', move, move == 0)),  # not even by rounding, for G's variables do not enter them
            ('centroid_moves_toward', 'The generated centroid moves toward the real one',
             ('share of snapshots', toward, toward >= 0.9)),  # "almost always", says the tutorial
            ('features_mix', 'Real and generated features mix more and more',
             ('distance, last tenth / first', mixing, mixing < 1))):
        holds = [bool(ok) if math.isfinite(value) else None for _, value, ok in figures]
        claims[name] = dict(claim=claim, holds=min(holds, key=[False, None, True].index), measured={
            figure: float(value) if math.isfinite(value) else None for figure, value, _ in figures})
    if toward < 0.9:
        claims['centroid_moves_toward']['finding'] = (
            f'nearer in {toward:.0%} of the snapshots; the tutorial says "almost always"; ten default runs had 75%')
    return claims


def verdict(final, n):
    """In a sentence, how near samples of own data are to real rows, n of which were kept back; None where too few."""
    if not n:
        return None
    share = max(final['neighbours_samples'], final['neighbours_real'])
    energy, floor, shuffled = (final.get(name) or 0 for name in ('energy_distance', 'floor', 'shuffled'))
    if energy > floor + 0.02 and energy >= shuffled:
        return 'The samples are no nearer to the rows kept back than columns shuffled one by one.'
    if energy <= floor + 0.02 and share <= 0.6 + 1/math.sqrt(n):  # two standard errors of a share
        return 'The samples are as good as real rows, as far as the rows kept back can tell.'
    return f'The samples can be told from real rows: {share:.0%} have a nearest neighbour of their own kind, not 50%.'


def advice(settings, columns):
    """In a line, what to try where the samples do not follow the data, by what was measured in the run."""
    distances = columns['Neighbours Samples' if np.isnan(columns['Energy Distance']).all() else 'Energy Distance']
    if columns['Discriminator Loss Mean'][-1] > 10:
        return f'the losses are far from rest: --learning-rate {settings["learning_rate"]/5:g}'
    if len(distances) > 1 and np.argmin(distances) >= 0.6*(len(distances) - 1):
        return f'the samples were still coming nearer at the end: --iterations {3*settings["iterations"] - 2}'
    return f'wider networks, --hidden {" ".join(str(2*n) for n in settings["hidden"])}, or another --seed'


# -------------------------------------------------------------------------------------------- data of the user's

class Failure(Exception):
    """What ends a run with one line on stderr and exit status 1."""


class UsageError(ValueError):
    """What the user asked for that cannot be done: one line on stderr, exit status 2."""


TABLES, ARRAYS = ('.csv', '.tsv', '.csv.gz', '.tsv.gz'), ('.npy', '.npz')
LARGEST = float(np.finfo(np.float32).max)
MISSING = '', 'na', 'n/a', 'nan', 'null', 'none', '-', '?'


def cell_value(cell):
    """The number in a cell of a table, NaN where it holds none."""
    try:
        return float(cell)
    except ValueError:
        return math.nan


def is_header(first, below):
    """Does a table's first line hold names? below: its next lines. Where there is doubt, prints what is assumed."""
    def is_text(cell):  # neither a number, with a decimal point or comma, nor a sign of a missing one
        return math.isnan(cell_value(cell.replace(',', '.'))) and cell.strip().lower() not in MISSING
    columns = [*zip(first, itertools.zip_longest(*below or [['']*len(first)], fillvalue=''))]
    texts, numeric = ([column for column in columns if is_text(column[0]) == kind] for kind in (True, False))
    if any(not is_text(cells[0]) for _, cells in texts) or (
            len(numeric) > 1 and not first[0].strip() and columns[0][1][0].strip()):
        return True  # a text over a number, or nothing over an index
    n, numbers = len(numeric), [cell_value(name) for name, _ in numeric]
    values = np.array([[cell_value(cell) for cell in cells] for _, cells in numeric])
    enumerated = n and numbers in ([*range(n)], [*range(1, n + 1)]) and all('.' not in name for name in first)
    dated = n > 1 and numbers == sorted({*numbers}) and all(1800 < x < 2100 and x == int(x) for x in numbers)
    names = bool(enumerated and n > 1 and ((values != np.round(values)).any()
                                           or n > 2 and (np.diff(values, axis=0) != 1).any())
                 or dated and not ((values > 1800) & (values < 2100)).all()
                 or any(name not in cells for name, cells in texts))
    if names or enumerated:
        say(f'Note        the first line, {", ".join(first)[:60]}, is taken for '
            + ('names; if it is a row, put names above it' if names else 'a row; if it is names, write them as texts'))
    return names


def read_table(path, chosen=None):
    """A .csv or .tsv (also .gz): rows [n, dim] and the columns' names, None without a header. chosen: the columns to
    read, by name or by number from 1. Raises UsageError with the line as an editor counts it."""
    def fit(separator):  # best one that cuts all lines into as many cells, or else the first, or else any
        n = [len(cells) for cells in csv.reader(top, delimiter=separator, skipinitialspace=True)]
        return min(n) == max(n) > 1, n[0] > 1 and separator != ' ', max(n) > 1 and separator != ' '
    with (gzip.open if path.lower().endswith('.gz') else open)(path, 'rt', newline='', encoding='utf-8-sig') as file:
        top = [line.strip(' #') for line in itertools.islice(filter(str.strip, file), 20)] or ['']
        form = dict(delimiter=max('\t;,| ', key=fit), skipinitialspace=True)  # numpy.savetxt may align by spaces
        first, *below = csv.reader(top, **form)
        named = is_header(first, below)
        names = [cell.strip() if named else str(k + 1) for k, cell in enumerate(first)]
        wanted, values = choose_columns(chosen, names), array('d')
        file.seek(0)
        reader = csv.reader((line.strip(' ') for line in file), **form)
        for cells in itertools.islice((cells for cells in reader if any(map(str.strip, cells))), named, None):
            if len(cells) != len(names):
                raise UsageError(f'line {reader.line_num} has {len(cells)} cells, the first has {len(names)}; mend it')
            for k in wanted:
                values.append(cell_value(cells[k]))
                if not abs(values[-1]) < LARGEST:  # also NaN
                    raise UsageError(f'line {reader.line_num}, column {names[k][:60]!r}: {cells[k].strip()[:40]!r} is '
                                     'no finite number in single precision (decimals take a point, 1,234.5 is 1234.5; '
                                     'comma, semicolon, tab, | or spaces end a cell); mend it, or leave the line or, '
                                     'by --columns, the column out')
    return np.frombuffer(values).reshape(-1, len(wanted) or 1), [names[k] for k in wanted] if named else None


def choose_columns(chosen, names):
    """The indices of the chosen columns (None: of all), by name or by number from 1. Raises UsageError."""
    numbers = {str(k + 1): k for k in range(len(names))} | {name: k for k, name in enumerate(names)}
    for name in chosen or []:
        if name not in numbers or names.count(name) > 1:
            raise UsageError(f'has {names.count(name) or "no"} column{"s"*(name in names)} {name!r}; give names, or '
                             f'numbers from 1 to {len(names)}: {", ".join(map(repr, names))[:250]}')
    indices = [numbers[name] for name in chosen] if chosen else [*range(len(names))]
    if len({*indices}) < len(indices):
        raise UsageError(f'--columns {" ".join(chosen)} names a column twice; name each once')
    return indices


def as_rows(values, chosen=None):
    """An array as rows [n, dim] of finite numbers, and the shape of a row where these are images, else None. values:
    [n, dim], or images [n, height, width(, channels)] or [n, channels, height, width]. Raises UsageError."""
    rows = np.asarray(values)  # of a matrix, whose products are others
    rows = rows.astype(float) if rows.dtype.kind == 'O' else rows  # of a data frame's columns of several types
    if rows.dtype.kind not in 'buif' or np.ma.is_masked(values):
        kind = 'masked values' if np.ma.is_masked(values) else f'values of type {str(rows.dtype)[:200]}'
        raise UsageError(f'holds {kind}; numbers are allowed, fill or leave out others')
    if rows.ndim == 4 and rows.shape[1] in (1, 3) and rows.shape[3] not in (1, 3):
        rows = np.moveaxis(rows, 1, 3)  # channels first
    image = rows.shape[1:] if rows.ndim > 2 and rows.shape[3:] in ((), (1,), (3,)) and min(rows.shape[1:3]) > 3 else ()
    rows = rows.reshape(len(rows), -1) if rows.ndim and rows.size else np.empty([0, 0])
    if chosen and image:
        raise UsageError('holds images, which have no columns to choose from; leave --columns out')
    if chosen:
        rows = rows[:, choose_columns(chosen, [str(k + 1) for k in range(rows.shape[1])])]
    if len(rows) < 2:
        raise UsageError(f'holds {len(rows)} rows of {rows.shape[1]} columns; at least 2 rows and 1 column are needed')
    if not image or rows.dtype.kind == 'f':
        rows = rows.astype(np.float32 if image else np.float64, copy=False)
        if not (np.abs(rows) < LARGEST).all():  # also of NaN
            raise UsageError('holds values that are not finite, or beyond single precision; remove or replace them')
        rows = np.where(np.abs(rows) < 1e-290, 0, rows)  # whose differences are not what the processor computes
    return rows, (image[:2] if image[2:] == (1,) else image) or None


def find_rows(source, chosen=None):
    """The user's rows [n, dim] by a name, a path, or what NumPy makes an array of, names of the columns or None, and an
    image's shape or None; thrice None of a DISTRIBUTION. Raises UsageError, and Failure where a download fails."""
    rows, names, path = source, None, source if isinstance(source, str) else ''
    if path in DISTRIBUTIONS:
        return None, None, None
    try:
        if path in KERAS_DATASETS:
            rows = getattr(tf.keras.datasets, path).load_data()[0][0]
        elif path.lower().endswith(TABLES):
            (rows, names), chosen = read_table(path, chosen), None
        elif path.lower().endswith(ARRAYS):
            with open(path, 'rb') as file:
                rows = np.load(file, allow_pickle=False)
                if isinstance(rows, np.lib.npyio.NpzFile):
                    if len(rows.files) != 1 and 'x_train' not in rows:
                        raise UsageError(f'holds the arrays {rows.files[:9]}; give one array, or name it x_train')
                    rows = rows['x_train' if 'x_train' in rows else rows.files[0]]
        elif path:
            raise UsageError(f'is no known distribution and no table; known are {", ".join(BUILT_IN)}, and files that '
                             f'end in {", ".join(TABLES + ARRAYS)}')
        elif hasattr(source, 'columns'):
            wanted, chosen = choose_columns(chosen, [*map(str, source.columns)]), None  # of a data frame
            rows, names = np.asarray(source)[:, wanted], [str(source.columns[k]) for k in wanted]
        rows, image = as_rows(rows, chosen)
        return rows, names, image
    except Exception as error:  # whatever a damaged file makes NumPy, zip or the decoder say, or a download
        said = ' '.join(str(error).split())[:200]
        reason = (str(error) if isinstance(error, UsageError) else
                  f'could not be fetched ({said}); give a local copy: --data {path}.npz' if path in KERAS_DATASETS else
                  f'cannot be read: {error.strerror or said}' if isinstance(error, OSError) else
                  f'is not a table of numbers: {said}' + '; save it as UTF-8'*isinstance(error, UnicodeDecodeError))
        raise (Failure if path in KERAS_DATASETS else UsageError)(
            f'argument --data: {repr(path[:200]) if path else "the array"} {reason}') from error


# ------------------------------------------------------------------------------------- data as a run needs it

PICTURE_ROWS = 256       # real samples in a picture
MEASURED_ROWS = 2000     # samples, real and generated, from which a snapshot's measures are taken
FINAL_ROWS = 10_000      # rows of generated_samples.csv
KEPT_ROWS = 20           # the fewest rows kept back; of less than twice as many none are
KNOTS = 50_000           # of a column's distribution function, of all rows where these are fewer


class Affine(NamedTuple):
    """The networks see (rows - shift)/spread, both [dim]."""
    shift: np.ndarray
    spread: np.ndarray

    def to_networks(self, rows):
        """Rows [n, dim] in the data's units, as float32 in the networks'."""
        moved = self.shift.any() or (self.spread != 1).any()
        return ((rows - self.shift)/self.spread if moved else rows).astype(np.float32)

    def from_networks(self, samples):
        """The way back as part of the graph: a tensor [n, dim] in double precision."""
        return tf.cast(samples, tf.float64)*self.spread + self.shift


class Quantile:
    """As Affine, but the networks see each column as a standard normal, through its own distribution function."""

    def __init__(self, rows):
        self.n, ranks = len(rows), np.linspace(0, len(rows) - 1, min(len(rows), KNOTS)).round().astype(int)
        self.values = np.sort(rows, axis=0)[ranks].astype(float)  # [k, dim], at knots, equally far apart in rank,
        self.scores = np.array([NormalDist().inv_cdf((rank + 0.5)/self.n) for rank in ranks])  # and standard normals
        few = (np.diff(self.values, axis=0) > 0).sum(axis=0) < 20
        self.steps = few | (self.values == np.round(self.values)).all(axis=0)  # a column comes back as training values

    def to_networks(self, rows):  # equal values in the middle of their step, of which interp takes the last, or first
        return np.stack([(np.interp(column, values, self.scores)
                          - np.interp(-column, -values[::-1], -self.scores[::-1]))/2
                         for column, values in zip(rows.T.astype(float), self.values.T)], axis=1).astype(np.float32)

    def from_networks(self, samples):
        k, dim = self.values.shape
        below = (1 + tf.erf(tf.cast(samples, tf.float64)/math.sqrt(2)))/2  # the share of a standard normal
        place = tf.clip_by_value((below*self.n - 0.5)/(self.n - 1), 0, 1)*(k - 1)
        place = tf.where(tf.broadcast_to(self.steps, tf.shape(place)), tf.round(place), place)
        knot = tf.minimum(tf.cast(place, tf.int32), k - 2)
        low, high = (tf.gather(self.values.ravel(), (knot + next)*dim + tf.range(dim)) for next in (0, 1))
        share = place - tf.cast(knot, tf.float64)
        return tf.clip_by_value((1 - share)*low + share*high, low, high)  # by rounding, it may lie just outside


def normal_inputs(transform, rows):
    """The function (n, rng) -> [n, dim] that draws for the networks: normal scores, of equal values in random order, in
    blends of two rows, sqrt(1 - s^2) of one and s of the other, which keeps deviations and correlations: the smoothed
    bootstrap with shrinkage (Silverman 1986). s is about as far as the nearest other row lies, less of many rows."""
    rng, (n_rows, dim), scores = np.random.default_rng(0), rows.shape, np.empty(rows.shape, np.float32)
    in_order = [NormalDist().inv_cdf((rank + 0.5)/n_rows) for rank in range(n_rows)]
    for column, values in zip(scores.T, rows.T):
        column[np.lexsort((rng.random(n_rows), values))] = in_order
    some = scores[:FINAL_ROWS].astype(float)
    nearest = np.concatenate([np.partition(block, 1, axis=1)[:, 1] for block in distances(some[:1000], some)])
    s = np.float32(min(1, math.sqrt(5*dim/n_rows), float(np.median(nearest))/math.sqrt(dim)))

    def inputs(n, rng):
        row, other = (rng.random([n, 2])*n_rows).astype(int).T
        return np.sqrt(1 - s*s)*scores[row] + s*scores[other]
    return inputs


class Data(NamedTuple):
    """What a run knows of its data; `transform` leads to the networks' units, files and pictures are in the data's."""
    sample: Callable  # (n, rng) -> [n, dim] real rows in the data's units
    inputs: Callable  # the same as the networks are trained on them, float32
    names: list       # of the columns, dim of them
    low: Any          # [dim], the range of the rows
    high: Any
    transform: Any    # Affine or Quantile
    formats: Any      # of the columns' numbers in a CSV
    curve: Any        # y of x, None where data are no graph
    image: Any        # (height, width) or (height, width, channels), None where rows are no images
    rows: Any         # of the user's: those trained on
    kept: Any         # and those kept back, None where there are too few


def make_streams(seed):
    """An independent random stream for each use."""
    uses = 'real', 'noise', 'picture', 'measures', 'final', 'weights', 'kept'
    return {use: np.random.Generator(np.random.PCG64(child))
            for use, child in zip(uses, np.random.SeedSequence(seed).spawn(len(uses)))}


def make_data(settings, rows=None, names=None, image=None):
    """The `Data` of a run: of a built-in distribution, or of the user's rows [n, dim]."""
    built_in, kept, formats = None if rows is not None else DISTRIBUTIONS[settings['data']], None, '%.9g'

    def sample(n, rng):
        return (built_in.sample(n, settings['scale'], rng) if built_in else
                rows[(rng.random(n)*len(rows)).astype(int)])
    if rows is not None and len(rows) >= 2*KEPT_ROWS:
        n = min(max(KEPT_ROWS, len(rows)//5), MEASURED_ROWS if image else len(rows))
        shuffled = make_streams(settings['seed'])['kept'].permutation(len(rows))
        kept, rows = rows[shuffled[:n]], rows[shuffled[n:]]
    reference = sample(100_000, np.random.default_rng(0)) if built_in else rows  # the same for every seed
    dim, low, high = reference.shape[1], reference.min(axis=0).astype(float), reference.max(axis=0).astype(float)
    if image:  # one scale for all pixels, because many hardly vary
        low[:], high[:] = low.min(), high.max()
    how = settings['normalize']
    shift, spread = ((np.zeros(dim), np.ones(dim)) if not how else ((high + low)/2, (high - low)/2) if image else
                     (reference.mean(axis=0, dtype=float), reference.std(axis=0, dtype=float)))
    transform = Quantile(reference) if how == 'quantile' else Affine(shift, np.where(spread > 0, spread, 1))
    inputs = normal_inputs(transform, reference) if how == 'quantile' else (
        lambda n, rng: transform.to_networks(sample(n, rng)))
    if rows is not None:  # %s: as many digits as tell a number from its neighbours
        steps, narrow = getattr(transform, 'steps', False), high - low < 1e-6*np.maximum(abs(low), abs(high))
        whole = steps & (rows == np.round(rows)).all(axis=0)
        formats = '%.4g' if image else np.select([whole, steps | narrow], ['%.0f', '%s'], '%.9g').tolist()
    names = names or (['x', 'y'] if dim == 2 else [f'x{k + 1}' for k in range(dim)])
    return Data(sample, inputs, names, low, high, transform, formats, built_in and built_in.curve, image, rows, kept)


# --------------------------------------------------------------------------------------------- files of a run

SNAPSHOT = 'snapshots/%06d.npz'
# What a run writes, in the order in which a new one removes it: no checkpoint outlives the run it is of.
WRITTEN = ('checkpoint.npz', 'summary.json', 'loss_logs.csv', 'metrics.csv', 'generated_samples.csv', 'saved_model',
           'tensorboard', 'snapshots/data.npz', SNAPSHOT, 'training_data.png', 'training_loss.png', 'metrics.png',
           'columns.png', 'index.html', 'iterations.gif', 'feature_transform.gif', 'feature_transform_centroid.gif',
           'd_step_transform.gif', 'd_step_centroid.gif', 'decision.gif', 'mapping.gif',
           'iterations/iteration_%06d.png', 'features/feature_transform_%06d.png',
           'features/feature_transform_centroid_%06d.png', 'features/d_step_transform_%06d.png',
           'features/d_step_centroid_%06d.png', 'discriminator/decision_%06d.png', 'generator/mapping_%06d.png')


def remove(path):
    """Removes a file or a folder, if there is one."""
    shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


def discard(folder):
    """Removes the files of the run in a folder, and never what the program did not write."""
    for pattern in WRITTEN:
        match = re.compile(re.escape(Path(pattern).name).replace('%06d', r'\d{6,}') + r'(\.tmp)?').fullmatch
        for path in [path for path in (folder/pattern).parent.glob('*') if match(path.name)]:
            remove(path)


@contextlib.contextmanager
def replacing(path):
    """Where to write a file or a folder, which then takes the place of another by renaming; whole, or not at all."""
    new = path.with_name(path.name + '.tmp')
    remove(new)  # as a kill may have left it
    try:
        yield new
        if path.is_dir():
            remove(path)
        os.replace(new, path)
    except OSError as error:
        error.filename = error.filename or str(path)  # that of a full disk names no file
        raise
    finally:
        remove(new)


def write_file(path, **content):
    """Writes a .json or .npz, whole; `read_file` gives its content back."""
    with replacing(path) as new, open(new, 'wb') as file:
        if path.suffix == '.npz':
            np.savez(file, **content)
        else:
            file.write((json.dumps(content, indent=1, allow_nan=False) + '\n').encode())


def append_lines(path, header, lines):
    """Appends lines to a CSV; a new one begins with the header."""
    with open(path, 'a', encoding='utf-8') as file:
        file.writelines(line + '\n' for line in ([] if file.tell() else [header]) + lines)


@contextlib.contextmanager
def reading(path):
    """Raises a Failure where json, csv, NumPy or zipfile find a file of the run damaged."""
    try:
        yield
    except (ValueError, TypeError, KeyError, EOFError, RuntimeError, csv.Error, zlib.error, zipfile.BadZipFile):
        raise Failure(f'{path} is damaged, or of another run; put back a copy, or start anew by --overwrite')


def read_file(path, most=None):
    """What a file of a run holds: .json and .npz values by name, .csv its header and its first `most` rows, or all,
    [n, columns], NaN in empty cells, without a last line still being written; None where there is none. Raises Failure
    where it is damaged."""
    if not path.exists():
        return None
    with reading(path):
        if path.suffix == '.json':
            return dict(json.loads(path.read_text(encoding='utf-8')))
        if path.suffix == '.csv':
            with open(path, encoding='utf-8-sig', newline='') as file:
                whole = (line for line in file if line.endswith('\n'))
                header, *lines = [*itertools.islice(csv.reader(whole), most and most + 1)] or [[]]
            rows = np.array([[float(cell or 'nan') for cell in line] for line in lines])
            return header, rows.reshape(-1, len(header) or 1)
        with np.load(path) as arrays:
            if arrays.zip.testzip():  # before NumPy believes what the arrays say of themselves
                raise ValueError('a checksum is wrong')
            return dict(arrays)


@contextlib.contextmanager
def locked(folder):
    """Holds the folder for this run alone; the operating system lets go of it however the process ends."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Failure(f'another run is writing to {folder}; wait for it or give another --output') from None
        except OSError as error:  # of network and container mounts
            say(f'Note        {folder} cannot be locked ({error.strerror}): two runs in it would not notice each other')
        yield
    finally:
        os.close(descriptor)


# ---------------------------------------------------------------------------------------------------- one run

FORMAT = 2               # of checkpoint.npz; another one is not read
CHECKPOINT_EVERY = 1     # seconds, more where saving would take more than a fiftieth of the time
CALL_SECONDS = 0.4       # of training in one sess.run, so that interrupts answer
BUFFER_BYTES = 32e6      # of batches in one sess.run
TIMEOUT = 60             # seconds that the workers of a cluster have for a block of iterations
LARGEST_LOSS = 1e8       # no training comes back from there
DIVERGED = (f'is not finite or beyond {LARGEST_LOSS:g}; start anew by --overwrite with --learning-rate below %g, '
            '--normalize or another --seed')


def session_config(hidden, dim):
    """Where networks run. Small ones gain little from a second thread, which the drawing process needs more, and lose
    on a GPU, where starting an iteration's hundred small kernels alone takes longer than the iteration on a CPU."""
    small = max(hidden) <= 64 and dim <= 64
    return tf.ConfigProto(intra_op_parallelism_threads=1 if small else 0,  # 0: one a core
                          device_count={'GPU': 0} if small else {}, gpu_options=tf.GPUOptions(allow_growth=True))


def averaging(optimizer, decay):
    """Lets an optimizer keep, and returns, moving averages of what it updates (of late common, Yazici et al. 2019)."""
    averages, apply_gradients = tf.train.ExponentialMovingAverage(decay), optimizer.apply_gradients
    def apply_and_average(gradients, **options):
        gradients = list(gradients)
        with tf.control_dependencies([apply_gradients(gradients, **options)]):
            return averages.apply([variable for _, variable in gradients])
    optimizer.apply_gradients = apply_and_average
    return averages


class Run:
    """A run: its data, its networks in the default graph, their session, and how far training has come."""

    def __init__(self, folder, settings, data):
        self.folder, self.settings, self.data = folder, settings, data
        self.streams, self.states = make_streams(settings['seed']), {}  # states: the streams' at self.iteration
        self.dim, self.noise_dim = len(data.names), settings['noise_dim']
        self.iteration, self.seconds, self.recent = 0, 0., []  # the next; of training; losses since a snapshot
        self.best, self.best_weights = dict(distance=math.inf), {}  # with --keep best: the nearest snapshot; its G
        self.pace, self.bar = CALL_SECONDS, None  # seconds an iteration takes, as far as is known; a progress bar
        row_bytes = 4*settings['batch_size']*(self.dim + self.noise_dim)
        self.length = max(1, min(settings['snapshot_every'] - 1, settings['iterations'], int(BUFFER_BYTES/row_bytes)))
        self.choose_inputs()
        tf.set_random_seed(int(self.streams['weights'].integers(2**31)))
        self.optimizers = [tf.train.RMSPropOptimizer(settings['learning_rate']) for _ in range(2)]
        averages = averaging(self.optimizers[0], settings['average']) if settings['average'] else None
        low, high = (data.transform.to_networks(edge[None])[0] for edge in (data.low, data.high))
        self.networks = dict(hsize=settings['hidden'], dim=self.dim, low=low, high=high,
                             **{name: settings[name] for name in ('activation', 'layer', 'output_mapping')})
        self.gan = build_gan(*self.optimizers, settings['penalty'], noise_dim=self.noise_dim, **self.networks)
        self.weights = {v.op.name: v.read_value() for v in tf.global_variables()}  # those of the optimizers too
        # What is delivered, and shown and measured before: the moving average of G's variables, or these themselves.
        delivered = {v.op.name: averages.average(v) if averages else v for v in tf.trainable_variables('GAN/Generator')}
        self.generator = {name: variable.read_value() for name, variable in delivered.items()}
        with tf.variable_scope('', custom_getter=lambda getter, name, **options: delivered[name]):
            self.samples = data.transform.from_networks(generator(self.gan.Z, reuse=True, **self.networks))
        cluster = read_cluster(settings['batch_size'])
        self.workers = cluster[0]['worker'] if cluster else []
        if cluster:  # isolated, because a worker takes a function for an earlier chief's of the same name
            self.sess = tf.Session(serve().target, config=tf.ConfigProto(isolate_session_state=True))
        else:
            self.sess = tf.Session(config=session_config(settings['hidden'], self.dim))
        in_thread(self.sess.run, tf.global_variables_initializer())  # waits for a cluster's workers

    def choose_inputs(self):
        """What stays the same through the snapshots: real rows X and noise Z to measure, a plane for D's map, a grid
        for G's mapping, the `distance` of samples to real rows with its `levels`, and what all pictures need."""
        data, streams, sizes = self.data, self.streams, (64, 64) if self.data.image else (10_000, PICTURE_ROWS)
        training, real = (data.sample(n, streams['picture']) for n in sizes)
        self.X = data.sample(MEASURED_ROWS, streams['measures'])
        self.Z = sample_Z(MEASURED_ROWS, self.noise_dim, streams['measures'])
        self.distance, self.levels, kept = None, {}, {}
        if data.rows is None:
            self.distance = energy_distance_to(self.X)
            self.levels = dict(floor=np.mean([self.distance(part) for part in np.split(training, 5)]))
        elif data.kept is not None:
            self.X, rows = data.kept[:MEASURED_ROWS], data.rows[:MEASURED_ROWS]
            if not data.image:  # the distance of pixels would say little
                self.distance = energy_distance_to(self.X, data.rows.std(axis=0), unpaired=True)
                shuffled, kept = np.random.default_rng(0).permuted(rows, axis=0), dict(rows=np.concatenate([data.kept, data.rows])[:10000])
                self.levels = dict(floor=self.distance(rows), shuffled=self.distance(shuffled))
        width = data.high - data.low
        margin = 0 if data.image else np.where(width > 0, 0.15*width, np.maximum(1, 0.1*np.abs(data.high)))
        low, high = data.low - margin, data.high + margin
        self.plane, self.grid = np.empty([0, self.dim]), np.empty([0, self.noise_dim])
        if self.dim == 2:
            self.plane = np.stack(np.meshgrid(*np.linspace(low, high, 64).T), -1).reshape(-1, 2)
            axes = [np.linspace(-1, 1, 33)]*min(self.noise_dim, 2)
            grid = np.stack(np.meshgrid(*axes), -1).reshape(-1, len(axes))
            self.grid = grid
            if self.noise_dim > 2:
                further = np.random.default_rng(0).uniform(-1, 1, [8, 1, self.noise_dim - 2])
                self.grid = np.concatenate([np.broadcast_to(grid, [8, *grid.shape]), np.broadcast_to(
                    further, [8, len(grid), self.noise_dim - 2])], axis=2).reshape(-1, self.noise_dim)
        self.measured_X = data.transform.to_networks(np.concatenate([self.X, self.plane]))
        self.shown = dict(training=training, real=real, low=low, high=high, names=data.names, formats=data.formats,
                          image=data.image or [], noise=self.grid[:1089 if self.noise_dim > 1 else None, :2], **self.levels, **kept)

    def train(self):
        """The training loop, from where the run stands to its end, with its log, its snapshots and its checkpoints."""
        train_block, every = self.block_trainer(), self.settings['snapshot_every']
        next_save = time.perf_counter() + CHECKPOINT_EVERY
        with ThreadPoolExecutor(1) as beside:  # draws the next batches, and measures the last snapshot, meanwhile
            batches, measuring = beside.submit(self.draw, self.iteration), beside.submit(bool)  # no snapshot yet
            started = time.perf_counter() - self.seconds
            while self.iteration < self.settings['iterations']:
                iteration, (X_batches, Z_batches, states) = self.iteration, batches.result()
                batches = beside.submit(self.draw, iteration + len(X_batches))
                calling, seen = time.perf_counter(), None
                if iteration % every:
                    losses = train_block(X_batches, Z_batches)
                    self.pace = (time.perf_counter() - calling)/len(losses)
                else:
                    losses, *seen = self.snapshot(X_batches[0], Z_batches[0])
                fine = (np.abs(losses) < LARGEST_LOSS).all(axis=1)
                if not fine.all():
                    raise Failure(f'iteration {iteration + fine.argmin()}: a loss '
                                  + DIVERGED % self.settings['learning_rate'])
                self.recent.append(losses)
                if seen:
                    measuring.result()
                    measuring = beside.submit(self.keep_snapshot, iteration, np.concatenate(self.recent), *seen)
                    self.recent = []
                self.log(losses)
                self.iteration, self.states = iteration + len(losses), states
                self.seconds = time.perf_counter() - started
                if time.perf_counter() > next_save or self.iteration == self.settings['iterations']:
                    measuring.result()  # its row, and the best generator, belong to what is saved
                    saving = time.perf_counter()
                    self.save()
                    next_save = saving + max(CHECKPOINT_EVERY, 50*(time.perf_counter() - saving))

    def draw(self, iteration):
        """The batches X [n, batch_size, dim], Z [n, batch_size, noise_dim] of a call, and the streams' states after."""
        batch_size, every = self.settings['batch_size'], self.settings['snapshot_every']  # whose iteration goes alone
        n = min(-iteration % every or 1, self.settings['iterations'] - iteration, self.length,
                max(1, int(CALL_SECONDS/self.pace)))
        X, Z = (np.empty([n*batch_size, width], np.float32) for width in (self.dim, self.noise_dim))
        for i in range(0, len(X), 4096):  # pieces that stay in the cache cost a third
            X[i:i + 4096] = self.data.inputs(len(X[i:i + 4096]), self.streams['real'])
            Z[i:i + 4096] = sample_Z(len(Z[i:i + 4096]), self.noise_dim, self.streams['noise'])
        states = {use: stream.bit_generator.state for use, stream in self.streams.items()}
        return X.reshape(n, batch_size, self.dim), Z.reshape(n, batch_size, self.noise_dim), states

    def block_trainer(self):
        """The function (X_batches, Z_batches) -> losses [n, 2] that trains from one snapshot to the next."""
        settings, steps = self.settings, (self.settings['d_steps'], self.settings['g_steps'])
        if settings['step_by_step']:
            return lambda X_batches, Z_batches: np.array([train_iteration(self.sess, self.gan, *batches, *steps)[:2]
                                                          for batches in zip(X_batches, Z_batches)], float)
        compute = functools.partial(worker_gradients, len(self.workers)) if self.workers else loss_and_gradients
        run_loop = functools.partial(build_loop(
            *self.optimizers, self.length, settings['batch_size'], *steps, jit_compile=not self.workers,
            compute=compute, penalty=settings['penalty'], noise_dim=self.noise_dim, **self.networks), self.sess)
        if self.workers:
            return functools.partial(in_thread, run_loop, seconds=TIMEOUT)
        with silence():
            run_loop(np.empty([0, 1, 1]), np.empty([0, 1, 1]))  # no iteration: compiles it
        return run_loop

    def snapshot(self, X_batch, Z_batch):
        """An iteration step by step. Returns its losses [1, 2], and for `keep_snapshot` the arrays of its file, mean
        D(x) on real and on generated samples, samples [n, dim] to measure, and with --keep best G's weights."""
        sess, gan, settings, n = self.sess, self.gan, self.settings, len(self.X)
        feed = {gan.X: X_batch, gan.Z: Z_batch}
        last = settings['hidden'] and [v for v in tf.get_collection(tf.GraphKeys.GLOBAL_VARIABLES, scope='GAN/Discriminator')
                                       if 'RMSProp' not in v.name and 'Average' not in v.name][-2:]
        kernel, bias = last
        dloss, gloss, features = train_iteration(sess, gan, X_batch, Z_batch, settings['d_steps'], settings['g_steps'],
                                                 look=lambda: sess.run([gan.r_rep, gan.g_rep, kernel, bias], feed_dict=feed))
        boundary = np.array([[*k[:, 0], *b] for _, _, k, b in features[:2]])
        features = [look[:2] for look in features]
        Z_shown = np.concatenate([Z_batch, self.Z])[:len(self.shown['real'])]  # as many as real ones are drawn
        generated = sess.run(self.samples, feed_dict={gan.Z: Z_shown})
        *logits, samples = sess.run([gan.r_logits, gan.f_logits, self.samples], feed_dict={
            gan.X: self.measured_X, gan.Z: np.concatenate([self.Z, self.grid])})
        r_D, f_D = (np.exp(-np.logaddexp(0, -x[:, 0].astype(float))) for x in logits)  # the sigmoid, without overflow
        arrays = dict(generated=generated.astype(np.float32), features=np.array(features), boundary=boundary,
                      decision=r_D[n:].astype(np.float32), mapping=samples[MEASURED_ROWS:].astype(np.float32))
        weights = sess.run(self.generator) if settings['keep'] == 'best' else None
        answers = r_D[:n].mean(), f_D[:MEASURED_ROWS].mean()
        return np.array([[dloss, gloss]], float), arrays, answers, samples[:MEASURED_ROWS], weights

    @np.errstate(all='ignore')  # each thread has its own
    def keep_snapshot(self, iteration, losses, arrays, answers, samples, weights):
        """Writes a snapshot and its measures; remembers the best generator. losses: [n, 2] since the last snapshot."""
        write_file(self.folder/(SNAPSHOT % iteration), **arrays)
        measured = sample_measures(samples, self.data, self.distance)
        row = metrics_row(iteration, losses, answers, arrays['features'], measured)
        append_lines(self.folder/'metrics.csv', ','.join(row),
                     [','.join('' if x is None else f'{x:.9g}' for x in row.values())])
        write_event(self.events, step=iteration, summary=tf.Summary(value=[
            tf.Summary.Value(tag=name, simple_value=x) for name, x in [*row.items()][1:] if x is not None]))
        shares = measured.get('neighbours_samples'), measured.get('neighbours_real')  # by which images are judged
        distance = max(shares) if self.data.image and all(shares) else measured['energy_distance']
        if weights and distance is not None and distance <= self.best['distance']:
            self.best, self.best_weights = dict(iteration=iteration, distance=distance), weights

    def log(self, losses):
        """Writes and prints the losses [n, 2] of the iterations from this one on, as often as the flags say."""
        rows = list(zip(itertools.count(self.iteration), *losses.T.tolist()))
        append_lines(self.folder/'loss_logs.csv', 'Iteration,Discriminator Loss,Generator Loss',
                     ['%d,%.9g,%.9g' % row for row in rows if row[0] % self.settings['log_every'] == 0])
        for row in rows:
            if row[0] % self.settings['print_every'] == 0:
                say('Iterations: %d\t Discriminator loss: %.4f\t Generator loss: %.4f' % row, self.bar)
        on_terminal = getattr(sys.stdout, 'isatty', bool)() and os.environ.get('TERM') != 'dumb'
        if self.bar:
            self.bar.add(len(rows))
        elif self.bar is None and on_terminal and self.iteration % self.settings['snapshot_every']:
            self.bar = False  # where Keras cannot be loaded; else from now on, for a first block has shown the pace
            with contextlib.suppress(ImportError, ValueError, AttributeError):
                left = self.settings['iterations'] - rows[-1][0] - 1
                self.bar = tf.keras.utils.Progbar(left, unit_name='iteration')

    def save(self):
        """Saves all that going on needs. Raises Failure, and saves nothing, where a weight is not finite."""
        weights = self.sess.run(self.weights)
        if not all(np.isfinite(value).all() for value in weights.values()):
            raise Failure(f'iteration {self.iteration}: a weight ' + DIVERGED % self.settings['learning_rate'])
        state = dict(format=FORMAT, iteration=self.iteration, seconds=self.seconds, best=self.best, streams=self.states)
        write_file(self.folder/'checkpoint.npz', state=np.frombuffer(json.dumps(state).encode(), np.uint8),
                   recent=np.concatenate([np.empty([0, 2]), *self.recent]), **weights,
                   **{f'best/{name}': value for name, value in self.best_weights.items()})

    def restore(self):
        """Back to the checkpoint, if any, with the logs cut there; Failure, before any change, where they mismatch."""
        path, ends = self.folder/'checkpoint.npz', {}  # log -> bytes to keep
        with reading(path):
            if arrays := read_file(path):
                state = json.loads(arrays.pop('state').tobytes())
                if state.pop('format') != FORMAT:
                    raise Failure(f'{path} is of another version of this program, whose format is not {FORMAT}')
                for use, position in state.pop('streams').items():
                    self.streams[use].bit_generator.state = position
                self.best_weights = {name[5:]: arrays.pop(name) for name in [*arrays] if name.startswith('best/')}
                self.recent = [arrays.pop('recent')]
                for v in tf.global_variables():
                    v.load(arrays[v.op.name], self.sess)
                vars(self).update(state)
        for name, every in ('loss_logs.csv', 'log_every'), ('metrics.csv', 'snapshot_every'):
            path, ends[self.folder/name] = self.folder/name, 0
            if self.iteration:
                with reading(path), open(path, 'rb') as file:
                    if not all(file.readline().endswith(b'\n')  # the header, and its rows
                               for _ in range(1 + math.ceil(self.iteration/self.settings[every]))):
                        raise ValueError('it is shorter than it was')
                    ends[path] = file.tell()
        for path, end in ends.items():
            os.truncate(path, end) if end else remove(path)
        remove(self.folder/'summary.json')
        write_file(self.folder/'settings.json', **self.settings)  # not before it is known that the run can go on
        say(f'Going on from iteration {self.iteration}.' if arrays else 'Nothing was saved: starting from iteration 0.')

    def finish(self):
        """Writes the generator, from noise to the data's units, its samples and the summary; returns the last two."""
        settings, data, weights = self.settings, self.data, self.best_weights or self.sess.run(self.generator)
        with tf.Graph().as_default(), tf.Session(config=session_config(settings['hidden'], self.dim)) as sess:
            tf.set_random_seed(0)  # nothing is drawn, but where the user wants determinism TensorFlow asks for a seed
            Z = tf.placeholder(tf.float32, [None, self.noise_dim])
            samples = data.transform.from_networks(generator(Z, **self.networks))
            for v in tf.global_variables():
                v.load(weights[v.op.name], sess)
            with replacing(self.folder/'saved_model') as new:
                tf.saved_model.simple_save(sess, str(new), {'Z': Z}, {'samples': samples})
        samples = write_samples(self.folder, settings, FINAL_ROWS)
        header, rows = read_file(self.folder/'metrics.csv')
        columns, n_kept = dict(zip(header, rows.T)), 0 if data.kept is None else len(data.kept)
        final = sample_measures(samples[:MEASURED_ROWS], data, self.distance) | (self.levels if n_kept else {})
        claims = check_claims(columns, final)
        summary = dict(
            claims=claims, final=final, settings=settings, verdict=verdict(final, n_kept),
            advice=advice(settings, columns) if claims['samples_follow']['holds'] is False else None,
            seconds=dict(training=self.seconds), delivered_iteration=self.best.get('iteration', self.iteration - 1),
            versions=dict(python=sys.version.split()[0], tensorflow=tf.version.VERSION, numpy=np.__version__))
        write_file(self.folder/'summary.json', **summary)
        return dict(summary, samples=samples)


def write_samples(folder, settings, n):
    """Writes n samples of the folder's SavedModel, the first the same for every n; returns the last block of them."""
    rng, shown = make_streams(settings['seed'])['final'], read_file(folder/'snapshots/data.npz')
    names, formats = shown['names'].tolist(), shown['formats'].tolist()
    with tf.Graph().as_default(), tf.Session(config=session_config(settings['hidden'], len(names))) as sess:
        model = tf.saved_model.load(sess, ['serve'], str(folder/'saved_model')).signature_def['serving_default']
        with replacing(folder/'generated_samples.csv') as new, open(new, 'w', encoding='utf-8') as file:
            csv.writer(file, lineterminator='\n').writerow(names)
            for first in range(0, n, FINAL_ROWS):  # a fixed size, because rounding may differ with it
                Z = sample_Z(FINAL_ROWS, settings['noise_dim'], rng)
                rows = sess.run(model.outputs['samples'].name, feed_dict={model.inputs['Z'].name: Z})
                np.savetxt(file, rows[:n - first], formats, ',')
    return rows[:n - first]


def write_event(writer, **event):
    """Writes one of TensorBoard's events at once: the errors of tf.summary.FileWriter's thread come late."""
    writer.write(tf.Event(wall_time=time.time(), **event).SerializeToString())
    writer.flush()


def train_run(folder, settings, data, resuming=False):
    """Trains, from the checkpoint where resuming, and leaves the run's files. Returns the summary, with samples."""
    if not resuming:
        discard(folder)
        write_file(folder/'settings.json', **settings)
    try:
        with tf.Graph().as_default(), contextlib.ExitStack() as stack:
            run = Run(folder, settings, data)
            if not run.workers:  # closing would wait for lost workers
                stack.callback(run.sess.close)
            describe(run)
            if resuming:
                run.restore()
            for name in 'tensorboard', 'snapshots':
                (folder/name).mkdir(exist_ok=True)
            run.events = tf.io.TFRecordWriter(str(folder/f'tensorboard/events.out.tfevents.{time.time():.6f}'))
            write_event(run.events, file_version='brain.Event:2')
            if run.iteration:  # by this mark TensorBoard drops what earlier files have from there on
                write_event(run.events, step=run.iteration, session_log=tf.SessionLog(status=tf.SessionLog.START))
            else:
                write_event(run.events, graph_def=tf.get_default_graph().as_graph_def().SerializeToString())
            write_file(folder/'snapshots/data.npz', **run.shown)
            drawing = stack.enter_context(drawing_process(folder, settings))
            run.train()
            summary = run.finish()
    except tf.errors.OpError as error:  # which tells the story of the graph around what happened
        said = [line for line in str(error).split('\n') if line and not re.match('Graph exec|Detected|Node', line)][0]
        raise Failure(f'TensorFlow: {said[:200]}; see to it, then --resume (a lost worker: start it again; not enough '
                      'memory: smaller networks or batches, or --step-by-step)') from error
    report(folder, summary, drawing)
    return summary


# -------------------------------------------------------------------------------- processes beside this one

@contextlib.contextmanager
def drawing_process(folder, settings):
    """`plotting.py` as a process beside the run, or None: it draws what it finds, and the rest when its stdin ends."""
    if settings['pictures'] == 'none':
        yield None
        return
    arguments = Path(__file__).resolve().with_name('plotting.py'), folder, '--follow', os.getpid()
    command = [sys.executable, *map(str, arguments)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True) as drawing:
        try:
            try:
                yield drawing
            except Failure:  # what led up to it is worth seeing
                drawing.communicate()
                raise
            drawing.communicate()  # ends its stdin, and waits
        except BaseException:
            drawing.terminate()
            drawing.wait()  # at an interrupt Popen itself waits for a quarter of a second only
            raise


def read_cluster(batch_size=None):
    """What TF_CONFIG says: HOST:PORT of each 'chief' and 'worker', this process's job, its index there; None without
    workers. Raises UsageError where it is malformed or the batch uneven."""
    text, config = os.environ.get('TF_CONFIG') or '{}', None
    with contextlib.suppress(ValueError):
        config = json.loads(text)
    cluster = config.get('cluster', {}) if isinstance(config, dict) else None
    if isinstance(cluster, dict) and not cluster.get('worker'):
        return None
    match config:
        case {'cluster': {'chief': [chief], 'worker': [*workers]}, 'task': {'type': 'chief' | 'worker' as job, **task}}:
            jobs, n, index = dict(chief=[chief], worker=workers), len(workers), task.get('index', 0)
            addresses = all(re.fullmatch(r'\S+:\d{1,5}', str(host)) for host in (chief, *workers))
            if addresses and index in range(len(jobs[job])):
                if batch_size and batch_size % n:
                    raise UsageError(f'argument --batch-size: {batch_size} is uneven over {n} workers; give '
                                     f'{max(1, round(batch_size/n))*n}')
                return jobs, job, index
    raise UsageError(f'environment variable TF_CONFIG: {text[:300]!r} is not a cluster of one chief and workers, each '
                     'HOST:PORT, and a task of it; correct it, or unset it')


@functools.lru_cache  # a process has one server, and has it to its end
def serve():
    """Starts TensorFlow's server of this process; returns a chief's, stays with a worker's until a signal ends it."""
    jobs, task, index = read_cluster()
    # no proxy of an office stands between the machines of a cluster
    os.environ['no_grpc_proxy'] = ','.join(host.rsplit(':', 1)[0] for hosts in jobs.values() for host in hosts)
    try:
        server = tf.train.Server(jobs, task, index)
    except tf.errors.OpError as error:
        raise Failure(f'TF_CONFIG: {jobs[task][index]}: {error.message[:200]}; give another, free address') from error
    if task == 'worker':
        for number in signal.SIGINT, signal.SIGTERM:
            signal.signal(number, lambda number, _: sys.exit(128 + number))
        with silence():
            while True:  # in Server.join no signal is answered, in one long sleep none that another thread took
                time.sleep(1)
    say(f'Waiting     for the workers {", ".join(jobs["worker"])}')
    return server


def in_thread(function, *arguments, seconds=None):
    """Calls a function beside this thread, which can answer signals; Failure if it takes more than these seconds."""
    pool = multiprocessing.pool.ThreadPool(1)
    try:
        return pool.apply_async(function, arguments).get(seconds)
    except multiprocessing.TimeoutError:
        raise Failure(f'no answer from a worker for {seconds} seconds; start it again, then --resume') from None
    finally:
        pool.close()


def worker_gradients(n, network, variables, X, Z, **options):
    """`loss_and_gradients`, computed by n workers, compiled, each on a share of the batch, and averaged."""
    values = {v.op.name: v.read_value() for v in tf.trainable_variables()}
    @functools.partial(tf.function, jit_compile=True, autograph=False)
    def of_share(values, X, Z):
        with tf.variable_scope('', custom_getter=lambda getter, name, **_: values[name]):
            return loss_and_gradients(network, [values[v.op.name] for v in variables], X, Z, **options)
    results = []
    for k, share in enumerate(zip(tf.split(X, n), tf.split(Z, n))):
        with tf.device(f'/job:worker/task:{k}'):
            results.append(of_share(values, *share))
    return [tf.add_n(same)/n for same in zip(*results)]


# ---------------------------------------------------------------- starting and going on, and what is printed

NOT_RECORDED = 'output', 'resume', 'overwrite', 'sample'


@np.errstate(all='ignore')  # the program looks itself for what is not finite
def run_command(argv, array=None):
    """Runs the command; `array` stands in for a file of --data. Returns the summary, with samples if it trained."""
    options, cluster = parse(argv), read_cluster()
    if cluster and cluster[1] == 'worker':
        return serve()
    folder = Path(options['output'])
    if options['resume'] or options['sample']:
        return go_on(folder, argv, array)
    rows, names, image = find_rows(options['data'] if array is None else array, options['columns'])
    suited = (DISTRIBUTIONS[options['data']].flags if rows is None else IMAGE_FLAGS if image
              else dict(TABLE_FLAGS, noise_dim=max(16, rows.shape[1])))  # the user's flags win over them
    settings = {name: value for name, value in parse(argv, **suited).items() if name not in NOT_RECORDED}
    chosen = sorted(name for name in suited if settings[name] == suited[name])
    settings.update(fingerprint=fingerprint(rows), suited=chosen)
    read_cluster(settings['batch_size'])  # raises where they do not fit
    data = make_data(settings, rows, names, image)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        if error.errno not in (errno.EEXIST, errno.ENOTDIR, errno.ENAMETOOLONG):
            raise
        raise UsageError(f'argument --output: {folder}: {error.strerror}; give a folder') from None
    with locked(folder):
        check_folder(folder, options['overwrite'])
        return train_run(folder, settings, data)


def fingerprint(rows):
    """What tells the user's rows from others: their number, columns and checksum; None of a built-in distribution."""
    return None if rows is None else [*rows.shape, zlib.crc32(np.ascontiguousarray(rows))]


def check_folder(folder, overwrite):
    """Raises UsageError where a new run in this folder would destroy an unfinished run, or files of the user's."""
    present = {path.name for path in folder.iterdir()}
    ours = present & {'settings.json', 'checkpoint', *(name.split('/')[0] for name in WRITTEN)}
    try:
        holds_run = 'settings.json' in present and 'fingerprint' in read_file(folder/'settings.json')
    except Failure:
        holds_run = True  # a damaged one
    if ours and not holds_run:
        raise UsageError(f'argument --output: {folder/min(ours)} is not of a run, and a run would write there; give '
                         'another --output')
    if holds_run and 'summary.json' in present:
        say(f'Replacing the finished run in {folder}.')
    elif holds_run and not overwrite:
        raise UsageError(f'argument --output: {folder} holds an unfinished run; --resume it, or --overwrite it')


def go_on(folder, argv, array):
    """--resume, also of a finished run that is to be longer or have more pictures, or --sample. Returns the summary."""
    options, n = parse(argv), parse(argv)['sample']
    if not (folder/'settings.json').exists():
        flag = '--sample' if n else '--resume'
        raise UsageError(f'argument {flag}: {folder} holds no run; leave {flag} out to start one')
    with locked(folder):
        recorded, summary = read_file(folder/'settings.json'), read_file(folder/'summary.json')
        with reading(folder/'settings.json'):
            if recorded.keys() != {*options, 'fingerprint', 'suited'} - {*NOT_RECORDED}:
                raise ValueError('other names')
        flags = parse(argv, **recorded)
        settings = {name: flags[name] for name in recorded}
        for name, value in recorded.items():
            fixed = n or name not in ('iterations', 'pictures', 'print_every', *['data']*bool(recorded['fingerprint']))
            if settings[name] != value and (fixed or name == 'iterations' and settings[name] < value):
                raise UsageError(f'argument --{name.replace("_", "-")}: {settings[name]} contradicts {value} of the '
                                 f'run in {folder}; leave it out, or give another --output')
        if n and not summary:
            raise Failure(f'{folder} holds no trained generator yet; train one with --resume')
        if n:
            with reading(folder/'saved_model'):
                try:
                    write_samples(folder, settings, n)
                except tf.errors.OpError as error:
                    raise ValueError from error
            return say(f'{n} samples of the generator of iteration {summary["delivered_iteration"]} are in '
                       f'{folder/"generated_samples.csv"}')
        if summary and all(settings[name] == recorded[name] for name in ('iterations', 'pictures')):
            say(f'The run in {folder} is finished: {settings["iterations"]} iterations.')
            with drawing_process(folder, settings):  # which draws what a kill may have prevented
                return summary
        rows, names, image = find_rows(settings['data'] if array is None else array, settings['columns'])
        if fingerprint(rows) != settings['fingerprint']:
            raise UsageError(f'argument --data: {settings["data"]} is not what the run began with; give that by --data')
        return train_run(folder, settings, make_data(settings, rows, names, image), resuming=True)


def say(line, bar=None, file=None):
    """Prints a line in place of the progress bar, ? for letters that a terminal lacks; to nowhere if a pipe closed."""
    file = file or sys.stdout
    encoding = getattr(file, 'encoding', None) or 'utf-8'
    try:
        print(('\r\033[K'*bool(bar) + line).encode(encoding, 'replace').decode(encoding), file=file, flush=True)
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), file.fileno())


def describe(run):
    """Prints what runs; * marks settings that were chosen for such data."""
    settings, data = run.settings, run.data
    kept = 'too few to have any' if data.kept is None else len(data.kept)
    rows = '' if data.rows is None else f', {len(data.rows)} rows to train on, {kept} kept back to judge by'
    G, D = (sum(v.shape.num_elements() for v in tf.trainable_variables(f'GAN/{name}'))
            for name in ('Generator', 'Discriminator'))
    say(f'Data        {settings["data"]}, {run.dim} columns{rows}')
    say(f'Networks    generator of {G} parameters, discriminator of {D}')
    say('Settings    ' + ', '.join(
        f'{name.replace("_", "-")}{"*"*(name in settings["suited"])} {str(value).strip("[]").replace(",", "")}'
        for name, value in settings.items() if name not in ('data', 'columns', 'fingerprint', 'suited')))
    say(f'Output      {run.folder}')


def report(folder, summary, drawing):
    """Prints what came out and where it is."""
    final = ', '.join(f'{name.replace("_", " ")} {x:.4g}' for name, x in summary['final'].items() if x is not None)
    lines = [('Training', f'{summary["seconds"]["training"]:.1f} s'),
             ('Samples', final and f'{final} (generator of iteration {summary["delivered_iteration"]})')]
    for claim in summary['claims'].values():
        figures = ', '.join(f'{name} {"undefined" if x is None else format(x, ".3g")}'
                            for name, x in claim['measured'].items())
        lines.append(({True: 'holds', False: 'not so', None: 'undefined'}[claim['holds']],
                      f'{claim["claim"]} ({claim.get("finding", figures)})'))
    for title, line in *lines, ('Verdict', summary['verdict']), ('Try', summary['advice']):
        if line:
            say(f'{title:<11} {line}')
    if drawing:
        say(f'Pictures    are in {folder}; open {folder/"index.html"} in a browser to see them together')
    if drawing and drawing.returncode:
        say(f'Some pictures are missing; draw them by: python plotting.py {shlex.quote(str(folder))}', file=sys.stderr)


# ----------------------------------------------------------------------------------------------- command line

def number(kind, low, high, metavar='N'):
    """The arguments for argparse of a number, int or float, from low to high."""
    def convert(text):
        with contextlib.suppress(ValueError):
            if low <= kind(text) <= high:
                return kind(text)
        whole, form = ('whole ', 'd') if kind is int else ('', 'g')
        raise argparse.ArgumentTypeError(
            f'{text} is not allowed; give a {whole}number from {low:{form}} to {high:{form}}')
    return dict(type=convert, metavar=metavar)


EVERY, STEPS, WIDTH = number(int, 1, 10**9), number(int, 1, 1000), number(int, 1, 4096)
SWITCH = dict(action='store_true')
FLAGS = {  # section: flag, default, meaning, and the other arguments for argparse
    'data': [
        ('--data', 'quadratic', f'a distribution ({", ".join(BUILT_IN)}), or a table or images of yours: '
         f'{", ".join(TABLES + ARRAYS)}', dict(metavar='NAME or FILE')),
        ('--columns', None, 'of your table, by name or number from 1', dict(nargs='+', metavar='NAME', type=str.strip)),
        ('--scale', 100., 'width of the x range of the curves', number(float, 1e-6, 1e6, 'WIDTH')),
        ('--normalize', None, 'standard: columns of zero mean and unit deviation; quantile: each a standard normal; '
         'all data but quadratic switch it on', dict(nargs='?', const='standard', choices=('standard', 'quantile'))),
        ('--no-normalize', None, 'data as they are', dict(action='store_const', const=None, dest='normalize'))],
    'networks': [
        ('--hidden', [16, 16], 'units of each hidden layer, in both networks', dict(WIDTH, nargs='+')),
        ('--activation', 'leaky_relu', 'of the hidden layers', dict(choices=ACTIVATIONS)),
        ('--layer', 'dense', 'kind of hidden layer', dict(choices=LAYERS)),
        ('--output-mapping', 'linear', "of G's last layer, or onto the data's range", dict(choices=OUTPUT_MAPPINGS)),
        ('--noise-dim', 2, 'width of the noise Z', WIDTH)],
    'training': [
        ('--iterations', 100001, 'of training; 1 + a multiple of --snapshot-every ends with a snapshot', EVERY),
        ('--batch-size', 256, 'real samples, and noise vectors, in an iteration', number(int, 1, 10**5)),
        ('--d-steps', 1, 'updates of the discriminator per iteration', STEPS),
        ('--g-steps', 1, 'updates of the generator per iteration', STEPS),
        ('--learning-rate', 0.001, 'of RMSProp, in both networks', number(float, 1e-12, 1000, 'RATE')),
        ('--average', 0., "decay of an average of G's weights, then delivered", number(float, 0, 0.999999, 'DECAY')),
        ('--penalty', 0., 'R1 gradient penalty of the discriminator', number(float, 0, 1e6, 'GAMMA')),
        ('--keep', 'last', 'deliver the last generator, or that nearest to real rows', dict(choices=('last', 'best'))),
        ('--seed', 0, 'fixes everything random', number(int, 0, 2**32 - 1)),
        ('--step-by-step', False, 'train as the tutorial does, one sess.run a step', SWITCH)],
    'what is written': [
        ('--output', 'outputs', 'where to: a folder', dict(metavar='DIR')),
        ('--log-every', 10, 'iterations between rows of the loss log', EVERY),
        ('--snapshot-every', 1000, 'iterations between snapshots (pictures, measures)', EVERY),
        ('--print-every', 1000, 'iterations between printed lines; 1 prints them all, as the tutorial does', EVERY),
        ('--pictures', 'article', "article: the tutorial's; all: also D's updates, its map of the plane, and the "
         "generator's mapping; none: no page either", dict(choices=('article', 'all', 'none')))],
    'what to do with the run in that folder, one of': [
        ('--resume', False, 'go on with it', SWITCH),
        ('--overwrite', False, 'discard it, though it is unfinished', SWITCH),
        ('--sample', None, 'write N samples of its generator, without training', number(int, 1, 10**7))],
}


def parse(argv, **suited):
    """Every option by its name: as given in argv, or else as `suited`, or else its default. Raises UsageError."""
    def error(message):  # argparse would end the process, which would end a notebook's too
        raise UsageError(message)
    parser = argparse.ArgumentParser('gan_quadratic.py', description=(__doc__ or '').split('\n\nRead')[0],
                                     allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.error = error
    for title, flags in FLAGS.items():
        section = parser.add_argument_group(title)
        section = section.add_mutually_exclusive_group() if title.endswith('one of') else section
        for name, default, meaning, arguments in flags:
            shown = ' '.join(map(str, default)) if isinstance(default, list) else default
            shown = '' if default is None or default is False else f' (default: {shown})'
            section.add_argument(name, default=default, help=meaning + shown, **arguments)
    parser.set_defaults(**suited)
    options = vars(parser.parse_args(argv))
    data, scaled = options['data'], [name for name, distribution in DISTRIBUTIONS.items() if distribution.scaled]
    for one, other, given, meant in (
            ('columns', f'--data {data}', options['columns'], data not in BUILT_IN),
            ('scale', f'--data {data}', options['scale'] != 100, data in scaled),
            ('activation', '--layer maxout', options['activation'] != parser.get_default('activation'),
             options['layer'] != 'maxout')):
        if given and not meant:
            raise UsageError(f'argument --{one}: has no meaning beside {other}; leave one of them out')
    for name in 'data', 'output':
        options[name] = os.path.expanduser(options[name])
        if not options[name].strip() or name == 'output' and re.search(r"[\ud800-\udfff]", options[name]):  # no UTF-8
            raise UsageError(f'argument --{name}: {options[name]!r} is no name that can be written; give another')
    if options['data'] not in BUILT_IN and os.path.exists(options['data']):
        options['data'] = os.path.realpath(options['data'])
    return options


def train(**flags):
    """Runs the command from a notebook or another program: train(iterations=2001, output='demo').

    Each flag by its name with underscores: lists for several values, True and False for switches; `data` may also be
    what NumPy makes an array of, [n, dim] or images. Returns what summary.json holds and, where it trained, `samples`
    [10000, dim] in the data's units; None with `sample=N`. Raises UsageError (a ValueError) where the command would
    exit with 2, Failure or OSError where with 1.
    """
    array, argv, known = None, [], [*parse([])]
    for name, value in flags.items():
        flag = '--' + name.replace('_', '-')
        if name not in known:
            near = difflib.get_close_matches(name, known, 1) or known
            raise UsageError(f'train() has no argument {name!r}; did you mean {" or ".join(near)}?')
        if name == 'data' and not isinstance(value, (str, os.PathLike)):
            array, value = value, 'an array'
        if name == 'normalize' and value is False:
            argv.append('--no-normalize')
        elif isinstance(value, (list, tuple, np.ndarray)):
            argv += [flag, *(f' {each}' for each in value)]  # a space, for it may begin with -
        elif value is not False and value is not None:
            argv.append(flag if value is True else f'{flag}={value}')
    return run_command(argv, array)


def main(argv=None):
    """The command. Returns its exit status: 0, 1 for failures, 2 for usage, 130 and 143 for Ctrl-C and SIGTERM."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass  # a closed stdin, stdout or stderr must not become one of the run's files
    os.close(descriptor)
    argv, signals = sys.argv[1:] if argv is None else argv, []
    def interrupted(number, frame):
        signals.append(number)
        signal.alarm(5)  # then again, because TensorFlow's C++ may swallow what is raised beneath it
        raise KeyboardInterrupt
    before = {number: signal.signal(number, interrupted) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM)}
    try:
        run_command(argv)
        return 0
    except BaseException as error:
        name, reason = getattr(error, 'filename', None), getattr(error, 'strerror', None) or error
        cure = 'set TMPDIR to a folder to write to' if 'temporary' in str(error) else 'see to it, then --resume'
        found = [(status, line) for kind, status, line in (
            (UsageError, 2, f'error: {error}'), (Failure, 1, error), (ImportError, 1, f'{error}; {INSTALL}'),
            (OSError, 1, f'{name}: '*bool(name) + f'{reason}; {cure}'),
            (MemoryError, 1, 'not enough memory; give a smaller --batch-size or --hidden')) if isinstance(error, kind)]
        if signals:  # whatever the interrupted code has made of it
            folder = Path(parse(argv)['output'])
            found = [(128 + signals[0], 'stopped; ' + (
                f'go on with: python gan_quadratic.py --resume --output {shlex.quote(str(folder))}'
                if (folder/'settings.json').exists() else 'nothing was saved yet'))]
        if not found:
            raise
        say(f'gan_quadratic.py: {found[0][1]}', file=sys.stderr)
        return found[0][0]
    finally:
        signal.alarm(0)
        for number, handler in before.items():  # of a notebook's
            signal.signal(number, handler or signal.SIG_DFL)


if __name__ == '__main__':
    gc.set_threshold(100_000)  # TensorFlow's import and graphs make many objects, and nearly all of them stay
    status = main()
    for stream in filter(None, (sys.stdout, sys.stderr)):
        stream.flush()
    os._exit(status)  # nothing of TensorFlow's need be taken down, which takes half a second, or waits for lost workers
