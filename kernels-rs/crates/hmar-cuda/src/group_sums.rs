//! What GroupNorm needs of a picture, made by the convolution that made the picture.

use std::num::NonZeroUsize;

use cudarc::driver::sys::CUdeviceptr;

use crate::buffer::CudaBuffer;
use crate::kernels::DevicePointer;

/// GroupNorm's groups.
pub(crate) const GROUPS: usize = 32;

/// Bytes of a pair of float32, and its numbers.
pub(crate) const PAIR: usize = 8;
const NUMBERS: usize = 2;

/// Pixels of a part at least, and parts of small pictures at most: what room is made for.
const PART_PIXELS: usize = 64;
const SMALL_PARTS: usize = 64;

/// Sums and sums of squares of groups of channels, `[images, groups, parts]`.
pub struct CudaGroupSums {
    sums: CudaBuffer<f32>,
    most_parts: usize,
    /// Parts that each group was summed in; none where it was not.
    parts: Option<NonZeroUsize>,
}

impl CudaGroupSums {
    /// Numbers that the sums of so many pictures of this side take.
    pub(crate) fn length(images: usize, side: usize) -> usize {
        let most_parts = (side * side).div_ceil(PART_PIXELS).max(SMALL_PARTS);
        images * GROUPS * most_parts * NUMBERS
    }

    pub(crate) fn new(images: usize, sums: CudaBuffer<f32>) -> Self {
        CudaGroupSums { most_parts: sums.len() / (images * GROUPS * NUMBERS), parts: None, sums }
    }

    /// The parts they were made in, if they were made.
    pub(crate) fn parts(&self) -> Option<usize> {
        self.parts.map(NonZeroUsize::get)
    }

    /// Says in how many parts the next convolution makes them: whether there is room.
    pub(crate) fn expect(&mut self, parts: usize) -> bool {
        self.parts = NonZeroUsize::new(parts).filter(|parts| parts.get() <= self.most_parts);
        self.parts.is_some()
    }
}

impl DevicePointer for CudaGroupSums {
    fn pointer(&self) -> CUdeviceptr {
        self.sums.pointer()
    }
}
