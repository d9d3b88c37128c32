//! Descriptions of tensors for the copy engine of Hopper.

use std::mem::MaybeUninit;

use bytemuck::{Pod, Zeroable};
use cudarc::driver::sys::{
    self, CUtensorMap, CUtensorMapDataType, CUtensorMapFloatOOBfill, CUtensorMapInterleave,
    CUtensorMapL2promotion, CUtensorMapSwizzle,
};
use hmar_error::Result;

use crate::context::Context;
use crate::kernels::{Argument, DevicePointer};

/// Which boxes of a bfloat16 tensor a kernel copies to shared memory: an argument of the kernel.
#[repr(C, align(64))]
#[derive(Clone, Copy)]
pub(crate) struct TensorMap([u64; 16]);

// SAFETY: an array of integers in a wrapper of its size.
unsafe impl Zeroable for TensorMap {}
// SAFETY: as above; 128 bytes aligned to 64 have no padding.
unsafe impl Pod for TensorMap {}
impl Argument for TensorMap {}

impl TensorMap {
    /// Boxes of `box_sizes` numbers of the tensor of `sizes`, both with the contiguous dimension first. A box is 64
    /// numbers wide there; its 128-byte rows are mixed as the tensor cores expect, what lies outside of the tensor is
    /// zero.
    pub(crate) fn new<const RANK: usize>(
        context: &Context,
        tensor: &impl DevicePointer,
        sizes: [usize; RANK],
        box_sizes: [usize; RANK],
    ) -> Result<Self> {
        Self::of(context, tensor, sizes, box_sizes, CUtensorMapDataType::CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, 2)
    }

    /// The same of a tensor of bytes: a box is 128 wide.
    pub(crate) fn of_bytes<const RANK: usize>(
        context: &Context,
        tensor: &impl DevicePointer,
        sizes: [usize; RANK],
        box_sizes: [usize; RANK],
    ) -> Result<Self> {
        Self::of(context, tensor, sizes, box_sizes, CUtensorMapDataType::CU_TENSOR_MAP_DATA_TYPE_UINT8, 1)
    }

    fn of<const RANK: usize>(
        context: &Context,
        tensor: &impl DevicePointer,
        sizes: [usize; RANK],
        box_sizes: [usize; RANK],
        elements: CUtensorMapDataType,
        mut bytes: usize,
    ) -> Result<Self> {
        // The contiguous dimension has no stride.
        let strides: [u64; RANK] = sizes.map(|size| {
            bytes *= size;
            bytes as u64
        });
        let sizes = sizes.map(|size| size as u64);
        let box_sizes = box_sizes.map(|size| size as u32);
        let steps = [1u32; RANK];
        let mut map = MaybeUninit::<CUtensorMap>::zeroed();
        // SAFETY: every array has as many elements as the tensor has dimensions (strides one more than are read); the
        // driver writes the map and only computes with the tensor's address.
        let answer = unsafe {
            sys::cuTensorMapEncodeTiled(
                map.as_mut_ptr(),
                elements,
                RANK as u32,
                tensor.pointer() as *mut std::ffi::c_void,
                sizes.as_ptr(),
                strides.as_ptr(),
                box_sizes.as_ptr(),
                steps.as_ptr(),
                CUtensorMapInterleave::CU_TENSOR_MAP_INTERLEAVE_NONE,
                CUtensorMapSwizzle::CU_TENSOR_MAP_SWIZZLE_128B,
                CUtensorMapL2promotion::CU_TENSOR_MAP_L2_PROMOTION_L2_128B,
                CUtensorMapFloatOOBfill::CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE,
            )
        };
        context.check("describe a tensor", answer.result())?;
        // SAFETY: plain integers, zero before the driver wrote them.
        Ok(TensorMap(unsafe { map.assume_init() }.opaque))
    }
}
