# One image for negawatt, the Spark master and its workers: the locked packages, pyspark (which is all of Spark) among
# them, so that driver and executors have the same versions of everything.
# From the repository's root: docker build -f infra/compose/spark.Dockerfile -t negawatt/negawatt:latest .
FROM python:3.11-slim-bookworm
RUN apt-get update && apt-get install -y --no-install-recommends openjdk-17-jre-headless procps \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /opt/negawatt
COPY locks/airflow.txt locks/airflow.txt
RUN pip install --no-cache-dir --require-hashes -r locks/airflow.txt
COPY . .
RUN pip install --no-cache-dir --no-deps . \
    && useradd --uid 10001 --create-home negawatt && mkdir /workspace && chown negawatt /workspace
USER negawatt
WORKDIR /workspace
VOLUME /workspace
ENV PATH=/usr/local/lib/python3.11/site-packages/pyspark/bin:$PATH \
    SPARK_HOME=/usr/local/lib/python3.11/site-packages/pyspark \
    PYSPARK_PYTHON=/usr/local/bin/python3.11 \
    NEGAWATT_WORKSPACE=/workspace
