"""`angiomorph view` on the command line; tests/view has the page."""

from angiomorph.cli import main, view


def test_without_its_packages_the_page_is_refused_once(monkeypatch, capsys):
    monkeypatch.setattr(view, "NEEDED", ("a_package_that_nobody_has",))
    assert main(["view", "run.dcm"]) == 2
    assert capsys.readouterr().err == (
        "angiomorph view: expected the packages of its page, found them missing; pip install 'angiomorph[view]'\n"
    )
