"""Draws the pictures and the page of a run from the numbers in its folder; a process of its own, without TensorFlow.

    python plotting.py DIR        every picture of the run in DIR, anew, and its page (DIR: outputs where none is given)

Read it from the top: the files of a run, colours and axes, one function per picture, the table that says which
function draws which file, the one path by which every picture gets to disk, and the page that shows them together.
"""
import argparse
import contextlib
import csv
import html
import json
import logging
import math
import os
import re
import signal
import sys
import time
import warnings
import zipfile
import zlib
from pathlib import Path
from typing import Callable, NamedTuple

import numpy as np
from PIL import Image

logging.getLogger('matplotlib').setLevel(logging.ERROR)  # "building the font cache", on a user's first run
from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: E402
from matplotlib.collections import PolyCollection  # noqa: E402
from matplotlib.colors import LinearSegmentedColormap, to_rgb  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402
from matplotlib.font_manager import findfont, get_font  # noqa: E402
from matplotlib.patches import FancyArrowPatch  # noqa: E402
from matplotlib.ticker import MaxNLocator  # noqa: E402


# -------------------------------------------------------------------------------------------- the files of a run

class Unreadable(Exception):
    """A file of the run that is not as a run writes it."""


@contextlib.contextmanager
def whole_file(path):
    """A file to write that takes its place in the folder, by renaming, when it is whole; otherwise it is removed."""
    temporary = path.with_name(path.name + '.tmp')
    try:
        with open(temporary, 'wb') as file:
            yield file
        os.replace(temporary, path)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError):
            error.filename = error.filename or str(path)
        raise


def numbered(folder, pattern):
    """The files of a folder that a pattern with %06d names: iteration -> path, in the order of the iterations."""
    match = re.compile(re.escape(Path(pattern).name).replace('%06d', r'(\d{6,})')).fullmatch
    found = {int(match(path.name)[1]): path for path in (folder/pattern).parent.glob('*') if match(path.name)}
    return dict(sorted(found.items()))


def read_json(path):
    """A JSON file, None where there is none."""
    try:
        return json.loads(path.read_text(encoding='utf-8'))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise Unreadable(f'{path} is damaged ({error})') from error


def read_columns(path):
    """The columns of a CSV by name, NaN where a cell is empty; a last line that is still being written is left out."""
    try:
        text = path.read_text(encoding='utf-8') if path.exists() else ''
        header, *lines = list(csv.reader(text[:text.rfind('\n') + 1].splitlines())) or [[]]
        rows = np.array([[float(cell or 'nan') for cell in line] for line in lines]).reshape(-1, len(header) or 1)
        return dict(zip(header, rows.T))
    except ValueError as error:
        raise Unreadable(f'{path} is damaged ({error})') from error


def read_arrays(path):
    """The arrays of an .npz by name."""
    try:
        with np.load(path) as arrays:
            return dict(arrays)
    except (ValueError, EOFError, KeyError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        raise Unreadable(f'{path} is damaged ({error})') from error


# ------------------------------------------------------------------------------------------------ axes and points

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
DARK = '#333333'  # the discriminator's, which sees both


def new_figure(width=6.4, height=4.8):
    """A figure of this size in inches, at 100 dots each, which keeps all text within its edges."""
    figure = Figure((width, height), dpi=100, layout='constrained')
    figure.get_layout_engine().set(w_pad=0.08, h_pad=0.08)
    FigureCanvasAgg(figure)  # draws without a display
    return figure


def short(name, most=18):
    """A column's name on one line, with an ellipsis where it is longer than `most`."""
    name = ' '.join(str(name).split())
    return name if len(name) <= most else name[:most - 1] + '…'


def label(ax, axis, name, most=40, **style):
    """A label that shows a user's text as it is: $ begins no formula."""
    getattr(ax, f'set_{axis}label')(short(name, most), parse_math=False, **style)


def data_axes(figure, data, where=111):
    """Axes for rows of data [n, dim] that keep their limits: one in two or three dimensions, of more columns each pair
    of the first four. Returns a list of (axes, columns on it)."""
    low, high, names = data['low'], data['high'], data['names']
    dim = len(low)
    if dim > 3:
        pairs = [(i, j) for i in range(4) for j in range(i + 1, 4)]
        axes = [(figure.add_subplot(2, 3, k + 1), pair) for k, pair in enumerate(pairs)]
    else:
        axes = [(figure.add_subplot(where, projection='3d' if dim == 3 else None), tuple(range(dim)))]
    for ax, columns in axes:
        for axis, column in zip('xyz', columns):
            getattr(ax, f'set_{axis}lim')(low[column], high[column])
            label(ax, axis, names[column], 14 if dim > 3 else 24 if dim == 3 else 40)
        ax.locator_params(nbins=4 if dim > 2 else 6)
        if dim > 3:
            ax.tick_params(labelsize=7)
        if dim != 3:
            ax.ticklabel_format(scilimits=(-3, 4), useOffset=False)  # longer numbers would take the picture's room
        else:
            ax.set_box_aspect(None, zoom=0.85)  # the layout knows nothing of labels that stand around a cube
        if dim == 1:
            ax.set(ylim=(-0.02, 1.02), ylabel='share of samples below')
        elif dim == 2 and 0.5 < np.divide(*(high - low)) < 2:
            ax.set_aspect('equal')
    if dim > 4:
        figure.text(0.02, 0.02, f'4 of {dim} columns', fontsize=8, color='0.4')
    return axes


def points(axes, color, name, **style):
    """A series of points on `data_axes`. Returns its artists and the function that puts rows [n, dim] in place."""
    lines = [ax.plot(*[[]]*max(2, len(columns)), linestyle='none', color=color, marker=SHAPES[color], label=name,
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
    figure.legend(handles, labels, loc='outside lower center', ncols=2, frameon=False, fontsize=9)


def moving_axes(ax, numbers=4):
    """Prepares axes whose numbers change from picture to picture: few, for they are most of the drawing time."""
    ax.locator_params(nbins=numbers)
    ax.ticklabel_format(scilimits=(-2, 3), useOffset=False)
    width, height = ax.get_window_extent().size
    ax.xaxis.set_label_coords(0.5, -36/height)  # where they stand still
    ax.yaxis.set_label_coords(-60/width, 0.5)
    ax.figure.get_layout_engine().set(w_pad=0.25)  # for half a number at the axes' end
    return ax


def round_limits(ax, *clouds):
    """Limits at round numbers around clouds of points [n, 2], so that they seldom change from picture to picture."""
    values = np.concatenate(clouds).astype(float)
    for low, high, set_limits in zip(values.min(axis=0), values.max(axis=0), (ax.set_xlim, ax.set_ylim)):
        margin = 0.04*(high - low) or 1
        ticks = MaxNLocator(5, steps=[1, 2, 5, 10]).tick_values(low - margin, high + margin)
        set_limits(ticks[0], ticks[-1])


# ------------------------------------------------------------------------------ pictures of each snapshot
# Each function prepares a figure once and returns the function that puts what moves in its place, given a snapshot's
# arrays, and returns the axes whose numbers move, and the other artists that do, in the order of drawing.

def samples(figure, data):
    """Real against generated samples."""
    if len(data['image']):
        return image_grids(figure, data)
    axes = data_axes(figure, data)
    real, put_real = points(axes, REAL, 'Real samples', markersize=4, fillstyle='none', markeredgewidth=0.8)
    generated, put_generated = points(axes, GENERATED, 'Generated samples', markersize=3, markeredgewidth=0)
    legend_below(figure, axes[0][0])
    outside = figure.text(0.98, 0.02, '', ha='right', fontsize=8, color='0.4')
    put_real(data['real'])

    def update(shot):
        put_generated(shot['generated'])
        beyond = int(np.any((shot['generated'] < data['low']) | (shot['generated'] > data['high']), axis=1).sum())
        outside.set_text(f'{beyond} outside' if beyond else '')
        return [], [*real, *generated, outside]
    return update


def tiled(rows, data):
    """Up to 64 images as one picture, 8 by 8, in [0, 1]; rows [n, pixels] are in the data's units."""
    low, high, image = data['low'].min(), data['high'].max(), data['image']
    tiles = np.zeros([64, *image])
    tiles[:len(rows)] = np.clip((rows[:64] - low)/((high - low) or 1), 0, 1).reshape(-1, *image)
    return np.concatenate([np.concatenate(list(line), axis=1) for line in tiles.reshape(8, 8, *image)])


def image_grids(figure, data):
    """Images, real beside generated."""
    shown = []
    for k, (words, colour) in enumerate((('Real samples', REAL), ('Generated samples', GENERATED))):
        ax = figure.add_subplot(1, 2, k + 1, xticks=[], yticks=[])
        ax.set_title(words, color=colour, fontsize=10)
        shown.append(ax.imshow(tiled(data['real'], data), cmap='gray', vmin=0, vmax=1))

    def update(shot):
        shown[1].set_data(tiled(shot['generated'], data))
        return [], shown
    return update


def transform(step, figure, data):
    """The feature space h3 of real and of generated samples, before and after the update of network `step`."""
    ax = moving_axes(figure.add_subplot(xlabel='feature 1', ylabel='feature 2'))
    series = [points([(ax, (0, 1))], name=f'{whose} Data {when} {step} step', **style)
              for whose, when, style in FEATURES]
    legend_below(figure, ax)

    def update(shot):
        before, after = shot['features'][AROUND[step]]
        clouds = before[0], after[0], before[1], after[1]
        round_limits(ax, *clouds)
        for (_, put), cloud in zip(series, clouds):
            put(cloud)
        return [ax], [line for lines, _ in series for line in lines]
    return update


def centroids(step, figure, data):
    """The centroids of those four clouds; beside them, enlarged, how the update moved each, from a common origin."""
    ax = moving_axes(figure.add_subplot(1, 2, 1, xlabel='feature 1', ylabel='feature 2'), 2)
    near = moving_axes(figure.add_subplot(1, 2, 2, xlabel='move along feature 1', ylabel='move along feature 2'), 2)
    for axes, words in ((ax, 'where they are'), (near, f'how the {step} step moved them, enlarged')):
        axes.set_title(words, fontsize=10, pad=16)  # above the power of ten that may stand there
    series = [points([(ax, (0, 1))], name=f'{whose} Data {when} {step} step',
                     **dict(style, markersize=dict(Before=14, After=6)[when], markeredgewidth=1.5))
              for whose, when, style in FEATURES]

    def arrow(axes, **style):  # animated from the start, because not every frame shows it
        return axes.add_patch(FancyArrowPatch((0, 0), (0, 0), arrowstyle='-|>', shrinkA=0, shrinkB=0, animated=True,
                                              **style))
    moves = [arrow(near, color=REAL, mutation_scale=14, linewidth=3, label='how the real centroid moved'),
             arrow(near, color=GENERATED, mutation_scale=14, linewidth=1.8, label='how the generated centroid moved')]
    paths = [arrow(ax, color=colour, mutation_scale=12) for colour in (REAL, GENERATED)]
    rest = near.plot([0], [0], 'o', color=REAL, markersize=5)[0]
    toward = near.plot([], [], '--', color='0.5', linewidth=1, label='from generated toward real')[0]
    legend_below(figure, ax, near)

    def update(shot):
        before, after = shot['features'][AROUND[step]].astype(float).mean(axis=2)
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
        return [ax, near], [*(line for lines, _ in series for line in lines), *long, toward, rest, *moved]
    return update


def decision(figure, data):
    """D(x) over the data's plane, with the contour where the discriminator cannot tell, and samples over it."""
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
        return [], [heat, *contours, *real, *generated]
    return update


def mapping(figure, data):
    """A regular grid of noise, coloured by position, and its image under the generator: overlaps show as darker."""
    noise, beyond = data['noise'], data['noise_dim'] - 2
    side = round(len(noise)**0.5)
    flat = figure.add_subplot(1, 2, 1, xlabel='Z, first value', ylabel='Z, second value', aspect='equal',
                              xlim=(-1.1, 1.1), ylim=(-1.1, 1.1))
    flat.set_title(f'noise: a slice, the other {beyond} values are 0' if beyond > 0 else 'noise', fontsize=10)
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
        return [], [image]
    return update


# ------------------------------------------------------------------------------------- pictures of the whole run

def draw_training_data(folder, data):
    """What is to be learned."""
    figure = new_figure()
    if len(data['image']):
        ax = figure.add_subplot(xticks=[], yticks=[])
        ax.imshow(tiled(data['training'], data), cmap='gray', vmin=0, vmax=1)
    else:
        _, put = points(data_axes(figure, data), REAL, 'Real samples', markersize=2, markeredgewidth=0)
        put(data['training'])
    figure.suptitle('Training data', fontsize=12)
    return figure


def draw_training_loss(folder, data):
    """Both losses of the log and their running means, with the values that they come to in equilibrium."""
    columns = read_columns(folder/'loss_logs.csv')
    rows = np.stack([*columns.values()], axis=1) if columns else np.empty([0, 3])
    if not len(rows):
        return None  # stopped before the first
    figure = new_figure(7.4, 4.8)
    ax = figure.add_subplot(xlabel='iteration', ylabel='loss')
    smooth = max(1, len(rows)//200)
    kernel, marker = np.ones(smooth)/smooth, 'o' if len(rows) == 1 else None
    for column, colour, words, level, name in ((1, DARK, 'Discriminator', 2*math.log(2), '2 ln 2'),
                                               (2, GENERATED, 'Generator', math.log(2), 'ln 2')):
        ax.plot(rows[:, 0], rows[:, column], color=colour, linewidth=0.5, alpha=0.25)
        ax.plot(np.convolve(rows[:, 0], kernel, 'valid'), np.convolve(rows[:, column], kernel, 'valid'), color=colour,
                marker=marker, linewidth=1.6,
                label=f'{words} loss' + (f', mean of {smooth} rows' if smooth > 1 else ''))
        ax.axhline(level, color=colour, linewidth=1, linestyle='--', label=f'equilibrium, {name} = {level:.4f}')
    top = max(2., 1.15*np.quantile(rows[:, 1:], 0.98))
    ax.set(ylim=(0, top), xlim=(0, rows[-1, 0]) if rows[-1, 0] else (-1, 1))
    beyond = int((rows[:, 1:] > top).any(axis=1).sum())
    figure.suptitle('Training Loss' + (f' ({beyond} of {len(rows)} rows reach above)' if beyond else ''), fontsize=12)
    legend_below(figure, ax)
    return figure


def draw_metrics(folder, data):
    """The columns of metrics.csv in small panels, each with what it should come to as a dashed line."""
    columns = read_columns(folder/'metrics.csv')
    iteration = columns.get('Iteration', np.empty(0))
    if not len(iteration):
        return None
    panels = [  # title, scale (share: from 0 to 1), series of (column, label, colour), levels of (value, label, colour)
        ('Losses', 'linear', [('Discriminator Loss Mean', 'discriminator', DARK),
                              ('Generator Loss Mean', 'generator', GENERATED)],
         [(2*math.log(2), '2 ln 2', DARK), (math.log(2), 'ln 2', GENERATED)]),
        ('Spread of the losses', 'log', [('Discriminator Loss Spread', 'discriminator', DARK),
                                         ('Generator Loss Spread', 'generator', GENERATED)], []),
        ('Mean D(x)', 'share', [('D on Real', 'on real', REAL), ('D on Generated', 'on generated', GENERATED)],
         [(0.5, 'cannot tell', '0.4')]),
        ('Energy distance', 'log', [('Energy Distance', 'generated', GENERATED)],
         [(float(data['floor']), 'real', REAL), (float(data.get('shuffled', np.nan)), 'shuffled columns', '0.4')]),
        ('Curve residual', 'log', [('Curve Residual', 'median |y - f(x)|', GENERATED)], []),
        ('Coverage of the x range', 'share', [('Coverage', 'generated', GENERATED)], [(1, 'all of it', REAL)]),
        ('Mixing of the features', 'log', [('Feature Mixing', 'distance of the clouds', DARK)], []),
        ('Distance of the centroids after the G step', 'log', [('Centroid Distance After', None, DARK)], []),
        ('Largest move of a real feature in a G step', 'linear', [('Largest Real Move', 'real features', REAL)],
         [(0, 'must be 0', '0.4')]),
    ]
    panels = [panel for panel in panels if np.isfinite(columns.get(panel[2][0][0], np.array([np.nan]))).any()]
    figure = new_figure(11, 9)
    for k, (title, scale, series, levels) in enumerate(panels):
        ax = figure.add_subplot(3, 3, k + 1)
        ax.set_title(title, fontsize=10)
        ax.tick_params(which='both', labelsize=7)
        ax.locator_params(axis='x', nbins=5)
        drawn = np.concatenate([columns[name] for name, _, _ in series] + [[v] for v, *_ in levels])
        logarithmic = scale == 'log' and (drawn[np.isfinite(drawn)] >= 0).all() and (drawn > 0).any()
        for name, words, colour in series:
            values = np.where(columns[name] > 0, columns[name], np.nan) if logarithmic else columns[name]
            ax.plot(iteration, values, '.-', color=colour, linewidth=1, markersize=3, label=words)
        for value, words, colour in levels:
            if math.isfinite(value):
                ax.axhline(value, color=colour, linestyle='--', linewidth=1, label=words)
        if title.startswith('Distance'):
            for toward, colour, style, words in ((1, GENERATED, 'o', 'it moved toward'),
                                                 (0, DARK, 'x', 'it moved away')):
                chosen = columns['Moved Toward'] == toward
                ax.plot(iteration[chosen], columns['Centroid Distance After'][chosen], style, color=colour,
                        markersize=4, label=words)
        if logarithmic:
            ax.set_yscale('log')
        if title == 'Losses':
            ax.set_ylim(0, max(2, 1.1*np.nanquantile([columns[name] for name, _, _ in series], 0.95)))
        elif scale == 'share':
            ax.set_ylim(-0.05, 1.05)
        ax.legend(fontsize=7, frameon=False, loc='upper center', bbox_to_anchor=(0.5, -0.1), ncols=4,
                  columnspacing=1, handlelength=1.5)  # under the panel, where it hides no curve
    figure.suptitle('Measures at each snapshot, by iteration; dashed: equilibrium, or what real data measure')
    return figure


def draw_columns(folder, data, most=12):
    """Of a user's table: each column's share of rows below a value, real and generated, and their correlations."""
    path = folder/'generated_samples.csv'
    if len(data['image']) or data['built_in'] or not path.exists():
        return None
    real = data.get('kept', data['training'])
    generated = np.stack([*read_columns(path).values()], axis=1)
    dim, words = real.shape[1], 'rows kept back' if 'kept' in data else 'training rows'
    names, shown = data['names'][:most], min(dim, most)
    lines = math.ceil(shown/4)
    figure = new_figure(11, 2.2*lines + (4 if dim > 1 else 0.5))
    above, below = figure.subfigures(2, 1, height_ratios=(2.2*lines, 4)) if dim > 1 else (figure, None)
    for k in range(shown):
        ax = above.add_subplot(lines, 4, k + 1, ylim=(-0.03, 1.03))
        ax.set_title(short(names[k]), fontsize=9, parse_math=False)
        ax.tick_params(labelsize=7)
        for rows, colour, name, width in ((real, REAL, f'{words} (real)', 2.2),
                                          (generated, GENERATED, 'generated', 1.1)):
            ax.plot(np.sort(rows[:, k]), np.linspace(0, 1, len(rows)), drawstyle='steps-post', color=colour,
                    linewidth=width, label=name)
        quarter = np.ptp(np.quantile(real[:, k], (0.25, 0.75))) or np.ptp(real[:, k]) or 1
        if np.ptp(real[:, k]) > 30*quarter:  # heavy tails
            ax.set_xscale('symlog', linthresh=quarter)
        else:
            ax.locator_params(axis='x', nbins=4)
            ax.ticklabel_format(axis='x', scilimits=(-3, 4))
    above.legend(*ax.get_legend_handles_labels(), loc='outside lower center', ncols=2, frameon=False, fontsize=9)
    left_out = f' (the first {most} of {dim} columns)' if dim > most else ''
    figure.suptitle(f'Share of rows below a value, column by column{left_out}', fontsize=12)
    if below:
        tables = [np.nan_to_num(np.corrcoef(rows[:, :shown].T)) for rows in (real, generated)]
        axes = below.subplots(1, 3)
        for ax, table, title in zip(axes, (*tables, tables[1] - tables[0]),
                                    (f'Correlations, {words}', 'generated', 'generated minus real')):
            image = ax.imshow(table, cmap=BETWEEN, vmin=-1, vmax=1)
            ax.set_title(title, fontsize=10)
            ax.set(xticks=[], yticks=[])
        axes[0].set_yticks(range(shown), [short(name, 14) for name in names], fontsize=7, parse_math=False)
        below.colorbar(image, ax=axes, shrink=0.8)
    return figure


# ------------------------------------------------------------------------------------------- pictures onto disk

class Kind(NamedTuple):
    """A kind of picture that is drawn of each snapshot."""
    gif: str
    which: str          # the set of --pictures that it belongs to
    planar: bool        # only of data of two columns?
    title: str
    size: tuple         # inches
    prepare: Callable   # (figure, data) -> the function that updates the figure
    look: str           # what to look for, on the page


def features(step, name, what, size, prepare, which):
    """The line of `FRAMES` for a picture of features around the update of network `step`."""
    return Kind(f'{name}.gif', which, False, what, size, lambda *words: prepare(step, *words), dict(
        G='Every blue ring keeps its dot: an update of G moves no real feature. In time the clouds mix.'
        if prepare is transform else 'Right: the orange arrow follows the dashed line where G pushes the generated '
        'centroid toward the real one.',
        D='An update of D moves both clouds, for D changes its own features; it wants them on either side of a line.'
        if prepare is transform else 'Right: both centroids move; D wants a line between them, not distance.')[step])


FRAMES = {
    'iterations/iteration_%06d.png': Kind(
        'iterations.gif', 'article', False, 'Samples', (6.4, 4.8), samples,
        'Do the orange points lie where the blue rings do, reach all of them, and gather as they do?'),
    'features/feature_transform_%06d.png': features(
        'G', 'feature_transform', 'Transformed Features', (6.4, 5.2), transform, 'article'),
    'features/feature_transform_centroid_%06d.png': features(
        'G', 'feature_transform_centroid', 'Centroid of Transformed Features', (8, 4.8), centroids, 'article'),
    'features/d_step_transform_%06d.png': features(
        'D', 'd_step_transform', 'Transformed Features', (6.4, 5.2), transform, 'all'),
    'features/d_step_centroid_%06d.png': features(
        'D', 'd_step_centroid', 'Centroid of Transformed Features', (8, 4.8), centroids, 'all'),
    'discriminator/decision_%06d.png': Kind(
        'decision.gif', 'all', True, 'Discriminator', (7, 5), decision,
        'Blue where D believes, orange where it does not, a line where it cannot tell; in the end all is pale.'),
    'generator/mapping_%06d.png': Kind(
        'mapping.gif', 'all', True, 'Generator', (8, 4.4), mapping,
        'How G bends and folds a sheet of noise until it lies where the data are; dark patches lie on each other.'),
}
ONCE = {'training_data.png': draw_training_data, 'training_loss.png': draw_training_loss, 'metrics.png': draw_metrics,
        'columns.png': draw_columns}
GIF_SECONDS = 20


def make_palette(shades=24):
    """The colours of pictures of lines and points, as a palette of Pillow's: all that lies between any two of those
    drawn with. Few enough shades that white stays white in Pillow's search."""
    colours = [np.array(to_rgb(colour)) for colour in ('white', 'black', REAL, GENERATED)]
    blends = [np.linspace(one, other, shades) for k, one in enumerate(colours) for other in colours[k + 1:]]
    palette = Image.new('P', (1, 1))
    palette.putpalette(np.round(255*np.concatenate(blends)).astype(np.uint8).tobytes())
    return palette


PALETTE = make_palette()


def write_png(figure, path):
    """Writes what is drawn on a figure's canvas. Lines and points get a palette, which their GIF needs anyway and which
    is quick to compress; a picture of many shades keeps them."""
    image = Image.fromarray(np.asarray(figure.canvas.buffer_rgba())).convert('RGB')
    if image.getcolors(1500):
        image = image.quantize(palette=PALETTE, dither=Image.Dither.NONE)
    with whole_file(path) as file:
        image.save(file, 'png', compress_level=3)


class Painter:
    """A figure that is drawn again and again. What stands still is drawn once, numbers on axes when they change, and
    only the rest each time (matplotlib calls this blitting), for text costs far more than points."""

    def __init__(self, data, kind):
        self.figure = new_figure(*kind.size)
        self.words, self.title = kind.title, self.figure.suptitle('', fontsize=12)
        self.update = kind.prepare(self.figure, data)
        self.still = self.limits = self.base = None

    def lay_out(self, axes, artists):
        """Finds room for all text, once, with numbers on axes as wide as they may become."""
        formatters = [(axis, axis.get_major_formatter()) for ax in axes for axis in (ax.xaxis, ax.yaxis)]
        for axis, _ in formatters:
            axis.set_major_formatter(lambda value, position: '-0.0000')
        self.figure.draw_without_rendering()
        self.figure.set_layout_engine('none')
        for axis, formatter in formatters:
            axis.set_major_formatter(formatter)
        for artist in (*artists, self.title, *(axis for axis, _ in formatters)):
            artist.set_animated(True)
        self.figure.canvas.draw()
        self.still = self.figure.canvas.copy_from_bbox(self.figure.bbox)

    def paint(self, shot, iteration, path):
        """Draws a snapshot's arrays and writes the PNG."""
        self.title.set_text(f'{self.words} at Iteration {iteration}')
        axes, artists = self.update(shot)
        if not self.still:
            self.lay_out(axes, artists)
        canvas, limits = self.figure.canvas, [ax.viewLim.bounds for ax in axes]
        if limits != self.limits:
            canvas.restore_region(self.still)
            for ax in axes:
                self.figure.draw_artist(ax.xaxis)
                self.figure.draw_artist(ax.yaxis)
            self.base, self.limits = canvas.copy_from_bbox(self.figure.bbox), limits
        canvas.restore_region(self.base)
        for artist in (*artists, self.title):
            self.figure.draw_artist(artist)
        write_png(self.figure, path)


def write_gif(paths, path):
    """Joins PNGs: 2 a second, more where they would last longer than GIF_SECONDS, leaving some out where needed."""
    paths = paths[::math.ceil(len(paths)*0.02/GIF_SECONDS)]  # viewers show no more than 50 a second
    images = map(Image.open, paths)  # one after the other, for there may be more than files can be open
    with whole_file(path) as file:
        next(images).save(file, 'gif', save_all=True, append_images=images, loop=0, optimize=False,
                          duration=min(500, 10*int(100*GIF_SECONDS/len(paths))))


# --------------------------------------------------------------------------------------------------- the page

PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="data:,">
<title>@title@</title>
<style>
:root { color-scheme: light dark; --line: #8886; --mark: #d55e00; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 1500px; margin: 0 auto; padding: 0 1rem 2rem;
       overflow-wrap: anywhere; }
h1 { font-size: 1.5rem; margin: 1rem 0 0; } h2 { font-size: 1.15rem; margin: 1.5rem 0 .5rem; }
nav { position: sticky; top: 0; background: Canvas; display: flex; gap: .8rem; align-items: center; padding: .6rem 0;
      border-bottom: 1px solid var(--line); z-index: 1; }
nav input { flex: 1; min-width: 0; accent-color: var(--mark); } nav button { font: inherit; min-width: 4.5rem; }
output { font-variant-numeric: tabular-nums; white-space: nowrap; }
.grid { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 27rem), 1fr)); gap: 1rem; }
figure { margin: 0; } figcaption, small { font-size: .87rem; opacity: .85; }
img { width: 100%; height: auto; background: #fff; border-radius: .3rem; display: block; }
.missing img { visibility: hidden; } .missing { outline: 1px dashed var(--line); }
.missing::before { content: "This picture is not drawn yet."; }
svg { width: 100%; height: 9rem; cursor: pointer; border: 1px solid var(--line); border-radius: .3rem; }
table { border-collapse: collapse; } td, th { text-align: left; padding: .1rem 1rem .1rem 0; vertical-align: top; }
td:last-child { font-variant-numeric: tabular-nums; }
</style>
<h1>@title@</h1>
<p>@about@</p>
<nav><button id="play" aria-pressed="false">Play</button>
<input id="slider" type="range" min="0" value="0" aria-label="Snapshot"><output id="at"></output></nav>
<main>
<h2>The run at this iteration</h2>
<div class="grid" id="frames"></div>
<div class="grid"><div><h2>Measures</h2><table id="measures"></table></div>
<div><h2>Losses</h2><svg id="losses" role="img" aria-label="Mean losses by iteration; click to go there"></svg>
<small>orange: G, the other D; dashed: 2 ln 2 and ln 2</small>
<h2>Energy distance</h2><svg id="energy" role="img" aria-label="Energy distance by iteration; click to go there"></svg>
<small>0 where the samples are distributed as the real rows; logarithmic</small></div></div>
@rest@
</main>
<script type="application/json" id="run">@run@</script>
<script>
const run = JSON.parse(document.getElementById('run').textContent), last = run.iterations.length - 1;
const [slider, at, play] = ['slider', 'at', 'play'].map(id => document.getElementById(id));
const path = (kind, k) => kind.path.replace('%06d', String(run.iterations[k]).padStart(6, '0'));
const frames = run.kinds.map(kind => {
  const figure = document.createElement('figure'), img = new Image(), caption = document.createElement('figcaption');
  [img.alt, img.width, img.height] = [kind.title, ...kind.size];
  img.onerror = () => figure.classList.add('missing');
  img.onload = () => figure.classList.remove('missing');
  caption.textContent = kind.look;
  figure.append(img, caption);
  document.getElementById('frames').append(figure);
  return img;
});
let now = -1, timer = 0;
function show(k) {
  now = Math.max(0, Math.min(last, k));
  slider.value = now;
  at.textContent = 'iteration ' + run.iterations[now];
  slider.setAttribute('aria-valuetext', at.textContent);
  frames.forEach((img, i) => { img.src = path(run.kinds[i], now); });
  for (let ahead = 1; ahead < 4 && now + ahead <= last; ahead++)
    run.kinds.forEach(kind => { new Image().src = path(kind, now + ahead); });
  document.getElementById('measures').replaceChildren(...Object.entries(run.measures).map(([name, column]) => {
    const row = document.createElement('tr');
    for (const text of [name, column[now] === null ? 'undefined' : +column[now].toPrecision(4)])
      row.appendChild(document.createElement('td')).textContent = text;
    return row;
  }));
  document.querySelectorAll('.mark').forEach(mark => mark.setAttribute('d', `M${now / (last || 1) * 100} 0V100`));
  history.replaceState(null, '', '#' + run.iterations[now]);
}
function curves(id, names, levels, scale) {
  const svg = document.getElementById(id), columns = names.map(([name]) => (run.measures[name] || []).map(scale));
  const values = [...columns.flat(), ...levels].filter(Number.isFinite);
  const low = Math.min(...values), high = Math.max(...values), y = v => 95 - 90 * (v - low) / (high - low || 1);
  const line = (d, style) => `<path d="${d}" fill="none" vector-effect="non-scaling-stroke" ${style}/>`;
  svg.setAttribute('viewBox', '0 0 100 100');
  svg.setAttribute('preserveAspectRatio', 'none');
  svg.innerHTML = levels.map(v => line(`M0 ${y(v)}H100`, 'stroke="currentColor" stroke-dasharray="4" opacity=".5"'))
    .join('') + columns.map((column, i) => line(column.map((v, k) => Number.isFinite(v) ?
      (k && Number.isFinite(column[k - 1]) ? 'L' : 'M') + `${k / (last || 1) * 100} ${y(v)}` : '').join(''),
      `stroke="${names[i][1]}" stroke-width="1.5"`)).join('')
    + line('', 'class="mark" stroke="#0072b2" stroke-width="2"');
  svg.onclick = event => show(Math.round(event.offsetX / svg.clientWidth * last));
}
function stop() {
  clearInterval(timer);
  timer = 0; play.textContent = 'Play'; play.setAttribute('aria-pressed', 'false');
}
play.onclick = () => {
  if (timer) return stop();
  if (now === last) show(0);
  timer = setInterval(() => now < last ? show(now + 1) : stop(), 400);
  play.textContent = 'Pause'; play.setAttribute('aria-pressed', 'true');
};
play.hidden = matchMedia('(prefers-reduced-motion: reduce)').matches;
slider.max = last;
slider.oninput = () => show(+slider.value);
onkeydown = event => {
  const to = { ArrowLeft: now - 1, ArrowRight: now + 1, Home: 0, End: last }[event.key];
  if (to !== undefined && !event.altKey && !event.ctrlKey && !event.metaKey) { event.preventDefault(); show(to); }
};
function address() {
  const wanted = +location.hash.slice(1) || 0, away = run.iterations.map(i => Math.abs(i - wanted));
  show(location.hash ? away.indexOf(Math.min(...away)) : last);
}
onhashchange = address;
curves('losses', [['Discriminator Loss Mean', 'currentColor'], ['Generator Loss Mean', '#d55e00']],
       [2 * Math.LN2, Math.LN2], v => v === null ? NaN : Math.min(v, 3));
curves('energy', [['Energy Distance', '#d55e00']], [], v => v > 0 ? Math.log(v) : NaN);
address();
</script>
</html>
"""


def about(settings, summary, names):
    """What was trained, in a sentence of the page."""
    words = ['{data}, hidden layers of {hidden} units ({layer}, {activation}), noise of {noise_dim}, {iterations} '
             'iterations of {d_steps} + {g_steps} steps, batch {batch_size}, learning rate {learning_rate}, seed {seed}'
             .format(**dict(settings, data=Path(settings['data']).name, hidden=' '.join(map(str, settings['hidden']))))]
    if settings.get('fingerprint'):
        words.append('columns: ' + ', '.join(short(name, 60) for name in names[:40]))
    if summary:
        words.append(', '.join(f'{name} {version}' for name, version in summary['versions'].items()))
        words.append(', '.join(f'{name.replace("_", "-")} {x:.1f} s' for name, x in summary['seconds'].items()))
    return html.escape('; '.join(words))


def rest_of_page(folder, summary):
    """The claims, the pictures of the whole run and the files, as HTML."""
    parts = []
    if summary:
        verdicts = {True: 'holds', False: 'fails', None: 'undefined'}
        rows = [(verdicts[claim['holds']], claim['claim'], '; '.join(
            f'{name}: {"undefined" if x is None else format(x, ".3g")}' for name, x in claim['measured'].items()))
            for claim in summary['claims'].values()]
        rows += [('', name.replace('_', ' '), format(x, '.4g')) for name, x in summary['final'].items()
                 if x is not None]
        sentences = [summary.get(name) for name in ('verdict', 'advice') if summary.get(name)]
        parts += ['<h2>What the tutorial claims, and the final samples</h2>',
                  *(f'<p>{html.escape(sentence)}</p>' for sentence in sentences), '<table>',
                  *('<tr>' + ''.join(f'<td>{html.escape(cell)}</td>' for cell in row) + '</tr>' for row in rows),
                  '</table>']
    else:
        parts.append('<p>The run is not finished; load this page again to see what is new.</p>')
    shown = [name for name in ONCE if (folder/name).exists()]
    parts += ['<h2>The whole run</h2><div class="grid">',
              *(f'<figure><img src="{name}" alt="{name[:-4].replace("_", " ")}" loading="lazy"></figure>'
                for name in shown),
              '</div><h2>Files</h2><p>']
    files = ['loss_logs.csv', 'metrics.csv', 'generated_samples.csv', 'summary.json', 'settings.json', 'saved_model/',
             *(kind.gif for kind in FRAMES.values())]
    parts += [f'<a href="{name}">{name}</a> ' for name in files if (folder/name).exists()]
    return '\n'.join(parts) + '</p>'


def write_page(run):
    """index.html: every kind of picture of the run, moved together by one slider, with the numbers behind them."""
    summary, columns = read_json(run.folder/'summary.json'), read_columns(run.folder/'metrics.csv')
    iterations = [i for i in numbered(run.folder, SNAPSHOT) if i in columns.get('Iteration', [])]
    if not iterations:
        return
    measures = {name: [x if math.isfinite(x) else None for x in column[:len(iterations)].tolist()]
                for name, column in columns.items() if name != 'Iteration'}
    numbers = dict(iterations=iterations, measures=measures, kinds=[
        dict(path=name, title=kind.title, look=kind.look, size=[100*inch for inch in kind.size])
        for name, kind in run.kinds.items()])
    title = f'A GAN learns {Path(run.settings["data"]).name}'
    filled = dict(title=html.escape(title), about=about(run.settings, summary, run.data['names']), rest=rest_of_page(run.folder, summary),
                  run=json.dumps(numbers, allow_nan=False).replace('<', '\\u003c'))
    with whole_file(run.folder/'index.html') as file:
        file.write(re.sub('@([a-z]+)@', lambda match: filled[match[1]], PAGE).encode())


# ----------------------------------------------------------------------------------------------- the whole run

SNAPSHOT = 'snapshots/%06d.npz'
BUILT_IN = ('quadratic', 'cubic', 'quartic', 'sine', 'cosine', 'two-curves', 'spiral', 'ring', 'gaussians', 'helix',
            'sphere')


class Run:
    """The pictures of the run in a folder. `failed`: could something not be drawn?"""

    def __init__(self, folder):
        self.folder, self.failed, self.painters, self.done, self.paged = folder, False, {}, set(), 0.
        self.settings = read_json(folder/'settings.json')
        if not self.settings or not (folder/'snapshots/data.npz').exists():
            raise FileNotFoundError
        self.data = read_arrays(folder/'snapshots/data.npz')
        self.data.update(noise_dim=self.settings['noise_dim'], built_in=not self.settings.get('fingerprint'),
                         names=self.data['names'].tolist())
        dim = len(self.data['low'])
        self.kinds = {name: kind for name, kind in FRAMES.items() if self.settings['pictures'] in (kind.which, 'all')
                      and (dim == 2 or not kind.planar)}
        known = get_font(findfont('DejaVu Sans')).get_charmap()
        if any(ord(letter) not in known for name in self.data['names'] for letter in name if letter.isprintable()):
            print('plotting.py: the font lacks letters of the column names, which are drawn as boxes', file=sys.stderr)

    @contextlib.contextmanager
    def trying(self):
        """Says what cannot be drawn, the first time, and lets all else be drawn."""
        try:
            yield
        except (Unreadable, OSError) as error:
            if not self.failed:
                what = error if isinstance(error, Unreadable) else f'{error.filename}: {error.strerror or error}'
                print(f'plotting.py: {what}; other pictures are drawn', file=sys.stderr, flush=True)
            self.failed = True

    def draw_frames(self, again=False, wanted=lambda: True):
        """Draws what the snapshots on disk call for, all of it or what is missing, while it is wanted."""
        for iteration, source in numbered(self.folder, SNAPSHOT).items():
            names = [name for name in self.kinds if (name, iteration) not in self.done
                     and (again or not (self.folder/(name % iteration)).exists())]
            self.done.update((name, iteration) for name in self.kinds)
            with self.trying():
                shot = read_arrays(source) if names else {}
                for name in names:
                    if not wanted():
                        return
                    if name not in self.painters:
                        self.painters[name] = Painter(self.data, self.kinds[name])
                    (self.folder/name).parent.mkdir(exist_ok=True)
                    self.painters[name].paint(shot, iteration, self.folder/(name % iteration))

    def draw_rest(self):
        """Draws the pictures of the whole run and joins the GIFs."""
        for name, draw in ONCE.items():
            with self.trying():
                figure = draw(self.folder, self.data)
                if figure:
                    figure.canvas.draw()
                    write_png(figure, self.folder/name)
        for name, kind in self.kinds.items():
            with self.trying():
                paths = list(numbered(self.folder, name).values())
                if paths:
                    write_gif(paths, self.folder/kind.gif)

    def write_page(self, seldom=False):
        """The page of what is there; `seldom`: at most once a second."""
        if self.kinds and not (seldom and time.monotonic() < self.paged + 1):
            with self.trying():
                write_page(self)
            self.paged = time.monotonic()


def follow(run):
    """Draws beside a training run: at each word on stdin what is new, at 'finish' the rest, at its end the page again.

    Where the run dies before that, this process ends too, for the resumed run draws with one of its own.
    """
    parent = os.getppid()

    def wanted():
        return os.getppid() == parent
    for word in iter(sys.stdin.readline, ''):
        run.draw_frames(wanted=wanted)
        if not wanted():
            return
        run.write_page(seldom=True)
        if word == 'finish\n':
            run.draw_rest()
            run.write_page()
            print('done', flush=True)  # and the run writes its summary
            sys.stdin.read()
            if wanted():
                run.write_page()
            return


def main():
    parser = argparse.ArgumentParser('plotting.py', description='Draws every picture of a run from its numbers.')
    parser.add_argument('folder', metavar='DIR', nargs='?', default='outputs',
                        help='output folder of a run (default: outputs)')
    parser.add_argument('--follow', action='store_true', help=argparse.SUPPRESS)  # how gan_quadratic.py starts it
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # like Ctrl-C: leaves no half-written file behind
    warnings.simplefilter('ignore')  # whatever numbers a run holds, they are drawn as far as they can be
    try:
        with np.errstate(all='ignore'):
            run = Run(Path(arguments.folder))
            if arguments.follow:
                follow(run)
            else:
                run.draw_frames(again=True)
                run.draw_rest()
                run.write_page()
                print(f'{len(run.done)} pictures of snapshots drawn in {run.folder}, and those of the whole run')
        return int(run.failed)
    except KeyboardInterrupt:
        return 130
    except FileNotFoundError:
        status, line = 2, f'error: argument DIR: {arguments.folder} holds no run; give the output folder of one'
    except (Unreadable, OSError) as error:
        status, line = 1, error
    print(f'plotting.py: {line}', file=sys.stderr)
    return status


if __name__ == '__main__':
    sys.exit(main())
