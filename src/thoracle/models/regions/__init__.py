"""Evidence by region: what speaks for a finding, place by place in the chest's frame, from patches before attention."""
