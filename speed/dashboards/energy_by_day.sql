-- Energy of each local day of all registered homes, in kWh, and its change from the day before.
-- :from timestamp  First interval, at a local midnight.
-- :until timestamp  Intervals that start before it.
-- :ahead hours = 0  How far local clocks are ahead of UTC. [h]
-- :minutes integer = 5  Length of the intervals. [min]
SELECT local_day, energy_kwh, energy_kwh - LAG(energy_kwh) OVER (ORDER BY local_day) AS change_kwh
FROM (
  SELECT DATE_TRUNC('day', u.ts + :ahead) AS local_day,
         CAST(SUM(u.wh) AS DOUBLE) / 1000 AS energy_kwh
  FROM readings_import_:minutes u
  JOIN resources r ON r.meter = u.meter
  WHERE u.ts >= :from AND u.ts < :until
  GROUP BY local_day
) d
ORDER BY local_day
