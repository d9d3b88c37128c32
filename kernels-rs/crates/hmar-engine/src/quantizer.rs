//! The residual quantiser (2.4): codebook, φ, and the latent that scales add up to.

use hmar_checkpoint::{TensorSource, TokenizerConfig};
use hmar_error::Result;
use hmar_ops::{Backend, Blend, ConvolutionShape, Latent, Precision, Walk};

use crate::load::{Layer, LoadOptions, Wanted, Weights};
use crate::memory::Arena;

/// Codebook and φ convolutions, always in float32.
pub(crate) struct Quantizer<B: Backend> {
    pub(crate) vocabulary: usize,
    pub(crate) width: usize,
    pub(crate) codebook: B::Buffer<f32>,
    phi: Vec<Layer<B>>,
    pub(crate) bytes: u64,
}

/// Buffers for the latents of a batch.
pub(crate) struct LatentBuffers<B: Backend> {
    /// `f̂ [images, S, S, Z]`
    pub(crate) latent: B::Buffer<f32>,
    /// Codes of a scale, `[images, p, p, Z]`; pooled latents too.
    pub(crate) codes: B::Buffer<f32>,
    enlarged: B::Buffer<f32>,
    convolved: B::Buffer<f32>,
}

impl<B: Backend> LatentBuffers<B> {
    pub(crate) fn place(arena: &Arena<'_, B>, latent: Latent) -> Result<Self> {
        let length = latent.images * latent.side * latent.side * latent.width;
        Ok(LatentBuffers {
            latent: arena.place(length)?,
            codes: arena.place(length)?,
            enlarged: arena.place(length)?,
            convolved: arena.place(length)?,
        })
    }
}

fn phi_name(index: usize) -> String {
    format!("quantize.quant_resi.qresi_ls.{index}")
}

/// Which φ a scale of a pyramid of `scales` uses: the one whose tick is nearest to its place, by the arithmetic the
/// released models were trained with.
pub(crate) fn phi_of_scale(scale: usize, scales: usize, count: usize) -> usize {
    if count == 1 || scales == 1 {
        return 0;
    }
    let margin = 1.0 / if count == 4 { 3.0 } else { 2.0 } / count as f64;
    let end = 1.0 - margin;
    let step = (end - margin) / (count - 1) as f64;
    let tick = |j: usize| if j + 1 == count { end } else { j as f64 * step + margin };
    let place = scale as f64 / (scales - 1) as f64;
    let distance = |j: usize| (tick(j) - place).abs();
    (1..count).fold(0, |nearest, j| if distance(j) < distance(nearest) { j } else { nearest })
}

impl<B: Backend> Quantizer<B> {
    pub(crate) fn load(
        backend: &B,
        source: &dyn TensorSource,
        config: &TokenizerConfig,
        options: &LoadOptions<'_>,
    ) -> Result<Self> {
        let mut wanted = Wanted::new(Precision::F32);
        wanted.vector("quantize.embedding.weight");
        (0..config.phi_count).for_each(|index| wanted.layer(&phi_name(index)));
        let mut weights = Weights::load(backend, source, wanted, options)?;
        Ok(Quantizer {
            vocabulary: config.codebook_size,
            width: config.code_dimension,
            codebook: weights.buffer("quantize.embedding.weight")?,
            phi: (0..config.phi_count).map(|index| weights.layer(&phi_name(index))).collect::<Result<_>>()?,
            bytes: weights.bytes(),
        })
    }

    /// The latent grid of `images` pictures of side `side`.
    pub(crate) fn latent(&self, images: usize, side: usize) -> Latent {
        Latent { images, side, width: self.width }
    }

    /// Looks the tokens of a scale up in the codebook, into `buffers.codes`.
    pub(crate) fn look_up(
        &self,
        backend: &B,
        count: usize,
        tokens: &B::Buffer<u32>,
        buffers: &mut LatentBuffers<B>,
    ) -> Result<()> {
        backend.look_up(count, self.width, &self.codebook, tokens, &mut buffers.codes)
    }

    /// Blends φ(bicubic(`buffers.codes`)) of a scale into `buffers.latent`.
    pub(crate) fn blend_codes(
        &self,
        backend: &B,
        latent: Latent,
        pyramid: &[usize],
        scale: usize,
        blend: Blend,
        buffers: &mut LatentBuffers<B>,
    ) -> Result<()> {
        self.convolve_codes(backend, latent, pyramid, scale, buffers)?;
        backend.blend_phi(latent, blend, &buffers.enlarged, &buffers.convolved, &mut buffers.latent)
    }

    /// φ(bicubic(`buffers.codes`)) of a scale, in place of the codes.
    pub(crate) fn spread_codes(
        &self,
        backend: &B,
        latent: Latent,
        pyramid: &[usize],
        scale: usize,
        buffers: &mut LatentBuffers<B>,
    ) -> Result<()> {
        self.convolve_codes(backend, latent, pyramid, scale, buffers)?;
        backend.blend_phi(latent, Blend::Store, &buffers.enlarged, &buffers.convolved, &mut buffers.codes)
    }

    fn convolve_codes(
        &self,
        backend: &B,
        latent: Latent,
        pyramid: &[usize],
        scale: usize,
        buffers: &mut LatentBuffers<B>,
    ) -> Result<()> {
        backend.enlarge(latent, pyramid[scale], &buffers.codes, &mut buffers.enlarged)?;
        let phi = &self.phi[phi_of_scale(scale, pyramid.len(), self.phi.len())];
        let shape = ConvolutionShape { images: latent.images, side: latent.side, walk: Walk::Same };
        backend.exact_convolution(shape, &buffers.enlarged, &phi.weight, &phi.bias, &mut buffers.convolved)
    }
}

#[cfg(test)]
mod tests {
    use super::phi_of_scale;

    #[test]
    fn ties_fall_as_the_released_models_were_trained() {
        let table =
            |scales: usize| (0..scales).map(|scale| phi_of_scale(scale, scales, 4)).collect::<Vec<_>>();
        assert_eq!(table(6), [0, 0, 1, 2, 3, 3]);
        assert_eq!(table(10), [0, 0, 1, 1, 1, 2, 2, 3, 3, 3]);
        assert_eq!(table(14), [0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3]);
    }
}
