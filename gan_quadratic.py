"""A simple GAN that learns to draw the points of y = 10 + x^2, in TensorFlow 1's style on current TensorFlow.

    python gan_quadratic.py                                      the tutorial: 100,001 iterations of 1 + 1 steps
    python gan_quadratic.py --d-steps 10 --g-steps 10 --iterations 10001     the schedule of its companion code
    python gan_quadratic.py --data spiral --pictures all --output outputs/spiral     an exercise, with every picture
    python gan_quadratic.py --resume                             go on with an interrupted run
    python gan_quadratic.py --help                               everything else

Read it from top to bottom: data, networks, graph and training follow the tutorial, by its names and in its order,
and stand on their own. What a run needs around them comes after: the measures of what the tutorial claims, the files
of a run and its checkpoints, its data and settings, the run itself that ties all this together, what it says, and the
command line. Pictures are drawn from the files by `plotting.py`, a process of its own.
"""
import argparse
import contextlib
import csv
import difflib
import errno
import functools
import gc
import json
import logging
import math
import os
import platform
import re
import shlex
import signal
import subprocess
import sys
import tempfile
import threading
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Callable, NamedTuple, Optional

import numpy as np

try:
    import fcntl
except ImportError:  # not on Windows, where two runs in one folder go unnoticed
    fcntl = None


# At its own level, 3, XLA unrolls loops over 16 units before they become vector instructions: a quarter slower here.
XLA_FLAGS = '--xla_backend_optimization_level=2'


class LazyTensorFlow:
    """Stands for `tensorflow.compat.v1` until its first use, because the import takes seconds that `--help`,
    a mistyped flag and the drawing process should not have to wait for."""

    def __getattr__(self, name):
        global tf
        os.environ.setdefault('XLA_FLAGS', XLA_FLAGS)  # read by XLA when it first compiles
        with hushed():
            import tensorflow.compat.v1 as tf
        return getattr(tf, name)


tf = LazyTensorFlow()


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


def spiral(n, scale, rng):
    """[n, 2] points of an Archimedean spiral of two turns, uniform along its radius in [0, 1)."""
    r = rng.random(n)
    return np.stack([r*np.cos(4*np.pi*r), r*np.sin(4*np.pi*r)], axis=1)


def ring(n, scale, rng):
    """[n, 2] points of the unit circle."""
    t = 2*np.pi*rng.random(n)
    return np.stack([np.cos(t), np.sin(t)], axis=1)


def gaussians(n, scale, rng):
    """[n, 2] points of eight Gaussians, standard deviation 0.05, centred on the unit circle."""
    which, u, t = rng.random((n, 3)).T
    centre = 2*np.pi*np.floor(8*which)/8
    radius = 0.05*np.sqrt(-2*np.log1p(-u))  # Box and Muller's way to a normal pair
    return np.stack([np.cos(centre) + radius*np.cos(2*np.pi*t), np.sin(centre) + radius*np.sin(2*np.pi*t)], axis=1)


def helix(n, scale, rng):
    """[n, 3] points of a helix of two turns, radius 1, height -1 to 1."""
    z = 2*rng.random(n) - 1
    return np.stack([np.cos(2*np.pi*z), np.sin(2*np.pi*z), z], axis=1)


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


# What shapes other than the tutorial's, and the user's own rows, come out well with.
SHAPED = dict(normalize=True, hidden=[32, 32], activation='tanh', noise_dim=4, learning_rate=0.0005, iterations=20001)
DISTRIBUTIONS = {
    'quadratic': curve_over_x(get_y),
    'cubic': curve_over_x(lambda x: x**3, **SHAPED),
    'quartic': curve_over_x(lambda x: x**4, **SHAPED),
    'sine': curve_over_x(lambda x: 10*np.sin(x/10), **SHAPED),
    'cosine': curve_over_x(lambda x: 10*np.cos(x/10), **SHAPED),
    'two-curves': Distribution(two_curves, SHAPED, scaled=True),
    'spiral': Distribution(spiral, dict(SHAPED, hidden=[64, 64], iterations=40001)),
    'ring': Distribution(ring, SHAPED),
    'gaussians': Distribution(gaussians, SHAPED),
    'helix': Distribution(helix, SHAPED),
    'sphere': Distribution(sphere, SHAPED),
}
IMAGE_FLAGS = dict(normalize=True, hidden=[256, 256], layer='layer_norm', noise_dim=32, learning_rate=0.0002, g_steps=3,
                   batch_size=64, iterations=20001)
KERAS_DATASETS = ('mnist', 'cifar10')


# --------------------------------------------------------------------------------------------------- networks

def dense(inputs, units, activation=None):
    """What `tf.layers.dense` did: [n, k] -> [n, units], Glorot uniform kernel, zero bias, in scope dense, dense_1..."""
    with tf.variable_scope(None, default_name='dense'):
        kernel = tf.get_variable('kernel', [inputs.shape[-1], units], use_resource=True,
                                 initializer=tf.glorot_uniform_initializer())
        bias = tf.get_variable('bias', [units], use_resource=True, initializer=tf.zeros_initializer())
    outputs = tf.matmul(inputs, kernel) + bias
    return activation(outputs) if activation else outputs


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


def connect(X, Z, hsize=[16, 16], reuse=False, *, dim=2, activation='leaky_relu', layer='dense', **mapping):
    """Both networks on real samples X and noise Z, with the two losses: a `GAN` that has no steps yet.

    The further arguments are the networks' own, see `generator`.
    """
    hidden = dict(activation=activation, layer=layer)
    G_sample = generator(Z, hsize, reuse, dim=dim, **hidden, **mapping)
    r_logits, r_rep = discriminator(X, hsize, reuse, **hidden)
    f_logits, g_rep = discriminator(G_sample, hsize, reuse=True, **hidden)

    disc_loss = tf.reduce_mean(
        tf.nn.sigmoid_cross_entropy_with_logits(logits=r_logits, labels=tf.ones_like(r_logits))
        + tf.nn.sigmoid_cross_entropy_with_logits(logits=f_logits, labels=tf.zeros_like(f_logits)))
    gen_loss = tf.reduce_mean(
        tf.nn.sigmoid_cross_entropy_with_logits(logits=f_logits, labels=tf.ones_like(f_logits)))
    return GAN(X, Z, G_sample, r_logits, f_logits, r_rep, g_rep, disc_loss, gen_loss)


def build_gan(gen_optimizer=None, disc_optimizer=None, *, noise_dim=2, dim=2, **networks):
    """The tutorial's graph, in the default graph: a `GAN` on placeholders X [None, dim] and Z [None, noise_dim].

    Each optimizer updates its own network alone; RMSProp at the tutorial's rate of 0.001 where none is given.
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
    disc_step = disc_optimizer.minimize(gan.disc_loss, var_list=disc_vars)
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


def build_loop(gen_optimizer, disc_optimizer, length, batch_size, d_steps=1, g_steps=1, jit_compile=True,
               *, noise_dim=2, dim=2, **networks):
    """Up to `length` iterations of the tutorial's loop inside the graph, where no `sess.run` stands between steps.

    It trains the variables and optimizer slots that `build_gan` made with the same optimizers. Returns a function
    (sess, X_batches [n, batch_size, dim], Z_batches [n, batch_size, noise_dim]) -> losses [n, 2]. XLA compiles
    anew for each shape that is fed, so the batches pass through buffers of one shape, with a count beside them.
    """
    X_buffer = np.zeros([length, batch_size, dim], np.float32)
    Z_buffer = np.zeros([length, batch_size, noise_dim], np.float32)
    X_fed = tf.placeholder(tf.float32, X_buffer.shape)
    Z_fed = tf.placeholder(tf.float32, Z_buffer.shape)
    count = tf.placeholder(tf.int32, [])
    gen_vars, disc_vars = (tf.trainable_variables(scope) for scope in ('GAN/Generator', 'GAN/Discriminator'))

    def steps(number, optimizer, variables, loss):
        """`number` updates one after the other; returns the loss from before the last."""
        def step(k, _):
            value = loss()
            with tf.control_dependencies([optimizer.minimize(value, var_list=variables)]):
                return k + 1, tf.identity(value)
        return tf.while_loop(lambda k, _: k < number, step, [tf.constant(0), tf.constant(0.)])[1]

    def iterations(X_batches, Z_batches, count):
        def iteration(i, losses):
            batch = functools.partial(connect, X_batches[i], Z_batches[i], dim=dim, reuse=True, **networks)
            dloss = steps(d_steps, disc_optimizer, disc_vars, lambda: batch().disc_loss)
            with tf.control_dependencies([dloss]):
                gloss = steps(g_steps, gen_optimizer, gen_vars, lambda: batch().gen_loss)
            return i + 1, tf.tensor_scatter_nd_update(losses, [[i]], [[dloss, gloss]])
        return tf.while_loop(lambda i, _: i < count, iteration, [tf.constant(0), tf.zeros([length, 2])])[1]

    losses = tf.function(iterations, jit_compile=jit_compile, autograph=False)(X_fed, Z_fed, count)

    def run_loop(sess, X_batches, Z_batches):
        n = len(X_batches)
        X_buffer[:n], Z_buffer[:n] = X_batches, Z_batches
        return sess.run(losses, feed_dict={X_fed: X_buffer, Z_fed: Z_buffer, count: n})[:n].astype(float)
    return run_loop


# --------------------------------------------------------------------------------------------------- measures

def mean_distance(a, b):
    """The mean Euclidean distance over all pairs of a row of a [n, d] and a row of b [m, d]."""
    # |p - q|^2 = |p|^2 - 2 p.q + |q|^2, as one matrix product: several times as fast as subtracting, some digits worse
    left = np.column_stack([np.sum(a**2, axis=1), -2*a, np.ones_like(a[:, 0])])
    right = np.column_stack([np.ones_like(b[:, 0]), b, np.sum(b**2, axis=1)]).T
    total = 0.
    for rows in np.array_split(left, math.ceil(len(a)*len(b)/50_000)):  # pieces that stay in the cache
        total += np.sqrt(np.maximum(0, rows @ right)).sum(dtype=np.float64)
    return total/(len(a)*len(b))


def energy_distance_to(real):
    """The function that gives the energy distance (Szekely and Rizzo 2013) of samples [n, d] to these real [m, d].

    Each coordinate is divided by the real samples' standard deviation; every pair counts, a point with itself too.
    """
    centre, spread = real.mean(axis=0), real.std(axis=0)
    spread = np.where(spread > 0, spread, 1)

    def standardised(points):
        return ((points - centre)/spread).astype(np.float32)
    b = standardised(real)
    within = mean_distance(b, b)

    def distance(generated):
        a = standardised(generated)
        return 2*mean_distance(a, b) - mean_distance(a, a) - within
    return distance


def curve_residual(points, curve):
    """Median |y - curve(x)| of points [n, 2], in the data's units."""
    return float(np.median(np.abs(points[:, 1] - curve(points[:, 0]))))


def coverage(x, low, high, bins=20):
    """Share of `bins` equal bins from low to high that hold at least a quarter of their fair share of x [n]."""
    counts, _ = np.histogram(x, bins, (low, high))
    return float(np.mean(counts >= len(x)/bins/4))


def sample_measures(samples, data, distance):
    """Energy distance, curve residual and coverage of samples [n, dim] in the data's units; None where not defined."""
    return dict(energy_distance=float(distance(samples)) if distance else None,
                curve_residual=curve_residual(samples, data.curve) if data.curve else None,
                coverage=coverage(samples[:, 0], data.low[0], data.high[0]) if data.curve else None)


METRICS = ['Iteration', 'Discriminator Loss Mean', 'Discriminator Loss Spread', 'Generator Loss Mean',
           'Generator Loss Spread', 'D on Real', 'D on Generated', 'Energy Distance', 'Curve Residual', 'Coverage',
           'Feature Mixing', 'Centroid Distance Before', 'Centroid Distance After', 'Moved Toward',
           'Largest Real Move']


def measure(iteration, losses, judged, generated, features, data, distance):
    """One row of metrics.csv, in the order of METRICS, None where a measure is not defined.

    losses: [n, 2] since the last snapshot. judged: mean D(x) on real and on generated samples. generated: [n, dim]
    in the data's units. features: [3, 2, n, 2], before D's updates, before G's, after G's; of real, of generated.
    distance: the function that `energy_distance_to` made of the run's real samples, None for images.
    """
    _, (real, before), (real_after, after) = features.astype(float)  # float has room for a run gone astray
    centroid = real.mean(axis=0)
    distances = [float(np.linalg.norm(cloud.mean(axis=0) - centroid)) for cloud in (before, after)]
    return [iteration, losses[:, 0].mean(), losses[:, 0].std(), losses[:, 1].mean(), losses[:, 1].std(), *judged,
            *sample_measures(generated, data, distance).values(), energy_distance_to(real_after)(after), *distances,
            int(distances[1] < distances[0]), np.abs(real_after - real).max()]


def tenths(rows, name):
    """Mean of the first and of the last tenth of a column of metrics.csv, at least one row each."""
    column = np.array([row[name] for row in rows])
    n = math.ceil(len(column)/10)
    return column[:n].mean(), column[-n:].mean()


def shrinkage(rows, name):
    """The last tenth of a column in parts of its first tenth; None where there is none."""
    first, last = tenths(rows, name) if rows else (0, 0)
    return last/first if first > 0 else None


def off_equilibrium(rows):
    """How far the last tenth's losses are from 2 ln 2 and ln 2, the further one."""
    return max(abs(tenths(rows, 'Discriminator Loss Mean')[1] - 2*math.log(2)),
               abs(tenths(rows, 'Generator Loss Mean')[1] - math.log(2)))


# Each claim of the tutorial in words, and the figures of a run that judge it: name -> (figure, test that it must pass).
# A figure is taken from the rows of metrics.csv and the energy distance of the final samples (None for images).
# Every threshold stands here alone, with its reason.
CLAIMS = {
    'losses_settle': ('The losses settle at 2 ln 2 and ln 2', {
        # 0.05 from ln 2 is D giving generated samples 0.476 or 0.526 where equilibrium gives 0.5
        'distance from 2 ln 2 and ln 2': (lambda rows, final: off_equilibrium(rows), lambda x: x <= 0.05),
        # "shrink" means smaller at the end than at the start, where iteration 0 has but one loss and so no spread
        'spread, last tenth / first': (lambda rows, final: shrinkage(rows[1:], 'Discriminator Loss Spread'),
                                       lambda x: x < 1)}),
    'samples_follow': ('Generated samples follow the real distribution', {
        # 0.02 is some 20 times what two draws of the real data measure: about where the eye sees a difference
        'energy distance': (lambda rows, final: final, lambda x: x <= 0.02)}),
    'real_features_stay': ('A generator update moves no feature of real data', {
        # the generator's variables do not enter the discriminator's features of real data, so not even by rounding
        'largest move': (lambda rows, final: max(row['Largest Real Move'] for row in rows), lambda x: x == 0)}),
    'centroid_moves_toward': ('The generated centroid moves toward the real one', {
        # the tutorial says "almost always": read as nine times in ten
        'share of snapshots': (lambda rows, final: float(np.mean([row['Moved Toward'] for row in rows])),
                               lambda x: x >= 0.9)}),
    'features_mix': ('Real and generated features mix more and more', {
        # "more" means a smaller distance between the two clouds at the end than at the start
        'distance, last tenth / first': (lambda rows, final: shrinkage(rows, 'Feature Mixing'), lambda x: x < 1)}),
}


def judge(rows, final):
    """The five claims as summary.json holds them; `holds` is None where no figure fails but one is not defined."""
    judged = {}
    for name, (words, figures) in CLAIMS.items():
        measured = {figure: take(rows, final) for figure, (take, _) in figures.items()}
        tests = [test for _, test in figures.values()]
        passed = [None if x is None else bool(test(x)) for x, test in zip(measured.values(), tests)]
        holds = False if False in passed else None if None in passed else True
        judged[name] = dict(claim=words, measured=measured, holds=holds)
    return judged


# --------------------------------------------------------------------------------------------- files of a run

class Failure(Exception):
    """What ends a run with one line on stderr and exit status 1."""


class UsageError(ValueError):
    """What the user asked for that cannot be done: one line on stderr, exit status 2."""


class Stopped(KeyboardInterrupt):
    """Ctrl-C or SIGTERM: exit status 128 + its number, the first argument."""


SNAPSHOT = 'snapshots/%06d.npz'
PICTURES = {  # of each snapshot: name of the file -> name of the GIF, set it belongs to, only for 2-D data?
    'iterations/iteration_%06d.png': ('iterations.gif', 'article', False),
    'features/feature_transform_%06d.png': ('feature_transform.gif', 'article', False),
    'features/feature_transform_centroid_%06d.png': ('feature_transform_centroid.gif', 'article', False),
    'features/d_step_transform_%06d.png': ('d_step_transform.gif', 'all', False),
    'features/d_step_centroid_%06d.png': ('d_step_centroid.gif', 'all', False),
    'discriminator/decision_%06d.png': ('decision.gif', 'all', True),
    'generator/mapping_%06d.png': ('mapping.gif', 'all', True),
}
RUN_PICTURES = ['training_data.png', 'training_loss.png', 'metrics.png']
RUN_FILES = ['checkpoint/state.json', 'summary.json', 'loss_logs.csv', 'metrics.csv', 'generated_samples.csv',
             'snapshots/data.npz', *RUN_PICTURES, *(gif for gif, *_ in PICTURES.values())]  # beside settings.json


def frames(settings, dim):
    """The pictures that a run draws of each snapshot: name of the file -> name of the GIF."""
    return {name: gif for name, (gif, which, planar) in PICTURES.items()
            if settings['pictures'] in (which, 'all') and (dim == 2 or not planar)}


def numbered(folder, pattern):
    """The files of a folder that a pattern with %06d names: iteration -> path, in the order of the iterations."""
    parent, name = (folder/pattern).parent, Path(pattern).name
    match = re.compile(re.escape(name).replace('%06d', r'(\d{6,})') + r'\Z').match
    found = {int(match(path.name)[1]): path for path in parent.glob('*') if match(path.name)}
    return dict(sorted(found.items()))


@contextlib.contextmanager
def whole_file(path, mode='wb', **options):
    """A file to write that takes its place in the folder, by renaming, when it is whole; otherwise it is removed."""
    temporary = path.with_name(path.name + '.tmp')
    try:
        with open(temporary, mode, **options) as file:
            yield file
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise


def write_json(path, content):
    """Writes a JSON file, whole."""
    with whole_file(path, 'w', encoding='utf-8') as file:
        json.dump(content, file, indent=1, allow_nan=False)
        file.write('\n')


def read_json(path):
    """A JSON file of the program, None where there is none. Raises Failure where it is damaged."""
    try:
        content = json.loads(path.read_text(encoding='utf-8'))
    except FileNotFoundError:
        return None
    except ValueError:
        content = None
    if not isinstance(content, dict):
        raise damaged(path)
    return content


def damaged(path):
    """The Failure of a file from which a run cannot go on."""
    return Failure(f'{path} is damaged; put back a copy, or start anew with --overwrite')


def append_lines(path, lines):
    """Appends whole lines to a CSV; where that fails, none of them."""
    text = ''.join(line + '\n' for line in lines).encode()
    with open(path, 'ab', buffering=0) as file:
        length = file.tell()
        written = 0
        try:
            while written < len(text):  # the operating system may take a part first
                written += file.write(text[written:])
        except BaseException:
            file.truncate(length)
            raise


def read_rows(path):
    """A CSV of the program as a list of rows, dicts of numbers by column, None where a field is empty."""
    try:
        with open(path, newline='', encoding='utf-8') as file:
            return [{name: float(text) if text else None for name, text in row.items()}
                    for row in csv.DictReader(file, restval='a field too few')]
    except (ValueError, TypeError, csv.Error) as error:
        raise Failure(f'{path} is damaged ({error})') from error


def write_samples(path, session, data, settings, n):
    """Writes n samples of the generator, in bounded memory, the first the same for every n; returns the last block."""
    rng = make_streams(settings['seed'])['final']
    with whole_file(path, 'w', encoding='utf-8') as file:
        csv.writer(file, lineterminator='\n').writerow(data.columns)
        for first in range(0, n, FINAL_ROWS):  # a fixed size, because rounding may differ with it
            Z = sample_Z(FINAL_ROWS, settings['noise_dim'], rng)
            rows = data.from_networks(session.sess.run(session.gan.G_sample, feed_dict={session.gan.Z: Z}))
            np.savetxt(file, rows[:n - first], '%.4g' if data.image else '%.9g', ',')
    return rows[:n - first]


@contextlib.contextmanager
def locked(folder):
    """Holds the folder for this run alone; the operating system lets go of it however the process ends."""
    with contextlib.ExitStack() as stack:
        if fcntl:
            descriptor = os.open(folder, os.O_RDONLY)
            stack.callback(os.close, descriptor)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise Failure(f'another run is writing to {folder}; wait for it or give another --output') from None
        yield


def discard(folder, state=None):
    """Removes a run's files: all of them, or, given its last checkpoint's state, what is newer than that.

    Never what the program did not write. The state goes first, so that no checkpoint outlives the run it is of.
    """
    since = state['iteration'] if state else 0
    doomed = [] if state else [folder/name for name in RUN_FILES]
    doomed += [path for pattern in (SNAPSHOT, *PICTURES) for i, path in numbered(folder, pattern).items() if i >= since]
    for path in doomed:
        path.unlink(missing_ok=True)
    discard_leftovers(folder, state)


def discard_leftovers(folder, state):
    """Removes what a kill or a full disk may leave. Not while the run's drawing process has a temporary file open."""
    for pattern in ('settings.json', *RUN_FILES, SNAPSHOT, *PICTURES):
        for path in folder.glob(re.sub('%06d', '[0-9]*', pattern) + '.tmp'):
            path.unlink(missing_ok=True)
    discard_checkpoints(folder, state)


def discard_checkpoints(folder, state):
    """Removes the variables of checkpoints other than the state's, and what TensorFlow left of unfinished ones."""
    for path in folder.glob('checkpoint/model-*'):
        model = re.match(r'(model-\d+)\.(data|index)', path.name)
        if model and not (state and model[1] == state['model']):
            path.unlink(missing_ok=True)


def sweep(folder):
    """`discard_leftovers` at a run's end, however it came about; silent where the folder cannot be read any more."""
    with contextlib.suppress(OSError, Failure):
        discard_leftovers(folder, read_state(folder))


# ------------------------------------------------------------------------------------------------ checkpoints

FORMAT = 1  # of checkpoint/state.json; a later one is not read


def checksum(state):
    """What tells a state from a damaged one."""
    return zlib.crc32(json.dumps(state, sort_keys=True).encode())


def read_state(folder):
    """The last checkpoint's state, None where there is none. Raises Failure where the run cannot go on from it."""
    path = folder/'checkpoint/state.json'
    state = read_json(path)
    if state is None:
        return None
    form = state.get('format')
    if isinstance(form, int) and form > FORMAT:
        raise Failure(f'{path} is of a newer version (format {form}, known is {FORMAT}); use that version')
    if state.pop('checksum', None) != checksum(state):
        raise damaged(path)
    return state


def save_checkpoint(folder, session, stream_states, iteration, recent, seconds):
    """Saves all that going on needs. state.json comes last, and it alone says which files belong together."""
    path = folder/'checkpoint'/f'model-{iteration}'
    try:
        with hushed():
            session.saver.save(session.sess, str(path), write_meta_graph=False, write_state=False)
    except (tf.errors.OpError, ValueError) as error:  # ValueError: the folder is gone
        raise Failure(f'{path} could not be saved ({first_line(error)}); see to it, then --resume') from error
    state = dict(
        format=FORMAT, iteration=iteration, model=path.name, seconds=seconds, streams=stream_states,
        recent=np.concatenate(recent).tolist() if recent else [],
        lengths={name: (folder/name).stat().st_size for name in ('loss_logs.csv', 'metrics.csv')})
    write_json(folder/'checkpoint/state.json', dict(state, checksum=checksum(state)))
    discard_checkpoints(folder, state)


def restore_checkpoint(folder, session, streams, state):
    """Takes networks and streams back to the last checkpoint. Raises Failure where it is damaged or of others."""
    path = folder/'checkpoint'/state['model']
    try:
        with hushed():
            # restoring by itself lets a variable take another shape
            saved = tf.train.load_checkpoint(str(path)).get_variable_to_shape_map()
            if saved != {v.op.name: v.shape.as_list() for v in tf.global_variables()}:
                raise ValueError('other variables, or other shapes')
            session.saver.restore(session.sess, str(path))
    except (tf.errors.OpError, RuntimeError, ValueError) as error:
        raise Failure(f'{path} cannot be restored, it is damaged or of other networks ({first_line(error)}); '
                      'put back a copy, or start anew with --overwrite') from error
    for use, value in state['streams'].items():
        streams[use].bit_generator.state = value
    for name, length in state['lengths'].items():
        if not (folder/name).exists() or (folder/name).stat().st_size < length:
            raise Failure(f'{folder/name} is shorter than it was; put back a copy, or start anew with --overwrite')


def go_back(folder, settings, state):
    """Takes the files of a run back to its last checkpoint, of which `restore_checkpoint` knows that it is whole."""
    (folder/'summary.json').unlink(missing_ok=True)
    discard(folder, state)
    for name, length in state['lengths'].items():
        os.truncate(folder/name, length)
    write_json(folder/'settings.json', settings)


# ------------------------------------------------------------------------------------- data as a run needs it

PICTURE_ROWS = 256       # real samples in a picture
JUDGED_ROWS = 2000       # samples, real and generated, from which a snapshot's measures are taken
FINAL_ROWS = 10_000      # rows of generated_samples.csv


class Data(NamedTuple):
    """What a run knows of its data. The networks see (rows - shift)/spread, files and pictures the data's own units."""
    sample: Callable           # (n, rng) -> [n, dim] rows
    columns: list              # names, dim of them
    low: np.ndarray            # [dim], the range of the rows
    high: np.ndarray
    shift: np.ndarray          # [dim], zeros where the networks see the rows as they are
    spread: np.ndarray
    curve: Optional[Callable] = None
    image: Optional[tuple] = None  # (height, width) or (height, width, channels) where rows are images

    def to_networks(self, rows):
        """Rows [n, dim] in the data's units, as float32 in the networks'."""
        moved = self.shift.any() or (self.spread != 1).any()
        return ((rows - self.shift)/self.spread if moved else rows).astype(np.float32)

    def from_networks(self, rows):
        """The way back."""
        return rows*self.spread + self.shift


def load_rows(path):
    """The user's rows: [n, dim] numbers, names of the columns, and the shape of a row where rows are images.

    Raises UsageError, with the reason, where the file is no table of at least two rows of finite numbers.
    """
    def bad(reason):
        return UsageError(f'argument --data: {path}: {reason}')
    kind, names = path.suffix.lower(), None
    if path.is_dir():
        raise bad('is a folder; give a .csv, .npy or .npz file')
    if kind not in ('.csv', '.npy', '.npz'):
        raise bad(f'cannot be read as {kind or "a file without an ending"}; give a .csv, .npy or .npz file')
    try:
        if kind == '.csv':
            with open(path, newline='', encoding='utf-8-sig') as file:
                lines = [line for line in file if line.strip()]
            reader = csv.reader(lines)
            first = next(reader, [])
            try:
                [float(field) for field in first]
            except ValueError:
                names, lines = [name.strip() for name in first], lines[reader.line_num:]
            rows = np.loadtxt(lines, delimiter=',', ndmin=2) if lines else np.empty([0, 0])
        else:
            rows = np.load(path, allow_pickle=False)
            if (kind == '.npz') != isinstance(rows, np.lib.npyio.NpzFile):
                raise ValueError('its ending belongs to the other of .npy and .npz')
            if kind == '.npz':
                if len(rows.files) != 1 and 'x_train' not in rows.files:
                    raise bad(f'holds the arrays {rows.files}; give one array, or name it x_train')
                rows = rows[rows.files[0] if len(rows.files) == 1 else 'x_train']
    except UsageError:
        raise
    except OSError as error:
        raise bad(f'cannot be read: {error.strerror or error}') from error
    except Exception as error:  # whatever a damaged file makes NumPy, zip or the decoder say
        raise bad(f'is not a table of numbers: {" ".join(str(error).split())}') from error
    if rows.dtype.kind not in 'buif':
        raise bad(f'holds values of type {rows.dtype}; numbers are allowed')
    if rows.ndim == 1:
        rows = rows[:, None]
    if rows.ndim < 2 or len(rows) < 2 or not rows.size:
        raise bad(f'holds {len(rows) if rows.ndim else 0} rows of {math.prod(rows.shape[1:])} columns; '
                  'at least 2 rows and 1 column are needed')
    with np.errstate(over='ignore'):
        if not np.isfinite(rows.astype(np.float32)).all():
            raise bad('holds values that are not finite, or too large for single precision; remove or replace them')
    looks = rows.ndim == 3 or rows.ndim == 4 and rows.shape[3] in (1, 3)
    image = rows.shape[1:] if looks and min(rows.shape[1:3]) > 3 else None
    if image and image[-1] == 1:
        image = image[:2]
    rows = rows.reshape(len(rows), -1)
    if names and len(names) != rows.shape[1]:
        raise bad(f'has {len(names)} names in its header but {rows.shape[1]} columns')
    return rows, names, image


def find_rows(name):
    """`load_rows` of a file, or the same of one of Keras's data sets; three times None of a built-in distribution."""
    if name in DISTRIBUTIONS:
        return None, None, None
    if name not in KERAS_DATASETS:
        return load_rows(Path(name))
    try:
        (images, _), _ = getattr(tf.keras.datasets, name).load_data()
    except Exception as error:  # the downloader raises bare exceptions
        raise Failure(f'--data {name}: could not be fetched ({" ".join(str(error).split())[:200]}); '
                      f'give a local copy instead, such as --data {name}.npz') from error
    return images.reshape(len(images), -1), None, images.shape[1:]


def fingerprint(rows):
    """What tells the user's rows from others: their number, columns and checksum; None of a built-in distribution."""
    return None if rows is None else [*rows.shape, zlib.crc32(np.ascontiguousarray(rows))]


def make_data(settings, rows=None, names=None, image=None):
    """The `Data` of a run: of a built-in distribution, or of the user's rows [n, dim]."""
    def resample(n, scale, rng):
        return rows[(rng.random(n)*len(rows)).astype(int)]
    distribution = DISTRIBUTIONS[settings['data']] if rows is None else Distribution(resample)

    def sample(n, rng):
        return distribution.sample(n, settings['scale'], rng)
    # range and spread of a built-in distribution are the same for every seed
    reference = sample(100_000, np.random.default_rng(0)) if rows is None else rows
    dim = reference.shape[1]
    low, high = reference.min(axis=0).astype(float), reference.max(axis=0).astype(float)
    if image:  # one scale for all pixels, because many hardly vary
        low[:], high[:] = low.min(), high.max()
    shift, spread = np.zeros(dim), np.ones(dim)
    if settings['normalize'] and image:
        shift, spread = (high + low)/2, (high - low)/2
    elif settings['normalize']:
        shift, spread = reference.mean(axis=0, dtype=float), reference.std(axis=0, dtype=float)
    spread = np.where(spread > 0, spread, 1)
    names = names or (['x', 'y'] if dim == 2 else [f'x{k + 1}' for k in range(dim)])
    return Data(sample, names, low, high, shift, spread, distribution.curve, image)


def make_streams(seed):
    """An independent random stream for each use."""
    uses = 'real', 'noise', 'picture', 'judged', 'final', 'weights'
    return {use: np.random.Generator(np.random.PCG64(child))
            for use, child in zip(uses, np.random.SeedSequence(seed).spawn(len(uses)))}


def draw_batches(data, streams, n, batch_size, noise_dim):
    """Real batches [n, batch_size, dim] and noise batches [n, batch_size, noise_dim] for n iterations."""
    X = np.empty([n*batch_size, len(data.columns)], np.float32)
    Z = np.empty([n*batch_size, noise_dim], np.float32)
    for i in range(0, len(X), 4096):  # pieces that stay in the cache cost a third
        X[i:i + 4096] = data.to_networks(data.sample(len(X[i:i + 4096]), streams['real']))
        Z[i:i + 4096] = sample_Z(len(Z[i:i + 4096]), noise_dim, streams['noise'])
    return X.reshape(n, batch_size, X.shape[1]), Z.reshape(n, batch_size, noise_dim)


def fixed_inputs(settings, data, streams):
    """What stays the same through a run's snapshots: what the networks are fed, and what is drawn.

    Feeds: judged [n, dim] real samples in the data's units; X, the same for the networks and below them the plane of
    D's heat map; Z, noise to judge the generator by and below it the grid of noise whose image is drawn.
    """
    dim, noise_dim = len(data.columns), settings['noise_dim']
    training, pictured, judged = (data.sample(64 if data.image else n, streams[use]) for n, use in (
        (10_000, 'picture'), (PICTURE_ROWS, 'picture'), (JUDGED_ROWS, 'judged')))
    margin = 0 if data.image else np.where(data.high > data.low, 0.15*(data.high - data.low), 1)
    low, high = data.low - margin, data.high + margin
    X, Z = judged, sample_Z(len(judged), noise_dim, streams['judged'])
    drawn = dict(training=training, real=pictured, low=low, high=high, names=data.columns, image=data.image or [])
    if dim == 2:
        plane = np.stack(np.meshgrid(*np.linspace(low, high, 64).T), -1).reshape(-1, 2)
        grid = np.stack(np.meshgrid(*[np.linspace(-1, 1, 33)]*min(noise_dim, 2)), -1)  # at 0 in further dimensions
        grid = np.pad(grid.reshape(-1, grid.shape[-1]), [(0, 0), (0, max(0, noise_dim - 2))])
        X, Z = np.concatenate([X, plane]), np.concatenate([Z, grid])
        drawn['noise'] = grid[:, :2]
    distance = None if data.image else energy_distance_to(judged)  # of images it says little
    drawn['floor'] = np.mean([distance(part) for part in np.split(training, 5)]) if distance else np.nan
    return dict(judged=judged, X=data.to_networks(X), Z=Z), distance, drawn


# ------------------------------------------------------------------------------------------ settings of a run

def start_anew(given, folder):
    """Settings and data of a new run in this folder: the user's flags before the data's before DEFAULTS."""
    if (folder/'settings.json').exists() and not (folder/'summary.json').exists() and not given.get('overwrite'):
        raise UsageError(f'argument --output: {folder} holds an unfinished run; go on with it by --resume '
                         'or discard it by --overwrite')
    name = given.get('data', DEFAULTS['data'])
    rows, names, image = find_rows(name)
    flags = DISTRIBUTIONS[name].flags if rows is None else IMAGE_FLAGS if image else SHAPED
    settings = dict(DEFAULTS, **{**flags, **given}, fingerprint=fingerprint(rows))
    settings['own'] = sorted(flags.keys() - given.keys())
    settings = {name: value for name, value in settings.items() if name not in NOT_RECORDED}
    if (folder/'summary.json').exists():
        say(f'Replacing the finished run in {folder}.')
    discard(folder)
    write_json(folder/'settings.json', settings)
    return settings, make_data(settings, rows, names, image)


def allowed(settings):
    """Whether recorded settings are such as the flags allow."""
    try:
        for flag, default, words, _ in sum(FLAGS.values(), []):
            name = flag[2:].replace('-', '_')
            if name in NOT_RECORDED:
                continue
            value = settings[name]
            if type(value) is not type(default):
                return False
            if name != 'data' and 'type' in words:  # of data, find_rows says more
                for one in value if isinstance(value, list) else [value]:
                    words['type'](str(one))
    except (KeyError, argparse.ArgumentTypeError):
        return False
    return 'fingerprint' in settings


def recall(given, folder, flag):
    """The recorded settings of the run in this folder, where none of the user's flags contradicts them."""
    settings = read_json(folder/'settings.json')
    if settings is None:
        raise UsageError(f'argument {flag}: {folder} holds no run; leave {flag} out to start one')
    if not allowed(settings):
        raise damaged(folder/'settings.json')
    for name in sorted(given.keys() - NOT_RECORDED):
        value, recorded = given[name], settings[name]
        changeable = flag == '--resume' and name in CHANGEABLE and (name != 'iterations' or value >= recorded)
        if value != recorded and not changeable:
            raise UsageError(f'argument --{name.replace("_", "-")}: {value} contradicts {recorded} of the run in '
                             f'{folder}; leave it out, or give another --output')
    return settings


def recall_data(settings):
    """The data of recorded settings."""
    rows, names, image = find_rows(settings['data'])
    if fingerprint(rows) != settings['fingerprint']:
        raise UsageError(f'argument --data: {settings["data"]} is no longer what the run began with; put it back')
    return make_data(settings, rows, names, image)


# ---------------------------------------------------------------------------------------------------- one run

CHECKPOINT_EVERY = 5     # seconds
CALL_SECONDS = 0.4       # of training in one sess.run, so that interrupts answer
BUFFER_BYTES = 32e6      # of batches in one sess.run; the next ones are drawn meanwhile, so twice this in all


class Session(NamedTuple):
    """The built graph and what runs it."""
    sess: Any
    gan: GAN
    optimizers: list
    networks: dict
    saver: Any
    finite: Any  # of each global variable, whether its values are


def open_session(settings, data, streams):
    """Builds the graph in a `tf.Graph` of its own and opens a session on it, with initial weights."""
    graph = tf.Graph()
    with hushed(), graph.as_default():
        tf.set_random_seed(int(streams['weights'].integers(2**31)))
        low, high = data.to_networks(data.low), data.to_networks(data.high)
        networks = dict(hsize=settings['hidden'], dim=len(data.columns), noise_dim=settings['noise_dim'], low=low,
                        high=high, **{name: settings[name] for name in ('activation', 'layer', 'output_mapping')})
        optimizers = [tf.train.RMSPropOptimizer(settings['learning_rate']) for _ in range(2)]
        gan = build_gan(*optimizers, **networks)
        finite = tf.stack([tf.reduce_all(tf.is_finite(v)) for v in tf.global_variables()])
        saver = tf.train.Saver(max_to_keep=None)
        # Small networks gain little from a second thread, and the drawing process needs it more.
        threads = 1 if max(settings['hidden']) <= 64 and len(data.columns) <= 64 else 0
        sess = tf.Session(graph=graph, config=tf.ConfigProto(intra_op_parallelism_threads=threads))
        sess.run(tf.global_variables_initializer())
    return Session(sess, gan, optimizers, networks, saver, finite)


def block_trainer(session, settings, length):
    """The function (X_batches, Z_batches) -> losses [n, 2] that trains up to `length` iterations between snapshots.

    It is the compiled loop; the loop without XLA, with a notice, where XLA cannot compile; the tutorial's own way
    under --step-by-step.
    """
    sess, gan, steps = session.sess, session.gan, (settings['d_steps'], settings['g_steps'])
    if settings['step_by_step']:
        return lambda X_batches, Z_batches: np.array([train_iteration(sess, gan, *batches, *steps)[:2]
                                                      for batches in zip(X_batches, Z_batches)], float)
    for jit_compile in (True, False):
        try:
            with hushed():
                run_loop = build_loop(*session.optimizers, length, settings['batch_size'], *steps, jit_compile,
                                      **session.networks)
                run_loop(sess, np.empty([0, 1, 1]), np.empty([0, 1, 1]))  # no iteration: compiles it
            return functools.partial(run_loop, sess)
        except tf.errors.OpError as error:
            if not jit_compile or isinstance(error, tf.errors.ResourceExhaustedError):
                raise Failure(f'the training loop could not be built: {first_line(error)}') from error
            say(f'XLA cannot compile the loop here, training goes on without it, slower ({first_line(error)})')


def check_finite(session, losses, iteration, learning_rate):
    """Raises Failure where a loss of the iterations up to `iteration`, or a variable after them, is not finite."""
    bad = np.argwhere(~np.isfinite(losses))
    if len(bad):
        iteration -= len(losses) - int(bad[0][0])
        what = ('discriminator loss', 'generator loss')[bad[0][1]]
    else:
        fine = session.sess.run(session.finite)
        what = ', '.join(v.op.name for v, good in zip(tf.global_variables(), fine) if not good)
    if what:
        raise Failure(f'iteration {iteration}: {what} not finite; start anew with --overwrite and a --learning-rate '
                      f'below {learning_rate:g}, with --normalize, or with another --seed')


def snapshot_iteration(session, settings, data, fixed, X_batch, Z_batch):
    """An iteration step by step, with what its pictures and measures are made from.

    Returns the losses [1, 2], the arrays of the snapshot's file, mean D(x) on real and on generated samples, and
    generated samples [n, dim] to judge; samples are in the data's units.
    """
    sess, gan, n = session.sess, session.gan, len(fixed['judged'])
    feed = {gan.X: X_batch, gan.Z: Z_batch}
    dloss, gloss, features = train_iteration(sess, gan, X_batch, Z_batch, settings['d_steps'], settings['g_steps'],
                                             look=lambda: sess.run([gan.r_rep, gan.g_rep], feed_dict=feed))
    generated = sess.run(gan.G_sample, feed_dict={gan.Z: Z_batch})
    # Here the tutorial's part ends.
    *logits, made = sess.run([gan.r_logits, gan.f_logits, gan.G_sample],
                             feed_dict={gan.X: fixed['X'], gan.Z: fixed['Z']})
    r_D, f_D = (np.exp(-np.logaddexp(0, -x[:, 0].astype(float))) for x in logits)  # the sigmoid, without overflow
    samples = data.from_networks(made)
    arrays = dict(generated=data.from_networks(generated).astype(np.float32), features=np.array(features),
                  decision=r_D[n:].astype(np.float32), mapping=samples[n:].astype(np.float32))
    return np.array([[dloss, gloss]], float), arrays, (r_D[:n].mean(), f_D[:n].mean()), samples[:n]


@contextlib.contextmanager
def drawing_process(folder):
    """`plotting.py` as a process beside the run. It draws when told to through the pipe, and ends when that breaks."""
    drawing = subprocess.Popen([sys.executable, str(Path(__file__).with_name('plotting.py')), str(folder), '--follow'],
                               stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, bufsize=0, start_new_session=True)
    try:
        yield drawing
    except Failure:  # what led up to it is worth seeing
        finish_drawing(drawing)
        raise
    finally:
        drawing.terminate()
        drawing.stdin.close()
        drawing.wait()


def tell(drawing, word):
    """Says a word to the drawing process. If it has died, training goes on; the end says what is missing."""
    with contextlib.suppress(BrokenPipeError):
        drawing.stdin.write(f'{word}\n'.encode())


def finish_drawing(drawing):
    """Waits for what is not drawn yet; the pipe stays open, for it to see that this process lives."""
    tell(drawing, 'finish')
    drawing.wait()


@contextlib.contextmanager
def stoppable():
    """Turns Ctrl-C and SIGTERM into `Stopped`, at once, or, while `.gently` is set, the first into `.asked`."""
    stop = SimpleNamespace(gently=False, asked=None)

    def stopped(number, frame):
        if not stop.gently or stop.asked:
            raise Stopped(number)
        stop.asked = number
    numbers = (signal.SIGINT, signal.SIGTERM) if threading.current_thread() is threading.main_thread() else ()
    before = {number: signal.signal(number, stopped) for number in numbers}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def train_run(folder, settings, data, state, stop):
    """Trains from `state` (None: from iteration 0) to the end and leaves the run's files. Returns the summary."""
    began = time.perf_counter()
    iterations, every, batch_size = (settings[name] for name in ('iterations', 'snapshot_every', 'batch_size'))
    dim, noise_dim, rate = len(data.columns), settings['noise_dim'], settings['learning_rate']
    streams = make_streams(settings['seed'])
    fixed, distance, drawn = fixed_inputs(settings, data, streams)
    pictures = frames(settings, dim)
    of_the_run = [*pictures.values(), *(RUN_PICTURES if settings['pictures'] != 'none' else [])]

    with contextlib.ExitStack() as stack:
        session = open_session(settings, data, streams)
        stack.enter_context(session.sess)  # and its graph
        describe(folder, settings, data)
        if state:  # nothing in the folder changes before it is known that the run can go on
            restore_checkpoint(folder, session, streams, state)
            go_back(folder, settings, state)
        for name in {'snapshots', 'checkpoint', *map(os.path.dirname, pictures)}:
            (folder/name).mkdir(exist_ok=True)
        with whole_file(folder/'snapshots/data.npz') as file:
            np.savez(file, **drawn)
        for name in of_the_run:
            (folder/name).unlink(missing_ok=True)  # of a run that was shorter
        stack.callback(sweep, folder)
        drawing = stack.enter_context(drawing_process(folder)) if settings['pictures'] != 'none' else None
        if state:
            iteration, trained, recent = state['iteration'], state['seconds'], [np.reshape(state['recent'], [-1, 2])]
        else:
            append_lines(folder/'loss_logs.csv', ['Iteration,Discriminator Loss,Generator Loss'])
            append_lines(folder/'metrics.csv', [','.join(METRICS)])
            iteration, trained, recent = 0, 0., []  # recent: losses since the last snapshot
        built = time.perf_counter()
        length = max(1, min(every - 1, iterations, int(BUFFER_BYTES/(4*batch_size*(dim + noise_dim)))))
        train_block = block_trainer(session, settings, length)
        compiled = time.perf_counter()

        worker = stack.enter_context(ThreadPoolExecutor(1))  # draws batches and takes measures beside the training
        measuring = []
        pace = CALL_SECONDS  # an iteration takes, for all that is known before the first call

        def draw(iteration):
            """Batches for one call from this iteration on, and the streams' state before, from which to go on here."""
            left = min(-iteration % every or 1, iterations - iteration)  # a snapshot's iteration goes alone
            before = {use: streams[use].bit_generator.state for use in ('real', 'noise')}
            n = min(left, length, max(1, int(CALL_SECONDS/pace)))
            return before, *draw_batches(data, streams, n, batch_size, noise_dim)

        def record(*shot):
            row = measure(*shot, data, distance)
            append_lines(folder/'metrics.csv', [','.join('' if x is None else f'{x:.9g}' for x in row)])

        def checkpoint():
            while measuring:
                measuring.pop(0).result()
            check_finite(session, [], iteration, rate)
            save_checkpoint(folder, session, upcoming.result()[0], iteration, recent,
                            trained + time.perf_counter() - compiled)

        bar = progress_bar(iterations - iteration)
        start, saved, saved_at = iteration, iteration if state else None, compiled
        upcoming = worker.submit(draw, iteration)
        stop.gently = True
        while iteration < iterations and not stop.asked:
            _, X_batches, Z_batches = upcoming.result()
            n = len(X_batches)
            upcoming = worker.submit(draw, iteration + n)
            if iteration % every:
                calling = time.perf_counter()
                losses = train_block(X_batches, Z_batches)
                pace = (time.perf_counter() - calling)/n
                check_finite(session, losses, iteration + n, rate)
                recent.append(losses)
            else:
                losses, arrays, judged, samples = snapshot_iteration(session, settings, data, fixed,
                                                                     X_batches[0], Z_batches[0])
                check_finite(session, losses, iteration + 1, rate)
                with whole_file(folder/(SNAPSHOT % iteration)) as file:
                    np.savez(file, **arrays)
                measuring.append(worker.submit(record, iteration, np.concatenate([*recent, losses]), judged, samples,
                                               arrays['features']))
                recent.clear()
                if len(measuring) > 8:  # snapshots come faster than they are measured: stopping must not take long
                    measuring.pop(0).result()
                if drawing:
                    tell(drawing, 'draw')

            rows = list(zip(range(iteration, iteration + n), *losses.T.tolist()))
            append_lines(folder/'loss_logs.csv', ['%d,%.9g,%.9g' % row for row in rows
                                                  if row[0] % settings['log_every'] == 0])
            for row in rows:
                if row[0] % settings['print_every'] == 0:
                    say('Iterations: %d\t Discriminator loss: %.4f\t Generator loss: %.4f' % row, bar)
            iteration += n
            if bar:
                bar.update(iteration - start)
            if time.perf_counter() - saved_at > CHECKPOINT_EVERY:
                checkpoint()
                saved, saved_at = iteration, time.perf_counter()
        if saved != iteration:
            checkpoint()
        stop.gently = False
        if stop.asked:
            raise Stopped(stop.asked)

        finished = time.perf_counter()
        samples = write_samples(folder/'generated_samples.csv', session, data, settings, FINAL_ROWS)
        if drawing:
            finish_drawing(drawing)
        rows = read_rows(folder/'metrics.csv')
        final = sample_measures(samples[:JUDGED_ROWS], data, distance)
        summary = dict(claims=judge(rows, final['energy_distance']), final=final, settings=settings,
                       versions=versions(), seconds=dict(
                           set_up=built - began, compile=compiled - built, training=trained + finished - compiled,
                           pictures=time.perf_counter() - finished))
        write_json(folder/'summary.json', summary)
    expected = [*of_the_run, *(name % i for i in numbered(folder, SNAPSHOT) for name in pictures)]
    report(folder, settings, summary, [name for name in expected if not (folder/name).exists()])
    return dict(summary, samples=samples)


def run(given):
    """What the command does, for flags as `parse` returns them. Returns the summary, with samples if it trained."""
    folder = Path(given.get('output', DEFAULTS['output']))
    flag = '--resume' if given.get('resume') else '--sample' if 'sample' in given else None
    with contextlib.ExitStack() as stack:
        stop = stack.enter_context(stoppable())
        if flag:  # before the lock, for there may be no folder; and again below, for it may have changed
            recall(given, folder, flag)
        else:
            folder.mkdir(parents=True, exist_ok=True)
        stack.enter_context(locked(folder))
        if flag == '--sample':
            return sample_only(folder, recall(given, folder, flag), given['sample'])
        try:
            return resume(given, folder, stop) if flag else train_run(folder, *start_anew(given, folder), None, stop)
        except Stopped:
            state = read_state(folder)
            saved = f'saved at iteration {state["iteration"]}' if state else 'nothing was saved yet'
            say(f'\nStopped, {saved}. Go on with: {command("gan_quadratic.py", "--resume", "--output", folder)}')
            raise


def resume(given, folder, stop):
    """`--resume`: goes on with the folder's run, also a finished one that is to be longer or have more pictures."""
    recorded, state = recall(given, folder, '--resume'), read_state(folder)
    settings = {**recorded, **{name: given[name] for name in CHANGEABLE if name in given}}
    summary = read_json(folder/'summary.json')
    if summary and all(settings[name] == recorded[name] for name in ('iterations', 'pictures')):
        say(f'The run in {folder} is finished: {settings["iterations"]} iterations.')
        return summary
    data = recall_data(settings)
    if not state:
        discard(folder)
        write_json(folder/'settings.json', settings)
    say(f'Going on from iteration {state["iteration"]}.' if state else 'Nothing was saved: starting from iteration 0.')
    return train_run(folder, settings, data, state, stop)


def sample_only(folder, settings, n):
    """`--sample N`: writes N samples of the trained generator, without training."""
    state = read_state(folder)
    if not state:
        raise Failure(f'{folder} holds no trained generator yet; train one with --resume')
    data, streams = recall_data(settings), make_streams(settings['seed'])
    session = open_session(settings, data, streams)
    with session.sess:  # and its graph
        restore_checkpoint(folder, session, streams, state)
        write_samples(folder/'generated_samples.csv', session, data, settings, n)
    say(f'{n} samples of the generator after {state["iteration"]} iterations are in {folder/"generated_samples.csv"}')


# ----------------------------------------------------------------------------------------------- what is said

CHATTER = re.compile(rb'WARNING: All log messages before absl|[IW]\d{4} |\d{4}-\d\d-\d\d \S+ [IW] |'
                     rb'.*oneDNN custom operations|'
                     rb'.*[Cc]ould not find cuda|.*failed call to cuInit|.*Unable to register cu|'
                     rb'.*TF-TRT Warning|.*rebuild TensorFlow with|.*could not find a CUDA|'
                     rb'\t \[\[\{\{node |Hint: If you want to see a list of allocated|\s*$')


@contextlib.contextmanager
def hushed():
    """Keeps TensorFlow's chatter (oneDNN, CUDA, deprecations) off stderr meanwhile; passes on all else, such as errors.

    Its C++ side writes past Python and, before it has started, past its own log level; so what it writes is sifted.
    """
    os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '1')
    logger = logging.getLogger('tensorflow')
    level = logger.level
    try:
        said, stderr = tempfile.TemporaryFile(), os.dup(2)
    except OSError:  # nowhere to keep what is said, or no stderr
        yield
        return
    os.dup2(said.fileno(), 2)
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
        os.dup2(stderr, 2)
        os.close(stderr)
        with said, contextlib.suppress(OSError):
            said.seek(0)
            os.write(2, b''.join(line for line in said if not CHATTER.match(line)))


def say(line, bar=None, file=None):
    """Prints a line, in place of the progress bar; where nobody reads any more (a closed pipe), into the void."""
    file = file or sys.stdout
    try:
        print(f'\r\033[K{line}' if bar else line, file=file, flush=True)
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), file.fileno())


def progress_bar(iterations):
    """Keras's progress bar with the remaining time, None where the output is no terminal."""
    watched = sys.stdout and sys.stdout.isatty() and iterations
    return tf.keras.utils.Progbar(iterations, unit_name='iteration') if watched else None


def first_line(error):
    """What an error of TensorFlow says, without the story of the graph around it."""
    return re.split(r"\nNode: .*\n", str(error).strip(), maxsplit=1)[-1].split('\n')[0][:200]


def versions():
    """What the run ran on."""
    import importlib.metadata  # slow to load, and --help needs none of it
    packages = {name: importlib.metadata.version(name) for name in ('numpy', 'matplotlib')}
    return dict(python=platform.python_version(), tensorflow=tf.version.VERSION, **packages)


def describe(folder, settings, data):
    """Says what runs; its graph is the default graph."""
    hidden, dim = settings['hidden'], len(data.columns)
    own = ', '.join(name.replace('_', '-') for name in settings['own'])
    say(f'Data        {settings["data"]}, {dim} columns, {"standardised" if settings["normalize"] else "as they are"}'
        + (f' (chosen for such data: {own})' if own else ''))
    networks = []
    for name, sizes in (('Generator', [settings['noise_dim'], *hidden, dim]), ('Discriminator', [dim, *hidden, 2, 1])):
        count = sum(v.shape.num_elements() for v in tf.trainable_variables(f'GAN/{name}'))
        networks.append(f'{name.lower()} {"-".join(map(str, sizes))} ({count} parameters), ')
    say('Networks    ' + ''.join(networks) + '{layer} layers, {activation}, {output_mapping} output'.format(**settings))
    if settings['pictures'] == 'all' and dim != 2:
        say('Pictures    without decision and mapping, which need data of two columns')
    say('Schedule    {iterations} iterations of {d_steps} + {g_steps} steps, batch {batch_size}, learning rate '
        '{learning_rate:g}, seed {seed}'.format(**settings))
    say(f'Output      {folder}')


def report(folder, settings, summary, missing):
    """Says at the end what came out and where it is."""
    final = {name.replace('_', ' '): value for name, value in summary['final'].items() if value is not None}
    if final:
        say('Samples     ' + ', '.join(f'{name} {value:.4g}' for name, value in final.items()))
    say('Time        ' + ', '.join(f'{name.replace("_", "-")} {x:.1f} s' for name, x in summary['seconds'].items()))
    verdicts = {True: 'holds', False: 'FAILS', None: 'undefined'}
    for claim in summary['claims'].values():
        figures = '; '.join(f'{name}: {"undefined" if x is None else format(x, ".3g")}'
                            for name, x in claim['measured'].items())
        say(f'{verdicts[claim["holds"]]:<12}{claim["claim"]} ({figures})')
    if settings['pictures'] != 'none':
        say(f'Pictures    are in {folder}; start with training_loss.png, iterations.gif and feature_transform.gif')
    if missing:
        say(f'{len(missing)} pictures are missing, from {missing[0]} on; draw them by: '
            f'{command("plotting.py", folder)}', file=sys.stderr)


def command(script, *words):
    """A command line to paste that runs one of the two scripts, by this Python."""
    python = sys.executable or 'python'
    python = os.path.relpath(python) if python.startswith(os.getcwd() + os.sep) else python
    return shlex.join([python, os.path.relpath(Path(__file__).with_name(script)), *map(str, words)])


# ----------------------------------------------------------------------------------------------- command line

def numbers(kind, low, high, metavar='N', **words):
    """argparse's words for a flag that takes numbers of a kind, int or float, from low to high."""
    def number(text):
        try:
            value = kind(text)
        except ValueError:
            value = math.nan
        if not low <= value <= high:
            form = 'd' if kind is int else 'g'
            raise argparse.ArgumentTypeError(f'{text} is not allowed; give a {"whole " if kind is int else ""}number '
                                             f'from {low:{form}} to {high:{form}}')
        return value
    return dict(type=number, metavar=metavar, **words)


def one_of(names, metavar='NAME'):
    """argparse's words for a flag that takes one of these names."""
    def name(text):
        if text not in names:
            raise argparse.ArgumentTypeError(f'{text!r} is not known{nearest(text, names)}; '
                                             f'allowed are {", ".join(names)}')
        return text
    return dict(type=name, metavar=metavar)


def nearest(text, names):
    """', did you mean X?' for a name that is near, '' where none is."""
    near = difflib.get_close_matches(text, names, 1)
    return f', did you mean {near[0]}?' if near else ''


def name_or_file(text):
    """The type of --data: a name as it is, a file by its full path."""
    names = [*DISTRIBUTIONS, *KERAS_DATASETS]
    if text in names:
        return text
    if not os.path.exists(text):  # False also of a name too long to be one
        raise argparse.ArgumentTypeError(f'{text!r} is no file and no known distribution{nearest(text, names)}; '
                                         f'allowed are {", ".join(names)}, or a .csv, .npy or .npz file')
    return str(Path(text).resolve())


SWITCH, EVERY = dict(action='store_true'), numbers(int, 1, 10**9)
FLAGS = {  # group -> lines of: flag, default, argparse's further words, meaning
    'data': [
        ('--data', 'quadratic', dict(type=name_or_file, metavar='NAME or FILE'),
         f'a distribution ({", ".join([*DISTRIBUTIONS, *KERAS_DATASETS])}), or a .csv, .npy or .npz file of rows'),
        ('--scale', 100., numbers(float, 1e-6, 1e6, 'WIDTH'), 'width of the x range of the curves'),
        ('--normalize', False, dict(action=argparse.BooleanOptionalAction),
         'train on standardised data; all data but quadratic switch it on'),
    ],
    'networks': [
        ('--hidden', [16, 16], numbers(int, 1, 4096, nargs='+'), 'units of the hidden layers of both networks'),
        ('--activation', 'leaky_relu', one_of(ACTIVATIONS), 'of the hidden layers: ' + ', '.join(ACTIVATIONS)),
        ('--layer', 'dense', one_of(LAYERS), 'kind of hidden layer: ' + ', '.join(LAYERS)),
        ('--output-mapping', 'linear', one_of(OUTPUT_MAPPINGS),
         "of the generator's last layer: linear, or tanh over the data's range"),
        ('--noise-dim', 2, numbers(int, 1, 4096), 'width of the noise Z'),
    ],
    'training': [
        ('--iterations', 100001, EVERY, 'one more than a multiple of --snapshot-every draws the last one too'),
        ('--batch-size', 256, numbers(int, 1, 10**5), 'real samples, and noise vectors, in an iteration'),
        ('--d-steps', 1, numbers(int, 1, 1000), 'updates of the discriminator per iteration'),
        ('--g-steps', 1, numbers(int, 1, 1000), 'updates of the generator per iteration'),
        ('--learning-rate', 0.001, numbers(float, 1e-12, 1000, 'RATE'), 'of RMSProp, in both networks'),
        ('--seed', 0, numbers(int, 0, 2**32 - 1), 'fixes everything random'),
        ('--step-by-step', False, SWITCH, 'train as the tutorial does, one sess.run a step'),
    ],
    'what is reported': [
        ('--log-every', 10, EVERY, 'iterations between rows of the loss log'),
        ('--snapshot-every', 1000, EVERY, 'iterations between snapshots (pictures, measures)'),
        ('--print-every', 1000, EVERY, 'iterations between printed lines; 1 prints them all, as the tutorial does'),
        ('--pictures', 'article', one_of(('article', 'all', 'none'), 'SET'),
         "article: the tutorial's; all: also D's updates, its map of the plane, and the generator's mapping; none"),
    ],
    'the output folder': [
        ('--output', 'outputs', dict(metavar='DIR'), 'where a run writes'),
        ('--resume', False, SWITCH, 'go on with the run found there'),
        ('--overwrite', False, SWITCH, 'discard the unfinished run found there'),
        ('--sample', None, numbers(int, 1, 10**7), 'no training: write N samples of the trained generator'),
    ],
}
DEFAULTS = {flag[2:].replace('-', '_'): default for lines in FLAGS.values() for flag, default, _, _ in lines}
NOT_RECORDED = 'output', 'resume', 'overwrite', 'sample'
CHANGEABLE = 'iterations', 'pictures', 'print_every'  # on resuming; iterations may only grow
EXAMPLES = """examples:
  python gan_quadratic.py
  python gan_quadratic.py --d-steps 10 --g-steps 10 --iterations 10001 --output outputs/companion
  python gan_quadratic.py --data spiral --pictures all --output outputs/spiral
  python gan_quadratic.py --sample 1000"""


class Parser(argparse.ArgumentParser):
    """Raises UsageError where argparse would end the process, which would end a notebook's too."""
    def error(self, message):
        raise UsageError(message)


def make_parser():
    """The command line's parser; what it returns holds only the flags that were given."""
    parser = Parser('gan_quadratic.py', description='Trains a simple GAN to draw points of y = 10 + x^2, and leaves '
                    'pictures of how it learns.', epilog=EXAMPLES, allow_abbrev=False,
                    formatter_class=argparse.RawDescriptionHelpFormatter, argument_default=argparse.SUPPRESS)
    for title, lines in FLAGS.items():
        group = parser.add_argument_group(title)
        for flag, default, words, meaning in lines:
            shown = ' '.join(map(str, default)) if isinstance(default, list) else default
            plain = default is None or default is False
            group.add_argument(flag, help=meaning if plain else f'{meaning} (default: {shown})', **words)
    return parser


def parse(argv):
    """The flags that the user gave, by name. Raises UsageError where they cannot be meant."""
    parser = make_parser()
    given, unknown = parser.parse_known_args(argv)
    given = vars(given)
    if unknown:
        flags = [flag for lines in FLAGS.values() for flag, *_ in lines]
        raise UsageError(f'unrecognized arguments: {" ".join(unknown)}{nearest(unknown[0], flags)}')
    data = given.get('data')
    for one, other, clash in (
            ('--resume', '--overwrite', given.get('resume') and given.get('overwrite')),
            ('--sample', '--resume', 'sample' in given and given.get('resume')),
            ('--sample', '--overwrite', 'sample' in given and given.get('overwrite')),
            ('--scale', f'--data {data}', 'scale' in given and data and not
             (data in DISTRIBUTIONS and DISTRIBUTIONS[data].scaled)),
            ('--activation', '--layer maxout', 'activation' in given and given.get('layer') == 'maxout')):
        if clash:
            raise UsageError(f'argument {one}: has no meaning beside {other}; leave one of them out')
    output = Path(given.get('output', DEFAULTS['output']))
    try:
        os.scandir(output).close()  # of a file, an error
    except OSError as error:  # what is not there yet will be made
        if error.errno in (errno.ENOTDIR, errno.ENAMETOOLONG):
            raise UsageError(f'argument --output: {output}: {error.strerror}; give a folder') from None
    return given


def train(**flags):
    """Runs what the command runs, from a notebook or another program: train(iterations=2001, output='demo').

    Each flag by its name with underscores: lists for several values, True and False for switches. Returns what
    summary.json holds and, where it trained, `samples` [10000, dim], the rows of generated_samples.csv in the data's
    units; None with `sample=N`, which only writes the file. Raises UsageError (a ValueError) where the command would
    exit with 2, Failure or OSError where with 1, Stopped (a KeyboardInterrupt) on Ctrl-C.
    """
    argv = []
    for name, value in flags.items():
        flag = '--' + name.replace('_', '-')
        if value is False and name == 'normalize':
            argv.append('--no-normalize')
        elif value is not False and value is not None:
            values = [] if value is True else value if isinstance(value, (list, tuple)) else [value]
            argv += [flag, *map(str, values)]
    return run(parse(argv))


def main(argv=None):
    """The command. Returns its exit status: 0, 1 for failures, 2 for usage, 130 and 143 for Ctrl-C and SIGTERM."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass  # a closed stdin, stdout or stderr must not become one of the run's files
    os.close(descriptor)
    try:
        run(parse(argv))
        return 0
    except Stopped as stopped:
        return 128 + stopped.args[0]
    except UsageError as error:
        status, line = 2, f'error: {error}'
    except Failure as failure:
        status, line = 1, str(failure)
    except OSError as error:
        what = error.filename or 'the output folder'
        status, line = 1, f'{what}: {error.strerror or error}; see to it, then --resume'
    except MemoryError:
        status, line = 1, 'not enough memory; give a smaller --batch-size or --hidden'
    say(f'gan_quadratic.py: {line}', file=sys.stderr)
    return status


if __name__ == '__main__':
    status = main()
    gc.freeze()  # nothing of TensorFlow's need be looked through once more, which takes half a second
    sys.exit(status)
