#!/usr/bin/env bash
# Slurm, two nodes with one GPU each.
#
# Command:  sbatch configs/cloud/slurm.sh       from the root of the repository
# Expects:  .venv with the extra `train` and 'tensorflow[and-cuda]==2.21.0', the dataset in ~/tensorflow_datasets (`tumor build`), and this
#           folder, all on a file system that both nodes see; node names that sort as Slurm counts them (gpu08, gpu09, gpu10)
# Resume:   the same command; a job that is preempted or out of time goes back into the queue by itself
# Tried:    the script, with stand-ins for srun and scontrol (tests/test_cloud.py); two processes on CPUs with Slurm's variables
# Untried:  a Slurm cluster, a GPU
#SBATCH --job-name=tumor
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-task=1
#SBATCH --cpus-per-task=8
#SBATCH --mem=16G
#SBATCH --time=02:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
# Two minutes before the end, to the tasks and not to this script: `tumor train` saves and exits with 143. A task that hears of it a step
# later than the other fails instead; then the newest checkpoint counts, at most five minutes old, and srun still gives the higher code, 143.
#SBATCH --signal=TERM@120
set -euo pipefail

# TensorFlow sorts the nodes by name and takes the first for task 0, which Slurm does not where gpu10 comes after gpu9.
nodes=$(scontrol show hostnames "$SLURM_JOB_NODELIST")
if [ "$nodes" != "$(LC_ALL=C sort <<< "$nodes")" ]; then
  echo "Expected node names in alphabetical order, got" $nodes. "Choose others: sbatch --nodelist=..." >&2
  exit 1
fi

status=0
# The batch is the one over both nodes, so 32 each. srun no longer takes over --cpus-per-task by itself.
srun --cpus-per-task="$SLURM_CPUS_PER_TASK" .venv/bin/tumor train configs/default.toml --strategy=multiworker \
  --set=data.batch_size=64 --run-dir=runs/slurm || status=$?
if [ "$status" -eq 143 ]; then
  scontrol requeue "$SLURM_JOB_ID"
fi
exit "$status"
