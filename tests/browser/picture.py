"""Make the README's picture: the page's own story over committed records, in headless Chromium.

make picture
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait
from test_leaderboard import FLAGS

from idembench import board, record
from idembench.files import find_records

ROOT = Path(__file__).resolve().parents[2]
PICTURED = ("sft-reset", "sdf-reset", "dpo-reset", "dpo-continual")
"""The arms of the study's headline, as far as `results/` holds them; their controls are drawn behind them."""


def main() -> None:
    """Write `results/headline.png`."""
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        read = {made.id: (folder, made) for folder, made in _records(ROOT / "results" / "records")}
        for folder, made in read.values():
            if made.protocol.name not in PICTURED:
                continue
            _copy(folder, work / "results" / "records" / made.place)
            beside = None if made.control is None else read.get(made.control.record)
            if beside is not None:
                _copy(beside[0], work / "results" / "records" / beside[1].place)
        built = board.build(work / "results", work / "board")
        options = Options()
        options.binary_location = "/usr/bin/chromium"
        for flag in (*FLAGS, "--force-device-scale-factor=1.5", f"--user-data-dir={work / 'profile'}"):
            options.add_argument(flag)
        driver = webdriver.Chrome(options=options, service=Service("/usr/bin/chromedriver"))
        try:
            driver.set_window_size(1020, 2400)
            driver.get(f"{built.page.as_uri()}#kind=arms&select=")
            WebDriverWait(driver, 30).until(lambda d: d.execute_script("return document.documentElement.dataset.ready"))
            driver.execute_script("document.querySelector('.story-picker').hidden = true")
            driver.find_element(By.ID, "story").screenshot(str(ROOT / "results" / "headline.png"))
        finally:
            driver.quit()
    sys.stderr.write("Wrote results/headline.png.\n")


def _records(folder: Path) -> list[tuple[Path, record.Record]]:
    return [(place, record.read(place)) for place in find_records(folder)]


def _copy(folder: Path, place: Path) -> None:
    shutil.copytree(folder, place, dirs_exist_ok=True)


if __name__ == "__main__":
    main()
