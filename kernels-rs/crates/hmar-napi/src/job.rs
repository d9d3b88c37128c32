//! Work off the main thread, with a promise for its result.

use std::panic::{AssertUnwindSafe, catch_unwind};

use hmar_error::Result;
use napi::bindgen_prelude::{AsyncTask, FnArgs, ToNapiValue, TypeName};
use napi::threadsafe_function::{ThreadsafeFunction, ThreadsafeFunctionCallMode, UnknownReturnValue};
use napi::{Env, Status, Task};
use napi_derive::napi;

use crate::error::{from_panic, to_js};

type Work<T> = Box<dyn FnOnce() -> Result<T> + Send>;

/// Computes a `T` on a worker thread, and hands it over as a `J`.
pub struct Job<T, J> {
    work: Option<Work<T>>,
    convert: fn(T) -> J,
}

/// A promise of a [`Job`].
pub(crate) type Promised<T, J = T> = AsyncTask<Job<T, J>>;

/// Starts work whose result is handed over as it is.
pub(crate) fn start<T>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Promised<T>
where
    T: Send + 'static + ToNapiValue + TypeName,
{
    start_converted(work, |result| result)
}

/// Starts work whose result JavaScript knows as another type.
pub(crate) fn start_converted<T, J>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
    convert: fn(T) -> J,
) -> Promised<T, J>
where
    T: Send + 'static,
    J: 'static + ToNapiValue + TypeName,
{
    AsyncTask::new(Job { work: Some(Box::new(work)), convert })
}

impl<T, J> Task for Job<T, J>
where
    T: Send + 'static,
    J: 'static + ToNapiValue + TypeName,
{
    type Output = T;
    type JsValue = J;

    fn compute(&mut self) -> napi::Result<T> {
        let work = self.work.take().expect("a job runs once");
        // A panic that left this function would end the process.
        catch_unwind(AssertUnwindSafe(work))
            .unwrap_or_else(|panic| Err(from_panic(&*panic)))
            .map_err(|error| to_js(&error))
    }

    fn resolve(&mut self, _: Env, output: T) -> napi::Result<J> {
        Ok((self.convert)(output))
    }
}

/// A JavaScript listener for bytes done and bytes in all. Weak: it does not keep the process alive.
pub type OnProgress =
    ThreadsafeFunction<FnArgs<(f64, f64)>, UnknownReturnValue, FnArgs<(f64, f64)>, Status, false, true>;

/// Calls a listener from any thread.
pub(crate) fn report(listener: Option<OnProgress>) -> impl Fn(u64, u64) + Sync {
    move |done, total| {
        if let Some(listener) = &listener {
            let bytes = FnArgs::from((done as f64, total as f64));
            listener.call(bytes, ThreadsafeFunctionCallMode::NonBlocking);
        }
    }
}

/// Throws, as any export would after a panic before it has a promise. For tests.
#[napi(catch_unwind)]
pub fn panic_at_once_for_test() {
    panic!("asked for by a test")
}

/// Rejects, as any export would after a panic. For tests.
#[napi(catch_unwind)]
pub fn panic_for_test() -> Promised<()> {
    start(|| panic!("asked for by a test"))
}
