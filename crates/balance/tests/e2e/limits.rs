//! Every limit, at its edge.
