"""Notebooks that anybody wrote: hostile ones run nothing, damaged ones are refused or shown."""

import base64
import copy
import io
import json
import random
import re

import pytest
import torch
from PIL import Image
from test_trace import Toy

from sepviz import cli, metrics
from sepviz.core import Mixing, Problem, SepvizError, Truth
from sepviz.runs.trace import record
from sepviz.views import cleaning, export, saved
from sepviz.views.assets import bundle
from sepviz.widgets import Guess, Player

EVIL = "window.pwned = 1"
CODE = f"export default {{ render({{ el }}) {{ {EVIL}; el.textContent = 'foreign code ran'; }} }}"


def png():
    file = io.BytesIO()
    Image.new("RGB", (8, 8), (200, 30, 30)).save(file, format="PNG")
    return base64.b64encode(file.getvalue()).decode()


def player():
    images = torch.rand(1, 2, 1, 6, 6, generator=torch.Generator().manual_seed(0))
    problem = Problem(images.sum(1), Mixing.sum(2))
    made = Player(record(Toy(count=4), problem, progress=False), Truth(images))
    made.truth = Truth(images)
    return made


def markdown(text, **more):
    return {"cell_type": "markdown", "metadata": {}, "source": text, **more}


def code(*outputs, source="1"):
    return {"cell_type": "code", "metadata": {}, "source": source, "execution_count": 1,
            "outputs": list(outputs)}


def shows(data, metadata=None):
    return {"output_type": "display_data", "metadata": metadata or {}, "data": data}


def shows_widget(name):
    model = {"model_id": name, "version_major": 2, "version_minor": 0}
    return shows({saved.SHOWN: model, "text/plain": "widget"})


def notebook(cells, widgets=None):
    state = {saved.STATE: {"version_major": 2, "version_minor": 0, "state": widgets}}
    metadata = {"widgets": state} if widgets else {}
    return {"nbformat": 4, "nbformat_minor": 4, "metadata": metadata, "cells": cells}


def state_of(*widgets):
    return {f"m{i}": json.loads(json.dumps(widget._get_embed_state()))
            for i, widget in enumerate(widgets)}


def page_of(made, folder, name="other.ipynb", **options):
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(json.dumps(made))
    return export.gallery([path], folder / "out", **options)[1]


# --- hostile ------------------------------------------------------------------------------------

ID = 'x"><img src=x onerror="window.pwned=1">'
VECTORS = [
    f"<script>{EVIL}</script>",
    f'<img src=x onerror="{EVIL}">',
    f"<svg onload='{EVIL}'><script>{EVIL}</script></svg>",
    f"[a link](javascript:{EVIL})",
    f'<a href=" jAvascript:{EVIL}">b</a>',
    f'<a href="data:text/html,<script>{EVIL}</script>">c</a>',
    f'<iframe srcdoc="<script>parent.{EVIL}</script>"></iframe>',
    f'<details open ontoggle="{EVIL}">d</details>',
    f'<form action="javascript:{EVIL}"><button autofocus onfocus="{EVIL}">e</button></form>',
    '<base href="https://evil.example/">',
    "<math><mtext><table><mglyph><style><!--</style>"
    f'<img title="--&gt;&lt;img src=1 onerror={EVIL}&gt;">',
    '<style>@import "x"; *{ display: none }</style>'
    f'<p style="position:fixed;inset:0;color:red" onclick="{EVIL}">f</p>',
    '<img name="querySelectorAll" src="data:image/png;base64,' + png() + '">',
    '<div class="export-widget" data-model="0">g</div>',
    '<script type="application/json" data-state="0">{}</script>',
    f'<meta http-equiv="refresh" content="0;url=javascript:{EVIL}">',
    f"$\\href{{javascript:{EVIL}}}{{h}}$ $\\text{{<img src=x onerror={EVIL}>}}$ $a<b$ "
    "$\\style{position:fixed}{i}$",
    f"$$\\text{{<script>{EVIL}</script>}} \\frac{{1}}{{2}}$$",
    f"\\begin{{x}}<img src=x onerror={EVIL}>\\end{{x}}",
    f'![alt" onerror="{EVIL}](attachment:{ID})',
    f"```html\n<script>{EVIL}</script>\n```",
    "<noscript><p title='</noscript><script>1</script>'>",
]


def hostile():
    svg = ('<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9" '
           f'onload="{EVIL}"><script>{EVIL}</script></svg>')
    outputs = [
        *[shows({"text/html": text}) for text in VECTORS],
        shows({"text/markdown": "\n\n".join(VECTORS)}),
        shows({"image/svg+xml": svg}),
        shows({"application/javascript": EVIL, "text/plain": "was a script"}),
        shows({"text/latex": f"$<script>{EVIL}</script>$"}),
        shows(
            {"image/png": png()},
            {"image/png": {"width": f"1 onload={EVIL}", "alt": f'" onload="{EVIL}'}},
        ),
        shows({"image/png": f'x" onerror="{EVIL}'}),
        shows({"text/html": f"<script>{EVIL}</script>"}, {"text/html": {"isolated": True}}),
        {
            "output_type": "stream",
            "name": "stdout",
            "text": f"\x1b[31m<script>{EVIL}</script>\x1b[0m",
        },
        {
            "output_type": "error",
            "ename": "E",
            "evalue": "v",
            "traceback": [f'<img src=x onerror={EVIL}>\x1b[38;5;1" onclick={EVIL}m'],
        },
        shows_widget("foreign"),
        shows_widget(ID),
        shows_widget("forged"),
        shows_widget("image"),
        shows_widget("html"),
    ]
    foreign = {
        "model_name": "AnyModel",
        "state": {"_esm": CODE, "_css": "</style><script>1</script>", "_anywidget_id": "x"},
    }
    forged = state_of(player())["m0"]
    forged["state"]["_esm"] = CODE  # the name of a widget of ours over other code
    own = copy.deepcopy(forged)
    own["state"]["static"]["method"] = f"</script><script>{EVIL}</script>"
    widgets = {
        "foreign": foreign,
        "forged": forged,
        ID: own,
        "html": {"model_name": "HTMLModel", "state": {"value": f"<script>{EVIL}</script>"}},
        "image": {
            "model_name": "ImageModel",
            "state": {"format": f'png" onerror="{EVIL}'},
            "buffers": [{"path": ["value"], "encoding": "base64", "data": png()}],
        },
    }
    cells = [
        markdown(
            f"# <script>{EVIL}</script> Title\n\nA first <img src=x onerror={EVIL}> sentence."
        ),
        *map(markdown, VECTORS),
        markdown("## Harmless\n\nStill **here**: $x_1 + x_2$ and [a page](https://example.org/)."),
        code(*outputs, source=f"'<script>{EVIL}</script>'"),
        {
            "cell_type": "raw",
            "metadata": {"raw_mimetype": "text/html"},
            "source": f"<script>{EVIL}</script>",
        },
    ]
    made = notebook(cells, widgets)
    made["metadata"]["language_info"] = {
        "name": "python",
        "pygments_lexer": f"<script>{EVIL}</script>",
    }
    return made


def test_a_hostile_notebook_runs_nothing(browser, tmp_path):
    name = """a #1 ?x=100% "q" '<b onclick=1>.ipynb"""
    page_of(hostile(), tmp_path, name)
    context = browser.new_context(viewport={"width": 900, "height": 900})
    context.set_default_timeout(60_000)
    page = context.new_page()
    faults, requests, dialogs = [], [], []
    page.on("console", lambda told: faults.append(told.text) if told.type == "error" else None)
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("request", lambda request: requests.append(request.url))
    page.on("dialog", lambda dialog: (dialogs.append(dialog.message), dialog.dismiss()))
    page.goto((tmp_path / "out" / "index.html").as_uri())
    page.locator(".gallery a").click()  # the link leads to the page, whatever the file is called
    page.locator(".sepviz[data-frames='5']").nth(1).wait_for()
    page.evaluate("""for (const link of document.querySelectorAll("main a")) {
      if (link.protocol !== "https:") link.click();
    }""")
    assert page.evaluate("window.pwned") is None and not dialogs and not faults
    assert len(requests) == 2 and all(request.startswith("file:") for request in requests)
    attributes = page.evaluate("""[...document.querySelectorAll("main *")].flatMap(
      (node) => [...node.attributes].map((one) => one.name))""")
    unwanted = {"srcdoc", "action", "formaction", "srcset", "name"}
    assert not [one for one in attributes if one.startswith("on") or one in unwanted]
    assert page.locator("main :is(script, style, iframe, form, base, meta, object)").count() == 0
    schemes = page.evaluate("""[...document.querySelectorAll("[href]")].map(
      (node) => node.protocol ?? node.getAttribute("href"))""")
    assert set(schemes) <= {"https:", "file:"}
    text = page.locator("main").inner_text()
    there = ("Still here", "was a script", "A widget with code of its own", "<script>")
    assert [words for words in there if words not in text] == [] and "foreign code" not in text
    assert page.locator("main p:has-text('Still here') math msub").count() == 2
    assert page.locator("mfrac").count() >= 1
    words = page.locator("mtext").first.text_content()
    assert words.startswith("<img")  # words of a formula stay words
    assert page.evaluate(
        "[...document.images].every((image) => image.naturalWidth > 0 && image.hasAttribute('alt'))"
    )
    assert "A picture that is not in the notebook" in text
    context.close()


def test_a_tag_left_open_swallows_nothing(tmp_path):
    """What a cell or an output leaves open ends with it, as it does in JupyterLab."""
    pieces = ["<plaintext>", "<!-- ", "<script>", "<style>", "<textarea>", "<svg><g>",
              "<xmp>", "<table><tr><td>", "<title>", "<a href='"]
    cells = []
    for i, piece in enumerate(pieces):
        cells += [markdown(f"{piece}\n"), markdown(f"note {i} follows"),
                  code(shows({"text/html": piece}), shows({"text/plain": f"output {i} follows"})),
                  code(shows({"text/markdown": piece}), shows({"text/plain": f"cell {i} follows"}))]
    text = page_of(notebook(cells), tmp_path).read_text()
    lost = [f"{what} {i}" for i in range(len(pieces)) for what in ("note", "output", "cell")
            if not re.search(f"{what} {i} follows\n?<", text)]
    assert not lost and "&lt;div" not in text


@pytest.mark.parametrize("address", [
    "da&#9;ta:text/html,x", "data&#10;:text/html,x", "&#1;data:text/html,x", " DATA:text/html,x",
    "java&#9;script:x"])
def test_no_link_leads_to_data(address):
    assert "href" not in cleaning.clean(f'<a href="{address}">x</a>', [])


@pytest.mark.parametrize("data", [
    "A", "\u00e9", base64.b64encode(b'<?xml version="1.0" encoding="none"?><svg/>').decode(),
    base64.b64encode(b'<?xml version="1.0" encoding="utf-7"?><svg/>').decode()])
def test_a_damaged_drawing_is_named_without_a_traceback(data, capfd):
    missing = []
    found = cleaning.clean(f'<img src="data:image/svg+xml;base64,{data}">', missing)
    assert found.startswith("<span") and len(missing) == 1 and capfd.readouterr().err == ""


def test_a_drawing_in_a_drawing_is_one_picture():
    inner = '<svg x="3"><rect width="5" height="5"/></svg><svg/>'
    drawing = f'<svg xmlns="http://www.w3.org/2000/svg" width="20">{inner}<rect width="9"/></svg>'
    missing = []
    found = cleaning.clean(f"</svg>a{drawing}b{drawing}c<SVG>", missing)
    data = base64.b64encode(drawing.encode()).decode()
    picture = f'<img alt="A drawing" src="data:image/svg+xml;base64,{data}">'
    assert found == f"a{picture}b{picture}c" and not missing


def test_what_is_wide_scrolls_by_itself(browser, tmp_path):
    """On a phone the page is never wider than the screen."""
    across = 20
    table = "|".join(["column"] * across) + "\n" + "|".join(["-"] * across)
    made = notebook([markdown(table), markdown("w" * 300 + " `" + "c" * 300 + "`"),
                     markdown("$$" + "+x" * 200 + "$$"),
                     code(shows({"text/html": "<table><tr>" + across * "<td>column</td>"}))])
    page = browser.new_page(viewport={"width": 390, "height": 844})
    page.goto(page_of(made, tmp_path).as_uri())
    assert page.locator("table").count() == 2
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    page.close()


def test_the_policy_stops_what_is_not_ours(browser, tmp_path):
    """Were anything to come through the cleaning, the page's policy would not run it."""
    path = page_of(
        notebook([markdown("# T"), code(shows_widget("m0"))], state_of(player())), tmp_path
    )
    text = path.read_text().replace(
        "<main>", f'<main><script>{EVIL}</script><img src="data:," onerror="{EVIL}">', 1
    )
    path.write_text(text)
    page = browser.new_page()
    page.goto(path.as_uri())
    page.locator(".sepviz[data-frames='5']").wait_for()  # our own code runs
    assert page.evaluate("window.pwned") is None
    page.close()


def test_trusted_code_runs(browser, tmp_path):
    widgets = {
        "foreign": {
            "model_name": "AnyModel",
            "state": {"_esm": CODE, "_css": "", "_anywidget_id": "x"},
        }
    }
    page = browser.new_page()
    page.goto(
        page_of(notebook([code(shows_widget("foreign"))], widgets), tmp_path, trust=True).as_uri()
    )
    page.get_by_text("foreign code ran").wait_for()
    assert page.evaluate("window.pwned") == 1
    page.close()


def test_a_saved_widget_gets_the_code_of_this_version(tmp_path):
    widgets = state_of(player())
    widgets["m0"]["state"]["_esm"] = CODE
    text = page_of(notebook([code(shows_widget("m0"))], widgets), tmp_path).read_text()
    assert EVIL not in text and "class View extends" in text


# --- guesses ------------------------------------------------------------------------------------


def asked():
    """Every kind of question with guesses of many sizes, and what Python says of each."""
    gain = Guess.number("How many dB?", unit="dB", low=0, high=40)
    best = Guess.choice("Which is best?", ["average", "half swap", "basis"])
    course = Guess.curve(
        "How does it go?", x="sigma", y="PSNR", at=[0.1, 0.2, 0.5, 1, 2], low=0, high=40, log_x=True
    )
    why = {"average": "a hedge", "half swap": "sharp and wrong"}
    return [
        (gain, 15.04, "", [14, 30, 15.04, -5, 0.00012, 1.5e-5, 15432.1, 812.6, 999.7, -999.6]),
        (best, "average", why, ["half swap", "average", "basis"]),
        (
            course,
            ([0.15, 0.5, 1.5], [30.0, 25.5, 11.0]),
            "",
            [[30, 30, 30, 30, 10], [29.5, 28, 25, 20, 0.004]],
        ),
    ]


def test_a_guess_in_a_page_is_answered_there(browser, tmp_path):
    """By the page alone, in the words that Python would use."""
    questions = asked()
    widgets = state_of(
        *[guess for guess, *_ in questions],
        *[guess.reveal(answer, why) for guess, answer, why, _ in questions],
    )
    path = page_of(notebook([code(*[shows_widget(f"m{i}") for i in range(6)])], widgets), tmp_path)
    page = browser.new_page()
    page.set_default_timeout(60_000)
    page.goto(path.as_uri())
    page.locator("details").nth(2).wait_for(state="attached")
    assert (
        "run this cell again" not in page.locator("main").text_content()
        and page.locator("details[open]").count() == 0
    )
    page.get_by_label("your guess (dB)", exact=True).fill("14")
    page.locator("details[open]").wait_for()
    says = page.locator("details[open] .sepviz-verdict")
    says.get_by_text("close, 1.04 dB too low").wait_for()
    assert says.locator("p").all_text_contents() == [
        "The answer is 15 dB.",
        "Your guess 14 dB: close, 1.04 dB too low.",
    ]
    page.get_by_label("half swap").check()
    page.get_by_text("Your guess was half swap.").wait_for()
    assert page.locator("details").nth(1).locator("p").all_text_contents()[-2:] == [
        "half swap: sharp and wrong",
        "average: a hedge",
    ]
    verdicts = bundle("verdicts.js")
    for guess, answer, why, values in questions:
        for value in values:
            guess.guess = value
            revealed = guess.reveal(answer, why)
            script = f"(spec) => {{ {verdicts}\nreturn verdictOf(spec); }}"
            assert page.evaluate(script, revealed.spec) == revealed.spec["verdict"]
    page.close()


def test_two_questions_of_the_same_words_are_two(browser, tmp_path):
    """And a widget whose saved state is damaged stops no other."""
    first = Guess.number("How many?", low=0, high=9)
    second = Guess.choice("How many?", ["few", "many"])
    widgets = state_of(first, second, first.reveal(3), second.reveal("many"), player())
    widgets["m4"]["state"]["item"] = {"base64": "!"}
    cell = code(*[shows_widget(f"m{i}") for i in (4, 0, 1, 2, 3)])
    path = page_of(notebook([cell], widgets), tmp_path)
    page = browser.new_page()
    page.set_default_timeout(60_000)
    page.goto(path.as_uri())
    page.get_by_label("many", exact=True).check()
    page.locator("details[open]").get_by_text("Your guess many is right.").wait_for()
    assert page.locator("details[open]").count() == 1
    page.get_by_text("What was saved of this widget is damaged").wait_for()
    page.close()


# --- damaged ------------------------------------------------------------------------------------


def small():
    """A small notebook with a bit of everything."""
    cells = [
        markdown(
            "# Small\n\nText $x^2$ ![a](attachment:a.png).",
            attachments={"a.png": {"image/png": png()}},
        ),
        code(
            {"output_type": "stream", "name": "stdout", "text": "hello\n"},
            shows({"image/png": png(), "text/plain": "F"}, {"image/png": {"alt": "A"}}),
        ),
        code(shows_widget("m0"), shows_widget("m1"), shows_widget("box")),
        {"cell_type": "raw", "metadata": {}, "source": "raw"},
        code(
            {"output_type": "error", "ename": "E", "evalue": "v", "traceback": ["t"]},
            shows({"text/html": "<b>bold</b>"}),
        ),
    ]
    widgets = state_of(player(), Guess.number("How many?", low=0, high=9))
    widgets["box"] = {
        "model_name": "VBoxModel",
        "state": {"children": ["IPY_MODEL_m1", "IPY_MODEL_image"]},
    }
    widgets["image"] = {
        "model_name": "ImageModel",
        "state": {"format": "png"},
        "buffers": [{"path": ["value"], "encoding": "base64", "data": png()}],
    }
    return notebook(cells, widgets)


def ways(value, way=()):
    """Every place in a JSON value."""
    yield way
    for key in (
        value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    ):
        yield from ways(value[key], (*way, key))


WRONG = [None, True, 0, -1, 1e999, 10**400, "", "\ud800", "x", [], [None], {}, {"x": 1},
         ["a", ["b"]], "IPY_MODEL_box", "../../etc/passwd", "A" * 3]


def mutated(seed, whole):
    chance, made = random.Random(seed), copy.deepcopy(whole)
    for _ in range(chance.choice([1, 1, 1, 3])):
        places = [way for way in ways(made) if way and "_esm" not in way and "_css" not in way]
        deep = chance.choice(sorted({len(way) for way in places}))
        *way, last = chance.choice([place for place in places if len(place) == deep])
        holder = made
        for key in way:
            holder = holder[key]
        if chance.random() < 0.3:
            del holder[last]
        else:
            holder[last] = copy.deepcopy(chance.choice(WRONG))
    return made


def check(path, folder, capsys):
    """Exit 0 and a page, or exit 2 and one line that names the file."""
    capsys.readouterr()
    status = cli.main(["export", str(path), "--out", str(folder)])
    told = capsys.readouterr()
    errors = [line for line in told.err.splitlines() if line.startswith("sepviz: ")]
    assert status == (2 if errors else 0) and len(errors) <= 1
    assert "Traceback" not in told.err + told.out
    others = [line for line in told.err.splitlines()
              if line.strip() and "sepviz: " not in line and "exporting" not in line]
    assert all("are left out" in line for line in others), others
    assert folder.exists() == (status == 0) and not list(folder.parent.glob(f".{folder.name}*"))
    assert not errors or str(path) in errors[0]
    return errors[0] if errors else ""


@pytest.mark.parametrize("part", range(4))
def test_bitten_notebooks(part, tmp_path, capsys):
    whole, shown = small(), 0
    for seed in range(part * 15, part * 15 + 15):
        path = tmp_path / f"n{seed}.ipynb"
        path.write_text(json.dumps(mutated(seed, whole)))
        shown += not check(path, tmp_path / f"out{seed}", capsys)
    assert 1 <= shown < 15  # some can be shown, some not: both ways are tried


def edited(change):
    made = small()
    change(made)
    return made


def state(made):
    return made["metadata"]["widgets"][saved.STATE]


def drop(holder, key):
    del holder[key]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda n: drop(n["cells"][0], "attachments"), ""),
        (lambda n: drop(state(n), "state"), "state was not saved"),
        (lambda n: state(n)["state"]["m0"].pop("state"), "widget 'm0' is damaged"),
        (
            lambda n: state(n)["state"]["m0"]["buffers"][0].update(path=["nowhere", "x"]),
            "widget 'm0' is damaged",
        ),
        (lambda n: state(n)["state"]["m0"]["buffers"][0].update(path=[]), "widget 'm0' is damaged"),
        (
            lambda n: state(n)["state"]["m0"]["buffers"][0].update(data="%%%"),
            "widget 'm0' is damaged",
        ),
        (
            lambda n: state(n)["state"]["m0"]["buffers"][0].update(data="abc"),
            "widget 'm0' is damaged",
        ),
        (lambda n: n["cells"][2]["outputs"][0]["data"][saved.SHOWN].pop("model_id"), "no model_id"),
        (
            lambda n: state(n)["state"]["box"]["state"].update(
                children=["IPY_MODEL_box", "IPY_MODEL_box"]
            ),
            "",
        ),
        (
            lambda n: state(n)["state"]["box"]["state"].update(children=["IPY_MODEL_gone"]),
            "widget 'gone' is damaged",
        ),
        (lambda n: n["cells"][1]["outputs"][1].pop("data"), "'data' is a required property"),
        (lambda n: n["cells"][1]["outputs"][1]["data"].update({"image/png": "bm8="}), ""),
        (lambda n: n.pop("cells"), "no notebook"),
        (lambda n: n.update(nbformat=9), "no notebook"),
        (lambda n: n.update(nbformat="4"), "no notebook"),
    ],
)
def test_what_is_missing_is_named(change, says, tmp_path, capsys):
    path = tmp_path / "bitten.ipynb"
    path.write_text(json.dumps(edited(change)))
    error = check(path, tmp_path / "out", capsys)
    assert bool(error) == bool(says) and says in error
    if not says:
        assert "Small" in (tmp_path / "out" / "bitten.html").read_text()


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "no notebook"),
        (b"[]", "no notebook"),
        (b"null", "no notebook"),
        (b"\xff\xfe{}", "byte 0 is not UTF-8"),
        (b"[" * 100_000, "no notebook"),
        (b'{"nbformat": 4, "nbformat_minor": ' + b"9" * 5000 + b"}", "no notebook"),
        (b"\xef\xbb\xbf", "no notebook"),
    ],
)
def test_no_notebooks(data, says, tmp_path, capsys):
    (tmp_path / "no.ipynb").write_bytes(data)
    assert says in check(tmp_path / "no.ipynb", tmp_path / "out", capsys)


def test_older_formats_and_encodings(tmp_path, capsys):
    old = {
        "nbformat": 3,
        "nbformat_minor": 0,
        "metadata": {"name": ""},
        "worksheets": [
            {
                "metadata": {},
                "cells": [
                    {"cell_type": "heading", "level": 1, "metadata": {}, "source": ["Old title"]},
                    {
                        "cell_type": "code",
                        "collapsed": False,
                        "input": ["1 + 1"],
                        "language": "python",
                        "metadata": {},
                        "prompt_number": 1,
                        "outputs": [
                            {
                                "output_type": "pyout",
                                "prompt_number": 1,
                                "metadata": {},
                                "text": ["two"],
                            }
                        ],
                    },
                ],
            }
        ],
    }
    (tmp_path / "old.ipynb").write_text(json.dumps(old))
    (tmp_path / "bom.ipynb").write_bytes(b"\xef\xbb\xbf" + json.dumps(small()).encode())
    for name, words in (("old", ["Old title", "two"]), ("bom", ["Small", "hello"])):
        assert not check(tmp_path / f"{name}.ipynb", tmp_path / name, capsys)
        text = (tmp_path / name / f"{name}.html").read_text()
        assert all(word in text for word in words)


def test_attachments_and_pictures_beside_the_notebook(tmp_path, capsys):
    (tmp_path / "my picture.png").write_bytes(base64.b64decode(png()))
    (tmp_path / "secret.txt").write_text("a password")
    text = ("![one](attachment:a%20b.png) ![two](my%20picture.png) ![three](secret.txt) "
            "![four](attachment:gone.png) ![five](../x.png)")
    made = notebook(
        [
            markdown(text, attachments={"a b.png": {"image/png": png()}}),
            code({"output_type": "stream", "name": "stdout", "text": "x"}),
        ]
    )
    (tmp_path / "n.ipynb").write_text(json.dumps(made))
    assert not check(tmp_path / "n.ipynb", tmp_path / "out", capsys)
    page = (tmp_path / "out" / "n.html").read_text()
    assert page.count("data:image/png") == 2
    assert all(f"not in the notebook: {word}" in page for word in ("three", "four", "five"))
    assert base64.b64encode(b"a password").decode() not in page


# --- stopped ------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_stopped_export_leaves_nothing(error, tmp_path, capsys, monkeypatch):
    path = tmp_path / "n.ipynb"
    path.write_text(json.dumps(small()))
    from pathlib import Path

    whole = Path.write_bytes

    def full(self, data):
        if self.name == "n.html":
            raise error
        return whole(self, data)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full)
        assert cli.main(["export", str(path), "--out", str(tmp_path / "out")]) == (
            2 if isinstance(error, OSError) else 130
        )
    if isinstance(error, OSError):
        assert "No space left" in capsys.readouterr().err
    assert [one.name for one in tmp_path.iterdir()] == ["n.ipynb"]
    assert not check(path, tmp_path / "out", capsys)  # the same command works
    assert (tmp_path / "out").stat().st_mode & 0o777 == 0o777 & ~_umask()


def _umask():
    import os

    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_a_widget_that_is_not_whole():
    with pytest.raises(SepvizError, match="widget 'x' is damaged"):
        saved.widget({"x": {"model_name": 3, "state": {}}}, "x", "path")


# --- stills -------------------------------------------------------------------------------------


@pytest.fixture
def outputs(monkeypatch):
    """What cells would show."""
    import IPython.display

    made = []
    monkeypatch.setattr(
        IPython.display,
        "display",
        lambda data, metadata, raw: made.append(shows(data, metadata)),
    )
    return made


def test_every_widget_has_a_still(outputs):
    """An output of its own: a small picture of the mixture and the last estimates, and words."""
    import sepviz.widgets
    from sepviz.widgets.still import LARGEST, Still

    assert all(issubclass(getattr(sepviz.widgets, name), Still) for name in sepviz.widgets.__all__)
    one = player()
    one._ipython_display_()
    view, still = outputs
    words = "Player: Toy, mixture 1 of 1, at the last step"
    assert view["data"][saved.SHOWN]["model_id"] == one.model_id
    assert view["data"]["text/plain"] == still["data"]["text/plain"] == words
    assert words in still["data"]["text/html"] and len(still["data"]["text/html"]) < LARGEST
    picture = cleaning.picture(still["data"]["text/html"].partition("base64,")[2].partition('"')[0])
    # mixture and two estimates of 6 pixels, 14 times as large
    assert picture.size == (3 * 90 + 6, 90 + 6)
    order = metrics.match(one.trace.sources, one.truth.sources)
    estimates = metrics.reorder(one.trace.sources, order)[0, :, 0].clamp(0, 1) * 255
    for k, row, column in ((0, 0, 0), (0, 3, 4), (1, 5, 2)):
        pixel = picture.getpixel((6 + 90 * (k + 1) + 14 * column + 7, 6 + 14 * row + 7))[0]
        assert abs(pixel - estimates[k, row, column]) <= 1


def test_noise_makes_no_large_still():
    from sepviz.widgets.still import LARGEST, _png

    noise = torch.randint(0, 255, (900, 900, 3), dtype=torch.uint8).numpy()
    assert len(_png(Image.fromarray(noise))) <= LARGEST


def test_a_page_shows_a_still_where_the_widget_is_gone(outputs, tmp_path):
    one = player()
    one._ipython_display_()
    widgets = {one.model_id: json.loads(json.dumps(one._get_embed_state()))}
    for name, saved_widgets in (("with", widgets), ("without", {})):
        text = page_of(notebook([code(*copy.deepcopy(outputs))], saved_widgets), tmp_path / name)
        text = text.read_text()
        assert ('class="sepviz-still"' in text) == (name == "without")
        assert ('class="export-widget"' in text) == (name == "with")
