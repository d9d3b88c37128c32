//! VAR: block-causal attention, its cache, and the AdaLN that blocks may share.

mod cache;
mod large;
mod models;
mod shared_ada_ln;
mod twin;
