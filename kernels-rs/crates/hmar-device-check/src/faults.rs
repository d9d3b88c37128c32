//! Memory that runs out, and a GPU that dies: what callers are told, and what works afterwards.

use hmar_checkpoint::Layout;
use hmar_cuda::CudaBackend;
use hmar_engine::{Cancel, Session};
use hmar_error::{Code, Result};
use hmar_ops::{Backend, Precision};

use crate::arithmetic::load_options;
use crate::bench::Loaded;
use crate::check::{Random, downloaded, uploaded};
use crate::part::{Part, PartResult, World};
use crate::released::config_of;

/// The parts.
pub fn parts() -> Vec<Part> {
    vec![
        Part::new("faults/more memory than there is", 60, out_of_memory),
        Part::new("faults/memory comes back", 60, memory_comes_back),
        Part::new("faults/a batch that does not fit", 120, large_batch),
        Part::new("faults/no such GPU", 60, no_such_device),
        // Last: its process's GPU is dead afterwards.
        Part::new("faults/a dead GPU", 60, dead_device),
    ]
}

fn out_of_memory(world: &World) -> Result<PartResult> {
    let gpu = world.ctx()?.gpu(Precision::Bf16);
    let Err(error) = gpu.allocate::<f32>(1 << 40) else { return Ok(PartResult::failure("4 TiB were given")) };
    let values = Random::new(1).uniforms(1000);
    let works = downloaded(gpu, &uploaded(gpu, &values)?, 1000)? == values;
    Ok(PartResult {
        ok: error.code == Code::OutOfMemory && error.found.is_some() && works,
        summary: format!("{error}"),
        data: works.into(),
    })
}

/// The error names a batch that would fit; a smaller one is generated afterwards.
fn large_batch(world: &World) -> Result<PartResult> {
    let backend = CudaBackend::open(world.options.device, Precision::Bf16)?;
    let loaded = Loaded::load(backend, config_of("d16", Layout::Combined)?, &load_options(Precision::Bf16))?;
    let before = loaded.backend.memory().current;
    let mut session = Session::default();
    let mut generate = |batch: usize| {
        let request = loaded.request(batch, 0);
        session.generate(&loaded.model, &loaded.tokenizer, &request, &Cancel::default(), &|_| {})
    };
    let Err(error) = generate(1_000_000) else { return Ok(PartResult::failure("a million fit")) };
    let gives_back = loaded.backend.memory().current == before;
    let named = error
        .remedy
        .as_deref()
        .and_then(|remedy| remedy.split_whitespace().find_map(|word| word.parse::<usize>().ok()));
    let works = generate(2)?.pixels.len() == 2 * 3 * 256 * 256;
    Ok(PartResult {
        ok: error.code == Code::OutOfMemory && named.is_some_and(|batch| batch > 64) && gives_back && works,
        summary: format!("{error}"),
        data: serde_json::json!({ "named": named, "givesBack": gives_back, "works": works }),
    })
}

fn memory_comes_back(world: &World) -> Result<PartResult> {
    let gpu = CudaBackend::open(world.options.device, Precision::Bf16)?;
    let before = gpu.memory().current;
    let buffer = gpu.allocate::<f32>(1 << 28)?;
    let during = gpu.memory().current;
    drop(buffer);
    gpu.synchronize()?;
    let after = gpu.memory().current;
    Ok(PartResult {
        ok: before == after && during == before + (1 << 30),
        summary: format!("{before}, {during}, {after} bytes"),
        data: serde_json::Value::Null,
    })
}

fn no_such_device(_: &World) -> Result<PartResult> {
    match CudaBackend::open(4096, Precision::Bf16) {
        Ok(_) => Ok(PartResult::failure("GPU 4096 was opened")),
        Err(error) => Ok(PartResult {
            ok: error.code == Code::DeviceUnavailable && error.found.is_some(),
            summary: format!("{error}"),
            data: serde_json::Value::Null,
        }),
    }
}

/// Looks up codes far outside of the codebook, which kills the GPU for this process, unless the kernel refuses.
fn dead_device(world: &World) -> Result<PartResult> {
    let gpu = world.ctx()?.gpu(Precision::Bf16);
    let codebook = uploaded(gpu, &[1.0f32; 128])?;
    let tokens = uploaded(gpu, &[u32::MAX / 2; 64])?;
    let mut out = gpu.allocate::<f32>(64 * 32)?;
    gpu.look_up(64, 32, &codebook, &tokens, &mut out)?;
    let mut seen = vec![0.0; 64 * 32];
    let Err(first) = gpu.download(&out, &mut seen) else {
        return Ok(PartResult { ok: true, summary: "the kernel guards itself".into(), ..Default::default() });
    };
    let Err(second) = gpu.allocate::<f32>(16) else { return Ok(PartResult::failure("it answers still")) };
    Ok(PartResult {
        ok: first.code == Code::DeviceUnavailable && first == second && first.remedy.is_some(),
        summary: format!("{second}"),
        data: serde_json::Value::Null,
    })
}
