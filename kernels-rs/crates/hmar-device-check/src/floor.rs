//! What a generation must compute and move at least, and how fast one H200 can.

use hmar_checkpoint::{Layout, ModelConfig, TokenizerConfig, pyramid_tokens};
use hmar_engine::{PassKind, Plan};

/// Bytes a second that a copy moves there, measured.
const BANDWIDTH: f64 = 4.3e12;
/// bfloat16 operations a second that a large product reaches there, measured.
const ARITHMETIC: f64 = 790e12;

/// Work, and the time it takes at least.
#[derive(Clone, Copy, Debug, Default)]
pub struct Work {
    /// Bytes moved.
    pub bytes: f64,
    /// Floating-point operations.
    pub flops: f64,
}

impl Work {
    /// Milliseconds at least.
    pub fn floor(self) -> f64 {
        (self.bytes / BANDWIDTH).max(self.flops / ARITHMETIC) * 1e3
    }
}

/// Halves of guidance a pass runs, negligible guidance skipped; all of VAR's, whose later passes attend to both.
pub fn halves(layout: Layout, plan: &Plan, index: usize) -> usize {
    if layout != Layout::Var && plan.passes[index].guidance.abs() < 1e-4 { 1 } else { 2 }
}

/// AdaLN for so many classes, bfloat16: every block's and head's projection is read.
pub fn condition(config: &ModelConfig, classes: usize) -> Work {
    let width = config.width as f64;
    let blocks = (config.base_depth() + 2 * config.branch_depth) as f64;
    let weights = width * width * (6.0 * blocks + 4.0);
    Work { bytes: 2.0 * weights, flops: 2.0 * weights * classes as f64 }
}

/// One pass over `images`: the weights of its path read once, every row multiplied, attention within the scale, or to all
/// earlier ones too.
pub fn pass(config: &ModelConfig, plan: &Plan, index: usize, images: usize) -> Work {
    let scale = plan.passes[index].scale;
    let positions = config.pyramid[scale].pow(2) as f64;
    let first_key = if config.layout == Layout::Var { 0 } else { scale };
    let keys = pyramid_tokens(&config.pyramid[first_key..=scale]) as f64;
    let sequences = (halves(config.layout, plan, index) * images) as f64;
    let (width, depth) = (config.width as f64, config.depth as f64);
    let weights =
        depth * width * width * (4.0 + 2.0 * config.mlp_ratio as f64) + width * config.codebook_size as f64;
    let rows = sequences * positions;
    debug_assert!(matches!(plan.passes[index].kind, PassKind::NextScale | PassKind::Masked));
    Work {
        bytes: 2.0 * weights + 4.0 * rows * config.codebook_size as f64,
        flops: 2.0 * rows * weights + 4.0 * depth * rows * keys * width,
    }
}

/// The decoder over `images` whose latent has `side` cells a side.
pub fn decoder(config: &TokenizerConfig, side: usize, images: usize) -> Work {
    let levels = config.channel_multipliers.len();
    let mut macs = 0.0;
    let mut weights = 0.0;
    let mut convolution = |side: usize, inputs: usize, outputs: usize, taps: usize| {
        let size = (inputs * outputs * taps) as f64;
        weights += size;
        macs += size * (side * side) as f64;
    };
    let last = config.level_channels(levels - 1);
    convolution(side, config.code_dimension, config.code_dimension, 9);
    convolution(side, config.code_dimension, last, 9);
    let residual = |convolution: &mut dyn FnMut(usize, usize, usize, usize), side, inputs, outputs| {
        convolution(side, inputs, outputs, 9);
        convolution(side, outputs, outputs, 9);
        if inputs != outputs {
            convolution(side, inputs, outputs, 1);
        }
    };
    let attention =
        |convolution: &mut dyn FnMut(usize, usize, usize, usize), side: usize, channels: usize| {
            convolution(side, channels, 3 * channels, 1);
            convolution(side, channels, channels, 1);
            // Scores and values: as if the pixels were so many outputs of a layer.
            convolution(side, channels, 2 * side * side, 1);
        };
    residual(&mut convolution, side, last, last);
    attention(&mut convolution, side, last);
    residual(&mut convolution, side, last, last);
    let mut now = side;
    let mut inputs = last;
    for level in (0..levels).rev() {
        let outputs = config.level_channels(level);
        for _ in 0..=config.residual_blocks {
            residual(&mut convolution, now, inputs, outputs);
            if level + 1 == levels {
                attention(&mut convolution, now, outputs);
            }
            inputs = outputs;
        }
        if level > 0 {
            now *= 2;
            convolution(now, outputs, outputs, 9);
        }
    }
    convolution(now, inputs, 3, 9);
    Work { bytes: 2.0 * weights, flops: 2.0 * macs * images as f64 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::released::{config, default_plan};

    /// The project's own estimates.
    #[test]
    fn the_floors_are_those_that_goals_were_set_by() {
        let cases = [
            (16, 256, 1, 2.2),
            (30, 256, 1, 11.3),
            (16, 256, 64, 79.0),
            (30, 256, 64, 337.0),
            (24, 512, 1, 13.6),
            (24, 1024, 1, 54.0),
            (24, 1024, 4, 204.0),
        ];
        for (depth, resolution, images, expected) in cases {
            let config = config(depth, Layout::Combined, resolution).expect("there is one");
            let plan = default_plan(&config);
            let passes: f64 =
                (0..plan.passes.len()).map(|index| pass(&config, &plan, index, images).floor()).sum();
            let decoder = decoder(&TokenizerConfig::released(), resolution / 16, images).floor();
            let all = passes + decoder + condition(&config, 2).floor();
            assert!(
                (all / expected - 1.0).abs() < 0.15,
                "d{depth} {resolution} px, batch {images}: {all} and {expected}"
            );
        }
    }
}
