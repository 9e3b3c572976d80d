-- Readings of each feeder over a stretch of time: how many are due, reported, estimated and revised.
-- :from timestamp  First interval.
-- :until timestamp  Intervals that start before it.
-- :minutes integer = 5  Length of the intervals. [min]
SELECT h.feeder AS feeder, h.homes AS homes,
       CAST(h.homes * FLOOR(CAST(DATEDIFF('minute', :from, :until) AS DOUBLE) / :minutes) AS BIGINT) AS due,
       COALESCE(d.reported, 0) AS reported, COALESCE(d.estimated, 0) AS estimated, COALESCE(d.revised, 0) AS revised
FROM (SELECT feeder, COUNT(*) AS homes FROM resources GROUP BY feeder) h
LEFT JOIN (
  SELECT r.feeder AS feeder, COUNT(*) AS reported,
         CAST(SUM(CASE WHEN MOD(g.stamp, 4) = 1 THEN 1 ELSE 0 END) AS BIGINT) AS estimated,
         CAST(SUM(CASE WHEN g.stamp >= 4 THEN 1 ELSE 0 END) AS BIGINT) AS revised
  FROM (
    SELECT meter, ts, MAX(CAST(revision AS INTEGER) * 4 + quality) AS stamp
    FROM readings_import_:minutes
    WHERE ts >= :from AND ts < :until
    GROUP BY meter, ts
    HAVING SUM(n) = 1
  ) g
  JOIN resources r ON r.meter = g.meter
  GROUP BY r.feeder
) d ON d.feeder = h.feeder
ORDER BY feeder
