//! The sampler against the specification: exact cases, a naive twin in float64, and χ² of what it draws.

mod chi_squared;
mod differential;
mod distribution;
mod random;
mod rules;
mod selection;
mod soft_decoding;
mod twin;
