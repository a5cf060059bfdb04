#!/usr/bin/env bash
#SBATCH --job-name=cslm
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=8
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=8
#SBATCH --time=24:00:00
#SBATCH --signal=USR1@300
#SBATCH --requeue
#SBATCH --open-mode=append
#
# One run on several machines, one task for each GPU, from the root of the checkout:
#
#   sbatch recipes/multi_node/slurm.sh recipes/pretrain.py --config YAML [--section.key value ...]
#
# What stands above may be given to sbatch as options instead. 300 seconds before its time is over the run gets USR1,
# saves and leaves with status 75; the job then goes back into the queue and resumes where it stopped.
set -euo pipefail

stopped=75 # STOPPED_STATUS of cslm/errors.py

[ $# -ge 1 ] || { echo "usage: sbatch $0 SCRIPT --config YAML ..." >&2 && exit 2; }
read -r MASTER_ADDR < <(scontrol show hostnames "$SLURM_JOB_NODELIST") # the first machine
MASTER_PORT=$((20000 + SLURM_JOB_ID % 20000))
export MASTER_ADDR MASTER_PORT

# All tasks leave within seconds of one another. --wait ends those that outlive a task that crashed, in place of
# --kill-on-bad-exit, which would kill the tasks that are still leaving after a save.
status=0
# shellcheck disable=SC2016  # each task expands its own variables
srun --kill-on-bad-exit=0 --wait=120 bash -c '
    export RANK=$SLURM_PROCID LOCAL_RANK=$SLURM_LOCALID WORLD_SIZE=$SLURM_NTASKS
    export LOCAL_WORLD_SIZE=${SLURM_NTASKS_PER_NODE:-1}
    exec python "$@"
' task "$@" || status=$?

if [ "$status" -eq "$stopped" ]; then
    echo "stopped and saved: job $SLURM_JOB_ID goes back into the queue"
    scontrol requeue "$SLURM_JOB_ID"
fi
exit "$status"
