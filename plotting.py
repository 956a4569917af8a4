"""Draws the pictures and the page of a run from the numbers in its folder; a process of its own,
without TensorFlow.

    python plotting.py DIR        the pictures that a run's --pictures asks for, and its page
"""
import argparse
import contextlib
import fcntl
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
from collections.abc import Callable
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent))  # python -P does not look here
from gan_quadratic import INSTALL, SNAPSHOT, Failure, UsageError, read_file, replacing

logging.getLogger('matplotlib').setLevel(logging.ERROR)  # "building the font cache", the first time
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
    from matplotlib.patches import Circle
    from PIL import Image
except ImportError as error:
    sys.exit(f'plotting.py: {error}; {INSTALL}')
os.fchdir(here)
os.close(here)


def numbered(folder, pattern):
    """The files of a folder that a pattern with %06d names: iteration -> path, in that order."""
    name = re.escape(Path(pattern).name).replace('%06d', r'(\d{6,})')
    found = {}
    for path in (folder/pattern).parent.glob('*'):
        match = re.fullmatch(name, path.name)
        if match:
            found[int(match[1])] = path
    return dict(sorted(found.items()))


# ---------------------------------------------------------------------------------- axes and points
# `data`, in all that follows: the arrays of snapshots/data.npz, the run's settings, and `folder`.

rcParams.update({
    'figure.constrained_layout.use': True,
    'figure.constrained_layout.w_pad': 0.08,
    'figure.constrained_layout.h_pad': 0.08,
    'axes.titlesize': 9,
    'axes.labelsize': 9,
    'xtick.labelsize': 8,
    'ytick.labelsize': 8,
    'image.cmap': 'gray',
    'legend.frameon': False,
    'legend.fontsize': 9,
    'lines.linewidth': 1,
    'lines.markersize': 4,
})
REAL = '#0072b2'  # the colour-blind, too, tell it from the next; both are the same in every picture
GENERATED = '#d55e00'
DARK = '#333333'  # the discriminator's, which sees both
GREY = '0.4'      # remarks
BETWEEN = colors.LinearSegmentedColormap.from_list('difference', [GENERATED, '#ffffff', REAL])
PALE = colors.LinearSegmentedColormap.from_list('under points', BETWEEN([0.275, 0.5, 0.725]))
BARE = dict(xticks=[], yticks=[])
SHAPES = {REAL: 'o', GENERATED: 's'}
LEGEND = dict(loc='outside lower center', ncols=2)  # where it hides no points
ANIMATED = dict(animated=True)  # matplotlib's word for what is drawn each time anew
OPEN = dict(ANIMATED, fillstyle='none', markeredgewidth=0.8)
FILLED = dict(ANIMATED, markeredgewidth=0)


def short(name, most=18):
    """A user's text on one line, cut where it is longer than `most`; no $ begins a formula."""
    name = ' '.join(str(name).encode(errors='replace').decode().split())
    if len(name) > most:
        name = name[:most - 1] + '…'
    return name.replace('$', r'\$')


def scale_axis(ax, axis, values, numbers):
    """Makes an axis, 'x' or 'y', logarithmic both ways from 0 where few values hide all others."""
    middle = np.median(values)
    away = np.abs(values - middle)
    usual = np.median(away[away > 0]) if away.any() else 0
    if away.max() <= max(30*usual, np.abs(middle)):
        ax.locator_params(axis=axis, nbins=numbers)
        ax.ticklabel_format(axis=axis, scilimits=(-3, 4))  # longer numbers take the picture's room
        return

    linear = 10**math.ceil(math.log10(usual))  # so that no power of ten below it is close to the 0
    set_scale = getattr(ax, f'set_{axis}scale')
    set_scale('symlog', linthresh=linear)
    locator = getattr(ax, f'{axis}axis').get_major_locator()
    locator.set_params(numticks=numbers)
    ends = np.array([values.min(), values.max()])
    limits = ends + [-linear, linear] + [-0.5, 0.5]*np.abs(ends)
    ax.set(**{f'{axis}lim': limits})


def data_axes(figure, data, where=111):
    """Views of rows [n, dim], (axes, columns on them), whose limits stay: of more than 3 columns,
    one of each pair of the first 4."""
    dim = len(data['low'])
    if dim > 3:
        pairs = combinations(range(4), 2)
        views = list(zip(figure.subplots(2, 3).flat, pairs))
    else:
        ax = figure.add_subplot(where, projection='3d' if dim == 3 else None)
        views = [(ax, range(dim))]

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
    if linear and 0.5 < np.ptp(ax.get_xlim())/np.ptp(ax.get_ylim()) < 2:
        ax.set_aspect('equal')


def arrange_cube(ax):
    ax.locator_params(nbins=4)
    ax.tick_params(axis='z', pad=6)
    for axis in ax.xaxis, ax.yaxis, ax.zaxis:
        axis.labelpad = 10
    ax.set_box_aspect(None, zoom=0.85)  # the layout knows nothing of labels around a cube


def arrange_pair(ax):
    ax.set_xlabel(ax.get_xlabel(), loc='left')  # at the right the axis's power of ten may stand


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
    """Up to 64 images [n, pixels], in the data's units, as one picture, 8 by 8, in [0, 1]."""
    height, width = data['image'][:2]
    low = data['low'].min()
    spread = data['high'].max() - low
    tiles = np.zeros([64, rows.shape[1]])
    tiles[:len(rows)] = np.clip((rows[:64] - low)/(spread or 1), 0, 1)
    lines = tiles.reshape(8, 8, height, width, -1).swapaxes(1, 2)
    return lines.reshape(8*height, 8*width, -1).squeeze()  # grey ones have no channels


# ------------------------------------------------------------------------ pictures of each snapshot
# Each function prepares a figure. It returns the function that updates it by a snapshot's arrays.

# Open before an update, small and filled after it, the real ones larger: all are seen, even where
# they coincide.
FEATURES = (('Real Data Before', REAL, 9, OPEN),
            ('Real Data After', REAL, 4, FILLED),
            ('Generated Data Before', GENERATED, 5, OPEN),
            ('Generated Data After', GENERATED, 2.8, FILLED))
BANDS = 10  # shades of D(x) from 0 to 1: an even number, so that the line at 0.5 lies between two
NEARER = '#dbe9f4'
FAR = 500   # no larger disc can be told from this one on axes from -1 to 1


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
    left.imshow(tiled(data['real'], data), vmin=0, vmax=1)
    right.set_title('Generated samples', color=GENERATED)
    image = right.imshow(tiled(data['real'], data), vmin=0, vmax=1, **ANIMATED)
    return lambda snapshot: image.set_data(tiled(snapshot['generated'], data))


def moving_text(ax, x, y, **style):
    """A text that each snapshot sets anew. It should be short: drawing letters is slow."""
    return ax.text(x, y, '', fontsize=9, transform=ax.transAxes, **style, **ANIMATED)


def feature_axes(step, ax, centroids_only=False):
    """Axes for the features h3 before and after the update of network `step`, 'D' or 'G', or for
    their centroids, on one scale. The axes follow what they show. Returns the function that draws
    the features of a snapshot and returns what it has drawn, [4, n, 2]; of centroids n is 1."""
    ax.set(xlim=(0, 1), ylim=(0, 1), **BARE)
    ax.set_xlabel('feature 1', loc='left')
    ax.set_ylabel('feature 2', loc='bottom')
    width = moving_text(ax, 1, -0.02, ha='right', va='top')  # ticks that move take too long
    height = moving_text(ax, -0.02, 1, ha='right', va='top', rotation=90)
    move_bands = answer_bands(ax)
    labels = [f'{name} {step} step' for name, *_ in FEATURES]
    move_series = four_series(ax, labels, 1.6 if centroids_only else 1)

    def show(snapshot):
        first = 'DG'.index(step)  # a snapshot has them before D's step, after it, after G's
        before, after = snapshot['features'][first:first + 2].astype(float)
        clouds = np.stack([before[0], after[0], before[1], after[1]])  # real, generated
        if centroids_only:
            clouds = clouds.mean(axis=1, keepdims=True)
        lowest = clouds.min(axis=(0, 1))
        highest = clouds.max(axis=(0, 1))
        ends = [round_ends(*pair) for pair in zip(lowest, highest)]
        low, high = np.transpose(ends)
        if centroids_only:
            lacking = np.ptp(ends, axis=1).max() - (high - low)
            low = low - lacking/2
            high = high + lacking/2
        width.set_text(f'{low[0]:.10g} to {high[0]:.10g}')
        height.set_text(f'{low[1]:.10g} to {high[1]:.10g}')
        boundary = snapshot.get('boundary', np.full([2, 3], np.nan))  # older runs have none
        move_bands(boundary[1], low, high)
        move_series((clouds - low)/(high - low))
        return clouds
    return show


def four_series(ax, labels, larger=1):
    """FEATURES on axes from 0 to 1. Returns the function that moves them to clouds [4, n, 2]."""
    moves = []
    for label, (_, color, markersize, style) in zip(labels, FEATURES):
        moves.append(points([(ax, (0, 1))], label, color, larger*markersize, style))

    def move_all(clouds):
        for move, cloud in zip(moves, clouds):
            move(cloud)
    return move_all


def answer_bands(ax):
    """D(x) on axes from 0 to 1, in bands, and the line where it is 0.5. Returns the function that
    moves them to D's last layer, two weights and a bias, on features from low to high."""
    bands = []
    for shade in PALE((np.arange(BANDS) + 0.5)/BANDS):
        bands += ax.fill([0], [0], color=shade, linewidth=0, antialiased=False, **ANIMATED)
    label = 'D(x) = 0.5; blue: D says real'
    line, = ax.plot([], [], color='black', label=label, **ANIMATED)
    ax.spines[:].set_animated(True)  # over the bands
    answers = np.arange(1, BANDS)/BANDS
    logits = np.array([-np.inf, *np.log(answers/(1 - answers)), np.inf])

    def move(boundary, low, high):
        weights = boundary[:2]*(high - low)  # on these axes
        bias = boundary[2] + boundary[:2] @ low
        steepness = np.hypot(*weights)
        across = weights/steepness
        along = 2*across[::-1]*[-1, 1]
        distances = np.clip((logits - bias)/steepness, -2, 2)  # nothing is seen further away
        middles = distances[:, None]*across
        left = middles - along
        right = middles + along
        for k, band in enumerate(bands):
            band.set_visible(distances[k] < distances[k + 1])
            band.set_xy([left[k], right[k], right[k + 1], left[k + 1]])
        line.set_data(*zip(left[BANDS//2], right[BANDS//2]))
    return move


def transformed_features(step, figure, data):
    """Features h3 of both kinds of samples around the update of network `step`."""
    show = feature_axes(step, figure.add_subplot())
    figure.legend(**LEGEND)
    return show


def centroids(step, figure, data):
    """The centroids of those four clouds; beside them, enlarged, the generated centroid's move as
    seen from the real one: it came nearer where the arrow ends in the disc around the real one."""
    left, right = figure.subplots(1, 2, subplot_kw=dict(aspect='equal'))
    show = feature_axes(step, left, centroids_only=True)
    left.set_title('where they are')
    right.set(xlim=(-1, 1), ylim=(-1, 1), **BARE)
    right.set_title('distance to the real centroid\n ')
    right.set_xlabel('around the open square', loc='left')
    distances = moving_text(right, 0.5, 1.03, ha='center')
    width = moving_text(right, 1, -0.02, ha='right', va='top')
    disc = Circle((0, 0), color=NEARER, label='nearer to the real centroid', **ANIMATED)
    right.add_patch(disc)
    right.spines[:].set_animated(True)
    toward, = right.plot([], [], '--', color=GREY, label='toward the real centroid', **ANIMATED)
    arrow = right.arrow(0, 0, 1, 1, color=GENERATED, width=0.01, head_width=0.09,
                        length_includes_head=True, **ANIMATED)
    move_series = four_series(right, ['']*4, 1.6)
    figure.legend(**LEGEND)

    def update(snapshot):
        real, real_after, before, after = show(snapshot)[:, 0]
        apart = real - before
        moved = after - before - (real_after - real)
        distance = np.hypot(*apart)
        distance_after = np.hypot(*(apart - moved))
        word = 'nearer' if distance_after < distance else 'not nearer'
        digits = 4 if abs(distance - distance_after) > 0.002*distance else 9
        distances.set_text(f'{distance:.{digits}g} → {distance_after:.{digits}g}: {word}')

        _, reach = round_ends(0, np.abs(moved).max())
        width.set_text(f'{2*reach:g} wide')
        apart, moved, distance = apart/reach, moved/reach, distance/reach
        disc.set_radius(min(distance, FAR))
        disc.set_center(apart*disc.radius/distance)
        toward.set_data(*zip((0, 0), apart))
        arrow.set_data(dx=moved[0], dy=moved[1])
        move_series(np.array([apart, apart, (0, 0), moved])[:, None])
    return update


def decision(figure, data):
    """D(x) over the data's plane, with the line where D cannot tell, and samples over it."""
    update_samples = samples(figure, data)
    ax, = figure.axes
    ax.spines[:].set_animated(True)  # over the colours
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


def cells(grids):
    """The cells of grids of points [sheets, rows, columns, 2]: their corners, [cells, 4, 2]."""
    left = grids[:, :, :-1]
    right = grids[:, :, 1:]
    corners = [left[:, :-1], right[:, :-1], right[:, 1:], left[:, 1:]]
    return np.stack(corners, axis=3).reshape(-1, 4, 2)


def mapping(figure, data):
    """A grid of noise, coloured by position, and its image under the generator: overlaps show as
    darker. Of more than two noise values, several grids, which differ in the further values."""
    noise = data['noise']
    further = data['noise_dim'] - 2
    strip = noise.shape[1] == 1  # its image is a line
    if strip:
        grid = np.stack([np.insert(noise, 1, height, axis=1) for height in (-0.1, 0.1)])
    else:
        side = round(len(noise)**0.5)
        grid = noise.reshape(side, side, 2)
    sheet = cells(grid[None])
    u, v = (sheet.mean(axis=1).T + 1)/2
    facecolors = np.stack([u, 0.75*v, 1 - u], axis=1)

    left = figure.add_subplot(1, 2, 1, aspect='equal', xlim=(-1.1, 1.1), ylim=(-1.1, 1.1))
    left.set(title='noise', xlabel='Z, first value', ylabel='' if strip else 'Z, second value')
    left.add_collection(
        PolyCollection(sheet, facecolors=facecolors, edgecolors='w', linewidths=0.3))

    (right, _), = data_axes(figure, data, 122)
    right.set_title('what the generator makes of it')
    style = dict(ANIMATED, color=facecolors, linewidths=3 if strip else 0.5, alpha=0.45)
    if further > 0:
        left.set_title(f'noise, the first two\nof {further + 2} values')
        right.set_title('what the generator makes of it,\nthe further values drawn at random')
        style['alpha'] = 0.15
    image = PolyCollection([], **style)
    right.add_collection(image, autolim=False)

    def update(snapshot):
        mapped = snapshot['mapping']
        sheets = len(mapped)//len(noise)
        image.set_verts(cells(np.resize(mapped, [sheets, *grid.shape])))
    return update


# ----------------------------------------------------------------------- pictures of the whole run
# Each function draws on a figure from the numbers in the folder; nothing where there are none yet.

EQUILIBRIUM = {'2 ln 2': 2*math.log(2), 'ln 2': math.log(2)}  # D's and G's loss
SHUFFLED = 'of shuffled columns'  # only to compare with
PANELS = (  # title, scale, column -> colour, what it should come to -> number, or name in the data
    ('Losses', 'linear', {'Discriminator Loss Mean': DARK, 'Generator Loss Mean': GENERATED},
     EQUILIBRIUM),
    ('Spread of the losses', 'log',
     {'Discriminator Loss Spread': DARK, 'Generator Loss Spread': GENERATED},
     {'0: they rest': 0}),
    ('Mean D(x)', 'share', {'D on Real': REAL, 'D on Generated': GENERATED},
     {'0.5: D cannot tell': 0.5}),
    ('Energy distance', 'log', {'Energy Distance': GENERATED},
     {'of real rows': 'floor', SHUFFLED: 'shuffled'}),
    ('Share with a nearest neighbour of their own kind', 'share',
     {'Neighbours Samples': GENERATED, 'Neighbours Real': REAL},
     {'0.5: cannot be told apart': 0.5}),
    ('Distance of the two clouds of features', 'log', {'Feature Distance': DARK},
     {'0: they are mixed': 0}),
    ('Distance of the two centroids of features', 'log', {'Centroid Distance After': DARK},
     {'0: they coincide': 0}),
    ('Share of G steps so far that brought these nearer', 'share', {'Share Nearer': GENERATED},
     {'0.9: "almost always"': 0.9}),
    ('Largest move of real features by a G step', 'linear', {'Largest Real Move': REAL},
     {'must be 0': 0}),
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


def read_rows(path, most=None):
    """The header and rows of a .csv; no rows where there is none."""
    return read_file(path, most) or ([], np.empty([0, 0]))


def training_loss(figure, data):
    """Both losses of the log and their running means, with what they come to in equilibrium."""
    _, rows = read_rows(data['folder']/'loss_logs.csv')
    if not len(rows):
        return
    figure.set_size_inches(7.4, 4.8)
    ax = figure.add_subplot(xlabel='iteration', ylabel='loss')
    window = max(1, len(rows)//200)
    smooth = np.apply_along_axis(np.convolve, 0, rows, np.ones(window)/window, 'valid')
    for k, name, color, words in (
            (1, 'Discriminator', DARK, '2 ln 2'), (2, 'Generator', GENERATED, 'ln 2')):
        level = EQUILIBRIUM[words]
        ax.plot(rows[:, 0], rows[:, k], color=color, linewidth=0.5, alpha=0.25,
                label=f'{name} loss of single iterations')
        ax.plot(smooth[:, 0], smooth[:, k], 'o-', markevery=[-1], color=color,
                linewidth=1.6, label=f'{name} loss, running mean')
        ax.axhline(level, color=color, linestyle='--',
                   label=f'equilibrium, {words} = {level:.4f}')

    losses = rows[:, 1:]
    top = max(2., 1.15*np.quantile(losses, 0.98))
    ax.margins(x=0)
    ax.set_ylim(0, top)
    beyond = (losses > top).any(axis=1).mean()
    remark = f' (at {beyond:.1%} of the iterations, losses above {top:.3g})' if beyond else ''
    figure.suptitle('Training Loss' + remark)
    figure.legend(**LEGEND)


def metrics(figure, data):
    """The columns of metrics.csv in small panels, each with what it should come to, dashed."""
    header, rows = read_rows(data['folder']/'metrics.csv')
    if not len(rows):
        return
    columns = dict(zip(header, rows.T))
    if 'Moved Toward' in columns:
        columns['Share Nearer'] = np.cumsum(columns['Moved Toward'])/np.arange(1, len(rows) + 1)
    known = {name for name, column in columns.items() if np.isfinite(column).any()}
    panels = [panel for panel in PANELS if known.issuperset(panel[2])]
    figure.set_size_inches(11, 9)
    for k, panel in enumerate(panels):
        ax = figure.add_subplot(3, 3, k + 1)
        draw_panel(ax, rows[:, 0], columns, data, *panel)
    figure.suptitle('Measures at each snapshot, by iteration; dashed: what they should come to')


def draw_panel(ax, iterations, columns, data, title, scale, curves, levels):
    ax.set_title(title)
    ax.locator_params(axis='x', nbins=5)
    for name, color in curves.items():
        ax.plot(iterations, columns[name], '.-', color=color, label=name)
    for label, value in levels.items():
        if isinstance(value, str):
            value = float(data.get(value, np.nan))
        if math.isfinite(value):
            style = ':' if label == SHUFFLED else '--'
            ax.axhline(value, color=GREY, linestyle=style, label=label)

    drawn = np.concatenate([line.get_ydata() for line in ax.lines])
    if scale == 'share':
        ax.set_ylim(-0.05, 1.05)
    elif scale == 'log' and drawn.any():
        scale_log(ax, drawn)
    # Under the panel, where it hides no curve:
    ax.legend(fontsize=7, loc='upper center', bbox_to_anchor=(0.5, -0.1), ncols=2,
              columnspacing=1, handlelength=1.5)


def scale_log(ax, values):
    """A logarithmic axis on which 0, and what is below, can be drawn too."""
    least = np.nanmin(np.abs(values[values != 0]))
    ax.set_yscale('symlog', linthresh=10**math.floor(math.log10(least)))
    ax.margins(y=0.1)  # the usual one leaves the outermost point on the edge


def table_columns(figure, data, most=12):
    """Of a user's table: of each column the share of rows below a value, real and generated, and
    the correlations of all."""
    _, generated = read_rows(data['folder']/'generated_samples.csv', 10_000)
    if len(data['image']) or not data['fingerprint'] or not len(generated):
        return
    real = data.get('rows', data['training'])
    dim = real.shape[1]
    names = data['names'][:most]
    real = real[:, :most]
    generated = generated[:, :most]
    heights = [2.2*math.ceil(len(names)/4), 4] if dim > 1 else [2.7]
    figure.set_size_inches(11, sum(heights))
    remark = f' (the first {most} of {dim} columns)' if dim > most else ''
    figure.suptitle('Share of rows below a value, column by column' + remark)
    parts = figure.subfigures(len(heights), 1, height_ratios=heights, squeeze=False)[:, 0]
    draw_shares(parts[0], names, real, generated)
    if dim > 1:
        draw_correlations(parts[1], names, real, generated)


def draw_shares(figure, names, real, generated):
    lines = math.ceil(len(names)/4)
    for k, name in enumerate(names):
        ax = figure.add_subplot(lines, min(4, len(names)), k + 1, ylim=(-0.03, 1.03))
        ax.set_title(short(name))
        for rows, color, width in (real, REAL, 2.2), (generated, GENERATED, 1.1):
            shares = np.linspace(0, 1, len(rows))
            ax.step(np.sort(rows[:, k]), shares, where='post', color=color, linewidth=width)
        scale_axis(ax, 'x', np.concatenate([real[:, k], generated[:, k]]), 4)
    labels = f'real, trained on or not: {len(real):,} rows', f'generated: {len(generated):,} rows'
    figure.legend(ax.lines, labels, **LEGEND)


def draw_correlations(figure, names, real, generated):
    of_real = np.nan_to_num(np.corrcoef(real.T))
    of_generated = np.nan_to_num(np.corrcoef(generated.T))
    difference = of_generated - of_real
    widest = max(0.01, np.abs(difference).max())
    labels = [short(name, 14) for name in names]
    for k, (title, table, end) in enumerate((
            ('Correlations, real', of_real, 1),
            ('generated', of_generated, 1),
            ('generated minus real', difference, widest))):
        ax = figure.add_subplot(1, 3, k + 1, title=title)
        image = ax.imshow(table, cmap=BETWEEN, vmin=-end, vmax=end)
        ax.set_xticks(range(len(names)), labels, rotation=90)
        ax.set_yticks(range(len(names)), labels if k == 0 else ['']*len(names))
        figure.colorbar(image, ax=ax, shrink=0.8)


# ------------------------------------------------------------------------------ pictures onto disk

class Kind(NamedTuple):
    """A kind of picture that there is of each snapshot."""
    draw: Callable  # (figure, data) -> the function that updates the figure
    title: str
    gif: str
    which: str      # the set of --pictures that it belongs to
    planar: bool    # only of data of two columns?
    look: str       # what to look for, on the page


FRAMES = {
    'iterations/iteration_%06d.png': Kind(
        samples, 'Samples', 'iterations.gif', 'article', False,
        'Do the orange points lie where the blue rings do, reach all of them, and gather as they '
        'do?'),
    'features/feature_transform_%06d.png': Kind(
        partial(transformed_features, 'G'), 'Transformed Features', 'feature_transform.gif',
        'article', False,
        'Every blue ring keeps its dot: an update of G moves no real feature. D says real on the '
        'blue side of its line. In time the clouds mix.'),
    'features/feature_transform_centroid_%06d.png': Kind(
        partial(centroids, 'G'), 'Centroid of Transformed Features',
        'feature_transform_centroid.gif', 'article', False,
        'Right: an arrow that ends in the pale blue has brought the generated centroid nearer to '
        'the real one.'),
    'features/d_step_transform_%06d.png': Kind(
        partial(transformed_features, 'D'), 'Transformed Features, D step,',
        'd_step_transform.gif', 'all', False,
        'An update of D moves both clouds, for D changes its own features, and its line, which is '
        'drawn as it is after the update. It wants them on either side of it.'),
    'features/d_step_centroid_%06d.png': Kind(
        partial(centroids, 'D'), 'Centroid of Transformed Features, D step,',
        'd_step_centroid.gif', 'all', False,
        'Both centroids move. Right: how the generated one moved as seen from the real one. D '
        'wants a line between them, not distance.'),
    'discriminator/decision_%06d.png': Kind(
        decision, 'Discriminator', 'decision.gif', 'all', True,
        'Blue where D says real, orange where it says generated, black where it cannot tell. All '
        'is pale where it learns no difference any more.'),
    'generator/mapping_%06d.png': Kind(
        mapping, 'Generator', 'mapping.gif', 'all', True,
        'How G bends and folds a sheet of noise; dark patches lie on each other. Of more than two '
        'noise values, several sheets are drawn, pale: in each the further values are others.'),
}
ONCE = {  # of the whole run
    'training_data.png': (training_data, 'What the generator is to learn.'),
    'training_loss.png': (training_loss, 'Do both come to their dashed lines and stay there?'),
    'metrics.png': (metrics, 'Does each curve come to its dashed line?'),
    'columns.png': (table_columns, 'Does each orange curve lie on the blue one? The third square '
                                   'has a scale of its own: how large is its largest error?'),
}

RESULTS = 'columns.png'  # of the samples delivered, which there are last


def make_palette(shades=24):
    """All that lies between any two of the colours drawn with, in so few shades that white stays
    white in Pillow's search."""
    corners = 255*colors.to_rgba_array(['white', 'black', REAL, GENERATED])[:, :3]
    mixtures = [np.linspace(*pair, shades) for pair in combinations(corners, 2)]
    palette = Image.new('P', (1, 1))
    palette.putpalette(np.rint(mixtures).astype('uint8').tobytes())
    return palette


PALETTE = make_palette()


def new_figure():
    return FigureCanvasAgg(Figure()).figure


def write_png(figure, path):
    """Writes what is drawn on a canvas; lines and points with a palette, which is quick to compress
    and what the GIF needs."""
    image = Image.fromarray(np.asarray(figure.canvas.buffer_rgba())).convert('RGB')
    if not any(ax.images or ax.collections for ax in figure.axes):
        image = image.quantize(palette=PALETTE, dither=Image.Dither.NONE)
    with replacing(path) as new:
        image.save(new, 'png', compress_level=3)


def painter(data, kind):
    """Draws once what stands still, for text costs far more than points. Returns the function that
    writes a snapshot's PNG."""
    figure = new_figure()
    title = figure.suptitle(f'{kind.title} at Iteration ', x=0.48)
    update = kind.draw(figure, data)
    figure.canvas.draw()  # finds room for all text, too
    end = title.get_window_extent().x1/figure.bbox.width
    _, top = title.get_position()
    number = figure.text(end, top, '', va='top', fontsize=title.get_fontsize(), **ANIMATED)
    still = figure.canvas.copy_from_bbox(figure.bbox)

    def paint(snapshot, iteration, path):
        number.set_text(iteration)
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
    """Joins PNGs: 2 a second, more where they would last longer than `longest` seconds, leaving
    some out where needed."""
    paths = paths[::math.ceil(len(paths)*0.02/longest)]  # viewers show no more than 50 a second
    milliseconds = min(500, 10*int(100*longest/len(paths)))
    images = map(Image.open, paths)  # one by one, for there may be more than files can be open
    with replacing(path) as new:
        first = next(images)
        first.save(new, 'gif', save_all=True, append_images=images, loop=0, optimize=False,
                   duration=milliseconds)


# ----------------------------------------------------------------------------------------- the page
# Opened from disk it cannot read files: the numbers stand in it, the user's texts too, as text.

PAGE = r"""<!doctype html>
<html lang="en">
<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="data:,"><title></title>
<style>
:root { color-scheme: light dark; }
@media (prefers-reduced-motion: reduce) { #play { display: none; } }
body { font: 16px/1.5 system-ui, sans-serif; padding: 0 1rem 2rem;
  max-width: 1900px; margin: 0 auto; }
h1, p { overflow-wrap: anywhere; max-width: 75rem; }
h1 { font-size: 1.5rem; }
h2 { font-size: 1.15rem; }
#state { font-size: 1.1rem; font-weight: 600; }
#state:empty { display: none; }
nav { position: sticky; top: 0; z-index: 1; background: Canvas; padding: .6rem 0; }
nav { display: flex; flex-wrap: wrap; gap: .8rem; }
nav input { flex: 1; min-width: 8rem; accent-color: #d55e00; }
nav button { font: inherit; min-width: 4.5rem; }
.beside { display: flex; gap: 1.5rem; }
.grid { flex: 1; display: grid; gap: 1rem; align-content: start;
  grid-template-columns: repeat(auto-fit, minmax(min(100%, 25rem), 1fr)); }
#first { max-width: 60rem; margin-bottom: 1rem; }
aside { width: 23rem; }
@media (max-width: 60rem) { .beside { display: block; } aside { width: auto; } }
figure { margin: 0; }
img { width: 100%; height: auto; background: #fff; display: block; }
.missing img { visibility: hidden; }
.missing::before { content: "This picture is missing."; }
figcaption, small, aside p { font-size: .87rem; opacity: .85; margin: 0; }
output, td { font-variant-numeric: tabular-nums; }
td { padding: 0 1rem 0 0; vertical-align: top; overflow-wrap: anywhere; }
#claims td:first-child, #measures td:last-child { white-space: nowrap; }
#files a { margin-right: 1rem; display: inline-block; }
.chart { display: grid; grid-template-columns: 4rem 1fr; column-gap: .4rem; font-size: .8rem; }
.ends { display: flex; justify-content: space-between; }
.up { flex-direction: column; text-align: right; }
.chart .along { grid-column: 2; }
svg { width: 100%; height: 8rem; cursor: pointer; border: 1px solid #8886; }
svg * { fill: none; stroke: currentColor; vector-effect: non-scaling-stroke; pointer-events: none; }
.mark { stroke: #0072b2; stroke-width: 2; }
.orange { stroke: #d55e00; }
.blue { stroke: #0072b2; }
.level { stroke-dasharray: 4; opacity: .5; }
</style>

<h1>A GAN learns <bdi id="name"></bdi></h1>
<p id="state"></p>
<p id="about"></p>
<p>Columns: <span id="columns"></span></p>
<div class="grid" id="first"></div>
<nav><button id="play">Play</button>
<input id="slider" type="range" min="0" value="0" aria-label="Snapshot" list="ticks">
<datalist id="ticks"></datalist><output id="at"></output><strong id="word"></strong></nav>
<div class="beside"><div class="grid" id="frames"></div>
<aside><div id="charts"></div>
<h2>Measures at this iteration</h2><table id="measures"></table>
<p id="note">The generator delivered: energy distance and neighbours are of the final samples.</p>
</aside></div>
<h2>What the tutorial claims</h2><table id="claims"></table>
<h2>The samples delivered</h2><table id="final"></table>
<h2>The whole run</h2><div class="grid" id="whole"></div>
<h2>Files</h2><p id="files"></p>

<script type="application/json" id="run">@run@</script>
<script>
const find = id => document.getElementById(id);
const run = JSON.parse(find('run').textContent);
const { settings, names, kinds } = run;
const { Iteration: iterations, ...measures } = run.columns;
const { claims = {}, final = {}, versions = {}, seconds = {}, ...summary } = run.summary;
const last = iterations.length - 1;
const found = iterations.indexOf(summary.delivered_iteration);
const delivered = found < 0 ? null : found;
const [slider, at, play] = ['slider', 'at', 'play'].map(find);
let now = 0;
let timer = 0;

function make(parent, tag, properties) {
  return parent.appendChild(Object.assign(document.createElement(tag), properties));
}

function round(x) {
  return typeof x === 'number' ? +x.toPrecision(4) : '–';
}

function short(name, most = 40) {  // a user's text, which has no say in the text around it
  const text = String(name).replace(/[\s\u202a-\u202e\u2066-\u2069]+/g, ' ');
  return text.length > most ? text.slice(0, most) + '…' : text;
}

function fill(id, rows) {
  find(id).replaceChildren();
  for (const cells of rows) {
    const row = make(find(id), 'tr');
    for (const cell of cells) make(row, 'td', { textContent: cell });
  }
}

function picture(id, look, src = '') {
  const figure = make(find(id), 'figure');
  const link = make(figure, 'a', src && { href: src });
  const alt = src.slice(0, -4).replace('_', ' ');
  const image = make(link, 'img', { width: 640, height: 480, src, alt });
  image.onload = () => figure.classList.remove('missing');
  image.onerror = () => figure.classList.add('missing');
  make(figure, 'figcaption', { textContent: look });
  return image;
}

const frames = kinds.map(([, , look]) => picture('frames', look));

function show(k) {
  now = slider.value = Math.max(0, Math.min(last, k));
  const iteration = iterations[now];
  const word = now === delivered ? 'delivered' : '';
  at.textContent = 'iteration ' + iteration;
  find('word').textContent = word;
  slider.ariaValueText = at.textContent + ' ' + word;
  kinds.forEach(([pattern, title], i) => {
    const path = k => pattern.replace('%06d', String(iterations[k]).padStart(6, '0'));
    Object.assign(frames[i], { src: path(now), alt: title + ' at ' + at.textContent });
    for (let ahead = now + 1; ahead <= Math.min(now + 3, last); ahead++) {
      new Image().src = path(ahead);
    }
  });
  const columns = Object.entries(measures);
  fill('measures', columns.map(([name, column]) => [words[name] ?? name, round(column[now])]));
  find('note').hidden = !word;
  for (const mark of document.querySelectorAll('.mark')) {
    mark.setAttribute('d', `M${100 * now / (last || 1)} 0V100`);
  }
  // A page that loads itself again stays here, or goes on to the newest if this is it.
  const newest = run.live && now === last;
  history.replaceState(null, '', newest ? '#' : '#' + iteration);
}

function curve(svg, kind, values, y) {
  const points = values.map((value, k) =>
    value === null ? '' : `${100 * k / (values.length - 1 || 1)} ${y(value)} `);
  const line = document.createElementNS('http://www.w3.org/2000/svg', 'polyline');
  line.setAttribute('class', kind);
  line.setAttribute('points', points.join(''));
  svg.append(line);
}

function chart(id, title, levels, curves, unit, look) {
  const lines = Object.entries(curves).filter(([name]) => measures[name]);
  const drawn = [levels, ...lines.map(([name]) => measures[name])].flat();
  const values = drawn.filter(value => value !== null);
  if (!lines.length) return;
  const lowest = Math.min(...values);
  const highest = Math.max(...values);
  const height = value => Math.asinh(value / unit);  // linear below the unit, then logarithmic
  const range = height(highest) - height(lowest) || 1;
  const y = value => 95 - 90 * (height(value) - height(lowest)) / range;

  make(find('charts'), 'h2', { textContent: title });
  const box = make(find('charts'), 'div', { className: 'chart' });
  const up = make(box, 'span', { className: 'ends up' });
  make(up, 'span', { textContent: round(highest) });
  make(up, 'span', { textContent: round(lowest) });
  box.insertAdjacentHTML('beforeend', `<svg id="${id}" viewBox="0 0 100 100" role="img"
    preserveAspectRatio="none" aria-label="${title}"><path class="mark"/></svg>`);
  const along = make(box, 'span', { className: 'ends along' });
  make(along, 'span', { textContent: iterations[0] });
  make(along, 'span', { textContent: iterations[last] });
  make(find('charts'), 'p', { textContent: look });

  for (const level of levels) curve(find(id), 'level', [level, level], y);
  for (const [name, colour] of lines) curve(find(id), colour, measures[name], y);
  find(id).onclick = event => show(Math.round(event.offsetX / find(id).clientWidth * last));
}

function turn(on) {
  clearInterval(timer);
  play.textContent = on ? 'Pause' : 'Play';
  timer = on && setInterval(() => now < last ? show(now + 1) : turn(0), 400);
}

const loading = run.live && setTimeout(() => location.reload(), 2000);

function stay() {
  clearTimeout(loading);
  if (run.live) find('state').textContent = 'Load this page again to see what is new.';
}

play.onclick = () => {
  stay();
  if (!timer && now === last) show(0);
  turn(!timer);
};
slider.oninput = () => {
  stay();
  show(+slider.value);
};
onkeydown = event => {
  const to = { ArrowLeft: now - 1, ArrowRight: now + 1, Home: 0, End: last }[event.key];
  if (to === undefined || event.altKey || event.ctrlKey || event.metaKey) return;
  event.preventDefault();
  show(to);
};
onhashchange = () => {
  const wanted = parseInt(location.hash.slice(1));
  const away = iterations.map(iteration => Math.abs(iteration - wanted));
  show(isNaN(wanted) ? delivered ?? last : away.indexOf(Math.min(...away)));
};

// --- what is known of the whole run, in words

const words = {
  'Energy Distance': 'energy distance',
  'Neighbours Samples': 'samples whose nearest neighbour is a sample',
  'Neighbours Real': 'real rows whose nearest neighbour is a real row',
};
const endings = [  // of the final measures
  ['Energy Distance', 'energy_distance', 'energy_distance_error'],
  ['Neighbours Samples', 'neighbours_samples', 'neighbours_error'],
  ['Neighbours Real', 'neighbours_real', 'neighbours_error'],
].filter(([, name]) => typeof final[name] === 'number');

function levels(numbers) {  // energy distances to compare with
  const known = [['real rows', numbers.floor], ['shuffled columns', numbers.shuffled]];
  return known.filter(([, value]) => typeof value === 'number');
}

function finalRow([column, name, error]) {
  const compared = column === 'Energy Distance'
    ? levels(final).map(([words, value]) => `${words} ${round(value)}`).join(', ')
    : '0.5 where nothing tells them apart';
  const figure = round(final[name]) + (final[error] ? ` ± ${+final[error].toPrecision(1)}` : '');
  const chance = final[name] < 0 ? '; below 0 by chance' : '';
  return [words[column], figure, compared + chance];
}

function claimRow({ claim, holds, measured = {}, finding }) {
  const sign = { true: '✓ holds', false: '✗ not so' }[holds] ?? '– unclear';
  const known = Object.entries(measured).filter(([, value]) => value !== null);
  const details = known.map(([name, value]) => `${name} ${round(value)}`);
  if (finding || holds === null) details.push(finding ?? 'too short to say');
  return [sign, claim, details.join('; ')];
}

function about() {
  const { hidden, layer, activation, noise_dim, batch_size, learning_rate, seed } = settings;
  const said = `hidden layers of ${hidden.join(' ')} units (${layer}, ${activation}), noise of `
    + `${noise_dim}, ${settings.iterations} iterations of ${settings.d_steps} + `
    + `${settings.g_steps} steps, batch ${batch_size}, learning rate ${learning_rate}, `
    + `seed ${seed}`;
  const ran = Object.entries(versions).map(([name, version]) => `${name} ${version}`);
  const took = Object.entries(seconds).map(([name, value]) => `${name} ${round(value)} s`);
  return [said, ...ran, ...took].join('; ');
}

const source = short(settings.data.split('/').pop());
document.title = 'A GAN learns ' + source;
find('name').textContent = source;
find('state').textContent = run.live
  ? 'Training goes on: this page loads itself again every two seconds.'
  : Object.keys(run.summary).length ? summary.verdict ?? '' : 'This run is not finished.';
find('about').textContent = about();
names.slice(0, 40).forEach((name, k) => {
  if (k) find('columns').append(', ');
  make(find('columns'), 'bdi', { textContent: short(name) });
});
if (names.length > 40) find('columns').append(', …');
try {
  fill('claims', Object.values(claims).map(claimRow));
  fill('final', endings.map(finalRow));
} catch {
  find('state').textContent = 'summary.json is of another program.';
}
for (const [name, look] of run.once) {
  if (run.files.includes(name)) picture(name === 'columns.png' ? 'first' : 'whole', look, name);
}
for (const href of run.files.filter(name => !name.endsWith('.png'))) {
  make(find('files'), 'a', { href, textContent: href });
}

if (delivered !== null) {
  make(find('ticks'), 'option', { value: delivered });
  for (const [column, name] of endings) {
    if (measures[column]) measures[column][delivered] = final[name];
  }
}
for (const [name, column] of Object.entries(measures)) {
  if (column.every(value => value === null)) delete measures[name];
}
slider.max = last;
const beside = levels(run.levels);
chart('losses', 'Losses', [2 * Math.LN2, Math.LN2],
  { 'Discriminator Loss Mean': 'dark', 'Generator Loss Mean': 'orange' }, 1,
  'Orange: generator, the other: discriminator; dashed: 2 ln 2 and ln 2, the equilibrium.');
chart('energy', 'Energy distance', beside.map(([, value]) => value),
  { 'Energy Distance': 'orange' }, 0.01,
  'Of the samples to real rows; dashed: that of ' + beside.map(([words]) => words).join(', of '));
chart('neighbours', 'Nearest neighbours', [0.5],
  { 'Neighbours Samples': 'orange', 'Neighbours Real': 'blue' }, 1,
  'Share of samples (orange) and of real rows (blue) whose nearest neighbour is of their own '
  + 'kind; dashed: 0.5, where nothing tells them apart. A click moves there.');
onhashchange();
</script>"""
FILES = ('loss_logs.csv', 'metrics.csv', 'generated_samples.csv', 'summary.json', 'settings.json',
         'saved_model/')


def write_page(drawing):
    """index.html, of the snapshots whose pictures are drawn; nothing as long as there are none."""
    folder = drawing.folder
    data = drawing.data
    header, rows = read_rows(folder/'metrics.csv')
    rows = [row for row in rows if row[0] in drawing.done]
    if not rows or not drawing.painters:
        return
    kinds = [(path, FRAMES[path].title, FRAMES[path].look) for path in drawing.painters]
    gifs = [kind.gif for kind in FRAMES.values()]
    columns = np.where(np.isfinite(rows), rows, None).T.tolist()
    content = dict(
        settings=drawing.settings,
        summary=read_file(folder/'summary.json') or {},
        live=drawing.live,
        names=data['names'],
        levels={name: float(data[name]) for name in ('floor', 'shuffled') if name in data},
        columns=dict(zip(header, columns)),
        kinds=kinds,
        once=[(name, look) for name, (_, look) in ONCE.items()],
        files=[name for name in (*FILES, *gifs, *ONCE) if (folder/name).exists()])
    numbers = json.dumps(content, allow_nan=False).replace('<', r'\u003c')
    with replacing(folder/'index.html') as new:
        new.write_text(PAGE.replace('@run@', numbers), encoding='utf-8')


# ------------------------------------------------------------------------------------ the whole run

class Drawing:
    """The pictures of the run in a folder, drawn beside its process `parent` where there is one.
    `asked`: the signals to end that have come."""
    failed = False  # was a picture not drawn?
    drawn = 0       # how many were
    paged = 0.      # when the page was last written

    def __init__(self, folder, parent=None, asked=()):
        self.folder = folder
        self.parent = parent
        self.asked = asked
        self.live = bool(parent)  # is the run going on?
        self.done = set()         # iterations whose pictures were tried
        self.settings = read_file(folder/'settings.json')
        self.data = read_file(folder/'snapshots/data.npz')
        if self.settings is None or self.data is None:
            raise UsageError(f'error: argument DIR: {folder} holds no run; '
                             'give the output folder of one')
        if not self.settings:
            raise Failure(f'{folder/"settings.json"} is damaged: it holds nothing')
        self.home = os.open(folder, os.O_RDONLY)
        self.turn = os.open(folder/'snapshots', os.O_RDONLY)
        names = self.data['names'].tolist()
        self.data.update(self.settings, folder=folder, names=names)

        self.painters = {}
        for name, kind in FRAMES.items():
            fits = len(self.data['low']) == 2 or not kind.planar
            if fits and self.settings['pictures'] in (kind.which, 'all'):
                self.painters[name] = painter(self.data, kind)
        known = font_manager.get_font(font_manager.findfont('DejaVu Sans')).get_charmap()
        if any(ord(letter) not in known for letter in ''.join(names) if letter.isprintable()):
            complain('the font lacks letters of the column names, which are drawn as boxes')

    def check(self):
        """Ends the process when a signal asks for it, with the run that it draws for, and where
        the folder is another by now: that of another run."""
        try:
            same = os.path.samestat(os.stat(self.folder), os.fstat(self.home))
        except OSError:
            same = False
        if not same:
            sys.exit(1)
        orphaned = self.parent and os.getppid() != self.parent
        if not self.asked and not orphaned:
            return
        if self.live:
            self.live = False
            with contextlib.suppress(OSError, Failure):
                write_page(self)  # which no longer waits for anything
        sys.exit(130 if self.asked else 0)

    def hear(self):
        """What the run says on stdin: 'd' when training is over, 'q' when all its files are
        written, which its end says too; nothing within a moment: ''."""
        self.check()
        readable, _, _ = select.select([0], [], [], 0.2)
        if not readable:
            return ''
        return os.read(0, 1).decode() or 'q'

    @contextlib.contextmanager
    def trying(self, name):
        """Says what cannot be drawn, the first time, and lets all else be drawn; in turns with
        another process that draws in this folder."""
        self.check()
        with contextlib.suppress(OSError):  # not every file system has locks
            fcntl.flock(self.turn, fcntl.LOCK_EX)
        try:
            yield
        except (OSError, Failure) as error:
            self.fail(error)
        except (LookupError, TypeError, ValueError) as error:
            self.fail(f'{self.folder/name}: the numbers do not fit ({error!r})')
        finally:
            with contextlib.suppress(OSError):
                fcntl.flock(self.turn, fcntl.LOCK_UN)

    def fail(self, error):
        if not self.failed:
            complain(error, '; other pictures are drawn')
        self.failed = True

    def draw_frames(self, again=False):
        """Draws what the snapshots on disk call for, what is missing or all; once a second the
        page shows it."""
        for iteration in sorted(numbered(self.folder, SNAPSHOT).keys() - self.done):
            with self.trying(SNAPSHOT % iteration):
                self.draw_snapshot(iteration, again)
            if time.monotonic() > self.paged + 1:
                self.show()

    def draw_snapshot(self, iteration, again):
        paths = {name: self.folder/(name % iteration) for name in self.painters}
        missing = [name for name, path in paths.items() if again or not path.exists()]
        snapshot = read_file(self.folder/(SNAPSHOT % iteration)) if missing else {}
        if snapshot is None:  # somebody has removed it
            return
        self.done.add(iteration)
        for name in missing:
            paths[name].parent.mkdir(exist_ok=True)
            self.painters[name](snapshot, iteration, paths[name])
            self.drawn += 1

    def draw_once(self, name):
        draw, _ = ONCE[name]
        with self.trying(name):
            figure = new_figure()
            draw(figure, self.data)
            if figure.axes:
                figure.canvas.draw()
                write_png(figure, self.folder/name)
                self.drawn += 1

    def draw_training(self):
        """Draws the pictures of the whole run that need its training alone, and joins the GIFs."""
        for name in ONCE:
            if name != RESULTS:
                self.draw_once(name)
        for name in self.painters:
            gif = FRAMES[name].gif
            with self.trying(gif):
                paths = list(numbered(self.folder, name).values())
                if paths:
                    write_gif(paths, self.folder/gif)
                    self.drawn += 1

    def show(self):
        """Writes the page."""
        with self.trying('index.html'):
            write_page(self)
        self.paged = time.monotonic()


def complain(error, more=''):
    """A line on stderr about an error, with the file that it is about."""
    if isinstance(error, OSError):
        error = f'{error.filename}: {error.strerror or error.args[0]}'
    if sys.stderr:  # None where it is closed
        with contextlib.suppress(OSError):
            print(f'plotting.py: {error}{more}', file=sys.stderr, flush=True)


class Parser(argparse.ArgumentParser):
    def error(self, message):
        raise UsageError(f'error: {message}')


def parse():
    parser = Parser('plotting.py', description='Draws every picture of a run from its numbers.')
    parser.add_argument('DIR', nargs='?', default='outputs', type=Path,
                        help='output folder of a run (default: outputs)')
    # The id of the run that has started this process:
    parser.add_argument('--follow', type=int, help=argparse.SUPPRESS)
    return parser.parse_args()


def draw_run(folder, parent, asked):
    """Draws all, where there is a `parent` as its numbers come. Returns whether it could."""
    drawing = Drawing(folder, parent, asked)
    said = 'q'
    if parent:
        said = ''
        while said not in ('d', 'q'):
            drawing.draw_frames()
            said = drawing.hear()
    drawing.draw_frames(again=not parent)
    drawing.draw_training()
    while said != 'q':
        said = drawing.hear()
    drawing.live = False
    drawing.draw_once(RESULTS)
    drawing.show()
    if not parent:
        page = folder/'index.html'
        where = f'the page is {page}' if page.exists() else 'there is no page'
        with contextlib.suppress(OSError, ValueError):  # a terminal that cannot show it
            print(f'{drawing.drawn} pictures drawn; {where}', flush=True)
    return not drawing.failed


def main():
    asked = []
    for number in signal.SIGINT, signal.SIGTERM:
        # An exception raised here could be lost in a callback of matplotlib's.
        signal.signal(number, lambda number, _: asked.append(number))
    warnings.simplefilter('ignore')  # whatever numbers a run holds are drawn as far as they can be
    try:
        arguments = parse()
        return 0 if draw_run(arguments.DIR, arguments.follow, asked) else 1
    except UsageError as error:
        complain(error)
        return 2
    except (OSError, Failure) as error:
        complain(error)
        return 1


if __name__ == '__main__':
    sys.exit(main())
