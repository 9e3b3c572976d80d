import hashlib
import hmac
import json
from datetime import date, timedelta

import pytest
from domain_builders import a_block, a_home, a_plan, a_programme, an_event, programme_data
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.certificates import FORMAT, Resource, canonical, describe, issue_certificates, resource_key
from domain.certification import EVIDENCE, FINDINGS, Finding, certify, empty_block
from domain.errors import NegawattError
from domain.merkle import MerkleTree, event_key
from domain.programmes import parse_programme

PLAN = a_plan("kpx-max-4-of-5")
SALT = b"a salt"
WALLET = "0x" + "aB" * 20


def a_resource(meter, contracted_w=1000, wallet=WALLET):
    return Resource(meter, contracted_w, wallet)


def issue(*homes, plan=PLAN, contracted_w=1000, salt=SALT, resources=None):
    reductions = certify(plan, a_block(*homes) if homes else empty_block(plan))
    if resources is None:
        resources = {meter: a_resource(meter, contracted_w) for meter in reductions.meters}
    return issue_certificates(plan, reductions, resources, salt)


def lines_of(issued):
    header, *lines = [json.loads(line) for line in issued.published().splitlines()]
    return header, lines


GOOD = a_home(PLAN, days=[1000, 1200, 800, 1100, 900], event=700)
WASTEFUL = a_home(PLAN, event=1200)
NEW = a_home(PLAN, days=[1000, 1000])


class TestCanonicalBytes:
    def test_keys_are_in_order_without_spaces_and_text_is_ascii(self):
        value = {"b": [1, None, True], "a": {"z": "é", "B": -2}, "A": 10**30}
        assert canonical(value) == (
            b'{"A":1000000000000000000000000000000,"a":{"B":-2,"z":"\\u00e9"},"b":[1,null,true]}'
        )

    def test_a_certificate_is_these_bytes(self):
        # (1000 + 1200 + 1100 + 900) / 4 = 1050, less 700 is 350 Wh, 35 % of the 1000 Wh undertaken: paid
        # 350 x 130 = 45,500, less 30 for each of the 450 Wh that are short beyond 20 %: 13,500, so 32,000.
        # Eligible days: 8 and 7 July, 4 July (the 800, dropped), 3 and 2 July.
        key = hmac.new(b"a salt", b"m000", "sha256").hexdigest()
        expected = (
            '{"actual_wh":[700],"baseline_days":["2025-07-08","2025-07-07","2025-07-03","2025-07-02"],'
            '"baseline_wh":[1050],"contracted_w":1000,"findings":[],"index":0,"payment":32000,'
            f'"reduction_wh":[350],"resource":"0x{key}","status":"certified","total_reduction_wh":350,'
            f'"traded_wh":0,"unadjusted_baseline_wh":[1050],"wallet":"0x{"ab" * 20}"}}'
        )
        assert issue(GOOD).lines == (expected.encode(),)

    def test_a_certificate_that_could_not_be_given_is_these_bytes(self):
        key = hmac.new(b"a salt", b"m000", "sha256").hexdigest()
        expected = (
            '{"actual_wh":null,"baseline_days":[],"baseline_wh":null,"contracted_w":1000,"findings":['
            '{"code":"history.insufficient","sentence":"too few usable days of history for a baseline; '
            'not certified, paid nothing","values":{"usable_days":2}}],"index":0,"payment":0,"reduction_wh":null,'
            f'"resource":"0x{key}","status":"not-certified","total_reduction_wh":0,'
            f'"traded_wh":0,"unadjusted_baseline_wh":null,"wallet":"0x{"ab" * 20}"}}'
        )
        assert issue(NEW).lines == (expected.encode(),)

    def test_the_header_says_what_was_measured_and_how(self):
        header, _ = lines_of(issue(GOOD, WASTEFUL, NEW))
        assert header["format"] == FORMAT == "negawatt-certificates/2"
        assert header["event"] == {
            "id": "e1",
            "start": "2025-07-09T08:00:00+00:00",
            "end": "2025-07-09T09:00:00+00:00",
            "minutes": 60,
        }
        assert (header["interval_minutes"], header["baseline"]) == (60, "KPX Max(4/5)")
        assert header["totals"] == {"certificates": 3, "reduction_wh": 350, "payment": 32_000}
        assert header["programme"]["terms"]["payment"]["rate_per_kwh"] == "130000"
        assert header["programme"]["terms"]["valid_from"] == "2014-11-25"

    def test_the_header_holds_what_the_programmes_digest_is_over(self):
        header, _ = lines_of(issue(GOOD))
        assert hashlib.sha256(canonical(header["programme"])).digest() == PLAN.programme.digest(PLAN.terms)

    def test_every_line_is_canonical_and_holds_no_float(self):
        for line in issue(GOOD, WASTEFUL, NEW).published().splitlines():
            assert canonical(json.loads(line, parse_float=pytest.fail)) == line

    def test_an_unmeasured_interval_is_null(self):
        plan = a_plan("kpx-max-4-of-5", an_event(hours=10))
        _, (line,) = lines_of(issue(a_home(plan, event=[700] * 9 + [None]), plan=plan))
        assert line["actual_wh"] == [700] * 9 + [None]
        assert line["total_reduction_wh"] == 2700
        assert [finding["values"] for finding in line["findings"]] == [{"missing_intervals": 1}]

    @settings(max_examples=30)
    @given(
        st.lists(
            st.tuples(
                st.lists(st.one_of(st.none(), st.integers(0, 2000)), min_size=10, max_size=10),
                st.integers(0, 6),
                st.integers(0, 2000),
            ),
            max_size=5,
        )
    )
    def test_lines_are_the_canonical_bytes_of_what_was_certified(self, homes):
        plan = a_plan("kpx-max-4-of-5", an_event(hours=10))
        blocks = [a_home(plan, event=event, days=[1000] * days, before=before) for event, days, before in homes]
        reductions = certify(plan, a_block(*blocks) if blocks else empty_block(plan))
        issued = issue(*blocks, plan=plan)
        for n, line in enumerate(issued.lines):
            ok = bool(reductions.certified[n])
            used = [None if wh < 0 else wh for wh in reductions.actual_wh[n].tolist()]
            cut = [0 if u is None else b - u for b, u in zip(reductions.baseline_wh[n].tolist(), used, strict=True)]
            days = [d.isoformat() for d, kept in zip(plan.days, reductions.kept_days[n], strict=True) if kept]
            body = {
                "index": n,
                "status": "certified" if ok else "not-certified",
                "baseline_wh": reductions.baseline_wh[n].tolist() if ok else None,
                "unadjusted_baseline_wh": reductions.unadjusted_wh[n].tolist() if ok else None,
                "actual_wh": used if ok else None,
                "reduction_wh": cut if ok else None,
                "total_reduction_wh": sum(cut) if ok else 0,
                "baseline_days": days,
                "findings": describe(int(reductions.findings[n]), reductions.evidence[n].tolist()),
                "resource": "0x" + resource_key(SALT, f"m{n:03d}").hex(),
                "wallet": WALLET.lower(),
                "contracted_w": 1000,
                "traded_wh": 0,
                "payment": issued.leaves[n].payment,
            }
            assert line == canonical(body)


class TestLeaves:
    def test_each_line_of_the_file_hashes_into_its_leaf(self):
        issued = issue(GOOD, WASTEFUL, NEW)
        _, *lines = issued.published().removesuffix(b"\n").split(b"\n")
        assert len(lines) == 3
        for index, (line, leaf) in enumerate(zip(lines, issued.leaves, strict=True)):
            body = json.loads(line)
            assert leaf.certificate_hash == hashlib.sha256(line).digest()
            assert leaf.index == body["index"] == index
            assert "0x" + leaf.resource.hex() == body["resource"]
            assert "0x" + leaf.wallet.hex() == body["wallet"]
            assert leaf.payment == body["payment"]
            assert leaf.reduction_wh == max(body["total_reduction_wh"], 0)
            assert leaf.event == event_key("e1")

    def test_the_tree_is_over_the_leaves_in_order(self):
        issued = issue(GOOD, WASTEFUL, NEW)
        assert issued.tree.root == MerkleTree([leaf.hash() for leaf in issued.leaves]).root

    def test_using_more_is_certified_and_reduces_nothing(self):
        _, (line,) = lines_of(issue(WASTEFUL))
        assert (line["status"], line["reduction_wh"], line["total_reduction_wh"]) == ("certified", [-200], -200)
        assert line["payment"] == issue(WASTEFUL).leaves[0].reduction_wh == 0
        assert [finding["code"] for finding in line["findings"]] == ["reduction.negative"]

    @settings(max_examples=25)
    @given(
        st.lists(
            st.tuples(st.one_of(st.none(), st.integers(0, 1500)), st.integers(0, 3000), st.integers(0, 5)),
            min_size=1,
            max_size=8,
        )
    )
    def test_totals_are_the_sums_of_lines_and_leaves(self, homes):
        blocks = [a_home(PLAN, event=event, days=[1000] * (days + 2)) for event, _, days in homes]
        watts = {f"m{n:03d}": a_resource(f"m{n:03d}", w) for n, (_, w, _) in enumerate(homes)}
        issued = issue(*blocks, resources=watts)
        header, lines = lines_of(issued)
        paid, reduced = sum(line["payment"] for line in lines), [line["total_reduction_wh"] for line in lines]
        assert header["totals"]["payment"] == issued.total_payment == paid
        assert header["totals"]["reduction_wh"] == issued.total_reduction_wh == sum(wh for wh in reduced if wh > 0)
        assert header["totals"]["certificates"] == len(issued.leaves) == len(homes)

    def test_no_meters_make_a_header_alone(self):
        issued = issue()
        header, lines = lines_of(issued)
        assert (header["totals"], lines) == ({"certificates": 0, "reduction_wh": 0, "payment": 0}, [])
        assert (issued.total_payment, issued.total_reduction_wh) == (0, 0)

    def test_an_event_without_eligible_days_pays_nobody(self):
        plan = a_plan(event_days=[date(2025, 7, 9) - timedelta(days=n) for n in range(40)])
        _, (line,) = lines_of(issue(a_home(plan), plan=plan))
        assert (line["status"], line["payment"], line["baseline_days"]) == ("not-certified", 0, [])

    def test_issuing_twice_gives_the_same_bytes(self):
        assert issue(GOOD, NEW).published() == issue(GOOD, NEW).published()


class TestPseudonyms:
    def test_a_key_is_an_hmac_of_the_meter(self):
        # RFC 4231, test case 2: key "Jefe", data "what do ya want for nothing?".
        expected = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        assert resource_key(b"Jefe", "what do ya want for nothing?").hex() == expected

    def test_a_key_depends_on_salt_and_meter(self):
        keys = {resource_key(salt, meter) for salt in (b"a", b"b") for meter in ("m1", "m2")}
        assert len(keys) == 4

    def test_neither_meter_nor_salt_is_published(self):
        published = issue(GOOD).published()
        assert b"m000" not in published
        assert SALT not in published

    def test_another_salt_changes_only_the_resource(self):
        one, other = (json.loads(issue(GOOD, salt=salt).lines[0]) for salt in (b"a", b"b"))
        assert {key for key in one if one[key] != other[key]} == {"resource"}


def test_a_meter_that_is_no_resource_is_an_error():
    with pytest.raises(NegawattError, match="event 'e1': meter 'm001' takes no part"):
        issue(GOOD, GOOD, resources={"m000": a_resource("m000")})


def test_a_participant_that_nobody_looked_at_is_an_error_and_not_left_out():
    with pytest.raises(NegawattError, match="meter 'm001' takes part and was not looked at"):
        issue(GOOD, resources={meter: a_resource(meter) for meter in ("m000", "m001")})


def test_every_finding_is_described_with_counts_that_exist():
    everything = describe(sum(int(finding) for finding in Finding), list(range(len(EVIDENCE))))
    assert [entry["code"] for entry in everything] == [code for code, _ in FINDINGS.values()]
    for entry in everything:
        assert entry["sentence"]
        for name, count in entry["values"].items():
            assert count == EVIDENCE.index(name)


def test_each_finding_shows_the_count_it_is_about():
    values = {entry["code"]: list(entry["values"]) for entry in describe(2**11 - 1, [0] * len(EVIDENCE))}
    assert values == {
        "readings.none": [],
        "history.insufficient": ["usable_days"],
        "event.incomplete": ["missing_intervals"],
        "event.unmeasured": ["missing_intervals"],
        "history.incomplete_days": ["incomplete_days"],
        "history.low_usage_days": ["low_usage_days"],
        "history.low_usage_readmitted": ["readmitted_days"],
        "adjustment.unavailable": [],
        "adjustment.capped": [],
        "readings.estimated": ["estimated_intervals"],
        "reduction.negative": [],
    }


def test_eighteen_decimals_survive_into_leaf_and_line():
    data = programme_data(**{"currency.decimals": 18, "terms[0].payment.rate_per_kwh": "1.000000000000000001"})
    plan = a_plan(parse_programme(data))
    issued = issue(a_home(plan, event=0), plan=plan)  # 1000 Wh, all that was undertaken
    assert issued.leaves[0].payment == 10**18 + 1
    assert b'"payment":1000000000000000001,' in issued.lines[0]


def test_a_rule_without_adjustment_is_published_too():
    plan = a_plan(a_programme(days=3))
    header, (line,) = lines_of(issue(a_home(plan), plan=plan))
    assert header["programme"]["terms"]["baselines"][0]["adjustment"] is None
    assert line["baseline_wh"] == line["unadjusted_baseline_wh"] == [1000]
