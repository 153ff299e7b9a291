#!/usr/bin/env bash
# Cassandra nodes for tests and for trying a fleet, on loopback addresses of this machine.
#
#   cassandra.sh start [N]      installs what is missing, starts N nodes (3), returns when each answers a read of all
#   cassandra.sh stop           ends them in good order; their data stays
#   cassandra.sh wipe           ends them at once and deletes their data
#   cassandra.sh kill I...      ends nodes without a word (SIGKILL); `start` brings them back
#   cassandra.sh pause I...     SIGSTOP        cassandra.sh resume I...     SIGCONT
#   cassandra.sh contacts       where they answer CQL: address:port, separated by commas
#   cassandra.sh certificate    the file with whom to trust who speaks TLS with them
#   cassandra.sh status         a line a node
#   cassandra.sh install        fetches Cassandra and prepares it; `start` does it too
#
# Settings of the environment:
#   CASSANDRA_RUN     the nodes' data and logs; a folder is a cluster of its own    [target/cassandra]
#   CASSANDRA_CACHE   the programs, shared by all clusters                          [~/.cache/tidings/cassandra]
#   CASSANDRA_SYNC    commit log: group, batch, or periodic, which loses data       [group]
#   CASSANDRA_HEAP    Java heap of a node                                           [384m]
#   CASSANDRA_FRONT   if set, clients are told 127.1.*.* for 127.0.*.*: somebody listens there and passes on   []
#   CASSANDRA_LOGIN   if set, nobody comes in without a password: user cassandra, password cassandra at first   []
#   CASSANDRA_JAVA    further Java options; for load: -XX:TieredStopAtLevel=4       []
#
# Needs a JDK 11 or 17 and Maven (scripts/install.sh fleet). Everything else comes through this machine's Maven.
set -euo pipefail

version=5.0.9
here=$(cd "$(dirname "$0")/../.." && pwd)
run=${CASSANDRA_RUN:-${CARGO_TARGET_DIR:-$here/target}/cassandra}
cache=${CASSANDRA_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/tidings/cassandra}/$version
patience_s=240

fail() { printf 'error: %s\n' "$*" >&2; exit 1; }

# --- one node -------------------------------------------------------------------------------------------------------

address() { printf '%s.%s' "$(cat "$run/network")" "$1"; }

# The process id of node $1, if it lives. A number that another program has got since does not count.
process() {
  local id
  id=$(cat "$run/node$1/pid" 2>/dev/null) || return 1
  tr '\0' ' ' 2>/dev/null <"/proc/$id/cmdline" | grep --quiet --fixed-strings "$run/node$1/cassandra.yaml" && echo "$id"
}

running() {
  local folder
  for folder in "$run"/node[0-9]*; do
    [ -d "$folder" ] && process "${folder##*/node}" >/dev/null && echo "${folder##*/node}"
  done
  return 0
}

signal() {
  local name=$1 node id
  shift
  [ $# -gt 0 ] || fail "which nodes? for example: cassandra.sh kill 1 2"
  for node in "$@"; do
    id=$(process "$node") || fail "node $node does not run"
    kill "-$name" "$id"
  done
}

# Whether a query to address $1 that all replicas must answer succeeds: a STARTUP and a QUERY frame of the CQL protocol,
# by hand, because neither cqlsh nor JMX needs to be there then. Rows come back as opcode 8. Who has to log in gets 58 bytes
# that name the authenticator instead of the 9 that say ready, and 13 when the password was right.
answers() {
  local query='SELECT * FROM system_distributed.view_build_status LIMIT 1' all='\x00\x05' startup frame opcode ready=9 login=''
  startup='\x04\x00\x00\x00\x01\x00\x00\x00\x16\x00\x01\x00\x0bCQL_VERSION\x00\x053.0.0'
  frame=$(printf '\\x04\\x00\\x00\\x00\\x07\\x00\\x00\\x00\\x%02x\\x00\\x00\\x00\\x%02x' $((${#query} + 7)) ${#query})
  if [ -n "${CASSANDRA_LOGIN:-}" ]; then
    ready=58 login='\x04\x00\x00\x00\x0f\x00\x00\x00\x18\x00\x00\x00\x14\x00cassandra\x00cassandra'
  fi
  opcode=$(timeout 5 bash -c '
    exec 3<>"/dev/tcp/$1/9042" || exit 1
    printf "$2" >&3; head --bytes "$6" <&3 >/dev/null
    [ -z "$7" ] || { printf "$7" >&3; head --bytes 13 <&3 >/dev/null; }
    printf "$3%s$5\x00" "$4" >&3; head --bytes 5 <&3 | od -An -tu1 | awk "{ print \$5 }"
  ' _ "$1" "$startup" "$frame" "$query" "$all" "$ready" "$login" 2>/dev/null) || return 1
  [ "$opcode" = 8 ]
}

listens() { timeout 2 bash -c "exec 3<>/dev/tcp/$1/$2" 2>/dev/null; }

# --- what a node is made of -----------------------------------------------------------------------------------------

fetch() {
  [ -e "$cache/fetched" ] && return
  command -v java >/dev/null && command -v mvn >/dev/null || fail "no Java or no Maven: run scripts/install.sh fleet"
  printf 'fetching Cassandra %s (once)\n' "$version"
  mkdir -p "$cache"
  cat >"$cache/pom.xml" <<XML
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>tidings</groupId><artifactId>cassandra-for-tests</artifactId><version>1</version><packaging>pom</packaging>
  <dependencies>
    <dependency><groupId>org.apache.cassandra</groupId><artifactId>cassandra-all</artifactId><version>$version</version></dependency>
  </dependencies>
</project>
XML
  mvn --quiet --batch-mode --file "$cache/pom.xml" dependency:copy-dependencies \
    -DincludeScope=runtime -DoutputDirectory="$cache/jars"
  cat >"$cache/logback.xml" <<'XML'
<configuration>
  <appender name="out" class="ch.qos.logback.core.ConsoleAppender">
    <encoder><pattern>%d{HH:mm:ss.SSS} %-5level %logger{0} %msg%n</pattern></encoder>
  </appender>
  <root level="INFO"><appender-ref ref="out"/></root>
</configuration>
XML
  touch "$cache/fetched"
}

# What three small nodes on one machine can bear, and the two things without which acknowledged rows get lost or wrong:
# a commit log that is synced before the answer, and Paxos v2.
configure() {
  local node=$1 count=$2 home=$run/node$1 seeds='' other sync
  for ((other = 1; other <= count; other++)); do seeds+=${seeds:+,}$(address $other):7000; done
  case ${CASSANDRA_SYNC:-group} in
    group) sync=$'commitlog_sync: group\ncommitlog_sync_group_window: 2ms' ;;
    batch) sync='commitlog_sync: batch' ;;
    periodic) sync=$'commitlog_sync: periodic\ncommitlog_sync_period: 10000ms' ;;
    *) fail "CASSANDRA_SYNC is group, batch or periodic" ;;
  esac
  mkdir -p "$home"
  cat >"$home/cassandra.yaml" <<YAML
cluster_name: tidings
partitioner: org.apache.cassandra.dht.Murmur3Partitioner
endpoint_snitch: SimpleSnitch
listen_address: $(address "$node")
rpc_address: $(address "$node")
${CASSANDRA_FRONT:+broadcast_rpc_address: $(address "$node" | sed 's/^127\.0\./127.1./')}
seed_provider:
  - class_name: org.apache.cassandra.locator.SimpleSeedProvider
    parameters: [{ seeds: "$seeds" }]
# The ring is known beforehand, so nobody waits for anybody and nothing is streamed.
num_tokens: 1
initial_token: $((-9223372036854775807 + (node - 1) * (9223372036854775807 / count * 2)))
auto_bootstrap: false
block_for_peers_timeout_in_secs: -1
$sync
commitlog_segment_size: 8MiB
commitlog_total_space: 64MiB
paxos_variant: v2
paxos_state_purging: gc_grace
storage_compatibility_mode: NONE
memtable_heap_space: 48MiB
memtable_offheap_space: 48MiB
file_cache_size: 32MiB
concurrent_reads: 8
concurrent_writes: 8
concurrent_compactors: 1
native_transport_max_threads: 16
# Clients may speak TLS; run/certificate.pem is whom to trust.
client_encryption_options:
  enabled: true
  optional: true
  keystore: $run/keys.p12
  keystore_password: for-tests
  store_type: PKCS12
auto_snapshot: false
disk_failure_policy: die
commit_failure_policy: die
${CASSANDRA_LOGIN:+authenticator: PasswordAuthenticator
authorizer: CassandraAuthorizer}
YAML
}

# One key and certificate for the $1 nodes of a cluster.
certify() {
  local node names=''
  [ -e "$run/certificate.pem" ] && return
  for ((node = 1; node <= $1; node++)); do names+=${names:+,}ip:$(address "$node"); done
  keytool -genkeypair -alias nodes -keyalg EC -groupname secp256r1 -validity 3650 -dname CN=tidings-tests -ext "san=$names" \
    -keystore "$run/keys.p12" -storetype PKCS12 -storepass for-tests 2>/dev/null
  keytool -exportcert -rfc -alias nodes -keystore "$run/keys.p12" -storepass for-tests -file "$run/certificate.pem" 2>/dev/null
}

# What a JDK of today asks to be told before Cassandra may look into it.
doors() {
  local package
  for package in java.base/{java.{lang,lang.module,lang.reflect,io,util,nio},sun.nio.ch} \
    java.base/jdk.internal.{loader,math,module,ref,reflect,util.jar} \
    jdk.management/com.sun.management.internal jdk.compiler/com.sun.tools.javac; do
    printf -- '--add-opens %s=ALL-UNNAMED ' "$package"
  done
  for package in java.base/{java.lang.ref,jdk.internal.misc} java.sql/java.sql jdk.unsupported/sun.misc \
    java.management.rmi/com.sun.jmx.remote.internal.rmi java.management/com.sun.jmx.remote.security \
    java.rmi/sun.rmi.{registry,server} jdk.attach/sun.tools.attach jdk.compiler/com.sun.tools.javac.file; do
    printf -- '--add-exports %s=ALL-UNNAMED ' "$package"
  done
}

# Starts node $1 of $2; what follows are Java options.
launch() {
  local node=$1 count=$2 home=$run/node$1 options
  shift 2
  # The first compiler alone: half the start, and a test never runs long enough to earn the second.
  options=(-Xms128m "-Xmx${CASSANDRA_HEAP:-384m}" -XX:MaxDirectMemorySize=192m -Xss256k -XX:ReservedCodeCacheSize=64m
    -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -XX:-UsePerfData -XX:+ExitOnOutOfMemoryError
    -XX:+UnlockDiagnosticVMOptions -XX:+AllowArchivingWithJavaAgent
    -Djdk.attach.allowAttachSelf=true -Djava.net.preferIPv4Stack=true -Dio.netty.tryReflectionSetAccessible=true
    -Dchronicle.analytics.disable=true
    "-Dcassandra.config=file://$home/cassandra.yaml" "-Dcassandra.storagedir=$home" "-Dcassandra.logdir=$home"
    "-Dlogback.configurationFile=file://$cache/logback.xml" -Dcassandra-foreground=yes
    -Dcassandra.available_processors=1 -Dcassandra.ring_delay_ms=2000
    -Dcassandra.skip_wait_for_gossip_to_settle=0 -Dcassandra.superuser_setup_delay_ms=0
    "-Dcassandra.system_distributed.default_rf=$count")
  # shellcheck disable=SC2046,SC2086 # lists of options
  MALLOC_ARENA_MAX=2 setsid nohup java "${options[@]}" "$@" ${CASSANDRA_JAVA:-} $(doors) \
    -javaagent:"$(echo "$cache"/jars/jamm-*.jar)" -cp "$cache/jars/*" org.apache.cassandra.service.CassandraDaemon \
    >>"$home/log" 2>&1 </dev/null 8>&- 9>&- &
  echo $! >"$home/pid"
}

# --- a cluster ------------------------------------------------------------------------------------------------------

is_free() { ! listens "127.0.$1.1" 9042 && ! listens "127.0.$1.1" 7000; }

# The first loopback network where nobody has a node: several clusters may run on one machine. A cluster keeps the one it
# has, for its addresses are in its data.
choose_network() {
  local third
  if [ -e "$run/network" ]; then
    [ -z "$(running)" ] || return 0
    third=$(cut --delimiter . --fields 3 "$run/network")
    # Of nodes that were killed a moment ago the last threads may still hold the ports.
    for _ in {1..50}; do is_free "$third" && return; sleep 0.2; done
    fail "another cluster has taken $(cat "$run/network").*: wipe this one"
  fi
  for third in {0..99}; do
    if is_free "$third"; then
      echo "127.0.$third" >"$run/network"
      return
    fi
  done
  fail "no loopback network is free"
}

# Returns when the nodes up to $1 answer.
await() {
  local node deadline=$((SECONDS + patience_s))
  for ((node = 1; node <= $1; node++)); do
    until answers "$(address "$node")"; do
      process "$node" >/dev/null || { tail -5 "$run/node$node/log" >&2; fail "node $node died; see $run/node$node/log"; }
      [ $SECONDS -lt $deadline ] || fail "node $node does not answer after $patience_s s; see $run/node$node/log"
      sleep 0.1
    done
  done
}

bring_up() {
  local count=$1 node archive=()
  [ -e "$cache/classes" ] && archive=("-XX:SharedArchiveFile=$cache/classes")
  choose_network
  certify "$count"
  for ((node = 1; node <= count; node++)); do
    process "$node" >/dev/null && continue
    configure "$node" "$count"
    launch "$node" "$count" "${archive[@]}"
  done
  await "$count"
}

# One run of a lone node leaves an archive of loaded classes: a third less work for each start to come.
prepare() {
  fetch
  [ -e "$cache/classes" ] && return
  printf 'preparing Cassandra for quick starts (once)\n'
  (
    run=$cache/first-run
    rm -rf "$run" && mkdir -p "$run"
    choose_network
    certify 1
    configure 1 1
    launch 1 1 "-XX:ArchiveClassesAtExit=$cache/classes"
    await 1
    end TERM
    rm -rf "$run"
  )
}

# Ends all nodes by signal $1; those that do not go are killed.
end() {
  local node id
  for node in $(running); do
    id=$(process "$node") || continue
    kill "-$1" "$id" && kill -CONT "$id" 2>/dev/null || true
  done
  for node in $(running); do
    for _ in {1..300}; do process "$node" >/dev/null || break; sleep 0.1; done
    if id=$(process "$node"); then kill -KILL "$id"; fi
  done
}

start() {
  local count=${1:-3} began=$SECONDS
  mkdir -p "$run" "$cache"
  # One at a time on a machine: the network is chosen and taken under the lock.
  exec 9>"$cache/lock"
  flock 9
  prepare
  bring_up "$count"
  flock --unlock 9
  printf '%s nodes answer on %s.* after %d s\n' "$count" "$(cat "$run/network")" $((SECONDS - began))
}

status() {
  local folder node id
  for folder in "$run"/node[0-9]*; do
    [ -d "$folder" ] || continue
    node=${folder##*/node}
    if id=$(process "$node"); then
      printf 'node %s on %s: process %s, %s MB, %s\n' "$node" "$(address "$node")" "$id" \
        "$(awk '/VmRSS/ { print int($2 / 1024) }' "/proc/$id/status")" \
        "$(answers "$(address "$node")" && echo answers || echo 'does not answer')"
    else
      printf 'node %s: down\n' "$node"
    fi
  done
}

contacts() {
  local folder list=''
  for folder in "$run"/node[0-9]*; do
    [ -d "$folder" ] && list+=${list:+,}$(address "${folder##*/node}"):9042
  done
  [ -n "$list" ] || fail "there is no cluster in $run"
  echo "$list"
}

command=${1:-help}
shift || true
case $command in
  install) mkdir -p "$cache"; exec 9>"$cache/lock"; flock 9; prepare ;;
  start) start "$@" ;;
  stop) end TERM ;;
  wipe) end KILL; rm -rf "$run"/node[0-9]* "$run"/{network,keys.p12,certificate.pem} ;;
  kill)
    signal KILL "$@"
    for node in "$@"; do while process "$node" >/dev/null; do sleep 0.05; done; done
    ;;
  pause) signal STOP "$@" ;;
  resume) signal CONT "$@" ;;
  contacts) contacts ;;
  certificate) echo "$run/certificate.pem" ;;
  status) status ;;
  *) sed -n '2,24s/^# \{0,1\}//p' "$0"; [ "$command" = help ] ;;
esac
