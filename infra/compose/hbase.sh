#!/bin/sh
# Run one program of HDFS or HBase.
# Usage: hbase.sh namenode|datanode|master|regionserver|thrift|thrift2|CLASS [argument…]
# Reads HEAP_MIB (default 512), CONF (/conf), JARS (/opt/jars), WEBAPPS (/opt/webapps), and what the files in CONF
# name: NAMENODE, ZOOKEEPERS.
set -eu
program=${1:?which program}
shift
OWN_NAME=${OWN_NAME:-$(hostname -f)}
export OWN_NAME NAMENODE="${NAMENODE:-namenode}" ZOOKEEPERS="${ZOOKEEPERS:-zookeeper}"

opens=
for package in java.nio sun.nio.ch java.lang jdk.internal.ref java.lang.reflect java.util java.util.concurrent; do
    opens="$opens --add-opens=java.base/$package=ALL-UNNAMED"
done
opens="$opens --add-exports=java.base/jdk.internal.misc=ALL-UNNAMED"
opens="$opens --add-exports=java.security.jgss/sun.security.krb5=ALL-UNNAMED"

# shellcheck disable=SC2086  # the options are words
java_() {
    memory="-Xms${HEAP_MIB:-512}m -Xmx${HEAP_MIB:-512}m"
    exec java $memory -XX:+UseG1GC -XX:MaxGCPauseMillis=100 -XX:+ExitOnOutOfMemoryError $opens \
        -cp "${CONF:-/conf}:${WEBAPPS:-/opt/webapps}:${JARS:-/opt/jars}/*" "$@"
}

hdfs=org.apache.hadoop.hdfs.server
hbase=org.apache.hadoop.hbase
case $program in
namenode)
    # only ever once: a namenode that were formatted again would disown all blocks
    if [ ! -d "${DATA:-/data}/name/current" ]; then (java_ $hdfs.namenode.NameNode -format -nonInteractive); fi
    java_ $hdfs.namenode.NameNode "$@" ;;
datanode) java_ $hdfs.datanode.DataNode "$@" ;;
master) java_ $hbase.master.HMaster start "$@" ;;
regionserver) java_ $hbase.regionserver.HRegionServer start "$@" ;;
thrift) java_ $hbase.thrift.ThriftServer start -p 9090 --infoport 9095 "$@" ;;
thrift2) java_ $hbase.thrift2.ThriftServer start -p 9090 --infoport 9095 "$@" ;;
*) java_ "$program" "$@" ;;
esac
