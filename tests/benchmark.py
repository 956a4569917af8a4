"""How fast the program is, measured against the tutorial's own way, C, JAX and PyTorch: one table a part.

    python tests/benchmark.py                                every part, some forty minutes
    python tests/benchmark.py --part loops sizes             some of them
    python tests/benchmark.py --part whole --rounds 2        fewer figures for each median
    python tests/benchmark.py --quick                        one round of short runs: to see that it works

Contenders take turns, so that ratios between lines of one table hold on a busy machine too; bare times do not. Not part
of pytest. C takes part where there is a compiler, JAX and PyTorch where they are installed. Peak memory is known on
Linux alone; measure it in an environment of the run-time packages, because TensorFlow loads others that it finds.
"""
import argparse
import contextlib
import ctypes
import functools
import importlib.metadata
import importlib.util
import json
import multiprocessing
import os
import platform
import random
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path
from statistics import median

import numpy as np

HERE = Path(__file__).resolve().parent
PROGRAM = HERE.parent/'gan_quadratic.py'
sys.path.insert(0, str(HERE.parent))
import gan_quadratic  # noqa: E402
from gan_quadratic import (XLA_FLAGS, build_gan, build_loop, sample_data, sample_Z, session_config,  # noqa: E402
                           train_iteration)

tf = gan_quadratic.tf  # imports TensorFlow when it is first used
BATCH, BLOCK = 256, 999  # the default run trains so many iterations in a call
TURN, REST = 0.5, 0.3  # seconds of a loop's turn, and before it, until the threads of the one before sleep
EQUAL = 20  # first iterations, in which all loops must come to the same losses
PACKAGES = 'tensorflow', 'numpy', 'matplotlib', 'scikit-learn', 'jax', 'torch'
COMPILER = next(filter(None, map(shutil.which, ('cc', 'gcc', 'clang'))), None)


# ------------------------------------------------------------------------------------- turns, commands and tables

def take_turns(turns, rounds):
    """What each turn returned, one a round. turns: name -> function that takes one."""
    taken, order, rng = {name: [] for name in turns}, list(turns), random.Random(0)
    for _ in range(rounds):
        for name in order:
            taken[name].append(turns[name]())
        rng.shuffle(order)  # so that nobody always follows the same one
    return taken


def race(contenders, weights, rounds):
    """Loops in turns: microseconds per iteration, one figure a round, and the first losses, both by name.

    contenders: name -> (how to prepare it, iterations in a call). Each trains in a process of its own, where no
    other's threads are.
    """
    context, turns, losses = multiprocessing.get_context('spawn'), {}, {}
    for name, (prepare, n) in contenders.items():
        pipe, other = context.Pipe()
        context.Process(target=serve, args=(other, prepare, n, weights), daemon=True).start()
        losses[name] = pipe.recv()
        turns[name] = lambda pipe=pipe: (pipe.send(True), pipe.recv())[1]
    return take_turns(turns, rounds), losses


def serve(pipe, prepare, n, weights):
    """A contender's process: its first losses, then microseconds per iteration over a turn whenever asked."""
    train = prepare(weights)
    pipe.send(np.array(train(min(n, EQUAL)), float))
    train(n)  # the first call is not counted
    while pipe.recv():
        time.sleep(REST)
        calls, began = 0, time.perf_counter()
        while calls == 0 or time.perf_counter() < began + TURN:
            train(n)
            calls += 1
        pipe.send(1e6*(time.perf_counter() - began)/(calls*n))


def run(*words):
    """Runs Python on these words, the last one of them its folder if it has one, to the end. Returns wall seconds, of a
    run of the program those of training, the pictures now in the folder, and peak memory of all processes together."""
    command, peak, began = [sys.executable, *map(str, words)], 0, time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, cwd=HERE)
    while process.poll() is None:
        peak = max(peak, memory(process.pid))
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(0.2)
    found, folder = {'wall seconds': time.perf_counter() - began}, Path(command[-1])
    if process.returncode:
        sys.exit(f'{shlex.join(command)} ended with {process.returncode}')
    if PROGRAM in words and (folder/'summary.json').exists():
        summary = json.loads((folder/'summary.json').read_text())
        seconds = found['of training'] = summary['seconds']['training']
        found['microseconds an iteration'] = 1e6*seconds/summary['settings']['iterations']
    pictures = {kind: len(list(folder.rglob('*.' + kind))) for kind in ('png', 'gif') if folder.exists()}
    return {**found, **pictures, 'peak memory, MB': peak/1e6}


def memory(pid):
    """Bytes that a process and all that it started have resident. What they share counts for each, libraries above
    all, which makes this a little too much; their proportional share would depend on who else uses TensorFlow."""
    parents, sizes, members = {}, {}, {pid}
    for path in Path('/proc').glob('[0-9]*'):
        with contextlib.suppress(OSError):  # it has ended meanwhile
            parents[int(path.name)] = int((path/'stat').read_text().rpartition(')')[2].split()[1])
            sizes[int(path.name)] = int((path/'statm').read_text().split()[1])*os.sysconf('SC_PAGE_SIZE')
    while new := {child for child, parent in parents.items() if parent in members} - members:
        members |= new
    return sum(sizes.get(member, 0) for member in members)


def print_table(what, figures, columns, digits=1):
    """Prints, in GitHub's Markdown, median, least and most of each line's figures, then its cells of the columns.

    columns: heading -> line -> text, number, or numbers, of which the median is shown.
    """
    heads = [what, 'median', 'least', 'most', *columns]
    print('| ' + ' | '.join(heads) + ' |\n| --- |' + ' ---: |'*(len(heads) - 1))
    for name, each in figures.items():
        cells = [name, *(f'{value:.{digits}f}' for value in (median(each), min(each), max(each)))]
        for value in (column.get(name, '') for column in columns.values()):
            value = median(value) if isinstance(value, list) else value
            cells.append(f'{value:.4g}' if isinstance(value, float) else str(value))
        print('| ' + ' | '.join(cells) + ' |')
    print(flush=True)


def times(figures, base):
    """Each line's median in parts of the base's, by line."""
    return {name: median(each)/median(figures[base]) for name, each in figures.items()}


# ------------------------------------------------------------------------------------------------- the tutorial

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
        gan = build_gan(*optimizers, **networks)
        sess = tf.Session(graph=graph, config=config)
        sess.run(tf.global_variables_initializer())
        for variable, value in zip(tf.trainable_variables(), weights):
            variable.load(value, sess)
    return sess, gan


def tutorial_script(iterations):
    """The tutorial's whole script: its loop, its log, and its pictures drawn within the loop. Its folder is the command's
    last word."""
    import matplotlib
    matplotlib.use('Agg')
    import matplotlib.pyplot as plt
    folder, (sess, gan), (real_rng, noise_rng) = sys.argv[1], open_graph(), np.random.default_rng(0).spawn(2)
    real = sample_rows(BATCH, np.random.default_rng(1))
    with open(f'{folder}/loss_logs.csv', 'w') as log:
        log.write('Iteration,Discriminator Loss,Generator Loss\n')
        for i in range(iterations):
            X_batch, Z_batch = sample_rows(BATCH, real_rng), sample_Z(BATCH, 2, noise_rng)
            feed, shown = {gan.X: X_batch, gan.Z: Z_batch}, i % 1000 == 0
            look = (lambda: sess.run([gan.r_rep, gan.g_rep], feed_dict=feed)) if shown else (lambda: None)
            dloss, gloss, (_, before, after) = train_iteration(sess, gan, X_batch, Z_batch, look=look)
            print('Iterations: %d\t Discriminator loss: %.4f\t Generator loss: %.4f' % (i, dloss, gloss))
            if i % 10 == 0:
                log.write('%d,%f,%f\n' % (i, dloss, gloss))
            if not shown:
                continue
            samples = {'Real Data': real, 'Generated Data': sess.run(gan.G_sample, feed_dict={gan.Z: Z_batch})}
            features = dict(zip(('Real Data Before G step', 'Generated Data Before G step', 'Real Data After G step',
                                 'Generated Data After G step'), before + after))
            for name, title, series, style in (
                    ('iteration', 'Samples', samples, {}),
                    ('feature_transform', 'Transformed Features', features, dict(alpha=0.5)),
                    ('feature_transform_centroid', 'Centroid of Transformed Features',
                     {key: cloud.mean(axis=0)[None] for key, cloud in features.items()}, dict(s=100, alpha=0.5))):
                plt.figure()
                plt.legend([plt.scatter(*points.T, **style) for points in series.values()], list(series))
                plt.title(f'{title} at Iteration {i}')
                plt.tight_layout()
                plt.savefig(f'{folder}/{name}_{i}.png')
                plt.close()


# ----------------------------------------------------------------------------------------------- the contenders
# Each function below prepares a loop that starts at the given weights and returns the function that trains n iterations
# and returns their losses [n, 2]. All draw the same numbers, and drawing them is part of their time.

def make_draw(batch_size=BATCH, dim=2, noise_dim=2):
    """The function that draws n real batches [n, batch_size, dim], the tutorial's or normal ones, and noise batches."""
    real_rng, noise_rng = np.random.default_rng(0).spawn(2)

    def draw(n):
        X, Z = (np.empty([n*batch_size, width], np.float32) for width in (dim, noise_dim))
        for i in range(0, len(X), 4096):  # pieces that stay in the cache, as the program draws them
            rows = len(X[i:i + 4096])
            X[i:i + 4096] = sample_data(rows, rng=real_rng) if dim == 2 else real_rng.standard_normal([rows, dim])
            Z[i:i + 4096] = sample_Z(rows, noise_dim, noise_rng)
        return X.reshape(n, batch_size, dim), Z.reshape(n, batch_size, noise_dim)
    return draw


def tutorial_loop(weights):
    (sess, gan), (real_rng, noise_rng) = open_graph(weights), np.random.default_rng(0).spawn(2)
    return lambda n: [train_iteration(sess, gan, sample_rows(BATCH, real_rng), sample_Z(BATCH, 2, noise_rng))[:2]
                      for _ in range(n)]


def step_by_step_loop(weights):
    (sess, gan), draw = open_graph(weights), make_draw()
    return lambda n: [train_iteration(sess, gan, *batches)[:2] for batches in zip(*draw(n))]


def shipped_loop(weights, length=BLOCK, batch_size=BATCH, g_steps=1, **networks):
    """The loop that the program trains with; `networks` are arguments of `build_loop`."""
    optimizers = [tf.train.RMSPropOptimizer(0.001) for _ in range(2)]
    config = session_config(networks.get('hsize', [16]), networks.get('dim', 2))
    sess, _ = open_graph(weights, optimizers, config, **networks)
    with sess.graph.as_default():
        run_loop = build_loop(*optimizers, length, batch_size, g_steps=g_steps, **networks)
    draw = make_draw(batch_size, **{name: networks[name] for name in ('dim', 'noise_dim') if name in networks})
    return lambda n: run_loop(sess, *draw(n))


def c_loop(weights):
    """reference.c, compiled here."""
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder)/'reference.so'
        subprocess.run([COMPILER, '-O3', '-march=native', '-ffast-math', '-funroll-loops', '-shared', '-fPIC',
                        '-o', library, HERE/'reference.c', '-lm'], check=True)
        reference = ctypes.CDLL(str(library))
    reference.train.argtypes = [ctypes.c_int, *[np.ctypeslib.ndpointer(np.float32, flags='C')]*7]
    networks = [np.concatenate([w.ravel() for w in network]) for network in (weights[:6], weights[6:])]
    state, draw = [*networks, *map(np.ones_like, networks)], make_draw()

    def train(n):
        losses = np.empty([n, 2], np.float32)
        reference.train(n, *draw(n), *state, losses)
        return losses
    return train


def make_losses(mean, softplus, leaky_relu, dense):
    """The tutorial's losses in another library's functions: of weights to train, the other network's, X and Z."""
    def layers(weights, h, linear):
        """Dense layers, the last `linear` of them without activation."""
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
    from torch.nn import functional
    disc_loss, gen_loss = make_losses(torch.mean, functional.softplus, functional.leaky_relu,
                                      lambda h, w, b: torch.addmm(b, h, w))
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


SHIPPED, TUTORIAL = 'the shipped loop', "the tutorial's loop"
CONTENDERS = {  # name -> how to prepare it, what it needs, iterations in a call
    TUTORIAL: (tutorial_loop, 'tensorflow', 300),
    'step by step (`--step-by-step`)': (step_by_step_loop, 'tensorflow', 300),
    SHIPPED: (shipped_loop, 'tensorflow', BLOCK),
    'C (`reference.c`)': (c_loop, 'C compiler', BLOCK),
    'JAX `lax.scan`': (jax_loop, 'jax', BLOCK),
    "JAX, with the program's XLA flags": (functools.partial(jax_loop, xla_flags=XLA_FLAGS), 'jax', BLOCK),
    'PyTorch, eager': (torch_loop, 'torch', 200),
}
TABLE = dict(hsize=[64, 64], dim=8, noise_dim=16)  # with the penalty, what own tables of 8 columns are trained with
SIZES = {  # what is not the default -> arguments of shipped_loop
    'batch 256, 16 and 16 units': {},
    **{f'batch {size}': dict(batch_size=size) for size in (64, 1024, 4096)},
    **{f'{width} and {width} units': dict(hsize=[width, width]) for width in (64, 256)},
    'images: 28 x 28, 256 and 256 units, layer_norm, batch 64, 3 G steps': dict(
        hsize=[256, 256], dim=784, noise_dim=32, layer='layer_norm', batch_size=64, g_steps=3, length=150),
    'a table without penalty': TABLE,
    'a table: 8 columns, 64 and 64 units, R1 penalty': dict(TABLE, penalty=3.),
}


# ---------------------------------------------------------------------------------------------------- the parts

def part_loops(rounds, quick):
    """Microseconds per iteration of the default training, by who trains; 4 to 5 of them draw the batches"""
    present = {name: (prepare, n) for name, (prepare, need, n) in CONTENDERS.items()
               if (COMPILER if need == 'C compiler' else importlib.util.find_spec(need))}
    sess, _ = open_graph()
    with sess.graph.as_default():
        figures, losses = race(present, sess.run(tf.trainable_variables()), rounds)
    print_table('loop', figures, {
        "times the tutorial's speed": {name: 1/ratio for name, ratio in times(figures, TUTORIAL).items()},
        'shipped loop in parts of it': {name: 1/ratio for name, ratio in times(figures, SHIPPED).items()},
        f'losses of {EQUAL} iterations, at most apart': {
            name: float(np.abs(each - losses[SHIPPED]).max()) for name, each in losses.items()}})
    for name in CONTENDERS.keys() - present.keys():
        print(f'{name} was not measured: there is no {CONTENDERS[name][1]}.\n')


def products(penalty):
    """How many multiplications the matrix products of a table's iteration take, in millions."""
    sess, gan = open_graph(penalty=penalty, **TABLE)
    total = 0
    for step in (gan.disc_step, gan.gen_step):
        for node in tf.graph_util.extract_sub_graph(sess.graph.as_graph_def(), [step.name]).node:
            if node.op == 'MatMul':
                a, b = ([d or BATCH for d in tensor.shape.as_list()]
                        for tensor in sess.graph.get_operation_by_name(node.name).inputs)
                total += a[0]*a[1]*b[0 if node.attr['transpose_b'].b else 1]/1e6
    return total


def part_sizes(rounds, quick):
    """Microseconds per iteration of the shipped loop, by what is trained"""
    figures, _ = race({name: (functools.partial(shipped_loop, **changed), 50 if quick else changed.get('length', BLOCK))
                       for name, changed in SIZES.items()}, (), rounds)
    (default, *_), (*_, without, penalised) = SIZES, SIZES
    counts = {without: products(0.), penalised: products(3.)}
    print_table('shipped loop', figures, {
        'times the default': times(figures, default),
        'times without penalty': {penalised: times(figures, without)[penalised]},
        'multiplications in matrix products, millions': counts,
        'times those without': {penalised: counts[penalised]/counts[without]}})


def race_commands(commands, rounds):
    """Prints the table of commands in turns, line -> words for `run`; one may use what an earlier one left in its
    folder. Returns the columns beside wall seconds, heading -> line -> values."""
    taken = take_turns({name: functools.partial(run, *words) for name, words in commands.items()}, rounds)
    columns = {what: {name: [each[what] for each in found] for name, found in taken.items() if what in found[0]}
               for what in dict.fromkeys(what for found in taken.values() for what in found[0])}
    print_table('what', columns.pop('wall seconds'), columns, digits=2)
    return columns


def part_whole(rounds, quick):
    """Seconds of whole commands, with all pictures; the tutorial's script joins no GIFs"""
    n = 3001 if quick else 100_001
    with tempfile.TemporaryDirectory() as script, tempfile.TemporaryDirectory() as whole, \
            tempfile.TemporaryDirectory() as short:
        race_commands({
            "the tutorial's script": ('-c', f'import benchmark; benchmark.tutorial_script({n})', script),
            'this program': (PROGRAM, '--iterations', n, '--output', whole),
            '`plotting.py` on its finished run': (PROGRAM.with_name('plotting.py'), whole),
            'this program, a tenth of the iterations': (PROGRAM, '--iterations', n//10 + 1, '--output', short),
            'one iteration, no pictures': (PROGRAM, '--iterations', 1, '--pictures', 'none', '--output', short),
            'import of TensorFlow': ('-c', 'import benchmark; benchmark.tf.Graph()'),
            '`gan_quadratic.py --help`': (PROGRAM, '--help')}, rounds)


def part_growth(rounds, quick):
    """Seconds of whole commands, without pictures: how time and memory grow with iterations and with snapshots"""
    n = 1000 if quick else 10_000
    with tempfile.TemporaryDirectory() as folder:
        columns = race_commands({
            f'{k*n + 1:,} iterations, a snapshot every {every:,}': (
                PROGRAM, '--iterations', k*n + 1, '--snapshot-every', every, '--pictures', 'none', '--output', folder)
            for k, every in ((100, 1000), (10, 1000), (1, 1000), (1, 50))}, rounds)
    *_, few, many = columns['of training'].values()
    waits = [1e3*(b - a)/(n//50 - n//1000) for a, b in zip(few, many)]
    print(f'Training waits {median(waits):.2f} ms for a snapshot ({min(waits):.2f} to {max(waits):.2f}).\n')


PARTS = dict(loops=part_loops, sizes=part_sizes, whole=part_whole, growth=part_growth)


def machine():
    """What the figures were measured on, in one line."""
    info = Path('/proc/cpuinfo').read_text() if Path('/proc/cpuinfo').exists() else ''
    model = re.search('model name.*: (.*)', info)
    installed = {each.name: each.version for each in importlib.metadata.distributions()}
    return ', '.join([f'{datetime.now():%Y-%m-%d %H:%M}', model[1] if model else platform.machine(),
                      f'{os.cpu_count()} cores', platform.system(), f'Python {platform.python_version()}',
                      *(f'{name} {installed[name]}' for name in PACKAGES if name in installed)])


def main():
    parser = argparse.ArgumentParser(description='Measures how fast the program is; prints one table a part.')
    parser.add_argument('--part', nargs='+', choices=PARTS, default=list(PARTS), metavar='NAME',
                        help='only these: ' + ', '.join(PARTS))
    parser.add_argument('--rounds', type=int, default=5, help='figures from which each median is taken')
    parser.add_argument('--quick', action='store_true', help='one round of short runs')
    arguments = parser.parse_args()
    print(f'`{shlex.join(["python", "tests/benchmark.py", *sys.argv[1:]])}`  \n{machine()}\n', flush=True)
    for name in arguments.part:
        print(f'**{PARTS[name].__doc__}**\n', flush=True)
        PARTS[name](1 if arguments.quick else arguments.rounds, arguments.quick)


if __name__ == '__main__':
    main()
