"""How fast the program is, measured against the tutorial's own way, JAX and PyTorch: one run, one table a part.

    python tests/benchmark.py                            every part, some ten minutes
    python tests/benchmark.py --part loops growth        some of them
    python tests/benchmark.py --quick                    few repetitions, short runs: to see that it works

Ratios between lines of one table hold on a busy machine too, because the contenders take turns; bare times do not.
Not part of pytest. JAX and PyTorch take part where they are installed.
"""
import argparse
import contextlib
import functools
import importlib.metadata
import importlib.util
import json
import multiprocessing
import os
import platform
import random
import shlex
import subprocess
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path
from statistics import median

import numpy as np

try:
    import resource
except ImportError:  # not on Windows, where peak memory is left out
    resource = None

PROGRAM = Path(__file__).resolve().parents[1]/'gan_quadratic.py'
sys.path.insert(0, str(PROGRAM.parent))
import gan_quadratic  # noqa: E402
from gan_quadratic import (DEFAULTS, XLA_FLAGS, build_gan, build_loop, draw_batches, fixed_inputs, hushed,  # noqa: E402
                           make_data, make_streams, open_session, sample_Z, snapshot_iteration, train_iteration,
                           whole_file)

tf = gan_quadratic.tf  # imports TensorFlow when it is first used
BATCH, BLOCK = DEFAULTS['batch_size'], DEFAULTS['snapshot_every'] - 1  # the run trains so many iterations in a call
TURN, REST = 0.5, 0.3  # seconds of a contender's turn, and before it, until the threads of the one before sleep
EQUAL = 20  # first iterations, in which all loops must come to the same losses


# ------------------------------------------------------------------------------------------------- the tutorial

def sample_rows(n, rng, scale=100):
    """Real samples [n, 2] as the tutorial makes them, row by row."""
    data = []
    x = scale*(rng.random(n) - 0.5)
    for i in range(n):
        data.append([x[i], 10 + x[i]*x[i]])
    return np.array(data)


def tutorial_graph():
    """This project's `build_gan` in a plain session, without anything else: session and `GAN`."""
    with hushed(), tf.Graph().as_default() as graph:
        tf.set_random_seed(0)
        gan = build_gan()
        sess = tf.Session(graph=graph)
        sess.run(tf.global_variables_initializer())
    return sess, gan


def tutorial_steps(sess, gan, X_batch, Z_batch, snapshot=False):
    """An iteration by the tutorial's calls: both losses, and at a snapshot features around G's step, and samples."""
    feed, shown = {gan.X: X_batch, gan.Z: Z_batch}, []
    _, dloss = sess.run([gan.disc_step, gan.disc_loss], feed_dict=feed)
    if snapshot:
        shown += sess.run([gan.r_rep, gan.g_rep], feed_dict=feed)
    _, gloss = sess.run([gan.gen_step, gan.gen_loss], feed_dict={gan.Z: Z_batch})
    if snapshot:
        shown += sess.run([gan.r_rep, gan.g_rep], feed_dict=feed)
        shown.append(sess.run(gan.G_sample, feed_dict={gan.Z: Z_batch}))
    return dloss, gloss, shown


def tutorial_picture(path, title, series, **style):
    """One picture drawn the tutorial's way. series: label -> points [n, 2]."""
    import matplotlib.pyplot as plt
    plt.figure()
    drawn = [plt.scatter(points[:, 0], points[:, 1], **style) for points in series.values()]
    plt.legend(drawn, list(series))
    plt.title(title)
    plt.tight_layout()
    plt.savefig(path)
    plt.close()


def tutorial_script(folder, iterations):
    """The tutorial's whole script: its loop, its log, and its pictures drawn within the loop. It joins no GIFs."""
    import matplotlib
    matplotlib.use('Agg')
    folder, streams = Path(folder), make_streams(0)
    sess, gan = tutorial_graph()
    real = sample_rows(BATCH, streams['picture'])
    with open(folder/'loss_logs.csv', 'w') as log:
        log.write('Iteration,Discriminator Loss,Generator Loss\n')
        for i in range(int(iterations)):
            X_batch, Z_batch = sample_rows(BATCH, streams['real']), sample_Z(BATCH, 2, streams['noise'])
            dloss, gloss, shown = tutorial_steps(sess, gan, X_batch, Z_batch, i % 1000 == 0)
            print('Iterations: %d\t Discriminator loss: %.4f\t Generator loss: %.4f' % (i, dloss, gloss))
            if i % 10 == 0:
                log.write('%d,%f,%f\n' % (i, dloss, gloss))
            if shown:
                *features, generated = shown
                tutorial_picture(folder/f'iteration_{i}.png', f'Samples at Iteration {i}',
                                 {'Real Data': real, 'Generated Data': generated})
                names = [f'{whose} Data {when} G step' for when in ('Before', 'After')
                         for whose in ('Real', 'Generated')]
                tutorial_picture(folder/f'feature_transform_{i}.png', f'Transformed Features at Iteration {i}',
                                 dict(zip(names, features)), alpha=0.5)
                tutorial_picture(folder/f'feature_transform_centroid_{i}.png',
                                 f'Centroid of Transformed Features at Iteration {i}',
                                 {name: cloud.mean(axis=0)[None] for name, cloud in zip(names, features)},
                                 s=100, alpha=0.5)


# --------------------------------------------------------------------------------- part loops: the contenders
# Each function below prepares a loop that starts at the given weights (generator's, then discriminator's: kernel,
# bias, kernel...), and returns the function that trains n iterations and returns their losses [n, 2]. All draw the
# same numbers, and drawing them is part of their time.

def tutorial_loop(weights):
    (sess, gan), streams = started(*tutorial_graph(), weights), make_streams(0)

    def train(n):
        return [tutorial_steps(sess, gan, sample_rows(BATCH, streams['real']), sample_Z(BATCH, 2, streams['noise']))[:2]
                for _ in range(n)]
    return train


def step_by_step_loop(weights):
    (sess, gan), streams, data = started(*tutorial_graph(), weights), make_streams(0), make_data(DEFAULTS)

    def train(n):
        return [train_iteration(sess, gan, *batches)[:2] for batches in zip(*draw_batches(data, streams, n, BATCH, 2))]
    return train


def shipped_loop(weights=None, **changed):
    """The loop that the program trains with; `changed` are settings other than the default ones."""
    settings, streams = dict(DEFAULTS, **changed), make_streams(0)
    data, size = make_data(settings), settings['batch_size']
    session = open_session(settings, data, streams)
    with hushed(), session.sess.graph.as_default():
        run_loop = build_loop(*session.optimizers, BLOCK, size, **session.networks)
        run_loop(session.sess, *draw_batches(data, make_streams(0), 0, size, 2))  # compiles it
    if weights:
        started(session.sess, session.gan, weights)
    return lambda n: run_loop(session.sess, *draw_batches(data, streams, n, size, 2))


def started(sess, gan, weights):
    """Session and `GAN`, with these weights in the session's variables."""
    with hushed(), sess.graph.as_default():
        for variable, value in zip(trainable(), weights):
            variable.load(value, sess)
    return sess, gan


def trainable():
    return [v for scope in ('GAN/Generator', 'GAN/Discriminator') for v in tf.trainable_variables(scope)]


def jax_loop(weights, xla_flags=''):
    """The same in JAX: `lax.scan` over the iterations, compiled whole, by XLA as JAX sets it, or with these flags."""
    os.environ['XLA_FLAGS'] = xla_flags
    import jax
    import jax.numpy as jnp
    streams, data = make_streams(0), make_data(DEFAULTS)

    def layers(weights, h, linear):
        """Dense layers, the last `linear` of them without activation."""
        pairs = list(zip(weights[::2], weights[1::2]))
        for k, (kernel, bias) in enumerate(pairs):
            h = h @ kernel + bias
            h = h if k >= len(pairs) - linear else jax.nn.leaky_relu(h, 0.2)
        return h

    def disc_loss(D, G, X, Z):
        return jnp.mean(jax.nn.softplus(-layers(D, X, 2)) + jax.nn.softplus(layers(D, layers(G, Z, 1), 2)))

    def gen_loss(G, D, Z):
        return jnp.mean(jax.nn.softplus(-layers(D, layers(G, Z, 1), 2)))

    def rmsprop(weights, squares, gradients):
        squares = [0.9*m + 0.1*g*g for m, g in zip(squares, gradients)]
        return [w - 0.001*g/jnp.sqrt(m + 1e-10) for w, g, m in zip(weights, gradients, squares)], squares

    def iteration(state, batches):
        G, D, G_squares, D_squares = state
        dloss, gradients = jax.value_and_grad(disc_loss)(D, G, *batches)
        D, D_squares = rmsprop(D, D_squares, gradients)
        gloss, gradients = jax.value_and_grad(gen_loss)(G, D, batches[1])
        G, G_squares = rmsprop(G, G_squares, gradients)
        return (G, D, G_squares, D_squares), jnp.stack([dloss, gloss])

    scan = jax.jit(lambda state, *batches: jax.lax.scan(iteration, state, batches))
    networks = [[jnp.asarray(w) for w in network] for network in (weights[:6], weights[6:])]
    state = (*networks, *[[jnp.ones_like(w) for w in network] for network in networks])

    def train(n):
        nonlocal state
        X_batches, Z_batches = draw_batches(data, streams, n, BATCH, 2)
        state, losses = scan(state, X_batches, Z_batches.astype(np.float32))
        return np.asarray(losses)
    return train


def torch_loop(weights):
    """The same in PyTorch, eager, by TensorFlow 1's formula of RMSProp."""
    import torch
    from torch.nn.functional import leaky_relu, linear, softplus
    streams, data = make_streams(0), make_data(DEFAULTS)
    G, D = ([torch.tensor(w.T.copy(), requires_grad=True) for w in network] for network in (weights[:6], weights[6:]))
    squares = {w: torch.ones_like(w) for w in (*G, *D)}

    def layers(weights, h, plain):
        for k in range(0, len(weights), 2):
            h = linear(h, *weights[k:k + 2])
            h = h if k >= len(weights) - 2*plain else leaky_relu(h, 0.2)
        return h

    def update(loss, weights):
        gradients = torch.autograd.grad(loss, weights)
        with torch.no_grad():
            for w, g in zip(weights, gradients):
                squares[w].mul_(0.9).addcmul_(g, g, value=0.1)
                w.addcdiv_(g, (squares[w] + 1e-10).sqrt_(), value=-0.001)
        return loss.item()

    def iteration(X, Z):
        dloss = (softplus(-layers(D, X, 2)) + softplus(layers(D, layers(G, Z, 1).detach(), 2))).mean()
        return update(dloss, D), update(softplus(-layers(D, layers(G, Z, 1), 2)).mean(), G)

    def train(n):
        X_batches, Z_batches = draw_batches(data, streams, n, BATCH, 2)
        return [iteration(*batches) for batches in zip(torch.tensor(X_batches), torch.tensor(Z_batches).float())]
    return train


CONTENDERS = {  # name -> how to prepare it, package that it needs, iterations in one turn
    "the tutorial's loop": (tutorial_loop, 'tensorflow', 300),
    'step by step (`--step-by-step`)': (step_by_step_loop, 'tensorflow', 300),
    'the shipped loop': (shipped_loop, 'tensorflow', BLOCK),
    'JAX `lax.scan`, 1,000 iterations': (jax_loop, 'jax', 1000),
    "the same with the program's XLA flags": (functools.partial(jax_loop, xla_flags=XLA_FLAGS), 'jax', 1000),
    'PyTorch, eager': (torch_loop, 'torch', 200),
}


def turn(train, n):
    """Microseconds per iteration over a turn of TURN seconds, n iterations at a time."""
    turns, began = 0, time.perf_counter()
    while turns == 0 or time.perf_counter() < began + TURN:
        train(n)
        turns += 1
    return 1e6*(time.perf_counter() - began)/(turns*n)


def take_turns(turns, rounds):
    """Microseconds per iteration of each, one figure a round. turns: name -> function that takes a turn."""
    figures, order, rng = {name: [] for name in turns}, list(turns), random.Random(0)
    for take in turns.values():
        take()  # the first is not counted
    for _ in range(rounds):
        rng.shuffle(order)  # so that nobody always follows the same one
        for name in order:
            time.sleep(REST)
            figures[name].append(turns[name]())
    return figures


def serve(pipe, name, n, weights):
    """A contender in a process of its own, where no other's threads are: its first losses, then a turn when asked."""
    train = CONTENDERS[name][0](weights)
    pipe.send(np.array(train(EQUAL), float))
    while pipe.recv():
        pipe.send(turn(train, n))


def part_loops(quick):
    """Microseconds per iteration of the default training, by who trains"""
    sess, _ = tutorial_graph()
    with sess.graph.as_default():
        weights = sess.run(trainable())
    context, turns, losses, pipes = multiprocessing.get_context('spawn'), {}, {}, []
    for name, (_, package, n) in CONTENDERS.items():
        if installed(package):
            pipe, other = context.Pipe()
            n = n//10 if quick and n != BLOCK else n
            context.Process(target=serve, args=(other, name, n, weights), daemon=True).start()
            losses[name] = pipe.recv()
            turns[name] = lambda pipe=pipe: (pipe.send(True), pipe.recv())[1]
            pipes.append(pipe)
    figures = take_turns(turns, 3 if quick else 15)
    for pipe in pipes:
        pipe.send(False)
    tutorial, *_ = figures.values()
    print_table(['loop', 'median', 'least', 'most', "times the tutorial's speed", "times the shipped loop's time",
                 f'losses of {EQUAL} iterations, at most apart'],
                [[name, *spread(each), f'{median(tutorial)/median(each):.2f}',
                  f'{median(each)/median(figures["the shipped loop"]):.3f}',
                  f'{np.abs(losses[name] - losses["the shipped loop"]).max():.1e}'] for name, each in figures.items()])
    for name, (_, package, _) in CONTENDERS.items():
        if not installed(package):
            print(f'{name}: not measured, {package} is not installed.')


# -------------------------------------------------------------------------------------------------- other parts

def part_growth(quick):
    """How the shipped loop's time grows: microseconds per iteration"""
    loop, blocks, rounds = shipped_loop(), 1 if quick else 10, 2 if quick else 7
    seconds, peaks = {blocks: [], 10*blocks: []}, {}
    for _ in range(rounds):  # comes first, because a peak stays for the rest of the process
        for count, figures in seconds.items():
            began = time.perf_counter()
            for _ in range(count):
                loop(BLOCK)
            figures.append(time.perf_counter() - began)
            peaks.setdefault(count, peak_memory())
    settings = {f'batch {size}, 16 and 16 units': dict(batch_size=size) for size in (256, 64, 1024, 4096)}
    settings.update({f'batch 256, {width} and {width} units': dict(hidden=[width, width]) for width in (64, 256)})
    n = BLOCK//10 if quick else BLOCK
    figures = take_turns({name: functools.partial(turn, shipped_loop(**changed), n)
                          for name, changed in settings.items()}, rounds)
    base, *_ = figures.values()
    print_table(['shipped loop', 'median', 'least', 'most', 'times the default'],
                [[name, *spread(each), f'{median(each)/median(base):.2f}'] for name, each in figures.items()])
    print_table(['iterations', 'seconds, median', 'least', 'most', 'times the first line', 'peak memory, MB'],
                [[f'{count*BLOCK:,}', *spread(each, 3), f'{median(each)/median(seconds[blocks]):.2f}',
                  megabytes(peaks[count])] for count, each in seconds.items()])


def startup_once():
    """Prints the seconds that each thing takes before training can start, in a process that has done nothing yet."""
    marks = [time.perf_counter()]
    with hushed():
        tf.Graph()
        marks.append(time.perf_counter())
        data, streams = make_data(DEFAULTS), make_streams(0)
        session = open_session(DEFAULTS, data, streams)
        marks.append(time.perf_counter())
        with session.sess.graph.as_default():
            run_loop = build_loop(*session.optimizers, BLOCK, BATCH, **session.networks)
            marks.append(time.perf_counter())
            run_loop(session.sess, *draw_batches(data, streams, 0, BATCH, 2))
            marks.append(time.perf_counter())
    names = 'import of TensorFlow', 'graph and session with initial weights', 'building the loop', 'compiling the loop'
    print(json.dumps(dict(zip(names, np.diff(marks).tolist()))))


def part_startup(quick):
    """Seconds before training starts, and of commands that end without any"""
    once = [json.loads(subprocess.check_output(own('startup_once'))) for _ in range(1 if quick else 5)]
    seconds = {name: [each[name] for each in once] for name in once[0]}
    for flag, status in (('--help', 0), ('--no-such-flag', 2)):
        name = f'`gan_quadratic.py {flag}`'
        seconds[name] = []
        for _ in range(1 if quick else 7):
            began = time.perf_counter()
            ended = subprocess.run([sys.executable, str(PROGRAM), flag], capture_output=True)
            seconds[name].append(time.perf_counter() - began)
            if ended.returncode != status:
                sys.exit(f'{name} ended with {ended.returncode}, not {status}: {ended.stderr.decode()}')
    print_table(['what', 'median', 'least', 'most'], [[name, *spread(each, 3)] for name, each in seconds.items()])


def part_snapshot(quick):
    """Milliseconds that training waits for a snapshot"""
    data, streams = make_data(DEFAULTS), make_streams(0)
    fixed, _, _ = fixed_inputs(DEFAULTS, data, streams)
    session, (sess, gan) = open_session(DEFAULTS, data, streams), tutorial_graph()
    mine, tutorial, count = [], [], 5 if quick else 50
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(5 + count):  # the first ones warm up
            X_batches, Z_batches = draw_batches(data, streams, 1, BATCH, 2)
            marks = [time.perf_counter()]
            tutorial_steps(sess, gan, X_batches[0], Z_batches[0], snapshot=True)
            marks.append(time.perf_counter())
            _, arrays, _, _ = snapshot_iteration(session, DEFAULTS, data, fixed, X_batches[0], Z_batches[0])
            with whole_file(Path(folder)/'snapshot.npz') as file:
                np.savez(file, **arrays)
            marks.append(time.perf_counter())
            for figures, each in zip((tutorial, mine), 1e3*np.diff(marks)):
                figures.append(each)
    mine, tutorial = mine[5:], tutorial[5:]
    print_table(['at a snapshot', 'median', 'least', 'most'],
                [["the tutorial's own `sess.run` calls", *spread(tutorial, 2)],
                 ["the program's iteration and file", *spread(mine, 2)],
                 ["beyond the tutorial's calls", *spread(np.subtract(mine, tutorial), 2)]])


def part_whole(quick):
    """The whole default run, and the tutorial's whole script: the same pictures drawn within its loop, no GIFs"""
    iterations = 3001 if quick else 100_001
    lines, walls = [], []
    for name, command, n in (("the tutorial's script", own('tutorial_script', '{}', iterations), iterations),
                             ('this program', [*own_program(iterations), '{}'], iterations),
                             ('this program, a tenth', [*own_program(iterations//10 + 1), '{}'], iterations//10 + 1)):
        with tempfile.TemporaryDirectory() as folder:
            seconds, peak = watch([word.replace('{}', folder) for word in command])
            kinds = [len(list(Path(folder).rglob(kind))) for kind in ('*.png', '*.gif')]
            summary = Path(folder)/'summary.json'
            training = json.loads(summary.read_text())['seconds']['training'] if summary.exists() else None
        walls.append(seconds)
        lines.append([name, f'{n:,}', f'{seconds:.1f}', '' if training is None else f'{training:.2f}',
                      f'{walls[0]/seconds:.2f}' if n == iterations else '', *map(str, kinds), megabytes(peak)])
    print_table(['what', 'iterations', 'wall seconds', 'of them training', "times the tutorial's speed", 'PNGs', 'GIFs',
                 'peak memory of all processes, MB'], lines)


PARTS = dict(loops=part_loops, growth=part_growth, startup=part_startup, snapshot=part_snapshot, whole=part_whole)


# ----------------------------------------------------------------------------------------- processes and memory

def own(name, *words):
    """The command that runs a function of this file in a process of its own."""
    return [sys.executable, str(Path(__file__).resolve()), '--here', name, *map(str, words)]


def own_program(iterations):
    """The program's command; the output folder is to follow."""
    return [sys.executable, str(PROGRAM), '--iterations', str(iterations), '--output']


def peak_memory():
    """The largest resident size that this process has had, in bytes, None where it is not known."""
    if not resource:
        return None
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss*(1 if sys.platform == 'darwin' else 1024)


def family(pid):
    """The numbers of a process and of all that it started, as /proc has them."""
    parents = {}
    for path in Path('/proc').glob('[0-9]*/stat'):
        with contextlib.suppress(OSError):  # it has ended meanwhile
            parents[int(path.parent.name)] = int(path.read_text().rpartition(')')[2].split()[1])
    members = {pid}
    while new := {child for child, parent in parents.items() if parent in members} - members:
        members |= new
    return members


def memory(pids):
    """Bytes that processes have resident together. What they share counts for each, libraries above all, which makes
    this a little too much; their proportional share (Pss) would depend on who else uses TensorFlow meanwhile."""
    total = 0
    for pid in pids:
        with contextlib.suppress(OSError):  # it has ended meanwhile
            total += int(Path(f'/proc/{pid}/statm').read_text().split()[1])*os.sysconf('SC_PAGE_SIZE')
    return total


def watch(command):
    """Runs a command. Returns its wall seconds and the peak memory of all its processes, None where it is not known."""
    peak, began = 0, time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    while process.poll() is None:
        if sys.platform == 'linux':
            peak = max(peak, memory(family(process.pid)))
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(0.2)
    if process.returncode:
        sys.exit(f'{shlex.join(command)} ended with {process.returncode}')
    return time.perf_counter() - began, peak or None


# ------------------------------------------------------------------------------------------------------ printing

def spread(figures, digits=1):
    """Median, least and most, as texts."""
    return [f'{value:.{digits}f}' for value in (median(figures), min(figures), max(figures))]


def megabytes(size):
    return 'not known' if size is None else f'{size/1e6:.0f}'


def print_table(head, lines):
    """Prints a table in GitHub's Markdown."""
    for line in (head, ['---'] + ['---:']*(len(head) - 1), *lines):
        print('| ' + ' | '.join(line) + ' |')
    print(flush=True)


def installed(package):
    return importlib.util.find_spec(package) is not None


def version(package):
    """A package with its version."""
    try:
        return f'{package} {importlib.metadata.version(package)}'
    except importlib.metadata.PackageNotFoundError:
        return f'{package} {"of unknown version" if installed(package) else "not installed"}'


def machine():
    """What the figures were measured on, in one line."""
    model, info = platform.processor() or platform.machine(), Path('/proc/cpuinfo')
    if info.exists():
        lines = (line.partition(':') for line in info.read_text().splitlines())
        model = next((value.strip() for key, _, value in lines if key.strip() == 'model name'), model)
    load = f', load average {os.getloadavg()[0]:.1f}' if hasattr(os, 'getloadavg') else ''
    packages = ', '.join(map(version, ('tensorflow', 'numpy', 'matplotlib', 'jax', 'torch')))
    return (f'{datetime.now():%Y-%m-%d %H:%M}, {model}, {os.cpu_count()} cores{load}, {platform.system()}, '
            f'Python {platform.python_version()}, {packages}')


def main():
    parser = argparse.ArgumentParser(description='Measures how fast the program is; prints one table a part.')
    parser.add_argument('--quick', action='store_true', help='few repetitions, short runs')
    parser.add_argument('--part', nargs='+', choices=PARTS, default=list(PARTS), metavar='NAME',
                        help='only these: ' + ', '.join(PARTS))
    parser.add_argument('--here', nargs='+', help=argparse.SUPPRESS)  # how it starts itself
    arguments = parser.parse_args()
    if arguments.here:
        name, *words = arguments.here
        if name in PARTS:
            PARTS[name](arguments.quick)
        else:
            globals()[name](*words)
        return
    print(f'`{shlex.join(["python", "tests/benchmark.py", *sys.argv[1:]])}`  \n{machine()}\n', flush=True)
    for name in arguments.part:  # each in a process of its own, so that none inherits another's imports or peak memory
        print(f'**{PARTS[name].__doc__}**\n', flush=True)
        subprocess.run(own(name) + ['--quick']*arguments.quick, check=True)


if __name__ == '__main__':
    main()
