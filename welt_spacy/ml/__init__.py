"""Model architectures, losses, class weights and optimizers."""
