"""What the compiler says, what the clock says, what a graph says."""
