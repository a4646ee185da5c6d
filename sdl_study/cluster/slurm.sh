#!/usr/bin/env bash
# A study as a Slurm job, in a Ray cluster of the job's own, which ends with it:
#
#   sbatch sdl_study/cluster/slurm.sh mimic --data /shared/prepared/mimic --out /shared/studies
#
# Submitted from the clone, in a shared folder, whose .venv `make study` made; --out and --data are shared too. Before the
# time is up, and when Slurm takes nodes away, the study ends in order and the job queues again; the study then goes on
# where it was. SDL_PYTHON names another interpreter; SDL_INTERFACE the network interface that Ray and the gradients
# use (ib0), where a node has several. The runs: mlflow ui --backend-store-uri sqlite:////shared/studies/mlflow.db
#
# Checked with shellcheck. It has not been run by us.

#SBATCH --job-name=sdl-study
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=32
#SBATCH --time=24:00:00
#SBATCH --signal=B:TERM@300
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=sdl-study-%j.log
set -euo pipefail

[ $# -ge 1 ] || { echo "slurm.sh: name a study, and what follows it: mimic --data DIR --out DIR" >&2; exit 2; }
python=${SDL_PYTHON:-$SLURM_SUBMIT_DIR/.venv/bin/python} interface=${SDL_INTERFACE:-}
state=${SDL_STATE:-$HOME/.sdl-slurm}
export RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH=$state/$SLURM_JOB_ID.token
export RAY_USAGE_STATS_ENABLED=0 MLFLOW_DISABLE_TELEMETRY=true HF_HUB_DISABLE_TELEMETRY=1
# A node that does not answer is given up after 12 s; by Ray's own settings after 64 s.
export RAY_health_check_period_ms=1000 RAY_health_check_timeout_ms=3000 RAY_health_check_failure_threshold=3
export PYTHONPATH=$SLURM_SUBMIT_DIR
unset RAY_ADDRESS
if [ -n "$interface" ]; then export NCCL_SOCKET_IFNAME=$interface GLOO_SOCKET_IFNAME=$interface; fi

# A token of the job's own, which other users of the nodes cannot read.
(umask 077 && mkdir -p "$state" && "$python" -c 'import secrets; print(secrets.token_hex(32), end="")' >"$RAY_AUTH_TOKEN_PATH")

# Ports and a folder of the job's own: nodes may be shared. Those that are not named here are free ones.
base=$((20000 + SLURM_JOB_ID % 1000 * 10))
folder=/tmp/sdl-ray-$SLURM_JOB_ID
address_of() { # of the node that this runs on
  if [ -n "$interface" ]; then
    ip -4 -oneline address show dev "$interface" | awk '{sub("/.*", "", $4); print $4; exit}'
  else
    hostname -I | awk '{print $1}'
  fi
}
head=$(address_of)
start=("$python" -m ray.scripts.scripts start "--temp-dir=$folder" --disable-usage-stats --block
  "--num-gpus=${SLURM_GPUS_ON_NODE:-0}" "--num-cpus=${SLURM_CPUS_PER_TASK:-1}"
  "--dashboard-agent-listen-port=$((base + 2))")

driver='' cluster=() asked=''
# shellcheck disable=SC2329  # both are called by traps
end_in_order() {
  asked=yes
  [ -z "$driver" ] || kill -TERM "$driver" 2>/dev/null || true
}
# shellcheck disable=SC2329
leave() {
  [ ${#cluster[@]} -eq 0 ] || kill -TERM "${cluster[@]}" 2>/dev/null || true
  wait
  rm -f "$RAY_AUTH_TOKEN_PATH"
}
trap end_in_order TERM
trap leave EXIT

# The head is the node that this script runs on; it trains too.
srun --nodes=1 --ntasks=1 --nodelist="$SLURMD_NODENAME" --overlap \
  "${start[@]}" --head "--node-ip-address=$head" "--port=$base" "--ray-client-server-port=$((base + 1))" \
  --include-dashboard=false >"$SLURM_SUBMIT_DIR/sdl-study-$SLURM_JOB_ID-head.log" 2>&1 &
cluster+=($!)
if [ "$SLURM_JOB_NUM_NODES" -gt 1 ]; then
  others=$((SLURM_JOB_NUM_NODES - 1))
  # shellcheck disable=SC2016  # each node expands it for itself
  srun --nodes="$others" --ntasks="$others" --exclude="$SLURMD_NODENAME" --overlap \
    bash -c "$(declare -f address_of)"' interface=$1; shift; exec "$@" "--node-ip-address=$(address_of)"' start \
    "$interface" "${start[@]}" "--address=$head:$base" >"$SLURM_SUBMIT_DIR/sdl-study-$SLURM_JOB_ID-nodes.log" 2>&1 &
  cluster+=($!)
fi

# All nodes, or those that are there after three minutes: the study waits for its workers by itself.
"$python" - "$head:$base" "$SLURM_JOB_NUM_NODES" <<'END' &
import sys, time, ray

end = time.monotonic() + 180
while time.monotonic() < end:
    try:
        if not ray.is_initialized():
            ray.init(sys.argv[1], logging_level="error", log_to_driver=False)
        there = sum(node["Alive"] for node in ray.nodes())
        if there >= int(sys.argv[2]):
            sys.exit(0)
    except ConnectionError:
        pass
    time.sleep(2)
sys.exit("slurm.sh: Ray is not on all nodes after 180 s; see the logs beside this one")
END
driver=$!
wait "$driver" || [ -n "$asked" ] || kill -0 "${cluster[0]}"

code=0
if [ -z "$asked" ]; then
  "$python" -m sdl_study.run study "$@" --address "$head:$base" &
  driver=$!
  wait "$driver" || code=$?
  # The signal ended the waiting, not yet the study.
  if [ -n "$asked" ]; then code=0 && wait "$driver" || code=$?; fi
fi
if [ -n "$asked" ]; then
  echo "slurm.sh: the time is up or the nodes are taken; the job queues again" >&2
  scontrol requeue "$SLURM_JOB_ID"
fi
exit "$code"
