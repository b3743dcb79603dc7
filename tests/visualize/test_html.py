"""What the viewer's file promises. Its looks need a browser; its contents do not."""

import base64
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
import torch

from concerto.errors import InputError
from concerto.points.point_cloud import PointCloud
from concerto.visualize import drawable, html
from concerto.visualize.html import write_html


class Page(HTMLParser):
    """The page as a browser reads it: tags, and the text of elements by their id or tag."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.texts, self._open = [], {}, []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self._open.append(dict(attrs).get("id", tag))
        self.texts.setdefault(self._open[-1], "")

    def handle_endtag(self, tag):
        self._open.pop()

    def handle_data(self, data):
        if self._open:
            self.texts[self._open[-1]] += data

    def array(self, name, dtype):
        return np.frombuffer(base64.b64decode(self.texts[name]), dtype)

    @property
    def scene(self):
        return json.loads(self.texts["scene"])

    @property
    def coord(self):
        steps = self.array("positions", "<u2").reshape(-1, 3)
        return self.scene["low"] + steps / 65535 * np.array(self.scene["span"])


def page_of(tmp_path, cloud, **options):
    file = tmp_path / "view.html"
    write_html(file, cloud, **{"title": "A cloud", **options})
    return Page(file.read_text(encoding="utf-8"))


@pytest.fixture
def cloud():
    generator = torch.Generator().manual_seed(0)
    coord = torch.rand(500, 3, generator=generator, dtype=torch.float64) * 4 + 5e6
    return PointCloud(coord, torch.rand(500, 3, generator=generator))


def test_page_holds_the_points_within_the_quantisation(tmp_path, cloud):
    page = page_of(tmp_path, cloud)
    half_step = np.array(page.scene["span"]) / 65535 / 2
    assert (np.abs(page.coord - cloud.coord.numpy()) <= half_step + 1e-8).all()
    colors = page.array("colors", np.uint8).reshape(-1, 3) / 255
    assert np.abs(colors - cloud.color.numpy()).max() <= 0.5 / 255 + 1e-6


def test_page_loads_nothing(tmp_path, cloud):
    write_html(tmp_path / "view.html", cloud, title="A cloud")
    text = (tmp_path / "view.html").read_text()
    assert not re.search(
        r"(https?:)?//[a-z0-9.-]+\.[a-z]{2,}", re.sub(r">[\w+/=]{50,}<", "><", text)
    )
    for tag, attributes in Page(text).tags:
        assert not {"src", "href", "action", "srcset"} & set(attributes), tag
    assert "default-src 'none'" in text
    assert not re.search(r"\b(fetch|XMLHttpRequest|importScripts|WebSocket)\b|@import|url\(", text)


def test_no_placeholder_is_left(tmp_path, cloud):
    write_html(tmp_path / "view.html", cloud, title="A cloud")
    assert not re.search(r"\{\{\w+\}\}", (tmp_path / "view.html").read_text())


@pytest.mark.parametrize(
    "title",
    ["</title><script>alert(1)</script>", "a & b < c \"d\" 'e'", "{{positions}}", r"\1 日本"],
)
def test_title_is_plain_text(tmp_path, cloud, title):
    page = page_of(tmp_path, cloud, title=title)
    assert page.texts["title"] == title
    assert page.texts["h1"] == title
    assert [tag for tag, _ in page.tags].count("script") == len(
        [tag for tag, _ in page_of(tmp_path, cloud).tags if tag == "script"]
    )


def test_a_title_of_bytes_that_are_no_text_is_shown_as_far_as_it_is(tmp_path, cloud):
    assert page_of(tmp_path, cloud, title="caf\udce9").texts["title"] == "caf?"


def test_other_colours_are_there_only_when_given(tmp_path, cloud):
    assert page_of(tmp_path, cloud).texts["others"] == ""
    others = page_of(tmp_path, cloud, other=1 - cloud.color).array("others", np.uint8)
    assert np.abs(others.reshape(-1, 3) / 255 - (1 - cloud.color.numpy())).max() <= 0.5 / 255 + 1e-6


@pytest.mark.parametrize("shape", [(499, 3), (500, 4), (500,)])
def test_other_colours_of_another_shape_are_an_error(tmp_path, cloud, shape):
    with pytest.raises(InputError, match=r"other has shape .* must be \(500, 3\)"):
        write_html(tmp_path / "view.html", cloud, title="", other=torch.zeros(shape))
    assert not list(tmp_path.iterdir())


def test_points_without_colour_are_shaded_by_height(tmp_path, cloud):
    page = page_of(tmp_path, PointCloud(cloud.coord))
    colors = page.array("colors", np.uint8).reshape(-1, 3).astype(int)
    order = cloud.coord[:, 2].argsort().numpy()
    assert (colors[order[:10], 2] > colors[order[:10], 0]).all()
    assert (colors[order[-10:], 0] > colors[order[-10:], 2]).all()


def test_large_clouds_are_thinned_and_the_page_says_so(tmp_path, cloud, monkeypatch):
    monkeypatch.setattr(drawable, "MOST_POINTS", 100)
    monkeypatch.setattr(html, "MOST_POINTS", 100)
    page = page_of(tmp_path, cloud, other=cloud.color)
    assert len(page.coord) == 100
    assert page.texts["p"].startswith("100 of 500 points, thinned evenly")
    assert np.abs(page.coord - cloud.coord[::5].numpy()).max() < 1e-4
    assert page.texts["others"] == page.texts["colors"]


def test_a_stray_costs_the_others_no_precision_and_the_page_says_so(tmp_path, cloud):
    coord = torch.cat([cloud.coord, cloud.coord[:1] + 1e5])
    page = page_of(tmp_path, PointCloud(coord))
    assert np.abs(page.coord - cloud.coord.numpy()).max() < 1e-4
    assert "500 of 501 points, without strays far away" in page.texts["p"]


def test_first_view_looks_at_the_scan(tmp_path, cloud):
    scene = page_of(tmp_path, cloud).scene
    assert (np.array(scene["target"]) > 0).all()
    assert (np.array(scene["target"]) < scene["span"]).all()
    assert 4 < scene["distance"] < 40
    assert 0.5 < scene["elevation"] < 1


def test_what_hides_a_room_is_marked_for_each_side(tmp_path):
    rng = np.random.default_rng(0)
    coord = rng.random((30_000, 3)) * [5, 4, 2.6]
    face = rng.integers(0, 6, len(coord))
    coord[np.arange(len(coord)), face // 2] = (face % 2) * np.array([5, 4, 2.6])[face // 2]
    page = page_of(tmp_path, PointCloud(torch.from_numpy(coord)))
    hiding = page.array("hiding", np.uint8)
    assert (hiding[face == 5] == 255).all()
    assert (hiding[face == 4] == 0).mean() > 0.99
    middle = (face == 1) & (np.abs(coord[:, 1] - 2) < 1) & (coord[:, 2] > 0.5) & (coord[:, 2] < 2)
    for bit, side in enumerate(page.scene["sides"]):
        seen_from_front = np.cos(side) > 0.5
        hidden = (hiding[middle] >> bit & 1).mean()
        assert hidden > 0.99 if seen_from_front else np.cos(side) > -0.5 or hidden == 0


def test_objects_hide_nothing(tmp_path, cloud):
    assert page_of(tmp_path, cloud).texts["hiding"] == ""


@pytest.mark.parametrize(
    "coord", [[[1.0, 2.0, 3.0]], [[5e6, 0.0, 0.0]] * 2, [[0.0, 0.0, 0.0], [0.0, 0.0, 9.0]]]
)
def test_degenerate_clouds_are_written(tmp_path, coord):
    page = page_of(tmp_path, PointCloud(torch.tensor(coord, dtype=torch.float64)))
    assert np.abs(page.coord - np.array(coord)).max() < 1e-3
    assert page.scene["gap"] > 0
    assert page.scene["distance"] > 0


def test_nothing_to_show_is_an_error(tmp_path):
    with pytest.raises(InputError, match="nothing to draw"):
        write_html(tmp_path / "view.html", PointCloud(torch.zeros(0, 3)), title="")
