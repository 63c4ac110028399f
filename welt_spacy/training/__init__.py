"""Losses, class weights, an optimizer, the length of examples."""
