//! Cancelling long work.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use hmar_error::{Code, Error, Result};

/// A flag that long work looks at between steps. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Cancel(Arc<AtomicBool>);

impl Cancel {
    /// Asks the work to end at its next step.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// The flag itself.
    pub fn flag(&self) -> &AtomicBool {
        &self.0
    }

    /// # Errors
    /// `CANCELLED` once [`Cancel::cancel`] was called.
    pub fn check(&self) -> Result<()> {
        if self.0.load(Ordering::Relaxed) {
            return Err(Error::new(Code::Cancelled, "The work was cancelled by its caller."));
        }
        Ok(())
    }
}
