//! The kernels, loaded at the start and found by name, and how they are launched.

use std::collections::HashMap;
use std::ffi::CString;
use std::sync::Arc;

use bytemuck::{Pod, Zeroable};
use cudarc::driver::result;
use cudarc::driver::sys::{
    self, CUdeviceptr, CUfunction, CUfunction_attribute, CUlaunchAttribute, CUlaunchAttributeID,
    CUlaunchAttributeValue, CUlaunchConfig, CUmodule,
};
use hmar_error::{Code, Error, Result};
use hmar_ops::Precision;

use crate::backend::CudaBackend;
use crate::context::Context;
use crate::{devices, error};

/// The machine code of one `.cu` file.
struct Module {
    file: &'static str,
    image: &'static [u8],
    kernels: &'static [&'static str],
}

/// What the compiler reports of a kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resources {
    /// Its name.
    pub kernel: &'static str,
    /// For which GPUs, e.g. `90a`.
    pub architecture: &'static str,
    /// Registers of a thread.
    pub registers: u32,
    /// Bytes of a thread's stack.
    pub stack: u32,
    /// Bytes of registers that did not fit.
    pub spilled: u32,
    /// Bytes of static shared memory.
    pub shared: u32,
}

/// Machine code where the driver expects it: at a multiple of 16 bytes.
#[repr(align(16))]
#[allow(dead_code, reason = "there is none to align where nvcc was not found")]
struct Aligned<const N: usize>([u8; N]);

include!(concat!(env!("OUT_DIR"), "/modules.rs"));

/// The names of all kernels built into this program; none where it was built without nvcc.
pub fn kernel_names() -> impl Iterator<Item = &'static str> {
    MODULES.iter().flat_map(|module| module.kernels.iter().copied())
}

/// The CUDA version that a driver must speak at least: that of the compiler, but for its minor number.
pub(crate) fn oldest_driver() -> (u32, u32) {
    (COMPILER.0, 0)
}

/// What every kernel takes on every architecture it was built for.
pub fn resources() -> &'static [Resources] {
    RESOURCES
}

/// All kernels, loaded onto a device.
pub(crate) struct Kernels {
    modules: Vec<CUmodule>,
    functions: HashMap<&'static str, CUfunction>,
    context: Arc<Context>,
}

// SAFETY: modules and functions are handles that the driver lets any thread use; they end with this value.
unsafe impl Send for Kernels {}
// SAFETY: as above.
unsafe impl Sync for Kernels {}

impl Kernels {
    /// Loads every kernel. None is loaded later: that could not happen while a pass is being recorded.
    ///
    /// # Errors
    /// `DEVICE_UNAVAILABLE` where the driver does not take the machine code.
    pub(crate) fn load(context: &Arc<Context>) -> Result<Self> {
        context.enter()?;
        let mut kernels =
            Kernels { modules: Vec::new(), functions: HashMap::new(), context: context.clone() };
        for module in MODULES {
            let refused = |error| {
                devices::unavailable(&format!(
                    "its driver does not take the kernels of {}: {}",
                    module.file,
                    error::in_driver_words(error)
                ))
                .remedy("Update the NVIDIA driver; 580 or later is right.")
            };
            // SAFETY: the image is a whole fatbin made by nvcc, aligned, and there as long as the program.
            let loaded =
                unsafe { result::module::load_data(module.image.as_ptr().cast()) }.map_err(refused)?;
            kernels.modules.push(loaded);
            for &name in module.kernels {
                let c_name = CString::new(name).expect("kernel names have no zero byte");
                // SAFETY: the module was loaded above.
                let function = unsafe { result::module::get_function(loaded, c_name) }.map_err(refused)?;
                allow_shared_memory(context, function).map_err(refused)?;
                kernels.functions.insert(name, function);
            }
        }
        Ok(kernels)
    }

    fn find(&self, name: &str) -> Result<CUfunction> {
        self.functions
            .get(name)
            .copied()
            .ok_or_else(|| Error::new(Code::Internal, format!("There is no kernel `{name}`: this is a bug.")))
    }
}

/// Lets a kernel have all the shared memory a block may.
fn allow_shared_memory(
    context: &Context,
    function: CUfunction,
) -> std::result::Result<(), cudarc::driver::DriverError> {
    use CUfunction_attribute::*;
    // SAFETY: the function was just loaded.
    unsafe {
        let fixed = result::function::get_function_attribute(function, CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES)?;
        let most = (context.shared_limit as i32 - fixed).max(0);
        result::function::set_function_attribute(
            function,
            CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES,
            most,
        )
    }
}

impl Drop for Kernels {
    fn drop(&mut self) {
        if self.context.enter().is_ok() {
            for module in self.modules.drain(..) {
                // SAFETY: nothing launches these kernels any more; the driver waits for those that run.
                let _ = unsafe { result::module::unload(module) };
            }
        }
    }
}

/// What a kernel reads or writes.
pub(crate) trait DevicePointer {
    /// Its start.
    fn pointer(&self) -> CUdeviceptr;
}

/// A place inside something on the device: `buffer.at(bytes)`.
#[derive(Clone, Copy)]
pub(crate) struct Place(CUdeviceptr);

impl DevicePointer for Place {
    fn pointer(&self) -> CUdeviceptr {
        self.0
    }
}

/// Places by their distance from the start.
pub(crate) trait Within: DevicePointer {
    /// The place `bytes` after the start.
    fn at(&self, bytes: usize) -> Place {
        Place(self.pointer() + bytes as CUdeviceptr)
    }
}

impl<P: DevicePointer> Within for P {}

/// A kernel's argument passed by value; a structure is one when it is `repr(C)` and the kernel's is the same.
pub(crate) trait Argument: Pod {}

impl Argument for i32 {}
impl Argument for u32 {}
impl Argument for i64 {}
impl Argument for u64 {}
impl Argument for f32 {}
impl Argument for f64 {}

/// Blocks or threads in one to three dimensions.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Dimensions([usize; 3]);

impl From<usize> for Dimensions {
    fn from(x: usize) -> Self {
        Dimensions([x, 1, 1])
    }
}

impl From<(usize, usize)> for Dimensions {
    fn from((x, y): (usize, usize)) -> Self {
        Dimensions([x, y, 1])
    }
}

impl From<(usize, usize, usize)> for Dimensions {
    fn from((x, y, z): (usize, usize, usize)) -> Self {
        Dimensions([x, y, z])
    }
}

/// Words of the longest argument list together: what every GPU takes since CUDA 12.1.
const ARGUMENT_WORDS: usize = 32_764 / 8;

/// Words of arguments, aligned for the strictest type there is.
#[repr(C, align(64))]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Line([u64; 8]);

/// A kernel with its arguments, in the kernel's order.
pub(crate) struct Launch<'a> {
    context: &'a Context,
    function: CUfunction,
    grid: Dimensions,
    block: Dimensions,
    shared: usize,
    cluster: usize,
    overlaps: bool,
    cooperates: bool,
    arguments: Vec<Line>,
    /// Where each argument starts, in words.
    starts: Vec<usize>,
    used: usize,
    problem: Option<Error>,
}

impl Kernels {
    /// Prepares a launch of the kernel `name`. Add its arguments, then [`Launch::submit`].
    pub(crate) fn launch(
        &self,
        name: &str,
        grid: impl Into<Dimensions>,
        block: impl Into<Dimensions>,
    ) -> Result<Launch<'_>> {
        Ok(Launch {
            context: &self.context,
            function: self.find(name)?,
            grid: grid.into(),
            block: block.into(),
            shared: 0,
            cluster: 1,
            overlaps: false,
            cooperates: false,
            arguments: Vec::new(),
            starts: Vec::with_capacity(16),
            used: 0,
            problem: None,
        })
    }
}

impl CudaBackend {
    /// See [`Kernels::launch`].
    pub(crate) fn launch(
        &self,
        name: &str,
        grid: impl Into<Dimensions>,
        block: impl Into<Dimensions>,
    ) -> Result<Launch<'_>> {
        self.kernels.launch(name, grid, block)
    }

    /// As [`CudaBackend::launch`], of `name_bf16` or `name_f32` by the backend's precision.
    pub(crate) fn launch_features(
        &self,
        name: &str,
        grid: impl Into<Dimensions>,
        block: impl Into<Dimensions>,
    ) -> Result<Launch<'_>> {
        self.launch(&self.named_for_features(name), grid, block)
    }

    /// `name_bf16` or `name_f32`.
    pub(crate) fn named_for_features(&self, name: &str) -> String {
        match self.precision() {
            Precision::F32 => format!("{name}_f32"),
            Precision::Bf16 => format!("{name}_bf16"),
        }
    }
}

impl Launch<'_> {
    /// Dynamic shared memory of a block, in bytes.
    pub(crate) fn shared(mut self, bytes: usize) -> Self {
        self.shared = bytes;
        self
    }

    /// Blocks of a cluster along x. Needs compute capability 9.0.
    pub(crate) fn cluster(mut self, blocks: usize) -> Self {
        self.cluster = blocks;
        self
    }

    /// Lets the kernel start while the one before it still runs: it must call `wait_for_earlier()` before it reads
    /// or writes what another kernel wrote or reads. Ignored before compute capability 9.0.
    pub(crate) fn overlapping(mut self) -> Self {
        self.overlaps = true;
        self
    }

    /// Its blocks wait for one another: all run at once, or the launch fails.
    pub(crate) fn all_at_once(mut self) -> Self {
        self.cooperates = true;
        self
    }

    /// A pointer to what the kernel reads.
    pub(crate) fn read(self, from: &impl DevicePointer) -> Self {
        self.push(&from.pointer())
    }

    /// A pointer to what the kernel reads if it is there, else a null pointer.
    pub(crate) fn read_optional(self, from: Option<&impl DevicePointer>) -> Self {
        self.push(&from.map_or(0, DevicePointer::pointer))
    }

    /// A pointer to what the kernel writes.
    pub(crate) fn write(self, to: &mut impl DevicePointer) -> Self {
        self.push(&to.pointer())
    }

    /// A pointer to what the kernel writes if it is there, else a null pointer.
    pub(crate) fn write_optional(self, to: Option<&mut impl DevicePointer>) -> Self {
        self.push(&to.map_or(0, |to| to.pointer()))
    }

    /// A length or index: an `int` of the kernel.
    pub(crate) fn count(mut self, count: usize) -> Self {
        if i32::try_from(count).is_err() {
            let error =
                Error::new(Code::ArgumentOutOfRange, "A dimension is too large for the GPU's kernels.");
            self.problem =
                Some(error.found(count).expected("below 2³¹").remedy("Generate fewer images at a time."));
        }
        self.push(&(count as i32))
    }

    /// An argument by value.
    pub(crate) fn value<T: Argument>(self, value: T) -> Self {
        self.push(&value)
    }

    fn push<T: Pod>(mut self, value: &T) -> Self {
        let start = self.used.next_multiple_of((align_of::<T>() / 8).max(1));
        self.used = start + size_of::<T>().div_ceil(8);
        assert!(self.used <= ARGUMENT_WORDS, "arguments take at most 32,764 bytes");
        self.arguments.resize(self.used.div_ceil(8), Line::zeroed());
        let words = &mut bytemuck::cast_slice_mut::<_, u64>(&mut self.arguments)[start..self.used];
        bytemuck::cast_slice_mut(words)[..size_of::<T>()].copy_from_slice(bytemuck::bytes_of(value));
        self.starts.push(start);
        self
    }

    /// Queues the kernel. Nothing happens where the grid is empty.
    ///
    /// # Safety
    /// The arguments are those of the kernel, in its order; it reads and writes only what the buffers hold, and
    /// writes only those passed to [`Launch::write`].
    pub(crate) unsafe fn submit(mut self) -> Result<()> {
        if let Some(problem) = self.problem {
            return Err(problem);
        }
        if self.grid.0.contains(&0) {
            return Ok(());
        }
        let context = self.context;
        context.enter()?;
        let attributes = self.attributes();
        let config = self.config(&attributes);
        let words = bytemuck::cast_slice_mut::<_, u64>(&mut self.arguments);
        let mut pointers: Vec<_> =
            self.starts.iter().map(|&start| (&raw mut words[start]).cast::<std::ffi::c_void>()).collect();
        // SAFETY: the caller's promise; the argument pointers live until the driver has copied what they point at.
        let launched = unsafe {
            sys::cuLaunchKernelEx(&config, self.function, pointers.as_mut_ptr(), std::ptr::null_mut())
        };
        context.check("start a kernel", launched.result())
    }

    /// How many of its clusters run at the same time.
    pub(crate) fn clusters_at_once(self) -> Result<usize> {
        self.context.enter()?;
        let attributes = self.attributes();
        let config = self.config(&attributes);
        let mut count = 0;
        // SAFETY: the driver reads the configuration, whose attributes live as long, and writes the number.
        let answer = unsafe { sys::cuOccupancyMaxActiveClusters(&mut count, self.function, &config) };
        self.context.check("say how many clusters run at once", answer.result())?;
        Ok(usize::try_from(count).unwrap_or(0))
    }

    fn config(&self, attributes: &[CUlaunchAttribute]) -> CUlaunchConfig {
        let [grid_x, grid_y, grid_z] = self.grid.0.map(|size| size as u32);
        let [block_x, block_y, block_z] = self.block.0.map(|size| size as u32);
        CUlaunchConfig {
            gridDimX: grid_x,
            gridDimY: grid_y,
            gridDimZ: grid_z,
            blockDimX: block_x,
            blockDimY: block_y,
            blockDimZ: block_z,
            sharedMemBytes: self.shared as u32,
            hStream: self.context.stream(),
            attrs: attributes.as_ptr().cast_mut(),
            numAttrs: attributes.len() as u32,
        }
    }

    fn attributes(&self) -> Vec<CUlaunchAttribute> {
        let mut attributes = Vec::new();
        if self.overlaps && self.context.capability >= (9, 0) {
            let mut value = CUlaunchAttributeValue { pad: [0; 64] };
            value.programmaticStreamSerializationAllowed = 1;
            let id = CUlaunchAttributeID::CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION;
            attributes.push(CUlaunchAttribute { id, pad: [0; 4], value });
        }
        if self.cooperates {
            let mut value = CUlaunchAttributeValue { pad: [0; 64] };
            value.cooperative = 1;
            let id = CUlaunchAttributeID::CU_LAUNCH_ATTRIBUTE_COOPERATIVE;
            attributes.push(CUlaunchAttribute { id, pad: [0; 4], value });
        }
        if self.cluster > 1 {
            let mut value = CUlaunchAttributeValue { pad: [0; 64] };
            value.clusterDim.x = self.cluster as u32;
            value.clusterDim.y = 1;
            value.clusterDim.z = 1;
            let id = CUlaunchAttributeID::CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION;
            attributes.push(CUlaunchAttribute { id, pad: [0; 4], value });
        }
        attributes
    }
}
