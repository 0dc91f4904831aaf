"""Make the README's picture: the page's own plot over the committed sft-reset records, in headless Chromium.

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
from test_leaderboard import FLAGS

from idembench import board, record
from idembench.files import find_records

ROOT = Path(__file__).resolve().parents[2]


def main() -> None:
    """Write `results/headline.png`."""
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        for folder in find_records(ROOT / "results" / "records"):
            read = record.read(folder)
            if read.protocol.name == "sft-reset":
                shutil.copytree(folder, work / "results" / "records" / read.place)
        built = board.build(work / "results", work / "board")
        options = Options()
        options.binary_location = "/usr/bin/chromium"
        for flag in (*FLAGS, "--force-device-scale-factor=1.5", f"--user-data-dir={work / 'profile'}"):
            options.add_argument(flag)
        driver = webdriver.Chrome(options=options, service=Service("/usr/bin/chromedriver"))
        try:
            driver.set_window_size(1400, 2400)
            driver.get(built.page.as_uri())
            driver.find_element(By.ID, "plot").screenshot(str(ROOT / "results" / "headline.png"))
        finally:
            driver.quit()
    sys.stderr.write("Wrote results/headline.png.\n")


if __name__ == "__main__":
    main()
