"""
gaul/s3proxy, a store and a gateway in Java, fetched with Maven.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "s3proxy-tests" / "gaul"
"""
Where the libraries are kept between runs.
"""

VERSION = "4.1.0"

POM = f"""
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>bench</groupId>
  <artifactId>bench</artifactId>
  <version>1</version>
  <packaging>pom</packaging>
  <dependencyManagement>
    <dependencies>
      <dependency>
        <groupId>com.fasterxml.jackson.core</groupId>
        <artifactId>jackson-annotations</artifactId>
        <version>2.21</version>
      </dependency>
    </dependencies>
  </dependencyManagement>
  <dependencies>
    <dependency>
      <groupId>org.gaul</groupId>
      <artifactId>s3proxy</artifactId>
      <version>{VERSION}</version>
    </dependency>
  </dependencies>
</project>
"""


def gaul_command(properties: Path) -> list[str]:
    """
    Return the command line that runs it with a file of properties; fetch it if it is missing.
    """
    # Without a configuration logback logs everything.
    quiet = properties.parent / "logback.xml"
    quiet.write_text('<configuration><root level="OFF"/></configuration>')
    return [
        *("java", f"-Dlogback.configurationFile={quiet}", "-cp", f"{_libraries()}/*"),
        *("org.gaul.s3proxy.Main", "--properties", str(properties)),
    ]


def _libraries() -> Path:
    if not any(CACHE.glob("s3proxy-*.jar")):
        print("fetching gaul/s3proxy", flush=True)
        CACHE.mkdir(parents=True, exist_ok=True)
        (CACHE / "pom.xml").write_text(POM)
        command = ["mvn", "-B", "-q", "-f", "pom.xml", "dependency:copy-dependencies", "-DoutputDirectory=."]
        subprocess.run(command, cwd=CACHE, check=True)
    return CACHE
