#!/bin/bash
# Training on two machines of eight GPUs: one task a GPU, each of them a rank (docs/distributed.md). Submit with sbatch;
# submit it again, or let Slurm requeue it, and training goes on from its last checkpoint.
#SBATCH --job-name=tessera
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=8
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=8
#SBATCH --time=24:00:00
#SBATCH --requeue
#SBATCH --output=tessera-%j.log

set -euo pipefail
export OMP_NUM_THREADS="${SLURM_CPUS_PER_TASK:-1}"

# At the end of its time Slurm sends SIGTERM, then waits KillWait (30 s): the ranks finish their step and save.
srun --kill-on-bad-exit=1 --label \
  tessera train --model enat-l --data tokens/train --out runs/enat-l "$@"
