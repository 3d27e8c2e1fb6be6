"""What runs inside the training container: a boot file a job, on `contract`, `training` and `checkpoints`."""
