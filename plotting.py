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
os.environ.update(MPLBACKEND='agg', MATPLOTLIBRC=os.devnull)  # pictures are the same whatever a user has set
here = os.open('.', getattr(os, 'O_PATH', os.O_RDONLY))
os.chdir('/')  # matplotlib would read a matplotlibrc that lies here
try:
    import numpy as np
    from PIL import Image
    from matplotlib import cm, collections, colors, figure as figures, font_manager, rcParams, ticker
    from matplotlib.backends.backend_agg import FigureCanvasAgg
except ImportError as error:
    sys.exit(f'plotting.py: {error}; {INSTALL}')
os.fchdir(here)


def numbered(folder, pattern):
    """The files of a folder that a pattern with %06d names: iteration -> path, in the order of the iterations."""
    name, paths = re.escape(Path(pattern).name).replace('%06d', r'(\d{6,})'), (folder/pattern).parent.glob('*')
    return dict(sorted((int(match[1]), path) for path in paths if (match := re.fullmatch(name, path.name))))


# ------------------------------------------------------------------------------------------------ axes and points

rcParams.update({'figure.constrained_layout.use': True, 'figure.constrained_layout.w_pad': 0.08,
                 'figure.constrained_layout.h_pad': 0.08, 'axes.titlesize': 10, 'image.cmap': 'gray',
                 'legend.frameon': False, 'legend.fontsize': 9})
REAL, GENERATED = '#0072b2', '#d55e00'  # told apart by the colour-blind too; the same in every picture
DARK, GREY = '#333333', '0.4'  # the discriminator's, which sees both; remarks
BETWEEN = colors.LinearSegmentedColormap.from_list('generated to real', [GENERATED, '#ffffff', REAL])
PALE = colors.LinearSegmentedColormap.from_list('for points to be seen on', ['#f0bb8c', '#ffffff', '#8cbfe0'])
BARE = dict(xticks=[], yticks=[])
SHAPES = {REAL: 'o', GENERATED: 's'}
LEGEND = dict(loc='outside lower center', ncols=2)  # where it hides no points
ANIMATED = dict(animated=True)  # matplotlib's word for artists that are drawn not with the others, but each time anew
OPEN, FILLED = dict(ANIMATED, fillstyle='none', markeredgewidth=0.8), dict(ANIMATED, markeredgewidth=0)
# Open before an update, small and filled after it, the real ones larger: all four are seen even where they coincide.
FEATURES = (('Real Data Before', REAL, 9, OPEN), ('Real Data After', REAL, 4, FILLED),
            ('Generated Data Before', GENERATED, 5, OPEN), ('Generated Data After', GENERATED, 2.8, FILLED))


def short(name, most=18):
    """A user's text on one line, with an ellipsis where it is longer than `most`; no $ begins a formula."""
    name = ' '.join(str(name).split())
    return (name if len(name) <= most else name[:most - 1] + '…').replace('$', r'\$')


def scale_axis(ax, axis, values, numbers):
    """Makes an axis, 'x' or 'y', logarithmic from 0 both ways where a few values hide how all others differ."""
    away = np.abs(values - np.median(values))
    usual = np.median(away[away > 0]) if away.any() else 0
    if away.max() > max(30*usual, np.abs(np.median(values))):
        usual = 10**math.ceil(math.log10(usual))  # so that no power of ten below it is close to the 0
        getattr(ax, f'set_{axis}scale')('symlog', linthresh=usual)
        getattr(ax, f'{axis}axis').get_major_locator().set_params(numticks=numbers)
        ends = np.array([values.min(), values.max()])
        ax.set(**{f'{axis}lim': ends + [-usual, usual] + np.abs(ends)*[-0.5, 0.5]})
    else:
        ax.locator_params(axis=axis, nbins=numbers)
        ax.ticklabel_format(axis=axis, scilimits=(-3, 4))  # longer numbers would take the picture's room


def data_axes(figure, data, where=111):
    """Axes for rows [n, dim] that keep their limits, as (axes, columns on it): of over 3 columns, each pair of four."""
    low, high, dim = data['low'], data['high'], len(data['low'])
    axes = list(zip(figure.subplots(2, 3).flat, combinations(range(4), 2))) if dim > 3 else [
        (figure.add_subplot(where, projection='3d' if dim == 3 else None), range(dim))]
    for ax, columns in axes:
        for axis, column in zip('xyz', columns):
            name = short(data['names'][column], 24 if dim < 3 and where == 111 else 14)
            ax.set(**{f'{axis}lim': (low[column], high[column]), f'{axis}label': name})
            if dim != 3:
                scale_axis(ax, axis, data['training'][:, column], 4 if dim > 3 else 6)
        if dim == 1:
            ax.set(ylim=(-0.02, 1.02), ylabel='share of samples below')
        elif dim == 2 and ax.get_xscale() == ax.get_yscale() == 'linear' and 0.5 < np.divide(*(high - low)) < 2:
            ax.set_aspect('equal')
        elif dim == 3:
            ax.locator_params(nbins=4)
            ax.tick_params(labelsize=7)
            ax.tick_params(axis='z', pad=6)
            ax.xaxis.labelpad = ax.yaxis.labelpad = ax.zaxis.labelpad = 10
            ax.set_box_aspect(None, zoom=0.85)  # the layout knows nothing of labels that stand around a cube
        elif dim > 3:
            ax.tick_params(labelsize=7)
            ax.set_xlabel(ax.get_xlabel(), loc='left')  # at the right the axis's power of ten may stand
            ax.xaxis.get_offset_text().set_size(7)
            ax.yaxis.get_offset_text().set_size(7)
    if dim > 4:
        figure.text(0.02, 0.975, f'4 of {dim} columns', va='top', fontsize=8, color=GREY)
    return axes


def points(axes, name, color, markersize, style):
    """A series of points on `data_axes`. Returns the function that moves them to rows [n, dim]."""
    lines = [ax.plot(*[[]]*max(2, len(columns)), linestyle='none', color=color, marker=SHAPES[color],
                     markersize=markersize, **style)[0] for ax, columns in axes]
    lines[0].set_label(name)

    def move(rows):
        for line, (_, columns) in zip(lines, axes):
            xyz = rows[:, columns].T if len(columns) > 1 else (np.sort(rows[:, 0]), np.linspace(0, 1, len(rows)))
            getattr(line, 'set_data_3d', line.set_data)(*xyz)
    return move


def round_ends(low, high):
    """Numbers of few digits around the values from low to high."""
    margin = 0.04*(high - low) or 1
    ticks = ticker.MaxNLocator(5, steps=[1, 2, 5, 10]).tick_values(low - margin, high + margin)
    return ticks[0], ticks[-1]


def tiled(rows, data):
    """Up to 64 images as one picture, 8 by 8, in [0, 1]; rows [n, pixels] are in the data's units."""
    low, high, image = data['low'].min(), data['high'].max(), data['image']
    tiles = np.zeros([64, *image])
    tiles[:len(rows)] = np.clip((rows[:64] - low)/((high - low) or 1), 0, 1).reshape(-1, *image)
    return np.concatenate([np.concatenate(list(line), axis=1) for line in tiles.reshape(8, 8, *image)])


# ------------------------------------------------------------------------------ pictures of each snapshot
# Each function prepares a figure and returns the function that updates its animated artists by a snapshot's arrays.

def samples(figure, data):
    """Real against generated samples: points, or images side by side."""
    if len(data['image']):
        for ax, title, color in zip(figure.subplots(1, 2, subplot_kw=BARE), ('Real', 'Generated'), (REAL, GENERATED)):
            ax.set_title(f'{title} samples', color=color)
            image = ax.imshow(tiled(data['real'], data), vmin=0, vmax=1, **ANIMATED)
        return lambda shot: image.set_data(tiled(shot['generated'], data))
    axes = data_axes(figure, data)
    points(axes, 'Real samples', REAL, 4, OPEN)(data['real'])
    move = points(axes, 'Generated samples', GENERATED, 3, FILLED)
    outside = figure.text(0.98, 0.02, '', ha='right', fontsize=8, color=GREY, **ANIMATED)
    figure.legend(**LEGEND)

    def update(shot):
        move(shot['generated'])
        beyond = int(np.any((shot['generated'] < data['low']) | (shot['generated'] > data['high']), axis=1).sum())
        outside.set_text(f'{beyond} outside' if beyond else '')
    return update


def transformed_features(step, figure, data, ax=None):
    """Features h3 of both kinds of samples around the update of network `step`; on axes that are given, their centers.
    The axes follow the four series; the numbers at their ends are texts, as ticks that move take too long."""
    centers, ax = bool(ax), ax or figure.add_subplot()
    ax.set(xlim=(0, 1), ylim=(0, 1), xticks=[], yticks=[], xlabel='feature 1', ylabel='feature 2')
    write = partial(ax.annotate, '0', xycoords='axes fraction', textcoords='offset points', fontsize=9, **ANIMATED)
    numbers = [*(write((k, 0), (0, -6), ha=('left', 'right')[k], va='top') for k in (0, 1)),
               *(write((0, k), (-6, 0), ha='right', va=('bottom', 'top')[k], rotation=90) for k in (0, 1))]
    series = [points([(ax, (0, 1))], f'{name} {step} step', color, (1.6 if centers else 1)*markersize, style)
              for name, color, markersize, style in FEATURES]
    figure.legend(**LEGEND)

    def update(shot):
        first = 'DG'.index(step)  # a snapshot has them before D's step, after it, after G's
        clouds = shot['features'][first:first + 2].astype(float).swapaxes(0, 1).reshape(4, -1, 2)
        if centers:
            clouds = clouds.mean(axis=1, keepdims=True)
        low, high = np.transpose([round_ends(*ends) for ends in np.quantile(clouds, (0, 1), axis=(0, 1)).T])
        for text, value in zip(numbers, np.stack([low, high], axis=1).ravel()):
            text.set_text(f'{value:.10g}')
        for move, cloud in zip(series, clouds):
            move((cloud - low)/(high - low))
        return clouds
    return update


def centroids(step, figure, data):
    """The centroids of those four clouds; beside them, enlarged, how the update moved each from a common origin."""
    ax, near = figure.subplots(1, 2)
    ax.set_title('where they are')
    near.set(xlim=(-1, 1), ylim=(-1, 1), xticks=[0], yticks=[0], xticklabels=[], yticklabels=[],
             title=f'how the {step} step moved them, enlarged')
    toward, = near.plot([], [], '--', color='0.5', linewidth=1, label='from generated toward real', **ANIMATED)
    moves = [near.plot([], [], color=color, marker=SHAPES[color], markevery=[1], markersize=7, linewidth=width,
                       **ANIMATED)[0] for color, width in ((REAL, 3), (GENERATED, 1.8))]
    scale = near.text(0, -1.05, '', ha='center', va='top', fontsize=9, **ANIMATED)
    update_features = transformed_features(step, figure, data, ax)  # last, for its legend is that of the whole figure

    def update(shot):
        centers = update_features(shot)[:, 0]
        moved = centers[1::2] - centers[::2]
        reach = round_ends(0, np.abs(moved).max())[1]
        scale.set_text(f'{reach:g} from the middle to the edge')
        apart = centers[0] - centers[2]
        for line, end in zip([toward, *moves], [3*apart/(np.linalg.norm(apart) or 1), *moved/reach]):
            line.set_data(*zip([0, 0], end))
    return update


def decision(figure, data):
    """D(x) over the data's plane, with the contour where the discriminator cannot tell, and samples over it."""
    update_samples = samples(figure, data)
    ax, = figure.axes
    figure.colorbar(cm.ScalarMappable(cmap=PALE), ax=ax, label='D(x): 1 real, 0 generated, 0.5 cannot tell')

    def update(shot):
        for old in list(ax.collections):
            old.remove()
        side = round(len(shot['decision'])**0.5)
        plane = *np.linspace(data['low'], data['high'], side).T, shot['decision'].reshape(side, side)
        ax.pcolormesh(*plane, cmap=PALE, vmin=0, vmax=1, shading='gouraud', **ANIMATED)
        ax.contour(*plane, [0.5], colors='black', linewidths=1.2, zorder=1).set_animated(True)
        update_samples(shot)
    return update


def mapping(figure, data):
    """A regular grid of noise, coloured by position, and its image under the generator: overlaps show as darker."""
    noise, beyond = data['noise'], data['noise_dim'] - 2
    rows = round(len(noise)**0.5)
    if noise.shape[1] == 1:  # a strip; its image is a line
        noise, rows = np.concatenate([np.insert(noise, 1, edge, axis=1) for edge in (-0.1, 0.1)]), 2

    def quads(values):
        v = np.resize(values, noise.shape).reshape(rows, -1, 2)
        return np.stack([v[:-1, :-1], v[:-1, 1:], v[1:, 1:], v[1:, :-1]], axis=2).reshape(-1, 4, 2)
    u, v = (quads(noise).mean(axis=1).T + 1)/2
    facecolors = np.stack([u, 0.75*v, 1 - u], axis=1)
    flat = figure.add_subplot(
        1, 2, 1, xlabel='Z, first value', ylabel='Z, second value'*(beyond >= 0), aspect='equal', xlim=(-1.1, 1.1),
        ylim=(-1.1, 1.1), title='noise' if beyond <= 0 else f'noise, a slice: the {beyond} further\nvalues are 0')
    flat.add_collection(collections.PolyCollection(quads(noise), facecolors=facecolors, edgecolors='w', linewidths=0.3))
    (ax, _), = data_axes(figure, data, 122)
    ax.set_title('what the generator makes of it')
    image = ax.add_collection(collections.PolyCollection([], facecolors=facecolors, edgecolors=facecolors, alpha=0.45,
                                                         linewidths=3 if rows == 2 else 0.5, **ANIMATED), autolim=False)
    return lambda shot: image.set_verts(quads(shot['mapping']))


# ------------------------------------------------------------------------------------- pictures of the whole run
# Each function draws on a figure from the numbers in the folder; nothing where there are none yet.

BALANCE = (2*math.log(2), '2 ln 2', DARK), (math.log(2), 'ln 2', GENERATED)  # D's and G's loss in equilibrium
PANELS = (  # title, scale, series of (column, colour, style or '.-'), dashed levels of (value or name, label, colour)
    ('Losses', 'linear', (('Discriminator Loss Mean', DARK), ('Generator Loss Mean', GENERATED)), BALANCE),
    ('Spread of the losses', 'log', (('Discriminator Loss Spread', DARK), ('Generator Loss Spread', GENERATED)), ()),
    ('Mean D(x)', 'share', (('D on Real', REAL), ('D on Generated', GENERATED)), ((0.5, 'cannot tell', GREY),)),
    ('Energy distance', 'log', (('Energy Distance', GENERATED),),
     (('floor', 'real', REAL), ('shuffled', 'shuffled columns', GREY))),
    ('Nearest neighbours of their own kind', 'share',
     (('Neighbours Samples', GENERATED), ('Neighbours Real', REAL)), ((0.5, 'cannot tell', GREY),)),
    ('Curve residual, median |y - f(x)|', 'log', (('Curve Residual', GENERATED),), ()),
    ('Coverage of the x range', 'share', (('Coverage', GENERATED),), ((1, 'all of it', REAL),)),
    ('Distance of the clouds of features', 'log', (('Feature Mixing', DARK),), ()),
    ('Centroid distance after the G step', 'log',
     (('Centroid Distance After', DARK), ('Moved Toward', GENERATED, 'o'), ('Moved Away', DARK, 'x')), ()),
    ('Largest move of real features, G step', 'linear', (('Largest Real Move', REAL),), ((0, 'must be 0', DARK),)),
)


def training_data(figure, data):
    """What is to be learned."""
    if len(data['image']):
        figure.add_subplot(**BARE).imshow(tiled(data['training'], data), vmin=0, vmax=1)
    else:
        points(data_axes(figure, data), 'Real samples', REAL, 2, dict(markeredgewidth=0))(data['training'])
    figure.suptitle('Training data')


def training_loss(figure, data):
    """Both losses of the log and their running means, with the values that they come to in equilibrium."""
    _, rows = read_file(data['folder']/'loss_logs.csv') or ([], [])
    if not len(rows):
        return
    figure.set_size_inches(7.4, 4.8)
    ax = figure.add_subplot(xlabel='iteration', ylabel='loss')
    smooth = max(1, len(rows)//200)
    means = np.stack([np.convolve(column, np.ones(smooth)/smooth, 'valid') for column in rows.T], axis=1)
    for column, name, (level, label, color) in zip((1, 2), ('Discriminator', 'Generator'), BALANCE):
        ax.plot(rows[:, 0], rows[:, column], color=color, linewidth=0.5, alpha=0.25)
        ax.plot(means[:, 0], means[:, column], 'o-' if len(rows) == 1 else '-', color=color, linewidth=1.6,
                label=f'{name} loss' + (f', mean of {smooth} rows' if smooth > 1 else ''))
        ax.axhline(level, color=color, linewidth=1, linestyle='--', label=f'equilibrium, {label} = {level:.4f}')
    top = max(2., 1.15*np.quantile(rows[:, 1:], 0.98))
    ax.set(ylim=(0, top), xlim=(0, rows[-1, 0]) if rows[-1, 0] else (-1, 1))
    beyond = int((rows[:, 1:] > top).any(axis=1).sum())
    figure.suptitle('Training Loss' + (f' ({beyond} of {len(rows)} rows reach above)' if beyond else ''))
    figure.legend(**LEGEND)


def metrics(figure, data):
    """The columns of metrics.csv in small panels, each with what it should come to as a dashed line."""
    header, rows = read_file(data['folder']/'metrics.csv') or ([], [])
    if not len(rows):
        return
    columns = dict(zip(header, rows.T))
    toward, after = columns['Moved Toward'] == 1, columns['Centroid Distance After']
    columns.update({'Moved Toward': np.where(toward, after, np.nan), 'Moved Away': np.where(toward, np.nan, after)})
    panels = [panel for panel in PANELS if np.isfinite(columns.get(panel[2][0][0], np.nan)).any()]
    lines = max(3, math.ceil(len(panels)/3))
    figure.set_size_inches(11, 3*lines)
    for k, (title, scale, series, levels) in enumerate(panels):
        ax = figure.add_subplot(lines, 3, k + 1, title=title)
        ax.tick_params(which='both', labelsize=7)
        ax.locator_params(axis='x', nbins=5)
        for name, color, *style in series:
            ax.plot(columns['Iteration'], columns[name], *style or ['.-'], color=color, lw=1, ms=4, label=name)
        for value, label, color in levels:
            value = float(data.get(value, np.nan)) if isinstance(value, str) else value
            if math.isfinite(value):
                ax.axhline(value, color=color, linestyle='--', linewidth=1, label=label)
        drawn = np.concatenate([line.get_ydata() for line in ax.lines])
        if scale == 'share':
            ax.set_ylim(-0.05, 1.05)
        elif scale == 'log' and np.nanmin(drawn) < 0:  # of few rows, the energy distance may be
            ax.set_yscale('symlog', linthresh=0.01)
            ax.margins(y=0.1)  # on this scale the usual one leaves the outermost point on the edge
        elif scale == 'log' and np.nanmax(drawn) > 0:
            ax.set_yscale('log', nonpositive='mask')
            if np.nanmax(drawn) > 30*np.nanmin(drawn[drawn > 0]):
                ax.minorticks_off()  # powers of ten say enough, and drawing the others takes as long as all else here
        ax.legend(fontsize=7, loc='upper center', bbox_to_anchor=(0.5, -0.1), ncols=2, columnspacing=1,
                  handlelength=1.5)  # under the panel, where it hides no curve
    figure.suptitle('Measures at each snapshot, by iteration; dashed: equilibrium, or what real data measure')


def table_columns(figure, data, most=12):
    """Of a user's table: each column's share of rows below a value, real and generated, and their correlations."""
    if len(data['image']) or not data['fingerprint'] or not (data['folder']/'generated_samples.csv').exists():
        return
    _, generated = read_file(data['folder']/'generated_samples.csv')
    kept, real = ('rows kept back', data['kept']) if 'kept' in data else ('training rows', data['training'])
    dim, shown = real.shape[1], min(real.shape[1], most)
    lines = math.ceil(shown/4)
    heights = [2.2*lines, 4] if dim > 1 else [2.7]
    figure.set_size_inches(11, sum(heights))
    figure.suptitle('Share of rows below a value, column by column'
                    + (f' (the first {most} of {dim} columns)' if dim > most else ''))
    above, *below = figure.subfigures(len(heights), 1, height_ratios=heights, squeeze=False)[:, 0]
    for k in range(shown):
        ax = above.add_subplot(lines, 4, k + 1, ylim=(-0.03, 1.03))
        ax.set_title(short(data['names'][k]), fontsize=9)
        ax.tick_params(labelsize=7)
        for rows, color, name, width in (real, REAL, f'{kept} (real)', 2.2), (generated, GENERATED, 'generated', 1.1):
            ax.plot(np.sort(rows[:, k]), np.linspace(0, 1, len(rows)), drawstyle='steps-post', color=color,
                    linewidth=width, label=None if k else name)
        scale_axis(ax, 'x', np.concatenate([real[:, k], generated[:, k]]), 4)
    above.legend(**LEGEND)
    for part in below:
        tables = [np.nan_to_num(np.corrcoef(rows[:, :shown].T)) for rows in (real, generated)]
        axes = part.subplots(1, 3, subplot_kw=BARE)
        for ax, table, title in zip(axes, (*tables, tables[1] - tables[0]),
                                    (f'Correlations, {kept}', 'generated', 'generated minus real')):
            image = ax.imshow(table, cmap=BETWEEN, vmin=-1, vmax=1)
            ax.set_title(title)
        axes[0].set_yticks(range(shown), [short(name, 14) for name in data['names'][:shown]], fontsize=7)
        part.colorbar(image, ax=axes, shrink=0.8)


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

# All that lies between any two of the colours drawn with, in so few shades that white stays white in Pillow's search.
CORNERS = colors.to_rgba_array(['white', 'black', REAL, GENERATED])[:, :3]
PALETTE = Image.new('P', (1, 1))
PALETTE.putpalette(np.rint([255*np.linspace(*pair, 24) for pair in combinations(CORNERS, 2)]).astype('uint8').tobytes())


def write_png(figure, path):
    """Writes what is drawn on a canvas; lines and points with a palette: quick to compress, and what the GIF needs."""
    image = Image.fromarray(np.asarray(figure.canvas.buffer_rgba())).convert('RGB')
    if not any(ax.images or ax.collections for ax in figure.axes):
        image = image.quantize(palette=PALETTE, dither=Image.Dither.NONE)
    with replacing(path) as new:
        image.save(new, 'png', compress_level=3)


def painter(data, kind):
    """Draws once what stands still, for text costs far more than points. Returns what writes a snapshot's PNG."""
    figure = FigureCanvasAgg(figures.Figure()).figure
    title = figure.suptitle(kind.title, **ANIMATED)
    update = kind.draw(figure, data)
    figure.canvas.draw()  # finds room for all text, too
    still = figure.canvas.copy_from_bbox(figure.bbox)

    def paint(shot, iteration, path):
        title.set_text(f'{kind.title} at Iteration {iteration}')
        update(shot)
        figure.canvas.restore_region(still)
        artists = [*figure.texts, *(artist for ax in figure.axes for artist in ax.get_children())]
        for artist in sorted((a for a in artists if a.get_animated()), key=lambda a: a.get_zorder()):
            figure.draw_artist(artist)
        write_png(figure, path)
    return paint


def write_gif(paths, path, longest=20):
    """Joins PNGs: 2 a second, more where they would last longer than so many seconds, leaving some out where needed."""
    paths = paths[::math.ceil(len(paths)*0.02/longest)]  # viewers show no more than 50 a second
    images = map(Image.open, paths)  # one after the other, for there may be more than files can be open
    with replacing(path) as new:
        next(images).save(new, 'gif', save_all=True, append_images=images, loop=0, optimize=False,
                          duration=min(500, 10*int(100*longest/len(paths))))


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


def write_page(run):
    """index.html, of the snapshots whose pictures are drawn; nothing as long as there are none."""
    def rounded(x):  # None where it is undefined
        return float(f'{x:.4g}') if x is not None and math.isfinite(x) else None

    folder, data, names = run.folder, run.data, run.data['names']
    header, rows = read_file(folder/'metrics.csv') or ([], [])
    rows = [row for row in rows if row[0] in run.done]
    if not rows or not run.painters:
        return
    summary = read_file(folder/'summary.json') or dict(claims={}, final={}, versions={}, seconds={}, verdict=(
        'The run is not finished; load this page again to see what is new.'))
    about = ['hidden layers of {0} units ({layer}, {activation}), noise of {noise_dim}, {iterations} iterations of '
             '{d_steps} + {g_steps} steps, batch {batch_size}, learning rate {learning_rate}, seed {seed}'.format(
                 ' '.join(map(str, data['hidden'])), **data),
             *(f'{name} {version}' for name, version in summary['versions'].items()),
             *(f'{name.replace("_", "-")} {x:.1f} s' for name, x in summary['seconds'].items()),
             'columns ' + ', '.join(names[:40]) + ', …'*(len(names) > 40)]
    numbers = json.dumps(allow_nan=False, obj=dict(
        title=f'A GAN learns {Path(data["data"]).name}', about='; '.join(about),
        iterations=[int(row[0]) for row in rows],
        kinds=[dict(path=name, title=FRAMES[name].title, look=FRAMES[name].look) for name in run.painters],
        measures={name: [rounded(row[k]) for row in rows] for k, name in enumerate(header) if k},
        levels=[rounded(data.get(name, math.nan)) for name in ('floor', 'shuffled')],
        state=' '.join(summary[name] for name in ('verdict', 'advice') if summary.get(name)),
        claims=[({True: '✓ holds', False: 'not so', None: 'undefined'}[claim['holds']], claim['claim'], '; '.join(
            [f'{name} {"undefined" if x is None else rounded(x)}' for name, x in claim['measured'].items()]
            + ([claim['finding']] if claim.get('finding') else []))) for claim in summary['claims'].values()],
        final=[(name.replace('_', ' '), rounded(x)) for name, x in summary['final'].items()],
        pictures=[(name, look) for name, (_, look) in ONCE.items() if (folder/name).exists()],
        files=[name for name in ('loss_logs.csv', 'metrics.csv', 'generated_samples.csv', 'summary.json',
                                 'settings.json', 'saved_model/', *(kind.gif for kind in FRAMES.values()))
               if (folder/name).exists()]))
    with replacing(folder/'index.html') as new:
        new.write_text(PAGE.replace('@run@', numbers.replace('<', r'\u003c')), encoding='utf-8')


# ----------------------------------------------------------------------------------------------- the whole run

class Run:
    """The pictures of the run in a folder, while its process `parent`, if given, lives; `failed`: was one not drawn?"""

    def __init__(self, folder, parent=None):
        self.folder, self.parent, self.failed, self.done, self.paged = folder, parent, False, set(), 0.
        settings, self.data = read_file(folder/'settings.json'), read_file(folder/'snapshots/data.npz')
        if settings is None or self.data is None:
            raise UsageError(f'error: argument DIR: {folder} holds no run; give the output folder of one')
        if not settings:
            raise Failure(f'{folder/"settings.json"} is damaged: it holds nothing')
        self.data.update(settings, folder=folder, names=self.data['names'].tolist())
        self.painters = {
            name: painter(self.data, kind) for name, kind in FRAMES.items()
            if settings['pictures'] in (kind.which, 'all') and (len(self.data['low']) == 2 or not kind.planar)}
        known = font_manager.get_font(font_manager.findfont('DejaVu Sans')).get_charmap()
        if any(ord(letter) not in known for name in self.data['names'] for letter in name if letter.isprintable()):
            report('the font lacks letters of the column names, which are drawn as boxes')

    @contextlib.contextmanager
    def trying(self):
        """Reports what cannot be drawn, the first time, and lets all else be drawn. Ends the process with its run."""
        if self.parent and os.getppid() != self.parent:
            sys.exit()
        try:
            yield
        except (OSError, Failure) as error:
            if not self.failed:
                report(error, '; other pictures are drawn')
            self.failed = True

    def draw_frames(self, again=False):
        """Draws what the snapshots on disk call for, what is missing or all; once a second the page shows it."""
        for iteration in sorted(numbered(self.folder, SNAPSHOT).keys() - self.done):
            missing = [name for name in self.painters if again or not (self.folder/(name % iteration)).exists()]
            with self.trying():
                shot = read_file(self.folder/(SNAPSHOT % iteration)) if missing else {}
                for name in missing:
                    (self.folder/name).parent.mkdir(exist_ok=True)
                    self.painters[name](shot, iteration, self.folder/(name % iteration))
            self.done.add(iteration)
            if time.monotonic() > self.paged + 1:
                with self.trying():
                    write_page(self)
                self.paged = time.monotonic()

    def draw_rest(self):
        """Draws the pictures of the whole run, joins the GIFs and writes the page."""
        for name, (draw, _) in ONCE.items():
            with self.trying():
                figure = FigureCanvasAgg(figures.Figure()).figure
                draw(figure, self.data)
                if figure.axes:
                    figure.canvas.draw()
                    write_png(figure, self.folder/name)
        for name in self.painters:
            with self.trying():
                if paths := list(numbered(self.folder, name).values()):
                    write_gif(paths, self.folder/FRAMES[name].gif)
        with self.trying():
            write_page(self)


def report(error, more=''):
    """A line on stderr about an error, with the file that it is about."""
    if isinstance(error, OSError):
        error = f'{error.filename}: {error.strerror or error.args[0]}'
    print(f'plotting.py: {error}{more}', file=sys.stderr, flush=True)


def main():
    parser = argparse.ArgumentParser('plotting.py', description='Draws every picture of a run from its numbers.')
    parser.add_argument('DIR', nargs='?', default='outputs', help='output folder of a run (default: outputs)')
    parser.add_argument('--follow', type=int, help=argparse.SUPPRESS)  # the id of the run that has started this process
    arguments = parser.parse_args()
    for number in signal.SIGINT, signal.SIGTERM:
        signal.signal(number, lambda *_: sys.exit(130))  # leaves no half-written file behind
    warnings.simplefilter('ignore')  # whatever numbers a run holds, they are drawn as far as they can be
    try:
        run = Run(Path(arguments.DIR), arguments.follow)
        while arguments.follow and (not select.select([0], [], [], 0.2)[0] or os.read(0, 4096)):  # until stdin ends
            run.draw_frames()
        run.draw_frames(again=not arguments.follow)
        run.draw_rest()
        return int(run.failed)
    except (OSError, Failure, UsageError) as error:
        report(error)
        return 2 if isinstance(error, UsageError) else 1


if __name__ == '__main__':
    sys.exit(main())
