//! The engine as a Node addon: bindings, nothing else. Work runs on Node's worker threads, its errors cross as JSON,
//! panics are caught.

#![cfg_attr(test, allow(dead_code, reason = "exports are called by Node, which no Rust test has"))]

mod checkpoint;
mod device;
mod error;
mod job;
mod kernels;
mod measure;
mod model;
mod on_device;
mod sampler;
mod session;
mod tokenizer;

use napi_derive::napi;

/// The addon's version.
#[napi(catch_unwind)]
pub fn version() -> &'static str {
    env!("CARGO_PKG_VERSION")
}

/// Asks work to end early.
#[napi]
#[derive(Default)]
pub struct CancelToken {
    pub(crate) cancel: hmar_engine::Cancel,
}

#[napi]
impl CancelToken {
    /// A token that nobody has cancelled.
    #[napi(constructor, catch_unwind)]
    pub fn new() -> Self {
        Self::default()
    }

    /// Ends the work that has this token at its next step.
    #[napi(catch_unwind)]
    pub fn cancel(&self) {
        self.cancel.cancel();
    }
}
