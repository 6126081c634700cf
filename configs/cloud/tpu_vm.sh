#!/usr/bin/env bash
# A TPU VM (v5e, eight chips on one host), which is deleted at the end.
#
# Command:  bash configs/cloud/tpu_vm.sh
# Expects:  PROJECT, REGION, BUCKET, ZONE (one of REGION with v5e, such as europe-west4-b) and, for Weights & Biases, WANDB_API_KEY exported;
#           the image train:tpu, the dataset in gs://$BUCKET/data (README.md). It ends with this terminal.
# Resume:   the same command
# Tried:    the script, with stand-ins for gcloud and docker (tests/test_cloud.py)
# Untried:  any TPU, the image, TPUStrategy, as neither a cloud account nor a TPU was available. TensorFlow for TPUs ends at 2.20.0;
#           on CPUs the project trains with 2.20.0.
set -euo pipefail
: "${PROJECT:?}" "${REGION:?}" "${BUCKET:?}" "${ZONE:?}"

name=tumor-train
where=("--project=$PROJECT" "--zone=$ZONE")
image=$REGION-docker.pkg.dev/$PROJECT/tumor/train:tpu
library=/usr/local/lib/python3.11/site-packages/libtpu/libtpu.so

gcloud compute tpus tpu-vm create "$name" "${where[@]}" --accelerator-type=v5litepod-8 --version=v2-alpha-tpuv5-lite \
  --scopes=https://www.googleapis.com/auth/cloud-platform
# It costs until it is deleted, whatever becomes of the training.
trap 'gcloud compute tpus tpu-vm delete "$name" "${where[@]}" --quiet' EXIT

# Root, privileged and the host's network: the TPU's device files, and the metadata server that says which TPU it is.
# The three variables choose the runtime that v5e needs. The batch is the one over all chips, so 32 each.
on_the_vm="
set -e
read -r WANDB_API_KEY
export WANDB_API_KEY
gcloud auth print-access-token | sudo docker login -u oauth2accesstoken --password-stdin https://$REGION-docker.pkg.dev
sudo --preserve-env=WANDB_API_KEY docker run --rm --init --user=root --privileged --network=host --env=WANDB_API_KEY \
  --env=PJRT_DEVICE=TPU --env=NEXT_PLUGGABLE_DEVICE_USE_C_API=true --env=TF_PLUGGABLE_DEVICE_LIBRARY_PATH=$library \
  $image train configs/default.toml --strategy=tpu --set=data.batch_size=256 \
  --data-dir=gs://$BUCKET/data --run-dir=gs://$BUCKET/runs/tpu
"
# The key goes in by standard input: a command line is seen by everyone on the machine.
gcloud compute tpus tpu-vm ssh "$name" "${where[@]}" --quiet --command="$on_the_vm" <<< "${WANDB_API_KEY:-}"
