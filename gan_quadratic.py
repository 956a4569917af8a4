"""A simple GAN learns to draw points of y = 10 + x^2, in TensorFlow 1 style on current TensorFlow.

    python gan_quadratic.py                        # the tutorial: 100,001 iterations of 1 + 1 steps
    python gan_quadratic.py --d-steps 10 --g-steps 10 --iterations 10001    # as its companion code
    python gan_quadratic.py --data spiral --pictures all    # an exercise, with every picture
    python gan_quadratic.py --sample 1000          # 1,000 samples of the first one's generator
    python gan_quadratic.py --data table.csv       # data of your own; --resume continues the run

Read it from top to bottom: data, networks, graph and training follow the tutorial, by its names and
in its order, up to `train_iteration`. They stand on their own, but for `matmul`; what makes them
fast and what a run needs comes after.
`plotting.py`, a process of its own, draws from the files of a run.
"""
import argparse
import atexit
import csv
import errno
import functools
import gc
import gzip
import itertools
import json
import math
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
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from statistics import NormalDist
from typing import Any, NamedTuple

INSTALL = 'install what is needed: python -m pip install -r requirements.txt'
try:
    import fcntl
except ImportError:
    sys.exit('gan_quadratic.py: needs Linux or macOS; on Windows, run it in WSL')
try:
    import numpy as np
except ImportError as error:
    sys.exit(f'gan_quadratic.py: {error}; {INSTALL}')


# --------------------------------------------------------------------------------------- TensorFlow

# At its own level, 3, XLA unrolls loops over 16 units before they become vector instructions: a
# quarter slower here.
XLA_FLAGS = '--xla_backend_optimization_level=2'
SILENCE = threading.Lock()  # stderr and the environment belong to all threads


# A process that holds back what it reads, and tells it if the writing process dies.
HOLD_BACK = ['sh', '-c', 'words=$(cat); printf "%s\\n" "$words" >&2']


@contextmanager
def silence():
    """Discards what goes to stderr, unless this process dies meanwhile: what TensorFlow says as it
    is imported, and version 2.16 as XLA first compiles."""
    with SILENCE, subprocess.Popen(HOLD_BACK, stdin=subprocess.PIPE) as holder:
        stderr = os.dup(2)
        os.dup2(holder.stdin.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)
            holder.kill()


class LateTensorFlow:
    """`tensorflow.compat.v1`, imported at the first use of one of its names: `--help` need not wait
    seconds for it."""
    @functools.cached_property
    def module(self):
        os.environ.setdefault('XLA_FLAGS', XLA_FLAGS)  # read by XLA when it first compiles
        os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')
        # With this variable the import leaves Keras, a third of the time and 100 MB, to the first
        # use of `tf.keras`.
        lean = not ('TF_USE_LEGACY_KERAS' in os.environ or 'tensorflow' in sys.modules
                    or find_spec('tf_keras'))
        with silence():
            if lean:
                os.environ['TF_USE_LEGACY_KERAS'] = '1'
            try:
                import tensorflow.compat.v1 as module
            except AttributeError as error:  # which would lead back to __getattr__
                raise ImportError(f'TensorFlow: {error}') from error
            finally:
                if lean:
                    del os.environ['TF_USE_LEGACY_KERAS']
        module.logging.set_verbosity(module.logging.ERROR)
        return module

    def __getattr__(self, name):
        return getattr(self.module, name)


tf = LateTensorFlow()


# ------------------------------------------------------------------------------------ training data

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


def sample_two_curves(n, scale, rng):
    """The tutorial's curve, and its mirror image."""
    u, side = rng.random((n, 2)).T
    x = scale*(u - 0.5)
    return np.stack([x, np.where(side < 0.5, get_y(x), -get_y(x))], axis=1)


def sample_spiral(n, scale, rng):
    """Of Archimedes, two turns."""
    r = rng.random(n)
    angle = 4*np.pi*r
    return np.stack([r*np.cos(angle), r*np.sin(angle)], axis=1)


def sample_ring(n, scale, rng):
    """The unit circle."""
    angle = 2*np.pi*rng.random(n)
    return np.stack([np.cos(angle), np.sin(angle)], axis=1)


def sample_gaussians(n, scale, rng):
    """Eight of standard deviation 0.05, centred on the unit circle, by the transform of Box and
    Muller."""
    k, u, v = rng.random((n, 3)).T
    centre = 2*np.pi*np.floor(8*k)/8
    radius = 0.05*np.sqrt(-2*np.log1p(-u))
    angle = 2*np.pi*v
    x = np.cos(centre) + radius*np.cos(angle)
    y = np.sin(centre) + radius*np.sin(angle)
    return np.stack([x, y], axis=1)


def sample_helix(n, scale, rng):
    """Two turns around the z axis, z in [-1, 1)."""
    z = 2*rng.random(n) - 1
    return np.stack([np.cos(2*np.pi*z), np.sin(2*np.pi*z), z], axis=1)


def sample_sphere(n, scale, rng):
    """The surface of the unit sphere, whose z is uniform."""
    u, v = rng.random((n, 2)).T
    z = 2*u - 1
    radius = np.sqrt(1 - z*z)
    angle = 2*np.pi*v
    return np.stack([radius*np.cos(angle), radius*np.sin(angle), z], axis=1)


SHAPED = dict(  # what suits the other distributions: outputs/gallery/README.md has the figures
    normalize='standard', hidden=[32, 32], activation='tanh', noise_dim=4, learning_rate=0.0005,
    average=0.999, keep='best', iterations=20001)


class Distribution(NamedTuple):
    """What draws rows (n, scale, rng) -> [n, dim], the same however many at a time, and flags that
    suit them."""
    sample: Callable
    flags: dict = SHAPED
    scaled: bool = False  # does --scale mean something to it?


def points_of(curve, flags=SHAPED):
    """The distribution of points (x, curve(x))."""
    return Distribution(functools.partial(sample_data, curve=curve), flags, scaled=True)


DISTRIBUTIONS = {
    'quadratic': points_of(get_y, flags={}),
    'cubic': points_of(lambda x: x**3),
    'quartic': points_of(lambda x: x**4),
    'sine': points_of(lambda x: 10*np.sin(x/10)),
    'cosine': points_of(lambda x: 10*np.cos(x/10)),
    'two-curves': Distribution(sample_two_curves, scaled=True),
    'spiral': Distribution(sample_spiral, dict(SHAPED, hidden=[64, 64], iterations=40001)),
    'ring': Distribution(sample_ring),
    'gaussians': Distribution(sample_gaussians),
    'helix': Distribution(sample_helix),
    'sphere': Distribution(sample_sphere)}
IMAGE_FLAGS = dict(
    normalize='standard', hidden=[256, 256], layer='layer_norm', activation='swish', noise_dim=32,
    output_mapping='tanh', average=0.999, learning_rate=0.0007, penalty=2., batch_size=64,
    iterations=30001, keep='best')
TABLE_FLAGS = dict(
    normalize='quantile', hidden=[64, 64], noise_dim=16,  # data_defaults raises it to one a column
    learning_rate=0.00005, penalty=3., iterations=20001, keep='best')
KERAS_DATASETS = ('mnist', 'cifar10')
BUILT_IN = (*DISTRIBUTIONS, *KERAS_DATASETS)


# ----------------------------------------------------------------------------------------- networks

def make_variable(name, shape, initializer):
    """A resource variable: the loop in the graph needs such."""
    return tf.get_variable(name, shape, initializer=initializer, use_resource=True)


def dense(inputs, units, activation=None):
    """What `tf.layers.dense` did: [n, k] -> [n, units], Glorot uniform kernel, zero bias, in scope
    dense, dense_1..."""
    with tf.variable_scope(None, default_name='dense'):
        kernel = make_variable('kernel', [inputs.shape[-1], units], tf.glorot_uniform_initializer())
        bias = make_variable('bias', [units], tf.zeros_initializer())
    outputs = matmul(inputs, kernel) + bias
    return activation(outputs) if activation else outputs


def residual(inputs, units, activation):
    """A dense layer beside a shortcut (He et al. 2015), which is linear where it changes the
    width."""
    shortcut = inputs if inputs.shape[-1] == units else dense(inputs, units)
    return shortcut + dense(inputs, units, activation)


def layer_norm(inputs, units, activation):
    """A dense layer, each row normalised before the activation (Ba et al. 2016)."""
    outputs = dense(inputs, units)
    with tf.variable_scope(None, default_name='layer_norm'):
        gain = make_variable('gain', [units], tf.ones_initializer())
        offset = make_variable('offset', [units], tf.zeros_initializer())
    mean, variance = tf.nn.moments(outputs, [-1], keepdims=True)
    return activation(tf.nn.batch_normalization(outputs, mean, variance, offset, gain, 1e-6))


def maxout(inputs, units, activation):
    """The larger of two linear layers (Goodfellow et al. 2013); it is its own activation."""
    return tf.maximum(dense(inputs, units), dense(inputs, units))


# Each turns inputs [n, k] into [n, units].
LAYERS = dict(dense=dense, residual=residual, layer_norm=layer_norm, maxout=maxout)
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
    """Turns noise Z [n, noise_dim] into samples [n, dim], as the networks see data; reuse=True
    shares the variables. Hidden layers of `hsize` units, a linear layer, then
    OUTPUT_MAPPINGS[output_mapping] onto the range low to high."""
    with tf.variable_scope('GAN/Generator', reuse=reuse):
        h = Z
        for units in hsize:
            h = LAYERS[layer](h, units, ACTIVATIONS[activation])
        out = dense(h, dim)
    return OUTPUT_MAPPINGS[output_mapping](out, low, high)


def discriminator(X, hsize=[16, 16], reuse=False, *, activation='leaky_relu', layer='dense'):
    """Judges samples X [n, dim]: logits [n, 1], positive for real, and the features h3 [n, 2] of a
    linear layer, from which the last layer makes the logit."""
    with tf.variable_scope('GAN/Discriminator', reuse=reuse):
        h = X
        for units in hsize:
            h = LAYERS[layer](h, units, ACTIVATIONS[activation])
        h3 = dense(h, 2)
        out = dense(h3, 1)
    return out, h3


# -------------------------------------------------------------------------------------------- graph

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


def build_networks(X, Z, hsize=[16, 16], reuse=False, *, dim=2, activation='leaky_relu',
                   layer='dense', joined=False, **mapping):
    """Both networks on real samples X and noise Z, with the two losses: a `GAN` that has no steps
    yet. joined: D looks at both batches in one pass, which takes less time than two and gives the
    same. The rest as in `generator`."""
    hidden = dict(activation=activation, layer=layer)
    G_sample = generator(Z, hsize, reuse, dim=dim, **hidden, **mapping)
    if joined:
        both = tf.concat([X, G_sample], axis=0)
        logits, rep = discriminator(both, hsize, reuse, **hidden)
        r_logits, f_logits = tf.split(logits, 2)
        r_rep, g_rep = tf.split(rep, 2)
    else:
        r_logits, r_rep = discriminator(X, hsize, reuse, **hidden)
        f_logits, g_rep = discriminator(G_sample, hsize, reuse=True, **hidden)
    cross_entropy = tf.nn.sigmoid_cross_entropy_with_logits
    disc_loss = tf.reduce_mean(cross_entropy(logits=r_logits, labels=tf.ones_like(r_logits))
                               + cross_entropy(logits=f_logits, labels=tf.zeros_like(f_logits)))
    gen_loss = tf.reduce_mean(cross_entropy(logits=f_logits, labels=tf.ones_like(f_logits)))
    return GAN(X, Z, G_sample, r_logits, f_logits, r_rep, g_rep, disc_loss, gen_loss)


def gradient_penalty(gan, gamma):
    """R1 (Mescheder, Geiger and Nowozin 2018): gamma/2 times the mean, over real samples, of the
    squared norm of the gradient of D's logit by its input. A scalar, 0 for gamma 0."""
    if not gamma:
        return 0
    gradients, = tf.gradients(gan.r_logits, gan.X)  # row by row, for no row enters another's logit
    return gamma/2*tf.reduce_mean(tf.reduce_sum(tf.square(gradients), axis=1))


def build_gan(gen_optimizer=None, disc_optimizer=None, penalty=0.,
              *, noise_dim=2, dim=2, **networks):
    """The tutorial's graph, in the default graph: a `GAN` on placeholders. Each optimizer, by
    default the tutorial's, updates its own network alone; D's minimises the `gradient_penalty` too.
    networks: as `build_networks` takes them."""
    X = tf.placeholder(tf.float32, [None, dim])
    Z = tf.placeholder(tf.float32, [None, noise_dim])
    gan = build_networks(X, Z, dim=dim, **networks)
    gen_vars = tf.get_collection(tf.GraphKeys.GLOBAL_VARIABLES, scope='GAN/Generator')
    disc_vars = tf.get_collection(tf.GraphKeys.GLOBAL_VARIABLES, scope='GAN/Discriminator')
    gen_optimizer = gen_optimizer or tf.train.RMSPropOptimizer(0.001)
    disc_optimizer = disc_optimizer or tf.train.RMSPropOptimizer(0.001)
    gen_step = gen_optimizer.minimize(gan.gen_loss, var_list=gen_vars)
    penalised = gan.disc_loss + gradient_penalty(gan, penalty)
    disc_step = disc_optimizer.minimize(penalised, var_list=disc_vars)
    return gan._replace(disc_step=disc_step, gen_step=gen_step)


# ----------------------------------------------------------------------------------------- training

def update_discriminator(sess, gan, X_batch, Z_batch, steps=1):
    """So many updates of the discriminator on a batch. Returns its loss from before the last."""
    for _ in range(steps):
        _, dloss = sess.run([gan.disc_step, gan.disc_loss],
                            feed_dict={gan.X: X_batch, gan.Z: Z_batch})
    return dloss


def update_generator(sess, gan, Z_batch, steps=1):
    """So many updates of the generator on a batch. Returns its loss from before the last."""
    for _ in range(steps):
        _, gloss = sess.run([gan.gen_step, gan.gen_loss], feed_dict={gan.Z: Z_batch})
    return gloss


def train_iteration(sess, gan, X_batch, Z_batch, d_steps=1, g_steps=1):
    """One iteration as the tutorial runs it, step by step. Returns both losses."""
    dloss = update_discriminator(sess, gan, X_batch, Z_batch, d_steps)
    gloss = update_generator(sess, gan, Z_batch, g_steps)
    return dloss, gloss


def loss_and_gradients(network, variables, X, Z, penalty=0., **networks):
    """The loss of the 'Generator' or 'Discriminator' on a batch, and gradients of what its updates
    minimise: a list."""
    if network == 'Generator':
        loss = minimised = build_networks(X, Z, **networks).gen_loss
    else:
        joined = not penalty  # it needs the logits of real samples by themselves
        gan = build_networks(X, Z, joined=joined, **networks)
        loss = gan.disc_loss
        minimised = loss + gradient_penalty(gan, penalty)
    return [loss, *tf.gradients(minimised, variables)]


def matmul(inputs, kernel):
    """inputs [n, k] times kernel [k, units], with another form of the same gradient where there are
    at most two units: of so narrow a product with a transposed kernel XLA makes scalar instructions
    on CPUs, a fifth of the whole loop."""
    units = kernel.shape[1]
    if units > 2:
        return tf.matmul(inputs, kernel)

    @tf.custom_gradient
    def narrow(inputs, kernel):
        def gradients(d):
            columns = [d[:, k:k + 1] for k in range(units)]
            of_inputs = tf.add_n([column*kernel[:, k] for k, column in enumerate(columns)])
            of_kernel = tf.stack([tf.reduce_sum(inputs*column, 0) for column in columns], axis=1)
            return of_inputs, of_kernel
        return tf.matmul(inputs, kernel), gradients
    return narrow(inputs, tf.identity(kernel))


def build_loop(gen_optimizer, disc_optimizer, length, batch_size, d_steps=1, g_steps=1,
               *, noise_dim=2, dim=2, **networks):
    """Up to `length` iterations of the tutorial's loop inside the graph, of what `build_gan` made
    with the optimizers: a function (sess, X_batches [n, batch_size, dim], Z_batches [n, batch_size,
    noise_dim]) -> losses [n, 2]. networks: as `build_networks` takes them, and the penalty."""
    def updates(steps, network, optimizer, batch):
        """So many updates of a network, one after the other; the loss is from before the last."""
        variables = tf.trainable_variables(f'GAN/{network}')

        def update(k, _):
            loss, *gradients = loss_and_gradients(network, variables, *batch,
                                                  dim=dim, reuse=True, **networks)
            step = optimizer.apply_gradients(zip(gradients, variables))
            with tf.control_dependencies([step]):
                return k + 1, tf.identity(loss)
        _, loss = tf.while_loop(lambda k, _: k < steps, update, [tf.constant(0), tf.constant(0.)])
        return loss

    def iterations(X_batches, Z_batches, count):
        def iteration(i, losses):
            batch = X_batches[i], Z_batches[i]
            dloss = updates(d_steps, 'Discriminator', disc_optimizer, batch)
            with tf.control_dependencies([dloss]):
                gloss = updates(g_steps, 'Generator', gen_optimizer, batch)
            return i + 1, tf.tensor_scatter_nd_update(losses, [[i]], [[dloss, gloss]])
        start = [tf.constant(0), tf.zeros([length, 2])]
        _, losses = tf.while_loop(lambda i, _: i < count, iteration, start)
        return losses

    # XLA compiles anew for each shape that is fed: so batches pass through buffers of one shape,
    # with a count beside.
    X_buffer = np.zeros([length, batch_size, dim], np.float32)
    Z_buffer = np.zeros([length, batch_size, noise_dim], np.float32)
    X_fed = tf.placeholder(tf.float32, X_buffer.shape)
    Z_fed = tf.placeholder(tf.float32, Z_buffer.shape)
    count = tf.placeholder(tf.int32, [])
    compiled = tf.function(iterations, jit_compile=True, autograph=False)
    losses = compiled(X_fed, Z_fed, count)

    def run_loop(sess, X_batches, Z_batches):
        n = len(X_batches)
        X_buffer[:n] = X_batches
        Z_buffer[:n] = Z_batches
        all_losses = sess.run(losses, feed_dict={X_fed: X_buffer, Z_fed: Z_buffer, count: n})
        return all_losses[:n].astype(float)
    return run_loop


# ----------------------------------------------------------------------------------------- measures

def deviations(rows):
    """The standard deviation of each column of [n, dim]; 1 where all values are the same, of which
    rounding may make another than 0."""
    spread = rows.std(axis=0)
    varies = rows.max(axis=0) > rows.min(axis=0)
    return np.where(varies & (spread > 0), spread, 1)


def standardised(rows, real, spread=None):
    """Rows [n, dim] less the mean of the real ones, divided by `spread`, by default the real ones'
    deviations; beyond 1e15 all is equally far, so that squares stay within single precision."""
    spread = deviations(real) if spread is None else spread
    return np.clip((rows - real.mean(axis=0))/spread, -1e15, 1e15)


def squared_distances(a, b, upper=False):
    """The squared distances of rows of a [n, d] to rows of b [m, d], in blocks that stay in the
    cache: (slice of a, block) each. upper, where b is a: a block leaves out the rows before it."""
    # |p - q|^2 = |p|^2 - 2 p.q + |q|^2, as one matrix product: several times as fast as
    # subtracting.
    left = np.column_stack([np.sum(a**2, axis=1), -2*a, np.ones(len(a), a.dtype)])
    right = np.column_stack([np.ones(len(b), b.dtype), b, np.sum(b**2, axis=1)])
    step = max(1, 50_000//len(b))
    for first in range(0, len(a), step):
        rows = slice(first, min(first + step, len(a)))
        yield rows, left[rows] @ right[first if upper else 0:].T


def distance_sums(a, b, within=False):
    """The sum of the distances of each row of a [n, d] to those of b [m, d], and the other way
    round: [n] and [m]. within, where b is a: each pair is computed once, and the two together are
    each row's sum over all rows."""
    of_a = np.zeros(len(a))
    of_b = np.zeros(len(b))
    for rows, squares in squared_distances(a, b, upper=within):
        block = np.sqrt(np.maximum(0, squares))  # by rounding, a square may be just below 0
        of_a[rows] += block.sum(axis=1)
        if within:
            block[:, :len(block)] = 0  # the line above has pairs within the block both ways
        of_b[-block.shape[1]:] += block.sum(axis=0)
    return of_a, of_b


def energy_distance_to(real, spread=None, unbiased=False):
    """The function samples [n, d] -> their energy distance (Szekely and Rizzo 2013) to these real
    [m, d], and its standard error. Coordinates are divided by `spread`, by default the real ones'
    deviations. Unpaired, it is 0 in the mean over draws of one distribution."""
    def to_each_other(rows):
        return sum(distance_sums(rows, rows, within=True))/(len(rows) - unbiased)
    b = np.float32(standardised(real, real, spread))
    real_to_real = to_each_other(b)

    def distance(samples):
        a = np.float32(standardised(samples, real, spread))
        to_real, from_real = distance_sums(a, b)
        to_real /= len(b)
        from_real /= len(a)
        to_samples = to_each_other(a)
        value = 2*to_real.mean() - to_samples.mean() - real_to_real.mean()
        # By the first-order variance: 2*(to_real - to_samples) is each sample's part in the value.
        of_samples = (to_real - to_samples).var()/len(a)
        of_real = (from_real - real_to_real).var()/len(b)
        return float(value), 2*math.sqrt(of_samples + of_real)
    return distance


def neighbour_shares(samples, real, spread=None):
    """The nearest-neighbour two-sample test (Lopez-Paz and Oquab 2017): the shares of samples [n,
    d], and of as many real [m, d], at most 1,000, whose nearest neighbour is of their own kind: 0.5
    if alike, 1 if apart, 0 if copied. Of equal rows, the mean of a random choice among them counts.
    Coordinates are divided as in `energy_distance_to`."""
    n = min(len(samples), len(real), 1000)
    both = standardised(np.concatenate([samples[:n], real[:n]]), real, spread)
    points, point, counts = np.unique(both, axis=0, return_inverse=True, return_counts=True)
    point = point.ravel()
    nearest = np.empty(len(points), int)
    for rows, squares in squared_distances(points, points):
        each = np.arange(len(squares))
        # A point with several rows is nearest to itself.
        squares[each, rows.start + each] = np.where(counts[rows] > 1, -np.inf, np.inf)
        nearest[rows] = squares.argmin(axis=1)

    def of_own_kind(points_of_kind):
        of_kind = np.bincount(points_of_kind, minlength=len(points))
        near = nearest[points_of_kind]
        itself = near == points_of_kind  # a row is no neighbour of its own
        return float(np.mean((of_kind[near] - itself)/(counts[near] - itself)))
    return of_own_kind(point[:n]), of_own_kind(point[n:])


FINAL_MEASURES = (  # of summary.json
    'energy_distance', 'energy_distance_error', 'neighbours_samples', 'neighbours_real',
    'neighbours_error')


def measures_of(samples, real, data):
    """Samples [n, dim] against real rows [m, dim], by name: the energy distance, NaN of images, of
    which it would say little, the shares of neighbours, and the standard errors of both."""
    distance = math.nan, math.nan
    if not data.image:
        most = max(MEASURED_ROWS, int(math.sqrt(5e9/real.shape[1])))  # in a few seconds
        distance_to_real = energy_distance_to(real[:most], data.spread, unbiased=data.own)
        distance = distance_to_real(samples[:most])
    compared = min(len(samples), len(real), 1000)
    shares = neighbour_shares(samples, real, data.spread)
    return dict(zip(FINAL_MEASURES, [*distance, *shares, 0.5/math.sqrt(compared)]))


METRICS = (  # the columns of metrics.csv
    'Iteration', 'Discriminator Loss Mean', 'Discriminator Loss Spread', 'Generator Loss Mean',
    'Generator Loss Spread', 'D on Real', 'D on Generated', 'Energy Distance', 'Neighbours Samples',
    'Neighbours Real', 'Feature Distance', 'Centroid Distance Before', 'Centroid Distance After',
    'Moved Toward', 'Largest Real Move')
LOSSES = 'Iteration', 'Discriminator Loss', 'Generator Loss'  # of loss_logs.csv
FEATURE_ROWS = 2000  # of a batch, at most, whose distance is measured


def metrics_row(iteration, losses, mean_D, features, measured):
    """One row of metrics.csv by column, of losses [n, 2] since the last snapshot, mean D(x) on real
    and on generated samples, features [3, 2, n, 2], before D's updates, before G's, after, of real,
    of generated, and `measured`: energy distance, NaN of images, and both shares of neighbours."""
    dloss, gloss = losses.T
    # float has room for a run gone astray
    _, (real, generated), (real_after, generated_after) = features.astype(float)
    centroid = real.mean(axis=0)
    was = np.linalg.norm(generated.mean(axis=0) - centroid)
    now = np.linalg.norm(generated_after.mean(axis=0) - centroid)
    distance = energy_distance_to(real_after[:FEATURE_ROWS])
    feature_distance, _ = distance(generated_after[:FEATURE_ROWS])
    largest_move = np.abs(real_after - real).max()
    values = (
        iteration, dloss.mean(), dloss.std(), gloss.mean(), gloss.std(), *mean_D, *measured,
        feature_distance, was, now, int(now < was), largest_move)
    return dict(zip(METRICS, values))


def claim(text, *figures):
    """A claim that holds if all figures do, (name, value, is it as claimed?) each. `holds` is None
    if one is undefined and no other contradicts."""
    defined = [ok for _, value, ok in figures if math.isfinite(value)]
    holds = all(defined)
    if holds and len(defined) < len(figures):
        holds = None
    measured = {name: finite_or_none(value) for name, value, _ in figures}
    return dict(claim=text, holds=holds, measured=measured)


def check_claims(columns, final, verdict=None):
    """The tutorial's five claims, by columns [n] of metrics.csv, the measures of the final samples
    and, of own data, the `Verdict` on them, which is the second claim's answer."""
    n = len(columns['Iteration'])
    part, n_part = ('tenth', math.ceil(n/10)) if n >= 30 else ('third', math.ceil(n/3))

    def last_to_first(column):
        """The mean of the last part, as a share of that of the first; undefined below 9
        snapshots."""
        first = column[:n_part].mean() if n >= 9 else 0
        return column[-n_part:].mean()/first if first > 0 else math.nan

    off_d = abs(columns['Discriminator Loss Mean'][-n_part:].mean() - 2*math.log(2))
    off_g = abs(columns['Generator Loss Mean'][-n_part:].mean() - math.log(2))
    off = max(off_d, off_g)
    spread = last_to_first(columns['Discriminator Loss Spread'][1:])  # iteration 0 has but one loss
    move = columns['Largest Real Move'].max()
    toward = columns['Moved Toward'].mean() if n >= 9 else math.nan
    mixing = last_to_first(columns['Feature Distance'])
    distance = final['energy_distance']
    claims = dict(
        losses_settle=claim(
            'The losses settle at 2 ln 2 and ln 2',
            ('distance from these values', off, off <= 0.05),  # D answers 0.476 to 0.526, not 0.5
            (f'spread in the last {part}, as a share of the first', spread, spread < 1)),
        samples_follow=claim(
            'Generated samples follow the real distribution',
            ('energy distance', distance, distance <= 0.02),  # of 2,000 real points 0.0016
            # shown, not judged: high where samples only scatter around a curve
            ('share with a nearest neighbour of their own kind', larger_share(final), True)),
        real_features_stay=claim(
            'A generator update moves no feature of real data',
            ('largest move', move, move == 0)),  # not even by rounding: G is no part of D
        centroid_moves_toward=claim(
            'The generated centroid moves toward the real one',
            ('share of snapshots', toward, toward >= 0.9)),  # "almost always", says the tutorial
        features_mix=claim(
            'Real and generated features mix more and more',
            (f'distance in the last {part}, as a share of the first', mixing, mixing < 1)))
    if toward < 0.9:
        claims['centroid_moves_toward']['finding'] = (
            f'nearer in {toward:.0%} of the snapshots; the tutorial says "almost always"')
    if verdict:
        claims['samples_follow']['holds'] = verdict.holds
        if verdict.holds is None:
            claims['samples_follow']['finding'] = 'too few rows to tell'
    return claims


def finite_or_none(value):
    """What JSON has for a number that may be undefined."""
    return value if math.isfinite(value) else None


def larger_share(final):
    """The larger of both shares of nearest neighbours of their own kind."""
    return max(final['neighbours_samples'], final['neighbours_real'])


class Verdict(NamedTuple):
    """Are samples of own data as good as real rows, in a sentence? holds is None where that cannot
    be told."""
    holds: bool | None
    sentence: str


def judge(final):
    """The `Verdict` on samples of own data, by the measures of `final` and their errors, twice
    each."""
    if math.isnan(final['neighbours_samples']):
        return Verdict(None, 'Too few rows to tell: none could be held out.')
    share = larger_share(final)
    uncertain = 2*final['neighbours_error']
    # Of images it is NaN, and no comparison holds.
    beyond = final['energy_distance'] - final.get('floor', math.nan) - 0.02
    surely_far = beyond - 2*final['energy_distance_error'] > 0
    maybe_far = beyond + 2*final['energy_distance_error'] > 0
    if surely_far and final['energy_distance'] >= final.get('shuffled', math.inf):
        return Verdict(False, 'The samples are no nearer to real rows than shuffled columns.')
    if not maybe_far and uncertain <= 0.1 and share + uncertain <= 0.6:
        return Verdict(True, 'The samples are as good as real rows, as far as those held out tell.')
    kind = (f'{share:.0%} (standard error {final["neighbours_error"]:.0%}) have a nearest '
            'neighbour of their own kind')
    if surely_far or share - uncertain > 0.5:
        return Verdict(False, f'The samples can be told from real rows: {kind}, not 50%.')
    return Verdict(None, f'Too few rows to tell: {kind}; of real rows 50% have.')


# ------------------------------------------------------------------------------- data of the user's

class Failure(Exception):
    """What ends a run with one line on stderr and exit status 1."""


class UsageError(ValueError):
    """What the user asked for that cannot be done: one line on stderr, exit status 2."""


TABLES = '.csv', '.tsv', '.csv.gz', '.tsv.gz'
ARRAYS = '.npy', '.npz'
MISSING = '', 'na', 'n/a', 'nan', 'null', 'none', '-', '?'
LARGEST = float(np.finfo(np.float32).max)


def cell_value(cell):
    """The number in a cell of a table, NaN where it holds none."""
    try:
        return float(cell)
    except (TypeError, ValueError):
        return math.nan


def is_text(cell):
    """Is a cell neither a number, with a decimal point or comma, nor a sign of a missing one?"""
    value = cell_value(cell.replace(',', '.'))
    return math.isnan(value) and cell.strip().lower() not in MISSING


def is_header(first, second):
    """Does a table's first line hold names? second: its next line. Where there is doubt, a note
    says what is assumed."""
    def note(taken_for):
        say(f'Note        the first line, {", ".join(first)[:60]}, is taken for {taken_for}')

    over_texts = [is_text(below) for cell, below in zip(first, second) if is_text(cell)]
    if any(over_texts):
        note('names; if it is a row, put names above it')
    if over_texts or (not first[0].strip() and second[0].strip()):  # or nothing over an index
        return True
    numbers = [cell_value(cell) for cell in first]
    counted = numbers[0] in (0, 1) and set(np.diff(numbers)) == {1}
    years_above_others = (len(first) > 1 and all(map(is_year, first))
                          and not all(map(is_year, second)))
    if counted or years_above_others:
        note('a row; if it is names, write them as texts')
    return False


def is_year(cell):
    """Is a cell a whole number from 1801 to 2099?"""
    return cell_value(cell) in range(1801, 2100)


def find_separator(lines):
    """The separator that cuts all lines into the same number of cells, or else one that cuts the
    first, or else one that cuts any."""
    def fit(separator):
        rows = csv.reader(lines, delimiter=separator, skipinitialspace=True)
        widths = [len(cells) for cells in rows]
        sure = separator != ' '  # numpy.savetxt may align by spaces
        return min(widths) == max(widths) > 1, sure and widths[0] > 1, sure and max(widths) > 1
    return max('\t;,| ', key=fit)


def finite_cell(cell, line, column):
    """The number in a cell. Raises UsageError."""
    value = cell_value(cell)
    if abs(value) < LARGEST:  # NaN is not
        return value
    raise UsageError(
        f'line {line}, column {column[:60]!r}: {cell.strip()[:40]!r} is no finite number in single '
        'precision (decimals take a point, 1,234.5 is 1234.5; comma, semicolon, tab, | or spaces '
        'end a cell); mend it, or leave the line or, by --columns, the column out')


def read_table(path, chosen=None):
    """A .csv or .tsv (also .gz): rows [n, dim] and the columns' names, None without a header.
    chosen: the columns to read, by name or by number from 1. Raises UsageError with the line as an
    editor counts it."""
    open_file = gzip.open if path.lower().endswith('.gz') else open
    with open_file(path, 'rt', newline='', encoding='utf-8-sig') as file:
        filled = (line.strip(' #') for line in file if line.strip(' #\r\n'))
        top = list(itertools.islice(filled, 21))
        hint = re.fullmatch(r'sep=(.)\s*', top[0]) if top else None  # Excel's own
        if hint:
            del top[0]
        if not top:
            raise UsageError('holds no rows; at least 2 rows and 1 column are needed')
        form = dict(delimiter=hint[1] if hint else find_separator(top), skipinitialspace=True)
        first, second = itertools.islice(csv.reader([*top, top[0]], **form), 2)
        if len(first) > 1 and not first[-1].strip() and not second[-1].strip():
            first.pop()  # lines end in a separator
        named = is_header(first, second)
        names = [cell.strip() if named else str(k + 1) for k, cell in enumerate(first)]
        wanted = choose_columns(chosen, names)

        file.seek(0)
        reader = csv.reader((line.strip(' ') for line in file), **form)
        rows = (cells for cells in reader if any(cell.strip(' #\t') for cell in cells))
        values = array('d')
        for cells in itertools.islice(rows, named + bool(hint), None):
            if len(cells) == len(names) + 1 and not cells[-1].strip():
                cells.pop()
            if len(cells) != len(names):
                raise UsageError(f'line {reader.line_num} has {len(cells)} cells, the first has '
                                 f'{len(names)}; mend it')
            values.extend(finite_cell(cells[k], reader.line_num, names[k]) for k in wanted)
    rows = np.frombuffer(values).reshape(-1, len(wanted) or 1)
    return rows, [names[k] for k in wanted] if named else None


def choose_columns(chosen, names):
    """The indices of the chosen columns (None: of all), by name or by number from 1. Raises
    UsageError."""
    if not chosen:
        return [*range(len(names))]
    numbers = {str(k + 1): k for k in range(len(names))}
    numbers |= {name: k for k, name in enumerate(names)}
    for name in chosen:
        if name not in numbers or names.count(name) > 1:
            several = 'several columns' if name in names else 'no column'
            raise UsageError(f'has {several} {name!r}; give names, or numbers from 1 to '
                             f'{len(names)}: {", ".join(map(repr, names))[:250]}')
    indices = [numbers[name] for name in chosen]
    if len({*indices}) < len(indices):
        raise UsageError(f'is asked for a column twice, by --columns {" ".join(chosen)}; name each '
                         'once')
    return indices


def as_images(values):
    """Images [n, height, width] or [n, height, width, 3] of an array that holds such, perhaps with
    the channels first, or with transparency, which is left out, and the shape of one. Another array
    comes back as it is, with None. Raises UsageError."""
    images = values[..., None] if values.ndim == 3 else values
    if images.ndim != 4:
        return values, None
    known = 1, 3, 4
    if images.shape[1] in known and images.shape[3] not in known:
        images = np.moveaxis(images, 1, 3)
    _, height, width, channels = images.shape
    if min(height, width) < 4:
        return values, None
    if channels not in known:
        raise UsageError(f'holds images of {channels} channels; 1, 3 or 4 are allowed')
    images = images[..., 0] if channels == 1 else images[..., :3]
    return images, images.shape[1:]


def as_rows(values, chosen=None):
    """An array as rows [n, dim] of finite numbers, and the shape of a row where these are images,
    else None. values: [n, dim], or images [n, height, width(, channels)] or [n, channels, height,
    width]. Raises UsageError."""
    rows = np.asarray(values)  # np.matrix multiplies otherwise
    if np.ma.is_masked(values):
        raise UsageError('holds masked values; fill or leave them out')
    if rows.dtype.kind == 'O':
        rows = rows.astype(float)
    if rows.dtype.kind not in 'buif':
        raise UsageError(f'holds values of type {str(rows.dtype)[:200]}; numbers are allowed, '
                         'leave out others')
    rows, image = as_images(rows)
    rows = rows.reshape(len(rows), -1) if rows.ndim and rows.size else np.empty([0, 0])
    if chosen:
        if image:
            raise UsageError('holds images, which have no columns to choose from; leave --columns '
                             'out')
        numbers = [str(k + 1) for k in range(rows.shape[1])]
        rows = rows[:, choose_columns(chosen, numbers)]
    if len(rows) < 2:
        raise UsageError(f'holds {len(rows)} rows of {rows.shape[1]} columns; '
                         'at least 2 rows and 1 column are needed')
    if image and rows.dtype.kind != 'f':
        return rows, image  # as they are: bytes take a quarter of the memory
    rows = rows.astype(np.float32 if image else float, copy=False)
    if not (np.abs(rows) < LARGEST).all():  # also of NaN
        raise UsageError('holds values that are not finite, or beyond single precision; remove or '
                         'replace them')
    # Whether the difference of two numbers as small as these is 0 depends on the processor's mode.
    return np.where(np.abs(rows) < 1e-290, 0, rows), image


def read_array(path):
    """What a .npy holds, or the one array of a .npz, or its x_train."""
    with open(path, 'rb') as file:
        arrays = np.load(file, allow_pickle=False)
        if isinstance(arrays, np.ndarray):
            return arrays
        if 'x_train' in arrays:
            return arrays['x_train']
        if len(arrays.files) != 1:
            raise UsageError(f'holds the arrays {arrays.files[:9]}; give one array, or name it '
                             'x_train')
        return arrays[arrays.files[0]]


def load_keras(name):
    """The training images of a data set of Keras, which may have to be fetched."""
    try:
        (images, _), _ = getattr(tf.keras.datasets, name).load_data()
    except Exception as error:  # whatever a download says
        raise Failure(f'argument --data: {name!r} could not be fetched ({one_line(error)}); give a '
                      f'local copy: --data {name}.npz') from error
    return images


def load_rows(source, chosen):
    """As find_rows, of what is no distribution; raises whatever a damaged file makes NumPy, zip or
    the decoder say."""
    path = source if isinstance(source, str) else ''
    names = None
    if path in KERAS_DATASETS:
        values = load_keras(path)
    elif path.lower().endswith(TABLES):
        values, names = read_table(path, chosen)
        chosen = None
    elif path.lower().endswith(ARRAYS):
        values = read_array(path)
    elif path:
        raise UsageError(f'is no known distribution and no table; known are {", ".join(BUILT_IN)}, '
                         f'and files that end in {", ".join(TABLES + ARRAYS)}')
    elif (found := named_columns(source)) is not None:
        names, columns = found
        labels = names or [str(k + 1) for k in range(len(columns))]
        wanted = choose_columns(chosen, labels)
        chosen = None
        values = np.transpose([column_values(columns[k], labels[k]) for k in wanted])
        names = names and [names[k] for k in wanted]
    else:
        values = source
    rows, image = as_rows(values, chosen)
    return rows, names, image


def named_columns(source):
    """The names and the columns of a dict, a data frame, a table of pyarrow or a named series; no
    names where they are no texts. None of what is none of these."""
    name = getattr(source, 'name', None)
    if isinstance(source, dict):
        names, columns = source.keys(), source.values()
    elif hasattr(source, 'column_names'):  # pyarrow
        names, columns = source.column_names, source.columns
    elif hasattr(source, 'get_columns'):  # Polars
        names, columns = source.columns, source.get_columns()
    elif hasattr(source, 'columns'):
        names, columns = source.columns, np.asarray(source).T
    elif isinstance(name, str) and name and np.ndim(source) == 1:
        names, columns = [name], [source]
    else:
        return None
    if not all(isinstance(name, str) for name in names):
        return None, list(columns)
    # UTF-8 has no lone surrogates.
    readable = [name.encode('utf-8', 'replace').decode() for name in names]
    return readable, list(columns)


def column_values(column, name):
    """The numbers of a column [n]. Raises UsageError that says what else it holds."""
    def refuse(what):
        raise UsageError(f'column {name!r} {what}, or leave the column out')
    values = np.asarray(column)
    if values.ndim != 1:
        refuse('has several values in a row; give each a column')
    if values.dtype.kind not in 'buif':
        for cell in values:
            if str(cell).lower() in ('nan', 'nat', '<na>', 'none', ''):
                refuse('has missing cells; fill them, leave their rows out')
            if isinstance(cell, complex) or math.isnan(cell_value(cell)):
                refuse(f'holds {str(cell)[:40]!r}, which is no number; write dates and categories '
                       'as numbers')
    values = values.astype(float)
    if np.isnan(values).any() or np.ma.is_masked(column):
        refuse('has missing cells; fill them, leave their rows out')
    if not (np.abs(values) < LARGEST).all():
        refuse('holds numbers that are not finite, or beyond single precision; replace them')
    return values


def one_line(error):
    return ' '.join(str(error).split())[:200]


def find_rows(source, chosen=None):
    """The user's rows [n, dim] by a name, a path, or what NumPy makes an array of, names of the
    columns or None, and an image's shape or None; thrice None of a DISTRIBUTION. Raises UsageError,
    and Failure where a download fails."""
    if isinstance(source, str) and source in DISTRIBUTIONS:
        return None, None, None
    try:
        return load_rows(source, chosen)
    except Failure:
        raise
    except UsageError as error:
        reason = str(error)
    except OSError as error:
        reason = f'cannot be read: {error.strerror or one_line(error)}'
    except UnicodeDecodeError:
        reason = 'is not a table of numbers; save it as UTF-8'
    except Exception as error:
        reason = f'is not a table of numbers: {one_line(error)}'
    name = repr(source[:200]) if isinstance(source, str) else 'the array'
    raise UsageError(f'argument --data: {name} {reason}')


# --------------------------------------------------------------------------- data as a run needs it

class Settings(dict):
    """The flags of a run by name, also as attributes."""
    __getattr__ = dict.__getitem__

PICTURE_ROWS = 256       # real samples in a picture
MEASURED_ROWS = 2000     # samples, real and generated, from which a snapshot's measures are taken
FINAL_ROWS = 10_000      # rows of generated_samples.csv
HELD_OUT_ROWS = 20       # the fewest rows kept back; of less than twice as many none are
KNOTS = 50_000           # of a column's distribution function, of all rows where these are fewer


class Affine(NamedTuple):
    """The networks see (rows - shift)/spread, both [dim]."""
    shift: np.ndarray
    spread: np.ndarray

    def to_networks(self, rows):
        """Rows [n, dim] in the data's units, as float32 in the networks'."""
        if self.shift.any() or (self.spread != 1).any():  # else drawing took a third longer
            rows = (rows - self.shift)/self.spread
        return rows.astype(np.float32)

    def from_networks(self, samples):
        """The way back as part of the graph: a tensor [n, dim] in double precision."""
        return tf.cast(samples, tf.float64)*self.spread + self.shift


def normal_scores(ranks, n):
    """The quantiles of a standard normal at (rank + 0.5)/n."""
    return np.array([NormalDist().inv_cdf((rank + 0.5)/n) for rank in ranks])


class Quantile:
    """As Affine, but the networks see each column as a standard normal, through its own
    distribution function, which is kept at `knots`, equally far apart in rank."""

    def __init__(self, rows):
        self.n = len(rows)
        knots = np.linspace(0, self.n - 1, min(self.n, KNOTS)).round().astype(int)
        self.values = np.sort(rows, axis=0)[knots].astype(float)  # [k, dim]
        self.scores = normal_scores(knots, self.n)
        few = (np.diff(self.values, axis=0) > 0).sum(axis=0) < 20
        whole = (self.values == np.round(self.values)).all(axis=0)
        self.steps = few | whole  # such a column comes back as training values

    def to_networks(self, rows):
        """As in Affine; equal values come to the middle of their step, of which interp takes the
        last, or first."""
        columns = []
        for column, values in zip(rows.T.astype(float), self.values.T):
            last = np.interp(column, values, self.scores)
            first = -np.interp(-column, -values[::-1], -self.scores[::-1])
            columns.append((last + first)/2)
        return np.float32(np.stack(columns, axis=1))

    def from_networks(self, samples):
        """As in Affine; between two knots in proportion."""
        k, dim = self.values.shape
        # the share of a standard normal
        below = (1 + tf.erf(tf.cast(samples, tf.float64)/math.sqrt(2)))/2
        rank = below*self.n - 0.5
        place = tf.clip_by_value(rank/(self.n - 1), 0, 1)*(k - 1)
        place = tf.where_v2(self.steps, tf.round(place), place)
        knot = tf.minimum(tf.floor(place), k - 2)
        share = place - knot
        flat = tf.cast(knot, tf.int32)*dim + tf.range(dim)
        low = tf.gather(self.values.ravel(), flat)
        high = tf.gather(self.values.ravel(), flat + dim)
        # by rounding, it may lie just outside
        return tf.clip_by_value((1 - share)*low + share*high, low, high)


def normal_inputs(rows):
    """The function (n, rng) -> [n, dim] that draws for the networks: normal scores, of equal values
    in random order, in blends of two rows, sqrt(1 - s^2) of one and s of the other, which keeps
    deviations and correlations: the smoothed bootstrap with shrinkage (Silverman 1986). s is about
    as far as the nearest other row lies, less of many rows."""
    rng = np.random.default_rng(0)
    n_rows, dim = rows.shape
    in_order = normal_scores(range(n_rows), n_rows)
    scores = np.empty(rows.shape, np.float32)
    for column, values in zip(scores.T, rows.T):
        column[np.lexsort((rng.random(n_rows), values))] = in_order
    some = scores[:FINAL_ROWS].astype(float)
    nearest = [np.partition(squares, 1, axis=1)[:, 1]  # the first is the row itself
               for _, squares in squared_distances(some[:1000], some)]
    to_nearest = math.sqrt(max(0, np.median(np.concatenate(nearest)))/dim)
    s = np.float32(min(1, math.sqrt(5*dim/n_rows), to_nearest))

    def inputs(n, rng):
        row, other = (rng.random([n, 2])*n_rows).astype(int).T
        return np.sqrt(1 - s*s)*scores[row] + s*scores[other]
    return inputs


class Data(NamedTuple):
    """What a run knows of its data; `transform` leads to the networks' units, all else is in the
    data's."""
    own: bool         # are there rows, the user's or Keras's images, not a distribution?
    sample: Callable  # (n, rng) -> [n, dim] real rows in the data's units
    inputs: Callable  # the same as the networks are trained on them, float32
    names: list       # of the columns, dim of them
    low: Any          # [dim], the range of the rows
    high: Any
    spread: Any       # [dim], by which measures divide coordinates: deviations, of images the range
    transform: Any    # Affine or Quantile
    formats: Any      # of the columns' numbers in a CSV
    image: Any        # (height, width) or (height, width, channels), None where rows are no images
    rows: Any         # of the user's: those trained on
    held_out: Any     # and those to judge by, None where there are too few





def make_streams(seed):
    """An independent random stream for each use."""
    uses = 'real', 'noise', 'picture', 'measures', 'final', 'weights', 'held_out', 'judging'
    seeds = np.random.SeedSequence(seed).spawn(len(uses))
    return {use: np.random.Generator(np.random.PCG64(child)) for use, child in zip(uses, seeds)}


def hold_out(rows, most, rng):
    """Rows to train on, and a fifth but at most so many to judge by: None where there are too
    few."""
    if len(rows) < 2*HELD_OUT_ROWS:
        return rows, None
    n = min(max(HELD_OUT_ROWS, len(rows)//5), most)
    shuffled = rng.permutation(len(rows))
    return rows[shuffled[n:]], rows[shuffled[:n]]


def column_formats(rows):
    """How each column's numbers are written in a CSV: with the fewest decimals, up to nine, that
    change no row."""
    def format_of(column):
        for decimals in range(10):
            if (np.round(column, decimals) == column).all():
                return f'%.{decimals}f'
        # Where all numbers are close to each other, as many as tell them apart.
        width = np.ptp(column)/np.abs(column).max()
        return '%.9g' if width > 1e-6 else '%s'
    return [format_of(column) for column in rows.T]


def make_data(settings, rows=None, names=None, image=None):
    """The `Data` of a run: of a built-in distribution, or of the user's rows [n, dim]."""
    own = rows is not None
    held_out = None
    if own:
        most = MEASURED_ROWS if image else len(rows)
        rows, held_out = hold_out(rows, most, make_streams(settings.seed)['held_out'])

        def sample(n, rng):
            return rows[(rng.random(n)*len(rows)).astype(int)]
        reference = rows
    else:
        distribution = DISTRIBUTIONS[settings.data]

        def sample(n, rng):
            return distribution.sample(n, settings.scale, rng)
        reference = sample(100_000, np.random.default_rng(0))  # the same for every seed
    low = reference.min(axis=0).astype(float)
    high = reference.max(axis=0).astype(float)
    dim = len(low)
    if image:  # one scale for all pixels, because many hardly vary
        low[:] = low.min()
        high[:] = high.max()
        spread = np.where(high > low, high - low, 1)
        standard = Affine((high + low)/2, spread/2)
        formats = ['%.4g']*dim
    else:
        spread = deviations(reference)
        standard = Affine(reference.mean(axis=0), spread)
        formats = column_formats(reference) if own else ['%.9g']*dim
    if settings.normalize == 'quantile':
        transform = Quantile(reference)
        inputs = normal_inputs(reference)
    else:
        transform = standard if settings.normalize else Affine(np.zeros(dim), np.ones(dim))

        def inputs(n, rng):
            return transform.to_networks(sample(n, rng))
    if not names:
        names = ['x', 'y'] if dim == 2 else [f'x{k + 1}' for k in range(dim)]
    return Data(own, sample, inputs, names, low, high, spread, transform, formats, image, rows,
                held_out)


# ----------------------------------------------------------------------------------- files of a run

SNAPSHOT = 'snapshots/%06d.npz'
# What a run writes, in the order in which a new one removes it: no checkpoint outlives the run it
# is of.
WRITTEN = (
    'checkpoint.npz', 'summary.json', 'loss_logs.csv', 'metrics.csv', 'generated_samples.csv',
    'saved_model/saved_model.pb', 'saved_model/fingerprint.pb',
    'saved_model/variables/variables.index', 'saved_model/variables/variables.data-00000-of-00001',
    'tensorboard/events.out.tfevents.%f', 'snapshots/data.npz', SNAPSHOT,
    'training_data.png', 'training_loss.png', 'metrics.png', 'columns.png', 'index.html',
    'iterations.gif', 'feature_transform.gif', 'feature_transform_centroid.gif',
    'd_step_transform.gif', 'd_step_centroid.gif', 'decision.gif', 'mapping.gif',
    'iterations/iteration_%06d.png', 'features/feature_transform_%06d.png',
    'features/feature_transform_centroid_%06d.png', 'features/d_step_transform_%06d.png',
    'features/d_step_centroid_%06d.png', 'discriminator/decision_%06d.png',
    'generator/mapping_%06d.png')


def discard(folder):
    """Removes the files that a run writes in a folder, and its own folders where nothing is
    left."""
    for pattern in WRITTEN:
        name = re.escape(Path(pattern).name).replace('%06d', r'\d{6,}').replace('%f', r'\d+\.\d+')
        for path in list((folder/pattern).parent.glob('*')):
            if re.fullmatch(name + r'(\.tmp)?', path.name):
                path.unlink()
    parents = {parent for pattern in WRITTEN for parent in Path(pattern).parents}
    for parent in sorted(parents - {Path()}, reverse=True):  # a folder after those within it
        with suppress(OSError):  # it is not there, or holds files of the user's
            (folder/parent).rmdir()


@contextmanager
def replacing(path):
    """Where to write a file, which then takes the place of another by renaming: whole, or not at
    all."""
    check_still_locked(path)
    new = path.with_name(path.name + '.tmp')
    try:
        yield new
        os.replace(new, path)
    except OSError as error:
        error.filename = error.filename or str(path)  # that of a full disk names no file
        raise
    finally:
        new.unlink(missing_ok=True)


def write_file(path, **content):
    """Writes a .json or .npz, whole; `read_file` gives its content back."""
    with replacing(path) as new, open(new, 'wb') as file:
        if path.suffix == '.npz':
            np.savez(file, **content)
        else:
            file.write((json.dumps(content, indent=1, allow_nan=False) + '\n').encode())


def append_lines(path, columns, lines):
    """Appends lines to a CSV; a new one begins with the columns' names."""
    check_still_locked(path)
    with open(path, 'a', encoding='utf-8') as file:
        if file.tell() == 0:
            lines = [','.join(columns), *lines]
        file.writelines(line + '\n' for line in lines)


@contextmanager
def reading(path):
    """Raises a Failure where json, csv, NumPy or zipfile find a file of the run damaged."""
    try:
        yield
    except (ValueError, TypeError, KeyError, EOFError, RuntimeError, csv.Error, zlib.error,
            zipfile.BadZipFile) as error:
        raise Failure(f'{path} is damaged, or of another run; put back a copy, or start anew '
                      'by --overwrite') from error


def read_run_file(path, settings):
    """As `read_file`, of a .npz; {} where there is none. Raises Failure also where it is of a run
    of other settings."""
    arrays = read_file(path) or {}
    if arrays.get('run', run_id(settings)) != run_id(settings):
        raise Failure(f'{path} is of another run; put back that of this one, or start anew by '
                      '--overwrite')
    return arrays


def read_file(path, most=None):
    """What a file of a run holds: .json and .npz values by name, .csv its header and at most so
    many rows [n, columns], NaN in empty cells; None where there is none. Raises Failure where it is
    damaged."""
    if not path.exists():
        return None
    with reading(path):
        if path.suffix == '.json':
            return dict(json.loads(path.read_text(encoding='utf-8')))
        if path.suffix == '.csv':
            with open(path, newline='', encoding='utf-8-sig') as file:
                # The last line may still be being written.
                reader = csv.reader(line for line in file if line.endswith('\n'))
                header = next(reader, [])
                rows = [[float(cell or 'nan') for cell in cells]
                        for cells in itertools.islice(reader, most)]
            return header, np.array(rows).reshape(-1, len(header) or 1)
        with np.load(path) as arrays:
            if arrays.zip.testzip():  # before NumPy believes what the arrays say of themselves
                raise ValueError('a checksum is wrong')
            return dict(arrays)


LOCKED = {}  # folder -> descriptor, of the runs of this process


@contextmanager
def locked(folder):
    """Holds the folder for this run alone; the operating system lets go of it however the process
    ends."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Failure(f'another run is writing to {folder}; wait for it, or give another '
                          '--output') from None
        except OSError as error:  # of network and container mounts
            say(f'Note        {folder} cannot be locked ({error.strerror}): two runs in it would '
                'not notice each other')
        LOCKED[folder] = descriptor
        yield
    finally:
        LOCKED.pop(folder, None)
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_UN)  # a forked process may hold the descriptor too
        os.close(descriptor)


def check_still_locked(path):
    """Raises Failure if the folder that was locked, and in which this file lies, is another one by
    now."""
    for folder in LOCKED.keys() & {*path.parents}:
        with suppress(FileNotFoundError):
            if os.path.samestat(os.stat(folder), os.fstat(LOCKED[folder])):
                continue
        raise Failure(f'{folder} was removed or moved while this run wrote to it; the run ends')


# ------------------------------------------------------------------------------------------ one run

FORMAT = 3               # of checkpoint.npz; another one is not read
CHECKPOINT_EVERY = 1     # seconds, more where saving would take more than a fiftieth of the time
CALL_SECONDS = 0.4       # of training in one sess.run, so that interrupts answer
BUFFER_BYTES = 32e6      # of batches in one sess.run
BLOCK_VALUES = 2_000_000     # of samples made at a time: 16 MB, of which several exist at once
SAMPLE_VALUES = 60_000_000   # of samples that a run returns, half a GB
PIECE = 4096             # rows drawn at a time: they stay in the cache, which takes a third as long
LARGEST_LOSS = 1e8       # no training comes back from there


def diverged(what, settings):
    """The Failure of a run whose losses or weights went astray."""
    return Failure(f'{what} is not finite or beyond {LARGEST_LOSS:g}; start anew by --overwrite '
                   f'with --learning-rate below {settings.learning_rate:g}, --normalize or another '
                   '--seed')


def session_config(hidden, dim):
    """Where networks run. Small ones gain little from a second thread, which the drawing process
    needs more, and lose on a GPU, where starting an iteration's hundred small kernels alone takes
    longer than the iteration on a CPU."""
    if max(hidden) <= 64 and dim <= 64:
        config = tf.ConfigProto(intra_op_parallelism_threads=1, device_count={'GPU': 0})
    else:
        config = tf.ConfigProto(gpu_options=tf.GPUOptions(allow_growth=True))
    # Grappler would put TemporaryVariable into loops of large batches, which XLA cannot compile.
    rewriting = config.graph_options.rewrite_options
    rewriting.memory_optimization = rewriting.NO_MEM_OPT
    return config


@contextmanager
def own_session(settings, dim):
    """A session on a graph of its own, both the default meanwhile."""
    config = session_config(settings.hidden, dim)
    with tf.Graph().as_default(), tf.Session(config=config) as sess:
        yield sess


def averaging(gen_optimizer, decay):
    """Lets G's optimizer keep, and returns, moving averages of G's variables (of late common,
    Yazici et al. 2019)."""
    averages = tf.train.ExponentialMovingAverage(decay)
    apply_gradients = gen_optimizer.apply_gradients

    def apply_and_average(*gradients, **options):
        with tf.control_dependencies([apply_gradients(*gradients, **options)]):
            return averages.apply(tf.trainable_variables('GAN/Generator'))
    gen_optimizer.apply_gradients = apply_and_average
    return averages


class Networks:
    """The networks of a run, in the default graph, and the session that trains them."""

    def __init__(self, settings, data, sess, seed):
        self.settings = settings
        self.sess = sess
        self.steps = settings.d_steps, settings.g_steps
        self.form = dict(
            hsize=settings.hidden,
            dim=len(data.names),
            activation=settings.activation,
            layer=settings.layer,
            output_mapping=settings.output_mapping,
            low=data.transform.to_networks(data.low[None])[0],
            high=data.transform.to_networks(data.high[None])[0])
        tf.set_random_seed(seed)
        # G's and D's
        self.optimizers = [tf.train.RMSPropOptimizer(settings.learning_rate) for _ in range(2)]
        averages = averaging(self.optimizers[0], settings.average) if settings.average else None
        self.options = dict(self.form, penalty=settings.penalty, noise_dim=settings.noise_dim)
        self.gan = build_gan(*self.optimizers, **self.options)
        # What a checkpoint holds: also the optimizers' variables.
        self.weights = {v.op.name: v for v in tf.global_variables()}
        # What is delivered, and before that shown and measured: G's variables or their moving
        # average.
        self.delivered = {v.op.name: averages.average(v) if averages else v
                          for v in tf.trainable_variables('GAN/Generator')}

        def get_delivered(getter, name, **options):
            return self.delivered[name]
        with tf.variable_scope('', custom_getter=get_delivered):
            samples = generator(self.gan.Z, reuse=True, **self.form)
        self.samples = data.transform.from_networks(samples)
        sess.run(tf.global_variables_initializer())

    def train_step_by_step(self, X_batches, Z_batches):
        """Iterations of one sess.run a step. Returns losses [n, 2]."""
        return np.array([train_iteration(self.sess, self.gan, X_batch, Z_batch, *self.steps)
                         for X_batch, Z_batch in zip(X_batches, Z_batches)], float)

    def block_trainer(self, length):
        """The function (X_batches, Z_batches) -> losses [n, 2] of at most so many iterations
        between snapshots."""
        if self.settings.step_by_step:
            return self.train_step_by_step
        batch_size = self.settings.batch_size
        run_loop = build_loop(*self.optimizers, length, batch_size, *self.steps, **self.options)
        train_block = functools.partial(run_loop, self.sess)
        with silence():
            train_block(np.empty([0, 1, 1]), np.empty([0, 1, 1]))  # no iteration: compiles it
        return train_block


def energy_baselines(data):
    """What energy distances are to be compared with: that of real rows (floor), and of own tables
    that of rows with shuffled columns."""
    rng = np.random.default_rng(0)
    if not data.own:
        real = data.sample(MEASURED_ROWS, rng)/data.spread
        sums = sum(distance_sums(real, real, within=True))
        mean_distance = sums.mean()/(MEASURED_ROWS - 1)
        # Of two draws in the mean, because each point has a distance of 0 to itself.
        return dict(floor=2*mean_distance/MEASURED_ROWS)
    if data.image or data.held_out is None:
        return {}
    distance = energy_distance_to(data.held_out[:FINAL_ROWS], data.spread, unbiased=True)
    rows = data.rows[:MEASURED_ROWS]
    floor, _ = distance(rows)
    if len(data.names) == 1:  # it is the same, however it is shuffled
        return dict(floor=floor)
    shuffled, _ = distance(rng.permuted(rows, axis=0))
    return dict(floor=floor, shuffled=shuffled)


def lattice(low, high, side):
    """The points [side^k, k] of a grid from low [k] to high [k]."""
    axes = np.linspace(low, high, side).T
    return np.stack(np.meshgrid(*axes), axis=-1).reshape(-1, len(axes))


class Snapshots:
    """What is measured and shown at each snapshot: the same real rows X and noise Z, D over a plane
    and where G maps a grid of noise, if data have two dimensions."""

    def __init__(self, folder, settings, data, streams):
        self.folder = folder
        self.settings = settings
        self.data = data
        self.best = dict(distance=math.inf)  # with --keep best: the snapshot nearest to real rows
        self.best_weights = {}               # and its generator
        noise_dim = settings.noise_dim
        self.X = data.sample(MEASURED_ROWS, streams['measures'])  # of all data, so that Z stays
        self.Z = sample_Z(MEASURED_ROWS, noise_dim, streams['measures'])
        if data.own:
            self.X = data.rows[:MEASURED_ROWS]
        self.baselines = energy_baselines(data)
        if data.image:
            n_training = n_real = 64
            margin = 0
        else:
            self.distance = energy_distance_to(self.X, data.spread, unbiased=data.own)
            n_training = 10_000
            n_real = PICTURE_ROWS
            width = data.high - data.low
            margin = np.where(width > 0, 0.15*width, np.maximum(1, 0.1*np.abs(data.high)))
        training = data.sample(n_training, streams['picture'])
        real = data.sample(n_real, streams['picture'])
        low = data.low - margin
        high = data.high + margin
        n_sheets, side = (1, 33) if noise_dim <= 2 else (8, 17)
        if len(data.names) == 2:
            plane = lattice(low, high, 64)
        else:
            plane = np.empty([0, len(data.names)])
            side = 0
        end = np.ones(min(noise_dim, 2))
        sheet = lattice(-end, end, side)
        further = sample_Z(n_sheets, noise_dim - len(end), np.random.default_rng(0))
        grid = np.column_stack([np.tile(sheet, [n_sheets, 1]),
                                np.repeat(further, len(sheet), axis=0)])
        self.Z_and_grid = np.concatenate([self.Z, grid])
        self.X_and_plane = data.transform.to_networks(np.concatenate([self.X, plane]))
        self.picture_data = dict(
            training=training, real=real, low=low, high=high, names=data.names,
            formats=data.formats, image=data.image or [], noise=sheet, **self.baselines)
        if data.own and not data.image:
            known = [rows[:FINAL_ROWS] for rows in (data.held_out, data.rows) if rows is not None]
            self.picture_data['rows'] = np.concatenate(known)[:FINAL_ROWS]

    def take(self, networks, X_batch, Z_batch):
        """An iteration step by step. Returns its losses [1, 2], and for `keep` the arrays of its
        file, mean D(x) on real and on generated samples, samples [n, dim] to measure, and with
        --keep best G's weights."""
        sess, gan = networks.sess, networks.gan
        d_steps, g_steps = networks.steps

        kernel, bias = tf.trainable_variables('GAN/Discriminator')[-2:]  # of the last layer

        def look():
            """Features of real and of generated samples, and the last layer: D(x) = sigmoid of
            feature 1, feature 2 and 1 times these three."""
            *features, k, b = sess.run([gan.r_rep, gan.g_rep, kernel, bias],
                                       feed_dict={gan.X: X_batch, gan.Z: Z_batch})
            return features, [*k[:, 0], *b]
        before_d, boundary_before = look()
        dloss = update_discriminator(sess, gan, X_batch, Z_batch, d_steps)
        before_g, boundary_after = look()
        gloss = update_generator(sess, gan, Z_batch, g_steps)
        after_g, _ = look()

        n_shown = len(self.picture_data['real'])
        Z_shown = np.concatenate([Z_batch, self.Z])[:n_shown]
        generated = sess.run(networks.samples, feed_dict={gan.Z: Z_shown})
        r_logits, f_logits, samples = sess.run(
            [gan.r_logits, gan.f_logits, networks.samples],
            feed_dict={gan.X: self.X_and_plane, gan.Z: self.Z_and_grid})
        real_D, decision = np.split(sigmoid(r_logits), [len(self.X)])
        generated_D, _ = np.split(sigmoid(f_logits), [MEASURED_ROWS])
        samples, mapping = np.split(samples, [MEASURED_ROWS])
        arrays = dict(
            generated=np.float32(generated),
            features=np.array([before_d, before_g, after_g]),
            boundary=np.array([boundary_before, boundary_after]),
            decision=np.float32(decision),
            mapping=np.float32(mapping))
        mean_D = real_D.mean(), generated_D.mean()
        weights = sess.run(networks.delivered) if self.settings.keep == 'best' else None
        losses = np.array([[dloss, gloss]], float)
        return losses, (arrays, mean_D, samples, weights)

    @np.errstate(all='ignore')  # that of run_command does not reach this thread
    def keep(self, write_event, iteration, losses, arrays, mean_D, samples, weights):
        """Writes a snapshot and its measures; remembers the best generator. losses: [n, 2] since
        the last snapshot."""
        write_file(self.folder/(SNAPSHOT % iteration), **arrays)
        measured = self.measure(samples)
        row = metrics_row(iteration, losses, mean_D, arrays['features'], measured)
        cells = ['' if math.isnan(value) else f'{value:.9g}' for value in row.values()]
        append_lines(self.folder/'metrics.csv', row, [','.join(cells)])
        values = [tf.Summary.Value(tag=name, simple_value=value)
                  for name, value in row.items() if name != 'Iteration' and not math.isnan(value)]
        write_event(step=iteration, summary=tf.Summary(value=values))
        if weights:
            self.choose(iteration, measured, weights)

    def measure(self, samples):
        """Against training rows, or fixed real points: energy distance, NaN of images, and shares
        of neighbours."""
        distance = math.nan
        if not self.data.image:
            distance, _ = self.distance(samples)
        return distance, *neighbour_shares(samples, self.X, self.data.spread)

    def choose(self, iteration, measured, weights):
        """Remembers the generator of an iteration if it is the best so far: the nearest by energy
        distance, of images by the larger share of neighbours of their own kind."""
        energy_distance, *shares = measured
        distance = max(shares) if self.data.image else energy_distance
        if distance <= self.best['distance']:
            self.best = dict(iteration=iteration, distance=distance)
            self.best_weights = weights


def sigmoid(logits):
    """Of logits [n, 1], without overflow, in double precision: [n]."""
    return np.exp(-np.logaddexp(0, -logits[:, 0].astype(float)))


def event_writer(folder, iteration):
    """The function (**event) that writes an event for TensorBoard, into a new file, at once: errors
    of tf.summary.FileWriter's thread come late."""
    file = tf.io.TFRecordWriter(str(folder/f'events.out.tfevents.{time.time():.6f}'))

    def write(**event):
        file.write(tf.Event(wall_time=time.time(), **event).SerializeToString())
        file.flush()
    write(file_version='brain.Event:2')
    if iteration:  # by this mark TensorBoard drops what earlier files have from there on
        write(step=iteration, session_log=tf.SessionLog(status=tf.SessionLog.START))
    else:
        write(graph_def=tf.get_default_graph().as_graph_def().SerializeToString())
    return write


def progress_bar(iterations):
    """Keras's progress bar on a terminal; None elsewhere, or where Keras cannot be loaded."""
    isatty = getattr(sys.stdout, 'isatty', bool)  # a notebook's stdout may have none
    if iterations and isatty() and os.environ.get('TERM') != 'dumb':
        with suppress(ImportError, ValueError, AttributeError):
            return tf.keras.utils.Progbar(iterations, unit_name='iteration')
    return None


class Run:
    """A run: its data, its networks, and how far training has come."""

    def __init__(self, folder, settings, data, sess):
        self.folder = folder
        self.settings = settings
        self.data = data
        self.streams = make_streams(settings.seed)
        self.states = {}          # the streams' at self.iteration
        self.iteration = 0        # the next
        self.seconds = 0.         # of training
        self.recent = []          # losses since a snapshot
        self.pace = CALL_SECONDS  # seconds an iteration takes, as far as is known
        self.bar = None           # a progress bar on a terminal
        self.snapshots = Snapshots(folder, settings, data, self.streams)
        seed = int(self.streams['weights'].integers(2**31))
        self.networks = Networks(settings, data, sess, seed)
        bytes_each = 4*settings.batch_size*(len(data.names) + settings.noise_dim)
        self.length = max(1, min(  # the most iterations in a call
            settings.snapshot_every - 1, settings.iterations, int(BUFFER_BYTES/bytes_each)))

    def train(self, train_block, write_event):
        """The training loop, from where the run stands to its end, with its log, its snapshots and
        its checkpoints."""
        settings = self.settings
        self.bar = progress_bar(settings.iterations - self.iteration)
        next_save = time.perf_counter() + CHECKPOINT_EVERY
        with ThreadPoolExecutor(1) as beside:  # draws batches and measures snapshots meanwhile
            batches = beside.submit(self.draw, self.iteration)
            measuring = None  # the last snapshot
            started = time.perf_counter() - self.seconds
            while self.iteration < settings.iterations:
                iteration = self.iteration
                X_batches, Z_batches, states = batches.result()
                batches = beside.submit(self.draw, iteration + len(X_batches))
                if iteration % settings.snapshot_every:
                    calling = time.perf_counter()
                    losses = train_block(X_batches, Z_batches)
                    self.pace = (time.perf_counter() - calling)/len(losses)
                    self.add_losses(losses)
                else:
                    losses, seen = self.snapshots.take(self.networks, X_batches[0], Z_batches[0])
                    self.add_losses(losses)
                    if measuring:
                        measuring.result()
                    since = np.concatenate(self.recent)
                    measuring = beside.submit(
                        self.snapshots.keep, write_event, iteration, since, *seen)
                    self.recent = []
                self.log(losses)
                self.iteration += len(losses)
                self.states = states
                self.seconds = time.perf_counter() - started
                if time.perf_counter() > next_save or self.iteration == settings.iterations:
                    if measuring:
                        measuring.result()  # its row and generator belong to what is saved
                    saving = time.perf_counter()
                    self.save()
                    next_save = saving + max(CHECKPOINT_EVERY, 50*(time.perf_counter() - saving))

    def add_losses(self, losses):
        """Remembers losses [n, 2] from this iteration on. Raises Failure where training went
        astray."""
        fine = (np.abs(losses) < LARGEST_LOSS).all(axis=1)  # NaN is not
        if not fine.all():
            raise diverged(f'iteration {self.iteration + fine.argmin()}: a loss', self.settings)
        self.recent.append(losses)

    def block_length(self, iteration):
        """Iterations in the call that begins with this one."""
        to_snapshot = -iteration % self.settings.snapshot_every
        to_end = self.settings.iterations - iteration
        at_this_pace = max(1, int(CALL_SECONDS/self.pace))
        return min(to_snapshot or 1, to_end, self.length, at_this_pace)  # a snapshot's goes alone

    def draw(self, iteration):
        """The batches X [n, batch_size, dim], Z [n, batch_size, noise_dim] of a call, and the
        streams' states after."""
        shape = self.block_length(iteration), self.settings.batch_size
        X = np.empty([math.prod(shape), len(self.data.names)], np.float32)
        Z = np.empty([math.prod(shape), self.settings.noise_dim], np.float32)
        pieces = range(PIECE, len(X), PIECE)
        for X_rows, Z_rows in zip(np.split(X, pieces), np.split(Z, pieces)):  # views
            X_rows[:] = self.data.inputs(len(X_rows), self.streams['real'])
            Z_rows[:] = sample_Z(*Z_rows.shape, self.streams['noise'])
        states = {use: stream.bit_generator.state for use, stream in self.streams.items()}
        return X.reshape(*shape, X.shape[1]), Z.reshape(*shape, Z.shape[1]), states

    def log(self, losses):
        """Writes and prints the losses [n, 2] of the iterations from this one on, as often as the
        flags say."""
        rows = list(zip(itertools.count(self.iteration), *losses.T.tolist()))
        log_every = self.settings.log_every
        print_every = self.settings.print_every
        lines = ['%d,%.9g,%.9g' % row for row in rows if row[0] % log_every == 0]
        append_lines(self.folder/'loss_logs.csv', LOSSES, lines)
        for row in rows:
            if row[0] % print_every == 0:
                line = 'Iterations: %d\t Discriminator loss: %.4f\t Generator loss: %.4f' % row
                say(f'\r\033[K{line}' if self.bar else line)  # in place of the bar
        if self.bar:
            self.bar.add(len(rows))

    def save(self):
        """Saves everything that --resume needs. Raises Failure, and saves nothing, where a weight
        is not finite."""
        weights = self.networks.sess.run(self.networks.weights)
        if not all(np.isfinite(value).all() for value in weights.values()):
            raise diverged(f'iteration {self.iteration}: a weight', self.settings)
        state = json.dumps(dict(iteration=self.iteration, seconds=self.seconds,
                                best=self.snapshots.best, streams=self.states))
        best = {f'best/{name}': value for name, value in self.snapshots.best_weights.items()}
        recent = np.concatenate([np.empty([0, 2]), *self.recent])
        write_file(self.folder/'checkpoint.npz', format=FORMAT, run=run_id(self.settings),
                   state=np.frombuffer(state.encode(), np.uint8), recent=recent, **weights, **best)

    def restore(self):
        """Back to the checkpoint, if any, with the logs cut there. Raises, before any change,
        Failure where files are damaged, OSError where a log is missing, UsageError where training
        has gone further."""
        settings = self.settings
        path = self.folder/'checkpoint.npz'
        loss_logs = self.folder/'loss_logs.csv'
        metrics = self.folder/'metrics.csv'
        arrays = read_run_file(path, settings)
        if arrays:
            if arrays.get('format') != FORMAT:
                raise Failure(f'{path} is of another version of this program; use that, or start '
                              'anew by --overwrite')
            with reading(path):
                self.take_over(arrays)
        elif (self.folder/'summary.json').exists() or loss_logs.exists():
            raise Failure(f'{path} is missing, so this run cannot go on; put it back, or start '
                          'anew by --overwrite')
        if settings.iterations < self.iteration:
            raise UsageError(f'argument --iterations: {settings.iterations} are fewer than the '
                             f'{self.iteration} that are trained; give at least these')
        logged = range(0, self.iteration, settings.log_every)
        shown = range(0, self.iteration, settings.snapshot_every)
        ends = {loss_logs: end_of_row(loss_logs, LOSSES, len(logged)),
                metrics: end_of_row(metrics, METRICS, len(shown))}
        for log, end in ends.items():
            if log.exists():
                os.truncate(log, end)
        say(f'Going on from iteration {self.iteration}.')
        gone = [k for k in shown if not (self.folder/(SNAPSHOT % k)).exists()]
        if gone:
            say(f'Note        {len(gone)} of {len(shown)} snapshots are missing; they and their '
                'pictures cannot be made again')

    def take_over(self, arrays):
        """The state that a checkpoint's arrays hold."""
        state = json.loads(arrays['state'].tobytes())
        self.iteration = state['iteration']
        self.seconds = state['seconds']
        self.recent = [arrays['recent']]
        for use, position in state['streams'].items():
            self.streams[use].bit_generator.state = position
        self.snapshots.best = state['best']
        self.snapshots.best_weights = {name.removeprefix('best/'): arrays[name]
                                       for name in arrays if name.startswith('best/')}
        for name, variable in self.networks.weights.items():
            if not np.isfinite(arrays[name]).all():
                raise ValueError('a weight is not finite')
            variable.load(arrays[name], self.networks.sess)

    def finish(self):
        """Writes the generator, its samples and the summary; returns the last two."""
        settings, snapshots, networks = self.settings, self.snapshots, self.networks
        weights = networks.sess.run(networks.delivered)
        if settings.keep == 'best':  # the end of training is a candidate, too
            samples = networks.sess.run(networks.samples, feed_dict={networks.gan.Z: snapshots.Z})
            snapshots.choose(self.iteration - 1, snapshots.measure(samples), weights)
            weights = snapshots.best_weights
        write_model(self.folder, settings, self.data.transform, networks.form, weights)
        samples = write_samples(self.folder, settings, FINAL_ROWS)
        final = self.final_measures(samples)
        verdict = judge(final) if self.data.own else None
        header, rows = read_file(self.folder/'metrics.csv')
        columns = dict(zip(header, rows.T))
        summary = dict(
            claims=check_claims(columns, final, verdict),
            final={name: finite_or_none(value) for name, value in final.items()},
            settings=settings,
            verdict=verdict.sentence if verdict else None,
            seconds=dict(training=self.seconds),
            delivered_iteration=snapshots.best.get('iteration', self.iteration - 1),
            versions=dict(python=sys.version.split()[0], tensorflow=tf.version.VERSION,
                          numpy=np.__version__))
        write_file(self.folder/'summary.json', **summary)
        return dict(summary, samples=samples)

    def final_measures(self, samples):
        """Of the final samples: against as many new points of built-in data, or the rows held
        out."""
        data, baselines = self.data, self.snapshots.baselines
        if not data.own:
            real = data.sample(FINAL_ROWS, self.streams['judging'])
            floor = baselines['floor']*MEASURED_ROWS/FINAL_ROWS  # it falls with their number
            return dict(measures_of(samples, real, data), floor=floor)
        if data.held_out is None:
            return dict.fromkeys(FINAL_MEASURES, math.nan)
        return dict(measures_of(samples, data.held_out[:FINAL_ROWS], data), **baselines)


def end_of_row(path, columns, n):
    """Where the first n rows of a log of these columns end, in bytes. Raises Failure where it
    differs, OSError where it is missing."""
    if not n:
        return 0
    with reading(path), open(path, 'rb') as file:
        if file.readline() != ','.join(columns).encode() + b'\n':
            raise ValueError('it has other columns')
        for _ in range(n):
            if not file.readline().endswith(b'\n'):
                raise ValueError('it is shorter than it was')
        return file.tell()


def write_model(folder, settings, transform, form, weights):
    """Writes a generator of these weights by name as a SavedModel: noise Z -> samples in the data's
    units."""
    new = folder/'saved_model.tmp'
    shutil.rmtree(new, ignore_errors=True)  # as a kill may have left it
    with own_session(settings, form['dim']) as sess:
        tf.set_random_seed(0)  # nothing is drawn, but with determinism TensorFlow asks for a seed
        Z = tf.placeholder(tf.float32, [None, settings.noise_dim])
        samples = transform.from_networks(generator(Z, **form))
        for v in tf.global_variables():
            v.load(weights[v.op.name], sess)
        tf.saved_model.simple_save(sess, str(new), {'Z': Z}, {'samples': samples})
    shutil.copytree(new, folder/'saved_model', copy_function=os.replace, dirs_exist_ok=True)
    shutil.rmtree(new)


def write_samples(folder, settings, n):
    """Writes n samples of the folder's SavedModel, the first the same for every n. Returns them, of
    more than SAMPLE_VALUES numbers the first: [up to n, dim]."""
    rng = make_streams(settings.seed)['final']
    shown = read_run_file(folder/'snapshots/data.npz', settings)
    names = shown['names'].tolist()
    formats = shown['formats'].tolist()
    block = min(FINAL_ROWS, max(1, BLOCK_VALUES//len(names)))
    kept = []
    with own_session(settings, len(names)) as sess:
        model = tf.saved_model.load(sess, ['serve'], str(folder/'saved_model'))
        signature = model.signature_def['serving_default']
        noise = signature.inputs['Z'].name
        samples = signature.outputs['samples'].name
        with (replacing(folder/'generated_samples.csv') as new,
              open(new, 'w', encoding='utf-8') as file):
            csv.writer(file, lineterminator='\n').writerow(names)
            for first in range(0, n, block):
                # of one size: rounding may differ with it
                Z = sample_Z(block, settings.noise_dim, rng)
                rows = sess.run(samples, feed_dict={noise: Z})[:n - first]
                for column, form in zip(rows.T, formats):
                    if form.endswith('f'):  # %.3f, say
                        column[:] = np.round(column, int(form[2]))
                np.savetxt(file, rows, formats, ',')
                if first*len(names) < SAMPLE_VALUES:
                    kept.append(rows)
    return np.concatenate(kept)


def train_run(folder, settings, data, resuming=False):
    """Trains, from the checkpoint where resuming, and leaves the run's files. Returns the summary,
    with samples."""
    try:
        with own_session(settings, len(data.names)) as sess:
            run = Run(folder, settings, data, sess)
            describe(run)
            train_block = run.networks.block_trainer(run.length)
            if resuming:
                run.restore()
            else:  # not before all that can fail at the start is done
                discard(folder)
            write_file(folder/'settings.json', **settings)
            for name in RUN_FOLDERS:
                (folder/name).mkdir(exist_ok=True)
            if not run.iteration:
                run.save()  # from here on, a run without a checkpoint has lost it
            write_file(folder/'snapshots/data.npz', run=run_id(settings),
                       **run.snapshots.picture_data)
            write_event = event_writer(folder/'tensorboard', run.iteration)
            with drawing_process(folder, settings) as drawing:
                run.train(train_block, write_event)
                tell(drawing, b'd')
                summary = run.finish()
    except tf.errors.OpError as error:
        raise Failure(f'TensorFlow: {first_cause(error)}; see to it, then --resume (not enough '
                      'memory: smaller networks or batches, or --step-by-step)') from error
    report(folder, summary, drawing)
    return summary





def first_cause(error):
    """The first line in which TensorFlow says what happened, and not where."""
    where = re.compile(r'\s|<stack|Graph execution error|Detected at node|Node:')
    causes = [line for line in str(error).split('\n') if line and not where.match(line)]
    return causes[0][:300]


# ------------------------------------------------------------------------ a process beside this one

@contextmanager
def drawing_process(folder, settings):
    """`plotting.py` as a process beside the run, or None where no pictures are wanted: it draws
    what it finds, and the rest when it is told so."""
    if settings.pictures == 'none':
        yield None
        return
    script = Path(__file__).resolve().with_name('plotting.py')
    command = [sys.executable, script, '--follow', str(os.getpid()), '--', folder]
    with subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True) as drawing:
        try:
            try:
                yield drawing
            except Failure:  # what led up to it is worth seeing
                tell(drawing, b'q')
                drawing.communicate()
                raise
            tell(drawing, b'q')
            drawing.communicate()  # waits
        except BaseException:
            drawing.terminate()
            drawing.wait()  # at an interrupt Popen itself waits for a quarter of a second only
            raise


def tell(drawing, byte):
    """Sends the drawing process, if any, b'd': training is over; or b'q': all numbers are
    written."""
    if drawing:
        with suppress(BrokenPipeError):  # it has died
            drawing.stdin.write(byte)
            drawing.stdin.flush()


# ------------------------------------------------------- starting and going on, and what is printed

LARGEST_WIDTH = 4096  # of --hidden and --noise-dim
NOT_RECORDED = 'output', 'resume', 'overwrite', 'sample'
MAY_CHANGE = 'iterations', 'pictures', 'print_every'  # when a run goes on
TO_SAMPLE = (  # what --sample needs
    'saved_model/saved_model.pb', 'saved_model/variables/variables.index',
    'saved_model/variables/variables.data-00000-of-00001', 'snapshots/data.npz')
RUN_FOLDERS = 'snapshots', 'tensorboard'
OWN_NAMES = {'settings.json', *(path.split('/')[0] for path in WRITTEN)}  # in a run's folder


@np.errstate(all='ignore')  # the program looks itself for what is not finite
def run_command(given, array=None):
    """Runs the command by the given flags; `array` stands in for a file of --data. Returns the
    summary, with samples if it trained."""
    keep_standard_streams()
    folder = folder_of(given)
    if 'sample' in given:
        return sample_run(folder, given)
    if 'resume' in given:
        return resume_run(folder, given, array)
    return start_run(folder, given, array)


def keep_standard_streams():
    """Opens stdin, stdout and stderr where they are closed: none must become one of the run's
    files."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(descriptor)


def folder_of(given):
    """The folder of a run: --output, or else `outputs`, or one below it that is named after the
    flags that make this run another one than the default run."""
    if given.get('output'):
        return Path(given['output'])
    data = given.get('data', DEFAULTS['data'])
    words = []
    if data != DEFAULTS['data']:
        stem = re.sub(r'(?i)\.(csv|tsv|npy|npz)(\.gz)?$', '', Path(data).name)
        words.append(stem.strip('.') or 'table')
    defaults = {}  # not known of own data before they are read
    if data in DISTRIBUTIONS:
        defaults = {**DEFAULTS, **DISTRIBUTIONS[data].flags}
    for name in DEFAULTS:
        named = name not in ('data', *MAY_CHANGE, *NOT_RECORDED) and name in given
        if named and (not defaults or given[name] != defaults[name]):
            words += flag_words(name, given[name])
    name = re.sub(r'[^\w.+-]+', '_', '-'.join(words))
    if len(name) > 100:
        name = f'{name[:90]}-{zlib.crc32(name.encode()):08x}'
    if name.lower() in {'gallery', *OWN_NAMES}:  # outputs/gallery belongs to the repository
        name = f'data-{name}'
    return Path('outputs', name)


def flag_words(name, value):
    """A flag and its value as parts of a folder's name."""
    flag = name.replace('_', '-')
    if value is None:
        return ['no', flag]
    if value is True or (name, value) == ('normalize', 'standard'):
        return [flag]
    return [flag, *flag_value(value).split()]


def data_defaults(name, rows, image):
    """The flags that suit such data; the user's win over them."""
    if rows is None:
        return DISTRIBUTIONS[name].flags
    if image:
        return IMAGE_FLAGS
    n_noise = min(max(16, rows.shape[1]), LARGEST_WIDTH)
    return dict(TABLE_FLAGS, noise_dim=n_noise)


def fingerprint(rows):
    """What tells the user's rows from others: their number, columns and checksum; None of a
    built-in distribution."""
    if rows is None:
        return None
    return [*rows.shape, zlib.crc32(np.ascontiguousarray(rows))]


def run_id(settings):
    """A checksum by which files of a run are told from those of another: of the settings that make
    it what it is, where they are not the defaults."""
    names = {*settings} - {*MAY_CHANGE}
    if settings.get('fingerprint'):
        names.discard('data')  # a file may move
    fixed = {name: settings[name] for name in sorted(names) if settings[name] != DEFAULTS.get(name)}
    return zlib.crc32(json.dumps(fixed).encode())


def start_run(folder, given, array):
    """A new run."""
    name = given.get('data', DEFAULTS['data'])
    rows, names, image = find_rows(name if array is None else array, given.get('columns'))
    settings = Settings({**DEFAULTS, **data_defaults(name, rows, image), **given})
    for flag in NOT_RECORDED:
        del settings[flag]
    check_meaning(given, settings)
    settings['fingerprint'] = fingerprint(rows)
    data = make_data(settings, rows, names, image)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        if error.errno in (errno.EEXIST, errno.ENOTDIR, errno.ENAMETOOLONG):
            raise UsageError(f'argument --output: {folder}: {error.strerror}; give '
                             'a folder') from None
        raise
    with locked(folder):
        check_folder(folder, settings, 'overwrite' in given)
        return train_run(folder, settings, data)


def check_folder(folder, settings, overwrite):
    """Raises UsageError where a new run in this folder would destroy files of the user's, or
    without --overwrite another run."""
    ours = OWN_NAMES & {*os.listdir(folder)}
    if not ours:
        return

    for name in ours & {*RUN_FOLDERS}:
        if not (folder/name).is_dir():
            raise UsageError(f'argument --output: {folder/name} is no folder; move it away, or '
                             'give another --output')

    cures = '--resume it, --overwrite it'
    try:
        if 'fingerprint' not in (read_file(folder/'settings.json') or {}):
            raise UsageError(f'argument --output: {folder/min(ours)} is not of a run, and a run '
                             'would write there; give another --output')
        recorded = recorded_settings(folder, '--resume')
        lost = what_would_be_lost(folder, recorded, settings)
    except Failure as error:
        lost = f'a run that cannot be read ({str(error).split(";")[0]})'
        cures = '--overwrite it'
    if not lost:
        say(f'Replacing the finished run in {folder}, which had the same flags.')
    elif not overwrite:
        raise UsageError(f'argument --output: {folder} holds {lost}; {cures}, or give another '
                         '--output')


def what_would_be_lost(folder, recorded, settings):
    """In words, the run in a folder, where a run of other settings would not give the same
    again."""
    if not is_finished(folder, recorded):
        return 'an unfinished run'
    if run_id(recorded) != run_id(settings):
        return 'a finished run with other flags'
    if settings.iterations < recorded.iterations:
        return f'a finished run of {recorded.iterations} iterations'
    return None


def is_finished(folder, settings):
    """Has the run of these settings in a folder come to its end? Raises Failure."""
    summary = read_summary(folder)
    return bool(summary) and summary['settings']['iterations'] == settings.iterations


def read_summary(folder):
    """What summary.json holds, None where there is none. Raises Failure."""
    path = folder/'summary.json'
    summary = read_file(path)
    if summary is None:
        return None
    with reading(path):
        ours = summary.keys() >= {'claims', 'final', 'settings', 'delivered_iteration'}
        if not ours or 'iterations' not in summary['settings']:
            raise ValueError('it is of another program')
    return summary


def recorded_settings(folder, flag):
    """The settings of the run in a folder, which a flag needs. Raises UsageError where there is
    none, Failure where they are damaged or of another version."""
    path = folder/'settings.json'
    if not path.exists():
        raise UsageError(f'argument {flag}: {folder} holds no run; leave {flag} out to start one')
    recorded = read_file(path)
    recorded.pop('suited', None)  # the names of defaults, which earlier versions recorded
    flags = {name: default for name, default in DEFAULTS.items() if name not in NOT_RECORDED}
    if not recorded.keys() <= {*flags, 'fingerprint'}:
        raise Failure(f'{path} is of another version of this program; use that, or start anew by '
                      '--overwrite')
    settings = Settings({**flags, **recorded})
    given = {name: settings[name] for name in flags}
    with reading(path):
        typed = {**flags, **parse(as_typed(given)), 'data': str(settings.data)}
        if typed != given or 'fingerprint' not in recorded:
            raise ValueError('values that no flags give')
    return settings


def changed_settings(folder, given, recorded, may_change=()):
    """Recorded settings with the given ones. Raises UsageError where these contradict them."""
    settings = Settings({name: given.get(name, value) for name, value in recorded.items()})
    check_meaning(given, settings)
    for name, value in recorded.items():
        if settings[name] != value and name not in may_change:
            flag = name.replace('_', '-')
            raise UsageError(f'argument --{flag}: {flag_value(settings[name])} contradicts '
                             f'{flag_value(value)} of the run in {folder}; leave it out, or give '
                             'another --output')
    return settings


def sample_run(folder, given):
    """--sample: only samples of the run's generator."""
    recorded = recorded_settings(folder, '--sample')
    with locked(folder):
        settings = changed_settings(folder, given, recorded)
        summary = read_summary(folder)
        if not summary:
            raise Failure(f'{folder} holds no trained generator yet; go on with --resume, or '
                          f'finish it as it is: --resume --iterations {trained_iterations(folder)}')
        for name in TO_SAMPLE:
            if not (folder/name).exists():
                raise Failure(f'{folder/name} is missing; --resume writes it anew')
        with reading(folder/'saved_model'):
            try:
                write_samples(folder, settings, given['sample'])
            except tf.errors.OpError as error:
                raise ValueError from error
    delivered = summary['delivered_iteration']
    say(f'{given["sample"]} samples of the generator of iteration {delivered} are in '
        f'{folder/"generated_samples.csv"}')


def trained_iterations(folder):
    """How far the run in a folder has come, by its checkpoint."""
    path = folder/'checkpoint.npz'
    with reading(path):
        arrays = read_file(path)
        return json.loads(arrays['state'].tobytes())['iteration'] if arrays else 0


def resume_run(folder, given, array):
    """--resume, also of a finished run that is to be longer or have more pictures. Returns the
    summary."""
    recorded = recorded_settings(folder, '--resume')
    own_data = ('data',) if recorded.fingerprint else ()  # which may have moved
    with locked(folder):
        settings = changed_settings(folder, given, recorded, MAY_CHANGE + own_data)
        unchanged = (settings.iterations == recorded.iterations
                     and settings.pictures == recorded.pictures)
        whole = all((folder/name).exists() for name in ('generated_samples.csv', *TO_SAMPLE))
        if unchanged and whole and is_finished(folder, recorded):
            say(f'The run in {folder} is finished: {settings.iterations} iterations.')
            with drawing_process(folder, settings):  # which draws what a kill may have prevented
                return read_summary(folder)
        source = settings.data if array is None else array
        rows, names, image = find_rows(source, settings.columns)
        if fingerprint(rows) != settings.fingerprint:
            raise UsageError(f'argument --data: {settings.data} is not what the run began with; '
                             'give that by --data')
        return train_run(folder, settings, make_data(settings, rows, names, image), resuming=True)


def say(line, file=None):
    """Prints a line at once, ? for letters that a terminal lacks; to nowhere if a pipe closed."""
    file = file or sys.stdout
    encoding = getattr(file, 'encoding', None) or 'utf-8'  # a notebook's stdout may have none
    line = line.encode(encoding, 'replace').decode(encoding)
    try:
        print(line, file=file, flush=True)
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), file.fileno())


def describe(run):
    """Prints what runs."""
    settings, data = run.settings, run.data
    rows = ''
    if data.own:
        n_held_out = 0 if data.held_out is None else len(data.held_out)
        rows = f', {len(data.rows)} rows to train on, {n_held_out} held out to judge the samples'
    parameters = {name: sum(v.shape.num_elements() for v in tf.trainable_variables(f'GAN/{name}'))
                  for name in ('Generator', 'Discriminator')}
    defaults = data_defaults(settings.data, data.rows, data.image)
    skipped = ['data', 'columns', 'fingerprint']
    if not is_scaled(settings.data):
        skipped.append('scale')
    marked = []
    for name, value in settings.items():
        if name not in skipped:
            mark = '*' if (name, value) in defaults.items() else ''
            marked.append(f'{name.replace("_", "-")}{mark} {flag_value(value)}')
    meaning = ' (*: chosen for such data)' if defaults else ''
    say(f'Data        {settings.data}, {len(data.names)} columns{rows}')
    say(f'Networks    generator of {parameters["Generator"]} parameters, '
        f'discriminator of {parameters["Discriminator"]}')
    say(f'Settings    {", ".join(marked)}{meaning}')
    say(f'Output      {run.folder}')


def report(folder, summary, drawing):
    """Prints what came out and where it is."""
    say(f'Training    {summary["seconds"]["training"]:.1f} s')
    delivered = summary['delivered_iteration']
    untrained = ', which is hardly trained' if delivered == 0 else ''
    say(f'Samples     {FINAL_ROWS}, of the generator of iteration {delivered}{untrained}')
    say_measures(summary['final'])
    words = {True: 'holds', False: 'not so', None: 'unclear'}
    for claim in summary['claims'].values():
        figures = [f'{name}: {value:.3g}' for name, value in claim['measured'].items()
                   if value is not None]
        found = claim.get('finding') or '; '.join(figures) or 'too short a run to say'
        say(f'{words[claim["holds"]]:<11} {claim["claim"]} ({found})')
    if summary['verdict']:
        say(f'Verdict     {summary["verdict"]}')
    if drawing:
        page = folder/'index.html'
        say(f'Pictures    are in {folder}; open {page} in a browser to see them together')
        if drawing.returncode:
            command = f'python plotting.py {shell_path(folder)}'
            say(f'Some pictures are missing; draw them by: {command}', file=sys.stderr)


def say_measures(final):
    """Prints the measures of the final samples."""
    if final['energy_distance'] is not None:
        beside = f'real rows {final["floor"]:.2g}'
        if 'shuffled' in final:
            beside += f', shuffled columns {final["shuffled"]:.2g}'
        if final['energy_distance'] < 0:
            beside += ', below 0 by chance'
        say(f'            energy distance {final["energy_distance"]:.3g}, standard error '
            f'{final["energy_distance_error"]:.1g} ({beside})')
    if final['neighbours_samples'] is not None:
        say('            nearest neighbour of their own kind: '
            f'{final["neighbours_samples"]:.0%} of the samples, '
            f'{final["neighbours_real"]:.0%} of real rows (50% if alike)')


# ------------------------------------------------------------------------------------- command line

def number(kind, low, high, metavar='N'):
    """The arguments for argparse of a number, int or float, from low to high."""
    def convert(text):
        try:
            value = kind(text)
        except ValueError:
            value = math.nan
        if low <= value <= high:
            return value
        noun = 'whole number' if kind is int else 'number'
        several = '; separate several by spaces' if ',' in text else ''
        raise argparse.ArgumentTypeError(
            f'{text} is not allowed; give a {noun} from {low} to {high}{several}')
    return dict(type=convert, metavar=metavar)


def file_name(text):
    """The argument --output, or as it is in --data. Raises what argparse tells."""
    if not text.strip() or re.search('[\ud800-\udfff]', text):  # no UTF-8
        raise argparse.ArgumentTypeError(f'{text!r} is no name that can be written; give another')
    return os.path.expanduser(text)


def data_name(text):
    """The argument --data: a name, or a path that is the same from everywhere."""
    name = file_name(text)
    return os.path.realpath(name) if name not in BUILT_IN and os.path.exists(name) else name


EVERY = number(int, 1, 10**9)
STEPS = number(int, 1, 1000)
WIDTH = number(int, 1, LARGEST_WIDTH)
SWITCH = dict(action='store_true')
FLAGS = {  # section: (flag, default, other arguments for argparse, meaning)
    'data': [
        ('--data', 'quadratic', dict(metavar='NAME or FILE', type=data_name),
         f'What is learned: a built-in distribution ({", ".join(BUILT_IN)}), or your own table or '
         f'images ({", ".join(TABLES + ARRAYS)}).'),
        ('--columns', None, dict(nargs='+', metavar='NAME', type=str.strip),
         'Learn only these columns of your table, given by name or by number from 1.'),
        ('--scale', 100., number(float, 1e-6, 1e6, 'WIDTH'), 'Width of the x range of the curves.'),
        ('--normalize', None, dict(nargs='?', const='standard', choices=('standard', 'quantile')),
         'What the networks see. standard: each column with mean 0 and deviation 1. quantile: each '
         'column as a standard normal. All data but quadratic are normalized by default.'),
        ('--no-normalize', None, dict(action='store_const', const=None, dest='normalize'),
         'The networks see the data as they are.')],
    'networks': [
        ('--hidden', [16, 16], dict(WIDTH, nargs='+'),
         'Units of each hidden layer, in both networks, separated by spaces.'),
        ('--activation', 'leaky_relu', dict(choices=ACTIVATIONS), 'Activation of hidden layers.'),
        ('--layer', 'dense', dict(choices=LAYERS), 'Kind of hidden layers.'),
        ('--output-mapping', 'linear', dict(choices=OUTPUT_MAPPINGS),
         "Last layer of the generator. tanh: its output stays within the data's range."),
        ('--noise-dim', 2, WIDTH, 'Number of values in a noise vector Z.')],
    'training': [
        ('--iterations', 100001, EVERY,
         'Iterations of training. With 1 more than a multiple of --snapshot-every, the last one is '
         'in the pictures.'),
        ('--batch-size', 256, number(int, 1, 10**5),
         'Real samples, and as many noise vectors, in an iteration.'),
        ('--d-steps', 1, STEPS, 'Updates of the discriminator in an iteration.'),
        ('--g-steps', 1, STEPS, 'Updates of the generator in an iteration.'),
        ('--learning-rate', 0.001, number(float, 1e-12, 1000, 'RATE'),
         'Learning rate of RMSProp, in both networks.'),
        ('--average', 0., number(float, 0, 0.999999, 'DECAY'),
         "Deliver a moving average of the generator's weights, with this decay. 0: no average."),
        ('--penalty', 0., number(float, 0, 1e6, 'GAMMA'),
         'Weight of the R1 gradient penalty of the discriminator.'),
        ('--keep', 'last', dict(choices=('last', 'best')),
         'Which generator is delivered: that of the last iteration, or the one nearest to the data '
         'among the snapshots and the last.'),
        ('--seed', 0, number(int, 0, 2**32 - 1), 'Fixes everything that is random.'),
        ('--step-by-step', False, SWITCH, 'Train as the tutorial does, with one sess.run a step.')],
    'what is written': [
        ('--output', None, dict(metavar='DIR', type=file_name),
         'Folder to write to. Default: outputs, or a folder in it that is named after your flags.'),
        ('--log-every', 10, EVERY, 'Iterations between two rows of loss_logs.csv.'),
        ('--snapshot-every', 1000, EVERY,
         'Iterations between two snapshots, of which there are pictures and measures.'),
        ('--print-every', 1000, EVERY,
         'Iterations between two printed lines. The tutorial prints them all: 1.'),
        ('--pictures', 'article', dict(choices=('article', 'all', 'none')),
         "article: the tutorial's pictures. all: also the update of D, D(x) over the plane, and "
         'what G makes of noise. none: no pictures, and no page.')],
    'what to do with the run in that folder, one of': [
        ('--resume', False, SWITCH, 'Go on with it.'),
        ('--overwrite', False, SWITCH, 'Discard it and start anew.'),
        ('--sample', None, number(int, 1, 10**7),
         'Write N samples of its generator, without training.')],
}


DEFAULTS = {arguments.get('dest') or flag.strip('-').replace('-', '_'): default
            for section in FLAGS.values() for flag, default, arguments, _ in section}


def flag_value(value):
    """A value as it is typed: of a list, the words."""
    return ' '.join(map(str, value)) if isinstance(value, list) else str(value)


class Parser(argparse.ArgumentParser):
    """A parser that raises; argparse's own would end the process, and so a notebook's."""

    def error(self, message):
        raise UsageError(message)


def make_parser():
    """The parser of FLAGS. It has no defaults: what it returns is what the user gave."""
    about = (__doc__ or '').split('\n\nRead')[0]  # none under python -OO
    parser = Parser('gan_quadratic.py', description=about,
                    formatter_class=argparse.RawDescriptionHelpFormatter,
                    argument_default=argparse.SUPPRESS, allow_abbrev=False)
    for title, flags in FLAGS.items():
        section = parser.add_argument_group(title)
        if title.endswith('one of'):
            section = section.add_mutually_exclusive_group()
        for flag, default, arguments, meaning in flags:
            if default not in (None, False):
                meaning += f' Default: {flag_value(default)}.'
            section.add_argument(flag, help=meaning, **arguments)
    return parser


def parse(argv):
    """The flags that were given, by name. Raises UsageError."""
    return vars(make_parser().parse_args(argv))


def is_scaled(data):
    """Does --scale mean something to these data?"""
    return data in DISTRIBUTIONS and DISTRIBUTIONS[data].scaled


def check_meaning(given, settings):
    """Raises UsageError where a flag that was given has no meaning beside the other settings."""
    def refuse(flag, other):
        raise UsageError(f'argument {flag}: has no meaning beside {other}; leave one of them out')
    data = settings.data
    if 'columns' in given and data in BUILT_IN:
        refuse('--columns', f'--data {data}')
    if 'scale' in given and not is_scaled(data):
        refuse('--scale', f'--data {data}')
    if 'activation' in given and settings.layer == 'maxout':
        refuse('--activation', '--layer maxout')


def train(**flags):
    """Runs the command from a notebook or another program: train(iterations=2001, output='demo').

    Each flag by its name with underscores: lists for several values, True and False for switches;
    `data` may also be what NumPy makes an array of, [n, dim] or images. Returns what summary.json
    holds and, where it trained, `samples` [10000, dim] in the data's units; None with `sample=N`.
    Raises UsageError (a ValueError) where the command would exit with 2, Failure or OSError where
    with 1."""
    for name in flags:
        if name not in DEFAULTS:
            raise UsageError(f'train() has no argument {name!r}; it has {", ".join(DEFAULTS)}')
    array = None
    data = flags.get('data')
    if data is not None and not isinstance(data, (str, os.PathLike)):
        array = data
        flags['data'] = 'an array'
    return run_command(parse(as_typed(flags)), array)


def as_typed(flags):
    """The words that give these flags on a command line; None gives none, nor does False, but for
    normalize."""
    argv = []
    for name, value in flags.items():
        flag = '--' + name.replace('_', '-')
        if name == 'normalize' and value is False:
            argv.append('--no-normalize')
        elif value is True:
            argv.append(flag)
        elif isinstance(value, (list, tuple, np.ndarray)):
            argv += [flag, *(f' {each}' for each in value)]  # a space, for it may begin with -
        elif value is not False and value is not None:
            argv.append(f'{flag}={value}')
    return argv


@contextmanager
def interruptible():
    """Makes SIGINT and SIGTERM raise KeyboardInterrupt; gives the list of those that came."""
    signals = []

    def interrupted(number, frame):
        signals.append(number)
        # then again, because TensorFlow's C++ may swallow what is raised beneath it
        signal.alarm(5)
        raise KeyboardInterrupt
    before = {number: signal.signal(number, interrupted)
              for number in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM)}
    try:
        yield signals
    finally:
        signal.alarm(0)
        for number, handler in before.items():  # of a notebook's
            signal.signal(number, handler or signal.SIG_DFL)


def complain(error):
    """Prints in one line what went wrong. Returns the exit status; raises what is no failure but a
    fault."""
    status = 1
    try:
        raise error
    except UsageError:
        status = 2
        line = f'error: {error}'
    except Failure:
        line = str(error)
    except ImportError:
        line = f'{error}; {INSTALL}'
    except MemoryError:
        line = 'not enough memory; give a smaller --batch-size or --hidden'
    except OSError:
        where = f'{error.filename}: ' if error.filename else ''
        temporary = 'temporary' in str(error)
        cure = 'set TMPDIR to a folder to write to' if temporary else 'see to it, then --resume'
        line = f'{where}{error.strerror or error}; {cure}'
    say(f'gan_quadratic.py: {line}', file=sys.stderr)
    return status


def main(argv=None):
    """The command. Returns its exit status: 0, 1 for failures, 2 for usage, 130 and 143 for Ctrl-C
    and SIGTERM."""
    given = {}
    with interruptible() as signals:
        try:
            given = parse(argv)
            run_command(given)
            return 0
        except BaseException as error:
            if not signals:
                return complain(error)
    say(f'gan_quadratic.py: stopped; {how_to_go_on(folder_of(given))}', file=sys.stderr)
    return 128 + signals[0]  # whatever the interrupted code has made of it


def how_to_go_on(folder):
    """What can be done with a run that was stopped, in a line."""
    if not (folder/'settings.json').exists():
        return 'nothing was saved yet'
    line = f'go on with: python gan_quadratic.py --resume --output {shell_path(folder)}'
    with suppress(Failure):  # of a damaged checkpoint
        trained = trained_iterations(folder)
        if trained:
            line += f'; or finish it as it is, by the same and --iterations {trained}'
    return line


def shell_path(path):
    """A path as a shell and a command take it, also where it begins with a minus."""
    return shlex.quote(os.path.join('.', path) if str(path).startswith('-') else str(path))


if __name__ == '__main__':
    # TensorFlow makes many objects, nearly all of which stay: to look through them takes half a
    # second at the end.
    gc.set_threshold(100_000)
    atexit.register(gc.freeze)
    sys.exit(main())
