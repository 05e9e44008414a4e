"""report.html: what the page contains, and in a real browser sorting, filtering and opening cases without errors."""

import shutil

import cv2
import numpy as np
import pandas as pd
import pytest

from maseg_nnunet.dataset.cases import select_rows
from maseg_nnunet.evaluation.charts import dice_boxes
from maseg_nnunet.evaluation.comparison import write_comparison
from maseg_nnunet.evaluation.output import write_evaluation
from maseg_nnunet.evaluation.pictures import draw_pictures, edges_of
from maseg_nnunet.evaluation.scoring import score_folder
from maseg_nnunet.evaluation.tables import with_groups
from maseg_nnunet.mammogram import Flag
from tests.evaluation.helpers import make_dataset, row, write_mask

SHAPE = (90, 70)


def breast(muscle):
    """A half disc at the left edge; in its upper corner a triangle of muscle with sides of `muscle` pixels."""
    rows, columns = np.mgrid[: SHAPE[0], : SHAPE[1]]
    mask = ((rows - 45) ** 2 + columns**2 < 40**2).astype(np.uint8)
    mask[(mask == 1) & (rows + columns < muscle)] = 2
    return mask


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Twelve cases of two data sets. The predicted muscle of the n-th case is n pixels narrower."""
    base = tmp_path_factory.mktemp("report")
    references = {}
    for number in range(12):
        view, key = ("MLO", "CC")[number % 2], ("fuji", "mini_mias")[number // 6]
        case = row(
            f"case{number:02d}", woman=f"w{number // 2}", view=view, dataset=key,
            flags=Flag.BURNED_IN.value if number == 3 else "", quality="exclude" if number == 4 else "ok",
        )  # fmt: skip
        references[case] = breast(45 if view == "MLO" else 0)
        invented = 20 if number == 1 else 0
        write_mask(base / "predictions" / f"{case.case}.nii.gz", breast(45 - number if view == "MLO" else invented))
        gray = (references[case] > 0).astype(np.float32) * 0.7
        write_mask(base / "set" / "imagesTs" / f"{case.case}_0000.nii.gz", gray)
    return make_dataset(base / "set", references), base / "predictions"


@pytest.fixture(scope="module")
def written(folders, tmp_path_factory):
    dataset, predictions = folders
    rows = select_rows(dataset)
    cases = score_folder(predictions, dataset, rows)
    pictures = draw_pictures(rows, dataset, predictions, workers=2)
    out = tmp_path_factory.mktemp("written")
    write_evaluation(out, cases, pictures, "A <made-up> set")
    return out, cases, pictures


def test_written_twice_is_the_same(folders, written):
    out, cases, pictures = written
    before = (out / "report.html").stat().st_mtime_ns
    write_evaluation(out, cases, pictures, "A <made-up> set")
    assert (out / "report.html").stat().st_mtime_ns == before


def test_self_contained_and_escaped(written):
    page = (written[0] / "report.html").read_text(encoding="utf-8")
    loading = page.replace("http://www.w3.org/", "")  # names of SVG namespaces, which are not loaded
    assert "http://" not in loading and "https://" not in loading
    assert "A &lt;made-up&gt; set" in page and "<made-up>" not in page


def test_burned_in_annotation_gets_no_picture(written):
    out, _, pictures = written
    assert set(pictures) == {f"case{n:02d}" for n in range(12)} - {"case03"}
    page = (out / "report.html").read_text(encoding="utf-8")
    row_of_it = page[page.index('<tr id="case-case03"') :].split("</tr>")[0]
    assert "burned-in annotation: not shown" in row_of_it and "<image" not in row_of_it
    assert "<image" in page[page.index('<tr id="case-case02"') :].split("</tr>")[0]


def test_the_papers_numbers_are_shown_beside_ours(written):
    page = (written[0] / "report.html").read_text(encoding="utf-8")
    assert '<span class="paper">0.87 ± 0.17 (58)</span>' in page  # Table 7, Fuji, pectoral
    assert page.count("<svg role=") == 2  # both charts


def test_edges_do_not_follow_the_images_border():
    edges = edges_of(breast(45))
    points = [tuple(map(float, pair.split())) for pair in edges.skin.lstrip("M").replace("M", "L").split("L")]
    drawn = np.zeros(SHAPE, np.uint8)
    outline = np.array([points], dtype=np.float64) * 8 - 4
    cv2.polylines(drawn, np.rint(outline).astype(np.int32), False, 1, shift=3)
    rows, columns = np.nonzero(drawn)
    assert columns.min() >= 1  # the straight side of the half disc is on the border
    radius = np.hypot(rows - 45, columns)
    assert radius.min() > 38 and radius.max() < 41
    assert edges.muscle.startswith("M")
    assert edges_of(breast(0)).muscle == ""


def test_raw_images_are_kept_apart_everywhere(folders, tmp_path):
    dataset, predictions = folders
    cases = score_folder(predictions, dataset, select_rows(dataset))
    (alone,) = write_evaluation(tmp_path / "alone", cases, {}, "none")
    raw = cases.assign(case=cases["case"] + "_raw", intent="raw", dice_overall=0.1)
    (summary,) = write_evaluation(tmp_path / "both", pd.concat([cases, raw], ignore_index=True), {}, "none")
    assert summary.frame.equals(alone.frame)
    page, tables = ((tmp_path / "both" / name).read_text(encoding="utf-8") for name in ("report.html", "tables.md"))
    assert "without 12 raw images" in page and tables.count("Without 12 raw images") == 5
    assert "raw images" not in (tmp_path / "alone" / "tables.md").read_text(encoding="utf-8")


def test_files_of_an_earlier_evaluation_are_deleted(folders, tmp_path):
    dataset, predictions = folders
    cases = score_folder(predictions, dataset, select_rows(dataset))
    raw = cases.assign(case=cases["case"] + "_raw", intent="raw")
    write_evaluation(tmp_path, pd.concat([cases, raw], ignore_index=True), {}, "none")
    assert {path.name for path in tmp_path.iterdir()} >= {"statistics.csv", "intents.csv"}
    write_evaluation(tmp_path, cases[(cases["view"] == "MLO") & (cases["dataset"] == "fuji")], {}, "none")
    assert not {path.name for path in tmp_path.iterdir()} & {"statistics.csv", "intents.csv"}


def test_files_of_an_evaluation_of_another_kind_are_deleted(folders, tmp_path):
    dataset, predictions = folders
    rows = select_rows(dataset)
    (tmp_path / "mine.csv").write_text("not ours")
    write_evaluation(tmp_path, score_folder(predictions, dataset, rows), {}, "none")
    write_comparison(tmp_path, dataset, rows, (predictions, predictions), pictures=False)
    tables = {path.name for path in tmp_path.glob("*.csv")}
    assert tables == {"mine.csv", "cases_a.csv", "cases_b.csv", "comparison.csv", "statistics.csv"}
    write_evaluation(tmp_path, score_folder(predictions, dataset, rows), {}, "none")
    tables = {path.name for path in tmp_path.glob("*.csv")}
    assert "cases.csv" in tables and not tables & {"cases_a.csv", "cases_b.csv", "comparison.csv"}


def test_names_in_charts_are_escaped(folders):
    dataset, predictions = folders
    cases = score_folder(predictions, dataset, select_rows(dataset)).assign(dataset='a"><b>\\1')
    assert "<b>" not in dice_boxes(with_groups(cases))


def test_no_pictures_no_examples(folders, tmp_path):
    dataset, predictions = folders
    write_evaluation(tmp_path, score_folder(predictions, dataset, select_rows(dataset)), {}, "none")
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "<image" not in page and 'id="examples"' not in page


@pytest.fixture(scope="module")
def browser():
    program, driver = shutil.which("chromium") or shutil.which("google-chrome"), shutil.which("chromedriver")
    if not program or not driver:
        pytest.skip("chromium or chromedriver is not installed: the report is not opened in a browser")
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    options = webdriver.ChromeOptions()
    options.binary_location = program
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    options.add_argument("--window-size=1366,900")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    opened = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    yield opened
    opened.quit()


@pytest.fixture
def page(browser, written):
    browser.get(f"file://{written[0] / 'report.html'}")
    yield browser
    assert [entry["message"] for entry in browser.get_log("browser")] == []


def shown(page):
    return page.execute_script(
        "return Array.from(document.querySelectorAll('#list tbody tr')).filter(r => !r.hidden).map(r => r.id.slice(5))"
    )


def find(page, selector):
    return page.find_element("css selector", selector)


def header(page, name):
    cells = page.find_elements("css selector", "#list th[aria-sort]")
    return next(cell for cell in cells if cell.text.split(" ▲")[0].split(" ▼")[0] == name)


def test_sorting(page):
    assert shown(page)[:2] == ["case00", "case02"]
    overall = header(page, "Overall Dice")
    overall.find_element("css selector", "span").click()
    # The narrower the predicted muscle, the lower the score. case04 has no overall score: last in both directions.
    assert shown(page)[0] == "case10" and shown(page)[-1] == "case04"
    assert overall.get_attribute("aria-sort") == "ascending"
    overall.find_element("css selector", "span").send_keys("\n")
    assert overall.get_attribute("aria-sort") == "descending"
    assert shown(page)[-2:] == ["case10", "case04"]
    header(page, "Case").find_element("css selector", "span").click()
    assert shown(page) == [f"case{n:02d}" for n in range(12)]
    assert overall.get_attribute("aria-sort") == "none"


def choose(page, number, text):
    select = find(page, f"select[data-filter='{number}']")
    next(o for o in select.find_elements("css selector", "option") if o.text == text).click()


def test_filtering(page):
    choose(page, 0, "Mini-MIAS")
    assert sorted(shown(page)) == [f"case{n:02d}" for n in range(6, 12)]
    choose(page, 1, "CC")
    assert sorted(shown(page)) == ["case07", "case09", "case11"]
    assert find(page, "#count").text == "3 of 12 cases"
    find(page, "#search").send_keys("CASE09")
    assert shown(page) == ["case09"]
    find(page, "#search").clear()
    choose(page, 0, "all")
    choose(page, 1, "all")
    choose(page, 3, "false positive")
    assert shown(page) == ["case01"]
    choose(page, 3, "not judged")
    assert shown(page) == ["case04"]


def test_opening_a_case(page):
    viewer = find(page, "#viewer")
    assert not viewer.is_displayed()
    find(page, "#case-case02 .open").click()
    assert viewer.is_displayed()
    assert find(page, "#viewer-title").text == "case02"
    assert find(page, "#viewer-picture image").size["height"] > 300
    assert "MLO" in find(page, "#viewer-values").text
    edge = find(page, "#viewer-picture .prediction .skin")
    assert edge.is_displayed()
    find(page, "#viewer .toggle[value='prediction']").click()
    assert not edge.is_displayed()
    assert find(page, "#viewer-picture .reference .skin").is_displayed()
    find(page, "[data-step='1']").click()
    assert find(page, "#viewer-title").text == "case04"
    find(page, "#close").click()
    assert not viewer.is_displayed()


def test_a_point_of_a_chart_opens_its_case(page):
    # A point is too small to be clicked reliably by WebDriver: follow its link instead.
    link = page.execute_script("return document.querySelector('.chart a').getAttribute('xlink:href')")
    assert link.startswith("#case-case")
    page.execute_script("location.hash = arguments[0]", link)
    from selenium.webdriver.support.wait import WebDriverWait

    WebDriverWait(page, 10).until(lambda _: find(page, "#viewer").is_displayed())
    assert find(page, "#viewer-title").text == link.removeprefix("#case-")


def test_a_laptop_does_not_scroll_sideways(page):
    width = page.execute_script("return [document.documentElement.scrollWidth, document.documentElement.clientWidth]")
    assert width[0] <= width[1]
