"""How fast the program is, against the tutorial's own loop, C, JAX and PyTorch: a table a part.

    python tests/benchmark.py                            all parts in twenty minutes
    python tests/benchmark.py --part loops --quick       one, a single round to see that it works

Contenders take turns, so that ratios of a table hold on a busy machine too; bare times do not. C,
JAX and PyTorch take part where they are installed. Peak memory is to be measured in an environment
of the run-time packages.
"""
import argparse
import ctypes
import functools
import multiprocessing
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import numpy as np

from helpers import ROOT, print_command, print_table
from helpers import gan_quadratic as program

tf = program.tf  # imports TensorFlow when it is first used
PROGRAM = ROOT/'gan_quadratic.py'
HERE = ROOT/'tests'
BATCH = 256
BLOCK = 999      # the default run trains so many iterations in a call
EQUAL = 20       # first iterations, in which all loops must come to the same losses
PIECE = 4096     # rows drawn at a time, which stay in the cache, as the program draws them
OF_G = 6         # kernels and biases of the generator, the first of all weights


# ---------------------------------------------------------------------------------- taking figures

def in_digits(value):
    return f'{value:.0f}' if value >= 1000 else f'{value:.4g}'


def compare(turns, rounds):
    """Prints medians of the figures that each turn returns by name.

    turns: name -> function. Of the first figure also extremes, and the ratio to the first line.
    """
    taken = {name: [] for name in turns}
    order = list(turns)
    for _ in range(rounds):
        for name in order:
            taken[name].append(turns[name]())
        order.reverse()  # so that nobody always follows the same one
    names = list(dict.fromkeys(name for figures in taken.values() for name in figures[0]))
    first, *others = names
    first_line = next(iter(taken.values()))
    base = median(figures[first] for figures in first_line)

    def row(line):
        values = [figures[first] for figures in taken[line]]
        numbers = [median(values), min(values), max(values), median(values)/base]
        further = [name for name in others if name in taken[line][0]]
        numbers += [median(figures[name] for figures in taken[line]) for name in further]
        return [line, *map(in_digits, numbers)]
    print_table([first, 'median', 'least', 'most', 'times the first line', *others],
                map(row, taken))


class Contender(NamedTuple):
    """A loop that can be timed."""
    prepare: Callable  # of weights: the function of n that trains n iterations and returns losses
    iterations: int    # in a call


def race(contenders, rounds, weights=(), expected=None):
    """Times contenders by name, each turn in a process of its own. expected: the first losses."""
    def turn(contender):
        with ProcessPoolExecutor(1, multiprocessing.get_context('spawn')) as process:
            return process.submit(time_loop, contender, weights, expected).result()
    turns = {name: functools.partial(turn, contender) for name, contender in contenders.items()}
    compare(turns, rounds)


def time_loop(contender, weights, expected):
    """The figures of a loop, from calls for a second."""
    n = contender.iterations
    train = contender.prepare(weights)
    first_losses = train(min(n, EQUAL))
    train(n)  # the first call takes longer
    calls = 0
    began = time.perf_counter()
    while time.perf_counter() < began + 1:
        train(n)
        calls += 1
    seconds = time.perf_counter() - began
    figures = {'microseconds an iteration': 1e6*seconds/(calls*n)}
    if expected is not None:
        apart = np.abs(first_losses - expected).max()
        figures[f'first losses, of {EQUAL}, at most apart'] = apart
    return figures


def run(*words):
    """The figures of Python on these words. Peak memory is that of the largest of its processes."""
    command = [sys.executable, *map(str, words)]
    began = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, cwd=HERE)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - began
    if status:
        sys.exit(f'{command} ended with {status}')
    return {'wall seconds': seconds, 'peak memory, MB': usage.ru_maxrss/1000}


# ----------------------------------------------------------------------------------- the contenders

def sample_rows(n, rng):
    """Real samples [n, 2] as the tutorial makes them, row by row."""
    return np.array([[x, 10 + x*x] for x in 100*(rng.random(n) - 0.5)])


def open_graph(weights=(), optimizers=(), config=None, **networks):
    """`build_gan` in a session of its own, with these weights: G's, then D's."""
    with tf.Graph().as_default() as graph:
        tf.set_random_seed(0)
        gan = program.build_gan(*optimizers, **networks)
        sess = tf.Session(graph=graph, config=config)
        sess.run(tf.global_variables_initializer())
        for variable, value in zip(tf.trainable_variables(), weights):
            variable.load(value, sess)
    return sess, gan


def make_draw(sample=program.sample_data, batch_size=BATCH, dim=2, noise_dim=2):
    """The function n -> batches [n, batch_size, dim] of real rows, and as many of noise."""
    real_rng, noise_rng = np.random.default_rng(0).spawn(2)

    def draw(n):
        X = np.empty([n*batch_size, dim], np.float32)
        Z = np.empty([n*batch_size, noise_dim], np.float32)
        for first in range(0, len(X), PIECE):
            piece = slice(first, first + PIECE)
            rows = len(X[piece])
            X[piece] = sample(rows, rng=real_rng)
            Z[piece] = program.sample_Z(rows, noise_dim, noise_rng)
        return X.reshape(n, batch_size, dim), Z.reshape(n, batch_size, noise_dim)
    return draw


# Each function below prepares a loop that starts at the given weights: of n iterations, for which
# it draws, it gives losses [n, 2].

def tutorial_loop(weights):
    """One `sess.run` a step."""
    sess, gan = open_graph(weights)
    draw = make_draw(sample_rows)

    def train(n):
        X_batches, Z_batches = draw(n)
        return [program.train_iteration(sess, gan, X_batch, Z_batch)
                for X_batch, Z_batch in zip(X_batches, Z_batches)]
    return train


def shipped_loop(weights, length=BLOCK, batch_size=BATCH, g_steps=1, dim=2, noise_dim=2,
                 **networks):
    """The program's, which draws the next batches while it trains."""
    optimizers = [tf.train.RMSPropOptimizer(0.001) for _ in range(2)]
    networks.update(dim=dim, noise_dim=noise_dim)
    config = program.session_config(networks.get('hsize', [16]), dim)
    sess, _ = open_graph(weights, optimizers, config, **networks)
    with sess.graph.as_default():
        run_loop = program.build_loop(*optimizers, length, batch_size, g_steps=g_steps, **networks)

    def normal_rows(n, rng):
        return rng.standard_normal([n, dim])
    sample = program.sample_data if dim == 2 else normal_rows
    draw = make_draw(sample, batch_size, dim, noise_dim)
    beside = ThreadPoolExecutor(1)
    next_batches = beside.submit(draw, length)

    def train(n):
        nonlocal next_batches
        X_batches, Z_batches = next_batches.result()
        next_batches = beside.submit(draw, length)
        return run_loop(sess, X_batches[:n], Z_batches[:n])
    return train


def compile_reference():
    """The function `train` of reference.c, compiled here."""
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder)/'reference.so'
        options = ['-O3', '-march=native', '-ffast-math', '-funroll-loops', '-shared', '-fPIC']
        subprocess.run(['cc', *options, '-o', library, HERE/'reference.c', '-lm'], check=True)
        train = ctypes.CDLL(str(library)).train
    array = np.ctypeslib.ndpointer(np.float32, flags='C')
    train.argtypes = [ctypes.c_int, *[array]*7]
    return train


def c_loop(weights):
    """reference.c: each network one array of all its weights."""
    reference = compile_reference()
    G = np.concatenate([w.ravel() for w in weights[:OF_G]])
    D = np.concatenate([w.ravel() for w in weights[OF_G:]])
    G_squares = np.ones_like(G)
    D_squares = np.ones_like(D)
    draw = make_draw()

    def train(n):
        losses = np.empty([n, 2], np.float32)
        reference(n, *draw(n), G, D, G_squares, D_squares, losses)
        return losses
    return train


class Losses(NamedTuple):
    """The tutorial's losses in another library's functions.

    Each is a function of the weights to train, of the other network's, and of batches.
    """
    disc_loss: Callable  # (D, G, X, Z)
    gen_loss: Callable   # (G, D, X, Z)


def make_losses(mean, softplus, leaky_relu, dense):
    def layers(weights, h, linear):
        """Dense layers, the last ones linear."""
        pairs = list(zip(weights[::2], weights[1::2]))
        for k, (kernel, bias) in enumerate(pairs):
            h = dense(h, kernel, bias)
            if k < len(pairs) - linear:
                h = leaky_relu(h, 0.2)
        return h

    def generator(G, Z):
        return layers(G, Z, linear=1)

    def discriminator(D, X):
        return layers(D, X, linear=2)

    def disc_loss(D, G, X, Z):
        of_real = softplus(-discriminator(D, X))
        of_fake = softplus(discriminator(D, generator(G, Z)))
        return mean(of_real + of_fake)

    def gen_loss(G, D, X, Z):
        return mean(softplus(-discriminator(D, generator(G, Z))))
    return Losses(disc_loss, gen_loss)


def jax_loop(weights):
    """`lax.scan` over the iterations, compiled whole, by XLA as JAX sets it."""
    os.environ['XLA_FLAGS'] = ''
    import jax
    import jax.numpy as jnp

    def dense(h, kernel, bias):
        return h @ kernel + bias
    losses = make_losses(jnp.mean, jax.nn.softplus, jax.nn.leaky_relu, dense)

    def step(loss, network, other, batches):
        """One update of RMSProp. A network is its weights and the means of their squares."""
        weights, squares = network
        other_weights, _ = other
        value, gradients = jax.value_and_grad(loss)(weights, other_weights, *batches)
        squares = [0.9*m + 0.1*g*g for m, g in zip(squares, gradients)]
        weights = [w - 0.001*g/jnp.sqrt(m + 1e-10)
                   for w, g, m in zip(weights, gradients, squares)]
        return (weights, squares), value

    def iteration(networks, batches):
        G, D = networks
        D, dloss = step(losses.disc_loss, D, G, batches)
        G, gloss = step(losses.gen_loss, G, D, batches)
        return (G, D), jnp.stack([dloss, gloss])

    @jax.jit
    def scan(networks, *batches):
        return jax.lax.scan(iteration, networks, batches)

    def network(weights):
        return [jnp.asarray(w) for w in weights], [jnp.ones_like(w) for w in weights]
    networks = network(weights[:OF_G]), network(weights[OF_G:])
    draw = make_draw()

    def train(n):
        nonlocal networks
        networks, all_losses = scan(networks, *draw(n))
        return np.asarray(all_losses)
    return train


def torch_loop(weights):
    """PyTorch, eager."""
    import torch
    from torch.nn import functional

    def dense(h, kernel, bias):
        return torch.addmm(bias, h, kernel)
    losses = make_losses(torch.mean, functional.softplus, functional.leaky_relu, dense)
    variables = [torch.tensor(w, requires_grad=True) for w in weights]
    G, D = variables[:OF_G], variables[OF_G:]
    squares = {w: torch.ones_like(w) for w in variables}
    draw = make_draw()

    def step(loss, weights, other, batches):
        """One update of RMSProp. Returns the loss from before."""
        value = loss(weights, [w.detach() for w in other], *batches)
        gradients = torch.autograd.grad(value, weights)
        with torch.no_grad():
            for w, g in zip(weights, gradients):
                squares[w].mul_(0.9).addcmul_(g, g, value=0.1)
                w.addcdiv_(g, (squares[w] + 1e-10).sqrt_(), value=-0.001)
        return value.item()

    def train(n):
        X_batches, Z_batches = map(torch.tensor, draw(n))
        all_losses = []
        for batches in zip(X_batches, Z_batches):
            dloss = step(losses.disc_loss, D, G, batches)
            gloss = step(losses.gen_loss, G, D, batches)
            all_losses.append([dloss, gloss])
        return all_losses
    return train


# --------------------------------------------------------------------------------------- the parts

THIS_PROGRAM = Contender(shipped_loop, BLOCK)
SIZES: dict[str, Any] = {  # what is not the default -> arguments of `shipped_loop`
    'batch 256, 16 and 16 units': {},
    'batch 1024': dict(batch_size=1024),
    '256 and 256 units': dict(hsize=[256, 256], length=150),
    'images: 28 x 28, 256 and 256 units, layer_norm, batch 64, 3 G steps': dict(
        hsize=[256, 256], dim=784, noise_dim=32, layer='layer_norm', batch_size=64, g_steps=3,
        length=150),  # so that a call lasts no longer than the program's
    'own table: 8 columns, 64 and 64 units, R1 penalty': dict(
        hsize=[64, 64], dim=8, noise_dim=16, penalty=3.),
}


def part_loops(rounds, quick):
    """Microseconds per iteration of the default training, drawing of batches included"""
    contenders = {
        'this program': THIS_PROGRAM,
        "the tutorial's, one `sess.run` a step": Contender(tutorial_loop, 300)}
    if shutil.which('cc'):
        contenders['C (`reference.c`, the same arithmetic)'] = Contender(c_loop, BLOCK)
    if find_spec('jax'):
        contenders['JAX `lax.scan`'] = Contender(jax_loop, BLOCK)
    if find_spec('torch'):
        contenders['PyTorch, eager'] = Contender(torch_loop, 200)
    sess, _ = open_graph()
    weights = sess.run(sess.graph.get_collection('trainable_variables'))
    expected = np.array(tutorial_loop(weights)(EQUAL))
    race(contenders, rounds, weights, expected)


def part_sizes(rounds, quick):
    """Microseconds per iteration of the program's loop, by what is trained"""
    contenders = {}
    for name, changed in SIZES.items():
        prepare = functools.partial(shipped_loop, **changed)
        contenders[name] = Contender(prepare, changed.get('length', BLOCK))
    race(contenders, rounds)


def part_whole(rounds, quick):
    """Seconds of whole commands: with all pictures; and as iterations and snapshots grow"""
    n = 300 if quick else 10_000
    without_pictures = '--pictures', 'none'
    commands = [
        ['--iterations', 10*n + 1],
        ['--iterations', 10*n + 1, '--step-by-step'],
        ['--iterations', 10*n + 1, *without_pictures],
        ['--iterations', 100*n + 1, *without_pictures],
        ['--iterations', n + 1, '--snapshot-every', 50, *without_pictures]]
    with tempfile.TemporaryDirectory() as folder:
        turns = {}
        for k, words in enumerate(commands):
            name = ' '.join(map(str, words))
            output = f'{folder}/{k}'
            turns[name] = functools.partial(run, PROGRAM, *words, '--output', output)
        importing = 'import benchmark; benchmark.tf.Graph()'
        turns['import of TensorFlow'] = functools.partial(run, '-c', importing)
        compare(turns, rounds)


# The whole commands first: as long as this process is small, its size does not count as theirs.
PARTS = dict(whole=part_whole, loops=part_loops, sizes=part_sizes)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--part', nargs='+', choices=PARTS, default=list(PARTS), help='only these')
    parser.add_argument('--rounds', type=int, default=5, help='from which each median is taken')
    parser.add_argument('--quick', action='store_true', help='one round of short runs')
    arguments = parser.parse_args()
    print_command()
    for name in arguments.part:
        print(f'**{PARTS[name].__doc__}**\n', flush=True)
        PARTS[name](1 if arguments.quick else arguments.rounds, arguments.quick)


if __name__ == '__main__':
    main()
