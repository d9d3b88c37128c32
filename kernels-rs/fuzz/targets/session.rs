//! A saved session: refused, or one that goes on to its end.
#![no_main]

use std::sync::{Arc, LazyLock};

use hmar_engine::{Cancel, Model, Stepper, saved_description};
use hmar_fuzz::memory::within_budget;
use hmar_fuzz::session::{model, request};
use hmar_ops::CpuBackend;
use libfuzzer_sys::fuzz_target;

static MODEL: LazyLock<Arc<Model<CpuBackend>>> = LazyLock::new(model);

fuzz_target!(|saved: &[u8]| {
    within_budget(|| {
        let _ = saved_description(saved);
        let cancel = Cancel::default();
        let resumed = Stepper::resume(Arc::clone(&MODEL), request(None), saved, None, &cancel);
        let Ok(mut stepper) = resumed else { return };
        let passes = stepper.request().plan.passes.len();
        while stepper.next() < passes {
            stepper.step(&cancel).expect("what was accepted can be gone on with");
        }
        assert!(stepper.tokens().iter().all(|token| (*token as usize) < MODEL.config().codebook_size));
    });
});
