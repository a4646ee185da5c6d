#!/usr/bin/env bash
# MLflow's server of a cluster's head: started once, in the background, and again whenever it ends.
#
#   mlflow_server.sh FOLDER         the server of FOLDER/mlflow.db on 127.0.0.1:5000; does nothing where one runs
#   mlflow_server.sh FOLDER wait    returns once it takes connections, or says after three minutes that it does not
#   mlflow_server.sh FOLDER stop    ends it
#
# It answers on loopback alone: there is no password on it, and the way to it is a forward of SSH. One process and no
# runner of jobs (19 s and .55 GB to the first answer on two busy cores; MLflow's default of four workers took 140 s).
# Artifacts go through the server into FOLDER/mlartifacts: their addresses name no machine. MLFLOW names the program.
set -euo pipefail

[ $# -ge 1 ] || { echo "usage: mlflow_server.sh FOLDER [wait | stop]" >&2; exit 2; }
folder=$1 mlflow=${MLFLOW:-$HOME/sdl-env/bin/mlflow} port=${MLFLOW_PORT:-5000}
state=$HOME/.sdl-mlflow
umask 077
mkdir -p "$folder" "$state"
export MLFLOW_DISABLE_TELEMETRY=true MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false

keep_running() {
  exec 9>"$state/lock"
  flock --nonblock 9 || exit 0 # one runs
  echo "$BASHPID" >"$state/pid"
  server=
  trap 'trap - TERM; [ -z "$server" ] || kill -- -"$server" 2>/dev/null || true; exit 0' TERM
  set -m # a process group for each server: MLflow's own children end with it
  while :; do
    "$mlflow" server --workers 1 --host 127.0.0.1 --port "$port" --uvicorn-opts "--log-level warning" \
      --backend-store-uri "sqlite:///$folder/mlflow.db" --serve-artifacts --artifacts-destination "$folder/mlartifacts" 9>&- &
    server=$!
    wait "$server" || true
    kill -KILL -- -"$server" 2>/dev/null || true # what it left would keep the port
    echo "$(date -u +%FT%TZ) the server ended; again in 5 s" >&2
    sleep 5
  done
}

takes_connections() { (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; }

case ${2:-start} in
  start)
    setsid --fork nohup "$0" "$folder" keep_running </dev/null >>"$state/log" 2>&1
    ;;
  keep_running) keep_running ;;
  wait)
    for _ in $(seq 180); do
      if takes_connections; then exit 0; fi
      sleep 1
    done
    echo "mlflow_server.sh: MLflow does not answer on port $port; its log: $state/log" >&2
    exit 1
    ;;
  stop)
    # The lock is free where none runs: a process id that was left may be another's by now.
    if flock --nonblock "$state/lock" true; then exit 0; fi
    kill "$(cat "$state/pid")"
    ;;
  *) echo "mlflow_server.sh: $2: start, wait or stop" >&2; exit 2 ;;
esac
