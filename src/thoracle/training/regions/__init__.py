"""Fit what reads findings place by place: a regression at each place, and a network that learns from its maps."""
