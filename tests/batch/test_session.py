from __future__ import annotations

import pytest

from batch.session import check_java
from domain.errors import NegawattError


@pytest.fixture
def install_java(tmp_path, monkeypatch):
    """Put a Java that says these lines, and no other, on the path."""

    def install(*lines, home=False):
        java = tmp_path / "bin" / "java"
        java.parent.mkdir()
        said = "".join(f"echo '{line}' >&2\n" for line in lines)
        java.write_text(f"#!/bin/sh\n{said}")
        java.chmod(0o755)
        monkeypatch.delenv("JAVA_HOME", raising=False)
        if home:
            monkeypatch.setenv("JAVA_HOME", str(tmp_path))
            monkeypatch.setenv("PATH", str(tmp_path / "nothing here"))
        else:
            monkeypatch.setenv("PATH", str(java.parent))
        return java

    return install


@pytest.mark.parametrize("home", [False, True])
@pytest.mark.parametrize(
    "line", ['openjdk version "17.0.15" 2025-04-15', 'java version "21-ea" 2023-09-19', 'openjdk version "25"']
)
def test_java_17_and_later_will_do(install_java, line, home):
    install_java(line, "OpenJDK Runtime Environment", home=home)
    check_java()


def test_a_java_that_first_says_what_options_it_picked_up_will_do(install_java):
    install_java("Picked up JAVA_TOOL_OPTIONS: -Xmx1g", 'openjdk version "17.0.15" 2025-04-15')
    check_java()


@pytest.mark.parametrize("line", ['openjdk version "11.0.27" 2025-04-15', 'java version "1.8.0_292"'])
def test_an_older_java_is_named_with_its_version_and_what_to_do(install_java, line):
    java = install_java(line)
    with pytest.raises(NegawattError) as refused:
        check_java()
    assert str(refused.value) == (
        f"Spark needs Java 17 or later, {java} is {line}: install it (Debian, Ubuntu: "
        "apt-get install openjdk-17-jre-headless) or set JAVA_HOME"
    )


@pytest.mark.parametrize("said", [(), ("The operation couldn’t be completed. Unable to locate a Java Runtime.",)])
def test_a_java_that_only_pretends_to_be_one_is_refused(install_java, said):
    java = install_java(*said)
    with pytest.raises(NegawattError, match=f"Spark needs Java 17 or later, {java} is "):
        check_java()


def test_without_java_the_sentence_says_how_to_get_one(tmp_path, monkeypatch):
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(NegawattError, match=r"none was found: install it \(.*\) or set JAVA_HOME"):
        check_java()


def test_a_java_home_without_java_is_no_java(tmp_path, monkeypatch):
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    with pytest.raises(NegawattError, match="none was found"):
        check_java()
