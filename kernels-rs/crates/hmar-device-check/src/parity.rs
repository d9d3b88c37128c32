//! Every operation against the CPU or a twin in float64.

mod attention;
mod attention_backward;
mod attention_forward;
mod convolution;
mod embed;
mod features;
mod fp8;
mod group_norm;
mod linear;
mod norm;
mod path;
mod picture;
mod quantizer;
mod sampling;

use crate::check::Check;
use crate::options::Options;
use crate::part::{Part, PartResult};

/// Seconds a check may take; the CPU's part is the longest.
const LIMIT: u64 = 120;

/// All groups of checks, by name.
fn groups() -> Vec<(&'static str, Vec<Check>)> {
    vec![
        ("features", features::checks()),
        ("linear", linear::checks()),
        ("fp8", fp8::checks()),
        ("norm", norm::checks()),
        ("embed", embed::checks()),
        ("attention", attention::checks()),
        ("attention_forward", attention_forward::checks()),
        ("attention_backward", attention_backward::checks()),
        ("path", path::checks()),
        ("convolution", convolution::checks()),
        ("group_norm", group_norm::checks()),
        ("picture", picture::checks()),
        ("sampling", sampling::checks()),
        ("quantizer", quantizer::checks()),
    ]
}

/// Every check as a part; without those that only measure where no times are asked for.
pub fn parts(options: &Options) -> Vec<Part> {
    let named = |(group, checks): (&'static str, Vec<Check>)| {
        let wanted = checks.into_iter().filter(|check| options.timed || !check.only_timed);
        wanted.map(move |check| {
            let run = check.run;
            Part::new(format!("parity/{group}/{}", check.name), LIMIT, move |world| {
                Ok(PartResult::of(&run(world.ctx()?)?))
            })
        })
    };
    groups().into_iter().flat_map(named).collect()
}
