"""How fast the program is, measured against the tutorial's own way, C, JAX and PyTorch: one table a part.

    python tests/benchmark.py                                every part, some forty minutes
    python tests/benchmark.py --part whole --rounds 2        some parts, fewer figures for each median
    python tests/benchmark.py --quick                        one round of short runs: to see that it works

Contenders take turns, so that ratios between lines of a table hold on a busy machine too; bare times do not. C takes
part where there is a compiler, JAX and PyTorch where they are installed. Peak memory is known on Linux alone; measure
it in an environment of the run-time packages, because TensorFlow loads others that it finds.
"""
import argparse
import ctypes
import functools
import json
import multiprocessing
import os
import shutil
import subprocess
import sys
import tempfile
import threading
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
TURN = 1  # seconds that a loop is timed at a stretch
EQUAL = 20  # first iterations, in which all loops must come to the same losses
COMPILER = next(filter(None, map(shutil.which, ('cc', 'gcc', 'clang'))), None)


def take_turns(turns, rounds):
    """What each turn returned, one a round. turns: name -> function that takes one."""
    taken, order = {name: [] for name in turns}, list(turns)
    for _ in range(rounds):
        for name in order:
            taken[name].append(turns[name]())
        order.reverse()  # so that nobody always follows the same one
    return taken


def print_figures(taken):
    """Prints figures by name, taken: line -> one dict a round. Of the first figure also the extremes and the ratio."""
    first, *others = dict.fromkeys(name for rounds in taken.values() for name in rounds[0])
    rows, base = [], median(figures[first] for figures in next(iter(taken.values())))
    for line, rounds in taken.items():
        values = [figures[first] for figures in rounds]
        numbers = [median(values), min(values), max(values), median(values)/base,
                   *(median(figures[name] for figures in rounds) if name in rounds[0] else None for name in others)]
        rows.append([line, *('' if x is None else f'{x:.0f}' if x >= 1000 else f'{x:.4g}' for x in numbers)])
    print_table([first, 'median', 'least', 'most', 'times the first line', *others], rows)


def race(contenders, weights, rounds):
    """Loops in turns, each turn in a process of its own. contenders: name -> (how to prepare it, iterations in a call).
    Returns by name what `print_figures` takes, and the first losses."""
    def turn(*contender):
        with ProcessPoolExecutor(1, multiprocessing.get_context('spawn')) as process:
            return process.submit(time_loop, *contender, weights).result()
    taken = take_turns({name: functools.partial(turn, *each) for name, each in contenders.items()}, rounds)
    return ({name: [{'microseconds an iteration': figure} for figure, _ in each] for name, each in taken.items()},
            {name: each[0][1] for name, each in taken.items()})


def time_loop(prepare, n, weights):
    """Microseconds an iteration of a loop, n in a call, and its first losses."""
    train = prepare(weights)
    losses = np.array(train(min(n, EQUAL)), float)
    train(n)  # the first call takes longer
    calls, began = 0, time.perf_counter()
    while time.perf_counter() < began + TURN:
        train(n)
        calls += 1
    return 1e6*(time.perf_counter() - began)/(calls*n), losses


def run(*words):
    """Runs Python on these words, the last one of them its folder if it has one, to the end. Returns its figures."""
    folder, peak, began = Path(words[-1]), 0, time.perf_counter()
    process = subprocess.Popen([sys.executable, *map(str, words)], stdout=subprocess.DEVNULL, cwd=HERE)

    def watch():
        nonlocal peak
        while process.returncode is None:
            peak = max(peak, memory(process.pid))
            time.sleep(0.2)
    threading.Thread(target=watch).start()
    if process.wait():
        sys.exit(f'{process.args} ended with {process.returncode}')
    figures = {'wall seconds': time.perf_counter() - began, 'peak memory, MB': peak/1e6}
    if folder.is_dir():
        figures['pictures'] = sum(path.suffix in ('.png', '.gif') for path in folder.rglob('*'))
    if PROGRAM in words and (folder/'summary.json').exists():
        summary = json.loads((folder/'summary.json').read_text())
        figures['of training'] = summary['seconds']['training']
        figures['microseconds an iteration'] = 1e6*figures['of training']/summary['settings']['iterations']
    return figures


def memory(pid):
    """Bytes that a process and all that it started have resident; what they share, as libraries, counts for each."""
    try:
        pages = int(Path(f'/proc/{pid}/statm').read_text().split()[1])
        children = ' '.join(path.read_text() for path in Path(f'/proc/{pid}/task').glob('*/children')).split()
    except OSError:  # it has ended meanwhile, or this is not Linux
        return 0
    return pages*os.sysconf('SC_PAGE_SIZE') + sum(map(memory, children))


def sample_rows(n, rng, scale=100):
    """Real samples [n, 2] as the tutorial makes them, row by row."""
    data = []
    x = scale*(rng.random(n) - 0.5)
    for i in range(n):
        data.append([x[i], 10 + x[i]*x[i]])
    return np.array(data)


def open_graph(weights=(), optimizers=(), config=None, **networks):
    """`build_gan` in a session of its own, without anything else: session and `GAN`. weights: of the generator, then of
    the discriminator, kernel, bias, kernel...; initial ones where none are given."""
    with tf.Graph().as_default() as graph:
        tf.set_random_seed(0)
        gan = program.build_gan(*optimizers, **networks)
        sess = tf.Session(graph=graph, config=config)
        sess.run(tf.global_variables_initializer())
        for variable, value in zip(tf.trainable_variables(), weights):
            variable.load(value, sess)
    return sess, gan


def tutorial_script(iterations):
    """The tutorial's whole script, its pictures drawn within the loop, in the folder that is the command's argument."""
    os.environ['MPLBACKEND'] = 'Agg'
    import matplotlib.pyplot as plt
    folder, (sess, gan), (real_rng, noise_rng) = Path(sys.argv[1]), open_graph(), np.random.default_rng(0).spawn(2)
    folder.mkdir(exist_ok=True)
    real = sample_rows(BATCH, np.random.default_rng(1))
    with open(folder/'loss_logs.csv', 'w') as log:
        log.write('Iteration,Discriminator Loss,Generator Loss\n')
        for i in range(iterations):
            X_batch, Z_batch = sample_rows(BATCH, real_rng), program.sample_Z(BATCH, 2, noise_rng)
            feed = {gan.X: X_batch, gan.Z: Z_batch}
            look = (lambda: None) if i % 1000 else lambda: sess.run([gan.r_rep, gan.g_rep], feed_dict=feed)
            dloss, gloss, (_, before, after) = program.train_iteration(sess, gan, X_batch, Z_batch, look=look)
            print('Iterations: %d\t Discriminator loss: %.4f\t Generator loss: %.4f' % (i, dloss, gloss))
            if i % 10 == 0:
                log.write('%d,%f,%f\n' % (i, dloss, gloss))
            if i % 1000:
                continue
            samples = {'Real Data': real, 'Generated Data': sess.run(gan.G_sample, feed_dict={gan.Z: Z_batch})}
            features = {f'{which} Data {when} G step': cloud for when, pair in (('Before', before), ('After', after))
                        for which, cloud in zip(('Real', 'Generated'), pair)}
            centroids = {name: cloud.mean(axis=0)[None] for name, cloud in features.items()}
            for title, clouds, size in (('Samples', samples, 36), ('Transformed Features', features, 36),
                                        ('Centroid of Transformed Features', centroids, 100)):
                plt.figure()
                plt.legend([plt.scatter(*cloud.T, s=size, alpha=0.5) for cloud in clouds.values()], list(clouds))
                plt.title(f'{title} at Iteration {i}')
                plt.tight_layout()
                plt.savefig(folder/f'{title}_{i}.png')
                plt.close()


# The contenders: each function below prepares a loop that starts at the given weights, and returns the function that
# trains n iterations and returns their losses [n, 2]. All draw the same numbers, and drawing them is part of their
# time, unless, as in the program, a second thread does it.

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


def step_by_step(weights, sample=program.sample_data):
    """One `sess.run` a step; the tutorial's loop where `sample` makes its samples."""
    (sess, gan), draw = open_graph(weights), make_draw(sample)
    return lambda n: [program.train_iteration(sess, gan, *batches)[:2] for batches in zip(*draw(n))]


def shipped_loop(weights, length=BLOCK, batch_size=BATCH, g_steps=1, dim=2, noise_dim=2, **networks):
    """The loop that the program trains with, on normal samples where there are other than two columns. As the program
    does, it draws the next batches while it trains."""
    optimizers = [tf.train.RMSPropOptimizer(0.001) for _ in range(2)]
    networks.update(dim=dim, noise_dim=noise_dim)
    sess, _ = open_graph(weights, optimizers, program.session_config(networks.get('hsize', [16]), dim), **networks)
    with sess.graph.as_default():
        run_loop = program.build_loop(*optimizers, length, batch_size, g_steps=g_steps, **networks)
    sample = program.sample_data if dim == 2 else lambda n, rng: rng.standard_normal([n, dim])
    draw, beside = make_draw(sample, batch_size, dim, noise_dim), ThreadPoolExecutor(1)
    ahead = beside.submit(draw, length)

    def train(n):
        nonlocal ahead
        batches, ahead = ahead.result(), beside.submit(draw, length)
        return run_loop(sess, *(each[:n] for each in batches))
    return train


def c_loop(weights):
    """reference.c, compiled here."""
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder)/'reference.so'
        subprocess.run([COMPILER, '-O3', '-march=native', '-ffast-math', '-funroll-loops', '-shared', '-fPIC',
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

    def disc_loss(D, G, X, Z):
        return mean(softplus(-layers(D, X, 2)) + softplus(layers(D, layers(G, Z, 1), 2)))

    def gen_loss(G, D, X, Z):
        return mean(softplus(-layers(D, layers(G, Z, 1), 2)))
    return disc_loss, gen_loss


def jax_loop(weights, xla_flags=''):
    """`lax.scan` over the iterations, compiled whole, by XLA as JAX sets it, or with these flags."""
    os.environ['XLA_FLAGS'] = xla_flags
    import jax
    import jax.numpy as jnp
    disc_loss, gen_loss = make_losses(jnp.mean, jax.nn.softplus, jax.nn.leaky_relu, lambda h, w, b: h @ w + b)

    def step(loss, network, other, batches):
        weights, squares = network
        value, gradients = jax.value_and_grad(loss)(weights, other[0], *batches)
        squares = [0.9*m + 0.1*g*g for m, g in zip(squares, gradients)]
        return ([w - 0.001*g/jnp.sqrt(m + 1e-10) for w, g, m in zip(weights, gradients, squares)], squares), value

    def iteration(networks, batches):
        G, D = networks
        D, dloss = step(disc_loss, D, G, batches)
        G, gloss = step(gen_loss, G, D, batches)
        return (G, D), jnp.stack([dloss, gloss])
    scan, draw = jax.jit(lambda networks, *batches: jax.lax.scan(iteration, networks, batches)), make_draw()
    networks = tuple(([*map(jnp.asarray, part)], [*map(jnp.ones_like, part)]) for part in (weights[:6], weights[6:]))

    def train(n):
        nonlocal networks
        networks, losses = scan(networks, *draw(n))
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


CONTENDERS = {  # name -> how to prepare it, what it needs, iterations in a call
    'the shipped loop': (shipped_loop, 'tensorflow', BLOCK),
    "the tutorial's loop": (functools.partial(step_by_step, sample=sample_rows), 'tensorflow', 300),
    'step by step (`--step-by-step`)': (step_by_step, 'tensorflow', 300),
    'C (`reference.c`)': (c_loop, 'a C compiler', BLOCK),
    'JAX `lax.scan`': (jax_loop, 'jax', BLOCK),
    "JAX, with the program's XLA flags": (functools.partial(jax_loop, xla_flags=program.XLA_FLAGS), 'jax', BLOCK),
    'PyTorch, eager': (torch_loop, 'torch', 200),
}
TABLE = dict(hsize=[64, 64], dim=8, noise_dim=16)
SIZES = [{  # what is not the default -> arguments of `shipped_loop`
    'batch 256, 16 and 16 units': {},
    'batch 64': dict(batch_size=64),
    'batch 1024': dict(batch_size=1024),
    'batch 4096': dict(batch_size=4096, length=150),  # so that a call lasts no longer than the program's
    '64 and 64 units': dict(hsize=[64, 64]),
    '256 and 256 units': dict(hsize=[256, 256], length=150),
    'images: 28 x 28, 256 and 256 units, layer_norm, batch 64, 3 G steps': dict(
        hsize=[256, 256], dim=784, noise_dim=32, layer='layer_norm', batch_size=64, g_steps=3, length=150),
}, {  # in matrix products 16.6 and 20.1 million multiplications, a ratio of 1.21
    'own table, 8 columns, 64 and 64 units, without penalty': TABLE,
    'the same with R1 penalty': dict(TABLE, penalty=3.),
}]


def part_loops(rounds, quick):
    """Microseconds per iteration of the default training, with drawing of batches, which the first does beside it"""
    present = {}
    for name, (prepare, need, n) in CONTENDERS.items():
        if COMPILER if need == 'a C compiler' else find_spec(need):
            present[name] = prepare, n
        else:
            print(f'{name}: not measured, there is no {need}.\n')
    sess, _ = open_graph()
    with sess.graph.as_default():
        taken, losses = race(present, sess.run(tf.trainable_variables()), rounds)
    for name, rounds in taken.items():
        apart = np.abs(losses[name] - losses['the shipped loop']).max()
        taken[name] = [{**figures, f'losses of {EQUAL} iterations, at most apart': apart} for figures in rounds]
    print_figures(taken)


def part_sizes(rounds, quick):
    """Microseconds per iteration of the shipped loop, by what is trained"""
    for sizes in SIZES:
        contenders = {}
        for name, changed in sizes.items():
            length = 20 if quick else changed.get('length', BLOCK)
            contenders[name] = functools.partial(shipped_loop, **{**changed, 'length': length}), length
        print_figures(race(contenders, (), rounds)[0])


def race_commands(commands, rounds):
    """Prints the table of commands in turns: line -> words for `run`. One may use what an earlier one left."""
    print_figures(take_turns({name: functools.partial(run, *words) for name, words in commands.items()}, rounds))


def part_whole(rounds, quick):
    """Seconds of whole commands, with all pictures; the tutorial's script joins no GIFs"""
    n = 3001 if quick else 100_001
    with tempfile.TemporaryDirectory() as folder:
        script, whole, short = (Path(folder)/name for name in ('script', 'whole', 'short'))
        race_commands({
            'this program': (PROGRAM, '--iterations', n, '--output', whole),
            "the tutorial's script": ('-c', f'import benchmark; benchmark.tutorial_script({n})', script),
            "`plotting.py` on this program's finished run": (ROOT/'plotting.py', whole),
            'a tenth of the iterations': (PROGRAM, '--iterations', n//10 + 1, '--output', short),
            'one iteration, no pictures': (PROGRAM, '--iterations', 1, '--pictures', 'none', '--output', short),
            'import of TensorFlow': ('-c', 'import benchmark; benchmark.tf.Graph()'),
            '`gan_quadratic.py --help`': (PROGRAM, '--help')}, rounds)


def part_growth(rounds, quick):
    """Seconds of whole commands, without pictures: how time and memory grow with iterations and with snapshots"""
    n = 1000 if quick else 10_000
    with tempfile.TemporaryDirectory() as folder:
        race_commands({
            f'{k*n + 1:,} iterations, a snapshot every {every:,}': (
                PROGRAM, '--iterations', k*n + 1, '--snapshot-every', every, '--pictures', 'none', '--output', folder)
            for k, every in ((10, 1000), (100, 1000), (1, 1000), (1, 50))}, rounds)


PARTS = dict(loops=part_loops, sizes=part_sizes, whole=part_whole, growth=part_growth)


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
