"""The batch layer: the whole history in wide meter-days, and the Spark jobs over it."""
