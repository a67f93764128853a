"""The interactive page in a real browser: what a reader sees, with mouse, keyboard and preferences."""

import json

import numpy as np
import pytest
from support.browser import Browser, BrowserError, program

import tinygraph as tg
from tinygraph.picture import html
from tinygraph.picture.export import record

EVIL = "<img src=x onerror=alert(1)>"

# What is to be read on each wire: its values and its gradients, as far as they are visible.
ROWS = """Object.fromEntries([...document.querySelectorAll('#tg-stage .node')].map(g => {
  const read = role => [...g.querySelectorAll('text.tg-f-' + role)]
    .filter(t => getComputedStyle(t).visibility !== 'hidden')
    .map(t => t.textContent.replace(/\\u00a0/g, ' ').trim()).filter(Boolean).join('\\n');
  return [g.id, [read('fwd'), read('bwd')]];
}))"""
STATE = f"""({{
  rows: {ROWS},
  say: document.querySelector('#tg-say').textContent,
  count: document.querySelector('#tg-count').textContent,
  slider: +document.querySelector('#tg-slider').value,
  later: [...document.querySelectorAll('#tg-stage .later[id]')].map(g => g.id),
  now: [...document.querySelectorAll('#tg-stage .now[id]')].map(g => g.id),
  back: [...document.querySelectorAll('#tg-stage .edge')].filter(g =>
    [...g.querySelectorAll('.tg-s-bwdl')].some(l => getComputedStyle(l).visibility !== 'hidden')).map(g => g.id),
  wide: [...document.querySelectorAll('#tg-stage .node')].flatMap(g => {{
    const shapes = [...g.children].filter(c => c.tagName !== 'text' && !c.matches('.hit'));
    const room = Math.max(...shapes.map(c => c.getBBox().width));
    return [...g.querySelectorAll('text')].filter(t => t.getBBox().width > room + 1).map(t => t.textContent);
  }}),
}})"""
PLACES = "Object.fromEntries([...document.querySelectorAll('.node,.edge,.cluster')].map(g => [g.id, JSON.stringify(g.getBoundingClientRect())]))"
SHOWN = "[...document.querySelectorAll('.node,.edge,.cluster')].filter(g => g.getClientRects().length).map(g => g.id)"
PANEL = "document.querySelector('#tg-panel').innerText"
FOCUS = "(document.activeElement.closest('g[id]') ?? document.activeElement).id"


@pytest.fixture(scope="module")
def tab():
    """A tab of a browser that lives as long as this module's tests."""
    if program() is None:
        pytest.skip("needs Chromium")
    browser = Browser()
    try:
        yield browser.page()
    finally:
        browser.close()


both = pytest.mark.parametrize("painter", ["dot", "builtin"], indirect=True)


@pytest.fixture
def painter(request):
    """What paints the picture: the built-in painter, which is always there, unless a test asks for ``both``."""
    chosen = getattr(request, "param", "builtin")
    if chosen == "dot":
        request.getfixturevalue("dot")
    return chosen


@pytest.fixture
def load(tab, painter, tmp_path):
    """Opens the page of a picture. Whatever a test does: no complaint, and no request but for the page."""
    tab.resize(1400, 800)
    tab.prefer()
    file = tmp_path / "page.html"

    def load(y, fragment="", **options):
        picture = tg.draw(y, engine=painter, **options)
        file.write_text(picture.html(), encoding="utf-8")
        tab.open(file.as_uri() + fragment)
        return picture.view

    yield load
    assert tab.complaints == []
    assert set(tab.requests) <= {file.as_uri()}


@pytest.fixture
def bn_page(load, bn):
    return load(bn.y, names=bn.names, title="BatchNorm")


# -- stepping -------------------------------------------------------------------------------------


def expected_rows(view, k):
    """What each wire shows after ``k`` steps, by the View's own account."""
    made = {id: at for at, step in enumerate(view.steps, 1) if step.direction == "forward" for id in step.outputs}
    shown = {c.wire: c.shown for step in view.steps[:k] for c in step.contributions}
    return {
        wire.id: [wire.value if made.get(wire.id, 0) <= k else "", shown.get(wire.id, "")]
        for wire in view.wires
        if wire.role != "constant"
    }


@both
def test_every_step_shows_what_has_happened(tab, bn_page):
    view, steps = bn_page, bn_page.steps
    assert len(steps) == 19
    whole = tab.js(STATE)
    tab.key("Home")
    for k, step in enumerate(steps, 1):
        state = tab.js(STATE)
        rows = expected_rows(view, k)
        assert {id: state["rows"][id] for id in rows} == rows
        assert state["say"] == step.text
        assert state["count"] == f"{k} / 19 {'►' if step.direction == 'forward' else '◄'}"
        assert state["slider"] == k
        forward = {id for s in steps[:9] for id in (s.op, *s.outputs, *s.edges)}
        assert set(state["later"]) == forward - {id for s in steps[:k] for id in (s.op, *s.outputs, *s.edges)}
        assert set(state["now"]) == {step.op, *step.outputs, *step.edges} - {""}
        returned = {id for s in steps[:k] if s.direction == "backward" for id in s.edges}
        assert set(state["back"]) == returned
        assert state["wide"] == []
        tab.key("ArrowRight")
    assert tab.js(STATE) == whole
    assert whole["rows"] == {node.id: whole["rows"][node.id] for node in view.nodes}
    static = {wire.id: [wire.value, wire.gradient] for wire in view.wires if wire.role != "constant"}
    assert {id: whole["rows"][id] for id in static} == static
    assert whole["later"] == whole["now"] == []


def test_partial_sums_at_a_fan_out(tab, bn_page):
    seen = []
    tab.key("Home")
    for _ in range(19):
        seen.append(tab.js(STATE)["rows"]["v3"][1])
        tab.key("ArrowRight")
    assert [text.split(" ")[1] for text in dict.fromkeys(seen) if text] == ["1/2", "Σ"]


def test_walking_by_keys_buttons_and_slider(tab, bn_page):
    count = "document.querySelector('#tg-count').textContent"
    tab.key("Home")
    assert tab.js(count).startswith("1 /")
    tab.key("ArrowLeft")
    assert tab.js(count).startswith("1 /")
    tab.click(*tab.middle("#tg-next"))
    tab.click(*tab.middle("#tg-next"))
    tab.click(*tab.middle("#tg-back"))
    assert tab.js(count).startswith("2 /")
    tab.click(*tab.middle("#tg-slider"))
    assert tab.js(count)[:2] in ("10", "11")
    tab.key("End")
    assert tab.js(count) == ""
    tab.key("ArrowRight")
    tab.key("ArrowLeft")
    assert tab.js(count).startswith("19 /")


def test_a_step_leaves_no_flash_behind(tab, bn_page):
    bright = """Math.max(...[...document.querySelectorAll('.node:not(.now) > .hit')].map(hit => {
      const { fill, fillOpacity } = getComputedStyle(hit);
      return fillOpacity * (fill.startsWith('rgba') ? fill.slice(5, -1).split(',')[3] : 1);
    }))"""
    tab.key("Home")
    for _ in range(5):
        tab.key("ArrowRight")
        tab.js("new Promise(requestAnimationFrame)")
        assert tab.js(bright) <= 0.14


def test_space_plays_and_stops(tab, bn_page):
    playing = "document.querySelector('#tg-play').getAttribute('aria-pressed')"
    tab.js("document.activeElement.blur()")
    tab.key(" ")
    assert tab.js(playing) == "true"
    assert tab.js(STATE)["slider"] == 1
    tab.until("document.querySelector('#tg-slider').value === '2'")
    tab.key(" ")
    assert tab.js(playing) == "false"


@pytest.mark.parametrize(("fragment", "step"), [("#step=14", 14), ("#step=99", 20), ("#step=<b>", 20)])
def test_an_address_may_name_a_step(tab, load, bn, fragment, step):
    load(bn.y, fragment)
    assert tab.js(STATE)["slider"] == step


@both
def test_lanes_step_through_the_derived_backward(tab, load, bn):
    view = load(bn.y, mode="lanes", names=bn.names)
    whole = tab.js(STATE)
    tab.key("Home")
    state = tab.js(STATE)
    backward = {node.id for node in view.nodes if node.backward}
    assert backward <= set(state["later"])
    tab.key("ArrowRight", times=len(view.steps))
    assert tab.js(STATE) == whole
    tab.move(*tab.middle("#v3 .hit"))
    hot = tab.js("[...document.querySelectorAll('.node.hot')].map(g => g.id)")
    assert {"v3", *(wire.id for wire in view.wires if wire.of == "v3")} == set(hot)


def test_without_gradients_there_is_nothing_to_hide(tab, load):
    x = tg.tensor([1.0, 2.0], requires_grad=True, name="x")
    view = load(tg.exp(x))
    assert [step.direction for step in view.steps] == ["forward"]
    tab.key("Home")
    assert tab.js(STATE)["rows"]["v2"][0] == view.wires[1].value


def test_nothing_to_step_through(tab, load):
    load(tg.tensor([1.0, 2.0], name="alone"))
    assert tab.js("document.querySelector('#tg-steps').hidden")
    assert "0 ops · 1 tensor · 0 scopes" in tab.js(PANEL)


# -- details --------------------------------------------------------------------------------------


@both
def test_pointing_at_a_wire_fills_the_panel(tab, bn_page):
    assert "9 ops · 14 tensors · 5 scopes" in tab.js(PANEL)
    tab.move(*tab.middle("#v3 .hit"))
    text = tab.js(PANEL)
    node = next(node for node in record(bn_page)["nodes"] if node["id"] == "v3")
    steps = [c for step in bn_page.steps for c in step.contributions if c.wire == "v3"]
    for part in ("x−μ", "tensor", "(4, 3)", "float64", node["data"], node["cotangent"], *(c.text for c in steps)):
        assert part in text
    assert "÷ div" in text
    assert set(tab.js("[...document.querySelectorAll('.edge.hot')].map(g => g.id)")) == {"e2", "e3_0", "e7_0"}
    tab.move(5, 780)
    assert tab.js("document.querySelectorAll('.hot').length") == 0


@both
def test_pointing_at_an_op_or_a_line(tab, bn_page):
    tab.move(*tab.middle("#op7 .hit"))
    assert "∂(x−μ) = ∂x̂/σ" in tab.js(PANEL)
    point = """(() => { const p = document.querySelector('#e7_0 path');
        const { x, y } = p.getPointAtLength(p.getTotalLength() / 2).matrixTransform(p.getScreenCTM()); return [x, y + 2]; })()"""
    tab.move(*tab.js(point))
    contribution = next(c.text for s in bn_page.steps for c in s.contributions if c.edge == "e7_0")
    assert tab.js(PANEL).startswith("x−μ → ÷ div")
    assert contribution in tab.js(PANEL)


def test_a_line_tells_its_contribution_when_it_has_come(tab, bn_page):
    contribution = next(c.text for s in bn_page.steps for c in s.contributions if c.edge == "e7_0")
    point = """(() => { const p = document.querySelector('#e7_0 path');
        const { x, y } = p.getPointAtLength(p.getTotalLength() / 2).matrixTransform(p.getScreenCTM()); return [x, y + 2]; })()"""
    tab.move(*tab.js(point))
    assert contribution in tab.js(PANEL)
    tab.key("Home")
    assert contribution not in tab.js(PANEL)
    assert "not yet" in tab.js(PANEL)
    tab.key("ArrowRight", times=12)
    assert contribution in tab.js(PANEL)


def test_a_click_keeps_the_details(tab, bn_page):
    tab.click(*tab.middle("#v3 .hit"))
    tab.move(5, 780)
    assert tab.js(PANEL).startswith("x−μ")
    tab.click(
        *tab.js(
            "(() => { const b = [...document.querySelectorAll('#tg-panel button')].find(b => b.textContent === '÷ div').getBoundingClientRect(); return [b.x + 5, b.y + 5]; })()"
        )
    )
    assert tab.js(PANEL).startswith("÷")
    tab.key("Escape")
    assert tab.js(PANEL).startswith("BatchNorm")
    tab.key("Escape")
    assert tab.js("document.querySelector('#tg-panel').hidden")
    tab.click(*tab.middle("#tg-details"))
    assert not tab.js("document.querySelector('#tg-panel').hidden")


def test_the_panel_knows_no_more_than_the_step(tab, bn_page):
    tab.key("Home")
    tab.move(*tab.middle("#v3 .hit"))
    assert tab.js(PANEL).count("not yet") == 4  # value, gradient, and both contributions
    tab.key("ArrowRight", times=12)
    assert "∂ 1/2" in tab.js(PANEL)


# -- folding --------------------------------------------------------------------------------------


@both
def test_folding_covers_a_scope_and_moves_nothing(tab, bn_page):
    before, shown = tab.js(PLACES), tab.js(SHOWN)
    box = tab.box("#scope_4 .handle")
    tab.click(box["x"] + 30, box["y"] + 6)
    index = next(i for i, b in enumerate(bn_page.boxes) if b.name == "normalise")
    inside = {node.id for node in bn_page.nodes if node.box == index}
    inner = {edge.id for edge in bn_page.edges if {edge.tail, edge.head} <= inside}
    assert set(shown) - set(tab.js(SHOWN)) == inside | inner | {"scope_4"}
    after = tab.js(PLACES)
    assert all(after[id] == before[id] for id in tab.js(SHOWN))
    card = tab.js("document.querySelector('.card:not(.away)').textContent")
    assert card == "4 · normalise6 nodes, click to unfold"
    tab.click(*tab.middle(".card:not(.away)"))
    assert tab.js(SHOWN) == shown
    assert tab.js(PLACES) == before


def test_folding_by_keyboard(tab, bn_page):
    shown = tab.js(SHOWN)
    tab.js("document.querySelector('#scope_4 .handle').focus()")
    tab.key("Enter")
    assert tab.js("document.activeElement.matches('.card[aria-expanded=false]')")
    hidden = set(shown) - set(tab.js(SHOWN))
    reached = set()
    for _ in range(60):
        tab.key("Tab")
        reached.add(tab.js(FOCUS))
    assert not reached & hidden
    assert "v3" in reached
    tab.js("document.querySelector('.card:not(.away)').focus()")
    tab.key(" ")
    assert tab.js(SHOWN) == shown
    assert tab.js("document.activeElement.matches('#scope_4 .handle')")


def test_scopes_within_scopes_fold(tab, load):
    x = tg.tensor([1.0, 2.0], requires_grad=True, name="x")
    with tg.scope("outer"):
        a = tg.exp(x)
        with tg.scope("inner"):
            b = tg.log(a)
    load(tg.sum(b))
    shown = tab.js(SHOWN)
    fold = "document.querySelector('#scope_{} .handle').dispatchEvent(new MouseEvent('click', {{ bubbles: true }}))"
    cards = "[...document.querySelectorAll('.card')].filter(g => g.getClientRects().length).map(g => g.querySelector('text').textContent)"
    tab.js(fold.format(2))
    assert tab.js(cards) == ["inner"]
    tab.js(fold.format(1))
    assert tab.js(cards) == ["1 · outer"]
    assert set(tab.js(SHOWN)) & {"scope_1", "scope_2"} == set()
    for card in tab.js(
        "[...document.querySelectorAll('.card:not(.away)')].map(g => [...g.children].map(c => c.getBBox().width))"
    ):
        assert max(card) == card[0]  # the texts fit into the rectangle
    tab.click(*tab.middle(".card:not(.away)"))
    assert tab.js(cards) == ["inner"]
    tab.click(*tab.middle(".card:not(.away)"))
    assert tab.js(SHOWN) == shown


# -- pan and zoom ---------------------------------------------------------------------------------


def test_dragging_pans(tab, bn_page):
    tab.click(*tab.middle("#v3 .hit"))
    before, (x, y) = tab.box("#v1"), tab.middle("#op3")
    tab.drag((x, y), (x - 70, y + 40))
    after = tab.box("#v1")
    assert (after["x"] - before["x"], after["y"] - before["y"]) == pytest.approx((-70, 40), abs=1)
    assert tab.js("document.querySelector('.picked').id") == "v3"  # a drag is no click


def test_a_drag_ends_where_the_button_is_let_go(tab, bn_page):
    stage = tab.box("#tg-stage")
    x, y = stage["x"] + 300, stage["y"] + 3
    tab.move(x, y)
    tab.mouse("mousePressed", x, y, button="left", clickCount=1)
    tab.mouse("mouseMoved", x, y - 20, button="left", buttons=1)  # out of the stage at once
    tab.mouse("mouseReleased", x, y - 20, button="left", clickCount=1)
    before = tab.box("#v1")
    tab.move(x, y + 100)
    tab.move(x, y + 200)
    assert tab.box("#v1") == before


def test_zooming_keeps_the_point_under_the_pointer(tab, bn_page):
    fitted, x, width = tab.box("#v10"), tab.middle("#v10"), tab.box("#v10")["width"]
    tab.wheel(*x, -400)
    tab.until(f"document.querySelector('#v10').getBoundingClientRect().width > {width * 1.3}")
    assert tab.middle("#v10") == pytest.approx(x, abs=1.5)
    tab.key("0")
    assert tab.box("#v10") == fitted
    tab.key("+")
    assert tab.box("#v10")["width"] == pytest.approx(width * 1.25, rel=0.01)
    tab.key("-")
    tab.click(*tab.middle("#tg-out"))
    assert tab.box("#v10")["width"] == pytest.approx(width * 0.8, rel=0.01)
    tab.click(*tab.middle("#tg-fit"))
    assert tab.box("#v10") == fitted


def test_two_fingers_zoom(tab, bn_page):
    width, (x, y) = tab.box("#v10")["width"], tab.middle("#tg-stage")
    touch = lambda kind, *points: tab.send(
        "Input.dispatchTouchEvent",
        type=kind,
        touchPoints=[{"x": x + dx, "y": y, "id": i} for i, dx in enumerate(points)],
    )
    touch("touchStart", -50, 50)
    touch("touchMove", -50, 75)
    touch("touchMove", -50, 100)
    touch("touchEnd")
    assert tab.box("#v10")["width"] == pytest.approx(width * 1.5, rel=0.02)


@both
def test_at_first_all_is_in_view(tab, bn_page):
    stage, graph = tab.box("#tg-stage"), tab.box("#tg-stage .graph")
    assert graph["x"] >= stage["x"]
    assert graph["x"] + graph["width"] <= stage["x"] + stage["width"]
    assert graph["y"] >= stage["y"]
    assert graph["y"] + graph["height"] <= stage["y"] + stage["height"]
    outside = """(() => { const all = document.querySelector('#tg-stage svg').getBoundingClientRect();
        return [...document.querySelectorAll('#tg-stage text')].filter(t => t.getClientRects().length).filter(t => { const b = t.getBoundingClientRect();
          return b.left < all.left - 1 || b.right > all.right + 1 || b.top < all.top - 1 || b.bottom > all.bottom + 1; })
        .map(t => t.textContent); })()"""
    assert tab.js(outside) == []


def test_keys_alone_reach_everything(tab, bn_page):
    tab.key("+", times=12)
    stage = tab.box("#tg-stage")
    seen = []
    for _ in range(50):
        tab.key("Tab")
        id = tab.js(FOCUS)
        assert not tab.js("document.activeElement.matches('svg')")  # a stop where there is nothing
        if id.startswith(("v", "op")):
            box, seen = tab.box(f"#{id} .hit"), [*seen, id]
            assert tab.js(PANEL).strip()
            assert stage["x"] <= box["x"] + box["width"] / 2 <= stage["x"] + stage["width"]
            assert tab.js("document.activeElement.getAttribute('aria-label').length > 0")
    assert set(seen) == {node.id for node in bn_page.nodes}
    tab.js("document.querySelector('#v3').focus()")
    tab.key("Enter")
    assert tab.js("document.querySelector('.picked').id") == "v3"
    before = tab.box("#v3")
    tab.key("ArrowRight", shift=True)
    tab.key("ArrowDown")
    after = tab.box("#v3")
    assert (after["x"] - before["x"], after["y"] - before["y"]) == pytest.approx((-60, -60), abs=1)


# -- looks ----------------------------------------------------------------------------------------

# Every text with its colour and the fills that it may stand on.
COLOURS = """(() => {
  const fill = e => getComputedStyle(e).fill, css = getComputedStyle(document.documentElement);
  const page = ['--bg', '--clus'].map(name => css.getPropertyValue(name).trim());
  const seen = [...document.querySelectorAll('#tg-stage .graph text')].filter(t => !['', '►', '◄'].includes(t.textContent.trim())).map(t => {
    const shapes = [...(t.closest('.node,.card')?.children ?? [])].filter(c => !c.matches('text,.hit'))
      .filter(c => fill(c) !== 'none' && c.getBBox().height > 4).map(fill);
    return [t.textContent, fill(t), shapes.length ? shapes : page];
  });
  for (const e of document.querySelectorAll('header *, footer *, aside *'))
    if (e.firstChild?.nodeType === 3) seen.push([e.textContent, getComputedStyle(e).color, page]);
  return seen;
})()"""


def luminance(color):
    parts = [int(color[i : i + 2], 16) for i in (1, 3, 5)] if color[0] == "#" else color[4:-1].split(", ")
    linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in (int(p) / 255 for p in parts)]
    return float(np.dot(linear, (0.2126, 0.7152, 0.0722)))


def contrast(a, b):
    low, high = sorted((luminance(a), luminance(b)))
    return (high + 0.05) / (low + 0.05)


@both
def test_every_text_stands_out_in_both_themes(tab, bn_page):
    tab.js("document.querySelector('#scope_3 .handle').dispatchEvent(new MouseEvent('click', { bubbles: true }))")
    tab.move(*tab.middle("#v3 .hit"))
    looks = []
    for _ in range(2):
        found = tab.js(COLOURS)
        assert len(found) > 60
        for text, color, fills in found:
            assert all(contrast(color, fill) >= 4.5 for fill in fills), (text, color, fills)
        looks.append({text: color for text, color, _ in found})
        tab.click(*tab.middle("#tg-theme"))
        tab.move(*tab.middle("#v3 .hit"))
    assert looks[0]["μ"] != looks[1]["μ"]
    assert {text: color for text, color, _ in tab.js(COLOURS)} == looks[0]


@both
@pytest.mark.parametrize("painted", ["light", "dark"])
def test_both_themes_look_the_same_however_painted(tab, load, bn, painted):
    load(bn.y, theme=painted)
    wanted = {"light": "rgb(255, 255, 255)", "dark": "rgb(18, 22, 28)"}
    body = "getComputedStyle(document.body).backgroundColor"
    assert tab.js(body) == wanted.pop(painted)
    tab.click(*tab.middle("#tg-theme"))
    assert [tab.js(body)] == list(wanted.values())


def test_the_theme_auto_follows_the_reader(tab, load, bn):
    load(bn.y, theme="auto")
    ink = "getComputedStyle(document.querySelector('#v1 text')).fill"
    light = tab.js(ink)
    tab.prefer(color_scheme="dark")
    assert tab.js(ink) != light
    tab.click(*tab.middle("#tg-theme"))
    assert tab.js(ink) == light


def test_reduced_motion(tab, bn_page):
    duration = "getComputedStyle(document.querySelector('.node')).transitionDuration"
    assert tab.js(duration) == "0.2s"
    tab.prefer(reduced_motion="reduce")
    assert tab.js(duration) == "0s"


def test_paper_is_light_and_without_bars(tab, load, bn):
    load(bn.y, theme="dark")
    tab.send("Emulation.setEmulatedMedia", media="print")
    try:
        assert tab.js("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
        assert (
            tab.js("['header', 'footer', 'aside'].map(e => getComputedStyle(document.querySelector(e)).display)")
            == ["none"] * 3
        )
        width = tab.js("document.querySelector('#tg-stage svg').getBoundingClientRect().width")
        assert width == tab.js("document.querySelector('#tg-stage').clientWidth")
    finally:
        tab.send("Emulation.setEmulatedMedia", media="")


def test_a_narrow_window(tab, load, bn):
    tab.resize(400, 700)
    load(bn.y)
    assert tab.js("document.querySelector('#tg-panel').hidden")
    tab.click(*tab.middle("#v3 .hit"))
    panel, stage = tab.box("#tg-panel"), tab.box("#tg-stage")
    assert panel["width"] == 400
    assert panel["y"] >= stage["y"] + stage["height"]
    assert tab.js("document.documentElement.scrollWidth") == 400


def test_a_big_graph(tab, load):
    x = tg.tensor([1.0, 2.0], requires_grad=True, name="x")
    y = x
    for _ in range(150):
        y = tg.tanh(y)
    y.backward(np.ones(2))
    load(y, max_nodes=None)
    assert tab.js("document.querySelectorAll('.node').length") == 301
    before = tab.box("#tg-stage svg")
    tab.drag((300, 300), (260, 280))
    assert tab.box("#tg-stage svg")["x"] == pytest.approx(before["x"] - 40, abs=1)
    tab.key("Home")
    tab.key("ArrowRight")
    assert tab.js("document.querySelector('#tg-count').textContent") == "2 / 301 ►"


# -- safety ---------------------------------------------------------------------------------------


@both
def test_hostile_names_stay_text_everywhere(tab, load):
    x = tg.tensor([1.0, 2.0], requires_grad=True, name=EVIL)
    with tg.scope(EVIL):
        y = tg.exp(x)
    y.name = EVIL
    y.backward(np.ones(2))
    load(y, title=EVIL)
    assert tab.js("document.title") == EVIL
    tab.move(*tab.middle("#v1 .hit"))
    assert tab.js(PANEL).startswith(EVIL)
    tab.key("Home")
    tab.js("document.querySelector('#scope_1 .handle').dispatchEvent(new MouseEvent('click', { bubbles: true }))")
    assert EVIL in tab.js("document.querySelector('.card:not(.away)').textContent")
    assert tab.js("document.querySelectorAll('img, [onerror]').length") == 0
    assert tab.js("document.querySelector('#v1').getAttribute('aria-label')").startswith(EVIL)
    assert tab.events("Page.javascriptDialogOpening") == []


def test_the_policy_holds(tab, bn, tmp_path):
    file = tmp_path / "page.html"
    file.write_text(tg.draw(bn.y, engine="builtin").html(), encoding="utf-8")
    tab.open(file.as_uri())
    blocked = tab.js("""new Promise(done => {
      const blocked = [];
      document.addEventListener('securitypolicyviolation', e => blocked.push(e.effectiveDirective));
      document.body.insertAdjacentHTML('beforeend', `<img src="data:," onerror="window.bad=1"><p onclick="window.bad=2" id="p">`);
      document.querySelector('#p').click();
      new Image().src = 'https://example.invalid/x.png';
      fetch('https://example.invalid/').catch(() => {});
      setTimeout(() => done(blocked), 200);
    })""")
    assert set(blocked) == {"script-src-attr", "img-src", "connect-src"}
    assert tab.js("window.bad") is None


def test_a_sandboxed_frame(tab, load, bn, painter, tmp_path):
    outer = tmp_path / "outer.html"
    page = tg.draw(bn.y, engine=painter).html()
    outer.write_text(f"<!DOCTYPE html><meta charset=utf-8>{html.frame(page, 600)}", encoding="utf-8")
    tab.open(outer.as_uri())
    inner = tab.frame()
    assert inner("origin") == "null"
    frame = tab.box("iframe")
    assert frame["height"] == 600
    x, y = inner(
        "(() => { const b = document.querySelector('#tg-back').getBoundingClientRect(); return [b.x + 9, b.y + 9]; })()"
    )
    tab.click(frame["x"] + x, frame["y"] + y)
    assert inner("document.querySelector('#tg-count').textContent").startswith("19 /")
    tab.key("Home")
    assert inner("document.querySelector('#tg-count').textContent").startswith("1 /")
    assert tab.complaints == []
    tab.browser.events.clear()


# -- the client itself ----------------------------------------------------------------------------


def test_the_client_notices(tab, tmp_path):
    """The tests above are worth something only if errors and requests are seen."""
    file = tmp_path / "bad.html"
    file.write_text("<script>console.error('oh'); setTimeout(() => nothing.there)</script><img src=gone.png>")
    tab.open(file.as_uri())
    tab.js("new Promise(done => setTimeout(done, 50))")
    assert any("oh" in text for text in tab.complaints)
    assert any("nothing is not defined" in text for text in tab.complaints)
    assert any("gone.png" in url for url in tab.requests)
    with pytest.raises(BrowserError, match="silent"):
        tab.browser.wait(lambda: None, "nothing", limit=0.05)
    with pytest.raises(BrowserError, match="never"):
        tab.until("false", limit=0.05)
    with pytest.raises(BrowserError, match="boom"):
        tab.js("(() => { throw new Error('boom') })()")
    assert json.loads(tab.js("JSON.stringify({ a: [1] })")) == {"a": [1]}
