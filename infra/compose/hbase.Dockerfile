# One image for HDFS, HBase and Thrift: the jars of infra/hbase/pom.xml, the ones that negawatt's tests run.
# From the repository's root: docker build -f infra/compose/hbase.Dockerfile -t negawatt/hbase:2.6.1 .
FROM maven:3-eclipse-temurin-17 AS jars
COPY infra/hbase/pom.xml /build/pom.xml
RUN mvn -B -ntp -C -f /build/pom.xml dependency:copy-dependencies -DincludeScope=runtime -DoutputDirectory=/jars

FROM eclipse-temurin:17-jre
RUN apt-get update && apt-get install -y --no-install-recommends curl && rm -rf /var/lib/apt/lists/*
# HDFS wants to find the folders of its web pages, whose files are not in its jar; its JMX and health pages work.
RUN useradd --uid 10001 --create-home hbase \
    && mkdir -p /data /conf /opt/webapps/webapps/hdfs /opt/webapps/webapps/datanode /opt/webapps/webapps/static \
    && chown hbase /data
COPY --from=jars /jars /opt/jars
COPY --chmod=755 infra/compose/hbase.sh /usr/local/bin/hbase.sh
USER hbase
# A new volume takes over the owner of the folder that it is mounted on.
VOLUME /data
ENTRYPOINT ["hbase.sh"]
