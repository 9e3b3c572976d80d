"""The report: what it shows is what was published, and nothing in it can escape, phone home or vary."""

from __future__ import annotations

import hashlib
import json
import re
import tomllib
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from domain.certificates import CertificateSet, Resource, issue_certificates, resource_key
from domain.certification import LoadBlock, certify
from domain.errors import NegawattError
from domain.events import DREvent
from domain.intervals import slot_start
from domain.plans import EventPlan, make_plan
from domain.programmes import parse_programme
from domain.readings import MISSING
from serving import report
from serving.report import UsageAround, render_report

SALT = b"salt of these tests"
HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(1)>\"'&\u2028"
PROGRAMMES = Path(__file__).parents[2] / "negawatt" / "programmes"


def a_plan(programme: str = "kpx-max-4-of-5", start: str = "2025-07-15T17:00+09:00", hours: int = 1) -> EventPlan:
    rules = parse_programme(tomllib.loads((PROGRAMMES / f"{programme}.toml").read_text("utf-8")))
    begin = datetime.fromisoformat(start)
    return make_plan(DREvent("evening-15", rules.id, begin, begin + timedelta(hours=hours)), rules, 5)


def an_event(
    usage_wh: Mapping[str, int | None],
    *,
    history_wh: int = 100,
    contracted_w: int = 500,
    plan: EventPlan | None = None,
) -> CertificateSet:
    """Homes that used ``history_wh`` in every interval of old and ``usage_wh`` in the event's; None: no readings."""
    plan = plan or a_plan()
    meters = sorted(usage_wh)
    wh = np.full((len(meters), *plan.slots.shape), history_wh, dtype=np.int32)
    for row, meter in enumerate(meters):
        value = usage_wh[meter]
        wh[row, 0, : plan.event_intervals] = MISSING if value is None else value
        if value is None:
            wh[row] = MISSING
    block = LoadBlock(np.array(meters, dtype=object), wh, None)
    resources = {meter: Resource(meter, contracted_w, f"0x{n + 1:040x}") for n, meter in enumerate(meters)}
    return issue_certificates(plan, certify(plan, block), resources, SALT)


def names(meters: Sequence[str]) -> dict[str, str]:
    return {"0x" + resource_key(SALT, meter).hex(): meter for meter in meters}


def a_settlement(certificates: CertificateSet, **changes: Any) -> dict[str, Any]:
    return {
        "event_id": certificates.event_id,
        "chain_id": 31337,
        "contracts": {"events": "0x" + "e1" * 20, "coin": "0x" + "c0" * 20},
        "coin": {"symbol": "DRC", "decimals": 2},
        "root": "0x" + certificates.tree.root.hex(),
        "published_hash": "0x" + hashlib.sha256(certificates.published()).hexdigest(),
        "confirmations": 12,
        "contract_seconds": 1.25,
        "confirmation_seconds": 12.345,
        "transactions": [
            {
                "purpose": "certify 3 resources",
                "hash": "0x" + "ab" * 32,
                "block": 1012,
                "gas": 123456,
                "seconds": 0.04,
            },
            {"purpose": "pay 3 resources", "hash": "0x" + "cd" * 32, "block": 1013, "gas": 200000, "seconds": 0.1},
        ],
        **changes,
    }


def around(plan: EventPlan, usage_wh: Mapping[str, Sequence[int]], *, before: int = 2, after: int = 2) -> UsageAround:
    slots = range(int(plan.slots[0, 0]) - before, int(plan.slots[0, plan.event_intervals - 1]) + 1 + after)
    starts = tuple(slot_start(slot, 5) for slot in slots)
    return UsageAround(starts, tuple(usage_wh), np.array(list(usage_wh.values()), dtype=np.int32))


def page(certificates: CertificateSet, meters: Sequence[str] = (), **more: Any) -> str:
    return render_report(
        certificates.published(), **{"settlement": a_settlement(certificates), "meter_of": names(meters), **more}
    )


def embedded(html: str) -> dict[str, Any]:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', html, re.S)
    assert found
    data: dict[str, Any] = json.loads(found[1])
    return data


class Page(HTMLParser):
    """A page as a browser reads it: elements with attributes, and the text outside style and script."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self._words: list[str] = []
        self._inside = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._inside = tag

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside not in ("style", "script"):
            self._words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self._words).split())

    def tags(self, name: str) -> list[dict[str, str | None]]:
        return [attributes for tag, attributes in self.elements if tag == name]


THREE = {"meter-a": 60, "meter-b": 80, "meter-c": None}
"""Over 12 intervals: a saves 12 x 40 = 480 Wh, b 12 x 20 = 240 Wh, c has no readings."""


def test_the_headline_shows_the_totals_of_the_certificates():
    text = Page(page(an_event(THREE), list(THREE))).text
    # 500 W for an hour: 480 Wh lie within the tolerance of 400 Wh, 240 Wh fall 160 Wh short of it.
    # 0.48 x 1300 = 624.00 and 0.24 x 1300 - 0.16 x 300 = 264.00.
    assert "2 of 3 homes are certified: together they reduced their load by 0.720 kWh and earned 888.00 DRC" in text
    assert "Mean per certified home 0.360 kWh 444.00 DRC" in text
    assert "Contracted capacity delivered 48.0 % of 1.5 kW over 60 min, all homes" in text


def test_the_window_is_told_on_the_programmes_clocks_and_in_utc():
    text = Page(page(an_event(THREE))).text
    assert "Tuesday 15 July 2025, 17:00–18:00 Asia/Seoul (KST); 2025-07-15 08:00–09:00 UTC" in text
    assert "Baseline: KPX Max(4/5), from 5-minute readings" in text


def test_each_home_has_its_line_with_exact_figures():
    text = Page(page(an_event(THREE), list(THREE))).text
    assert "meter-a certified 1.200 0.720 0.480 0.500 96.0 624.00" in text
    assert "meter-b certified 1.200 0.960 0.240 0.500 48.0 264.00" in text


def test_a_home_without_certificate_stands_out_with_its_reason_in_words():
    html = page(an_event(THREE), list(THREE))
    assert len(re.findall(r'<tr data-row="\d+" class="refused">', html)) == 1
    text = Page(html).text
    assert "meter-c not certified – – – 0.500 – 0.00" in text
    assert "readings.none : the meter has no readings on any day that this event needs" in text
    assert "history.insufficient : too few usable days of history for a baseline; not certified, paid nothing" in text


def test_a_home_that_used_more_is_told_and_counts_as_zero_in_the_total():
    text = Page(page(an_event({"meter-a": 60, "meter-b": 110}), ["meter-a", "meter-b"])).text
    assert "1 home used more than the baseline; that counts as a reduction of zero in the total." in text
    assert "reduced their load by 0.480 kWh" in text
    assert "meter-b certified 1.200 1.320 -0.120 0.500 -24.0 0.00" in text


def test_a_missing_reading_is_a_gap_of_the_home_and_no_reduction_of_all():
    plan = a_plan()
    wh = np.full((1, *plan.slots.shape), 100, dtype=np.int32)
    wh[0, 0, : plan.event_intervals] = 60
    wh[0, 0, 3] = MISSING
    block = LoadBlock(np.array(["m"], dtype=object), wh, None)
    certificates = issue_certificates(plan, certify(plan, block), {"m": Resource("m", 500, "0x" + "1" * 40)}, SALT)
    html = page(certificates, ["m"])
    data = embedded(html)
    assert data["homes"][0]["usage"][2:5] == [60, None, 60]
    assert data["whole"][0][2:5] == [720, 1200, 720]  # Wh in 5 minutes times 12 is W
    text = Page(html).text
    assert "m certified 1.100 0.660 0.440" in text
    assert "1 reading of the event is missing: there the home's baseline stands in" in text
    assert "m (missing intervals: 1)" in text


def test_context_is_drawn_around_the_event_and_for_homes_without_certificate():
    plan = a_plan()
    context = around(plan, {"meter-c": range(200, 216), "meter-a": [50] * 16, "meter-b": [70] * 15 + [MISSING]})
    data = embedded(page(an_event(THREE), list(THREE), around=context))
    assert data["first"] == 2
    assert data["spans"][:3] == ["16:50–16:55", "16:55–17:00", "17:00–17:05"]
    by_name = {home["name"]: home for home in data["homes"]}
    assert by_name["meter-a"]["usage"] == [50] * 2 + [60] * 12 + [50] * 2
    assert by_name["meter-c"]["usage"] == list(range(200, 216))
    assert by_name["meter-c"]["baseline"] is None
    # Both certified homes: 120 Wh are 1440 W; in the last interval meter-a's 50 Wh stand for two homes.
    assert data["whole"][0][:2] == [1440, 1440]
    assert data["whole"][0][-1] == 1200
    assert data["whole"][1][:3] == [None, None, 2400]


def test_an_event_that_is_not_settled_says_so():
    text = Page(page(an_event(THREE), settlement=None)).text
    assert "Not settled yet." in text
    assert "not what has been paid" in text
    assert "Merkle root of the certificates" not in text


def test_the_settlement_shows_transactions_addresses_root_and_confirmations():
    certificates = an_event(THREE)
    html = page(certificates)
    text = Page(html).text
    assert "certify 3 resources 1,012 123,456 0.04 0xababab…ababab" in text
    assert "2 transactions 323,456" in text
    assert "12 confirmations awaited. Contracts took 1.25 s, confirmation 12.3 s." in text
    for whole in (certificates.tree.root.hex(), hashlib.sha256(certificates.published()).hexdigest(), "e1" * 20):
        assert "0x" + whole in text
    assert "negawatt verify evening-15" in text


def test_a_settlement_of_another_file_raises_the_alarm():
    certificates = an_event(THREE)
    assert 'role="alert"' not in page(certificates)
    html = page(certificates, settlement=a_settlement(certificates, published_hash="0x" + "00" * 32))
    assert 'role="alert"' in html
    assert "Settled on chain" not in html


def test_a_settlement_of_another_event_is_refused():
    certificates = an_event(THREE)
    with pytest.raises(NegawattError, match="'another'"):
        page(certificates, settlement=a_settlement(certificates, event_id="another"))


@pytest.mark.parametrize("broken", [b"", b"{}\n", b"not json\n", b'{"format":"negawatt-certificates/2"}\n'])
def test_what_is_no_certificate_file_is_refused(broken: bytes):
    with pytest.raises(NegawattError, match="published file"):
        render_report(broken, settlement=None, meter_of={})


def test_totals_that_are_not_the_sums_of_the_certificates_are_refused():
    first, *rest = an_event(THREE).published().split(b"\n")
    header = json.loads(first)
    header["totals"]["payment"] += 1
    with pytest.raises(NegawattError, match="sum to"):
        render_report(b"\n".join([json.dumps(header).encode(), *rest]), settlement=None, meter_of={})


def test_a_resource_without_a_known_meter_is_shown_by_its_shortened_key():
    key = resource_key(SALT, "meter-a").hex()
    assert f"0x{key[:6]}…{key[-6:]} certified" in Page(page(an_event(THREE))).text


def test_a_hostile_meter_name_is_only_ever_text():
    meters = {HOSTILE: 60, "meter-b": 80}
    html = page(an_event(meters), list(meters), around=around(a_plan(), {HOSTILE: [50] * 16}))
    parsed = Page(html)
    assert [attributes.get("type") for attributes in parsed.tags("script")] == ["application/json", None]
    assert parsed.tags("img") == []
    assert not [attributes for _, attributes in parsed.elements if any(name.startswith("on") for name in attributes)]
    assert "<script>alert" not in html
    assert HOSTILE in [home["name"] for home in embedded(html)["homes"]]


def test_hostile_words_in_settlement_programme_and_findings_are_only_ever_text():
    certificates = an_event(THREE)
    transaction = {"purpose": HOSTILE, "hash": HOSTILE, "block": 1, "gas": 1, "seconds": 0.1}
    settlement = a_settlement(certificates, contracts={HOSTILE: HOSTILE}, root=HOSTILE, transactions=[transaction])
    published = certificates.published().replace(b"Korean demand", json.dumps(HOSTILE)[1:-1].encode())
    published = published.replace(b"too few usable", json.dumps(HOSTILE)[1:-1].encode())
    html = render_report(published, settlement=settlement, meter_of={})
    assert len(Page(html).tags("script")) == 2
    assert "<img" not in html


def test_the_page_loads_nothing_from_anywhere():
    html = page(an_event(THREE), list(THREE), timings=[{"homes": 3, **SECONDS}])
    parsed = Page(html)
    for _, attributes in parsed.elements:
        for name in ("src", "href", "data", "action", "poster", "srcset", "xlink:href"):
            assert (attributes.get(name) or "#").startswith(("#", "data:,"))
    assert not re.search(r"https?:|@import|url\(|fetch\(|XMLHttpRequest|WebSocket|sendBeacon|import\(", html)
    policy = next(m["content"] for m in parsed.tags("meta") if m.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None
    assert policy.startswith("default-src 'none'; script-src 'sha256-")


def test_the_same_input_gives_the_same_page():
    certificates = an_event(THREE)
    assert page(certificates, list(THREE)) == page(certificates, list(reversed(THREE)))


SECONDS = {"certification_s": 0.5, "contract_s": 1.25, "confirmation_s": 12.0, "total_s": 13.75}


def test_timings_stand_beside_those_of_the_paper():
    certificates = an_event(THREE)
    text = Page(page(certificates, timings=[{"homes": 100, **SECONDS}, {"homes": 10, **SECONDS}])).text
    # Kim et al. 2018, Table 1.
    assert "10 Kim et al. 2018 12 14 180 206 10 negawatt 0.5 1.25 12.0 13.8" in text
    assert "100 Kim et al. 2018 113 28 180 321 100 negawatt" in text
    assert "Kim et al." not in Page(page(certificates)).text


def test_changed_provisional_certificates_are_told():
    text = Page(page(an_event(THREE), provisional={"certificates": 3, "changed": 1})).text
    assert "3 provisional certificates were made at the end of the event; 1 of them changed" in text


@pytest.mark.parametrize(("decimals", "earned"), [(0, "88,800"), (18, "0.000000000000088800")])
def test_money_is_written_with_all_the_currencys_decimals(decimals: int, earned: str):
    published = an_event(THREE).published().replace(b'"decimals":2', b'"decimals":%d' % decimals)
    text = Page(render_report(published, settlement=None, meter_of={})).text
    assert f"earned {earned} DRC" in text


def test_an_event_without_any_certified_home_still_has_a_page():
    html = page(an_event({"meter-c": None}), ["meter-c"])
    assert "0 of 1 home is certified" in Page(html).text
    assert "No home is certified" in html


def test_headings_captions_and_labels_are_there_for_those_who_listen():
    parsed = Page(page(an_event(THREE), list(THREE), timings=[{"homes": 3, **SECONDS}]))
    assert parsed.tags("html") == [{"lang": "en"}]
    assert len(parsed.tags("h1")) == 1
    assert len(parsed.tags("caption")) == len(parsed.tags("table"))
    assert all(attributes.get("aria-label") for attributes in parsed.tags("div") if attributes.get("role") == "img")
    ids = [attributes["id"] for _, attributes in parsed.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    wanted = [attributes["aria-labelledby"] for _, attributes in parsed.elements if "aria-labelledby" in attributes]
    wanted += [(attributes["href"] or "")[1:] for attributes in parsed.tags("a")]
    assert set(wanted) <= set(ids)


def test_a_repeated_hour_in_autumn_keeps_the_intervals_in_order():
    plan = a_plan("pjm-high-4-of-5", start="2025-11-02T17:00-05:00")
    midnight = datetime.fromisoformat("2025-11-02T00:00-04:00")
    starts = tuple(midnight + n * timedelta(minutes=5) for n in range(12 * 6))
    context = UsageAround(starts, ("meter-a",), np.full((1, len(starts)), 50, dtype=np.int32))
    data = embedded(page(an_event({"meter-a": 60}, plan=plan), ["meter-a"], around=context))
    assert data["spans"].count("01:30–01:35") == 2
    assert data["offsets"][: 12 * 6] == list(range(0, 360, 5))
    assert data["offsets"][data["first"]] == 18 * 60  # 17:00 comes 18 hours after midnight on this day


def test_a_thousand_homes_stay_a_small_page():
    meters = {f"meter-{n:04}": 40 + n % 70 for n in range(1000)}
    html = page(an_event(meters, plan=a_plan(hours=3)), list(meters))
    assert len(embedded(html)["homes"]) == 1000
    assert html.count("<path") == 8  # four for all homes, four for the chosen one
    assert len(html.encode()) < 2_000_000


def test_of_a_large_event_those_not_certified_are_listed_first_and_all_are_counted(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(report, "LISTED_HOMES", 3)
    meters = {f"meter-{n}": None if n > 7 else 60 for n in range(10)}
    html = page(an_event(meters), list(meters))
    assert [home["name"] for home in embedded(html)["homes"]] == ["meter-0", "meter-8", "meter-9"]
    text = Page(html).text
    assert "7 homes of this event are not listed" in text
    assert "8 of 10 homes are certified" in text
