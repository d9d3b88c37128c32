//! Activations between layers, in what the tensor cores multiply.

use cudarc::driver::sys::CUdeviceptr;
use half::bf16;
use hmar_error::Result;
use hmar_ops::Precision;

use crate::backend::CudaBackend;
use crate::buffer::{CudaBuffer, CudaMemory};
use crate::context::Memory;
use crate::kernels::{DevicePointer, Place, Within};

/// Activations: bfloat16, or float32 where the backend was opened so.
pub struct CudaFeatures {
    memory: Memory,
    length: usize,
    held: Held,
}

/// What lies in the memory of activations.
#[derive(Clone, Copy)]
pub(crate) enum Held {
    /// What the backend was opened for.
    Features,
    /// Rows in e4m3, for a layer that multiplies them so.
    E4m3 {
        /// How many.
        rows: usize,
        /// Whether their norms are known.
        norms: bool,
    },
}

/// Where rows in e4m3 are, one part after the other.
pub(crate) struct E4m3Rows {
    pub(crate) numbers: Place,
    /// What each row's numbers are relative to.
    pub(crate) scales: Place,
    /// Their Euclidean norms before they were rounded.
    pub(crate) norms: Option<Place>,
}

impl E4m3Rows {
    /// So many from a place on.
    pub(crate) fn at(start: &impl DevicePointer, [rows, width]: [usize; 2], norms: bool) -> Self {
        let scales = rows * width;
        let norms = norms.then(|| start.at(scales + rows * size_of::<f32>()));
        E4m3Rows { numbers: start.at(0), scales: start.at(scales), norms }
    }

    /// Those from one on.
    pub(crate) fn from(&self, row: usize, width: usize) -> Self {
        let of_row = |place: &Place| place.at(row * size_of::<f32>());
        E4m3Rows {
            numbers: self.numbers.at(row * width),
            scales: of_row(&self.scales),
            norms: self.norms.as_ref().map(of_row),
        }
    }
}

impl CudaFeatures {
    /// Elements.
    pub fn len(&self) -> usize {
        self.length
    }

    /// Whether it has no elements.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Said by whoever writes them.
    pub(crate) fn hold(&mut self, held: Held) {
        self.held = held;
    }

    /// The rows of this width, where they are in e4m3.
    pub(crate) fn e4m3(&self, width: usize) -> Option<E4m3Rows> {
        match self.held {
            Held::Features => None,
            Held::E4m3 { rows, norms } => Some(E4m3Rows::at(self, [rows, width], norms)),
        }
    }
}

impl DevicePointer for CudaFeatures {
    fn pointer(&self) -> CUdeviceptr {
        self.memory.pointer()
    }
}

/// Bytes of an element.
pub(crate) fn width(precision: Precision) -> usize {
    match precision {
        Precision::F32 => size_of::<f32>(),
        Precision::Bf16 => size_of::<bf16>(),
    }
}

/// Threads of the blocks that convert.
const THREADS: usize = 256;

impl CudaBackend {
    pub(crate) fn new_features(&self, length: usize) -> Result<CudaFeatures> {
        let memory = Memory::zeroed(&self.context, length * width(self.precision()))?;
        Ok(CudaFeatures { memory, length, held: Held::Features })
    }

    /// So many, from byte `start` of memory that others may share.
    pub(crate) fn placed_features(&self, whole: &CudaMemory, start: usize, length: usize) -> CudaFeatures {
        CudaFeatures {
            memory: whole.part(start, length * width(self.precision())),
            length,
            held: Held::Features,
        }
    }

    pub(crate) fn bytes_of_feature(&self) -> usize {
        width(self.precision())
    }

    /// Rounds `data` to activations and copies them to the start of `features`.
    pub fn upload_features(&self, data: &[f32], features: &mut CudaFeatures) -> Result<()> {
        assert!(data.len() <= features.length, "the data fits");
        features.hold(Held::Features);
        match self.precision() {
            Precision::F32 => self.send(bytemuck::cast_slice(data), features.pointer()),
            Precision::Bf16 => {
                let rounded: Vec<bf16> = data.iter().map(|&x| bf16::from_f32(x)).collect();
                self.send(bytemuck::cast_slice(&rounded), features.pointer())
            }
        }
    }

    /// Copies the start of `features` to `data`, widened.
    pub fn download_features(&self, features: &CudaFeatures, data: &mut [f32]) -> Result<()> {
        assert!(data.len() <= features.length, "the data is there");
        match self.precision() {
            Precision::F32 => self.receive(features.pointer(), bytemuck::cast_slice_mut(data)),
            Precision::Bf16 => {
                let mut rounded = vec![bf16::ZERO; data.len()];
                self.receive(features.pointer(), bytemuck::cast_slice_mut(&mut rounded))?;
                data.iter_mut().zip(rounded).for_each(|(out, x)| *out = x.to_f32());
                Ok(())
            }
        }
    }

    /// Copies bfloat16 as they are to the start of `features`, which are bfloat16 too.
    pub fn upload_bfloat16(&self, data: &[bf16], features: &mut CudaFeatures) -> Result<()> {
        assert!(self.precision() == Precision::Bf16 && data.len() <= features.length, "the data fits");
        features.hold(Held::Features);
        self.send(bytemuck::cast_slice(data), features.pointer())
    }

    /// Copies the start of `features`, which are bfloat16, to `data`.
    pub fn download_bfloat16(&self, features: &CudaFeatures, data: &mut [bf16]) -> Result<()> {
        assert!(self.precision() == Precision::Bf16 && data.len() <= features.length, "the data is there");
        self.receive(features.pointer(), bytemuck::cast_slice_mut(data))
    }

    /// Sets every byte of all activations.
    pub fn fill_features(&self, byte: u8, features: &mut CudaFeatures) -> Result<()> {
        features.hold(Held::Features);
        self.fill(features.pointer(), features.length * width(self.precision()), byte)
    }
}

/// See [`hmar_ops::Backend::narrow`].
pub(crate) fn narrow(
    backend: &CudaBackend,
    length: usize,
    input: &CudaBuffer<f32>,
    out: &mut CudaFeatures,
) -> Result<()> {
    assert!(length <= input.len() && length <= out.length, "both are as long");
    let launch = backend.launch_features("narrow", length.div_ceil(THREADS), THREADS)?;
    // SAFETY: the kernel reads and writes `length` elements, which both buffers have.
    unsafe { launch.read(input).write(out).count(length).submit() }
}

/// See [`hmar_ops::Backend::widen`].
pub(crate) fn widen(
    backend: &CudaBackend,
    length: usize,
    input: &CudaFeatures,
    out: &mut CudaBuffer<f32>,
) -> Result<()> {
    assert!(length <= input.length && length <= out.len(), "both are as long");
    let launch = backend.launch_features("widen", length.div_ceil(THREADS), THREADS)?;
    // SAFETY: as in `narrow`.
    unsafe { launch.read(input).write(out).count(length).submit() }
}
