"""The page of a run in a real browser: Chromium, driven by Selenium. Skipped where there is
none."""
import json
import shutil

import numpy as np
import pytest

selenium = pytest.importorskip('selenium')
from selenium import webdriver
from selenium.common.exceptions import WebDriverException
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

import plotting
from folders import CLAIM, draw, make_folder

HOSTILE = '<script>document.title = "taken"</script>'
BACKWARDS = '\u202edrawkcab'
LONG = 'm'*5000
NAMES = [HOSTILE, BACKWARDS, LONG]
CHROMIUM = shutil.which('chromium')
DRIVER = shutil.which('chromedriver')
FLAGS = ('--headless=new', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run',
         '--disable-background-networking', '--disable-component-update', '--disable-sync',
         '--allow-file-access-from-files')
pytestmark = pytest.mark.skipif(not (CHROMIUM and DRIVER),
                                reason="Debian's chromium and chromium-driver are not installed")


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """A table's run of eleven snapshots, whose names are not to be trusted; it delivers the
    generator of the eighth."""
    rows = np.random.default_rng(0).normal(size=[300, 3])
    folder = tmp_path_factory.mktemp('page')/'run & <b>'
    make_folder(folder, rows, NAMES, range(0, 1001, 100), pictures='article')
    change(folder/'settings.json', data='<b>.csv')
    claims = dict(
        first=CLAIM,
        second=dict(CLAIM, holds=False, finding='They swing.'),
        third=dict(CLAIM, holds=None))
    change(folder/'summary.json', claims=claims, delivered_iteration=700)
    assert draw(folder) == (0, '')
    return folder


def change(path, **values):
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


@pytest.fixture(scope='module')
def browser(tmp_path_factory):
    options = webdriver.ChromeOptions()
    for flag in FLAGS:
        options.add_argument(flag)
    options.add_argument(f'--user-data-dir={tmp_path_factory.mktemp("chromium")}')
    options.binary_location = CHROMIUM
    options.set_capability('goog:loggingPrefs', {'browser': 'ALL', 'performance': 'ALL'})
    driver = webdriver.Chrome(options, webdriver.ChromeService(DRIVER))
    yield driver
    driver.quit()


@pytest.fixture
def page(browser, folder):
    open_page(browser, folder)
    return browser


def open_page(browser, folder, address=''):
    browser.get('about:blank')
    browser.get((folder/'index.html').as_uri() + address)


def find(browser, name):
    return browser.find_element(By.ID, name)


def rows_of(browser, name):
    """A table's rows, each the text of its cells."""
    rows = find(browser, name).find_elements(By.TAG_NAME, 'tr')
    return [[cell.text for cell in row.find_elements(By.TAG_NAME, 'td')] for row in rows]


def at(browser):
    """The iteration that the pictures show which move."""
    images = browser.find_elements(By.CSS_SELECTOR, '#frames img')
    shown = {int(image.get_attribute('src')[-10:-4]) for image in images}
    assert len(images) == 3
    assert len(shown) == 1
    return shown.pop()


def press(browser, key):
    webdriver.ActionChains(browser).send_keys(key).perform()


def wait(browser, milliseconds=500):
    browser.execute_async_script(f'setTimeout(arguments[0], {milliseconds})')


def drag(browser, place):
    browser.execute_script('arguments[0].value = arguments[1];'
                           'arguments[0].dispatchEvent(new Event("input"))',
                           find(browser, 'slider'), place)


def test_it_opens_at_the_snapshot_delivered_and_marks_it(page):
    assert at(page) == 700
    assert find(page, 'word').text == 'delivered'
    mark, = page.find_elements(By.CSS_SELECTOR, '#ticks option')
    assert mark.get_attribute('value') == '7'


@pytest.mark.parametrize('keys, expected', [
    ([Keys.ARROW_LEFT], 600),
    ([Keys.HOME], 0),
    ([Keys.HOME, Keys.ARROW_LEFT], 0),
    ([Keys.HOME, Keys.ARROW_RIGHT], 100),
    ([Keys.END], 1000),
    ([Keys.END, Keys.ARROW_RIGHT], 1000),
], ids=['left', 'home', 'before the first', 'right', 'end', 'after the last'])
def test_keys_move_every_picture(keys, expected, page):
    for key in keys:
        press(page, key)
    assert at(page) == expected
    assert find(page, 'at').text == f'iteration {expected}'
    assert find(page, 'word').text == ''
    assert page.current_url.endswith(f'#{expected}')


def test_the_slider_moves_every_picture(page):
    drag(page, 4)
    assert at(page) == 400


@pytest.mark.parametrize('address, expected', [('#300', 300), ('#349', 300), ('#99999', 1000)])
def test_the_address_moves_every_picture(address, expected, browser, folder):
    open_page(browser, folder, address)
    assert at(browser) == expected


@pytest.mark.parametrize('chart', ['losses', 'energy', 'neighbours'])
def test_a_click_on_a_chart_moves_there(chart, page):
    find(page, chart).click()
    assert at(page) == 500


def test_charts_have_numbers_at_their_ends(page):
    for chart in page.find_elements(By.CLASS_NAME, 'chart'):
        highest, lowest, first, last = chart.text.split('\n')[:4]
        assert float(highest) > float(lowest)
        assert (first, last) == ('0', '1000')


def test_playing(page):
    play = find(page, 'play')
    play.click()
    wait(page)
    assert play.text == 'Pause'
    assert at(page) > 700
    play.click()
    assert play.text == 'Play'


def test_one_figure_for_what_is_delivered(page):
    """At its snapshot too; elsewhere that of the snapshot."""
    assert ['energy distance', '0.004'] in rows_of(page, 'measures')
    assert find(page, 'note').is_displayed()
    press(page, Keys.END)
    assert ['energy distance', '0.004'] not in rows_of(page, 'measures')
    assert not find(page, 'note').is_displayed()


def test_final_figures_are_told_in_words(page):
    """With their error and what to compare them with; what was not measured is not told."""
    words = 'samples whose nearest neighbour is a sample'
    assert rows_of(page, 'final') == [
        ['energy distance', '0.004 ± 0.001', 'real rows 0.0013'],
        [words, '0.7', '0.5 where nothing tells them apart']]


def test_claims_have_a_sign_and_say_why(page):
    claim = 'The losses settle'
    assert rows_of(page, 'claims') == [
        ['✓ holds', claim, 'distance 0.01'],
        ['✗ not so', claim, 'distance 0.01; They swing.'],
        ['– unclear', claim, 'distance 0.01; too short to say']]


def test_the_verdict_and_the_columns_come_first(page):
    assert find(page, 'state').text == 'As good as real rows.'
    pictures = [image.get_attribute('src') for image in page.find_elements(By.TAG_NAME, 'img')]
    assert pictures[0].endswith('/columns.png')


def test_nothing_is_undefined(page):
    assert 'undefined' not in page.find_element(By.TAG_NAME, 'body').text


def test_names_are_text_short_and_by_themselves(page):
    names = find(page, 'columns').find_elements(By.TAG_NAME, 'bdi')
    assert [name.text for name in names] == [HOSTILE[:40] + '…', 'drawkcab', LONG[:40] + '…']
    assert page.title == 'A GAN learns <b>.csv'


def test_nothing_fails_and_nothing_leaves_the_folder(browser, folder):
    for kind in 'browser', 'performance':
        browser.get_log(kind)
    open_page(browser, folder)
    wait(browser)
    assert browser.get_log('browser') == []
    events = [entry['message'] for entry in browser.get_log('performance')]
    requests = [event for event in events if 'Network.requestWillBeSent"' in event]
    assert len(requests) > 5
    assert not [request for request in requests if '"url":"http' in request]


def test_every_picture_is_loaded_and_has_words(page):
    wait(page)
    assert page.execute_script(
        'return [...document.images].every(i => i.complete && i.naturalWidth > 0 && i.alt)')


def test_a_missing_picture_has_a_placeholder(browser, folder, tmp_path):
    copy = shutil.copytree(folder, tmp_path/'copy')
    (copy/'iterations'/'iteration_000500.png').unlink()
    missing = By.CSS_SELECTOR, 'figure.missing'
    open_page(browser, copy, '#500')
    wait(browser)
    assert len(browser.find_elements(*missing)) == 1
    press(browser, Keys.ARROW_RIGHT)
    wait(browser)
    assert not browser.find_elements(*missing)


def test_no_page_without_pictures(tmp_path):
    none = make_folder(tmp_path/'none', np.zeros([300, 2]), pictures='none')
    plotting.write_page(drawing_of(none))
    assert not (none/'index.html').exists()


def test_a_summary_of_another_program(browser, folder, tmp_path):
    """All else is shown."""
    copy = shutil.copytree(folder, tmp_path/'copy')
    (copy/'summary.json').write_text('{"claims": [null], "loss": 3}')
    plotting.write_page(drawing_of(copy))
    open_page(browser, copy)
    assert 'of another program' in find(browser, 'state').text
    assert at(browser) == 1000


# ------------------------------------------------------------------------------ while a run goes on

def drawing_of(folder):
    """What has drawn all of a folder's pictures, without drawing them again."""
    drawing = plotting.Drawing(folder)
    drawing.done = set(plotting.numbered(folder, plotting.SNAPSHOT))
    return drawing


@pytest.fixture(scope='module')
def going(folder, tmp_path_factory):
    """The run while it goes on: no summary, and the last snapshots are still to come."""
    going = shutil.copytree(folder, tmp_path_factory.mktemp('going')/'run')
    (going/'summary.json').unlink()
    drawing = drawing_of(going)
    drawing.live = True
    return drawing


def comes_to_be(browser, condition):
    """Waits for it while the page may load itself again."""
    between = [WebDriverException, AssertionError]  # what a page says that is half loaded
    waiting = WebDriverWait(browser, 20, 0.1, between)
    return waiting.until(lambda browser: condition())


def snapshots(browser):
    return int(find(browser, 'slider').get_attribute('max')) + 1


@pytest.fixture
def live(browser, going):
    """Its page, with eight snapshots."""
    going.live = True
    write_snapshots(going, 8)
    open_page(browser, going.folder)
    return browser


def write_snapshots(going, n):
    """Writes the page with so many of them."""
    going.done = set(range(0, 100*n, 100))
    plotting.write_page(going)


def test_a_live_page_goes_on_to_the_newest(live, going):
    comes_to_be(live, lambda: at(live) == 700)
    comes_to_be(live, lambda: 'Training goes on' in find(live, 'state').text)
    write_snapshots(going, 11)
    comes_to_be(live, lambda: at(live) == 1000)


def test_a_live_page_stays_where_the_reader_is(live, going):
    press(live, Keys.HOME)
    write_snapshots(going, 11)
    comes_to_be(live, lambda: snapshots(live) == 11)
    assert at(live) == 0


@pytest.mark.parametrize('act', ['drag', 'play'])
def test_a_live_page_waits_while_the_reader_acts(act, live, going):
    if act == 'drag':
        drag(live, 3)
    else:
        find(live, 'play').click()
    write_snapshots(going, 11)
    wait(live, 2500)
    assert snapshots(live) == 8
    assert 'Load this page again' in find(live, 'state').text


def test_a_page_stops_when_the_run_is_over(live, going):
    going.live = False
    plotting.write_page(going)
    comes_to_be(live, lambda: find(live, 'state').text == 'This run is not finished.')
    live.execute_script('window.same = true')
    wait(live, 2500)
    assert live.execute_script('return window.same')
