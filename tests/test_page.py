"""The page of a run in a real browser: Chromium, driven by Selenium. Skipped where there is none."""
import shutil

import numpy as np
import pytest

selenium = pytest.importorskip('selenium')
from selenium import webdriver  # noqa: E402
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402

from folders import draw, make_folder  # noqa: E402

HOSTILE = '<script>document.title = "taken"</script>'
pytestmark = pytest.mark.skipif(not (shutil.which('chromium') and shutil.which('chromedriver')),
                                reason="Debian's chromium and chromium-driver are not installed")


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """A run of eleven snapshots whose column names are not to be trusted."""
    rows = np.random.default_rng(0).normal(size=[300, 2])
    folder = make_folder(tmp_path_factory.mktemp('page')/'run & <b>', rows, [HOSTILE, 'y'], range(0, 1001, 100))
    settings = folder/'settings.json'
    settings.write_text(settings.read_text().replace('table.csv', '<b>.csv'))
    assert draw(folder) == (0, '')
    return folder


@pytest.fixture(scope='module')
def browser(tmp_path_factory):
    options = webdriver.ChromeOptions()
    for flag in ('--headless=new', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run',
                 '--disable-background-networking', '--disable-component-update', '--disable-sync',
                 '--allow-file-access-from-files', f'--user-data-dir={tmp_path_factory.mktemp("chromium")}'):
        options.add_argument(flag)
    options.binary_location = shutil.which('chromium')
    options.set_capability('goog:loggingPrefs', {'browser': 'ALL', 'performance': 'ALL'})
    driver = webdriver.Chrome(options, webdriver.ChromeService(shutil.which('chromedriver')))
    yield driver
    driver.quit()


def at(browser):
    """The iteration that all seven pictures show which move."""
    found = [image.get_attribute('src') for image in browser.find_elements(By.CSS_SELECTOR, '#frames img')]
    iteration, = {int(src[-10:-4]) for src in found}
    assert browser.find_element(By.ID, 'at').text == f'iteration {iteration}'
    assert len(found) == 7 and browser.current_url.endswith(f'#{iteration}')
    return iteration


def open_page(browser, folder, address=''):
    browser.get('about:blank')
    browser.get((folder/'index.html').as_uri() + address)


def press(browser, key):
    webdriver.ActionChains(browser).send_keys(key).perform()
    return at(browser)


def wait(browser):
    browser.execute_async_script('setTimeout(arguments[0], 500)')


def test_slider_keys_and_address_move_every_picture(browser, folder):
    open_page(browser, folder)
    assert at(browser) == 1000  # the newest, where no address says otherwise
    for key, expected in ((Keys.ARROW_LEFT, 900), (Keys.HOME, 0), (Keys.ARROW_LEFT, 0), (Keys.ARROW_RIGHT, 100),
                          (Keys.END, 1000), (Keys.ARROW_RIGHT, 1000)):
        assert press(browser, key) == expected
    slider = browser.find_element(By.ID, 'slider')
    browser.execute_script('arguments[0].value = 4; arguments[0].dispatchEvent(new Event("input"))', slider)
    assert at(browser) == 400
    for address, expected in (('#300', 300), ('#349', 300), ('#99999', 1000)):
        open_page(browser, folder, address)
        assert at(browser) == expected
    browser.find_element(By.ID, 'losses').click()
    assert at(browser) == 500
    play = browser.find_element(By.ID, 'play')
    play.click()
    wait(browser)
    assert play.text == 'Pause' and at(browser) > 500
    play.click()
    assert play.text == 'Play'
    measures = browser.find_element(By.ID, 'measures').text
    assert 'Energy Distance' in measures and 'undefined' in measures


def test_nothing_fails_and_nothing_leaves_the_folder(browser, folder):
    """And names are text."""
    for kind in 'browser', 'performance':
        browser.get_log(kind)
    open_page(browser, folder)
    wait(browser)
    assert browser.get_log('browser') == []
    requests = [entry['message'] for entry in browser.get_log('performance')
                if 'Network.requestWillBeSent"' in entry['message']]
    assert len(requests) > 5 and not [text for text in requests if '"url":"http' in text]
    assert browser.execute_script('return [...document.images].every(i => i.complete && i.naturalWidth > 0 && i.alt)')
    assert browser.title == 'A GAN learns <b>.csv'
    assert HOSTILE in browser.find_element(By.TAG_NAME, 'body').text


def test_a_missing_picture_has_a_placeholder(browser, folder, tmp_path):
    copy = shutil.copytree(folder, tmp_path/'copy')
    (copy/'iterations'/'iteration_000500.png').unlink()
    open_page(browser, copy, '#500')
    wait(browser)
    assert len(browser.find_elements(By.CSS_SELECTOR, 'figure.missing')) == 1
    press(browser, Keys.ARROW_RIGHT)
    wait(browser)
    assert not browser.find_elements(By.CSS_SELECTOR, 'figure.missing')


def test_no_page_without_pictures(tmp_path):
    none = make_folder(tmp_path/'none', np.random.default_rng(0).normal(size=[300, 2]), pictures='none')
    assert draw(none) == (0, '') and not (none/'index.html').exists()
