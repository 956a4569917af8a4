"""A simple GAN that learns to draw the points of y = 10 + x^2, in TensorFlow 1's style on current TensorFlow.

    python gan_quadratic.py  # the tutorial: 100,001 iterations of 1 + 1 steps
    python gan_quadratic.py --d-steps 10 --g-steps 10 --iterations 10001 --output outputs/companion  # 10 + 10 steps
    python gan_quadratic.py --data spiral --pictures all --output outputs/spiral  # an exercise, with every picture
    python gan_quadratic.py --sample 1000  # so many samples of the first one's generator

`--data table.csv` learns data of your own, `--resume` goes on with an interrupted run.

Read this file from top to bottom: data, networks, graph and training follow the tutorial, by its names and in its
order, and stand on their own. What a run needs around them comes after: measures of what the tutorial claims, data of
the user's, files and checkpoints, the run that ties all this together, and the command line. Pictures are drawn from
the files by `plotting.py`, a process of its own.
"""
import argparse
import contextlib
import csv
import errno
import functools
import gc
import gzip
import itertools
import json
import math
import multiprocessing.pool
import os
import re
import shutil
import signal
import socket
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
from types import SimpleNamespace
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
    """Closes stderr to what TensorFlow writes there as it is imported, and version 2.16 as XLA first compiles."""
    with SILENCE, open(os.devnull, 'wb') as nowhere, open(os.dup(2), 'wb') as stderr:
        os.dup2(nowhere.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(stderr.fileno(), 2)


@functools.cache
def import_tensorflow():
    """`tensorflow.compat.v1`, without Keras, a third of the time and 100 MB: TensorFlow loads that only where it is to
    be Keras 3, and finds that out once more when `tf.keras` is first used, which stays what it would have been."""
    os.environ.setdefault('XLA_FLAGS', XLA_FLAGS)  # read by XLA when it first compiles
    os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')
    with silence(), contextlib.ExitStack() as stack:
        if not ('TF_USE_LEGACY_KERAS' in os.environ or 'tensorflow' in sys.modules or find_spec('tf_keras')):
            os.environ['TF_USE_LEGACY_KERAS'] = '1'
            stack.callback(os.environ.pop, 'TF_USE_LEGACY_KERAS')
        import tensorflow.compat.v1 as imported
    imported.logging.set_verbosity(imported.logging.ERROR)
    return imported


class LateTensorFlow:
    """Stands for `tensorflow.compat.v1`, which is imported at the first use of one of its names: that takes seconds,
    which `--help` and a mistyped flag should not have to wait for."""

    def __getattr__(self, name):
        return getattr(import_tensorflow(), name)


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


# The other distributions. Each draws all that a row needs in one call of rng.random, row after row: so the rows
# are the same however many are asked for at a time.

def two_curves(n, scale, rng):
    """[n, 2] points of y = 10 + x^2 and of its mirror image y = -(10 + x^2), each drawn half the time."""
    x, which = rng.random((n, 2)).T
    x = scale*(x - 0.5)
    return np.stack([x, np.where(which < 0.5, get_y(x), -get_y(x))], axis=1)


def gaussians(n, scale, rng):
    """[n, 2] points of eight Gaussians, standard deviation 0.05, centred on the unit circle."""
    which, u, t = rng.random((n, 3)).T
    centre = 2*np.pi*np.floor(8*which)/8
    radius = 0.05*np.sqrt(-2*np.log1p(-u))  # Box and Muller's way to a normal pair
    return np.stack([np.cos(centre) + radius*np.cos(2*np.pi*t), np.sin(centre) + radius*np.sin(2*np.pi*t)], axis=1)


def sphere(n, scale, rng):
    """[n, 3] points, uniform on the surface of the unit sphere."""
    z, t = rng.random((n, 2)).T
    z, t = 2*z - 1, 2*np.pi*t
    r = np.sqrt(1 - z*z)
    return np.stack([r*np.cos(t), r*np.sin(t), z], axis=1)


class Distribution(NamedTuple):
    """A line of the table below: what draws its [n, dim] rows, flags that it needs, its curve if it is a graph."""
    sample: Callable
    flags: dict = {}
    curve: Optional[Callable] = None
    scaled: bool = False  # does --scale mean something to it?


def curve_over_x(curve, **flags):
    """A line of DISTRIBUTIONS for points (x, curve(x)), with the flags that it needs."""
    return Distribution(functools.partial(sample_data, curve=curve), flags, curve, scaled=True)


def along(path, start=0, end=1, **flags):
    """A line of DISTRIBUTIONS for [n, dim] points path(t), t uniform in [start, end), with the flags that it needs."""
    def sample(n, scale, rng):
        return np.stack(path(start + (end - start)*rng.random(n)), axis=1)
    return Distribution(sample, flags)


# What shapes other than the tutorial's come out well with.
SHAPED = dict(normalize='standard', hidden=[32, 32], activation='tanh', noise_dim=4, learning_rate=0.0005,
              iterations=20001)
DISTRIBUTIONS = {
    'quadratic': curve_over_x(get_y),
    'cubic': curve_over_x(lambda x: x**3, **SHAPED),
    'quartic': curve_over_x(lambda x: x**4, **SHAPED),
    'sine': curve_over_x(lambda x: 10*np.sin(x/10), **SHAPED),
    'cosine': curve_over_x(lambda x: 10*np.cos(x/10), **SHAPED),
    'two-curves': Distribution(two_curves, SHAPED, scaled=True),
    'spiral': along(lambda r: [r*np.cos(4*np.pi*r), r*np.sin(4*np.pi*r)],  # Archimedean, of two turns
                    **dict(SHAPED, hidden=[64, 64], iterations=40001)),
    'ring': along(lambda t: [np.cos(t), np.sin(t)], 0, 2*np.pi, **SHAPED),
    'gaussians': Distribution(gaussians, SHAPED),
    'helix': along(lambda z: [np.cos(2*np.pi*z), np.sin(2*np.pi*z), z], -1, 1, **SHAPED),
    'sphere': Distribution(sphere, SHAPED),
}
IMAGE_FLAGS = dict(normalize='standard', hidden=[256, 256], layer='layer_norm', noise_dim=32, learning_rate=0.0005,
                   penalty=2., batch_size=64, iterations=30001, keep='best')
TABLE_FLAGS = dict(normalize='quantile', hidden=[64, 64], noise_dim=16,  # or as many as columns, where these are more
                   learning_rate=0.00005, penalty=3., iterations=20001, keep='best')
KERAS_DATASETS = ('mnist', 'cifar10')
BUILT_IN = (*DISTRIBUTIONS, *KERAS_DATASETS)


# --------------------------------------------------------------------------------------------------- networks

def dense(inputs, units, activation=None):
    """What `tf.layers.dense` did: [n, k] -> [n, units], Glorot uniform kernel, zero bias, in scope dense, dense_1..."""
    with tf.variable_scope(None, default_name='dense'):
        kernel = tf.get_variable('kernel', [inputs.shape[-1], units], use_resource=True,
                                 initializer=tf.glorot_uniform_initializer())
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
        def gradient(d):
            d_inputs = tf.add_n([d[:, k:k + 1]*kernel[:, k] for k in range(kernel.shape[1])])
            d_kernel = tf.stack([tf.reduce_sum(inputs*d[:, k:k + 1], 0) for k in range(kernel.shape[1])], axis=1)
            return d_inputs, d_kernel
        return tf.matmul(inputs, kernel), gradient
    return narrow(inputs, tf.identity(kernel))


def residual(inputs, units, activation):
    """A dense layer beside a shortcut (He et al. 2015), [n, k] -> [n, units]; the shortcut is linear for other k."""
    shortcut = inputs if inputs.shape[-1] == units else dense(inputs, units)
    return shortcut + dense(inputs, units, activation)


def layer_norm(inputs, units, activation):
    """A dense layer, each row normalised before the activation (Ba et al. 2016), [n, k] -> [n, units]."""
    outputs = dense(inputs, units)
    with tf.variable_scope(None, default_name='layer_norm'):
        gain = tf.get_variable('gain', [units], use_resource=True, initializer=tf.ones_initializer())
        offset = tf.get_variable('offset', [units], use_resource=True, initializer=tf.zeros_initializer())
    mean, variance = tf.nn.moments(outputs, [-1], keepdims=True)
    return activation(tf.nn.batch_normalization(outputs, mean, variance, offset, gain, 1e-6))


def maxout(inputs, units, activation):
    """The larger of two linear layers (Goodfellow et al. 2013), [n, k] -> [n, units]; it is its own activation."""
    return tf.maximum(dense(inputs, units), dense(inputs, units))


LAYERS = {'dense': dense, 'residual': residual, 'layer_norm': layer_norm, 'maxout': maxout}

ACTIVATIONS = {  # lambdas, so that TensorFlow is loaded only when one is used
    'leaky_relu': lambda x: tf.nn.leaky_relu(x),
    'relu': lambda x: tf.nn.relu(x),
    'elu': lambda x: tf.nn.elu(x),
    'selu': lambda x: tf.nn.selu(x),
    'gelu': lambda x: x*(1 + tf.erf(x/math.sqrt(2)))/2,
    'swish': lambda x: x*tf.sigmoid(x),
    'softplus': lambda x: tf.nn.softplus(x),
    'tanh': lambda x: tf.tanh(x),
    'sigmoid': lambda x: tf.sigmoid(x),
}

OUTPUT_MAPPINGS = {  # of the generator's last layer, to data that lies between low and high
    'linear': lambda out, low, high: out,
    'tanh': lambda out, low, high: (high + low)/2 + (high - low)/2*tf.tanh(out),
}


def generator(Z, hsize=[16, 16], reuse=False, *, dim=2, activation='leaky_relu', layer='dense',
              output_mapping='linear', low=-1., high=1.):
    """Turns noise Z [n, noise_dim] into samples [n, dim], as the networks see data; reuse=True shares the variables.

    Hidden layers of `hsize` units, a linear layer, then OUTPUT_MAPPINGS[output_mapping] onto the range low to high.
    """
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
    """Both networks on real samples X and noise Z, with the two losses: a `GAN` that has no steps yet.

    joined: D looks at both batches in one pass, which takes less time than two and gives the same. The further
    arguments are the networks' own, see `generator`.
    """
    hidden = dict(activation=activation, layer=layer)
    G_sample = generator(Z, hsize, reuse, dim=dim, **hidden, **mapping)
    if joined:
        logits, rep = discriminator(tf.concat([X, G_sample], axis=0), hsize, reuse, **hidden)
        (r_logits, f_logits), (r_rep, g_rep) = tf.split(logits, 2), tf.split(rep, 2)
    else:
        r_logits, r_rep = discriminator(X, hsize, reuse, **hidden)
        f_logits, g_rep = discriminator(G_sample, hsize, reuse=True, **hidden)

    disc_loss = tf.reduce_mean(
        tf.nn.sigmoid_cross_entropy_with_logits(logits=r_logits, labels=tf.ones_like(r_logits))
        + tf.nn.sigmoid_cross_entropy_with_logits(logits=f_logits, labels=tf.zeros_like(f_logits)))
    gen_loss = tf.reduce_mean(
        tf.nn.sigmoid_cross_entropy_with_logits(logits=f_logits, labels=tf.ones_like(f_logits)))
    return GAN(X, Z, G_sample, r_logits, f_logits, r_rep, g_rep, disc_loss, gen_loss)


def gradient_penalty(gan, gamma):
    """R1 (Mescheder, Geiger and Nowozin 2018): gamma/2 times the mean, over real samples, of the squared norm of the
    gradient of D's logit by its input. A scalar, 0 for gamma 0."""
    if not gamma:
        return 0
    gradients, = tf.gradients(gan.r_logits, gan.X)  # row by row, for no row enters another's logit
    return gamma/2*tf.reduce_mean(tf.reduce_sum(tf.square(gradients), axis=1))


def build_gan(gen_optimizer=None, disc_optimizer=None, penalty=0., *, noise_dim=2, dim=2, **networks):
    """The tutorial's graph, in the default graph: a `GAN` on placeholders X [None, dim] and Z [None, noise_dim].

    Each optimizer updates its own network alone; RMSProp at the tutorial's rate of 0.001 where none is given. The
    discriminator's minimises its loss and, which the tutorial does not have, the `gradient_penalty` of gamma `penalty`.
    `networks`: hsize, activation, layer, output_mapping, low, high, as `generator` takes them.
    """
    X = tf.placeholder(tf.float32, [None, dim])
    Z = tf.placeholder(tf.float32, [None, noise_dim])
    gan = connect(X, Z, dim=dim, **networks)

    gen_vars = tf.get_collection(tf.GraphKeys.GLOBAL_VARIABLES, scope='GAN/Generator')
    disc_vars = tf.get_collection(tf.GraphKeys.GLOBAL_VARIABLES, scope='GAN/Discriminator')
    gen_optimizer = gen_optimizer or tf.train.RMSPropOptimizer(learning_rate=0.001)
    disc_optimizer = disc_optimizer or tf.train.RMSPropOptimizer(learning_rate=0.001)
    gen_step = gen_optimizer.minimize(gan.gen_loss, var_list=gen_vars)
    disc_step = disc_optimizer.minimize(gan.disc_loss + gradient_penalty(gan, penalty), var_list=disc_vars)
    return gan._replace(disc_step=disc_step, gen_step=gen_step)


# --------------------------------------------------------------------------------------------------- training

def train_iteration(sess, gan, X_batch, Z_batch, d_steps=1, g_steps=1, look=lambda: None):
    """One iteration as the tutorial runs it, step by step: the discriminator's updates, then the generator's.

    Returns both losses, each from before its network's last update, and what `look()` returned before the
    discriminator's updates, between the two networks' updates, and after the generator's.
    """
    before_d = look()
    for _ in range(d_steps):
        _, dloss = sess.run([gan.disc_step, gan.disc_loss], feed_dict={gan.X: X_batch, gan.Z: Z_batch})
    before_g = look()
    for _ in range(g_steps):
        _, gloss = sess.run([gan.gen_step, gan.gen_loss], feed_dict={gan.Z: Z_batch})
    after_g = look()
    return dloss, gloss, (before_d, before_g, after_g)


def loss_and_gradients(network, variables, X, Z, penalty=0., **networks):
    """The loss of a network, 'Generator' or 'Discriminator', on a batch, and the gradients by these variables of what
    its updates minimise: a list."""
    if network == 'Generator':
        loss = minimised = connect(X, Z, **networks).gen_loss
    else:
        gan = connect(X, Z, joined=not penalty, **networks)  # the penalty needs the real samples' gradients apart
        loss, minimised = gan.disc_loss, gan.disc_loss + gradient_penalty(gan, penalty)
    return [loss, *tf.gradients(minimised, variables)]


def build_loop(gen_optimizer, disc_optimizer, length, batch_size, d_steps=1, g_steps=1, jit_compile=True,
               compute=loss_and_gradients, *, noise_dim=2, dim=2, **networks):
    """Up to `length` iterations of the tutorial's loop inside the graph, where no `sess.run` stands between steps.

    It trains the variables and optimizer slots that `build_gan` made with the same optimizers. Returns a function
    (sess, X_batches [n, batch_size, dim], Z_batches [n, batch_size, noise_dim]) -> losses [n, 2]. XLA compiles
    anew for each shape that is fed, so the batches pass through buffers of one shape, with a count beside them.
    compute: what gives losses and gradients, here or on other machines. networks: see `build_gan`, with its penalty.
    """
    X_buffer = np.zeros([length, batch_size, dim], np.float32)
    Z_buffer = np.zeros([length, batch_size, noise_dim], np.float32)
    X_fed = tf.placeholder(tf.float32, X_buffer.shape)
    Z_fed = tf.placeholder(tf.float32, Z_buffer.shape)
    count = tf.placeholder(tf.int32, [])

    def steps(number, network, optimizer, batch):
        """`number` updates of a network, one after the other; returns the loss from before the last."""
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


def mean_distance(a, b):
    """The mean Euclidean distance over all pairs of a row of a [n, d] and a row of b [m, d]."""
    return sum(block.sum(dtype=np.float64) for block in distances(a, b))/(len(a)*len(b))


def energy_distance_to(real, spread=None, unpaired=False):
    """The function that gives the energy distance (Szekely and Rizzo 2013) of samples [n, d] to these real [m, d].

    Each coordinate is divided by `spread`, [d] or one for all, the real samples' standard deviations where it is not
    given. Every pair counts, a point with itself too, unless `unpaired`: then the mean over many draws from one
    distribution is 0, and single values may be negative.
    """
    centre, spread = real.mean(axis=0), real.std(axis=0) if spread is None else spread
    spread = np.where(spread > 0, spread, 1)

    def standardised(points):
        # beyond 1e15 deviations all is equally far: squares stay within single precision
        return np.clip((points - centre)/spread, -1e15, 1e15).astype(np.float32)

    def within(points):
        return mean_distance(points, points)*(len(points)/(len(points) - 1) if unpaired else 1)
    b = standardised(real)
    within_real = within(b)

    def distance(generated):
        a = standardised(generated)
        return float(2*mean_distance(a, b) - within(a) - within_real)
    return distance


def sample_measures(samples, data, distance):
    """Of samples [n, dim] in the data's units, None where not defined: energy distance; of a curve also the residual,
    median |y - curve(x)|, and the coverage, share of 20 equal x bins that hold at least a quarter of their fair share.
    """
    measured = dict(energy_distance=distance(samples) if distance else None, curve_residual=None, coverage=None)
    if data.curve:
        x, y = samples.T
        counts, _ = np.histogram(x, 20, (data.low[0], data.high[0]))
        measured.update(curve_residual=float(np.median(np.abs(y - data.curve(x)))),
                        coverage=float(np.mean(counts >= len(x)/20/4)))
    return measured


def metrics_row(iteration, losses, answers, features, measured):
    """One row of metrics.csv by column, None where a measure is not defined.

    losses: [n, 2] since the last snapshot. answers: mean D(x) on real and on generated samples. features:
    [3, 2, n, 2], before D's updates, before G's, after G's; of real, of generated. measured: `sample_measures`.
    """
    _, (real, before), (real_after, after) = features.astype(float)  # float has room for a run gone astray
    centroid = real.mean(axis=0)
    distance_before, distance_after = (np.linalg.norm(cloud.mean(axis=0) - centroid) for cloud in (before, after))
    return {
        'Iteration': iteration,
        'Discriminator Loss Mean': losses[:, 0].mean(), 'Discriminator Loss Spread': losses[:, 0].std(),
        'Generator Loss Mean': losses[:, 1].mean(), 'Generator Loss Spread': losses[:, 1].std(),
        'D on Real': answers[0], 'D on Generated': answers[1],
        **{name.replace('_', ' ').title(): value for name, value in measured.items()},
        'Feature Mixing': energy_distance_to(real_after)(after),
        'Centroid Distance Before': distance_before, 'Centroid Distance After': distance_after,
        'Moved Toward': int(distance_after < distance_before), 'Largest Real Move': np.abs(real_after - real).max()}


def check_claims(rows, final):
    """The tutorial's five claims, each with its figures and whether it holds (None: a figure is not defined).

    rows: metrics.csv. final: measures of the final samples; of own data also `floor` and `shuffled`, the energy
    distances of real rows and of rows with each column shuffled.
    """
    columns = {name: np.array([row[name] for row in rows], float) for name in rows[0]}
    n = math.ceil(len(rows)/10)

    def shrinkage(column):
        """The column's last tenth in parts of its first."""
        return column[-n:].mean()/column[:n].mean() if len(column) and column[:n].mean() > 0 else math.nan
    off = max(abs(columns['Discriminator Loss Mean'][-n:].mean() - 2*math.log(2)),
              abs(columns['Generator Loss Mean'][-n:].mean() - math.log(2)))
    spread = shrinkage(columns['Discriminator Loss Spread'][1:])  # iteration 0 has but one loss and so no spread
    mixing = shrinkage(columns['Feature Mixing'])
    distance = math.nan if final['energy_distance'] is None else final['energy_distance']
    floor, shuffled = final.get('floor'), final.get('shuffled')
    # 0.02 is some 20 times what two draws of a built-in distribution measure, about where the eye sees a difference.
    # Of own tables it is as much beyond what real rows measure, or half of the way from there to shuffled columns:
    # nearer to real rows than to rows in which no column has to do with another.
    limit = 0.02 if floor is None else max(floor + 0.02, (floor + shuffled)/2)
    move, toward = columns['Largest Real Move'].max(), columns['Moved Toward'].mean()

    claims = dict(
        losses_settle=('The losses settle at 2 ln 2 and ln 2', {
            # 0.05 from ln 2 is D giving generated samples 0.476 or 0.526 where equilibrium gives 0.5
            'distance from 2 ln 2 and ln 2': (off, off <= 0.05),
            'spread, last tenth / first': (spread, spread < 1)}),  # "settle": to change less at the end than at first
        samples_follow=('Generated samples follow the real distribution', {
            'energy distance': (distance, distance <= limit)}),
        real_features_stay=('A generator update moves no feature of real data', {
            'largest move': (move, move == 0)}),  # not even by rounding, for G's variables do not enter them
        centroid_moves_toward=('The generated centroid moves toward the real one', {
            'share of snapshots': (toward, toward >= 0.9)}),  # "almost always", says the tutorial
        features_mix=('Real and generated features mix more and more', {
            'distance, last tenth / first': (mixing, mixing < 1)}))

    def judged(words, figures):
        measured = {name: float(value) if math.isfinite(value) else None for name, (value, _) in figures.items()}
        passed = [None if measured[name] is None else bool(good) for name, (_, good) in figures.items()]
        holds = False if False in passed else None if None in passed else True
        return dict(claim=words, measured=measured, holds=holds)
    return {name: judged(*claim) for name, claim in claims.items()}


def verdict(final):
    """In a sentence, how near samples of own data are to real rows; None where nothing tells."""
    distance, floor = final['energy_distance'], final.get('floor')
    if floor is None:
        return None
    if distance <= floor + 0.02:
        return 'The samples are as good as real rows, as far as the rows kept back can tell.'
    if distance < final['shuffled']:
        return 'The samples are nearer to the rows kept back than shuffled columns are, but not as near as real rows.'
    return 'The samples are no nearer to the rows kept back than columns shuffled one by one.'


def advice(settings, rows, data):
    """In a line, what to try where the samples do not follow the data, by what was measured in the run."""
    distances = [row['Energy Distance'] for row in rows]
    best = int(np.argmin(distances))
    spread = data.high - data.low
    if rows[-1]['Discriminator Loss Mean'] > 10:
        return f'the losses are far from rest: --learning-rate {settings["learning_rate"]/5:g}'
    if best >= max(1, 0.6*(len(rows) - 1)):
        return f'the samples were still coming nearer at the end: --iterations {3*settings["iterations"] - 2}'
    if not settings['normalize'] and not (1 <= spread[spread > 0].min(initial=1) <= spread.max() <= 10):
        return f'the columns range over {spread.min():.3g} to {spread.max():.3g}, networks like 1 to 10: --normalize'
    if settings['keep'] == 'last' and distances[-1] > 2*distances[best]:
        return f'the samples were nearer at iteration {rows[best]["Iteration"]:.0f}: --keep best'
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
    """The number in a cell of a table, NaN of a gap and of a number with a decimal comma, None where it holds text."""
    try:
        value = float(cell.replace(',', '.'))
        return math.nan if ',' in cell else value
    except ValueError:
        return math.nan if cell.strip().lower() in MISSING else None


def read_table(path, chosen=None):
    """A .csv or .tsv (also .gz): rows [n, dim] and the columns' names, None without a header.

    chosen: the columns to read, by name or by number from 1. Raises UsageError with the line as an editor counts it.
    """
    with (gzip.open if path.suffix.lower() == '.gz' else open)(path, 'rt', newline='', encoding='utf-8-sig') as file:
        top = list(itertools.islice(filter(str.strip, file), 20)) or ['']
        widths = {key: [len(cells) for cells in csv.reader(top, delimiter=key)] for key in '\t;,'}
        # the one that cuts every line alike, or else the first line, or else any
        separator = max(widths, key=lambda key: (len({*widths[key]}) == 1 < widths[key][0], widths[key][0] > 1,
                                                 max(widths[key]) > 1))
        first, below = [*csv.reader(top, delimiter=separator), [], []][:2]
        is_header = any(cell_value(name) is None and not (below and cell_value(cell) is None)
                        for name, cell in zip(first, below or first))
        names = [cell.strip() for cell in first] if is_header else [str(k + 1) for k in range(len(first))]
        wanted = choose_columns(chosen, names)
        file.seek(0)
        reader, values = csv.reader(file, delimiter=separator), array('d')
        lines = (cells for cells in reader if any(map(str.strip, cells)))
        for cells in itertools.islice(lines, int(is_header), None):
            if len(cells) != len(names):
                raise UsageError(f'line {reader.line_num} has {len(cells)} cells, the first has {len(names)}; mend it')
            try:
                row = [float(cells[k]) for k in wanted]
            except ValueError:
                row = [math.nan]
            if not sum(map(abs, row)) < LARGEST:  # also of NaN
                numbers = [cell_value(cell) for cell in cells]
                good = [k for k, value in enumerate(numbers) if value is not None and abs(value) < LARGEST]
                for bad in (k for k in wanted if k not in good):
                    cell = cells[bad].strip()
                    fault = f'holds {cell[:40]!r}, no finite number in single precision' if cell else 'is empty'
                    cure = ('write decimals with a point' if ',' in cell and numbers[bad] is not None else
                            'mend it, or leave the line out' if not good else
                            f'mend it, or leave its column out: --columns {" ".join(str(k + 1) for k in good[:40])}')
                    raise UsageError(f'line {reader.line_num}, column {names[bad][:60]!r} {fault}; {cure}')
            values.extend(row)
    return np.frombuffer(values).reshape(-1, len(wanted) or 1), [names[k] for k in wanted] if is_header else None


def choose_columns(chosen, names):
    """The indices of the chosen columns (None: of all), by name or by number from 1. Raises UsageError."""
    numbers = {str(k + 1): k for k in range(len(names))} | {name: k for k, name in enumerate(names)}
    for word in chosen or []:
        if word not in numbers or names.count(word) > 1:
            known = ', '.join(repr(name[:40]) for name in names[:20]) + (', ...' if len(names) > 20 else '')
            found = f'{names.count(word)} columns' if word in names else 'no column'
            raise UsageError(f'has {found} {word!r}; give names, or numbers from 1 to {len(names)}: {known}')
    indices = [numbers[word] for word in chosen or []]
    if len(set(indices)) < len(indices):
        raise UsageError(f'--columns {" ".join(chosen)} names a column twice; name each once')
    return indices or list(range(len(names)))


def load_rows(source, chosen=None):
    """The user's rows: [n, dim] numbers, names of the columns or None, and the shape of a row where rows are images.

    source: a path, or an array [n, dim] or of images [n, height, width(, channels)] or [n, channels, height, width].
    Raises UsageError, with the reason, where it is no table of at least two rows of finite numbers.
    """
    names, rows = None, source
    if not isinstance(source, np.ndarray):
        if not os.path.isfile(source) or not source.lower().endswith(TABLES + ARRAYS):
            what = ('a folder' if os.path.isdir(source) else 'no table' if os.path.exists(source) else
                    'no file and no known distribution')
            raise UsageError(f'is {what}; allowed are {", ".join(BUILT_IN)}, or a file that ends in '
                             + ', '.join(TABLES + ARRAYS))
        if source.lower().endswith(TABLES):
            (rows, names), chosen = read_table(Path(source), chosen), None
        else:
            with open(source, 'rb') as file:
                rows = np.load(file, allow_pickle=False)
                if isinstance(rows, np.lib.npyio.NpzFile):
                    found = [name for name in rows.files if name == 'x_train' or len(rows.files) == 1]
                    if not found:
                        raise UsageError(f'holds the arrays {rows.files[:9]}; give one array, or name it x_train')
                    rows = rows[found[0]]
    if np.ma.is_masked(rows):
        raise UsageError('holds masked values; fill them or leave their rows out')
    rows = np.asarray(rows)  # of a matrix, whose products are others
    if rows.dtype.kind not in 'buif':
        raise UsageError(f'holds values of type {str(rows.dtype)[:200]}; numbers are allowed')
    if rows.ndim == 4 and rows.shape[1] in (1, 3) and rows.shape[3] not in (1, 3):
        rows = np.moveaxis(rows, 1, 3)  # channels first
    is_image = (rows.ndim == 3 or rows.ndim == 4 and rows.shape[3] in (1, 3)) and min(rows.shape[1:3]) > 3
    image = rows.shape[1:] if is_image else None
    rows = rows.reshape(len(rows), -1) if rows.ndim and rows.size else np.empty([0, 0])
    if chosen and image:
        raise UsageError('holds images, which have no columns to choose from; leave --columns out')
    if chosen:
        rows = rows[:, choose_columns(chosen, [str(k + 1) for k in range(rows.shape[1])])]
    if len(rows) < 2 or not rows.size:
        raise UsageError(f'holds {len(rows)} rows of {rows.shape[1]} columns; at least 2 rows and 1 column are needed')
    if not image or rows.dtype.kind == 'f':
        rows = rows.astype(np.float32 if image else np.float64, copy=False)
        if not (np.abs(rows) < LARGEST).all():  # also of NaN
            raise UsageError('holds values that are not finite, or beyond single precision; remove or replace them')
        rows = np.where(np.abs(rows) < 1e-290, 0, rows)  # whose differences are not what the processor computes
    return rows, names, image[:2] if image and image[-1] == 1 else image


def find_rows(source, chosen=None):
    """`load_rows` of a file, of an array or of one of Keras's data sets; three times None of a distribution. Raises
    UsageError, and Failure where a data set cannot be fetched."""
    is_array = isinstance(source, np.ndarray)
    if not is_array and source in DISTRIBUTIONS:
        return None, None, None
    if not is_array and source in KERAS_DATASETS:
        try:
            return load_rows(getattr(tf.keras.datasets, source).load_data()[0][0])
        except Exception as error:  # the downloader raises bare exceptions
            raise Failure(f'--data {source}: could not be fetched ({" ".join(str(error).split())[:200]}); '
                          f'give a local copy instead, such as --data {source}.npz') from error
    try:
        return load_rows(source, chosen)
    except OSError as error:
        reason = f'cannot be read: {error.strerror or error}'
    except UsageError as error:
        reason = str(error)
    except Exception as error:  # whatever a damaged file makes NumPy, zip or the decoder say
        reason = f'is not a table of numbers: {" ".join(str(error).split())[:200]}'
        reason += '; save it as UTF-8' if isinstance(error, UnicodeDecodeError) else ''
    raise UsageError(f'argument --data: {"the array" if is_array else repr(source[:200])} {reason}')


def fingerprint(rows):
    """What tells the user's rows from others: their number, columns and checksum; None of a built-in distribution."""
    return None if rows is None else [*rows.shape, zlib.crc32(np.ascontiguousarray(rows))]


# ------------------------------------------------------------------------------------- data as a run needs it

PICTURE_ROWS = 256       # real samples in a picture
MEASURED_ROWS = 2000     # samples, real and generated, from which a snapshot's measures are taken
FINAL_ROWS = 10_000      # rows of generated_samples.csv
KEPT_ROWS = 20           # the fewest rows kept back; of less than twice as many none are
KNOTS = 1000             # of a column's distribution function


class Affine(NamedTuple):
    """The networks see (rows - shift)/spread."""
    shift: np.ndarray   # [dim], zeros where they see the rows as they are
    spread: np.ndarray  # [dim]

    def to_networks(self, rows):
        """Rows [n, dim] in the data's units, as float32 in the networks'."""
        moved = self.shift.any() or (self.spread != 1).any()
        return ((rows - self.shift)/self.spread if moved else rows).astype(np.float32)

    def from_networks(self, samples):
        """The way back as part of the graph: a tensor [n, dim] in double precision."""
        return tf.cast(samples, tf.float64)*self.spread + self.shift


class Quantile(NamedTuple):
    """The networks see each column as a standard normal, through its own distribution function (normal scores)."""
    scores: np.ndarray  # [k] standard normal values of the knots, rising
    values: np.ndarray  # [k, dim] what the columns have there, rising
    steps: np.ndarray   # [dim] does a column come back as its training values alone, or linear between them?

    def positions(self, rows):
        """Between which positions among the knots rows [n, dim] lie: where a value is that of several knots, from half
        a step below them to half a step above. Returns [2, n, dim]."""
        place = np.arange(len(self.values))
        between = np.empty([2, *rows.shape], np.float32)
        for column, value, (low, high) in zip(rows.T, self.values.T, np.moveaxis(between, 2, 0)):
            left, right = (np.searchsorted(value, column, side) for side in ('left', 'right'))
            exact = np.interp(column, value, place)
            low[:], high[:] = np.where(right - left > 1, (left - 0.5, right - 0.5), exact)
        return between

    def at(self, positions):
        """The standard normal values at positions among the knots."""
        return np.interp(positions, np.arange(len(self.scores)), self.scores).astype(np.float32)

    def to_networks(self, rows):
        """Rows [n, dim] in the data's units, as float32 in the networks', equal values in the middle of their step."""
        return self.at(self.positions(rows).mean(axis=0))

    def from_networks(self, samples):
        """The way back as part of the graph: a tensor [n, dim] in double precision, within the data's range."""
        z, (k, dim) = tf.cast(samples, tf.float64), self.values.shape
        flat = tf.reshape(tf.searchsorted(self.scores, tf.reshape(z, [-1])), tf.shape(z))
        above = tf.clip_by_value(flat, 1, k - 1)
        (low, left), (high, right) = ((tf.gather(self.scores, knot), tf.gather(
            self.values.ravel(), knot*dim + tf.range(dim))) for knot in (above - 1, above))
        share = tf.clip_by_value((z - low)/(high - low), 0, 1)
        between = tf.minimum(left + share*(right - left), right)  # by rounding, the sum may be just above
        return tf.where(tf.broadcast_to(self.steps, tf.shape(z)), tf.where(share < 0.5, left, right), between)


def make_quantile(rows):
    """The `Quantile` of rows [n, dim]."""
    ranks = np.linspace(0, len(rows) - 1, min(len(rows), KNOTS)).round().astype(int)
    scores = np.array([NormalDist().inv_cdf((rank + 0.5)/len(rows)) for rank in ranks])
    values = np.sort(rows, axis=0)[ranks]
    whole = (values == np.round(values)).all(axis=0)
    few = (np.diff(values, axis=0) > 0).sum(axis=0) < 20
    return Quantile(scores, values, whole | few)


class Data(NamedTuple):
    """What a run knows of its data; `transform` leads to the networks' units, files and pictures are in the data's."""
    sample: Callable           # (n, rng) -> [n, dim] real rows in the data's units
    inputs: Callable           # (n, rng) -> [n, dim] real rows as the networks are trained on them, float32
    names: list                # of the columns, dim of them
    low: np.ndarray            # [dim], the range of the rows
    high: np.ndarray
    transform: Any             # Affine or Quantile
    curve: Optional[Callable] = None
    image: Optional[tuple] = None       # (height, width) or (height, width, channels) where rows are images
    formats: Any = '%.9g'      # of the columns' numbers in a CSV
    rows: Optional[np.ndarray] = None   # of the user's: those trained on
    kept: Optional[np.ndarray] = None   # and those kept back, None where there are too few


def make_streams(seed):
    """An independent random stream for each use."""
    uses = 'real', 'noise', 'picture', 'measures', 'final', 'weights', 'kept'
    return {use: np.random.Generator(np.random.PCG64(child))
            for use, child in zip(uses, np.random.SeedSequence(seed).spawn(len(uses)))}


def make_data(settings, rows=None, names=None, image=None):
    """The `Data` of a run: of a built-in distribution, or of the user's rows [n, dim]."""
    if rows is None:
        distribution = DISTRIBUTIONS[settings['data']]

        def sample(n, rng):
            return distribution.sample(n, settings['scale'], rng)
        reference = sample(100_000, np.random.default_rng(0))  # range and spread are the same for every seed
    else:
        n = 0 if len(rows) < 2*KEPT_ROWS else min(max(KEPT_ROWS, len(rows)//5), MEASURED_ROWS if image else len(rows))
        shuffled = make_streams(settings['seed'])['kept'].permutation(len(rows))
        reference, kept = rows[shuffled[n:]] if n else rows, rows[shuffled[:n]] if n else None

        def sample(n, rng):
            return reference[(rng.random(n)*len(reference)).astype(int)]
    dim = reference.shape[1]
    low, high = reference.min(axis=0).astype(float), reference.max(axis=0).astype(float)
    if image:  # one scale for all pixels, because many hardly vary
        low[:], high[:] = low.min(), high.max()
    if settings['normalize'] == 'quantile':
        transform = make_quantile(reference)
        inputs = normal_inputs(transform, reference)
    else:
        shift, spread = np.zeros(dim), np.ones(dim)
        if settings['normalize']:
            shift, spread = ((high + low)/2, (high - low)/2) if image else (
                reference.mean(axis=0, dtype=float), reference.std(axis=0, dtype=float))
        transform = Affine(shift, np.where(spread > 0, spread, 1))

        def inputs(n, rng):
            return transform.to_networks(sample(n, rng))
    names = names or (['x', 'y'] if dim == 2 else [f'x{k + 1}' for k in range(dim)])
    if rows is None:
        return Data(sample, inputs, names, low, high, transform, distribution.curve)
    # nine digits, or as many more as tell a column's values apart and whole numbers need
    values = np.sort(reference[:FINAL_ROWS], axis=0)
    gaps = np.diff(values, axis=0)
    gaps = np.where((values == np.round(values)).all(axis=0), 1, np.where(gaps > 0, gaps, np.inf).min(axis=0))
    digits = np.ceil(np.log10(np.clip(np.abs(values).max(axis=0)/gaps, 1, 1e16))).astype(int) + 1
    formats = '%.4g' if image else [f'%.{max(9, n)}g' for n in digits]
    return Data(sample, inputs, names, low, high, transform, None, image, formats, reference, kept)


def distance_to_kept(data):
    """The energy distance of samples [n, dim] to the rows kept back; of images, of their leading principal components,
    each with its own weight, for single pixels say little. All is divided by deviations of the rows trained on."""
    if not data.image:
        return energy_distance_to(data.kept[:MEASURED_ROWS], data.rows.std(axis=0), unpaired=True)
    some = data.rows[:1000].astype(np.float32)
    centre = some.mean(axis=0)
    components = np.linalg.svd(some - centre, full_matrices=False)[2][:32].T
    deviation = np.std((some - centre) @ components)
    distance = energy_distance_to((data.kept - centre) @ components, deviation, unpaired=True)
    return lambda images: distance((images - centre) @ components)


def nearness(samples, data):
    """The median distance of samples to the nearest row trained on, in parts of that of rows kept back, columns in
    units of their deviation; of copies it is 0. None where rows kept back are found among them, as in tables of few
    different values."""
    rows = data.rows[:FINAL_ROWS]
    centre, spread = rows.mean(axis=0), rows.std(axis=0)
    rows, *others = ((x - centre)/np.where(spread > 0, spread, 1) for x in (
        rows, samples[:MEASURED_ROWS], data.kept[:MEASURED_ROWS]))
    near, usual = (np.median(np.concatenate([block.min(axis=1) for block in distances(x, rows)])) for x in others)
    return float(near/usual) if usual > 1e-6 else None  # below it are roundings alone


def normal_inputs(transform, rows):
    """The function (n, rng) -> [n, dim] that draws of these rows for the networks: equal values share their step at
    random, and few rows are smoothed.

    The smoothed bootstrap (Silverman 1986) with shrinkage: a share of normal noise with the columns' own correlations,
    so that the columns stay standard normals. All noise would be a Gaussian copula.
    """
    (low, high), (n_rows, dim), scores = transform.positions(rows), rows.shape, transform.to_networks(rows)
    share = smoothing(scores.astype(float))
    correlations = np.where(np.eye(dim), 1, np.nan_to_num(np.corrcoef(scores.T)))  # NaN: of a constant column
    values, vectors = np.linalg.eigh(correlations)
    mixing = (vectors*np.sqrt(np.maximum(values, 0))).T.astype(np.float32)

    def inputs(n, rng):
        chosen = (rng.random(n)*n_rows).astype(int)
        z = transform.at(low[chosen] + (high - low)[chosen]*rng.random([n, dim], np.float32))
        return math.sqrt(1 - share**2)*z + share*(rng.standard_normal([n, dim], np.float32) @ mixing)
    return inputs


def smoothing(scores):
    """The share of noise for rows of normal scores [n, dim]: it moves a row about as far as the nearest other row lies,
    little along a curve, far where columns are many; less and less of it where rows are, for no network learns these
    by heart."""
    n, dim = scores.shape
    some = scores[:FINAL_ROWS]
    nearest = np.concatenate([np.partition(block, 1, axis=1)[:, 1] for block in distances(some[:KNOTS], some)])
    return min(1, math.sqrt(5*dim/n), float(np.median(nearest))/math.sqrt(dim))


def draw_batches(data, streams, n, batch_size, noise_dim):
    """Real batches [n, batch_size, dim] and noise batches [n, batch_size, noise_dim] for n iterations, and the streams'
    states after drawing them."""
    X = np.empty([n*batch_size, len(data.names)], np.float32)
    Z = np.empty([n*batch_size, noise_dim], np.float32)
    # Pieces that stay in the cache cost a third. Normal scores depend on how many are drawn at a time, which must then
    # not follow from the pace of training.
    size = batch_size if isinstance(data.transform, Quantile) else 4096
    for i in range(0, len(X), size):
        X[i:i + size] = data.inputs(len(X[i:i + size]), streams['real'])
        Z[i:i + size] = sample_Z(len(Z[i:i + size]), noise_dim, streams['noise'])
    states = {use: stream.bit_generator.state for use, stream in streams.items()}
    return *(rows.reshape(n, batch_size, rows.shape[1]) for rows in (X, Z)), states


def fixed_inputs(settings, data, streams):
    """What stays the same through a run's snapshots: for D, `X`, real samples to measure, `measured` of them, then the
    plane of its map; for G, `Z`, noise of MEASURED_ROWS samples to measure, then the grid of noise that is drawn; the
    energy `distance` of samples to real ones, None where there are too few; what every picture needs, `drawn`."""
    dim, noise_dim = len(data.names), settings['noise_dim']
    training, pictured, real = (data.sample(n, streams[use]) for n, use in (
        (64 if data.image else 10_000, 'picture'), (64 if data.image else PICTURE_ROWS, 'picture'),
        (MEASURED_ROWS, 'measures')))
    distance, levels = None, dict(floor=np.nan)
    if data.rows is None:
        distance = energy_distance_to(real)
        levels = dict(floor=np.mean([distance(part) for part in np.split(training, 5)]))
    elif data.kept is not None:
        real, distance, rows = data.kept[:MEASURED_ROWS], distance_to_kept(data), data.rows[:MEASURED_ROWS]
        levels = dict(floor=distance(rows), shuffled=distance(np.random.default_rng(0).permuted(rows, axis=0)))
    margin = 0 if data.image else np.where(data.high > data.low, 0.15*(data.high - data.low),
                                           np.maximum(1, 0.1*np.abs(data.high)))
    low, high = data.low - margin, data.high + margin
    X, Z = data.transform.to_networks(real), sample_Z(MEASURED_ROWS, noise_dim, streams['measures'])
    drawn = dict(training=training, real=pictured, low=low, high=high, names=data.names, image=data.image or [],
                 range=[data.low, data.high], formats=data.formats, **levels, **data.transform._asdict())
    if data.kept is not None and not data.image:
        drawn['kept'] = real
    if dim == 2:
        plane = np.stack(np.meshgrid(*np.linspace(low, high, 64).T), -1).reshape(-1, 2)
        grid = np.stack(np.meshgrid(*[np.linspace(-1, 1, 33)]*min(noise_dim, 2)), -1)  # at 0 in further dimensions
        grid = np.pad(grid.reshape(-1, grid.shape[-1]), [(0, 0), (0, max(0, noise_dim - 2))])
        drawn['noise'] = grid[:, :2]
        X, Z = np.concatenate([X, data.transform.to_networks(plane)]), np.concatenate([Z, grid])
    return SimpleNamespace(X=X, Z=Z, measured=len(real), distance=distance, drawn=drawn)


# --------------------------------------------------------------------------------------------- files of a run

SNAPSHOT = 'snapshots/%06d.npz'
# What a run writes, in the order in which a new one removes it: no checkpoint outlives the run it is of.
WRITTEN = ('checkpoint.npz', 'summary.json', 'loss_logs.csv', 'metrics.csv', 'generated_samples.csv', 'saved_model',
           'tensorboard', 'snapshots/data.npz', SNAPSHOT, 'training_data.png', 'training_loss.png', 'metrics.png',
           'columns.png', 'index.html', 'iterations.gif', 'feature_transform.gif', 'feature_transform_centroid.gif',
           'd_step_transform.gif', 'd_step_centroid.gif', 'decision.gif', 'mapping.gif', 'iterations/iteration_%06d.png',
           'features/feature_transform_%06d.png', 'features/feature_transform_centroid_%06d.png',
           'features/d_step_transform_%06d.png', 'features/d_step_centroid_%06d.png', 'discriminator/decision_%06d.png',
           'generator/mapping_%06d.png')


def numbered(folder, pattern):
    """The files of a folder that a pattern with %06d names: iteration -> path, in the order of the iterations."""
    match = re.compile(re.escape(Path(pattern).name).replace('%06d', r'(\d{6,})')).fullmatch
    found = {int(match(path.name)[1]): path for path in (folder/pattern).parent.glob('*') if match(path.name)}
    return dict(sorted(found.items()))


def discard(folder):
    """Removes the files of the run in a folder, and never what the program did not write."""
    for pattern in WRITTEN:
        match = re.compile(re.escape(pattern).replace('%06d', r'\d{6,}') + r'(\.tmp|\.old)?').fullmatch
        for path in [path for path in (folder/pattern).parent.glob('*') if match(path.relative_to(folder).as_posix())]:
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def first_line(error):
    """What an error of TensorFlow says, without the story of the graph around it."""
    return re.split(r"\nNode: .*\n", str(error).strip(), maxsplit=1)[-1].split('\n')[0][:200]


@contextlib.contextmanager
def naming(path):
    """Errors about a file name it: those of a full disk name none, and TensorFlow's are of a kind of their own."""
    try:
        yield
    except OSError as error:
        error.filename = error.filename or str(path)
        raise
    except tf.errors.OpError as error:
        raise Failure(f'{path} could not be written ({first_line(error)}); see to it, then --resume') from error


@contextlib.contextmanager
def replacing(path):
    """Where to write a file or a folder that takes the place of another, by renaming, when it is whole; otherwise it is
    removed."""
    new, old = (path.with_name(path.name + ending) for ending in ('.tmp', '.old'))  # old: of a folder alone
    try:
        with naming(path):
            shutil.rmtree(new, ignore_errors=True)  # as a kill may have left it
            yield new
            if path.is_dir():
                shutil.rmtree(old, ignore_errors=True)
                path.rename(old)
            os.replace(new, path)
    finally:
        if old.exists() and not path.exists():
            old.rename(path)
        for leftover in new, old:
            shutil.rmtree(leftover, ignore_errors=True)
        with contextlib.suppress(OSError):
            new.unlink()


@contextlib.contextmanager
def reading(path):
    """Where a file of the run turns out to be damaged, raises a Failure that says so."""
    try:
        yield
    except (ValueError, TypeError, KeyError, EOFError, RuntimeError, csv.Error, zlib.error,
            zipfile.BadZipFile) as error:  # what json, csv, NumPy and zipfile raise
        raise Failure(f'{path} is damaged, or of another run; put back a copy, or start anew '
                      'with --overwrite') from error


def read_file(path):
    """What a file of the run holds: a .json its values by name, an .npz its arrays by name, a .csv its header and rows
    [n, columns], NaN where a cell is empty, without a last line that is still being written. None where there is no
    file. Raises Failure if it is damaged."""
    if not path.exists():
        return None
    with reading(path):
        if path.suffix == '.json':
            return dict(json.loads(path.read_text(encoding='utf-8')))
        if path.suffix == '.csv':
            header, *lines = csv.reader(path.read_text(encoding='utf-8').split('\n')[:-1])
            return header, np.array([[float(cell or 'nan') for cell in line] for line in lines]).reshape(-1, len(header))
        with np.load(path) as arrays:
            if arrays.zip.testzip():  # before NumPy believes what the arrays say of themselves
                raise ValueError('a checksum is wrong')
            return dict(arrays)


def write_json(path, content):
    """Writes a JSON file, whole."""
    with replacing(path) as new, open(new, 'w', encoding='utf-8') as file:
        json.dump(content, file, indent=1, allow_nan=False)
        file.write('\n')


def append_lines(path, header, lines):
    """Appends lines to a CSV; a new one begins with the header."""
    with naming(path), open(path, 'a', encoding='utf-8') as file:
        file.writelines(line + '\n' for line in ([] if file.tell() else [header]) + lines)


def read_rows(path):
    """A CSV of the program as a list of rows, dicts of numbers by column, None where a field is empty."""
    with reading(path), open(path, newline='', encoding='utf-8') as file:
        return [{name: float(text) if text else None for name, text in row.items()}
                for row in csv.DictReader(file, restval='a field too few')]


@contextlib.contextmanager
def locked(folder):
    """Holds the folder for this run alone; the operating system lets go of it however the process ends."""
    with contextlib.ExitStack() as stack:
        if os.name == 'posix':  # not on Windows, where two runs in one folder go unnoticed
            import fcntl
            descriptor = os.open(folder, os.O_RDONLY)
            stack.callback(os.close, descriptor)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise Failure(f'another run is writing to {folder}; wait for it or give another --output') from None
        yield


# ------------------------------------------------------------------------------------------------ checkpoints

FORMAT = 2           # of checkpoint.npz; another one is not read
LARGEST_LOSS = 1e8   # no training comes back from there


def diverged(iteration, what, settings):
    """The Failure of a training that nothing can come of any more."""
    return Failure(f'iteration {iteration}: {what} is not finite or beyond {LARGEST_LOSS:g}; start anew by --overwrite '
                   f'with --learning-rate below {settings["learning_rate"]:g}, --normalize or another --seed')


def save_checkpoint(run, progress):
    """Saves all that going on needs, in one file. Raises Failure, and saves nothing, where a weight is not finite."""
    weights = run.sess.run(run.weights)
    if not all(np.isfinite(value).all() for value in weights.values()):
        raise diverged(progress.iteration, 'a weight', run.settings)
    state = dict(format=FORMAT, iteration=progress.iteration, seconds=progress.seconds, best=progress.best,
                 streams=progress.streams)
    with replacing(run.folder/'checkpoint.npz') as new, open(new, 'wb') as file:
        np.savez(file, state=np.frombuffer(json.dumps(state).encode(), np.uint8),
                 recent=np.concatenate([np.empty([0, 2]), *progress.recent]), **weights,
                 **{f'best/{name}': value for name, value in progress.best_weights.items()})


def read_checkpoint(folder):
    """How far the run had come at its last checkpoint, None where there is none: the iteration, seconds so far, recent
    losses, the best snapshot and its generator's weights, every variable's value by its name, the streams' states.
    Raises Failure."""
    path = folder/'checkpoint.npz'
    arrays = read_file(path)
    if arrays is None:
        return None
    with reading(path):
        state = json.loads(arrays.pop('state').tobytes())
        if state.pop('format') != FORMAT:
            raise Failure(f'{path} is of another version of this program, whose format is not {FORMAT}; use that one')
        best_weights = {name[len('best/'):]: arrays.pop(name) for name in list(arrays) if name.startswith('best/')}
        return SimpleNamespace(**state, recent=[arrays.pop('recent')], best_weights=best_weights, weights=arrays)


def set_weights(sess, values):
    """Gives the graph's variables these values, by name. Raises KeyError or ValueError where names or shapes differ."""
    variables = tf.global_variables()  # by their initializers, which adds nothing to the graph
    sess.run([v.initializer for v in variables],
             feed_dict={v.initializer.inputs[1]: values[v.op.name] for v in variables})


# ---------------------------------------------------------------------------------------------------- one run

CHECKPOINT_EVERY = 1     # seconds, more where saving would take more than a fiftieth of the time
CALL_SECONDS = 0.4       # of training in one sess.run, so that interrupts answer
BUFFER_BYTES = 32e6      # of batches in one sess.run


def session_config(hidden, dim):
    """Where networks run. Small ones gain little from a second thread, which the drawing process needs more, and lose
    on a GPU, where starting an iteration's hundred small kernels alone takes longer than the iteration on a CPU."""
    small = max(hidden) <= 64 and dim <= 64
    return tf.ConfigProto(intra_op_parallelism_threads=1 if small else 0,  # 0: one a core
                          device_count={'GPU': 0} if small else {}, gpu_options=tf.GPUOptions(allow_growth=True))


def network_options(settings, data):
    """What `generator`, `build_gan` and `build_loop` are told of the networks."""
    low, high = (data.transform.to_networks(edge[None])[0] for edge in (data.low, data.high))
    return dict(hsize=settings['hidden'], dim=len(data.names), low=low, high=high,
                **{name: settings[name] for name in ('activation', 'layer', 'output_mapping')})


@contextlib.contextmanager
def open_run(folder, settings, data):
    """What belongs to a run, with its networks in a graph and a session of their own and at their initial weights."""
    streams = make_streams(settings['seed'])
    fixed = fixed_inputs(settings, data, streams)
    with tf.Graph().as_default():
        tf.set_random_seed(int(streams['weights'].integers(2**31)))
        optimizers = [tf.train.RMSPropOptimizer(settings['learning_rate']) for _ in range(2)]
        gan = build_gan(*optimizers, settings['penalty'], noise_dim=settings['noise_dim'],
                        **network_options(settings, data))
        weights = {v.op.name: v.read_value() for v in tf.global_variables()}  # those of the optimizers too
        of_generator = {v.op.name: weights[v.op.name] for v in tf.trainable_variables('GAN/Generator')}
        samples = data.transform.from_networks(gan.G_sample)  # in the data's units, in double precision
        cluster = read_cluster(settings)
        with cluster_session(cluster) if cluster else tf.Session(
                config=session_config(settings['hidden'], len(data.names))) as sess:
            sess.run(tf.global_variables_initializer())
            yield SimpleNamespace(
                folder=folder, settings=settings, data=data, streams=streams, fixed=fixed, gan=gan, samples=samples,
                optimizers=optimizers, weights=weights, of_generator=of_generator, cluster=cluster, sess=sess)


def block_trainer(run, length):
    """The function (X_batches, Z_batches) -> losses [n, 2] that trains up to `length` iterations between snapshots:
    the compiled loop, or the tutorial's own way under --step-by-step."""
    settings, steps = run.settings, (run.settings['d_steps'], run.settings['g_steps'])
    if settings['step_by_step']:
        return lambda X_batches, Z_batches: np.array([train_iteration(run.sess, run.gan, *batches, *steps)[:2]
                                                      for batches in zip(X_batches, Z_batches)], float)
    workers = run.cluster.jobs['worker'] if run.cluster else []
    compute = functools.partial(worker_gradients, len(workers)) if workers else loss_and_gradients
    run_loop = functools.partial(build_loop(
        *run.optimizers, length, settings['batch_size'], *steps, jit_compile=not workers, compute=compute,
        penalty=settings['penalty'], noise_dim=settings['noise_dim'], **network_options(settings, run.data)), run.sess)
    if workers:
        return functools.partial(run_on_workers, run_loop, run.sess, workers)
    try:
        with silence():
            run_loop(np.empty([0, 1, 1]), np.empty([0, 1, 1]))  # no iteration: compiles it
    except tf.errors.OpError as error:
        raise Failure(f'the training loop could not be compiled ({first_line(error)}); '
                      'give smaller networks or batches, or --step-by-step') from error
    return run_loop


def snapshot_iteration(run, X_batch, Z_batch):
    """An iteration step by step, with what its pictures and measures are made from.

    Returns the losses [1, 2], and for `keep_snapshot` the arrays of its file, mean D(x) on real and on generated
    samples, generated samples [n, dim] to measure, in the data's units, and with --keep best the generator's weights.
    """
    sess, gan, fixed, settings = run.sess, run.gan, run.fixed, run.settings
    feed = {gan.X: X_batch, gan.Z: Z_batch}
    dloss, gloss, features = train_iteration(sess, gan, X_batch, Z_batch, settings['d_steps'], settings['g_steps'],
                                             look=lambda: sess.run([gan.r_rep, gan.g_rep], feed_dict=feed))
    Z_shown = np.concatenate([Z_batch, fixed.Z])[:len(fixed.drawn['real'])]  # as many as real ones are drawn
    generated = sess.run(run.samples, feed_dict={gan.Z: Z_shown})
    *logits, samples = sess.run([gan.r_logits, gan.f_logits, run.samples],
                                feed_dict={gan.X: fixed.X, gan.Z: fixed.Z})
    r_D, f_D = (np.exp(-np.logaddexp(0, -x[:, 0].astype(float))) for x in logits)  # the sigmoid, without overflow
    arrays = dict(generated=generated.astype(np.float32), features=np.array(features),
                  decision=r_D[fixed.measured:].astype(np.float32), mapping=samples[MEASURED_ROWS:].astype(np.float32))
    answers = r_D[:fixed.measured].mean(), f_D[:MEASURED_ROWS].mean()
    weights = sess.run(run.of_generator) if settings['keep'] == 'best' else None
    return np.array([[dloss, gloss]], float), arrays, answers, samples[:MEASURED_ROWS], weights


@np.errstate(all='ignore')  # each thread has its own
def keep_snapshot(run, progress, iteration, losses, arrays, answers, samples, weights):
    """Writes a snapshot's file and its row of metrics.csv, remembers its generator if it is the best so far, and has it
    drawn. losses: [n, 2] since the last snapshot."""
    with replacing(run.folder/(SNAPSHOT % iteration)) as new, open(new, 'wb') as file:
        np.savez(file, **arrays)
    measured = sample_measures(samples, run.data, run.fixed.distance)
    row = metrics_row(iteration, losses, answers, arrays['features'], measured)
    append_lines(run.folder/'metrics.csv', ','.join(row),
                 [','.join('' if x is None else f'{x:.9g}' for x in row.values())])
    with naming(run.folder/'tensorboard'):
        add_event(run.events, row)
    distance = measured['energy_distance']
    if weights and distance is not None and distance < progress.best['energy_distance']:
        progress.best, progress.best_weights = dict(iteration=iteration, energy_distance=distance), weights
    tell(run.drawing, 'draw')


def train_blocks(run, progress, train_block, length, beside):
    """The training loop, from where `progress` stands to the end, with its log, its snapshots and its checkpoints.
    beside: an executor of one thread, which draws the next batches, and measures the last snapshot, during training."""
    settings, every = run.settings, run.settings['snapshot_every']
    watched = sys.stdout and sys.stdout.isatty() and os.environ.get('TERM') != 'dumb'
    pace, bar = CALL_SECONDS, None  # pace: seconds an iteration takes, as far as is known
    measuring = beside.submit(bool)  # the last snapshot, of which there is none yet

    def draw(iteration):
        """Begins to draw the batches of the next call, from this iteration on."""
        left = min(-iteration % every or 1, settings['iterations'] - iteration)  # a snapshot's iteration goes alone
        n = min(left, length, max(1, int(CALL_SECONDS/pace)))
        return beside.submit(draw_batches, run.data, run.streams, n, settings['batch_size'], settings['noise_dim'])
    batches = draw(progress.iteration)
    started, next_save = time.perf_counter() - progress.seconds, time.perf_counter() + CHECKPOINT_EVERY
    while progress.iteration < settings['iterations']:
        iteration = progress.iteration
        X_batches, Z_batches, states = batches.result()
        n = len(X_batches)
        batches = draw(iteration + n)
        if iteration % every:
            calling = time.perf_counter()
            losses = train_block(X_batches, Z_batches)
            pace = (time.perf_counter() - calling)/n
        else:
            losses, *seen = snapshot_iteration(run, X_batches[0], Z_batches[0])
        for k, which in np.argwhere(~(np.abs(losses) < LARGEST_LOSS)).tolist():
            raise diverged(iteration + k, ('the discriminator loss', 'the generator loss')[which], settings)
        progress.recent.append(losses)
        if iteration % every == 0:
            measuring.result()
            measuring = beside.submit(keep_snapshot, run, progress, iteration, np.concatenate(progress.recent), *seen)
            progress.recent = []

        rows = list(zip(range(iteration, iteration + n), *losses.T.tolist()))
        append_lines(run.folder/'loss_logs.csv', 'Iteration,Discriminator Loss,Generator Loss',
                     ['%d,%.9g,%.9g' % row for row in rows if row[0] % settings['log_every'] == 0])
        for row in rows:
            if row[0] % settings['print_every'] == 0:
                say('Iterations: %d\t Discriminator loss: %.4f\t Generator loss: %.4f' % row, bar)
        progress.iteration, progress.streams = iteration + n, states
        progress.seconds = time.perf_counter() - started
        if bar:
            bar.add(n)
        elif watched and iteration % every:  # not before the first block has shown how long an iteration lasts
            bar = tf.keras.utils.Progbar(settings['iterations'] - progress.iteration, unit_name='iteration')
        if time.perf_counter() > next_save or progress.iteration == settings['iterations']:
            measuring.result()  # its row, and the best generator, belong to what is saved
            saving = time.perf_counter()
            save_checkpoint(run, progress)
            next_save = saving + max(CHECKPOINT_EVERY, 50*(time.perf_counter() - saving))


def train_run(folder, settings, data, progress=None):
    """Trains from a checkpoint's progress (None: from iteration 0) to the end and leaves the run's files. Returns the
    summary, with the samples."""
    times = [time.perf_counter()]
    if not progress:
        discard(folder)
        write_json(folder/'settings.json', settings)
    with contextlib.ExitStack() as stack:
        run = stack.enter_context(open_run(folder, settings, data))
        describe(run)
        if progress:
            with reading(folder/'checkpoint.npz'):
                set_weights(run.sess, progress.weights)
                for use, state in progress.streams.items():
                    run.streams[use].bit_generator.state = state
            cut_logs(folder, settings, progress.iteration)
            (folder/'summary.json').unlink(missing_ok=True)  # first, or it would seem one of the settings to come
            write_json(folder/'settings.json', settings)  # not before it is known that the run can go on
        else:  # recent: losses since the last snapshot, arrays [n, 2]; best: what --keep best delivers, if it is given
            progress = SimpleNamespace(iteration=0, seconds=0., recent=[], best=dict(energy_distance=math.inf),
                                       best_weights={})
        with naming(folder/'tensorboard'):
            run.events = event_writer(folder)
        (folder/'snapshots').mkdir(exist_ok=True)
        with replacing(folder/'snapshots/data.npz') as new, open(new, 'wb') as file:
            np.savez(file, **run.fixed.drawn)
        run.drawing = stack.enter_context(drawing_process(folder)) if settings['pictures'] != 'none' else None
        beside = stack.enter_context(ThreadPoolExecutor(1))
        times.append(time.perf_counter())
        row_bytes = 4*settings['batch_size']*(len(data.names) + settings['noise_dim'])
        length = max(1, min(settings['snapshot_every'] - 1, settings['iterations'], int(BUFFER_BYTES/row_bytes)))
        train_block = block_trainer(run, length)
        times.append(time.perf_counter())
        train_blocks(run, progress, train_block, length, beside)
        times.append(time.perf_counter())

        samples = deliver(folder, settings, data, progress.best_weights or run.sess.run(run.of_generator), FINAL_ROWS)
        rows = read_rows(folder/'metrics.csv')
        final = sample_measures(samples[:MEASURED_ROWS], data, run.fixed.distance)
        if data.kept is not None:
            final.update({name: run.fixed.drawn[name] for name in ('floor', 'shuffled')},
                         nearness=nearness(samples, data))
        claims = check_claims(rows, final)
        tell(run.drawing, 'finish')
        times.append(time.perf_counter())
        seconds = dict(zip(('set_up', 'compile', 'training', 'pictures'), np.diff(times).tolist()))
        seconds['training'] = progress.seconds  # with that before an interruption
        summary = dict(
            claims=claims, final=final, verdict=verdict(final), settings=settings, seconds=seconds,
            advice=advice(settings, rows, data) if claims['samples_follow']['holds'] is False else None,
            versions=dict(python=sys.version.split()[0], tensorflow=tf.version.VERSION, numpy=np.__version__),
            delivered_iteration=progress.best.get('iteration', progress.iteration - 1))
        write_json(folder/'summary.json', summary)
    report(folder, summary, run.drawing)
    return dict(summary, samples=samples)


def cut_logs(folder, settings, iteration):
    """Takes both CSVs back to what they were before an iteration: a header, and a row of every so many iterations.
    Raises Failure, and changes neither, where one is shorter."""
    ends = {}
    for name, every in ('loss_logs.csv', settings['log_every']), ('metrics.csv', settings['snapshot_every']):
        with reading(folder/name), open(folder/name, 'rb') as file:
            if not all(file.readline().endswith(b'\n') for _ in range(1 + math.ceil(iteration/every))):
                raise ValueError('it is shorter than it was')
            ends[folder/name] = file.tell()
    for path, end in ends.items():
        os.truncate(path, end)


def deliver(folder, settings, data, weights, n):
    """Leaves the generator of these weights as a SavedModel, and n of its samples, in bounded memory, the first the
    same for every n. Returns the last block of at most FINAL_ROWS rows."""
    noise_dim, rng = settings['noise_dim'], make_streams(settings['seed'])['final']
    config = session_config(settings['hidden'], len(data.names))
    with tf.Graph().as_default(), tf.Session(config=config) as sess:
        Z = tf.placeholder(tf.float32, [None, noise_dim])
        samples = data.transform.from_networks(generator(Z, **network_options(settings, data)))
        with reading(folder/'checkpoint.npz'):
            set_weights(sess, weights)
        with replacing(folder/'generated_samples.csv') as new, open(new, 'w', encoding='utf-8') as file:
            csv.writer(file, lineterminator='\n').writerow(data.names)
            for first in range(0, n, FINAL_ROWS):  # a fixed size, because rounding may differ with it
                rows = sess.run(samples, feed_dict={Z: sample_Z(FINAL_ROWS, noise_dim, rng)})
                np.savetxt(file, rows[:n - first], data.formats, ',')
        with replacing(folder/'saved_model') as new:
            tf.saved_model.simple_save(sess, str(new), {'Z': Z}, {'samples': samples})
    return rows[:n - first]


def event_writer(folder):
    """Begins TensorBoard's file anew: the default graph, and what metrics.csv holds so far. Returns its writer."""
    path = folder/f'tensorboard/events.out.tfevents.{time.time():.0f}.{socket.gethostname()}'
    shutil.rmtree(path.parent, ignore_errors=True)
    path.parent.mkdir()
    # not tf.summary.FileWriter, which writes in a thread of its own, whose errors come late and with a traceback
    writer = tf.io.TFRecordWriter(str(path))
    graph = tf.get_default_graph().as_graph_def().SerializeToString()
    for event in tf.Event(file_version='brain.Event:2'), tf.Event(graph_def=graph):
        writer.write(event.SerializeToString())
    for row in read_rows(folder/'metrics.csv') if (folder/'metrics.csv').exists() else []:
        add_event(writer, row)
    return writer


def add_event(writer, row):
    """A row of metrics.csv as scalars of TensorBoard."""
    values = [tf.Summary.Value(tag=name, simple_value=value) for name, value in row.items()
              if value is not None and name != 'Iteration']
    event = tf.Event(wall_time=time.time(), step=int(row['Iteration']), summary=tf.Summary(value=values))
    writer.write(event.SerializeToString())
    writer.flush()


# ------------------------------------------------------------------------------------------ the drawing process

@contextlib.contextmanager
def drawing_process(folder):
    """`plotting.py` as a process beside the run. It draws when told to through the pipe, and ends when that breaks."""
    words = sys.executable, str(Path(__file__).with_name('plotting.py')), str(folder), '--follow', str(os.getpid())
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True) as drawing:
        try:
            yield drawing
        except Failure:
            tell(drawing, 'finish')  # what led up to it is worth seeing
            raise
        except BaseException:
            drawing.terminate()
            raise
        finally:
            drawing.stdin.close()
            drawing.wait()  # at an interrupt Popen itself waits for a quarter of a second only


def tell(drawing, word):
    """Says a word to the drawing process, if there is one and it lives; after `finish` waits until all is drawn."""
    if drawing:
        os.set_blocking(drawing.stdin.fileno(), word == 'finish')  # training never waits for drawing
        with contextlib.suppress(BrokenPipeError, BlockingIOError):
            os.write(drawing.stdin.fileno(), f'{word}\n'.encode())
        if word == 'finish':  # the pipe stays open, for the drawing process to see that this one lives
            drawing.stdout.readline()  # it says a word when all is drawn; at its death the pipe ends


# --------------------------------------------------------------------------------------- more than one machine

PATIENCE = 10  # seconds that a worker has to answer


def read_cluster(settings=None):
    """What TF_CONFIG says, None without workers. Raises UsageError where it is malformed, or the batch does not fit."""
    text = os.environ.get('TF_CONFIG') or '{}'
    try:
        config = json.loads(text)
        jobs = {job: config.get('cluster', {}).get(job, []) for job in ('chief', 'worker')}
        if not jobs['worker']:
            return None
        task, index = config['task']['type'], config['task'].get('index', 0)
        # Each raises one of the errors below: not one chief; no such task; no host or port.
        (_,), address = jobs['chief'], dict(enumerate(jobs[task]))[index]
        [re.fullmatch(r'\S+:\d{1,5}', each)[0] for each in jobs['chief'] + jobs['worker']]
    except (ValueError, TypeError, LookupError, AttributeError):
        raise UsageError(f'environment variable TF_CONFIG: {text[:300]!r} is not a cluster of one chief and workers, '
                         'each HOST:PORT, and a task of it; correct it as README shows, or unset it') from None
    batch, n = settings['batch_size'] if settings else 0, len(jobs['worker'])
    if batch % n:
        raise UsageError(f'argument --batch-size: {batch} is uneven over {n} workers; give {max(1, round(batch/n))*n}')
    return SimpleNamespace(jobs=jobs, task=task, index=index, address=address)


@functools.lru_cache  # a process has one server, and has it to its end
def serve():
    """Starts TensorFlow's server of this process; returns a chief's, stays with a worker's until a signal."""
    cluster = read_cluster()
    try:
        server = tf.train.Server(cluster.jobs, cluster.task, cluster.index)
    except tf.errors.OpError as error:
        raise Failure(f'TF_CONFIG: {cluster.address}: {first_line(error)}; give a free port of this machine') from error
    if cluster.task == 'worker':
        for number in signal.SIGINT, signal.SIGTERM:
            signal.signal(number, lambda number, _: sys.exit(128 + number))
        with silence():
            while True:  # in Server.join Python would answer no signal, in one long sleep none that another thread took
                time.sleep(1)
    return server


def silent(workers):
    """Those that do not answer. Servers speak first; a connection alone can be had with one that hangs."""
    def answer(address):
        host, port = address.rsplit(':', 1)
        with contextlib.suppress(OSError, UnicodeError):
            with socket.create_connection((host.strip('[]'), port), PATIENCE) as peer:
                return peer.recv(1)
    with multiprocessing.pool.ThreadPool(len(workers)) as pool:
        return [address for address, answered in zip(workers, pool.map(answer, workers)) if not answered]


def cluster_session(cluster):
    """The chief's session on a cluster, for whose workers it waits."""
    server, workers = serve(), cluster.jobs['worker']
    say(f'Cluster     chief {cluster.address}, workers {", ".join(workers)}')
    if missing := silent(workers):
        say(f'Waiting     for {", ".join(missing)}')
    while silent(workers):
        time.sleep(1)
    # isolated, because a worker takes a function for an earlier chief's of the same name
    return tf.Session(server.target, config=tf.ConfigProto(isolate_session_state=True))


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


def run_on_workers(run_loop, sess, workers, *batches):
    """The losses of a block. Raises Failure where a worker is lost; TensorFlow would wait for one that falls silent."""
    with multiprocessing.pool.ThreadPool(1) as pool:
        block, lost = pool.apply_async(run_loop, batches), []
        while not lost:
            try:
                return block.get(PATIENCE)
            except multiprocessing.TimeoutError:
                lost = silent(workers)
            except tf.errors.OpError as error:
                lost = silent(workers) or [' '.join(str(error).split())[:200]]
    # with a lost worker it may not end either; as Python ends it must not be about to
    multiprocessing.pool.ThreadPool(1).apply_async(sess.close).wait(PATIENCE)
    raise Failure(f'lost a worker, {", ".join(lost)}; start it again, then --resume')


# ----------------------------------------------------------------------------------------- starting and going on

NOT_RECORDED = 'output', 'resume', 'overwrite', 'sample'
CHANGEABLE = 'iterations', 'pictures', 'print_every'  # on resuming; iterations may only grow


@np.errstate(all='ignore')  # the program looks itself for what is not finite
def run_command(argv, array=None):
    """What the command does, for the words after its name; `array` stands in for a file of --data. Returns the
    summary, with samples if it trained."""
    options, cluster = parse(argv), read_cluster()
    if cluster and cluster.task == 'worker':
        return serve()
    folder = Path(options['output'])
    flag = '--resume' if options['resume'] else '--sample' if options['sample'] else None
    if flag:
        if not (folder/'settings.json').exists():
            raise UsageError(f'argument {flag}: {folder} holds no run; leave {flag} out to start one')
        with locked(folder):
            recorded = read_file(folder/'settings.json')
            settings = recall(argv, folder, flag, recorded)
            if flag == '--sample':
                return sample_only(folder, settings, options['sample'])
            return resume(folder, recorded, settings, array)
    settings, data = new_run(options, argv, array)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        if error.errno not in (errno.EEXIST, errno.ENOTDIR, errno.ENAMETOOLONG):
            raise
        raise UsageError(f'argument --output: {folder}: {error.strerror}; give a folder') from None
    with locked(folder):
        check_folder(folder, options['overwrite'])
        return train_run(folder, settings, data)


def new_run(options, argv, array):
    """Settings and data of a new run: the user's flags before what suits the data before the defaults."""
    rows, names, image = find_rows(options['data'] if array is None else array, options['columns'])
    suited = (DISTRIBUTIONS[options['data']].flags if rows is None else IMAGE_FLAGS if image
              else dict(TABLE_FLAGS, noise_dim=max(16, rows.shape[1])))
    settings = {name: value for name, value in parse(argv, **suited).items() if name not in NOT_RECORDED}
    settings.update(fingerprint=fingerprint(rows),
                    suited=sorted(name for name, value in suited.items() if settings[name] == value))
    if array is None and options['data'] not in BUILT_IN:
        settings['data'] = str(Path(options['data']).resolve())
    read_cluster(settings)  # raises where they do not fit
    data = make_data(settings, rows, names, image)
    for name, column in zip(data.names, [] if image or rows is None or len(rows) < 10 else rows.T):
        if (column == np.round(column)).all() and (np.diff(column) > 0).all():
            say(f'Note        column {name!r} looks like an index: whole numbers that rise from row to row')
    return settings, data


def check_folder(folder, overwrite):
    """Raises UsageError where a new run in this folder would destroy an unfinished run, or files of the user's."""
    present = {path.name for path in folder.iterdir()}
    try:
        holds_run = 'settings.json' in present and 'fingerprint' in read_file(folder/'settings.json')
    except Failure:
        holds_run = True  # a damaged one
    if not holds_run:
        ours = {'settings.json', *(name.split('/')[0] for name in WRITTEN)}
        taken = sorted(name for name in present if name in ours or name.startswith('checkpoint'))
        if taken:
            raise UsageError(f'argument --output: {folder/taken[0]} is not of a run, and a run would write there; '
                             'give another --output')
    elif 'summary.json' in present:
        say(f'Replacing the finished run in {folder}.')
    elif not overwrite:
        raise UsageError(f'argument --output: {folder} holds an unfinished run; go on with it by --resume '
                         'or discard it by --overwrite')


def recall(argv, folder, flag, recorded):
    """The recorded settings of the run in this folder, with what may change on resuming as the user's flags say.
    Raises UsageError where a flag contradicts them."""
    with reading(folder/'settings.json'):
        if recorded.keys() != {*parse([]), 'fingerprint', 'suited'} - {*NOT_RECORDED}:
            raise ValueError('other names')
    options = parse(argv, **recorded)
    for name, value in recorded.items():
        changeable = flag == '--resume' and (name in CHANGEABLE and (name != 'iterations' or options[name] > value)
                                             or name == 'data' and recorded['fingerprint'])
        if options[name] != value and not changeable:
            raise UsageError(f'argument --{name.replace("_", "-")}: {options[name]} contradicts {value} of the run in '
                             f'{folder}; leave it out, or give another --output')
    return {name: options[name] for name in recorded}


def resume(folder, recorded, settings, array):
    """`--resume`: goes on with the folder's run, also a finished one that is to be longer or have more pictures."""
    progress, summary = read_checkpoint(folder), read_file(folder/'summary.json')
    if summary and all(settings[name] == recorded[name] for name in ('iterations', 'pictures')):
        say(f'The run in {folder} is finished: {settings["iterations"]} iterations.')
        return summary
    if settings['data'] != recorded['data']:
        settings['data'] = str(Path(settings['data']).resolve())
    rows, names, image = find_rows(settings['data'] if array is None else array, settings['columns'])
    if fingerprint(rows) != settings['fingerprint']:
        raise UsageError(f'argument --data: {settings["data"]} is not what the run began with; give that by --data')
    say(f'Going on from iteration {progress.iteration}.' if progress
        else 'Nothing was saved: starting from iteration 0.')
    return train_run(folder, settings, make_data(settings, rows, names, image), progress)


def sample_only(folder, settings, n):
    """`--sample N`: writes N samples of the trained generator, without training and without the user's data."""
    progress, stored = read_checkpoint(folder), read_file(folder/'snapshots/data.npz')
    if not progress or not stored:
        raise Failure(f'{folder} holds no trained generator yet; train one with --resume')
    kind = Quantile if 'scores' in stored else Affine
    data = Data(None, None, stored['names'].tolist(), *stored['range'], kind(*(stored[name] for name in kind._fields)),
                formats=stored['formats'].tolist())
    deliver(folder, settings, data, progress.best_weights or progress.weights, n)
    say(f'{n} samples of the generator after {progress.best.get("iteration", progress.iteration - 1) + 1} iterations '
        f'are in {folder/"generated_samples.csv"}')


# ----------------------------------------------------------------------------------------------- what is said

def say(line, bar=None, file=None):
    """Prints a line, in place of the progress bar; where nobody reads any more (a closed pipe), into the void."""
    file = file or sys.stdout
    try:
        print(f'\r\033[K{line}' if bar else line, file=file, flush=True)
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), file.fileno())


def describe(run):
    """Says what runs; its graph is the default graph."""
    settings, data, dim = run.settings, run.data, len(run.data.names)
    suited = ', '.join(name.replace('_', '-') for name in settings['suited'])
    seen = {None: 'as they are', 'standard': 'standardised', 'quantile': 'as normal scores'}[settings['normalize']]
    say(f'Data        {settings["data"]}, {dim} columns, {seen}'
        + (f' (chosen for such data: {suited})' if suited else ''))
    if data.rows is not None:
        kept = (f'{len(data.kept)} are kept back to judge by' if data.kept is not None else
                'too few to keep any back: quality cannot be judged, the last generator is delivered')
        say(f'Rows        {len(data.rows)} to train on; {kept}')
    counts = [sum(v.shape.num_elements() for v in tf.trainable_variables(f'GAN/{name}')) for name in
              ('Generator', 'Discriminator')]
    say('Networks    {} and {} parameters, hidden layers of {} units, {layer}, {activation}, {output_mapping} output, '
        'noise of {noise_dim}'.format(*counts, ' '.join(map(str, settings['hidden'])), **settings))
    say('Schedule    {iterations} iterations of {d_steps} + {g_steps} steps, batch {batch_size}, learning rate '
        '{learning_rate:g}, R1 penalty {penalty:g}, seed {seed}'.format(**settings))
    if settings['pictures'] == 'all' and dim != 2:
        say('Pictures    without decision and mapping, which need data of two columns')
    say(f'Output      {run.folder}')


def report(folder, summary, drawing):
    """Says at the end what came out and where it is."""
    final = {name.replace('_', ' '): value for name, value in summary['final'].items() if value is not None}
    if final:
        say('Samples     ' + ', '.join(f'{name} {value:.4g}' for name, value in final.items())
            + f' (generator of iteration {summary["delivered_iteration"]})')
    say('Time        ' + ', '.join(f'{name.replace("_", "-")} {x:.1f} s' for name, x in summary['seconds'].items()))
    for claim in summary['claims'].values():
        figures = '; '.join(f'{name}: {"undefined" if x is None else format(x, ".3g")}'
                            for name, x in claim['measured'].items())
        holds = {True: 'holds', False: 'FAILS', None: 'undefined'}[claim['holds']]
        say(f'{holds:<12}{claim["claim"]} ({figures})')
    for title, sentence in ('Verdict', summary['verdict']), ('Try', summary['advice']):
        if sentence:
            say(f'{title:<12}{sentence}')
    if drawing:
        say(f'Pictures    are in {folder}; open {folder/"index.html"} in a browser to see them together')
        if drawing.returncode:
            say(f'Some pictures are missing; draw them by: python plotting.py {folder}', file=sys.stderr)


# ----------------------------------------------------------------------------------------------- command line

class Parser(argparse.ArgumentParser):
    """Raises UsageError where argparse would end the process, which would end a notebook's too."""
    def error(self, message):
        raise UsageError(message)


def number(kind, low, high, metavar='N'):
    """What argparse is told of a number, int or float, from low to high."""
    def convert(text):
        try:
            value = kind(text)
        except ValueError:
            value = math.nan
        if not low <= value <= high:
            whole, form = ('whole ', 'd') if kind is int else ('', 'g')
            raise argparse.ArgumentTypeError(f'{text} is not allowed; give a {whole}number from {low:{form}} to '
                                             f'{high:{form}}')
        return value
    return dict(type=convert, metavar=metavar)


def make_parser():
    """The command line's parser, in which every setting stands with its default and its meaning."""
    parser = Parser('gan_quadratic.py', description=(__doc__ or '').split('\n\nRead')[0], allow_abbrev=False,
                    formatter_class=argparse.RawDescriptionHelpFormatter)

    def flag(name, default, meaning, **words):
        """A flag of the section that was begun last."""
        shown = ' '.join(map(str, default)) if isinstance(default, list) else default
        meaning += '' if default is None or default is False else f' (default: {shown})'
        section.add_argument(name, default=default, help=meaning, **words)
    every, steps, width = number(int, 1, 10**9), number(int, 1, 1000), number(int, 1, 4096)
    switch = dict(action='store_true')

    section = parser.add_argument_group('data')
    flag('--data', 'quadratic', f'a distribution ({", ".join(BUILT_IN)}), or a table or images of yours: '
         f'{", ".join(TABLES + ARRAYS)}', metavar='NAME or FILE')
    flag('--columns', None, 'the columns of your table to learn, by name or by number from 1', nargs='+',
         metavar='NAME')
    flag('--scale', 100., 'width of the x range of the curves', **number(float, 1e-6, 1e6, 'WIDTH'))
    flag('--normalize', None, 'what the networks see: standard, columns of zero mean and unit deviation; quantile, '
         'each a standard normal through its own distribution function; all data but quadratic switch it on',
         nargs='?', const='standard', choices=('standard', 'quantile'))
    flag('--no-normalize', None, 'the networks see data as they are', action='store_const', const=None,
         dest='normalize')

    section = parser.add_argument_group('networks')
    flag('--hidden', [16, 16], 'units of the hidden layers of both networks', nargs='+', **width)
    flag('--activation', 'leaky_relu', 'of the hidden layers', choices=ACTIVATIONS)
    flag('--layer', 'dense', 'kind of hidden layer', choices=LAYERS)
    flag('--output-mapping', 'linear', "of the generator's last layer; tanh is over the data's range",
         choices=OUTPUT_MAPPINGS)
    flag('--noise-dim', 2, 'width of the noise Z', **width)

    section = parser.add_argument_group('training')
    flag('--iterations', 100001, 'one more than a multiple of --snapshot-every draws the last one too', **every)
    flag('--batch-size', 256, 'real samples, and noise vectors, in an iteration', **number(int, 1, 10**5))
    flag('--d-steps', 1, 'updates of the discriminator per iteration', **steps)
    flag('--g-steps', 1, 'updates of the generator per iteration', **steps)
    flag('--learning-rate', 0.001, 'of RMSProp, in both networks', **number(float, 1e-12, 1000, 'RATE'))
    flag('--penalty', 0., 'R1 gradient penalty of the discriminator; own tables and images have theirs',
         **number(float, 0, 1e6, 'GAMMA'))
    flag('--keep', 'last', 'the generator to deliver: of the last iteration, or best, of the snapshot nearest to the '
         'real samples, of own tables, for which it is the default, to the rows kept back', choices=('last', 'best'))
    flag('--seed', 0, 'fixes everything random', **number(int, 0, 2**32 - 1))
    flag('--step-by-step', False, 'train as the tutorial does, one sess.run a step', **switch)

    section = parser.add_argument_group('what is reported')
    flag('--log-every', 10, 'iterations between rows of the loss log', **every)
    flag('--snapshot-every', 1000, 'iterations between snapshots (pictures, measures)', **every)
    flag('--print-every', 1000, 'iterations between printed lines; 1 prints them all, as the tutorial does', **every)
    flag('--pictures', 'article', "article: the tutorial's; all: also D's updates, its map of the plane, and the "
         "generator's mapping; none: no page either", choices=('article', 'all', 'none'))

    section = parser.add_argument_group('the output folder')
    flag('--output', 'outputs', 'where a run writes', metavar='DIR')
    section = section.add_mutually_exclusive_group()
    flag('--resume', False, 'go on with the run found there', **switch)
    flag('--overwrite', False, 'discard the unfinished run found there', **switch)
    flag('--sample', None, 'no training: write N samples of the trained generator', **number(int, 1, 10**7))
    return parser


def parse(argv, **suited):
    """Every option by its name: as given in argv, or else as `suited`, or else its default. Raises UsageError."""
    parser = make_parser()
    parser.set_defaults(**suited)
    options = vars(parser.parse_args(argv))
    data, builtin = f'--data {options["data"]}', DISTRIBUTIONS.get(options['data'])
    for one, other, clash in (
            ('--columns', data, options['columns'] and options['data'] in BUILT_IN),
            ('--scale', data, options['scale'] != 100 and not (builtin and builtin.scaled)),
            ('--activation', '--layer maxout',
             options['layer'] == 'maxout' and options['activation'] != 'leaky_relu')):
        if clash:
            raise UsageError(f'argument {one}: has no meaning beside {other}; leave one of them out')
    if not options['output'].strip():
        raise UsageError(f'argument --output: {options["output"]!r} names no folder; give one, . for this one')
    return options


def train(**flags):
    """Runs what the command runs, from a notebook or another program: train(iterations=2001, output='demo').

    Each flag by its name with underscores: lists for several values, True and False for switches; `data` may also be
    an array [n, dim], or of images. Returns what summary.json holds and, where it trained, `samples` [10000, dim], the
    rows of generated_samples.csv in the data's units; None with `sample=N`, which only writes the file. Raises
    UsageError (a ValueError) where the command would exit with 2, Failure or OSError where with 1.
    """
    array, argv = None, []
    for name, value in flags.items():
        if name == 'data' and isinstance(value, np.ndarray):
            array, value = value, 'an array'
        if name == 'normalize' and value is False:
            argv.append('--no-normalize')
        elif value is not False and value is not None:
            values = [] if value is True else value if isinstance(value, (list, tuple, np.ndarray)) else [value]
            argv += ['--' + name.replace('_', '-'), *map(str, values)]
    return run_command(argv, array)


def main(argv=None):
    """The command. Returns its exit status: 0, 1 for failures, 2 for usage, 130 and 143 for Ctrl-C and SIGTERM."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass  # a closed stdin, stdout or stderr must not become one of the run's files
    os.close(descriptor)
    argv, signals = sys.argv[1:] if argv is None else argv, []
    alarm = getattr(signal, 'alarm', lambda seconds: None)  # not on Windows

    def interrupted(number, frame):
        signals.append(number)
        alarm(5)  # then again, because TensorFlow's C++ may swallow what is raised beneath it
        raise KeyboardInterrupt
    try:
        for number in signal.SIGINT, signal.SIGTERM, getattr(signal, 'SIGALRM', signal.SIGINT):
            signal.signal(number, interrupted)
        run_command(argv)
        return 0
    except BaseException as error:
        if signals:  # whatever the interrupted code has made of it
            folder = Path(parse(argv)['output'])
            status, line = 128 + signals[0], 'stopped; ' + (
                f'go on with: python gan_quadratic.py --resume --output {folder}'
                if (folder/'settings.json').exists() else 'nothing was saved yet')
        elif isinstance(error, UsageError):
            status, line = 2, f'error: {error}'
        elif isinstance(error, Failure):
            status, line = 1, str(error)
        elif isinstance(error, OSError):
            status, line = 1, f'{error.filename}: {error.strerror or error}; see to it, then --resume'
        elif isinstance(error, ImportError):
            status, line = 1, f'{error}; {INSTALL}'
        elif isinstance(error, MemoryError):
            status, line = 1, 'not enough memory; give a smaller --batch-size or --hidden'
        else:
            raise
    finally:
        alarm(0)
    say(f'gan_quadratic.py: {line}', file=sys.stderr)
    return status


if __name__ == '__main__':
    gc.set_threshold(100_000)  # TensorFlow's import and graphs make many objects, and nearly all of them stay
    status = main()
    gc.freeze()  # nothing of TensorFlow's need be looked through once more, which takes half a second
    sys.exit(status)
