"""Trains the GAN on images and measures what it draws: the check of the program's image defaults.

    python tests/digits.py                                       the image defaults, in a temporary folder
    python tests/digits.py --seed 1 --output outputs/digits      any flag of gan_quadratic.py is passed on

MNIST has to be downloaded, so its stand-in is what scikit-learn brings along: 1,797 handwritten digits of 8x8
pixels, here enlarged to MNIST's 28x28. Needs scikit-learn, which the program itself does not.
"""
import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from scipy.ndimage import zoom
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

PROGRAM = Path(__file__).resolve().parent.parent/'gan_quadratic.py'
ENLARGED = 3     # pixels along each side of what was one pixel
MARGIN = 2       # black pixels around the digit, as MNIST has them, so some of the columns never vary
BRIGHTEST = 255  # of a pixel, as in MNIST

# What the image defaults have to reach, at the least.
SCORE = 5.9
SHARE = 0.05


def real_digits():
    """The stand-in for MNIST: images [1797, 28, 28] of whole numbers 0 to 255, and their classes [1797]."""
    small, classes = load_digits(return_X_y=True)
    images = zoom(small.reshape(-1, 8, 8), (1, ENLARGED, ENLARGED), order=3, mode='nearest', grid_mode=True)
    images = np.pad(images, ((0, 0), (MARGIN, MARGIN), (MARGIN, MARGIN)))
    return np.clip(np.round(images*BRIGHTEST/16), 0, BRIGHTEST).astype(np.uint8), classes


def pixels(images):
    """Images, or rows of them, as the measures see them: [n, 784] numbers from 0 to 1.

    All are clipped alike, because nothing outside that range could be shown: the generator's linear output and the
    Gaussian leave it, real digits do not.
    """
    return np.clip(np.reshape(images, [len(images), -1])/BRIGHTEST, 0, 1)


class Judge:
    """A classifier trained on half of the real digits, and the other half."""

    def __init__(self, images, classes):
        order = np.random.default_rng(0).permutation(len(images))
        seen, self.unseen = np.array_split(order, 2)
        self.real, self.classes = pixels(images), classes
        # Every pixel of the 8x8 digits stands here ENLARGED^2 times, which weakens the penalty on the weights by as
        # much; so this C is what scikit-learn's default of 1 is to the digits as they were.
        self.model = LogisticRegression(C=1/ENLARGED**2, max_iter=5000).fit(self.real[seen], classes[seen])

    def score(self, images):
        """The inception score (Salimans et al. 2016), this classifier in Inception's place.

        exp(mean KL(p(y|x) || p(y))): 1 where all images look alike or like nothing, 10 where each is clearly of one
        class and all ten classes are equally frequent.
        """
        p = np.maximum(self.model.predict_proba(images), 1e-12)
        return float(np.exp(np.sum(p*np.log(p/p.mean(axis=0)), axis=1).mean()))

    def shares(self, images):
        """The share of each of the ten classes among images, as predicted."""
        return np.bincount(self.model.predict(images), minlength=10)/len(images)

    def references(self, n):
        """The scores to compare with: of real digits, and of n samples of a Gaussian with their mean and covariance."""
        gaussian = np.random.default_rng(0).multivariate_normal(
            self.real.mean(axis=0), np.cov(self.real.T), n, method='eigh')  # the margin makes it singular
        return self.score(self.real[self.unseen]), self.score(np.clip(gaussian, 0, 1))


def trained(images, folder, flags):
    """Runs the command on these images; returns generated_samples.csv, [10000, 784], and the seconds that it took."""
    file = folder/'digits.npz'  # beside the run, which needs it for --resume and --sample
    np.savez(file, images)
    command = [sys.executable, str(PROGRAM), '--data', str(file), '--output', str(folder), *flags]
    began = time.perf_counter()
    subprocess.run(command, check=True)
    seconds = time.perf_counter() - began
    return np.loadtxt(folder/'generated_samples.csv', delimiter=',', skiprows=1), seconds


def main(argv=None):
    """Trains, measures, prints. Returns 0 where the target is reached, 1 where it is not."""
    parser = argparse.ArgumentParser(description='Trains the GAN on digits and measures what it draws. Further flags '
                                     'go to gan_quadratic.py.', allow_abbrev=False)
    parser.add_argument('--pictures', default='none', help='as in gan_quadratic.py (default: none)')
    parser.add_argument('--output', help='a folder to keep the run in (default: none)')
    ours, flags = parser.parse_known_args(argv)

    images, classes = real_digits()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(ours.output or temporary)
        folder.mkdir(parents=True, exist_ok=True)
        rows, seconds = trained(images, folder, ['--pictures', ours.pictures, *flags])
    judge, generated = Judge(images, classes), pixels(rows)
    real, gaussian = judge.references(len(generated))
    score, shares = judge.score(generated), judge.shares(generated)

    accuracy = judge.model.score(judge.real[judge.unseen], classes[judge.unseen])
    print(f'Classifier  {accuracy:.1%} of the unseen real digits right')
    print(f'Score       real {real:.2f}, Gaussian {gaussian:.2f}, generated {score:.2f} (target {SCORE})')
    print('Shares      ' + ', '.join(f'{digit}: {share:.1%}' for digit, share in enumerate(shares))
          + f' (target {SHARE:.0%} each)')
    print(f'Seconds     {seconds:.0f}')
    reached = score >= SCORE and shares.min() >= SHARE
    print('Target      ' + ('reached' if reached else 'MISSED'))
    return 0 if reached else 1


if __name__ == '__main__':
    sys.exit(main())
