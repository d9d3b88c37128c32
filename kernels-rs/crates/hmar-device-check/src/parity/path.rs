//! Whole paths in one kernel: at most twice the error of the same layer by layer, both against the CPU in float32.

use hmar_cuda::CudaBackend;
use hmar_error::{Code, Error, Result};
use hmar_ops::{
    AttentionShape, Backend, KeysValues, LayerInput, Linear, LinearOutput, MatrixShape, Modulation,
    Normalized, Path, PathBlock, PathBuffers, Precision, Rows, Scores, Span,
};

use crate::check::{
    Check, Ctx, Outcome, Random, Timing, as_held, downloaded, matrix, poisoned, poisoned_features, uploaded,
};

/// Blocks of the paths that are checked.
const BLOCKS: usize = 3;

/// Logits of a row.
const VOCABULARY: usize = 4096;

/// Classes of the rows.
const SLOTS: usize = 3;

const HEAD_WIDTH: usize = 64;

/// Sequences and rows of each: those of batches of one, others that fill the kernels' tiles or do not.
const SHAPES: [(usize, usize); 12] =
    [(1, 1), (2, 1), (2, 4), (1, 9), (2, 8), (1, 16), (16, 1), (2, 9), (3, 7), (2, 16), (16, 2), (1, 32)];

/// The checks.
pub fn checks() -> Vec<Check> {
    let mut checks = Vec::new();
    for width in [1024, 1280, 1536, 1920] {
        for (sequences, rows) in SHAPES {
            let normalized = rows != 8;
            let name = format!("{sequences}×{rows} rows of {width}");
            checks.push(Check::new(name, move |ctx| parity(ctx, sequences, rows, width, normalized)));
        }
    }
    for width in [1024, 1920] {
        for (sequences, rows) in [(1, 1), (1, 4), (1, 9), (1, 16), (2, 9), (2, 16)] {
            let name = format!("timed, {sequences}×{rows} rows of {width}");
            checks.push(Check::timing(name, move |ctx| timed(ctx, sequences, rows, width)));
        }
    }
    checks
}

/// Numbers of a path.
struct Values {
    width: usize,
    blocks: Vec<BlockValues>,
    head: LayerValues,
    head_modulations: Vec<f32>,
    slots: Vec<u32>,
    residual: Vec<f32>,
    normalized: bool,
}

struct BlockValues {
    qkv: LayerValues,
    proj: LayerValues,
    fc1: LayerValues,
    fc2: LayerValues,
    modulations: Vec<f32>,
    factors: Vec<f32>,
}

struct LayerValues {
    inputs: usize,
    weights: Vec<f32>,
    bias: Vec<f32>,
}

impl LayerValues {
    fn new(random: &mut Random, inputs: usize, outputs: usize) -> Self {
        // Sums of about the size of the inputs.
        let size = (3.0 / inputs as f32).sqrt();
        let weights: Vec<f32> = random.uniforms(outputs * inputs).iter().map(|x| x * size).collect();
        let bias = random.normals(outputs).iter().map(|x| x / 4.0).collect();
        LayerValues { inputs, weights: as_held(Precision::Bf16, &weights), bias }
    }
}

impl Values {
    fn new(sequences: usize, rows: usize, width: usize, normalized: bool) -> Self {
        let mut random = Random::new((sequences * 1000 + rows + width) as u64);
        let modulations = |random: &mut Random, vectors: usize| -> Vec<f32> {
            random.normals(SLOTS * vectors * width).iter().map(|x| x / 2.0).collect()
        };
        let block = |random: &mut Random| BlockValues {
            qkv: LayerValues::new(random, width, 3 * width),
            proj: LayerValues::new(random, width, width),
            fc1: LayerValues::new(random, width, 4 * width),
            fc2: LayerValues::new(random, 4 * width, width),
            modulations: modulations(random, 6),
            factors: random.uniforms(width / HEAD_WIDTH).iter().map(|x| 6.0 + x).collect(),
        };
        Values {
            width,
            blocks: (0..BLOCKS).map(|_| block(&mut random)).collect(),
            head: LayerValues::new(&mut random, width, VOCABULARY),
            head_modulations: modulations(&mut random, 2),
            slots: (0..sequences).map(|_| random.below(SLOTS) as u32).collect(),
            residual: random.normals(sequences * rows * width),
            normalized,
        }
    }
}

/// The same on a device.
struct Weights<B: Backend> {
    width: usize,
    blocks: Vec<BlockWeights<B>>,
    head: Layer<B>,
    head_modulations: B::Buffer<f32>,
    slots: B::Buffer<u32>,
    normalized: bool,
}

struct BlockWeights<B: Backend> {
    qkv: Layer<B>,
    proj: Layer<B>,
    fc1: Layer<B>,
    fc2: Layer<B>,
    modulations: B::Buffer<f32>,
    factors: B::Buffer<f32>,
}

struct Layer<B: Backend> {
    weight: B::Matrix,
    bias: B::Bias,
}

impl<B: Backend> Layer<B> {
    fn new(backend: &B, precision: Precision, values: &LayerValues) -> Result<Self> {
        let shape = MatrixShape { outputs: values.bias.len(), inputs: values.inputs, taps: 1 };
        Ok(Layer {
            weight: matrix(backend, shape, precision, &values.weights)?,
            bias: backend.bias(&values.bias)?,
        })
    }

    fn as_linear(&self) -> Linear<'_, B> {
        Linear { weight: &self.weight, bias: &self.bias }
    }
}

impl<B: Backend> Weights<B> {
    fn new(backend: &B, precision: Precision, values: &Values) -> Result<Self> {
        let layer = |values: &LayerValues| Layer::new(backend, precision, values);
        let block = |values: &BlockValues| -> Result<BlockWeights<B>> {
            Ok(BlockWeights {
                qkv: layer(&values.qkv)?,
                proj: layer(&values.proj)?,
                fc1: layer(&values.fc1)?,
                fc2: layer(&values.fc2)?,
                modulations: uploaded(backend, &values.modulations)?,
                factors: uploaded(backend, &values.factors)?,
            })
        };
        Ok(Weights {
            width: values.width,
            blocks: values.blocks.iter().map(block).collect::<Result<_>>()?,
            head: layer(&values.head)?,
            head_modulations: uploaded(backend, &values.head_modulations)?,
            slots: uploaded(backend, &values.slots)?,
            normalized: values.normalized,
        })
    }

    fn path(&self, sequences: usize, per_sequence: usize) -> Path<'_, B> {
        let blocks = self.blocks.iter().map(|block| PathBlock {
            qkv: block.qkv.as_linear(),
            proj: block.proj.as_linear(),
            fc1: block.fc1.as_linear(),
            fc2: block.fc2.as_linear(),
            modulations: &block.modulations,
            scores: if self.normalized { Scores::Normalized(&block.factors) } else { Scores::Scaled(0.125) },
        });
        Path {
            blocks: blocks.collect(),
            head: self.head.as_linear(),
            head_modulations: &self.head_modulations,
            width: self.width,
            heads: self.width / HEAD_WIDTH,
            vocabulary: VOCABULARY,
            rows: Rows { sequences, per_sequence, slots: &self.slots },
        }
    }
}

/// What a path is, layer by layer.
fn layer_by_layer<B: Backend>(
    backend: &B,
    path: &Path<'_, B>,
    Buffers { residual, features, qkv, hidden, logits }: &mut Buffers<B>,
) -> Result<()> {
    let (rows, width) = (path.rows, path.width);
    let count = rows.count();
    let whole = [Span { queries: 0..rows.per_sequence, keys: 0..rows.per_sequence }];
    let shape = AttentionShape {
        sequences: rows.sequences,
        rows: rows.per_sequence,
        heads: path.heads,
        head_width: HEAD_WIDTH,
        spans: &whole,
    };
    let vector = |table, vectors: usize, index: usize| Modulation {
        table,
        stride: vectors * width,
        offset: index * width,
    };
    for block in &path.blocks {
        let part = |index| vector(block.modulations, 6, index);
        backend.modulated_norm(rows, width, residual, part(2), part(4), LayerInput::of_any(features))?;
        let Linear { weight, bias } = block.qkv;
        backend.linear(count, features, weight, bias, LinearOutput::Features(qkv))?;
        backend.attention(shape_of(&shape), qkv, KeysValues::BesideQueries, block.scores, hidden)?;
        let Linear { weight, bias } = block.proj;
        let next = Some(Normalized { scale: part(3), shift: part(5), out: LayerInput::of_any(features) });
        let output = LinearOutput::GatedResidual { residual, gate: part(0), rows, next };
        backend.linear(count, hidden, weight, bias, output)?;
        let Linear { weight, bias } = block.fc1;
        backend.linear(count, features, weight, bias, LinearOutput::Gelu(LayerInput::of_any(hidden)))?;
        let Linear { weight, bias } = block.fc2;
        let output = LinearOutput::GatedResidual { residual, gate: part(1), rows, next: None };
        backend.linear(count, hidden, weight, bias, output)?;
    }
    let part = |index| vector(path.head_modulations, 2, index);
    backend.modulated_norm(rows, width, residual, part(0), part(1), LayerInput::of_any(features))?;
    let Linear { weight, bias } = path.head;
    backend.linear(count, features, weight, bias, LinearOutput::Float32(logits))
}

fn shape_of<'a>(shape: &AttentionShape<'a>) -> AttentionShape<'a> {
    let AttentionShape { sequences, rows, heads, head_width, spans } = *shape;
    AttentionShape { sequences, rows, heads, head_width, spans }
}

/// Buffers of a path.
struct Buffers<B: Backend> {
    residual: B::Buffer<f32>,
    features: B::Features,
    qkv: B::Features,
    hidden: B::Features,
    logits: B::Buffer<f32>,
}

impl<B: Backend> Buffers<B> {
    fn borrow(&mut self) -> PathBuffers<'_, B> {
        let Buffers { residual, logits, .. } = self;
        PathBuffers { residual, logits }
    }
}

fn poisoned_buffers(gpu: &CudaBackend, residual: &[f32], width: usize) -> Result<Buffers<CudaBackend>> {
    let rows = residual.len() / width;
    Ok(Buffers {
        residual: uploaded(gpu, residual)?,
        features: poisoned_features(gpu, rows * width)?,
        qkv: poisoned_features(gpu, rows * 3 * width)?,
        hidden: poisoned_features(gpu, rows * 4 * width)?,
        logits: poisoned(gpu, rows * VOCABULARY)?,
    })
}

fn run(gpu: &CudaBackend, path: &Path<'_, CudaBackend>, buffers: PathBuffers<'_, CudaBackend>) -> Result<()> {
    if gpu.run_path(path, buffers)? {
        return Ok(());
    }
    Err(Error::new(Code::Internal, "There is no kernel for this path."))
}

fn parity(
    ctx: &Ctx,
    sequences: usize,
    per_sequence: usize,
    width: usize,
    normalized: bool,
) -> Result<Outcome> {
    let values = Values::new(sequences, per_sequence, width, normalized);
    let length = sequences * per_sequence * VOCABULARY;

    let weights = Weights::new(&ctx.cpu, Precision::F32, &values)?;
    let rows = sequences * per_sequence;
    let mut buffers = Buffers::<hmar_ops::CpuBackend> {
        residual: uploaded(&ctx.cpu, &values.residual)?,
        features: ctx.cpu.allocate_features(rows * width)?,
        qkv: ctx.cpu.allocate_features(rows * 3 * width)?,
        hidden: ctx.cpu.allocate_features(rows * 4 * width)?,
        logits: ctx.cpu.allocate(length)?,
    };
    layer_by_layer(&ctx.cpu, &weights.path(sequences, per_sequence), &mut buffers)?;
    let exact = downloaded(&ctx.cpu, &buffers.logits, length)?;

    let gpu = ctx.gpu(Precision::Bf16);
    let weights = Weights::new(gpu, Precision::Bf16, &values)?;
    let path = weights.path(sequences, per_sequence);
    let logits_of = |run: &dyn Fn(&mut Buffers<CudaBackend>) -> Result<()>| -> Result<Vec<f32>> {
        let mut buffers = poisoned_buffers(gpu, &values.residual, width)?;
        run(&mut buffers)?;
        downloaded(gpu, &buffers.logits, length)
    };
    let plain = logits_of(&|buffers| layer_by_layer(gpu, &path, buffers))?;
    let found = logits_of(&|buffers| run(gpu, &path, buffers.borrow()))?;
    let again = logits_of(&|buffers| run(gpu, &path, buffers.borrow()))?;
    let error = distance(&found, &exact);
    let equal = found.iter().zip(&again).all(|(x, y)| x.to_bits() == y.to_bits());
    let note = format!("layer by layer {:.2e}, in one {error:.2e}", distance(&plain, &exact));
    let error = if equal { error } else { f64::NAN };
    Ok(Outcome::new(error, 2.0 * distance(&plain, &exact)).note(note))
}

/// The norm of the difference.
fn distance(found: &[f32], exact: &[f32]) -> f64 {
    let squares = found.iter().zip(exact).map(|(x, y)| f64::from(x - y).powi(2));
    squares.sum::<f64>().sqrt()
}

/// The time per block, as its weights are what must be read.
fn timed(ctx: &Ctx, sequences: usize, rows: usize, width: usize) -> Result<Outcome> {
    let gpu = ctx.gpu(Precision::Bf16);
    let values = Values::new(sequences, rows, width, true);
    let weights = Weights::new(gpu, Precision::Bf16, &values)?;
    let (few, mut path) = (weights.path(sequences, rows), weights.path(sequences, rows));
    // As many as a model has, though the same: three do not stay in the cache.
    let depth = 16;
    let block = |index: usize| {
        let PathBlock { qkv, proj, fc1, fc2, modulations, scores } = &few.blocks[index % BLOCKS];
        let [qkv, proj, fc1, fc2] =
            [qkv, proj, fc1, fc2].map(|&Linear { weight, bias }| Linear { weight, bias });
        PathBlock { qkv, proj, fc1, fc2, modulations: *modulations, scores: *scores }
    };
    path.blocks = (0..depth).map(block).collect();
    let mut buffers = poisoned_buffers(gpu, &values.residual, width)?;
    let microseconds = ctx.time(gpu, |_| run(gpu, &path, buffers.borrow()))?;
    let parameters = (12 * width * width * depth + VOCABULARY * width) as f64;
    Ok(Outcome::default().timed(Timing {
        microseconds,
        bytes: 2.0 * parameters,
        flops: 2.0 * parameters * (sequences * rows) as f64,
    }))
}
