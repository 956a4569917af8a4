"""Draws the pictures and the page of a run from the numbers in its folder; a process of its own, without TensorFlow.

    python plotting.py DIR        every picture of the run in DIR, anew, and its page (DIR: outputs where none is given)
"""
import argparse
import contextlib
import json
import logging
import math
import os
import re
import select
import signal
import sys
import time
import warnings
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import Callable, NamedTuple

from gan_quadratic import INSTALL, SNAPSHOT, Failure, UsageError, read_file, replacing

logging.getLogger('matplotlib').setLevel(logging.ERROR)  # "building the font cache", on a user's first run
os.environ['MPLBACKEND'] = 'agg'
os.environ['MATPLOTLIBRC'] = os.devnull  # pictures are the same whatever a user has set
here = os.open('.', getattr(os, 'O_PATH', os.O_RDONLY))
os.chdir('/')  # matplotlib would read a matplotlibrc that lies here
try:
    import numpy as np
    from matplotlib import cm, colors, font_manager, rcParams, ticker
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.collections import PolyCollection
    from matplotlib.figure import Figure
    from PIL import Image
except ImportError as error:
    sys.exit(f'plotting.py: {error}; {INSTALL}')
os.fchdir(here)


def numbered(folder, pattern):
    """The files of a folder that a pattern with %06d names: iteration -> path, in the order of the iterations."""
    name = re.escape(Path(pattern).name).replace('%06d', r'(\d{6,})')
    found = {}
    for path in (folder/pattern).parent.glob('*'):
        match = re.fullmatch(name, path.name)
        if match:
            found[int(match[1])] = path
    return dict(sorted(found.items()))


# ------------------------------------------------------------------------------------------------ axes and points

rcParams.update({
    'figure.constrained_layout.use': True,
    'figure.constrained_layout.w_pad': 0.08,
    'figure.constrained_layout.h_pad': 0.08,
    'axes.titlesize': 10,
    'image.cmap': 'gray',
    'legend.frameon': False,
    'legend.fontsize': 9,
})
REAL = '#0072b2'  # this and the next are told apart by the colour-blind too; the same in every picture
GENERATED = '#d55e00'
DARK = '#333333'  # the discriminator's, which sees both
GREY = '0.4'      # remarks
BETWEEN = colors.LinearSegmentedColormap.from_list('difference', [GENERATED, '#ffffff', REAL])
PALE = colors.LinearSegmentedColormap.from_list('under points', ['#f0bb8c', '#ffffff', '#8cbfe0'])
BARE = dict(xticks=[], yticks=[])
SHAPES = {REAL: 'o', GENERATED: 's'}
LEGEND = dict(loc='outside lower center', ncols=2)  # where it hides no points
ANIMATED = dict(animated=True)  # matplotlib's word for what is drawn not with the rest, but each time anew
OPEN = dict(ANIMATED, fillstyle='none', markeredgewidth=0.8)
FILLED = dict(ANIMATED, markeredgewidth=0)


class View(NamedTuple):
    """Axes, and which of the data's columns they show."""
    ax: object
    columns: tuple


def short(name, most=18):
    """A user's text on one line, with an ellipsis where it is longer than `most`; no $ begins a formula."""
    name = ' '.join(str(name).split())
    if len(name) > most:
        name = name[:most - 1] + '…'
    return name.replace('$', r'\$')


def scale_axis(ax, axis, values, numbers):
    """Makes an axis, 'x' or 'y', logarithmic from 0 both ways where a few values hide how all others differ."""
    middle = np.median(values)
    away = np.abs(values - middle)
    usual = np.median(away[away > 0]) if away.any() else 0
    if away.max() <= max(30*usual, np.abs(middle)):
        ax.locator_params(axis=axis, nbins=numbers)
        ax.ticklabel_format(axis=axis, scilimits=(-3, 4))  # longer numbers would take the picture's room
        return

    linear = 10**math.ceil(math.log10(usual))  # so that no power of ten below it is close to the 0
    set_scale = getattr(ax, f'set_{axis}scale')
    set_scale('symlog', linthresh=linear)
    locator = getattr(ax, f'{axis}axis').get_major_locator()
    locator.set_params(numticks=numbers)
    low = values.min()
    high = values.max()
    limits = low - linear - 0.5*abs(low), high + linear + 0.5*abs(high)
    ax.set(**{f'{axis}lim': limits})


def data_axes(figure, data, where=111):
    """The views of rows [n, dim], whose limits stay: of more than 3 columns, each pair of the first four."""
    dim = len(data['low'])
    if dim > 3:
        pairs = combinations(range(4), 2)
        views = [View(ax, pair) for ax, pair in zip(figure.subplots(2, 3).flat, pairs)]
    else:
        ax = figure.add_subplot(where, projection='3d' if dim == 3 else None)
        views = [View(ax, range(dim))]

    longest = 24 if dim < 3 and where == 111 else 14
    for ax, columns in views:
        for axis, column in zip('xyz', columns):
            limits = data['low'][column], data['high'][column]
            label = short(data['names'][column], longest)
            ax.set(**{f'{axis}lim': limits, f'{axis}label': label})
            if dim != 3:
                scale_axis(ax, axis, data['training'][:, column], 4 if dim > 3 else 6)
        arrange = {1: arrange_line, 2: arrange_plane, 3: arrange_cube}.get(dim, arrange_pair)
        arrange(ax)
    if dim > 4:
        figure.text(0.02, 0.975, f'4 of {dim} columns', va='top', fontsize=8, color=GREY)
    return views


def arrange_line(ax):
    ax.set(ylim=(-0.02, 1.02), ylabel='share of samples below')


def arrange_plane(ax):
    linear = ax.get_xscale() == ax.get_yscale() == 'linear'
    width = np.ptp(ax.get_xlim())
    height = np.ptp(ax.get_ylim())
    if linear and 0.5 < width/height < 2:
        ax.set_aspect('equal')


def arrange_cube(ax):
    ax.locator_params(nbins=4)
    ax.tick_params(labelsize=7)
    ax.tick_params(axis='z', pad=6)
    for axis in ax.xaxis, ax.yaxis, ax.zaxis:
        axis.labelpad = 10
    ax.set_box_aspect(None, zoom=0.85)  # the layout knows nothing of labels that stand around a cube


def arrange_pair(ax):
    ax.tick_params(labelsize=7)
    ax.set_xlabel(ax.get_xlabel(), loc='left')  # at the right the axis's power of ten may stand
    for axis in ax.xaxis, ax.yaxis:
        axis.get_offset_text().set_size(7)


def points(views, name, color, markersize, style):
    """A series of points on these views. Returns the function that moves them to rows [n, dim]."""
    style = dict(style, linestyle='none', color=color, marker=SHAPES[color], markersize=markersize)
    lines = []
    for ax, columns in views:
        nowhere = [[]]*max(2, len(columns))
        lines += ax.plot(*nowhere, **style)
    lines[0].set_label(name)

    def move(rows):
        for line, (_, columns) in zip(lines, views):
            if len(columns) == 1:
                line.set_data(np.sort(rows[:, 0]), np.linspace(0, 1, len(rows)))
            elif len(columns) == 2:
                line.set_data(*rows[:, columns].T)
            else:
                line.set_data_3d(*rows[:, columns].T)
    return move


def round_ends(low, high):
    """Numbers of few digits around the values from low to high."""
    margin = 0.04*(high - low) or 1
    locator = ticker.MaxNLocator(5, steps=[1, 2, 5, 10])
    ticks = locator.tick_values(low - margin, high + margin)
    return ticks[0], ticks[-1]


def tiled(rows, data):
    """Up to 64 images as one picture, 8 by 8, in [0, 1]; rows [n, pixels] are in the data's units."""
    height, width, *channels = data['image']
    low = data['low'].min()
    spread = data['high'].max() - low
    tiles = np.zeros([64, height, width, *channels])
    shades = np.clip((rows[:64] - low)/(spread or 1), 0, 1)
    tiles[:len(rows)] = shades.reshape(-1, height, width, *channels)
    lines = tiles.reshape(8, 8, height, width, *channels).swapaxes(1, 2)
    return lines.reshape(8*height, 8*width, *channels)


# ------------------------------------------------------------------------------ pictures of each snapshot
# Each function prepares a figure and returns the function that updates its animated artists by a snapshot's arrays.

# Open before an update, small and filled after it, the real ones larger: all four are seen even where they coincide.
FEATURES = (('Real Data Before', REAL, 9, OPEN),
            ('Real Data After', REAL, 4, FILLED),
            ('Generated Data Before', GENERATED, 5, OPEN),
            ('Generated Data After', GENERATED, 2.8, FILLED))


def samples(figure, data):
    """Real against generated samples: points, or images side by side."""
    if len(data['image']):
        return image_samples(figure, data)
    views = data_axes(figure, data)
    move_real = points(views, 'Real samples', REAL, 4, OPEN)
    move_real(data['real'])
    move_generated = points(views, 'Generated samples', GENERATED, 3, FILLED)
    remark = figure.text(0.98, 0.02, '', ha='right', fontsize=8, color=GREY, **ANIMATED)
    figure.legend(**LEGEND)

    def update(snapshot):
        generated = snapshot['generated']
        move_generated(generated)
        outside = (generated < data['low']) | (generated > data['high'])
        count = outside.any(axis=1).sum()
        remark.set_text(f'{count} outside' if count else '')
    return update


def image_samples(figure, data):
    left, right = figure.subplots(1, 2, subplot_kw=BARE)
    left.set_title('Real samples', color=REAL)
    left.imshow(tiled(data['real'], data), vmin=0, vmax=1, **ANIMATED)
    right.set_title('Generated samples', color=GENERATED)
    image = right.imshow(tiled(data['real'], data), vmin=0, vmax=1, **ANIMATED)
    return lambda snapshot: image.set_data(tiled(snapshot['generated'], data))


def end_numbers(ax):
    """The numbers at the ends of both axes, as texts: ticks that move take too long. Returns what writes them."""
    style = dict(ANIMATED, xycoords='axes fraction', textcoords='offset points', fontsize=9)

    def text(place, shift, **alignment):
        return ax.annotate('0', place, shift, **alignment, **style)

    texts = (text((0, 0), (0, -6), ha='left', va='top'),
             text((1, 0), (0, -6), ha='right', va='top'),
             text((0, 0), (-6, 0), ha='right', va='bottom', rotation=90),
             text((0, 1), (-6, 0), ha='right', va='top', rotation=90))

    def write(low, high):
        for text, value in zip(texts, (low[0], high[0], low[1], high[1])):
            text.set_text(f'{value:.10g}')
    return write


def feature_axes(step, ax, larger=1):
    """Axes for four series of features around the update of network `step`, which follow the series. Returns the
    function that shows clouds [4, n, 2] on them."""
    ax.set(xlim=(0, 1), ylim=(0, 1), xlabel='feature 1', ylabel='feature 2', **BARE)
    write_ends = end_numbers(ax)
    series = [points([View(ax, (0, 1))], f'{name} {step} step', color, larger*markersize, style)
              for name, color, markersize, style in FEATURES]

    def show(clouds):
        lowest = clouds.min(axis=(0, 1))
        highest = clouds.max(axis=(0, 1))
        ends = [round_ends(*pair) for pair in zip(lowest, highest)]
        low, high = np.transpose(ends)
        write_ends(low, high)
        for move, cloud in zip(series, clouds):
            move((cloud - low)/(high - low))
    return show


def feature_clouds(snapshot, step):
    """Features h3 around the update of network `step`, in the order of FEATURES: [4, n, 2]."""
    first = 'DG'.index(step)  # a snapshot has them before D's step, after it, after G's
    real, generated = snapshot['features'][first:first + 2].astype(float).swapaxes(0, 1)
    return np.concatenate([real, generated])


def transformed_features(step, figure, data):
    """Features h3 of both kinds of samples around the update of network `step`."""
    show = feature_axes(step, figure.add_subplot())
    figure.legend(**LEGEND)
    return lambda snapshot: show(feature_clouds(snapshot, step))


def centroids(step, figure, data):
    """The centroids of those four clouds; beside them, enlarged, how the update moved each from a common origin."""
    left, right = figure.subplots(1, 2)
    left.set_title('where they are')
    right.set(xlim=(-1, 1), ylim=(-1, 1), xticks=[0], yticks=[0])
    right.tick_params(labelbottom=False, labelleft=False)
    right.set_title(f'how the {step} step moved them, enlarged')
    label = 'from generated toward real'
    toward, = right.plot([], [], '--', color='0.5', linewidth=1, label=label, **ANIMATED)
    style = dict(ANIMATED, markevery=[1], markersize=7)
    real, = right.plot([], [], color=REAL, marker='o', linewidth=3, **style)
    generated, = right.plot([], [], color=GENERATED, marker='s', linewidth=1.8, **style)
    scale = right.text(0, -1.05, '', ha='center', va='top', fontsize=9, **ANIMATED)
    show = feature_axes(step, left, larger=1.6)
    figure.legend(**LEGEND)

    def update(snapshot):
        centers = feature_clouds(snapshot, step).mean(axis=1, keepdims=True)
        show(centers)
        real_before, real_after, before, after = centers[:, 0]
        moves = np.stack([real_after - real_before, after - before])
        _, reach = round_ends(0, np.abs(moves).max())
        scale.set_text(f'{reach:g} from the middle to the edge')
        apart = real_before - before
        ends = [3*apart/(np.linalg.norm(apart) or 1), *moves/reach]
        for line, (x, y) in zip((toward, real, generated), ends):
            line.set_data([0, x], [0, y])
    return update


def decision(figure, data):
    """D(x) over the data's plane, with the contour where the discriminator cannot tell, and samples over it."""
    update_samples = samples(figure, data)
    ax, = figure.axes
    colours = cm.ScalarMappable(cmap=PALE)
    figure.colorbar(colours, ax=ax, label='D(x): 1 real, 0 generated, 0.5 cannot tell')

    def update(snapshot):
        for old in list(ax.collections):
            old.remove()
        side = round(len(snapshot['decision'])**0.5)
        x, y = np.linspace(data['low'], data['high'], side).T
        answers = snapshot['decision'].reshape(side, side)
        ax.pcolormesh(x, y, answers, cmap=PALE, vmin=0, vmax=1, shading='gouraud', **ANIMATED)
        line = ax.contour(x, y, answers, [0.5], colors='black', linewidths=1.2, zorder=1)
        line.set_animated(True)
        update_samples(snapshot)
    return update


def cells(grid):
    """The cells of a grid of points [rows, columns, 2]: their corners, [cells, 4, 2]."""
    corners = [grid[:-1, :-1], grid[:-1, 1:], grid[1:, 1:], grid[1:, :-1]]
    return np.stack(corners, axis=2).reshape(-1, 4, 2)


def mapping(figure, data):
    """A regular grid of noise, coloured by position, and its image under the generator: overlaps show as darker."""
    noise = data['noise']
    further = data['noise_dim'] - 2
    if strip := noise.shape[1] == 1:  # its image is a line
        edges = [np.insert(noise, 1, height, axis=1) for height in (-0.1, 0.1)]
        grid = np.stack(edges)
    else:
        side = round(len(noise)**0.5)
        grid = noise.reshape(side, side, 2)
    sheet = cells(grid)
    u, v = (sheet.mean(axis=1).T + 1)/2
    facecolors = np.stack([u, 0.75*v, 1 - u], axis=1)

    left = figure.add_subplot(1, 2, 1, aspect='equal', xlim=(-1.1, 1.1), ylim=(-1.1, 1.1))
    left.set_title('noise')
    if further > 0:
        left.set_title(f'noise, a slice: the {further} further\nvalues are 0')
    left.set(xlabel='Z, first value', ylabel='' if strip else 'Z, second value')
    left.add_collection(
        PolyCollection(sheet, facecolors=facecolors, edgecolors='w', linewidths=0.3))

    (right, _), = data_axes(figure, data, 122)
    right.set_title('what the generator makes of it')
    style = dict(facecolors=facecolors, edgecolors=facecolors, alpha=0.45)
    image = PolyCollection([], linewidths=3 if strip else 0.5, **style, **ANIMATED)
    right.add_collection(image, autolim=False)
    return lambda snapshot: image.set_verts(cells(np.resize(snapshot['mapping'], grid.shape)))


# ------------------------------------------------------------------------------------- pictures of the whole run
# Each function draws on a figure from the numbers in the folder; nothing where there are none yet.

class Curve(NamedTuple):
    column: str
    color: str
    style: str = '.-'


class Level(NamedTuple):
    """A dashed line: what a curve should come to."""
    value: object  # a number, or the name of one in the data
    label: str
    color: str


class Panel(NamedTuple):
    title: str
    scale: str
    curves: tuple
    levels: tuple = ()


D_EQUILIBRIUM = Level(2*math.log(2), '2 ln 2', DARK)
G_EQUILIBRIUM = Level(math.log(2), 'ln 2', GENERATED)
CANNOT_TELL = Level(0.5, 'cannot tell', GREY)
PANELS = (
    Panel('Losses', 'linear',
          (Curve('Discriminator Loss Mean', DARK), Curve('Generator Loss Mean', GENERATED)),
          (D_EQUILIBRIUM, G_EQUILIBRIUM)),
    Panel('Spread of the losses', 'log', (
        Curve('Discriminator Loss Spread', DARK), Curve('Generator Loss Spread', GENERATED))),
    Panel('Mean D(x)', 'share', (Curve('D on Real', REAL), Curve('D on Generated', GENERATED)), (CANNOT_TELL,)),
    Panel('Energy distance', 'log', (Curve('Energy Distance', GENERATED),), (
        Level('floor', 'real', REAL), Level('shuffled', 'shuffled columns', GREY))),
    Panel('Nearest neighbours of their own kind', 'share', (
        Curve('Neighbours Samples', GENERATED), Curve('Neighbours Real', REAL)), (CANNOT_TELL,)),
    Panel('Curve residual, median |y - f(x)|', 'log', (Curve('Curve Residual', GENERATED),)),
    Panel('Coverage of the x range', 'share', (Curve('Coverage', GENERATED),), (Level(1, 'all of it', REAL),)),
    Panel('Distance of the clouds of features', 'log', (Curve('Feature Mixing', DARK),)),
    Panel('Centroid distance after the G step', 'log', (
        Curve('Centroid Distance After', DARK), Curve('Moved Toward', GENERATED, 'o'), Curve('Moved Away', DARK, 'x'))),
    Panel('Largest move of real features, G step', 'linear', (Curve('Largest Real Move', REAL),),
          (Level(0, 'must be 0', DARK),)),
)


def training_data(figure, data):
    """What is to be learned."""
    if len(data['image']):
        ax = figure.add_subplot(**BARE)
        ax.imshow(tiled(data['training'], data), vmin=0, vmax=1)
    else:
        views = data_axes(figure, data)
        move = points(views, 'Real samples', REAL, 2, dict(markeredgewidth=0))
        move(data['training'])
    figure.suptitle('Training data')


def read_rows(path):
    """The header and rows of a .csv; no rows where there is none."""
    return read_file(path) or ([], np.empty([0, 0]))


def training_loss(figure, data):
    """Both losses of the log and their running means, with the values that they come to in equilibrium."""
    _, rows = read_rows(data['folder']/'loss_logs.csv')
    if not len(rows):
        return
    figure.set_size_inches(7.4, 4.8)
    ax = figure.add_subplot(xlabel='iteration', ylabel='loss')
    iterations = rows[:, 0]
    losses = rows[:, 1:]
    smooth = max(1, len(rows)//200)
    window = np.ones(smooth)/smooth
    remark = f', mean of {smooth} rows' if smooth > 1 else ''
    smooth_iterations = np.convolve(iterations, window, 'valid')
    marker = 'o' if len(rows) == 1 else None
    levels = D_EQUILIBRIUM, G_EQUILIBRIUM
    for name, loss, level in zip(('Discriminator', 'Generator'), losses.T, levels):
        value, words, color = level
        ax.plot(iterations, loss, color=color, linewidth=0.5, alpha=0.25)
        ax.plot(smooth_iterations, np.convolve(loss, window, 'valid'), marker=marker, color=color,
                linewidth=1.6, label=f'{name} loss{remark}')
        ax.axhline(value, color=color, linewidth=1, linestyle='--',
                   label=f'equilibrium, {words} = {value:.4f}')

    top = max(2., 1.15*np.quantile(losses, 0.98))
    last = iterations[-1]
    ax.set(ylim=(0, top), xlim=(0, last) if last else (-1, 1))
    beyond = (losses > top).any(axis=1).sum()
    remark = f' ({beyond} of {len(rows)} rows reach above)' if beyond else ''
    figure.suptitle('Training Loss' + remark)
    figure.legend(**LEGEND)


def metrics(figure, data):
    """The columns of metrics.csv in small panels, each with what it should come to as a dashed line."""
    header, rows = read_rows(data['folder']/'metrics.csv')
    if not len(rows):
        return
    columns = dict(zip(header, rows.T))
    toward = columns['Moved Toward'] == 1
    after = columns['Centroid Distance After']
    columns['Moved Toward'] = np.where(toward, after, np.nan)
    columns['Moved Away'] = np.where(toward, np.nan, after)

    panels = []
    for panel in PANELS:
        first = columns.get(panel.curves[0].column, np.nan)
        if np.isfinite(first).any():
            panels.append(panel)
    lines = max(3, math.ceil(len(panels)/3))
    figure.set_size_inches(11, 3*lines)
    for k, panel in enumerate(panels):
        ax = figure.add_subplot(lines, 3, k + 1, title=panel.title)
        draw_panel(ax, panel, columns, data)
    figure.suptitle('Measures at each snapshot, by iteration; '
                    'dashed: equilibrium, or what real data measure')


def draw_panel(ax, panel, columns, data):
    ax.tick_params(which='both', labelsize=7)
    ax.locator_params(axis='x', nbins=5)
    for name, color, style in panel.curves:
        ax.plot(columns['Iteration'], columns[name], style, color=color, lw=1, ms=4, label=name)
    for value, label, color in panel.levels:
        if isinstance(value, str):
            value = float(data.get(value, np.nan))
        if math.isfinite(value):
            ax.axhline(value, color=color, linestyle='--', linewidth=1, label=label)
    scale_panel(ax, panel.scale)
    ax.legend(fontsize=7, loc='upper center', bbox_to_anchor=(0.5, -0.1), ncols=2, columnspacing=1,
              handlelength=1.5)  # under the panel, where it hides no curve


def scale_panel(ax, scale):
    drawn = np.concatenate([line.get_ydata() for line in ax.lines])
    lowest = np.nanmin(drawn)
    highest = np.nanmax(drawn)
    if scale == 'share':
        ax.set_ylim(-0.05, 1.05)
    elif scale == 'log' and lowest < 0:  # of few rows, the energy distance may be
        ax.set_yscale('symlog', linthresh=0.01)
        ax.margins(y=0.1)  # on this scale the usual one leaves the outermost point on the edge
    elif scale == 'log' and highest > 0:
        ax.set_yscale('log', nonpositive='mask')
        if highest > 30*np.nanmin(drawn[drawn > 0]):
            ax.minorticks_off()  # powers of ten say enough, and drawing the others takes as long as all else here


def table_columns(figure, data, most=12):
    """Of a user's table: each column's share of rows below a value, real and generated, and their correlations."""
    path = data['folder']/'generated_samples.csv'
    if len(data['image']) or not data['fingerprint'] or not path.exists():
        return
    _, generated = read_file(path)
    if 'kept' in data:
        real = data['kept']
        name = 'rows kept back'
    else:
        real = data['training']
        name = 'training rows'

    dim = real.shape[1]
    shown = min(dim, most)
    heights = [2.2*math.ceil(shown/4), 4] if dim > 1 else [2.7]
    figure.set_size_inches(11, sum(heights))
    remark = f' (the first {most} of {dim} columns)' if dim > most else ''
    figure.suptitle('Share of rows below a value, column by column' + remark)
    parts = figure.subfigures(len(heights), 1, height_ratios=heights, squeeze=False)[:, 0]
    names = data['names'][:shown]
    draw_shares(parts[0], names, name, real[:, :shown], generated[:, :shown])
    if dim > 1:
        draw_correlations(parts[1], names, name, real[:, :shown], generated[:, :shown])


def draw_shares(figure, names, kind, real, generated):
    lines = math.ceil(len(names)/4)
    for k, name in enumerate(names):
        ax = figure.add_subplot(lines, 4, k + 1, ylim=(-0.03, 1.03))
        ax.set_title(short(name), fontsize=9)
        ax.tick_params(labelsize=7)
        for rows, color, width in (real, REAL, 2.2), (generated, GENERATED, 1.1):
            shares = np.linspace(0, 1, len(rows))
            ax.step(np.sort(rows[:, k]), shares, where='post', color=color, linewidth=width)
        scale_axis(ax, 'x', np.concatenate([real[:, k], generated[:, k]]), 4)
    figure.legend(ax.lines, [f'{kind} (real)', 'generated'], **LEGEND)


def draw_correlations(figure, names, kind, real, generated):
    of_real = np.nan_to_num(np.corrcoef(real.T))
    of_generated = np.nan_to_num(np.corrcoef(generated.T))
    tables = {f'Correlations, {kind}': of_real,
              'generated': of_generated,
              'generated minus real': of_generated - of_real}
    axes = figure.subplots(1, 3, subplot_kw=BARE)
    for ax, (title, table) in zip(axes, tables.items()):
        image = ax.imshow(table, cmap=BETWEEN, vmin=-1, vmax=1)
        ax.set_title(title)
    labels = [short(name, 14) for name in names]
    axes[0].set_yticks(range(len(names)), labels, fontsize=7)
    figure.colorbar(image, ax=axes, shrink=0.8)


# ------------------------------------------------------------------------------------------- pictures onto disk

class Kind(NamedTuple):
    """A kind of picture that there is of each snapshot."""
    draw: Callable  # (figure, data) -> the function that updates the figure
    title: str
    gif: str
    which: str      # the set of --pictures that it belongs to
    planar: bool    # only of data of two columns?
    look: str       # what to look for, on the page


FRAMES = {
    'iterations/iteration_%06d.png': Kind(samples, 'Samples', 'iterations.gif', 'article', False, (
        'Do the orange points lie where the blue rings do, reach all of them, and gather as they do?')),
    'features/feature_transform_%06d.png': Kind(
        partial(transformed_features, 'G'), 'Transformed Features', 'feature_transform.gif', 'article', False,
        'Every blue ring keeps its dot: an update of G moves no real feature. In time the clouds mix.'),
    'features/feature_transform_centroid_%06d.png': Kind(
        partial(centroids, 'G'), 'Centroid of Transformed Features', 'feature_transform_centroid.gif', 'article', False,
        'Right: the orange square lies on the dashed line where G moved the generated centroid toward the real one.'),
    'features/d_step_transform_%06d.png': Kind(
        partial(transformed_features, 'D'), 'Transformed Features, D step,', 'd_step_transform.gif', 'all', False,
        'An update of D moves both clouds, for D changes its own features; it wants them on either side of a line.'),
    'features/d_step_centroid_%06d.png': Kind(
        partial(centroids, 'D'), 'Centroid of Transformed Features, D step,', 'd_step_centroid.gif', 'all', False,
        'Right: both centroids move; D wants a line between them, not distance.'),
    'discriminator/decision_%06d.png': Kind(decision, 'Discriminator', 'decision.gif', 'all', True, (
        'Blue where D believes, orange where it does not, a line where it cannot tell; in the end all is pale.')),
    'generator/mapping_%06d.png': Kind(mapping, 'Generator', 'mapping.gif', 'all', True, (
        'How G bends and folds a sheet of noise until it lies where the data are; dark patches lie on each other.')),
}
ONCE = {  # of the whole run
    'training_data.png': (training_data, 'What the generator is to learn.'),
    'training_loss.png': (training_loss, 'Do both losses come to their dashed lines and stay there?'),
    'metrics.png': (metrics, 'Does each curve come to its dashed line, and those without one come down?'),
    'columns.png': (table_columns, 'Does each orange curve lie on the blue one? Is the third square pale?'),
}


def make_palette(shades=24):
    """All that lies between any two of the colours drawn with, in so few shades that white stays white in Pillow's
    search."""
    corners = colors.to_rgba_array(['white', 'black', REAL, GENERATED])[:, :3]
    mixtures = [np.linspace(*pair, shades) for pair in combinations(255*corners, 2)]
    palette = Image.new('P', (1, 1))
    palette.putpalette(np.rint(mixtures).astype('uint8').tobytes())
    return palette


PALETTE = make_palette()


def new_figure():
    return FigureCanvasAgg(Figure()).figure


def write_png(figure, path):
    """Writes what is drawn on a canvas; lines and points with a palette: quick to compress, and what the GIF needs."""
    image = Image.fromarray(np.asarray(figure.canvas.buffer_rgba())).convert('RGB')
    if not any(ax.images or ax.collections for ax in figure.axes):
        image = image.quantize(palette=PALETTE, dither=Image.Dither.NONE)
    with replacing(path) as new:
        image.save(new, 'png', compress_level=3)


def painter(data, kind):
    """Draws once what stands still, for text costs far more than points. Returns what writes a snapshot's PNG."""
    figure = new_figure()
    title = figure.suptitle(kind.title, **ANIMATED)
    update = kind.draw(figure, data)
    figure.canvas.draw()  # finds room for all text, too
    still = figure.canvas.copy_from_bbox(figure.bbox)

    def paint(snapshot, iteration, path):
        title.set_text(f'{kind.title} at Iteration {iteration}')
        update(snapshot)
        figure.canvas.restore_region(still)
        artists = list(figure.texts)
        for ax in figure.axes:
            artists += ax.get_children()
        moving = [artist for artist in artists if artist.get_animated()]
        for artist in sorted(moving, key=lambda artist: artist.get_zorder()):
            figure.draw_artist(artist)
        write_png(figure, path)
    return paint


def write_gif(paths, path, longest=20):
    """Joins PNGs: 2 a second, more where they would last longer than so many seconds, leaving some out where needed."""
    paths = paths[::math.ceil(len(paths)*0.02/longest)]  # viewers show no more than 50 a second
    milliseconds = min(500, 10*int(100*longest/len(paths)))
    images = map(Image.open, paths)  # one after the other, for there may be more than files can be open
    with replacing(path) as new:
        first = next(images)
        first.save(new, 'gif', save_all=True, append_images=images, loop=0, optimize=False, duration=milliseconds)


# --------------------------------------------------------------------------------------------------- the page
# Opened from disk it cannot read files: the numbers stand in it, the user's texts too, which are shown as text.

PAGE = r"""<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="data:,"><title data-text="title"></title><style>
:root { color-scheme: light dark; } @media (prefers-reduced-motion: reduce) { #play { display: none; } }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 1900px; margin: 0 auto; padding: 0 1rem 2rem; }
h1, p { overflow-wrap: anywhere; max-width: 75rem; } h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; }
nav { position: sticky; top: 0; z-index: 1; background: Canvas; display: flex; gap: .8rem; padding: .6rem 0; }
nav input { flex: 1; min-width: 0; accent-color: #d55e00; } nav button { font: inherit; min-width: 4.5rem; }
.beside { display: flex; gap: 1.5rem; } .grid { flex: 1; display: grid; gap: 1rem; align-content: start;
  grid-template-columns: repeat(auto-fit, minmax(min(100%, 25rem), 1fr)); } aside { width: 21rem; }
@media (max-width: 60rem) { .beside { display: block; } aside { width: auto; } }
figure { margin: 0; } img { width: 100%; height: auto; background: #fff; display: block; }
.missing img { visibility: hidden; } .missing::before { content: "This picture is missing."; }
figcaption, small { font-size: .87rem; opacity: .85; } output, td { font-variant-numeric: tabular-nums; }
td { padding: 0 1rem 0 0; vertical-align: top; } #files a { margin-right: 1rem; display: inline-block; }
svg { width: 100%; height: 8rem; cursor: pointer; border: 1px solid #8886; } .mark { stroke: #0072b2; stroke-width: 2; }
svg * { fill: none; stroke: currentColor; vector-effect: non-scaling-stroke; pointer-events: none; }
.Generator, .Energy { stroke: #d55e00; } .level { stroke-dasharray: 4; opacity: .5; }
</style><h1 data-text="title"></h1><p data-text="about"></p>
<nav><button id="play">Play</button>
<input id="slider" type="range" min="0" value="0" aria-label="Snapshot"><output id="at"></output></nav>
<div class="beside"><div class="grid" id="frames"></div><aside><h2>Losses</h2>
<svg id="losses" viewBox="0 0 100 100" preserveAspectRatio="none" role="img" aria-label="Mean losses"></svg>
<small>Orange: generator, the other: discriminator; dashed: equilibrium, ln 2 and 2 ln 2.</small>
<h2>Energy distance</h2>
<svg id="energy" viewBox="0 0 100 100" preserveAspectRatio="none" role="img" aria-label="Energy distance"></svg>
<small>From the samples to real ones; dashed: of real ones, and of shuffled columns. A click moves there.</small>
<h2>Measures at this iteration</h2><table id="measures"></table></aside></div>
<h2>What the tutorial claims</h2><p data-text="state"></p><table id="claims"></table>
<h2>Final samples</h2><table id="final"></table><h2>The whole run</h2><div class="grid" id="whole"></div>
<h2>Files</h2><p id="files"></p><script type="application/json" id="run">@run@</script><script>
const find = id => document.getElementById(id), run = JSON.parse(find('run').textContent);
const make = (parent, tag, what) => parent.appendChild(Object.assign(document.createElement(tag), what));
function fill(id, rows) {
  find(id).replaceChildren(...rows.map(() => document.createElement('tr')));
  rows.forEach((cells, k) => cells.forEach(cell => make(find(id).rows[k], 'td', { textContent: cell ?? 'undefined' })));
}
function picture(id, look, src = '') {
  const figure = make(find(id), 'figure'), size = { width: 640, height: 480 }, alt = src.slice(0, -4).replace('_', ' ');
  const img = make(make(figure, 'a', src && { href: src }), 'img', { ...size, src, alt });
  img.onload = img.onerror = event => figure.classList.toggle('missing', event.type === 'error');
  make(figure, 'figcaption', { textContent: look });
  return img;
}
const frames = run.kinds.map(kind => picture('frames', kind.look)), last = run.iterations.length - 1;
const [slider, at, play] = ['slider', 'at', 'play'].map(find); let now = 0, timer = 0;
function show(k) {
  now = slider.value = Math.max(0, Math.min(last, k));
  at.textContent = slider.ariaValueText = 'iteration ' + run.iterations[now];
  run.kinds.forEach((kind, i) => {
    const path = k => kind.path.replace('%06d', String(run.iterations[k]).padStart(6, '0'));
    Object.assign(frames[i], { src: path(now), alt: kind.title + ' at ' + at.textContent });
    for (let ahead = now + 1; ahead <= Math.min(now + 3, last); ahead++) new Image().src = path(ahead);
  });
  fill('measures', Object.entries(run.measures).map(([name, column]) => [name, column[now]]));
  for (const mark of document.querySelectorAll('.mark')) mark.setAttribute('d', `M${100 * now / (last || 1)} 0V100`);
  history.replaceState(null, '', '#' + run.iterations[now]);
}
function curves(id, levels, names, unit) {  // heights are linear below the unit, logarithmic above
  const lines = [...levels.map(v => [v, v]), ...names.map(name => run.measures[name])];
  const height = v => Math.asinh(v / unit), all = lines.flat().filter(v => v !== null).map(height);
  const low = Math.min(...all), high = Math.max(...all), y = v => 95 - 90 * (height(v) - low) / (high - low || 1);
  const points = line => line.map((v, k) => v === null ? '' : `${100 * k / (line.length - 1 || 1)} ${y(v)} `).join('');
  find(id).innerHTML = lines.map((line, i) => `<polyline class="${names[i - levels.length] || 'level'}" `
    + `points="${points(line)}"/>`).join('') + '<path class="mark"/>';
  find(id).onclick = event => show(Math.round(event.offsetX / find(id).clientWidth * last));
}
function turn(on) {
  clearInterval(timer); play.textContent = on ? 'Pause' : 'Play';
  timer = on && setInterval(() => now < last ? show(now + 1) : turn(0), 400);
}
play.onclick = () => { if (!timer && now === last) show(0); turn(!timer); };
Object.assign(slider, { max: last, oninput: () => show(+slider.value) });
onkeydown = event => {
  const to = { ArrowLeft: now - 1, ArrowRight: now + 1, Home: 0, End: last }[event.key];
  if (to !== undefined && !event.altKey && !event.ctrlKey && !event.metaKey) { event.preventDefault(); show(to); }
};
onhashchange = () => {
  const wanted = parseInt(location.hash.slice(1)), away = run.iterations.map(i => Math.abs(i - wanted));
  show(isNaN(wanted) ? last : away.indexOf(Math.min(...away)));
};
curves('losses', [2 * Math.LN2, Math.LN2], ['Discriminator Loss Mean', 'Generator Loss Mean'], 1);
curves('energy', run.levels, ['Energy Distance'], 0.01);
for (const element of document.querySelectorAll('[data-text]')) element.textContent = run[element.dataset.text];
for (const id of ['claims', 'final']) fill(id, run[id]);
for (const [name, look] of run.pictures) picture('whole', look, name);
for (const href of run.files) make(find('files'), 'a', { href, textContent: href });
onhashchange();
</script>"""


FILES = ('loss_logs.csv', 'metrics.csv', 'generated_samples.csv', 'summary.json', 'settings.json',
         'saved_model/')
UNFINISHED = dict(claims={}, final={}, versions={}, seconds={},
                  verdict='The run is not finished; load this page again to see what is new.')


def rounded(x):
    """A number to four digits; None where it is undefined."""
    if x is None or not math.isfinite(x):
        return None
    return float(f'{x:.4g}')


def about_run(data, summary):
    """The settings of a run, and what it ran on, in one line."""
    hidden = ' '.join(map(str, data['hidden']))
    parts = [f'hidden layers of {hidden} units ' + '({layer}, {activation}), noise of {noise_dim}, {iterations} '
             'iterations of {d_steps} + {g_steps} steps, batch {batch_size}, learning rate {learning_rate}, '
             'seed {seed}'.format(**data)]
    for name, version in summary['versions'].items():
        parts.append(f'{name} {version}')
    for name, seconds in summary['seconds'].items():
        parts.append(f'{name.replace("_", "-")} {seconds:.1f} s')
    names = data['names']
    parts.append('columns ' + ', '.join(names[:40]) + (', …' if len(names) > 40 else ''))
    return '; '.join(parts)


def claim_cells(claim):
    """A claim's row: whether it holds, the claim, and what was measured."""
    sign = {True: '✓ holds', False: 'not so', None: 'undefined'}[claim['holds']]
    measured = []
    for name, value in claim['measured'].items():
        measured.append(f'{name} {"undefined" if value is None else rounded(value)}')
    if claim.get('finding'):
        measured.append(claim['finding'])
    return sign, claim['claim'], '; '.join(measured)


def write_page(drawing):
    """index.html, of the snapshots whose pictures are drawn; nothing as long as there are none."""
    folder = drawing.folder
    data = drawing.data
    header, rows = read_rows(folder/'metrics.csv')
    rows = [row for row in rows if row[0] in drawing.done]
    if not rows or not drawing.painters:
        return
    summary = read_file(folder/'summary.json') or UNFINISHED
    measures = {name: [rounded(row[k]) for row in rows] for k, name in enumerate(header)}
    measures.pop('Iteration')
    kinds = []
    for path in drawing.painters:
        kinds.append(dict(path=path, title=FRAMES[path].title, look=FRAMES[path].look))
    final = summary['final'].items()
    files = [*FILES, *(kind.gif for kind in FRAMES.values())]
    content = dict(
        title=f'A GAN learns {Path(data["data"]).name}',
        about=about_run(data, summary),
        iterations=[int(row[0]) for row in rows],
        kinds=kinds,
        measures=measures,
        levels=[rounded(data.get(name)) for name in ('floor', 'shuffled')],
        state=' '.join(summary[name] for name in ('verdict', 'advice') if summary.get(name)),
        claims=[claim_cells(claim) for claim in summary['claims'].values()],
        final=[(name.replace('_', ' '), rounded(value)) for name, value in final],
        pictures=[(name, look) for name, (_, look) in ONCE.items() if (folder/name).exists()],
        files=[name for name in files if (folder/name).exists()])
    numbers = json.dumps(content, allow_nan=False)
    with replacing(folder/'index.html') as new:
        new.write_text(PAGE.replace('@run@', numbers.replace('<', r'\u003c')), encoding='utf-8')


# ----------------------------------------------------------------------------------------------- the whole run

class Drawing:
    """The pictures of the run in a folder, while its process `parent`, if given, lives; `failed`: was one not drawn?"""

    def __init__(self, folder, parent=None):
        self.folder = folder
        self.parent = parent
        self.failed = False
        self.done = set()  # iterations whose pictures are drawn
        self.paged = 0.    # when the page was last written
        settings = read_file(folder/'settings.json')
        self.data = read_file(folder/'snapshots/data.npz')
        if settings is None or self.data is None:
            raise UsageError(f'error: argument DIR: {folder} holds no run; '
                             'give the output folder of one')
        if not settings:
            raise Failure(f'{folder/"settings.json"} is damaged: it holds nothing')
        names = self.data['names'].tolist()
        self.data.update(settings, folder=folder, names=names)

        self.painters = {}
        for name, kind in FRAMES.items():
            fits = len(self.data['low']) == 2 or not kind.planar
            if fits and settings['pictures'] in (kind.which, 'all'):
                self.painters[name] = painter(self.data, kind)
        known = font_manager.get_font(font_manager.findfont('DejaVu Sans')).get_charmap()
        if any(ord(letter) not in known for letter in ''.join(names) if letter.isprintable()):
            complain('the font lacks letters of the column names, which are drawn as boxes')

    @contextlib.contextmanager
    def trying(self):
        """Says what cannot be drawn, the first time, and lets all else be drawn. Ends the process with its run."""
        if self.parent and os.getppid() != self.parent:
            sys.exit()
        try:
            yield
        except (OSError, Failure) as error:
            if not self.failed:
                complain(error, '; other pictures are drawn')
            self.failed = True

    def draw_frames(self, again=False):
        """Draws what the snapshots on disk call for, what is missing or all; once a second the page shows it."""
        for iteration in sorted(numbered(self.folder, SNAPSHOT).keys() - self.done):
            with self.trying():
                self.draw_snapshot(iteration, again)
            self.done.add(iteration)
            if time.monotonic() > self.paged + 1:
                with self.trying():
                    write_page(self)
                self.paged = time.monotonic()

    def draw_snapshot(self, iteration, again):
        paths = {name: self.folder/(name % iteration) for name in self.painters}
        missing = [name for name, path in paths.items() if again or not path.exists()]
        if not missing:
            return
        snapshot = read_file(self.folder/(SNAPSHOT % iteration))
        for name in missing:
            paths[name].parent.mkdir(exist_ok=True)
            self.painters[name](snapshot, iteration, paths[name])

    def draw_rest(self):
        """Draws the pictures of the whole run, joins the GIFs and writes the page."""
        for name, (draw, _) in ONCE.items():
            with self.trying():
                figure = new_figure()
                draw(figure, self.data)
                if figure.axes:
                    figure.canvas.draw()
                    write_png(figure, self.folder/name)
        for name in self.painters:
            with self.trying():
                paths = list(numbered(self.folder, name).values())
                if paths:
                    write_gif(paths, self.folder/FRAMES[name].gif)
        with self.trying():
            write_page(self)


def complain(error, more=''):
    """A line on stderr about an error, with the file that it is about."""
    if isinstance(error, OSError):
        error = f'{error.filename}: {error.strerror or error.args[0]}'
    print(f'plotting.py: {error}{more}', file=sys.stderr, flush=True)


def main():
    parser = argparse.ArgumentParser(
        'plotting.py', description='Draws every picture of a run from its numbers.')
    parser.add_argument(
        'DIR', nargs='?', default='outputs', help='output folder of a run (default: outputs)')
    # The id of the run that has started this process:
    parser.add_argument('--follow', type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    for number in signal.SIGINT, signal.SIGTERM:
        signal.signal(number, lambda *_: sys.exit(130))  # leaves no half-written file behind
    warnings.simplefilter('ignore')  # whatever numbers a run holds, they are drawn as far as they can be
    try:
        drawing = Drawing(Path(arguments.DIR), arguments.follow)
        while arguments.follow and not stdin_ended():
            drawing.draw_frames()
        drawing.draw_frames(again=not arguments.follow)
        drawing.draw_rest()
        return int(drawing.failed)
    except UsageError as error:
        complain(error)
        return 2
    except (OSError, Failure) as error:
        complain(error)
        return 1


def stdin_ended():
    """Waits a moment for it."""
    readable, _, _ = select.select([0], [], [], 0.2)
    return readable and not os.read(0, 4096)


if __name__ == '__main__':
    sys.exit(main())
