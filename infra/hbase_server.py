"""HBase on this machine: master, region server and ZooKeeper in one program, its Thrift server in another."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar
from xml.sax.saxutils import escape

from infra.daemons import (
    ServiceError,
    free_ports,
    has_ended,
    port_is_free,
    stop_daemon,
    tail,
    wait_until,
)
from infra.jars import jars
from infra.java import find_java
from infra.java_program import Program
from infra.java_server import JavaServer
from infra.local_program import write_file

READY_TABLE = b"stack_ready"
_PROBE_MS = 10_000
_THRIFT2_HEAP_MIB = 128
_PACKAGES = (
    "java.nio",
    "sun.nio.ch",
    "java.lang",
    "jdk.internal.ref",
    "java.lang.reflect",
    "java.util",
    "java.util.concurrent",
)
_OPENS = (
    *(f"--add-opens=java.base/{package}=ALL-UNNAMED" for package in _PACKAGES),
    "--add-exports=java.base/jdk.internal.misc=ALL-UNNAMED",
    "--add-exports=java.security.jgss/sun.security.krb5=ALL-UNNAMED",
)
LOGGING = """\
log4j.rootLogger=WARN,console
log4j.appender.console=org.apache.log4j.ConsoleAppender
log4j.appender.console.target=System.err
log4j.appender.console.layout=org.apache.log4j.PatternLayout
log4j.appender.console.layout.ConversionPattern=%d{ISO8601} %-5p [%t] %c{2}: %m%n
log4j.logger.org.apache.hadoop.hbase.master.HMaster=INFO
"""


@dataclass(frozen=True)
class HBaseServer(JavaServer):
    """HBase and its Thrift server.

    Attributes
    ----------
    port : int
        Of Thrift, where our clients connect.
    zookeeper_port, master_port, region_port : int
        Of HBase itself.
    heap_mib : int
        Of master and region server: 40 % for writes that wait to be flushed, 40 % for blocks that were read. [MiB]
    thrift_heap_mib : int
        It holds a request and its answer whole. [MiB]
    """

    zookeeper_port: int
    master_port: int
    region_port: int
    heap_mib: int = 1024
    thrift_heap_mib: int = 512
    service: ClassVar[str] = "hbase"
    packages: ClassVar[tuple[tuple[str, str], ...]] = (("happybase", "happybase"),)

    @property
    def conf(self) -> Path:
        """Settings that HBase's programs and tools read."""
        return self.folder / "conf"

    @property
    def programs(self) -> tuple[Program, ...]:
        """HBase, and its Thrift server."""
        hbase = Program(
            name="hbase",
            folder=self.folder,
            main="org.apache.hadoop.hbase.master.HMaster",
            heap_mib=self.heap_mib,
            ports=(self.zookeeper_port, self.master_port, self.region_port),
            options=_OPENS,
            arguments=("start",),
        )
        return hbase, self._thrift("thrift", self.thrift_heap_mib, self.port)

    @contextlib.contextmanager
    def thrift2(self) -> Iterator[int]:
        """Run a server of the newer Thrift protocol for the block; yields its port.

        It can make a table in pieces, which the older one can't.

        Raises
        ------
        ServiceError
            It doesn't start; the sentence ends with the tail of its log.
        """
        (port,) = free_ports(1)
        program = self._thrift("thrift2", _THRIFT2_HEAP_MIB, port)
        pid = program.start(find_java(), self._classpath(jars(self.service)))
        gone = False

        def settled() -> bool:
            nonlocal gone
            gone = has_ended(pid)
            return gone or not port_is_free(port)

        try:
            if not wait_until(settled, self.ready_seconds) or gone:
                raise ServiceError(f"thrift2 doesn't start; the end of {program.log}:\n{tail(program.log)}")
            yield port
        finally:
            stop_daemon(program.words, hard=True)

    def _thrift(self, name: str, heap_mib: int, port: int) -> Program:
        return Program(
            name=name,
            folder=self.folder,
            main=f"org.apache.hadoop.hbase.{name}.ThriftServer",
            heap_mib=heap_mib,
            ports=(port,),
            options=_OPENS,
            arguments=("start", "--bind", "127.0.0.1", "-p", str(port), "--infoport", "-1"),
        )

    def probe(self) -> None:
        """Put a cell through Thrift and get it again."""
        import happybase  # noqa: PLC0415  infra loads without clients

        connection = happybase.Connection("127.0.0.1", self.port, timeout=_PROBE_MS)
        try:
            if READY_TABLE not in connection.tables():
                connection.create_table(READY_TABLE, {"d": {"max_versions": 1}})
            table, said = connection.table(READY_TABLE), uuid.uuid4().bytes
            table.put(b"ready", {b"d:said": said})
            if table.row(b"ready") != {b"d:said": said}:
                raise ServiceError(f"hbase at {self.address} doesn't give back what it took")
        finally:
            connection.close()

    def _classpath(self, folder: Path) -> str:
        return f"{self.conf}:{folder}/*"

    def _configure(self) -> None:
        write_file(self.conf / "hbase-site.xml", site(self))
        write_file(self.conf / "log4j.properties", LOGGING)


def site(server: HBaseServer) -> str:
    """HBase's settings file."""
    folder = server.folder
    values: dict[str, object] = {
        "hbase.cluster.distributed": "false",
        "hbase.rootdir": (folder / "data").as_uri(),
        "hbase.tmp.dir": folder / "tmp",
        "hbase.zookeeper.property.dataDir": folder / "zookeeper",
        "hbase.zookeeper.quorum": "127.0.0.1",
        "hbase.zookeeper.property.clientPort": server.zookeeper_port,
        "hbase.zookeeper.property.clientPortAddress": "127.0.0.1",
        # Hadoop's usual local file system doesn't promise that a flush leaves the program; this one does, so that
        # HBase's own check of it can stay on.
        "fs.file.impl": "org.apache.hadoop.fs.RawLocalFileSystem",
        "hbase.wal.provider": "filesystem",
        # The usual codec wants Hadoop's native library; this one brings its own.
        "hbase.io.compress.zstd.codec": "org.apache.hadoop.hbase.io.compress.zstd.ZstdCodec",
        "hbase.master.hostname": "localhost",
        "hbase.regionserver.hostname": "localhost",
        "hbase.master.ipc.address": "127.0.0.1",
        "hbase.regionserver.ipc.address": "127.0.0.1",
        "hbase.master.port": server.master_port,
        "hbase.regionserver.port": server.region_port,
        "hbase.localcluster.assign.random.ports": "false",
        "hbase.master.info.port": -1,
        "hbase.regionserver.info.port": -1,
        "hbase.thrift.info.port": -1,
        "hbase.regionserver.thrift.ipaddress": "127.0.0.1",
        "hbase.regionserver.thrift.port": server.port,
        # Thrift drops a client that is silent for a minute; ours may certify for longer between two reads.
        "hbase.thrift.server.socket.read.timeout": 600_000,
        "hbase.regionserver.handler.count": 8,
        # A region server of our own joins in a second instead of four.
        "hbase.regionserver.msginterval": 500,
        "hbase.master.wait.on.regionservers.interval": 200,
        "hbase.master.wait.on.regionservers.timeout": 500,
        # When all stop together ZooKeeper may be first; then the region server shouldn't ask for it for 20 s.
        "zookeeper.recovery.retry": 1,
        "zookeeper.recovery.retry.intervalmill": 200,
    }
    lines = (
        f"  <property><name>{name}</name><value>{escape(str(value))}</value></property>"
        for name, value in values.items()
    )
    note = f"Written by negawatt at each start from {folder / 'server.json'}; changes here are lost."
    return f'<?xml version="1.0"?>\n<!-- {note} -->\n<configuration>\n' + "\n".join(lines) + "\n</configuration>\n"
