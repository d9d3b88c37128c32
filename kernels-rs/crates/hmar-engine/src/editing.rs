//! Zero-shot editing (4.3): tokens that a generation keeps.

use hmar_checkpoint::{ModelConfig, pyramid_tokens};
use hmar_error::{Code, Error, Result};

use crate::tokenizer::{check_tokens, grid_side};

/// A picture's tokens, and which of them every image of a generation keeps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// `[N]`
    tokens: Vec<u32>,
    /// `[N]`, 1 where a token is drawn and 0 where it is kept.
    free: Vec<u8>,
}

impl Kept {
    /// Keeps of `tokens [N]` the scales 1 … `scales`, and at each scale what `mask [S, S]`, resized to it, shows above
    /// one half. With a mask all of scale 1 is kept.
    ///
    /// # Errors
    /// `ARGUMENT_OUT_OF_RANGE` for tokens, a mask or scales that are not the model's, and where nothing is kept.
    pub fn new(config: &ModelConfig, tokens: Vec<u32>, mask: Option<&[f32]>, scales: usize) -> Result<Self> {
        let pyramid = &config.pyramid;
        check_tokens(&tokens, pyramid, config.codebook_size)?;
        if scales > pyramid.len() || (scales == 0 && mask.is_none()) {
            return Err(Error::new(
                Code::ArgumentOutOfRange,
                "The number of scales to keep is out of range.",
            )
            .found(scales)
            .expected(format!("1 … {}, or a mask", pyramid.len())));
        }
        let side = grid_side(pyramid);
        if let Some(mask) = mask
            && (mask.len() != side * side || mask.iter().any(|value| !(0.0..=1.0).contains(value)))
        {
            return Err(Error::new(Code::ArgumentOutOfRange, "The mask is not one of the model's.")
                .found(format!("{} values", mask.len()))
                .expected(format!("{side}×{side} values from 0 to 1")));
        }
        let kept_scales = scales.max(usize::from(mask.is_some()));
        let mut free = Vec::with_capacity(pyramid_tokens(pyramid));
        for (scale, &to) in pyramid.iter().enumerate() {
            match mask {
                _ if scale < kept_scales => free.extend(std::iter::repeat_n(0, to * to)),
                Some(mask) => free.extend(bilinear(mask, side, to).map(|kept| u8::from(kept <= 0.5))),
                None => free.extend(std::iter::repeat_n(1, to * to)),
            }
        }
        Ok(Kept { tokens, free })
    }

    /// What [`Kept::tokens`] and [`Kept::free`] gave.
    ///
    /// # Errors
    /// `ARGUMENT_OUT_OF_RANGE` where they are not the model's.
    pub(crate) fn from_parts(config: &ModelConfig, tokens: Vec<u32>, free: Vec<u8>) -> Result<Self> {
        check_tokens(&tokens, &config.pyramid, config.codebook_size)?;
        if free.len() != tokens.len() || free.iter().any(|&free| free > 1) {
            return Err(Error::new(Code::ArgumentOutOfRange, "Which tokens are kept cannot be told."));
        }
        Ok(Kept { tokens, free })
    }

    /// The source's tokens, `[N]`.
    pub fn tokens(&self) -> &[u32] {
        &self.tokens
    }

    /// For each token 1 where it is drawn, 0 where it is kept: `[N]`.
    pub fn free(&self) -> &[u8] {
        &self.free
    }

    /// A scale's part of [`Kept::tokens`] and of [`Kept::free`].
    pub(crate) fn of_scale(&self, pyramid: &[usize], scale: usize) -> (&[u32], &[u8]) {
        let start = pyramid_tokens(&pyramid[..scale]);
        let range = start..start + pyramid[scale].pow(2);
        (&self.tokens[range.clone()], &self.free[range])
    }

    /// Whether any token of a scale is kept.
    pub(crate) fn any(&self, pyramid: &[usize], scale: usize) -> bool {
        self.of_scale(pyramid, scale).1.contains(&0)
    }

    /// Whether all tokens of a scale are kept.
    pub(crate) fn all(&self, pyramid: &[usize], scale: usize) -> bool {
        !self.of_scale(pyramid, scale).1.contains(&1)
    }
}

/// Resizes a square: bilinear, half-pixel centres, no antialiasing.
fn bilinear(values: &[f32], side: usize, to: usize) -> impl Iterator<Item = f64> {
    let source = move |i: usize| {
        let at = ((i as f64 + 0.5) * side as f64 / to as f64 - 0.5).max(0.0);
        let low = (at as usize).min(side - 1);
        (low, (low + 1).min(side - 1), at - low as f64)
    };
    (0..to * to).map(move |i| {
        let (top, bottom, down) = source(i / to);
        let (left, right, across) = source(i % to);
        let row = |y: usize| {
            let value = |x: usize| f64::from(values[y * side + x]);
            (1.0 - across) * value(left) + across * value(right)
        };
        (1.0 - down) * row(top) + down * row(bottom)
    })
}

#[cfg(test)]
mod tests {
    use hmar_checkpoint::{Layout, PYRAMID_256};

    use super::*;

    fn config() -> ModelConfig {
        ModelConfig::released(16, Layout::Combined)
    }

    fn kept(mask: Option<&[f32]>, scales: usize) -> Result<Kept> {
        Kept::new(&config(), vec![7; 680], mask, scales)
    }

    #[test]
    fn a_mask_is_resized_to_every_scale() {
        let left: Vec<f32> = (0..256).map(|i| if i % 16 < 8 { 1.0 } else { 0.0 }).collect();
        let kept = kept(Some(&left), 0).unwrap();
        let free = |scale: usize| kept.of_scale(&PYRAMID_256, scale).1;
        assert_eq!(free(0), [0]);
        assert_eq!(free(1), [0, 1, 0, 1]);
        // The middle column lies half in each half: what is not above one half is free.
        assert_eq!(free(2)[..3], [0, 1, 1]);
        assert_eq!(free(9)[..16], [0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1]);
        assert!(kept.all(&PYRAMID_256, 0) && !kept.all(&PYRAMID_256, 1) && kept.any(&PYRAMID_256, 9));
    }

    #[test]
    fn scales_are_kept_whole() {
        let kept = kept(None, 3).unwrap();
        assert!((0..3).all(|scale| kept.all(&PYRAMID_256, scale)));
        assert!((3..10).all(|scale| !kept.any(&PYRAMID_256, scale)));
    }

    #[test]
    fn what_is_not_the_models_is_refused() {
        assert!(kept(None, 0).is_err());
        assert!(kept(None, 11).is_err());
        assert!(kept(Some(&[1.0; 255]), 0).is_err());
        assert!(kept(Some(&[f32::NAN; 256]), 0).is_err());
        assert!(kept(Some(&[1.5; 256]), 0).is_err());
        assert!(Kept::new(&config(), vec![4096; 680], None, 1).is_err());
        assert!(Kept::new(&config(), vec![0; 679], None, 1).is_err());
    }
}
