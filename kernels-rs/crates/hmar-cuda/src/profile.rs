//! Where the time of a generation goes, operation by operation.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use cudarc::driver::CudaEvent;
use cudarc::driver::sys::CUevent_flags::CU_EVENT_DEFAULT;
use hmar_error::Result;

use crate::backend::CudaBackend;

/// Device time of all calls of one operation at one shape.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct OperationTime {
    /// The operation and its dimensions.
    pub name: String,
    /// How often it was called.
    pub calls: usize,
    /// Microseconds of all calls together.
    pub microseconds: f64,
}

/// Calls and the events around them, while a profile is taken.
#[derive(Default)]
pub(crate) struct Profile(Mutex<Option<Vec<(String, CudaEvent, CudaEvent)>>>);

impl Profile {
    pub(crate) fn is_taken(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }
}

impl CudaBackend {
    /// Runs `work` with events around every operation; the costliest first. Nothing is recorded or repeated
    /// meanwhile, and a call costs a few microseconds more than it does else.
    ///
    /// # Errors
    /// Those of `work`.
    pub fn profile<R>(&self, work: impl FnOnce() -> Result<R>) -> Result<(R, Vec<OperationTime>)> {
        let take = || self.profile.0.lock().unwrap_or_else(PoisonError::into_inner);
        *take() = Some(Vec::new());
        let result = work();
        let calls = take().take().unwrap_or_default();
        let result = result?;
        self.synchronize()?;
        let mut operations = BTreeMap::<String, OperationTime>::new();
        for (name, begin, end) in calls {
            let milliseconds = self.context.check("do its work", begin.elapsed_ms(&end))?;
            let operation = operations.entry(name.clone()).or_default();
            operation.name = name;
            operation.calls += 1;
            operation.microseconds += f64::from(milliseconds) * 1e3;
        }
        let mut operations: Vec<_> = operations.into_values().collect();
        operations.sort_by(|a, b| b.microseconds.total_cmp(&a.microseconds));
        Ok((result, operations))
    }

    /// Queues an operation, measured if a profile is being taken.
    pub(crate) fn measured(
        &self,
        name: impl FnOnce() -> String,
        operation: impl FnOnce() -> Result<()>,
    ) -> Result<()> {
        if !self.profile.is_taken() {
            return operation();
        }
        let event = || {
            self.context.enter()?;
            let event = self.context.cuda.new_event(Some(CU_EVENT_DEFAULT));
            let event = self.context.check("make an event", event)?;
            self.context.check("mark its queue", event.record(self.context.queue()))?;
            Ok(event)
        };
        let begin = event()?;
        operation()?;
        let end = event()?;
        if let Some(calls) = &mut *self.profile.0.lock().unwrap_or_else(PoisonError::into_inner) {
            calls.push((name(), begin, end));
        }
        Ok(())
    }
}
