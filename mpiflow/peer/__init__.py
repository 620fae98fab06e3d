"""One rank among equals: epochs, transfers, and the loop that runs its part of the plan. All of MPI is here."""
