//! What a check is, and what checks are made with.

use bytemuck::Pod;
use half::bf16;
use hmar_cuda::{CudaBackend, CudaBuffer, CudaFeatures};
use hmar_error::Result;
use hmar_ops::{Backend, CpuBackend, MatrixBuilder, MatrixShape, Precision};

/// What a check does.
pub type Run = Box<dyn Fn(&Ctx) -> Result<Outcome>>;

/// A check of one operation at one shape.
pub struct Check {
    /// `operation, shape, precision`.
    pub name: String,
    /// Runs it.
    pub run: Run,
    /// It is there for its time alone.
    pub only_timed: bool,
}

impl Check {
    /// A check by its name.
    pub fn new(name: impl Into<String>, run: impl Fn(&Ctx) -> Result<Outcome> + 'static) -> Self {
        Check { name: name.into(), run: Box::new(run), only_timed: false }
    }

    /// One that measures and compares nothing.
    pub fn timing(name: impl Into<String>, run: impl Fn(&Ctx) -> Result<Outcome> + 'static) -> Self {
        Check { only_timed: true, ..Check::new(name, run) }
    }
}

/// What a check found. It passes where the error is at most the bound; NaN never passes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outcome {
    /// The largest error, in the bound's unit.
    pub error: f64,
    /// What is allowed.
    pub bound: f64,
    /// Device time and what it is to be compared with, where it was measured.
    pub timing: Option<Timing>,
    /// Anything worth reading.
    pub note: Option<String>,
}

/// Device time of an operation, and what it must move and compute at least.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Timing {
    /// Microseconds, the median over repeats.
    pub microseconds: f64,
    /// Bytes that have to move: every input read once, every output written once.
    pub bytes: f64,
    /// Floating-point operations.
    pub flops: f64,
}

impl Outcome {
    /// An error and what is allowed.
    pub fn new(error: f64, bound: f64) -> Self {
        Outcome { error, bound, timing: None, note: None }
    }

    /// 0 errors of 0 allowed where both are the same, else the number of differences.
    pub fn equal<T: PartialEq>(found: &[T], expected: &[T]) -> Self {
        let different = found.iter().zip(expected).filter(|(found, expected)| found != expected).count();
        Outcome::new((different + found.len().abs_diff(expected.len())) as f64, 0.0)
    }

    /// The largest ratio of an element's error to its own bound; at most 1 is allowed.
    pub fn within(found: &[f32], expected: &[f64], bound: impl Fn(usize) -> f64) -> Self {
        assert_eq!(found.len(), expected.len());
        let ratios = found.iter().zip(expected).enumerate().map(|(index, (&found, &expected))| {
            let error = (f64::from(found) - expected).abs();
            // Equal is right whatever the bound; NaN or infinity is not.
            if error == 0.0 { 0.0 } else { error / bound(index) }
        });
        Outcome::new(ratios.fold(0.0, |most, ratio| if ratio <= most { most } else { ratio }), 1.0)
    }

    /// Adds a timing.
    #[must_use]
    pub fn timed(mut self, timing: Timing) -> Self {
        self.timing = Some(timing);
        self
    }

    /// Adds a note.
    #[must_use]
    pub fn note(mut self, note: impl Into<String>) -> Self {
        self.note = Some(note.into());
        self
    }

    /// Whether the check passed.
    pub fn passed(&self) -> bool {
        self.error <= self.bound
    }
}

/// What checks run on.
pub struct Ctx {
    /// The reference.
    pub cpu: CpuBackend,
    float32: CudaBackend,
    bfloat16: CudaBackend,
    /// The GPU in bfloat16 with the attention of GPUs before Hopper.
    pub unplanned: CudaBackend,
    /// Measure times as well.
    pub timed: bool,
}

/// Both precisions, for loops over them.
pub const PRECISIONS: [Precision; 2] = [Precision::F32, Precision::Bf16];

/// Launches in a timed recording.
const LAUNCHES: usize = 20;

/// Timed recordings.
const REPEATS: usize = 9;

impl Ctx {
    /// Opens a GPU in both precisions.
    ///
    /// # Errors
    /// `DEVICE_UNAVAILABLE` with the reason.
    pub fn open(ordinal: usize, timed: bool) -> Result<Self> {
        Ok(Ctx {
            cpu: CpuBackend::new(None)?,
            float32: CudaBackend::open(ordinal, Precision::F32)?,
            bfloat16: CudaBackend::open(ordinal, Precision::Bf16)?,
            unplanned: CudaBackend::open(ordinal, Precision::Bf16)?.without_planned_attention(),
            timed,
        })
    }

    /// The GPU in a precision.
    pub fn gpu(&self, precision: Precision) -> &CudaBackend {
        match precision {
            Precision::F32 => &self.float32,
            Precision::Bf16 => &self.bfloat16,
        }
    }

    /// Microseconds of one `work(i)` on the device: the median of recordings of many of them, i counting up. Let i
    /// choose among several inputs where one would stay in the cache.
    ///
    /// # Errors
    /// Those of `work`.
    pub fn time(&self, gpu: &CudaBackend, mut work: impl FnMut(usize) -> Result<()>) -> Result<f64> {
        let mut recording = Default::default();
        let mut all = || (0..LAUNCHES).try_for_each(&mut work);
        // Once as it is, once to record, once more to warm up.
        for _ in 0..3 {
            gpu.replay(&mut recording, &mut all)?;
        }
        gpu.synchronize()?;
        let mut times = (0..REPEATS)
            .map(|_| gpu.milliseconds(|| gpu.replay(&mut recording, &mut all)))
            .collect::<Result<Vec<_>>>()?;
        times.sort_by(f64::total_cmp);
        Ok(times[REPEATS / 2] * 1e3 / LAUNCHES as f64)
    }
}

/// A buffer with these elements.
pub fn uploaded<B: Backend, T: Pod + Send + Sync>(backend: &B, data: &[T]) -> Result<B::Buffer<T>> {
    let mut buffer = backend.allocate(data.len())?;
    backend.upload(data, &mut buffer)?;
    Ok(buffer)
}

/// The first elements of a buffer.
pub fn downloaded<B: Backend, T: Pod + Send + Sync>(
    backend: &B,
    buffer: &B::Buffer<T>,
    length: usize,
) -> Result<Vec<T>> {
    let mut data = vec![T::zeroed(); length];
    backend.download(buffer, &mut data)?;
    Ok(data)
}

/// A matrix with these weights `[outputs, inputs, taps]`.
pub fn matrix<B: Backend>(
    backend: &B,
    shape: MatrixShape,
    precision: Precision,
    weights: &[f32],
) -> Result<B::Matrix> {
    let mut builder = backend.matrix(shape, precision)?;
    let chunk = builder.chunk();
    weights.chunks(chunk).try_for_each(|part| builder.push(part))?;
    builder.finish()
}

/// A buffer whose every byte is 0xFF: NaN, or the largest integer.
pub fn poisoned<T: Pod + Send + Sync>(gpu: &CudaBackend, length: usize) -> Result<CudaBuffer<T>> {
    let mut buffer = gpu.allocate(length)?;
    gpu.fill_bytes(length, 0xFF, &mut buffer)?;
    Ok(buffer)
}

/// Activations that are all NaN.
pub fn poisoned_features(gpu: &CudaBackend, length: usize) -> Result<CudaFeatures> {
    let mut features = gpu.allocate_features(length)?;
    gpu.fill_features(0xFF, &mut features)?;
    Ok(features)
}

/// Activations on the GPU.
pub fn features(gpu: &CudaBackend, data: &[f32]) -> Result<CudaFeatures> {
    let mut features = gpu.allocate_features(data.len())?;
    gpu.upload_features(data, &mut features)?;
    Ok(features)
}

/// Activations in float32.
pub fn widened(gpu: &CudaBackend, features: &CudaFeatures, length: usize) -> Result<Vec<f32>> {
    let mut data = vec![0.0; length];
    gpu.download_features(features, &mut data)?;
    Ok(data)
}

/// The values as a backend of this precision holds activations and weights.
pub fn as_held(precision: Precision, values: &[f32]) -> Vec<f32> {
    match precision {
        Precision::F32 => values.to_vec(),
        Precision::Bf16 => values.iter().map(|&x| bf16::from_f32(x).to_f32()).collect(),
    }
}

/// Half the distance between neighbours at 1, relative: the rounding of one stored value.
pub fn rounding(precision: Precision) -> f64 {
    match precision {
        Precision::F32 => f64::from(f32::EPSILON) / 2.0,
        Precision::Bf16 => 1.0 / 256.0,
    }
}

/// A stream of numbers that is the same every time.
pub struct Random(u64);

impl Random {
    /// A stream of its own for every seed.
    pub fn new(seed: u64) -> Self {
        Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ 0x1234_5678_9ABC_DEF1)
    }

    /// 64 random bits (splitmix64).
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Below `end`.
    pub fn below(&mut self, end: usize) -> usize {
        (self.bits() % end as u64) as usize
    }

    /// In [−1, 1).
    pub fn uniform(&mut self) -> f32 {
        (self.bits() >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    }

    /// About normal, mean 0, deviation 1.
    pub fn normal(&mut self) -> f32 {
        // Twelve uniform numbers in [0, 1) have variance 1.
        (0..12).map(|_| (self.uniform() + 1.0) / 2.0).sum::<f32>() - 6.0
    }

    /// Many of [`Random::uniform`].
    pub fn uniforms(&mut self, count: usize) -> Vec<f32> {
        (0..count).map(|_| self.uniform()).collect()
    }

    /// Many of [`Random::normal`].
    pub fn normals(&mut self, count: usize) -> Vec<f32> {
        (0..count).map(|_| self.normal()).collect()
    }
}
