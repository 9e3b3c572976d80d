# One image for all of Airflow's programs and its tasks: Airflow, negawatt with everything that its jobs use, and Java
# for Spark. It is not made of Airflow's own image, because a task is the driver of a Spark job: executors start the
# same Python, at the same path, with the same packages as the driver has, which are those of spark.Dockerfile.
# From the repository's root: docker build -f infra/compose/airflow.Dockerfile -t negawatt/airflow:3.3.2 .
FROM python:3.11-slim-bookworm
RUN apt-get update && apt-get install -y --no-install-recommends openjdk-17-jre-headless procps \
    && rm -rf /var/lib/apt/lists/*
COPY locks/airflow.txt /tmp/airflow.txt
RUN pip install --no-cache-dir --require-hashes -r /tmp/airflow.txt
COPY . /tmp/negawatt
# Airflow reads DAGs from the installed package. Its Helm chart asks programs how they are through /entrypoint, and
# has old logs removed by /clean-logs.
# A new volume takes over the owner of the folder that it is mounted on.
RUN pip install --no-cache-dir --no-deps /tmp/negawatt && pip check && rm -r /tmp/negawatt /tmp/airflow.txt \
    && mkdir -p /opt/negawatt /opt/airflow/logs /workspace \
    && ln -s "$(python -c 'import dags; print(dags.__path__[0])')" /opt/negawatt/dags \
    && ln -s "$(python -c 'import infra; print(infra.__path__[0])')/airflow/pools.json" /opt/negawatt/pools.json \
    && test -f /opt/negawatt/dags/.airflowignore && test -f /opt/negawatt/pools.json \
    && printf '#!/bin/sh\nexec "$@"\n' > /entrypoint \
    && printf 'while sleep 15m; do\n  %s\ndone\n' \
        'find "$AIRFLOW_HOME/logs" -type f -mtime "+${AIRFLOW__LOG_RETENTION_DAYS:-30}" -delete' > /clean-logs \
    && chmod 755 /entrypoint /clean-logs \
    && useradd --uid 10001 --create-home negawatt && chown -R negawatt /opt/airflow /workspace
USER negawatt
WORKDIR /opt/airflow
VOLUME ["/workspace", "/opt/airflow/logs"]
ENTRYPOINT ["/entrypoint"]
ENV AIRFLOW_HOME=/opt/airflow \
    AIRFLOW__CORE__DAGS_FOLDER=/opt/negawatt/dags \
    AIRFLOW__CORE__LOAD_EXAMPLES=false \
    NEGAWATT_WORKSPACE=/workspace
