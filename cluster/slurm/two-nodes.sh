#!/bin/bash
# raybench run my-sweep: a Ray cluster inside this allocation, the driver in the batch shell.
# Before the time limit the run is ended cleanly and the job requeued; what is committed stays, and the next start goes on from there.
#SBATCH --job-name=raybench-my-sweep
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=32
#SBATCH --time=04:00:00
#SBATCH --output=/shared/runs/my-sweep.slurm/slurm.log
#SBATCH --open-mode=append
#SBATCH --requeue
#SBATCH --signal=B:USR1@120
#SBATCH --gpus-per-node=8
#SBATCH --partition=gpu
#SBATCH --account=research
set -u
folder=/shared/runs/my-sweep.slurm         # this script, the configuration, the token, the log, the exit code; on storage that all nodes share
python=python3
module load cuda
# Whoever reaches a Ray without a token can run code on it.
export RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH="$folder/token"
[ -s "$RAY_AUTH_TOKEN_PATH" ] || (umask 077 && od -An -N32 -tx1 /dev/urandom | tr -d ' \n' > "$RAY_AUTH_TOKEN_PATH")
export RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S=3   # Slurm kills a step soon after TERM

# Several jobs may share a machine: ports and folders follow from the job's number, and nothing is ended by `ray stop`.
mapfile -t nodes < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
port=$((20000 + (SLURM_JOB_ID * 10 + ${SLURM_RESTART_COUNT:-0}) % 12000)) # a new one for each start: the head before may still be ending
temp="${TMPDIR:-/tmp}/rb-$SLURM_JOB_ID-${SLURM_RESTART_COUNT:-0}"
address=$(srun --overlap --nodes=1 --ntasks=1 --nodelist="${nodes[0]}" hostname -I | awk '{print $1; exit}')
export RAY_ADDRESS="$address:$port"

# Ray sees the whole machine, not the allocation: everything is said explicitly.
starters=()
start_node() {
    node=$1
    shift
    srun --overlap --nodes=1 --ntasks=1 --cpus-per-task=32 --gpus-per-node=8 --nodelist="$node" \
        "$python" -m ray.scripts.scripts start "$@" --num-cpus=32 --num-gpus=8 --object-store-memory=1000000000 \
        --disable-usage-stats --block > "$folder/ray-$node.log" 2>&1 &
    starters+=(--starter $!)
}
start_node "${nodes[0]}" --head --node-ip-address="$address" --port="$port" --include-dashboard=false --temp-dir="$temp"
"$python" -m raybench.launch.nodes --address "$RAY_ADDRESS" --nodes 0 --timeout-s 300 "${starters[@]}" || exit 3
for node in "${nodes[@]:1}"; do start_node "$node" --address="$RAY_ADDRESS"; done
"$python" -m raybench.launch.nodes --address "$RAY_ADDRESS" --nodes "${#nodes[@]}" --timeout-s 300 "${starters[@]}" || exit 3

"$python" -m raybench.launch.attempts --retries 2 --require HF_TOKEN -- \
    run "$folder/config.yaml" --output /shared/runs/my-sweep --address "$RAY_ADDRESS" &
driver=$!
is_time_over=no
trap 'is_time_over=yes; kill -TERM "$driver"' USR1   # the time limit comes
trap 'kill -TERM "$driver"' TERM                     # scancel
while :; do # a trap interrupts `wait`: the code counts when the driver has ended
    wait "$driver"
    code=$?
    kill -0 "$driver" 2> /dev/null || break
done

if [ "$code" = 3 ] && [ "$is_time_over" = yes ] && [ "${SLURM_RESTART_COUNT:-0}" -lt 50 ]; then
    echo "raybench: the time is over; requeued, start $((${SLURM_RESTART_COUNT:-0} + 2))"
    exec scontrol requeue "$SLURM_JOB_ID" # ends this script at once: nothing may come after it
fi
echo "$code" > "$folder/exit_code"
exit "$code"
