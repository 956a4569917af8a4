"""How fast the program is, measured against the tutorial's own loop, C, JAX and PyTorch: one table a part.

    python tests/benchmark.py [--part loops] [--quick]       all parts in twenty minutes, one, one round to see it work

Contenders take turns, so that ratios of a table hold on a busy machine too; bare times do not. C, JAX and PyTorch take
part where they are installed. Peak memory is to be measured in an environment of the run-time packages.
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
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from statistics import median

import numpy as np

from helpers import ROOT, gan_quadratic as program, print_command, print_table

tf = program.tf  # imports TensorFlow when it is first used
PROGRAM, HERE = ROOT/'gan_quadratic.py', ROOT/'tests'
BATCH, BLOCK = 256, 999  # the default run trains so many iterations in a call
EQUAL = 20  # first iterations, in which all loops must come to the same losses


def compare(turns, rounds):
    """Prints medians of the figures, by name, that each turn returns; of the first one also extremes and ratio."""
    taken, order = {name: [] for name in turns}, list(turns)
    for _ in range(rounds):
        for name in order:
            taken[name].append(turns[name]())
        order.reverse()  # so that nobody always follows the same one
    first, *others = dict.fromkeys(name for figures in taken.values() for name in figures[0])

    def row(line):
        values, base = ([figures[first] for figures in taken[name]] for name in (line, next(iter(taken))))
        numbers = [median(values), min(values), max(values), median(values)/median(base),
                   *(median(figures[name] for figures in taken[line]) for name in others if name in taken[line][0])]
        return [line, *(f'{x:.0f}' if x >= 1000 else f'{x:.4g}' for x in numbers)]
    print_table([first, 'median', 'least', 'most', 'times the first line', *others], map(row, taken))


def race(contenders, rounds, *more):
    """Times loops, each turn in a process of its own. contenders: name -> (how to prepare it, iterations in a call)."""
    def turn(*contender):
        with ProcessPoolExecutor(1, multiprocessing.get_context('spawn')) as process:
            return process.submit(time_loop, *contender, *more).result()
    compare({name: functools.partial(turn, *each) for name, each in contenders.items()}, rounds)


def time_loop(prepare, n, weights=(), expected=None):
    """Figures of a loop, n iterations in a call, for a second; expected: its first losses."""
    train = prepare(weights)
    first = train(min(n, EQUAL))
    apart = {} if expected is None else {f'first losses, of {EQUAL}, at most apart': np.abs(first - expected).max()}
    train(n)  # the first call takes longer
    calls, began = 0, time.perf_counter()
    while time.perf_counter() < began + 1:
        train(n)
        calls += 1
    return {'microseconds an iteration': 1e6*(time.perf_counter() - began)/(calls*n), **apart}


def run(*words):
    """Figures of Python on these words. Peak memory is that of the largest of its processes."""
    began = time.perf_counter()
    process = subprocess.Popen([sys.executable, *map(str, words)], stdout=subprocess.DEVNULL, cwd=HERE)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(f'{process.args} ended with {status}')
    return {'wall seconds': time.perf_counter() - began, 'peak memory, MB': usage.ru_maxrss/1000}


def sample_rows(n, rng):
    """Real samples [n, 2] as the tutorial makes them, row by row."""
    return np.array([[x, 10 + x*x] for x in 100*(rng.random(n) - 0.5)])


def open_graph(weights=(), optimizers=(), config=None, **networks):
    """`build_gan` in a session of its own, with these weights (of the generator, then of the discriminator)."""
    with tf.Graph().as_default() as graph:
        tf.set_random_seed(0)
        gan = program.build_gan(*optimizers, **networks)
        sess = tf.Session(graph=graph, config=config)
        sess.run(tf.global_variables_initializer())
        for variable, value in zip(tf.trainable_variables(), weights):
            variable.load(value, sess)
    return sess, gan


# Each function below prepares a loop that starts at the given weights: of n iterations, drawn there, it gives losses.
def make_draw(sample=program.sample_data, batch_size=BATCH, dim=2, noise_dim=2):
    """The function that draws n real batches [n, batch_size, dim] and n noise batches [n, batch_size, noise_dim]."""
    real_rng, noise_rng = np.random.default_rng(0).spawn(2)

    def draw(n):
        X, Z = (np.empty([n*batch_size, width], np.float32) for width in (dim, noise_dim))
        for i in range(0, len(X), 4096):  # pieces that stay in the cache, as the program draws them
            rows = len(X[i:i + 4096])
            X[i:i + 4096], Z[i:i + 4096] = sample(rows, rng=real_rng), program.sample_Z(rows, noise_dim, noise_rng)
        return X.reshape(n, batch_size, dim), Z.reshape(n, batch_size, noise_dim)
    return draw


def tutorial_loop(weights):
    """One `sess.run` a step."""
    (sess, gan), draw = open_graph(weights), make_draw(sample_rows)
    return lambda n: [program.train_iteration(sess, gan, *batches)[:2] for batches in zip(*draw(n))]


def shipped_loop(weights, length=BLOCK, batch_size=BATCH, g_steps=1, dim=2, noise_dim=2, **networks):
    """The program's: it draws the next batches while it trains. Other than two columns are normal samples."""
    optimizers = [tf.train.RMSPropOptimizer(0.001) for _ in range(2)]
    networks.update(dim=dim, noise_dim=noise_dim)
    sess, _ = open_graph(weights, optimizers, program.session_config(networks.get('hsize', [16]), dim), **networks)
    with sess.graph.as_default():
        run_loop = program.build_loop(*optimizers, length, batch_size, g_steps=g_steps, **networks)
    sample = program.sample_data if dim == 2 else lambda n, rng: rng.standard_normal([n, dim])
    draw, beside = make_draw(sample, batch_size, dim, noise_dim), ThreadPoolExecutor(1)
    ahead = [beside.submit(draw, length)]

    def train(n):
        ahead.append(beside.submit(draw, length))
        return run_loop(sess, *(each[:n] for each in ahead.pop(0).result()))
    return train


def c_loop(weights):
    """reference.c, compiled here."""
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder)/'reference.so'
        subprocess.run(['cc', '-O3', '-march=native', '-ffast-math', '-funroll-loops', '-shared', '-fPIC',
                        '-o', library, HERE/'reference.c', '-lm'], check=True)
        reference = ctypes.CDLL(str(library))
    reference.train.argtypes = [ctypes.c_int, *[np.ctypeslib.ndpointer(np.float32, flags='C')]*7]
    networks, draw = [np.concatenate([w.ravel() for w in part]) for part in (weights[:6], weights[6:])], make_draw()
    state = [*networks, *map(np.ones_like, networks)]

    def train(n):
        losses = np.empty([n, 2], np.float32)
        reference.train(n, *draw(n), *state, losses)
        return losses
    return train


def make_losses(mean, softplus, leaky_relu, dense):
    """The tutorial's losses in another library's functions: of weights to train, the other network's, X and Z."""
    def layers(weights, h, linear):
        for k in range(0, len(weights), 2):
            h = dense(h, *weights[k:k + 2])
            h = h if k >= len(weights) - 2*linear else leaky_relu(h, 0.2)
        return h
    return (lambda D, G, X, Z: mean(softplus(-layers(D, X, 2)) + softplus(layers(D, layers(G, Z, 1), 2))),
            lambda G, D, X, Z: mean(softplus(-layers(D, layers(G, Z, 1), 2))))


def jax_loop(weights):
    """`lax.scan` over the iterations, compiled whole, by XLA as JAX sets it."""
    os.environ['XLA_FLAGS'] = ''
    import jax
    import jax.numpy as jnp
    disc_loss, gen_loss = make_losses(jnp.mean, jax.nn.softplus, jax.nn.leaky_relu, lambda h, w, b: h @ w + b)

    def step(loss, network, other, batches):
        weights, squares = network
        value, gradients = jax.value_and_grad(loss)(weights, other[0], *batches)
        squares = [0.9*m + 0.1*g*g for m, g in zip(squares, gradients)]
        return ([w - 0.001*g/jnp.sqrt(m + 1e-10) for w, g, m in zip(weights, gradients, squares)], squares), value

    def iteration(networks, batches):
        D, dloss = step(disc_loss, networks[1], networks[0], batches)
        G, gloss = step(gen_loss, networks[0], D, batches)
        return [G, D], jnp.stack([dloss, gloss])
    scan, draw = jax.jit(lambda networks, *batches: jax.lax.scan(iteration, networks, batches)), make_draw()
    networks = [([*map(jnp.asarray, part)], [*map(jnp.ones_like, part)]) for part in (weights[:6], weights[6:])]

    def train(n):
        networks[:], losses = scan(networks, *draw(n))
        return np.asarray(losses)
    return train


def torch_loop(weights):
    """PyTorch, eager."""
    import torch
    from torch.nn.functional import leaky_relu, softplus
    disc_loss, gen_loss = make_losses(torch.mean, softplus, leaky_relu, lambda h, w, b: torch.addmm(b, h, w))
    G, D = ([torch.tensor(w, requires_grad=True) for w in part] for part in (weights[:6], weights[6:]))
    squares, draw = {w: torch.ones_like(w) for w in (*G, *D)}, make_draw()

    def step(loss, weights, other, batches):
        value = loss(weights, [w.detach() for w in other], *batches)
        gradients = torch.autograd.grad(value, weights)
        with torch.no_grad():
            for w, g in zip(weights, gradients):
                squares[w].mul_(0.9).addcmul_(g, g, value=0.1)
                w.addcdiv_(g, (squares[w] + 1e-10).sqrt_(), value=-0.001)
        return value.item()
    return lambda n: [(step(disc_loss, D, G, batches), step(gen_loss, G, D, batches))
                      for batches in zip(*map(torch.tensor, draw(n)))]


CONTENDERS = {  # name -> how to prepare it, whether what it needs is there, iterations in a call
    'the shipped loop': (shipped_loop, True, BLOCK),
    "the tutorial's loop": (tutorial_loop, True, 300),
    'C (`reference.c`)': (c_loop, shutil.which('cc'), BLOCK),
    'JAX `lax.scan`': (jax_loop, find_spec('jax'), BLOCK),
    'PyTorch, eager': (torch_loop, find_spec('torch'), 200),
}
SIZES = {  # what is not the default -> arguments of `shipped_loop`
    'batch 256, 16 and 16 units': {},
    'batch 1024': dict(batch_size=1024),
    '256 and 256 units': dict(hsize=[256, 256], length=150),  # so that a call lasts no longer than the program's
    'images: 28 x 28, 256 and 256 units, layer_norm, batch 64, 3 G steps': dict(
        hsize=[256, 256], dim=784, noise_dim=32, layer='layer_norm', batch_size=64, g_steps=3, length=150),
    'own table: 8 columns, 64 and 64 units, R1 penalty': dict(hsize=[64, 64], dim=8, noise_dim=16, penalty=3.),
}


def part_loops(rounds, quick):
    """Microseconds per iteration of the default training, with drawing of batches, which the first does beside it"""
    sess, _ = open_graph()
    weights = sess.run(sess.graph.get_collection('trainable_variables'))
    race({name: (prepare, n) for name, (prepare, there, n) in CONTENDERS.items() if there}, rounds, weights,
         np.array(tutorial_loop(weights)(EQUAL)))


def part_sizes(rounds, quick):
    """Microseconds per iteration of the shipped loop, by what is trained"""
    race({name: (functools.partial(shipped_loop, **changed), changed.get('length', BLOCK))
          for name, changed in SIZES.items()}, rounds)


def part_whole(rounds, quick):
    """Seconds of whole commands: with all pictures; and how time and memory grow with iterations and snapshots"""
    n, commands = 300 if quick else 10_000, {}
    with tempfile.TemporaryDirectory() as folder:
        for k, every, *more in ((10, 1000), (10, 1000, '--step-by-step'), (10, 1000, '--pictures', 'none'),
                                (100, 1000, '--pictures', 'none'), (1, 50, '--pictures', 'none')):
            words = '--iterations', k*n + 1, '--snapshot-every', every, *more
            commands[' '.join(map(str, words))] = functools.partial(run, PROGRAM, *words, '--output', folder)
        commands['import of TensorFlow'] = functools.partial(run, '-c', 'import benchmark; benchmark.tf.Graph()')
        compare(commands, rounds)


# the whole commands first: as long as this process is small, its size does not count as theirs
PARTS = dict(whole=part_whole, loops=part_loops, sizes=part_sizes)


def main():
    parser = argparse.ArgumentParser(description='Measures how fast the program is; prints one table a part.')
    parser.add_argument('--part', nargs='+', choices=PARTS, default=list(PARTS), help='only these')
    parser.add_argument('--rounds', type=int, default=5, help='figures from which each median is taken')
    parser.add_argument('--quick', action='store_true', help='one round of short runs')
    arguments = parser.parse_args()
    print_command()
    for name in arguments.part:
        print(f'**{PARTS[name].__doc__}**\n', flush=True)
        PARTS[name](1 if arguments.quick else arguments.rounds, arguments.quick)


if __name__ == '__main__':
    main()
