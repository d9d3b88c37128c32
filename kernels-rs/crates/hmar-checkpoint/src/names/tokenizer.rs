use crate::config::PYRAMID_256;
use crate::{TensorInfo, TokenizerConfig};

/// The tensors of a tokenizer, in the order of the released file.
pub fn tokenizer_tensors(config: &TokenizerConfig) -> Vec<TensorInfo> {
    let mut list = Convolutions(Vec::new());
    let levels = config.channel_multipliers.len();
    let last = levels - 1;
    let (bottom, codes) = (config.level_channels(last), config.code_dimension);

    list.convolution("encoder.conv_in", config.channels, 3, 3);
    let mut channels = config.channels;
    for level in 0..levels {
        let name = format!("encoder.down.{level}");
        channels =
            list.level(&name, config.residual_blocks, channels, config.level_channels(level), level == last);
        if level != last {
            list.convolution(&format!("{name}.downsample.conv"), channels, channels, 3);
        }
    }
    list.middle("encoder.mid", bottom);
    list.norm("encoder.norm_out", bottom);
    list.convolution("encoder.conv_out", codes, bottom, 3);

    list.convolution("decoder.conv_in", bottom, codes, 3);
    list.middle("decoder.mid", bottom);
    for level in 0..levels {
        // The decoder runs from the last level to the first, so a level's input is the level above it.
        let inputs = config.level_channels((level + 1).min(last));
        let name = format!("decoder.up.{level}");
        let channels = list.level(
            &name,
            config.residual_blocks + 1,
            inputs,
            config.level_channels(level),
            level == last,
        );
        if level != 0 {
            list.convolution(&format!("{name}.upsample.conv"), channels, channels, 3);
        }
    }
    list.norm("decoder.norm_out", config.channels);
    list.convolution("decoder.conv_out", 3, config.channels, 3);

    let scales = config.pyramid.as_ref().map_or(PYRAMID_256.len(), Vec::len);
    list.0.push(TensorInfo::f32("quantize.ema_vocab_hit_SV", &[scales, config.codebook_size]));
    for phi in 0..config.phi_count {
        list.convolution(&format!("quantize.quant_resi.qresi_ls.{phi}"), codes, codes, 3);
    }
    list.0.push(TensorInfo::f32("quantize.embedding.weight", &[config.codebook_size, codes]));
    list.convolution("quant_conv", codes, codes, 3);
    list.convolution("post_quant_conv", codes, codes, 3);
    list.0
}

struct Convolutions(Vec<TensorInfo>);

impl Convolutions {
    fn convolution(&mut self, name: &str, outputs: usize, inputs: usize, side: usize) {
        self.0.push(TensorInfo::f32(format!("{name}.weight"), &[outputs, inputs, side, side]));
        self.0.push(TensorInfo::f32(format!("{name}.bias"), &[outputs]));
    }

    fn norm(&mut self, name: &str, channels: usize) {
        self.0.push(TensorInfo::f32(format!("{name}.weight"), &[channels]));
        self.0.push(TensorInfo::f32(format!("{name}.bias"), &[channels]));
    }

    /// Residual blocks, each followed by attention on the last level. Returns the channels that come out.
    fn level(&mut self, name: &str, count: usize, inputs: usize, outputs: usize, attention: bool) -> usize {
        for index in 0..count {
            let inputs = if index == 0 { inputs } else { outputs };
            self.residual(&format!("{name}.block.{index}"), inputs, outputs);
        }
        if attention {
            for index in 0..count {
                self.attention(&format!("{name}.attn.{index}"), outputs);
            }
        }
        outputs
    }

    fn middle(&mut self, name: &str, channels: usize) {
        self.residual(&format!("{name}.block_1"), channels, channels);
        self.attention(&format!("{name}.attn_1"), channels);
        self.residual(&format!("{name}.block_2"), channels, channels);
    }

    fn residual(&mut self, name: &str, inputs: usize, outputs: usize) {
        self.norm(&format!("{name}.norm1"), inputs);
        self.convolution(&format!("{name}.conv1"), outputs, inputs, 3);
        self.norm(&format!("{name}.norm2"), outputs);
        self.convolution(&format!("{name}.conv2"), outputs, outputs, 3);
        if inputs != outputs {
            self.convolution(&format!("{name}.nin_shortcut"), outputs, inputs, 1);
        }
    }

    fn attention(&mut self, name: &str, channels: usize) {
        self.norm(&format!("{name}.norm"), channels);
        self.convolution(&format!("{name}.qkv"), 3 * channels, channels, 1);
        self.convolution(&format!("{name}.proj_out"), channels, channels, 1);
    }
}
