//! Convolutions as products: each output pixel is a row, its patch the row's inputs, `[tap][channel]`.

use std::ops::Range;

use super::product::{Inputs, PackedRows};
use crate::{ConvolutionShape, Walk};

/// The patches of pictures `[images, side, side, channels]`, or of some of their pixels.
pub(super) struct Patches<'a> {
    pub(super) shape: ConvolutionShape,
    pub(super) taps: usize,
    pub(super) channels: usize,
    /// The pixels that the patches are made of.
    pub(super) values: &'a [f32],
    /// The first of these pixels.
    pub(super) first_pixel: usize,
    /// The first pixel of the results.
    pub(super) first_row: usize,
}

impl Patches<'_> {
    /// Where the pixel under a tap starts in `values`, or `None` for padding.
    #[inline]
    fn pixel(&self, image: usize, y: usize, x: usize, tap: usize) -> Option<usize> {
        let side = self.shape.side;
        // Position along one axis, shifted by one so that padding above and left is 0.
        let along = |at: usize, tap: usize| match self.shape.walk {
            Walk::Same if self.taps == 1 => Some(at),
            Walk::Same => (at + tap).checked_sub(1).filter(|&at| at < side),
            Walk::Upsample => (at + tap).checked_sub(1).map(|at| at / 2).filter(|&at| at < side),
            Walk::Downsample => Some(2 * at + tap).filter(|&at| at < side),
        };
        let (y, x) = (along(y, tap / 3)?, along(x, tap % 3)?);
        Some(((image * side + y) * side + x - self.first_pixel) * self.channels)
    }
}

impl Inputs for Patches<'_> {
    #[inline]
    fn pack(&self, row: usize, depth: Range<usize>, at: usize, packed: &mut PackedRows<'_>) {
        let side = self.shape.output_side();
        let row = self.first_row + row;
        let (image, y, x) = (row / (side * side), row / side % side, row % side);
        let mut k = depth.start;
        while k < depth.end {
            let (tap, channel) = (k / self.channels, k % self.channels);
            let count = (self.channels - channel).min(depth.end - k);
            match self.pixel(image, y, x, tap) {
                _ if tap >= self.taps => packed.put_zeros(at, k - depth.start, count),
                Some(start) => {
                    let from = start + channel;
                    packed.put(at, k - depth.start, &self.values[from..from + count]);
                }
                None => packed.put_zeros(at, k - depth.start, count),
            }
            k += count;
        }
    }
}
