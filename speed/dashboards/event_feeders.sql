-- Reduction of each feeder in an event so far, in kWh, and its share of the capacity contracted for that time.
-- :event text  The event's id.
-- :from timestamp  Its start.
-- :until timestamp  Its end.
-- :minutes integer = 5  Length of the intervals. [min]
SELECT p.feeder AS feeder, COUNT(*) AS reported,
       CAST(SUM(b.baseline_wh - u.wh) AS DOUBLE) / 1000 AS reduction_kwh,
       100 * CAST(SUM(b.baseline_wh - u.wh) AS DOUBLE)
         / NULLIF(CAST(SUM(p.capacity_w) AS DOUBLE) * :minutes / 60, 0) AS of_contract_pct
FROM event_baselines b
JOIN (
  SELECT meter, ts, SUM(wh) AS wh
  FROM readings_import_:minutes
  WHERE ts >= :from AND ts < :until
  GROUP BY meter, ts
  HAVING SUM(n) = 1
) u ON u.meter = b.meter AND u.ts = b.ts
JOIN event_resources p ON p.event = b.event AND p.meter = b.meter
WHERE b.event = :event
GROUP BY p.feeder
ORDER BY feeder
