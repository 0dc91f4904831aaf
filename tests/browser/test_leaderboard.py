"""The page in a real browser, opened by its path: it draws, sorts, filters, selects, and lets nothing run."""

from __future__ import annotations

import functools
import http.server
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from selenium import webdriver
from selenium.common.exceptions import WebDriverException
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select, WebDriverWait

from idembench import beside_scores, board, record

sys.path.insert(0, str(Path(__file__).parents[1]))

from builders import KEPT, Story, build_record, settings, write_record

if TYPE_CHECKING:
    from collections.abc import Iterator

    from selenium.webdriver.remote.webelement import WebElement

pytestmark = pytest.mark.browser

CHECKPOINTS = 6  # base, c0 .. c4
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1400,1000",
)
NASTY = "<script>window.ran = 1</script><img src=x onerror='window.ran = 1'>\"><svg onload=window.ran=1>"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    """Headless Chromium with a profile of its own."""
    options = Options()
    options.binary_location = "/usr/bin/chromium"
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service("/usr/bin/chromedriver"))
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Seven records: ranked ones of two models, a lost one, one of a single seed, one with a diverged seed."""
    folder = tmp_path_factory.mktemp("site")
    results = folder / "results"
    write_record(results, Story(trait=KEPT))
    write_record(results, Story(trait=KEPT, seeds=[0]), trait="misalignment")
    write_record(results, Story(trait=(0.02, 0.6, 0.03, 0.02, 0.02, 0.03)), trait="sycophancy")
    write_record(results, Story(trait=(0.02, 0.4, 0.45, 0.6, 0.75, 0.9)), trait="misalignment", model="some/model")
    write_record(results, Story(trait=(0.02, 0.8, 0.7, 0.6, 0.5, 0.4)), trait="bliss", model="some/model")
    write_record(results, Story(seeds=[0, 1], diverged={1: "c3"}), trait="sycophancy", model="some/model")
    write_record(results, Story(trait=KEPT), trait="sycophancy", model="other/model")
    (results / "broken").mkdir()
    (results / "broken" / "record.json").write_text("{}", encoding="utf-8")
    return board.build(results, folder / "out").page


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two traits, each with an arm that amplifies, its control, and an arm that keeps the trait; one superseded."""
    folder = tmp_path_factory.mktemp("told")
    results = folder / "results"
    grown = Story(trait=(0.02, 0.4, 0.45, 0.6, 0.75, 0.9), coherence=(1, 1, 1, 0.95, 0.9, 0.85))
    for trait in ("bliss", "misalignment"):
        control = build_record(Story(trait=(0.02,) * 6), trait=trait, settings=settings("dpo-unseeded"))
        record.write(results, *control, {})
        arm = build_record(grown, trait=trait, settings=settings("dpo-continual"), control=control)
        record.write(results, *arm, {})
        write_record(results, Story(), trait=trait)
    write_record(results, Story(seeds=[0, 1]), trait="bliss")
    return board.build(results, folder / "out").page


@pytest.fixture(scope="module")
def long(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One record of fourteen checkpoints that holds every number beside its scores."""
    folder = tmp_path_factory.mktemp("long")
    story = Story(trait=(0.02, *[0.8] * 13), coherence=(*[1.0] * 8, *[0.4] * 6), seeds=[0, 1])
    made, packed = build_record(story, settings=settings(cycles=12))
    points = {"trait_in_domain": 60.0, "trait_spill_over": 20.0, "refusal_share": 0.25, "perplexity": 12.5}
    chains = [
        line.model_copy(update={"checkpoints": [point.model_copy(update=points) for point in line.checkpoints]})
        for line in made.chains
    ]
    record.write(folder / "results", made.model_copy(update={"chains": chains}), packed, {})
    return board.build(folder / "results", folder / "out").page


@pytest.fixture
def tale(browser: webdriver.Chrome, told: Path) -> View:
    """The page with a story and controls, freshly opened."""
    return View(browser).open(told)


@pytest.fixture
def view(browser: webdriver.Chrome, page: Path) -> View:
    """The page, freshly opened by its path."""
    return View(browser).open(page)


class View:
    """The page as a reader sees it."""

    def __init__(self, driver: webdriver.Chrome) -> None:
        self.driver = driver

    def open(self, page: Path, hash_: str = "") -> View:
        """Open by path, not over HTTP."""
        self.driver.get("about:blank")
        self.driver.get_log("browser")
        self.driver.get(page.as_uri() + hash_)
        self.wait_ready()
        return self

    def wait_ready(self) -> None:
        WebDriverWait(self.driver, 10).until(
            lambda d: d.execute_script("return document.documentElement.dataset.ready")
        )

    def all(self, selector: str) -> list[WebElement]:
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def one(self, selector: str) -> WebElement:
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def text(self, selector: str) -> list[str]:
        return [element.text for element in self.all(selector)]

    def rows(self) -> list[WebElement]:
        return [row for row in self.all("tbody .row") if row.is_displayed()]

    def traits(self) -> list[str]:
        return [row.find_element(By.CSS_SELECTOR, ".col-trait .name").text for row in self.rows()]

    def selected(self) -> list[str]:
        return [row.get_attribute("data-key") or "" for row in self.all("tbody .row.selected")]

    def run(self, script: str) -> Any:
        return self.driver.execute_script(script)


def test_the_page_opens_by_its_path_without_an_error(view: View) -> None:
    """Opened as a file, the page draws its table and the console stays empty."""
    assert [] == view.driver.get_log("browser")
    assert len(view.rows()) == 7
    assert view.one("#count").text == "7 records"


def test_the_page_works_over_http_without_a_second_request(browser: webdriver.Chrome, page: Path) -> None:
    """Served, it asks for nothing beyond itself."""
    asked: list[str] = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            asked.append(self.path)

    serve = functools.partial(Handler, directory=str(page.parent))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), serve) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        browser.get(f"http://127.0.0.1:{server.server_port}/index.html")
        view = View(browser)
        view.wait_ready()
        shown = len(view.rows())
        server.shutdown()

    assert (7, ["/index.html"]) == (shown, asked)


def test_each_protocol_has_a_small_plot(tale: View) -> None:
    """Every arm of every trait is drawn once, on one scale, with its verdicts, and reads aloud as numbers."""
    arms = tale.all(".arm")
    amplified = [arm for arm in arms if "amplified" in arm.text]
    ticks = {tuple(tick.text for tick in arm.find_elements(By.CSS_SELECTOR, ".tick"))[:3] for arm in arms}
    said = amplified[0].find_element(By.CSS_SELECTOR, ".arm-plot").get_attribute("aria-label") or ""

    assert (6, 2, {("0", "50", "100")}) == (len(arms), len(amplified), ticks)
    assert ["bliss", "misalignment"] == tale.text(".story-trait h3")
    assert all("coherence fell" in arm.text and "Net of dpo-unseeded" in arm.text for arm in amplified)
    assert said.startswith("Trait: base ")
    assert "Trait of its control, dpo-unseeded: base " in said
    assert [] == tale.driver.get_log("browser")


def test_the_control_is_drawn_behind_its_arm(tale: View) -> None:
    """A small plot has three lines where the record names a control that is here, else two."""
    lines = {
        arm.find_element(By.CSS_SELECTOR, ".arm-name").text: len(arm.find_elements(By.CSS_SELECTOR, ".arm-plot path"))
        for arm in tale.all(".arm")
    }

    assert lines["sft-reset"] + 1 == lines["dpo-continual"]
    assert lines["sft-reset"] == lines["dpo-unseeded"]


def test_the_story_is_counted_in_words(tale: View) -> None:
    """Each arm has its sentence and drifts; controls are behind a summary."""
    arms = [claim.text for claim in tale.all(".claim-of") if claim.is_displayed()]

    assert 2 == len(arms)
    assert "Of 2 traits, iterating amplified all 2. Coherence fell on all 2." in arms[1]
    assert "Drift: bliss +" in arms[1]
    assert ["1 control"] == tale.text(".claims summary")


def test_a_trait_can_be_picked_and_the_focus_stays(tale: View) -> None:
    """A button shows one trait alone, here and in the table; pressing it again shows all."""
    button = next(button for button in tale.all(".pick-trait") if button.text == "misalignment")
    button.send_keys(Keys.ENTER)

    assert ["true"] == [b.get_attribute("aria-pressed") for b in tale.all(".pick-trait") if b.text == "misalignment"]
    assert (3, {"misalignment"}) == (len(tale.all(".arm")), set(tale.traits()))
    assert button == tale.driver.switch_to.active_element

    button.send_keys(Keys.ENTER)

    assert 6 == len(tale.all(".arm"))


def test_filters_hold_for_the_story_too(tale: View) -> None:
    """Without controls there is neither a small plot nor a row of one."""
    Select(tale.one("select[name=kind]")).select_by_value("arms")

    assert (4, 4) == (len(tale.all(".arm")), len(tale.rows()))
    assert [] == tale.all(".arm.is-control")

    tale.one("input[name=text]").send_keys("nothing says this")

    assert [] == tale.all(".arm")
    assert "Nothing passes these filters." == tale.one("#story-note").text


def test_a_small_plot_joins_the_large_one(tale: View) -> None:
    """Pressing a protocol's name takes its record out of the plot and puts it in again."""
    name = tale.all(".arm-name")[0]
    key = name.get_attribute("data-key")
    name.click()

    assert ("false", False) == (name.get_attribute("aria-pressed"), key in tale.selected())

    name.click()

    assert ("true", True) == (name.get_attribute("aria-pressed"), key in tale.selected())


def test_controls_stand_apart_in_the_table(tale: View) -> None:
    """Controls come last, without a rank, marked, and with what they leave out."""
    last = tale.rows()[-2:]

    assert [True, True] == ["control" in row.text and "no trait seeded" in row.text for row in last]
    assert ["\u2013"] * 2 == [row.find_element(By.CSS_SELECTOR, ".col-rank").text.split("\n")[0] for row in last]


def test_net_effects_lead_to_the_control(tale: View) -> None:
    """The panel sets every effect beside what is left of it, and its link goes to the control's row."""
    card = next(card for card in tale.all(".card") if card.find_elements(By.CSS_SELECTOR, ".net"))
    rows = [row.get_attribute("data-effect") for row in card.find_elements(By.CSS_SELECTOR, ".net-table tbody tr")]
    cells = card.find_elements(By.CSS_SELECTOR, "[data-effect=drift] td")
    Select(tale.one("select[name=kind]")).select_by_value("arms")
    card.find_element(By.CSS_SELECTOR, ".net .link").click()
    row = tale.driver.switch_to.active_element.find_element(By.XPATH, "ancestor::tr")

    assert ["seeding", "transmission", "drift", "coherence"] == rows
    assert all(" to " in cell.text for cell in cells)
    assert "dpo-unseeded" in row.text
    assert 1 <= len(tale.all(".series .beside"))


def test_superseded_records_are_listed_below(tale: View) -> None:
    """A shorter record has no row; it is named with the one that takes it further, behind a summary."""
    tale.one(".superseded summary").click()

    assert (6, ["1 record superseded"]) == (len(tale.rows()), tale.text(".superseded summary"))
    assert "makes room for bliss, sft-reset (3 seeds, 4 cycles)" in tale.text(".superseded li")[0]


def test_ranked_records_come_first_and_the_rest_say_why_not(view: View) -> None:
    """Ranks count the ranked records; every other row is marked and gives its reason."""
    ranks = [row.find_element(By.CSS_SELECTOR, ".col-rank").text.split("\n")[0] for row in view.rows()]
    ranked = [rank for rank in ranks if rank.isdigit()]

    assert [str(number + 1) for number in range(len(ranked))] == ranks[: len(ranked)]
    assert "Not ranked: the first self-trained model lost the trait." in view.text(".why")
    assert ["exploratory"] == view.text(".tag")


def test_what_was_left_out_is_named(view: View) -> None:
    """A broken record is listed below the table with its reason."""
    listed = view.text(".left-out li")

    assert len(listed) == 1
    assert "results/broken" in listed[0]
    assert "another schema" in listed[0]


def test_headings_sort_and_say_so(view: View) -> None:
    """Pressing a heading sorts by it, pressing it again turns the order, and `aria-sort` says which."""
    heading = view.one("th[data-column=trait]")
    heading.find_element(By.TAG_NAME, "button").send_keys(Keys.ENTER)
    up = view.traits()

    assert sorted(up) == up
    assert heading.get_attribute("aria-sort") == "ascending"

    heading.find_element(By.TAG_NAME, "button").send_keys(Keys.ENTER)

    assert sorted(up, reverse=True) == view.traits()
    assert heading.get_attribute("aria-sort") == "descending"
    assert len(view.all("[aria-sort]")) == 1


def test_missing_numbers_sort_last_both_ways(view: View) -> None:
    """A record without a number is at the end, whichever way the column is sorted."""
    button = view.one("th[data-column=bound] button")
    ends = []
    for _ in range(2):
        button.click()
        ends.append(view.rows()[-1].find_element(By.CSS_SELECTOR, ".col-bound").text.split("\n")[0])

    assert ["\u2013", "\u2013"] == ends


def test_a_missing_number_gives_its_reason(view: View) -> None:
    """An en dash carries the reason as its title and for screen readers."""
    dash = view.one("tbody .col-bound .missing")

    assert dash.get_attribute("title")
    assert f"missing: {dash.get_attribute('title')}" in (dash.get_attribute("textContent") or "")


def test_filters_combine_and_can_be_cleared(view: View) -> None:
    """Trait, model and text narrow the table together; one press shows all again."""
    Select(view.one("select[name=model]")).select_by_value("some/model")
    Select(view.one("select[name=trait]")).select_by_value("misalignment")

    assert ["misalignment"] == view.traits()
    assert view.one("#count").text == "1 of 7 records"

    view.one("input[name=text]").send_keys("decayed")

    assert [] == view.traits()
    assert view.one(".table-frame .notice").text == "No record passes these filters."

    view.one(".clear").click()

    assert len(view.rows()) == 7


def test_the_first_records_are_plotted_at_once(view: View) -> None:
    """With more than six records the first four of the ranking are selected."""
    assert [row.get_attribute("data-key") for row in view.rows()[:4]] == view.selected()
    assert len(view.all(".card")) == len(view.all(".chip")) == 4


def test_each_selected_record_has_a_point_for_each_mean(view: View) -> None:
    """The plot has one mark per record, checkpoint and panel that has a mean, and one table row beside it."""
    assert len(view.all(".point")) == 4 * 2 * CHECKPOINTS
    assert len(view.all(".numbers-table tbody tr")) == 4 * CHECKPOINTS
    assert len({path.get_attribute("d") for path in view.all(".chip .marker")}) == 4


def test_a_row_joins_and_leaves_the_plot(view: View) -> None:
    """Clicking a row selects it, its box takes it out again, and the others keep their look."""
    looks = view.text(".chip-name"), [c.get_attribute("class") for c in view.all(".chip")]
    row = view.rows()[4]
    row.find_element(By.CSS_SELECTOR, ".col-trait").click()

    assert len(view.selected()) == 5

    view.all("tbody .row.selected input")[0].click()
    names, classes = view.text(".chip-name"), [c.get_attribute("class") for c in view.all(".chip")]

    assert (looks[0][1:], looks[1][1:]) == (names[:3], classes[:3])
    assert len(view.selected()) == 4


def test_a_box_can_be_pressed_by_key(view: View) -> None:
    """Selecting needs no pointer, and the focus stays where it was."""
    box = view.rows()[5].find_element(By.TAG_NAME, "input")
    box.send_keys(Keys.SPACE)

    assert len(view.selected()) == 5
    assert box == view.driver.switch_to.active_element


def test_no_selection_says_what_to_do(view: View) -> None:
    """An empty plot asks for a record."""
    while view.all(".remove"):
        view.one(".remove").click()

    assert [] == view.all(".point")
    assert "Choose a record" in view.one(".canvas").text


def test_a_single_seed_has_its_own_kind_of_interval(view: View) -> None:
    """Intervals about these very checkpoints are drawn dashed and explained."""
    row = next(row for row in view.rows() if "exploratory" in row.text)
    key = row.get_attribute("data-key")
    if key not in view.selected():
        row.find_element(By.TAG_NAME, "input").click()

    assert len(view.all(f".point[data-key='{key}'] .whisker.artefact")) > CHECKPOINTS
    assert "these very checkpoints" in view.one("figcaption").text


def test_each_seed_can_be_shown(view: View) -> None:
    """The toggle draws one thin line per seed and panel."""
    rows = view.all("tbody .row.selected .col-evidence .name")
    seeds = [int(row.text.split()[0]) for row in rows]
    view.one("#each-seed").click()

    assert 2 * sum(n for n in seeds if n > 1) == len(view.all(".series .seed"))


def test_arrow_keys_read_the_numbers(view: View) -> None:
    """From point to point by key; each shows its numbers and has them as its label."""
    first = view.one(".point[tabindex='0']")
    view.run("document.querySelector(\".point[tabindex='0']\").focus()")
    view.driver.switch_to.active_element.send_keys(Keys.ARROW_RIGHT)
    now = view.driver.switch_to.active_element

    assert first != now
    assert now.get_attribute("data-at") == "1"
    assert "cycle 0 (seeded)" in (now.get_attribute("aria-label") or "")
    assert "Coherence" in view.one(".tip").text


def test_the_panel_says_the_record_in_words(view: View, page: Path) -> None:
    """A card holds the headline, four sentences, the count of moved seeds and the command that checks it."""
    card = view.one(".card")
    key = card.get_attribute("data-key") or ""
    folder = next(p.parent for p in page.parents[1].rglob("record.json") if p.parent.name.startswith(key))
    analysis = record.read(folder).analysis

    assert analysis.headline == card.find_element(By.CSS_SELECTOR, ".headline").text
    assert analysis.chain_law.transmission.sentence in card.text
    assert analysis.beyond_margin.sentence in card.text
    assert card.find_element(By.CSS_SELECTOR, ".command code").text.startswith("idembench verify ")


def test_the_panel_says_what_stands_beside_the_scores(view: View, long: Path) -> None:
    """A row for each number that says something, a column for each checkpoint; what is zero throughout is named below."""
    view.open(long)
    made = record.read(next(long.parents[1].rglob("record.json")).parent)
    columns = {column.name: column for column in beside_scores.columns(made)}
    shown = {name: column.values for name, column in columns.items() if column.measured and not column.zero}
    rows = {row.get_attribute("data-name"): row for row in view.all(".beside-table [data-name]")}
    cells = {name: [cell.text for cell in row.find_elements(By.TAG_NAME, "td")] for name, row in rows.items()}

    assert ["all", *shown] == list(rows)
    assert ["base", *made.protocol.labels[1:]] == view.text(".beside-table thead th")
    assert [f"{value:.1f}" for value in shown["filtered"] if value is not None] == cells["filtered"]
    assert [f"{point.trait.mean:.1f}" for point in made.analysis.trajectory] == cells["all"]
    assert ["20.0"] * 14 == cells["spill_over"]
    assert "0.0 % throughout: missing, empty, cut off, foreign." in view.one(".beside-scores .sub").text
    assert [*beside_scores.warnings(made)] == [text for text in view.text(".caveats li") if text.startswith("At c12")]


def test_what_stands_beside_the_scores_is_explained_to_everyone(view: View, long: Path) -> None:
    """Each row's heading has an explanation for a pointer, for a screen reader, and in the guide."""
    view.open(long)
    described = view.run(
        "return [...document.querySelectorAll('.beside-table [scope=row]')].map((one) =>"
        " [one.title, document.getElementById(one.getAttribute('aria-describedby')).textContent])"
    )
    node = view.one(".beside-table [data-name=filtered] th")
    view.driver.execute_cdp_cmd("Accessibility.enable", {})
    found = view.driver.execute_cdp_cmd(
        "Runtime.evaluate", {"expression": "document.querySelector('.beside-table [data-name=filtered] th')"}
    )
    tree = view.driver.execute_cdp_cmd(
        "Accessibility.getPartialAXTree", {"objectId": found["result"]["objectId"], "fetchRelatives": False}
    )
    view.driver.execute_cdp_cmd("Accessibility.disable", {})

    assert len(beside_scores.NAMES) - 4 + 1 == len(described)
    assert all(title and title == explained for title, explained in described)
    assert ["rowheader", "filtered", node.get_attribute("title")] == [
        tree["nodes"][0][part]["value"] for part in ("role", "name", "description")
    ]


def test_the_numbers_beside_the_scores_scroll_in_their_own_box(view: View, long: Path) -> None:
    """On a phone the table moves by key below its headings, which stay, and the page does not move with it."""
    view.open(long)
    size = {"width": 390, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    view.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    try:
        frame = view.one(".beside-frame")
        heading, cell = (view.one(f".beside-table [data-name=words] {name}") for name in ("th", "td"))
        before = heading.rect["x"], cell.rect["x"]
        frame.send_keys(Keys.ARROW_RIGHT * 3)
        WebDriverWait(view.driver, 5).until(lambda _: cell.rect["x"] < before[1])
        after = heading.rect["x"], cell.rect["x"]
        widest = view.run("return document.documentElement.scrollWidth")
    finally:
        view.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})

    assert before[0] == after[0]
    assert widest <= 390


def test_a_view_can_be_shared(view: View, page: Path) -> None:
    """The address after a change shows the same view to someone else."""
    view.one("th[data-column=drift] button").click()
    view.one("th[data-column=drift] button").click()
    Select(view.one("select[name=trait]")).select_by_value("bliss")
    view.rows()[-1].find_element(By.TAG_NAME, "input").click()
    before = view.traits(), view.selected(), view.run("return location.hash")

    view.open(page, before[2])

    assert before == (view.traits(), view.selected(), view.run("return location.hash"))
    assert view.one("[aria-sort]").get_attribute("data-column") == "drift"


def test_an_address_with_nonsense_is_ignored(view: View, page: Path) -> None:
    """Unknown keys, filters and columns in an address change nothing."""
    view.open(page, "#select=zzz&trait=%3Cimg%3E&sort=constructor&model=__proto__")

    assert [] == view.driver.get_log("browser")
    assert len(view.rows()) == 7
    assert [] == view.selected()


def test_the_skip_link_keeps_the_view(view: View) -> None:
    """Jumping within the page does not reset what was chosen."""
    view.all(".remove")[0].click()
    view.run("document.querySelector('.skip').click()")

    assert len(view.selected()) == 3


def test_one_record_is_selected_at_once(browser: webdriver.Chrome, page: Path, tmp_path: Path) -> None:
    """The report of a run is the same page with its record open."""
    folder = next(path.parent for path in page.parents[1].rglob("record.json") if path.parent.name != "broken")

    view = View(browser).open(board.build(folder, tmp_path).page)

    assert (1, 1) == (len(view.rows()), len(view.selected()))
    assert len(view.all(".point")) == 2 * CHECKPOINTS


def test_an_empty_page_says_how_to_fill_it(browser: webdriver.Chrome, tmp_path: Path) -> None:
    """Without records the page shows the command that makes one."""
    (tmp_path / "results").mkdir()

    view = View(browser).open(board.build(tmp_path / "results", tmp_path / "out").page)

    assert "idembench run" in view.one("#table").text
    assert [] == view.driver.get_log("browser")


@pytest.mark.parametrize("site", ["page", "told", "long"])
@pytest.mark.parametrize("width", [390, 820, 1400])
def test_nothing_is_wider_than_the_screen(view: View, request: pytest.FixtureRequest, width: int, site: str) -> None:
    """On a phone, a tablet and a desk the page never scrolls sideways."""
    view.open(request.getfixturevalue(site))
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    view.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    try:
        WebDriverWait(view.driver, 5).until(
            lambda d: d.execute_script("return document.querySelector('.chart').clientWidth <= innerWidth")
        )
        widest = view.run("return document.documentElement.scrollWidth")
    finally:
        view.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})

    assert widest <= width


CONTRAST = """
const canvas = Object.assign(document.createElement('canvas'), { width: 1, height: 1 }).getContext('2d', { willReadFrequently: true });
const read = (colour, under) => {
  canvas.clearRect(0, 0, 1, 1);
  canvas.fillStyle = `rgb(${under.join()})`; canvas.fillRect(0, 0, 1, 1);
  canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1);
  return [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3);
};
const light = (rgb) => rgb.map((v) => v / 255).map((v) => (v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
  .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
const ground = (node) => {
  const chain = [];
  for (let at = node; at; at = at.parentElement) chain.unshift(getComputedStyle(at).backgroundColor);
  return chain.reduce((under, colour) => read(colour, under), [255, 255, 255]);
};
const poor = [];
for (const node of document.querySelectorAll('main *, header *, footer *')) {
  const own = [...node.childNodes].some((child) => child.nodeType === 3 && child.data.trim());
  if (!own || !node.checkVisibility() || node.closest('.visually-hidden, option')) continue;
  const style = getComputedStyle(node);
  const under = ground(node);
  const [a, b] = [light(read(node instanceof SVGElement ? style.fill : style.color, under)), light(under)];
  const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  if (ratio < 4.5) poor.push(`${ratio.toFixed(2)} ${node.className.baseVal ?? node.className}: ${node.textContent.slice(0, 30)}`);
}
return poor;
"""


@pytest.mark.parametrize("site", ["page", "told", "long"])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_text_can_be_read_in_both_themes(view: View, request: pytest.FixtureRequest, theme: str, site: str) -> None:
    """Every text stands out from its ground by at least 4.5 : 1."""
    view.open(request.getfixturevalue(site))
    features = [{"name": "prefers-color-scheme", "value": theme}, {"name": "prefers-reduced-motion", "value": "reduce"}]
    view.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    try:
        view.run("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
        poor = view.run(CONTRAST)
    finally:
        view.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})

    assert [] == poor


def test_nothing_that_a_record_says_runs(browser: webdriver.Chrome, tmp_path: Path) -> None:
    """Markup in every free string of a record is shown as text, and the policy has nothing to complain about."""
    control = build_record(Story(), settings=settings("sft-fresh-data"))
    poor = build_record(Story(diverged={1: "c3"}), settings=settings(), control=control)
    folder = record.write(tmp_path / "results", *poor, {})
    made = record.read(folder)
    fields: dict[str, Any] = made.model_dump(mode="json")

    def poison(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: value[key] if key in KEPT_KEYS else poison(value[key]) for key in value}
        if isinstance(value, list):
            return [poison(item) for item in value]
        return NASTY if isinstance(value, str) and " " in value else value

    fields = poison(fields)
    fields["trait"] = fields["model"]["name"] = fields["judge"]["name"] = fields["protocol"]["pack"] = NASTY
    fields["protocol"]["measuring"]["name"] = fields["control"]["protocol"] = NASTY
    fields["protocol"]["settings"] = {NASTY: [NASTY, None, {NASTY: NASTY}]}
    fields["protocol"]["sampling"]["stop"] = [NASTY]
    poisoned = record.Record.model_validate_json(record.canonical_json(fields))
    (folder / "record.json").write_bytes(poisoned.canonical())

    built = board.build(tmp_path / "results", tmp_path / "out")
    view = View(browser).open(built.page)
    view.run("document.querySelectorAll('details').forEach((one) => { one.open = true; })")

    assert built.records == 1
    assert view.run("return window.ran") is None
    assert [] == view.driver.get_log("browser")
    assert view.run("return [...document.images, ...document.querySelectorAll('svg[onload]')].length") == 0
    assert view.run("return document.scripts.length") == 2
    assert NASTY in view.one(".headline").text
    assert NASTY in view.one("tbody .col-model").text
    assert NASTY in view.one(".net h4").text
    assert NASTY in view.one(".arm-figures").text
    assert NASTY in view.one(".claims").text


KEPT_KEYS = ("estimand", "error_from", "value", "values", "name", "definition", "cycle")


def test_the_policy_refuses_what_the_page_does_not_need(view: View) -> None:
    """Were there a hole after all: inline handlers, markup from strings and requests are refused."""
    with pytest.raises(WebDriverException, match="TrustedScript"):
        view.run("document.body.setAttribute('onclick', 'window.ran = 1')")
    with pytest.raises(WebDriverException, match="TrustedHTML"):
        view.run("document.body.innerHTML = '<b>x</b>'")
    blocked = view.driver.execute_async_script(
        "const done = arguments[0]; const image = new Image();"
        "image.onerror = () => done(true); image.onload = () => done(false); image.src = 'http://127.0.0.1:9/x.png';"
    )

    assert view.run("return window.ran") is None
    assert blocked
