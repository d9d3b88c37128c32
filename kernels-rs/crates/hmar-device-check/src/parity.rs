//! Every operation against the CPU or a twin in float64.

mod attention;
mod convolution;
mod embed;
mod features;
mod group_norm;
mod linear;
mod norm;
mod picture;
mod quantizer;
mod sampling;

use crate::check::Check;

/// All groups of checks, by name.
pub fn groups() -> Vec<(&'static str, Vec<Check>)> {
    vec![
        ("features", features::checks()),
        ("linear", linear::checks()),
        ("norm", norm::checks()),
        ("embed", embed::checks()),
        ("attention", attention::checks()),
        ("convolution", convolution::checks()),
        ("group_norm", group_norm::checks()),
        ("picture", picture::checks()),
        ("sampling", sampling::checks()),
        ("quantizer", quantizer::checks()),
    ]
}
