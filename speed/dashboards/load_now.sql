-- Load of each feeder in the last whole interval, in kW, and how many of its homes reported it.
-- :now timestamp  The clock; the interval before it is shown.
-- :minutes integer = 5  Length of the intervals. [min]
SELECT r.feeder AS feeder, COUNT(*) AS homes, CAST(COALESCE(SUM(u.n), 0) AS BIGINT) AS reported,
       CAST(SUM(u.wh) AS DOUBLE) * 60 / :minutes / 1000 AS load_kw
FROM resources r
LEFT JOIN (
  SELECT meter, SUM(wh) AS wh, SUM(n) AS n
  FROM readings_import_:minutes
  WHERE ts > :now - INTERVAL '3' HOUR AND ts < :now
    AND DATEDIFF('minute', ts, :now) >= :minutes AND DATEDIFF('minute', ts, :now) < 2 * :minutes
  GROUP BY meter
) u ON u.meter = r.meter
GROUP BY r.feeder
ORDER BY feeder
