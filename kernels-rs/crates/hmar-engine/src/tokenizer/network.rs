//! Encoder and decoder (2.2): residual and attention blocks at falling and rising sizes, channels last.

use std::collections::HashMap;

use hmar_checkpoint::{TokenizerConfig, tokenizer_tensors};
use hmar_error::Result;
use hmar_ops::{
    ALIGNMENT, AttentionShape, Backend, ConvolutionShape, Ending, GroupNorm, KeysValues, Scores, Span, Walk,
};

use crate::Cancel;
use crate::load::{Layer, Wanted, Weights};
use crate::memory::{Arena, Place};

/// Pictures between layers, and the sums of their groups, which every convolution makes whose result is normalised.
pub(crate) struct Layered<B: Backend> {
    whole: B::Features,
    /// Room beside the largest input of a shortcut, for its results.
    beside: B::Features,
    /// The pictures are there.
    is_beside: bool,
    sums: B::GroupSums,
}

impl<B: Backend> Layered<B> {
    fn place(arena: &Arena<'_, B>, images: usize, room: Room, side: usize) -> Result<Self> {
        let behind_input = arena.here().behind(images * room.before_beside * arena.backend.feature_bytes());
        let whole = arena.place_features(images * room.whole)?;
        let beside = arena.over(behind_input, || arena.place_features(images * room.beside))?;
        let sums = arena.place(arena.backend.group_sums_length(images, side))?;
        Ok(Layered { whole, beside, is_beside: false, sums: arena.backend.group_sums(images, sums) })
    }

    /// Where the pictures are.
    pub(super) fn features(&self) -> &B::Features {
        if self.is_beside { &self.beside } else { &self.whole }
    }

    /// Where other pictures may be put.
    pub(super) fn restart(&mut self) -> &mut B::Features {
        self.is_beside = false;
        &mut self.whole
    }
}

/// Activations of an image.
#[derive(Clone, Copy)]
struct Room {
    /// Of the largest layer that is normalised.
    layer: usize,
    /// Of the largest layer, and of what shares its memory.
    whole: usize,
    /// Of the largest input of a shortcut.
    before_beside: usize,
    /// Of the largest result of one.
    beside: usize,
}

impl Room {
    fn find(config: &TokenizerConfig, picture_side: usize) -> Self {
        let last = config.channel_multipliers.len() - 1;
        let pixels = |level: usize| (picture_side >> level).pow(2);
        let mut room = Room { layer: 0, whole: 0, before_beside: 0, beside: 0 };
        for level in 0..=last {
            let channels = config.level_channels(level);
            // The decoder enters a level with the channels of the one below it, enlarged already.
            let of_decoder = config.level_channels((level + 1).min(last));
            let of_encoder = if level == 0 { channels } else { config.level_channels(level - 1) };
            let attention = if level == last { 3 } else { 1 };
            room.layer = room.layer.max(pixels(level) * channels.max(of_decoder));
            room.whole = room.whole.max(pixels(level) * channels.max(of_decoder) * attention);
            for inputs in [of_decoder, of_encoder].into_iter().filter(|&inputs| inputs != channels) {
                room.before_beside = room.before_beside.max(pixels(level) * inputs);
                room.beside = room.beside.max(pixels(level) * channels);
            }
        }
        room
    }
}

/// What flows through the network: the current pictures, room for the next, and its two ends.
pub(crate) struct Pictures<B: Backend> {
    /// Images that may be decoded one after another.
    pub(super) capacity: usize,
    /// Images that are in the network.
    pub(super) images: usize,
    pub(super) picture_side: usize,
    pub(super) current: Layered<B>,
    other: Layered<B>,
    /// What attention leaves.
    attended: B::Features,
    /// Room for normalised pictures, which a convolution reads at once.
    normed: B::Features,
    /// The latents to decode, `[images, S, S, Z]`.
    pub(super) latents: B::Buffer<f32>,
    /// Pictures or latents in float32, on their way in or out.
    pub(super) values: B::Buffer<f32>,
    pub(super) bytes: B::Buffer<u8>,
    /// The bytes of all images.
    pub(super) decoded: B::Buffer<u8>,
    /// Decoding so many images.
    pub(super) decodings: HashMap<usize, B::Recording>,
}

impl<B: Backend> Pictures<B> {
    /// Room for `capacity` images of this size, of which so many go `together` through the network. What is left before `until`
    /// serves normalised pictures, as far as they have a use for it.
    pub(super) fn place(
        arena: &Arena<'_, B>,
        config: &TokenizerConfig,
        together: usize,
        capacity: usize,
        picture_side: usize,
        until: Place,
    ) -> Result<Self> {
        let last = config.channel_multipliers.len() - 1;
        let positions = (picture_side >> last).pow(2);
        let (latent, bottom) = (positions * config.code_dimension, positions * config.level_channels(last));
        let picture = 3 * picture_side * picture_side;
        // Where attention's results or the network's ends are in use, only the beginnings of the large rooms are: with queries,
        // keys and values, with what a shortcut made, or with pictures of three channels.
        let of_feature = arena.backend.feature_bytes();
        let small = bottom * of_feature + picture.max(latent) * size_of::<f32>() + picture;
        let small = together * small + 4 * ALIGNMENT;
        let mut room = Room::find(config, picture_side);
        let beginning = picture.max(3 * bottom).max(room.before_beside + room.beside + ALIGNMENT);
        room.whole = room.whole.max(beginning + small.div_ceil(together * of_feature));
        let end = arena.here().behind(together * room.whole * of_feature - small);
        let current = Layered::place(arena, together, room, picture_side)?;
        let (attended, values, bytes) = arena.over(end, || {
            let attended = arena.place_features(together * bottom)?;
            Ok((attended, arena.place(together * picture.max(latent))?, arena.place(together * picture)?))
        })?;
        let other = Layered::place(arena, together, room, picture_side)?;
        let (latents, decoded) = (arena.place(together * latent)?, arena.place(capacity * picture)?);
        let lengths = arena.backend.room_for_normed(together, room.layer);
        let left = arena.here().up_to(until) / of_feature;
        let normed = arena.place_features(left.clamp(lengths.start, lengths.end))?;
        Ok(Pictures {
            capacity,
            images: together,
            picture_side,
            current,
            other,
            attended,
            normed,
            latents,
            values,
            bytes,
            decoded,
            decodings: HashMap::new(),
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

    /// What normalises pictures that a convolution made with their sums.
    fn of<'a>(
        &'a self,
        pictures: &'a Layered<B>,
        images: usize,
        side: usize,
        activate: bool,
    ) -> GroupNorm<'a, B> {
        GroupNorm {
            images,
            pixels: side * side,
            channels: self.channels,
            weight: &self.weight,
            bias: &self.bias,
            activate,
            sums: Some(&pictures.sums),
        }
    }
}

impl<B: Backend> Layer<B> {
    /// Convolves into pictures that are normalised next.
    fn convolve(
        &self,
        backend: &B,
        shape: ConvolutionShape,
        input: &B::Features,
        out: &mut Layered<B>,
    ) -> Result<()> {
        let Layer { weight, bias } = self;
        out.is_beside = false;
        backend.convolution(shape, input, weight, bias, Ending::Store, &mut out.whole, Some(&mut out.sums))
    }

    /// As [`Layer::convolve`], of pictures that are normalised by `norm` and activated on the way.
    fn convolve_normed(
        &self,
        backend: &B,
        norm: &Norm<B>,
        [images, side]: [usize; 2],
        (input, room): (&Layered<B>, &mut B::Features),
        ending: Ending,
        out: &mut Layered<B>,
    ) -> Result<()> {
        let Layer { weight, bias } = self;
        let norm = norm.of(input, images, side, true);
        let Layered { whole, beside, is_beside, sums } = out;
        if ending == Ending::Store {
            *is_beside = false;
        }
        let features = if *is_beside { beside } else { whole };
        backend.normed_convolution(norm, input.features(), room, weight, bias, ending, features, Some(sums))
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

    fn run(&self, backend: &B, side: usize, pictures: &mut Pictures<B>) -> Result<()> {
        let Pictures { images, current, other, normed, .. } = pictures;
        let size = [*images, side];
        self.conv1.convolve_normed(backend, &self.norm1, size, (current, normed), Ending::Store, other)?;
        if let Some(Layer { weight, bias }) = &self.shortcut {
            let Layered { whole, beside, is_beside, .. } = current;
            assert!(!std::mem::replace(is_beside, true), "channels change once after a change of size");
            backend.convolution(same(*images, side), whole, weight, bias, Ending::Store, beside, None)?;
        }
        self.conv2.convolve_normed(backend, &self.norm2, size, (other, normed), Ending::Add, current)
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

    fn run(&self, backend: &B, side: usize, pictures: &mut Pictures<B>) -> Result<()> {
        let Pictures { images, current, other, attended, normed, .. } = pictures;
        let images = *images;
        let (pixels, channels) = (side * side, self.norm.channels);
        let norm = self.norm.of(current, images, side, false);
        let (Layer { weight, bias }, qkv) = (&self.qkv, other.restart());
        backend.normed_convolution(
            norm,
            current.features(),
            normed,
            weight,
            bias,
            Ending::Store,
            qkv,
            None,
        )?;
        let shape = AttentionShape {
            sequences: images,
            rows: pixels,
            heads: 1,
            head_width: channels,
            spans: &[Span { queries: 0..pixels, keys: 0..pixels }],
        };
        let scores = Scores::Scaled(1.0 / (channels as f32).sqrt());
        backend.attention(shape, qkv, KeysValues::BesideQueries, scores, attended)?;
        let Layer { weight, bias } = &self.out;
        let Layered { whole, beside, is_beside, sums } = current;
        let out = if *is_beside { beside } else { whole };
        backend.convolution(same(images, side), attended, weight, bias, Ending::Add, out, Some(sums))
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
    fn run(&self, backend: &B, side: usize, pictures: &mut Pictures<B>, cancel: &Cancel) -> Result<usize> {
        for Stage { residual, attention } in &self.stages {
            cancel.check()?;
            residual.run(backend, side, pictures)?;
            if let Some(attention) = attention {
                attention.run(backend, side, pictures)?;
            }
        }
        let Some((layer, walk)) = &self.resize else { return Ok(side) };
        let shape = ConvolutionShape { images: pictures.images, side, walk: *walk };
        layer.convolve(backend, shape, pictures.current.features(), &mut pictures.other)?;
        pictures.step();
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

    fn run(&self, backend: &B, side: usize, pictures: &mut Pictures<B>) -> Result<()> {
        self.first.run(backend, side, pictures)?;
        self.attention.run(backend, side, pictures)?;
        self.second.run(backend, side, pictures)
    }
}

/// A convolution on its own, in place of the current pictures.
fn convolve<B: Backend>(
    backend: &B,
    side: usize,
    layer: &Layer<B>,
    pictures: &mut Pictures<B>,
) -> Result<()> {
    let Pictures { images, current, other, .. } = pictures;
    layer.convolve(backend, same(*images, side), current.features(), other)?;
    pictures.step();
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

    fn run(&self, backend: &B, side: usize, pictures: &mut Pictures<B>) -> Result<()> {
        let Pictures { images, current, other, normed, .. } = &mut *pictures;
        let norm = self.norm.of(current, *images, side, true);
        let (Layer { weight, bias }, out) = (&self.conv, other.restart());
        backend.normed_convolution(
            norm,
            current.features(),
            normed,
            weight,
            bias,
            Ending::Store,
            out,
            None,
        )?;
        pictures.step();
        Ok(())
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
        pictures: &mut Pictures<B>,
        cancel: &Cancel,
    ) -> Result<()> {
        convolve(backend, side, &self.conv_in, pictures)?;
        let mut side = side;
        for level in &self.levels {
            side = level.run(backend, side, pictures, cancel)?;
        }
        self.middle.run(backend, side, pictures)?;
        self.output.run(backend, side, pictures)
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
        pictures: &mut Pictures<B>,
        cancel: &Cancel,
    ) -> Result<()> {
        convolve(backend, side, &self.conv_in, pictures)?;
        self.middle.run(backend, side, pictures)?;
        let mut side = side;
        for level in &self.levels {
            side = level.run(backend, side, pictures, cancel)?;
        }
        self.output.run(backend, side, pictures)
    }
}
