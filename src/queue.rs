//! The bounded queue between callers and worker, its door (the budget) and its bell.
