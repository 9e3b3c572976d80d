"""What tasks make of what: Airflow draws the lineage from these."""

from __future__ import annotations

from airflow.sdk import Asset

READINGS = Asset("readings", uri="negawatt://readings", group="negawatt")
CERTIFICATES = Asset("certificates", uri="negawatt://certificates", group="negawatt")
SETTLEMENTS = Asset("settlements", uri="negawatt://settlements", group="negawatt")
MODELS = Asset("models", uri="negawatt://models", group="negawatt")
FORECASTS = Asset("forecasts", uri="negawatt://forecasts", group="negawatt")
MATCHES = Asset("matches", uri="negawatt://matches", group="negawatt")
TRADES = Asset("trades", uri="negawatt://trades", group="negawatt")
SCREENINGS = Asset("screenings", uri="negawatt://screenings", group="negawatt")
CHANGES = Asset("changes", uri="negawatt://changes", group="negawatt")
