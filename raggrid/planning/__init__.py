"""What a study will cost: trials, cost model, pricing, devices, makespan."""
