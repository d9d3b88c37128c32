//! Parts: what runs on its own, leaves a result, and is not run again when it is there.

use std::cell::OnceCell;

use hmar_error::Result;
use serde::{Deserialize, Serialize};

use crate::check::{Ctx, Outcome};
use crate::options::Options;

/// Something that runs on its own.
pub struct Part {
    /// `command/group/what`.
    pub name: String,
    /// Seconds after which it is taken to hang.
    pub limit: u64,
    /// Runs it.
    #[allow(clippy::type_complexity, reason = "a boxed closure")]
    pub run: Box<dyn Fn(&World) -> Result<PartResult>>,
}

impl Part {
    /// A part by its name.
    pub fn new(
        name: impl Into<String>,
        limit: u64,
        run: impl Fn(&World) -> Result<PartResult> + 'static,
    ) -> Self {
        Part { name: name.into(), limit, run: Box::new(run) }
    }
}

/// What the parts of a process share.
pub struct World {
    /// The command line.
    pub options: Options,
    ctx: OnceCell<Ctx>,
}

impl World {
    /// Nothing opened yet.
    pub fn new(options: Options) -> Self {
        World { options, ctx: OnceCell::new() }
    }

    /// The GPU in both precisions, opened at the first call.
    ///
    /// # Errors
    /// `DEVICE_UNAVAILABLE` with the reason.
    pub fn ctx(&self) -> Result<&Ctx> {
        if let Some(ctx) = self.ctx.get() {
            return Ok(ctx);
        }
        let ctx = Ctx::open(self.options.device, self.options.timed)?;
        Ok(self.ctx.get_or_init(|| ctx))
    }
}

/// What a part found.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PartResult {
    /// Whether all is as it should be.
    pub ok: bool,
    /// A line for people.
    pub summary: String,
    /// Numbers for programs.
    #[serde(default, skip_serializing_if = "serde_json::Value::is_null")]
    pub data: serde_json::Value,
}

impl PartResult {
    /// Everything a check found.
    pub fn of(outcome: &Outcome) -> Self {
        let mut data = serde_json::json!({ "error": outcome.error, "bound": outcome.bound });
        let mut summary = format!("error {:.3e} of {:.3e}", outcome.error, outcome.bound);
        if let Some(timing) = outcome.timing {
            let seconds = timing.microseconds * 1e-6;
            let (bytes, flops) = (timing.bytes / seconds / 1e9, timing.flops / seconds / 1e12);
            data["microseconds"] = timing.microseconds.into();
            data["gigabytesPerSecond"] = bytes.into();
            data["teraflops"] = flops.into();
            summary += &format!("; {:.1} µs, {bytes:.0} GB/s, {flops:.1} TFLOP/s", timing.microseconds);
        }
        if let Some(note) = &outcome.note {
            data["note"] = note.as_str().into();
            summary += &format!("; {note}");
        }
        PartResult { ok: outcome.passed(), summary, data }
    }

    /// A failure in words.
    pub fn failure(why: impl std::fmt::Display) -> Self {
        PartResult { ok: false, summary: why.to_string(), data: serde_json::Value::Null }
    }
}
