"""Draws the pictures of a run from the numbers in its folder; a process of its own, which knows nothing of training.

    python plotting.py DIR        every picture of the run in DIR, anew (DIR: outputs where none is given)

Read it from the top: colours and markers, the axes that data are drawn on, one function per picture, the table that
says which function draws which file, and the one path by which every picture gets to disk.
"""
import argparse
import logging
import math
import os
import queue
import signal
import sys
import threading
import zipfile
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

logging.getLogger('matplotlib').setLevel(logging.ERROR)  # "building the font cache", on a user's first run
from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: E402
from matplotlib.collections import PolyCollection  # noqa: E402
from matplotlib.colors import LinearSegmentedColormap, to_rgb  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402
from matplotlib.patches import FancyArrowPatch  # noqa: E402
from matplotlib.ticker import MaxNLocator  # noqa: E402

from gan_quadratic import (SNAPSHOT, Failure, UsageError, frames, numbered, read_json,  # noqa: E402
                           read_rows, say, whole_file)

REAL, GENERATED = '#0072b2', '#d55e00'  # told apart by the colour-blind too; the same in every picture
BETWEEN = LinearSegmentedColormap.from_list('generated to real', [GENERATED, '#ffffff', REAL])
SHAPES = {REAL: 'o', GENERATED: 's'}
# Before an update a marker is open, after it small and filled, and the real ones are the larger: so all four series
# are seen even where they coincide.
FEATURES = (  # of real or generated data, before or after, style
    ('Real', 'Before', dict(color=REAL, markersize=9, fillstyle='none', markeredgewidth=0.8)),
    ('Real', 'After', dict(color=REAL, markersize=4, markeredgewidth=0)),
    ('Generated', 'Before', dict(color=GENERATED, markersize=5, fillstyle='none', markeredgewidth=0.7)),
    ('Generated', 'After', dict(color=GENERATED, markersize=2.8, markeredgewidth=0)),
)
AROUND = dict(D=slice(0, 2), G=slice(1, 3))  # of a snapshot's features, those before and after the update of each
DARK = '#333333'  # the discriminator's, which judges both
GIF_SECONDS = 20


# ------------------------------------------------------------------------------------------------ axes and points

def new_figure(width=6.4, height=4.8):
    """A figure of this size in inches, at 100 dots each."""
    figure = Figure((width, height), dpi=100)
    FigureCanvasAgg(figure)  # draws without a display
    return figure


def data_axes(figure, data, where=111):
    """Axes for rows of data [n, dim] that keep their limits: one in two or three dimensions, of more columns each pair
    of the first four. Returns a list of (axes, columns on it)."""
    low, high, names = data['low'], data['high'], data['names']
    dim = len(low)
    if dim > 3:
        pairs = [(i, j) for i in range(4) for j in range(i + 1, 4)]
        axes = [(figure.add_subplot(2, 3, k + 1), pair) for k, pair in enumerate(pairs)]
        figure.subplots_adjust(0.12, 0.17, 0.98, 0.89, 0.6, 0.45)
    else:
        axes = [(figure.add_subplot(where, projection='3d' if dim == 3 else None), tuple(range(dim)))]
    for ax, columns in axes:
        for axis, column in zip('xyz', columns):
            getattr(ax, f'set_{axis}lim')(low[column], high[column])
            getattr(ax, f'set_{axis}label')(names[column], labelpad=1 if dim > 3 else None)
        if dim > 3:
            ax.tick_params(labelsize=7)
        if dim != 3:
            ax.ticklabel_format(scilimits=(-3, 4))  # longer numbers would push the label off the picture
        if dim == 1:
            ax.set(ylim=(-0.02, 1.02), ylabel='share of samples below')
        elif dim == 2 and 0.5 < np.divide(*(high - low)) < 2:
            ax.set_aspect('equal')
    return axes


def points(axes, color, label, **style):
    """A series of points on `data_axes`. Returns its artists and the function that puts rows [n, dim] in place."""
    lines = [ax.plot(*[[]]*max(2, len(columns)), linestyle='none', color=color, marker=SHAPES[color], label=label,
                     **style)[0] for ax, columns in axes]

    def put(rows):
        for line, (_, columns) in zip(lines, axes):
            if len(columns) == 3:
                line.set_data_3d(*rows[:, columns].T)
            elif len(columns) == 2:
                line.set_data(*rows[:, columns].T)
            else:
                line.set_data(np.sort(rows[:, 0]), np.linspace(0, 1, len(rows)))
    return lines, put


def legend_below(figure, *axes):
    """A legend of all these axes under them, where it hides no points."""
    handles, labels = (sum(pair, []) for pair in zip(*(ax.get_legend_handles_labels() for ax in axes)))
    figure.legend(handles, labels, loc='lower center', ncols=2, frameon=False, fontsize=9)


def round_limits(ax, *clouds):
    """Limits at round numbers around clouds of points [n, 2], so that they seldom change from picture to picture."""
    values = np.concatenate(clouds)
    for low, high, set_limits in zip(values.min(axis=0), values.max(axis=0), (ax.set_xlim, ax.set_ylim)):
        margin = 0.04*(high - low) or 1
        ticks = MaxNLocator(5, steps=[1, 2, 5, 10]).tick_values(low - margin, high + margin)
        set_limits(ticks[0], ticks[-1])


# ------------------------------------------------------------------------------ pictures of each snapshot
# Each function prepares a figure once and returns the function that puts what moves in its place, given a snapshot's
# arrays, and returns those artists, in the order of drawing. The title is `Painter`'s.

def samples(figure, data):
    """Real against generated samples."""
    if len(data['image']):
        return image_grids(figure, data)
    figure.subplots_adjust(0.13, 0.17, 0.97, 0.91)
    axes = data_axes(figure, data)
    real, put_real = points(axes, REAL, 'Real samples', markersize=4, fillstyle='none', markeredgewidth=0.8)
    generated, put_generated = points(axes, GENERATED, 'Generated samples', markersize=3, markeredgewidth=0)
    legend_below(figure, axes[0][0])
    outside = figure.text(0.98, 0.03, '', ha='right', fontsize=8, color='0.4')
    put_real(data['real'])

    def update(shot):
        put_generated(shot['generated'])
        beyond = int(np.any((shot['generated'] < data['low']) | (shot['generated'] > data['high']), axis=1).sum())
        outside.set_text(f'{beyond} samples outside' if beyond else '')
        return [*real, *generated, outside]
    return update


def tiled(rows, data):
    """Up to 64 images as one picture, 8 by 8, in [0, 1]; rows [n, pixels] are in the data's units."""
    low, high, image = data['low'].min(), data['high'].max(), data['image']
    tiles = np.zeros([64, *image])
    tiles[:len(rows)] = np.clip((rows[:64] - low)/(high - low), 0, 1).reshape(-1, *image)
    return np.concatenate([np.concatenate(list(line), axis=1) for line in tiles.reshape(8, 8, *image)])


def image_grids(figure, data):
    """Images, real beside generated."""
    figure.subplots_adjust(0.02, 0.02, 0.98, 0.86, 0.04)
    shown = []
    for k, (words, colour) in enumerate((('Real samples', REAL), ('Generated samples', GENERATED))):
        ax = figure.add_subplot(1, 2, k + 1, xticks=[], yticks=[])
        ax.set_title(words, color=colour, fontsize=10)
        shown.append(ax.imshow(tiled(data['real'], data), cmap='gray', vmin=0, vmax=1))

    def update(shot):
        shown[1].set_data(tiled(shot['generated'], data))
        return shown
    return update


def transform(figure, data, step):
    """The feature space h3 of real and of generated samples, before and after the update of network `step`."""
    figure.subplots_adjust(0.12, 0.21, 0.97, 0.92)
    ax = figure.add_subplot(xlabel='feature 1', ylabel='feature 2')
    ax.locator_params(nbins=4)  # numbers on axes that move are most of the drawing time
    series = [points([(ax, (0, 1))], label=f'{whose} Data {when} {step} step', **style)
              for whose, when, style in FEATURES]
    legend_below(figure, ax)

    def update(shot):
        before, after = shot['features'][AROUND[step]]
        clouds = before[0], after[0], before[1], after[1]
        round_limits(ax, *clouds)
        for (_, put), cloud in zip(series, clouds):
            put(cloud)
        return [ax.xaxis, ax.yaxis, *(line for lines, _ in series for line in lines)]
    return update


def centroids(figure, data, step):
    """The centroids of those four clouds; beside them, enlarged, how the update moved each, from a common origin."""
    figure.subplots_adjust(0.09, 0.27, 0.98, 0.85, 0.3)
    ax = figure.add_subplot(1, 2, 1, xlabel='feature 1', ylabel='feature 2')
    near = figure.add_subplot(1, 2, 2, xlabel='move along feature 1', ylabel='move along feature 2')
    for axes, words in ((ax, 'where they are'), (near, f'how the {step} step moved them, enlarged')):
        axes.set_title(words, fontsize=10, y=1.05)  # above the power of ten that may stand there
        axes.locator_params(nbins=4)
    near.ticklabel_format(scilimits=(-2, 3))
    series = [points([(ax, (0, 1))], label=f'{whose} Data {when} {step} step',
                     **dict(style, markersize=dict(Before=14, After=6)[when], markeredgewidth=1.5))
              for whose, when, style in FEATURES]

    def arrow(axes, **style):  # animated from the start, because not every frame shows it
        return axes.add_patch(FancyArrowPatch((0, 0), (0, 0), arrowstyle='-|>', shrinkA=0, shrinkB=0, animated=True,
                                              **style))
    moves = [arrow(near, color=REAL, mutation_scale=14, linewidth=3),
             arrow(near, color=GENERATED, mutation_scale=14, linewidth=1.8)]
    paths = [arrow(ax, color=colour, mutation_scale=12) for colour in (REAL, GENERATED)]
    rest = near.plot([0], [0], 'o', color=REAL, markersize=5)[0]
    toward = near.plot([], [], '--', color='0.5', linewidth=1, label='from generated toward real')[0]
    legend_below(figure, ax, near)

    def update(shot):
        before, after = shot['features'][AROUND[step]].mean(axis=2)
        round_limits(ax, before, after)
        for (_, put), centroid in zip(series, (before[0], after[0], before[1], after[1])):
            put(centroid[None])
        reach = max(np.abs(after - before).max(), 1e-12)
        reach = next(k for k in (10**math.floor(math.log10(reach))*np.array([1, 2, 5, 10, 20])) if k > 1.05*reach)
        near.set(xlim=(-reach, reach), ylim=(-reach, reach))
        apart = before[0] - before[1]
        toward.set_data(*np.stack([[0, 0], 3*reach*apart/(np.linalg.norm(apart) or 1)]).T)
        for path, move, start, end in zip(paths, moves, before, after):
            path.set_positions(start, end)
            move.set_positions((0, 0), end - start)
        # an arrow needs a length; the head of a short one would hide the markers
        width = np.ptp(ax.get_xlim()), np.ptp(ax.get_ylim())
        long = [path for path, move in zip(paths, after - before) if np.abs(move/width).max() > 0.05]
        moved = [arrow for arrow, move in zip(moves, after - before) if move.any()]
        return [ax.xaxis, ax.yaxis, near.xaxis, near.yaxis, *(line for lines, _ in series for line in lines), *long,
                toward, rest, *moved]
    return update


def decision(figure, data):
    """D(x) over the data's plane, with the contour where the discriminator cannot tell, and samples over it."""
    figure.subplots_adjust(0.13, 0.17, 0.99, 0.91)
    (ax, _), = axes = data_axes(figure, data)
    (left, bottom), (right, top) = data['low'], data['high']
    heat = ax.imshow(np.zeros([1, 1]), cmap=BETWEEN, vmin=0, vmax=1, origin='lower', aspect=ax.get_aspect(),
                     extent=(left, right, bottom, top), interpolation='bilinear')
    figure.colorbar(heat, ax=ax, label='D(x): 1 real, 0 generated, 0.5 cannot tell')
    real, put_real = points(axes, REAL, 'Real samples', markersize=5, markeredgecolor='white', markeredgewidth=0.5)
    generated, put_generated = points(axes, GENERATED, 'Generated samples', markersize=5, markeredgecolor='black',
                                      markeredgewidth=0.5)
    legend_below(figure, ax)
    put_real(data['real'])
    contours = []

    def update(shot):
        side = round(len(shot['decision'])**0.5)
        values = shot['decision'].reshape(side, side)
        heat.set_data(values)
        while contours:
            contours.pop().remove()
        if values.min() < 0.5 < values.max():
            contours.append(ax.contour(np.linspace(left, right, side), np.linspace(bottom, top, side), values, [0.5],
                                       colors='black', linewidths=1.2))
        put_generated(shot['generated'])
        return [heat, *contours, *real, *generated]
    return update


def mapping(figure, data):
    """A regular grid of noise, coloured by position, and its image under the generator: overlaps show as darker."""
    figure.subplots_adjust(0.1, 0.12, 0.97, 0.84, 0.3)
    noise = data['noise']
    side = round(len(noise)**0.5)
    flat = figure.add_subplot(1, 2, 1, xlabel='Z, first value', ylabel='Z, second value', aspect='equal',
                              xlim=(-1.1, 1.1), ylim=(-1.1, 1.1))
    flat.set_title('noise', fontsize=10)
    (ax, _), = data_axes(figure, data, 122)
    ax.set_title('what the generator makes of it', fontsize=10)
    u = (noise + 1)/2

    def quads(values):
        v = values.reshape(side, side, -1)
        return np.stack([v[:-1, :-1], v[:-1, 1:], v[1:, 1:], v[1:, :-1]], axis=2).reshape(-1, 4, v.shape[2])
    if noise.shape[1] == 1:  # a line of noise becomes a line of points
        colours = np.stack([u[:, 0], 0.35 + 0*u[:, 0], 1 - u[:, 0]], axis=1)
        flat.scatter(noise[:, 0], 0*noise[:, 0], c=colours, s=12)
        image = ax.scatter(0*noise[:, 0], 0*noise[:, 0], c=colours, s=12)
        put = image.set_offsets
    else:
        middle = quads(u).mean(axis=1)
        colours = np.stack([middle[:, 0], 0.75*middle[:, 1], 1 - middle[:, 0]], axis=1)
        flat.add_collection(PolyCollection(quads(noise), facecolors=colours, edgecolors='white', linewidths=0.3))
        image = PolyCollection(quads(noise), facecolors=colours, edgecolors=colours, linewidths=0.5, alpha=0.45)
        ax.add_collection(image, autolim=False)

        def put(values):
            image.set_verts(quads(values))

    def update(shot):
        put(shot['mapping'])
        return [image]
    return update


# ------------------------------------------------------------------------------------- pictures of the whole run

def draw_training_data(folder, data):
    """What is to be learned."""
    figure = new_figure()
    if len(data['image']):
        ax = figure.add_subplot(xticks=[], yticks=[])
        ax.imshow(tiled(data['training'], data), cmap='gray', vmin=0, vmax=1)
        ax.set_title('Training data')
    else:
        figure.subplots_adjust(0.13, 0.12, 0.97, 0.92)
        axes = data_axes(figure, data)
        _, put = points(axes, REAL, 'Real samples', markersize=2, markeredgewidth=0)
        put(data['training'])
        figure.suptitle('Training data', fontsize=12)
    figure.canvas.draw()
    write_png(figure, folder/'training_data.png')


def draw_training_loss(folder, data):
    """Both losses of the log and their running means, with the values that they come to in equilibrium."""
    rows = np.array([list(row.values()) for row in read_rows(folder/'loss_logs.csv')])
    if not len(rows):
        return  # stopped before the first
    figure = new_figure(7.4, 4.8)
    figure.subplots_adjust(0.08, 0.21, 0.96, 0.92)
    ax = figure.add_subplot(xlabel='iteration', ylabel='loss', title='Training Loss')
    smooth = max(1, len(rows)//200)
    kernel = np.ones(smooth)/smooth
    for column, colour, words, level, name in ((1, DARK, 'Discriminator', 2*math.log(2), '2 ln 2'),
                                               (2, GENERATED, 'Generator', math.log(2), 'ln 2')):
        ax.plot(rows[:, 0], rows[:, column], color=colour, linewidth=0.5, alpha=0.25)
        ax.plot(np.convolve(rows[:, 0], kernel, 'valid'), np.convolve(rows[:, column], kernel, 'valid'), color=colour,
                linewidth=1.6, label=f'{words} loss' + (f', mean of {smooth} rows' if smooth > 1 else ''))
        ax.axhline(level, color=colour, linewidth=1, linestyle='--', label=f'equilibrium, {name} = {level:.4f}')
    top = max(2., 1.15*np.quantile(rows[:, 1:], 0.98))
    ax.set(ylim=(0, top), xlim=(0, rows[-1, 0] or 1))
    beyond = int((rows[:, 1:] > top).any(axis=1).sum())
    if beyond:
        figure.text(0.98, 0.935, f'{beyond} of {len(rows)} rows reach above', ha='right', fontsize=8, color='0.4')
    legend_below(figure, ax)
    figure.canvas.draw()
    write_png(figure, folder/'training_loss.png')


def draw_metrics(folder, data):
    """The columns of metrics.csv in small panels, each with what it should come to as a dashed line."""
    rows = read_rows(folder/'metrics.csv')
    if not rows:
        return
    columns = {name: np.array([row[name] for row in rows], float) for name in rows[0]}  # None becomes NaN
    iteration = columns['Iteration']
    panels = [  # title, scale (share: from 0 to 1), series of (column, label, colour), levels of (value, label, colour)
        ('Losses', 'linear', [('Discriminator Loss Mean', 'discriminator', DARK),
                              ('Generator Loss Mean', 'generator', GENERATED)],
         [(2*math.log(2), '2 ln 2', DARK), (math.log(2), 'ln 2', GENERATED)]),
        ('Spread of the losses', 'log', [('Discriminator Loss Spread', 'discriminator', DARK),
                                         ('Generator Loss Spread', 'generator', GENERATED)], []),
        ('Mean D(x)', 'share', [('D on Real', 'on real', REAL), ('D on Generated', 'on generated', GENERATED)],
         [(0.5, 'cannot tell', '0.4')]),
        ('Energy distance', 'log', [('Energy Distance', 'generated to real', GENERATED)],
         [(float(data['floor']), 'real to real', REAL)]),
        ('Curve residual', 'log', [('Curve Residual', 'median |y - f(x)|', GENERATED)], []),
        ('Coverage of the x range', 'share', [('Coverage', 'generated', GENERATED)], [(1, 'all of it', REAL)]),
        ('Mixing of the features', 'log', [('Feature Mixing', 'distance of the clouds', DARK)], []),
        ('Distance of the centroids after the G step', 'log', [('Centroid Distance After', None, DARK)], []),
        ('Largest move of a real feature in a G step', 'linear', [('Largest Real Move', 'real features', REAL)],
         [(0, 'must be 0', '0.4')]),
    ]
    figure = new_figure(11, 8)
    figure.subplots_adjust(0.07, 0.07, 0.985, 0.92, 0.25, 0.35)
    for k, (title, scale, series, levels) in enumerate(panels):
        ax = figure.add_subplot(3, 3, k + 1, xlabel='iteration' if k > 5 else '')
        ax.set_title(title, fontsize=10)
        ax.tick_params(which='both', labelsize=7)
        if np.isnan(columns[series[0][0]]).all():
            ax.set(xticks=[], yticks=[])
            ax.text(0.5, 0.5, 'not defined for these data', ha='center', color='0.4', transform=ax.transAxes)
            continue
        for name, label, colour in series:
            values = columns[name] if scale != 'log' else np.where(columns[name] > 0, columns[name], np.nan)
            ax.plot(iteration, values, '.-', color=colour, linewidth=1, markersize=3, label=label)
        for value, label, colour in levels:
            ax.axhline(value, color=colour, linestyle='--', linewidth=1, label=label)
        if title.startswith('Distance'):
            for toward, colour, style, label in ((1, GENERATED, 'o', 'it moved toward'),
                                                 (0, DARK, 'x', 'it moved away')):
                chosen = columns['Moved Toward'] == toward
                distances = columns['Centroid Distance After'][chosen]
                ax.plot(iteration[chosen], distances, style, color=colour, markersize=4, label=label)
        if scale == 'log' and any((columns[name] > 0).any() for name, _, _ in series):
            ax.set_yscale('log')
        if title == 'Losses':
            ax.set_ylim(0, max(2, 1.1*np.quantile([columns[name] for name, _, _ in series], 0.95)))
        elif scale == 'share':
            ax.set_ylim(-0.05, 1.05)
        ax.legend(fontsize=7, frameon=True, framealpha=0.6, edgecolor='none')
    figure.suptitle('Measures at each snapshot; dashed: equilibrium, or what two draws of real data measure')
    figure.canvas.draw()
    write_png(figure, folder/'metrics.png')


# ------------------------------------------------------------------------------------------- pictures onto disk

FEATURES_TITLE, CENTROID_TITLE = 'Transformed Features', 'Centroid of Transformed Features'
DRAWN_BY = {  # the files of PICTURES -> title, size in inches, function that prepares the figure, its further words
    'iterations/iteration_%06d.png': ('Samples', (6.4, 4.8), samples, {}),
    'features/feature_transform_%06d.png': (FEATURES_TITLE, (6.4, 5.2), transform, dict(step='G')),
    'features/feature_transform_centroid_%06d.png': (CENTROID_TITLE, (8, 4.8), centroids, dict(step='G')),
    'features/d_step_transform_%06d.png': (FEATURES_TITLE, (6.4, 5.2), transform, dict(step='D')),
    'features/d_step_centroid_%06d.png': (CENTROID_TITLE, (8, 4.8), centroids, dict(step='D')),
    'discriminator/decision_%06d.png': ('Discriminator', (7, 5), decision, {}),
    'generator/mapping_%06d.png': ('Generator', (8, 4.4), mapping, {}),
}
ONCE = draw_training_data, draw_training_loss, draw_metrics


def make_palette(shades=42):
    """The colours of pictures of lines and points, [n, 3]: all that lies between any two of those drawn with."""
    colours = [np.array(to_rgb(colour)) for colour in ('white', 'black', REAL, GENERATED)]
    blends = [np.linspace(one, other, shades) for k, one in enumerate(colours) for other in colours[k + 1:]]
    return np.round(255*np.concatenate(blends)).astype(np.uint8)


def nearest_in(palette):
    """The nearest colour of a palette to each of 32 x 32 x 32 colours, by index."""
    levels = np.linspace(0, 255, 32, dtype=np.float32)[:, None]
    r, g, b = ((levels - channel)**2 for channel in palette.T)
    return (r[:, None, None] + g[:, None] + b).argmin(axis=-1).astype(np.uint8)


PALETTE = make_palette()
NEAREST = nearest_in(PALETTE)  # Pillow's own search takes white for nearly white


def write_png(figure, path):
    """Writes what is drawn on a figure's canvas. Lines and points get a palette, which their GIF needs anyway and which
    is quick to compress; a picture of many shades keeps them."""
    pixels = np.asarray(figure.canvas.buffer_rgba())
    image = Image.fromarray(pixels).convert('RGB')
    if image.getcolors(1500):
        nearest = NEAREST[tuple(np.moveaxis(pixels[..., :3] >> 3, -1, 0))]
        image = Image.frombytes('P', image.size, nearest.tobytes())
        image.putpalette(PALETTE.tobytes())
    with whole_file(path) as file:
        image.save(file, 'png', compress_level=4)


class Painter:
    """A figure that is drawn again and again. What stands still is drawn once, then only what moves (matplotlib calls
    this blitting), for the text of axes and legends costs far more than the points."""

    def __init__(self, data, title, size, prepare, words):
        self.figure = new_figure(*size)
        self.update = prepare(self.figure, data, **words)
        self.words, self.title = title, self.figure.text(0.5, 0.94, '', ha='center', fontsize=12)
        self.still = None

    def paint(self, shot, iteration, path):
        """Draws a snapshot's arrays and writes the PNG."""
        self.title.set_text(f'{self.words} at Iteration {iteration}')
        moving = [*self.update(shot), self.title]
        if not self.still:
            for artist in moving:
                artist.set_animated(True)
            self.figure.canvas.draw()
            self.still = self.figure.canvas.copy_from_bbox(self.figure.bbox)
        self.figure.canvas.restore_region(self.still)
        for artist in moving:
            self.figure.draw_artist(artist)
        write_png(self.figure, path)


def write_gif(paths, path):
    """Joins PNGs: 2 a second, more where they would last longer than GIF_SECONDS, leaving some out where needed."""
    paths = paths[::math.ceil(len(paths)*0.02/GIF_SECONDS)]  # viewers show no more than 50 a second
    images = map(Image.open, paths)  # one after the other, for there may be more than files can be open
    with whole_file(path) as file:
        next(images).save(file, 'gif', save_all=True, append_images=images, loop=0, optimize=False,
                          duration=min(500, 10*int(100*GIF_SECONDS/len(paths))))


def read_arrays(path):
    """The arrays of an .npz by name. Raises Failure where it is damaged."""
    try:
        with np.load(path) as arrays:
            return dict(arrays)
    except (ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        raise Failure(f'{path} is damaged ({error})') from error


class Run:
    """The pictures of the run in a folder."""

    def __init__(self, folder):
        self.folder = folder
        self.settings = read_json(folder/'settings.json')
        if self.settings is None:
            raise UsageError(f'argument DIR: {folder} holds no run; give the output folder of one')
        self.data = read_arrays(folder/'snapshots/data.npz')
        self.data['names'] = self.data['names'].tolist()
        self.frames = frames(self.settings, len(self.data['low']))
        self.painters = {}
        self.done = set()

    def draw_frames(self, again):
        """Draws what the snapshots on disk call for: all of it, or what is missing."""
        for iteration, source in numbered(self.folder, SNAPSHOT).items():
            names = [name for name in self.frames if (name, iteration) not in self.done
                     and (again or not (self.folder/(name % iteration)).exists())]
            self.done.update((name, iteration) for name in self.frames)
            if not names:
                continue
            shot = read_arrays(source)
            for name in names:
                if name not in self.painters:
                    self.painters[name] = Painter(self.data, *DRAWN_BY[name])
                (self.folder/name).parent.mkdir(exist_ok=True)
                self.painters[name].paint(shot, iteration, self.folder/(name % iteration))

    def draw_rest(self):
        """Draws the pictures of the whole run and joins the GIFs."""
        for draw in ONCE:
            draw(self.folder, self.data)
        for name, gif in self.frames.items():
            paths = list(numbered(self.folder, name).values())
            if paths:
                write_gif(paths, self.folder/gif)


def follow(run):
    """Draws beside a training run: at every word that comes through stdin what is new, at 'finish' the rest.

    Where the pipe breaks before all is drawn, the run has died, and this process ends with it.
    """
    words = queue.Queue()

    def listen():
        with open(0, 'rb', buffering=0, closefd=False) as pipe:  # sys.stdin's lock would be held at this process's end
            for word in pipe:
                words.put(word.decode().strip())
        os.kill(os.getpid(), signal.SIGTERM)
    threading.Thread(target=listen, daemon=True).start()
    while words.get() != 'finish':
        run.draw_frames(again=False)
    run.draw_frames(again=False)
    run.draw_rest()


def main():
    parser = argparse.ArgumentParser('plotting.py', description='Draws every picture of a run from its numbers.')
    parser.add_argument('folder', metavar='DIR', nargs='?', default='outputs',
                        help='output folder of a run (default: outputs)')
    parser.add_argument('--follow', action='store_true', help=argparse.SUPPRESS)  # how gan_quadratic.py starts it
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # like Ctrl-C: leaves no half-written file behind
    try:
        run = Run(Path(arguments.folder))
        if arguments.follow:
            follow(run)
        else:
            run.draw_frames(again=True)
            run.draw_rest()
            say(f'{len(run.done)} pictures of snapshots drawn in {run.folder}, and those of the whole run')
        return 0
    except KeyboardInterrupt:
        return 130
    except UsageError as error:
        status, line = 2, f'error: {error}'
    except Failure as error:
        status, line = 1, f'{error}; the pictures so far are kept'
    except OSError as error:
        what = error.filename or arguments.folder
        status, line = 1, f'{what}: {error.strerror or error}; the pictures so far are kept'
    say(f'plotting.py: {line}', file=sys.stderr)
    return status


if __name__ == '__main__':
    sys.exit(main())
