"""
A real browser without a screen: Chromium from Debian's packages.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PACKAGES = ("chromium", "chromium-driver")


def install() -> None:
    """
    Install the packages if they are missing.
    """
    if shutil.which("chromium") and shutil.which("chromedriver"):
        return
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    print("installing Chromium from Debian's packages", flush=True)
    for arguments in (["update", "-q"], ["install", "-q", "-y", "--no-install-recommends", *PACKAGES]):
        subprocess.run(["apt-get", *arguments], check=True, env=environment, stdout=subprocess.DEVNULL)


@contextmanager
def running_browser(directory: Path) -> Iterator[Any]:
    """
    Run a browser; yield its driver.

    Args:
        directory: Directory for its profile.
    """
    from selenium.webdriver import Chrome, ChromeOptions, ChromeService

    install()
    options = ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    for argument in (
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        f"--user-data-dir={directory / 'profile'}",
    ):
        options.add_argument(argument)
    service = ChromeService(shutil.which("chromedriver"), log_output=str(directory / "chromedriver.log"))
    browser = Chrome(options=options, service=service)
    try:
        yield browser
    finally:
        browser.quit()
