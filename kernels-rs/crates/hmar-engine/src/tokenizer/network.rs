//! Encoder and decoder (2.2): residual and attention blocks at falling and rising sizes, channels last.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use hmar_checkpoint::{TokenizerConfig, tokenizer_tensors};
use hmar_error::Result;
use hmar_ops::{AttentionShape, Backend, ConvolutionShape, GroupNorm, Scores, Span, Walk};

use crate::Cancel;
use crate::load::{Layer, Wanted, Weights};
use crate::memory::{Allocator, Claim};

/// Pictures between layers.
pub(super) struct Pictures<B: Backend> {
    pub(super) features: B::Features,
    /// Made with the features by every convolution whose result is normalised.
    sums: B::GroupSums,
}

impl<B: Backend> Pictures<B> {
    fn allocate(
        backend: &B,
        memory: &Allocator<'_, B>,
        images: usize,
        largest: usize,
        side: usize,
    ) -> Result<Self> {
        Ok(Pictures {
            features: memory.allocate_features(images * largest)?,
            sums: backend.group_sums(images, side)?,
        })
    }
}

/// What flows through the network: the current activations, two buffers beside them, and its two ends.
pub(super) struct Activations<B: Backend> {
    /// Pictures that fit.
    pub(super) capacity: usize,
    /// Pictures that are in them.
    pub(super) images: usize,
    pub(super) picture_side: usize,
    pub(super) current: Pictures<B>,
    normed: B::Features,
    other: Pictures<B>,
    /// The latents to decode, `[images, S, S, Z]`.
    pub(super) latents: B::Buffer<f32>,
    /// Pictures or latents in float32, on their way in or out.
    pub(super) values: B::Buffer<f32>,
    pub(super) bytes: B::Buffer<u8>,
    /// Decoding so many images.
    pub(super) decodings: HashMap<usize, B::Recording>,
    _claim: Claim,
}

impl<B: Backend> Activations<B> {
    /// Room for the largest layer at this size of picture, added to `total`.
    pub(super) fn allocate(
        backend: &B,
        config: &TokenizerConfig,
        images: usize,
        picture_side: usize,
        total: &Arc<AtomicU64>,
    ) -> Result<Self> {
        let memory = Allocator::new(backend);
        let last = config.channel_multipliers.len() - 1;
        let largest = (0..=last)
            .map(|level| {
                // The decoder enters a level with the channels of the one below it, enlarged already.
                let channels = config.level_channels(level).max(config.level_channels((level + 1).min(last)));
                let attention = if level == last { 3 } else { 1 };
                (picture_side >> level).pow(2) * channels * attention
            })
            .max()
            .unwrap_or(0);
        let latent = (picture_side >> last).pow(2) * config.code_dimension;
        let picture = 3 * picture_side * picture_side;
        Ok(Activations {
            capacity: images,
            images,
            picture_side,
            current: Pictures::allocate(backend, &memory, images, largest, picture_side)?,
            normed: memory.allocate_features(images * largest)?,
            other: Pictures::allocate(backend, &memory, images, largest, picture_side)?,
            latents: memory.allocate(images * latent)?,
            values: memory.allocate(images * picture.max(latent))?,
            bytes: memory.allocate(images * picture)?,
            decodings: HashMap::new(),
            // The last, when all else is counted.
            _claim: memory.claim(total),
        })
    }

    fn step(&mut self) {
        std::mem::swap(&mut self.current, &mut self.other);
    }
}

/// Asks for every layer of encoder and decoder.
pub(super) fn want(wanted: &mut Wanted, config: &TokenizerConfig) {
    let network = |name: &str| name.starts_with("encoder.") || name.starts_with("decoder.");
    for tensor in tokenizer_tensors(config).iter().filter(|tensor| network(&tensor.name)) {
        if tensor.shape.len() == 4 { wanted.matrix(&tensor.name) } else { wanted.vector(&tensor.name) }
    }
}

struct Norm<B: Backend> {
    weight: B::Buffer<f32>,
    bias: B::Buffer<f32>,
    channels: usize,
}

impl<B: Backend> Norm<B> {
    fn take(weights: &mut Weights<'_, B>, name: &str, channels: usize) -> Result<Self> {
        Ok(Norm {
            weight: weights.buffer(&format!("{name}.weight"))?,
            bias: weights.buffer(&format!("{name}.bias"))?,
            channels,
        })
    }

    /// Normalises pictures that a convolution made with their sums.
    fn run(
        &self,
        backend: &B,
        images: usize,
        side: usize,
        activate: bool,
        input: &Pictures<B>,
        out: &mut B::Features,
    ) -> Result<()> {
        let norm = GroupNorm {
            images,
            pixels: side * side,
            channels: self.channels,
            weight: &self.weight,
            bias: &self.bias,
            activate,
            sums: Some(&input.sums),
        };
        backend.group_norm(norm, &input.features, out)
    }
}

impl<B: Backend> Layer<B> {
    /// Convolves into pictures that are normalised next.
    fn convolve(
        &self,
        backend: &B,
        shape: ConvolutionShape,
        input: &B::Features,
        residual: Option<&B::Features>,
        out: &mut Pictures<B>,
    ) -> Result<()> {
        let Pictures { features, sums } = out;
        backend.convolution(shape, input, &self.weight, &self.bias, residual, features, Some(sums))
    }

    /// Convolves into what is not normalised.
    fn convolve_plainly(
        &self,
        backend: &B,
        shape: ConvolutionShape,
        input: &B::Features,
        out: &mut B::Features,
    ) -> Result<()> {
        backend.convolution(shape, input, &self.weight, &self.bias, None, out, None)
    }
}

fn same(images: usize, side: usize) -> ConvolutionShape {
    ConvolutionShape { images, side, walk: Walk::Same }
}

/// `conv2(silu(norm2(conv1(silu(norm1(x))))))` plus x, or plus its 1×1 convolution where channels change.
struct ResidualBlock<B: Backend> {
    norm1: Norm<B>,
    conv1: Layer<B>,
    norm2: Norm<B>,
    conv2: Layer<B>,
    shortcut: Option<Layer<B>>,
}

impl<B: Backend> ResidualBlock<B> {
    fn take(weights: &mut Weights<'_, B>, name: &str, inputs: usize, outputs: usize) -> Result<Self> {
        Ok(ResidualBlock {
            norm1: Norm::take(weights, &format!("{name}.norm1"), inputs)?,
            conv1: weights.layer(&format!("{name}.conv1"))?,
            norm2: Norm::take(weights, &format!("{name}.norm2"), outputs)?,
            conv2: weights.layer(&format!("{name}.conv2"))?,
            shortcut: if inputs == outputs {
                None
            } else {
                Some(weights.layer(&format!("{name}.nin_shortcut"))?)
            },
        })
    }

    fn run(&self, backend: &B, side: usize, activations: &mut Activations<B>) -> Result<()> {
        let Activations { images, current, normed, other, .. } = activations;
        let images = *images;
        let shape = same(images, side);
        self.norm1.run(backend, images, side, true, current, normed)?;
        self.conv1.convolve(backend, shape, normed, None, other)?;
        self.norm2.run(backend, images, side, true, other, normed)?;
        match &self.shortcut {
            None => {
                self.conv2.convolve(backend, shape, normed, Some(&current.features), other)?;
                activations.step();
            }
            Some(shortcut) => {
                shortcut.convolve_plainly(backend, shape, &current.features, &mut other.features)?;
                self.conv2.convolve(backend, shape, normed, Some(&other.features), current)?;
            }
        }
        Ok(())
    }
}

/// One head over all pixels.
struct AttentionBlock<B: Backend> {
    norm: Norm<B>,
    qkv: Layer<B>,
    out: Layer<B>,
}

impl<B: Backend> AttentionBlock<B> {
    fn take(weights: &mut Weights<'_, B>, name: &str, channels: usize) -> Result<Self> {
        Ok(AttentionBlock {
            norm: Norm::take(weights, &format!("{name}.norm"), channels)?,
            qkv: weights.layer(&format!("{name}.qkv"))?,
            out: weights.layer(&format!("{name}.proj_out"))?,
        })
    }

    fn run(&self, backend: &B, side: usize, activations: &mut Activations<B>) -> Result<()> {
        let Activations { images, current, normed, other, .. } = activations;
        let images = *images;
        let (pixels, channels) = (side * side, self.norm.channels);
        self.norm.run(backend, images, side, false, current, normed)?;
        let convolution = same(images, side);
        self.qkv.convolve_plainly(backend, convolution, normed, &mut other.features)?;
        let shape = AttentionShape {
            sequences: images,
            rows: pixels,
            heads: 1,
            head_width: channels,
            spans: &[Span { queries: 0..pixels, keys: 0..pixels }],
        };
        backend.attention(shape, &other.features, Scores::Scaled(1.0 / (channels as f32).sqrt()), normed)?;
        self.out.convolve(backend, convolution, normed, Some(&current.features), other)?;
        activations.step();
        Ok(())
    }
}

/// A residual block and, on the last level, the attention after it.
struct Stage<B: Backend> {
    residual: ResidualBlock<B>,
    attention: Option<AttentionBlock<B>>,
}

/// The stages of a level and the change of size after them.
struct Level<B: Backend> {
    stages: Vec<Stage<B>>,
    resize: Option<(Layer<B>, Walk)>,
}

impl<B: Backend> Level<B> {
    fn take(
        weights: &mut Weights<'_, B>,
        name: &str,
        count: usize,
        inputs: usize,
        outputs: usize,
        attends: bool,
    ) -> Result<Vec<Stage<B>>> {
        (0..count)
            .map(|index| {
                let inputs = if index == 0 { inputs } else { outputs };
                let residual =
                    ResidualBlock::take(weights, &format!("{name}.block.{index}"), inputs, outputs)?;
                let attention = attends
                    .then(|| AttentionBlock::take(weights, &format!("{name}.attn.{index}"), outputs))
                    .transpose()?;
                Ok(Stage { residual, attention })
            })
            .collect()
    }

    /// Runs the level at `side`; returns the side it leaves.
    fn run(
        &self,
        backend: &B,
        side: usize,
        activations: &mut Activations<B>,
        cancel: &Cancel,
    ) -> Result<usize> {
        for Stage { residual, attention } in &self.stages {
            cancel.check()?;
            residual.run(backend, side, activations)?;
            if let Some(attention) = attention {
                attention.run(backend, side, activations)?;
            }
        }
        let Some((layer, walk)) = &self.resize else { return Ok(side) };
        let shape = ConvolutionShape { images: activations.images, side, walk: *walk };
        layer.convolve(backend, shape, &activations.current.features, None, &mut activations.other)?;
        activations.step();
        Ok(shape.output_side())
    }
}

/// Residual, attention, residual at the smallest size.
struct Middle<B: Backend> {
    first: ResidualBlock<B>,
    attention: AttentionBlock<B>,
    second: ResidualBlock<B>,
}

impl<B: Backend> Middle<B> {
    fn take(weights: &mut Weights<'_, B>, name: &str, channels: usize) -> Result<Self> {
        Ok(Middle {
            first: ResidualBlock::take(weights, &format!("{name}.block_1"), channels, channels)?,
            attention: AttentionBlock::take(weights, &format!("{name}.attn_1"), channels)?,
            second: ResidualBlock::take(weights, &format!("{name}.block_2"), channels, channels)?,
        })
    }

    fn run(&self, backend: &B, side: usize, activations: &mut Activations<B>) -> Result<()> {
        self.first.run(backend, side, activations)?;
        self.attention.run(backend, side, activations)?;
        self.second.run(backend, side, activations)
    }
}

/// A convolution on its own, in place of the current activations.
fn convolve<B: Backend>(
    backend: &B,
    side: usize,
    layer: &Layer<B>,
    activations: &mut Activations<B>,
) -> Result<()> {
    let Activations { images, current, other, .. } = activations;
    layer.convolve(backend, same(*images, side), &current.features, None, other)?;
    activations.step();
    Ok(())
}

/// `conv_out(silu(norm_out(x)))`.
struct Output<B: Backend> {
    norm: Norm<B>,
    conv: Layer<B>,
}

impl<B: Backend> Output<B> {
    fn take(weights: &mut Weights<'_, B>, network: &str, channels: usize) -> Result<Self> {
        Ok(Output {
            norm: Norm::take(weights, &format!("{network}.norm_out"), channels)?,
            conv: weights.layer(&format!("{network}.conv_out"))?,
        })
    }

    fn run(&self, backend: &B, side: usize, activations: &mut Activations<B>) -> Result<()> {
        let Activations { images, current, normed, .. } = activations;
        self.norm.run(backend, *images, side, true, current, normed)?;
        self.conv.convolve_plainly(backend, same(*images, side), normed, &mut current.features)
    }
}

/// Pictures to latents.
pub(super) struct Encoder<B: Backend> {
    conv_in: Layer<B>,
    levels: Vec<Level<B>>,
    middle: Middle<B>,
    output: Output<B>,
}

impl<B: Backend> Encoder<B> {
    pub(super) fn take(weights: &mut Weights<'_, B>, config: &TokenizerConfig) -> Result<Self> {
        let last = config.channel_multipliers.len() - 1;
        let levels = (0..=last)
            .map(|level| {
                let name = format!("encoder.down.{level}");
                let inputs = if level == 0 { config.channels } else { config.level_channels(level - 1) };
                let outputs = config.level_channels(level);
                Ok(Level {
                    stages: Level::take(
                        weights,
                        &name,
                        config.residual_blocks,
                        inputs,
                        outputs,
                        level == last,
                    )?,
                    resize: (level != last)
                        .then(|| Ok((weights.layer(&format!("{name}.downsample.conv"))?, Walk::Downsample)))
                        .transpose()?,
                })
            })
            .collect::<Result<_>>()?;
        Ok(Encoder {
            conv_in: weights.layer("encoder.conv_in")?,
            levels,
            middle: Middle::take(weights, "encoder.mid", config.level_channels(last))?,
            output: Output::take(weights, "encoder", config.level_channels(last))?,
        })
    }

    /// `current [images, side, side, 3]` to `[images, S, S, Z]`.
    pub(super) fn run(
        &self,
        backend: &B,
        side: usize,
        activations: &mut Activations<B>,
        cancel: &Cancel,
    ) -> Result<()> {
        convolve(backend, side, &self.conv_in, activations)?;
        let mut side = side;
        for level in &self.levels {
            side = level.run(backend, side, activations, cancel)?;
        }
        self.middle.run(backend, side, activations)?;
        self.output.run(backend, side, activations)
    }
}

/// Latents to pictures.
pub(super) struct Decoder<B: Backend> {
    conv_in: Layer<B>,
    middle: Middle<B>,
    /// From the smallest to the largest.
    levels: Vec<Level<B>>,
    output: Output<B>,
}

impl<B: Backend> Decoder<B> {
    pub(super) fn take(weights: &mut Weights<'_, B>, config: &TokenizerConfig) -> Result<Self> {
        let last = config.channel_multipliers.len() - 1;
        let levels = (0..=last)
            .rev()
            .map(|level| {
                let name = format!("decoder.up.{level}");
                let inputs = config.level_channels((level + 1).min(last));
                let outputs = config.level_channels(level);
                let count = config.residual_blocks + 1;
                Ok(Level {
                    stages: Level::take(weights, &name, count, inputs, outputs, level == last)?,
                    resize: (level != 0)
                        .then(|| Ok((weights.layer(&format!("{name}.upsample.conv"))?, Walk::Upsample)))
                        .transpose()?,
                })
            })
            .collect::<Result<_>>()?;
        Ok(Decoder {
            conv_in: weights.layer("decoder.conv_in")?,
            middle: Middle::take(weights, "decoder.mid", config.level_channels(last))?,
            levels,
            output: Output::take(weights, "decoder", config.channels * config.channel_multipliers[0])?,
        })
    }

    /// `current [images, side, side, Z]` to `[images, picture, picture, 3]`.
    pub(super) fn run(
        &self,
        backend: &B,
        side: usize,
        activations: &mut Activations<B>,
        cancel: &Cancel,
    ) -> Result<()> {
        convolve(backend, side, &self.conv_in, activations)?;
        self.middle.run(backend, side, activations)?;
        let mut side = side;
        for level in &self.levels {
            side = level.run(backend, side, activations, cancel)?;
        }
        self.output.run(backend, side, activations)
    }
}
